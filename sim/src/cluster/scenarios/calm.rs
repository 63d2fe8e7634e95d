//! The ordinary load and no fault, for a number of operations.

use std::time::Duration;

use crate::cluster::handle::{Cluster, Load, PATIENCE};
use crate::cluster::scenarios::{Playing, elect};
use crate::run::CALM_OPERATIONS;

/// What counts as an operation that was answered.
const ANSWERS: [&str; 3] = ["acked", "reads", "stale reads"];

pub fn play(cluster: Cluster) -> Playing {
    Box::pin(async move {
        cluster.world(|world| world.look_from_outside()).await;
        elect::play(cluster.clone()).await?;
        let load = Load::start(&cluster, 8);
        let answers = || ANSWERS.iter().map(|counter| cluster.counted(counter)).sum::<u64>();
        let mut done = 0;
        while done < CALM_OPERATIONS {
            let before = done;
            let moved = async || (answers() > before).then(answers);
            done = cluster.eventually("an answer", PATIENCE, moved).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        load.stop().await;
        cluster.count_more("operations", answers());
        cluster.converge().await
    })
}
