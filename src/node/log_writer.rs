//! The one writer of the node's log: group commit for all groups.
//!
//! Whatever was handed over while one fsync ran goes out together with the next (one un-synced batch at a time, see
//! `wal`). Completions go back to each group's driver in order. The queue is unbounded in type; what feeds it is bounded:
//! a leader's by its uncommitted bytes, a follower's by its leader's in-flight window. While a leader's own disk hangs and
//! the others commit without it, its queue grows by what they commit; after the disk stall timeout the core steps down
//! (see `raft::disk`), so the bound there is what a group takes in that time. A leader that stays, since nothing commits
//! without its disk, is held by its uncommitted bytes.
//!
//! A failed write or fsync is final: nothing is retried, nothing more is completed, and the node stops.
//!
//! Where the log finds no room for its next segment nothing has failed (see `wal::room`): what waits is kept, purges go
//! before it, and it is tried again every [`NO_ROOM_PAUSE`]. The core sees a disk that hangs, and acts on that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::executor::Lane;
use super::{Fatal, FatalSender};
use crate::clock::{SharedClock, sleep, timeout_at};
use crate::raft::{Membership, WriteSeq};
use crate::types::{GroupId, Index, Term};
use crate::wal::{self, Freed, GroupWrite, Removed, Wal};

/// How long the log pauses before it looks for room again.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(200);

/// Batches of one append, at most so many writes.
const WRITES_PER_BATCH_MAX: usize = 1_024;

/// A handle of the log writer, cheap to clone.
#[derive(Clone)]
pub struct LogWriter {
    requests: mpsc::UnboundedSender<Request>,
    bytes: Arc<AtomicU64>,
    syncs: wal::Syncs,
    tails: Tails,
}

/// Where the newest `log_tail_bytes` of each group's log begin, as of the last append.
type Tails = Arc<Mutex<BTreeMap<GroupId, Index>>>;

enum Request {
    Write { seq: WriteSeq, write: GroupWrite, done: mpsc::UnboundedSender<WriteSeq> },
    Purge { group: GroupId, to: (Index, Term), base: Membership },
    Switch { group: GroupId, state: u64, done: oneshot::Sender<()> },
}

impl LogWriter {
    /// Starts the writer over an open log. `lane` runs the blocking work, `removals` that of removing segments nobody
    /// needs; `tail_bytes` are kept for members that lag.
    pub fn start(
        wal: Wal,
        lane: Lane,
        removals: Lane,
        tail_bytes: u64,
        clock: SharedClock,
        fatal: FatalSender,
    ) -> (LogWriter, tokio::task::JoinHandle<()>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        let (bytes, syncs) = (Arc::new(AtomicU64::new(wal.bytes())), wal.syncs());
        let tails = Tails::default();
        let (freed, to_remove) = mpsc::unbounded_channel();
        tokio::spawn(remove(to_remove, removals, clock.clone(), fatal.clone()));
        let service = Service {
            wal: Arc::new(Mutex::new(wal)),
            lane,
            clock,
            fatal,
            bytes: bytes.clone(),
            tail_bytes,
            tails: tails.clone(),
            freed,
        };
        (LogWriter { requests, bytes, syncs, tails }, tokio::spawn(service.run(receiver)))
    }

    /// Hands over one write of a group; `done` receives `seq` once it, and all before it, is on disk.
    pub(super) fn write(&self, seq: WriteSeq, write: GroupWrite, done: &mpsc::UnboundedSender<WriteSeq>) {
        // Fails only when the writer has stopped: then the node is stopping too.
        let _ = self.requests.send(Request::Write { seq, write, done: done.clone() });
    }

    /// Lets the log forget a group's entries up to `to`; `base` is the membership in force there.
    pub(super) fn purge(&self, group: GroupId, to: (Index, Term), base: Membership) {
        let _ = self.requests.send(Request::Purge { group, to, base });
    }

    /// Lets a group's log belong to another state file, which holds the same as the one before. Answers when that is
    /// durable; not at all if the node stops.
    pub(super) fn switch(&self, group: GroupId, state: u64) -> oneshot::Receiver<()> {
        let (done, switched) = oneshot::channel();
        let _ = self.requests.send(Request::Switch { group, state, done });
        switched
    }

    /// Where the tail of a group's log begins that is kept for members that lag; 1 if nothing was written yet.
    pub(super) fn tail_first(&self, group: GroupId) -> Index {
        let tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        tails.get(&group).copied().unwrap_or(Index(1))
    }

    /// The log's size on disk in bytes, as of the last append.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How often the log's files were synced since the node began.
    pub fn syncs(&self) -> u64 {
        self.syncs.count()
    }
}

/// Work that was gathered for one append, and what of it is not done yet.
#[derive(Default)]
struct Work {
    batch: Vec<GroupWrite>,
    purges: VecDeque<(GroupId, (Index, Term), Membership)>,
    switches: VecDeque<(GroupId, u64)>,
    completions: Vec<(WriteSeq, mpsc::UnboundedSender<WriteSeq>)>,
    switched: Vec<oneshot::Sender<()>>,
}

impl Work {
    fn gather(&mut self, requests: impl Iterator<Item = Request>) {
        for request in requests {
            match request {
                Request::Write { seq, write, done } => {
                    self.completions.push((seq, done));
                    if !write.is_empty() {
                        self.batch.push(write);
                    }
                }
                Request::Purge { group, to, base } => self.purges.push_back((group, to, base)),
                Request::Switch { group, state, done } => {
                    self.switches.push_back((group, state));
                    self.switched.push(done);
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.batch.is_empty() && self.purges.is_empty() && self.switches.is_empty()
    }

    /// Does it, on the lane. Where there is no room, what could not be done is still there.
    fn store(&mut self, wal: &mut Wal, tails: &Tails, tail_bytes: u64) -> Result<(), wal::Error> {
        let groups: BTreeSet<GroupId> = self.batch.iter().map(|write| write.group).collect();
        match self.append(wal) {
            // What is purged is on disk for long: it waits for no append, and may make room for this one.
            Err(wal::Error::NoRoom { .. }) => {
                self.purge(wal)?;
                self.append(wal)?;
            }
            appended => appended?,
        }
        self.purge(wal)?;
        while let Some((group, state)) = self.switches.front() {
            wal.switch(*group, *state)?;
            self.switches.pop_front();
        }
        for group in groups {
            let first = wal.first_within(group, tail_bytes);
            tails.lock().unwrap_or_else(PoisonError::into_inner).insert(group, first);
        }
        Ok(())
    }

    fn append(&mut self, wal: &mut Wal) -> Result<(), wal::Error> {
        if !self.batch.is_empty() {
            wal.append(&self.batch)?;
            self.batch.clear();
        }
        Ok(())
    }

    fn purge(&mut self, wal: &mut Wal) -> Result<(), wal::Error> {
        while let Some((group, to, base)) = self.purges.front() {
            wal.purge(*group, *to, base)?;
            self.purges.pop_front();
        }
        Ok(())
    }

    fn complete(self) {
        for done in self.switched {
            let _ = done.send(());
        }
        for (seq, done) in self.completions {
            // The driver is gone only when the node is stopping.
            let _ = done.send(seq);
        }
    }
}

/// What became of work.
enum Stored {
    /// It is done.
    All(Work),
    /// There was no room for all of it: the rest is to be tried again.
    Part(Work, wal::Error),
    /// The node must stop.
    Failed,
}

struct Service {
    wal: Arc<Mutex<Wal>>,
    lane: Lane,
    clock: SharedClock,
    fatal: FatalSender,
    bytes: Arc<AtomicU64>,
    tail_bytes: u64,
    tails: Tails,
    /// To [`remove`]; bounded by the segments there are.
    freed: mpsc::UnboundedSender<Freed>,
}

/// Between two steps in which the space of segments is given back: writes have their turn.
const GIVE_BACK_PAUSE: Duration = Duration::from_millis(2);

/// Removes the files of segments that nobody needs, in the order in which they were freed. Writes do not wait for it.
async fn remove(
    mut freed: mpsc::UnboundedReceiver<Freed>,
    lane: Lane,
    clock: SharedClock,
    fatal: FatalSender,
) {
    while let Some(freed) = freed.recv().await {
        // Without an answer the node is stopping: its next start frees what is left.
        match lane.run(move || freed.remove()).await {
            Some(Ok(removed)) => give_back(removed, &lane, &clock).await,
            Some(Err(error)) => fatal.report(Fatal::of_log(&error)),
            None => {}
        }
    }
}

async fn give_back(mut removed: Removed, lane: &Lane, clock: &SharedClock) {
    while let Some(Some(rest)) = lane.run(move || removed.give_back().then_some(removed)).await {
        removed = rest;
        sleep(&**clock, GIVE_BACK_PAUSE).await;
    }
}

impl Service {
    async fn run(self, mut receiver: mpsc::UnboundedReceiver<Request>) {
        let mut requests = Vec::new();
        while receiver.recv_many(&mut requests, WRITES_PER_BATCH_MAX).await > 0 {
            let mut work = Work::default();
            work.gather(requests.drain(..));
            if !work.is_done() {
                match self.store(work).await {
                    Stored::All(done) => work = done,
                    Stored::Part(rest, error) => {
                        warn!(%error, "the log waits for room: nothing is acknowledged meanwhile");
                        let Some(done) = self.wait_for_room(rest, &mut receiver).await else { return };
                        info!("the log has room again");
                        work = done;
                    }
                    Stored::Failed => return,
                }
            }
            work.complete();
        }
    }

    /// Tries again until there is room; `None` once the node stops. To its core this node is one whose disk hangs.
    async fn wait_for_room(
        &self,
        mut work: Work,
        receiver: &mut mpsc::UnboundedReceiver<Request>,
    ) -> Option<Work> {
        let mut requests = Vec::new();
        loop {
            let next = self.clock.now().plus(NO_ROOM_PAUSE);
            let more = receiver.recv_many(&mut requests, WRITES_PER_BATCH_MAX);
            if timeout_at(&*self.clock, next, more).await == Some(0) {
                return None;
            }
            let is_waiting_only = work.purges.is_empty();
            work.gather(requests.drain(..));
            // Writes alone make no room: they wait with the others.
            if is_waiting_only && work.purges.is_empty() && self.clock.now() < next {
                self.clock.sleep_until(next).await;
            }
            match self.store(work).await {
                Stored::All(done) => return Some(done),
                Stored::Part(rest, _) => work = rest,
                Stored::Failed => return None,
            }
        }
    }

    /// Appends, purges and switches on the lane.
    async fn store(&self, mut work: Work) -> Stored {
        let (wal, tails, tail_bytes) = (self.wal.clone(), self.tails.clone(), self.tail_bytes);
        let freed = self.freed.clone();
        let job = move || {
            let mut wal = wal.lock().unwrap_or_else(PoisonError::into_inner);
            let result = work.store(&mut wal, &tails, tail_bytes);
            // Sent under the log's lock: what is freed first is removed first.
            if let Some(segments) = wal.take_freed() {
                // The other end is gone only when the node is stopping.
                let _ = freed.send(segments);
            }
            (work, result, wal.bytes())
        };
        match self.lane.run(job).await {
            Some((work, result, bytes)) => {
                self.bytes.store(bytes, Ordering::Relaxed);
                match result {
                    Ok(()) => Stored::All(work),
                    Err(error @ wal::Error::NoRoom { .. }) => Stored::Part(work, error),
                    Err(error) => {
                        self.fatal.report(Fatal::of_log(&error));
                        Stored::Failed
                    }
                }
            }
            None => {
                self.fatal.report(Fatal::Broken("the log's thread stopped".into()));
                Stored::Failed
            }
        }
    }
}

impl Fatal {
    /// What a failure of the log means for the node.
    pub fn of_log(error: &wal::Error) -> Fatal {
        match error {
            wal::Error::Damaged { .. } | wal::Error::Version { .. } | wal::Error::Foreign { .. } => {
                Fatal::Damaged(error.to_string())
            }
            _ => Fatal::Disk(error.to_string()),
        }
    }
}
