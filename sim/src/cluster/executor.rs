//! The executor seam: a lane's jobs run one after another at seeded instants, on the simulated time line.
//!
//! A job happens at one instant, some time after it was given; what it did to the disk is done then. Its waiter learns
//! of it some time later still: the lane has gone on to other jobs by then, and the completions of two jobs may come in
//! either order, as the wake-ups of two tasks may in production. A node that crashes between the two has on its disk
//! what it never knew to be there. While a node is paused its lanes stand still.
//!
//! How a disk keeps up is seen here, too ([`Pace`]): a job that hangs keeps its lane, and the lanes beside it go on. The
//! jobs of a hung lane stand either before their first call, so that nothing of them is on disk, or after their last, so
//! that all of it is and nobody knows; what lies between is the power cut's to meet.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use quorate::node::executor::{Executor, Haste, Job, RunJobs, SharedExecutor};
use tokio::sync::mpsc;

use crate::cluster::faults::kind::Kind;
use crate::cluster::faults::ledger::SharedLedger;
use crate::cluster::power::SharedPower;
use crate::trace::SharedTrace;

/// How long jobs and completions take.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// The longest that a job waits for its instant once it is its turn.
    pub job_max: Duration,
    /// The longest that its completion takes.
    pub completion_max: Duration,
    /// One in so many jobs is slow: ten times as long. 0: none.
    pub slow_one_in: u32,
}

/// How a node's disk keeps up. It outlives the node's boots. A fault of it is entered in the ledger when the first job
/// meets it.
#[derive(Debug)]
pub struct Pace {
    node: u64,
    ledger: SharedLedger,
    state: Mutex<PaceState>,
}

/// A pace, shared by the lanes and the world.
pub type SharedPace = Arc<Pace>;

#[derive(Debug, Default)]
struct PaceState {
    hang: Option<Hang>,
    /// Whether a job has met the hang.
    is_hang_met: bool,
    /// Who waits for the end of the hang.
    waiting: Vec<Waker>,
    /// How much longer than usual everything takes; 0: as usual.
    slowness: u32,
    /// Whether a job has met the slowness.
    is_slowness_met: bool,
    /// How late the next job of the log comes back.
    late: Option<Duration>,
}

/// A disk that does not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hang {
    /// Which lanes notice.
    pub lanes: Lanes,
    /// Whether jobs hang at their end, when all they wrote is durable, or before their beginning.
    pub at_the_end: bool,
}

/// Which lanes a hang holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// All of them.
    All,
    /// The log's.
    Log,
    /// The state machine's.
    Fold,
}

/// The lane of the log's writer.
const LOG_LANE: &str = "wal";

/// The lane of the state machine's folds.
const FOLD_LANE: &str = "fold";

impl Hang {
    /// A hang, drawn.
    pub fn draw(rng: &mut fastrand::Rng) -> Hang {
        let lanes = [Lanes::All, Lanes::Log, Lanes::Log, Lanes::Fold][rng.usize(..4)];
        Hang { lanes, at_the_end: rng.bool() }
    }

    fn holds(self, lane: &str, at_the_end: bool) -> bool {
        let is_meant = match self.lanes {
            Lanes::All => true,
            Lanes::Log => lane == LOG_LANE,
            Lanes::Fold => lane == FOLD_LANE,
        };
        is_meant && self.at_the_end == at_the_end
    }
}

impl Pace {
    /// The pace of `node`'s disk, as it should be.
    pub fn new(node: u64, ledger: SharedLedger) -> SharedPace {
        Arc::new(Pace { node, ledger, state: Mutex::default() })
    }

    /// The disk does not come back from now on.
    pub fn hang(&self, hang: Hang) {
        self.unhang();
        self.lock().hang = Some(hang);
    }

    /// It comes back.
    pub fn unhang(&self) {
        let (waiting, hang) = {
            let mut state = self.lock();
            state.is_hang_met = false;
            (std::mem::take(&mut state.waiting), state.hang.take())
        };
        if let Some(hang) = hang {
            self.ledger.end(Kind::DiskHang, self.node, &format!("{hang:?}"));
        }
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Everything takes `slowness` times as long from now on; 0: as usual.
    pub fn slow_down(&self, slowness: u32) {
        let mut state = self.lock();
        (state.slowness, state.is_slowness_met) = (slowness, false);
        drop(state);
        self.ledger.end(Kind::SlowDisk, self.node, "");
    }

    /// The next job of the log comes back this late; `None`: as usual.
    pub fn be_late(&self, late: Option<Duration>) {
        self.lock().late = late;
    }

    /// How many times as long a job takes that is met now.
    fn slowness(&self) -> u32 {
        let mut state = self.lock();
        let slowness = state.slowness.max(1);
        if slowness > 1 && !std::mem::replace(&mut state.is_slowness_met, true) {
            self.ledger.begin(Kind::SlowDisk, self.node, "");
        }
        slowness
    }

    /// How late a job of this lane comes back that is at its end now.
    fn take_late(&self, lane: &str) -> Option<Duration> {
        let late = if lane == LOG_LANE { self.lock().late.take() } else { None }?;
        self.ledger.fire(Kind::LateSync, self.node, &format!("{late:?}"));
        Some(late)
    }

    /// Waits while a job of this lane hangs.
    async fn passes(&self, lane: &str, at_the_end: bool) {
        std::future::poll_fn(|context| {
            let mut state = self.lock();
            let Some(hang) = state.hang.filter(|hang| hang.holds(lane, at_the_end)) else {
                return Poll::Ready(());
            };
            if !std::mem::replace(&mut state.is_hang_met, true) {
                self.ledger.begin(Kind::DiskHang, self.node, &format!("{hang:?}"));
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, PaceState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The executor of one boot of a node.
#[derive(Debug)]
pub struct SimExecutor {
    node: String,
    seed: u64,
    lanes: Mutex<u64>,
    delays: Delays,
    pace: SharedPace,
    power: SharedPower,
    trace: SharedTrace,
}

impl SimExecutor {
    /// An executor whose lanes draw from `seed`, as long as `power` lasts.
    pub fn shared(
        node: &str,
        seed: u64,
        delays: Delays,
        pace: SharedPace,
        power: SharedPower,
        trace: SharedTrace,
    ) -> SharedExecutor {
        let lanes = Mutex::new(0);
        Arc::new(SimExecutor { node: node.to_owned(), seed, lanes, delays, pace, power, trace })
    }
}

impl Executor for SimExecutor {
    fn lane(&self, name: &str, _: Haste) -> Box<dyn RunJobs> {
        let number = {
            let mut lanes = self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *lanes += 1;
            *lanes
        };
        // Unbounded as the production lane is: its callers bound what they have under way.
        let (sender, receiver) = mpsc::unbounded_channel();
        let runner = Runner {
            label: format!("{} lane {name}", self.node),
            lane: name.to_owned(),
            rng: crate::seed::generator(self.seed, name, number),
            delays: self.delays,
            pace: self.pace.clone(),
            power: self.power.clone(),
            trace: self.trace.clone(),
        };
        tokio::spawn(runner.run(receiver));
        Box::new(SimLane(sender))
    }
}

struct SimLane(mpsc::UnboundedSender<Job>);

impl RunJobs for SimLane {
    fn submit(&self, job: Job) {
        // Fails only while the node is being dropped: nobody waits any more.
        let _ = self.0.send(job);
    }
}

struct Runner {
    label: String,
    lane: String,
    rng: fastrand::Rng,
    delays: Delays,
    pace: SharedPace,
    power: SharedPower,
    trace: SharedTrace,
}

impl Runner {
    async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut number = 0_u64;
        while let Some(job) = jobs.recv().await {
            number += 1;
            tokio::time::sleep(self.draw(self.delays.job_max)).await;
            self.pace.passes(&self.lane, false).await;
            self.power.running().await;
            let completion = job();
            self.trace.record(&self.label, "job", format_args!("{number}"), &[]);
            self.pace.passes(&self.lane, true).await;
            if let Some(late) = self.pace.take_late(&self.lane) {
                tokio::time::sleep(late).await;
            }
            let wait = self.draw(self.delays.completion_max);
            let (label, power, trace) = (self.label.clone(), self.power.clone(), self.trace.clone());
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                power.running().await;
                trace.record(&label, "completion", format_args!("{number}"), &[]);
                completion();
            });
        }
    }

    fn draw(&mut self, max: Duration) -> Duration {
        let max_us = u64::try_from(max.as_micros()).expect("delays are short");
        let drawn = Duration::from_micros(self.rng.u64(0..=max_us));
        let is_slow = self.delays.slow_one_in > 0 && self.rng.u32(0..self.delays.slow_one_in) == 0;
        drawn * if is_slow { 10 } else { 1 } * self.pace.slowness()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use quorate::node::executor::Lane;

    use super::*;
    use crate::cluster::faults::ledger::Ledger;
    use crate::cluster::power::Power;
    use crate::trace::Trace;

    const DELAYS: Delays = Delays {
        job_max: Duration::from_millis(3),
        completion_max: Duration::from_millis(10),
        slow_one_in: 5,
    };

    /// The jobs that ran, and those whose waiter knew, at the end of each of `steps` milliseconds. Power goes at `cut`.
    fn run(seed: u64, steps: u64, cut: u64) -> Vec<(Vec<u32>, Vec<u32>)> {
        run_with(seed, steps, |step, power, _| {
            if step == cut {
                power.cut();
            }
        })
    }

    fn run_with(seed: u64, steps: u64, between: impl Fn(u64, &Power, &Pace)) -> Vec<(Vec<u32>, Vec<u32>)> {
        let mut sim = turmoil::Builder::new().rng_seed(1).build();
        let (power, trace) =
            (Power::on(), Trace::new(crate::cluster::entropy::now, None).expect("no sink to fail"));
        let (ran, known) = (Arc::new(Mutex::new(Vec::new())), Rc::new(RefCell::new(Vec::new())));
        let (job_ran, waiter_knew, node_power) = (ran.clone(), known.clone(), power.clone());
        let pace = Pace::new(1, Ledger::new(trace.clone()));
        let node_pace = pace.clone();
        sim.client("node1", async move {
            let executor = SimExecutor::shared("node1", seed, DELAYS, node_pace, node_power, trace);
            let lane = Lane::open(&*executor, "wal");
            for number in 0..20 {
                let (lane, ran, knew) = (lane.clone(), job_ran.clone(), waiter_knew.clone());
                tokio::task::spawn_local(async move {
                    let job = move || ran.lock().expect("no panic").push(number);
                    if lane.run(job).await.is_some() {
                        knew.borrow_mut().push(number);
                    }
                });
            }
            std::future::pending().await
        });
        let mut history = Vec::new();
        for step in 0..steps {
            between(step, &power, &pace);
            sim.step().expect("the host does not fail");
            history.push((ran.lock().expect("no panic").clone(), known.borrow().clone()));
        }
        history
    }

    #[test]
    fn jobs_run_in_order_and_are_known_later() {
        let history = run(1, 1_000, u64::MAX);
        let (ran, mut known) = history.last().cloned().expect("there are steps");
        assert_eq!(ran, (0..20).collect::<Vec<u32>>());
        assert!(history.iter().any(|(ran, known)| ran.len() > known.len() + 1), "the lane does not wait");
        assert_ne!(known, ran, "completions come in another order");
        known.sort_unstable();
        assert_eq!(known, ran, "and all come");
        assert_eq!(run(1, 1_000, u64::MAX), history, "the same seed does the same");
    }

    #[test]
    fn a_hang_keeps_a_lane_until_it_ends() {
        for at_the_end in [false, true] {
            let history = run_with(1, 3_000, |step, _, pace| match step {
                20 => pace.hang(Hang { lanes: Lanes::Log, at_the_end }),
                2_000 => pace.unhang(),
                _ => {}
            });
            let (begun, late, end) = (&history[100], &history[1_999], &history[2_999]);
            assert_eq!(begun, late, "nothing moves");
            assert!(late.0.len() < 20 && end.1.len() == 20, "and then everything does");
            assert_eq!(late.0.len() > late.1.len(), at_the_end, "done, and not known");
        }
        let elsewhere = run_with(1, 1_000, |_, _, pace| {
            pace.hang(Hang { lanes: Lanes::Fold, at_the_end: false });
        });
        assert_eq!(elsewhere[999].1.len(), 20, "another lane goes on");
    }

    #[test]
    fn after_the_cut_nothing_runs_and_nothing_is_known() {
        let history = run(1, 1_000, 20);
        let (at_the_cut, end) = (&history[20], history.last().expect("there are steps"));
        assert_eq!(at_the_cut, end);
        assert!(end.0.len() > end.1.len(), "some ran that nobody knows of");
    }
}
