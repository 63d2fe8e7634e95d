//! The one owner of the state machine's writes: applies committed entries in order, and keeps folds going behind.
//!
//! Entries come from the driver, bounded by the core (`apply_inflight_bytes_max`). Applying goes to memory. When the
//! write set is about half full a fold starts on its own lane; when it is full before that fold is done, the applier waits:
//! backpressure, never a growing heap. A fold also starts when much was applied since the last one, however small the
//! set: a few keys written over and over would otherwise pin the log for ever. A fold that may not fit on the disk is not
//! begun, and waits; so does one that found no room in the middle, and was undone (see `fsm::undo`). One that fails, or a
//! committed entry that cannot be decoded, stops the node: an entry is never skipped, or this node's state would differ from the others'.
//!
//! Where the file is damaged the state is lost (see `driver/rebuild.rs`), and with it what is given to it from then on: until
//! there is another one, the driver gives nothing new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc};
use tracing::{debug, info, warn};

use super::Fatal;
use super::executor::Lane;
use super::probe::SharedProbe;
use super::space::Space;
use super::state_faults::StateFaults;
use crate::command::Reply;
use crate::fsm::{self, Body, Fresh, Input, Store};
use crate::raft::{Entry, EntryKind};
use crate::types::{Index, Term};

/// What the applier tells the driver.
#[derive(Debug)]
pub(super) enum Applied {
    /// These entries are applied; one reply for each, contiguous.
    Entries(Vec<(Index, Term, Reply)>),
    /// A snapshot took the state's place.
    Installed(Index),
    /// The state file now holds everything up to this entry.
    Folded,
    /// A fold waits for room on the disk.
    FoldWaits,
    /// There is no state any more.
    GivenUp,
    /// There is an empty one.
    Begun,
}

/// What the driver has for the state machine, in order.
#[derive(Debug)]
pub(super) enum Work {
    /// Committed entries.
    Entries(Vec<Entry>),
    /// A state that takes the place of the present one: the pointer to it is durable (H26).
    Install(Box<Fresh>),
    /// To fold what is applied so far, however little it is: room is short, somebody needs a snapshot of it, or an operator
    /// asks for it.
    Fold,
    /// To let go of the present one: it is lost.
    GiveUp,
    /// An empty one in its place.
    Begin(Box<Fresh>),
}

/// Entries applied in one go: keeps the store's write lock, and the task, for a bounded time.
const ENTRIES_PER_STEP_MAX: usize = 256;

pub(super) struct Applier {
    pub store: Store,
    pub fold_lane: Lane,
    pub faults: StateFaults,
    pub space: Space,
    pub probe: Option<SharedProbe>,
    pub applied: mpsc::UnboundedSender<Applied>,
    /// Log applied since the last fold began, in bytes, at which another one is due.
    pub fold_log_bytes: usize,
}

impl Applier {
    /// Applies what comes until the driver is gone.
    pub async fn run(self, mut work: mpsc::UnboundedReceiver<Work>) {
        let mut folds = Folds::new();
        while let Some(work) = work.recv().await {
            match work {
                Work::Entries(batch) => {
                    for step in batch.chunks(ENTRIES_PER_STEP_MAX) {
                        if !self.take(step, &mut folds).await {
                            break;
                        }
                    }
                }
                Work::Install(fresh) | Work::Begin(fresh) => {
                    self.install(*fresh);
                    // One that failed was of a state that is gone.
                    folds = Folds::new();
                }
                Work::Fold => {
                    // What a state that took another's place had not folded was not counted here.
                    let is_behind =
                        !folds.folder.is_running() && self.store.folded().0 < self.store.applied().0;
                    if folds.unfolded > 0 || is_behind {
                        folds.unfolded = self.fold_log_bytes;
                    }
                    self.maybe_fold(&mut folds);
                }
                Work::GiveUp => match self.store.give_up() {
                    Ok(()) => drop(self.applied.send(Applied::GivenUp)),
                    Err(error) => self.faults.report(&error),
                },
            }
        }
    }

    /// Applies a step, when there is room for it; false if there is no state that could take it.
    async fn take(&self, step: &[Entry], folds: &mut Folds) -> bool {
        if self.store.is_full() && !self.make_room(folds).await {
            return false;
        }
        if let Err(error) = self.apply(step) {
            self.faults.report(&error);
            return false;
        }
        folds.unfolded += step.iter().map(|entry| entry.bytes() + RECORD_BYTES).sum::<usize>();
        self.maybe_fold(folds);
        true
    }

    /// Waits until the write set takes more, and says whether it ever will: not after a fold that failed.
    async fn make_room(&self, folds: &mut Folds) -> bool {
        self.maybe_fold(folds);
        if self.store.is_full() {
            debug!("writes wait for a fold");
            while self.store.is_full() {
                // Looked at first: whoever comes after one that was told so is told nothing any more.
                if folds.folder.has_failed() {
                    return false;
                }
                folds.folder.finished.notified().await;
                self.maybe_fold(folds);
            }
            debug!("writes go on");
        }
        true
    }

    fn install(&self, fresh: Fresh) {
        let index = fresh.applied().0;
        self.store.install(fresh);
        if let Some(probe) = &self.probe {
            probe.applied(index, self.store.state_hash());
        }
        let _ = self.applied.send(match index {
            Index(0) => Applied::Begun,
            index => Applied::Installed(index),
        });
    }

    fn apply(&self, entries: &[Entry]) -> Result<(), fsm::Error> {
        let inputs: Vec<Input> = entries.iter().map(Input::from).collect();
        let mut left = &inputs[..];
        while !left.is_empty() {
            let replies = self.store.apply_some(left)?;
            let (done, rest) = left.split_at(replies.len());
            let last = done.last().expect("one at least was applied");
            if let Some(probe) = &self.probe {
                probe.applied(last.index, self.store.state_hash());
            }
            let positions = done.iter().map(|input| (input.index, input.term));
            let applied = positions.zip(replies).map(|((index, term), reply)| (index, term, reply)).collect();
            // The driver is gone only when the node is stopping.
            let _ = self.applied.send(Applied::Entries(applied));
            left = rest;
        }
        Ok(())
    }

    /// Starts a fold if one is due and none runs.
    fn maybe_fold(&self, folds: &mut Folds) {
        let is_early = folds.unfolded > 0 && self.space.is_short();
        let is_due = is_early || self.store.fold_due() || folds.unfolded >= self.fold_log_bytes;
        if !is_due || !folds.folder.begin() {
            return;
        }
        folds.unfolded = 0;
        // Here and not on the lane: the set ends where the fold was due, however long the lane takes to come to it.
        self.store.freeze();
        let (faults, applied, folder) = (self.faults.clone(), self.applied.clone(), folds.folder.clone());
        let waits = self.applied.clone();
        let waits = move || drop(waits.send(Applied::FoldWaits));
        let fold = fold(self.store.clone(), self.fold_lane.clone(), self.space.clone(), waits);
        debug!("a fold begins");
        tokio::spawn(async move {
            let folded = fold.await;
            folder.end(!matches!(folded, Folded::Done));
            debug!("a fold is done");
            match folded {
                Folded::Done => drop(applied.send(Applied::Folded)),
                Folded::Failed(error) => faults.report(&error),
                Folded::Stopping => debug!("the node stops before there was room for a fold"),
                Folded::LostThread => faults.lost_thread(),
            }
        });
    }
}

/// What became of a fold.
enum Folded {
    Done,
    Failed(fsm::Error),
    /// There was no room for it until the node stopped.
    Stopping,
    LostThread,
}

/// Folds what was set aside, once there is room for it (H18). One that seems not to fit is not begun: to undo it costs all that
/// it has written. Until then the sets stay, and so the applier waits when the other one is full. `waits` is told each time.
async fn fold(store: Store, lane: Lane, space: Space, waits: impl Fn()) -> Folded {
    let (mut has_waited, mut undone) = (false, 0_u32);
    loop {
        let (store, space_now) = (store.clone(), space.clone());
        let job = move || match space_now.fits_fold() {
            Ok(()) => store.fold().map(|_| None),
            Err(lacking) => Ok(Some(lacking)),
        };
        match lane.run(job).await {
            Some(Ok(None)) => {
                if has_waited || undone > 0 {
                    info!("there was room for the fold that waited");
                }
                return Folded::Done;
            }
            // Each is said once, however often the disk is asked until there is room.
            Some(Ok(Some((needed_bytes, free_bytes)))) => {
                if !std::mem::replace(&mut has_waited, true) {
                    warn!(
                        needed_bytes,
                        free_bytes, "a fold waits: the disk has no room for what it may write"
                    );
                }
            }
            Some(Err(error @ fsm::Error::Undone { .. })) => {
                if undone == 0 {
                    warn!(%error, "a fold waits: there was less room for it than it seemed");
                }
                undone += 1;
            }
            Some(Err(error)) => return Folded::Failed(error),
            None => return Folded::LostThread,
        }
        waits();
        // Each try that is undone has written for nothing.
        for _ in 0..undone.clamp(1, UNDONE_PAUSE_MAX) {
            if !space.asked_again().await {
                return Folded::Stopping;
            }
        }
    }
}

/// How often the disk is asked, at the most, between two folds of which one was undone.
const UNDONE_PAUSE_MAX: u32 = 8;

/// What is known of one state's folds.
struct Folds {
    folder: Arc<Folder>,
    /// Log applied since the last one began, in bytes.
    unfolded: usize,
}

impl Folds {
    fn new() -> Folds {
        Folds { folder: Arc::new(Folder::new()), unfolded: 0 }
    }
}

/// What an entry may cost on disk beyond its own bytes: it has a sector to itself when nothing is batched with it.
const RECORD_BYTES: usize = 512;

/// At most one fold at a time, and none after one that failed.
struct Folder {
    running: AtomicBool,
    failed: AtomicBool,
    finished: Notify,
}

impl Folder {
    fn new() -> Folder {
        Folder { running: AtomicBool::new(false), failed: AtomicBool::new(false), finished: Notify::new() }
    }

    fn begin(&self) -> bool {
        !self.has_failed() && !self.running.swap(true, Ordering::AcqRel)
    }

    fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn end(&self, failed: bool) {
        self.failed.store(failed, Ordering::Release);
        self.running.store(false, Ordering::Release);
        // Stores a permit if the applier does not wait yet, so no wake-up is lost.
        self.finished.notify_one();
    }
}

impl From<&Entry> for Input {
    fn from(entry: &Entry) -> Input {
        let body = match entry.kind {
            EntryKind::Noop => Body::Noop,
            EntryKind::Command => Body::Command(entry.payload.clone()),
            EntryKind::Membership => Body::Membership(entry.payload.clone()),
        };
        Input { index: entry.index, term: entry.term, body }
    }
}

impl Fatal {
    /// What a failure of the state machine means for the node.
    pub fn of_store(error: &fsm::Error) -> Fatal {
        match error {
            fsm::Error::Damaged { .. } | fsm::Error::Version { .. } | fsm::Error::Foreign { .. } => {
                Fatal::Damaged(error.to_string())
            }
            fsm::Error::Undecodable { .. } => Fatal::Broken(error.to_string()),
            _ => Fatal::Disk(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::clock::{SystemClock, timeout_at};
    use crate::command::{Command, Envelope, Op, Write};
    use crate::config::Limits;
    use crate::fsm::testing::CrashFile;
    use crate::node::executor::{Completion, Executor, Haste, Job, RunJobs};
    use crate::node::state_files::StateFiles;
    use crate::node::{FatalSender, LogWriter};
    use crate::raft::Membership;
    use crate::types::{ClusterId, GroupId, Incarnation, Keyspace, NodeId, Owner};
    use crate::wal::fs::testing::MemFs;
    use crate::wal::{self, Wal};

    const OWNER: Owner = Owner { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(2) };

    /// Runs each job at once, in the task that asks for it: where all wait, all is still.
    struct AtOnce;

    impl Executor for AtOnce {
        fn lane(&self, _: &str, _: Haste) -> Box<dyn RunJobs> {
            Box::new(AtOnce)
        }
    }

    impl RunJobs for AtOnce {
        fn submit(&self, job: Job) {
            let done: Completion = job();
            done();
        }
    }

    /// An applier on a disk that has no room for a fold.
    fn without_room() -> (Applier, mpsc::UnboundedReceiver<Applied>) {
        let (fs, lane) = (MemFs::new(), || Lane::open(&AtOnce, "any"));
        let options = wal::Options {
            owner: OWNER,
            segment_bytes: 8 << 10,
            bytes_max: 1 << 20,
            tail_bytes_max: 1 << 20,
        };
        let bootstrap = [(GroupId::FIRST, Membership::bootstrap([(NodeId(1), "a".to_owned())]))].into();
        let (wal, ..) = Wal::open(fs.shared(), Path::new("/wal"), options, &bootstrap).expect("a log");
        fs.set_capacity(Some(0));
        let options = fsm::Options {
            owner: OWNER,
            write_set_bytes_max: 10_000,
            cache_bytes: 1 << 20,
            session_inflight_max: 4,
            sessions_max: 3,
            session_replies_bytes_max: 1 << 20,
            idempotency_answers_max: 3,
            idempotency_spent_max: 3,
        };
        let store = Store::open(Box::new(CrashFile::new()), options.clone()).expect("a state");
        let open = Arc::new(|_: &Path| Err(fsm::Error::Lost));
        let files =
            StateFiles { dir: "/".into(), fs: fs.shared(), open, options, syncs: fsm::Syncs::default() };
        let (fatal, _) = FatalSender::channel();
        let clock = SystemClock::shared();
        let (log, _) = LogWriter::start(wal, lane(), lane(), 0, clock, fatal.clone());
        let (applied, news) = mpsc::unbounded_channel();
        let applier = Applier {
            space: Space::new(files, 0, store.clone(), log, &Limits::default()),
            store,
            fold_lane: lane(),
            faults: StateFaults::new(fatal),
            probe: None,
            applied,
            fold_log_bytes: 1 << 20,
        };
        (applier, news)
    }

    fn entry(index: u64) -> Entry {
        let op = Op::Put { key: Bytes::from(index.to_string()), value: Bytes::from(vec![b'v'; 1_000]) };
        let command = Command::Write(Write { keyspace: Keyspace(0), conditions: vec![], ops: vec![op] });
        let envelope =
            Envelope { term: Term(1), group_time_ms: 0, session: None, principal: String::new(), command };
        Entry::new(Index(index), Term(1), EntryKind::Command, crate::codec::encode_envelope(&envelope))
    }

    /// Each batch that waits is told that it waits in vain, and not the first one alone.
    #[tokio::test(start_paused = true)]
    async fn an_applier_whose_fold_waits_for_room_ends_when_the_node_stops() {
        let (applier, mut news) = without_room();
        let (store, space) = (applier.store.clone(), applier.space.clone());
        let (work, given) = mpsc::unbounded_channel();
        for index in 1..=50 {
            work.send(Work::Entries(vec![entry(index)])).expect("it listens");
        }
        let running = tokio::spawn(applier.run(given));
        while !store.is_full() {
            news.recv().await.expect("it goes on");
        }
        assert!(store.applied().0 < Index(48), "several batches wait: {:?}", store.applied());
        space.close();
        drop(work);
        // Time is the test's own: it passes when nobody can do anything any more.
        let clock = SystemClock::shared();
        let ended = timeout_at(&*clock, clock.now().plus(Duration::from_secs(1)), running).await;
        ended.expect("it waits for ever").expect("it does not panic");
    }
}
