//! The leader crashes under load, in the middle of a disk call in half of the runs; the others elect another and go
//! on; the old one comes back with what its disk kept, and catches up.

use std::time::Duration;

use crate::cluster::handle::Cluster;
use crate::cluster::scenarios::Playing;

pub fn play(cluster: Cluster) -> Playing {
    Box::pin(async move {
        let leader = cluster.leader().await?;
        cluster.crash(leader).await;
        let others = cluster.majority_without(leader);
        // Of two, the other cannot take over.
        if !others.is_empty() {
            cluster.leader_among(&others).await?;
            cluster.write_through(&others, 5).await?;
        }
        let down = Duration::from_millis(cluster.draw(|rng| rng.u64(0..3_000)));
        tokio::time::sleep(down).await;
        cluster.restart(leader).await;
        cluster.ready(leader).await
    })
}
