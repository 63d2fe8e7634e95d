//! The connections that this node makes: for each peer and lane one task that dials, and dials again.
//!
//! An attempt fails for many passing reasons (the name does not resolve yet, nobody listens, the handshake is refused
//! while a peer restarts under another configuration), so it is repeated for ever, after a pause that grows with each
//! failure and is drawn at random from zero up to its limit (full jitter), on the node's own clock. A peer that
//! connects to us ends the pause: it is plainly there. What went wrong is logged when it changes, not at each attempt.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, watch};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::clock;
use crate::types::NodeId;

use super::frame::{FrameCodec, Items};
use super::grpc::is_superseded;
use super::handshake::{self, Refusal};
use super::lane::{Lane, LaneKind, LaneLimits, Outgoing};
use super::proto;
use super::shared::{Shared, raised};
use super::takeovers::Takeovers;

/// The first pause is at most this.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// And no pause is longer than this.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// A connection that lasted this long was a success: the pauses begin anew.
const SETTLED: Duration = Duration::from_secs(1);
/// Connecting and the handshake together.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// How much of a peer's replies may be under way.
const WINDOW_BYTES: u32 = 2 << 20;

/// One peer. Its tasks end with [`Peer::stop`].
pub(super) struct Peer {
    pub address: String,
    id: NodeId,
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
    /// What was logged last.
    problem: Option<String>,
    takeovers: Takeovers,
}

/// Why there is no connection.
enum Problem {
    /// The peer refused us.
    Refused(Refusal),
    /// It is not the peer we meant.
    Stranger(Refusal),
    /// The peer ended it for a newer one in our name.
    Superseded,
    /// Anything else.
    Broken(String),
}

impl Problem {
    fn of_status(status: &Status) -> Problem {
        if is_superseded(status) { Problem::Superseded } else { Problem::Broken(describe_status(status)) }
    }
}

impl Peer {
    /// Begins to dial.
    pub fn start(shared: &Arc<Shared>, id: NodeId, address: String) -> Arc<Peer> {
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
            address,
            id,
            control: route(LaneKind::Control, control),
            bulk: route(LaneKind::Bulk, bulk),
            condition: Mutex::default(),
            stop: watch::Sender::new(false),
        });
        for kind in [LaneKind::Control, LaneKind::Bulk] {
            let dialer = Dialer {
                shared: Arc::clone(shared),
                peer: Arc::clone(&peer),
                kind,
                random: fastrand::Rng::with_seed(shared.clock.random()),
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

/// The task of one lane.
struct Dialer {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    kind: LaneKind,
    random: fastrand::Rng,
}

impl Dialer {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut failures = 0;
        loop {
            let began = self.shared.clock.now();
            let problem = tokio::select! {
                biased;
                () = raised(&mut stop) => return,
                problem = self.session() => problem,
            };
            if self.shared.clock.now().since(began) >= SETTLED {
                failures = 0;
            }
            self.report(&problem);
            let pause = self.pause(failures);
            failures += 1;
            tokio::select! {
                biased;
                () = raised(&mut stop) => return,
                () = self.peer.route(self.kind).hurry.notified() => {}
                () = clock::sleep(&*self.shared.clock, pause) => {}
            }
        }
    }

    fn pause(&mut self, failures: u32) -> Duration {
        let limit = BACKOFF_MIN.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX);
        limit.mul_f64(self.random.f64())
    }

    /// One connection, from dialing to its end.
    async fn session(&self) -> Problem {
        let lane = self.peer.lane(self.kind);
        let outgoing = lane.open();
        // Settles what waits on the lane however this ends, by a stop too.
        let session = Session { dialer: self, number: outgoing.session() };
        let deadline = self.shared.clock.now().plus(DIAL_TIMEOUT);
        let dialed = clock::timeout_at(&*self.shared.clock, deadline, self.dial(outgoing)).await;
        let (_channel, replies) = match dialed {
            Some(Ok(connection)) => connection,
            Some(Err(problem)) => return problem,
            None => return Problem::Broken("no answer in time".to_owned()),
        };
        session.up();
        self.receive(session.number, replies).await
    }

    /// Connects and shakes hands.
    async fn dial(&self, outgoing: Outgoing) -> Result<(Channel, Streaming<Bytes>), Problem> {
        let broken = |error: &dyn std::error::Error| Problem::Broken(describe(error));
        let stream = self.shared.net.connect(&self.peer.address).await.map_err(|error| broken(&error))?;
        let channel = channel(self.kind, stream).await.map_err(|error| broken(&error))?;
        let mut grpc = Grpc::new(channel.clone())
            .max_decoding_message_size(self.shared.limits.frame_bytes_max)
            .max_encoding_message_size(self.shared.limits.frame_bytes_max);
        grpc.ready().await.map_err(|error| broken(&error))?;

        let mut request = Request::new(outgoing);
        handshake::introduce(&self.shared.identity, self.peer.id, request.metadata_mut());
        let path = PathAndQuery::from_static(match self.kind {
            LaneKind::Control => super::grpc::CONTROL_PATH,
            LaneKind::Bulk => super::grpc::BULK_PATH,
        });
        let response = grpc.streaming(request, path, FrameCodec::<proto::Item>::new()).await;
        let response = response.map_err(|status| match Refusal::from_status(&status) {
            Some(refusal) => Problem::Refused(refusal),
            None => Problem::of_status(&status),
        })?;
        let shared = &self.shared;
        handshake::check_server(&shared.identity, &*shared.admission, self.peer.id, response.metadata())
            .map_err(Problem::Stranger)?;
        Ok((channel, response.into_inner()))
    }

    /// Takes replies until the connection ends; why it did.
    async fn receive(&self, session: u64, mut replies: Streaming<Bytes>) -> Problem {
        let lane = self.peer.lane(self.kind);
        loop {
            let frame = match replies.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Problem::Broken("closed by the peer".to_owned()),
                Err(status) => return Problem::of_status(&status),
            };
            for reply in Items::<proto::ForwardReply>::new(frame) {
                match reply {
                    Ok(reply) => lane.complete(session, reply),
                    Err(_) => {
                        self.shared.counters.rejected_frames.increment();
                        return Problem::Broken("sent a reply frame that cannot be read".to_owned());
                    }
                }
            }
        }
    }

    /// Logs a problem if it is another one than before.
    fn report(&self, problem: &Problem) {
        self.shared.counters.connect_failures.increment();
        let (text, refusal) = match problem {
            Problem::Refused(refusal) => (format!("refused by the peer: {refusal}"), Some(refusal)),
            Problem::Stranger(refusal) => (format!("not the peer that was expected: {refusal}"), None),
            Problem::Superseded => ("taken over by a newer connection in this node's name".to_owned(), None),
            Problem::Broken(text) => (text.clone(), None),
        };
        let now = self.shared.clock.now();
        let mut status = self.peer.condition();
        let new = status.problem.as_ref() != Some(&text) && !status.takeovers.is_suspected(now);
        if new {
            status.problem = Some(text.clone());
        }
        let twin = matches!(problem, Problem::Superseded) && status.takeovers.on_takeover(now);
        drop(status);
        let (peer, address, lane) = (self.peer.id.0, &*self.peer.address, self.kind.name());
        if twin {
            tracing::warn!(
                peer,
                address,
                "another process connects in this node's name, and each ends the other's connections: does a second \
                 node run on a copy of this data directory? Stop one of the two and do not start it again"
            );
        }
        match problem {
            Problem::Broken(_) | Problem::Superseded if new => {
                tracing::info!(peer, address, lane, reason = text, "no connection to a peer, trying again");
            }
            Problem::Refused(_) | Problem::Stranger(_) if new => {
                tracing::warn!(peer, address, lane, reason = text, "no connection to a peer, trying again");
            }
            _ => tracing::debug!(peer, address, lane, reason = text, "no connection to a peer"),
        }
        if let Some(refusal) = refusal {
            self.shared.on_refused_by(self.peer.id, refusal);
        }
    }
}

/// A connection in use. Dropping it takes it out of use.
struct Session<'a> {
    dialer: &'a Dialer,
    number: u64,
}

impl Session<'_> {
    fn up(&self) {
        let Dialer { shared, peer, kind, .. } = self.dialer;
        peer.lane(*kind).connect(self.number);
        shared.counters.connected.increment();
        if self.mark(true) {
            let mut condition = peer.condition();
            let is_news = !condition.takeovers.is_suspected(shared.clock.now());
            condition.problem = None;
            drop(condition);
            let (id, address) = (peer.id.0, &*peer.address);
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

/// An HTTP/2 connection over this stream, and over no other.
async fn channel(kind: LaneKind, stream: super::net::BoxStream) -> Result<Channel, tonic::transport::Error> {
    // A silent connection is given up after interval + timeout. The bulk lane gets more time: its answer to a ping may
    // stand behind megabytes on a slow link.
    let (interval, timeout) = match kind {
        LaneKind::Control => (Duration::from_secs(1), Duration::from_secs(3)),
        LaneKind::Bulk => (Duration::from_secs(2), Duration::from_secs(6)),
    };
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.take().ok_or_else(|| io::Error::other("the connection was used up"));
        std::future::ready(stream)
    });
    // The name is for the request line only: the connection is there already.
    Endpoint::from_static("http://quorate-peer")
        .http2_keep_alive_interval(interval)
        .keep_alive_timeout(timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .connect_with_connector(connector)
        .await
}

/// The error with its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn describe_status(status: &Status) -> String {
    let text = match std::error::Error::source(status) {
        Some(source) => describe(source),
        None => String::new(),
    };
    format!("{:?}: {} {text}", status.code(), status.message()).trim_end().to_owned()
}
