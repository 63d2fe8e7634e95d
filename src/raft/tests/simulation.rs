//! A randomized simulation of groups of one to seven nodes: messages are lost, repeated, delayed and reordered, links
//! fail one way or both, nodes pause and crash and lose what was not on disk, disks complete late and out of order.
//! After every step the safety properties of Figure 3 are checked; then all faults end, and the group must converge
//! without a new proposal (covers H1-H9, H11-H13, H31, H32, H37, H38).
//!
//! A failure prints its seed; `QUORATE_RAFT_SEED=n` runs that one alone, `QUORATE_RAFT_SEEDS=n` that many.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use super::node::{Node, config, membership};
use crate::raft::{Entry, Envelope, Fetch, ReadId, ReadOutcome, Ready, RoleName};
use crate::types::{Index, Monotonic, NodeId, Term};

/// How often what happens in one run: each seed has its own.
#[derive(Debug)]
struct Faults {
    loss: f64,
    repeat: f64,
    crash: f64,
    partition: f64,
    pause: f64,
    slow_disk: f64,
    purge: f64,
}

#[derive(Debug)]
struct Simulation {
    rng: Rng,
    faults: Faults,
    now: Monotonic,
    nodes: BTreeMap<NodeId, Node>,
    voters: usize,
    network: Vec<Envelope>,
    fetches: Vec<(NodeId, Fetch)>,
    /// Links (from, to) that carry nothing.
    cut: BTreeSet<(NodeId, NodeId)>,
    paused: BTreeSet<NodeId>,
    next_payload: u64,
    next_read: u64,
    /// Per read: who asked, and the largest commit index anywhere when it was asked.
    reads: BTreeMap<ReadId, (NodeId, Index)>,
    answered: usize,
    /// Who was leader in which term.
    leaders: BTreeMap<Term, NodeId>,
    /// Every entry that any node ever stored: its checksum and the term before it (Log Matching).
    entries: BTreeMap<(Index, Term), (u32, Term)>,
    /// The term of every committed entry.
    committed: Vec<Term>,
    /// Each node's watermarks since it started.
    seen: BTreeMap<NodeId, Seen>,
}

/// What must never fall while a node runs.
#[derive(Clone, Copy, Debug)]
struct Seen {
    term: Term,
    commit: Index,
    applied: Index,
    purged: Index,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut rng = Rng::with_seed(seed);
        let voters = [1, 2, 3, 3, 4, 5, 5, 7][rng.usize(..8)];
        let learners = u64::from(rng.u8(..4) == 0);
        let now = Monotonic(1_000_000_000);
        let mut nodes = BTreeMap::new();
        let cache_bytes_max = [0, 200, 100_000][rng.usize(..3)];
        let append_inflight_max = [1, 2, 8][rng.usize(..3)];
        let append_batch_bytes_max = [1, 200, 100_000][rng.usize(..3)];
        let apply_inflight_bytes_max = [1, 200, 100_000][rng.usize(..3)];
        for id in 1..=voters + learners {
            let mut config = config(id);
            config.seed = rng.u64(..);
            config.heartbeat_interval = Duration::from_millis(60);
            config.election_timeout = Duration::from_millis(250);
            config.cache_bytes_max = cache_bytes_max;
            config.append_inflight_max = append_inflight_max;
            config.append_batch_bytes_max = append_batch_bytes_max;
            config.apply_inflight_bytes_max = apply_inflight_bytes_max;
            config.uncommitted_bytes_max = 2_000;
            nodes.insert(NodeId(id), Node::new(config, membership(voters, learners), now));
        }
        let mut some = |max: f64| if rng.bool() { rng.f64() * max } else { 0.0 };
        let faults = Faults {
            loss: some(0.3),
            repeat: some(0.3),
            crash: some(0.02),
            partition: some(0.03),
            pause: some(0.02),
            slow_disk: some(0.9),
            purge: some(0.05),
        };
        Simulation {
            rng,
            faults,
            now,
            nodes,
            voters: usize::try_from(voters).unwrap(),
            network: Vec::new(),
            fetches: Vec::new(),
            cut: BTreeSet::new(),
            paused: BTreeSet::new(),
            next_payload: 0,
            next_read: 0,
            reads: BTreeMap::new(),
            answered: 0,
            leaders: BTreeMap::new(),
            entries: BTreeMap::new(),
            committed: vec![Term(0)],
            seen: BTreeMap::new(),
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.f64() < probability
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(1 + self.rng.u64(..self.nodes.len() as u64))
    }

    fn is_running(&self, id: NodeId) -> bool {
        self.nodes[&id].raft.is_some() && !self.paused.contains(&id)
    }

    /// One random step, faults included.
    fn step(&mut self) {
        let id = self.any_node();
        if self.chance(self.faults.crash) && self.nodes[&id].raft.is_some() {
            let node = self.nodes.get_mut(&id).unwrap();
            let kept = self.rng.usize(..=node.writing.len());
            node.crash(kept);
            self.paused.remove(&id);
            self.fetches.retain(|&(owner, _)| owner != id);
            self.seen.remove(&id);
            self.reads.retain(|_, &mut (owner, _)| owner != id);
        } else if self.nodes[&id].raft.is_none() && self.chance(0.05) {
            self.restart(id);
        }
        let id = self.any_node();
        if self.chance(self.faults.pause) {
            self.paused.insert(id);
        } else if self.chance(0.05) {
            self.paused.remove(&id);
        }
        if self.chance(self.faults.partition) {
            self.partition();
        } else if self.chance(0.01) {
            self.cut.clear();
        }
        if self.chance(self.faults.purge) {
            self.purge();
        }
        if self.chance(0.2) {
            self.propose();
        }
        if self.chance(0.2) {
            self.read();
        }
        if self.chance(0.003) && self.is_running(id) {
            let now = self.now;
            self.nodes.get_mut(&id).unwrap().raft().campaign(now);
        }
        self.advance();
        self.check();
    }

    /// Some links fail: one of them, or all to or from one node, or both.
    fn partition(&mut self) {
        let (from, to) = (self.any_node(), self.any_node());
        let (sends, receives) = (self.rng.bool(), self.rng.bool());
        let others: Vec<NodeId> =
            if self.rng.bool() { vec![to] } else { self.nodes.keys().copied().collect() };
        for other in others {
            if sends || !receives {
                self.cut.insert((from, other));
            }
            if receives || !sends {
                self.cut.insert((other, from));
            }
        }
    }

    /// What happens without faults too: time passes, one message arrives, one disk works.
    fn advance(&mut self) {
        self.now = self.now.plus(Duration::from_micros(self.rng.u64(..20_000)));
        for _ in 0..self.network.len().min(3) {
            let at = self.rng.usize(..self.network.len());
            let envelope = if self.chance(self.faults.repeat) {
                self.network[at].clone()
            } else {
                self.network.swap_remove(at)
            };
            let is_lost = self.chance(self.faults.loss) || self.cut.contains(&(envelope.from, envelope.to));
            if !is_lost && self.is_running(envelope.to) {
                let to = envelope.to;
                self.nodes.get_mut(&to).unwrap().raft().step(self.now, envelope);
                self.drain(to);
            }
        }
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            if self.is_running(id) && !self.chance(self.faults.slow_disk) {
                self.work(id);
            }
        }
    }

    /// The node's disk, its clock, and its answers.
    fn work(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        if !node.writing.is_empty() {
            let count = self.rng.usize(..=node.writing.len());
            let messages = node.persist(count);
            self.network.extend(messages);
        }
        // Completions come in any order, some twice, some never: a later one attests them too.
        self.rng.shuffle(&mut node.completed);
        if let Some(seq) = node.completed.pop() {
            node.raft().persisted(seq);
            if self.rng.u8(..4) == 0 {
                node.raft().persisted(seq);
            }
        }
        if let Some(at) = self.fetches.iter().position(|&(owner, _)| owner == id) {
            let (_, fetch) = self.fetches.remove(at);
            let entries = if self.rng.u8(..4) == 0 { Vec::new() } else { node.disk.fetch(&fetch) };
            node.raft().fetched(fetch, entries);
        }
        if node.raft().next_tick() <= self.now {
            node.raft().tick(self.now);
        }
        self.drain(id);
    }

    fn drain(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        if self.rng.u8(..8) == 0 {
            node.raft().check_invariants();
        }
        if !node.raft().has_ready() {
            if self.rng.u8(..32) > 0 {
                return;
            }
            let ready = node.raft.clone().unwrap().ready();
            assert_eq!(ready, Ready::default(), "something was ready and has_ready denied it");
            return;
        }
        let ready = node.raft().ready();
        assert_ne!(ready, Ready::default(), "nothing was ready and has_ready promised it");
        let mut stored = Vec::new();
        for write in &ready.writes {
            stored.extend(write.entries.iter().cloned());
        }
        node.writing.extend(ready.writes);
        node.apply(&ready.apply);
        self.network.extend(ready.messages);
        self.fetches.extend(ready.fetches.into_iter().map(|fetch| (id, fetch)));
        for entry in stored {
            self.note_entry(id, &entry);
        }
        for (read, outcome) in ready.reads {
            let (owner, floor) = self.reads.remove(&read).expect("an answer to a question");
            assert_eq!(owner, id, "an answer at another node");
            if let ReadOutcome::At(index) = outcome {
                assert!(
                    index >= floor,
                    "stale read: at {index}, but {floor} was committed when it was asked"
                );
                self.answered += 1;
            }
        }
        for change in ready.changes {
            if change.role == RoleName::Leader {
                let other = self.leaders.insert(change.term, id);
                assert!(
                    other.is_none_or(|other| other == id),
                    "Election Safety: two leaders in {}",
                    change.term
                );
                self.check_completeness(id, change.term);
            }
        }
    }

    /// Log Matching (Figure 3): index and term determine the entry, and by induction all before it.
    fn note_entry(&mut self, id: NodeId, entry: &Entry) {
        let before = self.nodes.get_mut(&id).unwrap().raft().term_at(entry.index.prev());
        let Some(before) = before else { return };
        let known = self.entries.entry((entry.index, entry.term)).or_insert((entry.crc, before));
        assert_eq!(*known, (entry.crc, before), "Log Matching at {}", entry.index);
    }

    /// Leader Completeness (Figure 3): what was committed is in every later leader's log.
    fn check_completeness(&mut self, id: NodeId, term: Term) {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.raft().term() != term {
            return;
        }
        for index in node.raft().purged().0.0..self.committed.len() as u64 {
            let known = node.raft().term_at(Index(index));
            assert_eq!(
                known,
                Some(self.committed[usize::try_from(index).unwrap()]),
                "Leader Completeness at {index}"
            );
        }
    }

    fn top(&self) -> Index {
        Index(self.committed.len() as u64 - 1)
    }

    /// What must hold between any two steps.
    fn check(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            let Some(raft) = &self.nodes[&id].raft else { continue };
            let commit = raft.commit();
            let seen =
                Seen { term: raft.term(), commit, applied: raft.applied_index(), purged: raft.purged().0 };
            assert!(
                seen.purged <= seen.applied && seen.applied <= commit.min(raft.persisted_index()),
                "{seen:?}"
            );
            assert!(raft.persisted_index().max(commit) <= raft.last_index(), "{seen:?}");
            if let Some(before) = self.seen.insert(id, seen) {
                let fell =
                    seen.term < before.term || seen.commit < before.commit || seen.applied < before.applied;
                assert!(
                    !fell && seen.purged >= before.purged,
                    "{id}: a watermark fell from {before:?} to {seen:?}"
                );
            }
            // A committed entry never changes, and is the same everywhere (State Machine Safety).
            let from = raft.purged().0.0;
            for index in from.max(commit.0.saturating_sub(3))..=commit.0.min(self.top().0) {
                let expected = self.committed[usize::try_from(index).unwrap()];
                assert_eq!(raft.term_at(Index(index)), Some(expected), "{id}: committed {index} changed");
            }
            if commit > self.top() {
                self.check_durable(commit, raft.term_at(commit).expect("committed and not purged"));
            }
            for index in self.top().0 + 1..=commit.0 {
                let term = raft.term_at(Index(index)).expect("committed and not purged");
                self.committed.push(term);
            }
        }
    }

    /// Whatever is committed is on the disks of a majority.
    fn check_durable(&self, index: Index, term: Term) {
        let voters = self.nodes.values().take(self.voters);
        let stored = voters.filter(|node| {
            node.disk.purged.0 >= index || node.disk.get(index).is_some_and(|entry| entry.term == term)
        });
        assert!(stored.count() > self.voters / 2, "{index} is committed and not on a majority of disks");
    }

    fn propose(&mut self) {
        let id = self.any_node();
        if !self.is_running(id) {
            return;
        }
        let batch = (0..self.rng.usize(1..4)).map(|_| {
            self.next_payload += 1;
            Bytes::from(self.next_payload.to_string())
        });
        let batch: Vec<Bytes> = batch.collect();
        let now = self.now;
        let raft = self.nodes.get_mut(&id).unwrap().raft();
        let mut record = raft.membership().members[&id].clone();
        record.version = self.next_payload.to_string();
        if self.rng.u8(..16) == 0 {
            let _ = raft.publish(now, record);
        } else {
            let _ = raft.propose(now, batch);
        }
        if self.rng.bool() {
            self.drain(id);
        }
    }

    fn read(&mut self) {
        let id = self.any_node();
        if !self.is_running(id) {
            return;
        }
        self.next_read += 1;
        let read = ReadId(self.next_read);
        let floor = self.nodes.values().filter_map(|node| node.raft.as_ref()).map(|raft| raft.commit()).max();
        self.reads.insert(read, (id, floor.unwrap()));
        let now = self.now;
        self.nodes.get_mut(&id).unwrap().raft().read(now, read);
    }

    fn restart(&mut self, id: NodeId) {
        let tail = self.rng.usize(..10);
        let now = self.now;
        self.nodes.get_mut(&id).unwrap().restart(now, tail);
    }

    /// A checkpoint of the state machine, and the log up to it forgotten where every member has it.
    fn purge(&mut self) {
        let id = self.any_node();
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(floor) = node.raft.as_ref().map(|raft| raft.stored_by_all()) else { return };
        node.disk.folded = node.disk.folded.max(node.applied);
        let to = floor.min(node.disk.folded);
        node.disk.purge_to(to);
        node.raft().purge_to(to);
    }

    /// All faults end; then everything must come to rest, without a new proposal.
    fn converge(&mut self) {
        self.faults = Faults {
            loss: 0.0,
            repeat: 0.0,
            crash: 0.0,
            partition: 0.0,
            pause: 0.0,
            slow_disk: 0.0,
            purge: 0.0,
        };
        self.cut.clear();
        self.paused.clear();
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            if self.nodes[&id].raft.is_none() {
                self.restart(id);
            }
        }
        for _ in 0..4_000 {
            self.now = self.now.plus(Duration::from_millis(5));
            for envelope in std::mem::take(&mut self.network) {
                let to = envelope.to;
                self.nodes.get_mut(&to).unwrap().raft().step(self.now, envelope);
                self.drain(to);
            }
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.work(id);
            }
            self.check();
            if self.is_at_rest() {
                return;
            }
        }
        let states: Vec<_> = self.nodes.values().map(|node| node.raft.as_ref().unwrap()).collect();
        panic!("no convergence: {states:#?}");
    }

    fn is_at_rest(&mut self) -> bool {
        let leads = |node: &Node| node.raft.as_ref().is_some_and(|raft| raft.role() == RoleName::Leader);
        let Some(leader) = self.nodes.values().find(|node| leads(node)) else { return false };
        let raft = leader.raft.as_ref().unwrap();
        let (term, last) = (raft.term(), raft.last_index());
        raft.stored_by_all() == last
            && self.nodes.values().all(|node| {
                let raft = node.raft.as_ref().unwrap();
                raft.term() == term
                    && raft.last_index() == last
                    && raft.commit() == last
                    && node.applied == last
            })
    }
}

fn run(seed: u64) -> (usize, Index, usize) {
    let mut simulation = Simulation::new(seed);
    for _ in 0..1_200 {
        simulation.step();
    }
    simulation.converge();
    (simulation.leaders.len(), simulation.top(), simulation.answered)
}

#[test]
fn random_faults_break_no_promise() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("QUORATE_RAFT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("QUORATE_RAFT_SEEDS").unwrap_or(300),
    };
    let (mut leaders, mut entries, mut reads) = (0, 0, 0);
    for seed in seeds.clone() {
        let result = std::panic::catch_unwind(|| run(seed));
        let (elected, top, answered) =
            result.unwrap_or_else(|_| panic!("failed with QUORATE_RAFT_SEED={seed}"));
        leaders += elected;
        entries += top.0;
        reads += answered;
    }
    // A simulation in which nothing happens finds nothing.
    let count = seeds.end - seeds.start;
    assert!(
        count < 100 || (leaders as u64 > count * 3 / 2 && entries > count * 20 && reads as u64 > count * 10),
        "{count} seeds saw only {leaders} elections, {entries} committed entries, {reads} reads"
    );
}
