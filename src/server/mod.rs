//! The composition root: builds every part of a node, wires them, and takes them down again. No logic of its own.
//!
//! What is done to a directory without a node, [`offline`], is apart from all of this.
//!
//! **Order at start.** REST and gRPC are served first of all, so that `/health` answers 503 from the first moment; then the
//! peers' port is bound. Then the data directory: identity, log, state file; a log that is lost is given up (see `rejoin`).
//! Only when the log is recovered does the node speak to peers; other requests wait for that within their deadline.
//!
//! **Order at the end.** The front doors stop accepting and finish what they have begun, within a bound; the group stops
//! and folds; then the peers' connections close. A fatal report (disk, damage, identity, broken invariant) ends the node
//! at once instead: whatever has not been acknowledged is unknown to its caller, which is the truth.

pub mod grpc;
mod join;
pub mod offline;
mod production;
mod rejoin;
pub mod serve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use self::serve::{BoxError, ServeOptions, Traffic};
use crate::api;
use crate::api::shares::Shares;
use crate::clock::{SharedClock, sleep};
use crate::config::{Config, DISK_STALL_ELECTION_TIMEOUTS, EVIDENCE_DELAY_MAX, Limits, PEER_CONNECTIONS_MAX};
use crate::fsm::{self, Store};
use crate::node::executor::{Lane, SharedExecutor};
use crate::node::identity::{self, Gate, Identity};
use crate::node::probe::SharedProbe;
use crate::node::state_files::{self, OpenRaw, StateFiles};
use crate::node::{self, Fatal, FatalSender, Handle, LogWriter};
use crate::raft::{MemberRecord, Membership, Raft, Restored, Role};
use crate::shard::Router;
use crate::transport::net::{Listener, SharedNet};
use crate::transport::{self, Transport};
use crate::types::{GroupId, Index, NodeId, Owner, Term};
use crate::wal::fs::SharedFs;
use crate::wal::{self, Wal};

/// How long a stopping leader waits for another one, in election timeouts.
const RESIGN_ELECTION_TIMEOUTS: u32 = 2;

/// How often gRPC's health service learns whether a quorum read is confirmed.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// What differs between production and simulation, and nothing else does.
#[derive(Clone)]
pub struct Seams {
    /// The log's and the identity's file system.
    pub fs: SharedFs,
    /// The network.
    pub net: SharedNet,
    /// Where blocking work runs.
    pub executor: SharedExecutor,
    /// Time and entropy.
    pub clock: SharedClock,
    /// The state file.
    pub state_file: OpenRaw,
    /// Whether HTTP answers carry a `Date`; the wall clock would make a simulation unrepeatable.
    pub http_date: bool,
    /// Watches the core and changes nothing; `None` in production.
    pub probe: Option<SharedProbe>,
    /// The newest cluster version that this binary says it knows: [`CLUSTER_VERSION`](crate::types::CLUSTER_VERSION), but in
    /// tests of upgrades, in which it claims to be another binary.
    pub supports: u32,
}

/// Why a node ended other than by request. The number is the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Something nobody expected.
    Unexpected = 1,
    /// Wrong usage, a port in use, an unusable directory.
    Usage = 2,
    /// Stored data is damaged.
    Damaged = 3,
    /// The disk failed.
    Disk = 4,
    /// The cluster refuses this node's identity, or has removed it.
    Identity = 5,
}

/// Why a node ended other than by request.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Exit {
    /// For the process's exit code.
    pub code: ExitCode,
    /// For a person.
    pub message: String,
}

impl Exit {
    fn new(code: ExitCode, message: impl Into<String>) -> Exit {
        Exit { code, message: message.into() }
    }
}

impl From<Fatal> for Exit {
    fn from(fatal: Fatal) -> Exit {
        match fatal {
            Fatal::Disk(text) => Exit::new(ExitCode::Disk, text),
            Fatal::Damaged(text) => Exit::new(ExitCode::Damaged, text),
            Fatal::Refused(text) => Exit::new(ExitCode::Identity, text),
            Fatal::Outdated(text) => Exit::new(ExitCode::Usage, text),
            Fatal::Broken(text) => Exit::new(ExitCode::Unexpected, text),
        }
    }
}

/// How a system says that a path is not one that a node can use, and nothing is wrong with the disk.
const UNUSABLE: [io::ErrorKind; 5] = [
    io::ErrorKind::NotFound,
    io::ErrorKind::PermissionDenied,
    io::ErrorKind::NotADirectory,
    io::ErrorKind::AlreadyExists,
    io::ErrorKind::ReadOnlyFilesystem,
];

impl From<identity::Error> for Exit {
    fn from(error: identity::Error) -> Exit {
        let code = match &error {
            identity::Error::Io { source, .. } if UNUSABLE.contains(&source.kind()) => ExitCode::Usage,
            identity::Error::Io { .. } => ExitCode::Disk,
            identity::Error::Damaged { .. } => ExitCode::Damaged,
            identity::Error::Foreign { .. } => ExitCode::Identity,
        };
        Exit::new(code, error.to_string())
    }
}

impl From<wal::Error> for Exit {
    fn from(error: wal::Error) -> Exit {
        if matches!(error, wal::Error::Locked { .. }) {
            return Exit::new(ExitCode::Usage, error.to_string());
        }
        Fatal::of_log(&error).into()
    }
}

/// What an unusable state file means; the store itself does not know its path.
fn store_exit(path: &Path, error: &fsm::Error) -> Exit {
    match error {
        fsm::Error::Locked { .. } => Exit::new(ExitCode::Usage, error.to_string()),
        fsm::Error::Damaged { .. } | fsm::Error::Version { .. } => {
            let text = format!(
                "{}: {error}; the node does not start from it. The other members serve on; keep the directory as it is",
                path.display()
            );
            Exit::new(ExitCode::Damaged, text)
        }
        fsm::Error::Foreign { .. } => Exit::new(ExitCode::Damaged, format!("{}: {error}", path.display())),
        fsm::Error::Io { .. }
        | fsm::Error::Lost
        | fsm::Error::NoRoom { .. }
        | fsm::Error::Undone { .. }
        | fsm::Error::Revoked
        | fsm::Error::Undecodable { .. }
        | fsm::Error::Snapshot { .. }
        | fsm::Error::Staged { .. }
        | fsm::Error::GivenUp { .. } => {
            let exit = Exit::from(Fatal::of_store(error));
            Exit::new(exit.code, format!("{}: {}", path.display(), exit.message))
        }
    }
}

/// Runs one node until `shutdown` completes, then drains it and returns.
///
/// # Errors
/// Why the node could not start or go on.
pub async fn run(config: Config, seams: Seams, shutdown: impl Future<Output = ()>) -> Result<(), Exit> {
    let (router_sender, router) = watch::channel(None);
    let (alive_sender, alive) = watch::channel(true);
    let (ready_sender, ready) = watch::channel(false);
    let doors = Doors::open(&config, &seams, &router, alive, ready).await?;
    let peer_listener = bind(&seams, &config.peer, "peer").await?;
    info!(id = config.id.0, http = config.http, peer = config.peer, grpc = config.grpc, "listening");

    let mut shutdown = std::pin::pin!(shutdown);
    let opened = tokio::select! {
        biased;
        () = &mut shutdown => return Ok(()),
        opened = open(config, &seams) => opened?,
    };
    let (config, identity, opened) = opened;
    let formers = identity.formers();
    let (fatal, mut fatal_reports) = FatalSender::channel();
    let (poisoned, cleared) = (Arc::new(AtomicBool::new(false)), fatal.clone());
    let mut node = Assembled::build(&config, &seams, identity, opened, fatal, poisoned.clone())?;
    let mut tasks = JoinSet::new();
    if !formers.is_empty() {
        let (config, router) = (config.clone(), node.router.clone());
        tasks.spawn(rejoin::clear(config, seams.clone(), formers, router, cleared));
    }
    tasks.spawn(watch_health(node.router.clone(), seams.clock.clone(), ready_sender));
    let peer_routes = node.transport.routes().into_axum_router();
    let peers = spawn_serve(&seams, &config, peer_listener, None, peer_routes);
    router_sender.send_replace(Some(node.router.clone()));
    info!(id = config.id.0, cluster = format!("{:016x}", node.router.status().cluster_id.0), "started");

    let ended = tokio::select! {
        biased;
        () = &mut shutdown => None,
        Some(report) = fatal_reports.recv() => Some(Exit::from(report)),
        () = node.running.ended() => Some(Exit::new(ExitCode::Unexpected, "a task of the node ended by itself")),
    };
    if let Some(exit) = ended {
        poisoned.store(true, Ordering::Relaxed);
        alive_sender.send_replace(false);
        return Err(exit);
    }
    // Leadership first: the others need not find out that it is gone, and what comes meanwhile is forwarded.
    let patience = seams.clock.now().plus(config.election_timeout * RESIGN_ELECTION_TIMEOUTS);
    node.handle.resign(patience).await;
    info!(id = config.id.0, "draining");
    drop(tasks);
    let drained = async move {
        doors.drain().await;
        node.running.stop().await;
        node.transport.close();
        peers.drain().await;
    };
    tokio::select! {
        biased;
        // A disk that fails now fails all the same: what is not acknowledged yet must not be taken for stored.
        Some(report) = fatal_reports.recv() => return Err(report.into()),
        () = drained => {}
    }
    info!(id = config.id.0, "stopped");
    Ok(())
}

/// The listeners for clients, served from the first moment on.
struct Doors {
    http: Serving,
    grpc: Serving,
    /// Tells the streams of gRPC to end.
    draining: watch::Sender<bool>,
}

/// What the listeners for clients share.
struct Clients {
    connections: Arc<Semaphore>,
    shares: Shares,
}

impl Clients {
    fn new(limits: &Limits) -> Clients {
        let connections = limits.connections_all_max.min(Semaphore::MAX_PERMITS);
        Clients { connections: Arc::new(Semaphore::new(connections)), shares: Shares::new(limits) }
    }
}

impl Doors {
    async fn open(
        config: &Config,
        seams: &Seams,
        router: &watch::Receiver<Option<Router>>,
        alive: watch::Receiver<bool>,
        ready: watch::Receiver<bool>,
    ) -> Result<Doors, Exit> {
        let (limits, clock) = (&config.limits, &seams.clock);
        let http_listener = bind(seams, &config.http, "http").await?;
        let clients = Clients::new(limits);
        let front = api::rest::Front {
            router: router.clone(),
            clock: clock.clone(),
            limits: limits.clone(),
            shares: clients.shares.clone(),
            alive,
        };
        let http = spawn_serve(seams, config, http_listener, Some(&clients), api::rest::routes(front));
        let grpc_listener = bind(seams, &config.grpc, "grpc").await?;
        let draining = watch::Sender::new(false);
        let front = api::grpc::Front {
            router: router.clone(),
            clock: clock.clone(),
            limits: limits.clone(),
            shares: clients.shares.clone(),
            draining: draining.subscribe(),
        };
        let port = grpc::Port::new(ready, front);
        let grpc = spawn_serve(seams, config, grpc_listener, Some(&clients), port);
        Ok(Doors { http, grpc, draining })
    }

    async fn drain(self) {
        self.draining.send_replace(true);
        tokio::join!(self.http.drain(), self.grpc.drain());
    }
}

async fn bind(seams: &Seams, address: &str, what: &str) -> Result<Box<dyn Listener>, Exit> {
    seams.net.bind(address).await.map_err(|error| {
        let text = format!("cannot listen on {address} ({what}): {error}; choose another --{what} address");
        Exit::new(ExitCode::Usage, text)
    })
}

/// A listener being served.
struct Serving {
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Stops accepting, lets requests finish within the drain timeout, closes the rest.
    async fn drain(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

fn spawn_serve<S, B>(
    seams: &Seams,
    config: &Config,
    listener: Box<dyn Listener>,
    clients: Option<&Clients>,
    service: S,
) -> Serving
where
    S: tower::Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let options = ServeOptions {
        connections_max: clients.map_or(PEER_CONNECTIONS_MAX, |_| config.limits.connections_max),
        connections_all: clients.map(|clients| clients.connections.clone()),
        shares: clients.map(|clients| clients.shares.clone()),
        date_header: seams.http_date,
        drain: config.limits.drain_timeout,
        send_timeout: config.limits.send_timeout,
        traffic: if clients.is_some() { Traffic::Clients } else { Traffic::Peers },
        clock: seams.clock.clone(),
    };
    let stopped = async move {
        let _ = stopped.await;
    };
    let task = tokio::spawn(serve::serve(listener, service, options, stopped));
    Serving { stop, task }
}

/// Opens the data directory; a new one, and one whose log is lost, has to be let into its cluster first, which tells it its
/// id.
async fn open(config: Config, seams: &Seams) -> Result<(Config, Identity, Data), Exit> {
    let mut identity = in_lane(seams, &config, open_identity).await?;
    let mut patience = join::Patience::new();
    loop {
        identity = join::ensure(&config, seams, identity).await?;
        rejoin::tell_id(&config, &identity);
        let owned = Config { id: identity.node(), ..config.clone() };
        let opening = move |config: &Config, seams: &Seams| {
            let opened = Data::open(config, seams, &identity);
            Ok((identity, opened))
        };
        let (back, opened) = in_lane(seams, &owned, opening).await?;
        let opened = match opened {
            Ok(data) => settle_when_there_is_room(&owned, seams, data).await?,
            Err(unopened) => Err(unopened),
        };
        identity = match opened {
            Ok(data) if back.is_ready() => return Ok((owned, back, data)),
            // Without that record the next start would take a log that is gone for one that never was.
            Ok(data) => {
                let ready = "that the data directory is complete";
                let recorded = rejoin::record_when_there_is_room(&config, seams, back, ready, |identity| {
                    identity.set_ready()
                });
                return Ok((owned, recorded.await?, data));
            }
            Err(Unopened::Lost(exit)) => rejoin::give_up(&config, seams, back, exit, &mut patience).await?,
            Err(Unopened::Other(exit)) => return Err(exit),
        };
    }
}

/// Makes log and state file go on where the other ends. What that writes to the log waits for room (H18): the node that is here
/// cannot go on without it, and nothing is wrong with its disk.
async fn settle_when_there_is_room(
    config: &Config,
    seams: &Seams,
    mut data: Data,
) -> Result<Result<Data, Unopened>, Exit> {
    let mut has_waited = false;
    loop {
        let settling = move |_: &Config, _: &Seams| {
            let settled = data.settle();
            Ok((data, settled))
        };
        let (back, settled) = in_lane(seams, config, settling).await?;
        data = back;
        match settled {
            Ok(()) => return Ok(Ok(data)),
            Err(Unsettled::NoRoom(error)) => {
                if !std::mem::replace(&mut has_waited, true) {
                    warn!(%error, "no room to record where the log begins anew: trying again");
                }
                rejoin::room_pause(seams).await;
            }
            Err(Unsettled::For(unopened)) => return Ok(Err(unopened)),
        }
    }
}

/// Why log and state file do not belong together, yet or at all.
enum Unsettled {
    NoRoom(wal::Error),
    For(Unopened),
}

/// Why a data directory could not be opened.
enum Unopened {
    /// What its log held is lost.
    Lost(Exit),
    /// Anything else.
    Other(Exit),
}

impl From<Exit> for Unopened {
    fn from(exit: Exit) -> Unopened {
        Unopened::Other(exit)
    }
}

impl From<wal::Error> for Unopened {
    fn from(error: wal::Error) -> Unopened {
        match error {
            wal::Error::Damaged { .. } => Unopened::Lost(error.into()),
            error => Unopened::Other(error.into()),
        }
    }
}

/// Runs blocking work of the start on a lane.
async fn in_lane<T: Send + 'static>(
    seams: &Seams,
    config: &Config,
    work: impl FnOnce(&Config, &Seams) -> Result<T, Exit> + Send + 'static,
) -> Result<T, Exit> {
    let lane = Lane::open(&*seams.executor, "open");
    let (config, seams) = (config.clone(), seams.clone());
    let done = lane.run(move || work(&config, &seams)).await;
    done.unwrap_or_else(|| Err(Exit::new(ExitCode::Unexpected, "opening the data directory panicked")))
}

fn open_identity(config: &Config, seams: &Seams) -> Result<Identity, Exit> {
    let members = config.initial_cluster.keys().copied().collect();
    let expected = identity::Expected {
        node: config.id,
        token: &config.cluster_token,
        members,
        joins: config.join.is_some(),
    };
    Ok(Identity::open(seams.fs.clone(), &config.data_dir, &expected, seams.clock.random())?)
}

/// What the data directory holds, opened and recovered.
struct Data {
    wal: Wal,
    reader: wal::Reader,
    group: wal::RecoveredGroup,
    store: Store,
    files: StateFiles,
    lost_state: bool,
}

impl Data {
    fn open(config: &Config, seams: &Seams, identity: &Identity) -> Result<Data, Unopened> {
        let home = identity.home(&config.data_dir);
        let wal_dir = home.join("wal");
        let names = rejoin::names(&*seams.fs, &wal_dir)?;
        let has_log = names.iter().any(|name| name.ends_with(".wal"));
        if identity.is_ready() && !has_log {
            let text = format!(
                "{}: the log is missing, and with it this node's votes: it cannot come back under its id. Put the files \
                 back if they were moved",
                wal_dir.display()
            );
            return Err(Unopened::Lost(Exit::new(ExitCode::Damaged, text)));
        }
        let limits = &config.limits;
        let owner =
            Owner { cluster: identity.cluster(), node: config.id, incarnation: identity.incarnation() };
        let options = wal::Options {
            owner,
            segment_bytes: limits.wal_segment_bytes,
            bytes_max: log_bytes_max(limits),
            tail_bytes_max: limits.log_cache_bytes_max,
        };
        // Who joins knows of no group: it learns the configuration with the log.
        let first = match identity.has_joined() {
            true => Membership::default(),
            false => {
                let peers = config.initial_cluster.iter().map(|(id, address)| (*id, address.clone()));
                Membership::bootstrap(peers)
            }
        };
        let bootstrap = BTreeMap::from([(GroupId::FIRST, first)]);
        let (wal, reader, mut recovered) = Wal::open(seams.fs.clone(), &wal_dir, options, &bootstrap)?;
        let is_lacking = recovered.groups.values().any(|group| !group.damaged.is_empty());
        for wound in &recovered.wounds {
            match is_lacking {
                true => {
                    tracing::error!(%wound, "the log is damaged: what is lost is repaired from the other members")
                }
                false => {
                    warn!(%wound, "the log is damaged, and holds what was lost there a second time: look at the disk")
                }
            }
        }
        if let Some(torn) = &recovered.torn {
            warn!(torn, "the log ended in an unfinished batch, which nobody was promised: cut off");
        }
        let group = recovered.groups.remove(&GroupId::FIRST).ok_or_else(|| {
            Exit::new(ExitCode::Damaged, format!("{}: the log knows no group 1", wal_dir.display()))
        })?;
        let files = state_files(&config.limits, seams, home, owner);
        let (store, lost_state) = open_store(config.id, &files, &group, !identity.is_ready())?;
        Ok(Data { wal, reader, group, store, files, lost_state })
    }

    /// Sees to it that the log goes on where the state file ends. Where it finds no room, nothing has changed.
    fn settle(&mut self) -> Result<(), Unsettled> {
        // One that begins anew, or that is asked for, ends nowhere.
        if self.lost_state {
            return Ok(());
        }
        let (group, store) = (&mut self.group, &self.store);
        if group.hard_state.in_doubt && continues(group, store.folded()).is_err() {
            begin_behind(&mut self.wal, group, store)?;
        }
        let Err(what) = continues(group, store.folded()) else { return Ok(()) };
        let text = format!(
            "{}: {what}: they are not of the same node or moment, and the node does not start from them. The other \
             members serve on; put this node's own files back if they were exchanged",
            self.files.path(group.state).display()
        );
        let exit = Exit::new(ExitCode::Damaged, text);
        // An end that the state file has seen: the log's newest files are gone.
        let is_cut = store.folded().0 > group.last;
        Err(Unsettled::For(if is_cut { Unopened::Lost(exit) } else { Unopened::Other(exit) }))
    }
}

impl From<Exit> for Unsettled {
    fn from(exit: Exit) -> Unsettled {
        Unsettled::For(Unopened::Other(exit))
    }
}

impl From<wal::Error> for Unsettled {
    fn from(error: wal::Error) -> Unsettled {
        match error {
            wal::Error::NoRoom { .. } => Unsettled::NoRoom(error),
            error => Unsettled::For(Unopened::Other(error.into())),
        }
    }
}

fn state_files(limits: &Limits, seams: &Seams, dir: PathBuf, owner: Owner) -> StateFiles {
    let options = fsm::Options {
        owner,
        write_set_bytes_max: limits.write_set_bytes_max,
        cache_bytes: limits.store_cache_bytes,
        session_inflight_max: limits.session_inflight_max,
        sessions_max: limits.sessions_max,
        session_replies_bytes_max: limits.session_replies_bytes_max,
        idempotency_answers_max: limits.idempotency_answers_max,
        idempotency_spent_max: limits.idempotency_spent_max,
    };
    let (fs, open_raw, syncs) = (seams.fs.clone(), seams.state_file.clone(), fsm::Syncs::default());
    let counting = syncs.clone();
    let open = Arc::new(move |path: &Path| open_raw(path).map(|raw| counting.counted(raw)));
    StateFiles { dir, fs, open, options, syncs }
}

/// Opens the state file that the log points to, or does without it if it is lost and can be rebuilt; says whether it is.
fn open_store(
    node: NodeId,
    files: &StateFiles,
    group: &wal::RecoveredGroup,
    is_new: bool,
) -> Result<(Store, bool), Exit> {
    let path = files.path(group.state);
    let recovered = files.recover(node, group, is_new).map_err(|error| store_exit(&path, &error))?;
    let state_files::Recovered { store, lost } = recovered;
    if let Some(lost) = lost {
        let from = if store.check().is_ok() { "this node's own log" } else { "another member's snapshot" };
        tracing::error!(file = %path.display(), error = %lost, from, "the state is lost: it is given up and rebuilt");
        return Ok((store, true));
    }
    Ok((store, false))
}

/// A log whose end is lost may end before its state file does. Then it begins anew behind that: what is before is there.
fn begin_behind(wal: &mut Wal, group: &mut wal::RecoveredGroup, store: &Store) -> Result<(), Unsettled> {
    let to = store.folded();
    if to.0 <= group.purged.0 || to.1 > group.hard_state.term {
        return Ok(()); // it is no state file of this log, which its caller says
    }
    let base = match store.membership() {
        Some(bytes) => Membership::decode(&bytes).map_err(|error| {
            Exit::new(ExitCode::Damaged, format!("the state file's membership cannot be decoded: {error}"))
        })?,
        None => group.base.clone(),
    };
    warn!(index = to.0.0, "the log ends before the state file does: it begins anew behind that");
    let install = Some(wal::Install { to, base: base.clone(), state: group.state });
    let (hard_state, repairs, entries) = (None, Vec::new(), Vec::new());
    wal.append(&[wal::GroupWrite { group: GroupId::FIRST, hard_state, install, repairs, entries }])?;
    (group.purged, group.base, group.last) = (to, base, to.0);
    group.memberships.clear();
    group.terms.clear();
    group.tail.clear();
    group.damaged.clear();
    Ok(())
}

/// Whether the log goes on where a state file ends.
fn continues(group: &wal::RecoveredGroup, (folded, term): (Index, Term)) -> Result<(), String> {
    let (purged, there) = (group.purged.0, term_at(group, folded));
    if folded < purged || folded > group.last || there != term {
        let (first, last) = (purged.next(), group.last);
        return Err(format!(
            "it ends at index {folded} of term {term}, but the log holds {first} to {last}, with term {there} there"
        ));
    }
    Ok(())
}

/// The term that the log has at a position.
fn term_at(group: &wal::RecoveredGroup, index: Index) -> Term {
    let runs = group.terms.iter().rev();
    runs.copied().find(|(first, _)| *first <= index).map_or(group.purged.1, |(_, term)| term)
}

/// A node's parts, running.
struct Assembled {
    router: Router,
    running: node::Running,
    handle: Handle,
    transport: Transport,
}

impl Assembled {
    fn build(
        config: &Config,
        seams: &Seams,
        identity: Identity,
        data: Data,
        fatal: FatalSender,
        poisoned: Arc<AtomicBool>,
    ) -> Result<Assembled, Exit> {
        let Data { wal, reader, group, store, files, lost_state } = data;
        let state = group.state;
        let limits = &config.limits;
        let clock = &seams.clock;
        let (cluster, incarnation) = (identity.cluster(), identity.incarnation());
        let (token_hash, logs_given_up) = (identity.token_hash(), identity.formers().len() as u64);
        let own = own_record(config, incarnation, seams.supports);
        let raft = Raft::new(raft_config(config, clock, incarnation), restored(group, &store), clock.now());
        if let Some(fatal) = node::outdated(raft.committed_membership(), own.supports) {
            return Err(fatal.into());
        }
        let lane = Lane::open(&*seams.executor, "wal");
        let removals = Lane::open_background(&*seams.executor, "log-removals");
        let (log, _) =
            LogWriter::start(wal, lane, removals, limits.log_tail_bytes_max, clock.clone(), fatal.clone());
        let (transport, inbox) = Transport::start(
            seams.net.clone(),
            clock.clone(),
            transport::Identity { cluster, node: config.id, incarnation },
            &config.advertise_peer,
            Arc::new(Gate::new(identity, fatal.clone())),
            transport::Limits::from(limits),
        );
        let (handle, running) = node::start(node::Parts {
            id: config.id,
            group: GroupId::FIRST,
            cluster,
            token_hash,
            election_timeout: config.election_timeout,
            limits: limits.clone(),
            heartbeat_interval: config.heartbeat_interval,
            raft,
            store,
            files,
            state,
            lost_state,
            logs_given_up,
            log,
            reader,
            transport: transport.clone(),
            inbox,
            clock: clock.clone(),
            executor: seams.executor.clone(),
            own,
            fatal,
            poisoned,
            probe: seams.probe.clone(),
        });
        Ok(Assembled { router: Router::new(handle.clone()), running, handle, transport })
    }
}

fn own_record(config: &Config, incarnation: crate::types::Incarnation, supports: u32) -> MemberRecord {
    MemberRecord {
        id: config.id,
        incarnation: Some(incarnation),
        role: Role::Voter,
        peer: config.advertise_peer.clone(),
        http: config.advertise_http.clone(),
        grpc: config.advertise_grpc.clone(),
        labels: BTreeMap::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        supports,
    }
}

/// Where the log itself refuses entries, which ends the node: a log that could not take what a leader sends has no
/// other answer. So it is never to be reached: a leader refuses writes once its log is past `wal_bytes_max`, and this
/// leaves room for all that may still come then. That is what is proposed and not yet written; what has not been
/// folded, on a follower that is behind with it; the segment being written, the next, and the one that the log keeps
/// for hard states; and a share for segments that are cut at other places than the leader's.
fn log_bytes_max(limits: &Limits) -> u64 {
    // A limit near the end of the integers is how an operator says that there is none.
    let write_sets = limits.write_set_bytes_max.saturating_mul(2);
    let on_the_way = limits.uncommitted_bytes_max.saturating_add(write_sets) as u64;
    let share = limits.wal_bytes_max / 4;
    let segments = limits.wal_segment_bytes.saturating_mul(3);
    limits.wal_bytes_max.saturating_add(share).saturating_add(segments).saturating_add(on_the_way)
}

fn raft_config(
    config: &Config,
    clock: &SharedClock,
    incarnation: crate::types::Incarnation,
) -> crate::raft::Config {
    let limits = &config.limits;
    crate::raft::Config {
        id: config.id,
        heartbeat_interval: config.heartbeat_interval,
        election_timeout: config.election_timeout,
        disk_stall_timeout: config.election_timeout * DISK_STALL_ELECTION_TIMEOUTS,
        evidence_delay_max: EVIDENCE_DELAY_MAX.min(config.election_timeout),
        append_batch_bytes_max: limits.append_batch_bytes_max,
        append_inflight_max: limits.append_inflight_max,
        append_inflight_bytes_max: limits.append_inflight_bytes_max,
        uncommitted_bytes_max: limits.uncommitted_bytes_max,
        cache_bytes_max: limits.log_cache_bytes_max,
        apply_inflight_bytes_max: limits.apply_inflight_bytes_max,
        reads_waiting_max: limits.reads_waiting_max,
        seed: clock.random(),
        incarnation,
        boot: clock.random(),
    }
}

fn restored(group: wal::RecoveredGroup, store: &Store) -> Restored {
    Restored {
        hard_state: group.hard_state,
        purged: group.purged,
        base: group.base,
        memberships: group.memberships,
        terms: group.terms,
        last: group.last,
        tail: group.tail,
        damaged: group.damaged,
        applied: store.check().is_ok().then(|| store.applied().0),
    }
}

/// Tells gRPC's health service whether this node can serve a linearizable read.
async fn watch_health(router: Router, clock: SharedClock, ready: watch::Sender<bool>) {
    loop {
        let deadline = clock.now().plus(HEALTH_INTERVAL);
        let confirmed = router.confirm(deadline).await.is_ok();
        ready.send_if_modified(|ready| std::mem::replace(ready, confirmed) != confirmed);
        sleep(&*clock, HEALTH_INTERVAL).await;
    }
}
