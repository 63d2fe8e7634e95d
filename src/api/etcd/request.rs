//! etcd's requests, judged as etcd judges them and said in the vocabulary of [`crate::command`].

use bytes::Bytes;
use tonic::Status;

use crate::api::elements::{LEAF, Shape};
use crate::command::{self, Bounds, Compare, Content, Keys, Order, OrderBy, Range, Relation, Target, TxnOp};
use crate::proto::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcd::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcd::etcdserverpb::request_op::Request;
use crate::proto::etcd::etcdserverpb::{self as pb, PutRequest, RangeRequest, RequestOp, TxnRequest};
use crate::shard::{Consistency, Freshness};
use crate::types::{Keyspace, Revision};

use super::error;

/// The keyspace that the etcd API shows.
pub(super) const KEYSPACE: Keyspace = Keyspace(0);

/// What each list of a transaction may have; of one that lies in it, less by the longest list around it.
const TXN_OPS_MAX: usize = 128;

/// Where a transaction has lists.
pub(super) static TXN: Shape =
    Shape { fields: &[(1, &LEAF), (2, &REQUEST_OP), (3, &REQUEST_OP)], is_element: false };
static REQUEST_OP: Shape = Shape { fields: &[(4, &TXN)], is_element: true };

/// How etcd says "to the end".
const END: &[u8] = b"\0";

/// Which keys a key and a range_end mean.
pub(super) fn keys(key: &Bytes, range_end: &Bytes) -> Result<Keys, Status> {
    match range_end.as_ref() {
        _ if key.is_empty() => Err(error::empty_key()),
        b"" => Ok(Keys::One(key.clone())),
        END => Ok(Keys::From(key.clone())),
        _ => Ok(Keys::Between(key.clone(), range_end.clone())),
    }
}

/// How fresh a read must be that is `serializable` or not.
pub(super) fn freshness(serializable: bool) -> Freshness {
    let stale = Consistency::Stale { max_staleness_ms: None };
    let consistency = if serializable { stale } else { Consistency::Linearizable };
    Freshness { consistency, min_revision: None }
}

/// What a range reads. Its revision is judged by the answer.
pub(super) fn range(request: &RangeRequest) -> Result<Range, Status> {
    let keys = keys(&request.key, &request.range_end)?;
    let by = match SortTarget::try_from(request.sort_target) {
        Ok(SortTarget::Key) => OrderBy::Key,
        Ok(SortTarget::Version) => OrderBy::Version,
        Ok(SortTarget::Create) => OrderBy::CreateRevision,
        Ok(SortTarget::Mod) => OrderBy::ModRevision,
        Ok(SortTarget::Value) => OrderBy::Value,
        Err(_) => return Err(error::invalid_sort_option()),
    };
    let is_descending = match SortOrder::try_from(request.sort_order) {
        Ok(SortOrder::None | SortOrder::Ascend) => false,
        Ok(SortOrder::Descend) => true,
        Err(_) => return Err(error::invalid_sort_option()),
    };
    let content = match (request.count_only, request.keys_only) {
        (true, _) => Content::Count,
        (false, true) => Content::Keys,
        (false, false) => Content::Records,
    };
    Ok(Range {
        keys,
        limit: usize::try_from(request.limit).ok().filter(|limit| *limit > 0),
        order: Order { by, is_descending },
        content,
        mod_revisions: bounds(request.min_mod_revision, request.max_mod_revision),
        create_revisions: bounds(request.min_create_revision, request.max_create_revision),
    })
}

/// No revision lies below 0, so a negative bound is as good as that one.
fn bounds(min: i64, max: i64) -> Bounds {
    let bound = |bound: i64| (bound != 0).then_some(Revision(u64::try_from(bound).unwrap_or(0)));
    Bounds { min: bound(min), max: bound(max) }
}

/// Judges a put by itself.
fn check_put(put: &PutRequest) -> Result<(), Status> {
    if put.key.is_empty() {
        return Err(error::empty_key());
    }
    if put.ignore_value && !put.value.is_empty() {
        return Err(error::value_provided());
    }
    if put.ignore_lease && put.lease != 0 {
        return Err(error::lease_provided());
    }
    if put.lease != 0 {
        return Err(error::lease_not_found());
    }
    Ok(())
}

/// A put as an operation of a transaction.
///
/// With `ignore_lease` the key must be there, though it gets a new value, and nothing of the transaction is done if it is
/// not. So it is a choice: where the key is absent, a put that cannot be done.
pub(super) fn put(put: &PutRequest) -> Result<TxnOp, Status> {
    check_put(put)?;
    let op = |value, previous| TxnOp::Put { key: put.key.clone(), value, previous };
    if put.ignore_value {
        return Ok(op(None, put.prev_kv));
    }
    let set = op(Some(put.value.clone()), put.prev_kv);
    if !put.ignore_lease {
        return Ok(set);
    }
    let is_absent =
        Compare { keys: Keys::One(put.key.clone()), relation: Relation::Equal, target: Target::Version(0) };
    Ok(TxnOp::Txn(command::Txn {
        keyspace: KEYSPACE,
        compares: vec![is_absent],
        success: vec![op(None, false)],
        failure: vec![set],
    }))
}

/// A transaction of one operation.
pub(super) fn txn_of(op: TxnOp) -> command::Txn {
    command::Txn { keyspace: KEYSPACE, compares: Vec::new(), success: vec![op], failure: Vec::new() }
}

/// A transaction, judged as a whole. How many parts it has was judged before it was decoded.
pub(super) fn txn(request: &TxnRequest) -> Result<command::Txn, Status> {
    let txn = txn_within(request, TXN_OPS_MAX)?;
    txn.check_keys().map_err(|_| error::duplicate_key())?;
    // At which revision it will be is known only when it is executed, and then it is too late to refuse it.
    if !txn.is_read_only() && names_revision(request) {
        return Err(error::unimplemented(
            "a range with a revision, in a transaction that writes, is not served here: read it before, and compare mod \
             revisions",
        ));
    }
    Ok(txn)
}

fn txn_within(request: &TxnRequest, ops_max: usize) -> Result<command::Txn, Status> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(left) = ops_max.checked_sub(longest) else { return Err(error::too_many_operations()) };
    let ops = |ops: &[RequestOp]| ops.iter().map(|op| txn_op(op, left)).collect::<Result<_, _>>();
    Ok(command::Txn {
        keyspace: KEYSPACE,
        compares: request.compare.iter().map(compare).collect::<Result<_, _>>()?,
        success: ops(&request.success)?,
        failure: ops(&request.failure)?,
    })
}

fn txn_op(op: &RequestOp, ops_max: usize) -> Result<TxnOp, Status> {
    match &op.request {
        Some(Request::RequestRange(request)) => Ok(TxnOp::Range(range(request)?)),
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestDeleteRange(request)) => {
            let keys = keys(&request.key, &request.range_end)?;
            Ok(TxnOp::Delete { keys, previous: request.prev_kv })
        }
        Some(Request::RequestTxn(request)) => Ok(TxnOp::Txn(txn_within(request, ops_max)?)),
        // It is what etcd says to an operation that is none.
        None => Err(error::key_not_found()),
    }
}

fn compare(compare: &pb::Compare) -> Result<Compare, Status> {
    let keys = keys(&compare.key, &compare.range_end)?;
    let relation = match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => Relation::Equal,
        Ok(CompareResult::Greater) => Relation::Greater,
        Ok(CompareResult::Less) => Relation::Less,
        Ok(CompareResult::NotEqual) => Relation::NotEqual,
        Err(_) => {
            let text = format!("the transaction compares by a result that there is not: {}", compare.result);
            return Err(error::invalid(text));
        }
    };
    let (relation, target) = match (CompareTarget::try_from(compare.target), &compare.target_union) {
        (Ok(CompareTarget::Value), Some(TargetUnion::Value(value))) => {
            (relation, Target::Value(value.clone()))
        }
        (Ok(CompareTarget::Value), _) => (relation, Target::Value(Bytes::new())),
        (Ok(CompareTarget::Version), given) => {
            let given = if let Some(TargetUnion::Version(version)) = given { *version } else { 0 };
            number(relation, given, Target::Version)
        }
        (Ok(CompareTarget::Create), given) => {
            let given = if let Some(TargetUnion::CreateRevision(revision)) = given { *revision } else { 0 };
            number(relation, given, |revision| Target::CreateRevision(Revision(revision)))
        }
        (Ok(CompareTarget::Mod), given) => {
            let given = if let Some(TargetUnion::ModRevision(revision)) = given { *revision } else { 0 };
            number(relation, given, |revision| Target::ModRevision(Revision(revision)))
        }
        (Ok(CompareTarget::Lease), given) => {
            let given = if let Some(TargetUnion::Lease(lease)) = given { *lease } else { 0 };
            number(relation, given, Target::Lease)
        }
        (Err(_), _) => {
            let text = format!("the transaction compares a target that there is not: {}", compare.target);
            return Err(error::invalid(text));
        }
    };
    Ok(Compare { keys, relation, target })
}

/// A comparison with a number that may be negative. No key has a negative one: all lie above it, and none is equal to the
/// largest number that there is.
fn number(relation: Relation, given: i64, target: impl Fn(u64) -> Target) -> (Relation, Target) {
    match (u64::try_from(given), relation) {
        (Ok(given), relation) => (relation, target(given)),
        (Err(_), Relation::Greater | Relation::NotEqual) => (Relation::NotEqual, target(u64::MAX)),
        (Err(_), Relation::Less | Relation::Equal) => (Relation::Equal, target(u64::MAX)),
    }
}

/// Whether a range in it, whichever way it goes, names a revision.
fn names_revision(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).any(|op| match &op.request {
        Some(Request::RequestRange(range)) => range.revision != 0,
        Some(Request::RequestTxn(txn)) => names_revision(txn),
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) | None => false,
    })
}

/// Whether a transaction that only reads may show what this node has: all its ranges say so, and there are some.
pub(super) fn is_serializable(request: &TxnRequest) -> bool {
    let mut ops = request.success.iter().chain(&request.failure).peekable();
    ops.peek().is_some()
        && ops.all(|op| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable))
}
