//! Reading entries back, from any thread, while the writer goes on.
//!
//! A reader looks up in the index where to begin and which file that is, lets go of the index, and reads: only
//! bytes that are durable and that nobody ever writes again. A segment freed meanwhile stays readable through the
//! open file. Sector, header and payload checksums are verified. An entry that fails one is never returned and never
//! skipped: the read ends before it, or with [`Error::Entry`] if it is the first one. On the way to an entry others are
//! passed over, whose headers alone must be readable; where not even that is so, the entry cannot be reached, and counts
//! as damaged too.
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

    /// Passes a result on; poisons the log if it is a disk error, or damage of more than an entry.
    pub fn poison_on_error<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        let is_harmless =
            |error: &Error| matches!(error, Error::Full | Error::NoRoom { .. } | Error::Entry { .. });
        if result.as_ref().is_err_and(|error| !is_harmless(error)) {
            self.poisoned.store(true, Ordering::Release);
        }
        result
    }
}

/// What a part of a scrub has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Where the next part begins; none if this was the last one.
    pub next: Option<(GroupId, Index)>,
    /// How much of the log was read, about.
    pub bytes: usize,
    /// The entries that cannot be read back.
    pub damaged: Vec<(GroupId, Index)>,
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
    /// before one that was durable when this was called. [`Error::Entry`] if `first` is damaged; the entries before it if
    /// a later one is.
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

    /// Reads entries only to see whether they can be read: those of all groups, in order, from a place on (the first group
    /// and index 0 for all of them), until about `bytes_max` were read. So bit rot is found while other members have the
    /// entries, and not by the next crash. Whoever calls this decides how fast the log is gone through.
    ///
    /// What is not an entry (hard states, preambles) is judged by recovery alone.
    pub fn scrub(&self, from: (GroupId, Index), bytes_max: usize) -> Result<Scrubbed, Error> {
        let mut scrubbed = Scrubbed { next: Some(from), bytes: 0, damaged: Vec::new() };
        while scrubbed.bytes < bytes_max {
            scrubbed.next = scrubbed.next.and_then(|at| self.shared.look(|points| points.next_held(at)));
            let Some((group, index)) = scrubbed.next else { break };
            let read = self.read(group, index, Index(u64::MAX), bytes_max - scrubbed.bytes);
            let last = match read {
                Ok(entries) => {
                    scrubbed.bytes += entries.iter().map(Entry::bytes).sum::<usize>();
                    entries.last().map_or(index, |entry| entry.index)
                }
                Err(Error::Entry { group, index, .. }) => {
                    scrubbed.bytes += SECTOR_BYTES;
                    scrubbed.damaged.push((group, index));
                    index
                }
                Err(error) => return Err(error),
            };
            scrubbed.next = Some((group, last.next()));
        }
        Ok(scrubbed)
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
            let (read, error) = read;
            if let Some(error) = error
                && (!matches!(error, Error::Entry { .. }) || (entries.is_empty() && read.is_empty()))
            {
                return Err(error);
            }
            if read.is_empty() {
                break;
            }
            for entry in read {
                bytes += entry.bytes();
                next = entry.index.next();
                entries.push(entry);
            }
        }
        Ok(Some(entries))
    }

    /// The wanted entries of one stretch, one at least, or an error that comes behind those that are returned.
    fn read_stretch(&self, stretch: &Stretch, wanted: &Wanted) -> (Vec<Entry>, Option<Error>) {
        let path = segment::path(&self.dir, stretch.point.segment);
        let mut cursor = Cursor::new(stretch, path);
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut at = stretch.point.index;
        while at < stretch.limit && at <= wanted.last && (entries.is_empty() || bytes < wanted.bytes_max) {
            match cursor.next_entry(wanted.group, at, wanted.first) {
                Ok(entry) => {
                    bytes += entry.as_ref().map_or(0, Entry::bytes);
                    entries.extend(entry);
                }
                Err(Trouble::Disk(error)) => return (entries, Some(error)),
                Err(Trouble::Damage(offset, what)) => {
                    let (group, index, file) = (wanted.group, at.max(wanted.first), cursor.path);
                    return (entries, Some(Error::Entry { group, index, file, offset, what }));
                }
            }
            at = at.next();
        }
        (entries, None)
    }
}

/// Why an entry was not read.
enum Trouble {
    /// The disk failed.
    Disk(Error),
    /// What stands at this offset is not what was written.
    Damage(u64, String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Disk(error)
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
    /// Whether the current sector is not what was written, and whether one has been met since this was last cleared.
    is_bad: bool,
    met_bad: Option<u64>,
    /// Where in the current sector's data the first record begins that begins in it, if that is whole.
    begins: Option<usize>,
    /// The header CRC of the record before, where known.
    chain: Option<u32>,
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
            is_bad: false,
            met_bad: None,
            begins: None,
            chain: None,
            chunk: Cursor::CHUNK_BYTES_MIN,
        }
    }

    /// The next entry of the group, which must be `index`; `None` if that is before `wanted` and was passed over.
    fn next_entry(&mut self, group: GroupId, index: Index, wanted: Index) -> Result<Option<Entry>, Trouble> {
        loop {
            self.skip_padding()?;
            let mut bytes = [0; HEADER_BYTES];
            let offset = self.offset();
            self.met_bad = self.is_bad.then_some(offset);
            self.take(&mut bytes)?;
            let damaged = |what: &str| Err(Trouble::Damage(offset, what.to_owned()));
            let header = match Header::decode(&bytes) {
                Ok((header, crc)) if self.chain.is_none_or(|chain| chain == header.chain) => {
                    self.chain = Some(crc);
                    header
                }
                Ok(_) => return damaged("the record does not follow the one before it"),
                // Padding of which nothing is known; if it was a record, the next one does not follow.
                Err(_) if self.met_bad.is_some() && self.resume(offset)? => continue,
                Err(what) => return damaged(what),
            };
            let (Kind::Entry(kind) | Kind::Repair(kind)) = header.kind else {
                self.skip(header.len as usize)?;
                continue;
            };
            // A repair is a stretch by itself; elsewhere one is met only behind the entry of its index.
            if header.group != group || (matches!(header.kind, Kind::Repair(_)) && header.index != index) {
                self.skip(header.len as usize)?;
                continue;
            }
            if header.index != index {
                return damaged(&format!("entry {} stands where {index} should", header.index));
            }
            if index < wanted {
                self.skip(header.len as usize)?;
                return Ok(None);
            }
            let mut payload = vec![0; header.len as usize];
            self.take(&mut payload)?;
            if let Some(offset) = self.met_bad {
                return Err(Trouble::Damage(
                    offset,
                    "a sector that was synced is no longer whole".to_owned(),
                ));
            }
            let payload = Bytes::from(payload);
            let entry = Entry { index, term: header.term, kind, payload, crc: header.payload_crc };
            if !entry.is_intact() {
                return damaged(&format!("entry {index} fails its checksum"));
            }
            return Ok(Some(entry));
        }
    }

    /// Goes to the first record that begins in a sector after the one with this offset. False if there is none.
    fn resume(&mut self, offset: u64) -> Result<bool, Trouble> {
        let mut is_new = self.sector > offset / SECTOR_BYTES as u64 + 1;
        while !is_new || self.begins.is_none() {
            if offset_of(self.sector + 1)
                > self.file.len().map_err(Error::io(&self.path, "reading the length"))?
            {
                return Ok(false);
            }
            self.data_at = DATA_BYTES;
            self.load()?;
            is_new = true;
        }
        self.data_at = self.begins.unwrap_or_default();
        Ok(true)
    }

    fn offset(&self) -> u64 {
        offset_of(self.sector.saturating_sub(1)) + (FRAME_BYTES + self.data_at) as u64
    }

    /// Goes to where the next record begins.
    fn skip_padding(&mut self) -> Result<(), Trouble> {
        if self.data_at >= DATA_BYTES {
            self.load()?;
        }
        if self.data[self.data_at] == 0 {
            self.data_at = DATA_BYTES;
            self.load()?;
        }
        Ok(())
    }

    fn take(&mut self, mut into: &mut [u8]) -> Result<(), Trouble> {
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

    fn skip(&mut self, mut len: usize) -> Result<(), Trouble> {
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
    fn load(&mut self) -> Result<(), Trouble> {
        if self.used == self.raw.len() {
            let at = offset_of(self.sector);
            let end = self.file.len().map_err(Error::io(&self.path, "reading the length"))?;
            let len = self.chunk.min(end.saturating_sub(at));
            if len < SECTOR_BYTES as u64 {
                return Err(Trouble::Damage(at, "the segment ends inside its records".to_owned()));
            }
            self.raw.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
            self.file.read_at(at, &mut self.raw).map_err(Error::io(&self.path, "reading"))?;
            self.used = 0;
            self.chunk = (self.chunk * 4).min(Cursor::CHUNK_BYTES_MAX);
        }
        let bytes = &self.raw[self.used..self.used + SECTOR_BYTES];
        let judged = judge(bytes, self.segment, self.sector);
        self.is_bad = !matches!(judged, Sector::Whole(_));
        self.begins = match judged {
            Sector::Whole(frame) => frame.record_begins,
            Sector::Bad | Sector::Unwritten => None,
        };
        if self.is_bad {
            self.met_bad = self.met_bad.or(Some(offset_of(self.sector)));
        }
        self.data.copy_from_slice(&bytes[FRAME_BYTES..]);
        self.data_at -= DATA_BYTES;
        self.used += SECTOR_BYTES;
        self.sector += 1;
        Ok(())
    }
}
