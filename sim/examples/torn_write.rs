//! The power of a follower goes in the middle of a write, again and again: of what was not synced any sectors may be
//! left. It has to come back each time, with everything that it ever acknowledged.
//!
//! `cargo run --release -p quorate-sim --example torn_write -- --seeds 10`

use std::process::ExitCode;

use quorate_sim::cluster::faults::crash::CutPoint;
use quorate_sim::cluster::handle::Load;
use quorate_sim::cluster::own;

fn main() -> ExitCode {
    own::main(3, async |cluster| {
        let load = Load::start(&cluster, 4);
        for writes in 0..10 {
            let leader = cluster.leader().await?;
            let follower = cluster.majority_without(leader)[0];
            cluster.crash_at(follower, CutPoint::Write(writes)).await;
            cluster.restart(follower).await;
            cluster.ready(follower).await?;
        }
        load.stop().await;
        cluster.converge().await
    })
}
