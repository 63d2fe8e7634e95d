//! A world, played by hand: what a test says line by line, and what a story does.
//!
//! ```
//! use std::time::Duration;
//! use quorate_sim::core::World;
//!
//! let mut world = World::new(7, 3);
//! let leader = world.elect();
//! world.propose(leader, 1).expect("it leads");
//! let others: Vec<_> = world.ids().filter(|&id| id != leader).collect();
//! world.partition(&[leader], &others);
//! assert!(world.run_until(Duration::from_secs(10), |world| world.leader().is_some_and(|id| id != leader)));
//! world.heal();
//! world.converge().expect("all agree again");
//! ```

use std::time::Duration;

use quorate::raft::{Change, Envelope, ProposeError, Proposed, ReadId, Role, RoleName, Room, TransferError};
use quorate::types::{Index, NodeId, Term};

use super::clock::{Instant, span};
use super::disk::Disk;
use super::net::CutId;
use super::node::Node;
use super::operations;
use super::oracle::Oracle;
use super::queue::Event;
use super::transfer::State;
use super::weather::up_to;
use super::world::{Verdict, World, position};
use crate::Violation;
use crate::run::Counters;
use crate::trace::event::What;

/// What can be done to a world.
impl World {
    /// Lets so much time pass; false if a violation was found.
    pub fn run_for(&mut self, duration: Duration) -> bool {
        self.run_until(duration, |_| false);
        self.violation.is_none()
    }

    /// Lets time pass until `is_so`, at most `patience`. Whether it came to be so.
    pub fn run_until(&mut self, patience: Duration, is_so: impl Fn(&World) -> bool) -> bool {
        let end = self.now + span(patience);
        while self.violation.is_none() {
            if is_so(self) {
                return true;
            }
            if self.queue.next_due().is_none_or(|due| due > end) {
                self.set_now(end);
                return false;
            }
            self.step();
        }
        false
    }

    /// Lets time pass until a leader has committed an entry of its term, and returns it.
    pub fn elect(&mut self) -> NodeId {
        let leads = |world: &World| {
            let leader = world.leader()?;
            let raft = world.node(leader).raft()?;
            (raft.term_at(raft.commit()) == Some(raft.term())).then_some(leader)
        };
        self.run_until(Duration::from_secs(60), |world| leads(world).is_some());
        leads(self).unwrap_or_else(|| panic!("no leader in a minute, violation: {:?}", self.violation))
    }

    /// Proposes so many commands at a node.
    pub fn propose(&mut self, id: NodeId, count: usize) -> Result<Proposed, ProposeError> {
        operations::propose(self, id, count, 0)
    }

    /// Reads at a node that is up; the answer is judged when it comes.
    pub fn read(&mut self, id: NodeId) -> ReadId {
        operations::read(self, id)
    }

    /// Reads at a node under the lease that it has published. Whether that held; if so, the answer is judged.
    pub fn lease_read(&mut self, id: NodeId) -> bool {
        operations::lease_read(self, id)
    }

    /// Lets a node that is up campaign.
    pub fn campaign(&mut self, id: NodeId) {
        operations::campaign(self, id);
    }

    /// Publishes a node's record there, as another version of its binary.
    pub fn publish(&mut self, id: NodeId) -> Result<Proposed, ProposeError> {
        operations::publish(self, id)
    }

    /// Asks a node to change the configuration.
    pub fn change(&mut self, id: NodeId, change: Change, force: bool) -> Result<Proposed, ProposeError> {
        operations::change(self, id, change, force)
    }

    /// Adds a member at a leader, and starts it. `None` if the leader refuses.
    pub fn add(&mut self, leader: NodeId, role: Role) -> Option<NodeId> {
        let mut rng = self.rng.fork();
        operations::add(self, &mut rng, leader, None, role)
    }

    /// Asks a node to hand its leadership over.
    pub fn transfer(&mut self, id: NodeId, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        operations::transfer(self, id, to)
    }

    /// Cuts all links between the nodes of one side and those of the other, in both directions.
    pub fn partition(&mut self, one: &[NodeId], other: &[NodeId]) -> CutId {
        let links = one.iter().flat_map(|&a| other.iter().flat_map(move |&b| [(a, b), (b, a)]));
        let links = links.filter(|(from, to)| from != to).collect();
        self.cut(links)
    }

    /// Cuts links, each in its direction.
    pub fn cut(&mut self, links: Vec<(NodeId, NodeId)>) -> CutId {
        let cut = self.net.cut(links.clone());
        self.trace.event(0, || What::Fault { fault: "cut", text: format!("{cut}: {}", in_words(&links)) });
        cut
    }

    /// Ends one cut.
    pub fn mend(&mut self, cut: CutId) {
        self.net.mend(cut);
        self.trace.event(0, || What::Cured { fault: "cut", text: format!("{cut}:") });
    }

    /// Ends all cuts.
    pub fn mend_all(&mut self) {
        self.net.mend_all();
        self.trace.event(0, || What::Cured { fault: "cut", text: String::new() });
    }

    /// Ends all faults: links are mended, fsyncs return, the frozen wake up, the dead start.
    pub fn heal(&mut self) {
        self.mend_all();
        for id in self.ids() {
            self.recover(id);
        }
        self.scrub_all();
    }

    /// Whether an entry is damaged on any disk, the end of a log is in doubt, or a state is lost.
    pub fn is_damaged(&self) -> bool {
        let is_hurt =
            |disk: &Disk| disk.damaged().next().is_some() || disk.is_in_doubt() || disk.is_stateless();
        self.nodes.iter().any(|node| is_hurt(&node.disk))
    }

    /// A scrub comes by every disk whose node is up.
    pub fn scrub_all(&mut self) {
        self.ids().for_each(|id| self.scrub(id));
    }

    /// Ends what is wrong with a node, its links apart.
    pub fn recover(&mut self, id: NodeId) {
        self.set_room(id, Room::Ample);
        let node = position(id);
        if self.nodes[node].raft.is_none() {
            return self.restart(id);
        }
        self.unhang(id);
        self.resume(id);
        self.tell_all(node);
    }

    /// Takes a node's power. Of its writes that were not synced the first `kept` are on disk, and of the next one its hard
    /// state and `torn - 1` entries; nothing of it with `torn` 0.
    pub fn crash_keeping(&mut self, id: NodeId, kept: usize, torn: usize) {
        assert!(self.node(id).raft.is_some(), "node {id} is down already");
        self.cut_power(position(id), kept, torn);
    }

    /// Takes a node's power: nothing of what was not synced is kept.
    pub fn crash(&mut self, id: NodeId) {
        self.crash_keeping(id, 0, 0);
    }

    /// Starts a node that is down.
    pub fn restart(&mut self, id: NodeId) {
        self.boot(position(id));
    }

    /// Freezes a node: what comes to it waits.
    pub fn pause(&mut self, id: NodeId) {
        let node = &mut self.nodes[position(id)];
        node.is_paused = node.raft.is_some();
        self.trace.event(id.0, || What::Fault { fault: "pause", text: String::new() });
    }

    /// Wakes a node up: its mail comes within moments and in any order, and its deadlines are judged before or after.
    pub fn resume(&mut self, id: NodeId) {
        let at = position(id);
        let node = &mut self.nodes[at];
        if !std::mem::take(&mut node.is_paused) {
            return;
        }
        let (mail, deferred) = (std::mem::take(&mut node.mail), std::mem::take(&mut node.deferred));
        self.trace.event(id.0, || What::Cured { fault: "pause", text: String::new() });
        // Its disk may have been filled, or emptied, by somebody else.
        let room = self.nodes[at].room;
        self.input(at, |raft, now| raft.set_room(now, room));
        let moment = self.moment();
        for (number, envelope) in mail {
            let at = self.now + up_to(&mut self.rng, moment);
            self.queue.push(at, Event::Deliver { number, envelope: Box::new(envelope) });
        }
        for event in deferred.into_iter().filter(|event| !matches!(event, Event::Tick { .. })) {
            self.queue.push(self.now, event);
        }
        let wakes_at = self.now + if self.rng.bool() { 0 } else { moment };
        let node = &mut self.nodes[at];
        node.tick = Some((self.now, wakes_at));
        self.queue.push(wakes_at, Event::Tick { node: at, boot: node.boot });
    }

    /// Within this time a node that wakes up has read its mail.
    pub(super) fn moment(&self) -> Instant {
        self.heartbeat / 20
    }

    /// From now on a node's disk has room for this.
    pub fn set_room(&mut self, id: NodeId, room: Room) {
        let node = position(id);
        if std::mem::replace(&mut self.nodes[node].room, room) == room {
            return;
        }
        self.absorb(&(id, room));
        match room {
            Room::Ample => self.trace.event(id.0, || What::Cured { fault: "full disk", text: String::new() }),
            room => {
                let text = format!("{room:?}");
                self.trace.event(id.0, || What::Fault { fault: "full disk", text });
            }
        }
        if self.nodes[node].is_running() {
            self.steps += 1;
            self.input(node, |raft, now| raft.set_room(now, room));
        }
    }

    /// From now on a node's fsyncs do not return.
    pub fn hang(&mut self, id: NodeId) {
        self.nodes[position(id)].is_hung = true;
        self.trace.event(id.0, || What::Fault { fault: "hung disk", text: String::new() });
    }

    /// A node's fsyncs return again.
    pub fn unhang(&mut self, id: NodeId) {
        let node = position(id);
        if !std::mem::take(&mut self.nodes[node].is_hung) {
            return;
        }
        self.trace.event(id.0, || What::Cured { fault: "hung disk", text: String::new() });
        if std::mem::take(&mut self.nodes[node].is_stalled) {
            self.on_synced(node);
        }
    }

    /// A node's state machine is stored as it is; with `purging`, the log that no member needs any more is forgotten.
    pub fn checkpoint(&mut self, id: NodeId, purging: bool) {
        operations::checkpoint(self, id, purging);
    }

    /// A node's state machine is stored as it is, and its log forgotten but for so many entries before that, whatever
    /// members have.
    pub fn compact(&mut self, id: NodeId, kept: u64) {
        operations::compact(self, id, kept);
    }

    /// A snapshot with this state is on a node's disk, whoever sent it; what its core makes of it decides the message.
    pub fn stage(&mut self, id: NodeId, state: State) {
        self.nodes[position(id)].disk.stage(state);
    }

    /// Has every message that is about to leave looked at.
    pub fn intercept(&mut self, censor: impl FnMut(&Envelope) -> Verdict + 'static) {
        self.censor = Some(Box::new(censor));
    }

    /// Looks at messages no more. What was held back stays so.
    pub fn trust(&mut self) {
        self.censor = None;
    }

    /// What was held back leaves now, in order.
    pub fn release(&mut self) {
        for envelope in std::mem::take(&mut self.held) {
            self.messages += 1;
            self.post(self.messages, envelope);
        }
    }

    /// A message arrives at once at a node that is up, whatever its links are, and whether or not anybody sent it.
    pub fn inject(&mut self, envelope: Envelope) {
        self.messages += 1;
        if self.is_shown {
            self.show_sent(self.messages, &envelope);
        }
        self.take_in(position(envelope.to), self.messages, envelope);
    }

    /// A message of the past comes again.
    pub fn replay(&mut self, envelope: Envelope) {
        self.messages += 1;
        if self.is_shown {
            self.show_sent(self.messages, &envelope);
        }
        self.post(self.messages, envelope);
    }
}

/// What can be asked of a world.
impl World {
    /// Simulated time since the beginning.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// All nodes' ids.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.nodes.len() as u64).map(NodeId)
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[position(id)]
    }

    /// Of the nodes that run and lead, the one with the latest term.
    pub fn leader(&self) -> Option<NodeId> {
        let leading = self.nodes.iter().filter(|node| node.is_running()).filter_map(Node::raft);
        let leading = leading.filter(|raft| raft.role() == RoleName::Leader);
        leading.max_by_key(|raft| raft.term()).and_then(quorate::raft::Raft::leader)
    }

    /// The largest commit index there ever was.
    pub fn committed(&self) -> Index {
        self.committed
    }

    /// The largest term that any message ever bore.
    pub fn term_sent(&self) -> Term {
        self.term_sent
    }

    /// What callers were told.
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// The first violation, if there is one.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// How many inputs the cores took.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The hash of all that happened so far.
    pub fn hash(&self) -> u64 {
        self.trace.hash()
    }

    /// What happened so far, and how often.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        counters.insert("steps", self.steps);
        counters.insert("messages", self.messages);
        counters.insert("reads answered", self.oracle.answered_reads());
        counters
    }

    /// How often each kind of fault fired so far.
    pub fn faults(&self) -> &Counters {
        &self.faults
    }
}

fn in_words(links: &[(NodeId, NodeId)]) -> String {
    links.iter().map(|(from, to)| format!("{from}>{to}")).collect::<Vec<_>>().join(" ")
}
