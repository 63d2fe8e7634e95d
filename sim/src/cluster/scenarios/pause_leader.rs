//! The leader is frozen for some seconds and wakes up late for everything: the others have gone on without it, and it
//! must neither serve what it still believes nor disturb them.

use std::time::Duration;

use crate::cluster::handle::Cluster;
use crate::cluster::scenarios::Playing;

pub fn play(cluster: Cluster) -> Playing {
    Box::pin(async move {
        let leader = cluster.leader().await?;
        cluster.pause(leader).await;
        let others = cluster.majority_without(leader);
        if !others.is_empty() {
            cluster.leader_among(&others).await?;
            cluster.write_through(&others, 5).await?;
        }
        let frozen = Duration::from_millis(cluster.draw(|rng| rng.u64(0..3_000)));
        tokio::time::sleep(frozen).await;
        cluster.resume(leader).await;
        cluster.ready(leader).await
    })
}
