//! A node without a state: what it does while its log is whole and its state machine is lost.
//!
//! A state machine's file may be damaged, gone, or known to hold something else than the others' (see `fsm`, `node`). What
//! the node promised stands in its log and its hard state, which are whole. So it *keeps every promise and makes new ones*:
//! it votes, stores entries, acknowledges them, and counts for every quorum. What it cannot do without a state it does not
//! do:
//!
//! - It *applies nothing*: nothing is handed out.
//! - It *does not campaign*, and takes no leadership that is handed to it: it could answer neither writes nor reads. As
//!   with a damaged log (see `repair`), who is fit to lead is looked at by the node itself; the others' votes follow the
//!   rules. Where nobody else can win it leads after all, until somebody else can (see `caretaker`).
//! - A leader that loses its state *hands over*, to a voter that has one, and steps down; at once if there is nobody to
//!   hand over to. This differs from a leader with a damaged entry, which is whole again after a round trip: a state takes
//!   as long as it is large.
//!
//! # How it gets one
//!
//! If the log reaches back to the beginning, the driver begins an empty state, and says so by [`Raft::state_begun`]: all
//! that is committed is applied again. Else another member's snapshot is needed. Who needs one asks, since the leader cannot
//! see it: the follower's log may be as long as its own.
//!
//! ```text
//!    node without a state                          leader
//!                                             <--  Heartbeat
//!  -- HeartbeatReply {needs_snapshot: 7} ------->  SnapshotFor {at_least: 7}: folds first, if it has to
//!                                             <==  snapshot at 9
//!  its log has entry 9: all behind it is kept
//!  ready()  -> Write{install} -> disk -> state machine -> applied(9)
//! ```
//!
//! The index that it names is where its log begins: a state before that would leave a gap. It asks with every answer to a
//! heartbeat until it has taken one, so no loss of a message and no change of leaders needs a rule of its own; an answer
//! that was on its way when a snapshot had arrived is not taken for another question (see `progress`).
//!
//! A snapshot that its log goes on from replaces the log up to there and no further, as where an entry is damaged: what lies
//! behind was acknowledged. Any other replaces all, as always.
//!
//! Not healed is what `caretaker` cannot heal. A group of one has only its own log to begin anew from.

use crate::types::{Index, NodeId};

use super::Raft;
use super::raft::RoleState;

/// The node's own side.
impl Raft {
    /// The state machine is lost, and all that it was given with it. Nothing is handed out any more until there is another
    /// one: a snapshot that came, or an empty state (see [`Raft::state_begun`]). A snapshot that is being installed is not
    /// lost: it takes the place of what was.
    pub fn lose_state(&mut self) {
        if !self.has_state() {
            return;
        }
        self.counters.states_lost += 1;
        self.applying.lose_state(&self.log);
        match &self.role {
            RoleState::Leader(_) => self.hand_over_for_good("lost its state"),
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => {
                self.become_follower(self.term, None, "lost its state");
            }
            RoleState::Follower(_) => {}
        }
    }

    /// The state machine begins anew, empty, and is given all that is committed.
    ///
    /// # Panics
    /// If something was purged, or there is a state.
    pub fn state_begun(&mut self) {
        let purged = self.log.purged().0;
        assert!(!self.has_state(), "a second state begins");
        assert_eq!(purged, Index(0), "an empty state, and entries up to {purged} were purged");
        self.applying.begin_state();
    }

    /// Whether there is a state, or one is being installed.
    pub fn has_state(&self) -> bool {
        !self.applying.is_stateless()
    }

    /// The first index at which a snapshot would be of use, if this node cannot go on without one.
    pub(super) fn needs_snapshot(&self) -> Option<Index> {
        let purged = self.log.purged().0;
        (!self.has_state() && purged > Index(0)).then_some(purged)
    }
}

/// The leader's side.
impl Raft {
    /// A member needs a state that is at `index` or beyond.
    pub(super) fn give_state(&mut self, to: NodeId, index: Index) {
        if let RoleState::Leader(leader) = &mut self.role
            && let Some(progress) = leader.peers.get_mut(&to)
        {
            progress.on_state_wanted(index);
        }
    }
}
