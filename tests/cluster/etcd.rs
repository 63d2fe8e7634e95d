//! The same messages to a real etcd and to a node: each must answer the same, error texts included. What `etcdctl` cannot
//! say is said here: transactions in transactions, comparisons of ranges, bounds, negative numbers, mistakes.

use bytes::Bytes;
use quorate::proto::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate::proto::etcd::etcdserverpb::kv_client::KvClient;
use quorate::proto::etcd::etcdserverpb::request_op::Request;
use quorate::proto::etcd::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use crate::harness::Cluster;
use crate::harness::etcd::Etcd;
use crate::harness::many::{runtime, within};
use crate::harness::skip::{is_installed, skipped};

/// A call.
#[derive(Clone, Debug)]
enum Call {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
}

/// Everything of an answer but who gave it.
fn essence<T: std::fmt::Debug>(
    answer: Result<Response<T>, Status>,
    header: impl Fn(&mut T) -> &mut Option<ResponseHeader>,
) -> String {
    match answer {
        Ok(answer) => {
            let mut answer = answer.into_inner();
            let header = header(&mut answer).as_mut().expect("every answer has a header");
            *header = ResponseHeader { revision: header.revision, ..ResponseHeader::default() };
            format!("{answer:#?}")
        }
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

async fn answer(client: &mut KvClient<Channel>, call: Call) -> String {
    match call {
        Call::Range(request) => essence(client.range(request).await, |answer| &mut answer.header),
        Call::Put(request) => essence(client.put(request).await, |answer| &mut answer.header),
        Call::Delete(request) => essence(client.delete_range(request).await, |answer| &mut answer.header),
        Call::Txn(request) => essence(client.txn(request).await, |answer| &mut answer.header),
    }
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn range(key: &'static str, range_end: &'static str, change: impl FnOnce(&mut RangeRequest)) -> RangeRequest {
    let mut range = RangeRequest { key: bytes(key), range_end: bytes(range_end), ..RangeRequest::default() };
    change(&mut range);
    range
}

fn put(key: &'static str, value: &'static str, change: impl FnOnce(&mut PutRequest)) -> PutRequest {
    let mut put = PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() };
    change(&mut put);
    put
}

fn delete(key: &'static str, range_end: &'static str, prev_kv: bool) -> DeleteRangeRequest {
    DeleteRangeRequest { key: bytes(key), range_end: bytes(range_end), prev_kv }
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put_op(key: &'static str, value: &'static str) -> RequestOp {
    op(Request::RequestPut(put(key, value, |_| {})))
}

fn range_op(key: &'static str, range_end: &'static str) -> RequestOp {
    op(Request::RequestRange(range(key, range_end, |_| {})))
}

fn delete_op(key: &'static str, range_end: &'static str) -> RequestOp {
    op(Request::RequestDeleteRange(delete(key, range_end, true)))
}

fn txn_op(txn: TxnRequest) -> RequestOp {
    op(Request::RequestTxn(txn))
}

fn txn(compare: Vec<Compare>, success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { compare, success, failure }
}

fn compare(key: &'static str, range_end: &'static str, result: CompareResult, union: TargetUnion) -> Compare {
    let target = match union {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        result: result.into(),
        target: target.into(),
        key: bytes(key),
        range_end: bytes(range_end),
        target_union: Some(union),
    }
}

/// Some keys with different revisions, versions and values.
fn fill() -> Vec<Call> {
    let puts = [
        ("a", "5"),
        ("b/1", "4"),
        ("b/2", "3"),
        ("b/3", "9"),
        ("c", "1"),
        ("b/2", "2"),
        ("a", "6"),
        ("a", "7"),
    ];
    puts.map(|(key, value)| Call::Put(put(key, value, |_| {}))).into()
}

fn ranges() -> Vec<Call> {
    let mut calls = Vec::new();
    for (key, end) in
        [("a", ""), ("none", ""), ("a", "c"), ("b", "\0"), ("\0", "\0"), ("c", "a"), ("a", "a"), ("", "\0")]
    {
        calls.push(range(key, end, |_| {}));
        calls.push(range(key, end, |range| range.keys_only = true));
        calls.push(range(key, end, |range| range.count_only = true));
        calls.push(range(key, end, |range| {
            (range.count_only, range.keys_only, range.limit) = (true, true, 1)
        }));
        calls.push(range(key, end, |range| range.serializable = true));
    }
    for limit in [-1, 0, 1, 4, 5, 6, 100] {
        calls.push(range("a", "\0", |range| range.limit = limit));
        // Equal ones have no order in etcd: create revisions differ.
        calls.push(range("a", "\0", |range| {
            (range.limit, range.sort_target, range.sort_order) = (limit, 2, 2)
        }));
    }
    for target in [0, 2, 3, 4] {
        for order in 0..3 {
            calls.push(range("a", "\0", |range| (range.sort_target, range.sort_order) = (target, order)));
        }
    }
    for (min, max) in [(0, 3), (4, 0), (4, 6), (6, 4), (-1, 0), (0, -1), (100, 0)] {
        calls.push(range("a", "\0", |range| (range.min_mod_revision, range.max_mod_revision) = (min, max)));
        calls.push(range("a", "\0", |range| {
            (range.min_create_revision, range.max_create_revision) = (min, max)
        }));
        calls.push(range("a", "\0", |range| {
            (range.min_mod_revision, range.max_create_revision, range.limit) = (min, max, 1)
        }));
        calls.push(range("a", "", |range| range.min_mod_revision = min));
    }
    for revision in [-1, 9, 10, 1_000] {
        calls.push(range("a", "", |range| range.revision = revision));
        calls.push(range("a", "\0", |range| range.revision = revision));
    }
    calls.into_iter().map(Call::Range).collect()
}

fn compares() -> Vec<Call> {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    let mut calls = Vec::new();
    for result in [Equal, NotEqual, Greater, Less] {
        for (key, end) in [("a", ""), ("none", ""), ("b", "c"), ("x", "z"), ("a", "\0"), ("c", "a")] {
            for number in [-1, 0, 1, 2, 3, 4, 7, 9] {
                for union in [
                    TargetUnion::Version(number),
                    TargetUnion::CreateRevision(number),
                    TargetUnion::ModRevision(number),
                    TargetUnion::Lease(number),
                ] {
                    calls.push(compare(key, end, result, union));
                }
            }
            for value in ["", "1", "3", "7", "9"] {
                calls.push(compare(key, end, result, TargetUnion::Value(bytes(value))));
            }
        }
    }
    let mut mixed = compare("a", "", Equal, TargetUnion::Version(3));
    mixed.target = CompareTarget::Mod.into();
    calls.push(mixed.clone());
    mixed.target_union = None;
    calls.push(mixed);
    // Many at a time: one that does not hold hides no other.
    let one = |compare: Compare| Call::Txn(txn(vec![compare], vec![], vec![]));
    calls.into_iter().map(one).collect()
}

fn writes() -> Vec<Call> {
    let nested = |key, success, failure| {
        txn(vec![compare(key, "", CompareResult::Equal, TargetUnion::Version(0))], success, failure)
    };
    vec![
        Call::Put(put("d", "1", |put| put.prev_kv = true)),
        Call::Put(put("d", "2", |put| put.prev_kv = true)),
        Call::Put(put("d", "", |put| (put.ignore_value, put.prev_kv) = (true, true))),
        Call::Put(put("d", "3", |put| (put.ignore_lease, put.prev_kv) = (true, true))),
        Call::Put(put("d", "", |put| (put.ignore_lease, put.ignore_value) = (true, true))),
        Call::Range(range("d", "", |_| {})),
        // Order of operations and the revisions that each shows.
        Call::Txn(txn(
            vec![],
            vec![range_op("d", ""), put_op("e", "1"), range_op("e", ""), delete_op("d", "")],
            vec![],
        )),
        Call::Txn(txn(vec![], vec![delete_op("none", ""), range_op("e", ""), put_op("f", "1")], vec![])),
        Call::Txn(txn(vec![], vec![delete_op("none", ""), range_op("e", "")], vec![])),
        Call::Txn(txn(vec![], vec![], vec![])),
        // What is compared is what was there before the first operation.
        Call::Txn(txn(
            vec![],
            vec![
                put_op("new", "1"),
                txn_op(nested("new", vec![put_op("g", "absent")], vec![put_op("g", "there")])),
            ],
            vec![],
        )),
        Call::Range(range("g", "", |_| {})),
        Call::Txn(txn(
            vec![],
            vec![
                txn_op(nested(
                    "g",
                    vec![],
                    vec![txn_op(nested("h", vec![put_op("h", "1"), range_op("g", "i")], vec![]))],
                )),
                range_op("h", ""),
            ],
            vec![],
        )),
        // In a transaction a put that keeps something, of a key that is there and of one that is not.
        Call::Txn(txn(
            vec![],
            vec![
                op(Request::RequestPut(put("h", "2", |put| put.ignore_lease = true))),
                op(Request::RequestPut(put("g", "", |put| (put.ignore_value, put.prev_kv) = (true, true)))),
            ],
            vec![],
        )),
        Call::Txn(txn(
            vec![],
            vec![put_op("i", "1"), op(Request::RequestPut(put("none", "2", |put| put.ignore_lease = true)))],
            vec![],
        )),
        Call::Txn(txn(
            vec![],
            vec![put_op("i", "1"), op(Request::RequestPut(put("none", "", |put| put.ignore_value = true)))],
            vec![],
        )),
        Call::Range(range("i", "", |_| {})),
        Call::Delete(delete("none", "", true)),
        Call::Delete(delete("e", "g", false)),
        Call::Delete(delete("g", "", true)),
        Call::Delete(delete("z", "a", false)),
        Call::Delete(delete("b/", "b0", true)),
        Call::Put(put("b/2", "again", |_| {})),
        Call::Range(range("\0", "\0", |_| {})),
        Call::Delete(delete("\0", "\0", true)),
        Call::Range(range("\0", "\0", |_| {})),
    ]
}

fn mistakes() -> Vec<Call> {
    let ops = |count: usize| (0..count).map(|_| range_op("a", "")).collect::<Vec<_>>();
    let compares = |count| vec![compare("a", "", CompareResult::Equal, TargetUnion::Version(0)); count];
    let inner = |success: Vec<RequestOp>, failure: Vec<RequestOp>| txn_op(txn(vec![], success, failure));
    let success = |ops: Vec<RequestOp>| Call::Txn(txn(vec![], ops, vec![]));
    let keyless = compare("", "", CompareResult::Equal, TargetUnion::Version(0));
    vec![
        Call::Put(put("", "1", |_| {})),
        Call::Put(put("a", "1", |put| put.ignore_value = true)),
        Call::Put(put("a", "1", |put| (put.ignore_lease, put.lease) = (true, 1))),
        Call::Put(put("a", "1", |put| put.lease = 1)),
        Call::Put(put("none", "", |put| put.ignore_value = true)),
        Call::Put(put("none", "1", |put| put.ignore_lease = true)),
        Call::Put(put("a", "", |put| put.value = Bytes::from(vec![b'x'; 1_600_000]))),
        Call::Delete(delete("", "", false)),
        Call::Delete(delete("", "\0", false)),
        Call::Range(range("", "", |_| {})),
        Call::Txn(txn(vec![keyless], vec![], vec![])),
        success(vec![put_op("", "1")]),
        success(vec![RequestOp { request: None }]),
        success(vec![op(Request::RequestPut(put("a", "1", |put| put.lease = 1)))]),
        success(vec![put_op("a", "1"), put_op("a", "1")]),
        Call::Txn(txn(compares(1), vec![], vec![put_op("a", "1"), delete_op("a", "")])),
        success(vec![put_op("b", "1"), delete_op("a", "c")]),
        success(vec![put_op("c", "1"), delete_op("a", "c")]),
        success(vec![delete_op("a", "c"), delete_op("b", "d")]),
        success(vec![put_op("a", "1"), inner(vec![], vec![put_op("a", "1")])]),
        success(vec![inner(vec![put_op("a", "1")], vec![put_op("a", "2")])]),
        success(vec![inner(vec![put_op("a", "1")], vec![]), inner(vec![], vec![put_op("a", "2")])]),
        success(vec![delete_op("a", ""), inner(vec![put_op("a", "1")], vec![])]),
        success(vec![inner(vec![delete_op("a", "b")], vec![]), put_op("a", "1")]),
        success(ops(128)),
        success(ops(129)),
        Call::Txn(txn(compares(128), ops(128), ops(128))),
        Call::Txn(txn(compares(129), vec![], vec![])),
        Call::Txn(txn(vec![], vec![], ops(129))),
        success(vec![inner(ops(127), vec![])]),
        success(vec![inner(ops(128), vec![])]),
        Call::Txn(txn(compares(100), vec![inner(vec![], ops(28))], vec![])),
        Call::Txn(txn(compares(100), vec![inner(vec![], ops(29))], vec![])),
        success(vec![op(Request::RequestRange(range("a", "", |range| range.revision = 1_000)))]),
        Call::Range(range("\0", "\0", |_| {})),
    ]
}

#[test]
fn the_same_messages_are_answered_the_same_by_etcd_and_here() {
    const NAME: &str = "etcd::the_same_messages_are_answered_the_same_by_etcd_and_here";
    if !is_installed("etcd", "--version") {
        return skipped(NAME, "etcd", "it is not installed");
    }
    if !is_installed("etcdctl", "version") {
        return skipped(NAME, "etcdctl", "it is not installed");
    }
    let etcd = Etcd::start("etcd-same-etcd");
    let mut cluster = Cluster::start("etcd-same", 1);
    let leader = cluster.wait_ready();
    runtime().block_on(within("all answers", async {
        let connect = async |address: &str| {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
            KvClient::new(endpoint.connect().await.expect("it listens"))
        };
        let mut there = connect(etcd.endpoint()).await;
        let mut here = connect(&cluster.node(leader).grpc).await;
        let calls = [fill(), ranges(), compares(), writes(), fill(), mistakes()].concat();
        assert!(calls.len() > 1_000, "{} calls", calls.len());
        for (number, call) in calls.into_iter().enumerate() {
            let (there, here) =
                (answer(&mut there, call.clone()).await, answer(&mut here, call.clone()).await);
            assert_eq!(there, here, "call {number}, {call:?}: etcd's answer is on the left");
        }
    }));
}
