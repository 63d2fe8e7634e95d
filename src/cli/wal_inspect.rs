//! `quorate wal inspect`: every record of a log, one line each, for a person or as JSON.

use std::path::{Path, PathBuf};

use super::{Failure, USAGE, say};
use crate::wal::fs::StdFs;
use crate::wal::{Error, inspect};

const AFTER_HELP: &str = "\
Examples:
  quorate wal inspect /var/lib/quorate                 a node's data directory, or its wal/
  quorate wal inspect /var/lib/quorate --json | jq -c 'select(.kind == \"command\")'

Changes nothing, and takes no lock: the log of a running node may grow meanwhile. What cannot be read is a record of
kind `damaged`; whether a node would start from this log is for `quorate serve` to say.";

/// Print every record of a node's log
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The node's data directory, or the wal directory in it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let dir = log_dir(&args.dir)?;
    let (mut found, mut reading) = (false, true);
    let mut print = |record: inspect::RecordInfo| {
        found = true;
        if !reading {
            return;
        }
        let line = if args.json {
            serde_json::to_string(&record).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
        } else {
            record.to_string()
        };
        // A reader that went away early (`| head`) has seen enough.
        reading = say(&line);
    };
    inspect::inspect(&StdFs, &dir, &mut print).map_err(|error| Failure::new(exit_code(&error), error))?;
    if found { Ok(()) } else { Err(Failure::new(USAGE, format!("{}: there is no log here", dir.display()))) }
}

/// The log's own directory, whichever of the two was named.
fn log_dir(dir: &Path) -> Result<PathBuf, Failure> {
    let inner = dir.join("wal");
    let log = if inner.is_dir() { inner } else { dir.to_path_buf() };
    if !log.is_dir() {
        return Err(Failure::new(USAGE, format!("{}: no such directory", log.display())));
    }
    Ok(log)
}

fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Damaged { .. } | Error::Version { .. } => 3,
        Error::Io { .. } => 4,
        _ => super::UNEXPECTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_a_usage_error() {
        let args = Args { dir: "/nowhere/at/all".into(), json: false };
        let failure = run(&args).expect_err("there is none");
        assert_eq!((failure.code, failure.text.as_str()), (USAGE, "/nowhere/at/all: no such directory"));
    }

    #[test]
    fn both_directories_are_understood() {
        let data = tempfile::tempdir().expect("a directory");
        let wal = data.path().join("wal");
        std::fs::create_dir(&wal).expect("a directory");
        assert_eq!(log_dir(data.path()), Ok(wal.clone()));
        assert_eq!(log_dir(&wal), Ok(wal));
    }
}
