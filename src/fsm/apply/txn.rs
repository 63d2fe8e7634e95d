//! Applying a transaction that chooses: worked out on the part's overlay as if it took effect.
//!
//! One that turns out to be refused (see [`TxnRefusal`]), or to have been answered before, leaves nothing: it is a part of
//! a batch by itself, whose changes are then dropped.

use bytes::Bytes;

use super::Run;
use crate::codec;
use crate::command::{
    Keys, Record, Reply, TXN_ANSWER_BYTES_MAX, TXN_DELETES_MAX, Txn, TxnAnswer, TxnAnswers, TxnOp, TxnRefusal,
};
use crate::fsm::base::Base;
use crate::fsm::read::{Merge, Span, changes_in, merge};
use crate::fsm::select::{Budget, Source, each_record, select};
use crate::fsm::txn::Ways;
use crate::fsm::{Error, schema, txn};
use crate::types::{Keyspace, Revision};

impl Run<'_> {
    /// Works a transaction out. This part is nothing else, so what it changes can be dropped again.
    pub(super) fn prepare(&mut self, txn: &Txn) -> Result<Prepared, Error> {
        let before = self.before();
        let revision = self.head.revision.next();
        let mut left = Left { answer: Budget::of(TXN_ANSWER_BYTES_MAX), deletes: TXN_DELETES_MAX };
        let mut ways = txn::ways(self, txn)?;
        let answers = match self.run_txn(txn.keyspace, txn, &mut ways, revision, &mut left) {
            Ok(answers) => answers,
            Err(Halt::Refused(why)) => {
                self.forget(before);
                return Ok(Prepared { reply: Reply::TxnRefused { why }, before });
            }
            Err(Halt::Failed(error)) => return Err(error),
        };
        if self.records.values().any(|touched| touched.changed) {
            self.head.revision = revision;
        }
        Ok(Prepared { reply: Reply::Txn { revision: self.head.revision, answers }, before })
    }

    /// What [`Run::forget`] goes back to.
    pub(super) fn before(&self) -> Before {
        Before { revision: self.head.revision, keys: self.head.keys, hash: self.head.hash }
    }

    pub(super) fn take_prepared(&mut self) -> Reply {
        self.prepared.take().expect("it was worked out before").reply
    }

    pub(super) fn drop_prepared(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            self.forget(prepared.before);
        }
    }

    fn forget(&mut self, Before { revision, keys, hash }: Before) {
        self.records.clear();
        (self.head.revision, self.head.keys, self.head.hash) = (revision, keys, hash);
    }

    fn run_txn(
        &mut self,
        keyspace: Keyspace,
        txn: &Txn,
        ways: &mut Ways,
        revision: Revision,
        left: &mut Left,
    ) -> Result<TxnAnswers, Halt> {
        let (succeeded, ops) = txn::chosen(txn, ways);
        let mut answers = Vec::new();
        for op in ops {
            answers.push(match op {
                TxnOp::Range(range) => {
                    let selected = select(self, keyspace, range, &mut left.answer)?;
                    TxnAnswer::Range(selected.ok_or(TxnRefusal::AnswerTooLarge)?)
                }
                TxnOp::Put { key, value, previous } => {
                    let before = self.whole(keyspace, key)?;
                    let value = value.clone().or_else(|| before.as_ref().map(|record| record.value.clone()));
                    self.put(keyspace, key, value.ok_or(TxnRefusal::NoSuchKey)?, revision)?;
                    let previous = before.filter(|_| *previous);
                    if previous.as_ref().is_some_and(|record| !left.answer.take(key, record)) {
                        return Err(TxnRefusal::AnswerTooLarge.into());
                    }
                    TxnAnswer::Put { previous }
                }
                TxnOp::Delete { keys, previous } => self.delete_all(keyspace, keys, *previous, left)?,
                TxnOp::Txn(inner) => TxnAnswer::Txn(self.run_txn(keyspace, inner, ways, revision, left)?),
            });
        }
        Ok(TxnAnswers { succeeded, answers })
    }

    fn delete_all(
        &mut self,
        keyspace: Keyspace,
        keys: &Keys,
        previous: bool,
        left: &mut Left,
    ) -> Result<TxnAnswer, Halt> {
        let mut found = Vec::new();
        let mut refused = None;
        each_record(self, keyspace, keys, |key, mut record| {
            if found.len() >= left.deletes {
                refused = Some(TxnRefusal::TooManyDeletes);
            } else if previous && !left.answer.take(&key, &record) {
                refused = Some(TxnRefusal::AnswerTooLarge);
            } else {
                if !previous {
                    record.value = Bytes::new();
                }
                found.push((key, record));
            }
            refused.is_none()
        })?;
        if let Some(why) = refused {
            return Err(why.into());
        }
        left.deletes -= found.len();
        for (key, _) in &found {
            self.delete(keyspace, key)?;
        }
        let deleted = found.len() as u64;
        Ok(TxnAnswer::Delete { deleted, previous: if previous { found } else { Vec::new() } })
    }

    /// The record as the part left it so far.
    pub(super) fn whole(&mut self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Record>, Error> {
        let key = schema::record_key(keyspace, key);
        self.touch(&key)?;
        let record = self.records[&key].row.as_ref().map(codec::decode_record).transpose();
        record.map_err(|error| schema::broken("record", &error.to_string()))
    }
}

/// What has become of a command that is a part of a batch by itself.
pub(super) struct Prepared {
    pub(super) reply: Reply,
    pub(super) before: Before,
}

/// What a part changes of the head with its records.
#[derive(Clone, Copy)]
pub(super) struct Before {
    revision: Revision,
    keys: u64,
    hash: u128,
}

/// What a transaction may still answer and delete.
struct Left {
    answer: Budget,
    deletes: usize,
}

/// Why a transaction ends in the middle.
enum Halt {
    /// It is not executed.
    Refused(TxnRefusal),
    /// The store does not go on.
    Failed(Error),
}

impl From<TxnRefusal> for Halt {
    fn from(why: TxnRefusal) -> Halt {
        Halt::Refused(why)
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Failed(error)
    }
}

impl Source for Run<'_> {
    fn base(&self) -> &Base {
        self.base
    }

    fn scan<'a>(&'a self, span: &'a Span) -> Result<Merge<'a>, Error> {
        let mut active = changes_in(&self.shared.view(), std::slice::from_ref(span));
        let touched = span.of_map(&self.records);
        active.extend(touched.map(|(key, touched)| (key.clone(), touched.row.clone())));
        merge(self.base, span, active.into_iter().collect(), self.frozen.as_ref(), &self.folded)
    }
}
