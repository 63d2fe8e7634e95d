//! Writes through every node alike, beside the background load.

use crate::cluster::handle::Cluster;
use crate::cluster::scenarios::Playing;

pub fn play(cluster: Cluster) -> Playing {
    Box::pin(async move {
        let nodes: Vec<u64> = cluster.nodes().collect();
        cluster.write_through(&nodes, 20).await
    })
}
