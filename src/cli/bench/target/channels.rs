//! What both gRPC doors have in common: connections, deadlines, what a status means.
//!
//! A line is an HTTP/2 connection of `h2` and nothing else. The channel that tonic brings, and hyper's own client, put queues and a
//! task for each request before it, which cost as much as the request: time that a server on the same machine would not get.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::Uri;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Request, Status, TimeoutExpired};
use tonic_types::StatusExt;

use super::super::plan::Plan;
use super::{Fault, addresses, chain};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a server may send of an answer before it is read.
const WINDOW_BYTES: u32 = 1 << 20;

/// Connections, all of which stand.
#[derive(Clone)]
pub(super) struct Channels {
    wires: Vec<Arc<Wire>>,
    timeout: Duration,
}

impl Channels {
    /// Connects as the plan says.
    pub(super) async fn connect(plan: &Plan) -> Result<Channels, String> {
        let mut wires = Vec::with_capacity(plan.connections);
        for address in addresses(plan) {
            let origin = Uri::try_from(format!("http://{address}"));
            let origin = origin.map_err(|error| format!("{address}: {error}"))?;
            let wire = Wire { address: address.to_owned(), origin, sender: Mutex::new(None) };
            wire.dial().await.map_err(|error| format!("{address}: {}", chain(&*error)))?;
            wires.push(Arc::new(wire));
        }
        Ok(Channels { wires, timeout: plan.timeout() })
    }

    /// The nth client's, which it shares with others if there are fewer, and how its requests begin.
    pub(super) fn of(&self, client: usize) -> (Line, Uri) {
        let wire = &self.wires[client % self.wires.len()];
        (Line { wire: wire.clone(), timeout: self.timeout }, wire.origin.clone())
    }

    /// How calls over them begin.
    pub(super) fn begin(&self) -> Begin {
        Begin { timeout: self.timeout }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A place for a connection, which is made again when it was lost.
struct Wire {
    address: String,
    origin: Uri,
    sender: Mutex<Option<SendRequest<Bytes>>>,
}

impl Wire {
    fn sender(&self) -> MutexGuard<'_, Option<SendRequest<Bytes>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that stands, when it takes another request, or another one.
    async fn open(&self) -> Result<SendRequest<Bytes>, BoxError> {
        let standing = self.sender().clone();
        match standing {
            Some(sender) => match sender.ready().await {
                Ok(sender) => Ok(sender),
                Err(_) => Ok(self.dial().await?.ready().await?),
            },
            None => Ok(self.dial().await?.ready().await?),
        }
    }

    /// Sends a request, which is one message.
    async fn ask(&self, request: http::Request<Body>) -> Result<http::Response<Answer>, BoxError> {
        let (head, body) = request.into_parts();
        let message = body.collect().await?.to_bytes();
        let mut sender = self.open().await?;
        let (answer, mut stream) = sender.send_request(http::Request::from_parts(head, ()), false)?;
        stream.send_data(message, true)?;
        Ok(answer.await?.map(Answer))
    }

    async fn dial(&self) -> Result<SendRequest<Bytes>, BoxError> {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.address)).await??;
        stream.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(2 * WINDOW_BYTES);
        let (sender, connection) = builder.handshake(stream).await?;
        // How it ends is told to the requests that are under way.
        tokio::spawn(async move { drop(connection.await) });
        *self.sender() = Some(sender.clone());
        Ok(sender)
    }
}

/// A client's hold on a connection.
#[derive(Clone)]
pub(super) struct Line {
    wire: Arc<Wire>,
    timeout: Duration,
}

impl Service<http::Request<Body>> for Line {
    type Response = http::Response<Answer>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Answer>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (wire, timeout) = (self.wire.clone(), self.timeout);
        Box::pin(async move {
            let answered = tokio::time::timeout(timeout, wire.ask(request)).await;
            answered.unwrap_or_else(|_| Err(Box::new(TimeoutExpired(()))))
        })
    }
}

/// The body of an answer.
pub(super) struct Answer(RecvStream);

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(data) = ready!(self.0.poll_data(context)) {
            let data = data.and_then(|data| {
                self.0.flow_control().release_capacity(data.len())?;
                Ok(Frame::data(data))
            });
            return Poll::Ready(Some(data));
        }
        let trailers = ready!(self.0.poll_trailers(context));
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// Makes requests that tell the server when they are given up.
#[derive(Clone, Copy)]
pub(super) struct Begin {
    timeout: Duration,
}

impl Begin {
    /// A request.
    pub(super) fn request<T>(self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }
}

/// What a call came to that was not answered. Quorate's stable code stands in the details; etcd's API has gRPC's codes alone.
pub(super) fn fault(status: &Status) -> Fault {
    // Only what was made on this side has a source: a status of the server comes as trailers.
    if let Some(source) = std::error::Error::source(status) {
        let mut sources = std::iter::successors(Some(source), |error| error.source());
        return match sources.any(|error| error.is::<TimeoutExpired>()) {
            true => Fault::new("timeout", status.message()),
            false => Fault::connection(source),
        };
    }
    match status.get_details_error_info() {
        Some(info) => Fault::new(info.reason, status.message()),
        None => Fault::new(code_name(status.code()), status.message()),
    }
}

/// As gRPC's documents write it, in small letters like Quorate's own codes.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::super::super::plan::tests::plan;
    use super::*;

    #[test]
    fn the_servers_own_code_is_the_kind() {
        let mut details = ErrorDetails::new();
        details.set_error_info("disk_full", "quorate", std::collections::HashMap::new());
        let told = Status::with_error_details(Code::ResourceExhausted, "no room", details);
        assert_eq!(fault(&told), Fault::new("disk_full", "no room"));
        let etcd = Status::unavailable("etcdserver: no leader");
        assert_eq!(fault(&etcd), Fault::new("unavailable", "etcdserver: no leader"));
    }

    #[test]
    fn what_no_server_said_is_told_apart() {
        let lost = Status::from_error(Box::new(std::io::Error::other("broken pipe")));
        assert_eq!(fault(&lost), Fault::new("connection", "broken pipe"));
        let late = Status::from_error(Box::new(TimeoutExpired(())));
        assert_eq!(fault(&late).kind, "timeout");
    }

    #[tokio::test]
    async fn where_nobody_listens_nothing_begins() {
        // Bound and not listening: nobody else gets the port meanwhile.
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = socket.local_addr().expect("it is bound").to_string();
        let plan = Plan { endpoints: vec![address.clone()], ..plan() };
        let error = Channels::connect(&plan).await.err().expect("nobody listens");
        assert!(error.starts_with(&address) && error.contains("refused"), "{error}");
        let plan = Plan { endpoints: vec!["no address".to_owned()], ..plan };
        let error = Channels::connect(&plan).await.err().expect("it is no address");
        assert!(error.starts_with("no address: "), "{error}");
    }
}
