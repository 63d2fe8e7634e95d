//! Transactions: what is compared and done, the limits, and what comes back.

use futures_util::FutureExt;
use tonic::Code;

use super::node::header;
use super::{Asked, Desk, assert_status, bytes, frame, post, record};
use crate::api::etcd::call::Unary;
use crate::api::etcd::kv::Txn;
use crate::command::{
    self, Command, Found, Keys, Query, Range, Relation, Reply, Selection, Target, TxnAnswer, TxnAnswers,
    TxnOp, TxnRefusal,
};
use crate::proto::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcd::etcdserverpb::request_op::Request;
use crate::proto::etcd::etcdserverpb::response_op::Response;
use crate::proto::etcd::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest,
};
use crate::shard::Consistency;
use crate::types::{Keyspace, Revision};

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put(key: &'static str) -> RequestOp {
    op(Request::RequestPut(PutRequest { key: bytes(key), value: bytes("v"), ..PutRequest::default() }))
}

fn range(change: impl FnOnce(&mut RangeRequest)) -> RequestOp {
    let mut range = RangeRequest { key: bytes("r"), ..RangeRequest::default() };
    change(&mut range);
    op(Request::RequestRange(range))
}

fn delete(key: &'static str, range_end: &'static str) -> RequestOp {
    let (key, range_end) = (bytes(key), bytes(range_end));
    op(Request::RequestDeleteRange(DeleteRangeRequest { key, range_end, prev_kv: false }))
}

fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    op(Request::RequestTxn(TxnRequest { compare: vec![], success, failure }))
}

fn txn(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { compare: vec![], success, failure: vec![] }
}

fn compare(target: CompareTarget, result: CompareResult, union: Option<TargetUnion>) -> Compare {
    Compare {
        result: result.into(),
        target: target.into(),
        key: bytes("k"),
        range_end: bytes(""),
        target_union: union,
    }
}

fn answers(succeeded: bool, answers: Vec<TxnAnswer>) -> TxnAnswers {
    TxnAnswers { succeeded, answers }
}

fn executed(answers: TxnAnswers) -> Reply {
    Reply::Txn { revision: Revision(8), answers }
}

/// What a comparison becomes.
async fn compared(compare: Compare) -> command::Compare {
    let desk = Desk::open();
    desk.finds(Found::Txn(answers(true, vec![])));
    desk.call::<Txn>(TxnRequest { compare: vec![compare], ..TxnRequest::default() }).await.unwrap();
    match desk.query() {
        Query::Txn { txn: command::Txn { mut compares, .. }, .. } => compares.remove(0),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_comparison_is_passed_on() {
    let targets = [
        (CompareTarget::Version, TargetUnion::Version(5), Target::Version(5)),
        (CompareTarget::Create, TargetUnion::CreateRevision(5), Target::CreateRevision(Revision(5))),
        (CompareTarget::Mod, TargetUnion::ModRevision(5), Target::ModRevision(Revision(5))),
        (CompareTarget::Value, TargetUnion::Value(bytes("v")), Target::Value(bytes("v"))),
        (CompareTarget::Lease, TargetUnion::Lease(5), Target::Lease(5)),
    ];
    let results = [
        (CompareResult::Equal, Relation::Equal),
        (CompareResult::NotEqual, Relation::NotEqual),
        (CompareResult::Greater, Relation::Greater),
        (CompareResult::Less, Relation::Less),
    ];
    for (target, union, expected) in targets {
        for (result, relation) in results {
            let found = compared(compare(target, result, Some(union.clone()))).await;
            let keys = Keys::One(bytes("k"));
            assert_eq!(found, command::Compare { keys, relation, target: expected.clone() });
        }
    }
}

#[tokio::test]
async fn the_target_counts_and_not_what_is_beside_it() {
    let given = Some(TargetUnion::Version(5));
    for union in [None, given] {
        let found = compared(compare(CompareTarget::Mod, CompareResult::Equal, union.clone())).await;
        assert_eq!(found.target, Target::ModRevision(Revision(0)));
        let found = compared(compare(CompareTarget::Value, CompareResult::Equal, union)).await;
        assert_eq!(found.target, Target::Value(bytes("")));
    }
}

#[tokio::test]
async fn all_that_there_is_lies_above_a_negative_number() {
    let cases = [
        (CompareResult::Equal, false),
        (CompareResult::NotEqual, true),
        (CompareResult::Greater, true),
        (CompareResult::Less, false),
    ];
    for (result, holds) in cases {
        let found = compared(compare(CompareTarget::Version, result, Some(TargetUnion::Version(-1)))).await;
        let Target::Version(given) = found.target else { panic!("{found:?}") };
        for version in [0, 1, i64::MAX.unsigned_abs()] {
            assert_eq!(found.relation.holds(&version, &given), holds, "{version} {result:?} -1");
        }
    }
}

#[tokio::test]
async fn compares_may_be_of_ranges() {
    let ranged =
        Compare { range_end: bytes("z"), ..compare(CompareTarget::Version, CompareResult::Less, None) };
    assert_eq!(compared(ranged.clone()).await.keys, Keys::Between(bytes("k"), bytes("z")));
    let ranged = Compare { range_end: bytes("\0"), ..ranged };
    assert_eq!(compared(ranged).await.keys, Keys::From(bytes("k")));
}

#[tokio::test]
async fn operations_and_their_answers_are_passed_on() {
    let desk = Desk::open();
    let asked = txn(vec![
        range(|_| {}),
        delete("d", "e"),
        put("p"),
        range(|range| range.range_end = bytes("s")),
        nested(vec![put("q")], vec![]),
    ]);
    let selection = Selection { pairs: vec![(bytes("r"), record(2, 4, 3, "v"))], more: false, count: 1 };
    let done = answers(
        true,
        vec![
            TxnAnswer::Range(selection.clone()),
            TxnAnswer::Delete { deleted: 0, previous: vec![] },
            TxnAnswer::Put { previous: None },
            TxnAnswer::Range(selection),
            TxnAnswer::Txn(answers(true, vec![TxnAnswer::Put { previous: None }])),
        ],
    );
    let answer = desk.replies(executed(done)).call::<Txn>(asked).await.unwrap();
    assert_eq!((answer.header, answer.succeeded), (header(8), true));
    // What a range shows, and what removed nothing, is the revision before, until something changed.
    let revisions: Vec<i64> = answer
        .responses
        .iter()
        .map(|op| match op.response.as_ref().unwrap() {
            Response::ResponseRange(range) => range.header.unwrap().revision,
            Response::ResponseDeleteRange(delete) => delete.header.unwrap().revision,
            Response::ResponsePut(put) => put.header.unwrap().revision,
            Response::ResponseTxn(txn) => {
                assert_eq!(txn.header, Some(ResponseHeader::default()), "etcd says nothing in there");
                txn.header.unwrap().revision
            }
        })
        .collect();
    assert_eq!(revisions, [7, 7, 8, 8, 0]);

    let put = |key| TxnOp::Put { key: bytes(key), value: Some(bytes("v")), previous: false };
    let inner =
        command::Txn { keyspace: Keyspace(0), compares: vec![], success: vec![put("q")], failure: vec![] };
    let expected = command::Txn {
        keyspace: Keyspace(0),
        compares: vec![],
        success: vec![
            TxnOp::Range(Range::of(Keys::One(bytes("r")))),
            TxnOp::Delete { keys: Keys::Between(bytes("d"), bytes("e")), previous: false },
            put("p"),
            TxnOp::Range(Range::of(Keys::Between(bytes("r"), bytes("s")))),
            TxnOp::Txn(inner),
        ],
        failure: vec![],
    };
    assert_eq!(desk.command(), Command::Txn(expected));
}

#[tokio::test]
async fn a_transaction_that_changed_nothing_shows_one_revision() {
    let desk = Desk::open();
    let asked = TxnRequest { failure: vec![delete("d", ""), range(|_| {})], ..txn(vec![put("p")]) };
    let done = answers(
        false,
        vec![TxnAnswer::Delete { deleted: 0, previous: vec![] }, TxnAnswer::Range(Selection::default())],
    );
    let answer = desk.replies(executed(done)).call::<Txn>(asked).await.unwrap();
    assert!(!answer.succeeded);
    let Some(Response::ResponseRange(range)) = &answer.responses[1].response else { panic!("{answer:?}") };
    assert_eq!(range.header.unwrap().revision, 8);
}

#[tokio::test]
async fn what_only_reads_is_no_command() {
    let desk = Desk::open();
    let stale = Consistency::Stale { max_staleness_ms: None };
    let serializable = || range(|range| range.serializable = true);
    let none = || TxnAnswer::Range(Selection::default());
    for (ops, expected) in [
        (vec![range(|_| {})], Consistency::Linearizable),
        (vec![serializable()], stale),
        (vec![serializable(), range(|_| {})], Consistency::Linearizable),
        (vec![], Consistency::Linearizable),
    ] {
        desk.finds(Found::Txn(answers(true, ops.iter().map(|_| none()).collect())));
        let answer = desk.call::<Txn>(txn(ops)).await.unwrap();
        assert_eq!(answer.header, header(7));
        let asked = desk.asked();
        let [Asked::Read(Query::Txn { .. }, freshness, _)] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!(freshness.consistency, expected);
    }
}

#[tokio::test]
async fn a_revision_is_judged_where_it_is_read() {
    let desk = Desk::open();
    let at = |revision| range(move |range| range.revision = revision);
    let found = || Found::Txn(answers(true, vec![TxnAnswer::Range(Selection::default())]));
    desk.finds(found()).call::<Txn>(txn(vec![at(7)])).await.unwrap();
    let text = "etcdserver: mvcc: required revision has been compacted";
    assert_status(desk.finds(found()).call::<Txn>(txn(vec![at(6)])).await, Code::OutOfRange, text);
    let text = "etcdserver: mvcc: required revision is a future revision";
    assert_status(desk.finds(found()).call::<Txn>(txn(vec![at(8)])).await, Code::OutOfRange, text);
    // The list that was not executed asks for nothing.
    let asked = TxnRequest { failure: vec![at(6)], ..txn(vec![at(7)]) };
    desk.finds(found()).call::<Txn>(asked).await.unwrap();
    desk.asked();
    for ops in [vec![at(7), put("p")], vec![nested(vec![], vec![at(7)]), put("p")]] {
        let status = desk.call::<Txn>(txn(ops)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains("compare mod revisions"), "{status}");
    }
    assert_eq!(desk.asked(), [], "what writes is refused before it does");
}

#[tokio::test]
async fn each_list_has_its_limit() {
    let desk = Desk::open();
    let many = |count: usize| (0..count).map(|_| range(|_| {})).collect::<Vec<_>>();
    let compares = |count| vec![compare(CompareTarget::Version, CompareResult::Equal, None); count];
    let text = "etcdserver: too many operations in txn request";
    let too_many = [
        txn(many(129)),
        TxnRequest { failure: many(129), ..txn(vec![]) },
        TxnRequest { compare: compares(129), ..txn(vec![]) },
        // A transaction in one has what the lists around it leave.
        txn(vec![nested(many(128), vec![])]),
        TxnRequest { compare: compares(100), ..txn(vec![nested(vec![], many(29))]) },
    ];
    for asked in too_many {
        assert_status(desk.call::<Txn>(asked).await, Code::InvalidArgument, text);
    }
    // However they lie in each other, there are not more than a transaction has parts.
    let wide = txn((0..64).map(|_| nested(many(32), vec![])).collect());
    assert_status(desk.call::<Txn>(wide).await, Code::InvalidArgument, text);
    let full = TxnRequest { compare: compares(128), success: many(128), failure: many(128) };
    let none = |count: usize| (0..count).map(|_| TxnAnswer::Range(Selection::default())).collect::<Vec<_>>();
    desk.finds(Found::Txn(answers(false, none(128)))).call::<Txn>(full).await.unwrap();
    let inner = answers(true, vec![TxnAnswer::Txn(answers(true, none(127)))]);
    desk.finds(Found::Txn(inner)).call::<Txn>(txn(vec![nested(many(127), vec![])])).await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_transaction_is_said_as_etcd_says_it() {
    let desk = Desk::open();
    let invalid = |text| (Code::InvalidArgument, text);
    let put_with = |change: fn(&mut PutRequest)| {
        let mut put = PutRequest { key: bytes("p"), value: bytes("v"), ..PutRequest::default() };
        change(&mut put);
        op(Request::RequestPut(put))
    };
    let duplicate = invalid("etcdserver: duplicate key given in txn request");
    let empty = invalid("etcdserver: key is not provided");
    let keyless = Compare { key: bytes(""), ..compare(CompareTarget::Version, CompareResult::Equal, None) };
    let cases = [
        (txn(vec![put("a"), put("a")]), duplicate),
        (txn(vec![put("a"), delete("a", "b")]), duplicate),
        (txn(vec![put("a"), nested(vec![], vec![put("a")])]), duplicate),
        (txn(vec![put("")]), empty),
        (txn(vec![delete("", "\0")]), empty),
        (txn(vec![range(|range| range.key = bytes(""))]), empty),
        (TxnRequest { compare: vec![keyless], ..txn(vec![]) }, empty),
        (txn(vec![nested(vec![put("")], vec![])]), empty),
        (txn(vec![put_with(|put| put.ignore_value = true)]), invalid("etcdserver: value is provided")),
        (txn(vec![put_with(|put| put.lease = 1)]), (Code::NotFound, "etcdserver: requested lease not found")),
        (txn(vec![range(|range| range.sort_target = 7)]), invalid("etcdserver: invalid sort option")),
        (txn(vec![RequestOp { request: None }]), invalid("etcdserver: key not found")),
    ];
    for (asked, (code, text)) in cases {
        assert_status(desk.call::<Txn>(asked).await, code, text);
    }
    for odd in [
        Compare { result: 9, ..compare(CompareTarget::Version, CompareResult::Equal, None) },
        Compare { target: 9, ..compare(CompareTarget::Version, CompareResult::Equal, None) },
    ] {
        let status = desk.call::<Txn>(TxnRequest { compare: vec![odd], ..txn(vec![]) }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    assert_eq!(desk.asked(), [], "nothing of it reached the node");
    let refused = Reply::TxnRefused { why: TxnRefusal::NoSuchKey };
    let status = desk.replies(refused).call::<Txn>(txn(vec![put("a")])).await;
    assert_status(status, Code::InvalidArgument, "etcdserver: key not found");
}

#[tokio::test]
async fn a_put_that_keeps_the_lease_answers_as_a_put() {
    let desk = Desk::open();
    let keeping =
        PutRequest { key: bytes("p"), value: bytes("v"), ignore_lease: true, ..PutRequest::default() };
    let put = TxnAnswer::Txn(answers(false, vec![TxnAnswer::Put { previous: None }]));
    desk.replies(executed(answers(true, vec![put])));
    let answer = desk.call::<Txn>(txn(vec![op(Request::RequestPut(keeping))])).await.unwrap();
    assert!(matches!(answer.responses[0].response, Some(Response::ResponsePut(_))), "{answer:?}");
}

/// Two bytes on the wire are an operation of some hundred.
#[tokio::test]
async fn too_many_operations_are_refused_before_they_are_decoded() {
    let desk = Desk::open();
    let ask = |count: usize| post(Txn::PATH, frame(&[0x12, 0].repeat(count)));
    let request = ask(1_900_000);
    let (sent, bytes) =
        crate::fuzzing::meter::measure(|| desk.send(request).now_or_never().expect("it is said at once"));
    assert_eq!(sent.status.message(), "etcdserver: too many operations in txn request");
    assert!(bytes < 1 << 20, "it took {bytes} bytes");
    let sent = desk.send(ask(128)).await;
    assert_eq!(sent.status.message(), "etcdserver: key not found", "it is looked at");
}
