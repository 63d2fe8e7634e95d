//! Ranges: which pairs of a stretch of keys, in which order, and how many there are.
//!
//! In key order a range stops collecting at its limit and goes on counting. In any other order the pairs that come first
//! are known at the end only: as many as the limit asks for are kept meanwhile, and some more, never all there are. What is
//! kept is bounded in bytes besides.

use bytes::Bytes;

use super::Error;
use super::base::Base;
use super::read::{Merge, Span, broken};
use crate::codec;
use crate::command::{Content, Keys, Order, OrderBy, Range, Record, Selection};
use crate::types::Keyspace;

/// Where rows are read: a snapshot, or a batch that is being applied.
pub(super) trait Source {
    /// The file below.
    fn base(&self) -> &Base;

    /// The live pairs of a span, in key order.
    fn scan<'a>(&'a self, span: &'a Span) -> Result<Merge<'a>, Error>;
}

/// How many bytes an answer may still have.
pub(super) struct Budget(usize);

impl Budget {
    /// As many as that.
    pub(super) fn of(bytes: usize) -> Budget {
        Budget(bytes)
    }

    /// Takes the bytes of a pair; false if there are not so many.
    #[must_use]
    pub(super) fn take(&mut self, key: &[u8], record: &Record) -> bool {
        let bytes = key.len() + record.value.len();
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }

    fn give_back(&mut self, key: &[u8], record: &Record) {
        self.0 += key.len() + record.value.len();
    }
}

/// The records of these keys, whole and in key order, until `visit` says that it has enough.
pub(super) fn each_record(
    source: &dyn Source,
    keyspace: Keyspace,
    keys: &Keys,
    mut visit: impl FnMut(Bytes, Record) -> bool,
) -> Result<(), Error> {
    let span = Span::of(keyspace, keys);
    let mut pairs = source.scan(&span)?;
    while let Some((key, row)) = pairs.next()? {
        let record =
            codec::decode_record(&row.into_bytes()).map_err(|error| broken(source.base(), &error))?;
        if !visit(key, record) {
            break;
        }
    }
    Ok(())
}

/// What a range finds; `None` if that is more than the budget.
pub(super) fn select(
    source: &dyn Source,
    keyspace: Keyspace,
    range: &Range,
    budget: &mut Budget,
) -> Result<Option<Selection>, Error> {
    let span = Span::of(keyspace, &range.keys);
    let mut rows = source.scan(&span)?;
    let mut kept = Kept::new(range);
    let mut count = 0;
    while let Some((key, row)) = rows.next()? {
        count += 1;
        if !kept.wants_more() {
            continue;
        }
        let mut record =
            codec::decode_record_header(row.bytes()).map_err(|error| broken(source.base(), &error))?;
        let is_in = range.mod_revisions.contain(record.mod_revision)
            && range.create_revisions.contain(record.create_revision);
        if !is_in {
            continue;
        }
        if range.content == Content::Records || range.order.by == OrderBy::Value {
            record.value = row.into_bytes().slice(codec::RECORD_HEADER_BYTES..);
        }
        if !kept.add(key, record, budget) {
            return Ok(None);
        }
    }
    Ok(Some(kept.into_selection(count)))
}

/// The pairs that may be among the first.
struct Kept<'a> {
    range: &'a Range,
    pairs: Vec<(Bytes, Record)>,
    /// Whether some were left out.
    more: bool,
}

impl Kept<'_> {
    fn new(range: &Range) -> Kept<'_> {
        Kept { range, pairs: Vec::new(), more: false }
    }

    fn limit(&self) -> usize {
        self.range.limit.unwrap_or(usize::MAX)
    }

    fn is_in_key_order(&self) -> bool {
        self.range.order == Order::default()
    }

    /// Whether a further pair may matter.
    fn wants_more(&self) -> bool {
        self.range.content != Content::Count && !(self.more && self.is_in_key_order())
    }

    /// False if that is beyond the budget.
    fn add(&mut self, key: Bytes, record: Record, budget: &mut Budget) -> bool {
        if self.is_in_key_order() && self.pairs.len() >= self.limit() {
            self.more = true;
            return true;
        }
        if !budget.take(&key, &record) {
            // What was kept in vain may make room for it.
            self.cut(budget);
            if !budget.take(&key, &record) {
                return false;
            }
        }
        self.pairs.push((key, record));
        if self.pairs.len() >= self.limit().saturating_mul(2).saturating_add(KEPT_MORE) {
            self.cut(budget);
        }
        true
    }

    /// Leaves those that come first.
    fn cut(&mut self, budget: &mut Budget) {
        sort(&mut self.pairs, self.range.order);
        let limit = self.limit().min(self.pairs.len());
        for (key, record) in self.pairs.drain(limit..) {
            self.more = true;
            budget.give_back(&key, &record);
        }
    }

    fn into_selection(mut self, count: u64) -> Selection {
        if !self.is_in_key_order() {
            self.cut(&mut Budget(0));
        }
        if self.range.content == Content::Keys {
            for (_, record) in &mut self.pairs {
                record.value = Bytes::new();
            }
        }
        Selection { pairs: self.pairs, more: self.more, count }
    }
}

/// Pairs that are kept beyond twice the limit before those that do not come first are let go.
const KEPT_MORE: usize = 64;

fn sort(pairs: &mut [(Bytes, Record)], Order { by, is_descending }: Order) {
    // Stable, so that equal ones stay in key order: they were collected in it, and what was cut was at the end.
    pairs.sort_by(|(left_key, left), (right_key, right)| {
        let ordering = match by {
            OrderBy::Key => left_key.cmp(right_key),
            OrderBy::Version => left.version.cmp(&right.version),
            OrderBy::CreateRevision => left.create_revision.cmp(&right.create_revision),
            OrderBy::ModRevision => left.mod_revision.cmp(&right.mod_revision),
            OrderBy::Value => left.value.cmp(&right.value),
        };
        if is_descending { ordering.reverse() } else { ordering }
    });
}
