//! A client of the REST interface, over the simulated network.
//!
//! It keeps one connection per node, sends one request after another on it, and gives it up at the first trouble, or when
//! it hangs up by itself. A request has three outcomes: done, certainly not applied, unknown; whatever is not said clearly
//! is unknown. Every request and its outcome enter the trace. What a request is in HTTP is [`ask`](super::ask)'s.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use quorate::transport::net::SharedNet;
use serde_json::Value;

use crate::Violation;
use crate::cluster::ask::Ask;
use crate::cluster::order::{Order, Said};
use crate::history::{Answer, Operation, Outcome};
use crate::trace::SharedTrace;

pub use crate::history::Freshness;

/// How much longer than its deadline a client waits for the answer that says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// What became of a request, as a scenario asks for it: `Written::Done { .. }`.
pub type Written = Outcome;

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

struct Reply {
    status: StatusCode,
    store_revision: u64,
    body: Value,
}

impl Client {
    /// A client that its trace records call `name`.
    pub fn new(name: &str, net: SharedNet, trace: SharedTrace, timeout: Duration) -> Client {
        Client { name: name.to_owned(), net, trace, timeout, connections: BTreeMap::new() }
    }

    /// Sends a request to the node whose REST address is `node`, and says what became of it.
    ///
    /// # Errors
    /// What no right node answers.
    pub async fn call(&mut self, node: &str, ask: &Ask) -> Result<Outcome, Violation> {
        let deadline = ask.deadline.unwrap_or(self.timeout);
        let hang_up = ask.hang_up.unwrap_or(deadline + PATIENCE);
        let key = ask.key.as_deref();
        let answer =
            self.request(node, ask.method(), &ask.path(), ask.body(), key, (deadline, hang_up)).await;
        if answer.is_err() && ask.hang_up.is_some() {
            self.trace.count("hung up", 1);
        }
        let outcome = match answer {
            Ok(answer) => ask.outcome(answer.status, answer.store_revision, &answer.body),
            Err(Trouble::NotSent(why)) => Ok(Outcome::NotApplied(why)),
            Err(Trouble::Lost(why)) => Ok(Outcome::Unknown(why)),
        };
        self.note(node, ask, &outcome);
        outcome
    }

    /// Enters what became of a request into the trace.
    pub(super) fn note(&self, node: &str, ask: &Ask, outcome: &Result<Outcome, Violation>) {
        let what = &ask.operation;
        match outcome {
            Ok(outcome) => {
                counters(what, outcome).iter().for_each(|counter| self.trace.count(counter, 1));
                let text = match outcome {
                    Outcome::Done(answer) => answer.to_string(),
                    Outcome::NotApplied(why) => format!("not applied: {why}"),
                    Outcome::Unknown(why) => format!("unknown: {why}"),
                };
                self.trace.record(&self.name, what.name(), format_args!("{node} {what}: {text}"), &ask.value);
            }
            Err(why) => self.trace.record(&self.name, what.name(), format_args!("{node} {what}: {why}"), &[]),
        }
    }

    /// Gives an order to the group, through the node whose REST address is `node`, and says what became of it.
    ///
    /// # Errors
    /// What no right node answers.
    pub async fn order(&mut self, node: &str, order: Order) -> Result<Said, Violation> {
        let (deadline, body) = (self.timeout, order.body());
        let answer = self
            .request(node, order.method(), &order.path(), body, None, (deadline, deadline + PATIENCE))
            .await;
        let said = match answer {
            Ok(answer) => order.said(answer.status, &answer.body),
            Err(Trouble::NotSent(why)) => Ok(Said::Refused(why)),
            Err(Trouble::Lost(why)) => Ok(Said::Unknown(why)),
        };
        if let (Ok(Said::Done(_)), Some(counter)) = (&said, order.counter()) {
            self.trace.count(counter, 1);
        }
        self.trace.record(&self.name, "order", format_args!("{node} {order:?}: {said:?}"), &[]);
        said
    }

    /// A node's `/api/stats`.
    pub async fn stats(&mut self, node: &str) -> Option<Value> {
        let answer = self.ask(node, "/api/stats").await.ok()?;
        (answer.status == StatusCode::OK).then_some(answer.body)
    }

    /// Whether the node says that it is ready to serve.
    pub async fn is_ready(&mut self, node: &str) -> bool {
        let answer = self.ask(node, "/readyz").await;
        answer.is_ok_and(|answer| answer.status == StatusCode::OK)
    }

    async fn ask(&mut self, node: &str, path: &str) -> Result<Reply, Trouble> {
        let times = (self.timeout, self.timeout + PATIENCE);
        self.request(node, "GET", path, String::new(), None, times).await
    }

    async fn request(
        &mut self,
        node: &str,
        method: &str,
        path: &str,
        body: String,
        key: Option<&str>,
        (deadline, limit): (Duration, Duration),
    ) -> Result<Reply, Trouble> {
        let exchange = self.exchange(node, method, path, body, key, deadline);
        let outcome = tokio::time::timeout(limit, exchange).await;
        let outcome = outcome.unwrap_or_else(|_| {
            if limit > deadline {
                self.trace.count("overdue", 1);
            }
            Err(Trouble::Lost(format!("no answer within {limit:?}")))
        });
        if outcome.is_err() {
            // It may still bring the answer to this request: it is of no use to another.
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
        key: Option<&str>,
        deadline: Duration,
    ) -> Result<Reply, Trouble> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", node)
            .header("x-quorate-timeout-ms", deadline.as_millis().to_string());
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| Trouble::NotSent(error.to_string()))?;
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
        Ok(Reply { status, store_revision, body })
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

/// What an outcome counts as.
fn counters(operation: &Operation, outcome: &Outcome) -> Vec<&'static str> {
    let (is_conditional, freshness) = match operation {
        Operation::Set(set) => (set.condition.is_some(), Freshness::Linearizable),
        Operation::Delete(delete) => (delete.condition.is_some(), Freshness::Linearizable),
        Operation::Get(get) => (false, get.freshness),
        Operation::List(list) => (false, list.freshness),
        Operation::Txn(_) => (true, Freshness::Linearizable),
    };
    match (operation, outcome) {
        (_, Outcome::Done(Answer::ConditionFailed { .. })) => vec!["cas refused"],
        (_, Outcome::Done(Answer::Otherwise { .. })) => vec!["txns refused"],
        (Operation::Txn(_), Outcome::Done(_)) => vec!["acked", "txns"],
        (Operation::Set(_), Outcome::Done(_)) if is_conditional => vec!["acked", "cas"],
        (Operation::Set(_), Outcome::Done(_)) => vec!["acked"],
        (Operation::Delete(_), Outcome::Done(_)) if is_conditional => vec!["acked", "deletes", "cas"],
        (Operation::Delete(_), Outcome::Done(_)) => vec!["acked", "deletes"],
        (Operation::Set(_) | Operation::Delete(_) | Operation::Txn(_), Outcome::NotApplied(_)) => {
            vec!["not applied"]
        }
        (Operation::Set(_) | Operation::Delete(_) | Operation::Txn(_), Outcome::Unknown(_)) => {
            vec!["unknown"]
        }
        (Operation::Get(_), Outcome::Done(_)) => match freshness {
            Freshness::Linearizable => vec!["reads"],
            Freshness::Leased => vec!["reads", "lease reads"],
            Freshness::Stale => vec!["stale reads"],
            Freshness::StaleFrom(_) => vec!["stale reads", "stale reads of own writes"],
        },
        (Operation::List(_), Outcome::Done(_)) if freshness.is_stale() => vec!["stale lists"],
        (Operation::List(_), Outcome::Done(_)) => vec!["lists"],
        (Operation::Get(_) | Operation::List(_), _) => vec!["reads refused"],
    }
}
