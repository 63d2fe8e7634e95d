//! State machine safety: all nodes apply the same entries, each once, in order (Raft paper, Figure 3). A snapshot stands
//! for the entries up to its index. A state machine that lost its state is given all of them again, or a snapshot.

use std::collections::BTreeMap;

use quorate::raft::{Entry, EntryKind};
use quorate::types::{Index, NodeId, Term};

use super::{Invariant, Seen};
use crate::Violation;

/// What an entry is known by.
type Print = (Term, EntryKind, u32);

/// Every entry that any node was given to apply.
#[derive(Debug, Default)]
pub struct StateMachineSafety {
    /// Of entry 1 and those after it.
    applied: Vec<Option<Print>>,
    /// The last entry each node was given since its start.
    handed: BTreeMap<NodeId, Index>,
    /// How often each had lost its state.
    lost: BTreeMap<NodeId, u64>,
}

impl StateMachineSafety {
    fn hand(&mut self, node: NodeId, entry: &Entry) -> Result<(), Violation> {
        let &Entry { index, term, kind, crc, .. } = entry;
        if let Some(last) = self.handed.insert(node, index)
            && index != last.next()
        {
            return Err(format!("{node} is to apply entry {index} right after {last}"));
        }
        let position = usize::try_from(index.0 - 1).expect("entries begin at 1");
        if self.applied.len() <= position {
            self.applied.resize(position + 1, None);
        }
        let known = *self.applied[position].get_or_insert((term, kind, crc));
        if known == (term, kind, crc) {
            return Ok(());
        }
        Err(format!("{node} is to apply entry {index} as {:?}, another node as {known:?}", (term, kind, crc)))
    }
}

impl Invariant for StateMachineSafety {
    fn name(&self) -> &'static str {
        "state machine safety"
    }

    fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let lost = seen.raft.counters().states_lost;
        if self.lost.insert(seen.node, lost).is_some_and(|before| before < lost) {
            self.handed.remove(&seen.node);
        }
        seen.ready.apply.iter().try_for_each(|entry| self.hand(seen.node, entry))?;
        for install in seen.ready.writes.iter().filter_map(|write| write.install.as_ref()) {
            self.handed.insert(seen.node, install.index);
        }
        Ok(())
    }

    fn booted(&mut self, node: NodeId) {
        self.handed.remove(&node);
        self.lost.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(index: u64, term: u64, payload: &'static str) -> Entry {
        Entry::new(Index(index), Term(term), EntryKind::Command, Bytes::from_static(payload.as_bytes()))
    }

    #[test]
    fn different_entries_at_one_position_are_found() {
        let mut invariant = StateMachineSafety::default();
        invariant.hand(NodeId(1), &entry(1, 1, "a")).expect("the first");
        invariant.hand(NodeId(2), &entry(1, 1, "a")).expect("the same");
        assert!(invariant.hand(NodeId(3), &entry(1, 1, "b")).is_err(), "another payload");
        assert!(invariant.hand(NodeId(4), &entry(1, 2, "a")).is_err(), "another term");
    }

    #[test]
    fn a_gap_and_a_repetition_are_found() {
        let mut invariant = StateMachineSafety::default();
        invariant.hand(NodeId(1), &entry(5, 1, "a")).expect("from its checkpoint on");
        assert!(invariant.hand(NodeId(1), &entry(7, 1, "c")).is_err());
        assert!(invariant.hand(NodeId(1), &entry(7, 1, "c")).is_err());
        invariant.booted(NodeId(1));
        invariant.hand(NodeId(1), &entry(5, 1, "a")).expect("replay after a restart");
    }
}
