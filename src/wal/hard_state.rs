//! The hard state on disk: term, vote, commit and doubt, 25 bytes, in a record of its own.
//!
//! ```text
//! payload   0  8  term
//!           8  8  vote, 0 for none
//!          16  8  commit
//!          24  1  1: the log before it may have held more than can be read of it (see `raft::doubt`); otherwise 0
//! ```
//!
//! Each batch that carries hard states carries each of them twice, and the two copies never share a sector: first
//! one copy of all, padded to a sector; then the other copy of all, padded; then the entries. A forgotten vote can
//! elect two leaders in one term, while a forgotten un-acknowledged entry costs nothing; so a hard state is kept if
//! *either* copy can be read, even where the rest of its batch is cut off as torn.
//!
//! A hard state that outlives the entries of its batch keeps its term and vote, but not its commit index: the batch
//! may have replaced entries from index i on and said "committed up to i" of the *new* ones. With the new ones lost
//! and the old ones still in place, that commit index would bless entries that were never committed.

use crate::raft::HardState;
use crate::types::{Index, NodeId, Term};

use super::sector::{NUMBER_MAX, u64_at};

/// The length of an encoded hard state.
pub const HARD_STATE_BYTES: usize = 25;

/// Encodes a hard state.
pub fn encode(hard_state: &HardState) -> [u8; HARD_STATE_BYTES] {
    assert_ne!(hard_state.vote, Some(NodeId(0)), "node ids begin with 1, 0 stands for no vote");
    let mut bytes = [0; HARD_STATE_BYTES];
    bytes[..8].copy_from_slice(&hard_state.term.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&hard_state.vote.map_or(0, |vote| vote.0).to_le_bytes());
    bytes[16..24].copy_from_slice(&hard_state.commit.0.to_le_bytes());
    bytes[24] = u8::from(hard_state.in_doubt);
    bytes
}

/// Decodes a hard state; `None` if it is none.
pub fn decode(bytes: &[u8]) -> Option<HardState> {
    if bytes.len() != HARD_STATE_BYTES {
        return None;
    }
    let (term, vote, commit) = (u64_at(bytes, 0), u64_at(bytes, 8), u64_at(bytes, 16));
    (term.max(commit) < NUMBER_MAX && bytes[24] <= 1).then_some(HardState {
        term: Term(term),
        vote: (vote != 0).then_some(NodeId(vote)),
        commit: Index(commit),
        in_doubt: bytes[24] == 1,
    })
}

/// Whether `next` may follow `last`: terms never fall, and a vote is given at most once in a term. The commit index
/// is free: it is a hint, and a restart may set it back.
pub fn may_follow(last: &HardState, next: &HardState) -> Result<(), String> {
    if next.term < last.term {
        return Err(format!("term {} after term {}", next.term, last.term));
    }
    if next.term == last.term && last.vote.is_some() && next.vote != last.vote {
        return Err(format!("vote {:?} in term {} after vote {:?}", next.vote, next.term, last.vote));
    }
    Ok(())
}
