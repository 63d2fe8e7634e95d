//! What a scenario holds: the cluster as its clients see it, and a hand for faults.
//!
//! A [`Cluster`] is a cheap handle, used on the clients' host. Requests of clients go through [`Session`]s, all of
//! which write one [`History`]; the first violation that any of them meets ends the run. Faults are asked of the
//! world, which carries them out between two steps. Waiting always has an end: what does not come within its limit
//! is a violation, since every scenario only waits for what the cluster owes (liveness).

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use quorate::transport::net::SharedNet;

use crate::Violation;
use crate::cluster::client::Client;
use crate::cluster::library::Library;
use crate::cluster::world::{World, host};
use crate::history::{History, Outcome};
use crate::trace::SharedTrace;

pub use crate::cluster::load::Load;
pub use crate::cluster::session::Session;

/// The REST port of every node.
pub const HTTP_PORT: u16 = 8081;

/// The port of every node's gRPC services.
pub const GRPC_PORT: u16 = 9001;

/// How long the cluster may take to do what it owes when nothing stands in its way.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long a client waits for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// What only the world can do, asked for between two steps.
pub type Request = Box<dyn FnOnce(&mut World)>;

/// The cluster of a run.
#[derive(Clone)]
pub struct Cluster {
    shared: Rc<Shared>,
}

struct Shared {
    seed: u64,
    nodes: BTreeSet<u64>,
    net: SharedNet,
    trace: SharedTrace,
    history: RefCell<History>,
    rng: RefCell<fastrand::Rng>,
    requests: Rc<RefCell<Vec<Request>>>,
    violation: RefCell<Option<Violation>>,
    /// What the scenario is waiting for, for a run that does not end.
    doing: RefCell<String>,
    sessions: Cell<u64>,
}

impl Cluster {
    pub(crate) fn new(
        seed: u64,
        nodes: BTreeSet<u64>,
        net: SharedNet,
        trace: SharedTrace,
        rng: fastrand::Rng,
        requests: Rc<RefCell<Vec<Request>>>,
    ) -> Cluster {
        let shared = Shared {
            seed,
            nodes,
            net,
            trace,
            history: RefCell::default(),
            rng: RefCell::new(rng),
            requests,
            violation: RefCell::default(),
            doing: RefCell::default(),
            sessions: Cell::new(0),
        };
        Cluster { shared: Rc::new(shared) }
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        self.shared.seed
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
        let rng = self.draw(fastrand::Rng::fork);
        let (net, trace) = (self.shared.net.clone(), self.shared.trace.clone());
        let client = Client::new(&format!("client{number}"), net, trace, REQUEST_TIMEOUT);
        Session::new(self.clone(), client, number, rng)
    }

    /// A new client of the library. Some are told of two nodes alone, and have to learn of the others.
    pub(super) fn library(&self) -> Library {
        let mut rng = self.draw(fastrand::Rng::fork);
        let mut nodes: Vec<u64> = self.nodes().collect();
        rng.shuffle(&mut nodes);
        if rng.u32(..3) == 0 {
            nodes.truncate(2);
        }
        let endpoints = nodes.into_iter().map(|node| format!("{}:{GRPC_PORT}", host(node))).collect();
        Library::new(endpoints, self.shared.net.clone(), self.shared.trace.clone(), &mut rng)
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

    /// Ends the run: this is wrong.
    pub(super) fn fail(&self, violation: Violation) {
        self.shared.violation.borrow_mut().get_or_insert(violation);
    }

    /// What clients asked and were told.
    pub(super) fn history(&self) -> RefMut<'_, History> {
        self.shared.history.borrow_mut()
    }

    /// The trace of the run.
    pub(super) fn trace(&self) -> &SharedTrace {
        &self.shared.trace
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
        self.leader_known_to(nodes, &format!("a leader among {nodes:?}"), |leader| nodes.contains(&leader))
            .await
    }

    /// Waits for a leader, whoever it is, that a majority of all nodes, all of them in `nodes`, follows. (A node that
    /// knows of none says 0.)
    pub async fn leader_of(&self, nodes: &[u64]) -> Result<u64, Violation> {
        self.leader_known_to(nodes, &format!("a leader that {nodes:?} follow"), |leader| leader > 0).await
    }

    async fn leader_known_to(
        &self,
        nodes: &[u64],
        what: &str,
        is_wanted: impl Fn(u64) -> bool,
    ) -> Result<u64, Violation> {
        let majority = self.majority();
        let mut session = self.session();
        let agreed = async || {
            let hosts = self.world(|world| world.hosts()).await;
            let mut leaders = Vec::new();
            for node in nodes {
                let stats = session.stats(*node).await;
                leaders.extend(
                    stats.and_then(|stats| Some((stats["term"].as_u64()?, stats["leader_id"].as_u64()?))),
                );
            }
            let newest = *leaders.iter().max()?;
            let following = leaders.iter().filter(|leader| **leader == newest).count();
            let leader = hosts.get(&newest.1).copied().unwrap_or(0);
            (is_wanted(leader) && following >= majority).then_some(leader)
        };
        self.eventually(what, PATIENCE, agreed).await
    }

    /// Waits for a leader.
    pub async fn leader(&self) -> Result<u64, Violation> {
        let nodes: Vec<u64> = self.nodes().collect();
        self.leader_among(&nodes).await
    }

    /// Waits until a node says that it is ready.
    pub async fn ready(&self, node: u64) -> Result<(), Violation> {
        let mut session = self.session();
        let ready = async || session.is_ready(node).await.then_some(());
        self.eventually(&format!("{} is ready", host(node)), PATIENCE, ready).await
    }

    /// Waits until `count` writes through each of `nodes` are acknowledged.
    pub async fn write_through(&self, nodes: &[u64], count: usize) -> Result<(), Violation> {
        for node in nodes {
            let mut session = self.session();
            for _ in 0..count {
                let acked = async || {
                    let written = session.set(*node).await;
                    matches!(written, Outcome::Done(_)).then_some(())
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
        self.leader_of(&sound).await?;
        for node in &sound {
            self.ready(*node).await?;
        }
        self.final_scan(&sound).await
    }
}

/// The REST address of a node.
pub(super) fn address(node: u64) -> String {
    format!("{}:{HTTP_PORT}", host(node))
}
