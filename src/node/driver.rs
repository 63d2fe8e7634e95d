//! One task a group: feeds the core, performs its [`Ready`]s, and keeps everyone who waits.
//!
//! A turn: wait for any input; take in all that is queued, up to a bound; step the clock; perform what the core hands
//! out. Inputs are taken in the order completions, peers, clients, so that a busy node finishes what it has begun
//! before it begins more.

mod asks;
mod compact;
mod gathering;
mod group;
mod marks;
mod rebuild;
mod room;
mod scrub;
mod snapshots;
mod writes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use self::compact::Compactions;
use self::gathering::Gathering;
use self::marks::{Comparing, Told};
pub(super) use self::rebuild::can_be_helped;
use self::rebuild::{Rebuild, StateNews};
use self::room::RoomKeeper;
use self::scrub::{Scrub, Scrubbed};
use self::snapshots::{News, Snapshots};
use super::admin::{Ask, Asker, UnderWay};
use super::applier::{Applied, Applier, Work};
use super::executor::{Executor, Lane};
use super::handle::{Handle, Request, Shared};
use super::log_writer::LogWriter;
use super::probe::SharedProbe;
use super::proposals::{Pending, Proposals};
use super::reads::Reads;
use super::space::{Measured, Space};
use super::state_faults::StateFaults;
use super::state_files::StateFiles;
use super::status::{Board, Gauges};
use super::{Fatal, FatalSender, outdated};
use crate::clock::{SharedClock, Sleep};
use crate::command::Reply;
use crate::config::Limits;
use crate::fsm::Store;
use crate::raft::{self, Entry, EntryKind, Fetch, MemberRecord, Membership, Raft, Ready, RoleName, WriteSeq};
use crate::transport::{Inbound, Inbox, PeerInfo, Transport};
use crate::types::{ClusterId, GroupId, Index, Monotonic, NodeId, Term};
use crate::wal;

/// Inputs of one kind taken in one turn: bounds the time until the core's clock is stepped again.
const INPUTS_PER_TURN_MAX: usize = 4_096;

/// How often a node whose member record differs from what the group knows asks for it to be published.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

/// The log is purged when at least so many entries can go, or any once it has grown long: each purge is a record in the
/// log itself.
const PURGE_ENTRIES_MIN: u64 = 4_096;

/// All that a group's driver is built from; see `server`, which builds it.
pub struct Parts {
    /// This node.
    pub id: NodeId,
    /// The group.
    pub group: GroupId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The hash of its token: a node that wants to join must know the token.
    pub token_hash: u64,
    /// The limits.
    pub limits: Limits,
    /// How often lost questions are asked again.
    pub heartbeat_interval: Duration,
    /// How long a removed node goes on, so that what it still has to say leaves.
    pub election_timeout: Duration,
    /// The core.
    pub raft: Raft,
    /// The state machine.
    pub store: Store,
    /// Its files.
    pub files: StateFiles,
    /// The number of the file that it is in.
    pub state: u64,
    /// The state that was there at the start had to be given up.
    pub lost_state: bool,
    /// How many logs were given up in this directory.
    pub logs_given_up: u64,
    /// The log's writer.
    pub log: LogWriter,
    /// The log's reader.
    pub reader: wal::Reader,
    /// The way to peers.
    pub transport: Transport,
    /// What peers say.
    pub inbox: Inbox,
    /// The clock.
    pub clock: SharedClock,
    /// Where blocking work runs.
    pub executor: Arc<dyn Executor>,
    /// What this node publishes about itself.
    pub own: MemberRecord,
    /// Where to report that the node must stop.
    pub fatal: FatalSender,
    /// Set once the node has met a disk error.
    pub poisoned: Arc<AtomicBool>,
    /// Who watches, if anybody.
    pub probe: Option<SharedProbe>,
}

/// A group's running tasks.
pub struct Running {
    stop: oneshot::Sender<()>,
    driver: JoinHandle<()>,
    applier: JoinHandle<()>,
    fold_lane: Lane,
    space: Space,
}

impl Running {
    /// Stops the driver, lets the applier finish, and folds what is applied, so that the next start is quick.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.driver.await;
        self.space.close();
        let _ = self.applier.await;
        let space = self.space;
        if let Some(Err(error)) = self.fold_lane.run(move || space.fold_all()).await {
            // Nothing is lost: the log still has it.
            warn!(%error, "the last fold failed");
        }
    }

    /// Completes if the driver or the applier ends by itself, which only a broken invariant makes it do.
    pub async fn ended(&mut self) {
        tokio::select! {
            biased;
            _ = &mut self.driver => {}
            _ = &mut self.applier => {}
        }
    }
}

/// Starts a group.
pub fn start(parts: Parts) -> (Handle, Running) {
    let (requests, requests_receiver) = mpsc::channel(parts.limits.proposals_queued_max);
    let (work, work_receiver) = mpsc::unbounded_channel();
    let (applied, applied_receiver) = mpsc::unbounded_channel();
    let (persisted, persisted_receiver) = mpsc::unbounded_channel();
    let (internal, internal_receiver) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let fold_lane = Lane::open_background(&*parts.executor, "fold");
    let faults = StateFaults::new(parts.fatal.clone());
    let space = space(&parts);
    let applier = applier(&parts, fold_lane.clone(), faults.clone(), space.clone(), applied);
    let board = Arc::new(Board::new(&parts.raft));
    let handle = handle(&parts, requests, board.clone(), faults.clone());
    let (now, limits) = (parts.clock.now(), parts.limits.clone());
    let mut driver = Driver {
        queues: Queues {
            requests: requests_receiver,
            applied: applied_receiver,
            persisted: persisted_receiver,
            internal: internal_receiver,
        },
        read_lane: Lane::open(&*parts.executor, "log-reader"),
        snapshots: Snapshots::new(
            parts.state,
            Lane::open(&*parts.executor, "snapshot"),
            Lane::open_background(&*parts.executor, "rewrite"),
        ),
        rebuild: Rebuild::new(faults, parts.raft.has_state(), parts.lost_state),
        comparing: Comparing::new(now.plus(parts.limits.hash_mark_interval)),
        compactions: Compactions::default(),
        room: RoomKeeper::new(Lane::open(&*parts.executor, "room"), space.clone(), now),
        scrub: Scrub::new(
            Lane::open_background(&*parts.executor, "scrub"),
            parts.group,
            now,
            parts.limits.scrub_pause,
        ),
        board,
        work,
        persisted,
        internal,
        held: VecDeque::new(),
        proposals: Proposals::new(limits.proposals_inflight_max, limits.proposals_inflight_bytes_max),
        returned: Vec::new(),
        forwarding: Arc::new(AtomicUsize::new(0)),
        reads: Reads::new(parts.limits.reads_waiting_max),
        gauges: Gauges::of(&parts.raft),
        group_time: GroupTime { base_ms: 0, since: now },
        shown: None,
        membership: Membership::default(),
        retired: BTreeSet::new(),
        asks: Vec::new(),
        returned_asks: Vec::new(),
        under_way: Vec::new(),
        resigning: Vec::new(),
        leaving: BTreeMap::new(),
        heard: VecDeque::new(),
        leaves_at: None,
        last_written: parts.raft.last_index(),
        gathering: Gathering::default(),
        next_sweep: now,
        next_publish: now,
        wake: (now, parts.clock.sleep_until(now)),
        parts,
    };
    // Before the peers' port is served: who is no member is refused there.
    driver.on_membership();
    let driver = tokio::spawn(driver.run(stopped));
    let applier = tokio::spawn(applier.run(work_receiver));
    (handle, Running { stop, driver, applier, fold_lane, space })
}

fn applier(
    parts: &Parts,
    fold_lane: Lane,
    faults: StateFaults,
    space: Space,
    applied: mpsc::UnboundedSender<Applied>,
) -> Applier {
    let (store, probe) = (parts.store.clone(), parts.probe.clone());
    let fold_log_bytes = fold_log_bytes(&parts.limits);
    Applier { store, fold_lane, faults, space, probe, applied, fold_log_bytes }
}

/// What tells how much room there is.
fn space(parts: &Parts) -> Space {
    let Parts { files, state, store, log, limits, .. } = parts;
    Space::new(files.clone(), *state, store.clone(), log.clone(), limits)
}

/// What the front doors hold of the group.
fn handle(parts: &Parts, requests: mpsc::Sender<Request>, board: Arc<Board>, faults: StateFaults) -> Handle {
    Handle::new(Shared {
        id: parts.id,
        group: parts.group,
        cluster: parts.cluster,
        requests,
        board,
        store: parts.store.clone(),
        log: parts.log.clone(),
        state_syncs: parts.files.syncs.clone(),
        transport: parts.transport.clone(),
        clock: parts.clock.clone(),
        limits: parts.limits.clone(),
        poisoned: parts.poisoned.clone(),
        faults,
        list_lane: Lane::open(&*parts.executor, "list"),
        lists: Arc::new(Semaphore::new(parts.limits.lists_inflight_max)),
    })
}

/// What the driver's own helper tasks send back.
enum Internal {
    /// A forward was certainly not executed: try again.
    Returned(Pending),
    /// The log was read.
    Fetched(Fetch, Result<Vec<Entry>, wal::Error>),
    /// A part of the log was read through.
    Scrubbed(Scrubbed),
    /// The disk said how much room it has.
    Measured(std::io::Result<Measured>),
    /// Something became of a snapshot.
    Snapshots(News),
    /// Something became of a state that is lost.
    State(StateNews),
    /// The leader has judged this node's hash.
    Told(Told),
    /// An ask certainly reached no leader: try again.
    AskReturned(Ask, Asker),
}

struct Queues {
    requests: mpsc::Receiver<Request>,
    applied: mpsc::UnboundedReceiver<Applied>,
    persisted: mpsc::UnboundedReceiver<WriteSeq>,
    internal: mpsc::UnboundedReceiver<Internal>,
}

/// Group time as a leader reckons it: a base, and the monotonic time that passed since.
struct GroupTime {
    base_ms: u64,
    since: Monotonic,
}

struct Driver {
    parts: Parts,
    queues: Queues,
    read_lane: Lane,
    board: Arc<Board>,
    work: mpsc::UnboundedSender<Work>,
    snapshots: Snapshots,
    rebuild: Rebuild,
    comparing: Comparing,
    compactions: Compactions,
    scrub: Scrub,
    room: RoomKeeper,
    persisted: mpsc::UnboundedSender<WriteSeq>,
    internal: mpsc::UnboundedSender<Internal>,
    /// Messages that wait until the write with this number is on disk; ascending.
    held: VecDeque<(WriteSeq, Vec<raft::Envelope>)>,
    proposals: Proposals,
    /// Forwards that came back; tried again at the next sweep or leader change, not at once, for the node that
    /// refused them may need a moment to learn who leads.
    returned: Vec<Pending>,
    forwarding: Arc<AtomicUsize>,
    reads: Reads,
    gauges: Gauges,
    group_time: GroupTime,
    /// The role, term and leader of the last log line.
    shown: Option<(RoleName, Term, Option<NodeId>)>,
    /// The membership that the transport and the board know.
    membership: Membership,
    /// Who was removed by a committed configuration.
    retired: BTreeSet<NodeId>,
    /// Who is in no configuration any more that is in force, and until when this node speaks to them all the same.
    leaving: BTreeMap<NodeId, (PeerInfo, Monotonic)>,
    /// Asks that wait for a leader.
    asks: Vec<(Ask, Asker)>,
    /// Asks that came back; tried again at the next sweep, like forwards.
    returned_asks: Vec<(Ask, Asker)>,
    /// Asks that this node began as leader.
    under_way: Vec<UnderWay>,
    /// Who waits until this node does not lead any more.
    resigning: Vec<oneshot::Sender<()>>,
    /// Commit indexes of which the leader told, and when; until they are applied here.
    heard: VecDeque<(Index, Monotonic)>,
    /// This node was removed, and stops then.
    leaves_at: Option<Monotonic>,
    /// The last index handed to the log: a write at or below it truncates.
    last_written: Index,
    gathering: Gathering,
    next_sweep: Monotonic,
    next_publish: Monotonic,
    /// The armed timer and when it fires.
    wake: (Monotonic, Sleep),
}

impl Driver {
    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        loop {
            // Before anything that was committed since is handed on, for it may hold what this binary cannot read.
            if let Some(fatal) = outdated(self.parts.raft.committed_membership(), self.parts.own.supports) {
                self.parts.fatal.report(fatal);
                break;
            }
            self.perform();
            self.arm();
            tokio::select! {
                biased;
                _ = &mut stop => break,
                () = self.rebuild.faults.damaged() => self.on_state_fault(),
                Some(seq) = self.queues.persisted.recv() => self.on_persisted(seq),
                Some(applied) = self.queues.applied.recv() => self.on_applied(applied),
                Some(internal) = self.queues.internal.recv() => self.on_internal(internal),
                Some(inbound) = self.parts.inbox.recv() => self.on_inbound(inbound),
                Some(request) = self.queues.requests.recv() => self.on_request(request),
                () = &mut self.wake.1 => self.wake.0 = Monotonic(u64::MAX),
            }
            // Whoever is ready goes first: what they have for this turn is taken in with the rest.
            tokio::task::yield_now().await;
            self.take_queued();
            let now = self.parts.clock.now();
            if now >= self.parts.raft.next_tick() {
                self.parts.raft.tick(now);
            }
            if now >= self.next_sweep {
                self.sweep(now);
            }
            self.maybe_measure(now);
            self.propose(now);
            self.take_up_asks(now);
            if let Some(id) = self.reads.ask(now) {
                self.gauges.read_rounds += 1;
                self.parts.raft.read(now, id);
            }
        }
        self.proposals.stop();
    }

    /// Takes in what is queued, so that the core sees its mail before its clock.
    fn take_queued(&mut self) {
        for _ in 0..INPUTS_PER_TURN_MAX {
            let Ok(seq) = self.queues.persisted.try_recv() else { break };
            self.on_persisted(seq);
        }
        for _ in 0..INPUTS_PER_TURN_MAX {
            let Ok(applied) = self.queues.applied.try_recv() else { break };
            self.on_applied(applied);
        }
        for _ in 0..INPUTS_PER_TURN_MAX {
            let Ok(internal) = self.queues.internal.try_recv() else { break };
            self.on_internal(internal);
        }
        for _ in 0..INPUTS_PER_TURN_MAX {
            let Some(inbound) = self.parts.inbox.try_recv() else { break };
            self.on_inbound(inbound);
        }
        for _ in 0..INPUTS_PER_TURN_MAX {
            let Ok(request) = self.queues.requests.try_recv() else { break };
            self.on_request(request);
        }
    }

    /// Re-arms the timer if something is due before it. One that fires early only costs a turn, so a deadline that
    /// moves later, as a follower's does with every message, leaves the timer alone.
    fn arm(&mut self) {
        let due = self.parts.raft.next_tick().min(self.next_sweep).min(self.room.due());
        let due = self.gathering.due().map_or(due, |gathered| gathered.min(due));
        if due < self.wake.0 {
            self.wake = (due, self.parts.clock.sleep_until(due));
        }
    }

    fn on_persisted(&mut self, seq: WriteSeq) {
        self.parts.raft.persisted(seq);
        while self.held.front().is_some_and(|(at, _)| *at <= seq) {
            let (_, messages) = self.held.pop_front().expect("there is a front");
            for envelope in messages {
                self.send(envelope);
            }
        }
        self.maybe_install(seq);
    }

    fn send(&self, envelope: raft::Envelope) {
        if let Some(probe) = &self.parts.probe {
            probe.sending(&self.parts.raft, &envelope);
        }
        self.parts.transport.send(self.parts.group, envelope);
    }

    fn on_applied(&mut self, applied: Applied) {
        match applied {
            Applied::Entries(entries) => {
                let Some((last, _, _)) = entries.last() else { return };
                let last = *last;
                for (index, _, reply) in &entries {
                    if let Reply::Hash(hash) = reply {
                        self.on_mark(*index, *hash);
                    }
                }
                if self.proposals.wants(last) {
                    for (index, term, reply) in entries {
                        self.proposals.applied(index, term, reply);
                    }
                }
                self.parts.raft.applied(last);
                self.reads.applied(last);
                self.on_reached(last);
            }
            Applied::Installed(index) => self.on_installed(index),
            Applied::GivenUp => self.on_given_up(),
            Applied::Begun => self.on_state_begun(),
            Applied::Folded => {
                self.maybe_purge();
                self.maybe_rewrite();
                self.on_folded();
            }
            Applied::FoldWaits => self.on_fold_waits(),
        }
    }

    fn on_internal(&mut self, internal: Internal) {
        match internal {
            Internal::Returned(pending) => self.returned.push(pending),
            Internal::Scrubbed(scrubbed) => self.on_scrubbed(scrubbed),
            Internal::Measured(measured) => self.on_measured(measured),
            Internal::Snapshots(news) => self.on_snapshot_news(news),
            Internal::State(news) => self.on_state_news(news),
            Internal::Told(told) => self.on_told(&told),
            Internal::AskReturned(ask, asker) => self.returned_asks.push((ask, asker)),
            Internal::Fetched(fetch, Ok(entries)) => self.parts.raft.fetched(fetch, entries),
            Internal::Fetched(fetch, Err(wal::Error::Entry { index, file, offset, what, .. })) => {
                let file = file.display();
                tracing::error!(%index, %file, offset, what, "an entry is damaged: repaired from another member");
                self.parts.raft.damaged(index);
                self.parts.raft.fetched(fetch, Vec::new());
            }
            Internal::Fetched(_, Err(error)) => self.parts.fatal.report(Fatal::of_log(&error)),
        }
    }

    fn on_inbound(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Message { group, envelope } if group == self.parts.group => {
                if let Some(probe) = &self.parts.probe {
                    probe.stepping(&self.parts.raft, &envelope);
                }
                let now = self.parts.clock.now();
                let from = envelope.from;
                self.parts.raft.step(now, envelope);
                self.on_heard(from, now);
            }
            Inbound::Message { group, envelope } => {
                debug!(%group, from = %envelope.from, "a message for a group that is not here");
            }
            Inbound::Forward { from, group, request, reply } => self.on_forward(from, group, &request, reply),
            Inbound::Refused { by, reason } => {
                let text = format!("node {by} refuses this node: {reason}");
                self.parts.fatal.report(Fatal::Refused(text));
            }
            Inbound::Removed { by } => {
                let text = removed(self.parts.id, &format!("node {by}"));
                self.parts.fatal.report(Fatal::Refused(text));
            }
            Inbound::Snapshot { from, group, envelope, manifest, id, stream }
                if group == self.parts.group =>
            {
                self.receive_snapshot(from, envelope, manifest, id, stream);
            }
            // Dropping what came in is an answer.
            Inbound::Snapshot { from, .. } => debug!(%from, "a snapshot of a group that is not here"),
            Inbound::Join { request, reply } => self.on_join(&request, reply),
            Inbound::Died { peer, incarnation } => self.on_died(peer, incarnation),
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Write(pending) => {
                self.gauges.proposals += 1;
                self.accept(pending);
            }
            Request::Read(waiter) => {
                self.gauges.reads += 1;
                self.reads.push(waiter);
            }
            Request::Ask(ask, asker) => self.on_ask(ask, asker),
            Request::Compact(reply) => self.compact(reply),
            Request::Resign(done) => self.resign(self.parts.clock.now(), done),
        }
    }

    /// Performs everything the core hands out, in its order.
    fn perform(&mut self) {
        let mut config_changed = false;
        // Before any message leaves: one that asks another node to lead ends the lease (H39).
        self.publish_lease();
        while self.parts.raft.has_ready() {
            let ready = self.parts.raft.ready();
            if let Some(probe) = &self.parts.probe {
                probe.ready(&self.parts.raft, &ready);
            }
            let Ready { messages, writes, fetches, apply, snapshots, reads, changes } = ready;
            for envelope in messages {
                self.send(envelope);
            }
            for wanted in snapshots {
                self.open_snapshot(wanted);
            }
            for write in writes {
                let install = write.install.map(|install| {
                    config_changed = true;
                    self.point_to_staged(write.seq, install)
                });
                config_changed |= self.touches_membership(&write.entries);
                if !write.messages.is_empty() {
                    self.held.push_back((write.seq, write.messages));
                }
                let (group, seq) = (self.parts.group, write.seq);
                let raft::Write { hard_state, repairs, entries, .. } = write;
                self.room.on_written(entries.iter().map(|entry| entry.bytes() as u64).sum());
                let write = wal::GroupWrite { group, hard_state, install, repairs, entries };
                self.parts.log.write(seq, write, &self.persisted);
            }
            for fetch in fetches {
                self.fetch(fetch);
            }
            if !apply.is_empty() {
                // The applier is gone only when the node is stopping.
                let _ = self.work.send(Work::Entries(apply));
            }
            let applied = self.parts.raft.applied_index();
            for (id, outcome) in reads {
                self.reads.answered(id, outcome, applied);
            }
            for change in changes {
                self.on_change(&change);
            }
        }
        if config_changed {
            self.on_membership();
        }
        self.on_commit();
        self.settle_asks();
        self.settle_resignation();
        let Gauges { proposals, forwarded, reads, read_rounds, leader_changes, refused_for_room, .. } =
            self.gauges;
        self.gauges = Gauges {
            proposals,
            forwarded,
            reads,
            read_rounds,
            leader_changes,
            refused_for_room,
            proposals_waiting: self.proposals.len() as u64,
            logs_given_up: self.parts.logs_given_up,
            states_lost: self.rebuild.lost,
            states_rebuilt: self.rebuild.rebuilt,
            divergences: self.comparing.divergences,
            strays: self.scrub.strays,
            free_bytes: self.room.free_bytes(),
            ..Gauges::of(&self.parts.raft)
        };
        self.board.set_gauges(self.gauges);
    }

    /// Whether writing these entries may put another membership in force: one of them is one, or they truncate.
    fn touches_membership(&mut self, entries: &[Entry]) -> bool {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return false };
        let truncates = first.index <= self.last_written;
        self.last_written = last.index;
        truncates || entries.iter().any(|entry| entry.kind == EntryKind::Membership)
    }

    fn on_change(&mut self, change: &raft::RoleChange) {
        let leader = change.leader.map_or(0, |leader| leader.0);
        let shown = (change.role, change.term, change.leader);
        if self.shown != Some(shown) {
            self.shown = Some(shown);
            info!(
                group = self.parts.group.0,
                role = change.role.name(),
                term = change.term.0,
                leader,
                reason = change.reason,
                "role change"
            );
        } else {
            // A candidate that asks again, for as long as nobody answers.
            debug!(role = change.role.name(), term = change.term.0, reason = change.reason, "role again");
        }
        if change.leader != self.gauges.leader && change.leader.is_some() {
            self.gauges.leader_changes += 1;
        }
        self.gauges.leader = change.leader;
        if change.leader.is_some() {
            self.next_publish = self.parts.clock.now();
            self.next_sweep = self.next_publish;
        }
        if change.role != RoleName::Leader {
            self.on_leader_gone();
        }
        if change.role == RoleName::Leader {
            self.group_time = GroupTime { base_ms: 0, since: self.parts.clock.now() };
        }
    }

    fn fetch(&self, fetch: Fetch) {
        let (lane, reader, group) = (self.read_lane.clone(), self.parts.reader.clone(), self.parts.group);
        let (internal, fatal) = (self.internal.clone(), self.parts.fatal.clone());
        tokio::spawn(async move {
            let Fetch { first, last, bytes_max, .. } = fetch;
            match lane.run(move || reader.read(group, first, last, bytes_max)).await {
                Some(entries) => {
                    let _ = internal.send(Internal::Fetched(fetch, entries));
                }
                None => fatal.report(Fatal::Broken("the log reader's thread stopped".into())),
            }
        });
    }

    /// Now and then: asks again what was lost, forgets who is gone, publishes, purges.
    fn sweep(&mut self, now: Monotonic) {
        self.next_sweep = now.plus(self.parts.heartbeat_interval);
        let oldest = Monotonic(now.0.saturating_sub(2 * self.parts.heartbeat_interval.as_nanos() as u64));
        self.reads.sweep(oldest);
        self.proposals.sweep();
        for pending in std::mem::take(&mut self.returned) {
            self.proposals.push(pending);
        }
        self.asks.append(&mut self.returned_asks);
        self.sweep_asks();
        self.sweep_leaving(now);
        self.sweep_snapshots(now);
        self.maybe_scrub(now);
        self.maybe_mark(now);
        self.maybe_raise_version(now);
        self.maybe_purge();
        if self.leaves_at.is_some_and(|at| now >= at) {
            self.parts.fatal.report(Fatal::Refused(removed(self.parts.id, "its own log")));
        }
        if now >= self.next_publish {
            self.next_publish = now.plus(PUBLISH_INTERVAL);
            self.maybe_publish(now);
        }
    }

    /// Lets the log forget what the state file holds: what every member has, and, for members that lag, all but a tail.
    /// Who needs what is gone gets a snapshot.
    fn maybe_purge(&mut self) {
        let log_bytes = self.parts.log.bytes();
        let kept = self.kept_for_snapshots(self.parts.clock.now());
        let tail = self.parts.log.tail_first(self.parts.group).prev();
        let raft = &self.parts.raft;
        let spare = raft.stored_by_all().max(tail);
        // A log that grows too long is not kept for anyone's sake: writes go before.
        let is_too_long = log_bytes > self.parts.limits.wal_bytes_max / 4 * 3;
        let spare = if is_too_long { spare } else { kept.map_or(spare, |kept| spare.min(kept)) };
        // A fold may hold entries of which the core has not heard yet that they are applied.
        let to = self.parts.store.folded().0.min(raft.applied_index()).min(spare);
        let (purged, _) = raft.purged();
        // Few large entries fill a log as well as many small ones. What can go changes with each fold, so there is no
        // flood of small purges.
        let is_long = log_bytes > self.parts.limits.log_tail_bytes_max;
        let is_any_enough = is_long || self.compactions.want_purge(purged, to);
        if to.0 < purged.0 + if is_any_enough { 1 } else { PURGE_ENTRIES_MIN } {
            return;
        }
        self.purge_to(to);
    }

    /// Lets the log forget what is up to `to`, which the state file holds.
    fn purge_to(&mut self, to: Index) {
        let raft = &mut self.parts.raft;
        let term = raft.term_at(to).expect("an index between purged and applied has a term");
        let base = raft.membership_at(to).clone();
        let forgotten = raft.purge_to(to);
        self.parts.log.purge(self.parts.group, (to, term), base);
        // Freed where nobody waits: 16 MiB of small entries take 10 to 35 ms, with every request of the group behind them.
        if !forgotten.is_empty() {
            let lane = self.scrub.lane();
            tokio::spawn(async move { lane.run(move || drop(forgotten)).await });
        }
    }

    /// Group time for what is proposed now: the last applied value plus the monotonic time since this leader first
    /// met it. Only the very first leader looks at the wall clock.
    fn group_time(&mut self, now: Monotonic) -> u64 {
        let applied_ms = self.parts.store.group_time_ms();
        let elapsed_ms = now.since(self.group_time.since).as_millis() as u64;
        let reckoned = self.group_time.base_ms + elapsed_ms;
        if self.group_time.base_ms == 0 || applied_ms > reckoned {
            let base_ms = if applied_ms == 0 { self.parts.clock.wall_ms().max(1) } else { applied_ms };
            self.group_time = GroupTime { base_ms, since: now };
            return base_ms;
        }
        reckoned
    }
}

/// What a removed node ends with.
fn removed(id: NodeId, by: &str) -> String {
    format!(
        "node {id} was removed from the cluster (says {by}): it takes no further part; to use this machine again start \
         it with an empty --data-dir and --join"
    )
}

/// Log applied since the last fold at which another one is due: an eighth of what the log may take, so that purging
/// keeps up with it, and not so much that a restart replays for long.
fn fold_log_bytes(limits: &Limits) -> usize {
    usize::try_from(limits.wal_bytes_max / 8).unwrap_or(usize::MAX).min(512 << 20)
}
