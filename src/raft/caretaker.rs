//! A caretaker: who leads where nobody that is fit to lead can be elected.
//!
//! A voter that has no state, or whose log is damaged, leaves it to the others to lead (see `stateless`, `repair`). It counts on
//! one of them to win. That one cannot, if it needs the vote of the one that keeps back, whose log is newer:
//!
//! 1. Of the voters 1, 2 and 3, node 2 is elected by node 1, writes its first entry on its own disk, and crashes. Its state is
//!    lost.
//! 2. Node 1 is gone for good, and node 3's log is older. Node 3 campaigns, and node 2 refuses it: its own log is newer, and for
//!    all that it knows the entry is committed.
//! 3. Node 2 would win, and does not campaign.
//!
//! So a voter that has known of no leader for [`LAST_RESORT_TIMEOUTS`] election timeouts campaigns though it is not whole. That
//! is safe: terms, votes and the log, which is what an election is about, are on its disk, and a damaged entry counts as
//! present wherever logs are compared. One that cannot tell how far its log went never does (see `doubt`), nor one whose disk
//! hangs.
//!
//! If it is elected it is a *caretaker*. It takes no proposals and no changes: it could answer nobody. It has its first entry
//! and what others lack replicated, like any leader, and hands over to a voter that has said that it lacks nothing, as soon as
//! that one has all of its log (see `transfer`). At each check-quorum deadline it steps down unless such a voter has come
//! nearer, or gets a snapshot of the state that this one has: some other one may be able to do what this one cannot. A
//! caretaker that becomes whole is a leader like any other.
//!
//! Not healed is this: none of those that are whole has a log that reaches to where the caretaker's begins. They need a snapshot
//! of a state that it has not.

use crate::types::Monotonic;

use super::Raft;
use super::progress::Progress;
use super::raft::RoleState;

/// After so many election timeouts without a leader a voter that is not whole campaigns. One that is whole has had two chances by
/// then, at the least: when the leader was missed, and at its next deadline.
pub const LAST_RESORT_TIMEOUTS: u32 = 3;

impl Raft {
    /// Whether it could do all that a leader has to, but for its disk: all of its log is there, as far as it knows, and it has a
    /// state.
    pub fn is_whole(&self) -> bool {
        self.log.wounds().is_empty() && self.has_state()
    }

    /// Whether it leads only until somebody else can: it takes no proposals.
    pub fn is_caretaker(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        leader.caretaking.is_some() && !self.is_whole()
    }

    /// Whether it is better to be led by this node than by none: nobody has led for long, and there is somebody to hand over to.
    pub(super) fn is_last_resort(&self, now: Monotonic) -> bool {
        let silence = self.config.election_timeout * LAST_RESORT_TIMEOUTS;
        let has_others = self.log.membership().electors().any(|voter| voter != self.config.id);
        has_others && self.leader.is_none() && now >= self.timers.led.plus(silence)
    }

    /// Whoever campaigns is whole, or the last resort.
    pub(super) fn check_campaign(&self) {
        let should = self.is_whole() || self.is_last_resort(self.timers.now);
        assert!(should, "a candidate is not whole, and it is not the last resort");
    }

    /// A caretaker looks for somebody who can lead and has all of its log.
    pub(super) fn seek_heir(&mut self) {
        if !self.is_caretaker() || self.transferring().is_some() {
            return;
        }
        let Some((to, matched)) = self.nearest_heir() else { return };
        if matched == self.log.last() {
            self.begin_transfer(to, Some("leads only as a caretaker"));
        }
    }

    /// A check-quorum deadline has passed: a caretaker goes on only if that has brought somebody nearer, or a snapshot is on its
    /// way that will. One that is whole by now is none any more.
    pub(super) fn end_care(&mut self) {
        let (is_whole, has_state) = (self.is_whole(), self.has_state());
        let nearest = self.nearest_heir().map(|(_, matched)| matched);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let is_being_sent = |id| leader.peers.get(&id).is_some_and(Progress::is_being_sent);
        let is_sending = has_state && self.log.membership().electors().any(is_being_sent);
        let Some(before) = leader.caretaking else { return };
        if is_whole {
            leader.caretaking = None;
        } else if nearest > Some(before) {
            leader.caretaking = nearest;
        } else if leader.transfer.is_none() && !is_sending {
            self.step_down_for_good("leads only as a caretaker");
        }
    }
}
