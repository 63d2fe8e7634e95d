//! Snapshots: how a member catches up whose entries are in nobody's log any more (section 7; thesis, chapter 5).
//!
//! ```text
//!    leader                                        follower
//!  what it lacks was purged (see `progress`)
//!  ready()  -> SnapshotFor
//!  driver opens one: snapshot_begun -> Envelope
//!  driver sends state and envelope  ------------>  driver has all of it, checked and durable, beside the old state
//!                                                  step(Snapshot)
//!                                                    replaces its log, in memory
//!                                                  ready()  -> Write{install, messages: [AppendReply]} -> disk
//!                                                  the write is on disk: this is the switch
//!  step(AppendReply), snapshot_sent         <-----   AppendReply
//!    streams from index + 1                        state machine takes it, applied(index)
//! ```
//!
//! The core never sees a state. It decides two things: that a member needs one, and whether one that has come takes the
//! place of the log.
//!
//! A snapshot at (index, term) says what an append says that ends there: the sender's log has this entry, and it is
//! committed. So a follower that has the entry already learns at most that it is committed, and one that has committed
//! as much learns nothing: what is newer stays (camunda#6092 lost it). Only where the entry is missing, or is another,
//! the log is replaced, and then wholly ([`Log::reset`](super::log::Log::reset)): what lies beyond builds on what was
//! never committed. A store that kept it had the same snapshot sent for ever (hashicorp/raft#697).
//!
//! One case is between the two. Where the state machine cannot go on since an entry before the snapshot's end is damaged
//! (see `repair`), or since there is none (see `stateless`), the snapshot is taken though the log has its last entry. It
//! replaces the log up to there and no further: what lies behind may have been acknowledged.
//!
//! The reply is an append's, and a promise like it: it leaves after the write that installs the snapshot. Late,
//! repeated, of an earlier leader: a snapshot is a message like any other, and the rules for terms are the same.

use bytes::Bytes;

use crate::types::{Index, Monotonic, NodeId, Term};

use super::raft::RoleState;
use super::{AppendReply, AppendResult, Envelope, Membership, Message, Raft, SessionId, Snapshot};

/// The leader's side.
impl Raft {
    /// The driver has opened the snapshot that `to` needs: the state machine after entry `index`, of term `term`, with
    /// the configuration in force there, encoded. Returns what the receiver is to step once it has everything.
    ///
    /// `None`: it is not wanted any more, or not this one; there is nothing further to report. Else the driver keeps the
    /// log from `index` on until it reports the end of the transfer, or the follower would be cut off again.
    pub fn snapshot_begun(
        &mut self,
        to: NodeId,
        session: SessionId,
        index: Index,
        term: Term,
        membership: Bytes,
    ) -> Option<Envelope> {
        let (from, own_term) = (self.config.id, self.term);
        let RoleState::Leader(leader) = &mut self.role else { return None };
        let progress = leader.peers.get_mut(&to).filter(|progress| progress.session == session)?;
        assert!(index <= self.log.committed(), "a snapshot at {index}, beyond {}", self.log.committed());
        let inflight = progress.on_snapshot_begun(index, &self.log)?;
        assert_eq!(self.log.term_at(index), Some(term), "a snapshot at {index} of another term");
        assert_eq!(
            Membership::decode(&membership).as_ref(),
            Ok(self.log.membership_at(index)),
            "a snapshot at {index} with another configuration"
        );
        progress.stamped = leader.rounds.stamp();
        let round = progress.stamped;
        let message = Message::Snapshot(Snapshot { session, inflight, round, index, term, membership });
        Some(Envelope { from, to, term: own_term, message })
    }

    /// The transfer of the snapshot that `to` needs has ended, or could not begin. `ok`: the receiver had all of it and
    /// stepped it. What it made of it, it says itself, before or after; and if nothing comes of that, a probe asks.
    pub fn snapshot_sent(&mut self, to: NodeId, session: SessionId, ok: bool) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        if let Some(progress) = leader.peers.get_mut(&to).filter(|progress| progress.session == session) {
            progress.on_snapshot_ended(ok);
        }
    }
}

/// The follower's side.
impl Raft {
    /// The snapshot that takes the place of the log, while the state machine does not hold it yet:
    /// `applied < installing == purged`, and nothing is handed out to be applied.
    pub fn installing(&self) -> Option<Index> {
        self.applying.installing(&self.log)
    }

    /// A snapshot has come, and its state is on this node's disk.
    pub(super) fn on_snapshot(&mut self, now: Monotonic, from: NodeId, snapshot: Snapshot) {
        let Some(membership) = inspect(&snapshot, self.term) else {
            self.counters.invalid += 1;
            return;
        };
        if !self.follow(now, from) {
            return;
        }
        let Snapshot { session, inflight, round, index, term, .. } = snapshot;
        let known = self.log.term_at(index);
        if known == Some(term) && self.applying.is_stuck_before(index, &self.log) {
            self.commit_to(index);
            self.log.rebase(index, term, membership);
            self.applying.install(index);
        } else if index <= self.log.committed() {
            if known.is_some_and(|known| known != term) {
                // What is committed has one term only: no correct leader sends this.
                self.counters.invalid += 1;
                return;
            }
        } else if known == Some(term) {
            self.commit_to(index);
        } else {
            self.install(index, term, membership);
        }
        self.verified_to(index);
        let result = AppendResult::Matched { index };
        let reply = AppendReply { session, inflight, round, result, room: self.room };
        self.outbox.after(self.config.id, from, self.term, Message::AppendReply(reply));
    }

    /// Lets a snapshot take the place of the log; of the state machine, once that is on disk.
    fn install(&mut self, index: Index, term: Term, membership: Membership) {
        let void = self.log.reset(index, term, membership);
        self.writes.truncate(void);
        self.outbox.retract(void);
        self.applying.install(index);
        self.refresh_quorum();
    }
}

/// The configuration of a snapshot; `None` if no correct leader of `term` sends this snapshot.
fn inspect(snapshot: &Snapshot, term: Term) -> Option<Membership> {
    let Snapshot { index, term: last_term, membership, .. } = snapshot;
    let is_possible = index.0 > 0 && index.0 < u64::MAX / 2 && last_term.0 > 0 && *last_term <= term;
    Membership::decode(membership).ok().filter(|_| is_possible)
}
