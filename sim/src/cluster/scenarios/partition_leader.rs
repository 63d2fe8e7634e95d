//! The leader is cut off from its peers, not from its clients; the others elect another and go on; when the link
//! heals, the old leader follows.

use std::time::Duration;

use crate::cluster::handle::Cluster;
use crate::cluster::scenarios::Playing;

pub fn play(cluster: Cluster) -> Playing {
    Box::pin(async move {
        let leader = cluster.leader().await?;
        let others = cluster.majority_without(leader);
        if others.is_empty() {
            return Ok(());
        }
        cluster.isolate(leader).await;
        cluster.leader_among(&others).await?;
        cluster.write_through(&others, 10).await?;
        let apart = Duration::from_millis(cluster.draw(|rng| rng.u64(0..5_000)));
        tokio::time::sleep(apart).await;
        cluster.heal().await;
        cluster.ready(leader).await?;
        cluster.write_through(&[leader], 3).await
    })
}
