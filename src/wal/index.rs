//! Where entries stand: a sparse index in memory, shared by the writer and the readers.
//!
//! A point says where one entry begins. There is one for the first entry of a group in each segment, one after each
//! [`POINT_BYTES`] of its records, and one for each entry that replaced another (a truncation). From a point
//! on, the entries of its group stand in the file in order and without a hole up to the index of the next point:
//! reading goes from the point to there and never meets a void entry. So 8 GiB of log cost about 3 MiB of memory.
//!
//! An entry that was repaired has a point of its own beside these, and is a stretch by itself: what stands around its
//! first, damaged place is found from the points as before.

use std::collections::BTreeMap;

use crate::types::{GroupId, Index};

use super::segment::SharedFile;

/// About how much of a group's records stand between two points.
pub const POINT_BYTES: u64 = 64 << 10;

/// Where an entry begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The entry.
    pub index: Index,
    /// The segment it is in.
    pub segment: u64,
    /// The offset of its record.
    pub offset: u64,
}

/// A stretch of the log to read: up to `limit`, not included, all stands behind one another.
#[derive(Clone)]
pub struct Stretch {
    /// Where to begin.
    pub point: Point,
    /// The first index that is not part of the stretch.
    pub limit: Index,
    /// The file to read.
    pub file: SharedFile,
}

#[derive(Default)]
struct GroupPoints {
    points: Vec<Point>,
    /// The first entry that can be read, and the last. Readable entries are durable ones: the writer notes them
    /// after its fsync.
    first: Index,
    last: Index,
    since: u64,
    /// Where entries stand that were repaired.
    repaired: BTreeMap<Index, Point>,
    /// How often the log was reset. Monotone.
    resets: u64,
}

/// The index.
#[derive(Default)]
pub struct Points {
    groups: BTreeMap<GroupId, GroupPoints>,
    files: BTreeMap<u64, SharedFile>,
}

impl Points {
    /// A new segment.
    pub fn add_file(&mut self, segment: u64, file: SharedFile) {
        self.files.insert(segment, file);
    }

    /// A segment that was freed. Readers that found something in it may have the file still, and no others will.
    pub fn remove_file(&mut self, segment: u64) -> Option<SharedFile> {
        self.files.remove(&segment)
    }

    /// A group whose log begins after `purged`.
    pub fn purge(&mut self, group: GroupId, purged: Index) {
        let found = self.groups.entry(group).or_default();
        found.first = purged.next();
        if found.last <= purged {
            found.last = purged;
            found.points.clear();
            found.repaired.clear();
            return;
        }
        let after = found.points.partition_point(|point| point.index <= found.first);
        found.points.drain(..after.saturating_sub(1));
        found.repaired = found.repaired.split_off(&found.first);
    }

    /// A group whose log was reset: it begins after `to`, and nothing that was noted before is in it.
    pub fn reset(&mut self, group: GroupId, to: Index) {
        let found = self.groups.entry(group).or_default();
        let resets = found.resets + 1;
        *found = GroupPoints { first: to.next(), last: to, resets, ..GroupPoints::default() };
    }

    /// How often the log of the group was reset.
    pub fn resets(&self, group: GroupId) -> u64 {
        self.groups.get(&group).map_or(0, |found| found.resets)
    }

    /// An entry, durable, of `bytes` on disk.
    pub fn note(&mut self, group: GroupId, point: Point, bytes: u64) {
        let found = self.groups.entry(group).or_default();
        let replaces = point.index <= found.last;
        while found.points.last().is_some_and(|last| last.index >= point.index) {
            found.points.pop();
        }
        found.repaired.split_off(&point.index);
        let elsewhere = found.points.last().is_none_or(|last| last.segment != point.segment);
        if replaces || elsewhere || found.since >= POINT_BYTES {
            found.points.push(point);
            found.since = 0;
        }
        found.since += bytes;
        found.last = point.index;
    }

    /// The entries up to `last` are held, and nobody knows where they stand: the next one has a point of its own.
    pub fn skip_to(&mut self, group: GroupId, last: Index) {
        let found = self.groups.entry(group).or_default();
        (found.last, found.since) = (last, POINT_BYTES);
    }

    /// An entry that is held stands here once more, durable and undamaged.
    pub fn note_repair(&mut self, group: GroupId, point: Point) {
        self.groups.entry(group).or_default().repaired.insert(point.index, point);
    }

    /// The first entry that is held at this place or beyond, group by group.
    pub fn next_held(&self, (group, index): (GroupId, Index)) -> Option<(GroupId, Index)> {
        self.groups.range(group..).find_map(|(&id, found)| {
            let first = if id == group { index.max(found.first) } else { found.first };
            (first <= found.last).then_some((id, first))
        })
    }

    /// Whether the entry at `index` is held.
    pub fn holds(&self, group: GroupId, index: Index) -> bool {
        self.groups.get(&group).is_some_and(|found| (found.first..=found.last).contains(&index))
    }

    /// Where to read the entry at `index`; `None` if it is not held.
    pub fn find(&self, group: GroupId, index: Index) -> Option<Stretch> {
        if !self.holds(group, index) {
            return None;
        }
        let found = self.groups.get(&group)?;
        let repaired = found.repaired.range(index..).next();
        let after = found.points.partition_point(|point| point.index <= index);
        let (point, limit) = match repaired {
            Some((&at, point)) if at == index => (*point, index.next()),
            _ => {
                let point = *found.points.get(after.checked_sub(1)?)?;
                let limit = found.points.get(after).map_or(found.last.next(), |next| next.index);
                (point, repaired.map_or(limit, |(&at, _)| at.min(limit)))
            }
        };
        let file = self.files.get(&point.segment)?.clone();
        Some(Stretch { point, limit, file })
    }

    /// How many points there are, for tests of the bound.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.groups.values().map(|group| group.points.len()).sum()
    }
}
