//! A node: a core, its disk, its clock, its state machine, and what a driver keeps between them.

use std::collections::{BTreeMap, VecDeque};

use quorate::raft::{Config, Entry, Envelope, Lease, Membership, Raft, Room, Write, WriteSeq};
use quorate::types::{Index, NodeId};

use super::clock::{Clock, Instant};
use super::disk::Disk;
use super::queue::Event;
use super::transfer::State;

/// One node: its core while it runs, its disk for ever.
#[derive(Debug)]
pub struct Node {
    pub(super) id: NodeId,
    pub(super) config: Config,
    pub(super) clock: Clock,
    /// The clock's rate, in parts of a million.
    pub(super) rate: u64,
    pub(super) disk: Disk,
    /// `None` while it is down.
    pub(super) raft: Option<Raft>,
    /// How often it was started.
    pub(super) boot: u64,
    /// Handed out and not on disk yet.
    pub(super) writing: VecDeque<Write>,
    /// How many of `writing` the fsync under way covers.
    pub(super) syncing: Option<usize>,
    /// Fsyncs do not return.
    pub(super) is_hung: bool,
    /// An fsync would have returned.
    pub(super) is_stalled: bool,
    /// What its disk has room for.
    pub(super) room: Room,
    /// The last write on disk, and the last of which the core was told or is about to be.
    pub(super) synced: WriteSeq,
    pub(super) told: WriteSeq,
    /// Snapshots that are on disk in place of the log, and of which the core was not told yet.
    pub(super) installs: VecDeque<(WriteSeq, State)>,
    /// What the state machine is to take, oldest first.
    pub(super) applying: VecDeque<Work>,
    /// When it will have taken the last of them: one after the other.
    pub(super) applied_at: Instant,
    /// The state machine.
    pub(super) state: State,
    /// It takes no entries: its state is lost, and another one has not taken its place.
    pub(super) takes_nothing: bool,
    /// The log after these positions is kept for snapshots on their way, by their numbers.
    pub(super) pins: BTreeMap<u64, Index>,
    /// The lease that its driver has published.
    pub(super) lease: Option<Lease>,
    /// It gets no processor: what comes waits.
    pub(super) is_paused: bool,
    pub(super) mail: Vec<(u64, Envelope)>,
    pub(super) deferred: Vec<Event>,
    /// The deadline that the next `Tick` event is for, and when that will come.
    pub(super) tick: Option<(Instant, Instant)>,
    /// A `Collect` event will come.
    pub(super) is_collected_later: bool,
    /// The state that the trace has shown last.
    pub(super) shown: Option<Shown>,
}

/// What a state machine takes.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Entries.
    Apply(Vec<Entry>),
    /// A snapshot, in place of all that it has.
    Install(State),
    /// The state is lost.
    GiveUp,
    /// An empty one takes its place.
    Begin,
}

/// What a trace shows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) role: &'static str,
    pub(super) term: u64,
    pub(super) leader: Option<u64>,
    pub(super) last: u64,
    pub(super) persisted: u64,
    pub(super) commit: u64,
    pub(super) applied: u64,
}

impl Node {
    /// A member of a new group, not started yet.
    pub(super) fn new(config: Config, membership: Membership, rate: u64) -> Node {
        Node {
            id: config.id,
            clock: Clock::new(0, quorate::types::Monotonic(0), rate),
            config,
            rate,
            disk: Disk::new(membership),
            raft: None,
            boot: 0,
            writing: VecDeque::new(),
            syncing: None,
            is_hung: false,
            is_stalled: false,
            room: Room::Ample,
            synced: WriteSeq(0),
            told: WriteSeq(0),
            installs: VecDeque::new(),
            applying: VecDeque::new(),
            applied_at: 0,
            state: State::default(),
            takes_nothing: false,
            pins: BTreeMap::new(),
            lease: None,
            is_paused: false,
            mail: Vec::new(),
            deferred: Vec::new(),
            tick: None,
            is_collected_later: false,
            shown: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Its core; `None` while it is down.
    pub fn raft(&self) -> Option<&Raft> {
        self.raft.as_ref()
    }

    /// Its disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The last entry that its state machine took.
    pub fn applied(&self) -> Index {
        self.state.index
    }

    /// Its state machine is stored as it is. While a snapshot is on its disk that it did not take yet, there is nothing to
    /// store: it would be older.
    pub(super) fn fold(&mut self) {
        if self.raft.is_some() && !self.disk.is_stateless() && self.state.index >= self.disk.folded().index {
            self.disk.fold(self.state);
        }
    }

    /// Whether it is up and gets a processor.
    pub fn is_running(&self) -> bool {
        self.raft.is_some() && !self.is_paused
    }

    /// Whether it is up and frozen.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Whether its fsyncs do not return.
    pub fn is_hung(&self) -> bool {
        self.is_hung
    }

    /// What its disk has room for.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Whether nothing is wrong with it, its links apart.
    pub fn is_healthy(&self) -> bool {
        self.is_running() && !self.is_hung && self.room == Room::Ample
    }

    /// Forgets what is not on disk.
    pub(super) fn lose_memory(&mut self) {
        self.raft = None;
        self.writing.clear();
        self.syncing = None;
        self.is_hung = false;
        self.is_stalled = false;
        self.installs.clear();
        self.applying.clear();
        self.takes_nothing = false;
        self.pins.clear();
        self.lease = None;
        self.is_paused = false;
        self.mail.clear();
        self.deferred.clear();
        self.tick = None;
        self.is_collected_later = false;
    }

    /// What the trace should show of it now, if that has changed.
    pub(super) fn show(&mut self) -> Option<Shown> {
        let raft = self.raft.as_ref()?;
        let shown = Shown {
            role: raft.role().name(),
            term: raft.term().0,
            leader: raft.leader().map(|id| id.0),
            last: raft.last_index().0,
            persisted: raft.persisted_index().0,
            commit: raft.commit().0,
            applied: raft.applied_index().0,
        };
        (self.shown.replace(shown) != Some(shown)).then_some(shown)
    }
}
