//! The state files of a group: which file a number stands for.
//!
//! The log's base record holds the number of the one that counts (see `wal`): number 0 is `state.redb`, number n is
//! `state.n.redb`. A snapshot that comes in, or a rewrite, is written under the next number, where nobody looks for it;
//! the record is the switch. So no name is ever changed, and whatever else of that kind lies in the directory is what a
//! crash left: at the start all but the one that counts are removed.
//!
//! # A state that is lost
//!
//! A file that counts and is damaged, or known to be wrong, is *set aside*: its name is taken from it, durably, before anything
//! else is done about it. So no start takes it for the state again, whatever crash comes in between. It is kept under another
//! name until there is a new state, for whoever wants to look at it.
//!
//! A start ([`StateFiles::recover`]) makes the same of a file that is damaged, cut short or missing, or that ends before
//! the log begins:
//!
//! | the log | what becomes of it |
//! |---|---|
//! | reaches back to the beginning | An empty file takes its place, under the same number; the log is applied from its first entry. |
//! | does not; there is another voter | The node starts without a state, and asks for a snapshot. |
//! | does not, and there is none | Refused (exit 3): the directory is left as it is. |
//!
//! What is whole but another's is never given up in silence: another owner, another format, an end that the log does not have.
//! Then somebody has exchanged files, and can put them back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fsm::{self, Builder, Fresh, RawFile, Store};
use crate::types::{Index, NodeId};
use crate::wal::RecoveredGroup;
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
    /// Counts the syncs of what `open` opens.
    pub syncs: fsm::Syncs,
}

impl StateFiles {
    /// The path of a number.
    pub fn path(&self, number: u64) -> PathBuf {
        self.dir.join(name(number))
    }

    /// Opens the store of a number, or begins it.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub fn open(&self, number: u64) -> Result<Store, fsm::Error> {
        (self.open)(&self.path(number)).and_then(|raw| Store::open(raw, self.options.clone()))
    }

    /// Opens the store of a number that was there before.
    fn reopen(&self, number: u64) -> Result<Store, fsm::Error> {
        let names = self.fs.list(&self.dir).map_err(|error| failed(&self.dir, &error))?;
        if !names.contains(&name(number)) {
            return Err(fsm::Error::Damaged { offset: None, what: "it is not there".to_owned() });
        }
        (self.open)(&self.path(number)).and_then(|raw| Store::reopen(raw, self.options.clone()))
    }

    /// Opens the state that the log points to, or does without it; see the [module](self). `is_new`: the node starts for
    /// the first time, and a state that is not there was never there. Removes what a crash left of others.
    ///
    /// # Errors
    /// See [`Store::open`]; [`fsm::Error::Damaged`] if it is lost and nobody can help.
    pub fn recover(
        &self,
        node: NodeId,
        group: &RecoveredGroup,
        is_new: bool,
    ) -> Result<Recovered, fsm::Error> {
        let number = group.state;
        let (purged, opened) = (group.purged.0, if is_new { self.open(number) } else { self.reopen(number) });
        let lost = match opened {
            Ok(store) if store.folded().0 < purged => {
                let (first, folded) = (purged.next(), store.folded().0);
                let what = format!("it ends at index {folded}, and the log begins at {first}");
                fsm::Error::Damaged { offset: None, what }
            }
            Ok(store) => {
                self.remove_others(number)?;
                self.remove_aside()?;
                return Ok(Recovered { store, lost: None });
            }
            Err(lost @ fsm::Error::Damaged { .. }) => lost,
            Err(error) => return Err(error),
        };
        let configuration = group.memberships.last().map_or(&group.base, |(_, membership)| membership);
        let reaches_back = purged == Index(0);
        if !reaches_back && !super::can_be_helped(node, configuration) {
            return Err(lost);
        }
        self.set_aside(number)?;
        self.remove_others(number)?;
        let store = match reaches_back {
            true => {
                let store = self.open(number)?;
                // All that it held is in the log.
                self.remove_aside()?;
                store
            }
            false => Store::without_state(self.options.clone())?,
        };
        Ok(Recovered { store, lost: Some(lost) })
    }

    /// Takes the name from the file of a number, if there is one.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn set_aside(&self, number: u64) -> Result<(), fsm::Error> {
        let path = self.path(number);
        match self.fs.rename(&path, &self.dir.join(aside(number))) {
            Ok(()) => self.fs.sync_dir(&self.dir).map_err(|error| failed(&self.dir, &error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// Removes what was set aside.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn remove_aside(&self) -> Result<(), fsm::Error> {
        let names = self.fs.list(&self.dir).map_err(|error| failed(&self.dir, &error))?;
        for name in names.iter().filter(|name| number_of_aside(name).is_some()) {
            let path = self.dir.join(name);
            tracing::info!(file = %path.display(), "a state file that was given up: removed");
            self.fs.remove(&path).map_err(|error| failed(&path, &error))?;
        }
        Ok(())
    }

    /// An empty state in the file of a number, which was set aside.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub fn begin(&self, number: u64) -> Result<Fresh, fsm::Error> {
        (self.open)(&self.path(number)).and_then(|raw| Fresh::begin(raw, &self.options))
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

/// What a start found, or made of it.
pub struct Recovered {
    /// The store; it may be without a state.
    pub store: Store,
    /// What was wrong with the state that was there, if it had to be given up.
    pub lost: Option<fsm::Error>,
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

/// How the name of a file that was set aside ends.
const ASIDE: &str = ".aside";

fn aside(number: u64) -> String {
    format!("{}{ASIDE}", name(number))
}

fn number_of_aside(file: &str) -> Option<u64> {
    file.strip_suffix(ASIDE).and_then(number_of)
}

/// Whether a file of this name is, or was, a state file.
pub fn is_ours(file: &str) -> bool {
    number_of(file).or_else(|| number_of_aside(file)).is_some()
}

/// The number that a file name stands for, if it is one of ours.
pub fn number_of(file: &str) -> Option<u64> {
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
            assert_eq!(number_of(&aside(number)), None);
            assert_eq!(number_of_aside(&aside(number)), Some(number));
        }
        for other in
            ["state.0.redb", "state.01.redb", "state.+1.redb", "state.x.redb", "state.1.redb.bak", "wal"]
        {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
