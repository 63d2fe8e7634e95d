//! Transactions in transactions go the way that the keys decide before the first operation, as etcd's do.

use crate::command::{
    Command, Compare, Found, Keys, Query, Range, Relation, Reply, Target, Txn, TxnAnswer, TxnAnswers, TxnOp,
};
use crate::fsm::testing::CrashFile;
use crate::types::{Keyspace, Revision};

use super::support::{apply, bytes, get, open};

fn put(key: &str, value: &str) -> TxnOp {
    TxnOp::Put { key: bytes(key), value: Some(bytes(value)), previous: false }
}

/// One list if the key is absent, the other if not.
fn if_absent(key: &str, success: Vec<TxnOp>, failure: Vec<TxnOp>) -> Txn {
    let keys = Keys::One(bytes(key));
    let compares = vec![Compare { keys, relation: Relation::Equal, target: Target::Version(0) }];
    Txn { keyspace: Keyspace(0), compares, success, failure }
}

fn always(ops: Vec<TxnOp>) -> Txn {
    Txn { keyspace: Keyspace(0), compares: Vec::new(), success: ops, failure: Vec::new() }
}

#[test]
fn an_operation_decides_no_compare_behind_it() {
    let store = open(&CrashFile::default()).expect("open");
    let inner = if_absent("a", vec![put("was-absent", "1")], vec![put("was-there", "1")]);
    let deeper =
        always(vec![TxnOp::Txn(if_absent("a", vec![put("deep", "absent")], vec![put("deep", "there")]))]);
    let txn = always(vec![put("a", "1"), TxnOp::Txn(inner), TxnOp::Txn(deeper)]);
    let Reply::Txn { revision, answers } = apply(&store, Command::Txn(txn)) else { panic!("it is executed") };
    assert_eq!(revision, Revision(2), "all of it is one revision");
    let inner = &answers.answers[1];
    assert!(matches!(inner, TxnAnswer::Txn(TxnAnswers { succeeded: true, .. })), "{inner:?}");
    assert!(get(&store, "was-absent").is_some() && get(&store, "was-there").is_none());
    assert_eq!(get(&store, "deep").expect("put").value, bytes("absent"));
    for key in ["a", "was-absent", "deep"] {
        assert_eq!(get(&store, key).expect("put").mod_revision, revision, "{key}");
    }
}

#[test]
fn ways_are_those_of_what_is_reached() {
    let store = open(&CrashFile::default()).expect("open");
    apply(&store, Command::Txn(always(vec![put("there", "1")])));
    let range = |key: &str| TxnOp::Range(Range::of(Keys::One(bytes(key))));
    // What lies in the list that is not executed is not judged: the ways of what comes behind would be shifted.
    let unreached =
        if_absent("there", vec![TxnOp::Txn(if_absent("x", vec![], vec![]))], vec![range("there")]);
    let behind = if_absent("x", vec![range("there"), range("x")], vec![]);
    let txn = always(vec![TxnOp::Txn(unreached), TxnOp::Txn(behind)]);
    let query = Query::Txn { txn: txn.clone(), bytes_max: 1_000 };
    let Found::Txn(read) = store.query(&query).expect("read").found else { panic!("it is read") };
    let ways: Vec<(bool, usize)> = read
        .answers
        .iter()
        .map(|answer| match answer {
            TxnAnswer::Txn(inner) => (inner.succeeded, inner.answers.len()),
            other => panic!("a transaction answered {other:?}"),
        })
        .collect();
    assert_eq!(ways, [(false, 1), (true, 2)]);
    let writing = always(vec![TxnOp::Txn(txn), put("y", "1")]);
    let Reply::Txn { answers, .. } = apply(&store, Command::Txn(writing)) else { panic!("it is executed") };
    assert_eq!(answers.answers[0], TxnAnswer::Txn(read), "a read and a write decide alike");
}
