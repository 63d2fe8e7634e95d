//! The executor seam: a lane's jobs run one after another at seeded instants, on the simulated time line.
//!
//! A job happens at one instant, some time after it was given; what it did to the disk is done then. Its waiter learns
//! of it some time later still: the lane has gone on to other jobs by then, and the completions of two jobs may come in
//! either order, as the wake-ups of two tasks may in production. A node that crashes between the two has on its disk
//! what it never knew to be there. While a node is paused its lanes stand still.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate::node::executor::{Executor, Job, RunJobs, SharedExecutor};
use tokio::sync::mpsc;

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

/// The executor of one boot of a node.
#[derive(Debug)]
pub struct SimExecutor {
    node: String,
    seed: u64,
    lanes: Mutex<u64>,
    delays: Delays,
    power: SharedPower,
    trace: SharedTrace,
}

impl SimExecutor {
    /// An executor whose lanes draw from `seed`, as long as `power` lasts.
    pub fn shared(
        node: &str,
        seed: u64,
        delays: Delays,
        power: SharedPower,
        trace: SharedTrace,
    ) -> SharedExecutor {
        Arc::new(SimExecutor { node: node.to_owned(), seed, lanes: Mutex::new(0), delays, power, trace })
    }
}

impl Executor for SimExecutor {
    fn lane(&self, name: &str) -> Box<dyn RunJobs> {
        let number = {
            let mut lanes = self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *lanes += 1;
            *lanes
        };
        // Unbounded as the production lane is: its callers bound what they have under way.
        let (sender, receiver) = mpsc::unbounded_channel();
        let runner = Runner {
            label: format!("{} lane {name}", self.node),
            rng: crate::seed::generator(self.seed, name, number),
            delays: self.delays,
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
    rng: fastrand::Rng,
    delays: Delays,
    power: SharedPower,
    trace: SharedTrace,
}

impl Runner {
    async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut number = 0_u64;
        while let Some(job) = jobs.recv().await {
            number += 1;
            tokio::time::sleep(self.draw(self.delays.job_max)).await;
            self.power.running().await;
            let completion = job();
            self.trace.record(&self.label, "job", format_args!("{number}"), &[]);
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
        if self.delays.slow_one_in > 0 && self.rng.u32(0..self.delays.slow_one_in) == 0 {
            return drawn * 10;
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use quorate::node::executor::Lane;

    use super::*;
    use crate::cluster::power::Power;
    use crate::trace::Trace;

    const DELAYS: Delays = Delays {
        job_max: Duration::from_millis(3),
        completion_max: Duration::from_millis(10),
        slow_one_in: 5,
    };

    /// The jobs that ran, and those whose waiter knew, at the end of each of `steps` milliseconds. Power goes at `cut`.
    fn run(seed: u64, steps: u64, cut: u64) -> Vec<(Vec<u32>, Vec<u32>)> {
        let mut sim = turmoil::Builder::new().rng_seed(1).build();
        let (power, trace) =
            (Power::on(), Trace::new(crate::cluster::entropy::now, None).expect("no sink to fail"));
        let (ran, known) = (Arc::new(Mutex::new(Vec::new())), Rc::new(RefCell::new(Vec::new())));
        let (job_ran, waiter_knew, node_power) = (ran.clone(), known.clone(), power.clone());
        sim.client("node1", async move {
            let executor = SimExecutor::shared("node1", seed, DELAYS, node_power, trace);
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
            if step == cut {
                power.cut();
            }
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
    fn after_the_cut_nothing_runs_and_nothing_is_known() {
        let history = run(1, 1_000, 20);
        let (at_the_cut, end) = (&history[20], history.last().expect("there are steps"));
        assert_eq!(at_the_cut, end);
        assert!(end.0.len() > end.1.len(), "some ran that nobody knows of");
    }
}
