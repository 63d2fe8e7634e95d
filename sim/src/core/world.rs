//! The world: nodes, links and disks, and the one queue of what happens between them.
//!
//! A world does nothing by itself but let time pass: who proposes, reads, cuts and crashes is decided outside, by a
//! [`Story`](super::story) drawn from a seed or by a test that says it line by line (see [`script`](super::script)).
//!
//! Every choice is drawn from the seed, and the trace hash covers every delivery, tick, disk effect, role change and
//! answer: two runs with the same hash did the same.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::io;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use quorate::raft::{Config, Envelope, Membership, Message, Role, RoleChange};
use quorate::types::{Incarnation, Index, NodeId, Term};

use super::clock::{Instant, span};
use super::group::Configurations;
use super::net::Net;
use super::node::Node;
use super::oracle::Oracle;
use super::queue::{Event, Queue};
use super::transfer::Transfer;
use super::weather::{Weather, chance, up_to};
use crate::invariants::{Disks, Invariants};
use crate::run::Counters;
use crate::trace::event::What;
use crate::trace::{SharedTrace, Trace, message};
use crate::{Violation, seed};

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where every choice comes from.
    pub seed: u64,
    /// How many nodes vote; their ids begin at 1.
    pub voters: u64,
    /// How many more nodes only learn.
    pub learners: u64,
    /// Times and limits, the same for all nodes; ids, seeds and boots are filled in.
    pub config: Config,
    /// The lease of the group's configuration, 0 for none.
    pub lease_ms: u32,
    /// The rate of each node's clock in parts of a million; a million for those that are not named.
    pub rates: Vec<u64>,
    /// How likely a log is compacted, without regard to what members have, when it is an operation's turn to do so.
    pub compaction: f64,
}

impl Setup {
    /// A group of so many voters with the times and limits of every day.
    pub fn new(seed: u64, voters: u64) -> Setup {
        let config = Config {
            id: NodeId(1),
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1_000),
            disk_stall_timeout: Duration::from_millis(3_000),
            evidence_delay_max: Duration::from_millis(50),
            append_batch_bytes_max: 1 << 20,
            append_inflight_max: 8,
            append_inflight_bytes_max: 8 << 20,
            uncommitted_bytes_max: 16 << 20,
            cache_bytes_max: 1 << 20,
            apply_inflight_bytes_max: 1 << 20,
            reads_waiting_max: 1_000,
            seed,
            incarnation: Incarnation(1),
            boot: 1,
        };
        Setup { seed, voters, learners: 0, config, lease_ms: 0, rates: Vec::new(), compaction: 0.0 }
    }
}

/// What becomes of a message that is about to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves.
    Pass,
    /// It is lost.
    Drop,
    /// It waits for [`World::release`].
    Hold,
    /// It leaves, and a copy of it waits for [`World::release`].
    Copy,
}

/// Looks at every message that is about to leave.
type Censor = Box<dyn FnMut(&Envelope) -> Verdict>;

/// A group under simulation: its nodes, links and disks, and the queue of what happens between them.
pub struct World {
    pub(super) now: Instant,
    pub(super) queue: Queue,
    pub(super) nodes: Vec<Node>,
    /// In which term each node last asked another one to lead: it has no lease in that term any more.
    pub(super) handed_over: BTreeMap<NodeId, Term>,
    /// The configurations that are committed.
    pub(super) configurations: Configurations,
    pub(super) net: Net,
    /// How everything behaves just now.
    pub weather: Weather,
    pub(super) heartbeat: Instant,
    pub(super) election: Instant,
    pub(super) rng: Rng,
    pub(super) invariants: Invariants,
    pub(super) oracle: Oracle,
    pub(super) trace: SharedTrace,
    /// Somebody looks at the trace, not only at its hash.
    pub(super) is_shown: bool,
    pub(super) counters: Counters,
    pub(super) faults: Counters,
    pub(super) violation: Option<Violation>,
    /// Changes of role since somebody last looked.
    pub(super) changes: Vec<(NodeId, RoleChange)>,
    /// Since somebody last looked: leaders that appended a configuration, nodes that all of a snapshot has come to.
    pub(super) notable: Vec<NodeId>,
    /// The largest commit index there ever was.
    pub(super) committed: Index,
    /// The largest term that any message ever bore.
    pub(super) term_sent: Term,
    /// Until when messages that left so far will be under way.
    pub(super) sent_until: Instant,
    pub(super) leaders: Leaders,
    pub(super) censor: Option<Censor>,
    pub(super) held: Vec<Envelope>,
    /// How likely a log is compacted when it is an operation's turn to do so.
    pub(super) compaction: f64,
    /// Some transfers of snapshots, which may come again.
    pub(super) kept_transfers: Vec<Transfer>,
    pub(super) messages: u64,
    pub(super) steps: u64,
}

/// Who led.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    /// The last term that had a leader.
    pub(super) term: Term,
    /// How many proposals were acknowledged when it was elected.
    pub(super) acknowledged: u64,
}

thread_local! {
    /// The simulated time of the world that does something just now on this thread, for the trace.
    static NOW: Cell<Instant> = const { Cell::new(0) };
}

impl World {
    /// A group of so many voters, all of them up, in fair weather.
    pub fn new(seed: u64, nodes: u64) -> World {
        World::with(Setup::new(seed, nodes), None).expect("no file to fail")
    }

    /// A world made to measure, that writes its trace to a file if it is to.
    pub fn with(setup: Setup, trace: Option<&Path>) -> io::Result<World> {
        let Setup { seed, voters, learners, config, lease_ms, rates, compaction } = setup;
        assert!((1..=7).contains(&voters) && learners <= 3, "{voters} voters and {learners} learners");
        let trace_of_run = Trace::new(|| Duration::from_nanos(NOW.get()), trace)?;
        let heartbeat = span(config.heartbeat_interval);
        let mut membership = membership(voters, learners);
        membership.lease_ms = lease_ms;
        let nodes: Vec<Node> = (1..=voters + learners)
            .map(|id| {
                let mut config = config.clone();
                config.id = NodeId(id);
                config.incarnation = Incarnation(id);
                let position = usize::try_from(id - 1).expect("few nodes");
                Node::new(config, membership.clone(), rates.get(position).copied().unwrap_or(1_000_000))
            })
            .collect();
        let mut world = World {
            now: 0,
            queue: Queue::default(),
            nodes,
            handed_over: BTreeMap::new(),
            configurations: Configurations::new(membership),
            net: Net::default(),
            weather: Weather::calm(heartbeat),
            heartbeat,
            election: span(config.election_timeout),
            rng: seed::generator(seed, "world", 0),
            invariants: Invariants::all(),
            oracle: Oracle::default(),
            trace: trace_of_run,
            is_shown: trace.is_some(),
            counters: BTreeMap::new(),
            faults: BTreeMap::new(),
            violation: None,
            changes: Vec::new(),
            notable: Vec::new(),
            committed: Index(0),
            term_sent: Term(0),
            sent_until: 0,
            leaders: Leaders::default(),
            censor: None,
            held: Vec::new(),
            compaction,
            kept_transfers: Vec::new(),
            messages: 0,
            steps: 0,
        };
        for node in 0..world.nodes.len() {
            world.boot(node);
        }
        Ok(world)
    }

    /// Lets the next thing happen; false if nothing will ever happen, or a violation was found.
    pub fn step(&mut self) -> bool {
        if self.violation.is_some() {
            return false;
        }
        let Some((at, event)) = self.queue.pop() else { return false };
        self.set_now(at);
        self.handle(event);
        true
    }

    pub(super) fn set_now(&mut self, at: Instant) {
        self.now = self.now.max(at);
        NOW.set(self.now);
    }

    fn handle(&mut self, event: Event) {
        if let Event::Deliver { number, envelope } = event {
            return self.deliver(number, *envelope);
        }
        if let Event::Chunk { transfer } = event {
            return self.on_chunk(*transfer);
        }
        let (Event::Tick { node, boot }
        | Event::Synced { node, boot }
        | Event::Tell { node, boot, .. }
        | Event::Fetched { node, boot, .. }
        | Event::Applied { node, boot, .. }
        | Event::Open { node, boot, .. }
        | Event::Reported { node, boot, .. }
        | Event::Collect { node, boot }) = event
        else {
            return;
        };
        let target = &mut self.nodes[node];
        if target.boot != boot || target.raft.is_none() {
            return; // of a life that is over
        }
        if target.is_paused {
            return target.deferred.push(event);
        }
        match event {
            Event::Tick { .. } => self.on_tick(node),
            Event::Synced { .. } => self.on_synced(node),
            Event::Tell { seq, .. } => self.on_tell(node, seq),
            Event::Fetched { fetch, .. } => self.on_fetched(node, fetch),
            Event::Applied { last, .. } => self.on_applied(node, last),
            Event::Collect { .. } => {
                self.nodes[node].is_collected_later = false;
                self.collect(node);
            }
            Event::Open { wanted, .. } => self.on_open(node, wanted),
            Event::Reported { number, wanted, ok, .. } => self.on_reported(node, number, wanted, ok),
            Event::Deliver { .. } | Event::Chunk { .. } => {}
        }
    }

    /// A message leaves.
    pub(super) fn send(&mut self, envelope: Envelope) {
        self.term_sent = self.term_sent.max(envelope.term);
        if envelope.message == Message::TimeoutNow {
            self.handed_over.insert(envelope.from, envelope.term);
        }
        let disks = AllDisks { nodes: &self.nodes, configurations: &self.configurations };
        let judged = self.invariants.sent(&envelope, Some(&disks));
        self.judge(judged);
        self.messages += 1;
        let number = self.messages;
        if self.is_shown {
            self.show_sent(number, &envelope);
        }
        let verdict = self.censor.as_mut().map_or(Verdict::Pass, |censor| censor(&envelope));
        match verdict {
            Verdict::Pass => {}
            Verdict::Drop => return self.lose(number, &envelope, "loss"),
            Verdict::Hold => return self.held.push(envelope),
            Verdict::Copy => self.held.push(envelope.clone()),
        }
        if !self.net.is_open(envelope.from, envelope.to) {
            return self.lose(number, &envelope, "cut");
        }
        if chance(&mut self.rng, self.weather.loss) {
            self.fired("loss");
            return self.lose(number, &envelope, "loss");
        }
        if chance(&mut self.rng, 1.0 / 16.0) {
            self.net.keep(&mut self.rng, &envelope);
        }
        if chance(&mut self.rng, self.weather.duplicate) {
            self.fired("duplicate");
            self.post(number, envelope.clone());
        }
        self.post(number, envelope);
    }

    /// A message is under way.
    pub(super) fn post(&mut self, number: u64, envelope: Envelope) {
        let mut at = self.now + self.weather.delay_min + up_to(&mut self.rng, self.weather.delay_spread);
        if chance(&mut self.rng, self.weather.straggle) {
            self.fired("straggler");
            at += up_to(&mut self.rng, self.weather.straggle_max);
        }
        self.sent_until = self.sent_until.max(at);
        self.queue.push(at, Event::Deliver { number, envelope: Box::new(envelope) });
    }

    fn deliver(&mut self, number: u64, envelope: Envelope) {
        let to = position(envelope.to);
        if !self.net.is_open(envelope.from, envelope.to) {
            return self.lose(number, &envelope, "cut");
        }
        let target = &mut self.nodes[to];
        if target.raft.is_none() {
            return self.lose(number, &envelope, "down");
        }
        if target.is_paused {
            return target.mail.push((number, envelope));
        }
        self.take_in(to, number, envelope);
    }

    pub(super) fn lose(&mut self, number: u64, envelope: &Envelope, why: &'static str) {
        self.count("messages lost");
        let from = envelope.from.0;
        self.trace.event(from, || What::Lost { message: number, why });
    }

    /// Takes something into the trace's hash.
    pub(super) fn absorb(&self, what: &impl Hash) {
        self.trace.absorb(what);
    }

    /// A fault fired.
    pub(super) fn fired(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counters.entry(what).or_default() += 1;
    }

    /// Keeps the first violation.
    pub(super) fn judge(&mut self, judged: Result<(), Violation>) {
        if let Err(violation) = judged
            && self.violation.is_none()
        {
            self.trace.event(0, || What::Violation { text: violation.clone() });
            self.violation = Some(violation);
        }
    }

    /// Looks at what is on the disks.
    pub(super) fn audit(&mut self) {
        let disks = AllDisks { nodes: &self.nodes, configurations: &self.configurations };
        let judged = self.invariants.audit(&disks);
        self.judge(judged);
    }

    pub(super) fn show_sent(&mut self, number: u64, envelope: &Envelope) {
        self.trace.event(envelope.from.0, || message::sent(number, envelope));
    }
}

/// Where a node stands among the nodes.
pub(super) fn position(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).expect("a small id")
}

/// The disks of all nodes, for the invariants.
pub(super) struct AllDisks<'a> {
    pub(super) nodes: &'a [Node],
    pub(super) configurations: &'a Configurations,
}

impl Disks for AllDisks<'_> {
    fn majorities_at(&self, index: Index) -> Vec<Vec<NodeId>> {
        self.configurations.majorities_at(index)
    }

    fn holds(&self, node: NodeId, index: Index, term: Term) -> bool {
        self.nodes[position(node)].disk.holds(index, term)
    }

    fn reaches(&self, node: NodeId, index: Index) -> bool {
        self.nodes[position(node)].disk.last().0 >= index
    }

    fn ballot(&self, node: NodeId) -> Option<(Term, Option<NodeId>)> {
        let stored = self.nodes[position(node)].disk.hard_state();
        Some((stored.term, stored.vote))
    }
}

/// A group of voters and then learners, ids ascending from 1.
fn membership(voters: u64, learners: u64) -> Membership {
    let peers = (1..=voters + learners).map(|id| (NodeId(id), format!("node{id}:7000")));
    let mut membership = Membership::bootstrap(peers);
    for (id, member) in &mut membership.members {
        if id.0 > voters {
            member.role = Role::Learner;
        }
    }
    membership
}
