//! What the log is made of: entries, and the hard state that goes through the same file in order.

use bytes::Bytes;

use crate::types::{Index, NodeId, Term};

/// What an entry's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Nothing: a new leader's first entry, by which it commits all earlier ones (section 5.4.2).
    Noop,
    /// An opaque command for the state machine.
    Command,
    /// An encoded [`Membership`](super::Membership), in force from the moment it is appended (section 4.1 of the
    /// thesis).
    Membership,
}

impl EntryKind {
    /// The kind's number on disk and on the wire.
    pub fn code(self) -> u8 {
        match self {
            EntryKind::Noop => 1,
            EntryKind::Command => 2,
            EntryKind::Membership => 3,
        }
    }

    /// The kind with this number, if there is one.
    pub fn from_code(code: u8) -> Option<EntryKind> {
        [EntryKind::Noop, EntryKind::Command, EntryKind::Membership]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// One position of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its position, 1 or more.
    pub index: Index,
    /// The term of the leader that made it.
    pub term: Term,
    /// What the payload is.
    pub kind: EntryKind,
    /// The payload; empty for a no-op.
    pub payload: Bytes,
    /// CRC-32 of the payload, made once by the leader that made the entry. Every hop verifies it, none makes it
    /// anew, so that no damage on the way is ever blessed.
    pub crc: u32,
}

impl Entry {
    /// Makes an entry and its checksum. Only a leader does this.
    pub fn new(index: Index, term: Term, kind: EntryKind, payload: Bytes) -> Entry {
        let crc = crc32fast::hash(&payload);
        Entry { index, term, kind, payload, crc }
    }

    /// Whether the payload is what the leader made.
    pub fn is_intact(&self) -> bool {
        crc32fast::hash(&self.payload) == self.crc
    }

    /// What the entry costs in a batch: its payload and a fixed overhead.
    pub fn bytes(&self) -> usize {
        self.payload.len() + Entry::OVERHEAD_BYTES
    }

    /// The overhead that [`Entry::bytes`] counts for everything but the payload.
    pub const OVERHEAD_BYTES: usize = 48;
}

/// What a node must not forget besides its entries: Figure 2's persistent state, and the commit index as a hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The latest term the node has seen. Monotone.
    pub term: Term,
    /// Whom it voted for in that term. Set at most once a term.
    pub vote: Option<NodeId>,
    /// A lower bound of the commit index. Needs no fsync of its own; may lag after a restart, never lead.
    pub commit: Index,
    /// The log may have held more than can be read of it: no vote until that is known (see `doubt`).
    pub in_doubt: bool,
}
