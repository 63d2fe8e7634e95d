//! The service that peers connect to: the receiving end of their lanes, and the way to the other calls.
//!
//! A call is checked once, at its handshake, and then read by a task of its own until it ends: the peer closed it, a
//! frame could not be read, the peer opened the lane anew, or the transport closed. A message that breaks a rule is
//! dropped and counted and the ones behind it are read on: only where the frame itself cannot be followed is there
//! nothing left to read, and the lane is closed; the peer dials again. The response half carries the replies to this
//! call's forwards, in the order in which they are ready, all that are ready in one frame.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::Stream;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming, body::Body};

use crate::types::{GroupId, NodeId};

use super::codec::{self, Reject};
use super::frame::{Fault, Frame, FrameCodec, Items, item_bytes, received_bytes};
use super::handshake::{self, Introduced};
use super::lane::LaneKind;
use super::proto::{self, forward_reply::Outcome, item};
use super::shared::{CallKey, Shared, raised};
use super::{Inbound, join, snapshot};

/// The service's name, as `proto/raft.proto` has it.
const SERVICE: &str = "quorate.raft.v1.Peer";
/// The paths of its calls.
pub(super) const CONTROL_PATH: &str = "/quorate.raft.v1.Peer/Control";
pub(super) const BULK_PATH: &str = "/quorate.raft.v1.Peer/Bulk";
pub(super) const SNAPSHOT_PATH: &str = "/quorate.raft.v1.Peer/Snapshot";
pub(super) const JOIN_PATH: &str = "/quorate.raft.v1.Peer/Join";

/// What a call ends with whose dialer opened the same lane anew.
pub(super) const SUPERSEDED: &str = "superseded by a newer connection";

/// Whether a call ended because its dialer, or another in its name, opened the lane anew.
pub(super) fn is_superseded(status: &Status) -> bool {
    status.code() == tonic::Code::Aborted && status.message() == SUPERSEDED
}

/// The service as routes of a server.
pub(super) fn routes(shared: &Arc<Shared>) -> tonic::service::Routes {
    tonic::service::Routes::new(PeerService { shared: Arc::clone(shared) }).prepare()
}

/// What tonic generates for a service, but that the two halves of a call have different codecs.
#[derive(Clone)]
struct PeerService {
    shared: Arc<Shared>,
}

impl NamedService for PeerService {
    const NAME: &'static str = SERVICE;
}

/// What a call is answered with, once that is known.
pub(super) type Answering<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl tower::Service<http::Request<Body>> for PeerService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let shared = Arc::clone(&self.shared);
        let kind = match request.uri().path() {
            CONTROL_PATH => LaneKind::Control,
            BULK_PATH => LaneKind::Bulk,
            SNAPSHOT_PATH => return Box::pin(async { Ok(snapshot::serve(shared, request).await) }),
            JOIN_PATH => return Box::pin(async { Ok(join::serve(shared, request).await) }),
            _ => return Box::pin(async { Ok(Status::unimplemented("no such call").into_http()) }),
        };
        Box::pin(async move {
            let mut grpc = Grpc::new(FrameCodec::<proto::ForwardReply>::new())
                .max_decoding_message_size(shared.limits.frame_bytes_max)
                .max_encoding_message_size(shared.limits.frame_bytes_max);
            Ok(grpc.streaming(Open { shared, kind }, request).await)
        })
    }
}

/// Opens one lane.
struct Open {
    shared: Arc<Shared>,
    kind: LaneKind,
}

impl StreamingService<Bytes> for Open {
    type Response = Frame<proto::ForwardReply>;
    type ResponseStream = Replies;
    type Future = std::future::Ready<Result<Response<Replies>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        std::future::ready(open(&self.shared, self.kind, request))
    }
}

fn open(
    shared: &Arc<Shared>,
    kind: LaneKind,
    request: Request<Streaming<Bytes>>,
) -> Result<Response<Replies>, Status> {
    let dialer = welcome(shared, request.metadata())?;
    let from = dialer.node;
    let accepted = shared.on_accepted(&dialer, CallKey::Lane(from, kind));
    let mut place = accepted.map_err(|refusal| refusal.to_status())?;

    let forwards_max = shared.limits.forwards_inflight_max.clamp(1, Semaphore::MAX_PERMITS);
    let (waits_sender, waits) = mpsc::channel(forwards_max.min(REPLIES_QUEUED_MAX));
    let (end_sender, end) = oneshot::channel();
    let receiver = Receiver {
        shared: Arc::clone(shared),
        kind,
        from,
        waits: waits_sender,
        forwards: Arc::new(Semaphore::new(forwards_max)),
        warned: false,
    };
    let mut closed = shared.closed();
    tokio::spawn(async move {
        let mut receiver = receiver;
        let status = tokio::select! {
            biased;
            () = raised(&mut closed) => stopping(),
            status = place.lost() => status,
            status = receiver.run(request.into_inner()) => status,
        };
        drop(place);
        // The response half may be gone already.
        let _ = end_sender.send(status);
    });

    let replies = Replies {
        waits,
        waiting: FuturesUnordered::new(),
        carried: None,
        end: Some(end),
        frame_bytes_max: shared.limits.frame_bytes_max,
    };
    let mut response = Response::new(replies);
    handshake::answer(&shared.identity, response.metadata_mut());
    Ok(response)
}

/// Who the dialer is, if it may talk to this node.
pub(super) fn welcome(shared: &Arc<Shared>, metadata: &MetadataMap) -> Result<Introduced, Status> {
    if *shared.closed().borrow() {
        return Err(stopping());
    }
    let checked = handshake::check_dialer(&shared.identity, |dialer| shared.admit(dialer), metadata);
    checked.map_err(|refusal| {
        shared.on_refused(&refusal);
        refusal.to_status()
    })
}

/// What a call ends with when the transport closes.
pub(super) fn stopping() -> Status {
    Status::unavailable("this node is stopping")
}

/// New forwards on their way to [`Replies`], which always takes them at once.
const REPLIES_QUEUED_MAX: usize = 1_024;

/// Reads one lane.
struct Receiver {
    shared: Arc<Shared>,
    kind: LaneKind,
    from: NodeId,
    waits: mpsc::Sender<Wait>,
    /// A permit for each forward that is not answered.
    forwards: Arc<Semaphore>,
    /// Whether a rejected message was logged: one line a connection.
    warned: bool,
}

impl Receiver {
    /// Reads until the end; the status to end the call with.
    async fn run(&mut self, mut frames: Streaming<Bytes>) -> Status {
        loop {
            let frame = match frames.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Status::ok(""),
                Err(status) => {
                    // Over the limit, or the connection broke.
                    if status.code() == tonic::Code::OutOfRange {
                        self.shared.counters.rejected_frames.increment();
                        tracing::warn!(peer = self.from.0, "a peer sent a frame over the limit");
                    }
                    return status;
                }
            };
            self.shared.counters.frames_received.increment();
            if let Err(status) = self.on_frame(frame).await {
                return status;
            }
        }
    }

    /// Delivers the frame's messages; the status to end the call with, if it must end.
    async fn on_frame(&mut self, frame: Bytes) -> Result<(), Status> {
        let received_bytes = received_bytes(&frame);
        let mut items = Items::<proto::Item>::new(frame);
        loop {
            let before = items.rest_bytes();
            let Some(item) = items.next() else { return Ok(()) };
            let bytes = before - items.rest_bytes();
            match item {
                Ok(item) => {
                    let delivered = self.on_item(item, bytes, received_bytes).await;
                    delivered.map_err(|()| stopping())?;
                }
                Err(Fault::Item) => self.reject(&Reject::Malformed),
                Err(Fault::Frame) => {
                    self.shared.counters.rejected_frames.increment();
                    tracing::warn!(peer = self.from.0, "a peer sent a frame that cannot be read");
                    return Err(Status::invalid_argument("the frame cannot be read"));
                }
            }
        }
    }

    /// Delivers or rejects one message. `Err` once nobody receives any more.
    async fn on_item(&mut self, item: proto::Item, bytes: usize, received_bytes: usize) -> Result<(), ()> {
        let group = GroupId(item.group);
        let inbound = match item.body {
            Some(item::Body::Envelope(envelope)) => {
                let to = self.shared.identity.node;
                match codec::decode(envelope, self.from, to, received_bytes) {
                    Ok(envelope)
                        if codec::is_on_lane(&envelope.message)
                            && codec::is_control(&envelope.message) == self.is_control() =>
                    {
                        Ok(Inbound::Message { group, envelope })
                    }
                    Ok(_) => Err(Reject::Lane),
                    Err(reject) => Err(reject),
                }
            }
            Some(item::Body::Forward(_)) if self.is_control() => Err(Reject::Lane),
            Some(item::Body::Forward(mut forward)) => {
                forward.request = codec::detach(forward.request, received_bytes);
                match self.on_forward(group, forward).await? {
                    Some(inbound) => Ok(inbound),
                    None => return Ok(()),
                }
            }
            None => Err(Reject::UnknownKind("item")),
        };
        match inbound {
            Ok(inbound) => {
                self.shared.counters.received.increment();
                self.shared.inbox.deliver(self.kind, inbound, bytes).await
            }
            Err(reject) => {
                self.reject(&reject);
                Ok(())
            }
        }
    }

    /// The request for the node, unless too many are under way. `Err` once nobody takes the reply any more.
    async fn on_forward(&mut self, group: GroupId, forward: proto::Forward) -> Result<Option<Inbound>, ()> {
        let id = forward.id;
        let Ok(permit) = Arc::clone(&self.forwards).try_acquire_owned() else {
            self.shared.counters.forwards_refused.increment();
            self.waits.send(Wait { id, pending: None }).await.map_err(|_| ())?;
            return Ok(None);
        };
        let (reply, receiver) = oneshot::channel();
        let wait = Wait { id, pending: Some((receiver, permit)) };
        self.waits.send(wait).await.map_err(|_| ())?;
        Ok(Some(Inbound::Forward { from: self.from, group, request: forward.request, reply }))
    }

    fn is_control(&self) -> bool {
        self.kind == LaneKind::Control
    }

    fn reject(&mut self, reject: &Reject) {
        self.shared.counters.rejected.increment();
        if !self.warned {
            self.warned = true;
            tracing::warn!(peer = self.from.0, lane = self.kind.name(), reason = %reject, "rejected a message");
        }
    }
}

/// A forward whose reply is due.
struct Wait {
    id: u64,
    /// `None`: refused, there were too many.
    pending: Option<(oneshot::Receiver<Bytes>, OwnedSemaphorePermit)>,
}

impl Future for Wait {
    type Output = proto::ForwardReply;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<proto::ForwardReply> {
        let id = self.id;
        let outcome = match &mut self.pending {
            None => Outcome::Refused(true),
            Some((receiver, _permit)) => match Pin::new(receiver).poll(context) {
                Poll::Ready(Ok(reply)) => Outcome::Reply(reply),
                Poll::Ready(Err(_)) => Outcome::Dropped(true),
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(proto::ForwardReply { id, outcome: Some(outcome) })
    }
}

/// The response half of one call.
struct Replies {
    waits: mpsc::Receiver<Wait>,
    waiting: FuturesUnordered<Wait>,
    /// Was ready, but did not fit into the frame before.
    carried: Option<proto::ForwardReply>,
    /// How the call ends; `None` once it did.
    end: Option<oneshot::Receiver<Status>>,
    frame_bytes_max: usize,
}

impl Replies {
    fn next_reply(&mut self, context: &mut Context<'_>) -> Option<proto::ForwardReply> {
        if let Some(reply) = self.carried.take() {
            return Some(reply);
        }
        while let Poll::Ready(Some(wait)) = self.waits.poll_recv(context) {
            self.waiting.push(wait);
        }
        match Pin::new(&mut self.waiting).poll_next(context) {
            Poll::Ready(reply) => reply,
            Poll::Pending => None,
        }
    }
}

impl Stream for Replies {
    type Item = Result<Frame<proto::ForwardReply>, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(end) = &mut this.end else { return Poll::Ready(None) };
        if let Poll::Ready(status) = Pin::new(end).poll(context) {
            this.end = None;
            let status = status.unwrap_or_else(|_| Status::internal("the lane's reader failed"));
            let failed = status.code() != tonic::Code::Ok;
            return Poll::Ready(failed.then_some(Err(status)));
        }
        let mut frame = Frame { items: Vec::new(), bytes: 0 };
        while let Some(mut reply) = this.next_reply(context) {
            let mut bytes = item_bytes(&reply);
            if bytes > this.frame_bytes_max {
                // No frame can carry it: then the peer cannot learn the outcome.
                reply.outcome = Some(Outcome::Dropped(true));
                bytes = item_bytes(&reply);
            }
            if frame.bytes + bytes > this.frame_bytes_max {
                this.carried = Some(reply);
                break;
            }
            frame.bytes += bytes;
            frame.items.push(reply);
        }
        if frame.items.is_empty() { Poll::Pending } else { Poll::Ready(Some(Ok(frame))) }
    }
}
