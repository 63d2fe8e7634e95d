//! A log that is looked at while no node runs on it: read by the same code as at a start, whole, and left as it is. Not
//! even a lock file is made, the last batch is not written again, and a spare stays where it is.
//!
//! What is read here may therefore be less durable than what [`super::Wal::open`] returns: whoever builds on it makes it
//! durable in a place of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use crate::types::Owner;

use super::error::Error;
use super::fs::Fs;
use super::reader::{Reader, Shared};
use super::recover::{Recovered, replay_watched};
use super::segment;

pub use super::recover::SegmentRead;
pub use super::wal::lock;

/// The files of the log in `dir`, oldest first: number and path.
///
/// # Errors
/// [`Error::Io`] if the directory cannot be read.
pub fn files(fs: &dyn Fs, dir: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let numbers = segment::list(fs, dir)?;
    Ok(numbers.into_iter().map(|number| (number, segment::path(dir, number))).collect())
}

/// Whose log it is, by its oldest file; `None` if there is none.
///
/// # Errors
/// As of [`read`].
pub fn owner(fs: &dyn Fs, dir: &Path) -> Result<Option<Owner>, Error> {
    let first = segment::list(fs, dir)?.first().copied();
    first.map(|number| Ok(segment::open(fs, dir, number)?.header.owner)).transpose()
}

/// Reads the log in `dir`, which must be `owner`'s, up to the first damage; `None` if there is none. Tells of each segment
/// once it was read. The reader reads what a node that starts would go on with: nothing behind a cut.
///
/// # Errors
/// Those with which [`super::Wal::open`] would refuse the log.
pub fn read(
    fs: &dyn Fs,
    dir: &Path,
    owner: Owner,
    on_segment: &mut dyn FnMut(SegmentRead),
) -> Result<Option<(Reader, Recovered)>, Error> {
    let Some(mut replay) = replay_watched(fs, dir, owner, 0, on_segment)? else { return Ok(None) };
    let recovered = replay.recovered()?;
    let shared = Shared { points: RwLock::new(replay.points), poisoned: AtomicBool::new(false) };
    Ok(Some((Reader { shared: Arc::new(shared), dir: Arc::from(dir) }, recovered)))
}
