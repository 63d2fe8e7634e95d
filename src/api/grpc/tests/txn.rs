use tonic::Code;

use super::store::record;
use super::{Desk, bytes, one, prefix, refused};
use crate::command::{
    Command, Compare, Content, Found, Keys, Order, OrderBy, Query, Range, Relation, Reply, Selection,
    TXN_DEPTH_MAX, Target, Txn, TxnAnswer, TxnAnswers, TxnOp,
};
use crate::proto::v1;
use crate::proto::v1::compare;
use crate::proto::v1::txn_answer::Answer;
use crate::proto::v1::txn_op::Op;
use crate::types::{Keyspace, Revision};

fn op(op: Op) -> v1::TxnOp {
    v1::TxnOp { op: Some(op) }
}

fn put(key: &'static str, value: Option<&'static str>) -> v1::TxnOp {
    op(Op::Put(v1::TxnPut { key: bytes(key), value: value.map(bytes), previous: true }))
}

fn read(key: &'static str) -> v1::TxnOp {
    op(Op::Range(v1::TxnRange { keys: one(key), ..v1::TxnRange::default() }))
}

fn compare(relation: compare::Relation, target: compare::Target) -> v1::Compare {
    v1::Compare { keys: one("k"), relation: relation.into(), target: Some(target) }
}

fn plain(compares: Vec<Compare>, success: Vec<TxnOp>, failure: Vec<TxnOp>) -> Txn {
    Txn { keyspace: Keyspace(0), compares, success, failure }
}

#[tokio::test]
async fn every_part_of_a_transaction_reaches_the_store() {
    let desk = Desk::open();
    let targets = [
        (compare::Relation::Equal, compare::Target::Version(1)),
        (compare::Relation::NotEqual, compare::Target::CreateRevision(2)),
        (compare::Relation::Greater, compare::Target::ModRevision(3)),
        (compare::Relation::Less, compare::Target::Value(bytes("v"))),
        (compare::Relation::Equal, compare::Target::Lease(4)),
    ];
    let ranged = v1::TxnRange {
        keys: prefix("r"),
        limit: 5,
        order_by: v1::txn_range::OrderBy::Value.into(),
        descending: true,
        keys_only: true,
        count_only: false,
    };
    let inner = v1::Txn { compares: vec![], success: vec![put("i", None)], failure: vec![] };
    let delete = v1::TxnDelete { keys: prefix("d"), previous: true };
    let asked = v1::TxnRequest {
        compares: targets.into_iter().map(|(relation, target)| compare(relation, target)).collect(),
        success: vec![put("k", Some("v")), op(Op::Delete(delete)), op(Op::Txn(inner)), op(Op::Range(ranged))],
        failure: vec![read("k")],
        read: None,
        session: super::session(&[7; 16], 3),
    };
    let before = record(2, &bytes("old"));
    let nothing =
        TxnAnswers { succeeded: true, answers: vec![TxnAnswer::Put { previous: Some(before.clone()) }] };
    let answers = vec![
        TxnAnswer::Put { previous: Some(before.clone()) },
        TxnAnswer::Delete { deleted: 1, previous: vec![(bytes("d1"), before.clone())] },
        TxnAnswer::Txn(nothing),
        TxnAnswer::Range(Selection { pairs: vec![(bytes("r1"), before)], more: true, count: 9 }),
    ];
    let answers = TxnAnswers { succeeded: true, answers };
    desk.store.reply(Reply::Txn { revision: Revision(8), answers });
    let answer = desk.kv().txn(asked).await.unwrap().into_inner();

    let (session, command) = desk.store.last_written();
    assert_eq!(session.unwrap().seq.0, 3);
    let k = || Keys::One(bytes("k"));
    let compares = [
        (Relation::Equal, Target::Version(1)),
        (Relation::NotEqual, Target::CreateRevision(Revision(2))),
        (Relation::Greater, Target::ModRevision(Revision(3))),
        (Relation::Less, Target::Value(bytes("v"))),
        (Relation::Equal, Target::Lease(4)),
    ];
    let compares = compares.map(|(relation, target)| Compare { keys: k(), relation, target }).to_vec();
    let put = |key, value: Option<_>| TxnOp::Put { key: bytes(key), value: value.map(bytes), previous: true };
    let ranged = Range {
        limit: Some(5),
        order: Order { by: OrderBy::Value, is_descending: true },
        content: Content::Keys,
        ..Range::of(Keys::prefix(bytes("r")))
    };
    let success = vec![
        put("k", Some("v")),
        TxnOp::Delete { keys: Keys::prefix(bytes("d")), previous: true },
        TxnOp::Txn(plain(vec![], vec![put("i", None)], vec![])),
        TxnOp::Range(ranged),
    ];
    let failure = vec![TxnOp::Range(Range::of(k()))];
    assert_eq!(command, Command::Txn(plain(compares, success, failure)));

    assert!(answer.succeeded && answer.header.unwrap().revision == 8);
    let answers: Vec<Answer> = answer.answers.into_iter().filter_map(|answer| answer.answer).collect();
    let [Answer::Put(put), Answer::Delete(deleted), Answer::Txn(inner), Answer::Range(range)] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!(put.previous.as_ref().unwrap().key, bytes("k"));
    assert_eq!((deleted.deleted, &deleted.previous[0].key), (1, &bytes("d1")));
    let Some(Answer::Put(inner)) = &inner.answers[0].answer else { panic!("{inner:?}") };
    assert_eq!(inner.previous.as_ref().unwrap().key, bytes("i"));
    assert_eq!((range.count, range.more, &range.pairs[0].key), (9, true, &bytes("r1")));
}

#[tokio::test]
async fn one_that_only_reads_is_not_written() {
    let desk = Desk::open();
    let found = TxnAnswers { succeeded: false, answers: vec![TxnAnswer::Range(Selection::default())] };
    desk.store.find(Found::Txn(found));
    let count = v1::TxnRange { keys: one("k"), count_only: true, keys_only: true, ..v1::TxnRange::default() };
    let asked = v1::TxnRequest {
        compares: vec![compare(compare::Relation::Equal, compare::Target::Version(1))],
        failure: vec![op(Op::Range(count))],
        read: Some(v1::ReadOptions { min_revision: 4, ..v1::ReadOptions::default() }),
        ..v1::TxnRequest::default()
    };
    let answer = desk.kv().txn(asked.clone()).await.unwrap().into_inner();
    assert!(!answer.succeeded && answer.answers.len() == 1);
    {
        let state = desk.store.state();
        assert!(state.written.is_empty());
        let (Query::Txn { txn, .. }, freshness) = &state.queries[0] else { panic!() };
        assert_eq!(freshness.min_revision, Some(Revision(4)));
        let TxnOp::Range(range) = &txn.failure[0] else { panic!() };
        assert_eq!(range.content, Content::Count);
    }
    desk.store.find(Found::TooLarge);
    refused(desk.kv().txn(asked.clone()).await, Code::InvalidArgument, "too_large");
    // What does not fit what was asked is a defect, and said to be one.
    desk.store
        .find(Found::Txn(TxnAnswers { succeeded: true, answers: vec![TxnAnswer::Put { previous: None }] }));
    assert_eq!(super::said(&desk.kv().txn(asked).await.unwrap_err()).reason, "internal");
}

#[tokio::test]
async fn what_is_no_transaction_is_refused() {
    let desk = Desk::open();
    let wrong_relation =
        v1::Compare { relation: 9, ..compare(compare::Relation::Less, compare::Target::Lease(1)) };
    let no_target = v1::Compare { keys: one("k"), relation: 0, target: None };
    let no_keys = v1::Compare { keys: None, ..compare(compare::Relation::Less, compare::Target::Lease(1)) };
    let mut deep = v1::Txn { success: vec![read("k")], ..v1::Txn::default() };
    for _ in 0..TXN_DEPTH_MAX {
        deep = v1::Txn { success: vec![op(Op::Txn(deep))], ..v1::Txn::default() };
    }
    let order = v1::TxnRange { keys: one("k"), order_by: 7, ..v1::TxnRange::default() };
    let compares = [wrong_relation, no_target, no_keys];
    let ops = [
        v1::TxnOp { op: None },
        op(Op::Range(v1::TxnRange::default())),
        op(Op::Delete(v1::TxnDelete::default())),
        op(Op::Range(order)),
        op(Op::Txn(deep)),
    ];
    let compares =
        compares.map(|compare| v1::TxnRequest { compares: vec![compare], ..v1::TxnRequest::default() });
    let success = ops.clone().map(|op| v1::TxnRequest { success: vec![op], ..v1::TxnRequest::default() });
    let failure = ops.map(|op| v1::TxnRequest { failure: vec![op], ..v1::TxnRequest::default() });
    for asked in compares.into_iter().chain(success).chain(failure) {
        refused(desk.kv().txn(asked).await, Code::InvalidArgument, "invalid");
    }
    assert!(desk.store.state().written.is_empty());
}
