//! Shows what is in a log's files, record by record, also where they are damaged. Reads only, takes no lock, judges
//! nothing: whether a log can be opened is [`super::Wal::open`]'s to say.

use std::path::Path;

use super::error::Error;
use super::fs::Fs;
use super::record::{Fault, Kind, Record, Records};
use super::scan::{Batch, Sectors, Span};
use super::sector::{SECTOR_BYTES, Sector, offset_of};
use super::segment::{self, SegmentHeader};

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
    /// The entry's index; the purge point's of `group` and `purge`; the commit index of `hard-state`.
    pub index: u64,
    /// The term, likewise.
    pub term: u64,
    /// `segment`, `group`, `hard-state`, `noop`, `command`, `membership`, `purge`; `damaged` for what cannot be
    /// read, `cut` for what a later segment has declared void.
    pub kind: &'static str,
    /// The batch it was written in; 0 where that cannot be read.
    pub batch: u64,
    /// What is wrong with it.
    pub damage: Option<String>,
}

impl std::fmt::Display for RecordInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RecordInfo { segment, offset, length, group, index, term, kind, batch, damage } = self;
        write!(
            f,
            "{segment:016x} {offset:>10} {length:>8}  {kind:<10} group {group} index {index} term {term} batch {batch}"
        )?;
        damage.as_ref().map_or(Ok(()), |damage| write!(f, "  {damage}"))
    }
}

type Visit<'a> = &'a mut dyn FnMut(RecordInfo);

/// Visits all records of all segments in `dir`, oldest first. Damage is visited, not returned; an error is one of
/// the disk.
pub fn inspect(fs: &dyn Fs, dir: &Path, visit: Visit<'_>) -> Result<(), Error> {
    let numbers = segment::list(fs, dir)?;
    let mut ends = Vec::new();
    for number in &numbers {
        ends.push(match segment::open(fs, dir, *number) {
            Ok((_, header)) => header.previous_end,
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(_) => 0,
        });
    }
    for (at, number) in numbers.iter().enumerate() {
        match segment::open(fs, dir, *number) {
            Ok((file, header)) => {
                let end = ends.get(at + 1).copied().filter(|end| *end > 0).unwrap_or(header.bytes);
                let path = segment::path(dir, *number);
                let sectors = (1, header.bytes / SECTOR_BYTES as u64);
                let span = Span { path: &path, file: &*file, segment: *number, sectors };
                visit(first_sector(&header));
                inspect_segment(&span, end.min(header.bytes), visit)?;
            }
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(Error::Damaged { offset, what, .. }) => visit(damaged(*number, offset, 0, 0, what)),
            Err(error) => visit(damaged(*number, 0, 0, 0, error.to_string())),
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
        let follows = batch.number > 0 && sector == batch.end_sector();
        let frame = match judged {
            Sector::Whole(frame) => frame,
            _ => {
                flush(span, &mut batch, end, false, visit);
                gap = gap.or((judged == Sector::Unwritten).then_some(at));
                if judged == Sector::Bad {
                    let what = "the sector is neither whole nor unwritten";
                    visit(damaged(span.segment, at, SECTOR_BYTES as u64, 0, what.to_owned()));
                }
                continue;
            }
        };
        if let Some(from) = gap.take().filter(|from| *from < end) {
            visit(damaged(span.segment, from, at - from, 0, "unwritten, though more follows".to_owned()));
        }
        if !follows || frame.batch != batch.number || u64::from(frame.place) != batch.sectors() {
            flush(span, &mut batch, end, false, visit);
            if frame.place > 0 {
                let what = "the sectors of the batch before this one are missing";
                visit(damaged(span.segment, at, SECTOR_BYTES as u64, frame.batch, what.to_owned()));
                continue;
            }
            batch = Batch { number: frame.batch, first_sector: sector, data: Vec::new() };
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
                visit(info(span.segment, base, &record, end));
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
            visit(damaged(span.segment, at, length, batch.number, what.to_owned()));
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
        damage: None,
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
        damage: None,
    }
}

fn damaged(segment: u64, offset: u64, length: u64, batch: u64, what: String) -> RecordInfo {
    RecordInfo {
        segment,
        offset,
        length,
        group: 0,
        index: 0,
        term: 0,
        kind: "damaged",
        batch,
        damage: Some(what),
    }
}
