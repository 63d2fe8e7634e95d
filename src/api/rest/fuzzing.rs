//! What must hold of the REST door for any bytes on its connection.

use std::sync::Arc;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::watch;

use crate::api::shares::Shares;
use crate::clock::{Clock, Sleep};
use crate::command::{Answer, Command, Condition, Found, Keyed, Keys, Op, Query, Record, Reply, SessionSeq};
use crate::config::Limits;
use crate::error::Error;
use crate::shard::fake::Fake;
use crate::shard::{Freshness, Member, MemberChange, MemberStatus, Members, Router, Status};
use crate::types::{ClusterId, GroupId, Incarnation, Index, Monotonic, NodeId, Revision, Term};

use super::{Front, routes};

/// A clock that stands still: what waits would wait for ever.
struct Still;

impl Clock for Still {
    fn now(&self) -> Monotonic {
        Monotonic(1_000_000_000)
    }

    fn wall_ms(&self) -> u64 {
        0
    }

    fn sleep_until(&self, _: Monotonic) -> Sleep {
        Box::pin(std::future::pending())
    }

    fn random(&self) -> u64 {
        4
    }
}

/// A node that holds one record under every key, and asserts that what reaches it is what the door promises.
struct Node(Limits);

impl Node {
    fn check_key(&self, key: &Bytes) {
        assert!(
            !key.is_empty() && key.len() <= self.0.key_bytes_max,
            "a key of {} bytes came through",
            key.len()
        );
    }

    fn record() -> Record {
        let value = Bytes::from_static(b"\xff a value that is no text");
        Record { create_revision: Revision(2), mod_revision: Revision(3), version: 2, lease: 0, value }
    }
}

impl Fake for Node {
    fn write(&self, _: Option<SessionSeq>, command: Command, _: Monotonic) -> Result<Reply, Error> {
        let (Command::Write(write) | Command::Keyed(Keyed { write, .. })) = command else {
            panic!("REST has no such command: {command:?}")
        };
        for Condition::ModRevision { key, revision } in &write.conditions {
            self.check_key(key);
            if *revision > Revision(3) {
                return Ok(Reply::ConditionFailed { revision: Revision(3) });
            }
        }
        assert_eq!(write.ops.len(), 1, "REST writes one key at a time");
        match &write.ops[0] {
            Op::Put { key, value } => {
                self.check_key(key);
                assert!(
                    value.len() <= self.0.value_bytes_max,
                    "a value of {} bytes came through",
                    value.len()
                );
                Ok(Reply::Written { revision: Revision(4), deleted: 0 })
            }
            Op::Delete { key } => {
                self.check_key(key);
                Ok(Reply::Written { revision: Revision(4), deleted: 1 })
            }
        }
    }

    fn read(&self, query: Query, _: Freshness, _: Monotonic) -> Result<Answer, Error> {
        let found = match query {
            Query::Get { key, .. } => {
                self.check_key(&key);
                Found::Record(Some(Node::record()))
            }
            Query::List { keys, after, limit, .. } => {
                assert!(limit > 0, "a page of nothing");
                let (Keys::One(first) | Keys::From(first) | Keys::Between(first, _)) = keys;
                let key = after.unwrap_or(first);
                Found::Page { pairs: vec![(key, Node::record()); limit.min(2)], more: limit > 2 }
            }
            other => panic!("REST has no such query: {other:?}"),
        };
        Ok(Answer { revision: Revision(3), applied: Index(9), found })
    }

    fn members_here(&self) -> Members {
        let member = |status| Member { status, is_leader: true, match_index: Some(Index(9)) };
        let members = self.status().members.into_iter().map(member).collect();
        Members { members, config_index: Index(7), is_joint: false, lease_ms: 0, version: 1 }
    }

    fn change(&self, change: MemberChange, force: bool, _: Monotonic) -> Result<Members, Error> {
        let (id, addresses) = match &change {
            MemberChange::Add { id, peer, .. } => (id.as_ref(), vec![peer]),
            MemberChange::Update { id, peer, http, grpc } => {
                let addresses: Vec<&String> = [peer, http, grpc].into_iter().flatten().collect();
                assert!(!addresses.is_empty(), "an update of nothing came through");
                (Some(id), addresses)
            }
            MemberChange::Remove(id) | MemberChange::Promote(id) => (Some(id), Vec::new()),
            MemberChange::Lease(lease_ms) => {
                assert!(*lease_ms <= 60_000, "a lease of {lease_ms} ms came through");
                (None, Vec::new())
            }
        };
        assert!(id.is_none_or(|id| id.0 > 0), "node 0 came through");
        let may_force = matches!(change, MemberChange::Remove(_) | MemberChange::Promote(_));
        assert!(may_force || !force, "{change:?} came through forced");
        for address in addresses {
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            let is_address = address.len() <= 259
                && address.bytes().all(|byte| byte.is_ascii_graphic())
                && port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
            assert!(is_address, "{address:?} came through");
        }
        Ok(self.members_here())
    }

    fn transfer(&self, to: NodeId, _: Monotonic) -> Result<Members, Error> {
        assert!(to.0 > 0, "node 0 came through");
        Ok(self.members_here())
    }

    fn confirm(&self, _: Monotonic) -> Result<(), Error> {
        Ok(())
    }

    fn revision(&self) -> Revision {
        Revision(3)
    }

    fn status(&self) -> Status {
        let member = MemberStatus {
            id: NodeId(1),
            incarnation: Some(Incarnation(1)),
            role: "voter",
            peer: "n1:7001".to_owned(),
            http: "http://n1:8081".to_owned(),
            grpc: "n1:9001".to_owned(),
            labels: std::collections::BTreeMap::new(),
            version: "0.1.0".to_owned(),
        };
        Status {
            id: NodeId(1),
            group: GroupId::FIRST,
            state: "leader",
            leader: Some(NodeId(1)),
            leader_http: "http://n1:8081".to_owned(),
            term: Term(3),
            commit_index: Index(9),
            applied_index: Index(9),
            last_index: Index(9),
            persisted_index: Index(9),
            folded_index: Index(5),
            purged_index: Index(2),
            revision: Revision(3),
            members: vec![member],
            cluster_id: ClusterId(1),
            counters: std::collections::BTreeMap::new(),
            storage: "ample",
            poisoned: false,
        }
    }
}

/// The real routes before the node above.
struct Door {
    app: axum::Router,
    runtime: tokio::runtime::Runtime,
    // Dropped, they would say that the node has stopped.
    _router: watch::Sender<Option<Router>>,
    _alive: watch::Sender<bool>,
}

thread_local! {
    /// One for all inputs: building the API description takes longer than to answer.
    static DOOR: Door = Door::open();
}

impl Door {
    fn open() -> Door {
        // Narrow ones, which short inputs exceed.
        let limits =
            Limits { key_bytes_max: 24, value_bytes_max: 40, list_pairs_max: 5, ..Limits::default() };
        let router = watch::Sender::new(Some(Router::fake(Arc::new(Node(limits.clone())))));
        let alive = watch::Sender::new(true);
        let front = Front {
            router: router.subscribe(),
            clock: Arc::new(Still),
            shares: Shares::new(&limits),
            limits,
            alive: alive.subscribe(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Door { app: routes(front), runtime, _router: router, _alive: alive }
    }

    /// Serves one connection that sends `input` and closes; all that was answered. A panic in a handler comes through,
    /// since it all runs in this task.
    fn exchange(&self, input: &[u8]) -> Vec<u8> {
        // Wide: where a bad request follows on one whose answer waits for room, hyper 1.12 trips over a debug assertion
        // of its own (`can_write_head`), and in a release build answers out of order on that connection.
        let (client, server) = duplex(1 << 20);
        let service = TowerToHyperService::new(self.app.clone());
        let serve = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(server), service);
        let talk = async {
            let (mut reader, mut writer) = tokio::io::split(client);
            let send = async {
                // The server may close at the first thing it dislikes: then the rest cannot be sent.
                let _ = writer.write_all(input).await;
                let _ = writer.shutdown().await;
            };
            let mut answer = Vec::new();
            let _ = tokio::join!(send, reader.read_to_end(&mut answer));
            answer
        };
        self.runtime.block_on(async { tokio::join!(serve, talk) }).1
    }
}

/// Sends an input to the door: every answer is a success or says what the client did wrong, in the form of a problem
/// document, unless it is hyper's, who does not let everything through. Accepted is what was done.
pub(crate) fn check(input: &[u8]) -> bool {
    let answers = DOOR.with(|door| door.exchange(input));
    let mut rest = &answers[..];
    let mut done = false;
    while let Some(answer) = Response::first(rest) {
        let shown = || String::from_utf8_lossy(rest).into_owned();
        assert!((100..500).contains(&answer.status), "{}", shown());
        if !answer.is_hypers {
            check_form(&answer, &shown);
        }
        done |= answer.status == 200;
        rest = &rest[answer.len..];
    }
    done
}

fn check_form(answer: &Response<'_>, shown: &dyn Fn() -> String) {
    assert!(answer.header("cache-control") == Some("no-store"), "{}", shown());
    let revision = answer.header("x-quorate-revision").and_then(|revision| revision.parse().ok());
    assert!(matches!(revision, Some(3_u64 | 4)), "{}", shown());
    let is_problem = answer.header("content-type") == Some("application/problem+json");
    assert_eq!(is_problem, answer.status >= 400, "{}", shown());
    let is_json = is_problem || answer.header("content-type") == Some("application/json");
    // The answer to a HEAD has no body.
    if answer.body.is_empty() || !is_json {
        return;
    }
    let body: Value =
        serde_json::from_slice(answer.body).unwrap_or_else(|error| panic!("{error}: {}", shown()));
    if is_problem {
        assert_eq!(body["status"], answer.status, "{}", shown());
        let code = body["code"].as_str().unwrap_or_else(|| panic!("no code: {}", shown()));
        assert_eq!(body["type"], format!("urn:quorate:problem:{code}"));
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{}", shown());
    }
}

/// An answer on the connection.
struct Response<'a> {
    status: u16,
    head: &'a str,
    body: &'a [u8],
    len: usize,
    /// It did not come from the routes.
    is_hypers: bool,
}

impl Response<'_> {
    /// The first of the answers.
    fn first(bytes: &[u8]) -> Option<Response<'_>> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..end]).expect("a head is ASCII");
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        let mut answer = Response { status, head, body: &[], len: end, is_hypers: false };
        answer.is_hypers = status == 100 || answer.header("cache-control").is_none();
        let announced = answer.header("content-length").map_or(0, |len| len.parse().expect("a length"));
        // What is announced is missing only after a HEAD.
        let body = &bytes[end..];
        if body.len() >= announced && !body.starts_with(b"HTTP/1.") {
            (answer.body, answer.len) = (&body[..announced], end + announced);
        }
        Some(answer)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Makes the length that the first request announces for its body right.
pub(crate) fn mend(input: &mut Vec<u8>) {
    let name = b"content-length: ";
    let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else { return };
    let Some(at) = input[..end].windows(name.len()).position(|window| window == name) else { return };
    let start = at + name.len();
    let stop = start + input[start..].iter().position(|byte| *byte == b'\r').unwrap_or(0);
    let announced = (input.len() - end - 4).to_string();
    input.splice(start..stop, announced.into_bytes());
}

/// A request to each route.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let send = |line: &str, body: &str| {
        let mut request = format!(
            "{line} HTTP/1.1\r\nhost: n1\r\ncontent-type: application/json\r\nx-request-id: r1\r\n\
             x-quorate-timeout-ms: 500\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        request.push_str(body);
        request.into_bytes()
    };
    let set = |body| send("POST /api/set", body);
    let plain = |line: &str| format!("{line} HTTP/1.1\r\nhost: n1\r\n\r\n").into_bytes();
    let several = [
        "GET /livez",
        "GET /readyz?verbose=true",
        "GET /health",
        "GET /api/stats",
        "GET /api/members?consistency=stale",
        "GET /api/settings",
        "GET /metrics",
    ];
    vec![
        ("set", set(r#"{"key":"k","value":"v \u00fc","if_revision":3}"#)),
        ("set-base64", set(r#"{"key":"a2V5","value":"dmFsdWU=","encoding":"base64"}"#)),
        ("get", plain("GET /api/get?key=gr%C3%BCn&consistency=stale&max_staleness_ms=50&min_revision=3")),
        ("get-base64", plain("GET /api/get?key=a2V5&encoding=base64")),
        ("list", plain("GET /api/list?prefix=a%2F&after=a%2Fb&limit=2")),
        ("delete", plain("DELETE /api/delete?key=k&if_revision=3")),
        ("member-add", send("POST /api/members", r#"{"id":4,"peer":"n4:7001","role":"learner"}"#)),
        ("member-update", send("PUT /api/members/2", r#"{"peer":"[::1]:7001","http":"n2:1","grpc":"n2:2"}"#)),
        ("member-remove", plain("DELETE /api/members/2?force=true")),
        ("member-promote", send("POST /api/members/3/promote?force", "")),
        ("leader", send("POST /api/leader", r#"{"id":2}"#)),
        ("settings", send("PUT /api/settings", r#"{"lease_ms":400}"#)),
        ("several", several.iter().flat_map(|line| plain(line)).collect()),
    ]
}
