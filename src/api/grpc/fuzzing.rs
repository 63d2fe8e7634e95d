//! What must hold of the messages of `quorate.v1.Kv` for any bytes in them, on their way to commands.

use bytes::Bytes;
use prost::Message;
use tonic::Code;

use crate::codec;
use crate::command::{Command, Forward, SessionSeq, TXN_ANSWER_BYTES_MAX};
use crate::config::Limits;
use crate::proto::v1;
use crate::proto::v1::operation::Request as Asked;

use super::counted::unreadable;
use super::error::Refusal;
use super::received::Method;
use super::{front, requests};

/// An input is a method, by its place here, and a message of it.
const METHODS: [&str; 6] = ["Get", "Put", "Delete", "List", "Txn", "Pipeline"];

/// A write, and its place in its session.
type Written = (Option<SessionSeq>, Command);

/// A message is refused with a reason, or it becomes commands that are no larger than it, but that keys may be named twice,
/// and that nodes can pass on.
pub(crate) fn check(input: &[u8]) -> bool {
    let Some((method, message)) = input.split_first() else { return false };
    let method = METHODS[usize::from(*method) % METHODS.len()];
    let limits = Limits::default();
    let found = match read(method, Bytes::copy_from_slice(message)) {
        Ok(found) => found,
        Err(refusal) => return refused(refusal),
    };
    for request in found {
        let bytes = requests::answer_bytes_max(&limits, &request);
        let bytes_max = limits.list_bytes_max.max(TXN_ANSWER_BYTES_MAX);
        assert!(bytes <= bytes_max, "{bytes} bytes may be answered to {request:?}");
        match written(&limits, request) {
            Ok(Some(written)) => check_written(written, message.len()),
            Ok(None) => {}
            Err(refusal) => return refused(refusal),
        }
    }
    true
}

/// The requests of a message, as the door reads them.
fn read(method: &str, message: Bytes) -> Result<Vec<Asked>, Refusal> {
    Method::of(method).cost(&message)?;
    Ok(match method {
        "Get" => vec![Asked::Get(decode(message)?)],
        "Put" => vec![Asked::Put(decode(message)?)],
        "Delete" => vec![Asked::Delete(decode(message)?)],
        "List" => vec![Asked::List(decode(message)?)],
        "Txn" => vec![Asked::Txn(decode(message)?)],
        _ => {
            let request: v1::PipelineRequest = decode(message)?;
            request.operations.into_iter().filter_map(|operation| operation.request).collect()
        }
    })
}

fn decode<Q: Message + Default>(message: Bytes) -> Result<Q, Refusal> {
    Q::decode(message).map_err(|error| unreadable(&error.to_string()))
}

/// What a request becomes; `None`: it only reads.
fn written(limits: &Limits, request: Asked) -> Result<Option<Written>, Refusal> {
    match request {
        Asked::Get(v1::GetRequest { key, read }) => {
            front::freshness(read.as_ref())?;
            requests::check_key(limits, &key)?;
            Ok(None)
        }
        Asked::Put(request) => {
            requests::check_key(limits, &request.key)?;
            requests::put(request).map(Some)
        }
        Asked::Delete(request) => requests::delete(request).map(Some),
        Asked::List(v1::ListRequest { keys, read, .. }) => {
            front::freshness(read.as_ref())?;
            requests::check_keys(limits, &requests::keys(keys)?)?;
            Ok(None)
        }
        Asked::Txn(v1::TxnRequest { compares, success, failure, read, session }) => {
            front::freshness(read.as_ref())?;
            let session = session.map(requests::session_seq).transpose()?;
            Ok(Some((session, requests::txn(compares, success, failure)?.into())))
        }
        Asked::OpenSession(request) => {
            let client = requests::client_id(&request.client)?;
            Ok(Some((None, Command::OpenSession { client })))
        }
        Asked::CloseSession(request) => {
            let client = requests::client_id(&request.client)?;
            Ok(Some((None, Command::CloseSession { client })))
        }
    }
}

fn check_written((session, command): Written, bytes: usize) {
    assert!(command.bytes() <= 2 * bytes, "{} bytes out of {bytes}: {command:?}", command.bytes());
    let forward = Forward { session, command };
    assert_eq!(codec::decode_forward(&codec::encode_forward(&forward)), Ok(forward));
}

/// Whoever asked is told what is wrong with it.
fn refused(refusal: Refusal) -> bool {
    let status = refusal.into_status();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(!status.message().is_empty(), "a refusal without a reason");
    false
}

/// One of each method.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let key = |key: &'static str| Bytes::from_static(key.as_bytes());
    let keys = |which| Some(v1::Keys { which: Some(which) });
    let client = Bytes::from_static(&[1; 16]);
    let session = Some(v1::SessionSeq { client: client.clone(), seq: 9, done_below: 8 });
    let stale = v1::ReadOptions {
        consistency: v1::Consistency::Stale.into(),
        max_staleness_ms: Some(500),
        min_revision: 3,
    };
    let get = v1::GetRequest { key: key("key"), read: Some(stale) };
    let (if_revision, previous) = (Some(7), true);
    let put = v1::PutRequest { key: key("key"), value: key("value"), if_revision, previous, session };
    let prefix = keys(v1::keys::Which::Prefix(key("job/")));
    let delete = v1::DeleteRequest { keys: prefix, previous: true, ..v1::DeleteRequest::default() };
    let range = v1::keys::Which::Range(v1::KeyRange { from: key("a"), to: Some(key("b")) });
    let list = v1::ListRequest { keys: keys(range), limit: 10, ..v1::ListRequest::default() };
    let operation = |id, timeout_ms, request| v1::Operation { id, timeout_ms, request: Some(request) };
    let puts = v1::TxnRequest { success: vec![put_op()], ..v1::TxnRequest::default() };
    let operations = vec![
        operation(1, 250, Asked::Get(v1::GetRequest { key: key("k"), read: None })),
        operation(2, 0, Asked::Txn(puts)),
        operation(3, 0, Asked::OpenSession(v1::OpenSessionRequest { client })),
    ];
    vec![
        ("get", sample(0, &get)),
        ("put", sample(1, &put)),
        ("delete", sample(2, &delete)),
        ("list", sample(3, &list)),
        ("txn", sample(4, &txn())),
        ("pipeline", sample(5, &v1::PipelineRequest { operations })),
    ]
}

fn sample(method: u8, message: &impl Message) -> Vec<u8> {
    [&[method][..], &message.encode_to_vec()].concat()
}

fn put_op() -> v1::TxnOp {
    let (key, value) = (Bytes::from_static(b"k"), Some(Bytes::from_static(b"v")));
    v1::TxnOp { op: Some(v1::txn_op::Op::Put(v1::TxnPut { key, value, previous: false })) }
}

/// A transaction with one of each part.
fn txn() -> v1::TxnRequest {
    use v1::keys::Which;
    use v1::txn_op::Op;
    let keys = |which| Some(v1::Keys { which: Some(which) });
    let op = |op| v1::TxnOp { op: Some(op) };
    let compare = v1::Compare {
        keys: keys(Which::Key(Bytes::from_static(b"k"))),
        relation: v1::compare::Relation::Greater.into(),
        target: Some(v1::compare::Target::ModRevision(7)),
    };
    let delete =
        Op::Delete(v1::TxnDelete { keys: keys(Which::Key(Bytes::from_static(b"d"))), previous: false });
    let inner = v1::Txn { success: vec![op(delete)], ..v1::Txn::default() };
    let range = v1::TxnRange {
        keys: keys(Which::Prefix(Bytes::from_static(b"k"))),
        limit: 10,
        order_by: v1::txn_range::OrderBy::ModRevision.into(),
        descending: true,
        ..v1::TxnRange::default()
    };
    v1::TxnRequest {
        compares: vec![compare],
        success: vec![put_op(), op(Op::Txn(inner))],
        failure: vec![op(Op::Range(range))],
        ..v1::TxnRequest::default()
    }
}
