//! One run: the hosts, the network between them, and the loop that steps them.
//!
//! Each node is a turmoil host with a disk and a clock that outlive it. What runs on it is [`Software`]: in earnest
//! the production assembly ([`crate::cluster::assembly`]), in tests of the simulation itself something smaller. Scenarios run
//! on one more host, the clients' (see [`crate::cluster::handle`]); what only the world can do (crash, restart, cut a link) they
//! ask of it between two steps. After every step the world looks for nodes that stopped by themselves, lets a
//! power cut that fell in the middle of a step become a crash, and asks the invariants.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use quorate::clock::SharedClock;
use quorate::node::executor::SharedExecutor;
use quorate::node::probe::SharedProbe;
use quorate::transport::net::SharedNet;
use quorate::types::NodeId;
use tokio::sync::watch;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

use crate::Violation;
use crate::cluster::audit::{Expectation, Held, Known, Recall, SharedFindings};
use crate::cluster::badge::{Badge, SharedBadge, log_dir};
use crate::cluster::clock::{Oscillator, SharedOscillator};
use crate::cluster::disk::damage::Part;
use crate::cluster::disk::fs::DiskFs;
use crate::cluster::disk::platter::{Image, Platter};
use crate::cluster::disk::{Disk, SharedDisk};
use crate::cluster::ends::{self, Fate, Plight};
use crate::cluster::entropy;
use crate::cluster::events::Events;
use crate::cluster::executor::{Delays, Hang, Pace, SharedPace, SimExecutor};
use crate::cluster::faults::crash::CutPoint;
use crate::cluster::faults::damage::Damage;
use crate::cluster::faults::ledger::{Ledger, SharedLedger};
use crate::cluster::faults::partition::Cut;
use crate::cluster::handle::{Cluster, Request};
use crate::cluster::net::{Graves, HostNet, Wires};
use crate::cluster::panics;
use crate::cluster::power::{Power, SharedPower};
use crate::cluster::scenarios::Playing;
use crate::cluster::watch::{Judge, SharedJudge, Watch};
use crate::run::Counters;
use crate::trace::event::What;
use crate::trace::{About, SharedTrace, Trace};

/// Where every node keeps its data, on its own disk.
pub const DATA_DIR: &str = "/data";

/// What is on a new disk: to make the rest is the node's to do.
pub const DISK_ROOT: &str = "/";

/// The host that all clients run on.
pub const CLIENTS: &str = "clients";

/// The most simulated time that a run may take.
const RUN_MAX: Duration = Duration::from_secs(1_200);

/// How often the disks are looked at, besides at every crash.
const AUDIT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a node may take to stop once its disk has failed, however slow that is.
const STOP_MAX: Duration = Duration::from_secs(10);

/// The most segments that wait in one direction of a connection, and connections that wait to be accepted.
const TCP_CAPACITY: usize = 4_096;

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// All that is drawn is drawn from this.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u64,
    /// Where the trace goes as text, if anywhere.
    pub trace: Option<PathBuf>,
    /// Whether the nodes' log goes to standard error.
    pub log: bool,
}

/// What a run was.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The hash of its trace.
    pub hash: u64,
    /// What happened, and how often.
    pub counters: Counters,
    /// How often each kind of fault fired.
    pub faults: Counters,
    /// Whether a network and a disk fault were ever in force at the same time.
    pub overlapped: bool,
    /// How much simulated time it took.
    pub simulated: Duration,
    /// What went wrong, if anything.
    pub violation: Option<Violation>,
    /// Why it could not be written down, where it was to be.
    pub untraced: Option<String>,
}

/// What runs on every node; called once for each boot. It ends with the reason why it stopped.
pub type Software = Arc<dyn Fn(Boot) -> Running + Send + Sync>;

/// A node's software under way.
pub type Running = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// What one boot of one node gets.
pub struct Boot {
    /// The number of its host, and its id if it founds the group: 1 or more.
    pub id: u64,
    /// How many nodes there are.
    pub nodes: u64,
    /// The run's seed.
    pub seed: u64,
    /// A node whose group it is to join; `None` for those that found one.
    pub joins: Option<u64>,
    /// Its disk.
    pub fs: DiskFs,
    /// Its network.
    pub net: SharedNet,
    /// Its lanes.
    pub executor: SharedExecutor,
    /// Its clock and entropy.
    pub clock: SharedClock,
    /// What watches its core.
    pub probe: SharedProbe,
    /// Completes when the node is asked to stop.
    pub shutdown: Pin<Box<dyn Future<Output = ()>>>,
}

/// The name of a node's host.
pub fn host(node: u64) -> String {
    format!("node{node}")
}

/// The name of a node's host, or of the clients' where `node` is 0.
pub fn host_or_clients(node: u64) -> String {
    if node == 0 { CLIENTS.to_owned() } else { host(node) }
}

/// Under what name something is recorded: a node's, or the world's where `node` is 0.
pub fn label(node: u64) -> String {
    if node == 0 { "world".to_owned() } else { host(node) }
}

/// Runs `scenario` against nodes that run `software`.
pub fn run(options: &Options, software: &Software, scenario: fn(Cluster) -> Playing) -> Report {
    run_as("", options, software, scenario)
}

/// Runs it, and tells whoever looks at its trace with which command it is run again.
pub fn run_as<P>(
    command: &str,
    options: &Options,
    software: &Software,
    scenario: impl FnOnce(Cluster) -> P + Send,
) -> Report
where
    P: Future<Output = Result<(), Violation>> + 'static,
{
    let trace = match Trace::new(entropy::now, options.trace.as_deref()) {
        Ok(trace) => trace,
        Err(error) => return Report::unstarted(options.seed, error.to_string()),
    };
    panics::watch();
    let result = entropy::simulating(options.seed, || {
        let events = Events::new(trace.clone()).with_filter(Events::filter());
        let lines = options.log.then(log_lines);
        let subscriber = tracing_subscriber::registry().with(events).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let mut world = World::new(options, software.clone(), trace.clone());
            let playing = std::panic::AssertUnwindSafe(|| world.play(scenario));
            let result = std::panic::catch_unwind(playing).unwrap_or_else(|last| {
                // What ends a step in the end may only say that something panicked before.
                let first = panics::take().unwrap_or_else(|| panic_text(&*last));
                Err(format!("panic: {first}"))
            });
            let elapsed = world.sim.elapsed();
            let ledger = world.ledger.clone();
            world.end();
            (result, elapsed, ledger)
        })
    });
    let (result, simulated, ledger) = match result {
        Ok((result, simulated, ledger)) => (result, simulated, Some(ledger)),
        Err(panic) => (Err(format!("panic: {}", panic_text(&*panic))), Duration::ZERO, None),
    };
    let faults = ledger.as_ref().map(|ledger| ledger.fired()).unwrap_or_default();
    trace.describe(About {
        simulator: "cluster",
        seed: options.seed,
        command: command.to_owned(),
        counters: Counters::new(),
        faults: faults.clone(),
        violation: result.as_ref().err().cloned(),
    });
    let untraced = trace.flush().err().map(|error| error.to_string());
    Report {
        seed: options.seed,
        hash: trace.hash(),
        counters: trace.counters(),
        faults,
        overlapped: ledger.is_some_and(|ledger| ledger.overlapped()),
        simulated,
        violation: result.err(),
        untraced,
    }
}

impl Report {
    fn unstarted(seed: u64, untraced: String) -> Report {
        Report {
            seed,
            hash: 0,
            counters: Counters::new(),
            faults: Counters::new(),
            overlapped: false,
            simulated: Duration::ZERO,
            violation: None,
            untraced: Some(untraced),
        }
    }
}

/// A layer that prints the nodes' log to standard error, with simulated time.
fn log_lines<S>() -> impl Layer<S>
where
    S: tracing::Subscriber + for<'s> tracing_subscriber::registry::LookupSpan<'s>,
{
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info,turmoil=info".to_owned());
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_timer(SimulatedTime)
        .with_filter(tracing_subscriber::EnvFilter::new(filter))
}

struct SimulatedTime;

impl tracing_subscriber::fmt::time::FormatTime for SimulatedTime {
    fn format_time(&self, writer: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:>12.6}", entropy::now().as_secs_f64())
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text").to_owned()
}

/// The hosts and links of a run. Faults are methods of it, in [`crate::cluster::faults`].
pub struct World {
    pub(crate) sim: turmoil::Sim<'static>,
    pub(crate) nodes: BTreeMap<u64, Node>,
    /// Links that are cut, by the lower and the higher host, and who was named first; 0 is the clients'.
    pub(crate) cuts: BTreeMap<(u64, u64), (u64, Cut)>,
    /// Links that are slow.
    pub(crate) slow_links: BTreeSet<(u64, u64)>,
    /// The longest that a segment takes on a link as it should be.
    pub(crate) latency_max: Duration,
    pub(crate) ledger: SharedLedger,
    pub(crate) wires: Arc<Wires>,
    pub(crate) trace: SharedTrace,
    pub(crate) rng: fastrand::Rng,
    /// What scenarios ask for between two steps.
    requests: Rc<RefCell<Vec<Request>>>,
    seed: u64,
    pub(crate) judge: SharedJudge,
    /// What nodes did not find again after a restart.
    pub(crate) findings: SharedFindings,
    /// When the disks are looked at next.
    audit_at: Duration,
}

/// A node, through all its boots.
pub(crate) struct Node {
    pub(crate) disk: SharedDisk,
    /// Under which id it goes.
    pub(crate) badge: SharedBadge,
    /// The nodes that this host had before, and what the disk of each held when it was lost, where that is
    /// known: a node that gave up its log ran on before, and what it stored then is believed.
    pub(crate) former: Vec<(NodeId, Option<Image>)>,
    pub(crate) pace: SharedPace,
    pub(crate) oscillator: SharedOscillator,
    pub(crate) slot: Rc<Slot>,
    pub(crate) is_up: bool,
    /// It refused to start or to go on, rightly, and stays down.
    pub(crate) is_gone: bool,
    /// It was asked to stop when it led, as far as is known.
    pub(crate) resigns: bool,
    /// It stopped since its disk failed.
    pub(crate) has_ailed: bool,
    /// It took the place of another one, its own former self perhaps, and was not seen to vote yet.
    pub(crate) is_newcomer: bool,
    /// What was done to its disk.
    pub(crate) damage: Option<Damage>,
    /// What its disk held before that.
    pub(crate) held: Option<Image>,
    /// Where its power is to go, if it is to.
    pub(crate) falls_at: Option<CutPoint>,
    pub(crate) hang: Option<Hang>,
    /// When it was last seen frozen, or waiting for a disk that hangs.
    held_up_at: Duration,
}

/// What the world and the running boot of a node share.
pub(crate) struct Slot {
    pub(crate) power: RefCell<SharedPower>,
    pub(crate) stop: RefCell<watch::Sender<bool>>,
    /// The node that it asks to be let in, since it founds no group any more.
    pub(crate) joins: Cell<Option<u64>>,
    boots: Cell<u64>,
    /// Whether it goes on what it has read of its disk.
    pub(crate) is_open: RefCell<Arc<AtomicBool>>,
    /// Why the software ended by itself.
    pub(crate) exit: RefCell<Option<Result<(), String>>>,
    /// What the log must hold at the next start, where that is known.
    pub(crate) recall: RefCell<Option<Image>>,
    /// The same, of the boot that runs.
    expected: RefCell<Expectation>,
}

/// Disks of one cluster may differ widely: who is slow is who vouches too early, if anyone does.
fn draw_delays(rng: &mut fastrand::Rng) -> Delays {
    Delays {
        job_max: Duration::from_millis([1, 3, 10, 40][rng.usize(..4)]),
        completion_max: Duration::from_millis(rng.u64(1..=5)),
        slow_one_in: [0, 50, 200][rng.usize(..3)],
    }
}

impl World {
    fn new(options: &Options, software: Software, trace: SharedTrace) -> World {
        let seed = options.seed;
        let mut rng = crate::seed::generator(seed, "world", 0);
        let latency_max = Duration::from_millis(rng.u64(1..=20));
        let mut sim = network(seed, latency_max);
        let wires = Arc::new(Wires::default());
        let judge = Judge::new(trace.clone());
        let mut nodes = BTreeMap::new();
        let ledger = Ledger::new(trace.clone());
        let findings = SharedFindings::default();
        for id in 1..=options.nodes {
            let delays = draw_delays(&mut rng);
            let disk = Disk::new(id, Path::new(DISK_ROOT), trace.clone(), ledger.clone());
            let node = Node {
                badge: Badge::new(id, disk.clone()),
                disk,
                former: Vec::new(),
                pace: Pace::new(id, ledger.clone()),
                oscillator: Oscillator::new(seed, id, 200),
                slot: Rc::new(Slot::new()),
                is_up: true,
                is_gone: false,
                resigns: false,
                has_ailed: false,
                is_newcomer: false,
                damage: None,
                held: None,
                falls_at: None,
                hang: None,
                held_up_at: Duration::ZERO,
            };
            let start = Start {
                id,
                seed,
                nodes: options.nodes,
                delays,
                disk: node.disk.clone(),
                badge: node.badge.clone(),
                pace: node.pace.clone(),
                oscillator: node.oscillator.clone(),
                wires: wires.clone(),
                judge: judge.clone(),
                findings: findings.clone(),
                trace: trace.clone(),
                slot: node.slot.clone(),
                software: software.clone(),
            };
            sim.host(host(id), move || start.boot());
            nodes.insert(id, node);
        }
        World {
            sim,
            nodes,
            cuts: BTreeMap::new(),
            slow_links: BTreeSet::new(),
            latency_max,
            ledger,
            wires,
            trace,
            rng,
            requests: Rc::default(),
            seed,
            judge,
            findings,
            audit_at: AUDIT_INTERVAL,
        }
    }

    /// Steps the world until the scenario has come to its end.
    fn play<P>(&mut self, scenario: impl FnOnce(Cluster) -> P) -> Result<(), Violation>
    where
        P: Future<Output = Result<(), Violation>> + 'static,
    {
        let ended: Rc<RefCell<Option<Result<(), Violation>>>> = Rc::default();
        let net = HostNet::new(CLIENTS, Power::on(), self.wires.clone(), self.trace.clone()).shared();
        let nodes: BTreeSet<u64> = self.nodes.keys().copied().collect();
        let rng = self.rng.fork();
        let cluster = Cluster::new(self.seed, nodes, net, self.trace.clone(), rng, self.requests.clone());
        let driver = {
            let (ended, playing) = (ended.clone(), scenario(cluster.clone()));
            async move {
                let result = playing.await;
                ended.replace(Some(result));
                Ok(())
            }
        };
        self.sim.client(CLIENTS, driver);
        loop {
            entropy::advance_to(self.sim.elapsed());
            self.sim.step().map_err(|error| format!("the simulation failed: {error}"))?;
            if let Some(panic) = panics::take() {
                return Err(format!("panic: {panic}"));
            }
            self.look()?;
            if let Some(violation) = cluster.violation() {
                return Err(violation);
            }
            if let Some(result) = ended.take() {
                // Scenarios that end without a final scan are judged as a whole all the same.
                return result.and_then(|()| cluster.judge());
            }
            if self.sim.elapsed() > RUN_MAX {
                return Err(format!("not at its end after {RUN_MAX:?}: {}", cluster.doing()));
            }
            let requests = self.requests.take();
            requests.into_iter().for_each(|request| request(self));
        }
    }

    /// What follows from the last step.
    fn look(&mut self) -> Result<(), Violation> {
        let fallen: Vec<u64> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.is_up && node.slot.power.borrow().is_cut())
            .map(|(id, _)| *id)
            .collect();
        fallen.into_iter().for_each(|id| self.fall(id));
        self.note_rejoins();
        let exits: Vec<(u64, Result<(), String>)> =
            self.nodes.iter().filter_map(|(id, node)| Some((*id, node.slot.exit.take()?))).collect();
        exits.into_iter().try_for_each(|(id, exit)| self.exited(id, exit))?;
        if self.sim.elapsed() >= self.audit_at {
            self.audit_at += AUDIT_INTERVAL;
            self.audit();
        }
        let now = self.sim.elapsed();
        self.nodes.iter_mut().try_for_each(|(id, node)| node.stops_in_time(*id, now))?;
        let is_sound = |id: &u64| !matches!(self.nodes[id].damage, Some(Damage::Changed(Part::State)));
        if let Some(id) = self.judge.stateless().into_iter().find(is_sound) {
            return Err(format!("{} gave up its state, and nothing was wrong with it", host(id)));
        }
        if let Some(violation) = self.findings.violation() {
            return Err(violation);
        }
        self.judge.violation().map_or(Ok(()), Err)
    }

    /// A node's process ended by itself.
    fn exited(&mut self, id: u64, exit: Result<(), String>) -> Result<(), Violation> {
        let (trace, leads) = (self.trace.clone(), self.leader() == Some(id));
        let node = self.node(id);
        let was_asked = *node.slot.stop.borrow().borrow();
        // An empty disk is as good as any to who joins, and nothing is wrong with that of a member that has to go.
        let damage = node.damage.filter(|damage| !node.is_newcomer && *damage != Damage::Removed);
        let (disk_failed, node_id) = (node.disk.has_failed(), node.badge.id());
        let is_removed = node_id.is_some_and(|id| self.judge.may_be_retired(id));
        let plight = Plight { disk_failed, damage, is_removed };
        let node = self.node(id);
        let led = std::mem::take(&mut node.resigns);
        let why = match exit {
            Ok(()) if was_asked => {
                if led {
                    trace.count("leaders stopped in good order", 1);
                    trace.count("of them replaced before that", u64::from(!leads));
                }
                "stop".to_owned()
            }
            Ok(()) => return Err(format!("{} stopped though nobody asked it to", host(id))),
            Err(why) => {
                node.has_ailed = true;
                node.is_gone = ends::judge(id, &why, plight)? == Fate::Gone;
                why
            }
        };
        // What a failed call left in the log cannot be told from outside; else it is there again at the next start.
        let is_settled =
            !plight.disk_failed && plight.damage.is_none() && node.disk.is_settled(&log_dir(&node.disk));
        let recall = is_settled.then(|| Image::read(&Platter::of(&node.disk), &log_dir(&node.disk)));
        node.slot.recall.replace(recall);
        node.disk.process_ended();
        node.is_up = false;
        node.slot.power.borrow().cut();
        self.down(id, &why);
        self.bury(id);
        self.wires.set_refusing(&host(id), true);
        Ok(())
    }

    /// Shows that a node does not run any more.
    pub(crate) fn down(&mut self, id: u64, why: &str) {
        self.trace.record(&host(id), "down", format_args!("{why}"), &[]);
        self.trace.event(id, || What::Down { why: why.to_owned() });
    }

    /// Drops all that runs on a node whose power is cut. Destructors run in an order that is not the seed's: what they
    /// say is not heard.
    pub(crate) fn bury(&mut self, id: u64) {
        self.trace.mute(true);
        self.sim.crash(host(id));
        drop(panics::take());
        self.trace.mute(false);
    }

    /// From now on the nodes are judged by their answers and states alone.
    pub(crate) fn look_from_outside(&mut self) {
        self.judge.look_from_outside();
    }

    /// Looks at what is truly on the disks.
    pub(crate) fn audit(&mut self) {
        let known = self.nodes.values().flat_map(|node| {
            let former = node.former.iter().map(|(id, image)| Known {
                node: *id,
                disk: None,
                damage: Some(if image.is_some() { Damage::Wiped } else { Damage::Changed(Part::Log) }),
                before: image.as_ref(),
            });
            // What was damaged was the disk of the one before.
            let (damage, before) = (node.damage.filter(|_| !node.is_newcomer), node.held.as_ref());
            let now = node.badge.id().map(|node_id| Known {
                node: node_id,
                disk: Some(&node.disk),
                damage,
                before,
            });
            former.chain(now)
        });
        let held = Held::of(known);
        self.judge.audit(&held);
    }

    /// Ends the run: every node loses its power first, so that no destructor has an effect.
    fn end(self) {
        self.judge.end();
        self.trace.mute(true);
        self.nodes.values().for_each(|node| node.slot.power.borrow().cut());
    }

    /// Who leads, as far as is known.
    pub(crate) fn leader(&self) -> Option<u64> {
        self.findings.leader()
    }

    /// The host of each node of the group, by the node's id.
    pub(crate) fn hosts(&self) -> BTreeMap<u64, u64> {
        let known = self.nodes.iter().filter_map(|(host, node)| Some((node.badge.id()?.0, *host)));
        known.collect()
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).unwrap_or_else(|| panic!("there is no node {id}"))
    }
}

impl Node {
    /// Whether it has to give way to another one, and has not yet.
    pub(crate) fn is_lost(&self) -> bool {
        !self.is_newcomer && self.damage.is_some_and(Damage::is_loss)
    }

    /// If it has given up its id, durably, what runs there from now on is another node. Returns whom it was.
    pub(crate) fn leaves_its_id(&mut self) -> Option<NodeId> {
        let before = self.badge.id().filter(|id| self.badge.gave_up() == Some(*id))?;
        self.former.push((before, None));
        self.badge.hand_in();
        (self.held, self.is_newcomer) = (None, true);
        self.slot.recall.replace(None);
        self.slot.expected.borrow().lock().unwrap_or_else(PoisonError::into_inner).take();
        Some(before)
    }

    /// A node whose disk failed has to stop (H15): it may not go on as if nothing had happened.
    fn stops_in_time(&mut self, id: u64, now: Duration) -> Result<(), Violation> {
        if self.hang.is_some() || self.slot.power.borrow().is_paused() {
            self.held_up_at = now;
        }
        match self.disk.broken_at().filter(|_| self.is_up) {
            Some(broken) if goes_on(broken, self.held_up_at, now) => {
                Err(format!("{} went on after its disk had failed at {broken:?}", host(id)))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a node whose disk failed at `broken` should have stopped by `now`. While it was held up it could not.
fn goes_on(broken: Duration, held_up: Duration, now: Duration) -> bool {
    now > broken.max(held_up) + STOP_MAX
}

/// turmoil, without a host.
fn network(seed: u64, latency_max: Duration) -> turmoil::Sim<'static> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .enable_random_order()
        .tick_duration(entropy::STEP)
        .simulation_duration(RUN_MAX * 2)
        .epoch(UNIX_EPOCH)
        .tcp_capacity(TCP_CAPACITY)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(latency_max)
        .build()
}

impl Slot {
    fn new() -> Slot {
        Slot {
            power: RefCell::new(Power::on()),
            stop: RefCell::new(watch::Sender::new(false)),
            joins: Cell::new(None),
            boots: Cell::new(0),
            is_open: RefCell::default(),
            exit: RefCell::new(None),
            recall: RefCell::new(None),
            expected: RefCell::default(),
        }
    }
}

/// What it takes to boot a node again and again.
struct Start {
    id: u64,
    seed: u64,
    nodes: u64,
    delays: Delays,
    disk: SharedDisk,
    badge: SharedBadge,
    pace: SharedPace,
    oscillator: SharedOscillator,
    wires: Arc<Wires>,
    judge: SharedJudge,
    findings: SharedFindings,
    trace: SharedTrace,
    slot: Rc<Slot>,
    software: Software,
}

impl Start {
    fn boot(&self) -> impl Future<Output = turmoil::Result> + 'static + use<> {
        let host = host(self.id);
        // What the tasks of the last boot left open, if it stopped in good order.
        drop(Graves::of(&host, &self.wires));
        self.trace.mute(false);
        let power = Power::on();
        let stop = watch::Sender::new(false);
        let mut stopped = stop.subscribe();
        self.slot.power.replace(power.clone());
        self.slot.stop.replace(stop);
        self.slot.exit.replace(None);
        self.slot.boots.set(self.slot.boots.get() + 1);
        self.trace.record(&host, "boot", format_args!("{}", self.slot.boots.get()), &[]);
        self.trace.event(self.id, || What::Booted);
        self.disk.booted();
        self.judge.booted(self.id, self.badge.id());
        // Lanes draw anew at each boot.
        let seed =
            crate::seed::generator(self.seed, "executor", self.id << 32 | self.slot.boots.get()).u64(..);
        let watch = Watch::over(self.id, self.badge.clone(), power.clone(), self.judge.clone());
        let is_open = Arc::new(AtomicBool::new(false));
        let expected: Expectation = Arc::new(Mutex::new(self.slot.recall.take()));
        self.slot.expected.replace(expected.clone());
        self.slot.is_open.replace(is_open.clone());
        let executor = SimExecutor::shared(
            &host,
            seed,
            self.delays,
            self.pace.clone(),
            power.clone(),
            self.trace.clone(),
        );
        let boot = Boot {
            id: self.id,
            nodes: self.nodes,
            seed: self.seed,
            joins: self.slot.joins.get(),
            fs: DiskFs::mount(self.disk.clone(), power.clone()),
            net: HostNet::new(&host, power.clone(), self.wires.clone(), self.trace.clone()).shared(),
            executor,
            clock: self.oscillator.boot(power.clone()),
            probe: Recall::over(watch, self.id, expected, is_open, power.clone(), self.findings.clone()),
            shutdown: Box::pin(async move {
                // The sender lives as long as the slot: a closed channel is no request to stop.
                if stopped.wait_for(|stop| *stop).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }),
        };
        let graves = Graves::of(&host, &self.wires);
        let (slot, running) = (self.slot.clone(), (self.software)(boot));
        async move {
            let _graves = graves;
            let result = running.await;
            // Without power its end is part of the crash, whatever it says.
            power.running().await;
            slot.exit.replace(Some(result));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_its_time_to_stop_after_it_was_held_up() {
        let goes_on = |broken, held_up, now| {
            let [broken, held_up, now] = [broken, held_up, now].map(Duration::from_secs);
            super::goes_on(broken, held_up, now)
        };
        assert!(!goes_on(5, 0, 15));
        assert!(goes_on(5, 0, 16));
        assert!(goes_on(5, 3, 16), "it was frozen before, and is not any more");
        assert!(!goes_on(5, 17, 17), "it wakes up just now");
        assert!(goes_on(5, 17, 28));
    }
}
