//! The service `Kv` as the port serves it: the calls that programs live on by a straight path, all others by generated code.
//!
//! ```text
//! Get, Put, Delete  -> deadline, share -> one message (framed) -> the operation -> one message, counted until it has left
//! all others        -> Counted<KvServer>
//! ```
//!
//! Both ways keep the same rules, and say the same.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use prost::Message;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::counted::{Counted, Kind, unreadable};
use super::error::Refusal;
use super::kv::Store;
use super::{Front, received};
use crate::api::framed::{self, Fault};
use crate::clock::timeout_at;
use crate::proto::v1::kv_server::{self, KvServer};
use crate::types::Monotonic;

const GET: &str = "/quorate.v1.Kv/Get";
const PUT: &str = "/quorate.v1.Kv/Put";
const DELETE: &str = "/quorate.v1.Kv/Delete";

/// A request says with it that its messages are compressed, which a client may not do unless it was told that it may.
const ENCODING: &str = "grpc-encoding";

/// See the module.
#[derive(Clone)]
pub struct Keys {
    front: Arc<Front>,
    message_bytes_max: usize,
    /// Serves everything, if need be.
    pub(super) others: Counted<KvServer<Store>>,
}

impl Keys {
    pub(super) fn new(front: Arc<Front>, message_bytes_max: usize, others: Counted<KvServer<Store>>) -> Keys {
        Keys { front, message_bytes_max, others }
    }

    /// Whether a request with this path is one for this service.
    pub fn are_at(path: &str) -> bool {
        let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(kv_server::SERVICE_NAME));
        rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

impl NamedService for Keys {
    const NAME: &'static str = kv_server::SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for Keys
where
    B: hyper::body::Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + Unpin + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let path = request.uri().path();
        let is_plain = !request.headers().contains_key(ENCODING);
        if !is_plain || ![GET, PUT, DELETE].contains(&path) {
            return self.others.call(request.map(Body::new));
        }
        let call = Call { front: self.front.clone(), message_bytes_max: self.message_bytes_max };
        match path {
            GET => Box::pin(async move { Ok(call.serve(request, Kind::Read, Front::get).await) }),
            PUT => Box::pin(async move { Ok(call.serve(request, Kind::Write, Front::put).await) }),
            _ => Box::pin(async move { Ok(call.serve(request, Kind::Write, Front::delete).await) }),
        }
    }
}

/// A call by the straight path.
struct Call {
    front: Arc<Front>,
    message_bytes_max: usize,
}

impl Call {
    async fn serve<B, Q: Message + Default, A: Message>(
        self,
        request: http::Request<B>,
        kind: Kind,
        operation: impl AsyncFnOnce(&Front, Q, Monotonic) -> Result<A, Refusal>,
    ) -> http::Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
    {
        let answered = self.answer(request, kind, operation).await;
        answered.map_or_else(|refusal| refusal.into_status().into_http(), framed::respond)
    }

    async fn answer<B, Q: Message + Default, A: Message>(
        &self,
        request: http::Request<B>,
        kind: Kind,
        operation: impl AsyncFnOnce(&Front, Q, Monotonic) -> Result<A, Refusal>,
    ) -> Result<Bytes, Refusal>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
    {
        let front = &*self.front;
        let connection = front.shares.connection_of(request.extensions());
        let deadline = front.clock.now().plus(front.timeout(request.headers())?);
        let mut held = connection.enter().ok_or_else(Refusal::too_many)?;
        let bytes_max = framed::HEAD_BYTES + self.message_bytes_max;
        let message = framed::receive(request.into_body(), &mut held, bytes_max);
        let message = timeout_at(&*front.clock, deadline, message).await;
        let message = message.ok_or_else(|| received::late(front, deadline))?;
        let message = message.map_err(|fault| self.refuse(fault))?;
        let message = Q::decode(message).map_err(|error| unreadable(&error.to_string()))?;
        let answer = operation(front, message, deadline).await?;
        kind.hold(&mut held, answer.encoded_len())?;
        let answer = framed::frame(&answer).ok_or_else(Refusal::unexpected_reply)?;
        Ok(held.keep(answer))
    }

    fn refuse(&self, fault: Fault) -> Refusal {
        match fault {
            Fault::BrokeOff => unreadable("it broke off"),
            Fault::TooLong => received::too_long(self.message_bytes_max),
            Fault::OverTheShare => Refusal::too_large_together(),
            Fault::NoMessage => unreadable("there is no message"),
            Fault::Compressed => unreadable("its message is compressed, and it does not say how"),
            Fault::NotOne => unreadable("it is not one whole message"),
        }
    }
}
