//! `quorate-sim cluster`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use super::faults::kind::Kind;
use super::scenarios::{self, Scenario, swarm};
use super::world::{self, Options};
use super::{assembly, world::Report};
use crate::run::{self, Outcome, Seeds, Simulator};

/// What is played where nobody says what.
const DEFAULT: &str = "swarm";

/// What to run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = scenarios_help())]
pub struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
    /// How many nodes the cluster has; drawn from the seed if it is not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=7))]
    nodes: Option<u64>,
    /// What to play (see below).
    #[arg(long, default_value = DEFAULT, value_parser = parse_scenario, conflicts_with = "calm")]
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
        let nodes = self.nodes.map(|nodes| format!(" --nodes {nodes}"));
        let scenario = (!self.is_default()).then(|| format!(" --scenario {}", self.scenario.name));
        [scenario, nodes].into_iter().flatten().collect()
    }

    fn run(&self, seed: u64, calm: bool, trace: Option<&Path>) -> Outcome {
        let scenario = scenarios::find("calm").filter(|_| calm).unwrap_or(self.scenario);
        let nodes = self.nodes.unwrap_or_else(|| swarm::nodes(seed));
        let options = Options { seed, nodes, trace: trace.map(Path::to_owned), log: self.log };
        let command = run::reproduction(self, seed, calm);
        let report = world::run_as(&command, &options, &assembly::production(), scenario.play);
        let Report { seed, hash, counters, faults, overlapped, simulated, violation, untraced } = report;
        Outcome { seed, hash, simulated, counters, faults, overlapped, violation, untraced }
    }

    fn quotas(&self) -> &[(&'static str, u64)] {
        if self.is_default() { swarm::QUOTAS } else { &[] }
    }

    fn faults(&self) -> Vec<&'static str> {
        let possible = Kind::ALL.iter().filter(|kind| self.nodes.is_none_or(|nodes| kind.is_possible(nodes)));
        if self.is_default() { possible.map(|kind| kind.name()).collect() } else { Vec::new() }
    }

    fn overlap_one_in(&self) -> Option<u64> {
        self.is_default().then_some(5)
    }
}

impl Arguments {
    fn is_default(&self) -> bool {
        self.scenario.name == DEFAULT
    }
}
