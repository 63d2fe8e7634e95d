//! Doubt: what a node does that cannot tell how far its log went.
//!
//! Where the end of the log is damaged so that not even the headers of its last records can be read, nobody knows which
//! entries stood there. The node may have acknowledged them, and they may be committed by that. What it can read is a log
//! that it once had, and shorter than the one it promised (H17):
//!
//! 1. Entry 5 is committed by nodes 1 and 2; node 3 lags. The end of node 2's log is lost, and entry 5 in it.
//! 2. Node 1 is away. Node 3, whose log ends at 4, asks node 2 for its vote, whose log ends at 4 as well as it can see.
//! 3. Node 2 grants it. Node 3 leads and writes another entry 5. A committed entry is lost.
//!
//! The same holds where entries in the middle are lost whose terms cannot be told (`wal` says when): the log that can be
//! relied upon ends before them. So a node is *in doubt* ([`HardState::in_doubt`](super::HardState::in_doubt)) from the start
//! that finds such damage until it has again all that it can ever have acknowledged. Meanwhile:
//!
//! - It grants *no vote* and no pre-vote, and does not campaign. What it promised about its log was for those who compare
//!   logs, and it does not compare. Term and vote it knows: without them it would not have come this far.
//! - It takes *appends and snapshots* like any follower, and what it acknowledges from now on it truly has.
//! - It believes a heartbeat's commit index only *as far as this leader's appends have reached*: the leader goes by what
//!   the node acknowledged before, and what stands there now may be entries that were replaced since.
//!
//! # How it ends
//!
//! ```text
//!    in doubt                                      leader
//!  hears a heartbeat
//!  -- EndQuery {boot, last} ------------------->  begins a new conversation: what was acknowledged in the one before
//!                                                 is not counted any more. Looks for the match from `last` backwards
//!                                             <-- EndReply {boot, index}: where the leader's log ends now
//!  takes the appends that follow, until index is committed and on its disk: in doubt no more
//! ```
//!
//! *Why that is enough.* Let x be an entry that this node had acknowledged, of index i and term t, to the leader of t. Let L
//! be the leader that answered, of term T >= t (the node knows its term). The answer was made after the node's restart, so
//! after the acknowledgement, and an entry that was proposed later is of no matter here.
//!
//! - T = t: L made x, and shortens no log in its own term: L's log has x, at or before the index that it told.
//! - T > t: L was elected without this node's vote since its restart, or before. Either x was in the log of every
//!   majority's member that could commit it and voted for L afterwards, and then L's log has x (Leader Completeness,
//!   section 5.4.3, which counts this node's old acknowledgement and no vote after it); or x can never be committed.
//!
//! So once the log is committed up to that index and is on this disk so far, the node has x, or x was replaced by a
//! committed entry and is lost for good with everybody's consent. An entry that was merely *sent again* and committed would
//! not do: it may be older than what was acknowledged last.
//!
//! Late acknowledgements of the life before arrive in a conversation that is over, and are not counted. Those that were
//! counted already stay so: what was committed by them is committed, and whoever is elected while this node is in doubt is
//! elected by the others, a majority without it, one of which has the entry.
//!
//! # What it costs
//!
//! A group of which a majority is in doubt, and no leader is left, elects nobody: its nodes say so, and it ends with
//! `quorate recover`. A node in doubt counts like one that is down in elections, and like any other in commits. So a leader that
//! knows of it changes no configuration into one that would need its vote (see `reconfigure`).
//!
//! The doubt itself is part of the hard state: it is on disk before anything is written behind the end that is visible,
//! and gone from there once it is over.

use crate::types::{Index, NodeId, Term};

use super::progress::Progress;
use super::raft::RoleState;
use super::{Message, Raft, SessionId};

/// The end of the log is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Doubt {
    /// Where a leader's log ended when it was asked after this node's start; once this is committed and on disk, the
    /// doubt is over. Any leader's will do; the smallest is met first.
    barrier: Option<Index>,
    /// Up to here the log is the present leader's.
    verified: Index,
}

impl Doubt {
    /// How much of a commit index that the leader told by heartbeat may be believed.
    pub(super) fn believed(self, commit: Index) -> Index {
        commit.min(self.verified)
    }
}

/// The doubting node's side.
impl Raft {
    /// Whether this node cannot tell how far its log went, and so grants no vote: see [`Counters`](super::Counters) for
    /// how often that has ended.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// The leader's log is this node's up to `index`.
    pub(super) fn verified_to(&mut self, index: Index) {
        if let Some(doubt) = &mut self.doubt {
            doubt.verified = doubt.verified.max(index);
        }
    }

    /// Another leader may have another log.
    pub(super) fn forget_verified(&mut self) {
        if let Some(doubt) = &mut self.doubt {
            doubt.verified = Index(0);
        }
    }

    /// The leader was heard: asks where its log ends. Repeated at each heartbeat, since a leader's log that was never
    /// committed may end beyond all that ever will be.
    pub(super) fn ask_end(&mut self, leader: NodeId) {
        if self.doubt.is_some() {
            let (last_index, last_term) = (self.log.last(), self.log.last_term());
            let question = Message::EndQuery { boot: self.config.boot, last_index, last_term };
            self.outbox.now(self.config.id, leader, self.term, question);
        }
    }

    /// Where the leader's log ended when it was asked.
    pub(super) fn on_end_reply(&mut self, from: NodeId, boot: u64, index: Index) {
        let Some(doubt) = self.doubt.as_mut().filter(|_| self.leader == Some(from)) else {
            self.counters.stale += 1;
            return;
        };
        // An answer to the process before this one may be older than what that one acknowledged.
        if boot != self.config.boot {
            self.counters.stale += 1;
            return;
        }
        doubt.barrier = Some(doubt.barrier.map_or(index, |known| known.min(index)));
        self.settle();
    }

    /// Something was committed, or reached the disk: ends the doubt, if this was all that was lacking.
    pub(super) fn settle(&mut self) {
        let reached = self.log.committed().min(self.log.persisted());
        let is_over = |doubt: Doubt| doubt.barrier.is_some_and(|barrier| reached >= barrier);
        if self.doubt.is_some_and(is_over) {
            self.doubt = None;
            self.counters.settled += 1;
        }
    }
}

/// The leader's side.
impl Raft {
    /// A member does not know how far its log went; `last`: what it sees of it.
    pub(super) fn on_end_query(&mut self, from: NodeId, boot: u64, last: (Index, Term)) {
        let RoleState::Leader(leader) = &mut self.role else {
            self.counters.stale += 1;
            return;
        };
        let Some(progress) = leader.peers.get_mut(&from) else {
            self.counters.stale += 1;
            return;
        };
        if !progress.is_renewed_for(boot) {
            self.sessions = SessionId(self.sessions.0 + 1);
            let agreed = self.log.last_at_most(last.0, last.1).map_or(Index(0), |(index, _)| index);
            *progress = Progress::renewed(self.sessions, agreed.next(), boot, self.log.last());
        }
        let reply = Message::EndReply { boot, index: self.log.last() };
        self.outbox.now(self.config.id, from, self.term, reply);
    }
}
