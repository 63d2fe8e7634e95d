//! The executor seam: where blocking work (log writes, folds, reading the log back) runs.
//!
//! A [`Lane`] runs its jobs one after another, in the order they were given. Production gives each lane a thread;
//! the simulation runs each job at a seeded instant and delivers its completion later, or, after a crash, never.
//! That is why a job hands its completion back instead of sending it itself: between the two lies the state "on disk,
//! and nobody knows yet", which a crash must be able to meet.

use std::sync::Arc;

use tokio::sync::oneshot;

/// A unit of blocking work. It returns what tells its waiter the outcome.
pub type Job = Box<dyn FnOnce() -> Completion + Send>;

/// Tells a job's waiter what the job returned.
pub type Completion = Box<dyn FnOnce() + Send>;

/// Makes lanes.
pub trait Executor: Send + Sync + 'static {
    /// A new lane. `name` appears in thread names and traces.
    fn lane(&self, name: &str, haste: Haste) -> Box<dyn RunJobs>;
}

/// Whether somebody waits for what a lane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// A request does, or a promise to a peer.
    Awaited,
    /// Nobody does: it takes what processor time the others leave. It must not hold what they wait for.
    Background,
}

/// One lane's queue.
pub trait RunJobs: Send + Sync {
    /// Queues a job behind those given before. Never blocks; the callers bound what they have under way.
    fn submit(&self, job: Job);
}

/// An executor, shared by all parts of a node.
pub type SharedExecutor = Arc<dyn Executor>;

/// A handle of a lane, cheap to clone.
#[derive(Clone)]
pub struct Lane(Arc<dyn RunJobs>);

impl Lane {
    /// Opens a lane.
    pub fn open(executor: &dyn Executor, name: &str) -> Lane {
        Lane(Arc::from(executor.lane(name, Haste::Awaited)))
    }

    /// Opens a lane for what nobody waits for.
    pub fn open_background(executor: &dyn Executor, name: &str) -> Lane {
        Lane(Arc::from(executor.lane(name, Haste::Background)))
    }

    /// Runs `job` in turn and returns what it returned; `None` if the lane is gone (the node is being dropped, or
    /// the job panicked).
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.0.submit(Box::new(move || {
            let value = job();
            // The receiver may be gone: then nobody waits for the value any more.
            Box::new(move || drop(sender.send(value)))
        }));
        receiver.await.ok()
    }
}

/// The production executor: a thread a lane, that ends when the lane's last handle is dropped.
#[derive(Debug)]
pub struct ThreadExecutor;

impl Executor for ThreadExecutor {
    #[allow(clippy::disallowed_methods, reason = "this is the executor seam")]
    fn lane(&self, name: &str, haste: Haste) -> Box<dyn RunJobs> {
        // Unbounded on purpose: a lane's callers each bound what they have under way (see the module doc), and a
        // submit that blocked would block the driver.
        let (sender, receiver) = std::sync::mpsc::channel::<Job>();
        let run = move || {
            if haste == Haste::Background {
                stand_back();
            }
            receiver.into_iter().for_each(|job| job()());
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .expect("the system has a thread to give");
        Box::new(ThreadLane(sender))
    }
}

/// The niceness of a background lane: about a tenth of the share of an ordinary thread, where both want the processor.
const BACKGROUND_NICE: i32 = 10;

/// Makes this thread one that others go before. Where the system does not allow it, it goes on as it was.
#[cfg(target_os = "linux")]
fn stand_back() {
    // On Linux each thread has a niceness of its own, and this call takes a thread's id as well as a process's.
    let thread = rustix::thread::gettid();
    // A whole process that stands back further goes on doing so.
    if rustix::process::getpriority_process(Some(thread)).is_ok_and(|nice| nice < BACKGROUND_NICE) {
        let _ = rustix::process::setpriority_process(Some(thread), BACKGROUND_NICE);
    }
}

#[cfg(not(target_os = "linux"))]
fn stand_back() {}

struct ThreadLane(std::sync::mpsc::Sender<Job>);

impl RunJobs for ThreadLane {
    fn submit(&self, job: Job) {
        // Fails only if the thread died of a panic in an earlier job: then the job is dropped, and its waiter sees
        // the lane gone.
        let _ = self.0.send(job);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_stands_back() {
        let niceness = || {
            let thread = rustix::thread::gettid();
            rustix::process::getpriority_process(Some(thread)).expect("a thread knows its own")
        };
        let before = niceness();
        let awaited = Lane::open(&ThreadExecutor, "awaited").run(niceness).await;
        let background = Lane::open_background(&ThreadExecutor, "background").run(niceness).await;
        assert_eq!((awaited, background), (Some(before), Some(BACKGROUND_NICE.max(before))));
        assert_eq!(niceness(), before, "another thread stood back");
    }
}
