//! What callers of the cores may rely on.
//!
//! - An applied entry is one that was proposed, at the position and in the term that the proposer was told, once, and all
//!   nodes apply the same sequence, whose terms never fall. A snapshot is what that sequence makes up to its index.
//! - A proposal is *acknowledged* when the node that took it has applied it: from then on it is never lost.
//! - A read under a lease finds at least whatever was committed anywhere when it began.
//! - A read gets an index that is at least whatever was committed anywhere when it was asked, and is answered once, where
//!   it was asked.

use std::collections::{BTreeMap, VecDeque};

use quorate::raft::{Entry, EntryKind, Proposed, ReadId, ReadOutcome};
use quorate::types::{Index, NodeId, Term};

use super::transfer::State;
use crate::Violation;

/// Judges proposals and reads of a run.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Position and term of every proposal that was taken, by its number.
    proposals: BTreeMap<u64, (Index, Term)>,
    last_number: u64,
    /// Term, kind and checksum of every applied entry, from entry 1 on.
    applied: Vec<(Term, EntryKind, u32)>,
    /// The state machine after each of them.
    states: Vec<State>,
    /// Per node: the proposals it took since its start and did not answer yet, oldest first.
    pending: BTreeMap<NodeId, VecDeque<(Index, Term)>>,
    /// The last acknowledged position.
    acknowledged_to: Index,
    acknowledged: u64,
    reads: BTreeMap<ReadId, Asked>,
    last_read: u64,
    answered: u64,
}

/// A read that waits.
#[derive(Clone, Copy, Debug)]
struct Asked {
    node: NodeId,
    /// At least this index must be the answer.
    floor: Index,
}

impl Oracle {
    /// The number of the next proposal.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// `node` took the proposals with these numbers.
    pub(super) fn proposed(&mut self, node: NodeId, numbers: &[u64], at: Proposed) {
        let pending = self.pending.entry(node).or_default();
        // Where these stand now, proposals of an earlier leadership stood that were replaced since: they are lost.
        while pending.pop_back_if(|&mut (index, _)| index >= at.first).is_some() {}
        for (index, &number) in (at.first.0..=at.last.0).map(Index).zip(numbers) {
            self.proposals.insert(number, (index, at.term));
            pending.push_back((index, at.term));
        }
    }

    /// A node's state machine takes an entry. Returns how many of its proposals this acknowledges.
    pub(super) fn applied(&mut self, node: NodeId, entry: &Entry) -> Result<u64, Violation> {
        let &Entry { index, term, kind, crc, .. } = entry;
        if !entry.is_intact() {
            return Err(format!("proposals: entry {index} at {node} is damaged"));
        }
        let position = usize::try_from(index.0 - 1).expect("entries begin at 1");
        match self.applied.get(position) {
            Some(&known) if known != (term, kind, crc) => {
                return Err(format!(
                    "proposals: {node} applies entry {index} as {:?}, another node as {known:?}",
                    (term, kind, crc)
                ));
            }
            Some(_) => {}
            None if position > self.applied.len() => {
                return Err(format!("proposals: {node} applies entry {index}, nobody the one before"));
            }
            None => {
                self.first_applied(entry)?;
                self.applied.push((term, kind, crc));
                let before = self.states.last().copied().unwrap_or_default();
                self.states.push(before.after(entry));
            }
        }
        Ok(self.acknowledge(node, index, term))
    }

    /// A node's state machine is replaced by a snapshot: it must be what the entries would have made of it. Of proposals
    /// that the node took and that it covers nothing can be said any more.
    pub(super) fn installed(&mut self, node: NodeId, state: State) -> Result<(), Violation> {
        if let Some(pending) = self.pending.get_mut(&node) {
            while pending.pop_front_if(|&mut (at, _)| at <= state.index).is_some() {}
        }
        let position = usize::try_from(state.index.0 - 1).expect("entries begin at 1");
        match self.states.get(position) {
            Some(&known) if known == state => Ok(()),
            known => Err(format!("proposals: {node} installs {state:?}, the log makes {known:?}")),
        }
    }

    /// An entry is applied for the first time.
    fn first_applied(&self, entry: &Entry) -> Result<(), Violation> {
        let &Entry { index, term, kind, .. } = entry;
        if self.applied.last().is_some_and(|&(last, ..)| last > term) {
            return Err(format!("proposals: the term falls to {term} at entry {index}"));
        }
        let at = match kind {
            // Leaders make these by themselves; configurations are judged by an invariant of their own.
            EntryKind::Noop | EntryKind::Membership => Some((index, term)),
            EntryKind::Command => {
                let number = entry.payload.first_chunk().map(|number| u64::from_le_bytes(*number));
                number.and_then(|number| self.proposals.get(&number).copied())
            }
        };
        if at == Some((index, term)) {
            return Ok(());
        }
        Err(format!("proposals: entry {index} of term {term} is applied, and was proposed at {at:?}"))
    }

    fn acknowledge(&mut self, node: NodeId, index: Index, term: Term) -> u64 {
        let Some(pending) = self.pending.get_mut(&node) else { return 0 };
        let mut acknowledged = 0;
        while let Some((at, of)) = pending.pop_front_if(|&mut (at, _)| at <= index) {
            if (at, of) == (index, term) {
                acknowledged += 1;
                self.acknowledged_to = self.acknowledged_to.max(index);
            }
        }
        self.acknowledged += acknowledged;
        acknowledged
    }

    /// A read is asked at `node`; `committed` is the largest commit index there ever was.
    pub(super) fn asked(&mut self, node: NodeId, committed: Index) -> ReadId {
        self.last_read += 1;
        let floor = committed.max(self.acknowledged_to);
        self.reads.insert(ReadId(self.last_read), Asked { node, floor });
        ReadId(self.last_read)
    }

    /// A read is answered at `node`. Returns whether it got an index.
    pub(super) fn answered(
        &mut self,
        node: NodeId,
        id: ReadId,
        outcome: ReadOutcome,
    ) -> Result<bool, Violation> {
        let Some(asked) = self.reads.remove(&id) else {
            return Err(format!("reads: {node} answers read {}, which does not wait", id.0));
        };
        if asked.node != node {
            return Err(format!("reads: {node} answers read {}, which {} was asked", id.0, asked.node));
        }
        let ReadOutcome::At(index) = outcome else { return Ok(false) };
        self.answered += 1;
        if index >= asked.floor {
            return Ok(true);
        }
        Err(format!(
            "reads: read {} at {node} is answered at {index}, but {} was committed when it was asked",
            id.0, asked.floor
        ))
    }

    /// A read under a lease found what `node` had applied at `index`; `committed` is the largest commit index there ever
    /// was when it began.
    pub(super) fn read_by_lease(
        &mut self,
        node: NodeId,
        committed: Index,
        index: Index,
    ) -> Result<(), Violation> {
        let floor = committed.max(self.acknowledged_to);
        if index >= floor {
            return Ok(());
        }
        Err(format!("lease reads: {node} reads at {index}, but {floor} was committed when it began"))
    }

    /// A node lost its memory: what it was asked is never answered.
    pub(super) fn crashed(&mut self, node: NodeId) {
        self.pending.remove(&node);
        self.reads.retain(|_, asked| asked.node != node);
    }

    /// How many reads wait at nodes for which `counts` holds.
    pub(super) fn waiting(&self, counts: impl Fn(NodeId) -> bool) -> usize {
        self.reads.values().filter(|asked| counts(asked.node)).count()
    }

    /// Whether this read waits.
    pub fn is_waiting(&self, id: ReadId) -> bool {
        self.reads.contains_key(&id)
    }

    /// The last acknowledged position.
    pub fn acknowledged_to(&self) -> Index {
        self.acknowledged_to
    }

    /// How many proposals were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// How many reads got an index.
    pub fn answered_reads(&self) -> u64 {
        self.answered
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(index: u64, term: u64, number: u64) -> Entry {
        let payload = Bytes::copy_from_slice(&number.to_le_bytes());
        Entry::new(Index(index), Term(term), EntryKind::Command, payload)
    }

    fn oracle() -> Oracle {
        let mut oracle = Oracle::default();
        let at = Proposed { term: Term(1), first: Index(1), last: Index(2) };
        oracle.proposed(NodeId(1), &[7, 8], at);
        oracle
    }

    #[test]
    fn a_proposal_is_acknowledged_where_it_was_made() {
        let mut oracle = oracle();
        assert_eq!(oracle.applied(NodeId(2), &entry(1, 1, 7)), Ok(0));
        assert_eq!(oracle.applied(NodeId(1), &entry(1, 1, 7)), Ok(1));
        assert_eq!(oracle.acknowledged_to(), Index(1));
    }

    #[test]
    fn a_proposal_that_was_replaced_keeps_no_later_one_waiting() {
        let mut oracle = oracle();
        oracle.proposed(NodeId(1), &[9], Proposed { term: Term(3), first: Index(1), last: Index(1) });
        assert_eq!(oracle.applied(NodeId(1), &entry(1, 3, 9)), Ok(1));
        assert_eq!(oracle.acknowledged_to(), Index(1));
        oracle.proposed(NodeId(1), &[10], Proposed { term: Term(3), first: Index(2), last: Index(2) });
        assert_eq!(oracle.applied(NodeId(1), &entry(2, 3, 10)), Ok(1), "entry 2 of term 1 waits no more");
    }

    #[test]
    fn what_was_not_proposed_there_is_found() {
        assert!(oracle().applied(NodeId(1), &entry(1, 1, 8)).is_err(), "another position");
        assert!(oracle().applied(NodeId(1), &entry(1, 2, 7)).is_err(), "another term");
        assert!(oracle().applied(NodeId(1), &entry(1, 1, 9)).is_err(), "nobody's");
        assert!(oracle().applied(NodeId(1), &entry(2, 1, 8)).is_err(), "a gap");
        let mut twice = oracle();
        twice.applied(NodeId(1), &entry(1, 1, 7)).expect("the first");
        assert!(twice.applied(NodeId(1), &entry(2, 1, 7)).is_err(), "the same again");
    }

    #[test]
    fn a_stale_read_is_found() {
        let mut oracle = Oracle::default();
        let (first, second) = (oracle.asked(NodeId(1), Index(4)), oracle.asked(NodeId(1), Index(4)));
        assert_eq!(oracle.answered(NodeId(1), first, ReadOutcome::At(Index(4))), Ok(true));
        assert!(oracle.answered(NodeId(1), first, ReadOutcome::Lost).is_err(), "answered twice");
        assert!(oracle.answered(NodeId(1), second, ReadOutcome::At(Index(3))).is_err(), "stale");
    }
}
