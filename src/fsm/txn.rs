//! Transactions that choose: what they compare, and those that only read. How one that writes is applied is in
//! [`super::apply`].

use std::ops::ControlFlow;

use bytes::Bytes;

use super::Error;
use super::read::Span;
use super::select::{Budget, Source, each_record, select};
use crate::command::{Compare, Record, Target, Txn, TxnAnswer, TxnAnswers, TxnOp};
use crate::types::{Keyspace, Revision};

/// The stretches of keys that a transaction may look at.
pub(super) fn spans(txn: &Txn) -> Vec<Span> {
    let mut spans = Vec::new();
    let _ = txn.visit(&mut |inner, _| {
        spans.extend(inner.compares.iter().map(|compare| Span::of(txn.keyspace, &compare.keys)));
        spans.extend(inner.ops().filter_map(|op| match op {
            TxnOp::Range(range) => Some(Span::of(txn.keyspace, &range.keys)),
            TxnOp::Delete { keys, .. } => Some(Span::of(txn.keyspace, keys)),
            TxnOp::Put { .. } | TxnOp::Txn(_) => None,
        }));
        ControlFlow::<()>::Continue(())
    });
    spans
}

/// What a transaction that only reads answers; `None` if that is more than the budget.
pub(super) fn read(source: &dyn Source, txn: &Txn, budget: &mut Budget) -> Result<Option<TxnAnswers>, Error> {
    read_in(source, txn.keyspace, txn, budget)
}

fn read_in(
    source: &dyn Source,
    keyspace: Keyspace,
    txn: &Txn,
    budget: &mut Budget,
) -> Result<Option<TxnAnswers>, Error> {
    let succeeded = all_hold(source, keyspace, &txn.compares)?;
    let mut answers = Vec::new();
    for op in if succeeded { &txn.success } else { &txn.failure } {
        let answer = match op {
            TxnOp::Range(range) => select(source, keyspace, range, budget)?.map(TxnAnswer::Range),
            TxnOp::Txn(inner) => read_in(source, keyspace, inner, budget)?.map(TxnAnswer::Txn),
            TxnOp::Put { .. } | TxnOp::Delete { .. } => unreachable!("a transaction that writes is no query"),
        };
        let Some(answer) = answer else { return Ok(None) };
        answers.push(answer);
    }
    Ok(Some(TxnAnswers { succeeded, answers }))
}

/// Whether all compares hold.
pub(super) fn all_hold(source: &dyn Source, keyspace: Keyspace, compares: &[Compare]) -> Result<bool, Error> {
    for compare in compares {
        if !holds(source, keyspace, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(source: &dyn Source, keyspace: Keyspace, compare: &Compare) -> Result<bool, Error> {
    let (mut is_found, mut all) = (false, true);
    each_record(source, keyspace, &compare.keys, |_, record| {
        is_found = true;
        all = holds_of(compare, Some(&record));
        all
    })?;
    Ok(if is_found { all } else { holds_of(compare, None) })
}

fn holds_of(Compare { relation, target, .. }: &Compare, record: Option<&Record>) -> bool {
    let number = |of: fn(&Record) -> u64| record.map_or(0, of);
    let revision = |of: fn(&Record) -> Revision| record.map_or(Revision(0), of);
    match target {
        Target::Version(version) => relation.holds(&number(|record| record.version), version),
        Target::CreateRevision(created) => {
            relation.holds(&revision(|record| record.create_revision), created)
        }
        Target::ModRevision(changed) => relation.holds(&revision(|record| record.mod_revision), changed),
        Target::Lease(lease) => relation.holds(&number(|record| record.lease), lease),
        Target::Value(value) => record.is_some_and(|record| relation.holds::<Bytes>(&record.value, value)),
    }
}
