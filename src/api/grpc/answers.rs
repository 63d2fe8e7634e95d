//! Replies as messages for clients.

use bytes::Bytes;

use crate::command::{Record, Selection, Txn, TxnAnswer, TxnAnswers, TxnOp};
use crate::proto::v1;
use crate::proto::v1::txn_answer;
use crate::types::{GroupId, Revision};

/// What every answer carries. Today one group holds every key.
pub(super) fn header(revision: Revision) -> Option<v1::Header> {
    Some(v1::Header { group: GroupId::FIRST.0, revision: revision.0 })
}

pub(super) fn key_value(key: Bytes, record: Record) -> v1::KeyValue {
    let Record { create_revision, mod_revision, version, lease, value } = record;
    v1::KeyValue {
        key,
        value,
        create_revision: create_revision.0,
        mod_revision: mod_revision.0,
        version,
        lease,
    }
}

pub(super) fn pairs(pairs: Vec<(Bytes, Record)>) -> Vec<v1::KeyValue> {
    pairs.into_iter().map(|(key, record)| key_value(key, record)).collect()
}

/// What `txn` answered; `None` if that does not fit it.
pub(super) fn txn(txn: &Txn, answers: TxnAnswers) -> Option<v1::TxnAnswers> {
    let ops = if answers.succeeded { &txn.success } else { &txn.failure };
    if ops.len() != answers.answers.len() {
        return None;
    }
    let answered = ops.iter().zip(answers.answers).map(|(op, answer)| txn_answer(op, answer));
    Some(v1::TxnAnswers { succeeded: answers.succeeded, answers: answered.collect::<Option<_>>()? })
}

fn txn_answer(op: &TxnOp, answer: TxnAnswer) -> Option<v1::TxnAnswer> {
    let answer = match (op, answer) {
        (TxnOp::Range(_), TxnAnswer::Range(selection)) => {
            let Selection { pairs, more, count } = selection;
            txn_answer::Answer::Range(v1::TxnSelection { pairs: self::pairs(pairs), more, count })
        }
        (TxnOp::Put { key, .. }, TxnAnswer::Put { previous }) => {
            let previous = previous.map(|record| key_value(key.clone(), record));
            txn_answer::Answer::Put(v1::TxnPutAnswer { previous })
        }
        (TxnOp::Delete { .. }, TxnAnswer::Delete { deleted, previous }) => {
            txn_answer::Answer::Delete(v1::TxnDeleteAnswer { deleted, previous: pairs(previous) })
        }
        (TxnOp::Txn(inner), TxnAnswer::Txn(answers)) => txn_answer::Answer::Txn(txn(inner, answers)?),
        _ => return None,
    };
    Some(v1::TxnAnswer { answer: Some(answer) })
}
