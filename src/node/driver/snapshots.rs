//! The driver's part of snapshots: who is sent one, what becomes of one that comes, and when the own file is rewritten.
//!
//! ```text
//! core wants one for a member                    a member sends one
//!   open     a read transaction of the store       build    a file under the next number, nobody looks there
//!   begun    the core names what it is worth       stage    all of it is there, checked and durable
//!   send     chunk by chunk, from its own task     step     the core takes it, or knows better
//!   ended    the core is told                      install  one record of the log points to the file: the switch
//!                                                  applier  readers see it; the file of before is removed
//! ```
//!
//! While a snapshot is on its way, and until the member has caught up behind it, the log is kept from its index on, unless
//! the log grows too long. A transfer that breaks off is tried again as long as its read transaction may live: the
//! receiver keeps what it has, and says from where it wants more. One snapshot comes in at a time; the newest counts.
//!
//! Two things end that read transaction: no progress for a while, which is judged here, and what it costs (`fsm/pin.rs`). The
//! fold that takes it away says so, and the sender, whatever it waits for, breaks off.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, Notify};
use tracing::{debug, info, warn};

use super::{Driver, Internal};
use crate::clock::{SharedClock, sleep};
use crate::fsm::{self, Builder, Fresh, Manifest, Snapshot};
use crate::node::applier::Work;
use crate::node::executor::Lane;
use crate::node::space::Space;
use crate::node::state_faults::StateFaults;
use crate::node::state_files::StateFiles;
use crate::node::{Fatal, FatalSender};
use crate::raft::{Envelope, Install, RoleName, SessionId, SnapshotFor, WriteSeq};
use crate::transport::Transport;
use crate::transport::snapshot::{SnapshotReceiver, SnapshotSender};
use crate::types::{GroupId, Index, Monotonic, NodeId};
use crate::wal;

/// How long after a transfer broke off the next try begins; each time twice as long, while nothing arrives.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// But no longer than this.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(3);

/// All that a group knows of snapshots.
pub(super) struct Snapshots {
    /// On their way, or followed by a member that catches up.
    outgoing: BTreeMap<NodeId, Outgoing>,
    /// The file in use.
    number: u64,
    /// The newest number that was given to a file.
    last_number: u64,
    /// One that came and that the core has not decided on yet.
    staged: Option<Staged>,
    /// One that the log points to, or is about to.
    installing: Option<(WriteSeq, Staged)>,
    /// Files that go once the state machine has left them.
    removing: Vec<u64>,
    /// A rewrite is under way, or its switch.
    rewriting: Rewriting,
    /// The file is to be rewritten however full it is.
    is_suspect: bool,
    /// What a broken transfer left, and the turn to receive.
    desk: Arc<Mutex<Option<Parked>>>,
    lane: Lane,
    rewrite_lane: Lane,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rewriting {
    No,
    Copying,
    Switching,
}

#[derive(Debug)]
struct Outgoing {
    session: SessionId,
    index: Index,
    /// Where the log ended when all of it had arrived: the member has caught up when it is there.
    until: Option<(Index, Monotonic)>,
}

/// A state that is whole and durable, under a number.
#[derive(Debug)]
pub(super) struct Staged {
    fresh: Fresh,
    number: u64,
}

/// The beginning of a snapshot whose stream broke off.
struct Parked {
    from: NodeId,
    id: u64,
    number: u64,
    /// The chunk that comes next.
    next: u64,
    builder: Builder,
    since: Monotonic,
}

/// One that has come, whole.
pub(super) struct Received {
    envelope: Envelope,
    staged: Staged,
    stream: Box<SnapshotReceiver>,
}

/// One that may be sent.
pub(super) struct Opened {
    snapshot: Snapshot,
    /// Told when a fold has ended it.
    revoked: Arc<Notify>,
}

/// News for the driver.
pub(super) enum News {
    Opened { wanted: SnapshotFor, opened: Result<Box<Opened>, fsm::Error> },
    Ended { to: NodeId, session: SessionId, ok: bool },
    Received(Box<Received>),
    Rewritten { number: u64, result: Result<fsm::Rewritten, fsm::Error> },
    Adopted { number: u64, result: Result<(), fsm::Error> },
}

impl Snapshots {
    pub fn new(number: u64, lane: Lane, rewrite_lane: Lane) -> Snapshots {
        Snapshots {
            outgoing: BTreeMap::new(),
            number,
            last_number: number,
            staged: None,
            installing: None,
            removing: Vec::new(),
            rewriting: Rewriting::No,
            is_suspect: false,
            desk: Arc::default(),
            lane,
            rewrite_lane,
        }
    }

    /// The number of the file in use.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The lane on which files are made and removed, in order.
    pub fn lane(&self) -> Lane {
        self.lane.clone()
    }

    /// Whether the pointer is moving to a rewritten file.
    pub fn is_switching(&self) -> bool {
        self.rewriting == Rewriting::Switching
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

/// The sender's side.
impl Driver {
    /// A member needs a snapshot. Where the last fold would be of no use to it, there is another one first.
    pub(super) fn open_snapshot(&mut self, wanted: SnapshotFor) {
        let (store, lane, internal) =
            (self.parts.store.clone(), self.snapshots.lane.clone(), self.internal.clone());
        let growth_bytes_max = self.parts.limits.snapshot_pin_growth_bytes;
        let open = move || {
            // What was set aside before, and then what was applied since.
            for _ in 0..2 {
                if store.folded().0 < wanted.at_least {
                    // Without room for it there is no snapshot now: the member asks again.
                    store.fold()?;
                }
            }
            let revoked = Arc::new(Notify::new());
            let told = revoked.clone();
            // A permit is kept if nobody waits yet.
            let snapshot = store.snapshot(growth_bytes_max, move || told.notify_one())?;
            Ok(Box::new(Opened { snapshot, revoked }))
        };
        tokio::spawn(async move {
            if let Some(opened) = lane.run(open).await {
                let _ = internal.send(Internal::Snapshots(News::Opened { wanted, opened }));
            }
        });
    }

    fn on_opened(&mut self, wanted: SnapshotFor, opened: Opened) {
        let Opened { snapshot, revoked } = opened;
        let SnapshotFor { to, session, .. } = wanted;
        let (index, term) = snapshot.applied();
        let raft = &mut self.parts.raft;
        // The log went on meanwhile; or nothing was folded yet.
        if index < raft.purged().0 || index == Index(0) {
            return raft.snapshot_sent(to, session, false);
        }
        let membership = raft.membership_at(index).encode();
        let Some(envelope) = raft.snapshot_begun(to, session, index, term, membership) else { return };
        info!(to = to.0, index = index.0, "sending a snapshot");
        self.snapshots.outgoing.insert(to, Outgoing { session, index, until: None });
        let id = self.parts.clock.random();
        let sending = Sending {
            to,
            group: self.parts.group,
            id,
            envelope,
            manifest: snapshot.manifest(),
            source: Some(snapshot),
            unacked: VecDeque::new(),
            next: 0,
            transport: self.parts.transport.clone(),
            clock: self.parts.clock.clone(),
            lane: Lane::open(&*self.parts.executor, "snapshot-reader"),
            pin: self.parts.limits.snapshot_pin,
            revoked,
            faults: self.rebuild.faults.clone(),
        };
        let internal = self.internal.clone();
        tokio::spawn(async move {
            let ok = sending.run().await;
            let _ = internal.send(Internal::Snapshots(News::Ended { to, session, ok }));
        });
    }

    fn on_ended(&mut self, to: NodeId, session: SessionId, ok: bool) {
        let (last, now) = (self.parts.raft.last_index(), self.parts.clock.now());
        self.parts.raft.snapshot_sent(to, session, ok);
        let Some(outgoing) = self.snapshots.outgoing.get_mut(&to) else { return };
        if outgoing.session == session {
            match ok {
                true => outgoing.until = Some((last, now)),
                false => drop(self.snapshots.outgoing.remove(&to)),
            }
        }
    }

    /// From where on the log is kept for members that have got a snapshot, or are getting one.
    pub(super) fn kept_for_snapshots(&mut self, now: Monotonic) -> Option<Index> {
        let raft = &self.parts.raft;
        let pin = self.parts.limits.snapshot_pin;
        let is_leader = raft.role() == RoleName::Leader;
        self.snapshots.outgoing.retain(|&to, outgoing| match outgoing.until {
            None => true,
            Some((until, since)) => {
                is_leader && raft.matched(to).is_some_and(|at| at < until) && now < since.plus(pin)
            }
        });
        self.snapshots.outgoing.values().map(|outgoing| outgoing.index).min()
    }
}

/// A transfer under way, in a task of its own.
struct Sending {
    to: NodeId,
    group: GroupId,
    id: u64,
    envelope: Envelope,
    manifest: Bytes,
    /// Away while the lane reads from it.
    source: Option<Snapshot>,
    /// Chunks that the receiver may ask for again: those that it has not said it has.
    unacked: VecDeque<(u64, Bytes)>,
    /// The number of the next chunk that is read.
    next: u64,
    transport: Transport,
    clock: SharedClock,
    lane: Lane,
    /// How long it may go without progress.
    pin: Duration,
    /// Told when a fold has ended it.
    revoked: Arc<Notify>,
    faults: StateFaults,
}

/// Why a try came to nothing.
enum Broken {
    /// It may be tried again.
    Off(String),
    /// This snapshot will not arrive.
    ForGood(String),
}

impl Sending {
    /// Sends all of it, in as many tries as the read transaction may live for without progress.
    async fn run(mut self) -> bool {
        let mut progress_at = self.clock.now();
        let mut acked = 0;
        let mut pause = RETRY_PAUSE;
        loop {
            let before = acked;
            let sender = self.transport.snapshot(
                self.to,
                self.group,
                self.envelope.clone(),
                self.manifest.clone(),
                self.id,
            );
            let failed = match sender {
                Ok(sender) => match self.attempt(sender, &mut acked, &mut progress_at).await {
                    Ok(()) => {
                        info!(to = self.to.0, chunks = self.next, "a snapshot has arrived");
                        return true;
                    }
                    Err(broken) => broken,
                },
                Err(failed) => Broken::Off(failed.reason),
            };
            let (failed, is_final) = match failed {
                Broken::Off(reason) => (reason, false),
                Broken::ForGood(reason) => (reason, true),
            };
            let is_over = is_final || self.clock.now() >= progress_at.plus(self.pin);
            info!(to = self.to.0, reason = failed, is_over, "a snapshot did not arrive");
            if is_over {
                return false;
            }
            pause = if acked > before { RETRY_PAUSE } else { pause };
            if self.while_held(sleep(&*self.clock, pause)).await.is_err() {
                info!(to = self.to.0, reason = %fsm::Error::Revoked, "a snapshot is not sent again");
                return false;
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// Waits for what depends on the receiver, which may stand still for any time, as long as the state is kept for it.
    async fn while_held<T>(&self, step: impl Future<Output = T>) -> Result<T, Broken> {
        tokio::select! {
            biased;
            () = self.revoked.notified() => Err(Broken::ForGood(fsm::Error::Revoked.to_string())),
            done = step => Ok(done),
        }
    }

    async fn attempt(
        &mut self,
        mut sender: SnapshotSender,
        acked: &mut u64,
        progress_at: &mut Monotonic,
    ) -> Result<(), Broken> {
        let off = |failed: crate::transport::snapshot::Failed| Broken::Off(failed.reason);
        let wanted = self.while_held(sender.begin()).await?.map_err(off)?;
        let first = self.unacked.front().map_or(self.next, |(number, _)| *number);
        if wanted < first || wanted > self.next {
            // It has lost what it had, and what was read cannot be read again: the core asks for a new one.
            let text = format!("the receiver wants chunk {wanted}, chunks from {first} on are there");
            return Err(Broken::ForGood(text));
        }
        for (number, chunk) in self.unacked.clone().into_iter().filter(|(number, _)| *number >= wanted) {
            self.while_held(sender.send(number, chunk)).await?.map_err(off)?;
        }
        while let Some(chunk) = self.read().await? {
            let number = self.next;
            self.next += 1;
            self.unacked.push_back((number, chunk.clone()));
            self.while_held(sender.send(number, chunk)).await?.map_err(off)?;
            let known = sender.acked();
            while self.unacked.pop_front_if(|(number, _)| *number < known).is_some() {}
            if known > *acked {
                (*acked, *progress_at) = (known, self.clock.now());
            }
        }
        self.while_held(sender.finish()).await?.map_err(off)
    }

    async fn read(&mut self) -> Result<Option<Bytes>, Broken> {
        let gone = || Broken::ForGood("the node stops".to_owned());
        let mut source = self.source.take().ok_or_else(gone)?;
        let read = self.lane.run(move || {
            let chunk = source.next_chunk();
            (source, chunk)
        });
        let (source, chunk) = read.await.ok_or_else(gone)?;
        self.source = Some(source);
        chunk.map_err(|error| {
            self.faults.report(&error);
            Broken::ForGood(error.to_string())
        })
    }
}

/// The receiver's side.
impl Driver {
    /// A peer begins to send one.
    pub(super) fn receive_snapshot(
        &mut self,
        from: NodeId,
        envelope: Envelope,
        manifest: Bytes,
        id: u64,
        stream: Box<SnapshotReceiver>,
    ) {
        if self.snapshots.staged.is_some() || self.snapshots.installing.is_some() {
            return stream.done(Err("another snapshot is being installed".to_owned()));
        }
        let receiving = Receiving {
            from,
            id,
            number: self.snapshots.next_number(),
            manifest,
            files: self.parts.files.clone(),
            lane: self.snapshots.lane.clone(),
            clock: self.parts.clock.clone(),
            space: self.room.space.clone(),
            fatal: self.parts.fatal.clone(),
        };
        let (desk, internal) = (self.snapshots.desk.clone(), self.internal.clone());
        info!(from = from.0, "a snapshot comes");
        tokio::spawn(async move {
            // The transport has ended the stream before this one: its task leaves the desk soon.
            let mut desk = desk.lock().await;
            if let Some((staged, stream)) = receiving.run(&mut desk, stream).await {
                let received = Box::new(Received { envelope, staged, stream });
                let _ = internal.send(Internal::Snapshots(News::Received(received)));
            }
        });
    }

    /// All of it is there: the core decides.
    fn on_received(&mut self, received: Received) {
        let Received { envelope, staged, stream } = received;
        // A rewrite's file that has a later number may have become the one in use, or is about to.
        let is_late = staged.number <= self.snapshots.number
            || self.snapshots.rewriting == Rewriting::Switching
            || self.snapshots.staged.is_some()
            || self.snapshots.installing.is_some();
        if is_late {
            self.discard(staged);
            return stream.done(Err("the state file was changed meanwhile".to_owned()));
        }
        self.snapshots.staged = Some(staged);
        if let Some(probe) = &self.parts.probe {
            probe.stepping(&self.parts.raft, &envelope);
        }
        self.parts.raft.step(self.parts.clock.now(), envelope);
        // What the core makes of it is in what it hands out next.
        self.perform();
        if let Some(unwanted) = self.snapshots.staged.take() {
            debug!("a snapshot came that is not needed any more");
            self.discard(unwanted);
        }
        stream.done(Ok(()));
    }

    /// The core takes the staged snapshot: the record that points to it goes to the log.
    pub(super) fn point_to_staged(&mut self, seq: WriteSeq, install: Install) -> wal::Install {
        let Install { index, term, membership } = install;
        let staged = self.snapshots.staged.take().expect("the core installs what it was just given");
        assert_eq!(
            staged.fresh.applied(),
            (index, term),
            "the core installs another snapshot than the staged one"
        );
        info!(index = index.0, term = term.0, "installing a snapshot");
        let state = staged.number;
        self.snapshots.installing = Some((seq, staged));
        wal::Install { to: (index, term), base: membership, state }
    }

    /// Writes up to this one are on disk: if the pointer was among them, the state machine takes the snapshot.
    pub(super) fn maybe_install(&mut self, seq: WriteSeq) {
        if self.snapshots.installing.as_ref().is_none_or(|(at, _)| *at > seq) {
            return;
        }
        let Some((_, Staged { fresh, number })) = self.snapshots.installing.take() else { return };
        let before = std::mem::replace(&mut self.snapshots.number, number);
        self.snapshots.is_suspect = false;
        self.room.space.set_state(number);
        self.snapshots.removing.push(before);
        let _ = self.work.send(Work::Install(Box::new(fresh)));
    }

    /// The state machine has it.
    pub(super) fn on_installed(&mut self, index: Index) {
        self.proposals.installed(index);
        self.parts.raft.applied(index);
        self.reads.applied(index);
        self.on_reached(index);
        self.forget_compactions();
        for number in std::mem::take(&mut self.snapshots.removing) {
            self.remove_file(number);
        }
        self.on_rebuilt();
    }

    fn discard(&self, staged: Staged) {
        let Staged { fresh, number } = staged;
        drop(fresh);
        self.remove_file(number);
    }

    /// Removes a file that does not count, or not any more.
    fn remove_file(&self, number: u64) {
        let (files, lane, fatal) =
            (self.parts.files.clone(), self.snapshots.lane.clone(), self.parts.fatal.clone());
        tokio::spawn(async move {
            if let Some(Err(error)) = lane.run(move || files.remove(number)).await {
                fatal.report(Fatal::of_store(&error));
            }
        });
    }

    /// Gives up what a broken transfer left, once nobody can be expected to go on with it.
    pub(super) fn sweep_snapshots(&mut self, now: Monotonic) {
        let Ok(mut desk) = self.snapshots.desk.try_lock() else { return };
        let pin = self.parts.limits.snapshot_pin;
        if let Some(parked) = desk.take_if(|parked| now >= parked.since.plus(pin)) {
            let number = parked.number;
            drop(parked);
            drop(desk);
            self.remove_file(number);
        }
    }
}

/// A snapshot that comes in, in a task of its own.
struct Receiving {
    from: NodeId,
    id: u64,
    number: u64,
    manifest: Bytes,
    files: StateFiles,
    lane: Lane,
    clock: SharedClock,
    space: Space,
    fatal: FatalSender,
}

impl Receiving {
    async fn run(
        self,
        desk: &mut Option<Parked>,
        mut stream: Box<SnapshotReceiver>,
    ) -> Option<(Staged, Box<SnapshotReceiver>)> {
        let (number, mut builder, mut next) = match self.begin(desk).await {
            Ok(begun) => begun,
            Err(reason) => {
                stream.done(Err(reason));
                return None;
            }
        };
        stream.ask_from(next);
        loop {
            match stream.next().await {
                Ok(Some((at, chunk))) => {
                    let added = self.lane.run(move || {
                        let added = builder.add(&chunk);
                        (builder, added)
                    });
                    let (back, added) = added.await?;
                    builder = back;
                    if let Err(error) = added {
                        stream.done(Err(self.give_up(builder, number, &error).await));
                        return None;
                    }
                    next = at + 1;
                    stream.ack(at);
                }
                Ok(None) => break,
                Err(lost) => {
                    info!(from = self.from.0, reason = lost.reason, chunks = next, "a snapshot broke off");
                    let (from, id, since) = (self.from, self.id, self.clock.now());
                    *desk = Some(Parked { from, id, number, next, builder, since });
                    return None;
                }
            }
        }
        match self.lane.run(move || builder.finish()).await? {
            Ok(fresh) => Some((Staged { fresh, number }, stream)),
            Err(error) => {
                let reason = self.judge(&error);
                self.remove(number).await;
                stream.done(Err(reason));
                None
            }
        }
    }

    /// Goes on with what is parked, if it is the same snapshot, or begins a file.
    async fn begin(&self, desk: &mut Option<Parked>) -> Result<(u64, Builder, u64), String> {
        if let Some(parked) = desk.take() {
            if (parked.from, parked.id) == (self.from, self.id) {
                return Ok((parked.number, parked.builder, parked.next));
            }
            let number = parked.number;
            drop(parked);
            self.remove(number).await;
        }
        let (files, number, manifest) = (self.files.clone(), self.number, self.manifest.clone());
        let space = self.space.clone();
        let begun = self.lane.run(move || receive(&files, &space, number, &manifest)).await;
        match begun.ok_or("the node stops")? {
            Ok(builder) => Ok((self.number, builder, 0)),
            Err(error) => {
                let reason = self.judge(&error);
                self.remove(self.number).await;
                Err(reason)
            }
        }
    }

    async fn give_up(&self, builder: Builder, number: u64, error: &fsm::Error) -> String {
        drop(builder);
        let reason = self.judge(error);
        self.remove(number).await;
        reason
    }

    /// What is wrong with the snapshot is the sender's concern, a full disk is nobody's; one that fails ends the node (H15).
    fn judge(&self, error: &fsm::Error) -> String {
        match error {
            fsm::Error::Snapshot { .. } => warn!(from = self.from.0, %error, "a snapshot is no good"),
            // It comes again, and then there may be room.
            fsm::Error::GivenUp { .. } | fsm::Error::NoRoom { .. } => {
                warn!(from = self.from.0, %error, "a snapshot is given up");
            }
            _ => self.fatal.report(Fatal::of_store(error)),
        }
        error.to_string()
    }

    async fn remove(&self, number: u64) {
        let files = self.files.clone();
        if let Some(Err(error)) = self.lane.run(move || files.remove(number)).await {
            self.fatal.report(Fatal::of_store(&error));
        }
    }
}

/// Begins the file of a snapshot, if there is room for all of it.
fn receive(files: &StateFiles, space: &Space, number: u64, manifest: &Bytes) -> Result<Builder, fsm::Error> {
    let bytes = fsm::staged_bytes(Manifest::decode(manifest)?.cost_bytes);
    if space.fits_file(bytes).is_err() {
        // A state that is large for its disk leaves no room for another one beside it: then nobody can look at it any more.
        files.remove_aside()?;
    }
    space.fits_file(bytes).map_err(|(needed, free)| {
        let what = format!("a snapshot needs {needed} bytes and the floor, and {free} are free");
        fsm::Error::GivenUp { what }
    })?;
    files.receive(number, manifest)
}

/// Rewriting the own file.
impl Driver {
    /// The file is to be rewritten, now or after a later fold: it is not known to be sound.
    pub(super) fn rewrite_soon(&mut self) {
        self.snapshots.is_suspect = true;
        self.maybe_rewrite();
    }

    /// After a fold: a file that is mostly free, or may be unsound, is copied.
    pub(super) fn maybe_rewrite(&mut self) {
        let is_free = self.rebuild.is_whole()
            && self.snapshots.rewriting == Rewriting::No
            && self.snapshots.staged.is_none()
            && self.snapshots.installing.is_none();
        let is_mostly_free = self.parts.store.is_mostly_free();
        if !is_free || !(is_mostly_free || self.snapshots.is_suspect) {
            return;
        }
        self.snapshots.rewriting = Rewriting::Copying;
        let number = self.snapshots.next_number();
        let bytes = self.parts.store.sizes().file_bytes;
        info!(bytes, is_mostly_free, "rewriting the state file");
        let (files, store) = (self.parts.files.clone(), self.parts.store.clone());
        let (lane, internal) = (self.snapshots.rewrite_lane.clone(), self.internal.clone());
        let space = self.room.space.clone();
        tokio::spawn(async move {
            let rewritten = lane.run(move || {
                let needed = fsm::staged_bytes(store.needs().rows_bytes);
                match space.fits_file(needed) {
                    Ok(()) => store.rewrite(files.create(number)?),
                    Err((needed, free)) => {
                        let what = format!("a copy needs {needed} bytes and the floor, and {free} are free");
                        Err(fsm::Error::GivenUp { what })
                    }
                }
            });
            let rewritten = rewritten.await;
            if let Some(result) = rewritten {
                let _ = internal.send(Internal::Snapshots(News::Rewritten { number, result }));
            }
        });
    }

    fn on_rewritten(&mut self, number: u64, result: Result<fsm::Rewritten, fsm::Error>) {
        let rewritten = match result {
            Ok(rewritten) => rewritten,
            Err(error) => return self.end_rewrite(number, &error),
        };
        let is_late = !self.rebuild.is_whole()
            || number <= self.snapshots.number
            || self.snapshots.staged.is_some()
            || self.snapshots.installing.is_some();
        if is_late {
            drop(rewritten);
            self.snapshots.rewriting = Rewriting::No;
            return self.remove_file(number);
        }
        self.snapshots.rewriting = Rewriting::Switching;
        let switched = self.parts.log.switch(self.parts.group, number);
        let store = self.parts.store.clone();
        let (lane, internal) = (self.snapshots.rewrite_lane.clone(), self.internal.clone());
        tokio::spawn(async move {
            if switched.await.is_err() {
                return;
            }
            if let Some(result) = lane.run(move || store.adopt(rewritten)).await {
                let _ = internal.send(Internal::Snapshots(News::Adopted { number, result }));
            }
        });
    }

    fn on_adopted(&mut self, number: u64, result: Result<(), fsm::Error>) {
        self.snapshots.rewriting = Rewriting::No;
        match result {
            Ok(()) => {
                self.snapshots.is_suspect = false;
                let before = std::mem::replace(&mut self.snapshots.number, number);
                self.room.space.set_state(number);
                info!(bytes = self.parts.store.sizes().file_bytes, "the state file was rewritten");
                self.remove_file(before);
            }
            // The pointer stands, and the store did not follow it, since the old file is damaged: no snapshot can have come in
            // between. The new one may be as good as the old one, or not: it is given up in its place.
            Err(error @ fsm::Error::Damaged { .. }) => {
                let before = std::mem::replace(&mut self.snapshots.number, number);
                self.remove_file(before);
                self.rebuild.faults.report(&error);
            }
            Err(error) => self.parts.fatal.report(Fatal::of_store(&error)),
        }
    }

    fn end_rewrite(&mut self, number: u64, error: &fsm::Error) {
        self.snapshots.rewriting = Rewriting::No;
        match error {
            fsm::Error::GivenUp { .. } | fsm::Error::NoRoom { .. } | fsm::Error::Undone { .. } => {
                info!(%error, "the state file is rewritten another time");
                self.remove_file(number);
            }
            fsm::Error::Damaged { .. } | fsm::Error::Lost => {
                self.remove_file(number);
                self.rebuild.faults.report(error);
            }
            error => self.parts.fatal.report(Fatal::of_store(error)),
        }
    }

    pub(super) fn on_snapshot_news(&mut self, news: News) {
        match news {
            News::Opened { wanted, opened: Ok(opened) } => self.on_opened(wanted, *opened),
            News::Opened { wanted, opened: Err(error) } => {
                self.rebuild.faults.report(&error);
                self.parts.raft.snapshot_sent(wanted.to, wanted.session, false);
            }
            News::Ended { to, session, ok } => self.on_ended(to, session, ok),
            News::Received(received) => self.on_received(*received),
            News::Rewritten { number, result } => self.on_rewritten(number, result),
            News::Adopted { number, result } => self.on_adopted(number, result),
        }
    }
}
