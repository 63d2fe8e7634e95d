//! One connection to a peer: dialed, introduced, checked, and a call open on it.
//!
//! Each call has a connection of its own, so that calls share no flow control. How a connection fails, and how it ended
//! later, is kept apart as far as `evidence` has to know it: whether nobody listens at the address, and whether it was
//! the other side that closed the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::codec::Codec;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::types::Incarnation;

use super::grpc::is_superseded;
use super::handshake::{self, Reason, Refusal};
use super::net::{BoxStream, SharedNet};
use super::peers::Peer;
use super::shared::Shared;

/// Connecting and the handshake together.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// How much of a peer's replies may be under way.
const WINDOW_BYTES: u32 = 2 << 20;

/// After how long a silence the other side is asked whether it lives, and how long it has for its answer.
pub(super) type KeepAlive = (Duration, Duration);
/// For small messages.
pub(super) const KEEP_ALIVE: KeepAlive = (Duration::from_secs(1), Duration::from_secs(3));
/// For large ones: the answer may stand behind megabytes on a slow link.
pub(super) const KEEP_ALIVE_BULK: KeepAlive = (Duration::from_secs(2), Duration::from_secs(6));

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The peer refused us.
    Refused(Refusal),
    /// It is not the peer we meant.
    Stranger(Refusal),
    /// The peer ended it for a newer one in our name.
    Superseded,
    /// Nobody listens at its address, or its name stands for none.
    Absent(String),
    /// Anything else.
    Broken(String),
}

impl Problem {
    fn of_connect(error: &io::Error) -> Problem {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Problem::Absent(describe(error)),
            _ => Problem::Broken(describe(error)),
        }
    }

    pub fn of_status(status: &Status) -> Problem {
        match Refusal::from_status(status) {
            Some(refusal) => Problem::Refused(refusal),
            None if is_superseded(status) => Problem::Superseded,
            None => Problem::Broken(describe_status(status)),
        }
    }

    /// Whether the process that was at the address is certainly not there any more.
    pub fn is_evidence(&self) -> bool {
        match self {
            Problem::Absent(_) => true,
            Problem::Stranger(refusal) => refusal.reason == Reason::Incarnation,
            Problem::Refused(_) | Problem::Superseded | Problem::Broken(_) => false,
        }
    }

    /// In words.
    pub fn text(&self) -> String {
        match self {
            Problem::Refused(refusal) => format!("refused by the peer: {refusal}"),
            Problem::Stranger(refusal) => format!("not the peer that was expected: {refusal}"),
            Problem::Superseded => "taken over by a newer connection in this node's name".to_owned(),
            Problem::Absent(text) | Problem::Broken(text) => text.clone(),
        }
    }
}

/// Where and how to make a call.
pub(super) struct Way<'a> {
    pub peer: &'a Peer,
    pub address: &'a str,
    pub path: &'static str,
    pub keep_alive: KeepAlive,
    pub message_bytes_max: usize,
}

/// An open call.
pub(super) struct Call<R> {
    pub replies: Streaming<R>,
    /// Who answered.
    pub incarnation: Incarnation,
    closed: Arc<AtomicBool>,
    _channel: Channel,
}

impl<R> Call<R> {
    /// Whether the other side closed the connection, or the call with this status.
    pub fn is_closed_by_peer(&self, end: &Status) -> bool {
        // A status without a source came over the wire.
        std::error::Error::source(end).is_none() || self.closed.load(Ordering::Relaxed)
    }
}

/// Connects, shakes hands, and opens a call. For as long as that takes: the caller has the deadline.
pub(super) async fn call<C, S>(
    shared: &Shared,
    way: Way<'_>,
    outgoing: S,
    codec: C,
) -> Result<Call<C::Decode>, Problem>
where
    C: Codec,
    C::Encode: Send + Sync + 'static,
    C::Decode: Send + Sync + 'static,
    S: Stream<Item = C::Encode> + Send + 'static,
{
    let broken = |error: &dyn std::error::Error| Problem::Broken(describe(error));
    let stream = shared.net.connect(way.address).await.map_err(|error| Problem::of_connect(&error))?;
    let closed = Arc::new(AtomicBool::new(false));
    let stream = Box::new(Watched { inner: stream, closed: Arc::clone(&closed) });
    let channel = channel(way.keep_alive, stream).await.map_err(|error| broken(&error))?;
    let mut grpc = Grpc::new(channel.clone())
        .max_decoding_message_size(way.message_bytes_max)
        .max_encoding_message_size(way.message_bytes_max);
    grpc.ready().await.map_err(|error| broken(&error))?;

    let mut request = Request::new(outgoing);
    handshake::introduce(&shared.identity, &shared.advertised, way.peer.id, request.metadata_mut());
    let response = grpc.streaming(request, PathAndQuery::from_static(way.path), codec).await;
    let response = response.map_err(|status| Problem::of_status(&status))?;
    let admit = |incarnation| way.peer.admit(&*shared.admission, incarnation);
    let incarnation = handshake::check_server(&shared.identity, way.peer.id, admit, response.metadata())
        .map_err(Problem::Stranger)?;
    Ok(Call { replies: response.into_inner(), incarnation, closed, _channel: channel })
}

/// A connection to an address whose owner is not known.
pub(super) async fn connect(net: &SharedNet, address: &str) -> Result<Channel, String> {
    let stream = net.connect(address).await.map_err(|error| describe(&error))?;
    channel(KEEP_ALIVE, stream).await.map_err(|error| describe(&error))
}

/// An HTTP/2 connection over this stream, and over no other.
async fn channel(keep_alive: KeepAlive, stream: BoxStream) -> Result<Channel, tonic::transport::Error> {
    let (interval, timeout) = keep_alive;
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

/// A stream that notes when the other side closes it. What this side closes, and what it gives up for want of an
/// answer, leaves no note.
struct Watched {
    inner: BoxStream,
    closed: Arc<AtomicBool>,
}

impl Watched {
    fn note<T>(&self, result: &io::Result<T>) {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        let is_closed = result.as_ref().err().map(io::Error::kind);
        if matches!(is_closed, Some(BrokenPipe | ConnectionAborted | ConnectionReset)) {
            self.closed.store(true, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = (buffer.filled().len(), buffer.remaining());
        let result = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        self.note(&result);
        if result.is_ok() && before.1 > 0 && buffer.filled().len() == before.0 {
            self.closed.store(true, Ordering::Relaxed);
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write(context, bytes));
        self.note(&result);
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, slices));
        self.note(&result);
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_flush(context));
        self.note(&result);
        Poll::Ready(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
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

pub(super) fn describe_status(status: &Status) -> String {
    let text = match std::error::Error::source(status) {
        Some(source) => describe(source),
        None => String::new(),
    };
    format!("{:?}: {} {text}", status.code(), status.message()).trim_end().to_owned()
}
