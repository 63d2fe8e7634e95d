//! Shows what is in a log's files, record by record, also where they are damaged. Reads only, takes no lock, judges
//! nothing: whether a log can be opened is [`super::Wal::open`]'s to say. And what a log that cannot be opened still tells of
//! its group: a hint, see [`configuration`].

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use crate::raft::{EntryKind, Membership};
use crate::types::{GroupId, Index};

use super::error::Error;
use super::fs::Fs;
use super::group::{self, Base, Group};
use super::record::{Fault, Kind, Record, Records};
use super::scan::{Batch, Sectors, Span};
use super::sector::{SECTOR_BYTES, Sector, offset_of};
use super::segment::{self, PREAMBLE_SECTOR, SegmentHeader};

/// One record, or one place where there should be one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RecordInfo {
    /// The segment's number.
    pub segment: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes of the file it takes, frames of sectors included.
    pub length: u64,
    /// Whose it is.
    pub group: u32,
    /// The entry's index; the purge point's of `group`, `base` and `reset`; the commit index of `hard-state`.
    pub index: u64,
    /// The term, likewise.
    pub term: u64,
    /// `segment`, `group`, `hard-state`, `noop`, `command`, `membership`, `base` (the log begins after its point from
    /// here on), `reset` (likewise, and all that stands before is void), `repair` (an entry once more, in place of a
    /// damaged one). For what is not a record:
    /// `damaged` (neither what was written nor unwritten), `unwritten` (though more follows), `partial` (sectors or
    /// records of a batch that lacks others), `cut` (void: the next segment says that this one ends before).
    pub kind: &'static str,
    /// The batch it was written in; 0 where that cannot be read.
    pub batch: u64,
    /// The number of the state file, of `group`, `base` and `reset`.
    pub state: Option<u64>,
    /// What is wrong there. In the last batch `unwritten` and `partial` are what a crash leaves; elsewhere they are
    /// damage too.
    pub damage: Option<String>,
}

impl std::fmt::Display for RecordInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RecordInfo { segment, offset, length, group, index, term, kind, batch, state, damage } = self;
        write!(
            f,
            "{segment:016x} {offset:>10} {length:>8}  {kind:<10} group {group} index {index} term {term} batch {batch}"
        )?;
        state.map_or(Ok(()), |state| write!(f, " state {state}"))?;
        damage.as_ref().map_or(Ok(()), |damage| write!(f, "  {damage}"))
    }
}
const GAP: &str = "unwritten, though more follows";

/// Gets what is to be shown, and the record itself if it is one that counts.
type Visit<'a> = &'a mut dyn FnMut(RecordInfo, Option<&Record<'_>>);

/// Visits all records of all segments in `dir`, oldest first. Damage is visited, not returned; an error is one of
/// the disk.
pub fn inspect(fs: &dyn Fs, dir: &Path, visit: &mut dyn FnMut(RecordInfo)) -> Result<(), Error> {
    walk_all(fs, dir, &mut |shown, _| visit(shown))
}

/// The newest configuration of a group that a damaged log still tells, and the index as of which; `None` if it tells none.
/// It may have been replaced, or never committed: good enough to know whom to ask.
///
/// # Errors
/// [`Error::Io`] if the disk fails.
pub fn configuration(fs: &dyn Fs, dir: &Path, group: GroupId) -> Result<Option<(Index, Membership)>, Error> {
    let mut newest: Option<(Index, Membership)> = None;
    let mut hear = |_: RecordInfo, record: Option<&Record<'_>>| {
        let told = record.filter(|record| record.header.group == group).and_then(configuration_of);
        if let Some((index, encoded, is_effective)) = told
            && let Ok(membership) = Membership::decode(&encoded)
            // Where the log begins is told again while configurations beyond that are in force.
            && (is_effective || newest.as_ref().is_none_or(|(known, _)| *known < index))
        {
            newest = Some((index, membership));
        }
    };
    for number in segment::list(fs, dir)? {
        // Also where nothing says whose segment it is, and how long: its name and its records do.
        let path = segment::path(dir, number);
        let file = fs.open(&path).map_err(Error::io(&path, "open"))?;
        let bytes = file.len().map_err(Error::io(&path, "length"))?;
        let sectors = (PREAMBLE_SECTOR, bytes / SECTOR_BYTES as u64);
        if sectors.1 > sectors.0 {
            let span = Span { path: &path, file: &*file, segment: number, sectors };
            inspect_segment(&span, bytes, &mut hear)?;
        }
    }
    Ok(newest)
}

/// The configuration that a record tells, encoded, and whether it was in force when that was written.
fn configuration_of(record: &Record<'_>) -> Option<(Index, Bytes, bool)> {
    let Record { header, payload, .. } = record;
    if !record.is_intact {
        return None;
    }
    match header.kind {
        Kind::Entry(EntryKind::Membership) => Some((header.index, Bytes::copy_from_slice(payload), true)),
        Kind::Group { .. } => {
            let group = Group::decode(header, payload)?;
            let base = (group.purged.0, group.base);
            let (index, encoded) = group.configs.into_iter().next_back().unwrap_or(base);
            Some((index, encoded, true))
        }
        Kind::Base { resets, .. } => {
            let base = Base::decode((header.index, header.term), resets, payload)?;
            Some((base.to.0, base.membership, resets))
        }
        Kind::Entry(_) | Kind::Repair(_) | Kind::HardState { .. } => None,
    }
}

fn walk_all(fs: &dyn Fs, dir: &Path, visit: Visit<'_>) -> Result<(), Error> {
    let numbers = segment::list(fs, dir)?;
    let mut ends = Vec::new();
    for number in &numbers {
        ends.push(match segment::open(fs, dir, *number) {
            Ok(opened) => opened.header.previous_end,
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(_) => 0,
        });
    }
    for (at, number) in numbers.iter().enumerate() {
        match segment::open(fs, dir, *number) {
            Ok(segment::Opened { file, header, damaged }) => {
                let end = ends.get(at + 1).copied().filter(|end| *end > 0).unwrap_or(header.bytes);
                let path = segment::path(dir, *number);
                let sectors = (PREAMBLE_SECTOR, header.bytes / SECTOR_BYTES as u64);
                let span = Span { path: &path, file: &*file, segment: *number, sectors };
                visit(first_sector(&header), None);
                if let Some(at) = damaged.map(offset_of) {
                    let what = "one of the first two sectors is not what was written";
                    visit(not_a_record(*number, at..at + SECTOR_BYTES as u64, 0, "damaged", what), None);
                }
                inspect_segment(&span, end.min(header.bytes), visit)?;
            }
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(Error::Damaged { offset, what, .. }) => {
                visit(not_a_record(*number, offset..offset, 0, "damaged", &what), None);
            }
            Err(error) => visit(not_a_record(*number, 0..0, 0, "damaged", &error.to_string()), None),
        }
    }
    Ok(())
}

fn inspect_segment(span: &Span<'_>, end: u64, visit: Visit<'_>) -> Result<(), Error> {
    let mut batch = Batch::default();
    let mut gap: Option<u64> = None;
    let mut sectors = Sectors::new(span, span.sectors.0);
    while let Some((sector, judged, data)) = sectors.next()? {
        let at = offset_of(sector);
        let follows = matches!(judged, Sector::Whole(frame) if frame.batch == batch.number
            && sector == batch.end_sector() && u64::from(frame.place) == batch.sectors());
        if !follows {
            flush(span, &mut batch, end, false, visit);
        }
        let mut fault = |kind, from: u64, batch, what: &str| {
            let kind = if from < end { kind } else { "cut" };
            let place = from..at.max(from + SECTOR_BYTES as u64);
            visit(not_a_record(span.segment, place, batch, kind, what), None);
        };
        let frame = match judged {
            Sector::Unwritten => {
                gap = gap.or(Some(at));
                continue;
            }
            Sector::Bad => {
                gap.take().iter().for_each(|from| fault("unwritten", *from, 0, GAP));
                fault("damaged", at, 0, "the sector is neither whole nor unwritten");
                continue;
            }
            Sector::Whole(frame) => frame,
        };
        gap.take().iter().filter(|from| **from < end).for_each(|from| fault("unwritten", *from, 0, GAP));
        if !follows {
            if frame.place > 0 {
                fault("partial", at, frame.batch, "the sectors of the batch before this one are missing");
                continue;
            }
            batch = Batch { number: frame.batch, first_sector: sector, ..Batch::default() };
        }
        batch.data.extend_from_slice(data);
        if frame.batch_ends {
            flush(span, &mut batch, end, true, visit);
        }
    }
    flush(span, &mut batch, end, false, visit);
    Ok(())
}

/// Visits the records of a batch, or of its beginning, and forgets it.
fn flush(span: &Span<'_>, batch: &mut Batch, end: u64, whole: bool, visit: Visit<'_>) {
    let batch = std::mem::take(batch);
    if batch.data.is_empty() {
        return;
    }
    let base = offset_of(batch.first_sector);
    let mut records = Records::new(&batch.data, batch.number);
    loop {
        let (what, at) = match records.next() {
            None if whole => return,
            None => ("the rest of the batch is missing", offset_of(batch.end_sector())),
            Some(Ok(record)) => {
                let counts = base + record.offset < end;
                visit(info(span.segment, base, &record, end), counts.then_some(&record));
                continue;
            }
            Some(Err(Fault::Short)) if !whole => {
                ("the rest of the batch is missing", base + records.offset())
            }
            Some(Err(Fault::Short)) => ("the record goes on beyond its batch", base + records.offset()),
            Some(Err(Fault::Bad(what))) => (what, base + records.offset()),
        };
        if at < end {
            let length = offset_of(batch.end_sector()).saturating_sub(at);
            let kind = if whole { "damaged" } else { "partial" };
            visit(not_a_record(span.segment, at..at + length, batch.number, kind, what), None);
        }
        return;
    }
}

fn info(segment: u64, base: u64, record: &Record<'_>, end: u64) -> RecordInfo {
    let offset = base + record.offset;
    let kind: Kind = record.header.kind;
    RecordInfo {
        segment,
        offset,
        length: record.end - record.offset,
        group: record.header.group.0,
        index: record.header.index.0,
        term: record.header.term.0,
        kind: if offset < end { kind.name() } else { "cut" },
        batch: record.header.batch,
        state: group::state_of(kind, record.payload).filter(|_| record.is_intact),
        damage: (!record.is_intact).then(|| "the payload fails its checksum".to_owned()),
    }
}

fn first_sector(header: &SegmentHeader) -> RecordInfo {
    RecordInfo {
        segment: header.number,
        offset: 0,
        length: SECTOR_BYTES as u64,
        group: 0,
        index: 0,
        term: 0,
        kind: "segment",
        batch: header.batch,
        state: None,
        damage: None,
    }
}

fn not_a_record(segment: u64, at: Range<u64>, batch: u64, kind: &'static str, what: &str) -> RecordInfo {
    let (offset, length, damage) = (at.start, at.end - at.start, Some(what.to_owned()));
    RecordInfo { segment, offset, length, group: 0, index: 0, term: 0, kind, batch, state: None, damage }
}
