//! `quorate wal inspect`: every record of a log, one line each, for a person or as JSON.

use std::path::{Path, PathBuf};

use super::{DAMAGED, Failure, USAGE, say};
use crate::wal::fs::StdFs;
use crate::wal::{Error, inspect};

const AFTER_HELP: &str = "\
Examples:
  quorate wal inspect /var/lib/quorate                 a node's data directory, or its wal/
  quorate wal inspect /var/lib/quorate --json | jq -c 'select(.kind == \"command\")'

Changes nothing, and takes no lock: the log of a running node may grow meanwhile. What cannot be read is a record of
kind `damaged`; whether a node would start from this log is for `quorate serve` to say.

Exit codes: 0 nothing is damaged (what a crash left of the last batch is no damage), 3 damaged records or a damaged
file, after everything is printed; 2 no such directory or no log in it, 4 the disk failed.";

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
    let (mut found, mut reading, mut verdict) = (false, true, Verdict::default());
    let mut print = |record: inspect::RecordInfo| {
        found = true;
        verdict.hear(&record);
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
    if !found {
        return Err(Failure::new(USAGE, format!("{}: there is no log here", dir.display())));
    }
    match verdict.damage {
        None => Ok(()),
        Some(damage) => {
            Err(Failure::new(DAMAGED, format!("{}: the log is damaged: {damage}", dir.display())))
        }
    }
}

/// The first damage, told from what a crash leaves: gaps that nothing of a later batch follows.
#[derive(Default)]
struct Verdict {
    damage: Option<String>,
    /// The first gap since the last record.
    gap: Option<String>,
}

impl Verdict {
    fn hear(&mut self, record: &inspect::RecordInfo) {
        let place = || {
            let what = record.damage.as_deref().unwrap_or("no record");
            format!("segment {:016x}, byte {}: {what}", record.segment, record.offset)
        };
        match (record.kind, &record.damage) {
            ("cut", _) => {}
            ("unwritten" | "partial", Some(_)) => self.gap = self.gap.take().or_else(|| Some(place())),
            (_, Some(_)) => self.damage = self.damage.take().or_else(|| Some(place())),
            (_, None) => self.damage = self.damage.take().or(self.gap.take()),
        }
    }
}

/// The log's own directory, whichever of the two was named.
fn log_dir(dir: &Path) -> Result<PathBuf, Failure> {
    let inner = crate::server::offline::log_dir(dir);
    let log = if inner.is_dir() { inner } else { dir.to_path_buf() };
    if !log.is_dir() {
        return Err(Failure::new(USAGE, format!("{}: no such directory", log.display())));
    }
    Ok(log)
}

fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Damaged { .. } | Error::Version { .. } => DAMAGED,
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
    fn what_a_crash_leaves_is_no_damage() {
        let verdict = |kinds: &[&'static str]| {
            let mut verdict = Verdict::default();
            for kind in kinds {
                let is_record = ["segment", "command"].contains(kind);
                verdict.hear(&inspect::RecordInfo {
                    segment: 1,
                    offset: 512,
                    length: 512,
                    group: 0,
                    index: 0,
                    term: 0,
                    kind,
                    batch: 1,
                    state: None,
                    damage: (!is_record && *kind != "cut").then(|| (*kind).to_owned()),
                });
            }
            verdict.damage
        };
        assert_eq!(verdict(&["segment", "command"]), None);
        assert_eq!(verdict(&["segment", "command", "unwritten", "partial"]), None);
        assert_eq!(verdict(&["segment", "command", "cut", "segment", "command"]), None);
        let damage = Some("segment 0000000000000001, byte 512: damaged".to_owned());
        assert_eq!(verdict(&["segment", "damaged", "unwritten", "command"]), damage);
        assert!(verdict(&["segment", "partial", "segment"]).is_some_and(|text| text.ends_with("partial")));
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
