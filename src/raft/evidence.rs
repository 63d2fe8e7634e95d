//! Evidence that the leader's process has ended: the next one need not wait for a timeout.
//!
//! A time-out only says that the leader was not heard. The driver can know more: the leader's process closed the
//! connection and a fresh connect is refused, or its name no longer resolves, or another incarnation answers under its
//! address. Only such evidence counts here, and only a node's own: it ends this node's stickiness and nobody else's. So
//! a majority's evidence elects a leader at once, and a minority's, even a false one, is told no by silence: those who hear
//! the leader do not listen, no term rises, and the leader's next message ends the matter.
//!
//! A voter with evidence against the leader it follows forgets that leader, and asks for pre-votes after a random moment
//! of at most `evidence_delay_max`, so that of several one is first. It goes on while the evidence stands: a lost round
//! is tried again after another moment, an unanswered one is asked again, since others may come by their evidence later.
//! The dead leader's vote counts as refused unless it says otherwise, so that a split vote is known to be lost. It stands
//! until a leader is heard; who has given its vote waits for what becomes of it, like everybody.
//!
//! # Why it is safe
//!
//! That two leaders of a term, or a leader without a committed entry, cannot be elected rests on votes, terms and logs
//! alone (section 5.4.3), never on when anyone campaigns; stickiness is about being left in peace (section 6). There is
//! one exception: with leases on, a leader relies on its voters' silence. So while any configuration that may be in
//! force has a lease, evidence is ignored and counted. The rule to the letter: from the start of a node, or the append of
//! a configuration with a lease to its log, until one lease, the longest of those that may have been in force, after the
//! node learned that a configuration without one is committed and all before it are superseded; and for one lease, the
//! longest of those that its log knows, after its start (see `lease`).

use std::time::Duration;

use crate::types::{Monotonic, NodeId};

use super::Raft;
use super::raft::RoleState;
use super::timers::NEVER;

impl Raft {
    /// The process of `peer` has ended: the driver has evidence, which a time-out is not, and has stepped all that came
    /// from that process before.
    pub fn died(&mut self, now: Monotonic, peer: NodeId) {
        self.timers.see(now);
        if let RoleState::Leader(leader) = &mut self.role {
            // It cannot be counted on, until it answers again: for changes of the group, and to hand over to.
            if let Some(progress) = leader.peers.get_mut(&peer) {
                progress.on_died();
            }
            return;
        }
        if self.leader != Some(peer) || peer == self.config.id {
            return;
        }
        if self.is_leased(now) {
            self.counters.ignored_deaths += 1;
            return;
        }
        self.become_follower(self.term, None, "its leader's process ended");
        // Where all others are not enough, only the dead one's return helps, and there is no haste.
        let can_elect = self.quorum.is_reached(|voter| voter != peer);
        if self.quorum.contains(self.config.id) && can_elect {
            self.evidence = Some(peer);
            self.timers.arm_evidence(Duration::ZERO, self.config.evidence_delay_max);
        }
    }

    /// The moment after which evidence is acted on has passed.
    pub(super) fn on_evidence(&mut self, now: Monotonic) {
        self.timers.evidence = NEVER;
        if matches!(self.role, RoleState::Candidate(_)) {
            return; // it asks for votes already
        }
        let max = self.config.evidence_delay_max;
        self.timers.arm_evidence(max, max);
        if matches!(self.role, RoleState::PreCandidate(_)) {
            self.ask_pre_votes();
        } else if self.may_campaign(now) {
            self.become_pre_candidate("its leader's process ended");
        }
    }

    /// An election of either kind is lost: while the evidence stands the next one comes soon.
    pub(super) fn lose(&mut self, reason: &'static str) {
        self.become_follower(self.term, None, reason);
        if self.evidence.is_some() {
            self.timers.arm_evidence(Duration::ZERO, self.config.evidence_delay_max);
        }
    }

    /// A leader is heard, or this node is one.
    pub(super) fn drop_evidence(&mut self) {
        self.evidence = None;
        self.timers.evidence = NEVER;
    }
}
