//! Clients at work in the background: all operations, on all nodes.
//!
//! Some speak REST, each for itself, and some are programs that use the client library: several workers of one share its client, so
//! that their calls are pipelined in one session.
//!
//! Some keep to one node whatever happens to it, since one that is cut off must be asked, too; most go on to another
//! where they got no answer. From time to time a burst of further clients falls on the same few keys at one instant.
//!
//! A run needs enough calls to prove something, and no more than it can afford. So clients rest between calls, long while
//! as much was answered as the run's pace asks for by then, and hardly at all while it lags behind, as after a fault.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::entropy;
use crate::cluster::handle::{Cluster, Session};
use crate::cluster::library::{LEAVES_WITHIN, Library};
use crate::history::Outcome;

/// How many calls a second are to be answered, all clients together; one of these for each run.
const PACES: [u64; 3] = [25, 40, 60];

/// How long a client goes to other nodes after one gave no answer.
const AVOIDS: Duration = Duration::from_secs(1);

/// How many workers share a client of the library, at most.
const WORKERS_MAX: usize = 4;

/// Clients at work in the background.
pub struct Load {
    shared: Rc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    stop: Cell<bool>,
    began: Duration,
    /// Calls a second.
    pace: u64,
    answered: Cell<u64>,
}

impl Load {
    /// Puts `clients` clients to work, and as many more for bursts. A third of the first are programs with the library, each of several
    /// workers, and of the second about half, each of one.
    pub fn start(cluster: &Cluster, clients: usize) -> Load {
        let pace = cluster.draw(|rng| PACES[rng.usize(..PACES.len())]);
        let (stop, answered) = (Cell::new(false), Cell::new(0));
        let shared = Rc::new(Shared { stop, began: entropy::now(), pace, answered });
        let bursts = cluster.draw(fastrand::Rng::fork);
        let mut tasks = Vec::new();
        let libraries = cluster.draw(|rng| rng.usize(..3));
        for number in 0..clients {
            let mut worker = Worker::new(cluster, &shared, false);
            // A session that is not used for seconds is the first to go.
            worker.library = cluster.draw(fastrand::Rng::bool).then(|| Rc::new(cluster.library()));
            tasks.push(tokio::task::spawn_local(worker.burst(bursts.clone())));
            if number % 3 == libraries {
                let library = Rc::new(cluster.library());
                for _ in 0..cluster.draw(|rng| rng.usize(2..=WORKERS_MAX)) {
                    let mut worker = Worker::new(cluster, &shared, false);
                    worker.library = Some(library.clone());
                    tasks.push(tokio::task::spawn_local(worker.work()));
                }
                continue;
            }
            let worker = Worker::new(cluster, &shared, number % 4 == 3);
            tasks.push(tokio::task::spawn_local(worker.work()));
        }
        Load { shared, tasks }
    }

    /// Ends their work and waits for what is under way.
    pub async fn stop(self) {
        self.shared.stop.set(true);
        for task in self.tasks {
            // A panic in it has ended the run already.
            let _ = task.await;
        }
        // What comes then is to come without anybody's help: the library's clients close their sessions before.
        tokio::time::sleep(LEAVES_WITHIN).await;
    }
}

impl Shared {
    /// Counts an answer. Says whether it is one.
    fn count(&self, outcome: &Outcome) -> bool {
        let is_answered = matches!(outcome, Outcome::Done(_));
        self.answered.set(self.answered.get() + u64::from(is_answered));
        is_answered
    }

    /// Whether fewer calls were answered than the pace asks for.
    fn lags(&self) -> bool {
        let elapsed = entropy::now().saturating_sub(self.began).as_millis();
        u128::from(self.answered.get()) * 1_000 < elapsed * u128::from(self.pace)
    }
}

/// A client at work.
struct Worker {
    session: Session,
    /// What carries out its calls; without it, it speaks REST by itself.
    library: Option<Rc<Library>>,
    shared: Rc<Shared>,
    nodes: Vec<u64>,
    /// The node it keeps to, if it does.
    home: Option<u64>,
    /// A node that gave no answer, and until when it is avoided.
    avoided: Option<(u64, Duration)>,
}

impl Worker {
    fn new(cluster: &Cluster, shared: &Rc<Shared>, is_settled: bool) -> Worker {
        let nodes: Vec<u64> = cluster.nodes().collect();
        let mut session = cluster.session();
        let home = is_settled.then(|| nodes[session.rng.usize(..nodes.len())]);
        Worker { session, library: None, shared: shared.clone(), nodes, home, avoided: None }
    }

    async fn work(mut self) {
        while !self.shared.stop.get() {
            self.one().await;
            let rest_max = if self.shared.lags() { 20 } else { 400 };
            tokio::time::sleep(Duration::from_millis(self.session.rng.u64(..rest_max))).await;
        }
    }

    /// Works now and then. All that have the same `schedule` begin at the same instants.
    async fn burst(mut self, mut schedule: fastrand::Rng) {
        let mut next = Instant::now();
        loop {
            // In short naps, so that the end of the load does not wait for a burst.
            next += Duration::from_millis(schedule.u64(1_000..8_000));
            while Instant::now() < next {
                if self.shared.stop.get() {
                    return;
                }
                let nap = next.duration_since(Instant::now()).min(Duration::from_millis(200));
                tokio::time::sleep(nap).await;
            }
            // Calls that take long leave no time for naps.
            if self.shared.stop.get() {
                return;
            }
            for _ in 0..schedule.u32(1..4) {
                self.one().await;
            }
        }
    }

    /// One call; where its outcome stayed unknown, sometimes the same once more, as clients do that think it is safe.
    async fn one(&mut self) {
        if let Some(library) = &self.library {
            let ask = self.session.draw_for_library();
            let outcome = self.session.call_through(library, &ask).await;
            self.shared.count(&outcome);
            return;
        }
        let ask = self.session.draw();
        let node = self.node();
        let outcome = self.session.call(node, &ask).await;
        if !self.shared.count(&outcome) {
            self.avoided = Some((node, entropy::now() + AVOIDS));
        }
        let is_lost = matches!(outcome, Outcome::Unknown(_));
        if is_lost && self.session.rng.u32(..8) == 0 && !self.shared.stop.get() {
            let node = self.node();
            drop(self.session.call(node, &ask).await);
        }
    }

    fn node(&mut self) -> u64 {
        if let Some(home) = self.home {
            return home;
        }
        let node = self.nodes[self.session.rng.usize(..self.nodes.len())];
        match self.avoided {
            Some((avoided, until)) if avoided == node && entropy::now() < until => {
                self.nodes[self.session.rng.usize(..self.nodes.len())]
            }
            _ => node,
        }
    }
}
