use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use super::{Desk, at_once, bytes, get, on, one, prefix, put, refused};
use crate::api::shares::Connection;
use crate::command::{Command, Op, Reply, Selection, TxnAnswer, TxnAnswers};
use crate::config::Limits;
use crate::error::{Error, ErrorKind};
use crate::proto::v1;
use crate::proto::v1::operation::Request as Asked;
use crate::proto::v1::operation_result::Result as Done;
use crate::types::Revision;

/// A stream, and what was sent and came on it.
pub(super) struct Pipe {
    pub(super) sender: mpsc::Sender<v1::PipelineRequest>,
    pub(super) results: Streaming<v1::PipelineResponse>,
}

impl Pipe {
    pub(super) async fn open(desk: &Desk) -> Pipe {
        Pipe::open_on(desk, &desk.shares.connection()).await
    }

    pub(super) async fn open_on(desk: &Desk, connection: &Connection) -> Pipe {
        let (sender, receiver) = mpsc::channel(1);
        let request = on(connection, ReceiverStream::new(receiver));
        let results = desk.kv().pipeline(request).await.unwrap().into_inner();
        Pipe { sender, results }
    }

    pub(super) async fn send(&self, operations: Vec<v1::Operation>) {
        self.sender.send(v1::PipelineRequest { operations }).await.unwrap();
    }

    /// The next message's results, by id.
    pub(super) async fn next(&mut self) -> BTreeMap<u64, Done> {
        let message = self.results.message().await.unwrap().expect("a message");
        message.results.into_iter().map(|result| (result.id, result.result.unwrap())).collect()
    }

    /// So many results.
    pub(super) async fn take(&mut self, count: usize) -> BTreeMap<u64, Done> {
        let mut all = BTreeMap::new();
        while all.len() < count {
            for (id, done) in self.next().await {
                assert!(all.insert(id, done).is_none(), "{id} is answered twice");
            }
        }
        assert_eq!(all.len(), count);
        all
    }
}

pub(super) fn operation(id: u64, request: Asked) -> v1::Operation {
    v1::Operation { id, timeout_ms: 0, request: Some(request) }
}

/// A write under a key of its own.
pub(super) fn write(id: u64) -> v1::Operation {
    let key = bytes::Bytes::from(format!("k{id:06}"));
    operation(id, Asked::Put(v1::PutRequest { key, value: bytes("v"), ..v1::PutRequest::default() }))
}

fn code(done: &Done) -> Option<&str> {
    match done {
        Done::Error(error) => Some(&error.code),
        _ => None,
    }
}

/// Lets other tasks go on until nothing changes any more.
pub(super) async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_operation_is_answered_under_its_id() {
    let desk = Desk::open();
    let mut pipe = Pipe::open(&desk).await;
    let client = bytes::Bytes::from_static(&[7; 16]);
    pipe.send(vec![operation(9, Asked::Put(put("k", "v")))]).await;
    assert!(matches!(pipe.next().await[&9], Done::Put(_)));
    let list = v1::ListRequest { keys: prefix("k"), page: 1, ..v1::ListRequest::default() };
    let failing = v1::PutRequest { if_revision: Some(0), ..put("k", "w") };
    let txn = v1::TxnRequest { success: vec![v1::TxnOp { op: None }], ..v1::TxnRequest::default() };
    let delete = v1::DeleteRequest { keys: one("other"), ..v1::DeleteRequest::default() };
    pipe.send(vec![
        operation(1, Asked::Get(get("k"))),
        operation(2, Asked::Get(get("none"))),
        operation(3, Asked::Put(failing)),
        operation(4, Asked::List(list)),
        operation(5, Asked::Txn(txn)),
        operation(6, Asked::Delete(delete)),
        operation(7, Asked::OpenSession(v1::OpenSessionRequest { client: client.clone() })),
        operation(8, Asked::CloseSession(v1::CloseSessionRequest { client })),
        operation(u64::MAX, Asked::OpenSession(v1::OpenSessionRequest { client: bytes("short") })),
        v1::Operation { id: 0, timeout_ms: 0, request: None },
    ])
    .await;
    let results = pipe.next().await;
    assert_eq!(results.len(), 10, "what is done at the same time leaves together: {results:?}");
    let Done::Get(found) = &results[&1] else { panic!("{results:?}") };
    assert_eq!(found.kv.as_ref().unwrap().value, bytes("v"));
    assert!(matches!(&results[&2], Done::Get(v1::GetResponse { kv: None, .. })));
    let Done::Error(error) = &results[&3] else { panic!("{results:?}") };
    let expected = v1::OperationError {
        status: Code::FailedPrecondition.into(),
        code: "condition_failed".to_owned(),
        message: error.message.clone(),
        retryable: false,
        outcome: v1::operation_error::Outcome::NotApplied.into(),
        retry_after_ms: 0,
        leader_id: 0,
        leader_grpc: String::new(),
        r#final: false,
    };
    assert_eq!(*error, expected);
    let Done::List(page) = &results[&4] else { panic!("{results:?}") };
    assert_eq!((page.pairs.len(), page.more), (1, false));
    assert_eq!(code(&results[&5]), Some("invalid"));
    assert!(matches!(results[&6], Done::Delete(_)));
    assert!(matches!(results[&7], Done::OpenSession(_)));
    assert!(matches!(results[&8], Done::CloseSession(_)));
    assert_eq!((code(&results[&u64::MAX]), code(&results[&0])), (Some("invalid"), Some("invalid")));
    drop(pipe.sender);
    assert!(pipe.results.message().await.unwrap().is_none(), "the client has said all");
}

#[tokio::test]
async fn an_error_says_all_that_a_status_would() {
    let desk = Desk::open();
    desk.store.state().leader = Some(2);
    let mut pipe = Pipe::open(&desk).await;
    desk.store.fail(Error::unknown(ErrorKind::Unavailable, "no quorum"));
    desk.store.fail(Error::new(ErrorKind::Overloaded, "too much"));
    pipe.send(vec![write(1), write(2)]).await;
    let results = pipe.take(2).await;
    let (Done::Error(first), Done::Error(second)) = (&results[&1], &results[&2]) else {
        panic!("{results:?}")
    };
    assert_eq!(first.outcome(), v1::operation_error::Outcome::Unknown);
    assert_eq!((first.status, first.retryable, first.retry_after_ms), (Code::Unavailable.into(), true, 0));
    assert_eq!((first.leader_id, &*first.leader_grpc), (2, "n2:9001"));
    assert_eq!((second.status, second.retry_after_ms), (Code::ResourceExhausted.into(), 100));
}

#[tokio::test]
async fn a_thousand_operations_are_answered_once_each() {
    let desk = Desk::open();
    let mut pipe = Pipe::open(&desk).await;
    let sender = pipe.sender.clone();
    let sending = async move {
        for first in (0..5_000).step_by(100) {
            let operations = (first..first + 100).map(write).collect();
            sender.send(v1::PipelineRequest { operations }).await.unwrap();
        }
    };
    let ((), results) = tokio::join!(sending, pipe.take(5_000));
    assert!(results.into_iter().zip(0..).all(|((id, done), n)| id == n && matches!(done, Done::Put(_))));
}

/// What is submitted, in the order in which it was.
fn submitted(desk: &Desk) -> Vec<bytes::Bytes> {
    let state = desk.store.state();
    let key = |command: &Command| match command {
        Command::Write(write) => match &write.ops[0] {
            Op::Put { key, .. } => key.clone(),
            Op::Delete { key } => key.clone(),
        },
        other => panic!("{other:?}"),
    };
    state.submitted.iter().map(key).collect()
}

#[tokio::test]
async fn writes_are_submitted_in_their_order() {
    let desk = Desk::closed(Limits::default());
    desk.store.busy.send_replace(true);
    let mut pipe = Pipe::open(&desk).await;
    // Also if they came before the node was open.
    pipe.send((0..400).map(write).collect()).await;
    settle().await;
    desk.open_node();
    pipe.send((400..900).map(write).collect()).await;
    settle().await;
    let expected: Vec<bytes::Bytes> = (0..900).map(|n| bytes::Bytes::from(format!("k{n:06}"))).collect();
    assert_eq!(submitted(&desk), expected);
    assert!(desk.store.state().written.is_empty(), "side by side: none waits for another");
    desk.store.busy.send_replace(false);
    assert_eq!(pipe.take(900).await.len(), 900);
}

#[tokio::test]
async fn a_node_that_does_not_open_ends_the_stream() {
    let desk = Desk::closed(Limits::default());
    let mut pipe = Pipe::open(&desk).await;
    settle().await;
    desk.clock.advance(Duration::from_secs(5));
    let ended = pipe.results.message().await;
    refused(ended, Code::DeadlineExceeded, "unavailable");
}

#[tokio::test]
async fn each_operation_has_a_deadline_of_its_own() {
    let desk = Desk::open();
    let mut pipe = Pipe::open(&desk).await;
    for (timeout_ms, millis) in [(300, 300), (0, 5_000), (u32::MAX, 300_000)] {
        pipe.send(vec![v1::Operation { timeout_ms, ..write(1) }]).await;
        pipe.take(1).await;
        assert_eq!(desk.store.state().deadline, Some(desk.after_millis(millis)));
    }
}

/// One that sends and never reads: what it has under way is bounded, and so is what waits for it.
#[tokio::test]
async fn who_does_not_read_is_not_read_either() {
    let limits = Limits { pipeline_operations_inflight_max: 10, ..Limits::default() };
    let desk = Desk::with_limits(limits);
    let mut pipe = Pipe::open(&desk).await;
    let mut sent = 0;
    // Two messages wait in the channel and in the frames between; none of them is large.
    loop {
        settle().await;
        match pipe.sender.try_send(v1::PipelineRequest { operations: vec![write(sent)] }) {
            Ok(()) => sent += 1,
            Err(_) => break,
        }
        assert!(sent < 1_000, "it takes whatever comes");
    }
    let taken = desk.store.state().written.len();
    assert!(taken < 50 && (taken as u64) < sent, "{taken} of {sent}");
    let results = pipe.take(usize::try_from(sent).unwrap()).await;
    assert!(results.values().all(|done| matches!(done, Done::Put(_))), "nothing is lost");
}

#[tokio::test]
async fn a_message_with_more_than_the_bound_waits() {
    let limits = Limits { pipeline_operations_inflight_max: 10, ..Limits::default() };
    let desk = Desk::with_limits(limits);
    desk.store.busy.send_replace(true);
    let mut pipe = Pipe::open(&desk).await;
    pipe.send((0..100).map(write).collect()).await;
    settle().await;
    assert_eq!(desk.store.state().submitted.len(), 10);
    desk.store.busy.send_replace(false);
    assert_eq!(pipe.take(100).await.len(), 100);
}

#[tokio::test]
async fn a_stream_that_is_dropped_leaves_nothing_behind() {
    let desk = Desk::open();
    desk.store.busy.send_replace(true);
    let pipe = Pipe::open(&desk).await;
    pipe.send((0..100).map(write).collect()).await;
    settle().await;
    assert!(!desk.shares.is_idle());
    drop(pipe);
    settle().await;
    assert!(desk.shares.is_idle());
    assert!(desk.store.state().written.is_empty());
}

#[tokio::test]
async fn operations_beyond_the_share_are_refused_one_by_one() {
    // One for the stream itself; and a connection has as much as is free.
    let desk = Desk::with_limits(Limits { requests_inflight_max: 9, ..Limits::default() });
    desk.store.busy.send_replace(true);
    let mut pipe = Pipe::open(&desk).await;
    pipe.send((0..10).map(write).collect()).await;
    let refused = pipe.take(6).await;
    assert!(refused.values().all(|done| code(done) == Some("overloaded")), "{refused:?}");
    desk.store.busy.send_replace(false);
    let done = pipe.take(4).await;
    assert!(done.values().all(|done| matches!(done, Done::Put(_))), "{done:?}");
    pipe.send(vec![write(99)]).await;
    assert!(matches!(pipe.take(1).await[&99], Done::Put(_)), "there is room again");
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_stream_behind_its_results() {
    let desk = Desk::open();
    let mut pipe = Pipe::open(&desk).await;
    pipe.send(vec![write(1)]).await;
    let value = bytes::Bytes::from(vec![0; 5 << 20]);
    let large = operation(2, Asked::Put(v1::PutRequest { value, ..put("k", "") }));
    pipe.send(vec![large]).await;
    assert!(matches!(pipe.take(1).await[&1], Done::Put(_)));
    refused(pipe.results.message().await, Code::InvalidArgument, "too_large");
}

#[tokio::test]
async fn an_idle_stream_costs_nothing_to_wait_on() {
    let desk = Desk::open();
    let mut pipe = Pipe::open(&desk).await;
    settle().await;
    assert!(pipe.results.message().now_or_never().is_none());
    at_once(async { assert!(desk.store.state().submitted.is_empty()) });
}

/// What was done is said, so there must be room for what is said before it is done.
#[tokio::test]
async fn what_may_answer_much_begins_when_there_is_room_for_it() {
    let desk = Desk::with_limits(Limits { request_bytes_inflight_max: 16 << 20, ..Limits::default() });
    let value = bytes::Bytes::from(vec![7; 2 << 20]);
    let txn = |id| {
        let range = v1::TxnRange { keys: prefix(""), ..v1::TxnRange::default() };
        let ops = [v1::txn_op::Op::Put(v1::TxnPut::default()), v1::txn_op::Op::Range(range)];
        let success = ops.map(|op| v1::TxnOp { op: Some(op) }).into();
        operation(id, Asked::Txn(v1::TxnRequest { success, ..v1::TxnRequest::default() }))
    };
    for _ in 0..30 {
        let pairs = vec![(bytes("k"), super::store::record(1, &value))];
        let range = TxnAnswer::Range(Selection { pairs, more: false, count: 1 });
        let answers = vec![TxnAnswer::Put { previous: None }, range];
        let answers = TxnAnswers { succeeded: true, answers };
        desk.store.reply(Reply::Txn { revision: Revision(1), answers });
    }
    let mut pipe = Pipe::open(&desk).await;
    pipe.send((0..30).map(txn).collect()).await;
    pipe.send((30..40).map(write).collect()).await;
    settle().await;
    let begun = desk.store.state().submitted.len();
    assert!((1..8).contains(&begun), "{begun} of 2 MiB each, and nobody reads");
    // They are not refused for it: each has its turn, and what comes behind keeps its place.
    let results = pipe.take(40).await;
    assert!((0..30).all(|id| matches!(results[&id], Done::Txn(_))));
    assert!((30..40).all(|id| matches!(results[&id], Done::Put(_))));
    drop(pipe);
    settle().await;
    assert!(desk.shares.is_idle());
}

#[tokio::test]
async fn what_can_never_have_room_is_refused() {
    let desk = Desk::with_limits(Limits { request_bytes_inflight_max: 1 << 20, ..Limits::default() });
    let mut pipe = Pipe::open(&desk).await;
    let previous = v1::PutRequest { previous: true, ..put("k", "v") };
    pipe.send(vec![operation(1, Asked::Put(previous)), write(2)]).await;
    let results = pipe.take(2).await;
    assert_eq!(code(&results[&1]), Some("overloaded"));
    assert!(matches!(results[&2], Done::Put(_)));
}
