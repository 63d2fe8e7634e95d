//! The story of a seed: storms in which faults come, and calms in which the group must find together, serve, and be left
//! in peace; at the end everything is healed for good.
//!
//! ```text
//! storm   faults strike as the swarm has drawn them; callers propose and read all the while
//! calm    no new fault, but that one may crash over a snapshot that it gets. Often a minority stays afflicted: cut off, deaf,
//!         mute, half connected, down, frozen, disk hung or full
//!   rest    no proposals: the others must agree in all
//!   load    callers again; the afflicted come back; the leader whom a majority hears must stay
//! ...
//! end     everything is healed: all agree, on disk too, and every node serves
//! ```
//!
//! A calm is a small liveness phase, and a seed has many: a dead end is seen where it was run into, and not only if it
//! happens to last until the end.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use quorate::raft::{RoleName, Room};
use quorate::types::NodeId;

use super::clock::Instant;
use super::faults;
use super::liveness::{Peace, SETTLED_TIMEOUTS};
use super::net::CutId;
use super::operations::{self, Operation};
use super::swarm::Swarm;
use super::weather::{Weather, chance, up_to};
use super::world::World;
use crate::invariants::Invariants;
use crate::seed;

/// What a seed must have reached to count: a story goes on until it has, but not for more than so many steps more.
pub(super) const QUOTAS: &[(&str, u64)] =
    &[("acknowledged proposals", 200), ("reads answered", 100), ("leader changes under load", 1)];
const MORE_STEPS_MAX: u64 = 400_000;

/// So many callers wait at frozen nodes, at most.
const PARKED_MAX: usize = 8;

/// Something that is going to be done to the world.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    /// A caller does something, and the next one later.
    Operate,
    /// A fault of the swarm strikes, and again later.
    Strike(usize),
    /// A fault strikes this node.
    Ambush(usize, NodeId),
    /// A cut ends.
    Mend(CutId),
    /// A node starts, or wakes up.
    Recover(NodeId),
    /// A node's fsyncs return.
    Unhang(NodeId),
    /// A node's disk has room for this from now on.
    Room(NodeId, Room),
    /// The weather changes.
    Turn,
    /// A node asks for votes.
    Campaign(NodeId),
    /// A node is read from that was frozen when the caller came.
    Read(NodeId),
    /// The first node has evidence that the process of the second has ended.
    Died(NodeId, NodeId),
    /// A scrub comes by a node's disk.
    Scrub(NodeId),
    /// A leader is cut off from all others, which it may still hear.
    Isolate(faults::Cut),
    /// It does not hear them either.
    Deafen(NodeId),
    /// A node is read from under its lease, if it has one.
    LeaseRead(NodeId),
    /// A node crashes over the snapshot that it got, and comes back.
    Relapse(NodeId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Storm,
    Rest,
    Load,
}

/// See the [module](self).
pub(super) struct Story<'a> {
    pub(super) world: &'a mut World,
    pub(super) rng: Rng,
    swarm: Swarm,
    deeds: BTreeMap<(Instant, u64), Deed>,
    planned: u64,
    phase: Phase,
    peace: Option<Peace>,
    /// Who is afflicted in this calm, or was and comes back.
    loners: Vec<NodeId>,
    /// One that gets a whole state in this calm may crash over it.
    may_relapse: bool,
    /// Callers that came to frozen nodes to read, and wait there.
    parked: Vec<NodeId>,
    /// Network and disk faults were in force at the same time.
    pub(super) overlapped: bool,
}

impl<'a> Story<'a> {
    pub(super) fn new(world: &'a mut World, seed: u64, swarm: Swarm) -> Story<'a> {
        Story {
            world,
            rng: seed::generator(seed, "story", 0),
            swarm,
            deeds: BTreeMap::new(),
            planned: 0,
            phase: Phase::Load,
            peace: None,
            loners: Vec::new(),
            may_relapse: false,
            parked: Vec::new(),
            overlapped: false,
        }
    }

    /// Plays a story of so many steps.
    pub(super) fn play(&mut self, steps: u64) {
        self.later(0, Deed::Operate);
        while self.world.violation().is_none() && self.world.steps() < steps + MORE_STEPS_MAX {
            let is_long_enough = self.world.steps() >= steps;
            if is_long_enough && !self.lacks_something() {
                break;
            }
            self.storm(steps / 8);
            if is_long_enough {
                self.depose();
            }
            if is_long_enough || chance(&mut self.rng, self.swarm.calms) {
                self.calm(is_long_enough);
            }
        }
        self.end();
    }

    /// Plays a story without any fault, until so many operations were done. What happens inside is not looked at.
    pub(super) fn play_calm(&mut self, operations: u64) {
        self.world.invariants = Invariants::none();
        self.later(0, Deed::Operate);
        self.world.elect();
        while self.world.violation().is_none() && self.operations() < operations {
            self.advance(self.world.now + self.world.election, u64::MAX, |_| false);
        }
        self.end();
    }

    fn end(&mut self) {
        self.deeds.clear();
        if self.world.violation().is_none() {
            let _ = self.world.converge();
        }
    }

    /// Crashes the leader if there never was another one under load: a storm may run out of steps before its ambush, and
    /// the seed would not count.
    fn depose(&mut self) {
        if let Some(leader) = self.world.leader()
            && !self.world.counters.contains_key("leader changes under load")
        {
            self.strike(0, leader);
        }
    }

    fn operations(&self) -> u64 {
        self.world.counters.get("operations").copied().unwrap_or(0)
    }

    fn lacks_something(&self) -> bool {
        let counters = self.world.counters();
        QUOTAS.iter().any(|(name, quota)| counters.get(name).copied().unwrap_or(0) < *quota)
    }

    /// Has something done so much later.
    pub(super) fn later(&mut self, delay: Instant, deed: Deed) {
        self.planned += 1;
        self.deeds.insert((self.world.now + delay, self.planned), deed);
    }

    /// How long a fault lasts.
    pub(super) fn length(&mut self) -> Instant {
        self.swarm.length / 5 + up_to(&mut self.rng, self.swarm.length * 2)
    }

    /// Lets time pass until `end`, or until so many steps were made, or `is_so`; does what is to be done meanwhile.
    fn advance(&mut self, end: Instant, steps_max: u64, is_so: impl Fn(&World) -> bool) -> bool {
        let steps_end = self.world.steps().saturating_add(steps_max);
        while self.world.violation().is_none() && self.world.steps() < steps_end {
            if is_so(self.world) {
                return true;
            }
            let event = self.world.queue.next_due().unwrap_or(Instant::MAX);
            let deed = self.deeds.first_key_value().map_or(Instant::MAX, |(&(at, _), _)| at);
            if event.min(deed) > end {
                self.world.set_now(end);
                break;
            }
            if deed <= event {
                let ((at, _), deed) = self.deeds.pop_first().expect("it was looked at");
                self.world.set_now(at);
                self.perform(deed);
            } else {
                self.world.step();
            }
            self.note_changes();
        }
        is_so(self.world)
    }

    /// Looks at changes of role, of the group, and of whole states: they are when faults hurt most, and changes of role must not
    /// be in a calm.
    fn note_changes(&mut self) {
        if self.world.changes.is_empty() && self.world.notable.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut self.world.changes);
        let notable = std::mem::take(&mut self.world.notable);
        if let Some(peace) = self.peace {
            self.world.check_peace(peace);
        }
        if self.phase != Phase::Storm {
            return self.relapse(&notable);
        }
        let is_notable = |role| matches!(role, RoleName::Leader | RoleName::Candidate);
        let changed = changes.into_iter().filter(|(_, change)| is_notable(change.role)).map(|(id, _)| id);
        for id in changed.chain(notable) {
            if chance(&mut self.rng, self.swarm.ambush) {
                let delay = up_to(&mut self.rng, self.swarm.ambush_delay_max);
                self.later(delay, Deed::Ambush(self.swarm.ambush_fault, id));
            }
        }
    }

    /// In a calm one that has just got a whole state may crash over it, once, if the others can do without it.
    fn relapse(&mut self, notable: &[NodeId]) {
        if !self.may_relapse {
            return;
        }
        let is_spare = |id: &&NodeId| {
            let out = [&self.loners[..], &[**id]].concat();
            self.world.leader() != Some(**id) && self.world.can_do_without(&out)
        };
        if let Some(&id) = notable.iter().find(is_spare) {
            self.may_relapse = false;
            let delay = up_to(&mut self.rng, self.world.moment() / 2);
            self.later(delay, Deed::Relapse(id));
        }
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Operate => self.operate(),
            Deed::Strike(which) => {
                let (fault, mean) = self.swarm.faults[which];
                let victim = self.victim();
                self.strike(fault, victim);
                let delay = up_to(&mut self.rng, mean * 2);
                self.later(delay, Deed::Strike(which));
            }
            Deed::Ambush(fault, id) => self.strike(fault, id),
            Deed::Mend(cut) => self.world.mend(cut),
            Deed::Recover(id) => self.recover(id),
            Deed::Unhang(id) => self.world.unhang(id),
            Deed::Room(id, room) => self.world.set_room(id, room),
            Deed::Turn => {
                self.world.weather = self.swarm.weather(&mut self.rng);
                let delay = up_to(&mut self.rng, self.swarm.storm);
                self.later(delay, Deed::Turn);
            }
            Deed::Read(id) => {
                if self.world.node(id).is_running() {
                    self.world.read(id);
                }
            }
            Deed::Died(id, peer) => {
                if self.world.node(id).is_running() {
                    self.world.died(id, peer);
                }
            }
            Deed::Scrub(id) => self.world.scrub(id),
            Deed::Isolate(cut) => faults::isolate(self, cut),
            Deed::Deafen(id) => faults::deafen(self, id),
            Deed::LeaseRead(id) => {
                if self.world.node(id).is_running() {
                    self.world.lease_read(id);
                }
            }
            Deed::Relapse(id) => {
                if self.world.node(id).is_running() {
                    self.world.crash(id);
                    self.world.count("relapses");
                    let delay = up_to(&mut self.rng, self.world.election);
                    self.later(delay, Deed::Recover(id));
                }
            }
            Deed::Campaign(id) => {
                if self.world.node(id).is_running() {
                    self.world.campaign(id);
                }
            }
        }
    }

    fn strike(&mut self, fault: usize, victim: NodeId) {
        let fault = &faults::ALL[fault];
        if (fault.strike)(self, victim) {
            self.world.fired(fault.name);
        }
        let is_hung = self.world.nodes.iter().any(|node| node.is_hung() || node.room() != Room::Ample);
        let weather = &self.world.weather;
        self.overlapped |=
            (self.world.net.is_cut() || weather.is_network_foul()) && (is_hung || weather.is_disk_foul());
    }

    /// A node starts, or wakes up to its mail and to those who waited for it.
    fn recover(&mut self, id: NodeId) {
        if self.world.node(id).is_paused() {
            let moment = self.world.moment();
            let parked = self.parked.extract_if(.., |waits| *waits == id).count();
            for _ in 0..parked {
                let delay = up_to(&mut self.rng, moment);
                self.later(delay, Deed::Read(id));
            }
        }
        self.world.recover(id);
    }

    /// A process has ended: some of the others notice.
    pub(super) fn spread_evidence(&mut self, id: NodeId) {
        let (delay_max, chance) = (self.world.heartbeat * 2, self.rng.u8(..4));
        let others: Vec<NodeId> = self.world.ids().filter(|&other| other != id).collect();
        for other in others {
            if self.rng.u8(..3) < chance {
                self.world.fired("evidence");
                let delay = up_to(&mut self.rng, delay_max);
                self.later(delay, Deed::Died(other, id));
            }
        }
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(1 + self.rng.u64(..self.world.nodes.len() as u64))
    }

    /// Whom a fault strikes.
    fn victim(&mut self) -> NodeId {
        let leader = self.world.leader().filter(|_| self.rng.f64() < self.swarm.aim);
        leader.unwrap_or_else(|| self.any_node())
    }

    /// A caller does something somewhere.
    fn operate(&mut self) {
        let delay = up_to(&mut self.rng, self.swarm.pace * 2);
        self.later(delay, Deed::Operate);
        let bursts = if self.rng.u8(..10) == 0 { 4 } else { 1 };
        for _ in 0..bursts {
            let id = self.any_node();
            let churn = self.swarm.churn;
            let weight =
                |operation: &Operation| operation.weight * if operation.is_change { churn } else { 1 };
            let total: u32 = operations::ALL.iter().map(weight).sum();
            let mut drawn = self.rng.u32(..total);
            let operation = operations::ALL.iter().find(|operation| {
                let is_it = drawn < weight(operation);
                drawn = drawn.saturating_sub(weight(operation));
                is_it
            });
            let operation = operation.expect("the weights add up");
            let is_fitting = match self.phase {
                Phase::Storm => true,
                Phase::Rest => operation.is_restful,
                Phase::Load => !operation.is_disturbing,
            };
            if self.world.node(id).is_paused() && self.parked.len() < PARKED_MAX {
                self.parked.push(id);
            }
            if is_fitting && self.world.node(id).is_running() {
                self.world.count("operations");
                (operation.perform)(self.world, &mut self.rng, id);
            }
        }
    }

    /// Faults strike, for a while and at most so many steps.
    fn storm(&mut self, steps_max: u64) {
        self.phase = Phase::Storm;
        self.peace = None;
        for which in 0..self.swarm.faults.len() {
            let delay = up_to(&mut self.rng, self.swarm.faults[which].1 * 2);
            self.later(delay, Deed::Strike(which));
        }
        self.later(0, Deed::Turn);
        let length = self.swarm.storm / 2 + up_to(&mut self.rng, self.swarm.storm);
        if let Some(leader) = self.world.leader()
            && !self.world.counters.contains_key("leader changes under load")
        {
            // No seed without one: should nothing else depose this leader, it crashes.
            let delay = up_to(&mut self.rng, length);
            self.later(delay, Deed::Ambush(0, leader));
        }
        self.advance(self.world.now + length, steps_max, |_| false);
        self.deeds.retain(|_, deed| matches!(deed, Deed::Operate));
    }

    /// No new fault comes; a minority may stay afflicted for a while. Callers come again, for sure if it `is_busy`.
    fn calm(&mut self, is_busy: bool) {
        self.phase = Phase::Rest;
        self.world.weather = Weather::calm(self.world.heartbeat);
        let loners = self.afflict();
        (self.loners, self.may_relapse) = (loners.clone(), self.rng.bool());
        let patience = self.world.convergence_max();
        let end = self.world.now + patience;
        if !self.advance(end, u64::MAX, |world| world.agreement().is_ok()) {
            let lacking = self.world.agreement().err().unwrap_or_default();
            let patience = Duration::from_nanos(patience);
            let text =
                format!("liveness: after {patience:?} without new faults, {loners:?} afflicted: {lacking}");
            return self.world.judge(Err(text));
        }
        if !is_busy && self.rng.bool() {
            return; // the next storm finds a group at rest
        }
        let Some(leader) = self.world.service_leader() else { return };
        let term = self.world.node(leader).raft().map(|raft| raft.term());
        self.phase = Phase::Load;
        self.advance(self.world.now + self.world.election * SETTLED_TIMEOUTS, u64::MAX, |_| false);
        self.world.lose_mail();
        let peace = self.world.can_demand_peace(leader).filter(|peace| Some(peace.term) == term);
        self.peace = peace;
        self.plan_returns(&loners);
        let length = self.world.election * 2 + up_to(&mut self.rng, self.world.election * 10);
        self.advance(self.world.now + length, u64::MAX, |_| false);
        if peace.is_some() && self.world.violation().is_none() {
            self.world.count("peaceful calms");
            self.finish_calm(leader);
        }
        self.peace = None;
    }

    /// All that was asked in a peaceful calm is answered, and the leader serves.
    fn finish_calm(&mut self, leader: NodeId) {
        self.phase = Phase::Rest;
        let end = self.world.now + self.world.convergence_max();
        if !self.advance(end, u64::MAX, |world| world.agreement().is_ok()) {
            let lacking = self.world.agreement().err().unwrap_or_default();
            return self.world.judge(Err(format!("liveness: after a calm under load: {lacking}")));
        }
        self.world.serve(leader);
        self.note_changes();
    }

    /// Ends all faults but those of a minority, which are drawn anew. Returns who is afflicted.
    fn afflict(&mut self) -> Vec<NodeId> {
        let mut ids = self.draw_loners();
        if self.world.is_damaged() {
            ids.clear(); // the only good copy may be on one of them
        }
        // The leader is as good a loner as any, and a better one than most.
        if let Some(leader) = self.world.leader()
            && !ids.is_empty()
            && !ids.contains(&leader)
            && self.rng.bool()
            && self.world.can_do_without(&[&[leader], &ids[1..]].concat())
        {
            ids[0] = leader;
        }
        self.world.mend_all();
        self.world.scrub_all();
        for id in self.world.ids() {
            let stays_down = ids.contains(&id) && self.world.node(id).raft().is_none();
            if !stays_down {
                self.recover(id);
            }
        }
        // Not both: a leader without links to most that hears a quorum only with a node whose disk hangs is not replaced.
        let kind = self.rng.u8(..6);
        for &id in &ids {
            if kind == 0 {
                self.hang_one(id);
            } else if kind == 1 {
                let room = faults::draw_room(&mut self.rng);
                self.world.set_room(id, room);
            } else {
                self.afflict_one(id);
            }
        }
        ids
    }

    /// Voters that the group can do without; often none.
    fn draw_loners(&mut self) -> Vec<NodeId> {
        let mut loners = Vec::new();
        if self.rng.bool() {
            return loners;
        }
        let mut ids: Vec<NodeId> = self.world.group().voters().collect();
        self.rng.shuffle(&mut ids);
        let count = self.rng.usize(..=(ids.len() - 1) / 2);
        for id in ids {
            loners.push(id);
            if loners.len() > count || !self.world.can_do_without(&loners) {
                loners.pop();
            }
        }
        loners
    }

    fn afflict_one(&mut self, id: NodeId) {
        let others: Vec<NodeId> = self.world.ids().filter(|&other| other != id).collect();
        let kind = self.rng.u8(..8);
        let links: Vec<(NodeId, NodeId)> = match kind {
            0 | 1 => others.iter().flat_map(|&other| [(id, other), (other, id)]).collect(),
            2 => others.iter().map(|&other| (other, id)).collect(),
            3 => others.iter().map(|&other| (id, other)).collect(),
            4 => {
                if self.world.node(id).is_running() {
                    self.world.crash(id);
                }
                return;
            }
            5 => return self.world.pause(id),
            _ => {
                let kept = self.rng.usize(..others.len());
                let lost = others.iter().enumerate().filter(|&(at, _)| at != kept && self.rng.u8(..4) > 0);
                lost.flat_map(|(_, &other)| [(id, other), (other, id)]).collect()
            }
        };
        self.world.cut(links);
    }

    /// A node's disk hangs, and for a leader it matters at once: nobody can see that a disk hangs which is not written to.
    fn hang_one(&mut self, id: NodeId) {
        let Some(raft) = self.world.node(id).raft() else { return };
        let leads = raft.role() == RoleName::Leader;
        if self.world.node(id).is_running() && (!leads || self.world.propose(id, 1).is_ok()) {
            self.world.hang(id);
        }
    }

    /// The afflicted come back one by one, some not yet; one node asks for votes again and again.
    fn plan_returns(&mut self, loners: &[NodeId]) {
        let election = self.world.election;
        let troublemaker = loners.first().copied().unwrap_or_else(|| self.any_node());
        for _ in 0..self.rng.usize(..3) {
            let delay = up_to(&mut self.rng, election * 6);
            self.later(delay, Deed::Campaign(troublemaker));
            let delay = up_to(&mut self.rng, election * 6);
            // The one node that believes this convinces nobody.
            if let Some(leader) = self.world.leader() {
                self.later(delay, Deed::Died(troublemaker, leader));
            }
        }
        for &id in loners {
            if self.rng.u8(..5) > 0 {
                let delay = up_to(&mut self.rng, election * 4);
                self.later(delay, Deed::Recover(id));
            }
        }
        if !loners.is_empty() && self.rng.u8(..5) > 0 {
            let delay = up_to(&mut self.rng, election * 4);
            let cuts: Vec<CutId> = self.world.net.in_force();
            for cut in cuts {
                let apart = up_to(&mut self.rng, election);
                self.later(delay + apart, Deed::Mend(cut));
            }
        }
    }
}
