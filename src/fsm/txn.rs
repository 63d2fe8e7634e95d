//! Transactions that choose: what they compare, and those that only read. How one that writes is applied is in
//! [`super::apply`].

use std::ops::ControlFlow;

use bytes::Bytes;

use super::read::Span;
use super::select::{Budget, Halt, Source, each_record, select};
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

/// Which way the transactions go that will be reached, in the order in which they are: whether all their compares hold.
pub(super) type Ways = std::vec::IntoIter<bool>;

/// Judges all compares of a transaction and of those in it, by the keys as they are now: before its first operation.
pub(super) fn ways(source: &dyn Source, txn: &Txn, budget: &mut Budget<'_>) -> Result<Ways, Halt> {
    let mut ways = Vec::new();
    choose(source, txn.keyspace, txn, &mut ways, budget)?;
    Ok(ways.into_iter())
}

fn choose(
    source: &dyn Source,
    keyspace: Keyspace,
    txn: &Txn,
    ways: &mut Vec<bool>,
    budget: &mut Budget<'_>,
) -> Result<(), Halt> {
    let holds = all_hold(source, keyspace, &txn.compares, budget)?;
    ways.push(holds);
    for op in if holds { &txn.success } else { &txn.failure } {
        if let TxnOp::Txn(inner) = op {
            choose(source, keyspace, inner, ways, budget)?;
        }
    }
    Ok(())
}

/// The operations of the next transaction on these ways, and whether they are those of its success.
pub(super) fn chosen<'a>(txn: &'a Txn, ways: &mut Ways) -> (bool, &'a [TxnOp]) {
    let succeeded = ways.next().expect("every transaction that is reached was judged");
    (succeeded, if succeeded { &txn.success } else { &txn.failure })
}

/// What a transaction that only reads answers.
pub(super) fn read(source: &dyn Source, txn: &Txn, budget: &mut Budget<'_>) -> Result<TxnAnswers, Halt> {
    let mut ways = ways(source, txn, budget)?;
    read_in(source, txn.keyspace, txn, &mut ways, budget)
}

fn read_in(
    source: &dyn Source,
    keyspace: Keyspace,
    txn: &Txn,
    ways: &mut Ways,
    budget: &mut Budget<'_>,
) -> Result<TxnAnswers, Halt> {
    let (succeeded, ops) = chosen(txn, ways);
    let mut answers = Vec::new();
    for op in ops {
        budget.take_answer()?;
        answers.push(match op {
            TxnOp::Range(range) => TxnAnswer::Range(select(source, keyspace, range, budget)?),
            TxnOp::Txn(inner) => TxnAnswer::Txn(read_in(source, keyspace, inner, ways, budget)?),
            TxnOp::Put { .. } | TxnOp::Delete { .. } => unreachable!("a transaction that writes is no query"),
        });
    }
    Ok(TxnAnswers { succeeded, answers })
}

/// Whether all compares hold.
fn all_hold(
    source: &dyn Source,
    keyspace: Keyspace,
    compares: &[Compare],
    budget: &mut Budget<'_>,
) -> Result<bool, Halt> {
    for compare in compares {
        if !holds(source, keyspace, compare, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(
    source: &dyn Source,
    keyspace: Keyspace,
    compare: &Compare,
    budget: &mut Budget<'_>,
) -> Result<bool, Halt> {
    let (mut is_found, mut all) = (false, true);
    each_record(source, keyspace, &compare.keys, budget, |_, record, _| {
        is_found = true;
        all = holds_of(compare, Some(&record));
        Ok(all)
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
