//! Reading entries back, from any thread, while the writer goes on.
//!
//! A reader looks up in the index where to begin and which file that is, lets go of the index, and reads: only
//! bytes that are durable and that nobody ever writes again. A segment freed meanwhile stays readable through the
//! open file. Sector, header and payload checksums are verified; an entry that fails one is damage, never skipped.
//!
//! After each stretch it looks again. If the log was purged beyond the place meanwhile, what was read, or the error
//! that was met, is of no matter to anybody: it is dropped. If the log was reset (an install), entries before and
//! after that are of different logs: all is dropped, and the read begins anew.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::raft::Entry;
use crate::types::{GroupId, Index};

use super::error::Error;
use super::index::{Points, Stretch};
use super::record::{HEADER_BYTES, Header, Kind};
use super::sector::{DATA_BYTES, FRAME_BYTES, SECTOR_BYTES, Sector, judge, offset_of};
use super::segment;

/// What the writer and its readers share.
pub struct Shared {
    /// Where entries stand.
    pub points: RwLock<Points>,
    /// Set by the first disk error, never cleared.
    pub poisoned: AtomicBool,
}

impl Shared {
    /// Looks something up in the index.
    pub fn look<T>(&self, look: impl FnOnce(&Points) -> T) -> T {
        look(&self.points.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the index.
    pub fn with_points<T>(&self, change: impl FnOnce(&mut Points) -> T) -> T {
        change(&mut self.points.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Refuses to go on after a disk error.
    pub fn check(&self) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Passes a result on; poisons the log if it is a disk error or damage.
    pub fn poison_on_error<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(|error| !matches!(error, Error::Full)) {
            self.poisoned.store(true, Ordering::Release);
        }
        result
    }
}

/// Reads entries back. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) dir: Arc<Path>,
}

impl Reader {
    /// The entries of `group` from `first` to `last`, or fewer: it stops after the entry with which `bytes_max`
    /// (as [`Entry::bytes`] counts) is reached. Empty, and no error, if `first` is not held: purged, void, or beyond the
    /// end, also if it becomes so while it is read. Never entries of before an install together with others, nor of
    /// before one that was durable when this was called.
    ///
    /// An entry that the writer replaces at the same time is returned as it was or as it is; each is one that the
    /// log held durably.
    pub fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, Error> {
        self.shared.check()?;
        let result = loop {
            match self.read_stretches(group, first, last, bytes_max) {
                Ok(None) => {}
                Ok(Some(entries)) => break Ok(entries),
                Err(error) => break Err(error),
            }
        };
        self.shared.poison_on_error(result)
    }

    /// `None` if the log was reset meanwhile.
    fn read_stretches(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> Result<Option<Vec<Entry>>, Error> {
        let resets = self.shared.look(|points| points.resets(group));
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut next = first;
        while next <= last && (entries.is_empty() || bytes < bytes_max) {
            let Some(stretch) = self.shared.look(|points| points.find(group, next)) else { break };
            let wanted = Wanted { group, first: next, last, bytes_max: bytes_max.saturating_sub(bytes) };
            let read = self.read_stretch(&stretch, &wanted);
            let (resets_now, holds) =
                self.shared.look(|points| (points.resets(group), points.holds(group, next)));
            if resets_now != resets {
                return Ok(None);
            }
            if !holds {
                break;
            }
            for entry in read? {
                bytes += entry.bytes();
                next = entry.index.next();
                entries.push(entry);
            }
        }
        Ok(Some(entries))
    }

    /// The wanted entries of one stretch, one at least.
    fn read_stretch(&self, stretch: &Stretch, wanted: &Wanted) -> Result<Vec<Entry>, Error> {
        let path = segment::path(&self.dir, stretch.point.segment);
        let mut cursor = Cursor::new(stretch, path);
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut at = stretch.point.index;
        while at < stretch.limit && at <= wanted.last && (entries.is_empty() || bytes < wanted.bytes_max) {
            if let Some(entry) = cursor.next_entry(wanted.group, at, wanted.first)? {
                bytes += entry.bytes();
                entries.push(entry);
            }
            at = at.next();
        }
        Ok(entries)
    }
}

/// What a reader is asked for, as far as it has not been read yet.
struct Wanted {
    group: GroupId,
    first: Index,
    last: Index,
    bytes_max: usize,
}

/// Walks the records of one segment.
struct Cursor {
    file: segment::SharedFile,
    path: PathBuf,
    segment: u64,
    /// The next sector to load.
    sector: u64,
    /// Sectors read ahead, raw, and how many of them are used up.
    raw: Vec<u8>,
    used: usize,
    /// The data of the current sector that is not used up.
    data: [u8; DATA_BYTES],
    data_at: usize,
    /// How much to read at a time: grows, since a short read is common and a long one worth it.
    chunk: u64,
}

impl Cursor {
    const CHUNK_BYTES_MIN: u64 = 8 << 10;
    const CHUNK_BYTES_MAX: u64 = 512 << 10;

    fn new(stretch: &Stretch, path: PathBuf) -> Cursor {
        let sector = stretch.point.offset / SECTOR_BYTES as u64;
        let within = usize::try_from(stretch.point.offset % SECTOR_BYTES as u64).unwrap_or(0);
        assert!(within >= FRAME_BYTES, "a record at {} begins inside a frame", stretch.point.offset);
        Cursor {
            file: stretch.file.clone(),
            path,
            segment: stretch.point.segment,
            sector,
            raw: Vec::new(),
            used: 0,
            data: [0; DATA_BYTES],
            // The first sector is loaded when it is needed; until then this says how much of it to skip.
            data_at: DATA_BYTES + (within - FRAME_BYTES),
            chunk: Cursor::CHUNK_BYTES_MIN,
        }
    }

    /// The next entry of the group, which must be `index`; `None` if that is before `wanted` and was passed over.
    fn next_entry(&mut self, group: GroupId, index: Index, wanted: Index) -> Result<Option<Entry>, Error> {
        loop {
            self.skip_padding()?;
            let mut bytes = [0; HEADER_BYTES];
            let offset = self.offset();
            self.take(&mut bytes)?;
            let damaged = |what: String| Error::damaged(&self.path, offset, what);
            let (header, _) = Header::decode(&bytes).map_err(|what| damaged(what.to_owned()))?;
            let Kind::Entry(kind) = header.kind else {
                self.skip(header.len as usize)?;
                continue;
            };
            if header.group != group {
                self.skip(header.len as usize)?;
                continue;
            }
            if header.index != index {
                return Err(damaged(format!("entry {} stands where {index} should", header.index)));
            }
            if index < wanted {
                self.skip(header.len as usize)?;
                return Ok(None);
            }
            let mut payload = vec![0; header.len as usize];
            self.take(&mut payload)?;
            let payload = Bytes::from(payload);
            let entry = Entry { index, term: header.term, kind, payload, crc: header.payload_crc };
            if !entry.is_intact() {
                return Err(Error::damaged(&self.path, offset, format!("entry {index} fails its checksum")));
            }
            return Ok(Some(entry));
        }
    }

    fn offset(&self) -> u64 {
        offset_of(self.sector.saturating_sub(1)) + (FRAME_BYTES + self.data_at) as u64
    }

    /// Goes to where the next record begins.
    fn skip_padding(&mut self) -> Result<(), Error> {
        if self.data_at >= DATA_BYTES {
            self.load()?;
        }
        if self.data[self.data_at] == 0 {
            self.data_at = DATA_BYTES;
            self.load()?;
        }
        Ok(())
    }

    fn take(&mut self, mut into: &mut [u8]) -> Result<(), Error> {
        while !into.is_empty() {
            if self.data_at >= DATA_BYTES {
                self.load()?;
            }
            let len = into.len().min(DATA_BYTES - self.data_at);
            let (now, later) = into.split_at_mut(len);
            now.copy_from_slice(&self.data[self.data_at..self.data_at + len]);
            self.data_at += len;
            into = later;
        }
        Ok(())
    }

    fn skip(&mut self, mut len: usize) -> Result<(), Error> {
        while len > 0 {
            if self.data_at >= DATA_BYTES {
                self.load()?;
            }
            let now = len.min(DATA_BYTES - self.data_at);
            self.data_at += now;
            len -= now;
        }
        Ok(())
    }

    /// Loads the next sector.
    fn load(&mut self) -> Result<(), Error> {
        if self.used == self.raw.len() {
            let at = offset_of(self.sector);
            let end = self.file.len().map_err(Error::io(&self.path, "reading the length"))?;
            let len = self.chunk.min(end.saturating_sub(at));
            if len < SECTOR_BYTES as u64 {
                return Err(Error::damaged(&self.path, at, "the segment ends inside its records"));
            }
            self.raw.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
            self.file.read_at(at, &mut self.raw).map_err(Error::io(&self.path, "reading"))?;
            self.used = 0;
            self.chunk = (self.chunk * 4).min(Cursor::CHUNK_BYTES_MAX);
        }
        let bytes = &self.raw[self.used..self.used + SECTOR_BYTES];
        if !matches!(judge(bytes, self.segment, self.sector), Sector::Whole(_)) {
            let at = offset_of(self.sector);
            return Err(Error::damaged(&self.path, at, "a sector that was synced is no longer whole"));
        }
        self.data.copy_from_slice(&bytes[FRAME_BYTES..]);
        self.data_at -= DATA_BYTES;
        self.used += SECTOR_BYTES;
        self.sector += 1;
        Ok(())
    }
}
