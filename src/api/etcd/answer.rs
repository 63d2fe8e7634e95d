//! What the store answers, said as etcd says it.

use bytes::Bytes;
use tonic::Status;

use crate::command::{Record, Selection, TxnAnswer, TxnAnswers};
use crate::proto::etcd::etcdserverpb::request_op::Request;
use crate::proto::etcd::etcdserverpb::response_op::Response;
use crate::proto::etcd::etcdserverpb::{
    DeleteRangeResponse, PutResponse, RangeResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest,
    TxnResponse,
};
use crate::proto::etcd::mvccpb::KeyValue;
use crate::types::Revision;

use super::error;

/// A number as etcd's messages have it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A key with its record.
pub(super) fn key_value((key, record): (Bytes, Record)) -> KeyValue {
    KeyValue {
        key,
        create_revision: signed(record.create_revision.0),
        mod_revision: signed(record.mod_revision.0),
        version: signed(record.version),
        value: record.value,
        lease: signed(record.lease),
    }
}

/// Judges the revision that a range names by the one that was read: there is no history, so only that one can be shown.
pub(super) fn check_revision(asked: i64, read: Revision) -> Result<(), Status> {
    match asked.cmp(&signed(read.0)) {
        _ if asked == 0 => Ok(()),
        std::cmp::Ordering::Less => Err(error::compacted()),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(error::future_revision()),
    }
}

/// What a range found.
pub(super) fn range(selection: Selection, header: ResponseHeader) -> RangeResponse {
    RangeResponse {
        header: Some(header),
        kvs: selection.pairs.into_iter().map(key_value).collect(),
        more: selection.more,
        count: signed(selection.count),
    }
}

/// What a put found.
pub(super) fn put(key: &Bytes, previous: Option<Record>, header: ResponseHeader) -> PutResponse {
    PutResponse { header: Some(header), prev_kv: previous.map(|record| key_value((key.clone(), record))) }
}

/// What a delete removed.
pub(super) fn delete(
    deleted: u64,
    previous: Vec<(Bytes, Record)>,
    header: ResponseHeader,
) -> DeleteRangeResponse {
    DeleteRangeResponse {
        header: Some(header),
        deleted: signed(deleted),
        prev_kvs: previous.into_iter().map(key_value).collect(),
    }
}

/// What a transaction answered, whose outer header is `header`.
pub(super) fn txn(
    request: &TxnRequest,
    answers: TxnAnswers,
    header: ResponseHeader,
) -> Result<TxnResponse, Status> {
    let after = Revision(u64::try_from(header.revision).unwrap_or(0));
    // A transaction that changed something took the one revision that the store is at since.
    let begun = if changes(&answers) { Revision(after.0.saturating_sub(1)) } else { after };
    let mut walk = Walk { now: begun, after };
    Ok(TxnResponse { header: Some(header), ..walk.txn(request, answers)? })
}

/// Whether something was put or removed.
fn changes(answers: &TxnAnswers) -> bool {
    answers.answers.iter().any(|answer| match answer {
        TxnAnswer::Range(_) => false,
        TxnAnswer::Put { .. } => true,
        TxnAnswer::Delete { deleted, .. } => *deleted > 0,
        TxnAnswer::Txn(inner) => changes(inner),
    })
}

/// On its way through a transaction's answers: what the operations in it show is the revision before, until one changed
/// something.
struct Walk {
    now: Revision,
    after: Revision,
}

impl Walk {
    fn header(&self) -> ResponseHeader {
        // etcd says no more in there.
        ResponseHeader { revision: signed(self.now.0), ..ResponseHeader::default() }
    }

    fn txn(&mut self, request: &TxnRequest, answers: TxnAnswers) -> Result<TxnResponse, Status> {
        let TxnAnswers { succeeded, answers } = answers;
        let ops = if succeeded { &request.success } else { &request.failure };
        if ops.len() != answers.len() {
            return Err(error::unexpected_reply());
        }
        let responses = ops
            .iter()
            .zip(answers)
            .map(|(op, answer)| Ok(ResponseOp { response: Some(self.op(op, answer)?) }));
        let responses = responses.collect::<Result<_, Status>>()?;
        Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded, responses })
    }

    fn op(&mut self, op: &RequestOp, answer: TxnAnswer) -> Result<Response, Status> {
        match (&op.request, answer) {
            (Some(Request::RequestRange(request)), TxnAnswer::Range(selection)) => {
                check_revision(request.revision, self.now)?;
                Ok(Response::ResponseRange(range(selection, self.header())))
            }
            (Some(Request::RequestPut(request)), answer) => {
                let previous = previous(answer).ok_or_else(error::unexpected_reply)?;
                self.now = self.after;
                Ok(Response::ResponsePut(put(&request.key, previous, self.header())))
            }
            (Some(Request::RequestDeleteRange(_)), TxnAnswer::Delete { deleted, previous }) => {
                if deleted > 0 {
                    self.now = self.after;
                }
                Ok(Response::ResponseDeleteRange(delete(deleted, previous, self.header())))
            }
            (Some(Request::RequestTxn(request)), TxnAnswer::Txn(answers)) => {
                Ok(Response::ResponseTxn(self.txn(request, answers)?))
            }
            _ => Err(error::unexpected_reply()),
        }
    }
}

/// What a put found, also one that is a choice (see [`super::request::put`]).
pub(super) fn previous(answer: TxnAnswer) -> Option<Option<Record>> {
    match answer {
        TxnAnswer::Put { previous } => Some(previous),
        TxnAnswer::Txn(TxnAnswers { answers, .. }) => {
            let [answer] = <[TxnAnswer; 1]>::try_from(answers).ok()?;
            if let TxnAnswer::Put { previous } = answer { Some(previous) } else { None }
        }
        TxnAnswer::Range(_) | TxnAnswer::Delete { .. } => None,
    }
}
