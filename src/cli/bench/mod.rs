//! `quorate bench`: one load generator for Quorate and for etcd, and a comparison of the two.
//!
//! It stands outside the cluster, as any client does: it knows addresses, and nothing of nodes. The same code draws keys, paces
//! requests and measures, whatever the door that they go to ([`target`]); etcd's own is one of them, so that etcd and Quorate are
//! measured alike.
//!
//! ```text
//! plan -> draw    what each request is about             record  histograms, points, errors
//!      -> pace    when it is sent: closed or open loop   result  what is kept: JSON, a table
//!      -> load    clients, until time or count is up     html    a page with plots
//! compare         etcd and Quorate with equal settings, the same loads in turn, the ratios
//! ```
//!
//! What its figures promise:
//! - *Every request counts.* One that fails is counted by its kind, and is not repeated; too many make the exit code 1.
//! - *No coordinated omission* in the open loop: see [`pace`].
//! - *The generator is measured, too*: its own CPU time stands beside what it found. On one machine it competes with what it loads.
//!
//! What it deliberately does not do: it starts no generators on other machines, and looks for no highest rate by itself.
#![allow(
    clippy::disallowed_methods,
    reason = "the generator is a client outside of all nodes: its time is the machine's"
)]

use std::path::{Path, PathBuf};

use self::plan::Work;
use self::result::Report;
use self::screen::Screen;
use super::{Failure, UNEXPECTED, say};

mod compare;
mod draw;
mod html;
mod load;
mod options;
mod pace;
mod plan;
mod record;
mod result;
mod screen;
mod target;
mod text;

const AFTER_HELP: &str = "\
Examples:
  quorate bench put --clients 64 --duration 10s
                              writes through the client library to 127.0.0.1:9001
  quorate bench get --target grpc --endpoints 10.0.0.1:9001,10.0.0.2:9001 --preload
  quorate bench mixed --read-share 0.9 --distribution zipf:1.1 --rate 5000 --html report.html
                              5,000 requests a second are due, whatever the answers
  quorate bench put --target etcd --endpoints 127.0.0.1:2379 --json etcd.json
  quorate bench put --json now.json --html both.html --compare-with before.json
  quorate bench compare --quick
                              three nodes of etcd and three of Quorate on this machine, the same loads in turn

Exit code 1 if more requests failed than --max-errors.";

/// Load a cluster and measure it
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write keys
    Put(options::Options),
    /// Read keys
    Get(options::Options),
    /// Read and write keys
    Mixed(options::Options),
    /// Read many keys in order
    List(options::Options),
    Compare(compare::Args),
    #[command(hide = true)]
    Ceiling(compare::ceiling::Args),
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(UNEXPECTED, format!("no runtime: {error}")))?;
    runtime.block_on(async {
        match args.command {
            Command::Put(options) => measure(Work::Put, options).await,
            Command::Get(options) => measure(Work::Get, options).await,
            Command::Mixed(options) => measure(Work::Mixed, options).await,
            Command::List(options) => measure(Work::List, options).await,
            Command::Compare(args) => compare::run(args).await,
            Command::Ceiling(args) => compare::ceiling::run(args).await,
        }
    })
}

/// One run, from the command line to its reports.
async fn measure(work: Work, options: options::Options) -> Result<(), Failure> {
    let plan = options.plan(work)?;
    // Before the run: who waited for it should not learn then that there is nothing to compare with.
    let other = options.compare_with.as_deref().map(Report::read).transpose().map_err(Failure::usage)?;
    for path in options.json.iter().chain(&options.html) {
        check_writable(path)?;
    }
    let outcome = load::run(&plan, &mut Screen::new()).await;
    let outcome = outcome.map_err(|error| Failure::new(UNEXPECTED, error))?;
    let report = Report::new(plan, options.label(), outcome);
    say(report.table().trim_end());
    if let Some(path) = &options.json {
        write_json(path, &report)?;
    }
    if let Some(path) = &options.html {
        let runs: Vec<&Report> = other.iter().chain([&report]).collect();
        write(path, &html::report(&runs))?;
    }
    if report.failed > options.max_errors {
        let text =
            format!("{} requests failed, more than --max-errors {}", report.failed, options.max_errors);
        return Err(Failure::new(UNEXPECTED, text));
    }
    Ok(())
}

/// Whether a file can be written there.
fn check_writable(path: &Path) -> Result<(), Failure> {
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
    opened.map(drop).map_err(|error| unwritable(path, &error))
}

fn write(path: &PathBuf, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| unwritable(path, &error))
}

fn write_json(path: &PathBuf, value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|error| Failure::new(UNEXPECTED, format!("no JSON: {error}")))?;
    write(path, &(text + "\n"))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
}
