//! The join call: a node that is in no cluster yet asks a member to be let in.
//!
//! It is the one call without a handshake, since the joiner knows neither the cluster's id nor its own; so whoever
//! reaches the peer port can make it, and what it costs is bounded: [`JOIN_BYTES_MAX`] in both directions, and
//! [`JOINS_INFLIGHT_MAX`] calls at a time of all joiners together. Beyond that a joiner is turned away and may try again
//! later. What request and answer say is not known here, but for the wire version, which stands beside the request: a
//! joiner of another version could not take part.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message as _;
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::server::{Grpc, UnaryService};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::clock;
use crate::types::Monotonic;

use super::Inbound;
use super::dial::{connect, describe_status};
use super::grpc::{JOIN_PATH, stopping};
use super::handshake::{Reason, Refusal, WIRE_VERSION};
use super::net::SharedNet;
use super::proto;
use super::shared::{Shared, raised};

/// A request, and an answer, with all that is around it on the wire.
pub const JOIN_BYTES_MAX: usize = 64 << 10;
/// Requests that the node has not answered, from all joiners together.
pub const JOINS_INFLIGHT_MAX: usize = 4;
/// A request is given up on after this, whatever the joiner's patience: so none holds its place for ever.
const JOIN_HELD_MAX: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It certainly never reached a node: it may be tried again, or somewhere else.
    #[error("cannot reach it: {0}")]
    Unreachable(String),
    /// The node had too much to do and did not look at it: it may be tried again after a pause.
    #[error("it has too much to do: {0}")]
    Busy(String),
    /// The node cannot take this one in, and will not later.
    #[error("refused: {0}")]
    Refused(String),
    /// It may have been carried out.
    #[error("no answer: {0}")]
    Lost(String),
}

/// Asks the node at `address`, `host:port`, until `deadline`. Needs no transport.
///
/// # Errors
/// See [`JoinError`].
pub async fn join(
    net: &SharedNet,
    clock: &dyn clock::Clock,
    address: &str,
    request: Bytes,
    deadline: Monotonic,
) -> Result<Bytes, JoinError> {
    let request = proto::JoinRequest { wire: WIRE_VERSION, payload: request };
    let bytes = request.encoded_len();
    if bytes > JOIN_BYTES_MAX {
        return Err(JoinError::Refused(format!("a request of {bytes} bytes, {JOIN_BYTES_MAX} at most")));
    }
    let connected = clock::timeout_at(clock, deadline, connect(net, address)).await;
    let channel = match connected {
        Some(Ok(channel)) => channel,
        Some(Err(text)) => return Err(JoinError::Unreachable(text)),
        None => return Err(JoinError::Unreachable("no answer in time".to_owned())),
    };
    let asked = clock::timeout_at(clock, deadline, ask(channel, request)).await;
    asked.unwrap_or_else(|| Err(JoinError::Lost("no answer in time".to_owned())))
}

async fn ask(channel: Channel, request: proto::JoinRequest) -> Result<Bytes, JoinError> {
    let mut grpc = Client::new(channel)
        .max_decoding_message_size(JOIN_BYTES_MAX)
        .max_encoding_message_size(JOIN_BYTES_MAX);
    grpc.ready().await.map_err(|error| JoinError::Unreachable(error.to_string()))?;
    let request = Request::new(request);
    let codec = ProstCodec::<proto::JoinRequest, proto::JoinReply>::default();
    let answered = grpc.unary(request, PathAndQuery::from_static(JOIN_PATH), codec).await;
    match answered {
        Ok(reply) => Ok(reply.into_inner().payload),
        Err(status) => Err(match (Refusal::from_status(&status), status.code()) {
            (Some(refusal), _) => JoinError::Refused(refusal.text),
            (None, Code::Unimplemented) => JoinError::Refused("its version knows no joining".to_owned()),
            (None, Code::ResourceExhausted) => JoinError::Busy(status.message().to_owned()),
            (None, _) => JoinError::Lost(describe_status(&status)),
        }),
    }
}

/// Serves one call.
pub(super) async fn serve(shared: Arc<Shared>, request: http::Request<Body>) -> http::Response<Body> {
    let codec = ProstCodec::<proto::JoinReply, proto::JoinRequest>::default();
    let mut grpc =
        Grpc::new(codec).max_decoding_message_size(JOIN_BYTES_MAX).max_encoding_message_size(JOIN_BYTES_MAX);
    grpc.unary(Join { shared }, request).await
}

struct Join {
    shared: Arc<Shared>,
}

impl UnaryService<proto::JoinRequest> for Join {
    type Response = proto::JoinReply;
    type Future = super::grpc::Answering<proto::JoinReply>;

    fn call(&mut self, request: Request<proto::JoinRequest>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { answer(&shared, request.into_inner()).await })
    }
}

async fn answer(shared: &Shared, request: proto::JoinRequest) -> Result<Response<proto::JoinReply>, Status> {
    if request.wire != WIRE_VERSION {
        let text = format!("peer protocol version {} met version {WIRE_VERSION}", request.wire);
        return Err(Refusal::new(Reason::Wire, text).to_status());
    }
    let busy = || {
        shared.counters.joins_refused.increment();
        Status::resource_exhausted("too many nodes ask to join at once")
    };
    let _permit = Arc::clone(&shared.joins).try_acquire_owned().map_err(|_| busy())?;
    let (reply, answered) = oneshot::channel();
    // Bytes of its own: it may stay for a while, and must not keep the connection's buffer.
    let request = Bytes::copy_from_slice(&request.payload);
    if !shared.inbox.notify(Inbound::Join { request, reply }) {
        return Err(busy());
    }
    shared.counters.joins.increment();
    let mut closed = shared.closed();
    let deadline = shared.clock.now().plus(JOIN_HELD_MAX);
    tokio::select! {
        biased;
        () = raised(&mut closed) => Err(stopping()),
        answered = clock::timeout_at(&*shared.clock, deadline, answered) => match answered {
            Some(Ok(payload)) => Ok(Response::new(proto::JoinReply { payload })),
            Some(Err(_)) => Err(Status::unavailable("the node gave up on it")),
            None => Err(Status::deadline_exceeded("the node did not answer")),
        },
    }
}
