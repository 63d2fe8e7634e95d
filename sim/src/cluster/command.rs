//! `quorate-sim cluster`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use super::scenarios::{self, Scenario};
use super::world::{self, Options};
use super::{assembly, world::Report};
use crate::run::{self, Counters, Outcome, Seeds, Simulator};

/// What to run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = scenarios_help())]
pub struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
    /// How many nodes the cluster has.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=7))]
    nodes: u64,
    /// What to play (see below).
    #[arg(long, default_value = "story", value_parser = parse_scenario)]
    scenario: Scenario,
    /// Print the nodes' log to standard error (filtered by RUST_LOG).
    #[arg(long)]
    log: bool,
}

fn parse_scenario(name: &str) -> Result<Scenario, String> {
    scenarios::find(name).ok_or_else(|| {
        let names: Vec<&str> = scenarios::ALL.iter().map(|scenario| scenario.name).collect();
        format!("one of {}", names.join(", "))
    })
}

fn scenarios_help() -> String {
    let lines = scenarios::ALL.iter().map(|scenario| format!("  {:<18}{}\n", scenario.name, scenario.about));
    format!("Scenarios:\n{}", lines.collect::<String>())
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    run::run(&arguments.seeds, arguments)
}

impl Simulator for Arguments {
    fn name(&self) -> &'static str {
        "cluster"
    }

    fn options(&self) -> String {
        format!(" --scenario {} --nodes {}", self.scenario.name, self.nodes)
    }

    fn run(&self, seed: u64, calm: bool, trace: Option<&Path>) -> Outcome {
        let scenario = scenarios::find("write").filter(|_| calm).unwrap_or(self.scenario);
        let options = Options { seed, nodes: self.nodes, trace: trace.map(Path::to_owned), log: self.log };
        let report = world::run(&options, &assembly::production(), scenario.play);
        let Report { seed, hash, counters, simulated, violation } = report;
        Outcome { seed, hash, simulated, counters, faults: Counters::new(), overlapped: false, violation }
    }

    fn quotas(&self) -> &[(&'static str, u64)] {
        &[]
    }

    fn faults(&self) -> &[&'static str] {
        &[]
    }

    fn overlap_one_in(&self) -> Option<u64> {
        None
    }
}
