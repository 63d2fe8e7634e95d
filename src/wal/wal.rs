//! The writer: appends, purges, installs, rolls.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use crate::raft::{Entry, HardState, Membership};
use crate::types::{GroupId, Index, Owner, Term};

use super::error::Error;
use super::fs::{Fs, SharedFs, make_dirs};
use super::group::{Base, Group, config_of};
use super::hard_state::{self, HARD_STATE_BYTES};
use super::held::Segments;
use super::index::{Point, Points};
use super::reader::{Reader, Shared};
use super::record::{HEADER_BYTES, Header, Kind, payload_len};
use super::recover::{Recovered, Replay, replay};
use super::sector::{DATA_BYTES, Layout, SECTOR_BYTES, offset_of};
use super::segment::{self, PREAMBLE_SECTOR, SegmentHeader, SharedFile, Spare};
use super::syncs::Syncs;

/// What the log is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whose log it is. A new one is stamped with it, the log of another owner is refused.
    pub owner: Owner,
    /// The length of a segment; rounded up to whole sectors. A batch that needs more gets a longer one.
    pub segment_bytes: u64,
    /// Entries are refused once the log would grow past this. Hard states, purges and batches with an install are
    /// not: one segment of it is kept for them, and an install makes room.
    pub bytes_max: u64,
    /// How much of each group's end recovery hands over in [`super::RecoveredGroup::tail`].
    pub tail_bytes_max: usize,
}

/// What one group wants written: the hard state, then the install, the repairs, the entries. One batch holds all of it, so
/// no crash leaves a part of it that contradicts the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupWrite {
    /// Whose it is.
    pub group: GroupId,
    /// A new hard state.
    pub hard_state: Option<HardState>,
    /// A snapshot that takes the place of the log, or of its beginning.
    pub install: Option<Install>,
    /// Entries that the log has at these indexes, of these terms, and cannot read back, fetched elsewhere. They take the
    /// place of the damaged ones; nothing is void. Never refused as [`Error::Full`].
    pub repairs: Vec<Entry>,
    /// Entries, contiguous. What the log holds at the first one's index and beyond is void from here on.
    pub entries: Vec<Entry>,
}

impl GroupWrite {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.hard_state.is_none()
            && self.install.is_none()
            && self.repairs.is_empty()
            && self.entries.is_empty()
    }
}

/// A snapshot, durable in a state file, from which the log goes on. If the log has the entry at its end, what follows
/// that is kept and the rest is purged; otherwise all that the log holds of the group is void, and the log begins after
/// it, wherever it ended before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// The last entry that the snapshot holds. Not before the purge point; of no later term than the hard state.
    pub to: (Index, Term),
    /// The membership in force there.
    pub base: Membership,
    /// The number of the state file, no smaller than the present one.
    pub state: u64,
}

/// The log of a node. There is one writer; [`Reader`]s read beside it.
pub struct Wal {
    pub(super) fs: SharedFs,
    pub(super) dir: PathBuf,
    options: Options,
    shared: Arc<Shared>,
    groups: BTreeMap<GroupId, Group>,
    segments: Segments,
    /// The newest segment: its number, its file, and the sector at which the next batch begins.
    number: u64,
    file: SharedFile,
    pub(super) next_sector: u64,
    /// The number of the next batch, and the header CRC of the last record.
    batch: u64,
    chain: u32,
    pub(super) spare: Option<Spare>,
    /// Segments that nothing needs any more, oldest first, whose files are not given to be removed yet.
    freed: Vec<(u64, Option<SharedFile>)>,
    /// There was no room for the next segment (see `room`).
    pub(super) is_cramped: bool,
    /// The place where the present segment ends, if nothing may follow in it: the next write begins another one.
    pub(super) cut: Option<u64>,
    layout: Layout,
    /// What the batch being written changes in the index, in order.
    noted: Vec<Noted>,
    pub(super) syncs: Syncs,
    _lock: Box<dyn Send + Sync>,
}

/// A record of the batch being written that changes where entries stand.
enum Noted {
    /// An entry of so many bytes, whose record begins at this offset of the batch.
    Entry { group: GroupId, index: Index, offset: u64, bytes: u64 },
    /// An entry in place of a damaged one.
    Repair { group: GroupId, index: Index, offset: u64 },
    /// A base: the log begins after this index.
    Base { group: GroupId, to: Index, resets: bool },
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
        let lock = lock(&*fs, dir)?;
        let syncs = Syncs::default();
        let found = replay(&*fs, dir, options.owner, options.tail_bytes_max)?;
        Spare::remove(&*fs, dir)?;
        let mut found = match found {
            Some(found) => found,
            None => {
                create(&fs, dir, options, bootstrap, &syncs)?;
                replay(&*fs, dir, options.owner, options.tail_bytes_max)?
                    .expect("the first segment was just made")
            }
        };
        let recovered = found.recovered()?;
        found.confirm(&*fs, &syncs)?;
        // Behind a damaged last batch nothing is written: the next segment says where this one ends.
        let cut = (found.torn.is_some() || found.is_worn_out).then_some(found.end);
        let mut wal = Wal::new(fs, dir, options, found, syncs, lock);
        if cut.is_some() {
            wal.cut = cut;
            match wal.roll(0) {
                // Nothing needs to be written yet.
                Err(Error::NoRoom { .. }) => {}
                rolled => rolled?,
            }
        }
        // A crash may have come between a purge or an install and what it frees.
        wal.free();
        wal.take_freed().map(Freed::remove).transpose()?;
        let reader = Reader { shared: wal.shared.clone(), dir: Arc::from(dir) };
        let new: BTreeMap<_, _> = bootstrap.iter().filter(|(id, _)| !wal.groups.contains_key(id)).collect();
        if new.is_empty() {
            return Ok((wal, reader, recovered));
        }
        wal.add_groups(&new)?;
        let mut found =
            replay(&*wal.fs, dir, options.owner, options.tail_bytes_max)?.expect("the log was just read");
        let recovered = Recovered { torn: recovered.torn, wounds: recovered.wounds, ..found.recovered()? };
        Ok((wal, reader, recovered))
    }

    fn new(
        fs: SharedFs,
        dir: &Path,
        options: Options,
        found: Replay,
        syncs: Syncs,
        lock: Box<dyn Send + Sync>,
    ) -> Wal {
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
            freed: Vec::new(),
            is_cramped: false,
            cut: None,
            layout: Layout::default(),
            noted: Vec::new(),
            syncs,
            _lock: lock,
        }
    }

    /// Writes one batch and makes it durable with one fsync; does nothing if there is nothing to store. A group may
    /// appear more than once, in order. When this returns, all of it is on disk. The segments that an install made useless
    /// are [`Wal::take_freed`]'s.
    ///
    /// [`Error::Full`] and [`Error::NoRoom`] leave the log as it was. Any other error poisons it: what was written may or may not be on
    /// disk, and every later call fails.
    pub fn append(&mut self, batch: &[GroupWrite]) -> Result<(), Error> {
        self.shared.check()?;
        if batch.iter().all(GroupWrite::is_empty) {
            return Ok(());
        }
        let result = self.append_batch(batch);
        self.shared.poison_on_error(result)
    }

    /// Records that the log of `group` begins after `to` from now on, where `base` was in force; the
    /// segments that no group needs any more are [`Wal::take_freed`]'s then. A point at or before the present one changes nothing.
    pub fn purge(&mut self, group: GroupId, to: (Index, Term), base: &Membership) -> Result<(), Error> {
        self.shared.check()?;
        let known = self.groups.get(&group).unwrap_or_else(|| panic!("purge of unknown group {group}"));
        if to.0 <= known.purged.0 {
            return Ok(());
        }
        let base = Base { to, membership: base.encode(), state: known.state, resets: false };
        self.put_base(group, &base)
    }

    /// Records that the log of `group` belongs to the state file of this number from now on. It must hold the same
    /// state as the one before did, and be durable. The number it has already changes nothing.
    pub fn switch(&mut self, group: GroupId, state: u64) -> Result<(), Error> {
        self.shared.check()?;
        let known = self.groups.get(&group).unwrap_or_else(|| panic!("switch of unknown group {group}"));
        if state == known.state {
            return Ok(());
        }
        let base = Base { to: known.purged, membership: known.base.clone(), state, resets: false };
        self.put_base(group, &base)
    }

    /// Counts the syncs of the log's files, from here on too.
    pub fn syncs(&self) -> Syncs {
        self.syncs.clone()
    }

    /// How many bytes the log takes on disk, the segment being prepared included.
    ///
    /// If every group is purged to just before its [`Wal::first_within`] of some size, the log then has at most that
    /// size, or that of the newest segment if that is larger, and besides one segment that the purges themselves may
    /// have begun and one that is being prepared. What a group may not let go of yet comes on top.
    pub fn bytes(&self) -> u64 {
        self.segments.bytes() + self.spare.as_ref().map_or(0, Spare::zeroed)
    }

    /// Where the tail of the log of `group` begins, if it shall take at most `bytes` on disk: the first index, at or
    /// after the first that is held, none of whose successors stands before the newest segments that sum to at most
    /// `bytes`. One segment, the newest, counts whatever its size. One beyond the last entry if all entries stand
    /// before those.
    ///
    /// A group that is purged to just before it needs no segment but those: the promise is about whole files, and
    /// about those of all groups together, since they share them.
    pub fn first_within(&self, group: GroupId, bytes: u64) -> Index {
        let known = self.groups.get(&group).unwrap_or_else(|| panic!("tail of unknown group {group}"));
        let before = self.segments.last_before(group, bytes).unwrap_or_default().max(known.purged.0);
        assert!(
            before <= known.last.0,
            "group {group} holds entry {before} beyond its last {}",
            known.last.0
        );
        before.next()
    }

    /// Whether a batch with `bytes` of entries (as [`Entry::bytes`] counts) would be taken now, not refused as
    /// [`Error::Full`]. A little pessimistic, never optimistic.
    pub fn has_room(&self, bytes: u64) -> bool {
        // An entry costs 48 bytes besides its payload in both counts; frames add 1/31, hard states a few sectors.
        let sectors = bytes.div_ceil(DATA_BYTES as u64) + 1 + 2 * (self.groups.len() as u64);
        self.next_sector + sectors <= self.sectors() || self.may_grow(sectors)
    }
}

/// Takes the lock of a log's directory, held until the guard is dropped.
pub fn lock(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn Send + Sync>, Error> {
    let path = dir.join("lock");
    fs.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Locked { dir: dir.to_path_buf() },
        _ => Error::io(&path, "locking")(error),
    })
}

/// Makes the first segment of a log.
fn create(
    fs: &SharedFs,
    dir: &Path,
    options: Options,
    bootstrap: &BTreeMap<GroupId, Membership>,
    syncs: &Syncs,
) -> Result<(), Error> {
    let groups = bootstrap.iter().map(|(id, base)| (*id, Group::new(*id, base.encode()))).collect();
    let before = Before { number: 0, end: 0, chain: 0, batch: 1 };
    let (header, mut layout, _) = preamble(&groups, before, &options, 0);
    let spare = Spare::create(&**fs, dir, header.bytes, syncs)?;
    spare.publish(&**fs, dir, &header, layout.seal(1, PREAMBLE_SECTOR, 1))?;
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
    let copies = [1, 2].into_iter().flat_map(|copy| groups.values().map(move |group| (copy, group)));
    let mut copy_before = 1;
    for (copy, group) in copies {
        if copy > std::mem::replace(&mut copy_before, copy) {
            layout.fresh_sector();
        }
        let payload = group.encode();
        let header = Header {
            kind: Kind::Group { copy },
            group: group.id,
            counts: group.counts,
            len: payload_len(&payload),
            payload_crc: crc32fast::hash(&payload),
            batch: before.batch,
            index: group.purged.0,
            term: group.purged.1,
            chain,
        };
        chain = header.put(&payload, &mut layout).1;
    }
    let bytes = options.segment_bytes.max(offset_of(PREAMBLE_SECTOR + layout.sectors() + sectors));
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

/// Payloads of these lengths.
enum Part {
    /// Records that stand in two copies, each apart from all others.
    Apart(usize),
    /// A record that stands behind the one before it.
    Packed(usize),
}

/// How many sectors a batch takes.
fn measure(hard_states: usize, parts: impl Iterator<Item = Part>) -> u64 {
    let copies = (hard_states * (HEADER_BYTES + HARD_STATE_BYTES)).div_ceil(DATA_BYTES);
    let (mut sectors, mut packed) = (2 * copies, 0_usize);
    for part in parts {
        match part {
            Part::Packed(payload) => packed += HEADER_BYTES + payload,
            Part::Apart(records) => {
                sectors +=
                    std::mem::take(&mut packed).div_ceil(DATA_BYTES) + 2 * records.div_ceil(DATA_BYTES);
            }
        }
    }
    (sectors + packed.div_ceil(DATA_BYTES)) as u64
}

impl Wal {
    fn append_batch(&mut self, batch: &[GroupWrite]) -> Result<(), Error> {
        let mut hard_states = BTreeMap::new();
        for write in batch {
            if let Some(hard_state) = write.hard_state {
                hard_states.insert(write.group, hard_state);
            }
        }
        let mut bases: Vec<Option<Base>> =
            batch.iter().map(|write| write.install.as_ref().map(base_of)).collect();
        let parts = batch.iter().zip(&bases).flat_map(|(write, base)| {
            let base = base.iter().map(|base| Part::Apart(HEADER_BYTES + base.encoded_len()));
            let entries = write.repairs.iter().chain(&write.entries);
            base.chain(entries.map(|entry| Part::Packed(entry.payload.len())))
        });
        let sectors = measure(hard_states.len(), parts);
        let has_entries = batch.iter().any(|write| !write.entries.is_empty());
        let installs = bases.iter().any(Option::is_some);
        if !self.fits(sectors, has_entries) {
            // An install is what makes room in a full log: it is not refused for what comes with it.
            if has_entries && !installs && !self.may_grow(sectors) {
                return Err(Error::Full);
            }
            self.roll(sectors)?;
        }
        // Ahead of the disk: if the write fails, the log is poisoned and nobody asks any more.
        let mut replacing = Vec::new();
        for (write, base) in batch.iter().zip(&mut bases) {
            let group = self.groups.get_mut(&write.group);
            let group = group.unwrap_or_else(|| panic!("append to unknown group {}", write.group));
            let replaces = advance(group, write, base.as_mut())
                .unwrap_or_else(|what| panic!("append to group {}: {what}", write.group));
            replacing.push(replaces);
        }
        self.lay_out(&hard_states, batch, &bases, &replacing);
        assert_eq!(self.layout.sectors(), sectors, "a batch was measured wrongly");
        self.write_batch()?;
        self.publish();
        if installs {
            self.free();
        }
        self.prepare()
    }

    /// Lays out a batch: one copy of all hard states, the other copy, then each write's base and entries. See
    /// [`super::hard_state`].
    fn lay_out(
        &mut self,
        hard_states: &BTreeMap<GroupId, HardState>,
        batch: &[GroupWrite],
        bases: &[Option<Base>],
        replacing: &[bool],
    ) {
        self.layout.clear();
        self.noted.clear();
        for copy in [1, 2] {
            for (group, hard_state) in hard_states {
                let payload = hard_state::encode(hard_state);
                let place = (hard_state.commit, hard_state.term);
                let crc = crc32fast::hash(&payload);
                self.put_record(Kind::HardState { copy }, *group, place, &payload, crc, false);
            }
            self.layout.fresh_sector();
        }
        for ((write, base), replaces) in batch.iter().zip(bases).zip(replacing) {
            if let Some(base) = base {
                self.put_base_record(write.group, base);
            }
            let group = write.group;
            for entry in &write.repairs {
                let offset = self.put_entry(Kind::Repair(entry.kind), group, entry, false);
                self.noted.push(Noted::Repair { group, index: entry.index, offset });
            }
            for (at, entry) in write.entries.iter().enumerate() {
                let replaces = *replaces && at == 0;
                let offset = self.put_entry(Kind::Entry(entry.kind), group, entry, replaces);
                let bytes = (HEADER_BYTES + entry.payload.len()) as u64;
                self.noted.push(Noted::Entry { group, index: entry.index, offset, bytes });
            }
        }
    }

    fn put_entry(&mut self, kind: Kind, group: GroupId, entry: &Entry, replaces: bool) -> u64 {
        assert!(entry.is_intact(), "entry {} was damaged in memory before it was written", entry.index);
        self.put_record(kind, group, (entry.index, entry.term), &entry.payload, entry.crc, replaces)
    }

    fn put_base_record(&mut self, group: GroupId, base: &Base) {
        let payload = base.encode();
        let crc = crc32fast::hash(&payload);
        self.layout.fresh_sector();
        for copy in [1, 2] {
            let kind = Kind::Base { resets: base.resets, copy };
            self.put_record(kind, group, base.to, &payload, crc, false);
            self.layout.fresh_sector();
        }
        self.noted.push(Noted::Base { group, to: base.to.0, resets: base.resets });
    }

    fn put_record(
        &mut self,
        kind: Kind,
        group: GroupId,
        place: (Index, Term),
        payload: &[u8],
        crc: u32,
        replaces: bool,
    ) -> u64 {
        let counts = &mut self.groups.get_mut(&group).expect("the group is known").counts;
        let after = counts.after(kind, replaces);
        let header = Header {
            kind,
            group,
            counts: std::mem::replace(counts, after),
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
        self.syncs.sync(&*self.file).map_err(Error::io(&path, "syncing"))?;
        self.next_sector = first + self.layout.sectors();
        assert!(self.next_sector <= self.sectors(), "a batch was written past the end of its segment");
        self.batch += 1;
        Ok(())
    }

    /// Makes the batch that was just synced what readers see.
    fn publish(&mut self) {
        let start = offset_of(self.next_sector - self.layout.sectors());
        let (noted, segments, segment) = (&self.noted, &mut self.segments, self.number);
        self.shared.with_points(|points: &mut Points| {
            for noted in noted {
                match *noted {
                    Noted::Entry { group, index, offset, bytes } => {
                        segments.note(group, index);
                        points.note(group, Point { index, segment, offset: start + offset }, bytes);
                    }
                    Noted::Repair { group, index, offset } => {
                        segments.note_repair(group);
                        points.note_repair(group, Point { index, segment, offset: start + offset });
                    }
                    Noted::Base { group, to, resets: false } => points.purge(group, to),
                    Noted::Base { group, to, resets: true } => {
                        segments.reset(group);
                        points.reset(group, to);
                    }
                }
            }
        });
    }

    /// Writes a base record in a batch of its own, and frees what it lets go of.
    fn put_base(&mut self, id: GroupId, base: &Base) -> Result<(), Error> {
        self.groups[&id].check_base(base).unwrap_or_else(|what| panic!("group {id}: {what}"));
        let result = self.write_base(id, base);
        self.shared.poison_on_error(result)
    }

    fn write_base(&mut self, id: GroupId, base: &Base) -> Result<(), Error> {
        self.begin_small(HEADER_BYTES + base.encoded_len())?;
        self.put_base_record(id, base);
        self.write_batch()?;
        let group = self.groups.get_mut(&id).expect("looked up before");
        group.on_base(base).unwrap_or_else(|what| panic!("group {id}: {what}"));
        self.publish();
        self.free();
        Ok(())
    }

    /// The segments that were freed since the last time, for [`Freed::remove`].
    pub fn take_freed(&mut self) -> Option<Freed> {
        let segments = std::mem::take(&mut self.freed);
        let (shared, fs, syncs) = (self.shared.clone(), self.fs.clone(), self.syncs.clone());
        let freed = Freed { shared, fs, dir: self.dir.clone(), segments, syncs };
        (!freed.segments.is_empty()).then_some(freed)
    }

    fn add_groups(&mut self, new: &BTreeMap<&GroupId, &Membership>) -> Result<(), Error> {
        let groups: BTreeMap<GroupId, Group> =
            new.iter().map(|(id, base)| (**id, Group::new(**id, base.encode()))).collect();
        let start = (Index(0), Term(0));
        let added: Vec<GroupId> = groups.keys().copied().collect();
        self.begin_small(groups.values().map(|group| HEADER_BYTES + group.encoded_len()).sum())?;
        self.groups.extend(groups);
        for copy in [1, 2] {
            for id in &added {
                let payload = self.groups[id].encode();
                let crc = crc32fast::hash(&payload);
                self.put_record(Kind::Group { copy }, *id, start, &payload, crc, false);
            }
            self.layout.fresh_sector();
        }
        self.write_batch()?;
        self.shared.with_points(|points| added.iter().for_each(|id| points.purge(*id, Index(0))));
        Ok(())
    }

    /// Begins a batch of records that take so many bytes and stand in it twice. It is never refused for want of room: it is
    /// small, and a full log needs it.
    fn begin_small(&mut self, bytes: usize) -> Result<(), Error> {
        let sectors = measure(0, [Part::Apart(bytes)].into_iter());
        if !self.fits(sectors, false) {
            self.roll(sectors)?;
        }
        self.layout.clear();
        self.noted.clear();
        Ok(())
    }

    /// The newest segment's length in sectors.
    pub(super) fn sectors(&self) -> u64 {
        self.segments.length(self.number) / SECTOR_BYTES as u64
    }

    /// Whether entries that need `sectors` may begin another segment.
    fn may_grow(&self, sectors: u64) -> bool {
        let preamble: u64 =
            self.groups.values().map(|group| group.encoded_len() as u64 + HEADER_BYTES as u64).sum();
        let preamble = 2 * (preamble + preamble / 16 + SECTOR_BYTES as u64);
        let next = self.options.segment_bytes.max(offset_of(sectors + PREAMBLE_SECTOR) + preamble);
        self.segments.bytes() + next + self.options.segment_bytes <= self.options.bytes_max
    }

    /// Goes on in a new segment with room for `sectors`.
    fn roll(&mut self, sectors: u64) -> Result<(), Error> {
        let begun = self.begin_segment(self.end(), sectors);
        self.judge_next(begun)
    }

    fn begin_segment(&mut self, end: u64, sectors: u64) -> Result<(), Error> {
        let before = Before { number: self.number, end, chain: self.chain, batch: self.batch };
        let (mut header, mut layout, chain) = preamble(&self.groups, before, &self.options, sectors);
        let spare = match self.spare.take() {
            Some(spare) if spare.bytes() >= header.bytes => spare,
            _ => {
                Spare::remove(&*self.fs, &self.dir)?;
                self.begin_spare(header.bytes)?
            }
        };
        header.bytes = spare.bytes();
        let preamble = layout.seal(header.number, PREAMBLE_SECTOR, header.batch);
        let file = spare.publish(&*self.fs, &self.dir, &header, preamble)?;
        self.shared.with_points(|points| points.add_file(header.number, file.clone()));
        self.segments.add(header.number, header.bytes);
        self.number = header.number;
        self.file = file;
        self.next_sector = PREAMBLE_SECTOR + layout.sectors();
        self.cut = None;
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
        let made = self.prepare_to(offset_of((used - all / 2) * 2 + 1));
        match self.judge_next(made) {
            // What is left of this one is enough for now.
            Err(Error::NoRoom { .. }) => Ok(()),
            made => made,
        }
    }

    fn prepare_to(&mut self, target: u64) -> Result<(), Error> {
        let mut spare = match self.spare.take() {
            Some(spare) => spare,
            None => self.begin_spare(self.options.segment_bytes)?,
        };
        let target = target.min(spare.bytes());
        while spare.zeroed() < target {
            spare.step()?;
        }
        self.spare = Some(spare);
        Ok(())
    }

    /// Lets go of the oldest segments as long as nothing in them is needed.
    fn free(&mut self) {
        while let Some(number) = self.segments.freed(|id| self.groups[&id].purged.0) {
            self.segments.remove(number);
            let file = self.shared.with_points(|points| points.remove_file(number));
            self.freed.push((number, file));
        }
    }
}

/// Segments that no group needs. To remove a file can take as long as many syncs of the log, so whoever writes the log
/// gets them to have them removed beside it.
#[must_use = "the files stay"]
pub struct Freed {
    shared: Arc<Shared>,
    fs: SharedFs,
    dir: PathBuf,
    segments: Vec<(u64, Option<SharedFile>)>,
    syncs: Syncs,
}

impl Freed {
    /// Removes the files: oldest first, one at a time, each removal durable before the next, so that after a crash the
    /// segments that are left follow one another without a gap. What was freed earlier must be removed earlier. What a
    /// crash leaves is freed by the next start.
    ///
    /// # Errors
    /// The disk's. The log lacks nothing then, but is poisoned as after any failed call.
    pub fn remove(self) -> Result<Removed, Error> {
        let result = self.remove_all();
        self.shared.poison_on_error(result)?;
        // A reader that found something in a segment has its file still, and closes it; no other reader will come.
        let files = self.segments.into_iter().filter_map(|(_, file)| file);
        let files = files.filter_map(|mut file| Arc::get_mut(&mut file).is_some().then_some(file));
        Ok(Removed { files: files.collect(), syncs: self.syncs })
    }

    fn remove_all(&self) -> Result<(), Error> {
        for (number, _) in &self.segments {
            let path = segment::path(&self.dir, *number);
            self.fs.remove(&path).map_err(Error::io(&path, "removing"))?;
            self.fs.sync_dir(&self.dir).map_err(Error::io(&self.dir, "syncing the directory"))?;
        }
        Ok(())
    }
}

/// Segments that have no name any more, and whose space is to be given back bit by bit; if this is dropped, at once. A file
/// system that is mounted with `discard` tells the device of all that it frees, and until the device has taken that in
/// everybody's syncs wait: for a segment of 64 MiB up to 20 ms.
pub struct Removed {
    /// Nobody else has them.
    files: Vec<SharedFile>,
    syncs: Syncs,
}

/// How much is given back at a time: about 1 ms, where it takes time at all.
const GIVEN_BACK_BYTES: u64 = 4 << 20;

impl Removed {
    /// Gives back some of it, and says whether there is more. Others should have their turn in between. A disk that does not do
    /// it in steps, a full one of a file system that copies on write, may do it all at once: nobody needs what is in there, so no
    /// failure is one of the log.
    pub fn give_back(&mut self) -> bool {
        let Some(file) = self.files.last() else { return false };
        let cut = |bytes: u64| {
            let left = bytes.saturating_sub(GIVEN_BACK_BYTES);
            file.set_len(left).and_then(|()| self.syncs.sync(&**file)).map(|()| left)
        };
        if matches!(file.len().and_then(cut), Ok(0) | Err(_)) {
            self.files.pop();
        }
        !self.files.is_empty()
    }
}

/// The base that an install asks for. Whether it resets the log is found out when its turn comes.
fn base_of(install: &Install) -> Base {
    Base { to: install.to, membership: install.base.encode(), state: install.state, resets: false }
}

/// Moves a group by a write. Returns whether its entries replace others.
fn advance(group: &mut Group, write: &GroupWrite, base: Option<&mut Base>) -> Result<bool, String> {
    if let Some(hard_state) = write.hard_state {
        group.on_hard_state(hard_state)?;
    }
    if let Some(base) = base {
        base.resets = group.resets(base.to);
        group.on_base(base)?;
    }
    for entry in &write.repairs {
        group.check_repair(entry.index, entry.term)?;
    }
    group.check_entries(&write.entries)?;
    let replaces = write.entries.first().is_some_and(|first| first.index <= group.last.0);
    for entry in &write.entries {
        group.on_entry(entry.index, entry.term, config_of(entry.kind, &entry.payload))?;
    }
    Ok(replaces)
}

#[cfg(test)]
impl Wal {
    /// The newest segment.
    pub fn newest(&self) -> u64 {
        self.number
    }

    /// Writes a base record as it is said, whatever the rules say.
    pub fn forge_base(
        &mut self,
        group: GroupId,
        to: (Index, Term),
        base: &Membership,
        state: u64,
        resets: bool,
    ) {
        let base = Base { to, membership: base.encode(), state, resets };
        self.begin_small(HEADER_BYTES + base.encoded_len()).expect("the disk is well");
        self.put_base_record(group, &base);
        self.write_batch().expect("the disk is well");
    }

    /// The bytes of a hard state record as the next batch would carry it.
    pub fn forge_hard_state(&mut self, group: GroupId, hard_state: HardState) -> Vec<u8> {
        let payload = hard_state::encode(&hard_state);
        let header = Header {
            kind: Kind::HardState { copy: 2 },
            group,
            counts: self.groups[&group].counts,
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
