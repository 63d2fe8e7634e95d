//! What transactions may not do, and what their refusal leaves; what they do is in `model`.

use super::support::*;
use crate::command::{
    Command, Found, Keys, Op, Query, Range, Reply, TXN_ANSWER_BYTES_MAX, TXN_DELETES_MAX, Txn, TxnAnswer,
    TxnOp, TxnRefusal,
};
use crate::fsm::Store;
use crate::fsm::testing::CrashFile;
use crate::types::{ClientId, Keyspace, Revision};

fn txn(success: Vec<TxnOp>) -> Command {
    Command::Txn(Txn { keyspace: Keyspace(0), compares: vec![], success, failure: vec![] })
}

fn set(key: &str, value: &str) -> TxnOp {
    TxnOp::Put { key: bytes(key), value: Some(bytes(value)), previous: false }
}

fn read_all() -> TxnOp {
    TxnOp::Range(Range::of(Keys::all()))
}

/// A store with so many values of 1 MiB.
fn store_of_megabytes(values: usize) -> Store {
    let store = open(&CrashFile::new()).expect("open");
    for number in 0..values {
        apply(&store, write(vec![put_bytes(&format!("v{number}"), noise(number as u64, 1 << 20))]));
    }
    store
}

/// Refused, and nothing of it is there: not the put before, nor a revision.
fn assert_refused(store: &Store, ops: Vec<TxnOp>, why: TxnRefusal) {
    let (revision, hash, keys) = (store.revision(), store.state_hash(), store.sizes().keys);
    assert_eq!(apply(store, txn(ops)), Reply::TxnRefused { why });
    assert_eq!((store.revision(), store.state_hash(), store.sizes().keys), (revision, hash, keys));
    assert_eq!(get(store, "before"), None);
}

#[test]
fn one_that_would_answer_too_much_is_refused_whole() {
    let store = store_of_megabytes(3);
    let why = TxnRefusal::AnswerTooLarge;
    assert_refused(&store, vec![set("before", "x"), read_all()], why);
    let delete = TxnOp::Delete { keys: Keys::prefix(bytes("v")), previous: true };
    assert_refused(&store, vec![set("before", "x"), delete], why);
    let put = |key: &str| TxnOp::Put { key: bytes(key), value: Some(bytes("y")), previous: true };
    assert_refused(&store, vec![set("before", "x"), put("v0"), put("v1"), put("v2")], why);
    // Within the bound it is done.
    let one = Range { limit: Some(1), ..Range::of(Keys::all()) };
    let reply = apply(&store, txn(vec![TxnOp::Range(one)]));
    let Reply::Txn { answers, .. } = reply else { panic!("{reply:?}") };
    let TxnAnswer::Range(selection) = &answers.answers[0] else { panic!("{answers:?}") };
    assert_eq!((selection.pairs.len(), selection.more, selection.count), (1, true, 3));
    assert!(selection.pairs[0].1.value.len() < TXN_ANSWER_BYTES_MAX);
}

#[test]
fn one_that_keeps_the_value_of_an_absent_key_is_refused_whole() {
    let store = open(&CrashFile::new()).expect("open");
    let keep = TxnOp::Put { key: bytes("absent"), value: None, previous: false };
    assert_refused(&store, vec![set("before", "x"), keep], TxnRefusal::NoSuchKey);
}

#[test]
fn one_that_would_delete_too_many_is_refused_whole() {
    let store = open(&CrashFile::new()).expect("open");
    let key = |number: usize| format!("k{number:06}");
    let ops: Vec<Op> = (0..=TXN_DELETES_MAX).map(|number| put(&key(number), "")).collect();
    apply(&store, write(ops));
    let delete = |from: usize, to: usize| TxnOp::Delete {
        keys: Keys::Between(bytes(&key(from)), bytes(&key(to))),
        previous: false,
    };
    let all = delete(0, TXN_DELETES_MAX + 1);
    assert_refused(&store, vec![set("before", "x"), all], TxnRefusal::TooManyDeletes);
    let halves = vec![delete(0, 5), delete(5, TXN_DELETES_MAX + 1)];
    assert_refused(&store, halves, TxnRefusal::TooManyDeletes);
    let reply = apply(&store, txn(vec![delete(0, TXN_DELETES_MAX)]));
    let Reply::Txn { revision, answers } = reply else { panic!("{reply:?}") };
    assert_eq!(revision, Revision(3));
    let deleted = TxnAnswer::Delete { deleted: TXN_DELETES_MAX as u64, previous: vec![] };
    assert_eq!(answers.answers, vec![deleted]);
    assert_eq!(store.sizes().keys, 1);
}

#[test]
fn a_query_that_would_answer_too_much_says_so() {
    let store = store_of_megabytes(3);
    let range = |limit| Query::Range {
        keyspace: Keyspace(0),
        range: Range { limit, ..Range::of(Keys::all()) },
        bytes_max: 5 << 19,
    };
    let found = |query: &Query| store.query(query).expect("a query").found;
    assert_eq!(found(&range(None)), Found::TooLarge);
    assert!(matches!(found(&range(Some(2))), Found::Selection(selection) if selection.pairs.len() == 2));
    let Command::Txn(txn) = txn(vec![read_all()]) else { unreachable!("a transaction") };
    assert_eq!(found(&Query::Txn { txn, bytes_max: 5 << 19 }), Found::TooLarge);
}

/// In an order that shows only at the end which pairs come first, memory is bounded by the limit, not by what there is.
#[test]
fn the_last_of_many_is_found_within_the_bound_of_a_few() {
    let store = store_of_megabytes(5);
    let mut range = Range { limit: Some(1), ..Range::of(Keys::all()) };
    range.order.is_descending = true;
    let query = Query::Range { keyspace: Keyspace(0), range, bytes_max: 5 << 19 };
    let Found::Selection(selection) = store.query(&query).expect("a query").found else {
        panic!("too large")
    };
    assert_eq!(selection.pairs[0].0, bytes("v4"));
    assert_eq!((selection.pairs.len(), selection.more, selection.count), (1, true, 5));
}

/// Replies are kept until the client has them: those of a session are bounded in bytes, and a refusal loses nothing.
#[test]
fn a_session_keeps_replies_up_to_a_bound() {
    let store = open(&CrashFile::new()).expect("open");
    apply(&store, write(vec![put_bytes("v", noise(1, 3 << 19))]));
    apply(&store, Command::OpenSession { client: ClientId(1) });
    let call = |seq, done_below| {
        apply_envelope(&store, &envelope(Some(at(1, seq, done_below)), txn(vec![read_all()])))
    };
    for seq in 1..=3 {
        assert!(matches!(call(seq, 1), Reply::Txn { .. }), "seq {seq}");
    }
    let refused = call(4, 1);
    assert!(
        matches!(&refused, Reply::SessionRefused { reason } if reason.contains("done_below")),
        "{refused:?}"
    );
    assert!(matches!(call(2, 1), Reply::Txn { .. }), "what was answered is answered again");
    assert!(matches!(call(4, 2), Reply::Txn { .. }), "and room is made by what has been received");
}
