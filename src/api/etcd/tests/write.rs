//! Setting and removing keys: which command, which answer.

use tonic::Code;

use super::node::header;
use super::{Desk, assert_status, bytes, record};
use crate::api::etcd::kv::{DeleteRange, Put};
use crate::command::{
    Command, Compare, Keys, Op, Relation, Reply, Target, Txn, TxnAnswer, TxnAnswers, TxnOp, TxnRefusal, Write,
};
use crate::proto::etcd::etcdserverpb::{DeleteRangeRequest, PutRequest};
use crate::proto::etcd::mvccpb::KeyValue;
use crate::types::{Keyspace, Revision};

fn put() -> PutRequest {
    PutRequest { key: bytes("k"), value: bytes("v"), ..PutRequest::default() }
}

fn written(deleted: u64) -> Reply {
    Reply::Written { revision: Revision(8), deleted }
}

fn answered(answer: TxnAnswer) -> Reply {
    Reply::Txn { revision: Revision(8), answers: TxnAnswers { succeeded: true, answers: vec![answer] } }
}

fn write(op: Op) -> Command {
    Command::Write(Write { keyspace: Keyspace(0), conditions: vec![], ops: vec![op] })
}

fn txn(op: TxnOp) -> Command {
    Command::Txn(Txn { keyspace: Keyspace(0), compares: vec![], success: vec![op], failure: vec![] })
}

fn old() -> KeyValue {
    KeyValue {
        key: bytes("k"),
        create_revision: 2,
        mod_revision: 4,
        version: 3,
        value: bytes("old"),
        lease: 0,
    }
}

#[tokio::test]
async fn a_plain_put_is_the_short_command() {
    let desk = Desk::open();
    let answer = desk.replies(written(0)).call::<Put>(put()).await.unwrap();
    assert_eq!((answer.header, answer.prev_kv), (header(8), None));
    assert_eq!(desk.command(), write(Op::Put { key: bytes("k"), value: bytes("v") }));
    let empty = PutRequest { value: bytes(""), ..put() };
    desk.replies(written(0)).call::<Put>(empty).await.unwrap();
    assert_eq!(desk.command(), write(Op::Put { key: bytes("k"), value: bytes("") }), "a value may be empty");
}

#[tokio::test]
async fn a_put_that_asks_for_what_was_is_a_transaction() {
    let desk = Desk::open();
    let previous = |previous| answered(TxnAnswer::Put { previous });
    let asked = PutRequest { prev_kv: true, ..put() };
    let answer =
        desk.replies(previous(Some(record(2, 4, 3, "old")))).call::<Put>(asked.clone()).await.unwrap();
    assert_eq!((answer.header, answer.prev_kv), (header(8), Some(old())));
    let op = TxnOp::Put { key: bytes("k"), value: Some(bytes("v")), previous: true };
    assert_eq!(desk.command(), txn(op));
    assert_eq!(desk.replies(previous(None)).call::<Put>(asked).await.unwrap().prev_kv, None);
    desk.asked();

    let keeping = PutRequest { ignore_value: true, value: bytes(""), ..put() };
    desk.replies(previous(None)).call::<Put>(keeping.clone()).await.unwrap();
    assert_eq!(desk.command(), txn(TxnOp::Put { key: bytes("k"), value: None, previous: false }));
    let refused = Reply::TxnRefused { why: TxnRefusal::NoSuchKey };
    let status = desk.replies(refused).call::<Put>(keeping).await;
    assert_status(status, Code::InvalidArgument, "etcdserver: key not found");
}

#[tokio::test]
async fn a_put_that_keeps_the_lease_needs_the_key() {
    let desk = Desk::open();
    let asked = PutRequest { ignore_lease: true, prev_kv: true, ..put() };
    let inner = TxnAnswers {
        succeeded: false,
        answers: vec![TxnAnswer::Put { previous: Some(record(2, 4, 3, "old")) }],
    };
    let answer = desk.replies(answered(TxnAnswer::Txn(inner))).call::<Put>(asked.clone()).await.unwrap();
    assert_eq!((answer.header, answer.prev_kv), (header(8), Some(old())));
    let absent =
        Compare { keys: Keys::One(bytes("k")), relation: Relation::Equal, target: Target::Version(0) };
    let choice = Txn {
        keyspace: Keyspace(0),
        compares: vec![absent],
        success: vec![TxnOp::Put { key: bytes("k"), value: None, previous: false }],
        failure: vec![TxnOp::Put { key: bytes("k"), value: Some(bytes("v")), previous: true }],
    };
    assert_eq!(choice.check_keys(), Ok(()), "the node takes it");
    assert_eq!(desk.command(), txn(TxnOp::Txn(choice)));
    let both = PutRequest { ignore_value: true, ignore_lease: true, value: bytes(""), ..put() };
    desk.replies(answered(TxnAnswer::Put { previous: None })).call::<Put>(both).await.unwrap();
    assert_eq!(desk.command(), txn(TxnOp::Put { key: bytes("k"), value: None, previous: false }));
}

#[tokio::test]
async fn one_key_is_removed_by_the_short_command() {
    let desk = Desk::open();
    let asked = DeleteRangeRequest { key: bytes("k"), ..DeleteRangeRequest::default() };
    let answer = desk.replies(written(1)).call::<DeleteRange>(asked.clone()).await.unwrap();
    assert_eq!((answer.header, answer.deleted, answer.prev_kvs), (header(8), 1, vec![]));
    assert_eq!(desk.command(), write(Op::Delete { key: bytes("k") }));

    let asked = DeleteRangeRequest { prev_kv: true, ..asked };
    let removed = TxnAnswer::Delete { deleted: 1, previous: vec![(bytes("k"), record(2, 4, 3, "old"))] };
    let answer = desk.replies(answered(removed)).call::<DeleteRange>(asked).await.unwrap();
    assert_eq!((answer.deleted, answer.prev_kvs), (1, vec![old()]));
    assert_eq!(desk.command(), txn(TxnOp::Delete { keys: Keys::One(bytes("k")), previous: true }));
}

#[tokio::test]
async fn many_keys_are_removed_by_a_transaction() {
    let desk = Desk::open();
    let removed = || answered(TxnAnswer::Delete { deleted: 5, previous: vec![] });
    for (end, keys) in [("z", Keys::Between(bytes("k"), bytes("z"))), ("\0", Keys::From(bytes("k")))] {
        let asked = DeleteRangeRequest { key: bytes("k"), range_end: bytes(end), prev_kv: false };
        let answer = desk.replies(removed()).call::<DeleteRange>(asked).await.unwrap();
        assert_eq!((answer.header, answer.deleted), (header(8), 5));
        assert_eq!(desk.command(), txn(TxnOp::Delete { keys, previous: false }));
    }
    for why in [TxnRefusal::TooManyKeys, TxnRefusal::AnswerTooLarge] {
        let asked = DeleteRangeRequest { key: bytes("k"), range_end: bytes("\0"), prev_kv: false };
        let status = desk.replies(Reply::TxnRefused { why }).call::<DeleteRange>(asked).await;
        assert_status(status, Code::ResourceExhausted, &why.text());
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_write_is_said_as_etcd_says_it() {
    let desk = Desk::open();
    let invalid = Code::InvalidArgument;
    let cases = [
        (PutRequest { key: bytes(""), ..put() }, invalid, "etcdserver: key is not provided"),
        (PutRequest { ignore_value: true, ..put() }, invalid, "etcdserver: value is provided"),
        (PutRequest { ignore_lease: true, lease: 5, ..put() }, invalid, "etcdserver: lease is provided"),
        (PutRequest { lease: 5, ..put() }, Code::NotFound, "etcdserver: requested lease not found"),
        // The first mistake is the one that is named.
        (PutRequest { ignore_value: true, lease: 5, ..put() }, invalid, "etcdserver: value is provided"),
    ];
    for (asked, code, text) in cases {
        assert_status(desk.call::<Put>(asked).await, code, text);
    }
    let nothing = DeleteRangeRequest { range_end: bytes("\0"), ..DeleteRangeRequest::default() };
    assert_status(desk.call::<DeleteRange>(nothing).await, invalid, "etcdserver: key is not provided");
    assert_eq!(desk.asked(), [], "nothing of it reached the node");
}
