//! The naive twin of transactions: everything is looked at, always, and a transaction that is refused is undone whole.

use super::*;
use crate::command::{
    Bounds, Compare, Content, Order, OrderBy, Range, Relation, Selection, Target, Txn, TxnAnswer, TxnAnswers,
    TxnOp, TxnRefusal,
};

impl Model {
    pub(super) fn txn(&mut self, txn: &Txn) -> Reply {
        let (records, next) = (self.records.clone(), self.revision + 1);
        let mut changed = false;
        let mut ways = self.ways(txn.keyspace, txn).into_iter();
        match self.run_txn(txn, txn.keyspace, &mut ways, next, &mut changed) {
            Ok(answers) => {
                self.revision += u64::from(changed);
                Reply::Txn { revision: Revision(self.revision), answers }
            }
            Err(why) => {
                self.records = records;
                Reply::TxnRefused { why }
            }
        }
    }

    pub(super) fn read_txn(&self, txn: &Txn) -> TxnAnswers {
        let mut scratch =
            Model { records: self.records.clone(), revision: self.revision, ..Model::default() };
        let mut ways = self.ways(txn.keyspace, txn).into_iter();
        scratch.run_txn(txn, txn.keyspace, &mut ways, 0, &mut false).expect("reading is never refused")
    }

    /// Which way each transaction that is reached goes, judged before anything is done.
    fn ways(&self, keyspace: Keyspace, txn: &Txn) -> Vec<bool> {
        let succeeded = txn.compares.iter().all(|compare| self.holds(keyspace, compare));
        let mut ways = vec![succeeded];
        for op in if succeeded { &txn.success } else { &txn.failure } {
            if let TxnOp::Txn(inner) = op {
                ways.extend(self.ways(keyspace, inner));
            }
        }
        ways
    }

    fn run_txn(
        &mut self,
        txn: &Txn,
        keyspace: Keyspace,
        ways: &mut std::vec::IntoIter<bool>,
        next: u64,
        changed: &mut bool,
    ) -> Result<TxnAnswers, TxnRefusal> {
        let succeeded = ways.next().expect("one for each transaction that is reached");
        let mut answers = Vec::new();
        for op in if succeeded { &txn.success } else { &txn.failure } {
            answers.push(match op {
                TxnOp::Range(range) => TxnAnswer::Range(self.select(keyspace, range)),
                TxnOp::Put { key, value, previous } => {
                    let old = self.records.get(&(keyspace, key.clone())).cloned();
                    let kept = old.as_ref().map(|old| old.value.clone());
                    let value = value.clone().or(kept).ok_or(TxnRefusal::NoSuchKey)?;
                    let record = Record {
                        create_revision: old.as_ref().map_or(Revision(next), |old| old.create_revision),
                        mod_revision: Revision(next),
                        version: old.as_ref().map_or(1, |old| old.version + 1),
                        lease: 0,
                        value,
                    };
                    self.records.insert((keyspace, key.clone()), record);
                    *changed = true;
                    TxnAnswer::Put { previous: old.filter(|_| *previous) }
                }
                TxnOp::Delete { keys, previous } => {
                    let gone = self.pairs(keyspace, keys);
                    for (key, _) in &gone {
                        self.records.remove(&(keyspace, key.clone()));
                    }
                    *changed |= !gone.is_empty();
                    TxnAnswer::Delete {
                        deleted: gone.len() as u64,
                        previous: if *previous { gone } else { vec![] },
                    }
                }
                TxnOp::Txn(inner) => TxnAnswer::Txn(self.run_txn(inner, keyspace, ways, next, changed)?),
            });
        }
        Ok(TxnAnswers { succeeded, answers })
    }

    fn pairs(&self, keyspace: Keyspace, keys: &Keys) -> Vec<(Bytes, Record)> {
        let all = self.records.iter().filter(|((space, key), _)| *space == keyspace && keys.contain(key));
        all.map(|((_, key), record)| (key.clone(), record.clone())).collect()
    }

    fn holds(&self, keyspace: Keyspace, compare: &Compare) -> bool {
        let pairs = self.pairs(keyspace, &compare.keys);
        let absent = Record {
            create_revision: Revision(0),
            mod_revision: Revision(0),
            version: 0,
            lease: 0,
            value: Bytes::new(),
        };
        if pairs.is_empty() && matches!(compare.target, Target::Value(_)) {
            return false;
        }
        let records =
            if pairs.is_empty() { vec![absent] } else { pairs.into_iter().map(|pair| pair.1).collect() };
        records.iter().all(|record| {
            let ordering = match &compare.target {
                Target::Version(version) => record.version.cmp(version),
                Target::CreateRevision(revision) => record.create_revision.cmp(revision),
                Target::ModRevision(revision) => record.mod_revision.cmp(revision),
                Target::Value(value) => record.value.cmp(value),
                Target::Lease(lease) => record.lease.cmp(lease),
            };
            match compare.relation {
                Relation::Equal => ordering.is_eq(),
                Relation::NotEqual => ordering.is_ne(),
                Relation::Greater => ordering.is_gt(),
                Relation::Less => ordering.is_lt(),
            }
        })
    }

    pub(super) fn select(&self, keyspace: Keyspace, range: &Range) -> Selection {
        let mut pairs = self.pairs(keyspace, &range.keys);
        let count = pairs.len() as u64;
        pairs.retain(|(_, record)| {
            let in_bounds = |bounds: &Bounds, Revision(at): Revision| {
                bounds.min.is_none_or(|min| at >= min.0) && bounds.max.is_none_or(|max| at <= max.0)
            };
            in_bounds(&range.mod_revisions, record.mod_revision)
                && in_bounds(&range.create_revisions, record.create_revision)
        });
        pairs.sort_by(|left, right| {
            let order = rank(range.order.by, left).cmp(&rank(range.order.by, right));
            let order = if range.order.is_descending { order.reverse() } else { order };
            // Equal ones stay in key order.
            order.then_with(|| left.0.cmp(&right.0))
        });
        let limit = range.limit.unwrap_or(usize::MAX);
        let more = pairs.len() > limit;
        pairs.truncate(limit);
        match range.content {
            Content::Records => {}
            Content::Keys => pairs.iter_mut().for_each(|(_, record)| record.value = Bytes::new()),
            Content::Count => return Selection { pairs: vec![], more: false, count },
        }
        Selection { pairs, more, count }
    }
}

fn rank(by: OrderBy, (key, record): &(Bytes, Record)) -> (u64, Bytes) {
    match by {
        OrderBy::Key => (0, key.clone()),
        OrderBy::Version => (record.version, Bytes::new()),
        OrderBy::CreateRevision => (record.create_revision.0, Bytes::new()),
        OrderBy::ModRevision => (record.mod_revision.0, Bytes::new()),
        OrderBy::Value => (0, record.value.clone()),
    }
}

pub(super) fn a_range() -> impl Strategy<Value = Range> {
    let by = prop_oneof![
        3 => Just(OrderBy::Key),
        1 => Just(OrderBy::Version),
        1 => Just(OrderBy::CreateRevision),
        1 => Just(OrderBy::ModRevision),
        1 => Just(OrderBy::Value),
    ];
    let content =
        prop_oneof![3 => Just(Content::Records), 1 => Just(Content::Keys), 1 => Just(Content::Count)];
    let bounds = || {
        let bound = || proptest::option::weighted(0.2, (1..20_u64).prop_map(Revision));
        (bound(), bound()).prop_map(|(min, max)| Bounds { min, max })
    };
    (some_keys(), proptest::option::of(0..4_usize), by, any::<bool>(), content, bounds(), bounds()).prop_map(
        |(keys, limit, by, is_descending, content, mod_revisions, create_revisions)| Range {
            keys,
            limit,
            order: Order { by, is_descending },
            content,
            mod_revisions,
            create_revisions,
        },
    )
}

fn a_compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0..3_u64).prop_map(Target::Version),
        (0..9_u64).prop_map(|revision| Target::CreateRevision(Revision(revision))),
        (0..9_u64).prop_map(|revision| Target::ModRevision(Revision(revision))),
        "[x-z]{0,2}".prop_map(|value| Target::Value(Bytes::from(value))),
        (0..2_u64).prop_map(Target::Lease),
    ];
    let relation = prop_oneof![
        Just(Relation::Equal),
        Just(Relation::NotEqual),
        Just(Relation::Greater),
        Just(Relation::Less)
    ];
    (some_keys(), relation, target).prop_map(|(keys, relation, target)| Compare { keys, relation, target })
}

fn txn_of<S: Strategy<Value = TxnOp> + Clone>(op: S) -> impl Strategy<Value = Txn> {
    let ops = move || proptest::collection::vec(op.clone(), 0..4);
    (0..2_u32, proptest::collection::vec(a_compare(), 0..2), ops(), ops()).prop_map(
        |(keyspace, compares, success, failure)| Txn {
            keyspace: Keyspace(keyspace),
            compares,
            success,
            failure,
        },
    )
}

fn a_change() -> impl Strategy<Value = TxnOp> + Clone {
    let put = (key(), proptest::option::weighted(0.8, "[x-z]{0,20}"), any::<bool>())
        .prop_map(|(key, value, previous)| TxnOp::Put { key, value: value.map(Bytes::from), previous });
    let delete = (some_keys(), any::<bool>()).prop_map(|(keys, previous)| TxnOp::Delete { keys, previous });
    prop_oneof![3 => put, 1 => delete, 2 => a_range().prop_map(TxnOp::Range)].boxed()
}

pub(super) fn a_txn() -> impl Strategy<Value = Txn> {
    let inner = txn_of(a_change()).prop_map(TxnOp::Txn);
    txn_of(prop_oneof![4 => a_change(), 1 => inner].boxed())
}

/// One that only reads.
pub(super) fn a_reading_txn() -> impl Strategy<Value = Txn> {
    let range = a_range().prop_map(TxnOp::Range).boxed();
    let inner = txn_of(range.clone()).prop_map(TxnOp::Txn);
    txn_of(prop_oneof![4 => range, 1 => inner].boxed())
}
