//! All nodes crash at the same instant under load, each losing what its own disk loses, and start again one by one.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::scenarios::Playing;

pub fn play(cluster: Cluster) -> Playing {
    Box::pin(async move {
        cluster.leader().await?;
        cluster.crash_all().await;
        let mut order: Vec<u64> = cluster.nodes().collect();
        cluster.draw(|rng| rng.shuffle(&mut order));
        for node in &order {
            let wait = Duration::from_millis(cluster.draw(|rng| rng.u64(0..2_000)));
            tokio::time::sleep(wait).await;
            cluster.restart(*node).await;
        }
        cluster.leader().await?;
        cluster.write_through(&order, 3).await
    })
}
