//! The follower: stores what its leader sends, votes, and forwards reads (sections 5.2 to 5.4).

use crate::types::{Index, Monotonic, NodeId, Term};

use super::read_index::Forwarded;
use super::timers::NEVER;
use super::{
    Append, AppendReply, AppendResult, Entry, EntryKind, Membership, Message, Raft, ReadOutcome, ReadRequest,
    Round, SessionId, Snapshot, raft::RoleState,
};

/// What only a follower keeps. A learner is a follower without a vote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Follower {
    pub(super) reads: Forwarded,
}

impl Raft {
    /// A message of this term's leader has come: follow it. False if that cannot be the leader.
    pub(super) fn follow(&mut self, now: Monotonic, leader: NodeId) -> bool {
        let is_other = self.leader.is_some_and(|known| known != leader);
        if is_other || matches!(self.role, RoleState::Leader(_)) {
            // Two leaders in one term: not what loss or reordering makes of honest messages (section 5.2).
            self.counters.invalid += 1;
            return false;
        }
        if self.leader.is_none() {
            self.become_follower(self.term, Some(leader), "heard the leader");
        }
        self.timers.heard = now;
        self.timers.arm_election(self.config.election_timeout);
        true
    }

    /// Figure 2, AppendEntries RPC, receiver implementation.
    pub(super) fn on_append(&mut self, now: Monotonic, from: NodeId, append: Append) {
        let Some(memberships) = inspect(&append, self.term) else {
            self.counters.invalid += 1;
            return;
        };
        if !self.follow(now, from) {
            return;
        }
        let Append { session, inflight, prev_index, prev_term, entries, commit, round } = append;
        let room = self.room;
        let reply = |result| Message::AppendReply(AppendReply { session, inflight, round, result, room });
        // What is committed is in every later leader's log (Leader Completeness, section 5.4.3): so a position at or
        // below the commit index matches, and must do so also where its term was purged.
        let known = self.log.term_at(prev_index);
        if self.contradicts_committed(prev_index, prev_term, &entries) {
            // No correct leader sends this; a peer must not be able to stop a node by sending it.
            self.counters.invalid += 1;
            return;
        }
        if prev_index > self.log.committed() && known != Some(prev_term) {
            // What is purged is committed, so no correct leader's term is below it there.
            let hint = self.log.last_at_most(prev_index, prev_term);
            let (hint_index, hint_term) = hint.unwrap_or(self.log.purged());
            let result = AppendResult::Rejected { prev_index, hint_index, hint_term };
            self.outbox.after(self.config.id, from, self.term, reply(result));
            return;
        }
        let (entries, memberships) = self.taken(commit, entries, memberships);
        let index = Index(prev_index.0 + entries.len() as u64);
        let has_memberships = !memberships.is_empty();
        let truncated = self.log.store(entries, memberships);
        if let Some(from) = truncated {
            self.writes.truncate(from);
            self.outbox.retract(from);
        }
        if has_memberships || truncated.is_some() {
            self.refresh_quorum();
        }
        self.verified_to(index);
        self.commit_to(commit.min(index));
        self.outbox.after(self.config.id, from, self.term, reply(AppendResult::Matched { index }));
    }

    /// Whether an append has another term than this log at a position that is committed here.
    fn contradicts_committed(&self, prev_index: Index, prev_term: Term, entries: &[Entry]) -> bool {
        let committed = self.log.committed();
        let positions = entries.iter().map(|entry| (entry.index, entry.term));
        std::iter::once((prev_index, prev_term))
            .chain(positions)
            .take_while(|(index, _)| *index <= committed)
            .any(|(index, term)| self.log.term_at(index).is_some_and(|known| known != term))
    }

    /// Takes in a heartbeat; false if it was not believed.
    pub(super) fn on_heartbeat(
        &mut self,
        now: Monotonic,
        from: NodeId,
        session: SessionId,
        commit: Index,
        round: Round,
    ) -> bool {
        if !self.follow(now, from) {
            return false;
        }
        self.ask_end(from);
        let commit = self.doubt.map_or(commit, |doubt| doubt.believed(commit));
        if commit > self.log.last() {
            // The leader sends what it knows this node to have on disk.
            self.counters.invalid += 1;
            return false;
        }
        self.applying.retry();
        self.commit_to(commit);
        // This says only that the sender leads now, which is true whatever is on disk: no need to wait for it.
        let needs_snapshot = self.needs_snapshot();
        let reply = Message::HeartbeatReply { session, round, needs_snapshot, room: self.room };
        self.outbox.now(self.config.id, from, self.term, reply);
        true
    }

    /// A message of an earlier term. Its sender must learn that the term is over: a candidate gives up, and a leader
    /// that this node cannot follow any more, since it is ahead in term, makes way for an election that frees it.
    pub(super) fn on_past(&mut self, from: NodeId, message: Message) {
        let (id, room) = (self.config.id, self.room);
        self.counters.stale += 1;
        match message {
            Message::PreVote { next_term, .. } => {
                let reply = Message::PreVoteReply { next_term, granted: false };
                self.outbox.after(id, from, self.term, reply);
            }
            Message::Vote { .. } => {
                self.outbox.after(id, from, self.term, Message::VoteReply { granted: false });
            }
            Message::Heartbeat { session, round, .. } => {
                let reply = Message::HeartbeatReply { session, round, needs_snapshot: None, room };
                self.outbox.after(id, from, self.term, reply);
            }
            Message::Append(Append { session, inflight, prev_index, round, .. })
            | Message::Snapshot(Snapshot { session, inflight, index: prev_index, round, .. }) => {
                let (hint_index, hint_term) = (Index(0), Term(0));
                let result = AppendResult::Rejected { prev_index, hint_index, hint_term };
                let reply = Message::AppendReply(AppendReply { session, inflight, round, result, room });
                self.outbox.after(id, from, self.term, reply);
            }
            Message::PreVoteReply { .. }
            | Message::VoteReply { .. }
            | Message::AppendReply(_)
            | Message::HeartbeatReply { .. }
            | Message::TimeoutNow
            | Message::ReadIndex { .. }
            | Message::ReadIndexReply { .. }
            | Message::Repair { .. }
            | Message::RepairReply { .. }
            | Message::EndQuery { .. }
            | Message::EndReply { .. } => {}
        }
    }

    /// Would this node vote for the sender? It promises nothing by the answer (thesis, section 9.6).
    pub(super) fn on_pre_vote(&mut self, from: NodeId, next_term: Term, last: (Term, Index)) {
        let granted = next_term > self.term && self.is_up_to_date(last);
        let reply = Message::PreVoteReply { next_term, granted };
        self.outbox.after(self.config.id, from, self.term, reply);
    }

    /// Figure 2, RequestVote RPC, receiver implementation. A learner votes too: the sender may know of its promotion
    /// before it does itself, and a vote of one who does not count is not counted.
    pub(super) fn on_vote(&mut self, from: NodeId, last: (Term, Index)) {
        let is_free = match self.vote {
            // The log is compared again all the same: a candidate that has restarted may have a shorter one.
            Some(candidate) => candidate == from,
            None => self.leader.is_none(),
        };
        let granted = is_free && self.is_up_to_date(last);
        if granted {
            self.vote = Some(from);
            self.timers.arm_election(self.config.election_timeout);
            self.timers.evidence = NEVER; // what becomes of this vote is seen by then
        }
        self.outbox.after(self.config.id, from, self.term, Message::VoteReply { granted });
    }

    /// Whether a log that ends in (term, index) is at least as up-to-date as this one (section 5.4.1). None is, as long as
    /// this node does not know how far its own went.
    fn is_up_to_date(&self, (last_term, last_index): (Term, Index)) -> bool {
        self.doubt.is_none() && self.log.is_up_to_date(last_term, last_index)
    }

    pub(super) fn on_read_index_reply(&mut self, from: NodeId, request: ReadRequest, index: Option<Index>) {
        let RoleState::Follower(follower) = &mut self.role else {
            self.counters.stale += 1;
            return;
        };
        let mine = (request.incarnation, request.boot) == (self.config.incarnation, self.config.boot);
        if !mine || self.leader != Some(from) {
            self.counters.stale += 1;
            return;
        }
        let outcome = index.map_or(ReadOutcome::Lost, ReadOutcome::At);
        for id in follower.reads.answered(request.counter) {
            self.outbox.reads.push((id, outcome));
        }
    }
}

/// The configurations among an append's entries; `None` if no correct leader of `term` sends this append.
fn inspect(append: &Append, term: Term) -> Option<Vec<(Index, Membership)>> {
    let (mut index, mut highest) = (append.prev_index, append.prev_term);
    let mut memberships = Vec::new();
    if (index == Index(0)) != (highest == Term(0)) {
        return None;
    }
    for entry in &append.entries {
        let Entry { kind, payload, .. } = entry;
        index = Index(index.0.checked_add(1)?);
        if entry.index != index || entry.term < highest || entry.term == Term(0) {
            return None;
        }
        highest = entry.term;
        if *kind == EntryKind::Membership {
            memberships.push((index, Membership::decode(payload).ok()?));
        }
    }
    (highest <= term && index.0 < u64::MAX / 2).then_some(memberships)
}
