//! Entries that are damaged.

use crate::types::{Index, Term};

/// An entry that is in the log and cannot be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Damaged {
    /// Its position.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// The checksum of its payload, where known.
    pub crc: Option<u32>,
}
