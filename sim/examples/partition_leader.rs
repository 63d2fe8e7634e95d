//! The leader is cut off from the other nodes, not from its clients. The others elect another one and go on; the old one
//! may serve nothing as fresh, and when the link heals it has to find its way back.
//!
//! `cargo run --release -p quorate-sim --example partition_leader -- --seed 1 --trace run.html`

use std::process::ExitCode;

use quorate_sim::cluster::handle::Load;
use quorate_sim::cluster::own;
use quorate_sim::history::Freshness;

fn main() -> ExitCode {
    own::main(3, async |cluster| {
        let load = Load::start(&cluster, 4);
        let leader = cluster.leader().await?;
        cluster.isolate(leader).await;

        let others = cluster.majority_without(leader);
        cluster.leader_among(&others).await?;
        cluster.write_through(&others, 20).await?;
        let mut client = cluster.session();
        if client.get(leader, Freshness::Linearizable).await.is_some() {
            return Err("a leader that is cut off cannot know what is fresh".to_owned());
        }

        cluster.heal().await;
        load.stop().await;
        cluster.converge().await
    })
}
