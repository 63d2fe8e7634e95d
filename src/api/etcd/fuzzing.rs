//! What must hold of the messages of `etcdserverpb.KV` for any bytes in them, on their way to commands.

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

use crate::api::elements::{self, Refused};
use crate::codec;
use crate::command::{Forward, TXN_DEPTH_MAX, TXN_PARTS_MAX, Txn, TxnOp};
use crate::proto::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcd::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcd::etcdserverpb::request_op::Request;
use crate::proto::etcd::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

use super::{error, request};

// An input is a method and a message of it.

const RANGE: u8 = 0;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const TXN: u8 = 3;

/// A message is refused with a text, or it becomes a transaction that is no larger than it, but that a put's key may be named
/// three times, and that nodes can pass on.
pub(crate) fn check(input: &[u8]) -> bool {
    let Some((method, message)) = input.split_first() else { return false };
    let txn = match written(*method, Bytes::copy_from_slice(message)) {
        Ok(Some(txn)) => txn,
        Ok(None) => return true,
        Err(status) => return refused(&status),
    };
    assert!(txn.bytes() <= 3 * message.len(), "{} bytes out of {}: {txn:?}", txn.bytes(), message.len());
    // One that is deeper the node refuses, before it encodes it.
    if depth(&txn) <= TXN_DEPTH_MAX {
        let forward = Forward { session: None, command: txn.into() };
        assert_eq!(codec::decode_forward(&codec::encode_forward(&forward)), Ok(forward));
    }
    true
}

/// What a message becomes, as the door makes it of one; `None`: it only reads.
fn written(method: u8, message: Bytes) -> Result<Option<Txn>, Status> {
    match method % 4 {
        RANGE => {
            let asked: RangeRequest = decode(message)?;
            request::range(&asked)?;
            Ok(None)
        }
        PUT => {
            let asked: PutRequest = decode(message)?;
            Ok(Some(request::txn_of(request::put(&asked)?)))
        }
        DELETE => {
            let asked: DeleteRangeRequest = decode(message)?;
            let keys = request::keys(&asked.key, &asked.range_end)?;
            Ok(Some(request::txn_of(TxnOp::Delete { keys, previous: asked.prev_kv })))
        }
        _ => {
            let counted = elements::count(&message, &request::TXN, TXN_PARTS_MAX);
            counted.map_err(|refused| match refused {
                Refused::TooMany => error::too_many_operations(),
                Refused::Unreadable(why) => error::not_understood(&why),
            })?;
            let asked: TxnRequest = decode(message)?;
            let txn = request::txn(&asked)?;
            assert!(
                txn.is_read_only() || !request::is_serializable(&asked),
                "stale, and it writes: {asked:?}"
            );
            Ok(Some(txn))
        }
    }
}

fn decode<Q: Message + Default>(message: Bytes) -> Result<Q, Status> {
    Q::decode(message).map_err(|error| error::not_understood(&error.to_string()))
}

/// How deep transactions lie in each other.
fn depth(txn: &Txn) -> usize {
    let ops = txn.success.iter().chain(&txn.failure);
    let inner = ops.map(|op| if let TxnOp::Txn(inner) = op { depth(inner) } else { 0 });
    1 + inner.max().unwrap_or(0)
}

/// Whoever asked is told what is wrong with it.
fn refused(status: &Status) -> bool {
    let code = status.code();
    let is_known = matches!(code, Code::InvalidArgument | Code::NotFound | Code::Unimplemented);
    assert!(is_known && !status.message().is_empty(), "{status}");
    false
}

/// One of each method, and a put that keeps the lease.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let key = |key: &'static str| Bytes::from_static(key.as_bytes());
    let range = RangeRequest {
        key: key("a"),
        range_end: key("b"),
        limit: 10,
        sort_order: SortOrder::Descend.into(),
        sort_target: SortTarget::Mod.into(),
        max_mod_revision: 300,
        ..RangeRequest::default()
    };
    let put = PutRequest { key: key("key"), value: key("value"), ..PutRequest::default() };
    let keep = PutRequest { ignore_lease: true, ..put.clone() };
    let put = PutRequest { prev_kv: true, ..put };
    let delete = DeleteRangeRequest { key: key("a"), range_end: key("\0"), prev_kv: true };
    vec![
        ("range", sample(RANGE, &range)),
        ("put", sample(PUT, &put)),
        ("keep", sample(PUT, &keep)),
        ("delete", sample(DELETE, &delete)),
        ("txn", sample(TXN, &txn())),
    ]
}

fn sample(method: u8, message: &impl Message) -> Vec<u8> {
    [&[method][..], &message.encode_to_vec()].concat()
}

/// A transaction with one of each part.
fn txn() -> TxnRequest {
    let key = |key: &'static str| Bytes::from_static(key.as_bytes());
    let op = |request| RequestOp { request: Some(request) };
    let compare = Compare {
        result: CompareResult::Greater.into(),
        target: CompareTarget::Mod.into(),
        key: key("k"),
        target_union: Some(TargetUnion::ModRevision(7)),
        ..Compare::default()
    };
    let put = PutRequest { key: key("k"), value: key("v"), ..PutRequest::default() };
    let delete = DeleteRangeRequest { key: key("d"), ..DeleteRangeRequest::default() };
    let inner =
        TxnRequest { success: vec![op(Request::RequestDeleteRange(delete))], ..TxnRequest::default() };
    let range = RangeRequest { key: key("k"), ..RangeRequest::default() };
    TxnRequest {
        compare: vec![compare],
        success: vec![op(Request::RequestPut(put)), op(Request::RequestTxn(inner))],
        failure: vec![op(Request::RequestRange(range))],
    }
}
