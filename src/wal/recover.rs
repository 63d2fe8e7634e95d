//! Recovery: from the files of a directory to the state of every group, or to a refusal.
//!
//! All segments are walked, oldest first. In every segment but the newest, each sector up to the end that its
//! successor's first sector names must be whole, of the batch and the place that come next, and every record in
//! it must parse, verify and chain. In the newest the same holds up to the last batch, and there the
//! torn-or-damaged rule decides (see the module doc of [`super`]). Damage ends recovery, and so does a segment of
//! another owner; nothing was changed then.
//!
//! If the log ends cleanly, the last batch is written once more, byte for byte, and synced. Its fsync may have
//! failed in the process before this one: its pages can then be in memory, marked clean, and never reach the disk
//! (H15). Writing them again makes the kernel's mark true before anything is built on them.
//!
//! If it ends torn, what was kept is made durable the same way, and then the log goes on in a *new segment*, whose
//! first sector names the place of the cut. That segment appears by one rename, complete; until then the next
//! recovery finds the same torn tail and cuts it at the same place. So nothing behind the cut needs to be zeroed
//! where it stands, nothing synced is ever rewritten with other bytes, and two crashes in a row converge.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::raft::{Damaged, DecodeError, Entry, EntryKind, HardState, Membership};
use crate::types::{GroupId, Index, Owner, Term};

use super::error::Error;
use super::fs::Fs;
use super::gaps::Gaps;
use super::group::{Base, Group, config_of};
use super::hard_state;
use super::held::Segments;
use super::index::{Point, Points};
use super::record::{Fault, Header, Kind, Mark, Missed, Record, Records};
use super::scan::{Batch, Span, Stop, Straggler, stragglers, walk};
use super::sector::{DATA_BYTES, SECTOR_BYTES, offset_of};
use super::segment::{self, Opened, PREAMBLE_SECTOR, SegmentHeader, SharedFile};
use super::syncs::Syncs;

/// What recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Every group the log knows.
    pub groups: BTreeMap<GroupId, RecoveredGroup>,
    /// Whether the end of the log was torn by a crash, and what was cut; for a log line.
    pub torn: Option<String>,
    /// Which sectors are not what was written, though all that is said here could be read; for log lines. Of each batch
    /// the first one. Whatever stood in them stays there until its segment is freed, so each start says it again.
    pub wounds: Vec<Wound>,
}

/// Sectors of a batch that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wound {
    /// The file.
    pub file: PathBuf,
    /// Where the first of them begins.
    pub offset: u64,
    /// How many, and of which batch.
    pub what: String,
}

impl std::fmt::Display for Wound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}, from byte {} on", self.file.display(), self.what, self.offset)
    }
}

/// What recovery found of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The newest hard state. Its commit index may lie beyond what is known to be applied, never beyond what a
    /// quorum has committed. After a torn batch it may lie before the purge point, which is committed too.
    pub hard_state: HardState,
    /// The purge point: the log begins after it.
    pub purged: (Index, Term),
    /// The membership in force there.
    pub base: Membership,
    /// The number of the state file that holds what is at or before the purge point. It belongs to this log, no other
    /// one does.
    pub state: u64,
    /// The configuration entries after it, ascending.
    pub memberships: Vec<(Index, Membership)>,
    /// The first index of each run of equal term after it, ascending.
    pub terms: Vec<(Index, Term)>,
    /// The last entry; the purge point if there is none.
    pub last: Index,
    /// The last entries, contiguous, as many as `tail_bytes_max` allows; only such as stand behind all damaged ones.
    pub tail: Vec<Entry>,
    /// The entries after the purge point that are there and cannot be read, ascending: to be fetched from other members
    /// and stored by [`super::GroupWrite::repairs`].
    pub damaged: Vec<Damaged>,
}

/// What was read of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentRead {
    /// Its number.
    pub number: u64,
    /// The file's length.
    pub bytes: u64,
    /// How many records it holds.
    pub records: u64,
    /// The smallest and the largest index of its entries, if it holds any; void ones count.
    pub entries: Option<(Index, Index)>,
}

/// The state of the log after all segments were read.
pub struct Replay {
    /// The directory.
    dir: PathBuf,
    tail_bytes_max: usize,
    /// All groups.
    pub groups: BTreeMap<GroupId, Group>,
    /// All segments.
    pub segments: Segments,
    /// Where entries stand.
    pub points: Points,
    /// The header CRC of the last record.
    pub chain: u32,
    /// The number of the next batch.
    pub batch: u64,
    /// The newest segment.
    pub newest: u64,
    /// Where its records end.
    pub end: u64,
    /// What was cut, if its end is torn.
    pub torn: Option<String>,
    /// Whether the last batch is damaged, or the log is in doubt: it goes on in another segment, which says where this one
    /// ends, and what counts.
    pub is_worn_out: bool,
    /// See [`Recovered::wounds`].
    wounds: Vec<Wound>,
    pub(super) damaged: BTreeMap<GroupId, BTreeMap<Index, Damaged>>,
    pub(super) gaps: Gaps,
    /// The commit indexes as they were before the batch with the last damage.
    commits_before: BTreeMap<GroupId, Index>,
    /// Whether the segment that is being read begins after a cut.
    after_cut: bool,
    /// What was read of it so far.
    read: SegmentRead,
    tails: BTreeMap<GroupId, Tail>,
    /// The last batch, or what is kept of it: where it begins and the sector after it.
    last_batch: (u64, u64),
    file: Option<SharedFile>,
}

/// The last entries of a group, bounded in bytes.
#[derive(Default)]
struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Tail {
    fn push(&mut self, entry: Entry, bytes_max: usize) {
        while self.entries.back().is_some_and(|last| last.index >= entry.index) {
            self.bytes -= self.entries.pop_back().map_or(0, |entry| entry.bytes());
        }
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        while self.bytes > bytes_max {
            self.bytes -= self.entries.pop_front().map_or(0, |entry| entry.bytes());
        }
    }
}

/// Reads all segments of a directory, which must be `owner`'s; `None` if there are none. Changes nothing.
pub fn replay(fs: &dyn Fs, dir: &Path, owner: Owner, tail_bytes_max: usize) -> Result<Option<Replay>, Error> {
    replay_watched(fs, dir, owner, tail_bytes_max, &mut |_| {})
}

/// The same, and tells of each segment once it was read.
pub fn replay_watched(
    fs: &dyn Fs,
    dir: &Path,
    owner: Owner,
    tail_bytes_max: usize,
    on_segment: &mut dyn FnMut(SegmentRead),
) -> Result<Option<Replay>, Error> {
    let numbers = segment::list(fs, dir)?;
    let Some(newest) = numbers.last().copied() else { return Ok(None) };
    for pair in numbers.windows(2) {
        if pair[1] != pair[0] + 1 {
            return Err(Error::damaged(&segment::path(dir, pair[0] + 1), 0, "the segment is missing"));
        }
    }
    let mut opened = Vec::new();
    for number in numbers {
        let segment = segment::open(fs, dir, number)?;
        if segment.header.owner != owner {
            let file = segment::path(dir, number);
            return Err(Error::Foreign { file, found: segment.header.owner, expected: owner });
        }
        opened.push(segment);
    }
    let mut replay = Replay::new(dir, tail_bytes_max, &opened[0].header, newest);
    for at in 0..opened.len() {
        let end = opened.get(at + 1).map(|next| next.header.previous_end);
        replay.segment(&opened[at], end)?;
        on_segment(replay.read);
    }
    replay.finish(&segment::path(dir, opened[0].header.number))?;
    Ok(Some(replay))
}

impl Replay {
    fn new(dir: &Path, tail_bytes_max: usize, first: &SegmentHeader, newest: u64) -> Replay {
        Replay {
            dir: dir.to_path_buf(),
            tail_bytes_max,
            groups: BTreeMap::new(),
            segments: Segments::default(),
            points: Points::default(),
            chain: first.chain,
            batch: first.batch,
            newest,
            end: 0,
            torn: None,
            is_worn_out: false,
            wounds: Vec::new(),
            damaged: BTreeMap::new(),
            gaps: Gaps::default(),
            commits_before: BTreeMap::new(),
            after_cut: false,
            read: SegmentRead::default(),
            tails: BTreeMap::new(),
            last_batch: (0, 0),
            file: None,
        }
    }

    /// Reads a segment: up to `end` if it has a successor, else up to where the log ends.
    fn segment(&mut self, opened: &Opened, end: Option<u64>) -> Result<(), Error> {
        let Opened { file, header, damaged } = opened;
        let path = segment::path(&self.dir, header.number);
        self.note_header(&path, *damaged);
        // What ends a segment and cannot be read may have been more than one batch.
        let is_gap = self.gaps.has_missed();
        if header.chain != self.chain && !is_gap {
            return Err(Error::damaged(&path, 0, "the segment does not continue the one before it"));
        }
        // A batch that was cut leaves its number used up.
        self.after_cut = header.batch == self.batch + 1;
        if header.batch != self.batch && !self.after_cut && !(is_gap && header.batch > self.batch) {
            return Err(Error::damaged(&path, 0, "the segment's batch does not follow the one before it"));
        }
        if self.gaps.at_end(&self.groups) {
            self.restore_commits();
        }
        (self.batch, self.chain) = (header.batch, header.chain);
        self.read = SegmentRead { number: header.number, bytes: header.bytes, ..SegmentRead::default() };
        self.segments.add(header.number, header.bytes);
        self.points.add_file(header.number, file.clone());
        let end_sector = end.map_or(header.bytes, |end| end.min(header.bytes)).div_ceil(SECTOR_BYTES as u64);
        let span = Span {
            path: &path,
            file: &**file,
            segment: header.number,
            sectors: (PREAMBLE_SECTOR, end_sector.max(PREAMBLE_SECTOR)),
        };
        let stop = walk(&span, header.batch, end.is_some(), &mut |batch| {
            self.whole_batch(&path, header, batch)?;
            self.batch = batch.number + 1;
            self.last_batch = (batch.first_sector, batch.end_sector());
            Ok(())
        })?;
        if stop.partial.number == header.batch && stop.rest.is_empty() && !stop.partial.is_damaged() {
            return Err(Error::damaged(&path, offset_of(stop.sector), "the preamble is not whole"));
        }
        match end {
            Some(end) => self.sealed_end(&span, header, stop, end),
            None => self.newest_end(&span, header, stop, file),
        }
    }

    /// Checks that a segment with a successor ends where that says.
    fn sealed_end(
        &mut self,
        span: &Span<'_>,
        header: &SegmentHeader,
        mut stop: Stop,
        end: u64,
    ) -> Result<(), Error> {
        let at = stop.sector;
        // The bad sectors at the end are the last batch's: its successor says that this one ends with them.
        stop.partial.push_bad(&stop.rest);
        if at != span.sectors.1 && !stop.is_too_long {
            stop.partial.fill_bad(span.sectors.1);
        }
        if stop.sector != span.sectors.1 && stop.partial.end_sector() != span.sectors.1 {
            return Err(Error::damaged(
                span.path,
                offset_of(at),
                "a sector is not what was written, though the log goes on after it",
            ));
        }
        let kept = self.partial_batch(span.path, header, &stop.partial, Some(end))?;
        // Of the padding nothing is known where its sector is bad; a lost record would show in the chain.
        let is_padding = stop.partial.is_damaged() && kept.next_multiple_of(SECTOR_BYTES as u64) == end;
        if kept != end && !is_padding && stop.partial.is_damaged() {
            self.gaps.miss(Missed { sectors: 0, is_header: true });
        } else if kept != end && !is_padding {
            return Err(Error::damaged(span.path, kept, format!("the records end here, not at {end}")));
        }
        Ok(())
    }

    /// Finds where the log ends: the torn-or-damaged rule.
    fn newest_end(
        &mut self,
        span: &Span<'_>,
        header: &SegmentHeader,
        mut stop: Stop,
        file: &SharedFile,
    ) -> Result<(), Error> {
        self.file = Some(file.clone());
        if !stop.rest.is_empty() {
            stop.partial.push_bad(&std::mem::take(&mut stop.rest));
            return self.damaged_end(span.path, header, &stop);
        }
        let beyond = stragglers(span, &stop)?;
        self.end = offset_of(stop.partial.first_sector);
        if stop.partial.data.is_empty() && beyond.is_empty() {
            return Ok(());
        }
        if stop.partial.is_damaged() {
            let what =
                "sectors of the last batch are missing, and others of it are neither whole nor unwritten";
            return Err(Error::damaged(span.path, offset_of(stop.sector), what));
        }
        self.commits_before = self.commits();
        self.end = self.partial_batch(span.path, header, &stop.partial, None)?;
        self.stranded_copies(span.path, &stop.partial, &beyond)?;
        self.restore_commits();
        self.last_batch = (stop.partial.first_sector, self.end.div_ceil(SECTOR_BYTES as u64));
        self.batch = stop.partial.number + 1;
        self.torn = Some(format!(
            "batch {} reached the disk in part ({} sectors of it before the first lost one, {} after) and was never \
             acknowledged; the log is cut at byte {} of {}",
            stop.partial.number,
            stop.partial.sectors(),
            beyond.len(),
            self.end,
            span.path.display()
        ));
        Ok(())
    }

    fn commits(&self) -> BTreeMap<GroupId, Index> {
        self.groups.iter().map(|(id, group)| (*id, group.hard_state.commit)).collect()
    }

    /// See hard_state: a hard state that outlives its batch does not vouch for entries of that batch.
    fn restore_commits(&mut self) {
        for (id, group) in &mut self.groups {
            group.hard_state.commit = self.commits_before.get(id).copied().unwrap_or_default();
        }
    }

    /// A batch begins of which some may be missing.
    fn note_commits(&mut self, batch: &Batch) {
        if batch.is_damaged() && !self.gaps.has_missed() {
            self.commits_before = self.commits();
        }
    }

    /// The last batch ends with sectors that are neither whole nor unwritten, and nothing stands behind them. A crash
    /// does not do that, so what is there counts as written. If each header can be read, and nothing but zeroes follows the
    /// last record, nothing is missing. Else nobody knows how far the log went, which leaves it in doubt; and two sectors may
    /// have held both copies of a hard state.
    fn damaged_end(&mut self, path: &Path, header: &SegmentHeader, stop: &Stop) -> Result<(), Error> {
        let batch = &stop.partial;
        self.whole_batch(path, header, batch)?;
        self.restore_commits();
        // Sectors that are wholly zero were never written, or one more would be damaged.
        if self.gaps.has_missed() && stop.bad == 1 {
            self.gaps.at_end(&self.groups);
        }
        self.batch = batch.number + 1;
        self.last_batch = (batch.first_sector, batch.end_sector());
        self.end = offset_of(batch.end_sector());
        self.is_worn_out = true;
        Ok(())
    }

    fn whole_batch(&mut self, path: &Path, header: &SegmentHeader, batch: &Batch) -> Result<(), Error> {
        let base = offset_of(batch.first_sector);
        let mut records = Records::through(&batch.data, &batch.marks, batch.number);
        let mut count = 0;
        self.note_commits(batch);
        while let Some(record) = records.next() {
            let record = record.map_err(|fault| fault_error(path, base + records.offset(), fault))?;
            self.gaps.miss(records.missed());
            self.record(path, header, base, &record)?;
            count += 1;
        }
        self.gaps.miss(records.missed());
        if count == 0 && !batch.is_damaged() {
            return Err(Error::damaged(path, base, "a batch without a record"));
        }
        self.end_batch(path, batch)
    }

    /// What stands in the batch twice was read once at the least; says what is damaged in it.
    fn end_batch(&mut self, path: &Path, batch: &Batch) -> Result<(), Error> {
        if let Some(group) = self.gaps.end_batch(&self.groups) {
            let what = format!("both copies of the state of group {group} fail their checksums");
            return Err(Error::damaged(path, offset_of(batch.first_sector), what));
        }
        // Of sectors behind one another the zero ones may never have been written.
        let sectors = batch.data.chunks(DATA_BYTES).zip(&batch.marks);
        let is_written =
            |(data, mark): (&[u8], &Mark)| *mark == Mark::Bad && data.iter().any(|byte| *byte != 0);
        let written = sectors.map(is_written).position(|it| it);
        if let Some(first) = written.or(batch.marks.iter().position(|mark| *mark == Mark::Bad)) {
            let offset = offset_of(batch.first_sector + first as u64);
            let what = format!("{} sectors of batch {}", batch.bad_sectors(), batch.number);
            self.wounds.push(Wound { file: path.to_path_buf(), offset, what });
        }
        Ok(())
    }

    fn note_header(&mut self, path: &Path, damaged: Option<u64>) {
        if let Some(sector) = damaged {
            let what = "one of the segment's two first sectors".to_owned();
            self.wounds.push(Wound { file: path.to_path_buf(), offset: offset_of(sector), what });
        }
    }

    /// Reads the records of the beginning of a batch, up to the cut: `end` where that is known, otherwise the first
    /// record that is not all there. Returns the place of the cut.
    fn partial_batch(
        &mut self,
        path: &Path,
        header: &SegmentHeader,
        batch: &Batch,
        end: Option<u64>,
    ) -> Result<u64, Error> {
        let base = offset_of(batch.first_sector);
        let mut records = Records::through(&batch.data, &batch.marks, batch.number);
        let mut kept = base;
        self.note_commits(batch);
        while end != Some(kept) {
            match records.next() {
                None | Some(Err(Fault::Short)) => break,
                Some(Err(fault)) => return Err(fault_error(path, base + records.offset(), fault)),
                Some(Ok(record)) => {
                    self.gaps.miss(records.missed());
                    self.record(path, header, base, &record)?;
                    kept = base + record.end;
                }
            }
        }
        self.gaps.miss(records.missed());
        self.end_batch(path, batch)?;
        Ok(kept)
    }

    /// Takes copies of hard states from sectors beyond a lost one.
    fn stranded_copies(&mut self, path: &Path, partial: &Batch, beyond: &[Straggler]) -> Result<(), Error> {
        let mut at = 0;
        while at < beyond.len() {
            let first = &beyond[at].frame;
            let mut data = beyond[at].data.clone();
            let mut place = first.place;
            at += 1;
            while beyond.get(at).is_some_and(|next| next.frame.place == place + 1) {
                data.extend_from_slice(&beyond[at].data);
                place += 1;
                at += 1;
            }
            // Only where a record is known to begin; client bytes that look like a record are never taken for one.
            let run = &beyond[at - data.len() / DATA_BYTES..at];
            let begins = run.iter().zip(0..).find_map(|(one, sector): (&Straggler, usize)| {
                one.frame.record_begins.map(|begins| sector * DATA_BYTES + begins)
            });
            let Some(begins) = begins else { continue };
            let mut records = Records::starting(&data, partial.number, begins);
            while let Some(Ok(record)) = records.next() {
                if matches!(record.header.kind, Kind::HardState { .. }) && record.is_intact {
                    let offset = offset_of(partial.first_sector);
                    self.hard_state(&record).map_err(|what| Error::damaged(path, offset, what))?;
                }
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        path: &Path,
        header: &SegmentHeader,
        base: u64,
        record: &Record<'_>,
    ) -> Result<(), Error> {
        let offset = base + record.offset;
        let damaged = |what: String| Error::damaged(path, offset, what);
        match self.gaps.meet(&record.header, self.chain, &self.groups) {
            None => return Err(damaged("the record does not follow the one before it".to_owned())),
            Some(true) => self.restore_commits(),
            Some(false) => {}
        }
        self.chain = record.crc;
        self.read.records += 1;
        let Header { group: id, index, term, batch, kind, .. } = record.header;
        if let Kind::Entry(kind) | Kind::Repair(kind) = kind {
            let at = Point { index, segment: header.number, offset };
            return self.entry(id, kind, record, at).map_err(damaged);
        }
        self.gaps.note_copy(id, kind, record.is_intact);
        if !record.is_intact {
            return Ok(());
        }
        match kind {
            Kind::HardState { .. } => self.hard_state(record).map_err(damaged),
            Kind::Base { .. } if batch == header.batch => {
                Err(damaged("a base record inside a preamble".to_owned()))
            }
            Kind::Base { resets, .. } => {
                let base = Base::decode((index, term), resets, record.payload);
                let base = base.ok_or_else(|| damaged("the base record cannot be decoded".to_owned()))?;
                self.take_base(&record.header, &base).map_err(damaged)
            }
            _ => self.group(record).map_err(damaged),
        }
    }

    /// An entry, or one that takes the place of a damaged one. It is damaged itself if any of it lies in a bad sector,
    /// intact or not: readers believe no such sector.
    fn entry(&mut self, id: GroupId, kind: EntryKind, record: &Record<'_>, at: Point) -> Result<(), String> {
        let Header { index, term, payload_crc: crc, kind: of, .. } = record.header;
        let payload = Bytes::copy_from_slice(record.payload);
        let is_damaged = record.is_worn || !record.is_intact;
        self.known(id)?;
        if !self.takes_entry(id, &record.header) {
            return Ok(());
        }
        if let Kind::Repair(_) = of {
            self.known(id)?.check_repair(index, term)?;
            if !is_damaged {
                self.damaged.entry(id).or_default().remove(&index);
                self.points.note_repair(id, at);
                self.segments.note_repair(id);
            }
            return Ok(());
        }
        if kind == EntryKind::Membership && !record.is_intact {
            // Nobody can tell who is in the group from here on.
            self.gaps.freeze(id);
            let known = self.known(id)?;
            known.hard_state.commit = known.hard_state.commit.min(index.prev());
            return Ok(());
        }
        let group = self.known(id)?;
        let replaces = index <= group.last.0;
        group.on_entry(index, term, config_of(kind, &payload))?;
        group.counts = record.header.counts.after(of, replaces);
        self.points.note(id, at, record.end - record.offset);
        self.segments.note(id, index);
        let (first, last) = self.read.entries.unwrap_or((index, index));
        self.read.entries = Some((first.min(index), last.max(index)));
        let damaged = self.damaged.entry(id).or_default();
        damaged.split_off(&index);
        let tail = self.tails.entry(id).or_default();
        tail.push(Entry { index, term, kind, payload, crc }, self.tail_bytes_max);
        if is_damaged {
            damaged.insert(index, Damaged { index, term, crc: Some(crc) });
            *tail = Tail::default();
        }
        Ok(())
    }

    pub(super) fn forget_tail(&mut self, id: GroupId) {
        self.tails.remove(&id);
    }

    /// A group record: in the first segment, or for a new group, it is the state; later it must repeat it. After a
    /// cut its hard state is the one that recovery chose then.
    fn group(&mut self, record: &Record<'_>) -> Result<(), String> {
        let (id, counts) = (record.header.group, record.header.counts);
        let group =
            Group::decode(&record.header, record.payload).ok_or("the group record cannot be decoded")?;
        if self.has_gap(id) {
            return self.restate(&group, counts);
        }
        if let Some(known) = self.groups.get_mut(&id) {
            if self.after_cut {
                known.on_hard_state(group.hard_state)?;
                known.counts = counts;
            }
            if known.purged != group.purged || known.counts != counts || known.encode() != record.payload {
                return Err(format!("the preamble's state of group {id} is not what the log before it says"));
            }
            return Ok(());
        }
        self.points.purge(id, group.last.0);
        self.groups.insert(id, group);
        Ok(())
    }

    fn hard_state(&mut self, record: &Record<'_>) -> Result<(), String> {
        let next = hard_state::decode(record.payload).ok_or("the hard state cannot be decoded")?;
        self.take_hard_state(&record.header, next)
    }

    pub(super) fn known(&mut self, id: GroupId) -> Result<&mut Group, String> {
        self.groups
            .get_mut(&id)
            .ok_or_else(|| format!("a record of group {id}, which the preamble does not name"))
    }

    /// Checks that nothing is missing but what leaves doubt, and makes the index say what can be read.
    fn finish(&mut self, first: &Path) -> Result<(), Error> {
        let missed = self.gaps.missed_sectors();
        if self.gaps.at_end(&self.groups) {
            self.restore_commits();
            if missed > 1 {
                let what = "the log's end cannot be made out, and a hard state may have stood there";
                let (file, offset) = self.last_wound(first);
                return Err(Error::damaged(&file, offset, what));
            }
        }
        if let Some(id) = self.gaps.unsettled() {
            let what = format!("a hard state of group {id}, or where its log begins, may be lost");
            let (file, offset) = self.last_wound(first);
            return Err(Error::damaged(&file, offset, what));
        }
        for id in self.gaps.in_doubt() {
            if let Some(group) = self.groups.get_mut(&id) {
                group.hard_state.in_doubt = true;
                self.is_worn_out = true;
            }
        }
        for (id, group) in &self.groups {
            if group.held > group.purged.0.next() {
                let what = format!(
                    "entries {} to {} of group {id} stand in no segment: older files are missing",
                    group.purged.0.next(),
                    group.held.prev()
                );
                return Err(Error::damaged(first, 0, what));
            }
            self.points.purge(*id, group.purged.0);
        }
        Ok(())
    }

    fn last_wound(&self, first: &Path) -> (PathBuf, u64) {
        let wound = self.wounds.last().map(|wound| (wound.file.clone(), wound.offset));
        wound.unwrap_or_else(|| (first.to_path_buf(), 0))
    }

    /// Makes durable what recovery has read and goes on to build upon: writes the last batch, or what is kept of
    /// it, once more.
    pub fn confirm(&self, fs: &dyn Fs, syncs: &Syncs) -> Result<(), Error> {
        let path = segment::path(&self.dir, self.newest);
        let file = self.file.as_ref().expect("replay ends with the newest segment");
        let (from, to) = (offset_of(self.last_batch.0), offset_of(self.last_batch.1));
        if from < to {
            let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(usize::MAX)];
            file.read_at(from, &mut bytes).map_err(Error::io(&path, "reading"))?;
            file.write_at(from, &bytes).map_err(Error::io(&path, "writing the last batch again"))?;
        }
        syncs.sync(&**file).map_err(Error::io(&path, "syncing"))?;
        fs.sync_dir(&self.dir).map_err(Error::io(&self.dir, "syncing the directory"))
    }

    /// What the core and the driver need to know.
    pub fn recovered(&mut self) -> Result<Recovered, Error> {
        let mut groups = BTreeMap::new();
        for (id, group) in &self.groups {
            let broken = |index: Index, error: DecodeError| {
                let what = format!("the configuration at entry {index} of group {id}: {error}");
                Error::damaged(&segment::path(&self.dir, self.newest), 0, what)
            };
            let base = Membership::decode_base(&group.base).map_err(|error| broken(group.purged.0, error))?;
            let mut memberships = Vec::new();
            for (index, bytes) in &group.configs {
                let membership = Membership::decode(bytes).map_err(|error| broken(*index, error))?;
                memberships.push((*index, membership));
            }
            let mut tail: Vec<Entry> = self.tails.remove(id).unwrap_or_default().entries.into();
            tail.retain(|entry| entry.index > group.purged.0);
            let damaged = self.damaged.get(id).cloned().unwrap_or_default();
            let recovered = RecoveredGroup {
                hard_state: group.hard_state,
                purged: group.purged,
                base,
                state: group.state,
                memberships,
                terms: group.terms.clone(),
                last: group.last.0,
                tail,
                damaged: damaged.into_values().filter(|entry| entry.index > group.purged.0).collect(),
            };
            groups.insert(*id, recovered);
        }
        Ok(Recovered { groups, torn: self.torn.clone(), wounds: self.wounds.clone() })
    }

    /// The newest segment's file.
    pub fn newest_file(&self) -> SharedFile {
        self.file.clone().expect("replay ends with the newest segment")
    }
}

fn fault_error(path: &Path, offset: u64, fault: Fault) -> Error {
    let what = match fault {
        Fault::Short => "a record goes on beyond the end of its batch",
        Fault::Bad(what) => what,
    };
    Error::damaged(path, offset, what)
}
