//! One accept loop for REST, gRPC and peers: hyper over the network seam, HTTP/1.1 and HTTP/2 on one port.
//!
//! Invariants:
//! - At most `connections_max` connections are served at once; further ones wait in the system's backlog.
//! - At most as many are served by all listeners for clients together as this process may open files for.
//! - A client that takes nothing of its answer for the send timeout is cut off; one that leaves an answer where it is though it
//!   takes others, as HTTP/2's windows allow, after at most three times that (`api::shares`).
//! - A failing `accept` (no more file descriptors) pauses the loop, it never ends it.
//! - A client that connects and says nothing, or says it too slowly, is cut off: by `Greeting` until the protocol is
//!   known, by hyper's header timeout (HTTP/1.1) or its keepalive pings (HTTP/2) from then on.
//! - Whatever bytes come in, at most their own connection ends.
//! - After `shutdown` nothing is accepted any more but what was connected before, requests under way may finish, and at the end
//!   of `drain` the rest is cut off. An idle connection closes at once; one that has said nothing yet has a moment to do so.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::api::shares::{Connection, Shares};
use crate::clock::{self, SharedClock, Sleep};
use crate::transport::net::{BoxStream, Listener};

/// What a listener is for: decides how much may be under way on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Many connections of people and programs that are not trusted.
    Clients,
    /// Few connections, with frames of megabytes.
    Peers,
}

impl Traffic {
    fn streams_max(self) -> u32 {
        match self {
            Traffic::Peers => PEER_STREAMS_MAX,
            Traffic::Clients => CLIENT_STREAMS_MAX,
        }
    }

    /// Flow control: the bytes that one HTTP/2 request may have sent and not yet seen read. A connection: twice that.
    fn window_bytes(self) -> u32 {
        match self {
            Traffic::Clients => 512 << 10,
            Traffic::Peers => 8 << 20,
        }
    }

    /// The largest HTTP/2 data frame that is accepted.
    fn data_frame_bytes_max(self) -> u32 {
        match self {
            Traffic::Clients => 16 << 10,
            Traffic::Peers => 1 << 20,
        }
    }

    /// How long until a silent HTTP/2 connection is asked whether it lives; and how long it has for its answer.
    fn keep_alive(self) -> (Duration, Duration) {
        match self {
            Traffic::Clients => (Duration::from_secs(20), Duration::from_secs(20)),
            Traffic::Peers => (Duration::from_secs(2), Duration::from_secs(6)),
        }
    }
}

/// How to serve.
#[derive(Clone)]
pub struct ServeOptions {
    /// Connections served at once.
    pub connections_max: usize,
    /// And by all listeners that have this one.
    pub connections_all: Option<Arc<Semaphore>>,
    /// What clients may have under way; every request is told which connection it is of.
    pub shares: Option<Shares>,
    /// Whether answers have a `Date` header. Off in the simulation: it would differ from run to run.
    pub date_header: bool,
    /// How long requests under way may take once `shutdown` is done.
    pub drain: Duration,
    /// How long a client may take none of the bytes that wait for it.
    pub send_timeout: Duration,
    /// What the listener is for.
    pub traffic: Traffic,
    /// The node's clock.
    pub clock: SharedClock,
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions")
            .field("connections_max", &self.connections_max)
            .field("date_header", &self.date_header)
            .field("drain", &self.drain)
            .field("send_timeout", &self.send_timeout)
            .field("traffic", &self.traffic)
            .finish_non_exhaustive()
    }
}

/// HTTP/1.1: how long a request's header may take to arrive, from the end of the request before it. So an idle
/// connection closes after this, too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a new connection may take to show which protocol it speaks.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection that has said nothing yet has for its first request once the listener is drained.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_millis(500);
/// HTTP/1.1: headers of a request, and the buffer that must hold them.
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 64 << 10;
/// HTTP/2: the same.
const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
/// HTTP/2: requests of one connection that run at once. A peer's each carry many; a client's each hold an answer until it is read.
const PEER_STREAMS_MAX: u32 = 1_024;
const CLIENT_STREAMS_MAX: u32 = 128;
/// After a failed `accept`: the first pause, doubled with each further failure, and the longest.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(5);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves `service` on `listener` until `shutdown` is done and the connections are drained. See the module doc.
pub async fn serve<S, B>(
    listener: Box<dyn Listener>,
    service: S,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) where
    S: tower::Service<http::Request<Incoming>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let builder = Arc::new(builder(&options));
    let draining = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    let mut acceptor = Acceptor::new(listener, &options);
    let mut shutdown = pin!(shutdown);
    let begin = |connections: &mut JoinSet<()>, (stream, permits): (BoxStream, Permits)| {
        let (stream, greeted) = Greeting::new(stream, &options);
        let connection = options.shares.as_ref().map(Shares::connection);
        let overdue = overdue(connection.clone(), options.send_timeout, options.clock.clone());
        let service = service.clone().map_request(move |mut request: http::Request<Incoming>| {
            if let Some(connection) = &connection {
                request.extensions_mut().insert(connection.clone());
            }
            request
        });
        let service = TowerToHyperService::new(service);
        let (builder, mut draining) = (Arc::clone(&builder), draining.subscribe());
        let clock = options.clock.clone();
        connections.spawn(async move {
            let _permits = permits;
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            let mut draining = pin!(drain_of(&mut draining, greeted, &clock));
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                () = overdue => {
                    tracing::debug!("cut off a client that does not take its answers");
                    return;
                }
                () = draining.as_mut() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error, "a connection ended with an error");
            }
        });
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = acceptor.next() => accepted,
        };
        while let Some(ended) = connections.try_join_next() {
            on_connection_end(ended);
        }
        begin(&mut connections, accepted);
    }
    for accepted in acceptor.close() {
        begin(&mut connections, accepted);
    }
    draining.send_replace(true);
    drain(connections, &options).await;
}

/// Waits until a client has left an answer where it is for too long: twice the send timeout at least.
async fn overdue(connection: Option<Connection>, send_timeout: Duration, clock: SharedClock) {
    let Some(connection) = connection else { return std::future::pending().await };
    while !connection.is_overdue() {
        clock::sleep(&*clock, send_timeout).await;
    }
}

/// Waits until a connection is to be drained: once all are, but not before its client has had the time to say what it wants.
/// It was let in, and would take the end of the connection for a request that was lost on the way.
async fn drain_of(flag: &mut watch::Receiver<bool>, greeted: oneshot::Receiver<()>, clock: &SharedClock) {
    // The guard within the result must not live across the next await.
    let _ = flag.wait_for(|raised| *raised).await.is_ok();
    let _ = clock::timeout_at(&**clock, clock.now().plus(FIRST_REQUEST_TIMEOUT), greeted).await;
}

async fn drain(mut connections: JoinSet<()>, options: &ServeOptions) {
    let deadline = options.clock.now().plus(options.drain);
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            on_connection_end(ended);
        }
    };
    if clock::timeout_at(&*options.clock, deadline, all_ended).await.is_none() {
        tracing::warn!(connections = connections.len(), "cut off connections that did not end in time");
        connections.shutdown().await;
    }
}

fn on_connection_end(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a request's handler panicked");
    }
}

fn builder(options: &ServeOptions) -> Builder<TokioExecutor> {
    let traffic = options.traffic;
    let (keep_alive, keep_alive_timeout) = traffic.keep_alive();
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .auto_date_header(options.date_header)
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .auto_date_header(options.date_header)
        .max_concurrent_streams(traffic.streams_max())
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_frame_size(traffic.data_frame_bytes_max())
        .initial_stream_window_size(traffic.window_bytes())
        .initial_connection_window_size(traffic.window_bytes() * 2)
        .keep_alive_interval(keep_alive)
        .keep_alive_timeout(keep_alive_timeout);
    builder
}

/// Hands out connections, each with the permit to serve it.
struct Acceptor {
    listener: Box<dyn Listener>,
    permits: Arc<Semaphore>,
    all: Option<Arc<Semaphore>>,
    clock: SharedClock,
    failures: u32,
}

/// Of the listener, and of all listeners.
type Permits = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl Acceptor {
    fn new(listener: Box<dyn Listener>, options: &ServeOptions) -> Acceptor {
        assert!(options.connections_max > 0, "a listener that may serve nobody");
        let permits = Arc::new(Semaphore::new(options.connections_max.min(Semaphore::MAX_PERMITS)));
        let (all, clock) = (options.connections_all.clone(), Arc::clone(&options.clock));
        Acceptor { listener, permits, all, clock, failures: 0 }
    }

    /// The next connection. Waits for its permits before it accepts.
    async fn next(&mut self) -> (BoxStream, Permits) {
        const NEVER_CLOSED: &str = "the semaphore is never closed";
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect(NEVER_CLOSED);
        let of_all = match &self.all {
            Some(all) => Some(Arc::clone(all).acquire_owned().await.expect(NEVER_CLOSED)),
            None => None,
        };
        loop {
            match self.listener.accept().await {
                Ok((stream, _from)) => {
                    self.failures = 0;
                    return (stream, (permit, of_all));
                }
                Err(error) => self.on_failure(&error).await,
            }
        }
    }

    /// Accepts nobody any more, but those that are connected already, as far as they may be served.
    fn close(self) -> Vec<(BoxStream, Permits)> {
        let Acceptor { listener, permits, all, .. } = self;
        let permit = || {
            let of_all = match &all {
                Some(all) => Some(Arc::clone(all).try_acquire_owned().ok()?),
                None => None,
            };
            Some((Arc::clone(&permits).try_acquire_owned().ok()?, of_all))
        };
        listener.close().into_iter().filter_map(|stream| Some((stream, permit()?))).collect()
    }

    async fn on_failure(&mut self, error: &io::Error) {
        // The client gave up while it waited: no failure of ours.
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return;
        }
        if self.failures == 0 {
            tracing::warn!(%error, "cannot accept connections, trying again");
        }
        let pause = ACCEPT_PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(ACCEPT_PAUSE_MAX);
        self.failures += 1;
        clock::sleep(&*self.clock, pause).await;
    }
}

/// What an HTTP/2 client says first.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection with a deadline for its first bytes, and one for each byte that leaves. hyper's own timeouts begin only when
/// it knows the protocol: until then, a client that is silent, or stops within HTTP/2's preface, would hold its permit for
/// ever. And it waits for ever for a client that does not read.
struct Greeting {
    stream: BoxStream,
    clock: SharedClock,
    /// Set while bytes wait to leave.
    stalled: Option<Sleep>,
    /// See [`ServeOptions`].
    send_timeout: Duration,
    /// `None` once the protocol is known.
    deadline: Option<Sleep>,
    /// Who is told that.
    greeted: Option<oneshot::Sender<()>>,
    /// Bytes of the preface seen so far.
    matched: usize,
}

impl Greeting {
    /// The stream, and what completes when its client has said what it speaks, or is gone.
    fn new(stream: BoxStream, options: &ServeOptions) -> (Greeting, oneshot::Receiver<()>) {
        let (clock, send_timeout) = (Arc::clone(&options.clock), options.send_timeout);
        let deadline = Some(clock.sleep_until(clock.now().plus(GREETING_TIMEOUT)));
        let (greeted, receiver) = oneshot::channel();
        let greeted = Some(greeted);
        (Greeting { stream, clock, stalled: None, send_timeout, deadline, greeted, matched: 0 }, receiver)
    }

    /// What became of an attempt to send; an error if the client has taken nothing for too long.
    fn on_sent(
        &mut self,
        context: &mut Context<'_>,
        sent: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if sent.is_ready() {
            self.stalled = None;
            return sent;
        }
        let until = self.clock.now().plus(self.send_timeout);
        let stalled = self.stalled.get_or_insert_with(|| self.clock.sleep_until(until));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => {
                // Whoever tries again is told the same, and at once: what is over is not waited for a second time.
                self.stalled = Some(Box::pin(std::future::ready(())));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn on_bytes(&mut self, bytes: &[u8]) {
        let expected = &HTTP2_PREFACE[self.matched..];
        let len = bytes.len().min(expected.len());
        self.matched += len;
        // Another protocol than HTTP/2, or the end of the connection, or all of the preface: hyper knows enough.
        if len == 0 || bytes[..len] != expected[..len] || self.matched == HTTP2_PREFACE.len() {
            self.deadline = None;
            if let Some(greeted) = self.greeted.take() {
                let _ = greeted.send(());
            }
        }
    }
}

impl AsyncRead for Greeting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Some(deadline) = &mut this.deadline {
            match read {
                Poll::Pending if deadline.as_mut().poll(context).is_ready() => {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Ready(Ok(())) => this.on_bytes(&buffer.filled()[before..]),
                _ => {}
            }
        }
        read
    }
}

impl AsyncWrite for Greeting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.on_sent(context, sent)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.on_sent(context, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
