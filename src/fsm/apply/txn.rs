//! Applying a transaction that chooses: worked out on the part's overlay as if it took effect.
//!
//! One that turns out to be refused (see [`TxnRefusal`]), or to have been answered before, leaves nothing: it is a part of
//! a batch by itself, whose changes are then dropped.

use bytes::Bytes;

use super::Run;
use crate::codec;
use crate::command::{
    Keys, Record, Reply, TXN_WRITTEN_BYTES_MAX, Txn, TxnAnswer, TxnAnswers, TxnOp, TxnRefusal,
};
use crate::fsm::base::Base;
use crate::fsm::read::{Layer, Merge, Span, merge};
use crate::fsm::select::{Budget, Halt, Source, each_record, select};
use crate::fsm::{Error, schema, txn};
use crate::types::{Keyspace, Revision};

impl Run<'_> {
    /// Works a transaction out. This part is nothing else, so what it changes can be dropped again.
    pub(super) fn prepare(&mut self, txn: &Txn) -> Result<Prepared, Error> {
        let before = self.before();
        let revision = self.head.revision.next();
        let answers = match self.run_whole(txn, revision) {
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

    fn run_whole(&mut self, txn: &Txn, revision: Revision) -> Result<TxnAnswers, Halt> {
        let mut budget = Budget::of_txn();
        let ways = txn::ways(self, txn, &mut budget)?;
        self.run_txn(txn, &mut Course { keyspace: txn.keyspace, revision, ways, budget, written: 0 })
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

    fn run_txn(&mut self, txn: &Txn, course: &mut Course) -> Result<TxnAnswers, Halt> {
        let keyspace = course.keyspace;
        let (succeeded, ops) = txn::chosen(txn, &mut course.ways);
        let mut answers = Vec::new();
        for op in ops {
            course.budget.take_answer()?;
            answers.push(match op {
                TxnOp::Range(range) => TxnAnswer::Range(select(self, keyspace, range, &mut course.budget)?),
                TxnOp::Put { key, value, previous } => {
                    let before = self.whole(keyspace, key)?;
                    let kept = || before.as_ref().map(|record| record.value.clone());
                    let value = value.clone().or_else(kept).ok_or(TxnRefusal::NoSuchKey)?;
                    course.write(key.len() + value.len())?;
                    self.put(keyspace, key, value, course.revision)?;
                    let previous = before.filter(|_| *previous);
                    previous.as_ref().map_or(Ok(()), |record| course.budget.take(key, record))?;
                    TxnAnswer::Put { previous }
                }
                TxnOp::Delete { keys, previous } => self.delete_all(keys, *previous, course)?,
                TxnOp::Txn(inner) => TxnAnswer::Txn(self.run_txn(inner, course)?),
            });
        }
        Ok(TxnAnswers { succeeded, answers })
    }

    fn delete_all(&mut self, keys: &Keys, previous: bool, course: &mut Course) -> Result<TxnAnswer, Halt> {
        let keyspace = course.keyspace;
        let mut found = Vec::new();
        each_record(self, keyspace, keys, &mut course.budget, |key, record, budget| {
            let record = if previous {
                budget.take(&key, &record)?;
                record
            } else {
                Record { value: Bytes::new(), ..record }
            };
            found.push((key, record));
            Ok(true)
        })?;
        for (key, _) in &found {
            self.delete(keyspace, key)?;
        }
        let deleted = found.len() as u64;
        Ok(TxnAnswer::Delete { deleted, previous: if previous { found } else { Vec::new() } })
    }

    /// The record as the part left it so far.
    pub(super) fn whole(&mut self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Record>, Error> {
        let touched = self.touch(schema::record_key(keyspace, key))?;
        let record = touched.row.as_ref().map(codec::decode_record).transpose();
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

impl Source for Run<'_> {
    fn base(&self) -> &Base {
        self.below.base
    }

    fn scan<'a>(&'a self, span: &'a Span) -> Result<Merge<'a>, Error> {
        let below = &self.below;
        let view = below.held.as_ref().expect("a part that scans holds the view");
        let touched: Layer<'a> =
            Box::new(span.of_map(&self.records).map(|(key, touched)| (key, &touched.row)));
        let active: Layer<'a> = Box::new(span.of_set(&view.active));
        merge(below.base, span, vec![touched, active], below.frozen.as_ref(), &below.folded)
    }
}

/// A transaction while it is executed.
struct Course {
    keyspace: Keyspace,
    /// That of all its changes.
    revision: Revision,
    /// Those of the transactions that are not reached yet.
    ways: txn::Ways,
    budget: Budget<'static>,
    /// Bytes of keys and values.
    written: usize,
}

impl Course {
    fn write(&mut self, bytes: usize) -> Result<(), TxnRefusal> {
        self.written += bytes;
        if self.written > TXN_WRITTEN_BYTES_MAX { Err(TxnRefusal::WritesTooMuch) } else { Ok(()) }
    }
}
