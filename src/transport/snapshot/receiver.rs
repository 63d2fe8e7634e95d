//! The receiving end of a snapshot stream.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use bytes::Bytes;

use crate::clock;
use crate::types::NodeId;

use super::wire::{Chunks, Step, decode_begin};
use super::{FRAME_BYTES_MAX, Lost, SNAPSHOT_STALL_MAX};
use crate::transport::codec::Reject;
use crate::transport::dial::describe_status;
use crate::transport::grpc::{Answering, stopping, welcome};
use crate::transport::proto::{self, snapshot_ack::Outcome};
use crate::transport::shared::{CallKey, Place, Shared, raised};
use crate::transport::{Inbound, handshake};

/// What the sender is told: always all of it.
type Answers = watch::Sender<proto::SnapshotAck>;

/// The chunks of one snapshot, from the peer that sends it. Dropping it before [`SnapshotReceiver::done`] gives the
/// snapshot up, and the sender is told so.
pub struct SnapshotReceiver {
    shared: Arc<Shared>,
    from: NodeId,
    frames: Streaming<proto::SnapshotFrame>,
    chunks: Chunks,
    answers: Answers,
}

impl std::fmt::Debug for SnapshotReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReceiver").field("from", &self.from).field("chunks", &self.chunks).finish()
    }
}

impl SnapshotReceiver {
    /// Says which chunk is the first that is wanted: 0, or where an earlier transfer with the same id broke off. To be
    /// said once, before anything else.
    pub fn ask_from(&mut self, number: u64) {
        self.chunks.ask_from(number);
        self.answers.send_replace(self.chunks.to_ack());
    }

    /// The next chunk and its number; `None` after the last.
    ///
    /// # Errors
    /// If the stream ended before that: the sender gave up, said nothing for [`SNAPSHOT_STALL_MAX`] or broke the rules, a
    /// newer snapshot came, or the transport closed.
    pub async fn next(&mut self) -> Result<Option<(u64, Bytes)>, Lost> {
        let lost = |reason: String| Lost { reason };
        let deadline = self.shared.clock.now().plus(SNAPSHOT_STALL_MAX);
        let received = tokio::select! {
            biased;
            // The half of the call that carries the answers is gone, and with it the call.
            () = self.answers.closed() => return Err(lost("the stream was ended".to_owned())),
            frame = clock::timeout_at(&*self.shared.clock, deadline, self.frames.message()) => frame,
        };
        let frame = match received {
            Some(Ok(Some(frame))) => frame,
            Some(Ok(None)) => return Err(lost("the sender ended it".to_owned())),
            Some(Err(status)) => return Err(lost(describe_status(&status))),
            None => return Err(lost("the sender does not go on".to_owned())),
        };
        match self.chunks.on_frame(frame) {
            Ok(Step::Chunk(number, data)) => {
                self.shared.counters.snapshot_bytes_received.add(data.len() as u64);
                Ok(Some((number, data)))
            }
            Ok(Step::Finish) => Ok(None),
            Err(reject) => {
                on_reject(&self.shared, self.from, &reject);
                Err(lost(format!("the sender broke the rules: {reject}")))
            }
        }
    }

    /// This chunk, and all before it, are taken care of: the sender may send as many more.
    pub fn ack(&mut self, number: u64) {
        self.chunks.ack(number);
        self.answers.send_replace(self.chunks.to_ack());
    }

    /// Everything is there and in safe keeping, or this is why not.
    pub fn done(self, result: Result<(), String>) {
        let outcome = match result {
            Ok(()) => Outcome::Done(true),
            Err(reason) => Outcome::Failed(reason),
        };
        self.answers.send_replace(proto::SnapshotAck { outcome: Some(outcome), ..self.chunks.to_ack() });
    }
}

fn on_reject(shared: &Shared, from: NodeId, reject: &Reject) {
    shared.counters.rejected.increment();
    tracing::warn!(peer = from.0, reason = %reject, "rejected a frame of a snapshot");
}

/// Serves one call.
pub(in crate::transport) async fn serve(
    shared: Arc<Shared>,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let codec = ProstCodec::<proto::SnapshotAck, proto::SnapshotFrame>::default();
    let mut grpc = Grpc::new(codec)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    grpc.streaming(Open { shared }, request).await
}

struct Open {
    shared: Arc<Shared>,
}

impl StreamingService<proto::SnapshotFrame> for Open {
    type Response = proto::SnapshotAck;
    type ResponseStream = BoxStream<'static, Result<proto::SnapshotAck, Status>>;
    type Future = Answering<Self::ResponseStream>;

    fn call(&mut self, request: Request<Streaming<proto::SnapshotFrame>>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { open(&shared, request).await })
    }
}

/// Reads the first frame and hands the stream to the node.
async fn open(
    shared: &Arc<Shared>,
    request: Request<Streaming<proto::SnapshotFrame>>,
) -> Result<Response<BoxStream<'static, Result<proto::SnapshotAck, Status>>>, Status> {
    let dialer = welcome(shared, request.metadata())?;
    let permit = Arc::clone(&shared.snapshots).try_acquire_owned();
    let permit = permit.map_err(|_| Status::resource_exhausted("too many snapshots come in at once"))?;
    let mut frames = request.into_inner();
    let deadline = shared.clock.now().plus(SNAPSHOT_STALL_MAX);
    let first = clock::timeout_at(&*shared.clock, deadline, frames.message()).await;
    let first = first.ok_or_else(|| Status::deadline_exceeded("no snapshot was announced"))??;
    let first = first.ok_or_else(|| Status::invalid_argument("no snapshot was announced"))?;
    let begin = decode_begin(first, dialer.node, shared.identity.node).map_err(|reject| {
        on_reject(shared, dialer.node, &reject);
        Status::invalid_argument(reject.to_string())
    })?;

    let accepted = shared.on_accepted(&dialer, CallKey::Snapshot(begin.group));
    let place = accepted.map_err(|refusal| refusal.to_status())?;
    shared.counters.snapshots_received.increment();
    let (answers, said) = watch::channel(Chunks::default().to_ack());
    let stream = SnapshotReceiver {
        shared: Arc::clone(shared),
        from: dialer.node,
        frames,
        chunks: Chunks::default(),
        answers,
    };
    let inbound = Inbound::Snapshot {
        from: dialer.node,
        group: begin.group,
        envelope: begin.envelope,
        manifest: begin.manifest,
        id: begin.id,
        stream: Box::new(stream),
    };
    if !shared.inbox.notify(inbound) {
        return Err(Status::resource_exhausted("this node has too much to do"));
    }
    let acks = Acks { said, place, closed: shared.closed(), is_over: false, _permit: permit };
    let mut response = Response::new(acks.into_stream());
    handshake::answer(&shared.identity, response.metadata_mut());
    Ok(response)
}

/// The response half.
struct Acks {
    said: watch::Receiver<proto::SnapshotAck>,
    place: Place,
    closed: watch::Receiver<bool>,
    is_over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Acks {
    fn into_stream(self) -> BoxStream<'static, Result<proto::SnapshotAck, Status>> {
        stream::unfold(self, |mut acks| async move { acks.next().await.map(|ack| (ack, acks)) }).boxed()
    }

    async fn next(&mut self) -> Option<Result<proto::SnapshotAck, Status>> {
        if self.is_over {
            return None;
        }
        let end = tokio::select! {
            biased;
            () = raised(&mut self.closed) => stopping(),
            status = self.place.lost() => status,
            changed = self.said.changed() => {
                // The receiver is gone, and all that it said was passed on.
                changed.ok()?;
                return Some(Ok(self.said.borrow_and_update().clone()));
            }
        };
        self.is_over = true;
        Some(Err(end))
    }
}
