//! Leader completeness: what was committed in some term is in the log of every leader of a later term (Raft paper,
//! Figure 3).
//!
//! Of a *later* term: a node whose votes were on the way for long may find itself leader of term 5 after term 6 has
//! committed much. It will learn soon enough.

use quorate::raft::RoleName;
use quorate::types::{Index, NodeId, Term};

use super::ledger::{Ledger, Line};
use super::{Invariant, Seen};
use crate::Violation;

/// The committed log.
#[derive(Debug, Default)]
pub struct LeaderCompleteness(Ledger);

impl LeaderCompleteness {
    /// `node` leads `term`; `term_at` is its log, of which everything up to `purged` is gone.
    fn leads(
        &self,
        node: NodeId,
        term: Term,
        purged: Index,
        term_at: impl Fn(Index) -> Option<Term>,
    ) -> Result<(), Violation> {
        for index in purged.0.max(1)..=self.0.top().0 {
            let Some(Line { term: Some(committed), by }) = self.0.get(Index(index)) else { continue };
            let known = term_at(Index(index));
            if by < term && known != Some(committed) {
                return Err(format!(
                    "{node} leads term {term}, and entry {index}, committed with term {committed}, is {} in its log",
                    known.map_or_else(|| "not".to_owned(), |known| format!("of term {known}"))
                ));
            }
        }
        Ok(())
    }
}

impl Invariant for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader completeness"
    }

    fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let raft = seen.raft;
        // Of a node that was deposed before it could be looked at nothing can be said.
        let elected = seen.ready.changes.iter().any(|change| change.role == RoleName::Leader);
        if elected && raft.role() == RoleName::Leader {
            self.leads(seen.node, raft.term(), raft.purged().0, |index| raft.term_at(index))?;
        }
        // Other invariants say so if nodes disagree.
        let _ = self.0.compare(seen.node, raft);
        Ok(())
    }

    fn booted(&mut self, node: NodeId) {
        self.0.booted(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_without_a_committed_entry_is_found() {
        let mut invariant = LeaderCompleteness::default();
        invariant.0.push(Term(1), Term(2));
        invariant.0.push(Term(2), Term(2));
        let with = |terms: &'static [u64]| {
            move |index: Index| terms.get(usize::try_from(index.0 - 1).unwrap()).map(|&term| Term(term))
        };
        let leads = |term, purged, log| invariant.leads(NodeId(1), Term(term), Index(purged), with(log));
        leads(3, 0, &[1, 2, 3]).expect("it has all");
        assert!(leads(3, 0, &[1]).is_err(), "one is missing");
        assert!(leads(3, 0, &[1, 1, 3]).is_err(), "one is another");
        leads(2, 0, &[1]).expect("a leader of the term itself may lag");
        leads(3, 2, &[0, 2]).expect("what is purged was there");
    }
}
