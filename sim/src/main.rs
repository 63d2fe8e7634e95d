//! `quorate-sim`: runs seeds of the simulation and says what became of each.
//!
//! Exit codes: 0 all clean, 1 a violation (with one command that reproduces it), 2 usage.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use quorate_sim::assembly;
use quorate_sim::scenarios::{self, Scenario};
use quorate_sim::world::{self, Options, Report};

/// Runs whole Quorate clusters in a simulated world: network, disks, clocks and crashes come from a seed, the code is
/// the product's. The same seed does the same, to the byte.
#[derive(Debug, Parser)]
#[command(name = "quorate-sim", version, after_help = scenarios_help())]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 20, conflicts_with = "seed")]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    from: u64,
    /// Run this seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// How many nodes the cluster has.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=7))]
    nodes: u64,
    /// What to play (see below).
    #[arg(long, default_value = "story", value_parser = parse_scenario)]
    scenario: Scenario,
    /// Write the trace of the seed, of several the last one's, to this file: a line for each message, disk call, role change, reply and fault.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seeds = match arguments.seed {
        Some(seed) => seed..=seed,
        None if arguments.seeds == 0 => return ExitCode::SUCCESS,
        None => arguments.from..=arguments.from.saturating_add(arguments.seeds - 1),
    };
    for seed in seeds {
        let options =
            Options { seed, nodes: arguments.nodes, trace: arguments.trace.clone(), log: arguments.log };
        let report = world::run(&options, &assembly::production(), arguments.scenario.play);
        if let Err(error) = print(&report, &arguments) {
            // Nobody reads on: the exit code is all that is left to say.
            drop(error);
            return ExitCode::FAILURE;
        }
        if report.violation.is_some() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// One line for a seed; three where it failed.
fn print(report: &Report, arguments: &Arguments) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let shown =
        ["acked", "unknown", "reads", "receive", "write", "sync", "crashes", "links cut", "role changes"];
    let counters: Vec<String> = shown
        .iter()
        .map(|name| format!("{name} {}", report.counters.get(name).copied().unwrap_or(0)))
        .collect();
    let outcome = if report.violation.is_some() { "FAILED" } else { "ok" };
    let seconds = report.simulated.as_secs_f64();
    let (seed, counters, hash) = (report.seed, counters.join(", "), report.hash);
    writeln!(out, "seed {seed}: {outcome}, {seconds:.1} s simulated, {counters}, trace hash: {hash:016x}")?;
    if let Some(violation) = &report.violation {
        let (scenario, nodes) = (arguments.scenario.name, arguments.nodes);
        writeln!(out, "violation: {violation}")?;
        writeln!(
            out,
            "reproduce: cargo run -p quorate-sim -- --seed {seed} --scenario {scenario} --nodes {nodes} --log"
        )?;
    }
    out.flush()
}
