//! Connection limit, drain, garbage, and failing accepts.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::api::shares::{Connection, Shares};
use crate::clock::{Clock, SharedClock, Sleep, SystemClock};
use crate::config::Limits;
use crate::server::serve::{ServeOptions, Traffic, serve};
use crate::transport::net::{BoxStream, Listener, NetFuture, TcpNet};
use crate::types::Monotonic;

/// Far longer than anything here takes; only a broken test meets it.
const DEADLINE: Duration = Duration::from_secs(60);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

/// A server that answers `GET /` at once, and `GET /slow` when its gate opens.
struct Server {
    address: String,
    stop: watch::Sender<bool>,
    gate: Arc<Semaphore>,
    /// Requests that reached the service.
    started: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

fn options() -> ServeOptions {
    ServeOptions {
        connections_max: 16,
        connections_all: None,
        shares: None,
        date_header: true,
        // Longer than any test waits: what ends, ends by itself.
        drain: DEADLINE * 10,
        send_timeout: Duration::from_secs(30),
        traffic: Traffic::Clients,
        clock: SystemClock::shared(),
    }
}

impl Server {
    async fn start(options: ServeOptions) -> Server {
        let listener = TcpNet::shared().bind("127.0.0.1:0").await.expect("a free port");
        Server::start_on(listener, options)
    }

    fn start_on(listener: Box<dyn Listener>, options: ServeOptions) -> Server {
        let address = listener.local_address().expect("a bound address");
        let gate = Arc::new(Semaphore::new(0));
        let (started_sender, started) = watch::channel(0);
        let service = {
            let gate = Arc::clone(&gate);
            let started = Arc::new(started_sender);
            tower::service_fn(move |request: http::Request<Incoming>| {
                let (gate, started) = (Arc::clone(&gate), Arc::clone(&started));
                async move {
                    started.send_modify(|count| *count += 1);
                    if request.uri().path() == "/slow" {
                        gate.acquire().await.expect("never closed").forget();
                    }
                    assert_ne!(request.uri().path(), "/panic", "as asked");
                    let body = request.into_body().collect().await.map(|body| body.to_bytes());
                    let body = body.unwrap_or_default();
                    Ok::<_, Infallible>(http::Response::new(http_body_util::Full::new(body)))
                }
            })
        };
        let stop = watch::Sender::new(false);
        let mut stopped = stop.subscribe();
        let shutdown = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let task = tokio::spawn(serve(listener, service, options, shutdown));
        Server { address, stop, gate, started, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.expect("the server listens")
    }

    async fn started(&mut self, count: usize) {
        within(self.started.wait_for(|started| *started >= count)).await.expect("the server lives");
    }

    async fn ended(self) {
        within(self.task).await.expect("no panic");
    }
}

async fn ask(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the connection is open");
}

/// The head of an answer without body.
async fn answer(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.expect("an answer"));
    }
    String::from_utf8(head).expect("ASCII").to_lowercase()
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    // A reset is as good as an end.
    let _ = within(stream.read_to_end(&mut rest)).await;
    rest.is_empty()
}

#[tokio::test]
async fn requests_are_answered_and_the_date_can_be_left_out() {
    for date_header in [true, false] {
        let server = Server::start(ServeOptions { date_header, ..options() }).await;
        let mut stream = server.connect().await;
        for _ in 0..2 {
            ask(&mut stream, "/").await;
            let head = answer(&mut stream).await;
            assert!(head.starts_with("http/1.1 200 ok"), "{head}");
            assert_eq!(head.contains("\r\ndate:"), date_header, "{head}");
        }
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_its_turn() {
    let server = Server::start(ServeOptions { connections_max: 2, ..options() }).await;
    let mut served = [server.connect().await, server.connect().await];
    for stream in &mut served {
        ask(stream, "/").await;
        answer(stream).await;
    }
    let mut third = server.connect().await;
    ask(&mut third, "/").await;
    // The others are served on; had the third been let in, its request would have been counted by the end of this.
    for stream in &mut served {
        for _ in 0..50 {
            ask(stream, "/").await;
            answer(stream).await;
        }
    }
    assert_eq!(*server.started.borrow(), 2 + 2 * 50, "the third request must wait");
    let [first, _second] = served;
    drop(first);
    assert!(answer(&mut third).await.starts_with("http/1.1 200 ok"));
}

#[tokio::test]
async fn a_request_under_way_is_finished_and_idle_connections_are_closed() {
    let mut server = Server::start(options()).await;
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    ask(&mut idle, "/").await;
    answer(&mut idle).await;
    ask(&mut busy, "/slow").await;
    server.started(2).await;
    server.stop.send_replace(true);
    assert!(is_closed(&mut idle).await);
    assert!(TcpStream::connect(&server.address).await.is_err(), "nobody is let in any more");
    assert!(!server.task.is_finished(), "a request is under way");
    server.gate.add_permits(1);
    assert!(answer(&mut busy).await.starts_with("http/1.1 200 ok"));
    assert!(is_closed(&mut busy).await);
    server.ended().await;
}

#[tokio::test]
async fn the_drain_has_an_end() {
    let mut server = Server::start(ServeOptions { drain: Duration::ZERO, ..options() }).await;
    let mut stream = server.connect().await;
    ask(&mut stream, "/slow").await;
    server.started(1).await;
    server.stop.send_replace(true);
    assert!(is_closed(&mut stream).await);
    server.ended().await;
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let server = Server::start(options()).await;
    let mut witness = server.connect().await;
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for round in 0..60 {
        let mut bytes: Vec<u8> = (0..random.usize(1..3_000)).map(|_| random.u8(..)).collect();
        match round % 4 {
            0 => {}
            1 => drop(bytes.splice(0..0, *preface)),
            // A preface that breaks off, or goes wrong, at each of its bytes.
            2 => drop(bytes.splice(.., preface[..round % preface.len()].iter().copied())),
            _ => drop(bytes.splice(0..0, *b"GET / HTTP/1.1\r\n")),
        }
        let mut stream = server.connect().await;
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let _ = within(stream.read_to_end(&mut Vec::new())).await;
    }
    ask(&mut witness, "/").await;
    assert!(answer(&mut witness).await.starts_with("http/1.1 200 ok"));
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let server = Server::start(options()).await;
    for header in [format!("x: {}\r\n", "y".repeat(100_000)), "x: y\r\n".repeat(1_000)] {
        let mut stream = server.connect().await;
        let request = format!("GET / HTTP/1.1\r\n{header}\r\n");
        let _ = stream.write_all(request.as_bytes()).await;
        let head = answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 431"), "{head}");
    }
}

#[tokio::test]
async fn a_handler_that_panics_takes_only_its_connection_along() {
    let server = Server::start(options()).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    ask(&mut first, "/panic").await;
    assert!(is_closed(&mut first).await);
    ask(&mut second, "/").await;
    assert!(answer(&mut second).await.starts_with("http/1.1 200 ok"));
}

/// A clock that jumps: as soon as somebody sleeps, the time is there.
struct Hasty(SharedClock);

impl Clock for Hasty {
    fn now(&self) -> Monotonic {
        self.0.now()
    }

    fn wall_ms(&self) -> u64 {
        self.0.wall_ms()
    }

    fn sleep_until(&self, _deadline: Monotonic) -> Sleep {
        Box::pin(std::future::ready(()))
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

#[tokio::test]
async fn a_client_that_does_not_say_what_it_wants_is_cut_off() {
    let clock = Arc::new(Hasty(SystemClock::shared()));
    let server = Server::start(ServeOptions { clock, ..options() }).await;
    for beginning in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n"] {
        let mut stream = server.connect().await;
        let _ = stream.write_all(beginning.as_bytes()).await;
        assert!(is_closed(&mut stream).await, "after {beginning:?}");
    }
}

/// A clock whose sleeps all end when it is told so.
struct Waking(watch::Sender<bool>);

impl Clock for Waking {
    fn now(&self) -> Monotonic {
        Monotonic(0)
    }

    fn wall_ms(&self) -> u64 {
        0
    }

    fn sleep_until(&self, _deadline: Monotonic) -> Sleep {
        let mut woken = self.0.subscribe();
        Box::pin(async move {
            let _ = woken.wait_for(|woken| *woken).await;
        })
    }

    fn random(&self) -> u64 {
        4
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    const BYTES: usize = 16 << 20;
    let clock = Arc::new(Waking(watch::Sender::new(false)));
    let server = Server::start(ServeOptions { clock: clock.clone(), ..options() }).await;
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    let address = server.address.parse().expect("an address");
    let mut stream = within(socket.connect(address)).await.expect("the server listens");
    let head = format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the connection is open");
    within(stream.write_all(&vec![b'x'; BYTES])).await.expect("the server reads all of it");
    // It all comes back, far more than lies between the two; a little of it is there already.
    within(stream.readable()).await.expect("an answer");
    clock.0.send_replace(true);
    let mut taken = Vec::new();
    let _ = within(stream.read_to_end(&mut taken)).await;
    assert!(taken.len() < BYTES, "it waited for a client that does not read");
}

/// A clock that goes on when it is told so, by seconds.
struct Stepped(watch::Sender<u64>);

impl Stepped {
    const NANOS: u64 = 1_000_000_000;

    fn step(&self, seconds: u64) {
        self.0.send_modify(|now| *now += seconds);
    }
}

impl Clock for Stepped {
    fn now(&self) -> Monotonic {
        Monotonic(*self.0.borrow() * Stepped::NANOS)
    }

    fn wall_ms(&self) -> u64 {
        0
    }

    fn sleep_until(&self, deadline: Monotonic) -> Sleep {
        let mut steps = self.0.subscribe();
        Box::pin(async move {
            let _ = steps.wait_for(|now| *now * Stepped::NANOS >= deadline.0).await;
        })
    }

    fn random(&self) -> u64 {
        4
    }
}

/// Answers `/N` with N bytes that count until they have left.
async fn serve_counted(clock: SharedClock) -> (String, JoinHandle<()>) {
    let listener = TcpNet::shared().bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_address().expect("a bound address");
    let shares = Some(Shares::new(&Limits::default()));
    let service = tower::service_fn(async move |request: http::Request<Incoming>| {
        let len = request.uri().path()[1..].parse().expect("a number");
        let connection = request.extensions().get::<Connection>().expect("told which connection it is of");
        let bytes = connection.enter_always().keep(vec![0; len].into());
        Ok::<_, Infallible>(http::Response::new(http_body_util::Full::new(bytes)))
    });
    let options = ServeOptions { shares, clock, ..options() };
    (address, tokio::spawn(serve(listener, service, options, std::future::pending())))
}

/// The looks for answers that nobody takes are three steps apart, as far as the send timeout is long, and the third that meets one
/// ends its connection. The first look is at the beginning of a connection, before its first answer or just after.
const OVERDUE_STEPS: std::ops::RangeInclusive<u64> = 6..=10;

#[tokio::test]
async fn a_client_that_takes_its_answer_too_slowly_is_cut_off() {
    const ALL: usize = 192 << 20;
    /// More than all the buffers between the two hold: whoever has read that much has seen the server send.
    const MOVES: usize = 12 << 20;
    let clock = Arc::new(Stepped(watch::Sender::new(0)));
    let (address, _task) = serve_counted(clock.clone()).await;
    let mut stream = TcpStream::connect(&address).await.expect("the server listens");
    ask(&mut stream, &format!("/{ALL}")).await;
    let (mut buffer, mut taken, mut steps) = (vec![0; 1 << 20], 0, 0);
    while taken < ALL {
        let goal = taken + MOVES;
        while taken < goal {
            match within(stream.read(&mut buffer)).await {
                Ok(len @ 1..) => taken += len,
                _ => break,
            }
        }
        if taken < goal {
            break;
        }
        // A third of the time after which a connection that takes nothing at all is cut off.
        clock.step(10);
        steps += 1;
    }
    assert!(taken < ALL, "it was kept for a client that is slow for ever");
    assert!(OVERDUE_STEPS.contains(&steps), "cut off after {steps} steps, {taken} bytes");
}

/// Takes this answer as a whole.
async fn take(
    client: &h2::client::SendRequest<bytes::Bytes>,
    address: &str,
    bytes: usize,
) -> Result<(), h2::Error> {
    let request = http::Request::get(format!("http://{address}/{bytes}")).body(()).expect("a request");
    let (answer, _) = client.clone().ready().await?.send_request(request, true)?;
    let mut body = answer.await?.into_body();
    let mut len = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        len += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    assert_eq!(len, bytes);
    Ok(())
}

async fn connect_http2(address: &str) -> h2::client::SendRequest<bytes::Bytes> {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    // What one request leaves takes nothing from the others.
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(1 << 20);
    let (client, connection) = within(builder.handshake(stream)).await.expect("HTTP/2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

/// It takes other answers: only its windows show that it leaves one.
#[tokio::test]
async fn a_client_that_leaves_an_answer_and_takes_others_is_cut_off() {
    let clock = Arc::new(Stepped(watch::Sender::new(0)));
    let (address, _task) = serve_counted(clock.clone()).await;
    let (client, witness) = (connect_http2(&address).await, connect_http2(&address).await);
    // Larger than the window of one request.
    let request = http::Request::get(format!("http://{address}/1000000")).body(()).expect("a request");
    let ready = within(client.clone().ready()).await;
    let (answer, _) = ready.and_then(|mut client| client.send_request(request, true)).expect("connected");
    let left = within(answer).await.expect("the head of an answer");
    let mut steps = 0;
    while within(take(&client, &address, 100)).await.is_ok() {
        within(take(&witness, &address, 1_000_000)).await.expect("who takes its answers is served");
        clock.step(10);
        steps += 1;
        assert!(steps < 100, "an answer is kept for a client that leaves it");
    }
    assert!(OVERDUE_STEPS.contains(&steps), "cut off after {steps} steps");
    within(take(&witness, &address, 100)).await.expect("who takes its answers is served");
    drop(left);
}

/// Leaves everybody in the system's backlog.
struct Sleepy(Box<dyn Listener>);

impl Listener for Sleepy {
    fn accept(&mut self) -> NetFuture<'_, (BoxStream, String)> {
        Box::pin(std::future::pending())
    }

    fn local_address(&self) -> io::Result<String> {
        self.0.local_address()
    }

    fn close(self: Box<Self>) -> Vec<BoxStream> {
        self.0.close()
    }
}

/// Who is connected when the end comes cannot know that nobody has accepted the connection: a request on it is answered, and an
/// end without an answer would leave open what became of it.
#[tokio::test]
async fn who_was_connected_at_the_end_is_served() {
    let listener = TcpNet::shared().bind("127.0.0.1:0").await.expect("a free port");
    let mut server = Server::start_on(Box::new(Sleepy(listener)), options());
    let (mut asks, mut asks_late, mut silent) =
        (server.connect().await, server.connect().await, server.connect().await);
    ask(&mut asks, "/slow").await;
    server.stop.send_replace(true);
    server.started(1).await;
    assert!(TcpStream::connect(&server.address).await.is_err(), "nobody is let in any more");
    ask(&mut asks_late, "/").await;
    assert!(answer(&mut asks_late).await.starts_with("http/1.1 200 ok"));
    server.gate.add_permits(1);
    assert!(answer(&mut asks).await.starts_with("http/1.1 200 ok"));
    for stream in [&mut asks, &mut asks_late, &mut silent] {
        assert!(is_closed(stream).await);
    }
    server.ended().await;
}

/// Fails a few times before each connection.
struct Flaky {
    inner: Box<dyn Listener>,
    failures: Arc<AtomicUsize>,
}

impl Listener for Flaky {
    fn accept(&mut self) -> NetFuture<'_, (BoxStream, String)> {
        if self.failures.load(Ordering::SeqCst) > 0 {
            let left = self.failures.fetch_sub(1, Ordering::SeqCst);
            // "Too many open files", and a client that gave up.
            let error = if left.is_multiple_of(2) {
                io::Error::other("too many open files")
            } else {
                io::ErrorKind::ConnectionAborted.into()
            };
            return Box::pin(std::future::ready(Err(error)));
        }
        self.inner.accept()
    }

    fn local_address(&self) -> io::Result<String> {
        self.inner.local_address()
    }
}

#[tokio::test]
async fn a_failing_accept_is_tried_again() {
    let inner = TcpNet::shared().bind("127.0.0.1:0").await.expect("a free port");
    let failures = Arc::new(AtomicUsize::new(7));
    let listener = Box::new(Flaky { inner, failures: Arc::clone(&failures) });
    let server = Server::start_on(listener, options());
    let mut stream = server.connect().await;
    ask(&mut stream, "/").await;
    assert!(answer(&mut stream).await.starts_with("http/1.1 200 ok"));
    assert_eq!(failures.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_port_is_free_again_at_once_and_taken_while_in_use() {
    let net = TcpNet::shared();
    let listener = net.bind("localhost:0").await.expect("a free port");
    let address = listener.local_address().expect("a bound address");
    assert!(net.bind(&address).await.is_err(), "two servers on one port");
    drop(listener);
    net.bind(&address).await.expect("free again");
}
