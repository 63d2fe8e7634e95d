//! What has been handed out to be written, and what its completion attests.
//!
//! Completions may come late, repeated and out of order, and entries may be truncated and written anew while an
//! earlier write of the same position is still under way. The history that this module exists for (the "ABA race"):
//!
//! 1. Write 1 carries entry 5 of term 2.
//! 2. A leader of term 3 has another entry 5: ours is truncated, write 2 carries entry 5 of term 3.
//! 3. Write 1 completes. Entry 5 of term 2 was on disk, entry 5 of term 3 is not: nothing may be said of it.
//!
//! Hence every write has a number of its own, a truncation lowers what the writes under way attest, and completion of
//! number n attests what is left of all writes up to n. A number that is complete already attests nothing again.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use crate::types::{Index, NodeId, Term};

use super::{HardState, WriteSeq};

#[derive(Clone, Debug)]
struct Outstanding {
    seq: WriteSeq,
    /// The log is on disk up to here once this write is; falls on truncation.
    last: Index,
    /// Term and vote once this write is on disk.
    ballot: Ballot,
    /// The entries that it stores in place of damaged ones; those that were truncated since are out.
    repairs: Vec<Index>,
}

/// What completed writes attest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attested {
    /// The log is on disk up to here.
    pub(super) last: Index,
    /// These entries are on disk once more.
    pub(super) repaired: Vec<Index>,
}

/// The part of the hard state that binds: whom the node voted for, in which term, and whether it may vote at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ballot {
    pub(super) term: Term,
    pub(super) vote: Option<NodeId>,
    pub(super) in_doubt: bool,
}

impl Ballot {
    pub(super) fn of(hard_state: &HardState) -> Ballot {
        let &HardState { term, vote, in_doubt, .. } = hard_state;
        Ballot { term, vote, in_doubt }
    }
}

/// The writes under way, oldest first.
///
/// Their numbers are names and compare as such: two nodes that differ only in how many writes they have made are equal.
#[derive(Clone, Debug)]
pub(super) struct Writes {
    outstanding: VecDeque<Outstanding>,
    /// The number of the newest write handed out.
    newest: WriteSeq,
    /// What the newest write handed out says of term and vote.
    handed: Ballot,
    /// What is known to be on disk of term and vote. Never ahead of `handed`.
    durable: Ballot,
}

impl Writes {
    pub(super) fn new(ballot: Ballot) -> Writes {
        Writes { outstanding: VecDeque::new(), newest: WriteSeq(0), handed: ballot, durable: ballot }
    }

    /// Whether a write is under way.
    pub(super) fn are_outstanding(&self) -> bool {
        !self.outstanding.is_empty()
    }

    pub(super) fn handed(&self) -> Ballot {
        self.handed
    }

    pub(super) fn durable(&self) -> Ballot {
        self.durable
    }

    /// Numbers a write after which the log is on disk up to `last`, `ballot` too, and `repairs` once more.
    pub(super) fn hand_out(&mut self, last: Index, ballot: Ballot, repairs: Vec<Index>) -> WriteSeq {
        assert!(ballot.term >= self.handed.term, "term falls from {} to {}", self.handed.term, ballot.term);
        self.newest = WriteSeq(self.newest.0 + 1);
        self.handed = ballot;
        self.outstanding.push_back(Outstanding { seq: self.newest, last, ballot, repairs });
        self.newest
    }

    /// The entries at `from` and beyond were replaced: no write under way attests them any more.
    pub(super) fn truncate(&mut self, from: Index) {
        for write in &mut self.outstanding {
            write.last = write.last.min(from.prev());
            write.repairs.retain(|index| *index < from);
        }
    }

    /// Write `seq` is on disk, and so are all before it. Returns what is on disk by them, if that is news.
    pub(super) fn complete(&mut self, seq: WriteSeq) -> Option<Attested> {
        assert!(
            seq <= self.newest,
            "completion of write {} which was never made, newest is {}",
            seq.0,
            self.newest.0
        );
        let mut attested: Option<Attested> = None;
        while let Some(write) = self.outstanding.pop_front_if(|write| write.seq <= seq) {
            let attested = attested.get_or_insert_default();
            attested.last = attested.last.max(write.last);
            attested.repaired.extend(write.repairs);
            self.durable = write.ballot;
        }
        attested
    }
}

impl Writes {
    /// All that matters of this, apart from the names of the writes: how far each is behind the newest, and what it
    /// attests.
    fn essence(&self) -> impl Iterator<Item = (u64, Index, Ballot, &[Index])> + '_ {
        self.outstanding
            .iter()
            .map(|write| (self.newest.0 - write.seq.0, write.last, write.ballot, &write.repairs[..]))
    }
}

impl PartialEq for Writes {
    fn eq(&self, other: &Writes) -> bool {
        (self.handed, self.durable) == (other.handed, other.durable) && self.essence().eq(other.essence())
    }
}

impl Eq for Writes {}

impl Hash for Writes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.handed, self.durable, self.outstanding.len()).hash(state);
        self.essence().for_each(|write| write.hash(state));
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    fn hash(writes: &Writes) -> u64 {
        let mut hasher = DefaultHasher::new();
        writes.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn writes_are_equal_but_for_their_names() {
        let ballot = |term| Ballot { term: Term(term), vote: None, in_doubt: false };
        let (mut one, mut other) = (Writes::new(ballot(1)), Writes::new(ballot(1)));
        let first = one.hand_out(Index(1), ballot(1), vec![]);
        assert_ne!(one, other, "a write is under way");
        one.complete(first);
        assert_eq!((&one, hash(&one)), (&other, hash(&other)), "it is over");
        for writes in [&mut one, &mut other] {
            writes.hand_out(Index(2), ballot(1), vec![]);
            writes.hand_out(Index(3), ballot(2), vec![]);
        }
        assert_eq!((&one, hash(&one)), (&other, hash(&other)), "the same is under way");
        let mut truncated = one.clone();
        truncated.truncate(Index(3));
        assert_ne!(truncated, one, "the second attests less");
        let mut voted = one.clone();
        voted.hand_out(Index(3), Ballot { vote: Some(NodeId(1)), ..ballot(2) }, vec![]);
        assert_ne!(voted, one);
    }
}
