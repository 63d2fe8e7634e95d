//! What the benches write: commands and entries of the sizes that `docs/bench.md` quotes.

use bytes::Bytes;

use quorate::command::{Command, Envelope, Op, SessionSeq, Write};
use quorate::raft::{Entry, EntryKind, Membership};
use quorate::types::{ClusterId, Incarnation, Index, Keyspace, NodeId, Owner, Term};

/// A value, as `quorate bench` writes it unless told otherwise.
const VALUE_BYTES: usize = 256;

/// An entry's payload: about a put of such a value.
pub const PAYLOAD_BYTES: usize = 300;

/// The leader's term.
pub const TERM: Term = Term(1);

/// Whose files they are.
pub const OWNER: Owner = Owner { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) };

/// The group: three voters.
pub fn membership() -> Membership {
    Membership::bootstrap((1..=3).map(|id| (NodeId(id), format!("node{id}:7001"))))
}

/// Sets the key of this number, of 16 bytes, to a value.
pub fn put(number: u64) -> Command {
    let (key, value) = (Bytes::from(format!("bench{number:011}")), Bytes::from(vec![b'v'; VALUE_BYTES]));
    Command::Write(Write { keyspace: Keyspace(0), conditions: Vec::new(), ops: vec![Op::Put { key, value }] })
}

/// A command as the leader proposes it.
pub fn envelope(session: Option<SessionSeq>, command: Command) -> Envelope {
    Envelope { term: TERM, group_time_ms: 1_700_000_000_000, session, principal: String::new(), command }
}

/// So many entries of the log from this index on, each with a payload of its own.
pub fn entries(first: Index, count: usize) -> Vec<Entry> {
    let indexes = (first.0..).take(count).map(Index);
    indexes.map(|index| Entry::new(index, TERM, EntryKind::Command, payload())).collect()
}

/// The payload of an entry.
pub fn payload() -> Bytes {
    Bytes::from(vec![b'p'; PAYLOAD_BYTES])
}
