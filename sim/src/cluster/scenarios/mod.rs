//! What a run plays, one file each. A new scenario is a file and a line in [`ALL`].
//!
//! Each starts from a cluster that is up and whole and leaves it so, with clients at work in the background from its
//! beginning to its end; so scenarios can be played alone or one after another. After the last, the cluster must
//! converge and serve every acknowledged write on every node.

mod calm;
mod crash_leader;
mod elect;
mod partition_leader;
mod pause_leader;
mod restart_all;
mod rolling_restart;
mod stale_read;
pub mod swarm;
mod write;

use std::future::Future;
use std::pin::Pin;

use crate::Violation;
use crate::cluster::handle::{Cluster, Load};

/// A scenario under way.
pub type Playing = Pin<Box<dyn Future<Output = Result<(), Violation>>>>;

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Plays it to the end, with the final checks.
    pub play: fn(Cluster) -> Playing,
}

/// All scenarios.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "swarm",
        about: "whatever the seed draws: the one to run many seeds of",
        play: swarm::play,
    },
    Scenario { name: "calm", about: "the ordinary load and no fault", play: calm::play },
    Scenario { name: "story", about: "all below, in an order drawn from the seed", play: story },
    Scenario { name: "elect", about: "a new cluster elects a leader", play: |it| alone(it, elect::play) },
    Scenario {
        name: "write",
        about: "writes and reads through every node",
        play: |it| alone(it, write::play),
    },
    Scenario {
        name: "crash-leader",
        about: "the leader crashes with un-synced bytes, the others go on, it comes back",
        play: |it| alone(it, crash_leader::play),
    },
    Scenario {
        name: "partition-leader",
        about: "the leader is cut off, the others go on, the link heals",
        play: |it| alone(it, partition_leader::play),
    },
    Scenario {
        name: "pause-leader",
        about: "the leader is frozen for seconds, the others go on, it wakes up",
        play: |it| alone(it, pause_leader::play),
    },
    Scenario {
        name: "stale-read",
        about: "a leader that is cut off is read from and must serve nothing stale",
        play: |it| alone(it, stale_read::play),
    },
    Scenario {
        name: "restart-all",
        about: "all nodes crash at the same instant and start again",
        play: |it| alone(it, restart_all::play),
    },
    Scenario {
        name: "rolling-restart",
        about: "each node in turn stops in good order and starts again",
        play: |it| alone(it, rolling_restart::play),
    },
];

/// The scenario of that name.
pub fn find(name: &str) -> Option<Scenario> {
    ALL.iter().copied().find(|scenario| scenario.name == name)
}

type Part = fn(Cluster) -> Playing;

fn alone(cluster: Cluster, part: Part) -> Playing {
    Box::pin(play(cluster, vec![part]))
}

fn story(cluster: Cluster) -> Playing {
    let mut parts: Vec<Part> = vec![
        write::play,
        crash_leader::play,
        partition_leader::play,
        pause_leader::play,
        stale_read::play,
        restart_all::play,
        rolling_restart::play,
    ];
    cluster.draw(|rng| rng.shuffle(&mut parts));
    Box::pin(play(cluster, parts))
}

async fn play(cluster: Cluster, parts: Vec<Part>) -> Result<(), Violation> {
    elect::play(cluster.clone()).await?;
    let load = Load::start(&cluster, 4);
    for part in parts {
        part(cluster.clone()).await?;
    }
    load.stop().await;
    cluster.converge().await
}
