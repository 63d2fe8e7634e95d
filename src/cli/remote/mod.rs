//! The commands that ask a cluster: `get`, `set`, `del`, `list`, `cas`, `txn`, `member`, `leader`, `status`.
//!
//! ```text
//! flags, variables, file -> connect   which nodes, how long, in which format
//! arguments, stdin, file -> input     bytes, by escape if they were escaped; script: the language of txn
//!                        -> client    the library: failover, retries, each write once
//!                        -> output    table (by table), plain, json; pairs: keys and values in all three
//!                        -> exit      what became of it, as a code
//! ```
//!
//! They are thin: what a cluster does when nodes fail is the library's. Each is one request or a few; none holds more than one
//! value or one page of a list.

use std::io::Write;

use super::Failure;

mod cas;
mod connect;
mod del;
mod escape;
mod exit;
mod get;
mod input;
mod list;
mod member;
mod output;
mod pairs;
mod reading;
pub(super) mod script;
mod set;
mod status;
mod table;
mod txn;

pub(super) use connect::Settings;

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Get(get::Args),
    Set(set::Args),
    Del(del::Args),
    List(list::Args),
    Cas(cas::Args),
    Txn(txn::Args),
    Status(status::Args),
    Member(member::Args),
    Leader(member::LeaderArgs),
}

/// Carries out a command.
pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Get(args) => get::run(args),
        Command::Set(args) => set::run(args),
        Command::Del(args) => del::run(args),
        Command::List(args) => list::run(args),
        Command::Cas(args) => cas::run(args),
        Command::Txn(args) => txn::run(args),
        Command::Status(args) => status::run(args),
        Command::Member(args) => member::run(args),
        Command::Leader(args) => member::run_leader(args),
    }
}

/// Tells the person at the terminal something that is no part of the answer.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
