//! Log matching: index and term determine an entry, and all entries before it (Raft paper, Figure 3).
//!
//! The second half by induction: they determine also the term of the entry before.

use quorate::raft::{Entry, EntryKind};
use quorate::types::{NodeId, Term};

use super::{Invariant, Seen};
use crate::Violation;

/// Every entry that any node was ever given to write.
#[derive(Debug, Default)]
pub struct LogMatching(Vec<Vec<Known>>);

/// What is known of one of the entries that some position ever had.
#[derive(Clone, Copy, Debug)]
struct Known {
    term: Term,
    kind: EntryKind,
    crc: u32,
    /// The term of the entry before it; unknown where that was purged.
    before: Option<Term>,
}

impl LogMatching {
    fn write(&mut self, node: NodeId, entry: &Entry, before: Option<Term>) -> Result<(), Violation> {
        let &Entry { index, term, kind, crc, .. } = entry;
        let position = usize::try_from(index.0).expect("it is in memory");
        if self.0.len() <= position {
            self.0.resize_with(position + 1, Vec::new);
        }
        let Some(known) = self.0[position].iter_mut().rev().find(|known| known.term == term) else {
            self.0[position].push(Known { term, kind, crc, before });
            return Ok(());
        };
        if (known.kind, known.crc) != (kind, crc) {
            return Err(format!("{node} has another entry {index} of term {term} than another node"));
        }
        let Some(before) = before else { return Ok(()) };
        let expected = *known.before.get_or_insert(before);
        if expected == before {
            return Ok(());
        }
        Err(format!(
            "before entry {index} of term {term}, {node} has an entry of term {before}, another node one of {expected}"
        ))
    }
}

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "log matching"
    }

    fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        for write in &seen.ready.writes {
            let Some(first) = write.entries.first() else { continue };
            let mut before = seen.raft.term_at(first.index.prev());
            for entry in &write.entries {
                self.write(seen.node, entry, before)?;
                before = Some(entry.term);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate::types::Index;

    use super::*;

    fn entry(index: u64, term: u64, payload: &'static str) -> Entry {
        Entry::new(Index(index), Term(term), EntryKind::Command, Bytes::from_static(payload.as_bytes()))
    }

    #[test]
    fn logs_that_do_not_match_are_found() {
        let mut invariant = LogMatching::default();
        invariant.write(NodeId(1), &entry(3, 2, "a"), None).expect("the first");
        invariant.write(NodeId(2), &entry(3, 2, "a"), Some(Term(1))).expect("the same");
        invariant.write(NodeId(2), &entry(3, 3, "b"), Some(Term(2))).expect("another term");
        assert!(invariant.write(NodeId(3), &entry(3, 2, "c"), Some(Term(1))).is_err(), "another payload");
        assert!(invariant.write(NodeId(3), &entry(3, 2, "a"), Some(Term(2))).is_err(), "another predecessor");
    }
}
