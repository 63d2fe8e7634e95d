//! The writer: appends, purges, rolls.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use bytes::Bytes;

use crate::raft::{Entry, HardState, Membership};
use crate::types::{GroupId, Index, Owner, Term};

use super::error::Error;
use super::fs::{SharedFs, make_dirs};
use super::group::{Group, config_of};
use super::hard_state::{self, HARD_STATE_BYTES};
use super::index::{Point, Points};
use super::reader::{Reader, Shared};
use super::record::{HEADER_BYTES, Header, Kind, payload_len};
use super::recover::{Held, Recovered, Replay, replay};
use super::sector::{DATA_BYTES, Layout, SECTOR_BYTES, offset_of};
use super::segment::{self, SegmentHeader, SharedFile, Spare};

/// What the log is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whose log it is. A new one is stamped with it, the log of another owner is refused.
    pub owner: Owner,
    /// The length of a segment; rounded up to whole sectors. A batch that needs more gets a longer one.
    pub segment_bytes: u64,
    /// Entries are refused once the log would grow past this. Hard states and purges are not, and one segment of it
    /// is kept for them.
    pub bytes_max: u64,
    /// How much of each group's end recovery hands over in [`super::RecoveredGroup::tail`].
    pub tail_bytes_max: usize,
}

/// What one group wants written. The hard state stands before the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupWrite {
    /// Whose it is.
    pub group: GroupId,
    /// A new hard state.
    pub hard_state: Option<HardState>,
    /// Entries, contiguous. What the log holds at the first one's index and beyond is void from here on.
    pub entries: Vec<Entry>,
}

/// The log of a node. There is one writer; [`Reader`]s read beside it.
pub struct Wal {
    fs: SharedFs,
    dir: PathBuf,
    options: Options,
    shared: Arc<Shared>,
    groups: BTreeMap<GroupId, Group>,
    segments: BTreeMap<u64, Held>,
    /// The newest segment: its number, its file, and the sector at which the next batch begins.
    number: u64,
    file: SharedFile,
    next_sector: u64,
    /// The number of the next batch, and the header CRC of the last record.
    batch: u64,
    chain: u32,
    spare: Option<Spare>,
    layout: Layout,
    /// The entries of the batch being written: where each will stand, for the index.
    noted: Vec<Noted>,
    _lock: Box<dyn Send + Sync>,
}

/// An entry of the batch being written.
struct Noted {
    group: GroupId,
    index: Index,
    /// Where its record begins in the batch.
    offset: u64,
    bytes: u64,
}

impl Wal {
    /// Opens the log in `dir`, making it and the groups of `bootstrap` where they do not exist, and reads it whole.
    /// Another owner's log is refused and left as it was, the spare included; of a damaged one no segment is touched.
    pub fn open(
        fs: SharedFs,
        dir: &Path,
        options: Options,
        bootstrap: &BTreeMap<GroupId, Membership>,
    ) -> Result<(Wal, Reader, Recovered), Error> {
        let sectors = options.segment_bytes.div_ceil(SECTOR_BYTES as u64).max(4);
        let options = Options { segment_bytes: offset_of(sectors), ..options };
        make_dirs(&*fs, dir).map_err(Error::io(dir, "creating the directory"))?;
        let lock_path = dir.join("lock");
        let lock = fs.lock(&lock_path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::Locked { dir: dir.to_path_buf() },
            _ => Error::io(&lock_path, "locking")(error),
        })?;
        let found = replay(&*fs, dir, options.owner, options.tail_bytes_max)?;
        Spare::remove(&*fs, dir)?;
        let mut found = match found {
            Some(found) => found,
            None => {
                create(&fs, dir, options, bootstrap)?;
                replay(&*fs, dir, options.owner, options.tail_bytes_max)?
                    .expect("the first segment was just made")
            }
        };
        let recovered = found.recovered()?;
        found.confirm(&*fs)?;
        let cut = found.torn.as_ref().map(|_| found.end);
        let mut wal = Wal::new(fs, dir, options, found, lock);
        if let Some(end) = cut {
            wal.begin_segment(end, 0)?;
        }
        let reader = Reader { shared: wal.shared.clone(), dir: Arc::from(dir) };
        let new: BTreeMap<_, _> = bootstrap.iter().filter(|(id, _)| !wal.groups.contains_key(id)).collect();
        if new.is_empty() {
            return Ok((wal, reader, recovered));
        }
        wal.add_groups(&new)?;
        let mut found =
            replay(&*wal.fs, dir, options.owner, options.tail_bytes_max)?.expect("the log was just read");
        let recovered = Recovered { torn: recovered.torn, ..found.recovered()? };
        Ok((wal, reader, recovered))
    }

    fn new(fs: SharedFs, dir: &Path, options: Options, found: Replay, lock: Box<dyn Send + Sync>) -> Wal {
        let file = found.newest_file();
        Wal {
            fs,
            dir: dir.to_path_buf(),
            options,
            number: found.newest,
            file,
            next_sector: found.end.div_ceil(SECTOR_BYTES as u64),
            batch: found.batch,
            chain: found.chain,
            shared: Arc::new(Shared { points: RwLock::new(found.points), poisoned: AtomicBool::new(false) }),
            groups: found.groups,
            segments: found.segments,
            spare: None,
            layout: Layout::default(),
            noted: Vec::new(),
            _lock: lock,
        }
    }

    /// Writes one batch and makes it durable with one fsync; does nothing if there is nothing to store. A group may
    /// appear more than once, in order. When this returns, all of it is on disk.
    ///
    /// [`Error::Full`] leaves the log as it was. Any other error poisons it: what was written may or may not be on
    /// disk, and every later call fails.
    pub fn append(&mut self, batch: &[GroupWrite]) -> Result<(), Error> {
        self.shared.check()?;
        if batch.iter().all(|write| write.hard_state.is_none() && write.entries.is_empty()) {
            return Ok(());
        }
        let result = self.append_batch(batch);
        self.shared.poison_on_error(result)
    }

    /// Records that the log of `group` begins after `to` from now on, where `base` was in force, and frees the
    /// segments that no group needs any more. A point at or before the present one changes nothing.
    pub fn purge(&mut self, group: GroupId, to: (Index, Term), base: &Membership) -> Result<(), Error> {
        self.shared.check()?;
        let known = self.groups.get(&group).unwrap_or_else(|| panic!("purge of unknown group {group}"));
        if to.0 <= known.purged.0 {
            return Ok(());
        }
        known.check_purge(to).unwrap_or_else(|what| panic!("group {group}: {what}"));
        let result = self.purge_group(group, to, base.encode());
        self.shared.poison_on_error(result)
    }

    /// How many bytes the log takes on disk, the segment being prepared included.
    pub fn bytes(&self) -> u64 {
        let spare = self.spare.as_ref().map_or(0, Spare::zeroed);
        self.segments.values().map(|held| held.bytes).sum::<u64>() + spare
    }

    /// Whether a batch with `bytes` of entries (as [`Entry::bytes`] counts) would be taken now, not refused as
    /// [`Error::Full`]. A little pessimistic, never optimistic.
    pub fn has_room(&self, bytes: u64) -> bool {
        // An entry costs 48 bytes besides its payload in both counts; frames add 1/31, hard states a few sectors.
        let sectors = bytes.div_ceil(DATA_BYTES as u64) + 1 + 2 * (self.groups.len() as u64);
        self.next_sector + sectors <= self.sectors() || self.may_grow(sectors)
    }
}

/// Makes the first segment of a log.
fn create(
    fs: &SharedFs,
    dir: &Path,
    options: Options,
    bootstrap: &BTreeMap<GroupId, Membership>,
) -> Result<(), Error> {
    let groups = bootstrap.iter().map(|(id, base)| (*id, Group::new(base.encode()))).collect();
    let before = Before { number: 0, end: 0, chain: 0, batch: 1 };
    let (header, mut layout, _) = preamble(&groups, before, &options, 0);
    let spare = Spare::create(&**fs, dir, header.bytes)?;
    spare.publish(&**fs, dir, &header, layout.seal(1, 1, 1))?;
    Ok(())
}

/// Where the log stands when a segment begins.
struct Before {
    number: u64,
    end: u64,
    chain: u32,
    batch: u64,
}

/// Lays out the first sector and the preamble of the next segment, which is long enough for `sectors` more; also
/// returns the chain value after it.
fn preamble(
    groups: &BTreeMap<GroupId, Group>,
    before: Before,
    options: &Options,
    sectors: u64,
) -> (SegmentHeader, Layout, u32) {
    assert!(!groups.is_empty(), "a log without a group has no preamble");
    let mut layout = Layout::default();
    let mut chain = before.chain;
    for (id, group) in groups {
        let payload = group.encode();
        let header = Header {
            kind: Kind::Group,
            group: *id,
            len: payload_len(&payload),
            payload_crc: crc32fast::hash(&payload),
            batch: before.batch,
            index: group.purged.0,
            term: group.purged.1,
            chain,
        };
        chain = header.put(&payload, &mut layout).1;
    }
    let bytes = options.segment_bytes.max(offset_of(1 + layout.sectors() + sectors));
    let number = before.number + 1;
    let header = SegmentHeader {
        number,
        bytes,
        previous_end: before.end,
        batch: before.batch,
        chain: before.chain,
        owner: options.owner,
    };
    (header, layout, chain)
}

/// How many sectors a batch takes.
fn measure(hard_states: usize, entries: &mut dyn Iterator<Item = usize>) -> u64 {
    let copies = (hard_states * (HEADER_BYTES + HARD_STATE_BYTES)).div_ceil(DATA_BYTES);
    let records: usize = entries.map(|payload| HEADER_BYTES + payload).sum();
    (2 * copies + records.div_ceil(DATA_BYTES)) as u64
}

impl Wal {
    fn append_batch(&mut self, batch: &[GroupWrite]) -> Result<(), Error> {
        let mut hard_states = BTreeMap::new();
        for write in batch {
            if let Some(hard_state) = write.hard_state {
                hard_states.insert(write.group, hard_state);
            }
        }
        let mut payloads = batch.iter().flat_map(|write| &write.entries).map(|entry| entry.payload.len());
        let sectors = measure(hard_states.len(), &mut payloads);
        let has_entries = batch.iter().any(|write| !write.entries.is_empty());
        if self.next_sector + sectors > self.sectors() {
            if has_entries && !self.may_grow(sectors) {
                return Err(Error::Full);
            }
            self.roll(sectors)?;
        }
        // Ahead of the disk: if the write fails, the log is poisoned and nobody asks any more.
        for write in batch {
            let group = self.groups.get_mut(&write.group);
            let group = group.unwrap_or_else(|| panic!("append to unknown group {}", write.group));
            advance(group, write).unwrap_or_else(|what| panic!("append to group {}: {what}", write.group));
        }
        self.lay_out(&hard_states, batch);
        assert_eq!(self.layout.sectors(), sectors, "a batch was measured wrongly");
        self.write_batch()?;
        self.note_entries();
        self.prepare()
    }

    /// Lays out a batch: one copy of all hard states, the other copy, the entries. See [`super::hard_state`].
    fn lay_out(&mut self, hard_states: &BTreeMap<GroupId, HardState>, batch: &[GroupWrite]) {
        self.layout.clear();
        self.noted.clear();
        for copy in [1, 2] {
            for (group, hard_state) in hard_states {
                let payload = hard_state::encode(hard_state);
                let place = (hard_state.commit, hard_state.term);
                let crc = crc32fast::hash(&payload);
                self.put_record(Kind::HardState { copy }, *group, place, &payload, crc);
            }
            self.layout.fresh_sector();
        }
        for write in batch {
            for entry in &write.entries {
                assert!(
                    entry.is_intact(),
                    "entry {} was damaged in memory before it was written",
                    entry.index
                );
                let place = (entry.index, entry.term);
                let offset =
                    self.put_record(Kind::Entry(entry.kind), write.group, place, &entry.payload, entry.crc);
                let bytes = (HEADER_BYTES + entry.payload.len()) as u64;
                self.noted.push(Noted { group: write.group, index: entry.index, offset, bytes });
            }
        }
    }

    fn put_record(
        &mut self,
        kind: Kind,
        group: GroupId,
        place: (Index, Term),
        payload: &[u8],
        crc: u32,
    ) -> u64 {
        let header = Header {
            kind,
            group,
            len: payload_len(payload),
            payload_crc: crc,
            batch: self.batch,
            index: place.0,
            term: place.1,
            chain: self.chain,
        };
        let (offset, chain) = header.put(payload, &mut self.layout);
        self.chain = chain;
        offset
    }

    /// Writes the batch that is laid out, in one piece, and syncs it. It stands wholly behind what was synced before.
    fn write_batch(&mut self) -> Result<(), Error> {
        let path = segment::path(&self.dir, self.number);
        let first = self.next_sector;
        let bytes = self.layout.seal(self.number, first, self.batch);
        self.file.write_at(offset_of(first), bytes).map_err(Error::io(&path, "writing"))?;
        self.file.sync().map_err(Error::io(&path, "syncing"))?;
        self.next_sector = first + self.layout.sectors();
        assert!(self.next_sector <= self.sectors(), "a batch was written past the end of its segment");
        self.batch += 1;
        Ok(())
    }

    /// Makes the entries of the batch that was just synced readable.
    fn note_entries(&mut self) {
        let base = offset_of(self.next_sector - self.layout.sectors());
        let held = self.segments.get_mut(&self.number).expect("the newest segment is held");
        for noted in &self.noted {
            let last = held.last.entry(noted.group).or_default();
            *last = noted.index.max(*last);
        }
        let (noted, segment) = (&self.noted, self.number);
        self.shared.with_points(|points: &mut Points| {
            for Noted { group, index, offset, bytes } in noted {
                points.note(*group, Point { index: *index, segment, offset: base + offset }, *bytes);
            }
        });
    }

    fn purge_group(&mut self, id: GroupId, to: (Index, Term), base: Bytes) -> Result<(), Error> {
        self.write_small(&[(Kind::Purge, id, to, base.clone())])?;
        let group = self.groups.get_mut(&id).expect("looked up before");
        group.on_purge(to, base).unwrap_or_else(|what| panic!("group {id}: {what}"));
        self.shared.with_points(|points| points.purge(id, to.0));
        self.free()
    }

    fn add_groups(&mut self, new: &BTreeMap<&GroupId, &Membership>) -> Result<(), Error> {
        let groups: BTreeMap<GroupId, Group> =
            new.iter().map(|(id, base)| (**id, Group::new(base.encode()))).collect();
        let start = (Index(0), Term(0));
        let records: Vec<_> =
            groups.iter().map(|(id, group)| (Kind::Group, *id, start, Bytes::from(group.encode()))).collect();
        self.write_small(&records)?;
        self.shared.with_points(|points| groups.keys().for_each(|id| points.purge(*id, Index(0))));
        self.groups.extend(groups);
        Ok(())
    }

    /// Writes a batch that is never refused for want of room: it is small, and a full log needs it.
    fn write_small(&mut self, records: &[(Kind, GroupId, (Index, Term), Bytes)]) -> Result<(), Error> {
        let sectors = measure(0, &mut records.iter().map(|(_, _, _, payload)| payload.len()));
        if self.next_sector + sectors > self.sectors() {
            self.roll(sectors)?;
        }
        self.layout.clear();
        self.noted.clear();
        for (kind, group, place, payload) in records {
            self.put_record(*kind, *group, *place, payload, crc32fast::hash(payload));
        }
        self.write_batch()
    }

    /// The newest segment's length in sectors.
    fn sectors(&self) -> u64 {
        self.segments[&self.number].bytes / SECTOR_BYTES as u64
    }

    /// Whether entries that need `sectors` may begin another segment.
    fn may_grow(&self, sectors: u64) -> bool {
        let held: u64 = self.segments.values().map(|held| held.bytes).sum();
        let preamble: u64 =
            self.groups.values().map(|group| group.encoded_len() as u64 + HEADER_BYTES as u64).sum();
        let next = self.options.segment_bytes.max(offset_of(sectors + 2) + preamble + preamble / 16);
        held + next + self.options.segment_bytes <= self.options.bytes_max
    }

    /// Goes on in a new segment with room for `sectors`.
    fn roll(&mut self, sectors: u64) -> Result<(), Error> {
        self.begin_segment(offset_of(self.next_sector), sectors)
    }

    fn begin_segment(&mut self, end: u64, sectors: u64) -> Result<(), Error> {
        let before = Before { number: self.number, end, chain: self.chain, batch: self.batch };
        let (mut header, mut layout, chain) = preamble(&self.groups, before, &self.options, sectors);
        let spare = match self.spare.take() {
            Some(spare) if spare.bytes() >= header.bytes => spare,
            _ => {
                Spare::remove(&*self.fs, &self.dir)?;
                Spare::create(&*self.fs, &self.dir, header.bytes)?
            }
        };
        header.bytes = spare.bytes();
        let preamble = layout.seal(header.number, 1, header.batch);
        let file = spare.publish(&*self.fs, &self.dir, &header, preamble)?;
        self.shared.with_points(|points| points.add_file(header.number, file.clone()));
        self.segments.insert(header.number, Held { bytes: header.bytes, last: BTreeMap::new() });
        self.number = header.number;
        self.file = file;
        self.next_sector = 1 + layout.sectors();
        self.batch += 1;
        self.chain = chain;
        Ok(())
    }

    /// Prepares the next segment in small steps, so that it is ready when this one is full and no append waits for
    /// all of it at once: from half full on, it is kept twice as far as this one is beyond its half.
    fn prepare(&mut self) -> Result<(), Error> {
        let (used, all) = (self.next_sector, self.sectors());
        if used < all / 2 || !self.may_grow(0) {
            return Ok(());
        }
        let mut spare = match self.spare.take() {
            Some(spare) => spare,
            None => Spare::create(&*self.fs, &self.dir, self.options.segment_bytes)?,
        };
        let target = offset_of((used - all / 2) * 2 + 1).min(spare.bytes());
        while spare.zeroed() < target {
            spare.step()?;
        }
        self.spare = Some(spare);
        Ok(())
    }

    /// Frees the oldest segments as long as nothing in them is needed. One at a time, each removal durable before
    /// the next, so that after a crash the segments that are left follow one another without a gap.
    fn free(&mut self) -> Result<(), Error> {
        while let Some((number, held)) = self.segments.first_key_value() {
            let number = *number;
            let is_purged = |(id, last): (&GroupId, &Index)| *last <= self.groups[id].purged.0;
            if number == self.number || !held.last.iter().all(is_purged) {
                return Ok(());
            }
            let path = segment::path(&self.dir, number);
            self.fs.remove(&path).map_err(Error::io(&path, "removing"))?;
            self.fs.sync_dir(&self.dir).map_err(Error::io(&self.dir, "syncing the directory"))?;
            self.segments.remove(&number);
            self.shared.with_points(|points| points.remove_file(number));
        }
        Ok(())
    }
}

/// Moves a group by a write.
fn advance(group: &mut Group, write: &GroupWrite) -> Result<(), String> {
    group.check(write.hard_state.as_ref(), &write.entries)?;
    if let Some(hard_state) = write.hard_state {
        group.on_hard_state(hard_state)?;
    }
    for entry in &write.entries {
        group.on_entry(entry.index, entry.term, config_of(entry.kind, &entry.payload))?;
    }
    Ok(())
}

#[cfg(test)]
impl Wal {
    /// The newest segment.
    pub fn newest(&self) -> u64 {
        self.number
    }

    /// The bytes of a hard state record as the next batch would carry it.
    pub fn forge_hard_state(&mut self, group: GroupId, hard_state: HardState) -> Vec<u8> {
        let payload = hard_state::encode(&hard_state);
        let header = Header {
            kind: Kind::HardState { copy: 2 },
            group,
            len: payload_len(&payload),
            payload_crc: crc32fast::hash(&payload),
            batch: self.batch,
            index: hard_state.commit,
            term: hard_state.term,
            chain: self.chain,
        };
        [&header.encode().0[..], &payload].concat()
    }
}
