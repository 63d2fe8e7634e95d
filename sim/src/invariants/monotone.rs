//! What never falls: the term; within a term, a vote that was given; and while a node runs, its commit, applied and
//! purged indices, but for the applied one where it has lost its state.
//!
//! A restart may forget a term or a vote that nobody was told of. What a message has promised it may not.

use std::collections::BTreeMap;

use quorate::raft::{Envelope, Message, Raft};
use quorate::types::{Index, NodeId, Term};

use super::{Disks, Invariant, Seen};
use crate::Violation;

/// Each node's marks, as they were last seen.
#[derive(Debug, Default)]
pub struct Monotone {
    /// Since the node's start.
    running: BTreeMap<NodeId, Marks>,
    /// Term and vote that a message has spoken of. Restarts do not change it.
    promised: BTreeMap<NodeId, Ballot>,
}

type Ballot = (Term, Option<NodeId>);

#[derive(Clone, Copy, Debug)]
struct Marks {
    ballot: Ballot,
    commit: Index,
    applied: Index,
    purged: Index,
    /// States lost so far.
    lost: u64,
}

impl Monotone {
    fn moved(&mut self, node: NodeId, marks: Marks) -> Result<(), Violation> {
        if let Some(before) = self.running.insert(node, marks) {
            let rose = marks.commit >= before.commit
                && (marks.applied >= before.applied || marks.lost > before.lost)
                && marks.purged >= before.purged
                && follows(before.ballot, marks.ballot);
            return if rose { Ok(()) } else { Err(format!("{node} fell from {before:?} to {marks:?}")) };
        }
        let promised = self.promised.get(&node).copied().unwrap_or_default();
        if follows(promised, marks.ballot) {
            return Ok(());
        }
        Err(format!("{node} has promised {promised:?} and starts with {:?}", marks.ballot))
    }

    fn promise(&mut self, node: NodeId, ballot: Ballot) -> Result<(), Violation> {
        let promised = self.promised.entry(node).or_default();
        if ballot.0 == promised.0 && promised.1.is_some() && ballot.1.is_some() && ballot.1 != promised.1 {
            return Err(format!("{node} promised {promised:?} and then {ballot:?}"));
        }
        if ballot.0 > promised.0 || (ballot.0 == promised.0 && promised.1.is_none()) {
            *promised = ballot;
        }
        Ok(())
    }
}

/// Whether a node with `before` may come to `after`: to a later term, or to a vote where it had none.
fn follows(before: Ballot, after: Ballot) -> bool {
    after.0 > before.0 || (after.0 == before.0 && (before.1.is_none() || after.1 == before.1))
}

/// What a message promises of its sender's term and vote, if it promises anything: who receives it relies on it.
pub(super) fn promised_by(envelope: &Envelope) -> Option<Ballot> {
    match envelope.message {
        Message::VoteReply { granted: true } => Some((envelope.term, Some(envelope.to))),
        Message::Vote { .. } => Some((envelope.term, Some(envelope.from))),
        Message::VoteReply { granted: false } | Message::AppendReply(_) => Some((envelope.term, None)),
        _ => None,
    }
}

impl Invariant for Monotone {
    fn name(&self) -> &'static str {
        "monotone"
    }

    fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let raft: &Raft = seen.raft;
        let marks = Marks {
            ballot: (raft.term(), raft.vote()),
            commit: raft.commit(),
            applied: raft.applied_index(),
            purged: raft.purged().0,
            lost: raft.counters().states_lost,
        };
        self.moved(seen.node, marks)
    }

    fn booted(&mut self, node: NodeId) {
        self.running.remove(&node);
    }

    fn wiped(&mut self, node: NodeId) {
        self.promised.remove(&node);
    }

    fn sent(&mut self, envelope: &Envelope, _disks: Option<&dyn Disks>) -> Result<(), Violation> {
        promised_by(envelope).map_or(Ok(()), |ballot| self.promise(envelope.from, ballot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn marks(term: u64, vote: Option<u64>, commit: u64, applied: u64) -> Marks {
        let ballot = (Term(term), vote.map(NodeId));
        Marks { ballot, commit: Index(commit), applied: Index(applied), purged: Index(0), lost: 0 }
    }

    #[test]
    fn what_falls_while_a_node_runs_is_found() {
        let after = |next: Marks| {
            let mut invariant = Monotone::default();
            invariant.moved(NODE, marks(3, Some(2), 7, 5)).expect("the first");
            invariant.moved(NODE, next)
        };
        after(marks(3, Some(2), 8, 6)).expect("both rise");
        after(marks(4, None, 7, 5)).expect("a new term has no vote yet");
        assert!(after(marks(2, Some(2), 7, 5)).is_err(), "the term fell");
        assert!(after(marks(3, Some(1), 7, 5)).is_err(), "another vote");
        assert!(after(marks(3, None, 7, 5)).is_err(), "no vote any more");
        assert!(after(marks(3, Some(2), 6, 5)).is_err(), "the commit index fell");
        assert!(after(marks(3, Some(2), 7, 4)).is_err(), "the applied index fell");
        after(Marks { lost: 1, ..marks(3, Some(2), 7, 0) }).expect("its state is lost");
    }

    #[test]
    fn a_restart_forgets_no_promise() {
        let restarted = |next: Marks| {
            let mut invariant = Monotone::default();
            invariant.moved(NODE, marks(3, Some(2), 7, 5)).expect("the first");
            invariant.promise(NODE, (Term(3), Some(NodeId(2)))).expect("its vote");
            invariant.booted(NODE);
            invariant.moved(NODE, next)
        };
        restarted(marks(3, Some(2), 0, 0)).expect("indices may fall");
        assert!(restarted(marks(3, None, 7, 5)).is_err(), "the vote is forgotten");
        assert!(restarted(marks(2, None, 7, 5)).is_err(), "the term is forgotten");
    }

    #[test]
    fn a_node_with_an_empty_disk_owes_nothing() {
        let mut invariant = Monotone::default();
        invariant.promise(NODE, (Term(3), Some(NodeId(2)))).expect("its vote");
        invariant.wiped(NODE);
        invariant.booted(NODE);
        invariant.moved(NODE, marks(0, None, 0, 0)).expect("it is another");
    }

    #[test]
    fn two_votes_in_a_term_are_found() {
        let mut invariant = Monotone::default();
        invariant.promise(NODE, (Term(3), Some(NodeId(2)))).expect("the first");
        invariant.promise(NODE, (Term(3), None)).expect("a rejection");
        invariant.promise(NODE, (Term(2), Some(NodeId(3)))).expect("a late message of an earlier term");
        assert!(invariant.promise(NODE, (Term(3), Some(NodeId(3)))).is_err());
    }
}
