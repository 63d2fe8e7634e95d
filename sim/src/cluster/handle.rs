//! What a scenario holds: the cluster as its clients see it, and a hand for faults.
//!
//! A [`Cluster`] is a cheap handle, used on the clients' host. Requests of clients go through [`Session`]s, each of
//! which keeps the oracle's books; the first violation that any of them meets ends the run. Faults are asked of the
//! world, which carries them out between two steps. Waiting always has an end: what does not come within its limit
//! is a violation, since every scenario only waits for what the cluster owes (liveness).

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use quorate::transport::net::SharedNet;

use crate::Violation;
use crate::cluster::client::{Client, Found, Freshness, Written};
use crate::cluster::oracle::Oracle;
use crate::cluster::world::{World, host};
use crate::trace::SharedTrace;

/// The REST port of every node.
pub const HTTP_PORT: u16 = 8081;

/// How long the cluster may take to do what it owes when nothing stands in its way.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long a client waits for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// How many keys the clients share.
const KEYS: u64 = 12;

/// How much longer than its name a value may be.
const VALUE_PADDING_MAX: usize = 8 << 10;

/// What only the world can do, asked for between two steps.
pub type Request = Box<dyn FnOnce(&mut World)>;

/// The cluster of a run.
#[derive(Clone)]
pub struct Cluster {
    shared: Rc<Shared>,
}

struct Shared {
    nodes: BTreeSet<u64>,
    net: SharedNet,
    trace: SharedTrace,
    oracle: RefCell<Oracle>,
    rng: RefCell<fastrand::Rng>,
    requests: Rc<RefCell<Vec<Request>>>,
    violation: RefCell<Option<Violation>>,
    /// What the scenario is waiting for, for a run that does not end.
    doing: RefCell<String>,
    sessions: Cell<u64>,
}

impl Cluster {
    pub(crate) fn new(
        nodes: BTreeSet<u64>,
        net: SharedNet,
        trace: SharedTrace,
        rng: fastrand::Rng,
        requests: Rc<RefCell<Vec<Request>>>,
    ) -> Cluster {
        let shared = Shared {
            nodes,
            net,
            trace,
            oracle: RefCell::default(),
            rng: RefCell::new(rng),
            requests,
            violation: RefCell::default(),
            doing: RefCell::default(),
            sessions: Cell::new(0),
        };
        Cluster { shared: Rc::new(shared) }
    }

    /// The nodes.
    pub fn nodes(&self) -> impl Iterator<Item = u64> + use<> {
        self.shared.nodes.clone().into_iter()
    }

    /// The nodes but one, if they are a majority without it; none if they are not, since then they owe nothing.
    pub fn majority_without(&self, node: u64) -> Vec<u64> {
        let others: Vec<u64> = self.nodes().filter(|other| *other != node).collect();
        if others.len() >= self.majority() { others } else { Vec::new() }
    }

    fn majority(&self) -> usize {
        self.shared.nodes.len() / 2 + 1
    }

    /// Draws from the run's seed.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.shared.rng.borrow_mut())
    }

    /// Counts that something happened which a scenario is about.
    pub fn count(&self, counter: &'static str) {
        self.shared.trace.count(counter, 1);
    }

    /// Counts that something happened so many times.
    pub fn count_more(&self, counter: &'static str, times: u64) {
        self.shared.trace.count(counter, times);
    }

    /// A new client.
    pub fn session(&self) -> Session {
        let number = self.shared.sessions.get() + 1;
        self.shared.sessions.set(number);
        let name = format!("client{number}");
        let rng = self.draw(fastrand::Rng::fork);
        let client = Client::new(&name, self.shared.net.clone(), self.shared.trace.clone(), REQUEST_TIMEOUT);
        Session { cluster: self.clone(), client, name, writes: 0, rng }
    }

    /// Asks the world for something, to be done between two steps.
    pub(crate) fn request(&self, request: Request) {
        self.shared.requests.borrow_mut().push(request);
    }

    /// How often something was counted so far.
    pub fn counted(&self, counter: &str) -> u64 {
        self.shared.trace.counters().get(counter).copied().unwrap_or(0)
    }

    pub(crate) fn violation(&self) -> Option<Violation> {
        self.shared.violation.borrow().clone()
    }

    pub(crate) fn doing(&self) -> String {
        self.shared.doing.borrow().clone()
    }

    fn fail(&self, violation: Violation) {
        self.shared.violation.borrow_mut().get_or_insert(violation);
    }

    /// Waits until `attempt` yields a value; a violation if it has not within `limit`.
    pub async fn eventually<T>(
        &self,
        what: &str,
        limit: Duration,
        mut attempt: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, Violation> {
        self.shared.doing.replace(what.to_owned());
        let tries = async {
            loop {
                if let Some(value) = attempt().await {
                    return value;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let value = tokio::time::timeout(limit, tries).await;
        value.map_err(|_| format!("liveness: {what}: not within {limit:?}"))
    }
}

/// What the cluster owes.
impl Cluster {
    /// Waits for a leader among `nodes` that a majority of all nodes follows.
    pub async fn leader_among(&self, nodes: &[u64]) -> Result<u64, Violation> {
        let majority = self.majority();
        let mut session = self.session();
        let agreed = async || {
            let mut leaders = Vec::new();
            for node in nodes {
                let stats = session.client.stats(&address(*node)).await;
                leaders.extend(
                    stats.and_then(|stats| Some((stats["term"].as_u64()?, stats["leader_id"].as_u64()?))),
                );
            }
            let newest = *leaders.iter().max()?;
            let following = leaders.iter().filter(|leader| **leader == newest).count();
            (nodes.contains(&newest.1) && following >= majority).then_some(newest.1)
        };
        self.eventually(&format!("a leader among {nodes:?}"), PATIENCE, agreed).await
    }

    /// Waits for a leader.
    pub async fn leader(&self) -> Result<u64, Violation> {
        let nodes: Vec<u64> = self.nodes().collect();
        self.leader_among(&nodes).await
    }

    /// Waits until a node says that it is ready.
    pub async fn ready(&self, node: u64) -> Result<(), Violation> {
        let mut session = self.session();
        let ready = async || session.client.is_ready(&address(node)).await.then_some(());
        self.eventually(&format!("{} is ready", host(node)), PATIENCE, ready).await
    }

    /// Waits until `count` writes through each of `nodes` are acknowledged.
    pub async fn write_through(&self, nodes: &[u64], count: usize) -> Result<(), Violation> {
        for node in nodes {
            let mut session = self.session();
            for _ in 0..count {
                let acked = async || {
                    let written = session.set(*node).await;
                    matches!(written, Written::Done { .. }).then_some(())
                };
                self.eventually(&format!("a write through {}", host(*node)), PATIENCE, acked).await?;
            }
        }
        Ok(())
    }

    /// Waits until all of `nodes` have applied the same, without anybody asking them for anything.
    pub async fn agree(&self, nodes: &[u64]) -> Result<(), Violation> {
        let mut session = self.session();
        let agreed = async || {
            let mut applied = BTreeSet::new();
            for node in nodes {
                let stats = session.client.stats(&address(*node)).await?;
                applied.insert(stats["applied_index"].as_u64()?);
                applied.insert(stats["commit_index"].as_u64()?);
            }
            (applied.len() == 1).then_some(())
        };
        self.eventually(&format!("{nodes:?} apply the same"), PATIENCE, agreed).await
    }

    /// Heals the network, starts what is down, and checks that every node whose disk is sound serves every acknowledged
    /// write: fresh and from what it has applied itself.
    pub async fn converge(&self) -> Result<(), Violation> {
        self.heal().await;
        for node in self.nodes() {
            self.restart(node).await;
        }
        let sound = self.sound().await;
        self.leader_among(&sound).await?;
        for node in &sound {
            self.ready(*node).await?;
        }
        let keys = self.shared.oracle.borrow().keys();
        for node in sound {
            let mut session = self.session();
            for key in &keys {
                let read = async || session.read(node, key, Freshness::Linearizable).await;
                let found =
                    self.eventually(&format!("a read through {}", host(node)), PATIENCE, read).await?;
                self.shared.oracle.borrow().judge_final(key, &found).map_err(|why| in_the_end(node, &why))?;
                // The linearizable read waited until this node had applied all that was acknowledged before.
                let read = async || session.read(node, key, Freshness::Stale).await;
                let found = self.eventually(&format!("a read of {}", host(node)), PATIENCE, read).await?;
                self.shared.oracle.borrow().judge_final(key, &found).map_err(|why| in_the_end(node, &why))?;
                self.count("final reads");
            }
        }
        Ok(())
    }
}

fn in_the_end(node: u64, why: &str) -> Violation {
    format!("in the end, on {}: {why}", host(node))
}

fn address(node: u64) -> String {
    format!("{}:{HTTP_PORT}", host(node))
}

/// A client whose requests the oracle keeps books of.
pub struct Session {
    cluster: Cluster,
    client: Client,
    name: String,
    writes: u64,
    rng: fastrand::Rng,
}

impl Session {
    /// Limits how long requests may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.client.timeout = timeout;
    }

    /// Writes a new value to some key through a node.
    pub async fn set(&mut self, node: u64) -> Written {
        self.writes += 1;
        let (key, mut value) = (self.key(), format!("{}-{}", self.name, self.writes));
        // Most values are small; a few are so large that logs roll and state files fold within a run.
        if self.rng.u32(..4) == 0 {
            let padding = self.rng.usize(..VALUE_PADDING_MAX);
            value.extend(std::iter::repeat_n('.', padding));
        }
        let begun = self.cluster.shared.oracle.borrow_mut().begin_write(&key, &value);
        let written = self.client.set(&address(node), &key, &value).await;
        let judged = self.cluster.shared.oracle.borrow_mut().end_write(&begun, &value, &written);
        judged.unwrap_or_else(|violation| self.cluster.fail(violation));
        written
    }

    /// Reads some key through a node.
    pub async fn get(&mut self, node: u64, freshness: Freshness) -> Option<Found> {
        let key = self.key();
        self.read(node, &key, freshness).await
    }

    /// Reads `key` through a node.
    pub async fn read(&mut self, node: u64, key: &str, freshness: Freshness) -> Option<Found> {
        let begun = self.cluster.shared.oracle.borrow_mut().begin_read(key);
        let found = self.client.get(&address(node), key, freshness).await.ok()?;
        let judged = self.cluster.shared.oracle.borrow_mut().end_read(&begun, &found, freshness);
        judged.unwrap_or_else(|violation| self.cluster.fail(violation));
        Some(found)
    }

    fn key(&mut self) -> String {
        format!("key{}", self.rng.u64(..KEYS))
    }
}

/// Clients at work in the background: reads and writes on all nodes.
pub struct Load {
    stop: Rc<Cell<bool>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// Puts `clients` clients to work.
    pub fn start(cluster: &Cluster, clients: usize) -> Load {
        let stop = Rc::new(Cell::new(false));
        let work = |_| tokio::task::spawn_local(work(cluster.session(), stop.clone()));
        let tasks = (0..clients).map(work).collect();
        Load { stop, tasks }
    }

    /// Ends their work and waits for what is under way.
    pub async fn stop(self) {
        self.stop.set(true);
        for task in self.tasks {
            // A panic in it has ended the run already.
            let _ = task.await;
        }
    }
}

async fn work(mut session: Session, stop: Rc<Cell<bool>>) {
    let nodes: Vec<u64> = session.cluster.nodes().collect();
    while !stop.get() {
        let node = nodes[session.rng.usize(..nodes.len())];
        match session.rng.u32(..10) {
            0..6 => drop(session.set(node).await),
            6..9 => drop(session.get(node, Freshness::Linearizable).await),
            _ => drop(session.get(node, Freshness::Stale).await),
        }
        let rest = Duration::from_millis(session.rng.u64(..30));
        tokio::time::sleep(rest).await;
    }
}
