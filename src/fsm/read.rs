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
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use redb::{AccessGuard, ReadOnlyTable, ReadTransaction};

use super::base::Base;
use super::key::Key;
use super::schema::{self, KEYSPACE_BYTES, Table};
use super::select::{Budget, Halt, Source, select};
use super::store::{Frozen, Shared, View};
use super::write_set::{Change, WriteSet};
use super::{Error, Store, txn};
use crate::codec;
use crate::command::{Answer, Found, Keys, Query, Record};
use crate::types::{Index, Keyspace, Revision};

impl Store {
    /// Answers a query from the state after the last applied batch. Any thread may ask.
    ///
    /// # Errors
    /// Any error of the file.
    pub fn query(&self, query: &Query) -> Result<Answer, Error> {
        self.query_while(query, &|| true)
    }

    /// The same, as long as somebody wants to know: what takes long asks from time to time. Whoever does not want to know any
    /// more gets any answer.
    ///
    /// # Errors
    /// As [`Store::query`].
    pub fn query_while(&self, query: &Query, wanted: &dyn Fn() -> bool) -> Result<Answer, Error> {
        let shared = &*self.shared;
        shared.reading(|| match query {
            Query::Get { keyspace, key } => get(shared, *keyspace, key),
            Query::List { keyspace, keys, after, keys_only, limit, bytes_max } => {
                let span = Span::behind(*keyspace, keys, after.as_deref());
                list(shared, &span, &Page { keys_only: *keys_only, limit: *limit, bytes_max: *bytes_max })
            }
            Query::Range { keyspace, range, bytes_max } => {
                let snapshot = Snapshot::take(shared, &[Span::of(*keyspace, &range.keys)])?;
                let budget = &mut Budget::of_query(*bytes_max, wanted);
                snapshot.answer(select(&snapshot, *keyspace, range, budget).map(Found::Selection))
            }
            Query::Txn { txn, bytes_max } => {
                let snapshot = Snapshot::take(shared, &txn::spans(txn))?;
                let budget = &mut Budget::of_query(*bytes_max, wanted);
                snapshot.answer(txn::read(&snapshot, txn, budget).map(Found::Txn))
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
    let row = row.get(&*key).map_err(|error| base.fault(error))?;
    let record = row.map(|row| codec::decode_record_slice(row.value())).transpose();
    let record = record.map_err(|error| broken(&base, &error))?;
    Ok(Answer { found: Found::Record(record), ..answer })
}

/// How much a list may answer.
struct Page {
    keys_only: bool,
    limit: usize,
    bytes_max: usize,
}

impl Page {
    /// What a pair counts for.
    fn bytes_of(&self, key_bytes: usize, value_bytes: usize) -> usize {
        key_bytes + if self.keys_only { 0 } else { value_bytes }
    }
}

fn list(shared: &Shared, span: &Span, page: &Page) -> Result<Answer, Error> {
    let (mut answer, active, frozen, base, txn) = {
        let view = shared.view();
        let base = view.base.clone();
        base.latch.check()?;
        let active = first_changes(&view, span, page);
        let found = Found::Page { pairs: Vec::new(), more: false };
        let answer = Answer { revision: view.head.revision, applied: view.head.applied.0, found };
        // Under the view's lock; see the module's doc.
        let txn = base.begin_read()?;
        (answer, active, view.frozen.clone(), base, txn)
    };
    let table = records(&base, &txn)?;
    let active: Layer<'_> = Box::new(active.iter().map(|(key, change)| (key, change)));
    let mut merged = merge(&base, span, vec![active], frozen.as_ref(), &table)?;
    let mut pairs = Vec::new();
    let mut bytes = 0;
    let more = loop {
        let Some((key, row)) = merged.next()? else { break false };
        if pairs.len() >= page.limit || bytes >= page.bytes_max {
            break true;
        }
        let record = if page.keys_only { codec::decode_record_header(row.bytes()) } else { row.decode() };
        let record = record.map_err(|error| broken(&base, &error))?;
        bytes += page.bytes_of(key.len(), record.value.len());
        pairs.push((key, record));
    };
    answer.found = Found::Page { pairs, more };
    Ok(answer)
}

pub(super) type Records = ReadOnlyTable<&'static [u8], &'static [u8]>;

fn records(base: &Base, txn: &ReadTransaction) -> Result<Records, Error> {
    txn.open_table(Table::Records.definition()).map_err(|error| base.fault(error))
}

pub(super) fn broken(base: &Base, error: &codec::Error) -> Error {
    base.latch.set(schema::broken("record", &error.to_string()))
}

/// A stretch of table keys.
#[derive(Clone, Debug)]
pub(super) struct Span {
    from: Bound<Key>,
    /// Not among them; without it, there is no end.
    to: Option<Key>,
}

impl Span {
    /// Those of these keys that lie behind `after`.
    fn behind(keyspace: Keyspace, keys: &Keys, after: Option<&[u8]>) -> Span {
        let Span { from, to } = Span::of(keyspace, keys);
        // A key before the first is no bound at all.
        let (Keys::One(first) | Keys::From(first) | Keys::Between(first, _)) = keys;
        let after = after.filter(|after| after >= first);
        Span { from: after.map_or(from, |after| Bound::Excluded(schema::record_key(keyspace, after))), to }
    }

    /// These keys.
    pub(super) fn of(keyspace: Keyspace, keys: &Keys) -> Span {
        let begin = |key: &Bytes| Bound::Included(schema::record_key(keyspace, key));
        match keys {
            // The first key behind another one is that one with a zero.
            Keys::One(key) => {
                let next = [key, &[0][..]].concat();
                Span { from: begin(key), to: Some(schema::record_key(keyspace, &next)) }
            }
            Keys::From(from) => {
                let next = keyspace.0.checked_add(1).map(Keyspace);
                Span { from: begin(from), to: next.map(|next| schema::record_key(next, b"")) }
            }
            Keys::Between(from, to) => Span { from: begin(from), to: Some(schema::record_key(keyspace, to)) },
        }
    }

    fn from(&self) -> Bound<&[u8]> {
        self.from.as_ref().map(|from| &**from)
    }

    /// Whether a key that does not lie before it lies in it.
    fn reaches(&self, key: &[u8]) -> bool {
        self.to.as_ref().is_none_or(|to| key < &**to)
    }

    /// The part of a set that lies in it.
    pub(super) fn of_set<'a>(&'a self, set: &'a WriteSet) -> impl Iterator<Item = (&'a Key, &'a Change)> {
        set.range(Table::Records, self.from()).take_while(|(key, _)| self.reaches(key))
    }

    /// The part of a map that lies in it.
    pub(super) fn of_map<'a, V>(
        &'a self,
        map: &'a BTreeMap<Key, V>,
    ) -> impl Iterator<Item = (&'a Key, &'a V)> {
        map.range::<[u8], _>((self.from(), Bound::Unbounded)).take_while(|(key, _)| self.reaches(key))
    }
}

/// What a query that looks at several places reads from: all that was visible at one applied index.
struct Snapshot {
    revision: Revision,
    applied: Index,
    /// What the active set had for the spans that were asked for. Handles are copied, not bytes.
    active: BTreeMap<Key, Change>,
    frozen: Option<Arc<Frozen>>,
    base: Arc<Base>,
    table: Records,
}

impl Snapshot {
    fn take(shared: &Shared, spans: &[Span]) -> Result<Snapshot, Error> {
        let view = shared.view();
        let base = view.base.clone();
        base.latch.check()?;
        let (revision, applied) = (view.head.revision, view.head.applied.0);
        let active = changes_in(&view, spans);
        // Under the view's lock; see the module's doc.
        let txn = base.begin_read()?;
        let frozen = view.frozen.clone();
        drop(view);
        let table = records(&base, &txn)?;
        Ok(Snapshot { revision, applied, active, frozen, base, table })
    }

    fn answer(&self, found: Result<Found, Halt>) -> Result<Answer, Error> {
        let found = match found {
            Ok(found) => found,
            Err(Halt::Refused(_)) => Found::TooLarge,
            Err(Halt::Failed(error)) => return Err(error),
        };
        Ok(Answer { revision: self.revision, applied: self.applied, found })
    }
}

impl Source for Snapshot {
    fn base(&self) -> &Base {
        &self.base
    }

    fn scan<'a>(&'a self, span: &'a Span) -> Result<Merge<'a>, Error> {
        let active: Layer<'a> = Box::new(span.of_map(&self.active));
        merge(&self.base, span, vec![active], self.frozen.as_ref(), &self.table)
    }
}

/// The active set's changes in some spans.
fn changes_in(view: &View, spans: &[Span]) -> BTreeMap<Key, Change> {
    let changes = spans.iter().flat_map(|span| span.of_set(&view.active));
    changes.map(|(key, change)| (key.clone(), change.clone())).collect()
}

/// As many changes of the active set as can matter: every row in it is live, so one row more than the page takes is
/// enough to know that there is more. Handles are copied, not bytes.
fn first_changes(view: &View, span: &Span, page: &Page) -> Vec<(Key, Change)> {
    let mut changes = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    for (key, change) in span.of_set(&view.active) {
        changes.push((key.clone(), change.clone()));
        let Some(row) = change else { continue };
        if rows >= page.limit || bytes >= page.bytes_max {
            break;
        }
        rows += 1;
        bytes += page.bytes_of(key.len() - KEYSPACE_BYTES, row.len() - codec::RECORD_HEADER_BYTES);
    }
    changes
}

/// A row that was found, not decoded yet.
pub(super) enum Row {
    Memory(Bytes),
    Page(AccessGuard<'static, &'static [u8]>),
}

impl Row {
    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Row::Memory(row) => row,
            Row::Page(row) => row.value(),
        }
    }

    fn decode(&self) -> Result<Record, codec::Error> {
        match self {
            Row::Memory(row) => codec::decode_record(row),
            Row::Page(row) => codec::decode_record_slice(row.value()),
        }
    }

    /// The row by itself: it holds no page.
    pub(super) fn into_bytes(self) -> Bytes {
        match self {
            Row::Memory(row) => row,
            Row::Page(row) => Bytes::copy_from_slice(row.value()),
        }
    }
}

/// Changes in key order.
pub(super) type Layer<'a> = Box<dyn Iterator<Item = (&'a Key, &'a Change)> + 'a>;

/// All layers in key order; where several have a key, the youngest counts.
pub(super) struct Merge<'a> {
    base: &'a Base,
    span: &'a Span,
    /// From the youngest to the oldest.
    layers: Vec<Peekable<Layer<'a>>>,
    folded: redb::Range<'static, &'static [u8], &'static [u8]>,
    /// The next pair of `folded`, if it was fetched.
    folded_next: Option<Folded>,
}

type Folded = (AccessGuard<'static, &'static [u8]>, AccessGuard<'static, &'static [u8]>);

/// Lays the layers over each other: those that are given, from the youngest on, over what is being folded and what is folded.
pub(super) fn merge<'a>(
    base: &'a Base,
    span: &'a Span,
    mut layers: Vec<Layer<'a>>,
    frozen: Option<&'a Arc<Frozen>>,
    table: &Records,
) -> Result<Merge<'a>, Error> {
    let bounds = (span.from(), Bound::Unbounded);
    let folded = table.range::<&[u8]>(bounds).map_err(|error| base.fault(error))?;
    layers.extend(frozen.map(|frozen| -> Layer<'a> { Box::new(span.of_set(&frozen.set)) }));
    let layers = layers.into_iter().map(Iterator::peekable).collect();
    let mut merge = Merge { base, span, layers, folded, folded_next: None };
    merge.fetch()?;
    Ok(merge)
}

impl Merge<'_> {
    /// The next live pair: the user's key and its row.
    pub(super) fn next(&mut self) -> Result<Option<(Bytes, Row)>, Error> {
        loop {
            let heads =
                self.layers.iter_mut().filter_map(|layer| layer.peek().map(|(key, _)| *key)).min().cloned();
            let folded = self.folded_next.as_ref().map(|(key, _)| key.value());
            let order = match (&heads, folded) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(head), Some(folded)) => (**head).cmp(folded),
            };
            let from_file = if order == Ordering::Less { None } else { self.take_folded()? };
            if order == Ordering::Greater {
                return Ok(from_file);
            }
            let key = heads.expect("a layer has the least key");
            let mut newest = None;
            for layer in &mut self.layers {
                let change = layer.next_if(|(at, _)| **at == key);
                newest = newest.or(change);
            }
            let (_, change) = newest.expect("a layer has the least key");
            if let Some(row) = change {
                return Ok(Some((key.behind(KEYSPACE_BYTES), Row::Memory(row.clone()))));
            }
        }
    }

    /// Takes redb's next pair.
    fn take_folded(&mut self) -> Result<Option<(Bytes, Row)>, Error> {
        let pair = self.folded_next.take();
        self.fetch()?;
        Ok(pair.map(|(key, row)| (Bytes::copy_from_slice(&key.value()[KEYSPACE_BYTES..]), Row::Page(row))))
    }

    /// Fetches redb's next pair, if it is in the span.
    fn fetch(&mut self) -> Result<(), Error> {
        let next = self.folded.next().transpose().map_err(|error| self.base.fault(error))?;
        self.folded_next = next.filter(|(key, _)| self.span.reaches(key.value()));
        Ok(())
    }
}
