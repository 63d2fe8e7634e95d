//! Reading: the write set, the frozen set and redb, merged at one applied index.
//!
//! Under one hold of the view's lock a reader takes what it needs of the active set, a handle to the frozen set, and
//! begins its redb transaction. The fold that is under way may become durable just before or after: the frozen set
//! lies over redb as long as it is there, and gives the same merged content either way; it is only cleared, under
//! that same lock, when redb has all of it. Then the lock is released, before the disk is touched. (With one exception:
//! while redb makes a growth of the file durable, it lets no transaction begin. Growth doubles the file, so it is rare.)
//!
//! A file that met a full disk is opened again, and the query begins anew (see [`super::undo`]).
//!
//! A transaction lives as long as one query, which is bounded in pairs and bytes: pages that a long-lived one pins
//! would make the file grow for good.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use redb::{AccessGuard, ReadOnlyTable, ReadTransaction};

use super::base::Base;
use super::schema::{self, KEYSPACE_BYTES, Table};
use super::store::{Frozen, Shared, View};
use super::write_set::{Change, WriteSet};
use super::{Error, Store};
use crate::codec;
use crate::command::{Answer, Found, Query, Record};
use crate::types::Keyspace;

impl Store {
    /// Answers a query from the state after the last applied batch. Any thread may ask.
    ///
    /// # Errors
    /// Any error of the file.
    pub fn query(&self, query: &Query) -> Result<Answer, Error> {
        let shared = &*self.shared;
        shared.reading(|| match query {
            Query::Get { keyspace, key } => get(shared, *keyspace, key),
            Query::List { keyspace, prefix, after, limit, bytes_max } => {
                let range = Range::new(*keyspace, prefix, after.as_deref());
                list(shared, &range, *limit, *bytes_max)
            }
        })
    }
}

fn get(shared: &Shared, keyspace: Keyspace, key: &[u8]) -> Result<Answer, Error> {
    let key = schema::record_key(keyspace, key);
    let view = shared.view();
    let base = view.base.clone();
    base.latch.check()?;
    let answer = |found| Answer {
        revision: view.head.revision,
        applied: view.head.applied.0,
        found: Found::Record(found),
    };
    let sets = [Some(&view.active), view.frozen.as_ref().map(|frozen| &frozen.set)];
    if let Some(change) = sets.into_iter().flatten().find_map(|set| set.get(Table::Records, &key)) {
        let record = change.as_ref().map(codec::decode_record).transpose();
        return record.map(answer).map_err(|error| broken(&base, &error));
    }
    let answer = answer(None);
    let txn = base.begin_read()?;
    drop(view);
    let row = records(&base, &txn)?;
    let row = row.get(key.as_ref()).map_err(|error| base.fault(error))?;
    let record = row.map(|row| codec::decode_record_slice(row.value())).transpose();
    let record = record.map_err(|error| broken(&base, &error))?;
    Ok(Answer { found: Found::Record(record), ..answer })
}

fn list(shared: &Shared, range: &Range, limit: usize, bytes_max: usize) -> Result<Answer, Error> {
    let (mut answer, active, frozen, base, txn) = {
        let view = shared.view();
        let base = view.base.clone();
        base.latch.check()?;
        let active = first_changes(&view, range, limit, bytes_max);
        let page = Found::Page { pairs: Vec::new(), more: false };
        let answer = Answer { revision: view.head.revision, applied: view.head.applied.0, found: page };
        // Under the view's lock; see the module's doc.
        let txn = base.begin_read()?;
        (answer, active, view.frozen.clone(), base, txn)
    };
    let table = records(&base, &txn)?;
    let mut merged = merge(&base, range, active, frozen.as_ref(), &table)?;
    let mut pairs = Vec::new();
    let mut bytes = 0;
    let more = loop {
        let Some((key, row)) = merged.next()? else { break false };
        if pairs.len() >= limit || bytes >= bytes_max {
            break true;
        }
        let record = row.decode().map_err(|error| broken(&base, &error))?;
        bytes += key.len() + record.value.len();
        pairs.push((key, record));
    };
    answer.found = Found::Page { pairs, more };
    Ok(answer)
}

type Records = ReadOnlyTable<&'static [u8], &'static [u8]>;

fn records(base: &Base, txn: &ReadTransaction) -> Result<Records, Error> {
    txn.open_table(Table::Records.definition()).map_err(|error| base.fault(error))
}

fn broken(base: &Base, error: &codec::Error) -> Error {
    base.latch.set(schema::broken("record", &error.to_string()))
}

/// The table keys that a list is about.
struct Range {
    prefix: Bytes,
    after: Option<Bytes>,
}

impl Range {
    fn new(keyspace: Keyspace, prefix: &[u8], after: Option<&[u8]>) -> Range {
        // A key before the prefix is no bound at all.
        let after = after.filter(|after| *after >= prefix);
        Range {
            prefix: schema::record_key(keyspace, prefix),
            after: after.map(|after| schema::record_key(keyspace, after)),
        }
    }

    fn from(&self) -> Bound<&[u8]> {
        match &self.after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(&self.prefix),
        }
    }

    fn holds(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
    }

    fn of<'a>(&'a self, set: &'a WriteSet) -> impl Iterator<Item = (&'a Bytes, &'a Change)> {
        set.range(Table::Records, self.from()).take_while(|(key, _)| self.holds(key))
    }
}

/// As many changes of the active set as can matter: every row in it is live, so one row more than the page takes is
/// enough to know that there is more. Handles are copied, not bytes.
fn first_changes(view: &View, range: &Range, limit: usize, bytes_max: usize) -> Vec<(Bytes, Change)> {
    let mut changes = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    for (key, change) in range.of(&view.active) {
        changes.push((key.clone(), change.clone()));
        let Some(row) = change else { continue };
        if rows >= limit || bytes >= bytes_max {
            break;
        }
        rows += 1;
        // What the page will count for this pair.
        bytes += key.len() - KEYSPACE_BYTES + row.len() - codec::RECORD_HEADER_BYTES;
    }
    changes
}

/// A row that was found, not decoded yet.
enum Row {
    Memory(Bytes),
    Page(AccessGuard<'static, &'static [u8]>),
}

impl Row {
    fn decode(&self) -> Result<Record, codec::Error> {
        match self {
            Row::Memory(row) => codec::decode_record(row),
            Row::Page(row) => codec::decode_record_slice(row.value()),
        }
    }
}

/// The three layers in key order; where two have a key, the younger counts.
struct Merge<'a, F: Iterator> {
    base: &'a Base,
    range: &'a Range,
    active: Peekable<std::vec::IntoIter<(Bytes, Change)>>,
    frozen: Peekable<F>,
    folded: redb::Range<'static, &'static [u8], &'static [u8]>,
    /// The next pair of `folded`, if it was fetched.
    folded_next: Option<Folded>,
}

type Folded = (AccessGuard<'static, &'static [u8]>, AccessGuard<'static, &'static [u8]>);

/// Lays the layers over each other.
fn merge<'a>(
    base: &'a Base,
    range: &'a Range,
    active: Vec<(Bytes, Change)>,
    frozen: Option<&'a Arc<Frozen>>,
    table: &Records,
) -> Result<Merge<'a, impl Iterator<Item = (&'a Bytes, &'a Change)>>, Error> {
    let bounds = (range.from(), Bound::Unbounded);
    let folded = table.range::<&[u8]>(bounds).map_err(|error| base.fault(error))?;
    let frozen = frozen.into_iter().flat_map(|frozen| range.of(&frozen.set));
    let mut merge = Merge {
        base,
        range,
        active: active.into_iter().peekable(),
        frozen: frozen.peekable(),
        folded,
        folded_next: None,
    };
    merge.fetch()?;
    Ok(merge)
}

impl<'a, F: Iterator<Item = (&'a Bytes, &'a Change)>> Merge<'a, F> {
    /// The next live pair: the user's key and its row.
    fn next(&mut self) -> Result<Option<(Bytes, Row)>, Error> {
        loop {
            let keys = [
                self.active.peek().map(|(key, _)| key.as_ref()),
                self.frozen.peek().map(|(key, _)| key.as_ref()),
                self.folded_next.as_ref().map(|(key, _)| key.value()),
            ];
            let Some(least) = keys.into_iter().flatten().min() else { return Ok(None) };
            let [in_active, in_frozen, in_folded] =
                keys.map(|key| key.is_some_and(|key| key.cmp(least) == Ordering::Equal));
            let user_key = |key: &[u8]| Bytes::copy_from_slice(&key[KEYSPACE_BYTES..]);
            // From the oldest layer to the youngest, each overruling the one before.
            let mut pair = None;
            if in_folded {
                pair = self.folded_next.take().map(|(key, row)| (user_key(key.value()), Row::Page(row)));
                self.fetch()?;
            }
            if in_frozen {
                let newer = self.frozen.next();
                pair = newer.and_then(|(key, row)| {
                    row.clone().map(|row| (key.slice(KEYSPACE_BYTES..), Row::Memory(row)))
                });
            }
            if in_active {
                let newer = self.active.next();
                pair = newer
                    .and_then(|(key, row)| row.map(|row| (key.slice(KEYSPACE_BYTES..), Row::Memory(row))));
            }
            if pair.is_some() {
                return Ok(pair);
            }
        }
    }

    /// Fetches redb's next pair, if it is in the range.
    fn fetch(&mut self) -> Result<(), Error> {
        let next = self.folded.next().transpose().map_err(|error| self.base.fault(error))?;
        self.folded_next = next.filter(|(key, _)| self.range.holds(key.value()));
        Ok(())
    }
}
