//! One node of the model: the shipped core, its disk, and the writes that are under way between them.
//!
//! What a node does is a function of the node and of the one thing that happens to it: [`Node::after`]. It is atomic,
//! and collects all work of the core, as a driver does that is not interrupted. The answers of the state machine come
//! at once; those of the disk may wait.
//!
//! # The disk
//!
//! A write is under way until [`Input::Persist`], in order; its messages leave then. A crash loses all that are under
//! way: a crash with some of them on disk is a `Persist` before it, whose messages are lost.
//!
//! Where nothing left the node at once, a write under way cannot be told from a message that has not arrived: then it
//! completes in the same step, unless the step says [`Pace::Slow`]. Where something did leave at once (a leader's
//! appends, which run beside its own disk; whatever a mutant sends too early), it always waits for its `Persist`.
//!
//! # Time
//!
//! The core compares as equal whatever its deadlines are, so nothing here may depend on them. Each node has a clock
//! that only moves when the model wants something to fall due, and every rule that a deadline triggers is an input of
//! its own: [`Input::Campaign`], [`Input::Heartbeat`], [`Input::StepDown`]. A candidate is always listened to, as if no
//! leader had been heard for long: to ignore it is the same as never to receive its message. So everything can
//! happen at any time, which is more than any real clock allows.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate::raft::{
    Config, Entry, Envelope, HardState, Membership, Message, Raft, ReadId, ReadOutcome, Ready, Restored,
    RoleName, Write,
};
use quorate::types::{Incarnation, Index, Monotonic, NodeId, Term};

use super::network::Packet;

/// A leader's heartbeats. Only its ratio to the election timeout matters: see [`Node::step_down`].
const HEARTBEAT: Duration = Duration::from_secs(1);

/// So long that no number of heartbeats makes it fall due.
const ELECTION: Duration = Duration::from_secs(100_000);

/// What is on disk: what survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    /// Term, vote and the hint of the commit index.
    pub hard_state: HardState,
    /// The log from index 1 on.
    pub entries: Vec<Entry>,
}

impl Disk {
    fn store(&mut self, write: &Write) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        replace_tail(&mut self.entries, &write.entries);
    }

    /// Whether an entry is on it.
    pub fn holds(&self, entry: &Entry) -> bool {
        at(&self.entries, entry.index) == Some(entry)
    }

    fn restored(&self, membership: &Membership) -> Restored {
        let mut terms: Vec<(Index, Term)> = Vec::new();
        for entry in &self.entries {
            if terms.last().is_none_or(|&(_, term)| term != entry.term) {
                terms.push((entry.index, entry.term));
            }
        }
        Restored {
            hard_state: self.hard_state,
            terms,
            last: self.entries.last().map_or(Index(0), |entry| entry.index),
            tail: self.entries.clone(),
            ..Restored::bootstrap(membership.clone())
        }
    }
}

/// The entry at an index of a log that begins at 1.
pub fn at(log: &[Entry], index: Index) -> Option<&Entry> {
    log.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
}

/// Whatever the log has at the first new entry's index or beyond gives way to the new ones.
fn replace_tail(log: &mut Vec<Entry>, entries: &[Entry]) {
    if let Some(first) = entries.first() {
        log.retain(|entry| entry.index < first.index);
        log.extend(entries.iter().cloned());
    }
}

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input<'a> {
    /// It heard no leader for too long, or was asked to campaign.
    Campaign,
    /// A message arrives.
    Deliver(&'a Envelope),
    /// A client proposes this command.
    Propose(u8),
    /// A client asks for an index at which it may read.
    Read(ReadId),
    /// The oldest write under way is on disk.
    Persist,
    /// As a leader it makes itself heard.
    Heartbeat,
    /// As a leader it hears nobody for so long that it steps down; what it sent meanwhile was lost.
    StepDown,
    /// It loses what is not on disk, and starts again.
    Crash,
}

/// Whether a write may be seen to be under way where nothing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pace {
    /// It completes in the same step.
    Prompt,
    /// It completes in a step of its own, so that other things can happen before.
    Slow,
}

/// What an input did.
#[derive(Clone, Debug)]
pub struct Effect {
    /// The node afterwards.
    pub node: Arc<Node>,
    /// What left it.
    pub sent: Vec<Packet>,
    /// What it applied.
    pub applied: Vec<Entry>,
    /// Reads that got their index, or not.
    pub reads: Vec<(ReadId, ReadOutcome)>,
    /// A write completed that could also have been under way for a while.
    pub was_prompt: bool,
    /// An assertion of the core failed.
    pub panic: Option<String>,
}

/// See the [module](self). Its clock is no part of what it is compared by.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name in the group.
    pub id: NodeId,
    /// The shipped core.
    pub raft: Raft,
    /// Its disk.
    pub disk: Arc<Disk>,
    /// What is on its way there, oldest first.
    pub underway: VecDeque<Write>,
    /// How often it crashed.
    pub crashes: u8,
    /// The log in memory: what is on disk, and over it what is under way.
    pub log: Vec<Entry>,
    membership: Arc<Membership>,
    now: Monotonic,
    digest: u64,
}

impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.digest == other.digest
            && self.crashes == other.crashes
            && self.raft == other.raft
            && self.disk == other.disk
            && self.essence().eq(other.essence())
    }
}

impl Eq for Node {}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest);
    }
}

impl Node {
    /// A node of a new group, with an empty disk.
    pub fn new(id: NodeId, membership: Arc<Membership>) -> Node {
        let raft = Raft::new(config(id), Restored::bootstrap((*membership).clone()), Monotonic(0));
        let mut node = Node {
            id,
            raft,
            disk: Arc::default(),
            underway: VecDeque::new(),
            crashes: 0,
            log: Vec::new(),
            membership,
            now: Monotonic(0),
            digest: 0,
        };
        node.seal();
        node
    }

    /// The hash of all that it is compared by.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The term that no crash takes back.
    pub fn durable_term(&self) -> Term {
        self.disk.hard_state.term
    }

    /// What becomes of it when this happens.
    pub fn after(&self, input: Input<'_>, pace: Pace) -> Effect {
        let mut step = Step { node: self.clone(), sent: Vec::new(), applied: Vec::new(), reads: Vec::new() };
        // An assertion that fails stops a real node. Here it is a find, and the path to it is wanted.
        match catch_unwind(AssertUnwindSafe(|| step.run(input, pace))) {
            Ok(was_prompt) => {
                step.node.seal();
                let Step { node, sent, applied, reads } = step;
                Effect { node: Arc::new(node), sent, applied, reads, was_prompt, panic: None }
            }
            Err(cause) => Effect {
                node: Arc::new(self.clone()),
                sent: Vec::new(),
                applied: Vec::new(),
                reads: Vec::new(),
                was_prompt: false,
                panic: Some(words(&*cause)),
            },
        }
    }

    /// Fixes what is derived from the rest.
    fn seal(&mut self) {
        self.log.clone_from(&self.disk.entries);
        for write in &self.underway {
            replace_tail(&mut self.log, &write.entries);
        }
        let mut hasher = DefaultHasher::new();
        (&self.raft, &self.disk, self.underway.len(), self.crashes).hash(&mut hasher);
        self.essence().for_each(|write| write.hash(&mut hasher));
        self.digest = hasher.finish();
    }

    /// What is under way, without the numbers of the writes: they are names.
    fn essence(&self) -> impl Iterator<Item = (Option<HardState>, &[Entry], &[Envelope])> {
        self.underway.iter().map(|write| (write.hard_state, &*write.entries, &*write.messages))
    }

    fn pass(&mut self, duration: Duration) -> Monotonic {
        self.now = self.now.plus(duration);
        self.now
    }

    fn receive(&mut self, envelope: &Envelope) {
        let asks = matches!(envelope.message, Message::PreVote { .. } | Message::Vote { .. });
        if asks && self.raft.role() != RoleName::Leader {
            self.pass(ELECTION * 2);
        }
        self.raft.step(self.now, envelope.clone());
    }

    /// A tick exactly when the heartbeat is due: the clock stands where the last one was, or where the term began.
    fn heartbeat(&mut self) {
        let now = self.pass(HEARTBEAT);
        self.raft.tick(now);
    }

    /// Ticks that come late. The core forgives the first (a node that slept reads its mail first); the second forgets
    /// who was heard, the third finds that nobody was. The tick in time before them makes the core forgive again,
    /// whatever came before.
    fn step_down(&mut self) {
        self.heartbeat();
        for _ in 0..3 {
            let now = self.pass(ELECTION * 2);
            self.raft.tick(now);
        }
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.underway.clear();
        let config = Config { boot: u64::from(self.crashes), ..config(self.id) };
        self.raft = Raft::new(config, self.disk.restored(&self.membership), self.now);
    }
}

/// A step that is being made.
struct Step {
    node: Node,
    sent: Vec<Packet>,
    applied: Vec<Entry>,
    reads: Vec<(ReadId, ReadOutcome)>,
}

impl Step {
    /// Returns whether a write completed that need not have.
    fn run(&mut self, input: Input<'_>, pace: Pace) -> bool {
        let was_idle = self.node.underway.is_empty();
        let (node, mut may_hasten) = (&mut self.node, was_idle);
        match input {
            Input::Campaign => node.raft.campaign(node.now),
            Input::Deliver(envelope) => node.receive(envelope),
            Input::Propose(command) => {
                // Whoever does not lead refuses: nothing happens.
                let _ = node.raft.propose(node.now, vec![Bytes::copy_from_slice(&[command])]);
            }
            Input::Read(id) => node.raft.read(node.now, id),
            Input::Persist => {
                self.complete();
                // A write with nothing to store was only waiting for this one.
                while self.node.underway.front().is_some_and(Write::is_empty) {
                    self.complete();
                }
                may_hasten = self.node.underway.is_empty();
            }
            Input::Heartbeat => node.heartbeat(),
            Input::StepDown => node.step_down(),
            Input::Crash => node.crash(),
        }
        may_hasten &= !self.collect();
        if input == Input::StepDown {
            self.sent.clear();
        }
        let mut was_prompt = false;
        while may_hasten && pace == Pace::Prompt && !self.node.underway.is_empty() {
            was_prompt = true;
            self.complete();
            may_hasten = !self.collect();
        }
        self.node.raft.check_invariants();
        was_prompt
    }

    /// The oldest write is on disk.
    fn complete(&mut self) {
        let Some(write) = self.node.underway.pop_front() else { return };
        Arc::make_mut(&mut self.node.disk).store(&write);
        self.sent.extend(write.messages.into_iter().map(Packet::new));
        self.node.raft.persisted(write.seq);
    }

    /// Collects all that the core wants done. Returns whether something left the node that does not wait for the disk
    /// while something is on its way there.
    fn collect(&mut self) -> bool {
        let before = self.sent.len();
        while self.node.raft.has_ready() {
            let Ready { messages, writes, fetches, apply, snapshots, reads, changes: _ } =
                self.node.raft.ready();
            assert_eq!(snapshots, [], "nothing is ever purged");
            self.sent.extend(messages.into_iter().map(Packet::new));
            self.node.underway.extend(writes);
            for fetch in fetches {
                let wanted = fetch.first..=fetch.last;
                let entries = self.node.disk.entries.iter().filter(|entry| wanted.contains(&entry.index));
                self.node.raft.fetched(fetch, entries.cloned().collect());
            }
            if let Some(last) = apply.last() {
                self.node.raft.applied(last.index);
            }
            self.applied.extend(apply);
            self.reads.extend(reads);
        }
        self.sent.len() > before && !self.node.underway.is_empty()
    }
}

fn config(id: NodeId) -> Config {
    Config {
        id,
        heartbeat_interval: HEARTBEAT,
        election_timeout: ELECTION,
        // No write takes this long: disks do not hang here.
        disk_stall_timeout: ELECTION * 10_000,
        evidence_delay_max: HEARTBEAT,
        append_batch_bytes_max: 1 << 20,
        append_inflight_max: 2,
        append_inflight_bytes_max: 1 << 20,
        uncommitted_bytes_max: 1 << 20,
        cache_bytes_max: 1 << 20,
        apply_inflight_bytes_max: 1 << 20,
        reads_waiting_max: 16,
        seed: 0,
        incarnation: Incarnation(id.0),
        boot: 0,
    }
}

fn words(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}
