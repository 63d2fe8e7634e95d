//! Messages of clients as commands and queries.
//!
//! What can be said as a [`Write`] is said so, for its log entry is shorter; all else is a [`Txn`]. What is judged here is
//! what the messages alone allow, and the sizes of what is only read; what may be written is judged behind the router, the
//! same for every front door.

use bytes::Bytes;

use super::error::Refusal;
use crate::command::{
    Command, Compare, Condition, Content, Keys, Op, Order, OrderBy, Range, Relation, SessionSeq,
    TXN_ANSWER_BYTES_MAX, TXN_DEPTH_MAX, Target, Txn, TxnOp, Write,
};
use crate::config::Limits;
use crate::proto::v1;
use crate::proto::v1::compare::{self, Relation as V1Relation};
use crate::proto::v1::keys::Which;
use crate::proto::v1::operation::Request as Asked;
use crate::proto::v1::txn_op;
use crate::proto::v1::txn_range::OrderBy as V1OrderBy;
use crate::types::{ClientId, Keyspace, Revision, Seq};

/// The keyspace of all requests.
pub(super) const KEYSPACE: Keyspace = Keyspace(0);

/// A put.
pub(super) fn put(request: v1::PutRequest) -> Result<(Option<SessionSeq>, Command), Refusal> {
    let v1::PutRequest { key, value, if_revision, previous, session } = request;
    let session = session.map(session_seq).transpose()?;
    if previous {
        let op = TxnOp::Put { key: key.clone(), value: Some(value), previous };
        return Ok((session, txn_if(key, if_revision, op).into()));
    }
    let op = Op::Put { key: key.clone(), value };
    Ok((session, write_if(key, if_revision, op).into()))
}

/// A delete.
pub(super) fn delete(request: v1::DeleteRequest) -> Result<(Option<SessionSeq>, Command), Refusal> {
    let v1::DeleteRequest { keys, if_revision, previous, session } = request;
    let session = session.map(session_seq).transpose()?;
    let keys = self::keys(keys)?;
    match keys {
        Keys::One(key) if !previous => {
            let op = Op::Delete { key: key.clone() };
            Ok((session, write_if(key, if_revision, op).into()))
        }
        Keys::One(key) => {
            let op = TxnOp::Delete { keys: Keys::One(key.clone()), previous };
            Ok((session, txn_if(key, if_revision, op).into()))
        }
        _ if if_revision.is_some() => {
            let text = "if_revision is for a single key: name one, or use a transaction whose compares say what must hold";
            Err(Refusal::invalid(text))
        }
        keys => {
            let success = vec![TxnOp::Delete { keys, previous }];
            let txn = Txn { keyspace: KEYSPACE, compares: Vec::new(), success, failure: Vec::new() };
            Ok((session, txn.into()))
        }
    }
}

fn write_if(key: Bytes, if_revision: Option<u64>, op: Op) -> Write {
    let condition = if_revision.map(|revision| Condition::ModRevision { key, revision: Revision(revision) });
    Write { keyspace: KEYSPACE, conditions: condition.into_iter().collect(), ops: vec![op] }
}

fn txn_if(key: Bytes, if_revision: Option<u64>, op: TxnOp) -> Txn {
    let compare = if_revision.map(|revision| Compare {
        keys: Keys::One(key),
        relation: Relation::Equal,
        target: Target::ModRevision(Revision(revision)),
    });
    let compares = compare.into_iter().collect();
    Txn { keyspace: KEYSPACE, compares, success: vec![op], failure: Vec::new() }
}

/// A write's place in its session.
pub(super) fn session_seq(session: v1::SessionSeq) -> Result<SessionSeq, Refusal> {
    let v1::SessionSeq { client, seq, done_below } = session;
    let client = client_id(&client)?;
    if seq == 0 {
        return Err(Refusal::invalid("session.seq is 0: the first write of a session has 1"));
    }
    Ok(SessionSeq { client, seq: Seq(seq), done_below: Seq(done_below) })
}

/// A session's id: 16 bytes, the most significant one first.
pub(super) fn client_id(client: &[u8]) -> Result<ClientId, Refusal> {
    let bytes = <[u8; 16]>::try_from(client).map_err(|_| {
        Refusal::invalid(format!("client has {} bytes: a session's id has 16, drawn at random", client.len()))
    })?;
    Ok(ClientId(u128::from_be_bytes(bytes)))
}

/// Which keys are meant.
pub(super) fn keys(keys: Option<v1::Keys>) -> Result<Keys, Refusal> {
    match keys.and_then(|keys| keys.which) {
        Some(Which::Key(key)) => Ok(Keys::One(key)),
        Some(Which::Prefix(prefix)) => Ok(Keys::prefix(prefix)),
        Some(Which::Range(v1::KeyRange { from, to: Some(to) })) => Ok(Keys::Between(from, to)),
        Some(Which::Range(v1::KeyRange { from, to: None })) => Ok(Keys::From(from)),
        None => Err(Refusal::invalid(
            "keys are missing: give one of key, prefix and range (an empty prefix means all)",
        )),
    }
}

/// Judges keys that are only read: what is written is judged behind the router.
pub(super) fn check_keys(limits: &Limits, keys: &Keys) -> Result<(), Refusal> {
    match keys {
        Keys::One(key) => check_key(limits, key),
        Keys::From(from) => check_bound(limits, from),
        Keys::Between(from, to) => check_bound(limits, from).and_then(|()| check_bound(limits, to)),
    }
}

/// The same of one key.
pub(super) fn check_key(limits: &Limits, key: &Bytes) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(Refusal::invalid(format!(
            "the key is missing: a key has 1 to {} bytes",
            limits.key_bytes_max
        )));
    }
    check_bound(limits, key)
}

/// The same of where keys begin or end, which may be empty.
pub(super) fn check_bound(limits: &Limits, bound: &Bytes) -> Result<(), Refusal> {
    if bound.len() > limits.key_bytes_max {
        let text = format!("a key has 1 to {} bytes, this one has {}", limits.key_bytes_max, bound.len());
        return Err(Refusal::invalid(text));
    }
    Ok(())
}

/// A transaction.
pub(super) fn txn(
    compares: Vec<v1::Compare>,
    success: Vec<v1::TxnOp>,
    failure: Vec<v1::TxnOp>,
) -> Result<Txn, Refusal> {
    txn_at(1, compares, success, failure)
}

/// One that lies `depth` deep.
fn txn_at(
    depth: usize,
    compares: Vec<v1::Compare>,
    success: Vec<v1::TxnOp>,
    failure: Vec<v1::TxnOp>,
) -> Result<Txn, Refusal> {
    // Here and not only behind the router: deeper ones would be walked on the stack.
    if depth > TXN_DEPTH_MAX {
        let text = format!("transactions lie in each other more than {TXN_DEPTH_MAX} deep");
        return Err(Refusal::invalid(text));
    }
    let ops =
        |ops: Vec<v1::TxnOp>| ops.into_iter().map(|op| txn_op(depth, op)).collect::<Result<Vec<_>, _>>();
    Ok(Txn {
        keyspace: KEYSPACE,
        compares: compares.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: ops(success)?,
        failure: ops(failure)?,
    })
}

/// What an operation may answer with at most, in bytes; 0 where that is no more than one value, of a read.
pub(super) fn answer_bytes_max(limits: &Limits, request: &Asked) -> usize {
    match request {
        Asked::Put(put) if put.previous => limits.key_bytes_max + limits.value_bytes_max,
        Asked::Delete(delete) if delete.previous => found_bytes_max(limits, delete.keys.as_ref()),
        Asked::List(_) => limits.list_bytes_max,
        Asked::Txn(txn) => txn_bytes_max(limits, &txn.success, &txn.failure),
        _ => 0,
    }
}

/// The same of a transaction: either the one list or the other is done.
fn txn_bytes_max(limits: &Limits, success: &[v1::TxnOp], failure: &[v1::TxnOp]) -> usize {
    let op = |op: &v1::TxnOp| match &op.op {
        Some(txn_op::Op::Range(range)) if range.count_only => 0,
        Some(txn_op::Op::Range(range)) => found_bytes_max(limits, range.keys.as_ref()),
        Some(txn_op::Op::Put(put)) if put.previous => limits.key_bytes_max + limits.value_bytes_max,
        Some(txn_op::Op::Delete(delete)) if delete.previous => found_bytes_max(limits, delete.keys.as_ref()),
        Some(txn_op::Op::Txn(txn)) => txn_bytes_max(limits, &txn.success, &txn.failure),
        _ => 0,
    };
    let ops = |ops: &[v1::TxnOp]| ops.iter().map(op).sum::<usize>().min(TXN_ANSWER_BYTES_MAX);
    ops(success).max(ops(failure))
}

fn found_bytes_max(limits: &Limits, keys: Option<&v1::Keys>) -> usize {
    match keys.and_then(|keys| keys.which.as_ref()) {
        Some(Which::Key(_)) => limits.key_bytes_max + limits.value_bytes_max,
        Some(_) => TXN_ANSWER_BYTES_MAX,
        None => 0,
    }
}

fn compare(compare: v1::Compare) -> Result<Compare, Refusal> {
    let relation = match V1Relation::try_from(compare.relation) {
        Ok(V1Relation::Equal) => Relation::Equal,
        Ok(V1Relation::NotEqual) => Relation::NotEqual,
        Ok(V1Relation::Greater) => Relation::Greater,
        Ok(V1Relation::Less) => Relation::Less,
        Err(_) => {
            let text = format!("relation is {}: give EQUAL, NOT_EQUAL, GREATER or LESS", compare.relation);
            return Err(Refusal::invalid(text));
        }
    };
    let target = match compare.target {
        Some(compare::Target::Version(version)) => Target::Version(version),
        Some(compare::Target::CreateRevision(revision)) => Target::CreateRevision(Revision(revision)),
        Some(compare::Target::ModRevision(revision)) => Target::ModRevision(Revision(revision)),
        Some(compare::Target::Value(value)) => Target::Value(value),
        Some(compare::Target::Lease(lease)) => Target::Lease(lease),
        None => {
            let text = "a compare has no target: give one of version, create_revision, mod_revision, value and lease";
            return Err(Refusal::invalid(text));
        }
    };
    Ok(Compare { keys: keys(compare.keys)?, relation, target })
}

fn txn_op(depth: usize, op: v1::TxnOp) -> Result<TxnOp, Refusal> {
    match op.op {
        Some(txn_op::Op::Range(op)) => Ok(TxnOp::Range(range(op)?)),
        Some(txn_op::Op::Put(v1::TxnPut { key, value, previous })) => Ok(TxnOp::Put { key, value, previous }),
        Some(txn_op::Op::Delete(v1::TxnDelete { keys, previous })) => {
            Ok(TxnOp::Delete { keys: self::keys(keys)?, previous })
        }
        Some(txn_op::Op::Txn(v1::Txn { compares, success, failure })) => {
            Ok(TxnOp::Txn(txn_at(depth + 1, compares, success, failure)?))
        }
        None => {
            let text = "an operation of the transaction is empty: give one of range, put, delete and txn";
            Err(Refusal::invalid(text))
        }
    }
}

fn range(op: v1::TxnRange) -> Result<Range, Refusal> {
    let v1::TxnRange { keys, limit, order_by, descending, keys_only, count_only } = op;
    let by = match V1OrderBy::try_from(order_by) {
        Ok(V1OrderBy::Key) => OrderBy::Key,
        Ok(V1OrderBy::Version) => OrderBy::Version,
        Ok(V1OrderBy::CreateRevision) => OrderBy::CreateRevision,
        Ok(V1OrderBy::ModRevision) => OrderBy::ModRevision,
        Ok(V1OrderBy::Value) => OrderBy::Value,
        Err(_) => {
            let text =
                format!("order_by is {order_by}: give KEY, VERSION, CREATE_REVISION, MOD_REVISION or VALUE");
            return Err(Refusal::invalid(text));
        }
    };
    let content = match (keys_only, count_only) {
        (_, true) => Content::Count,
        (true, false) => Content::Keys,
        (false, false) => Content::Records,
    };
    let limit = (limit > 0).then(|| usize::try_from(limit).unwrap_or(usize::MAX));
    let order = Order { by, is_descending: descending };
    Ok(Range { limit, order, content, ..Range::of(self::keys(keys)?) })
}
