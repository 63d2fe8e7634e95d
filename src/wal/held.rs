//! Which segments are on disk, and what of each group every one of them still holds: what can be freed, and where a
//! tail of some size would begin. The writer and recovery keep it by the same calls.

use std::collections::BTreeMap;

use crate::types::{GroupId, Index};

/// The segments on disk.
///
/// Of each group, the indexes in [`Held::last`] never fall from one segment to the next: an entry makes void what
/// older segments hold at its index and beyond, and they forget it.
#[derive(Default)]
pub struct Segments {
    held: BTreeMap<u64, Held>,
}

struct Held {
    /// The file's length.
    bytes: u64,
    /// The largest index of each group's entries in it, or a larger one that an older segment holds too; void
    /// entries do not count. When all are purged, the segment can be freed.
    last: BTreeMap<GroupId, Index>,
}

impl Segments {
    /// A new segment, the newest.
    pub fn add(&mut self, number: u64, bytes: u64) {
        let newest = self.held.last_key_value().map_or(0, |(number, _)| *number);
        assert!(number > newest, "segment {number} after {newest}");
        self.held.insert(number, Held { bytes, last: BTreeMap::new() });
    }

    /// A segment was removed.
    pub fn remove(&mut self, number: u64) {
        self.held.remove(&number);
    }

    /// How long a segment is.
    pub fn length(&self, number: u64) -> u64 {
        self.held.get(&number).unwrap_or_else(|| panic!("segment {number} is not held")).bytes
    }

    /// The sum of all lengths.
    pub fn bytes(&self) -> u64 {
        self.held.values().map(|held| held.bytes).sum()
    }

    /// An entry in the newest segment. What stood at its index and beyond is void.
    pub fn note(&mut self, group: GroupId, index: Index) {
        let mut newest_first = self.held.values_mut().rev();
        let newest = newest_first.next().expect("an entry stands in a segment");
        if newest.last.insert(group, index).is_some_and(|last| last < index) {
            return;
        }
        for last in newest_first.filter_map(|held| held.last.get_mut(&group)) {
            if *last < index {
                return;
            }
            *last = index.prev();
        }
    }

    /// An entry stands in the newest segment once more, in place of a damaged one. Nothing is void.
    pub fn note_repair(&mut self, group: GroupId) {
        let last = self.held.values().rev().find_map(|held| held.last.get(&group).copied());
        if let (Some(last), Some(newest)) = (last, self.held.values_mut().next_back()) {
            newest.last.insert(group, last);
        }
    }

    /// All that the log holds of a group is void.
    pub fn reset(&mut self, group: GroupId) {
        for held in self.held.values_mut() {
            held.last.remove(&group);
        }
    }

    /// The oldest segment, if no group needs anything in it. Never the newest.
    pub fn freed(&self, purged: impl Fn(GroupId) -> Index) -> Option<u64> {
        let (number, held) = self.held.first_key_value().filter(|_| self.held.len() > 1)?;
        held.last.iter().all(|(group, last)| *last <= purged(*group)).then_some(*number)
    }

    /// The last entry of `group` that stands before the newest segments which sum to at most `bytes`; the newest
    /// one always counts as one of them.
    pub fn last_before(&self, group: GroupId, bytes: u64) -> Option<Index> {
        let mut sum = 0_u64;
        let older = self.held.iter().rev().enumerate().filter(|(at, (_, held))| {
            sum = sum.saturating_add(held.bytes);
            *at > 0 && sum > bytes
        });
        older.filter_map(|(_, (_, held))| held.last.get(&group).copied()).max()
    }
}
