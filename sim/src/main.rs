//! `quorate-sim`: the simulators on the command line. Exit codes: see `quorate_sim::run`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Deterministic simulation of Quorate. Network, disks, clocks and crashes come from a seed, the code is the product's;
/// the same seed does the same, to the byte.
#[derive(Debug, Parser)]
#[command(name = "quorate-sim", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What is the same for all commands; what a build lacks is named, too.
const EXIT_CODES: &str = if cfg!(feature = "model") {
    "Exit codes: 0 clean, 1 a violation, 2 usage, 3 too little happened."
} else {
    "Exit codes: 0 clean, 1 a violation, 2 usage, 3 too little happened.\n\
     The model checker is the command `model` of a build with --features model."
};

#[derive(Debug, Subcommand)]
enum Command {
    /// Bare Raft cores with a message-level network and a simulated log: millions of steps.
    Core(quorate_sim::core::command::Arguments),
    /// Whole nodes, from REST to disk, with network, disk, process and clock faults.
    #[cfg(feature = "cluster")]
    Cluster(quorate_sim::cluster::command::Arguments),
    /// Bugs on purpose: breaks a copy of the product, one hazard at a time, and looks whether the simulators find it.
    Mutants(quorate_sim::mutants::command::Arguments),
    /// Bare Raft cores, every order of events within bounds: what no run of one seed can say.
    #[cfg(feature = "model")]
    Model(quorate_sim::model::command::Arguments),
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Core(arguments) => quorate_sim::core::command::run(&arguments),
        #[cfg(feature = "cluster")]
        Command::Cluster(arguments) => quorate_sim::cluster::command::run(&arguments),
        Command::Mutants(arguments) => quorate_sim::mutants::command::run(&arguments),
        #[cfg(feature = "model")]
        Command::Model(arguments) => quorate_sim::model::command::run(&arguments),
    };
    // Standard output is gone: the exit code is all that is left to say.
    ended.unwrap_or(ExitCode::FAILURE)
}
