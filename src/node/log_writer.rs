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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::executor::Lane;
use super::{Fatal, FatalSender};
use crate::raft::{Membership, WriteSeq};
use crate::types::{GroupId, Index, Term};
use crate::wal::{self, Freed, GroupWrite, Wal};

/// Batches of one append, at most so many writes.
const WRITES_PER_BATCH_MAX: usize = 1_024;

/// A handle of the log writer, cheap to clone.
#[derive(Clone)]
pub struct LogWriter {
    requests: mpsc::UnboundedSender<Request>,
    bytes: Arc<AtomicU64>,
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
        fatal: FatalSender,
    ) -> (LogWriter, tokio::task::JoinHandle<()>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        let bytes = Arc::new(AtomicU64::new(wal.bytes()));
        let tails = Tails::default();
        let (freed, to_remove) = mpsc::unbounded_channel();
        tokio::spawn(remove(to_remove, removals, fatal.clone()));
        let service = Service {
            wal: Arc::new(Mutex::new(wal)),
            lane,
            fatal,
            bytes: bytes.clone(),
            tail_bytes,
            tails: tails.clone(),
            freed,
        };
        (LogWriter { requests, bytes, tails }, tokio::spawn(service.run(receiver)))
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
}

/// What is to be recorded of where groups' logs begin, and which state files belong to them.
struct Points {
    purges: Vec<(GroupId, (Index, Term), Membership)>,
    switches: Vec<(GroupId, u64)>,
}

impl Points {
    fn is_empty(&self) -> bool {
        self.purges.is_empty() && self.switches.is_empty()
    }
}

struct Service {
    wal: Arc<Mutex<Wal>>,
    lane: Lane,
    fatal: FatalSender,
    bytes: Arc<AtomicU64>,
    tail_bytes: u64,
    tails: Tails,
    /// To [`remove`]; bounded by the segments there are.
    freed: mpsc::UnboundedSender<Freed>,
}

/// Removes the files of segments that nobody needs, in the order in which they were freed. Writes do not wait for it.
async fn remove(mut freed: mpsc::UnboundedReceiver<Freed>, lane: Lane, fatal: FatalSender) {
    while let Some(freed) = freed.recv().await {
        // Without an answer the node is stopping: its next start frees what is left.
        if let Some(Err(error)) = lane.run(move || freed.remove()).await {
            fatal.report(Fatal::of_log(&error));
        }
    }
}

impl Service {
    async fn run(self, mut receiver: mpsc::UnboundedReceiver<Request>) {
        let mut requests = Vec::new();
        while receiver.recv_many(&mut requests, WRITES_PER_BATCH_MAX).await > 0 {
            let mut batch = Vec::new();
            let mut completions = Vec::new();
            let (mut purges, mut switches) = (Vec::new(), Vec::new());
            for request in requests.drain(..) {
                match request {
                    Request::Write { seq, write, done } => {
                        completions.push((seq, done));
                        if !write.is_empty() {
                            batch.push(write);
                        }
                    }
                    Request::Purge { group, to, base } => purges.push((group, to, base)),
                    Request::Switch { group, state, done } => switches.push((group, state, done)),
                }
            }
            let points = Points {
                purges,
                switches: switches.iter().map(|(group, state, _)| (*group, *state)).collect(),
            };
            let is_empty = batch.is_empty() && points.is_empty();
            if !is_empty && !self.store(batch, points).await {
                return;
            }
            for (_, _, done) in switches {
                let _ = done.send(());
            }
            for (seq, done) in completions {
                // The driver is gone only when the node is stopping.
                let _ = done.send(seq);
            }
        }
    }

    /// Appends, purges and switches on the lane; false once the node must stop.
    async fn store(&self, batch: Vec<GroupWrite>, points: Points) -> bool {
        let (wal, tails, tail_bytes) = (self.wal.clone(), self.tails.clone(), self.tail_bytes);
        let freed = self.freed.clone();
        let job = move || -> Result<u64, wal::Error> {
            let mut wal = wal.lock().unwrap_or_else(PoisonError::into_inner);
            if !batch.is_empty() {
                wal.append(&batch)?;
            }
            for (group, to, base) in &points.purges {
                wal.purge(*group, *to, base)?;
            }
            for (group, state) in &points.switches {
                wal.switch(*group, *state)?;
            }
            // Sent under the log's lock: what is freed first is removed first.
            if let Some(segments) = wal.take_freed() {
                // The other end is gone only when the node is stopping.
                let _ = freed.send(segments);
            }
            let groups: BTreeSet<GroupId> = batch.iter().map(|write| write.group).collect();
            for group in groups {
                let first = wal.first_within(group, tail_bytes);
                tails.lock().unwrap_or_else(PoisonError::into_inner).insert(group, first);
            }
            Ok(wal.bytes())
        };
        match self.lane.run(job).await {
            Some(Ok(bytes)) => {
                self.bytes.store(bytes, Ordering::Relaxed);
                true
            }
            Some(Err(error)) => {
                self.fatal.report(Fatal::of_log(&error));
                false
            }
            None => {
                self.fatal.report(Fatal::Broken("the log's thread stopped".into()));
                false
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
