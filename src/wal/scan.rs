//! Walking over the sectors of a segment, batch by batch, and judging where the walk ends.

use std::path::Path;

use super::error::Error;
use super::fs::File;
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
}

impl Batch {
    /// How many sectors are there.
    pub fn sectors(&self) -> u64 {
        (self.data.len() / DATA_BYTES) as u64
    }

    /// The sector after the last one that is there.
    pub fn end_sector(&self) -> u64 {
        self.first_sector + self.sectors()
    }
}

/// Where a walk ended.
#[derive(Debug)]
pub struct Stop {
    /// The batch that began and did not end, or that should have begun, then without data.
    pub partial: Batch,
    /// The first sector that does not belong to the walk; the end of the span if all do.
    pub sector: u64,
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
pub fn walk(
    span: &Span<'_>,
    number: u64,
    on_batch: &mut dyn FnMut(&Batch) -> Result<(), Error>,
) -> Result<Stop, Error> {
    let mut batch = Batch { number, first_sector: span.sectors.0, data: Vec::new() };
    let mut sectors = Sectors::new(span, span.sectors.0);
    while let Some((sector, found, data)) = sectors.next()? {
        let Sector::Whole(frame) = found else { return Ok(Stop { partial: batch, sector }) };
        if frame.batch != batch.number || u64::from(frame.place) != batch.sectors() {
            return Ok(Stop { partial: batch, sector });
        }
        batch.data.extend_from_slice(data);
        if frame.batch_ends {
            on_batch(&batch)?;
            batch.number += 1;
            batch.first_sector = sector + 1;
            batch.data.clear();
        }
    }
    Ok(Stop { partial: batch, sector: span.sectors.1 })
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
