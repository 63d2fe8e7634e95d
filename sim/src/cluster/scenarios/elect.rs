//! A new cluster elects a leader, and every node is ready to serve.

use crate::cluster::handle::Cluster;
use crate::cluster::scenarios::Playing;

pub fn play(cluster: Cluster) -> Playing {
    Box::pin(async move {
        cluster.leader().await?;
        for node in cluster.nodes() {
            cluster.ready(node).await?;
        }
        Ok(())
    })
}
