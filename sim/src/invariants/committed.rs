//! What is committed is on the disks of a quorum and never changes (Raft paper, section 5.3).

use quorate::raft::Raft;
use quorate::types::{Index, NodeId};

use super::ledger::Ledger;
use super::{Disks, Invariant, Seen, is_quorum};
use crate::Violation;

/// The committed log, and up to where the disks were compared with it.
#[derive(Debug, Default)]
pub struct Committed {
    ledger: Ledger,
    /// On a quorum of disks, and not replaced anywhere since.
    audited: Index,
}

impl Committed {
    fn see(&mut self, node: NodeId, raft: &Raft) -> Result<(), Violation> {
        self.ledger.compare(node, raft)
    }
}

impl Invariant for Committed {
    fn name(&self) -> &'static str {
        "committed"
    }

    fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        self.see(seen.node, seen.raft)
    }

    fn booted(&mut self, node: NodeId) {
        self.ledger.booted(node);
    }

    fn audit(&mut self, disks: &dyn Disks) -> Result<(), Violation> {
        if self.audited == self.ledger.top() {
            return Ok(());
        }
        for index in self.audited.next().0..=self.ledger.top().0 {
            let index = Index(index);
            let Some(term) = self.ledger.get(index).and_then(|line| line.term) else { continue };
            let majorities = disks.majorities_at(index);
            if !is_quorum(&majorities, |voter| disks.holds(voter, index, term)) {
                let mut holders: Vec<NodeId> = majorities.concat();
                holders.retain(|&voter| disks.holds(voter, index, term));
                return Err(format!(
                    "entry {index} of term {term} is committed, but only on the disks of {holders:?} of {majorities:?}"
                ));
            }
        }
        self.audited = self.ledger.top();
        Ok(())
    }

    fn replaced(&mut self, _node: NodeId, from: Index) {
        self.audited = self.audited.min(from.prev());
    }
}

#[cfg(test)]
mod tests {
    use quorate::types::Term;

    use super::*;

    /// One entry, of term 2, on the first so many of three disks.
    struct Held(u64);

    impl Disks for Held {
        fn majorities_at(&self, _index: Index) -> Vec<Vec<NodeId>> {
            vec![[1, 2, 3].map(NodeId).to_vec()]
        }

        fn holds(&self, node: NodeId, index: Index, term: Term) -> bool {
            index == Index(1) && term == Term(2) && node.0 <= self.0
        }

        fn reaches(&self, node: NodeId, index: Index) -> bool {
            index <= Index(1) && node.0 <= self.0
        }
    }

    #[test]
    fn an_entry_on_a_minority_is_found() {
        let mut invariant = Committed::default();
        invariant.audit(&Held(0)).expect("nothing is committed yet");
        invariant.ledger.push(Term(2), Term(2));
        assert!(invariant.audit(&Held(1)).is_err());
        invariant.audit(&Held(2)).expect("on two of three");
    }

    #[test]
    fn what_is_replaced_is_looked_at_again() {
        let mut invariant = Committed::default();
        invariant.ledger.push(Term(2), Term(2));
        invariant.audit(&Held(2)).expect("on two of three");
        invariant.audit(&Held(1)).expect("what was seen is not looked at again");
        invariant.replaced(NodeId(2), Index(1));
        assert!(invariant.audit(&Held(1)).is_err());
    }

    #[test]
    fn an_entry_of_another_term_is_not_the_one() {
        let mut invariant = Committed::default();
        invariant.ledger.push(Term(1), Term(2));
        assert!(invariant.audit(&Held(3)).is_err());
    }
}
