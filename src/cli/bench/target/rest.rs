//! Quorate's REST API over HTTP/1.1, with connections that are kept.
//!
//! A connection carries one request at a time. With fewer connections than clients each waits for its own, which is part of the
//! latency: as it is for users of a pool.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::super::draw::Op;
use super::super::plan::{KEY_PREFIX, Plan};
use super::{Fault, Target, Worker, addresses};

/// Pairs that are asked for at once: a tenth of what servers give by default, and as many as they give when nobody says how many.
const PAGE_PAIRS: u64 = 1_000;
/// How long a request may take, as servers are told.
const TIMEOUT_HEADER: &str = "x-quorate-timeout-ms";

/// Its connections.
pub(crate) struct Rest {
    seats: Vec<Arc<Seat>>,
    /// As queries have it.
    consistency: &'static str,
}

impl Rest {
    /// Connects.
    ///
    /// # Errors
    /// An endpoint cannot be reached.
    pub(crate) async fn connect(plan: &Plan) -> Result<Rest, String> {
        let mut seats = Vec::with_capacity(plan.connections);
        for address in addresses(plan) {
            let seat = Seat::new(address, plan.timeout()).map_err(|error| format!("{address}: {error}"))?;
            let connection = Connection::dial(address).await;
            *seat.connection.lock().await = Some(connection.map_err(|fault| fault.text)?);
            seats.push(Arc::new(seat));
        }
        Ok(Rest { seats, consistency: plan.consistency.name() })
    }
}

impl Target for Rest {
    type Worker = Browser;

    fn worker(&self, at: usize) -> Browser {
        Browser { seat: self.seats[at % self.seats.len()].clone(), consistency: self.consistency }
    }
}

/// A connection's place: empty while a request is under way on it, and after it was lost.
struct Seat {
    address: String,
    host: HeaderValue,
    timeout_ms: HeaderValue,
    connection: Mutex<Option<Connection>>,
}

impl Seat {
    fn new(address: &str, timeout: Duration) -> Result<Seat, http::Error> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        Ok(Seat {
            address: address.to_owned(),
            host: HeaderValue::from_str(address)?,
            timeout_ms: HeaderValue::from(timeout_ms),
            connection: Mutex::new(None),
        })
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        let request = Request::builder().method(method).uri(path).header(HOST, self.host.clone());
        let request = request
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(TIMEOUT_HEADER, self.timeout_ms.clone());
        request.body(Full::new(body)).expect("paths are made of letters and digits")
    }

    /// Sends a request and reads the whole answer.
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Fault> {
        let request = self.request(method, path, body);
        let mut seat = self.connection.lock().await;
        // Out of its place until the answer was read: a request that is dropped before takes its connection with it, so that the
        // next one does not get its answer.
        let kept = match seat.take() {
            Some(connection) => connection.ready().await,
            None => None,
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::dial(&self.address).await?,
        };
        let lost = |error: hyper::Error| Fault::connection(&error);
        let answer = connection.sender.send_request(request).await.map_err(lost)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(lost)?.to_bytes();
        *seat = Some(connection);
        drop(seat);
        if status == StatusCode::OK { Ok(body) } else { Err(refusal(status, &body)) }
    }
}

/// A connection, and the task that works for it as long as it lives.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Connection {
    async fn dial(address: &str) -> Result<Connection, Fault> {
        let failed = |error: std::io::Error| Fault::new("connection", format!("{address}: {error}"));
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| Fault::connection(&error))?;
        // How it ends is told to the request that is under way, if there is one.
        let task = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, task })
    }

    /// Itself, if it can carry another request: a server may have closed it since.
    async fn ready(mut self) -> Option<Connection> {
        self.sender.ready().await.ok().map(|()| self)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One that asks.
pub(crate) struct Browser {
    seat: Arc<Seat>,
    consistency: &'static str,
}

#[derive(Serialize)]
struct SetBody<'a> {
    key: &'a str,
    value: &'a str,
}

#[derive(Deserialize)]
struct GetAnswer {
    found: bool,
}

#[derive(Deserialize)]
struct ListAnswer<'a> {
    #[serde(borrow)]
    pairs: Vec<Pair<'a>>,
    more: bool,
}

#[derive(Deserialize)]
struct Pair<'a> {
    key: &'a str,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
}

impl Browser {
    async fn put(&self, key: &Bytes, value: &Bytes) -> Result<u64, Fault> {
        let body = serde_json::to_vec(&SetBody { key: text(key), value: text(value) });
        let body = body.expect("two texts can be written").into();
        self.seat.ask(Method::POST, "/api/set", body).await.map(|_| 0)
    }

    async fn get(&self, key: &Bytes) -> Result<u64, Fault> {
        let path = format!("/api/get?key={}&consistency={}", text(key), self.consistency);
        let body = self.seat.ask(Method::GET, &path, Bytes::new()).await?;
        let GetAnswer { found } = parse(&body)?;
        Ok(u64::from(found))
    }

    /// Pairs from there, page after page: a limit may be larger than a page.
    async fn list(&self, from: &Bytes, limit: u64) -> Result<u64, Fault> {
        let mut after = before(from);
        let mut count = 0;
        loop {
            let page = (limit - count).min(PAGE_PAIRS);
            let path = format!(
                "/api/list?prefix={KEY_PREFIX}&after={after}&limit={page}&consistency={}",
                self.consistency
            );
            let body = self.seat.ask(Method::GET, &path, Bytes::new()).await?;
            let ListAnswer { pairs, more } = parse(&body)?;
            count += pairs.len() as u64;
            match pairs.last() {
                Some(last) if more && count < limit => last.key.clone_into(&mut after),
                _ => return Ok(count),
            }
        }
    }
}

impl Worker for Browser {
    async fn perform(&mut self, op: Op) -> Result<u64, Fault> {
        match op {
            Op::Put { key, value } => self.put(&key, &value).await,
            Op::Get { key } => self.get(&key).await,
            Op::List { from, limit } => self.list(&from, limit).await,
        }
    }
}

/// Keys and values are drawn from letters and digits, and `-` and `_`: they stand in JSON and in queries as they are.
fn text(drawn: &Bytes) -> &str {
    std::str::from_utf8(drawn).expect("what is drawn is text")
}

/// What to list *after* to begin with this key. Keys have one length and end with a digit: none lies between.
fn before(key: &Bytes) -> String {
    let (head, last) = text(key).split_at(key.len() - 1);
    format!("{head}{}", char::from(last.as_bytes()[0] - 1))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::answer(error.to_string()))
}

/// A refusal by its code; by its status if no node of Quorate said it.
fn refusal(status: StatusCode, body: &[u8]) -> Fault {
    match serde_json::from_slice(body) {
        Ok(Problem { code, detail }) => Fault::new(code, detail),
        Err(_) => Fault::new(format!("http_{}", status.as_u16()), String::from_utf8_lossy(body)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::super::plan::tests::plan;
    use super::*;

    const FOUND: &str = r#"{"value":"v","found":true,"revision":7}"#;

    /// Reads a request without a body.
    async fn read(stream: &mut TcpStream) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("a request comes"));
        }
        String::from_utf8(request).expect("it is text")
    }

    async fn answer(stream: &mut TcpStream, status: &str, header: &str, body: &str) {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{header}\r\n{body}");
        stream.write_all(answer.as_bytes()).await.expect("it is read");
    }

    /// A server of the test's own, and a client of it.
    async fn connect(connections: usize) -> (TcpListener, Rest) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoints = vec![listener.local_addr().expect("it is bound").to_string()];
        let plan = Plan { endpoints, connections, timeout_s: 1.5, ..plan() };
        let rest = Rest::connect(&plan).await.expect("it listens");
        (listener, rest)
    }

    async fn accept(listener: &TcpListener) -> TcpStream {
        listener.accept().await.expect("it connects").0
    }

    fn get() -> Op {
        Op::Get { key: "bench01".into() }
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_made_again_when_it_was_closed() {
        let (listener, rest) = connect(1).await;
        let mut worker = rest.worker(0);
        let serve = async {
            let mut first = accept(&listener).await;
            let request = read(&mut first).await;
            assert!(request.starts_with("GET /api/get?key=bench01&consistency=linearizable HTTP/1.1\r\n"));
            assert!(request.contains("x-quorate-timeout-ms: 1500\r\n"), "{request}");
            answer(&mut first, "200 OK", "", FOUND).await;
            read(&mut first).await;
            answer(&mut first, "200 OK", "connection: close\r\n", r#"{"value":null,"found":false}"#).await;
            drop(first);
            let mut second = accept(&listener).await;
            read(&mut second).await;
            answer(&mut second, "200 OK", "", FOUND).await;
        };
        let ask =
            async { [worker.perform(get()).await, worker.perform(get()).await, worker.perform(get()).await] };
        let (answers, ()) = tokio::join!(ask, serve);
        assert_eq!(answers, [Ok(1), Ok(0), Ok(1)]);
    }

    #[tokio::test]
    async fn a_request_that_was_given_up_leaves_no_answer_to_the_next() {
        let (listener, rest) = connect(1).await;
        let mut worker = rest.worker(0);
        let mut first = accept(&listener).await;
        tokio::select! {
            biased;
            answered = worker.perform(get()) => panic!("nobody answers: {answered:?}"),
            _ = read(&mut first) => {}
        }
        let serve = async {
            let mut second = accept(&listener).await;
            read(&mut second).await;
            answer(&mut second, "200 OK", "", FOUND).await;
        };
        let (answered, ()) = tokio::join!(worker.perform(get()), serve);
        assert_eq!(answered, Ok(1));
        assert_eq!(first.read(&mut [0]).await.ok(), Some(0), "the first connection was closed");
    }

    #[tokio::test]
    async fn lists_go_on_until_the_limit() {
        let (listener, rest) = connect(1).await;
        let mut worker = rest.worker(0);
        let serve = async {
            let mut stream = accept(&listener).await;
            let mut lines = Vec::new();
            for body in [
                r#"{"pairs":[{"key":"bench10","value":"v","revision":1},{"key":"bench11","value":"v","revision":1}],"more":true}"#,
                r#"{"pairs":[{"key":"bench12","value":"v","revision":1}],"more":true}"#,
            ] {
                lines.extend(read(&mut stream).await.lines().next().map(str::to_owned));
                answer(&mut stream, "200 OK", "", body).await;
            }
            lines
        };
        let list = Op::List { from: "bench10".into(), limit: 3 };
        let (answered, lines) = tokio::join!(worker.perform(list), serve);
        assert_eq!(answered, Ok(3));
        assert!(lines[0].contains("prefix=bench&after=bench1/&limit=3&"), "{lines:?}");
        assert!(lines[1].contains("after=bench11&limit=1&"), "{lines:?}");
    }

    #[test]
    fn a_refusal_is_counted_by_its_code() {
        let problem = br#"{"status":503,"code":"unavailable","detail":"No quorum.","retryable":true}"#;
        let status = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(refusal(status, problem), Fault::new("unavailable", "No quorum."));
        assert_eq!(refusal(status, b"<html>"), Fault::new("http_503", "<html>"));
    }

    #[test]
    fn nothing_lies_between_a_key_and_what_lists_begin_after() {
        for (key, expected) in [("bench042", "bench041"), ("bench040", "bench04/"), ("bench000", "bench00/")]
        {
            let before = before(&Bytes::from(key));
            assert_eq!(before, expected);
            assert!(*before < *key);
        }
    }
}
