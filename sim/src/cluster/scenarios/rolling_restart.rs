//! Each node in turn is asked to stop, does so in good order, and starts again.

use crate::cluster::handle::Cluster;
use crate::cluster::scenarios::Playing;

pub fn play(cluster: Cluster) -> Playing {
    Box::pin(async move {
        for node in cluster.nodes() {
            cluster.leader().await?;
            cluster.stop(node).await?;
            cluster.restart(node).await;
            cluster.ready(node).await?;
        }
        Ok(())
    })
}
