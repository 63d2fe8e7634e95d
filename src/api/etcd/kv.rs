//! `etcdserverpb.KV`: keys and values.
//!
//! What the short command can say is said with it, and a plain read of one key takes the path that every such read takes;
//! all else is a range or a transaction.

use tonic::Status;

use crate::api::elements::Shape;
use crate::command::{self, Content, Found, Keys, Op, Query, Reply, Selection, TxnAnswer, TxnOp, Write};
use crate::proto::etcd::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    TxnRequest, TxnResponse,
};
use crate::shard::Router;
use crate::types::Revision;

use super::call::{Call, Unary, header};
use super::request::{self, KEYSPACE};
use super::{answer, error};

/// Reads keys.
pub(super) struct Range;

impl Unary for Range {
    const PATH: &'static str = "/etcdserverpb.KV/Range";
    type Request = RangeRequest;
    type Answer = RangeResponse;

    async fn execute(call: &mut Call<'_>, asked: RangeRequest) -> Result<RangeResponse, Status> {
        let range = request::range(&asked)?;
        let freshness = request::freshness(asked.serializable);
        let router = call.router().await?;
        let query = |bytes_max| match &range.keys {
            Keys::One(key) if is_plain(&range) => Query::Get { keyspace: KEYSPACE, key: key.clone() },
            _ => Query::Range { keyspace: KEYSPACE, range: range.clone(), bytes_max },
        };
        let found = if is_plain(&range) {
            call.get(&router, query(0), freshness).await?
        } else {
            call.read(&router, query, freshness).await?
        };
        // A revision below 1 asks for the newest.
        answer::check_revision(asked.revision.max(0), found.revision)?;
        let selection = match (found.found, &range.keys) {
            (Found::Record(record), Keys::One(key)) => {
                let pairs: Vec<_> = record.map(|record| (key.clone(), record)).into_iter().collect();
                let count = pairs.len() as u64;
                Selection { pairs, more: false, count }
            }
            (Found::Selection(selection), _) => selection,
            _ => return Err(error::unexpected_reply()),
        };
        Ok(answer::range(selection, header(&router, found.revision)))
    }
}

/// Whether a range is the read of one key, whole.
fn is_plain(range: &command::Range) -> bool {
    matches!(range.keys, Keys::One(_))
        && range.content == Content::Records
        && range.mod_revisions.is_all()
        && range.create_revisions.is_all()
}

/// Sets a key.
pub(super) struct Put;

impl Unary for Put {
    const PATH: &'static str = "/etcdserverpb.KV/Put";
    type Request = PutRequest;
    type Answer = PutResponse;

    async fn execute(call: &mut Call<'_>, asked: PutRequest) -> Result<PutResponse, Status> {
        let op = request::put(&asked)?;
        let router = call.router().await?;
        let (revision, previous) = match op {
            TxnOp::Put { key, value: Some(value), previous: false } => {
                (write(call, &router, Op::Put { key, value }).await?.0, None)
            }
            op => {
                let (revision, answer) = execute_op(call, &router, op).await?;
                (revision, answer::previous(answer).ok_or_else(error::unexpected_reply)?)
            }
        };
        Ok(answer::put(&asked.key, previous, header(&router, revision)))
    }
}

/// Removes keys.
pub(super) struct DeleteRange;

impl Unary for DeleteRange {
    const PATH: &'static str = "/etcdserverpb.KV/DeleteRange";
    type Request = DeleteRangeRequest;
    type Answer = DeleteRangeResponse;

    async fn execute(call: &mut Call<'_>, asked: DeleteRangeRequest) -> Result<DeleteRangeResponse, Status> {
        let keys = request::keys(&asked.key, &asked.range_end)?;
        let router = call.router().await?;
        let (revision, deleted, previous) = match keys {
            Keys::One(key) if !asked.prev_kv => {
                let (revision, deleted) = write(call, &router, Op::Delete { key }).await?;
                (revision, deleted, Vec::new())
            }
            keys => {
                let op = TxnOp::Delete { keys, previous: asked.prev_kv };
                let (revision, answer) = execute_op(call, &router, op).await?;
                let TxnAnswer::Delete { deleted, previous } = answer else {
                    return Err(error::unexpected_reply());
                };
                (revision, deleted, previous)
            }
        };
        Ok(answer::delete(deleted, previous, header(&router, revision)))
    }
}

/// The revision after a write of one operation, and how many keys it removed.
async fn write(call: &mut Call<'_>, router: &Router, op: Op) -> Result<(Revision, u64), Status> {
    let write = Write { keyspace: KEYSPACE, conditions: Vec::new(), ops: vec![op] };
    match call.write(router, write).await? {
        Reply::Written { revision, deleted } => Ok((revision, deleted)),
        _ => Err(error::unexpected_reply()),
    }
}

/// The revision after a transaction of one operation, and what that answered.
async fn execute_op(
    call: &mut Call<'_>,
    router: &Router,
    op: TxnOp,
) -> Result<(Revision, TxnAnswer), Status> {
    let (revision, mut answers) = execute_txn(call, router, request::txn_of(op)).await?;
    match (answers.answers.pop(), answers.answers.is_empty()) {
        (Some(answer), true) => Ok((revision, answer)),
        _ => Err(error::unexpected_reply()),
    }
}

/// The revision after a transaction that writes, and what it answered.
async fn execute_txn(
    call: &mut Call<'_>,
    router: &Router,
    txn: command::Txn,
) -> Result<(Revision, command::TxnAnswers), Status> {
    match call.write(router, txn).await? {
        Reply::Txn { revision, answers } => Ok((revision, answers)),
        Reply::TxnRefused { why } => Err(error::of_refusal(why)),
        _ => Err(error::unexpected_reply()),
    }
}

/// Compares, then does one list of operations or the other.
pub(super) struct Txn;

impl Unary for Txn {
    const PATH: &'static str = "/etcdserverpb.KV/Txn";
    type Request = TxnRequest;
    type Answer = TxnResponse;
    const LISTS: Option<&'static Shape> = Some(&request::TXN);

    async fn execute(call: &mut Call<'_>, asked: TxnRequest) -> Result<TxnResponse, Status> {
        let txn = request::txn(&asked)?;
        let router = call.router().await?;
        let (revision, answers) = if txn.is_read_only() {
            let freshness = request::freshness(request::is_serializable(&asked));
            let query = |bytes_max| Query::Txn { txn: txn.clone(), bytes_max };
            let answer = call.read(&router, query, freshness).await?;
            let Found::Txn(answers) = answer.found else { return Err(error::unexpected_reply()) };
            (answer.revision, answers)
        } else {
            execute_txn(call, &router, txn).await?
        };
        answer::txn(&asked, answers, header(&router, revision))
    }
}
