//! Counts what clients have under way ([`crate::api::shares`]), around the generated service: a request from its head on, its
//! body's bytes as they come in, its answer's until they have left.
//!
//! ```text
//! request  -> enter, or RESOURCE_EXHAUSTED       body -> Received: grow with every frame, or the request fails
//!                                                          |  Tab, in the request's extensions
//! response <-                                    body <- Leaving: each frame keeps what counts for it
//! ```
//!
//! A unary request has one [`Held`] from its head to the last byte of its answer. On a stream the request's own counts the
//! bytes that came in and are not taken up yet; what is taken up, and each answer, has one of its own.
//!
//! A stream that finds no room for what comes in waits a moment for it, and is refused only then: most often what it lacks
//! are its own answers, which leave. A little it may always send, so that operations are refused one by one.
//!
//! What tonic refuses itself, because it is no such message, is said here as everything else is: with a code of ours.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower::Service;

use super::Front;
use super::error::Refusal;
use crate::api::shares::{Connection, Held};
use crate::clock::{SharedClock, Sleep};
use crate::proto::v1;
use crate::proto::v1::txn_op;
use crate::types::Monotonic;

/// The method whose requests are a stream.
const PIPELINE: &str = "/Pipeline";
/// What a stream may always have sent that is not taken up yet: a frame of HTTP/2.
const STREAM_BYTES_ALWAYS: usize = 16 << 10;
/// How long a stream waits for room for what comes in, and how often it looks.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
const ROOM_LOOK: Duration = Duration::from_millis(20);

/// The service, counted.
#[derive(Clone)]
pub(super) struct Counted<S> {
    service: S,
    front: Arc<Front>,
}

impl<S> Counted<S> {
    pub(super) fn new(service: S, front: Arc<Front>) -> Counted<S> {
        Counted { service, front }
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
        // The server puts the connection into each of its requests; one without is its own.
        let connection = request.extensions().get::<Connection>().cloned();
        let connection = connection.unwrap_or_else(|| self.front.shares.connection());
        let Some(held) = connection.enter() else {
            let refused = Refusal::too_many().into_status().into_http();
            return Box::pin(std::future::ready(Ok(refused)));
        };
        let tab = Tab::new(connection, held);
        let patience = request.uri().path().ends_with(PIPELINE).then(|| self.front.clock.clone());
        let received = |body| Received { body, tab: tab.clone(), patience, waiting: None };
        let mut request = request.map(|body| Body::new(received(body)));
        request.extensions_mut().insert(tab.clone());
        let bytes_max = self.front.message_bytes_max();
        let answered = self.service.call(request);
        Box::pin(async move {
            let Ok(response) = answered.await;
            if let Some(refusal) = unreadable(&response, bytes_max) {
                return Ok(refusal.into_status().into_http());
            }
            Ok(response.map(|body| Body::new(Leaving { body, tab })))
        })
    }
}

/// Whether tonic refused the request's bytes. Ours have details.
fn unreadable(response: &http::Response<Body>, bytes_max: usize) -> Option<Refusal> {
    let status = Status::from_header_map(response.headers())?;
    refusal_of(&status, bytes_max)
}

/// What a status that tonic made of a request's bytes means.
pub(super) fn refusal_of(status: &Status, bytes_max: usize) -> Option<Refusal> {
    if !status.details().is_empty() {
        return None;
    }
    match status.code() {
        Code::OutOfRange => {
            let text = format!("a message has at most {bytes_max} bytes: split the request");
            Some(Refusal::too_large(text))
        }
        Code::Internal => {
            let text =
                format!("the request cannot be read: {}: send what the .proto files say", status.message());
            Some(Refusal::invalid(text))
        }
        _ => None,
    }
}

/// What one request, or stream, counts for. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tab(Arc<Shared>);

struct Shared {
    connection: Connection,
    state: Mutex<State>,
}

struct State {
    /// The request's own; `None` once its answer is made.
    request: Option<Held>,
    /// What the answer that leaves next counts for.
    leaving: Option<Held>,
}

impl Tab {
    fn new(connection: Connection, request: Held) -> Tab {
        let state = Mutex::new(State { request: Some(request), leaving: None });
        Tab(Arc::new(Shared { connection, state }))
    }

    /// The one that [`Counted`] gave to a request.
    pub(super) fn of(extensions: &http::Extensions) -> Option<Tab> {
        extensions.get::<Tab>().cloned()
    }

    /// The request's connection.
    pub(super) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// An answer of so many bytes takes the request's place.
    pub(super) fn answer(&self, bytes: usize, kind: Kind) -> Result<(), Refusal> {
        let mut state = self.state();
        let Some(mut held) = state.request.take() else { return Ok(()) };
        kind.hold(&mut held, bytes)?;
        state.leaving = Some(held);
        Ok(())
    }

    /// So many bytes that came in are taken up, and count elsewhere from now on.
    pub(super) fn taken_up(&self, bytes: usize) {
        if let Some(held) = &mut self.state().request {
            let left = held.bytes().saturating_sub(bytes);
            assert!(held.resize(left), "to count less is always allowed");
        }
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
    fn received(&self, bytes: usize, is_stream: bool) -> bool {
        let mut state = self.state();
        let Some(held) = &mut state.request else { return true };
        if held.grow(bytes) {
            return true;
        }
        let all = held.bytes() + bytes;
        let is_little = is_stream && all <= STREAM_BYTES_ALWAYS;
        if is_little {
            held.force(all);
        }
        is_little
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
        // One in another counts as a write, which no harm comes of: what it may answer is bounded.
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

/// A request's body.
struct Received {
    body: Body,
    tab: Tab,
    /// The clock of one that may wait for room: a stream.
    patience: Option<SharedClock>,
    waiting: Option<Waiting>,
}

/// A frame that came, and since when there is no room for it.
struct Came {
    frame: Frame<Bytes>,
    since: Option<Monotonic>,
}

/// One that waits, and until when.
struct Waiting {
    came: Came,
    look: Sleep,
}

impl Received {
    /// The next frame; that may be the one that waits.
    fn poll_came(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Came, Status>>> {
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.look.as_mut().poll(context));
        }
        if let Some(Waiting { came, .. }) = self.waiting.take() {
            return Poll::Ready(Some(Ok(came)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map(|frame| Came { frame, since: None })))
    }
}

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            let Came { frame, since } = match ready!(self.poll_came(context)) {
                Some(Ok(came)) => came,
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            };
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            if bytes == 0 || self.tab.received(bytes, self.patience.is_some()) {
                return Poll::Ready(Some(Ok(frame)));
            }
            let refused = || Poll::Ready(Some(Err(Refusal::too_large_together().into_status())));
            let Some(clock) = &self.patience else { return refused() };
            let now = clock.now();
            let since = since.unwrap_or(now);
            if now.since(since) >= ROOM_PATIENCE {
                return refused();
            }
            let look = clock.sleep_until(now.plus(ROOM_LOOK));
            self.waiting = Some(Waiting { came: Came { frame, since: Some(since) }, look });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
