//! Ranges: which pairs of a stretch of keys, in which order, and how many there are.
//!
//! In key order a range stops collecting at its limit and goes on counting. In any other order the pairs that come first
//! are known at the end only: as many as the limit asks for are kept meanwhile, in a map that lets go of its last.
//!
//! What may be looked at and answered is bounded by a [`Budget`]: for applying by constants, since every node must judge
//! alike and all that comes behind waits; for a query by its caller, who may also lose interest.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::Error;
use super::base::Base;
use super::read::{Merge, Span, broken};
use crate::codec;
use crate::command::{
    Content, Keys, Order, OrderBy, Range, Record, Selection, TXN_ANSWER_BYTES_MAX, TXN_KEYS_MAX, TxnRefusal,
};
use crate::types::Keyspace;

/// What a pair, and an answer, take beyond their bytes: in memory, and on every wire.
const OVERHEAD_BYTES: usize = 128;

/// Pairs that are looked at between two questions whether anybody still wants to know.
const PATIENCE_PAIRS: usize = 1_024;

/// Where rows are read: a snapshot, or a batch that is being applied.
pub(super) trait Source {
    /// The file below.
    fn base(&self) -> &Base;

    /// The live pairs of a span, in key order.
    fn scan<'a>(&'a self, span: &'a Span) -> Result<Merge<'a>, Error>;
}

/// Why a transaction or a query ends in the middle.
#[derive(Debug)]
pub(super) enum Halt {
    /// It asks for too much, or for what is not there.
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

/// What may still be looked at and answered.
pub(super) struct Budget<'a> {
    bytes: usize,
    keys: usize,
    wanted: &'a dyn Fn() -> bool,
}

impl Budget<'static> {
    /// That of a transaction that is applied.
    pub(super) fn of_txn() -> Budget<'static> {
        Budget { bytes: TXN_ANSWER_BYTES_MAX, keys: TXN_KEYS_MAX, wanted: &|| true }
    }
}

impl<'a> Budget<'a> {
    /// That of a query: so many bytes, and any number of keys as long as somebody wants to know.
    pub(super) fn of_query(bytes: usize, wanted: &'a dyn Fn() -> bool) -> Budget<'a> {
        Budget { bytes, keys: usize::MAX, wanted }
    }

    /// A pair is looked at.
    pub(super) fn look(&mut self) -> Result<(), TxnRefusal> {
        let is_abandoned = self.keys.is_multiple_of(PATIENCE_PAIRS) && !(self.wanted)();
        self.keys = self.keys.checked_sub(1).filter(|_| !is_abandoned).ok_or(TxnRefusal::TooManyKeys)?;
        Ok(())
    }

    /// A pair is answered.
    pub(super) fn take(&mut self, key: &[u8], record: &Record) -> Result<(), TxnRefusal> {
        self.take_bytes(cost(key, record))
    }

    /// An operation is answered.
    pub(super) fn take_answer(&mut self) -> Result<(), TxnRefusal> {
        self.take_bytes(OVERHEAD_BYTES)
    }

    fn take_bytes(&mut self, bytes: usize) -> Result<(), TxnRefusal> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(TxnRefusal::AnswerTooLarge)?;
        Ok(())
    }

    fn give_back(&mut self, key: &[u8], record: &Record) {
        self.bytes += cost(key, record);
    }
}

fn cost(key: &[u8], record: &Record) -> usize {
    OVERHEAD_BYTES + key.len() + record.value.len()
}

/// The records of these keys, whole and in key order, until `visit` says that it has enough.
pub(super) fn each_record(
    source: &dyn Source,
    keyspace: Keyspace,
    keys: &Keys,
    budget: &mut Budget<'_>,
    mut visit: impl FnMut(Bytes, Record, &mut Budget<'_>) -> Result<bool, TxnRefusal>,
) -> Result<(), Halt> {
    let span = Span::of(keyspace, keys);
    let mut pairs = source.scan(&span)?;
    while let Some((key, row)) = pairs.next()? {
        budget.look()?;
        let record =
            codec::decode_record(&row.into_bytes()).map_err(|error| broken(source.base(), &error))?;
        if !visit(key, record, budget)? {
            break;
        }
    }
    Ok(())
}

/// What a range finds.
pub(super) fn select(
    source: &dyn Source,
    keyspace: Keyspace,
    range: &Range,
    budget: &mut Budget<'_>,
) -> Result<Selection, Halt> {
    let span = Span::of(keyspace, &range.keys);
    let mut rows = source.scan(&span)?;
    let mut kept = Kept::new(range);
    let mut count = 0;
    while let Some((key, row)) = rows.next()? {
        budget.look()?;
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
        kept.add(key, record, budget)?;
    }
    Ok(kept.into_selection(count))
}

/// The pairs that may be among the first.
struct Kept<'a> {
    range: &'a Range,
    pairs: Pairs,
    /// Whether some were left out.
    more: bool,
}

enum Pairs {
    /// As they come.
    InKeyOrder(Vec<(Bytes, Record)>),
    /// In another order.
    ByPlace(BTreeMap<Place, Record>),
}

impl Kept<'_> {
    fn new(range: &Range) -> Kept<'_> {
        let is_in_key_order = range.order == Order::default();
        let pairs = if is_in_key_order { Pairs::InKeyOrder(vec![]) } else { Pairs::ByPlace(BTreeMap::new()) };
        Kept { range, pairs, more: false }
    }

    /// Whether a further pair may matter.
    fn wants_more(&self) -> bool {
        self.range.content != Content::Count && !(self.more && matches!(self.pairs, Pairs::InKeyOrder(_)))
    }

    fn add(&mut self, key: Bytes, record: Record, budget: &mut Budget<'_>) -> Result<(), TxnRefusal> {
        let limit = self.range.limit.unwrap_or(usize::MAX);
        match &mut self.pairs {
            Pairs::InKeyOrder(pairs) if pairs.len() >= limit => self.more = true,
            Pairs::InKeyOrder(pairs) => {
                budget.take(&key, &record)?;
                pairs.push((key, record));
            }
            Pairs::ByPlace(pairs) => {
                let place = Place::new(self.range.order, key, &record);
                if pairs.len() >= limit {
                    self.more = true;
                    match pairs.last_entry() {
                        Some(last) if *last.key() > place => {
                            let (last, record) = last.remove_entry();
                            budget.give_back(&last.key, &record);
                        }
                        // It comes behind all that are kept.
                        _ => return Ok(()),
                    }
                }
                budget.take(&place.key, &record)?;
                pairs.insert(place, record);
            }
        }
        Ok(())
    }

    fn into_selection(self, count: u64) -> Selection {
        let mut pairs = match self.pairs {
            Pairs::InKeyOrder(pairs) => pairs,
            Pairs::ByPlace(pairs) => pairs.into_iter().map(|(place, record)| (place.key, record)).collect(),
        };
        if self.range.content == Content::Keys {
            for (_, record) in &mut pairs {
                record.value = Bytes::new();
            }
        }
        Selection { pairs, more: self.more, count }
    }
}

/// Where a pair comes in an order; those that are equal in it in key order.
#[derive(PartialEq, Eq)]
struct Place {
    is_descending: bool,
    rank: Rank,
    key: Bytes,
}

/// By what.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Number(u64),
    Bytes(Bytes),
}

impl Place {
    fn new(Order { by, is_descending }: Order, key: Bytes, record: &Record) -> Place {
        let rank = match by {
            OrderBy::Key => Rank::Bytes(key.clone()),
            OrderBy::Version => Rank::Number(record.version),
            OrderBy::CreateRevision => Rank::Number(record.create_revision.0),
            OrderBy::ModRevision => Rank::Number(record.mod_revision.0),
            OrderBy::Value => Rank::Bytes(record.value.clone()),
        };
        Place { is_descending, rank, key }
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Place) -> Ordering {
        let by_rank = self.rank.cmp(&other.rank);
        let by_rank = if self.is_descending { by_rank.reverse() } else { by_rank };
        by_rank.then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Place) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
