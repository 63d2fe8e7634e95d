//! A client of the REST interface, over the simulated network.
//!
//! It keeps one connection per node and gives it up at the first trouble. A write has three outcomes: done, certainly
//! not applied, unknown; whatever is not said clearly is unknown. Every request and its outcome enter the trace.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use quorate::transport::net::SharedNet;
use serde_json::{Value, json};

use crate::trace::SharedTrace;

/// How much longer than its deadline a client waits for the answer that says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was executed and got this revision.
    Done {
        /// The store's revision after it.
        revision: u64,
    },
    /// It was not executed and never will be.
    NotApplied(String),
    /// It may have been executed, or may still be.
    Unknown(String),
}

/// What a read found.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// The key's value, if it is there.
    pub value: Option<String>,
    /// The revision of the key's last write; 0 if it is absent.
    pub revision: u64,
    /// The store's revision when it was read.
    pub store_revision: u64,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.value.as_deref().map_or("nothing", crate::cluster::oracle::short);
        write!(f, "{value} at revision {}, store at {}", self.revision, self.store_revision)
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As of some instant between request and answer.
    Linearizable,
    /// As of whatever the node has applied.
    Stale,
}

/// A client. One request at a time.
pub struct Client {
    name: String,
    net: SharedNet,
    trace: SharedTrace,
    /// How long requests may take.
    pub timeout: Duration,
    connections: BTreeMap<String, SendRequest<Full<Bytes>>>,
}

/// Why there is no answer.
enum Trouble {
    /// The request never left.
    NotSent(String),
    /// It may have arrived.
    Lost(String),
}

struct Answer {
    status: StatusCode,
    store_revision: u64,
    body: Value,
}

impl Client {
    /// A client that its trace records call `name`.
    pub fn new(name: &str, net: SharedNet, trace: SharedTrace, timeout: Duration) -> Client {
        Client { name: name.to_owned(), net, trace, timeout, connections: BTreeMap::new() }
    }

    /// Writes `value` under `key` through the node whose REST address is `node`.
    pub async fn set(&mut self, node: &str, key: &str, value: &str) -> Written {
        let body = json!({ "key": key, "value": value }).to_string();
        let written = match self.request(node, "POST", "/api/set", body).await {
            Ok(answer) => answer.into_written(),
            Err(Trouble::NotSent(why)) => Written::NotApplied(why),
            Err(Trouble::Lost(why)) => Written::Unknown(why),
        };
        let counter = match &written {
            Written::Done { .. } => "acked",
            Written::NotApplied(_) => "not applied",
            Written::Unknown(_) => "unknown",
        };
        self.trace.count(counter, 1);
        self.trace.record(&self.name, "set", format_args!("{node} {key}: {written:?}"), value.as_bytes());
        written
    }

    /// Reads `key` through the node whose REST address is `node`. The error says why there is no value.
    pub async fn get(&mut self, node: &str, key: &str, freshness: Freshness) -> Result<Found, String> {
        let suffix = match freshness {
            Freshness::Linearizable => "",
            Freshness::Stale => "&consistency=stale",
        };
        let path = format!("/api/get?key={key}{suffix}");
        let found = match self.request(node, "GET", &path, String::new()).await {
            Ok(answer) => answer.into_found(),
            Err(Trouble::NotSent(why) | Trouble::Lost(why)) => Err(why),
        };
        let counter = match (&found, freshness) {
            (Err(_), _) => "reads refused",
            (Ok(_), Freshness::Linearizable) => "reads",
            (Ok(_), Freshness::Stale) => "stale reads",
        };
        self.trace.count(counter, 1);
        let bytes = found.as_ref().ok().and_then(|found| found.value.as_deref()).unwrap_or("").as_bytes();
        self.trace.record(&self.name, "get", format_args!("{node} {path}: {found:?}"), bytes);
        found
    }

    /// A node's `/api/stats`.
    pub async fn stats(&mut self, node: &str) -> Option<Value> {
        let answer = self.request(node, "GET", "/api/stats", String::new()).await.ok()?;
        (answer.status == StatusCode::OK).then_some(answer.body)
    }

    /// Whether the node says that it is ready to serve.
    pub async fn is_ready(&mut self, node: &str) -> bool {
        let answer = self.request(node, "GET", "/readyz", String::new()).await;
        answer.is_ok_and(|answer| answer.status == StatusCode::OK)
    }

    async fn request(
        &mut self,
        node: &str,
        method: &str,
        path: &str,
        body: String,
    ) -> Result<Answer, Trouble> {
        let limit = self.timeout + PATIENCE;
        let outcome = tokio::time::timeout(limit, self.exchange(node, method, path, body)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            self.trace.count("overdue", 1);
            Err(Trouble::Lost(format!("no answer within {limit:?}")))
        });
        if outcome.is_err() {
            self.connections.remove(node);
        }
        outcome
    }

    async fn exchange(
        &mut self,
        node: &str,
        method: &str,
        path: &str,
        body: String,
    ) -> Result<Answer, Trouble> {
        let timeout_ms = self.timeout.as_millis().to_string();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", node)
            .header("content-type", "application/json")
            .header("x-quorate-timeout-ms", timeout_ms)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Trouble::NotSent(error.to_string()))?;
        let sender = self.connection(node).await?;
        let lost = |error: hyper::Error| Trouble::Lost(error.to_string());
        let response = sender.try_send_request(request).await.map_err(|mut error| {
            // The request comes back if no byte of it was written.
            match error.take_message() {
                Some(_) => Trouble::NotSent(error.into_error().to_string()),
                None => Trouble::Lost(error.into_error().to_string()),
            }
        })?;
        let status = response.status();
        let header = response.headers().get("x-quorate-revision");
        let store_revision = header.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
        let body = response.into_body().collect().await.map_err(lost)?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answer { status, store_revision, body })
    }

    async fn connection(&mut self, node: &str) -> Result<&mut SendRequest<Full<Bytes>>, Trouble> {
        let usable = match self.connections.get_mut(node) {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let stream = self.net.connect(node).await.map_err(|error| Trouble::NotSent(error.to_string()))?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| Trouble::NotSent(error.to_string()))?;
            // Its errors reach the request that meets them.
            tokio::spawn(async move { drop(connection.await) });
            self.connections.insert(node.to_owned(), sender);
        }
        Ok(self.connections.get_mut(node).expect("it is usable or new"))
    }
}

impl Answer {
    fn into_written(self) -> Written {
        let revision = self.body["revision"].as_u64();
        if let (StatusCode::OK, Some(revision)) = (self.status, revision) {
            return Written::Done { revision };
        }
        let text = format!("{} {}", self.status.as_u16(), self.body);
        match self.body["outcome"].as_str() {
            Some("not_applied") => Written::NotApplied(text),
            _ => Written::Unknown(text),
        }
    }

    fn into_found(self) -> Result<Found, String> {
        let found = self.body["found"].as_bool();
        let (StatusCode::OK, Some(found)) = (self.status, found) else {
            return Err(format!("{} {}", self.status.as_u16(), self.body));
        };
        let value = self.body["value"].as_str().map(str::to_owned);
        let revision = self.body["revision"].as_u64().unwrap_or(0);
        if found != value.is_some() || found != (revision > 0) {
            return Err(format!("an answer that contradicts itself: {}", self.body));
        }
        Ok(Found { value, revision, store_revision: self.store_revision })
    }
}
