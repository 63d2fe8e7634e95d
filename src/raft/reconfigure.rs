//! How the group changes (thesis, chapter 4): a leader's side of it. What a change makes of a configuration stands in
//! `change`.
//!
//! ```text
//! change(..)      C_old -> joint        appended, in force at once; needs majorities of both voter sets
//!   committed     joint -> C_new        appended by whoever leads then
//!   committed                           done; a leader that is not in C_new hands over and steps down
//! ```
//!
//! - *In force on append* (section 4.1), on every node, and rolled back if the entry is truncated (`Log::membership`).
//!   Systems that switch when they apply had nodes elected by a configuration that was over.
//! - *One at a time*: none while one is uncommitted or joint.
//! - *An entry of the leader's own term first.* Without it, two leaders in turn could each change the same old
//!   configuration, not knowing of the other's uncommitted change, into two with disjoint majorities (the bug that the
//!   thesis's author reported in 2015). A joint change does not need this as badly, but then nothing has to be argued:
//!   whoever changes the configuration knows that all earlier ones are settled.
//! - *Left by whoever leads.* A joint configuration that is committed is left by the leader that sees it so, in whichever
//!   term; one that a crashed leader has left behind is committed with the next leader's no-op, and then left.
//!
//! # Who campaigns
//!
//! A node whose vote counts in the configuration in force, *or* in the committed one as far as it knows. The second half
//! is the thesis's section 4.2.2. Of a group of two, node 1 leads and is removed. The joint configuration is on both
//! disks; the one that leaves it is on node 1's only when node 1 restarts. Node 2 needs node 1's vote and does not get it,
//! its log being shorter. Only node 1 can lead on, though it does not count in what it brings about. Once a node knows
//! that a configuration without it is committed, it does not campaign: nobody needs it any more. A node that was removed
//! and was not told asks on; those who hear their leader do not listen (section 4.2.3).
//!
//! # A leader that is removed
//!
//! From the entry that leaves the joint configuration on it counts itself in no quorum, and replicates until that entry
//! is committed (section 4.2.2). Were it to step down before, nobody might be able to lead: see above. And it stays in the joint
//! configuration until one of the voters that remain has all that is committed, and has said that it lacks nothing: of a group of two, the
//! one that remains may be without a state (see `stateless`), and the only one that could give it another is this leader. Then it hands over
//! as in `transfer`: it takes no more proposals, waits until the voter with the longest log has all of it, tells
//! everyone what is committed, asks that voter to campaign, and steps down.
//!
//! A leader that knows of damage in its own log removes nobody, unless forced: who goes may have the only good copy (see
//! `repair`).
//!
//! # Members that come
//!
//! Their log is looked for from the leader's end backwards (`progress`), with a chance to answer before check-quorum
//! holds their silence against the leader. A `Joining` learner is promoted once it has on disk what was committed at the
//! check-quorum deadline before this one: so the group waits for it, at most, for what was written within an election
//! timeout.

use crate::types::{Monotonic, NodeId};

use super::progress::Progress;
use super::quorum::majority;
use super::raft::RoleState;
use super::{Change, Entry, Membership, ProposeError, Proposed, Raft, Role};

impl Raft {
    /// Changes the configuration, if this node leads. In force at once, and done once it is committed and not joint.
    ///
    /// Unless it is to `force`, a change of the voters is refused if fewer of the new ones have answered lately than
    /// their quorum needs: it could end all writes.
    pub fn change(&mut self, now: Monotonic, change: Change, force: bool) -> Result<Proposed, ProposeError> {
        self.timers.see(now);
        let membership = self.changed(change, force)?;
        self.check_load(Entry::OVERHEAD_BYTES)?;
        Ok(self.enter(membership))
    }

    /// Whether a change could be made now, that a quorum of the voters there are would commit without `lost`. Nothing is done.
    ///
    /// # Errors
    /// Why it could not.
    pub fn may_replace(&self, lost: NodeId, change: Change) -> Result<(), ProposeError> {
        self.changed(change, false)?;
        let voters = || self.log.membership().voters();
        let others = voters().filter(|id| *id != lost && self.is_heard(*id)).count();
        let needed = majority(voters().count());
        if others < needed {
            return Err(ProposeError::Unreachable { reachable: others, needed });
        }
        Ok(())
    }

    /// Whether this node leads and has heard from that one lately; it hears itself.
    pub fn is_heard(&self, id: NodeId) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        id == self.config.id || leader.peers.get(&id).is_some_and(Progress::is_reachable)
    }

    /// What a change makes of the configuration, if this node leads and it may be made now.
    fn changed(&self, change: Change, force: bool) -> Result<Membership, ProposeError> {
        let RoleState::Leader(leader) = &self.role else {
            return Err(ProposeError::NotLeader { leader: self.leader });
        };
        if let Some(to) = leader.transfer_target() {
            return Err(ProposeError::Transferring { to });
        }
        if self.is_caretaker() {
            return Err(ProposeError::Caretaker);
        }
        if !self.is_settled() {
            return Err(ProposeError::Pending);
        }
        // Who is replaced has lost its log, and no copy with it.
        let sends_away = matches!(change, Change::Remove(_));
        let membership = self.log.membership().changed(change)?;
        if !force {
            self.check_reachable(&membership)?;
            if let Some(index) = self.first_damaged().filter(|_| sends_away) {
                return Err(ProposeError::Damaged { index });
            }
        }
        Ok(membership)
    }

    /// Whether every configuration so far is committed, and an entry of this leader's own term with them.
    fn is_settled(&self) -> bool {
        let is_own = self.log.term_at(self.log.committed()) == Some(self.term);
        is_own && !self.log.is_membership_pending()
    }

    fn check_reachable(&self, membership: &Membership) -> Result<(), ProposeError> {
        let RoleState::Leader(leader) = &self.role else { return Ok(()) };
        if !membership.is_joint() {
            return Ok(());
        }
        let is_reachable =
            |id: &NodeId| *id == self.config.id || leader.peers.get(id).is_some_and(Progress::is_able);
        let reachable = membership.voters().filter(is_reachable).count();
        let needed = majority(membership.voters().count());
        if reachable < needed {
            return Err(ProposeError::Unreachable { reachable, needed });
        }
        Ok(())
    }

    /// Appends a configuration: in force at once.
    fn enter(&mut self, membership: Membership) -> Proposed {
        let index = self.log.append_membership(self.term, membership);
        self.refresh_quorum();
        Proposed { term: self.term, first: index, last: index }
    }

    /// Goes on with a change that was begun: something was committed, or a transfer has ended.
    pub(super) fn advance_change(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        if leader.transfer_target().is_some() || self.is_caretaker() || !self.is_settled() {
            return;
        }
        if let Some(next) = self.log.membership().left() {
            if self.has_heir_in(&next) {
                self.enter(next);
            }
        } else if !self.quorum.contains(self.config.id) {
            self.depart();
        }
    }

    /// Whether somebody can lead where `next` is in force: this leader, or a voter that has the log and has said that it lacks
    /// nothing.
    fn has_heir_in(&self, next: &Membership) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let can_lead = |id: NodeId| {
            let peer = leader.peers.get(&id);
            peer.is_some_and(|peer| peer.is_surely_able() && peer.matched() >= self.log.committed())
        };
        next.voters().any(|id| id == self.config.id || can_lead(id))
    }

    /// Promotes one of those that wait for it and have caught up: see the module.
    pub(super) fn promote_caught_up(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let goal = std::mem::replace(&mut leader.goal, self.log.committed());
        let mut joining =
            self.log.membership().members.values().filter(|member| member.role == Role::Joining);
        let caught_up = joining.find(|member| {
            let peer = leader.peers.get(&member.id);
            peer.is_some_and(|peer| peer.is_able() && peer.matched() >= goal)
        });
        if let Some(id) = caught_up.map(|member| member.id) {
            // Where it is refused now, the next deadline tries again.
            let _ = self.change(self.timers.now, Change::Promote(id), false);
        }
    }

    /// Whether this node's vote is needed: see the module.
    pub(super) fn is_needed(&self) -> bool {
        let id = self.config.id;
        self.quorum.contains(id) || self.log.committed_membership().is_voter(id)
    }
}
