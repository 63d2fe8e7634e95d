use futures_util::FutureExt;
use tonic::Code;

use super::store::record;
use super::{Desk, at_once, bytes, get, one, prefix, put, range, refused, request, session};
use crate::command::{
    Command, Compare, Condition, Keys, Op, Reply, SessionSeq, Target, Txn, TxnAnswer, TxnAnswers, TxnOp,
    Write,
};
use crate::config::Limits;
use crate::proto::v1;
use crate::shard::{Consistency, Freshness};
use crate::types::{ClientId, Keyspace, Revision, Seq};

const CLIENT: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn write(conditions: Vec<Condition>, op: Op) -> Command {
    Command::Write(Write { keyspace: Keyspace(0), conditions, ops: vec![op] })
}

fn at(key: &'static str, revision: u64) -> Condition {
    Condition::ModRevision { key: bytes(key), revision: Revision(revision) }
}

fn answered(answers: Vec<TxnAnswer>) -> Reply {
    Reply::Txn { revision: Revision(9), answers: TxnAnswers { succeeded: true, answers } }
}

#[tokio::test]
async fn what_is_put_is_got() {
    let desk = Desk::open();
    let mut kv = desk.kv();
    let answer = kv.put(put("k", "v")).await.unwrap().into_inner();
    assert_eq!(answer.header, Some(v1::Header { group: 1, revision: 1 }));
    assert_eq!(answer.previous, None);
    let answer = kv.get(get("k")).await.unwrap().into_inner();
    let pair = v1::KeyValue {
        key: bytes("k"),
        value: bytes("v"),
        create_revision: 1,
        mod_revision: 1,
        version: 1,
        lease: 0,
    };
    assert_eq!((answer.header, answer.kv), (Some(v1::Header { group: 1, revision: 1 }), Some(pair)));
    assert_eq!(kv.get(get("other")).await.unwrap().into_inner().kv, None);
}

#[tokio::test]
async fn a_simple_write_is_a_short_entry() {
    let desk = Desk::open();
    let mut kv = desk.kv();
    kv.put(put("k", "v")).await.unwrap();
    let plain = Op::Put { key: bytes("k"), value: bytes("v") };
    assert_eq!(desk.store.last_written(), (None, write(vec![], plain.clone())));
    kv.put(v1::PutRequest { if_revision: Some(1), session: session(CLIENT, 7), ..put("k", "v") })
        .await
        .unwrap();
    let client = ClientId(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
    let seq = SessionSeq { client, seq: Seq(7), done_below: Seq(1) };
    assert_eq!(desk.store.last_written(), (Some(seq), write(vec![at("k", 1)], plain)));
    let delete = v1::DeleteRequest { keys: one("k"), if_revision: Some(2), ..v1::DeleteRequest::default() };
    let answer = kv.delete(delete).await.unwrap().into_inner();
    assert_eq!((answer.deleted, answer.header.unwrap().revision), (1, 3));
    assert_eq!(desk.store.last_written(), (None, write(vec![at("k", 2)], Op::Delete { key: bytes("k") })));
}

#[tokio::test]
async fn what_a_write_cannot_say_is_a_transaction() {
    let desk = Desk::open();
    let mut kv = desk.kv();
    let before = record(4, &bytes("old"));
    desk.store.reply(answered(vec![TxnAnswer::Put { previous: Some(before.clone()) }]));
    let asked = v1::PutRequest { previous: true, if_revision: Some(4), ..put("k", "v") };
    let answer = kv.put(asked).await.unwrap().into_inner();
    let previous = answer.previous.unwrap();
    assert_eq!((previous.key, previous.value, previous.mod_revision), (bytes("k"), bytes("old"), 4));
    assert_eq!(answer.header.unwrap().revision, 9);
    let compare = Compare {
        keys: Keys::One(bytes("k")),
        relation: crate::command::Relation::Equal,
        target: Target::ModRevision(Revision(4)),
    };
    let txn = |compares, op| {
        Command::Txn(Txn { keyspace: Keyspace(0), compares, success: vec![op], failure: vec![] })
    };
    let op = TxnOp::Put { key: bytes("k"), value: Some(bytes("v")), previous: true };
    assert_eq!(desk.store.last_written().1, txn(vec![compare], op));

    let all = Keys::Between(bytes("a"), bytes("c"));
    let cases = [
        (range("a", Some("c")), false, all.clone()),
        (range("a", Some("c")), true, all),
        (range("a", None), false, Keys::From(bytes("a"))),
        (prefix("a"), false, Keys::prefix(bytes("a"))),
        (one("a"), true, Keys::One(bytes("a"))),
    ];
    for (keys, previous, expected) in cases {
        let removed = if previous { vec![(bytes("a"), before.clone())] } else { vec![] };
        desk.store.reply(answered(vec![TxnAnswer::Delete { deleted: 3, previous: removed }]));
        let asked = v1::DeleteRequest { keys, previous, ..v1::DeleteRequest::default() };
        let answer = kv.delete(asked).await.unwrap().into_inner();
        assert_eq!((answer.deleted, answer.previous.len()), (3, usize::from(previous)));
        assert_eq!(desk.store.last_written().1, txn(vec![], TxnOp::Delete { keys: expected, previous }));
    }
}

#[tokio::test]
async fn a_condition_that_does_not_hold_is_a_failed_precondition() {
    let desk = Desk::open();
    let mut kv = desk.kv();
    kv.put(put("k", "v")).await.unwrap();
    let again = v1::PutRequest { if_revision: Some(0), ..put("k", "w") };
    let status = refused(kv.put(again.clone()).await, Code::FailedPrecondition, "condition_failed");
    assert!(status.message().contains("if_revision"), "{status:?}");
    let failed = TxnAnswers { succeeded: false, answers: vec![] };
    desk.store.reply(Reply::Txn { revision: Revision(9), answers: failed });
    let again = v1::PutRequest { previous: true, ..again };
    refused(kv.put(again).await, Code::FailedPrecondition, "condition_failed");
    let delete = v1::DeleteRequest { keys: one("k"), if_revision: Some(9), ..v1::DeleteRequest::default() };
    refused(kv.delete(delete).await, Code::FailedPrecondition, "condition_failed");
    assert_eq!(desk.store.state().pairs.len(), 1);
}

#[tokio::test]
async fn sessions_are_opened_and_closed() {
    let desk = Desk::open();
    let mut kv = desk.kv();
    let client = ClientId(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
    kv.open_session(v1::OpenSessionRequest { client: CLIENT.into() }).await.unwrap();
    assert_eq!(desk.store.last_written(), (None, Command::OpenSession { client }));
    kv.close_session(v1::CloseSessionRequest { client: CLIENT.into() }).await.unwrap();
    assert_eq!(desk.store.last_written(), (None, Command::CloseSession { client }));
    for client in [&CLIENT[..15], &[0; 17], &[]] {
        let client = bytes::Bytes::from_static(client);
        let asked = v1::OpenSessionRequest { client: client.clone() };
        refused(kv.open_session(asked).await, Code::InvalidArgument, "invalid");
        let asked = v1::CloseSessionRequest { client: client.clone() };
        refused(kv.close_session(asked).await, Code::InvalidArgument, "invalid");
        let session = Some(v1::SessionSeq { client, seq: 1, done_below: 1 });
        let asked = v1::PutRequest { session: session.clone(), ..put("k", "v") };
        refused(kv.put(asked).await, Code::InvalidArgument, "invalid");
        let asked = v1::DeleteRequest { keys: one("k"), session, ..v1::DeleteRequest::default() };
        refused(kv.delete(asked).await, Code::InvalidArgument, "invalid");
    }
    let asked = v1::PutRequest { session: session(CLIENT, 0), ..put("k", "v") };
    refused(kv.put(asked).await, Code::InvalidArgument, "invalid");
    assert_eq!(desk.store.state().written.len(), 2, "nothing else was done");
}

#[tokio::test]
async fn a_read_is_as_fresh_as_it_asks() {
    let desk = Desk::open();
    let mut kv = desk.kv();
    let read = |consistency: v1::Consistency, max_staleness_ms, min_revision| {
        Some(v1::ReadOptions { consistency: consistency.into(), max_staleness_ms, min_revision })
    };
    let cases = [
        (None, Freshness::LINEARIZABLE),
        (read(v1::Consistency::Linearizable, None, 0), Freshness::LINEARIZABLE),
        (
            read(v1::Consistency::Lease, None, 5),
            Freshness { consistency: Consistency::Lease, min_revision: Some(Revision(5)) },
        ),
        (
            read(v1::Consistency::Stale, Some(0), 0),
            Freshness { consistency: Consistency::Stale { max_staleness_ms: Some(0) }, min_revision: None },
        ),
        (
            read(v1::Consistency::Stale, None, 1),
            Freshness {
                consistency: Consistency::Stale { max_staleness_ms: None },
                min_revision: Some(Revision(1)),
            },
        ),
    ];
    for (read, expected) in cases {
        kv.get(v1::GetRequest { read, ..get("k") }).await.unwrap();
        assert_eq!(desk.store.state().queries.last().unwrap().1, expected);
    }
    let unknown = Some(v1::ReadOptions { consistency: 9, ..v1::ReadOptions::default() });
    for wrong in
        [unknown, read(v1::Consistency::Lease, Some(1), 0), read(v1::Consistency::Linearizable, Some(1), 0)]
    {
        let asked = v1::GetRequest { read: wrong, ..get("k") };
        refused(kv.get(asked).await, Code::InvalidArgument, "invalid");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_before_anything_is_done() {
    let desk = Desk::open();
    let mut kv = desk.kv();
    let long = bytes::Bytes::from(vec![b'k'; Limits::default().key_bytes_max + 1]);
    refused(kv.get(get("")).await, Code::InvalidArgument, "invalid");
    refused(kv.get(v1::GetRequest { key: long.clone(), read: None }).await, Code::InvalidArgument, "invalid");
    refused(kv.put(put("", "v")).await, Code::InvalidArgument, "invalid");
    refused(kv.put(v1::PutRequest { key: long, ..put("k", "v") }).await, Code::InvalidArgument, "invalid");
    for keys in [None, Some(v1::Keys { which: None })] {
        let asked = v1::DeleteRequest { keys: keys.clone(), ..v1::DeleteRequest::default() };
        refused(kv.delete(asked).await, Code::InvalidArgument, "invalid");
        let asked = v1::ListRequest { keys, ..v1::ListRequest::default() };
        refused(kv.list(asked).await, Code::InvalidArgument, "invalid");
    }
    let asked = v1::DeleteRequest { keys: prefix("k"), if_revision: Some(1), ..v1::DeleteRequest::default() };
    refused(kv.delete(asked).await, Code::InvalidArgument, "invalid");
    for timeout in ["5", "S", "999999999S", "5s", "1.5S"] {
        refused(kv.get(request(get("k"), timeout)).await, Code::InvalidArgument, "invalid");
        let asked = v1::ListRequest { keys: one("k"), ..v1::ListRequest::default() };
        refused(kv.list(request(asked, timeout)).await, Code::InvalidArgument, "invalid");
    }
    let state = desk.store.state();
    assert!(state.written.is_empty() && state.queries.is_empty());
}

#[tokio::test]
async fn a_message_that_is_too_large_is_said_to_be() {
    let desk = Desk::open();
    let mut kv = desk.kv();
    let value = bytes::Bytes::from(vec![0; Limits::default().frame_bytes_max]);
    let status =
        refused(kv.put(v1::PutRequest { value, ..put("k", "") }).await, Code::InvalidArgument, "too_large");
    assert!(status.message().contains("bytes"), "{status:?}");
    assert!(desk.store.state().written.is_empty());
}

#[tokio::test]
async fn a_deadline_is_the_requests_or_the_servers() {
    let desk = Desk::open();
    let mut kv = desk.kv();
    let cases = [("300m", 300), ("2S", 2_000), ("99999999H", 300_000)];
    for (timeout, millis) in cases {
        kv.get(request(get("k"), timeout)).await.unwrap();
        assert_eq!(desk.store.state().deadline, Some(desk.after_millis(millis)), "{timeout}");
    }
    kv.get(get("k")).await.unwrap();
    assert_eq!(desk.store.state().deadline, Some(desk.after_millis(5_000)));
}

#[tokio::test]
async fn a_request_waits_for_the_node_within_its_deadline() {
    let desk = Desk::closed(Limits::default());
    let mut kv = desk.kv();
    refused(at_once(kv.get(get(""))), Code::InvalidArgument, "invalid");
    let mut waiting = Box::pin(kv.get(request(get("k"), "300m")));
    assert!((&mut waiting).now_or_never().is_none());
    desk.clock.advance(std::time::Duration::from_millis(300));
    refused(waiting.await, Code::DeadlineExceeded, "unavailable");
    let mut kv = desk.kv();
    let mut waiting = Box::pin(kv.put(put("k", "v")));
    assert!((&mut waiting).now_or_never().is_none());
    desk.open_node();
    assert!(waiting.await.is_ok());
}
