//! Scenarios of one's own: an async function over a [`Cluster`], and [`main`] makes a program of it.
//!
//! ```no_run
//! use quorate_sim::cluster::own;
//!
//! fn main() -> std::process::ExitCode {
//!     own::main(3, async |cluster| {
//!         let leader = cluster.leader().await?;
//!         cluster.isolate(leader).await;
//!         cluster.leader_among(&cluster.majority_without(leader)).await?;
//!         cluster.converge().await
//!     })
//! }
//! ```
//!
//! The program takes the options of the simulator (`--seeds`, `--from`, `--seed`, `--trace`, ...) and ends with its exit codes. All
//! that is judged in the simulator's own runs is judged here too: invariants, histories, self-stops, panics. What the
//! scenario waits for must come (see [`Cluster::eventually`]); an error that it returns is a violation.

use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::assembly;
use super::handle::Cluster;
use super::world::{self, Options, Report};
use crate::Violation;
use crate::run::{self, Outcome, Seeds, Simulator};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
    /// Print the nodes' log to standard error (filtered by RUST_LOG).
    #[arg(long)]
    log: bool,
}

struct Own<S> {
    arguments: Arguments,
    nodes: u64,
    scenario: S,
}

/// A program that plays `scenario` with a cluster of `nodes` nodes, 1 to 7, for the seeds that its command line asks for.
pub fn main<S>(nodes: u64, scenario: S) -> ExitCode
where
    S: AsyncFn(Cluster) -> Result<(), Violation> + Clone + Send + Sync + 'static,
{
    assert!((1..=7).contains(&nodes), "a cluster has 1 to 7 nodes, not {nodes}");
    let arguments = Arguments::parse();
    let seeds = arguments.seeds.clone();
    if seeds.calm {
        let what = "--calm is for the simulator's own load; this program plays what it was written to play";
        Arguments::command().error(ErrorKind::ArgumentConflict, what).exit();
    }
    let ended = run::run(&seeds, &Own { arguments, nodes, scenario });
    // Standard output is gone: the exit code is all that is left to say.
    ended.unwrap_or(ExitCode::FAILURE)
}

impl<S> Simulator for Own<S>
where
    S: AsyncFn(Cluster) -> Result<(), Violation> + Clone + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "own scenario"
    }

    fn options(&self) -> String {
        String::new()
    }

    /// How this very program was started: by its name, which Cargo does not tell.
    fn command(&self) -> String {
        std::env::args().next().unwrap_or_else(|| "this program".to_owned())
    }

    fn run(&self, seed: u64, _calm: bool, trace: Option<&Path>) -> Outcome {
        let options =
            Options { seed, nodes: self.nodes, trace: trace.map(Path::to_owned), log: self.arguments.log };
        let scenario = self.scenario.clone();
        let play = move |cluster| async move { scenario(cluster).await };
        let command = run::reproduction(self, seed, false);
        let report = world::run_as(&command, &options, &assembly::production(), play);
        let Report { seed, hash, counters, faults, overlapped, simulated, violation, untraced } = report;
        Outcome { seed, hash, simulated, counters, faults, overlapped, violation, untraced }
    }

    fn quotas(&self) -> &[(&'static str, u64)] {
        &[("acked", 1)]
    }

    fn faults(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn overlap_one_in(&self) -> Option<u64> {
        None
    }
}
