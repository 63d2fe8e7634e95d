//! Linearizable reads without a log entry (thesis, section 6.4).
//!
//! **The leader** may answer a read at its commit index once it knows that it still was the leader *after* the read
//! came. It stamps every message to its followers with a *round*, a counter of its own that is never reused within its
//! term. A read waits for the first round of which nothing had been sent when it came; an answer by a quorum to
//! messages of that round or a later one confirms it, and with it everything that waited before it. Appends and
//! heartbeats both count, so that a busy group confirms its reads by the way. Only when nothing else is under way does
//! a read cause heartbeats of its own, and while those are under way further reads gather for the next round.
//!
//! A new leader's commit index may lag behind what its predecessor acknowledged: until an entry of its own term is
//! committed, reads wait for that entry (section 8).
//!
//! Tokens are the leader's, not the asker's. Where a follower's token was used instead, this history gave a stale
//! read: a follower asked with token A and gave up; it asked again with A; a late answer to the first A's heartbeat
//! confirmed the second, and everything that had gathered before it.
//!
//! **A follower** asks its leader and reads once it has applied the index it is told. Every attempt has a number of its
//! own (incarnation, boot, counter), and an answer serves only the reads that waited when that attempt left. When the
//! leader or the term changes, or an attempt stays unanswered, its reads are lost: the caller asks anew.

use std::collections::VecDeque;

use crate::types::{Index, NodeId};

use super::{ReadId, ReadRequest, Round};

/// Who waits for a read's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reader {
    /// A caller on this node.
    Local(ReadId),
    /// A follower.
    Remote(NodeId, ReadRequest),
}

/// A read at the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    reader: Reader,
    round: Round,
    index: Index,
}

/// The leader's side.
///
/// Invariant: `confirmed <= broadcast <= current`; `waiting` ascends in round and in index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Rounds {
    /// Stamped on every message that leaves now.
    current: Round,
    /// Some message bears `current` already: what comes now needs a later round.
    is_stamped: bool,
    /// The last round that went to every voter.
    broadcast: Round,
    /// The last round that a quorum has answered.
    confirmed: Round,
    waiting: VecDeque<Waiting>,
}

impl Rounds {
    pub(super) fn current(&self) -> Round {
        self.current
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The round for a message that is made now.
    pub(super) fn stamp(&mut self) -> Round {
        self.is_stamped = true;
        self.current
    }

    /// What leaves from now on is of a round of which nothing has left.
    pub(super) fn begin(&mut self) {
        if self.is_stamped {
            self.current = Round(self.current.0 + 1);
            self.is_stamped = false;
        }
    }

    /// A read has come; it may be answered at `index`.
    pub(super) fn wait(&mut self, reader: Reader, index: Index) {
        self.begin();
        assert!(self.waiting.back().is_none_or(|last| last.index <= index), "commit index fell to {index}");
        self.waiting.push_back(Waiting { reader, round: self.current, index });
    }

    /// Whether a round should go to every voter for the sake of the reads.
    pub(super) fn is_broadcast_due(&self) -> bool {
        let idle = self.confirmed >= self.broadcast;
        idle && self.waiting.back().is_some_and(|last| last.round > self.broadcast)
    }

    /// The current round went to every voter.
    pub(super) fn on_broadcast(&mut self) {
        self.broadcast = self.current;
    }

    /// A quorum has answered `round`; the reads that this releases, given the commit index.
    pub(super) fn release(&mut self, round: Round, committed: Index) -> Vec<(Reader, Index)> {
        self.confirmed = self.confirmed.max(round.min(self.current));
        let mut released = Vec::new();
        while let Some(read) =
            self.waiting.pop_front_if(|read| read.round <= self.confirmed && read.index <= committed)
        {
            released.push((read.reader, read.index));
        }
        released
    }

    /// The leader is none any more: nobody waits in vain.
    pub(super) fn abandon(&mut self) -> Vec<Reader> {
        self.waiting.drain(..).map(|read| read.reader).collect()
    }
}

/// The follower's side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Forwarded {
    /// Came since the last attempt left.
    gathering: Vec<ReadId>,
    /// The attempt under way: its counter and the reads that it is for.
    attempt: Option<(u64, Vec<ReadId>)>,
}

impl Forwarded {
    pub(super) fn waiting(&self) -> usize {
        self.gathering.len() + self.attempt.as_ref().map_or(0, |(_, reads)| reads.len())
    }

    pub(super) fn gather(&mut self, id: ReadId) {
        self.gathering.push(id);
    }

    /// Whether an attempt should leave: one at a time, so that reads gather meanwhile.
    pub(super) fn is_due(&self) -> bool {
        self.attempt.is_none() && !self.gathering.is_empty()
    }

    /// An attempt leaves under this number.
    pub(super) fn on_sent(&mut self, counter: u64) {
        assert!(self.is_due(), "an attempt is under way or has no reads");
        self.attempt = Some((counter, std::mem::take(&mut self.gathering)));
    }

    /// The attempt with this number was answered: its reads, none if that is not the one under way.
    pub(super) fn answered(&mut self, counter: u64) -> Vec<ReadId> {
        self.attempt
            .take_if(|&mut (under_way, _)| under_way == counter)
            .map_or_else(Vec::new, |(_, reads)| reads)
    }

    /// The attempt under way is given up: its reads.
    pub(super) fn give_up(&mut self) -> Vec<ReadId> {
        self.attempt.take().map_or_else(Vec::new, |(_, reads)| reads)
    }

    /// Everything is given up: all reads.
    pub(super) fn abandon(&mut self) -> Vec<ReadId> {
        let mut reads = self.give_up();
        reads.append(&mut self.gathering);
        reads
    }
}
