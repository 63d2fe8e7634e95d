//! The write set: what was applied and is not in redb yet, an ordered map over table and key.
//!
//! A change is a row, or a tombstone for a row that is gone. The set owns its bytes: a row that were a slice of a log
//! entry would keep the whole network frame it came in alive, and the bound on the set would bound nothing.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::key::Key;
use super::schema::Table;

/// A row, or `None` for one that is gone.
pub(super) type Change = Option<Bytes>;

/// What a change costs beyond its bytes: handles, the map's node, the allocations' own.
const OVERHEAD_BYTES: usize = 128;

/// An ordered set of changes, the last one of each key.
#[derive(Debug, Default)]
pub(super) struct WriteSet {
    tables: [BTreeMap<Key, Change>; 3],
    bytes: usize,
}

impl WriteSet {
    /// Records a change in place of an earlier one of the same key.
    pub(super) fn insert(&mut self, table: Table, key: Key, change: Change) {
        let key_bytes = key.len();
        let added = cost(key_bytes, &change);
        let replaced = self.tables[table as usize].insert(key, change);
        let removed = replaced.map_or(0, |old| cost(key_bytes, &old));
        self.bytes = self.bytes + added - removed;
    }

    /// Forgets a change: of a row that is nowhere else.
    pub(super) fn remove(&mut self, table: Table, key: &[u8]) {
        if let Some(change) = self.tables[table as usize].remove(key) {
            self.bytes -= cost(key.len(), &change);
        }
    }

    /// The change of a key, if there is one.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<&Change> {
        self.tables[table as usize].get(key)
    }

    /// The changes of a table's keys from `from` on, in order.
    pub(super) fn range(&self, table: Table, from: Bound<&[u8]>) -> impl Iterator<Item = (&Key, &Change)> {
        self.tables[table as usize].range::<[u8], _>((from, Bound::Unbounded))
    }

    /// All changes of a table, in order.
    pub(super) fn changes(&self, table: Table) -> impl Iterator<Item = (&Key, &Change)> {
        self.tables[table as usize].iter()
    }

    /// What the set costs in memory, by [`OVERHEAD_BYTES`]'s reckoning.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many changes there are.
    pub(super) fn len(&self) -> usize {
        self.tables.iter().map(BTreeMap::len).sum()
    }

    /// Whether nothing changed.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.iter().all(BTreeMap::is_empty)
    }
}

fn cost(key_bytes: usize, change: &Change) -> usize {
    OVERHEAD_BYTES + key_bytes + change.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn key(text: &str) -> Key {
        Key::of(&[text.as_bytes()])
    }

    #[test]
    fn the_last_change_of_a_key_counts_and_is_paid_once() {
        let mut set = WriteSet::default();
        assert!(set.is_empty());
        set.insert(Table::Records, key("key"), Some(bytes("a long value")));
        set.insert(Table::Records, key("key"), Some(bytes("b")));
        assert_eq!(set.bytes(), OVERHEAD_BYTES + 3 + 1);
        set.insert(Table::Records, key("key"), None);
        assert_eq!(set.bytes(), OVERHEAD_BYTES + 3);
        assert_eq!(set.get(Table::Records, b"key"), Some(&None));
        assert_eq!(set.get(Table::Sessions, b"key"), None);
        assert!(!set.is_empty());
    }

    #[test]
    fn a_range_begins_where_it_is_told() {
        let mut set = WriteSet::default();
        for text in ["c", "a", "b"] {
            set.insert(Table::Records, key(text), None);
        }
        let keys = |from| set.range(Table::Records, from).map(|(key, _)| key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(Bound::Included(b"b".as_slice())), [key("b"), key("c")]);
        assert_eq!(keys(Bound::Excluded(b"b".as_slice())), [key("c")]);
    }
}
