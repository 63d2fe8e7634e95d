//! Records: what a batch's sectors carry.
//!
//! ```text
//! a record             0   1  kind: 1 group, 2 hard state, 3 entry, 4 base, 5 repair; 0 is padding up to the next sector
//!                      1   1  entry, repair: the entry's kind (1 no-op, 2 command, 3 membership)
//!                             group, hard state: which copy (1, 2)
//!                             base: which copy (1, 2); 2 more if it resets the log
//!                      2   1  settings: how many hard states and bases of the group stand before it, by 256
//!                      3   1  turns: how many of the group's entries before it replaced others, or are configurations, by 256
//!                      4   4  group
//!                      8   4  payload length
//!                     12   4  payload CRC-32; of an entry: the one its leader made
//!                     16   8  batch number
//!                     24   8  index: of the entry (entry, repair); of the purge point (group, base); commit (hard state)
//!                     32   8  term, likewise
//!                     40   4  chain: the header CRC of the record before this one, across batches and segments
//!                     44   4  header CRC-32 of bytes 0..44
//!                     48      payload
//! ```
//!
//! The length stands under the header's own CRC, so no damaged length ever leads a reader astray (H16). The chain
//! ties each record to all before it: records of another log, or of another life of this one, do not fit in.
//!
//! Payloads: a *group* record is a group's whole state, a *base* record where its log begins from now on (both in
//! [`super::group`]), a *hard state* record one of two copies (see [`super::hard_state`]), an *entry* record the
//! entry's payload as its leader made it, and so does a *repair* record: it takes the place of the entry of its index and
//! term, whose own record cannot be read back, and makes nothing void.
//!
//! Of a group, a hard state and a base there are two copies, and no sector has a part of both.
//!
//! # Records in damaged sectors
//!
//! A header that passes its checksum and continues the chain is what was written, also where its sector fails its own:
//! those are 64 bits that agree. So [`Records`] reads on through sectors that are not whole, says of each record whether
//! it lies in one ([`Record::is_worn`]) and whether its payload is intact, and where no header can be read it goes on with the
//! first record that begins in the next whole sector. What it passed over in this way shows in the chain; and what it was,
//! as far as that matters, in the counts of the next header (see [`super::gaps`]).

use crate::raft::EntryKind;
use crate::types::{GroupId, Index, Term};

use super::sector::{DATA_BYTES, FRAME_BYTES, Layout, NUMBER_MAX, SECTOR_BYTES, u32_at, u64_at};

/// The length of a record's header.
pub const HEADER_BYTES: usize = 48;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A group's whole state; in every preamble, and where a group is added. Copy 1 or 2.
    Group {
        /// Which of the two.
        copy: u8,
    },
    /// A hard state; copy 1 or 2.
    HardState {
        /// Which of the two.
        copy: u8,
    },
    /// An entry.
    Entry(EntryKind),
    /// Where the log of the group begins from now on, and which state file it belongs to.
    Base {
        /// Whether all that the log held before is void, see [`super::group`].
        resets: bool,
        /// Which of the two copies it is.
        copy: u8,
    },
    /// An entry once more, whose first record was damaged.
    Repair(EntryKind),
}

impl Kind {
    /// The kind's name, as `wal inspect` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Group { .. } => "group",
            Kind::HardState { .. } => "hard-state",
            Kind::Entry(EntryKind::Noop) => "noop",
            Kind::Entry(EntryKind::Command) => "command",
            Kind::Entry(EntryKind::Membership) => "membership",
            Kind::Base { resets: false, .. } => "base",
            Kind::Base { resets: true, .. } => "reset",
            Kind::Repair(_) => "repair",
        }
    }

    fn codes(self) -> (u8, u8) {
        match self {
            Kind::Group { copy } => (1, copy),
            Kind::HardState { copy } => (2, copy),
            Kind::Entry(kind) => (3, kind.code()),
            Kind::Base { resets, copy } => (4, copy + 2 * u8::from(resets)),
            Kind::Repair(kind) => (5, kind.code()),
        }
    }

    /// Which of two copies it is, if there are two.
    pub fn copy(self) -> Option<u8> {
        match self {
            Kind::Group { copy } | Kind::HardState { copy } | Kind::Base { copy, .. } => Some(copy),
            Kind::Entry(_) | Kind::Repair(_) => None,
        }
    }

    fn from_codes(kind: u8, sub: u8) -> Option<Kind> {
        match (kind, sub) {
            (1, 1 | 2) => Some(Kind::Group { copy: sub }),
            (2, 1 | 2) => Some(Kind::HardState { copy: sub }),
            (3, _) => EntryKind::from_code(sub).map(Kind::Entry),
            (4, 1..=4) => Some(Kind::Base { resets: sub > 2, copy: (sub - 1) % 2 + 1 }),
            (5, _) => EntryKind::from_code(sub).map(Kind::Repair),
            _ => None,
        }
    }
}

/// What stands before a record of a group, but for entries that continue its log: so that a reader who missed records knows
/// whether that is all that they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hard states and bases; the two copies are one.
    pub settings: u8,
    /// Entries that replaced others, and configurations.
    pub turns: u8,
}

impl Counts {
    /// What stands before the next record, if this is what a record says that `replaces` entries.
    pub fn after(self, kind: Kind, replaces: bool) -> Counts {
        let Counts { settings, turns } = self;
        match kind {
            Kind::HardState { copy: 2 } | Kind::Base { copy: 2, .. } => {
                Counts { settings: settings.wrapping_add(1), turns }
            }
            Kind::Entry(of) => {
                let more = u8::from(replaces) + u8::from(of == EntryKind::Membership);
                Counts { settings, turns: turns.wrapping_add(more) }
            }
            _ => self,
        }
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub group: GroupId,
    /// What stands before it.
    pub counts: Counts,
    /// The payload's length.
    pub len: u32,
    /// The payload's checksum.
    pub payload_crc: u32,
    /// The batch it was written in.
    pub batch: u64,
    /// See the layout.
    pub index: Index,
    /// See the layout.
    pub term: Term,
    /// The header CRC of the record before.
    pub chain: u32,
}

impl Header {
    /// Encodes the header; also returns its CRC, the chain value of the next record.
    pub fn encode(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0; HEADER_BYTES];
        (bytes[0], bytes[1]) = self.kind.codes();
        (bytes[2], bytes[3]) = (self.counts.settings, self.counts.turns);
        bytes[4..8].copy_from_slice(&self.group.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.batch.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.index.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.term.0.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.chain.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// Decodes a header; also returns its CRC.
    pub fn decode(bytes: &[u8]) -> Result<(Header, u32), &'static str> {
        assert_eq!(bytes.len(), HEADER_BYTES, "a header has {HEADER_BYTES} bytes");
        let crc = u32_at(bytes, 44);
        if crc != crc32fast::hash(&bytes[..44]) {
            return Err("the record header fails its checksum");
        }
        let kind = Kind::from_codes(bytes[0], bytes[1]).ok_or("the record is of an unknown kind")?;
        let header = Header {
            kind,
            group: GroupId(u32_at(bytes, 4)),
            counts: Counts { settings: bytes[2], turns: bytes[3] },
            len: u32_at(bytes, 8),
            payload_crc: u32_at(bytes, 12),
            batch: u64_at(bytes, 16),
            index: Index(u64_at(bytes, 24)),
            term: Term(u64_at(bytes, 32)),
            chain: u32_at(bytes, 40),
        };
        if header.batch.max(header.index.0).max(header.term.0) >= NUMBER_MAX {
            return Err("the record's numbers are beyond all that is counted");
        }
        Ok((header, crc))
    }

    /// Lays out the record; returns its offset from the start of the batch, and the chain value of the next one.
    pub fn put(&self, payload: &[u8], layout: &mut Layout) -> (u64, u32) {
        assert_eq!(self.len as usize, payload.len(), "the header says how long the payload is");
        let (header, crc) = self.encode();
        let offset = layout.begin_record();
        layout.put(&header);
        layout.put(payload);
        (offset, crc)
    }
}

/// The length of a payload, as records hold it.
pub fn payload_len(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).unwrap_or_else(|_| panic!("a payload of {} bytes", payload.len()))
}

/// A record as read back.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its header.
    pub header: Header,
    /// The header's CRC.
    pub crc: u32,
    /// Its payload: what was written if it is intact.
    pub payload: &'a [u8],
    /// Whether the payload passes its checksum.
    pub is_intact: bool,
    /// Whether some of it lies in a sector that is not whole.
    pub is_worn: bool,
    /// Where it begins, from the start of the batch, frames counted.
    pub offset: u64,
    /// Where it ends, likewise.
    pub end: u64,
}

/// Why [`Records`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The data ends before the record does.
    Short,
    /// The record is not what was written.
    Bad(&'static str),
}

/// What is known of a sector whose data is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is whole, and this is where the first record begins that begins in it.
    Whole(Option<usize>),
    /// It is not what was written.
    Bad,
}

/// Reads the records of a batch from its sectors' data, frames taken out.
pub struct Records<'a> {
    data: &'a [u8],
    /// Of each sector; empty if all are whole.
    marks: &'a [Mark],
    batch: u64,
    at: usize,
    /// A header was passed over that could not be read, or zeroes in a bad sector that may have been one, since this was
    /// last asked.
    missed: Missed,
}

/// What [`Records`] passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// So many bad sectors.
    pub sectors: u64,
    /// Whether there was something that is no header, where one may have been; else it was zeroes, most likely padding.
    pub is_header: bool,
}

impl<'a> Records<'a> {
    /// Reads a batch whose sectors are whole.
    pub fn new(data: &'a [u8], batch: u64) -> Records<'a> {
        Records::through(data, &[], batch)
    }

    /// Reads a batch of which some sectors may be bad.
    pub fn through(data: &'a [u8], marks: &'a [Mark], batch: u64) -> Records<'a> {
        assert_eq!(data.len() % DATA_BYTES, 0, "data comes in whole sectors");
        assert!(marks.is_empty() || marks.len() == data.len() / DATA_BYTES, "a mark for each sector");
        Records { data, marks, batch, at: 0, missed: Missed::default() }
    }

    /// Reads whole sectors, from a place in their data on at which a record begins.
    pub fn starting(data: &'a [u8], batch: u64, at: usize) -> Records<'a> {
        Records { at, ..Records::new(data, batch) }
    }

    /// What was passed over since this was last asked.
    pub fn missed(&mut self) -> Missed {
        std::mem::take(&mut self.missed)
    }

    /// The next record; `None` at the end. After a fault the place is that of the record that has it.
    pub fn next(&mut self) -> Option<Result<Record<'a>, Fault>> {
        loop {
            if let Err(fault) = self.skip_padding() {
                return Some(Err(fault));
            }
            if self.at == self.data.len() {
                return None;
            }
            match self.record() {
                Err(Fault::Bad(_)) if self.is_bad(self.at, HEADER_BYTES) => self.resume(),
                result => return Some(result),
            }
        }
    }

    /// Where the next record begins, or the one with the fault, from the start of the batch, frames counted.
    pub fn offset(&self) -> u64 {
        disk_offset(self.at, true)
    }

    fn skip_padding(&mut self) -> Result<(), Fault> {
        if self.data.get(self.at).is_none_or(|kind| *kind != 0) {
            return Ok(());
        }
        let padding = self.at..self.at.next_multiple_of(DATA_BYTES);
        let begins = padding.start == padding.end;
        if self.is_bad(self.at, 1) {
            // What follows padding begins with a record; what follows a lost record may go on with it.
            let next = self.marks.get(padding.end / DATA_BYTES);
            let is_inside = matches!(next, Some(Mark::Whole(at)) if *at != Some(0));
            if begins || is_inside || self.data[padding.clone()].iter().any(|byte| *byte != 0) {
                self.resume();
            } else {
                self.missed.sectors += 1;
                self.at = padding.end;
            }
            return Ok(());
        }
        if self.data[padding.clone()].iter().any(|byte| *byte != 0) {
            return Err(Fault::Bad("the padding after a record is not zero"));
        }
        self.at = padding.end;
        match self.data.get(self.at) {
            Some(0) if self.is_bad(self.at, 1) => self.resume(),
            Some(0) => return Err(Fault::Bad("a sector without a record")),
            _ => {}
        }
        Ok(())
    }

    /// No header can be read here: goes on with the next one whose place is known.
    fn resume(&mut self) {
        self.missed.is_header = true;
        let next = self.at / DATA_BYTES + 1;
        let mut later = self.marks.iter().enumerate().skip(next);
        let begins = later.find_map(|(sector, mark)| match mark {
            Mark::Whole(Some(begins)) => Some(sector * DATA_BYTES + begins),
            _ => None,
        });
        let from = self.at / DATA_BYTES;
        self.at = begins.unwrap_or(self.data.len());
        let passed = self.marks.iter().take(self.at / DATA_BYTES).skip(from);
        self.missed.sectors += passed.filter(|mark| **mark == Mark::Bad).count() as u64;
    }

    /// Whether one of these bytes lies in a bad sector.
    fn is_bad(&self, at: usize, len: usize) -> bool {
        let sectors = at / DATA_BYTES..(at + len).div_ceil(DATA_BYTES).min(self.marks.len());
        !self.marks.is_empty() && self.marks[sectors].contains(&Mark::Bad)
    }

    fn record(&mut self) -> Result<Record<'a>, Fault> {
        let rest = &self.data[self.at..];
        let (header, crc) =
            Header::decode(rest.get(..HEADER_BYTES).ok_or(Fault::Short)?).map_err(Fault::Bad)?;
        if header.batch != self.batch {
            return Err(Fault::Bad("the record names another batch than its sector"));
        }
        let payload = rest[HEADER_BYTES..].get(..header.len as usize).ok_or(Fault::Short)?;
        let is_intact = crc32fast::hash(payload) == header.payload_crc;
        let is_worn = self.is_bad(self.at, HEADER_BYTES + payload.len());
        let offset = self.offset();
        self.at += HEADER_BYTES + payload.len();
        let end = disk_offset(self.at, false);
        Ok(Record { header, crc, payload, is_intact, is_worn, offset, end })
    }
}

/// Turns a position in a batch's data into one on disk. A position between two sectors is the end of the first or
/// the beginning of the second.
fn disk_offset(at: usize, begins: bool) -> u64 {
    let (sector, within) = (at / DATA_BYTES, at % DATA_BYTES);
    let offset = sector * SECTOR_BYTES + if within == 0 && !begins { 0 } else { FRAME_BYTES + within };
    offset as u64
}
