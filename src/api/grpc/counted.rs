//! Counts what clients have under way ([`crate::api::shares`]), around the generated services: a request from its head on, its
//! body's bytes as they come in, its answer's until they have left; and reckons its deadline, from its head on too.
//!
//! ```text
//! request  -> enter, or RESOURCE_EXHAUSTED       body -> Received: grow with every frame, or the request fails
//!                                                          |  Tab, in the request's extensions
//! response <-                                    body <- Leaving: each frame keeps what counts for it
//! ```
//!
//! A unary request has one [`Held`] from its head to the last byte of its answer. On a stream the request's own counts the
//! bytes that came in; each message that was handed on is a [`Letter`], which counts for as long as anything of it is there;
//! and each operation, and each answer, has one of its own.
//!
//! What tonic refuses itself, because it is no such message, is said here as everything else is: with a code of ours.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower::Service;

use super::Front;
use super::error::Refusal;
use super::received::{Method, Received};
use crate::api::shares::{Connection, Held};
use crate::proto::v1;
use crate::proto::v1::txn_op;
use crate::types::Monotonic;

/// What a stream may always have sent that was not handed on yet: a frame of HTTP/2.
const STREAM_BYTES_ALWAYS: usize = 16 << 10;

/// Whose requests a service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Clients have their share.
    Clients,
    /// Whoever looks after a node is counted, and never kept out.
    Operators,
}

/// The service, counted.
#[derive(Clone)]
pub struct Counted<S> {
    service: S,
    front: Arc<Front>,
    whose: Whose,
    message_bytes_max: usize,
}

impl<S> Counted<S> {
    pub(super) fn new(service: S, front: Arc<Front>, whose: Whose, message_bytes_max: usize) -> Counted<S> {
        Counted { service, front, whose, message_bytes_max }
    }

    /// Counts a request, whose deadline begins.
    fn enter<B>(&self, request: &http::Request<B>) -> Result<Tab, Refusal> {
        let connection = self.front.shares.connection_of(request.extensions());
        let timeout = self.front.timeout(request.headers())?;
        let held = match self.whose {
            Whose::Clients => connection.enter().ok_or_else(Refusal::too_many)?,
            Whose::Operators => connection.enter_always(),
        };
        let state = State { request: Some(held), whole: 0, is_over: false, leaving: None };
        Ok(Tab(Arc::new(Shared {
            connection,
            whose: self.whose,
            timeout,
            deadline: self.front.clock.now().plus(timeout),
            state: Mutex::new(state),
        })))
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let tab = match self.enter(&request) {
            Ok(tab) => tab,
            Err(refusal) => return Box::pin(std::future::ready(Ok(refusal.into_status().into_http()))),
        };
        let method = Method::of(request.uri().path());
        let (front, bytes_max) = (self.front.clone(), self.message_bytes_max);
        let received = |body| Received::new(body, front, tab.clone(), method, bytes_max);
        let mut request = request.map(|body| Body::new(received(body)));
        request.extensions_mut().insert(tab.clone());
        let answered = self.service.call(request);
        Box::pin(async move {
            let Ok(response) = answered.await;
            let status = Status::from_header_map(response.headers());
            if let Some(refusal) = status.and_then(|status| refusal_of(&status)) {
                return Ok(refusal.into_status().into_http());
            }
            Ok(response.map(|body| Body::new(Leaving { body, tab })))
        })
    }
}

/// What a status means with which tonic refused a request's bytes. Ours have details.
pub(super) fn refusal_of(status: &Status) -> Option<Refusal> {
    (status.code() == Code::Internal && status.details().is_empty()).then(|| unreadable(status.message()))
}

/// The request's bytes are no message.
pub(super) fn unreadable(why: &str) -> Refusal {
    Refusal::invalid(format!("the request cannot be read: {why}: send what the .proto files say"))
}

/// What one request, or stream, counts for. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tab(Arc<Shared>);

struct Shared {
    connection: Connection,
    whose: Whose,
    timeout: Duration,
    deadline: Monotonic,
    state: Mutex<State>,
}

struct State {
    /// The request's own; `None` once its answer is made.
    request: Option<Held>,
    /// So much of it is of messages that were handed on.
    whole: usize,
    /// Some of it was counted though there was no room.
    is_over: bool,
    /// What the answer that leaves next counts for.
    leaving: Option<Held>,
}

/// A message of a stream, which counts until nothing of it is there any more: keys and values are slices of it, so one small
/// operation keeps it all.
pub(super) struct Letter {
    _held: Held,
    /// There was no room for it: what is in it is refused.
    pub(super) is_over: bool,
}

impl Tab {
    /// The one that [`Counted`] gave to a request.
    pub(super) fn of(extensions: &http::Extensions) -> Tab {
        extensions.get::<Tab>().cloned().expect("every request of this front door is counted")
    }

    /// One more request of the same connection.
    pub(super) fn enter(&self) -> Result<Held, Refusal> {
        self.0.connection.enter().ok_or_else(Refusal::too_many)
    }

    /// How long the request may take, of a list each page.
    pub(super) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// Until when it may.
    pub(super) fn deadline(&self) -> Monotonic {
        self.0.deadline
    }

    /// An answer of so many bytes takes the request's place.
    pub(super) fn answer(&self, bytes: usize, kind: Kind) -> Result<(), Refusal> {
        let mut state = self.state();
        let Some(mut held) = state.request.take() else { return Ok(()) };
        kind.hold(&mut held, bytes)?;
        state.leaving = Some(held);
        Ok(())
    }

    /// The message that a stream was handed last.
    pub(super) fn letter(&self) -> Letter {
        let mut state = self.state();
        let State { request, whole, is_over, .. } = &mut *state;
        let request = request.as_mut().expect("a stream has no answer that takes its place");
        Letter { _held: request.split(std::mem::take(whole)), is_over: std::mem::take(is_over) }
    }

    /// What leaves next counts for so much.
    pub(super) fn leave(&self, held: Held) {
        let mut state = self.state();
        match &mut state.leaving {
            Some(leaving) => leaving.absorb(held),
            leaving @ None => *leaving = Some(held),
        }
    }

    /// So many bytes came in; false if there is no room for them.
    pub(super) fn came(&self, bytes: usize, is_stream: bool) -> bool {
        let mut state = self.state();
        let State { request, whole, is_over, .. } = &mut *state;
        let Some(held) = request else { return true };
        if held.grow(bytes) {
            return true;
        }
        let all = held.bytes() + bytes;
        let is_little = is_stream && all - *whole <= STREAM_BYTES_ALWAYS;
        if is_little || self.0.whose == Whose::Operators {
            held.force(all);
            *is_over |= is_little;
            return true;
        }
        false
    }

    /// A message of so many bytes is handed on, and will take so many more; false if there is no room for these.
    pub(super) fn whole(&self, bytes: usize, more: usize, is_stream: bool) -> bool {
        if !self.came(more, is_stream) {
            return false;
        }
        self.state().whole += bytes + more;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request does, as far as its answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It changes nothing: an answer that nobody may keep is not given.
    Read,
    /// What was done is said.
    Write,
}

impl Kind {
    /// What a transaction does.
    pub(super) fn of_txn(txn: &v1::TxnRequest) -> Kind {
        let reads = |op: &v1::TxnOp| matches!(op.op, None | Some(txn_op::Op::Range(_)));
        // One in another counts as a write, which no harm comes of: what it answers is bounded (`TXN_ANSWER_BYTES_MAX`), and in
        // a pipeline there was room for it before it began.
        if txn.success.iter().chain(&txn.failure).all(reads) { Kind::Read } else { Kind::Write }
    }

    /// Counts an answer.
    pub(super) fn hold(self, held: &mut Held, bytes: usize) -> Result<(), Refusal> {
        match self {
            Kind::Read if held.resize(bytes) => Ok(()),
            Kind::Read => Err(Refusal::too_large_together()),
            Kind::Write => {
                held.force(bytes);
                Ok(())
            }
        }
    }
}

/// A response's body.
struct Leaving {
    body: Body,
    tab: Tab,
}

impl hyper::body::Body for Leaving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let keep = |frame: Frame<Bytes>| {
            // The messages in it were made while it was: what counts for them is here.
            let leaving = if frame.is_data() { self.tab.state().leaving.take() } else { None };
            match leaving {
                Some(held) => frame.map_data(|bytes| held.keep(bytes)),
                None => frame,
            }
        };
        Poll::Ready(frame.map(|frame| frame.map(keep)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
