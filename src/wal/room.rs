//! Room for the next segment, or none (H18).
//!
//! A segment is filled with zeroes before it is used, so a disk that is full shows itself while the *next* one is made, and
//! not in a write of data: nothing that is promised is at stake, and nothing is poisoned. What was made of it is removed,
//! and [`Error::NoRoom`] leaves the log as good as before; the call is to be made again when there is room. In a segment
//! that exists no write needs room any more; if one fails for want of it all the same, that is a failed write (H15).
//!
//! While the log knows that it has no next segment, it is *cramped*: the end of this one ([`KEPT_SHARE`]) takes no entries
//! any more, but what makes room (purges) and what is small (votes).
//!
//! A log whose end was cut at its start (see the [module](super)) goes on in a new segment. Where there is no room for that,
//! the log opens, and the cut waits with the first write.

use std::io;
use std::path::Path;

use super::Wal;
use super::error::Error;
use super::fs::is_out_of_room;
use super::sector::offset_of;
use super::segment::Spare;

/// The part of a cramped segment that takes no entries.
const KEPT_SHARE: u64 = 8;

impl Wal {
    /// Whether a batch of so many sectors goes into the present segment.
    pub(super) fn fits(&self, sectors: u64, has_entries: bool) -> bool {
        let all = self.sectors();
        let kept = if self.is_cramped && has_entries { all / KEPT_SHARE } else { 0 };
        self.cut.is_none() && self.next_sector + sectors + kept <= all
    }

    /// Where the present segment ends for whoever reads it once there is a next one.
    pub(super) fn end(&self) -> u64 {
        self.cut.unwrap_or(offset_of(self.next_sector))
    }

    /// A file for the next segment, if there is room for all of it.
    pub(super) fn begin_spare(&self, bytes: u64) -> Result<Spare, Error> {
        // Asked first, so that a disk that is nearly full is not filled to the brim in vain. Who cannot tell is tried.
        match self.fs.free_bytes(&self.dir) {
            Ok(free) if free < bytes => Err(Error::NoRoom { dir: self.dir.clone(), needed: bytes }),
            _ => Spare::create(&*self.fs, &self.dir, bytes, &self.syncs),
        }
    }

    /// Passes on what came of making the next segment: where there was no room for it, nothing of it is left.
    pub(super) fn judge_next<T>(&mut self, made: Result<T, Error>) -> Result<T, Error> {
        self.is_cramped = matches!(made, Err(Error::NoRoom { .. }));
        if self.is_cramped {
            self.spare = None;
            Spare::remove(&*self.fs, &self.dir)?;
        }
        made
    }

    /// Whether there is no next segment, as of the last time that one was wanted.
    pub fn is_cramped(&self) -> bool {
        self.is_cramped || self.cut.is_some()
    }
}

impl Error {
    /// Names the file and the call of a system error in the making of a segment of so many bytes.
    pub(super) fn making(file: &Path, needed: u64, doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| match is_out_of_room(&source) {
            true => Error::NoRoom { dir: file.parent().unwrap_or(file).to_path_buf(), needed },
            false => Error::Io { file: file.to_path_buf(), doing, source },
        }
    }
}
