//! Handing over: a leader makes another voter lead (thesis, section 3.10).
//!
//! ```text
//! leader                                     target
//!   transfer(to): takes no more proposals
//!   -- Append ... ------------------------>
//!   <----- AppendReply: has the whole log --
//!   -- TimeoutNow ------------------------>  campaigns at once, without a pre-vote
//!   <----------------- Vote { transfer } --  whoever hears the old leader listens all the same
//! ```
//!
//! Proposals are refused from the first moment to the last: with them the target would never have the whole log, and
//! what was taken after `TimeoutNow` would be lost with the term. Reads go on: each is confirmed by a quorum that still
//! follows this leader when it is asked, which a quorum that has voted for the target does not.
//!
//! `TimeoutNow` goes to nobody that lacks an entry: it would ask for an election that it cannot win, and the group would
//! be without a leader. It may be lost, so it is repeated with the heartbeats. A transfer ends when this leader is
//! deposed, or after an election timeout, when it leads on as if nothing had been. While it lasts the configuration does
//! not change: its target stays a voter.
//!
//! Whoever lets reads rest on a lease must end the lease before `TimeoutNow` leaves: a voter that is asked with
//! `transfer` keeps no promise to the old leader. See `lease`.
//!
//! A target takes `TimeoutNow` from the leader of its own term only, and only if it has a vote and is fit to lead. One that
//! comes late, when the transfer has ended, costs an election and no more.
//!
//! A leader that cannot lead any more, since it is no voter or has no state, steps down with `TimeoutNow`, or when the time
//! for the transfer is over. One that is no voter waits besides until all of its log is committed: it hears nothing any more.

use std::cmp::Reverse;

use crate::types::{Index, Monotonic, NodeId};

use super::leader::Leader;
use super::raft::RoleState;
use super::timers::NEVER;
use super::{Message, Raft, Role};

/// A transfer under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transfer {
    pub(super) to: NodeId,
    /// It was asked to campaign since the last heartbeat.
    is_told: bool,
    /// Why this leader steps down with it, if it does.
    departs: Option<&'static str>,
}

/// Why leadership was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// Another node leads, or none.
    NotLeader {
        /// The leader, where known.
        leader: Option<NodeId>,
    },
    /// The target leads already.
    Leads,
    /// The target is no member.
    NotMember,
    /// The target has no vote, or is about to lose it.
    NotVoter,
    /// No other voter has answered lately.
    NoTarget,
}

impl Leader {
    /// To whom this leader hands over, if it does.
    pub(super) fn transfer_target(&self) -> Option<NodeId> {
        self.transfer.as_ref().map(|transfer| transfer.to)
    }
}

impl Raft {
    /// Hands leadership over, to the voter with the longest log among those that answer if none is named. Returns to
    /// whom. A transfer under way goes on if it has the same target, and else is replaced.
    pub fn transfer(&mut self, now: Monotonic, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        self.timers.see(now);
        let RoleState::Leader(leader) = &self.role else {
            return Err(TransferError::NotLeader { leader: self.leader });
        };
        let under_way = leader.transfer.clone();
        let to = match to {
            Some(to) => self.check_target(to)?,
            None => match &under_way {
                Some(transfer) => transfer.to,
                None => self.best_voter().ok_or(TransferError::NoTarget)?,
            },
        };
        if under_way.as_ref().is_none_or(|transfer| transfer.to != to) {
            let departs = under_way.and_then(|transfer| transfer.departs);
            self.begin_transfer(to, departs);
        }
        Ok(to)
    }

    /// To whom this leader hands over, if it does. Meanwhile it takes no proposals.
    pub fn transferring(&self) -> Option<NodeId> {
        match &self.role {
            RoleState::Leader(leader) => leader.transfer_target(),
            _ => None,
        }
    }

    fn check_target(&self, to: NodeId) -> Result<NodeId, TransferError> {
        if to == self.config.id {
            return Err(TransferError::Leads);
        }
        match self.log.membership().members.get(&to).map(|member| member.role) {
            None => Err(TransferError::NotMember),
            Some(Role::Voter) => Ok(to),
            Some(_) => Err(TransferError::NotVoter),
        }
    }

    /// Of the other voters that answer and could lead, and of those the ones with most room, the one with the longest log.
    pub(super) fn best_voter(&self) -> Option<NodeId> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let others = self.log.membership().voters().filter(|&id| id != self.config.id);
        let answering = others.filter(|id| leader.peers[id].is_able());
        let rank = |id: &NodeId| (Reverse(leader.peers[id].room()), leader.peers[id].matched(), Reverse(*id));
        answering.max_by_key(rank)
    }

    /// Of the other voters that surely lack nothing but entries, the one that lacks fewest of this log, and how far it has it. One
    /// on its way out will do: it may be the only one, and it does not go before somebody else could lead.
    pub(super) fn nearest_heir(&self) -> Option<(NodeId, Index)> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let others = self.log.membership().electors().filter(|&id| id != self.config.id);
        let able = others.filter(|id| leader.peers[id].is_surely_able());
        let near = able.map(|id| (id, leader.peers[&id].matched()));
        near.max_by_key(|&(id, matched)| (matched, Reverse(leader.peers[&id].room()), Reverse(id)))
    }

    pub(super) fn begin_transfer(&mut self, to: NodeId, departs: Option<&'static str>) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.transfer = Some(Transfer { to, is_told: false, departs });
        self.timers.transfer = self.timers.now.plus(self.config.election_timeout);
        self.hand_over();
    }

    /// This leader is not in the committed configuration: it hands over and steps down.
    pub(super) fn depart(&mut self) {
        self.hand_over_for_good("is no voter any more");
    }

    /// This leader cannot lead any more: it hands over and steps down, at once if there is nobody to hand over to.
    pub(super) fn hand_over_for_good(&mut self, reason: &'static str) {
        match self.best_voter() {
            Some(to) => self.begin_transfer(to, Some(reason)),
            None => self.step_down_for_good(reason),
        }
    }

    /// Asks the target to campaign, once it has the whole log.
    pub(super) fn hand_over(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let has_all = leader.peers.get(&transfer.to).is_some_and(|peer| peer.matched() == self.log.last());
        // Who has no place in what comes next is not told what becomes of its last entries: it waits until they are committed,
        // or whoever waits for them would never know.
        let knows_all = self.quorum.contains(self.config.id) || self.log.committed() == self.log.last();
        if !has_all || !knows_all || transfer.is_told {
            return;
        }
        transfer.is_told = true;
        leader.has_handed_over = true;
        let (to, departs) = (transfer.to, transfer.departs);
        if departs.is_some() {
            self.heartbeat_all();
        }
        self.outbox.now(self.config.id, to, self.term, Message::TimeoutNow);
        if let Some(reason) = departs {
            self.become_follower(self.term, None, reason);
        }
    }

    /// A heartbeat has fallen due: should the target not have been reached, it is asked again.
    pub(super) fn repeat_hand_over(&mut self) {
        if let RoleState::Leader(leader) = &mut self.role
            && let Some(transfer) = &mut leader.transfer
        {
            transfer.is_told = false;
            self.hand_over();
        }
    }

    /// The time for the transfer is over: this leader leads on, or steps down if it is to.
    pub(super) fn end_transfer(&mut self) {
        self.timers.transfer = NEVER;
        let RoleState::Leader(leader) = &mut self.role else { return };
        if let Some(reason) = leader.transfer.take().and_then(|transfer| transfer.departs) {
            return self.step_down_for_good(reason);
        }
        self.advance_change();
    }

    pub(super) fn step_down_for_good(&mut self, reason: &'static str) {
        self.heartbeat_all();
        self.become_follower(self.term, None, reason);
    }

    /// The leader asks this node to take over.
    pub(super) fn on_timeout_now(&mut self, now: Monotonic, from: NodeId) {
        if !self.follow(now, from) {
            return;
        }
        if !self.quorum.contains(self.config.id) || !self.is_whole() || !self.can_replicate() {
            self.counters.stale += 1;
            return;
        }
        self.counters.campaigns += 1;
        self.become_candidate(true);
    }
}
