//! The front door over a stand-in for a node: it writes down what it is asked, and answers as it is told.
//!
//! What the answers mean is the store's; that the real one and etcd agree is tested with real processes
//! (`tests/cluster/etcd.rs`).

mod errors;
mod frames;
mod node;
mod range;
mod txn;
mod write;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use prost::Message;
use tokio::sync::watch;
use tonic::{Code, Status};
use tower::ServiceExt;

use crate::api::shares::Shares;
use crate::clock::{Clock, SharedClock, Sleep};
use crate::command::{Answer, Command, Found, Query, Record, Reply, SessionSeq};
use crate::config::Limits;
use crate::error::Error;
use crate::shard::fake::Fake;
use crate::shard::{self, Freshness, MemberChange, Members, Router};
use crate::types::{Index, Monotonic, NodeId, Revision};

use super::call::Unary;
use super::{Front, routes};

/// A clock that stands still until it is moved.
struct HandClock(watch::Sender<Monotonic>);

impl Clock for HandClock {
    fn now(&self) -> Monotonic {
        *self.0.borrow()
    }

    fn wall_ms(&self) -> u64 {
        0
    }

    fn sleep_until(&self, deadline: Monotonic) -> Sleep {
        let mut now = self.0.subscribe();
        Box::pin(async move {
            if now.wait_for(|now| *now >= deadline).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    fn random(&self) -> u64 {
        4
    }
}

/// What the stand-in was asked.
#[derive(Clone, Debug, PartialEq)]
enum Asked {
    Write(Command, Monotonic),
    Read(Query, Freshness, Monotonic),
    Confirm,
}

/// What it says.
#[derive(Clone, Debug)]
enum Said {
    Reply(Reply),
    Found(Found),
    Error(Error),
}

struct State {
    asked: Vec<Asked>,
    said: VecDeque<Said>,
    status: shard::Status,
    members: Members,
}

/// The stand-in.
struct Node(Mutex<State>);

impl Node {
    fn ask(&self, asked: Asked) -> Said {
        let mut state = self.0.lock().unwrap();
        state.asked.push(asked);
        state.said.pop_front().expect("nothing was asked that the test does not expect")
    }
}

impl Fake for Node {
    fn write(
        &self,
        session: Option<SessionSeq>,
        command: Command,
        deadline: Monotonic,
    ) -> Result<Reply, Error> {
        assert_eq!(session, None, "etcd has no sessions");
        match self.ask(Asked::Write(command, deadline)) {
            Said::Reply(reply) => Ok(reply),
            Said::Error(error) => Err(error),
            Said::Found(found) => panic!("a write cannot find {found:?}"),
        }
    }

    fn read(&self, query: Query, freshness: Freshness, deadline: Monotonic) -> Result<Answer, Error> {
        match self.ask(Asked::Read(query, freshness, deadline)) {
            Said::Found(found) => Ok(Answer { revision: self.revision(), applied: Index(9), found }),
            Said::Error(error) => Err(error),
            Said::Reply(reply) => panic!("a read has no {reply:?}"),
        }
    }

    fn members_here(&self) -> Members {
        self.0.lock().unwrap().members.clone()
    }

    fn change(&self, change: MemberChange, _: bool, _: Monotonic) -> Result<Members, Error> {
        panic!("etcd's API changes no members: {change:?}")
    }

    fn transfer(&self, to: NodeId, _: Monotonic) -> Result<Members, Error> {
        panic!("etcd's API hands nothing over: {to}")
    }

    fn confirm(&self, _: Monotonic) -> Result<(), Error> {
        let mut state = self.0.lock().unwrap();
        state.asked.push(Asked::Confirm);
        match state.said.pop_front() {
            Some(Said::Error(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn revision(&self) -> Revision {
        self.0.lock().unwrap().status.revision
    }

    fn status(&self) -> shard::Status {
        self.0.lock().unwrap().status.clone()
    }
}

/// The instant at which every test begins.
const NOW: Monotonic = Monotonic(1_000_000_000);

/// The front door, and all that a test may turn.
struct Desk {
    app: axum::Router,
    node: Arc<Node>,
    clock: Arc<HandClock>,
    router: watch::Sender<Option<Router>>,
}

impl Desk {
    /// Behind the door stands an open node at revision 7.
    fn open() -> Desk {
        Desk::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Desk {
        let desk = Desk::closed(limits);
        desk.router.send_replace(Some(Router::fake(desk.node.clone())));
        desk
    }

    fn closed(limits: Limits) -> Desk {
        let clock = Arc::new(HandClock(watch::Sender::new(NOW)));
        let router = watch::Sender::new(None);
        let front = Front {
            router: router.subscribe(),
            clock: clock.clone() as SharedClock,
            shares: Shares::new(&limits),
            limits,
        };
        let (status, members) = (node::status(), node::members());
        let state = State { asked: Vec::new(), said: VecDeque::new(), status, members };
        Desk { app: routes(Arc::new(front)), node: Arc::new(Node(Mutex::new(state))), clock, router }
    }

    /// What the node will say next.
    fn says(&self, said: Said) -> &Desk {
        self.node.0.lock().unwrap().said.push_back(said);
        self
    }

    fn finds(&self, found: Found) -> &Desk {
        self.says(Said::Found(found))
    }

    fn replies(&self, reply: Reply) -> &Desk {
        self.says(Said::Reply(reply))
    }

    fn fails(&self, error: Error) -> &Desk {
        self.says(Said::Error(error))
    }

    /// What the node was asked since the last time.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.node.0.lock().unwrap().asked)
    }

    /// The one query that it was asked.
    fn query(&self) -> Query {
        match <[Asked; 1]>::try_from(self.asked()) {
            Ok([Asked::Read(query, ..)]) => query,
            other => panic!("one read was expected, not {other:?}"),
        }
    }

    /// The one command that it was asked.
    fn command(&self) -> Command {
        match <[Asked; 1]>::try_from(self.asked()) {
            Ok([Asked::Write(command, _)]) => command,
            other => panic!("one write was expected, not {other:?}"),
        }
    }

    fn set_status(&self, change: impl FnOnce(&mut shard::Status)) {
        change(&mut self.node.0.lock().unwrap().status);
    }

    /// Calls a method.
    async fn call<M: Unary>(&self, request: M::Request) -> Result<M::Answer, Status>
    where
        M::Answer: Default,
    {
        let request = post(M::PATH, frame(&request.encode_to_vec()));
        let Sent { status, message } = self.send(request).await;
        if status.code() != Code::Ok {
            assert!(message.is_empty(), "an error has no message");
            return Err(status);
        }
        assert_eq!(
            (message[0], u32::from_be_bytes(message[1..5].try_into().unwrap())),
            (0, message.len() as u32 - 5)
        );
        Ok(M::Answer::decode(&message[5..]).unwrap())
    }

    /// Sends what may be no call at all.
    async fn send(&self, request: Request<Body>) -> Sent {
        let response = self.app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let (parts, body) = response.into_parts();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let message = collected.to_bytes();
        let headers = if trailers.is_empty() { &parts.headers } else { &trailers };
        let status = status_of(headers);
        if status.code() != Code::Ok {
            let said = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
            let outcome = said("quorate-outcome");
            assert!(matches!(outcome, Some("not_applied" | "unknown")), "what became of it? {status:?}");
            assert!(said("quorate-code").is_some(), "{status:?}");
        }
        Sent { status, message }
    }
}

/// What came back.
struct Sent {
    status: Status,
    message: Bytes,
}

fn status_of(headers: &HeaderMap) -> Status {
    Status::from_header_map(headers).expect("every answer has a status")
}

/// A message in its frame.
fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.put_slice(message);
    framed.freeze()
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    request.body(body.into()).unwrap()
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn record(create: u64, changed: u64, version: u64, value: &'static str) -> Record {
    let (create_revision, mod_revision) = (Revision(create), Revision(changed));
    Record { create_revision, mod_revision, version, lease: 0, value: bytes(value) }
}

#[track_caller]
fn assert_status<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.expect_err("it is refused");
    assert_eq!((status.code(), status.message()), (code, text));
}
