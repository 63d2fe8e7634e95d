//! The committed log, as far as anybody knows it: the term of every committed entry, and when it was committed.
//!
//! It grows when any node first says that an entry is committed, and is what everybody else is then measured by. Several
//! invariants keep one each, so that they do not depend on the order in which they are asked.

use std::collections::BTreeMap;

use quorate::raft::Raft;
use quorate::types::{Index, NodeId, Term};

use crate::Violation;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Of entry 1 and those after it.
    entries: Vec<Line>,
    /// Up to where each node's commit index was compared since its start.
    compared: BTreeMap<NodeId, Index>,
}

/// A committed entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Its term; unknown if whoever said first that it is committed had purged it already.
    pub(super) term: Option<Term>,
    /// The term of the node that said so: it was committed in that term or an earlier one.
    pub(super) by: Term,
}

impl Ledger {
    /// The last committed entry.
    pub(super) fn top(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    /// A committed entry.
    pub(super) fn get(&self, index: Index) -> Option<Line> {
        let position = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.entries.get(position).copied()
    }

    /// What of the node is volatile begins anew.
    pub(super) fn booted(&mut self, node: NodeId) {
        self.compared.remove(&node);
    }

    /// Compares what `raft` says is committed, as far as that is new, with what others said.
    pub(super) fn compare(&mut self, node: NodeId, raft: &Raft) -> Result<(), Violation> {
        let commit = raft.commit();
        let compared = self.compared.entry(node).or_default();
        // The last one again: it must not have changed.
        let from = (*compared).min(commit).max(raft.purged().0).max(Index(1));
        *compared = commit;
        for index in from.0..=commit.0 {
            self.agree(node, Index(index), raft.term_at(Index(index)), raft.term())?;
        }
        Ok(())
    }

    fn agree(&mut self, node: NodeId, index: Index, term: Option<Term>, by: Term) -> Result<(), Violation> {
        while self.top() < index.prev() {
            self.entries.push(Line { term: None, by });
        }
        if self.top() < index {
            self.entries.push(Line { term, by });
            return Ok(());
        }
        let line = &mut self.entries[usize::try_from(index.0 - 1).expect("it is in memory")];
        let known = *line.term.get_or_insert(term.unwrap_or_default());
        match term {
            Some(term) if term != known => Err(format!(
                "entry {index} is committed with term {known}, but for {node} it is committed with term {term}"
            )),
            _ => Ok(()),
        }
    }

    /// Takes in a line, for tests.
    #[cfg(test)]
    pub(super) fn push(&mut self, term: Term, by: Term) {
        self.entries.push(Line { term: Some(term), by });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_entries_committed_at_one_position_are_found() {
        let mut ledger = Ledger::default();
        ledger.agree(NodeId(1), Index(1), Some(Term(1)), Term(1)).expect("the first");
        ledger.agree(NodeId(2), Index(1), Some(Term(1)), Term(2)).expect("the same");
        ledger.agree(NodeId(2), Index(3), Some(Term(2)), Term(2)).expect("what is between is not known");
        ledger.agree(NodeId(3), Index(2), Some(Term(2)), Term(2)).expect("now it is");
        assert!(ledger.agree(NodeId(1), Index(2), Some(Term(1)), Term(3)).is_err());
        assert!(ledger.agree(NodeId(3), Index(1), Some(Term(2)), Term(2)).is_err());
    }
}
