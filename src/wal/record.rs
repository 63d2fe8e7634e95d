//! Records: what a batch's sectors carry.
//!
//! ```text
//! a record             0   1  kind: 1 group, 2 hard state, 3 entry, 4 base; 0 is padding up to the next sector
//!                      1   1  entry: the entry's kind (1 no-op, 2 command, 3 membership)
//!                             hard state: which copy (1, 2)
//!                             base: 1 keeps what follows its point, 2 resets the log; otherwise 0
//!                      2   2  0
//!                      4   4  group
//!                      8   4  payload length
//!                     12   4  payload CRC-32; of an entry: the one its leader made
//!                     16   8  batch number
//!                     24   8  index: of the entry; of the purge point (group, base); commit (hard state)
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
//! entry's payload as its leader made it. A record is there with the whole of its payload or not at all.

use crate::raft::EntryKind;
use crate::types::{GroupId, Index, Term};

use super::sector::{DATA_BYTES, FRAME_BYTES, Layout, NUMBER_MAX, SECTOR_BYTES, u32_at, u64_at};

/// The length of a record's header.
pub const HEADER_BYTES: usize = 48;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A group's whole state; in every preamble, and where a group is added.
    Group,
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
    },
}

impl Kind {
    /// The kind's name, as `wal inspect` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Group => "group",
            Kind::HardState { .. } => "hard-state",
            Kind::Entry(EntryKind::Noop) => "noop",
            Kind::Entry(EntryKind::Command) => "command",
            Kind::Entry(EntryKind::Membership) => "membership",
            Kind::Base { resets: false } => "base",
            Kind::Base { resets: true } => "reset",
        }
    }

    fn codes(self) -> (u8, u8) {
        match self {
            Kind::Group => (1, 0),
            Kind::HardState { copy } => (2, copy),
            Kind::Entry(kind) => (3, kind.code()),
            Kind::Base { resets } => (4, 1 + u8::from(resets)),
        }
    }

    fn from_codes(kind: u8, sub: u8) -> Option<Kind> {
        match (kind, sub) {
            (1, 0) => Some(Kind::Group),
            (2, 1 | 2) => Some(Kind::HardState { copy: sub }),
            (3, _) => EntryKind::from_code(sub).map(Kind::Entry),
            (4, 1 | 2) => Some(Kind::Base { resets: sub == 2 }),
            _ => None,
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
    /// Its payload, verified.
    pub payload: &'a [u8],
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

/// Reads the records of a batch from its sectors' data, frames taken out.
pub struct Records<'a> {
    data: &'a [u8],
    batch: u64,
    at: usize,
}

impl<'a> Records<'a> {
    /// Reads a batch.
    pub fn new(data: &'a [u8], batch: u64) -> Records<'a> {
        assert_eq!(data.len() % DATA_BYTES, 0, "data comes in whole sectors");
        Records { data, batch, at: 0 }
    }

    /// The next record; `None` at the end. After a fault the place is that of the record that has it.
    pub fn next(&mut self) -> Option<Result<Record<'a>, Fault>> {
        if self.data.get(self.at).is_some_and(|kind| *kind == 0) {
            let padding = self.at..self.at.next_multiple_of(DATA_BYTES);
            if self.data[padding.clone()].iter().any(|byte| *byte != 0) {
                return Some(Err(Fault::Bad("the padding after a record is not zero")));
            }
            self.at = padding.end;
            if self.data.get(self.at).is_some_and(|kind| *kind == 0) {
                return Some(Err(Fault::Bad("a sector without a record")));
            }
        }
        if self.at == self.data.len() {
            return None;
        }
        Some(self.record())
    }

    /// Where the next record begins, or the one with the fault, from the start of the batch, frames counted.
    pub fn offset(&self) -> u64 {
        disk_offset(self.at, true)
    }

    fn record(&mut self) -> Result<Record<'a>, Fault> {
        let rest = &self.data[self.at..];
        let (header, crc) =
            Header::decode(rest.get(..HEADER_BYTES).ok_or(Fault::Short)?).map_err(Fault::Bad)?;
        if header.batch != self.batch {
            return Err(Fault::Bad("the record names another batch than its sector"));
        }
        let payload = rest[HEADER_BYTES..].get(..header.len as usize).ok_or(Fault::Short)?;
        if crc32fast::hash(payload) != header.payload_crc {
            return Err(Fault::Bad("the payload fails its checksum"));
        }
        let offset = self.offset();
        self.at += HEADER_BYTES + payload.len();
        Ok(Record { header, crc, payload, offset, end: disk_offset(self.at, false) })
    }
}

/// Turns a position in a batch's data into one on disk. A position between two sectors is the end of the first or
/// the beginning of the second.
fn disk_offset(at: usize, begins: bool) -> u64 {
    let (sector, within) = (at / DATA_BYTES, at % DATA_BYTES);
    let offset = sector * SECTOR_BYTES + if within == 0 && !begins { 0 } else { FRAME_BYTES + within };
    offset as u64
}
