//! All nodes crash at the same instant under load, each losing what its own disk loses (covers H8, H10, H11). A bare
//! majority starts first and must know every acknowledged write without the rest: whoever vouched for a write before
//! it was on its own disk is found out when those that had it are still down. Then the rest starts. Three times.

use std::time::Duration;

use crate::cluster::handle::Cluster;
use crate::cluster::scenarios::Playing;

const ROUNDS: usize = 3;

pub fn play(cluster: Cluster) -> Playing {
    Box::pin(async move {
        for _ in 0..ROUNDS {
            cluster.leader().await?;
            let under_load = Duration::from_millis(cluster.draw(|rng| rng.u64(0..300)));
            tokio::time::sleep(under_load).await;
            cluster.crash_all().await;
            let mut order: Vec<u64> = cluster.nodes().collect();
            cluster.draw(|rng| rng.shuffle(&mut order));
            let (first, rest) = order.split_at(order.len() / 2 + 1);
            for node in first {
                let wait = Duration::from_millis(cluster.draw(|rng| rng.u64(0..1_000)));
                tokio::time::sleep(wait).await;
                cluster.restart(*node).await;
            }
            cluster.leader_among(first).await?;
            cluster.write_through(first, 3).await?;
            for node in rest {
                cluster.restart(*node).await;
                cluster.ready(*node).await?;
            }
        }
        Ok(())
    })
}
