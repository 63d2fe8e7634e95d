//! Watermark order: purged <= applied <= min(committed, persisted), and nothing is beyond the log's end. While a snapshot
//! is being installed, or there is no state, and only then, applied is below purged, which is the snapshot's index. No entry is of a term that its holder has not come to: a node that forgot the term could vote and accept in it as if it were new.
//!
//! What a core believes to be on its disk is there, and what a leader believes to be on all voters' disks is there too: where
//! the disks can be looked at, they are.

use quorate::raft::Raft;
use quorate::types::{Index, NodeId, Term};

use super::{Disks, Invariant, Seen};
use crate::Violation;

/// Needs no memory.
#[derive(Debug)]
pub struct Watermarks;

/// One node's watermarks.
#[derive(Clone, Copy, Debug)]
struct Marks {
    purged: Index,
    applied: Index,
    commit: Index,
    persisted: Index,
    last: Index,
    last_term: Term,
    term: Term,
    installing: Option<Index>,
    has_state: bool,
}

impl Marks {
    fn of(raft: &Raft) -> Marks {
        Marks {
            purged: raft.purged().0,
            applied: raft.applied_index(),
            commit: raft.commit(),
            persisted: raft.persisted_index(),
            last: raft.last_index(),
            last_term: raft.term_at(raft.last_index()).unwrap_or_default(),
            term: raft.term(),
            installing: raft.installing(),
            has_state: raft.has_state(),
        }
    }

    fn are_in_order(self) -> bool {
        let is_installing = self.applied < self.purged && self.has_state;
        self.installing == is_installing.then_some(self.purged)
            && self.purged <= self.commit
            && self.applied <= self.commit.min(self.persisted)
            && self.commit.max(self.persisted) <= self.last
            && self.last_term <= self.term
    }
}

impl Invariant for Watermarks {
    fn name(&self) -> &'static str {
        "watermark order"
    }

    fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let marks = Marks::of(seen.raft);
        if marks.are_in_order() { Ok(()) } else { Err(format!("{} has {marks:?}", seen.node)) }
    }

    fn attest(&mut self, raft: &Raft, node: NodeId, disks: &dyn Disks) -> Result<(), Violation> {
        let persisted = raft.persisted_index();
        match raft.term_at(persisted) {
            Some(term) if persisted > raft.purged().0 && !disks.holds(node, persisted, term) => Err(format!(
                "{node} believes that entry {persisted} of term {term} is on its disk, and it is not"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disorder_is_found() {
        let marks = |purged, applied, commit, persisted, last| {
            let [purged, applied, commit, persisted, last] =
                [purged, applied, commit, persisted, last].map(Index);
            let (last_term, term) = (Term(2), Term(2));
            let (installing, has_state) = (None, true);
            Marks { purged, applied, commit, persisted, last, last_term, term, installing, has_state }
                .are_in_order()
        };
        assert!(marks(1, 2, 3, 4, 5));
        assert!(marks(1, 2, 4, 3, 5), "a quorum may do without this disk");
        assert!(!marks(3, 2, 3, 4, 5), "purged and not applied");
        assert!(!marks(1, 4, 3, 4, 5), "applied and not committed");
        assert!(!marks(1, 4, 5, 3, 5), "applied and not on disk");
        assert!(!marks(1, 2, 6, 4, 5), "committed and not there");
        assert!(!marks(1, 2, 3, 6, 5), "on disk and not there");
    }

    #[test]
    fn a_snapshot_may_be_ahead_of_what_is_applied() {
        let marks = |purged, applied, persisted, installing: Option<u64>| {
            let [purged, applied, persisted] = [purged, applied, persisted].map(Index);
            let (commit, last, last_term, term) = (Index(5), Index(6), Term(2), Term(2));
            let installing = installing.map(Index);
            let has_state = true;
            Marks { purged, applied, commit, persisted, last, last_term, term, installing, has_state }
                .are_in_order()
        };
        assert!(marks(5, 2, 2, Some(5)), "it is not on disk yet");
        assert!(marks(5, 2, 6, Some(5)), "it is, and the state machine has not taken it");
        assert!(marks(5, 5, 6, None), "it has");
        assert!(!marks(5, 2, 6, None), "nobody says so");
        assert!(!marks(5, 2, 6, Some(4)), "another one");
        assert!(!marks(5, 5, 6, Some(5)), "it is over");
        assert!(!marks(6, 2, 6, Some(6)), "it is not committed");
    }

    #[test]
    fn an_entry_of_a_term_that_is_not_known_is_found() {
        let [purged, applied, commit, persisted, last] = [Index(1); 5];
        let (installing, has_state) = (None, true);
        let marks = |last_term, term| Marks {
            purged,
            applied,
            commit,
            persisted,
            last,
            last_term,
            term,
            installing,
            has_state,
        };
        assert!(marks(Term(2), Term(2)).are_in_order());
        assert!(!marks(Term(3), Term(2)).are_in_order());
    }
}
