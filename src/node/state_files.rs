//! The state files of a group: which file a number stands for.
//!
//! The log's base record holds the number of the one that counts (see `wal`): number 0 is `state.redb`, number n is
//! `state.n.redb`. A snapshot that comes in, or a rewrite, is written under the next number, where nobody looks for it;
//! the record is the switch. So no name is ever changed, and whatever else of that kind lies in the directory is what a
//! crash left: at the start all but the one that counts are removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fsm::{self, Builder, RawFile, Store};
use crate::wal::fs::{Fs, SharedFs};

/// Opens a raw file at a path, making it if it is not there; its name is durable then.
pub type OpenRaw = Arc<dyn Fn(&Path) -> Result<RawFile, fsm::Error> + Send + Sync>;

/// The files of one group. Cheap to clone. All methods block on the disk.
#[derive(Clone)]
pub struct StateFiles {
    /// Where they are.
    pub dir: PathBuf,
    /// The file system that they are in.
    pub fs: SharedFs,
    /// Opens one.
    pub open: OpenRaw,
    /// What stores are opened with.
    pub options: fsm::Options,
}

impl StateFiles {
    /// The path of a number.
    pub fn path(&self, number: u64) -> PathBuf {
        self.dir.join(name(number))
    }

    /// Opens the store of a number.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub fn open(&self, number: u64) -> Result<Store, fsm::Error> {
        (self.open)(&self.path(number)).and_then(|raw| Store::open(raw, self.options.clone()))
    }

    /// A new raw file of a number that was never pointed to.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn create(&self, number: u64) -> Result<RawFile, fsm::Error> {
        assert!(number > 0, "state.redb is a group's first file");
        // What was there is a try that came to nothing.
        self.remove(number)?;
        (self.open)(&self.path(number))
    }

    /// Begins the file of a snapshot.
    ///
    /// # Errors
    /// See [`Builder::begin`].
    pub fn receive(&self, number: u64, manifest: &bytes::Bytes) -> Result<Builder, fsm::Error> {
        Builder::begin(self.create(number)?, self.options.clone(), manifest)
    }

    /// Removes the file of a number, if there is one.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn remove(&self, number: u64) -> Result<(), fsm::Error> {
        let path = self.path(number);
        match self.fs.remove(&path) {
            Ok(()) => self.fs.sync_dir(&self.dir).map_err(|error| failed(&self.dir, &error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// Removes all but the one that counts.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn remove_others(&self, number: u64) -> Result<(), fsm::Error> {
        let numbers = numbers(&*self.fs, &self.dir).map_err(|error| failed(&self.dir, &error))?;
        for other in numbers.into_iter().filter(|other| *other != number) {
            tracing::info!(file = %self.path(other).display(), "a state file that does not count any more: removed");
            self.remove(other)?;
        }
        Ok(())
    }
}

/// The numbers of the state files in a directory.
///
/// # Errors
/// If it cannot be read.
pub fn numbers(fs: &dyn Fs, dir: &Path) -> std::io::Result<Vec<u64>> {
    Ok(fs.list(dir)?.iter().filter_map(|name| number_of(name)).collect())
}

fn failed(path: &Path, error: &std::io::Error) -> fsm::Error {
    fsm::Error::io(format!("{}: {error}", path.display()), error)
}

/// The file name of a number.
pub fn name(number: u64) -> String {
    match number {
        0 => "state.redb".to_owned(),
        number => format!("state.{number}.redb"),
    }
}

/// The number that a file name stands for, if it is one of ours.
fn number_of(file: &str) -> Option<u64> {
    if file == "state.redb" {
        return Some(0);
    }
    let number = file.strip_prefix("state.")?.strip_suffix(".redb")?.parse().ok()?;
    (number > 0 && name(number) == file).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_name() {
        for number in [0, 1, 17, u64::MAX] {
            assert_eq!(number_of(&name(number)), Some(number));
        }
        for other in
            ["state.0.redb", "state.01.redb", "state.+1.redb", "state.x.redb", "state.1.redb.bak", "wal"]
        {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
