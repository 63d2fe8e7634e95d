//! The doors that can be loaded, each as its own clients use it, behind one trait.
//!
//! ```text
//! Target   what was connected once for a run        worker -> Worker   what one of its clients sends requests with
//!
//! library  quorate::client, one client for all      grpc, etcd   generated clients over shared connections (channels)
//!                                                   rest         HTTP/1.1 by hyper
//! ```
//!
//! Invariants:
//! - *A request is sent once.* What fails is a [`Fault`], and nothing here repeats it; `library` alone does, as it does for everybody.
//! - *A door that cannot be reached is known before anything is measured*: connecting waits until each connection stands. One
//!   that is lost later is made again by the next request that needs it.
//! - *Nobody is told of a longer time than the plan's*: servers get it with each request, and give up when the generator does.
//!
//! What it deliberately does not do: it measures nothing, and keeps nothing of the answers but how many pairs there were.

use std::borrow::Cow;

use super::draw::Op;
use super::plan::Plan;

mod channels;
pub(crate) mod etcd;
pub(crate) mod grpc;
pub(crate) mod library;
pub(crate) mod rest;

/// A door, connected.
pub(crate) trait Target {
    /// What its clients send requests with.
    type Worker: Worker;

    /// The nth client's.
    fn worker(&self, at: usize) -> Self::Worker;
}

/// One client's hold on a door. Dropped requests are given up: what comes after them must not get their answers.
pub(crate) trait Worker: Send + 'static {
    /// Sends a request and waits for its answer: how many pairs were read, 0 for a write.
    fn perform(&mut self, op: Op) -> impl Future<Output = Result<u64, Fault>> + Send;
}

/// Why a request was not answered as it should have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Faults of one kind are counted together: the server's own code if it gave one, else `timeout`, `connection`, ...
    pub(crate) kind: Cow<'static, str>,
    /// What was said.
    pub(crate) text: String,
}

impl Fault {
    /// A fault of this kind.
    pub(crate) fn new(kind: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Fault {
        Fault { kind: kind.into(), text: text.into() }
    }

    /// The connection could not be made, or was lost before the answer was there.
    fn connection(error: &(dyn std::error::Error + 'static)) -> Fault {
        Fault::new("connection", chain(error))
    }

    /// The answer is not one of this door.
    fn answer(text: impl Into<String>) -> Fault {
        Fault::new("answer", text)
    }
}

/// An error with its reasons: those of connections say little themselves.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(reason) = next {
        let reason_text = reason.to_string();
        // Many repeat what they wrap.
        if !text.contains(&reason_text) {
            text.push_str(": ");
            text.push_str(&reason_text);
        }
        next = reason.source();
    }
    text
}

/// `HOST:PORT` for each connection of a plan: its endpoints in turn.
fn addresses(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.endpoints.iter().map(|endpoint| host_and_port(endpoint)).cycle().take(plan.connections)
}

/// An endpoint may be written as for the client library, with `http://` before it.
fn host_and_port(endpoint: &str) -> &str {
    endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;

    #[test]
    fn connections_are_spread_over_the_endpoints() {
        let endpoints = ["a:1", "http://b:2/", "c:3"].map(str::to_owned).to_vec();
        let plan = Plan { endpoints, connections: 5, ..plan() };
        assert_eq!(addresses(&plan).collect::<Vec<_>>(), ["a:1", "b:2", "c:3", "a:1", "b:2"]);
    }

    #[test]
    fn an_error_is_told_with_its_reasons_and_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Layer(&'static str, #[source] Option<Box<Layer>>);
        let inner = Layer("refused", None);
        let middle = Layer("connect: refused", Some(Box::new(inner)));
        let outer = Layer("transport error", Some(Box::new(middle)));
        assert_eq!(chain(&outer), "transport error: connect: refused");
    }
}
