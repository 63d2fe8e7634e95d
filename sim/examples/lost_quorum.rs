//! Two of three nodes crash. The third may acknowledge nothing, for nobody else would know of it; when one of the two is
//! back, everything goes on.
//!
//! `cargo run --release -p quorate-sim --example lost_quorum -- --seeds 10`

use std::process::ExitCode;
use std::time::Duration;

use quorate_sim::cluster::own;
use quorate_sim::history::Outcome;

fn main() -> ExitCode {
    own::main(3, async |cluster| {
        let alone = cluster.leader().await?;
        let others = cluster.majority_without(alone);
        cluster.write_through(&others, 20).await?;
        cluster.black_out(&others).await;

        let mut client = cluster.session();
        client.set_timeout(Duration::from_secs(3));
        if let Outcome::Done(_) = client.set(alone).await {
            return Err("one node of three acknowledged a write".to_owned());
        }

        cluster.restart(others[0]).await;
        cluster.leader_among(&[alone, others[0]]).await?;
        cluster.write_through(&[alone, others[0]], 20).await?;
        cluster.converge().await
    })
}
