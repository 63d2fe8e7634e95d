//! Walking over the sectors of a segment, batch by batch, and judging where the walk ends.

use std::path::Path;

use super::error::Error;
use super::fs::File;
use super::record::Mark;
use super::sector::{DATA_BYTES, FRAME_BYTES, Frame, SECTOR_BYTES, Sector, judge, offset_of};

/// A segment, or the part of one, to walk over.
pub struct Span<'a> {
    /// For error texts.
    pub path: &'a Path,
    /// The file.
    pub file: &'a dyn File,
    /// The segment's number.
    pub segment: u64,
    /// The first sector, and the one after the last.
    pub sectors: (u64, u64),
}

/// A batch, or the beginning of one.
#[derive(Debug, Default)]
pub struct Batch {
    /// Its number.
    pub number: u64,
    /// The sector it begins with.
    pub first_sector: u64,
    /// The data of its sectors, without their frames.
    pub data: Vec<u8>,
    /// What is known of each of them.
    pub marks: Vec<Mark>,
}

impl Batch {
    fn at(number: u64, first_sector: u64) -> Batch {
        Batch { number, first_sector, ..Batch::default() }
    }

    /// How many sectors are there.
    pub fn sectors(&self) -> u64 {
        (self.data.len() / DATA_BYTES) as u64
    }

    /// The sector after the last one that is there.
    pub fn end_sector(&self) -> u64 {
        self.first_sector + self.sectors()
    }

    /// Whether one of its sectors is not what was written.
    pub fn is_damaged(&self) -> bool {
        self.marks.contains(&Mark::Bad)
    }

    fn push(&mut self, frame: Frame, data: &[u8]) {
        self.data.extend_from_slice(data);
        self.marks.push(Mark::Whole(frame.record_begins));
    }

    /// How many of its sectors are not what was written.
    pub fn bad_sectors(&self) -> u64 {
        self.marks.iter().filter(|mark| **mark == Mark::Bad).count() as u64
    }

    /// Takes the sectors up to `end`, not included, as such that are not whole.
    pub fn fill_bad(&mut self, end: u64) {
        let sectors = usize_of(end.saturating_sub(self.first_sector)).max(self.marks.len());
        self.data.resize(sectors * DATA_BYTES, 0);
        self.marks.resize(sectors, Mark::Bad);
    }

    /// Takes sectors that are not whole, as they are.
    pub fn push_bad(&mut self, data: &[u8]) {
        self.data.extend_from_slice(data);
        self.marks.resize(self.data.len() / DATA_BYTES, Mark::Bad);
    }
}

/// Where a walk ended.
#[derive(Debug)]
pub struct Stop {
    /// The batch that began and did not end, or that should have begun, then without data.
    pub partial: Batch,
    /// The first sector that does not belong to the walk; the end of the span if all do.
    pub sector: u64,
    /// If no whole sector follows: the data of the sectors from there to the last one that is not unwritten.
    pub rest: Vec<u8>,
    /// How many of these are neither whole nor unwritten.
    pub bad: u64,
    /// There are more of them than anybody could mend.
    pub is_too_long: bool,
}

/// A sector: its number, what it is, and its data.
pub type Found<'a> = (u64, Sector, &'a [u8]);

/// Reads the sectors of a span, in order, a chunk at a time.
pub struct Sectors<'a> {
    span: &'a Span<'a>,
    next: u64,
    chunk: Vec<u8>,
    used: usize,
}

impl<'a> Sectors<'a> {
    const CHUNK_BYTES: u64 = 1 << 20;

    /// Begins at sector `first`.
    pub fn new(span: &'a Span<'a>, first: u64) -> Sectors<'a> {
        Sectors { span, next: first, chunk: Vec::new(), used: 0 }
    }

    /// The next sector.
    pub fn next(&mut self) -> Result<Option<Found<'_>>, Error> {
        let end = self.span.sectors.1;
        if self.next >= end {
            return Ok(None);
        }
        if self.used == self.chunk.len() {
            let len = Sectors::CHUNK_BYTES.min(offset_of(end - self.next));
            self.chunk.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
            self.span
                .file
                .read_at(offset_of(self.next), &mut self.chunk)
                .map_err(Error::io(self.span.path, "reading"))?;
            self.used = 0;
        }
        let sector = self.next;
        let bytes = &self.chunk[self.used..self.used + SECTOR_BYTES];
        self.used += SECTOR_BYTES;
        self.next += 1;
        Ok(Some((sector, judge(bytes, self.span.segment, sector), &bytes[FRAME_BYTES..])))
    }
}

/// Walks from the beginning of the span, where batch `number` should begin, as long as each sector is the one that
/// should follow; hands over each batch that is whole.
///
/// Sectors that are not whole are damage, not the end, if what follows shows where they belong: a later sector of the
/// same batch or of a later one. They are handed over as they are, with a mark; what can be read of them is for the
/// records to say. Batches of which nothing is left are part of the one before them. In the last batch of the newest segment, which is not `sealed`, sectors that are wholly zero end the
/// walk: that may be a crash.
pub fn walk(
    span: &Span<'_>,
    number: u64,
    sealed: bool,
    on_batch: &mut dyn FnMut(&Batch) -> Result<(), Error>,
) -> Result<Stop, Error> {
    let mut batch = Batch::at(number, span.sectors.0);
    let mut sectors = Sectors::new(span, span.sectors.0);
    let mut gap = Gap::default();
    while let Some((sector, found, data)) = sectors.next()? {
        let Sector::Whole(frame) = found else {
            gap.push(sector, found, data);
            continue;
        };
        let at = gap.first.unwrap_or(sector);
        let stop = |partial| Ok(Stop { partial, sector: at, rest: Vec::new(), bad: 0, is_too_long: false });
        let Some(begins) = gap.belongs(&batch, &frame, sector) else { return stop(batch) };
        let may_be_torn = gap.first.is_some() && !gap.is_bad && frame.batch == batch.number && !sealed;
        if may_be_torn && !is_followed(span, sector, frame.batch)? {
            return stop(batch);
        }
        let missing = gap.filled(sector);
        let (mine, next) = missing.split_at(usize_of(begins.saturating_sub(at)) * DATA_BYTES);
        if begins > at {
            batch.push_bad(mine);
            on_batch(&batch)?;
            batch = Batch::at(frame.batch, begins);
        }
        batch.push_bad(next);
        gap = Gap::default();
        batch.push(frame, data);
        if frame.batch_ends {
            on_batch(&batch)?;
            batch = Batch { data: batch.data, marks: batch.marks, ..Batch::at(batch.number + 1, sector + 1) };
            batch.data.clear();
            batch.marks.clear();
        }
    }
    let (bad, is_too_long) = (gap.bad, gap.is_too_long);
    let rest = if is_too_long { Vec::new() } else { gap.data };
    Ok(Stop { partial: batch, sector: gap.first.unwrap_or(span.sectors.1), rest, bad, is_too_long })
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("bounded by what fits in memory")
}

/// Sectors that are not whole, one behind the other.
#[derive(Default)]
struct Gap {
    first: Option<u64>,
    /// Their data, up to the last one that is not wholly zero.
    data: Vec<u8>,
    /// Whether one of them is not wholly zero, and how many are.
    is_bad: bool,
    bad: u64,
    /// Whether there are more than anybody could mend.
    is_too_long: bool,
}

impl Gap {
    const DATA_BYTES_MAX: usize = 64 << 20;

    fn push(&mut self, sector: u64, found: Sector, data: &[u8]) {
        let first = *self.first.get_or_insert(sector);
        if found == Sector::Bad {
            self.is_bad = true;
            self.bad += 1;
            let before = usize_of(sector - first) * DATA_BYTES;
            self.is_too_long |= before + DATA_BYTES > Gap::DATA_BYTES_MAX;
            if !self.is_too_long {
                self.data.resize(before, 0);
                self.data.extend_from_slice(data);
            }
        }
    }

    /// Where the batch begins to which the whole `sector` behind it belongs, if that is the one under way or, beginning
    /// within the gap, a later one: each batch before that has a sector in the gap at the least.
    fn belongs(&self, batch: &Batch, frame: &Frame, sector: u64) -> Option<u64> {
        let begins = sector.checked_sub(u64::from(frame.place))?;
        let first = self.first.unwrap_or(sector);
        let is_small = (sector - first) <= (Gap::DATA_BYTES_MAX / DATA_BYTES) as u64;
        let is_this = frame.batch == batch.number && begins == batch.first_sector;
        let later = frame.batch.saturating_sub(batch.number);
        let is_later = later > 0 && later <= sector - first && (first + later..=sector).contains(&begins);
        (is_small && !self.is_too_long && (is_this || is_later)).then_some(begins)
    }

    /// The data of all its sectors, up to the whole `sector` behind it.
    fn filled(self, sector: u64) -> Vec<u8> {
        let count = self.first.map_or(0, |first| sector - first);
        let mut data = self.data;
        data.resize(usize_of(count) * DATA_BYTES, 0);
        data
    }
}

/// Whether a sector of a later batch than `number` stands behind `sector`.
fn is_followed(span: &Span<'_>, sector: u64, number: u64) -> Result<bool, Error> {
    let mut sectors = Sectors::new(span, sector);
    while let Some((_, found, _)) = sectors.next()? {
        if matches!(found, Sector::Whole(frame) if frame.batch > number) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A sector of the last batch that stands beyond a lost one.
#[derive(Debug)]
pub struct Straggler {
    /// Its frame.
    pub frame: Frame,
    /// Its data.
    pub data: Vec<u8>,
}

/// What follows the end of a walk over the newest segment: the torn-or-damaged rule.
///
/// Torn, if no sector of a later batch exists and every sector that fails is wholly zero; returns the sectors of the
/// batch that did arrive, none for a clean end. All else is damage.
pub fn stragglers(span: &Span<'_>, stop: &Stop) -> Result<Vec<Straggler>, Error> {
    let damaged = |sector: u64, what: &str| Err(Error::damaged(span.path, offset_of(sector), what));
    let mut found = Vec::new();
    let mut sectors = Sectors::new(span, stop.sector);
    while let Some((sector, judged, data)) = sectors.next()? {
        let frame = match judged {
            Sector::Unwritten => continue,
            Sector::Bad => return damaged(sector, "a sector is neither whole nor unwritten"),
            Sector::Whole(frame) => frame,
        };
        if frame.batch > stop.partial.number {
            let what = format!(
                "a sector of batch {} is missing, though batch {} was written after it",
                stop.partial.number, frame.batch
            );
            return damaged(stop.sector, &what);
        }
        let belongs = stop.partial.first_sector + u64::from(frame.place) == sector;
        if frame.batch < stop.partial.number || !belongs || sector == stop.sector {
            return damaged(sector, &format!("a sector of batch {} stands in the wrong place", frame.batch));
        }
        found.push(Straggler { frame, data: data.to_vec() });
    }
    Ok(found)
}
