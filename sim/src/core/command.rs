//! `quorate-sim core`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use super::play::{self, Options, STEPS};
use super::story::QUOTAS;
use crate::run::{self, Outcome, Seeds, Simulator};

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
    /// How many nodes vote; drawn from the seed if it is not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=7))]
    nodes: Option<u64>,
    /// How many inputs the cores take before the end begins: messages, ticks, completions.
    #[arg(long, default_value_t = STEPS, value_parser = clap::value_parser!(u64).range(100..=1_000_000_000))]
    steps: u64,
}

/// The kinds of faults.
const FAULTS: &[&str] = &[
    "crash",
    "torn write",
    "pause",
    "hung disk",
    "full disk",
    "evidence",
    "false evidence",
    "partition",
    "cut leader",
    "one-way cut",
    "partial partition",
    "replay",
    "loss",
    "duplicate",
    "straggler",
    "slow fsync",
    "late completion",
    "lost completion",
    "repeated completion",
    "late tick",
    "failed fetch",
    "batched inputs",
    "clock rates",
];

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    run::run(&arguments.seeds, arguments)
}

impl Simulator for Arguments {
    fn name(&self) -> &'static str {
        "core"
    }

    fn options(&self) -> String {
        let nodes = self.nodes.map_or_else(String::new, |nodes| format!(" --nodes {nodes}"));
        let steps = if self.steps == STEPS { String::new() } else { format!(" --steps {}", self.steps) };
        nodes + &steps
    }

    fn run(&self, seed: u64, calm: bool, trace: Option<&Path>) -> Outcome {
        let command = run::reproduction(self, seed, calm);
        play::play(seed, &Options { nodes: self.nodes, steps: self.steps, calm, command }, trace)
    }

    fn quotas(&self) -> &[(&'static str, u64)] {
        QUOTAS
    }

    fn faults(&self) -> Vec<&'static str> {
        FAULTS.to_vec()
    }

    fn overlap_one_in(&self) -> Option<u64> {
        Some(5)
    }
}
