//! Data directories that no node runs on: looked at by `quorate check`, and made a new cluster by `quorate recover`.
//!
//! A directory is read by the very code that a start reads it with, through a disk that refuses every change: no file is
//! made, renamed, written or removed, not even a lock. The locks that are there are taken for as long as it lasts, so a
//! running node is never looked at, and none starts meanwhile.

mod check;
mod recover;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use check::{Finding, check};
pub use recover::{NewCluster, REVISION_JUMP_MAX, REVISION_JUMP_MIN, Survivor, Wish, best, recover, survey};

use super::{Exit, ExitCode};
use crate::fsm;
use crate::node::identity::{self, Facts};
use crate::node::state_files::OpenRaw;
use crate::wal::fs::{ReadFs, SharedFs};

/// A disk that is only looked at.
#[derive(Clone)]
pub struct Disk {
    /// The log's and the identity's file system.
    pub fs: SharedFs,
    /// Opens a state file that is there.
    pub state_file: OpenRaw,
}

impl Disk {
    /// The machine's own.
    pub fn to_read() -> Disk {
        Disk { fs: Arc::new(ReadFs), state_file: Arc::new(fsm::file_to_read) }
    }
}

/// Where the log of a data directory is.
pub fn log_dir(dir: &Path) -> PathBuf {
    let home = match identity::read(&ReadFs, dir) {
        Ok(Some(facts)) => facts.home(dir),
        _ => dir.to_path_buf(),
    };
    home.join("wal")
}

/// What lies in a data directory, and where.
struct Place {
    /// The identity file's verdict; `None` if there is no such file.
    identity: Result<Option<Facts>, identity::Error>,
    /// Where the log is.
    wal: PathBuf,
    /// Where the state files are.
    state: PathBuf,
    /// The numbers of those that are there.
    numbers: Vec<u64>,
    /// Whether there is any file of a log.
    has_log: bool,
}

impl Place {
    /// Looks into a directory, and refuses one that is no node's.
    fn find(disk: &Disk, dir: &Path) -> Result<Place, Exit> {
        let usage = |text: String| Err(Exit::new(ExitCode::Usage, text));
        if let Err(error) = disk.fs.list(dir) {
            return match error.kind() {
                io::ErrorKind::NotFound => usage(format!("{}: no such directory", dir.display())),
                io::ErrorKind::NotADirectory => usage(format!("{}: not a directory", dir.display())),
                _ => Err(unreadable(dir, &error)),
            };
        }
        let identity = identity::read(&*disk.fs, dir);
        let state = match &identity {
            Ok(Some(facts)) => facts.home(dir),
            _ => dir.to_path_buf(),
        };
        let wal = state.join("wal");
        // Who lost its log and asks to be let in again has no home yet.
        let numbers = match crate::node::state_files::numbers(&*disk.fs, &state) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            numbers => numbers.map_err(|error| unreadable(&state, &error))?,
        };
        let has_log = match disk.fs.list(&wal) {
            Ok(names) => names.iter().any(|name| name.ends_with(".wal")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(unreadable(&wal, &error)),
        };
        if matches!(identity, Ok(None)) && numbers.is_empty() && !has_log {
            return usage(format!("{}: this is no node's data directory", dir.display()));
        }
        Ok(Place { identity, wal, state, numbers, has_log })
    }
}

/// What it means that something cannot be read at all.
fn unreadable(path: &Path, error: &io::Error) -> Exit {
    let code = match super::UNUSABLE.contains(&error.kind()) {
        true => ExitCode::Usage,
        false => ExitCode::Disk,
    };
    Exit::new(code, format!("{}: {error}", path.display()))
}
