//! Liveness: once no new fault comes, the group agrees, serves, and is left in peace.
//!
//! The bounds are generous, fixed, and stand here. What is demanded, with Q for a set of nodes that are healthy and linked
//! with one another in both directions, a majority of the voters among them:
//!
//! - *Convergence*: without any new proposal, one of them comes to lead, everybody linked with it has its log, on disk,
//!   committed and applied, and no read waits anywhere.
//! - *Service*: proposals at that leader are then acknowledged, and reads are answered on every node linked with it.
//! - *Peace*: whatever a minority does that is cut off, wakes up, comes back or asks for votes, a leader whom a majority
//!   hears goes on leading.

use std::time::Duration;

use quorate::raft::{Raft, Role, RoleName};
use quorate::types::{NodeId, Term};

use super::clock::Instant;
use super::world::{World, position};
use crate::Violation;
use crate::invariants::{is_quorum, majorities_of};

/// So many election timeouts may pass until a leader is there and all agree.
const CONVERGENCE_TIMEOUTS_MAX: u64 = 60;

/// And so many heartbeat intervals for each entry that some node lacks.
const CATCH_UP_HEARTBEATS_MAX: u64 = 2;

/// So many election timeouts may pass until a proposal is acknowledged and a read answered where all is well.
const SERVICE_TIMEOUTS_MAX: u64 = 20;

/// A leader must have been followed for so many election timeouts before its peace is demanded: by then all votes of
/// earlier times are counted or forgotten.
pub(super) const SETTLED_TIMEOUTS: u64 = 5;

/// A leader who must not be disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peace {
    pub(super) leader: NodeId,
    pub(super) term: Term,
}

impl World {
    /// How long convergence may take from now on.
    pub(super) fn convergence_max(&self) -> Instant {
        let members = || self.nodes.iter().filter(|node| self.group().members.contains_key(&node.id));
        let ends = members().map(|node| node.disk.last().0.0);
        let (last, first) = (ends.clone().max().unwrap_or(0), ends.min().unwrap_or(0));
        let unwritten = members().filter_map(|node| node.raft()).map(|raft| raft.last_index().0).max();
        let lag = last.max(unwritten.unwrap_or(0)) - first;
        let applying = members().map(|node| last - node.state.index.0.min(last)).max().unwrap_or(0);
        self.election * CONVERGENCE_TIMEOUTS_MAX + self.heartbeat * CATCH_UP_HEARTBEATS_MAX * (lag + applying)
    }

    /// How long a healthy group may take to serve.
    pub(super) fn service_max(&self) -> Instant {
        self.election * SERVICE_TIMEOUTS_MAX
    }

    /// Whether messages go both ways.
    fn are_linked(&self, a: NodeId, b: NodeId) -> bool {
        a == b || (self.net.is_open(a, b) && self.net.is_open(b, a))
    }

    /// The leader of the latest term that a majority of voters is linked with.
    pub(super) fn service_leader(&self) -> Option<NodeId> {
        let leader = self.ids().filter(|&id| {
            let node = self.node(id);
            node.is_healthy() && node.raft().is_some_and(|raft| raft.role() == RoleName::Leader)
        });
        let leader = leader.max_by_key(|&id| self.node(id).raft().map(|raft| raft.term()))?;
        let majorities = majorities_of(self.node(leader).raft()?.membership());
        let linked: Vec<NodeId> = self.followers_of(leader).collect();
        is_quorum(&majorities, |id| linked.contains(&id)).then_some(leader)
    }

    /// The members of `leader`'s group that are healthy and linked with it, itself among them.
    pub(super) fn followers_of(&self, leader: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let raft = self.node(leader).raft();
        let members = raft.into_iter().flat_map(|raft| raft.membership().members.keys().copied());
        members.filter(move |&id| self.node(id).is_healthy() && self.are_linked(leader, id))
    }

    /// Who leads, if the group agrees in all and has nothing left to do; else what is lacking.
    pub(super) fn agreement(&self) -> Result<NodeId, String> {
        let leader = self.service_leader().ok_or("no leader that a majority can hear")?;
        let raft = self.node(leader).raft().ok_or("the leader is down")?;
        let (term, last, end) = (raft.term(), raft.last_index(), raft.term_at(raft.last_index()));
        if end != Some(term) {
            return Err(format!("leader {leader} has no entry of its term"));
        }
        self.is_settled(leader, raft)?;
        for id in self.followers_of(leader) {
            let node = self.node(id);
            let Some(raft) = node.raft() else { continue };
            let follows = raft.leader() == Some(leader) && raft.term() == term;
            if !follows {
                return Err(format!(
                    "{id} follows {:?} in term {}, not {leader} in {term}",
                    raft.leader(),
                    raft.term()
                ));
            }
            let marks = [raft.last_index(), raft.persisted_index(), raft.commit(), node.applied()];
            if let Some(index) = raft.first_damaged() {
                return Err(format!(
                    "entry {index} is damaged on {id}, irreparable: {:?}",
                    raft.irreparable()
                ));
            }
            if raft.is_in_doubt() {
                return Err(format!(
                    "{id} does not know how far its log went, leader {leader} ends at {last}"
                ));
            }
            if marks != [last; 4] || raft.term_at(last) != end {
                return Err(format!(
                    "{id} has last, persisted, commit, applied {marks:?}, leader {leader} ends at {last}"
                ));
            }
        }
        let waiting = self.oracle.waiting(|id| self.node(id).is_running());
        if waiting > 0 {
            return Err(format!("{waiting} reads wait"));
        }
        Ok(leader)
    }

    /// Whether nothing is left to do about who is in the group and who leads it.
    fn is_settled(&self, leader: NodeId, raft: &Raft) -> Result<(), String> {
        let membership = raft.membership();
        if let Some(to) = raft.transferring() {
            return Err(format!("{leader} hands over to {to}"));
        }
        if membership.is_joint() || !membership.is_voter(leader) {
            return Err(format!("leader {leader} has configuration {membership:?}"));
        }
        let joining = membership.members.values().find(|member| member.role == Role::Joining);
        match joining.filter(|member| self.followers_of(leader).any(|id| id == member.id)) {
            Some(member) => Err(format!("{} is not promoted", member.id)),
            None => Ok(()),
        }
    }

    /// Ends all faults and lets the group come to rest: all must agree without any new proposal, hold the same log on
    /// their disks, and then serve through every node.
    pub fn converge(&mut self) -> Result<(), Violation> {
        self.weather = super::weather::Weather::calm(self.heartbeat);
        self.heal();
        let patience = Duration::from_nanos(self.convergence_max());
        let agree = |world: &World| {
            let leader = world.agreement().ok()?;
            let raft = world.node(leader).raft()?;
            // Nobody would purge if the leader did not find out what all have.
            (raft.stored_by_all() == raft.last_index()).then_some(leader)
        };
        if !self.run_until(patience, |world| agree(world).is_some()) {
            let lacking =
                self.agreement().err().unwrap_or_else(|| "the leader does not know what all have".into());
            self.judge(Err(format!("liveness: after {patience:?} without faults {lacking}")));
        }
        // What is still under way from before may bring about one more election: let it.
        let old =
            Duration::from_nanos(self.sent_until.saturating_sub(self.now) + self.election * SETTLED_TIMEOUTS);
        self.run_for(old);
        let patience = Duration::from_nanos(self.convergence_max());
        if !self.run_until(patience, |world| agree(world).is_some()) {
            let lacking =
                self.agreement().err().unwrap_or_else(|| "the leader does not know what all have".into());
            self.judge(Err(format!("liveness: in peace for {patience:?} {lacking}")));
        }
        if self.violation.is_none() {
            let judged = self.compare_disks();
            self.judge(judged);
        }
        if self.violation.is_none()
            && let Some(leader) = self.service_leader()
        {
            self.serve(leader);
        }
        self.violation.clone().map_or(Ok(()), Err)
    }

    /// All disks hold the same log, and the whole log that was acknowledged.
    fn compare_disks(&self) -> Result<(), Violation> {
        let mut members = self.group().members.keys().map(|&id| &self.nodes[position(id)]);
        if let Some(node) = members.clone().find(|node| node.disk.is_in_doubt()) {
            return Err(format!("liveness: {} is still in doubt on its disk", node.id));
        }
        if let Some((id, index)) =
            members.clone().find_map(|node| Some((node.id, node.disk.damaged().next()?)))
        {
            return Err(format!("liveness: entry {index} is still damaged on the disk of {id}"));
        }
        if let Some(node) = members.clone().find(|node| node.disk.is_stateless()) {
            return Err(format!("liveness: {} still has no state", node.id));
        }
        let Some(one) = members.next() else { return Err("liveness: nobody is left".to_owned()) };
        let (end, first) = (one.disk.last(), &one.disk);
        if end.0 < self.oracle.acknowledged_to() {
            return Err(format!(
                "liveness: logs end at {}, acknowledged {}",
                end.0,
                self.oracle.acknowledged_to()
            ));
        }
        for node in members {
            let from = first.purged().max(node.disk.purged()).next();
            let differs = (from.0..=end.0.0).find(|&at| {
                let index = quorate::types::Index(at);
                first.get(index) != node.disk.get(index)
            });
            if node.disk.last() != end || differs.is_some() {
                return Err(format!(
                    "log matching: the disks of {} and {} differ at {differs:?}",
                    one.id, node.id
                ));
            }
        }
        Ok(())
    }

    /// A proposal at the leader and a read at every node linked with it must succeed.
    pub(super) fn serve(&mut self, leader: NodeId) {
        let patience = Duration::from_nanos(self.service_max());
        let before = self.oracle.acknowledged_to();
        let proposed = match self.propose(leader, 1) {
            Ok(at) => at.last,
            Err(error) => {
                return self.judge(Err(format!("liveness: leader {leader} refuses a proposal: {error:?}")));
            }
        };
        if !self.run_until(patience, |world| world.oracle.acknowledged_to() >= proposed) {
            let role = self.node(leader).raft().map(|raft| (raft.role().name(), raft.term(), raft.commit()));
            let text = format!(
                "liveness: entry {proposed} was proposed at {leader} and nothing acknowledged beyond {before}; it is {role:?}"
            );
            return self.judge(Err(text));
        }
        let handed_over = self.handed_over.get(&leader).copied();
        let has_leases = self
            .node(leader)
            .raft()
            .is_some_and(|raft| raft.membership().lease_ms > 0 && handed_over != Some(raft.term()));
        if has_leases && !self.run_until(patience, |world| world.node(leader).lease.is_some()) {
            return self.judge(Err(format!("liveness: leader {leader} gets no lease")));
        }
        let readers: Vec<NodeId> = self.followers_of(leader).collect();
        for id in readers {
            let answered = self.oracle.answered_reads();
            let read = self.read(id);
            self.run_until(patience, |world| !world.oracle.is_waiting(read));
            if self.violation.is_none() && self.oracle.answered_reads() == answered {
                return self
                    .judge(Err(format!("liveness: a read at {id} got no index from leader {leader}")));
            }
        }
        let max = self.convergence_max();
        if !self.run_until(Duration::from_nanos(max), |world| world.agreement().is_ok()) {
            let lacking = self.agreement().err().unwrap_or_default();
            self.judge(Err(format!("liveness: after a proposal {lacking}")));
        }
    }

    /// Whether the group's leader may demand peace: nobody knows of a later term, and no old message is under way.
    pub(super) fn can_demand_peace(&self, leader: NodeId) -> Option<Peace> {
        let term = self.node(leader).raft()?.term();
        let is_latest = self.nodes.iter().all(|node| {
            let known = node.raft().map_or(node.disk.hard_state().term, |raft| raft.term());
            known <= term
        });
        (is_latest && self.term_sent <= term && self.now > self.sent_until).then_some(Peace { leader, term })
    }

    /// Whether the leader was left in peace.
    pub(super) fn check_peace(&mut self, peace: Peace) {
        let raft = self.node(peace.leader).raft();
        let leads = raft.is_some_and(|raft| raft.role() == RoleName::Leader && raft.term() == peace.term);
        if !leads {
            let now = raft.map(|raft| (raft.role().name(), raft.term(), raft.leader()));
            let Peace { leader, term } = peace;
            self.judge(Err(format!(
                "peace: {leader} led term {term} and a majority heard it, and it was deposed: it is {now:?}"
            )));
        }
    }

    /// Mail that waits at nodes without a processor is lost: it is of earlier times.
    pub(super) fn lose_mail(&mut self) {
        for id in self.ids() {
            self.nodes[position(id)].mail.clear();
        }
    }
}
