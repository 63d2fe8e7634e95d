//! The lanes that this node opens: for each peer and lane one task that dials, and dials again.
//!
//! An attempt fails for many passing reasons (the name does not resolve yet, nobody listens, the handshake is refused
//! while a peer restarts under another configuration), so it is repeated for ever, after a pause that grows with each
//! failure and is drawn at random from zero up to its limit (full jitter), on the node's own clock. A peer that
//! connects to us ends the pause: it is plainly there. A connection that held for a while and was closed by the peer is
//! dialed again without a pause: whether anybody answers decides whether the peer is dead (`evidence`). What went wrong
//! is logged when it changes, not at each attempt.
//!
//! **Where to dial**: at the address in the membership's record. If that fails, the next attempt goes to the address
//! that the peer gave when it connected to us, if that is another one, and so on by turns: a node that moved is reached,
//! and hears heartbeats, before its new address is in the record. Only a peer that passed the handshake gives one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tonic::Streaming;

use crate::clock;
use crate::types::{Incarnation, NodeId};

use super::dial::{self, Call, DIAL_TIMEOUT, KEEP_ALIVE, KEEP_ALIVE_BULK, Problem, Way};
use super::evidence::{Ended, Inquest};
use super::frame::{FrameCodec, Items};
use super::handshake::{Reason, Refusal};
use super::lane::{Lane, LaneKind, LaneLimits, Outgoing};
use super::proto;
use super::shared::{Shared, raised};
use super::takeovers::Takeovers;
use super::{Admission, Inbound, NotAdmitted, PeerInfo};

/// The first pause is at most this.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// And no pause is longer than this.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// A connection that lasted this long was a success: the pauses begin anew.
const SETTLED: Duration = Duration::from_secs(1);

/// One peer. Its tasks end with [`Peer::stop`].
pub(super) struct Peer {
    pub id: NodeId,
    pub address: String,
    control: Route,
    bulk: Route,
    condition: Mutex<Condition>,
    stop: watch::Sender<bool>,
}

/// A lane and the bell of the task that dials it.
struct Route {
    lane: Arc<Lane>,
    hurry: Notify,
}

/// What is known about the connections to a peer.
#[derive(Default)]
struct Condition {
    control_up: bool,
    bulk_up: bool,
    /// The data directory that the membership's record names.
    recorded: Option<Incarnation>,
    /// The data directory that was admitted last, by either side's handshake.
    met: Option<Incarnation>,
    /// The address that it gave, if that is another than the record's.
    given: Option<String>,
    /// Where the control lane reached it last.
    reached_at: Option<String>,
    /// What was logged last.
    problem: Option<String>,
    takeovers: Takeovers,
}

impl Peer {
    /// Begins to dial.
    pub fn start(shared: &Arc<Shared>, id: NodeId, info: PeerInfo) -> Arc<Peer> {
        let limits = &shared.limits;
        let control = LaneLimits {
            frame_bytes_max: limits.frame_bytes_max,
            messages_max: limits.control_frames_queued_max,
            bytes_max: limits.frame_bytes_max,
            forwards_max: 0,
        };
        let bulk = LaneLimits {
            frame_bytes_max: limits.frame_bytes_max,
            messages_max: usize::MAX,
            bytes_max: limits.bulk_bytes_queued_max,
            forwards_max: limits.forwards_inflight_max,
        };
        let route = |kind, limits| Route {
            lane: Arc::new(Lane::new(kind, limits, Arc::clone(&shared.counters))),
            hurry: Notify::new(),
        };
        let peer = Arc::new(Peer {
            id,
            address: info.address,
            control: route(LaneKind::Control, control),
            bulk: route(LaneKind::Bulk, bulk),
            condition: Mutex::new(Condition { recorded: info.incarnation, ..Condition::default() }),
            stop: watch::Sender::new(false),
        });
        for kind in [LaneKind::Control, LaneKind::Bulk] {
            let dialer = Dialer {
                shared: Arc::clone(shared),
                peer: Arc::clone(&peer),
                kind,
                random: fastrand::Rng::with_seed(shared.clock.random()),
                inquest: Inquest::default(),
                failures: 0,
                elsewhere: false,
            };
            tokio::spawn(dialer.run(peer.stop.subscribe()));
        }
        peer
    }

    pub fn lane(&self, kind: LaneKind) -> &Arc<Lane> {
        &self.route(kind).lane
    }

    /// Dials at once if the task is pausing.
    pub fn hurry(&self, kind: LaneKind) {
        self.route(kind).hurry.notify_one();
    }

    /// Ends the connections and the tasks.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Turns true when the peer is not one any more.
    pub fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Whether the node with this data directory is the peer. See `roster` for the rule.
    pub fn admit(&self, admission: &dyn Admission, incarnation: Incarnation) -> Result<(), Refusal> {
        let recorded = self.condition().recorded;
        match recorded {
            // Not under the lock: it may write to the disk.
            None => admission.admit(self.id, incarnation).map_err(|error| match error {
                NotAdmitted::Other(text) => Refusal::new(Reason::Incarnation, text),
                NotAdmitted::Failed(text) => Refusal::new(Reason::Unable, text),
            })?,
            Some(recorded) if recorded == incarnation => {}
            Some(recorded) => return Err(not_recorded(self.id, recorded, incarnation)),
        }
        self.condition().met = Some(incarnation);
        Ok(())
    }

    /// The data directory that the membership's record names.
    pub fn recorded(&self) -> Option<Incarnation> {
        self.condition().recorded
    }

    /// The membership's record names this data directory now. False if another one has been met.
    pub fn record(&self, incarnation: Option<Incarnation>) -> bool {
        let mut condition = self.condition();
        condition.recorded = incarnation;
        incarnation.is_none() || condition.met.is_none_or(|met| Some(met) == incarnation)
    }

    /// The peer says that this is its address.
    pub fn set_given(&self, address: &str) {
        self.condition().given = (address != self.address).then(|| address.to_owned());
    }

    /// Where it was reached last, or else should be.
    pub fn reached_at(&self) -> String {
        self.condition().reached_at.clone().unwrap_or_else(|| self.address.clone())
    }

    fn route(&self, kind: LaneKind) -> &Route {
        match kind {
            LaneKind::Control => &self.control,
            LaneKind::Bulk => &self.bulk,
        }
    }

    fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node is told that has another data directory than its record.
pub(super) fn not_recorded(node: NodeId, recorded: Incarnation, incarnation: Incarnation) -> Refusal {
    let text = format!(
        "node {node} is a member with the data directory {:016x}, this one is {:016x}: its disk was replaced or wiped, \
         and with it its votes; it cannot come back under this id",
        recorded.0, incarnation.0
    );
    Refusal::new(Reason::Incarnation, text)
}

/// The task of one lane.
struct Dialer {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    kind: LaneKind,
    random: fastrand::Rng,
    /// Of the control lane only.
    inquest: Inquest,
    /// Attempts and short connections since the last one that held.
    failures: u32,
    /// Whether the address that the peer gave has its turn.
    elsewhere: bool,
}

impl Dialer {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                () = raised(&mut stop) => return,
                () = self.attempt() => {}
            }
            let pause = self.pause();
            self.failures += 1;
            tokio::select! {
                biased;
                () = raised(&mut stop) => return,
                () = self.peer.route(self.kind).hurry.notified() => {}
                () = clock::sleep(&*self.shared.clock, pause) => {}
            }
        }
    }

    /// One attempt, and the connection if it comes up.
    async fn attempt(&mut self) {
        let address = self.address();
        let began = self.shared.clock.now();
        let ended = self.session(&address).await;
        if self.shared.clock.now().since(began) >= SETTLED {
            self.failures = 0;
        }
        self.report(&address, &ended.problem);
        self.elsewhere = ended.reached.is_none() && !self.elsewhere;
        if self.kind != LaneKind::Control {
            return;
        }
        if let Some(incarnation) = self.inquest.on_end(&address, &ended) {
            self.shared.counters.died.increment();
            tracing::info!(
                peer = self.peer.id.0,
                address,
                reason = ended.problem.text(),
                "a peer's process died"
            );
            let died = Inbound::Died { peer: self.peer.id, incarnation };
            // Nobody receives any more: then nobody needs to know.
            let _ = self.shared.inbox.deliver(LaneKind::Control, died, 0).await;
        }
    }

    fn address(&self) -> String {
        let given = self.peer.condition().given.clone();
        match (given, self.inquest.address()) {
            (Some(given), _) if self.elsewhere => given,
            (_, Some(suspected)) if !self.elsewhere => suspected.to_owned(),
            _ => self.peer.address.clone(),
        }
    }

    fn pause(&mut self) -> Duration {
        // The connection held: once, the answer is wanted at once.
        if self.inquest.address().is_some() && self.failures == 0 {
            return Duration::ZERO;
        }
        let limit = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        limit.mul_f64(self.random.f64())
    }

    /// One connection, from dialing to its end.
    async fn session(&self, address: &str) -> Ended {
        let lane = self.peer.lane(self.kind);
        let outgoing = lane.open();
        // Settles what waits on the lane however this ends, by a stop too.
        let session = Session { dialer: self, address, number: outgoing.session() };
        let failed = |problem| Ended { problem, reached: None, by_peer: false };
        let deadline = self.shared.clock.now().plus(DIAL_TIMEOUT);
        let dialed = clock::timeout_at(&*self.shared.clock, deadline, self.dial(address, outgoing)).await;
        let mut call = match dialed {
            Some(Ok(call)) => call,
            Some(Err(problem)) => return failed(problem),
            None => return failed(Problem::Broken("no answer in time".to_owned())),
        };
        session.up();
        let (problem, by_peer) = self.receive(session.number, &mut call).await;
        Ended { problem, reached: Some(call.incarnation), by_peer }
    }

    /// Connects and shakes hands.
    async fn dial(&self, address: &str, outgoing: Outgoing) -> Result<Call<Bytes>, Problem> {
        let (path, keep_alive) = match self.kind {
            LaneKind::Control => (super::grpc::CONTROL_PATH, KEEP_ALIVE),
            LaneKind::Bulk => (super::grpc::BULK_PATH, KEEP_ALIVE_BULK),
        };
        let message_bytes_max = self.shared.limits.frame_bytes_max;
        let way = Way { peer: &self.peer, address, path, keep_alive, message_bytes_max };
        dial::call(&self.shared, way, outgoing, FrameCodec::<proto::Item>::new()).await
    }

    /// Takes replies until the connection ends; why it did, and whether it was the peer that ended it.
    async fn receive(&self, session: u64, call: &mut Call<Bytes>) -> (Problem, bool) {
        let lane = self.peer.lane(self.kind);
        loop {
            let replies: &mut Streaming<Bytes> = &mut call.replies;
            let frame = match replies.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return (Problem::Broken("closed by the peer".to_owned()), true),
                Err(status) => {
                    let problem = Problem::of_status(&status);
                    // Taken over, or sent away: plainly somebody is there.
                    let is_broken = matches!(problem, Problem::Broken(_));
                    return (problem, is_broken && call.is_closed_by_peer(&status));
                }
            };
            for reply in Items::<proto::ForwardReply>::new(frame) {
                match reply {
                    Ok(reply) => lane.complete(session, reply),
                    Err(_) => {
                        self.shared.counters.rejected_frames.increment();
                        let text = "sent a reply frame that cannot be read";
                        return (Problem::Broken(text.to_owned()), false);
                    }
                }
            }
        }
    }

    /// Logs a problem if it is another one than before.
    fn report(&self, address: &str, problem: &Problem) {
        self.shared.counters.connect_failures.increment();
        let text = problem.text();
        let now = self.shared.clock.now();
        let mut status = self.peer.condition();
        let new = status.problem.as_ref() != Some(&text) && !status.takeovers.is_suspected(now);
        if new {
            status.problem = Some(text.clone());
        }
        let twin = matches!(problem, Problem::Superseded) && status.takeovers.on_takeover(now);
        drop(status);
        let (peer, lane) = (self.peer.id.0, self.kind.name());
        if twin {
            tracing::warn!(
                peer,
                address,
                "another process connects in this node's name, and each ends the other's connections: does a second \
                 node run on a copy of this data directory? Stop one of the two and do not start it again"
            );
        }
        match problem {
            Problem::Absent(_) | Problem::Broken(_) | Problem::Superseded if new => {
                tracing::info!(peer, address, lane, reason = text, "no connection to a peer, trying again");
            }
            Problem::Refused(_) | Problem::Stranger(_) if new => {
                tracing::warn!(peer, address, lane, reason = text, "no connection to a peer, trying again");
            }
            _ => tracing::debug!(peer, address, lane, reason = text, "no connection to a peer"),
        }
        if let Problem::Refused(refusal) = problem {
            self.shared.on_refused_by(self.peer.id, refusal);
        }
    }
}

/// A connection in use. Dropping it takes it out of use.
struct Session<'a> {
    dialer: &'a Dialer,
    address: &'a str,
    number: u64,
}

impl Session<'_> {
    fn up(&self) {
        let Dialer { shared, peer, kind, .. } = self.dialer;
        peer.lane(*kind).connect(self.number);
        shared.counters.connected.increment();
        if *kind == LaneKind::Control {
            peer.condition().reached_at = Some(self.address.to_owned());
        }
        if self.mark(true) {
            let mut condition = peer.condition();
            let is_news = !condition.takeovers.is_suspected(shared.clock.now());
            condition.problem = None;
            drop(condition);
            let (id, address) = (peer.id.0, self.address);
            match is_news {
                true => tracing::info!(peer = id, address, "connected to a peer"),
                false => tracing::debug!(peer = id, address, "connected to a peer"),
            }
            shared.on_connection(peer.id, true);
        }
    }

    /// Notes the lane's state; whether both lanes are up.
    fn mark(&self, up: bool) -> bool {
        let mut status = self.dialer.peer.condition();
        match self.dialer.kind {
            LaneKind::Control => status.control_up = up,
            LaneKind::Bulk => status.bulk_up = up,
        }
        status.control_up && status.bulk_up
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let Dialer { shared, peer, kind, .. } = self.dialer;
        self.mark(false);
        peer.lane(*kind).disconnect(self.number);
        // A stopped peer may have a successor by now, whose connections these are.
        if !*peer.stop.borrow() {
            shared.on_connection(peer.id, false);
        }
    }
}
