//! `quorate-sim core`.

use std::io;
use std::process::ExitCode;

use crate::run::Seeds;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let _ = &arguments.seeds;
    Ok(ExitCode::from(2))
}
