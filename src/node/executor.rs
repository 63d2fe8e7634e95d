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
    fn lane(&self, name: &str) -> Box<dyn RunJobs>;
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
        Lane(Arc::from(executor.lane(name)))
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
    fn lane(&self, name: &str) -> Box<dyn RunJobs> {
        // Unbounded on purpose: a lane's callers each bound what they have under way (see the module doc), and a
        // submit that blocked would block the driver.
        let (sender, receiver) = std::sync::mpsc::channel::<Job>();
        let run = move || receiver.into_iter().for_each(|job| job()());
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .expect("the system has a thread to give");
        Box::new(ThreadLane(sender))
    }
}

struct ThreadLane(std::sync::mpsc::Sender<Job>);

impl RunJobs for ThreadLane {
    fn submit(&self, job: Job) {
        // Fails only if the thread died of a panic in an earlier job: then the job is dropped, and its waiter sees
        // the lane gone.
        let _ = self.0.send(job);
    }
}
