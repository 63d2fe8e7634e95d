//! The log as the core sees it: the terms of all entries, the newest entries themselves, the configurations in it, and
//! the watermarks. The entries' home is the disk; what is not kept here is read back through
//! [`Fetch`](super::Fetch).
//!
//! ```text
//!    purged        applied     committed                     last
//!      |  on disk only  |          |                           |
//!  ----+=========+=====================================+-------+
//!                |<------------- cache ----------------------->|
//!                                      persisted       handed
//! ```
//!
//! Watermarks, each with its range:
//!
//! - `purged`: forgotten up to here. Monotone, at most `applied` (which [`Applying`](super::applying) keeps), but for
//!   the time between a snapshot's acceptance and the state machine's having it, and while there is no state: then
//!   `applied < purged`.
//! - `committed`: stored by a quorum and never to change. Monotone, at most `last`; `persisted` may be below it, since
//!   a quorum can do without this node.
//! - `handed`: given to the driver to be written. At most `last`.
//! - `persisted`: on this node's disk. At most `handed`.
//! - `last`: the end. `last`, `handed` and `persisted` fall on truncation only, and never below `committed`; they fall
//!   also where a snapshot replaces the whole log, and `persisted` alone may then be below `purged`, until the snapshot
//!   itself is on disk.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::types::{Index, Term};

use super::repair::{Damaged, Wounds};
use super::terms::Terms;
use super::{Entry, EntryKind, Install, Membership, Restored};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Log {
    terms: Terms,
    /// A contiguous suffix of the log, ending at `last`. Holds at least all that is not on disk or not committed, but
    /// for a restart, after which it holds what recovery gave.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    cache_bytes_max: usize,
    /// The configuration in force at `purged`.
    base: Membership,
    /// The configuration entries after `purged`, ascending: the last one is in force, and if it is truncated the one
    /// before it is again (thesis, section 4.1).
    memberships: Vec<(Index, Membership)>,
    committed: Index,
    persisted: Index,
    handed: Index,
    /// The bytes of the entries after `committed`.
    uncommitted_bytes: usize,
    /// Entries that are on disk and cannot be read back.
    wounds: Wounds,
    /// The snapshot that replaced the log, until it is given to the driver to be written.
    install: Option<Install>,
}

impl Log {
    /// The log that recovery found. All of it is on disk.
    pub(super) fn new(restored: Restored, cache_bytes_max: usize) -> Log {
        let Restored { hard_state, purged, base, memberships, terms, last, tail, applied, damaged } =
            restored;
        // Without a state, all that is known to be committed is what was purged.
        let applied = applied.unwrap_or(purged.0);
        assert!(applied <= last, "the state machine holds entry {applied}, the log ends at {last}");
        assert!(purged.0 <= applied, "purged {} beyond applied {applied}", purged.0);
        let committed = hard_state.commit.max(applied).min(last);
        let mut log = Log {
            terms: Terms::new(purged, terms, last),
            cache_bytes: tail.iter().map(Entry::bytes).sum(),
            uncommitted_bytes: tail.iter().filter(|entry| entry.index > committed).map(Entry::bytes).sum(),
            cache: tail.into(),
            cache_bytes_max,
            base,
            memberships,
            committed,
            persisted: last,
            handed: last,
            wounds: Wounds::default(),
            install: None,
        };
        for damaged in damaged {
            log.wound(damaged);
        }
        log.check();
        log.evict();
        log
    }

    pub(super) fn purged(&self) -> (Index, Term) {
        self.terms.purged()
    }

    pub(super) fn last(&self) -> Index {
        self.terms.last()
    }

    pub(super) fn last_term(&self) -> Term {
        self.terms.last_term()
    }

    pub(super) fn committed(&self) -> Index {
        self.committed
    }

    pub(super) fn persisted(&self) -> Index {
        self.persisted
    }

    /// The damaged entries.
    pub(super) fn wounds(&self) -> &Wounds {
        &self.wounds
    }

    pub(super) fn wounds_mut(&mut self) -> &mut Wounds {
        &mut self.wounds
    }

    /// An entry on disk is damaged. Returns whether that is news.
    pub(super) fn wound(&mut self, damaged: Damaged) -> bool {
        let copy = self.cached(damaged.index).cloned();
        self.wounds.add(damaged, copy)
    }

    pub(super) fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }

    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        self.terms.at(index)
    }

    pub(super) fn last_at_most(&self, index: Index, term: Term) -> Option<(Index, Term)> {
        self.terms.last_at_most(index, term)
    }

    /// Whether a log that ends in (term, index) is at least as up-to-date as this one (section 5.4.1): the later last
    /// term wins, the longer log among equal ones.
    pub(super) fn is_up_to_date(&self, last_term: Term, last_index: Index) -> bool {
        (last_term, last_index) >= (self.last_term(), self.last())
    }

    /// The configuration in force: the newest one in the log, committed or not.
    pub(super) fn membership(&self) -> &Membership {
        self.memberships.last().map_or(&self.base, |(_, membership)| membership)
    }

    /// The newest configuration that is committed.
    pub(super) fn committed_membership(&self) -> &Membership {
        self.membership_at(self.committed)
    }

    /// The configuration in force at a position that is not before the purge point.
    pub(super) fn membership_at(&self, index: Index) -> &Membership {
        assert!(index >= self.purged().0, "the membership at {index} was purged with {}", self.purged().0);
        let newest = self.memberships.iter().rev().find(|&&(at, _)| at <= index);
        newest.map_or(&self.base, |(_, membership)| membership)
    }

    /// Where the configuration in force stands; the purge point if it stood before that.
    pub(super) fn membership_index(&self) -> Index {
        self.memberships.last().map_or(self.purged().0, |&(index, _)| index)
    }

    /// The longest lease of the configuration in force at `from` and of all later ones.
    pub(super) fn lease_ms_since(&self, from: Index) -> u32 {
        let later = self.memberships.iter().rev().take_while(|&&(index, _)| index > from);
        later.map(|(_, membership)| membership.lease_ms).fold(self.membership_at(from).lease_ms, u32::max)
    }

    /// Whether the configuration in force may still be rolled back.
    pub(super) fn is_membership_pending(&self) -> bool {
        self.memberships.last().is_some_and(|&(index, _)| index > self.committed)
    }

    /// Appends an entry of this node's own making and returns its index.
    pub(super) fn append(&mut self, term: Term, kind: EntryKind, payload: Bytes) -> Index {
        let index = self.last().next();
        self.push(Entry::new(index, term, kind, payload));
        index
    }

    /// Appends a configuration of this node's own making: in force at once.
    pub(super) fn append_membership(&mut self, term: Term, membership: Membership) -> Index {
        let index = self.append(term, EntryKind::Membership, membership.encode());
        self.memberships.push((index, membership));
        index
    }

    /// Stores a leader's entries, which follow a position at which both logs agree, and returns from where the log was
    /// truncated, if it was. `memberships` are the decoded configurations among them.
    ///
    /// Entries that are here already are left alone: only a real conflict deletes anything, and then all that follows
    /// it (section 5.3). Deleting whatever follows the agreed position instead would let a short, late message erase
    /// entries that were acknowledged since.
    pub(super) fn store(
        &mut self,
        entries: Vec<Entry>,
        memberships: Vec<(Index, Membership)>,
    ) -> Option<Index> {
        let mut truncated = None;
        let mut entries = entries.into_iter().peekable();
        while let Some(entry) = entries.peek() {
            if entry.index > self.last() {
                break;
            }
            let known = self.term_at(entry.index);
            if entry.index > self.purged().0 && known != Some(entry.term) {
                truncated = Some(entry.index);
                self.truncate(entry.index, entry.term);
                break;
            }
            entries.next();
        }
        for entry in entries {
            self.push(entry);
        }
        let newest = self.memberships.last().map_or(self.purged().0, |&(index, _)| index);
        self.memberships.extend(memberships.into_iter().filter(|&(index, _)| index > newest));
        truncated
    }

    fn push(&mut self, entry: Entry) {
        self.terms.push(entry.index, entry.term);
        self.cache_bytes += entry.bytes();
        self.uncommitted_bytes += entry.bytes();
        self.cache.push_back(entry);
    }

    fn truncate(&mut self, from: Index, term: Term) {
        assert!(
            from > self.committed,
            "a leader replaces entry {from} (term {:?}) by one of term {term}, but {} is committed",
            self.term_at(from),
            self.committed
        );
        while let Some(entry) = self.cache.pop_back_if(|entry| entry.index >= from) {
            self.cache_bytes -= entry.bytes();
            self.uncommitted_bytes -= entry.bytes();
        }
        self.terms.truncate(from);
        self.wounds.truncate(from);
        self.memberships.retain(|&(index, _)| index < from);
        self.persisted = self.persisted.min(from.prev());
        self.handed = self.handed.min(from.prev());
    }

    /// Replaces the whole log by a snapshot at a position that is committed elsewhere and beyond what is committed here.
    /// Returns from where on entries are void.
    ///
    /// Entries beyond the snapshot go too. Where the log has another entry at its position than the snapshot, all that
    /// follows builds on what was never committed; a log that kept it would never again agree with its leader's. And
    /// the configuration is the snapshot's: one from an entry that went must not stay in force.
    pub(super) fn reset(&mut self, index: Index, term: Term, membership: Membership) -> Index {
        assert!(
            index > self.committed,
            "a snapshot at {index} replaces what is committed at {}",
            self.committed
        );
        assert_ne!(
            self.term_at(index),
            Some(term),
            "a snapshot at {index} replaces a log that has all of it"
        );
        let void = self.committed.next();
        // What is committed here is on disk as far as it was, until the snapshot takes its place.
        self.persisted = self.persisted.min(self.committed);
        self.terms.reset((index, term));
        self.wounds = Wounds::default();
        self.cache.clear();
        (self.cache_bytes, self.uncommitted_bytes) = (0, 0);
        self.memberships.clear();
        self.base = membership.clone();
        (self.committed, self.handed) = (index, index);
        self.install = Some(Install { index, term, membership });
        void
    }

    /// Lets a snapshot take the place of the log up to its end, an entry that the log has (or the last that it forgot) and
    /// that is committed: what lies behind it stays. For a log that is damaged before that, or a state that is lost.
    pub(super) fn rebase(&mut self, index: Index, term: Term, membership: Membership) {
        assert!(
            index <= self.committed && index >= self.purged().0 && self.term_at(index) == Some(term),
            "a snapshot at {index} of term {term} that the log does not go on from"
        );
        self.handed = self.handed.max(index);
        drop(self.forget(index));
        self.base = membership.clone();
        self.install = Some(Install { index, term, membership });
    }

    /// The snapshot to be written, if there is one that was not given to the driver yet: given with this.
    pub(super) fn hand_out_install(&mut self) -> Option<Install> {
        self.install.take()
    }

    /// Moves the commit index up to `index`; a lower one changes nothing. Returns whether it moved.
    pub(super) fn commit_to(&mut self, index: Index) -> bool {
        if index <= self.committed {
            return false;
        }
        assert!(index <= self.last(), "commit {index} beyond last {}", self.last());
        for position in self.committed.0 + 1..=index.0 {
            self.uncommitted_bytes -= self.cached(Index(position)).map_or(0, Entry::bytes);
        }
        self.committed = index;
        self.evict();
        true
    }

    /// The log is on disk up to `index`; a lower one changes nothing.
    pub(super) fn persisted_to(&mut self, index: Index) {
        assert!(index <= self.handed, "persisted {index} beyond handed {}", self.handed);
        self.persisted = self.persisted.max(index);
        self.evict();
    }

    /// Whether there are entries, or a snapshot, that were not given to the driver yet.
    pub(super) fn has_unhanded(&self) -> bool {
        self.handed < self.last() || self.install.is_some() || self.wounds.has_found()
    }

    /// The entries that were not given to the driver yet: given with this.
    pub(super) fn hand_out(&mut self) -> Vec<Entry> {
        let entries = self.slice(self.handed.next(), self.last(), usize::MAX);
        assert_eq!(
            entries.len() as u64,
            self.last().0 - self.handed.0,
            "an entry not on disk left the cache"
        );
        self.handed = self.last();
        entries
    }

    /// The first position that is in memory; one after the last if none is.
    pub(super) fn first_cached(&self) -> Index {
        Index(self.last().0 + 1 - self.cache.len() as u64)
    }

    fn cached(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.first_cached().0)?;
        self.cache.get(usize::try_from(offset).ok()?)
    }

    /// Whether the entry at this position is in memory, and no command.
    pub(super) fn begins_small(&self, index: Index) -> bool {
        self.cached(index).is_some_and(|entry| entry.kind != EntryKind::Command)
    }

    /// Whether the entry at this position is an earlier leader's, and not committed as far as is known here.
    pub(super) fn is_left_over(&self, index: Index) -> bool {
        index > self.committed() && self.term_at(index).is_some_and(|term| term < self.last_term())
    }

    /// The entries from `first` to `last`, cut after the one with which `bytes_max` is reached. Only what is in memory:
    /// nothing if `first` is not.
    pub(super) fn slice(&self, first: Index, last: Index, bytes_max: usize) -> Vec<Entry> {
        if first > last || first < self.first_cached() {
            return Vec::new();
        }
        let skip = usize::try_from(first.0 - self.first_cached().0).expect("an offset in the cache");
        let count = usize::try_from(last.0 - first.0 + 1).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let within = |entry: &&Entry| {
            let more = bytes < bytes_max;
            bytes += entry.bytes();
            more
        };
        self.cache.range(skip..).take(count).take_while(within).cloned().collect()
    }

    /// Whether `entries` are those that the log has from `first` on: an answer to a fetch can be older than a
    /// truncation. By Log Matching (Figure 3) index and term are enough.
    pub(super) fn agrees(&self, first: Index, entries: &[Entry]) -> bool {
        let positions = (first.0..).map(Index);
        entries
            .iter()
            .zip(positions)
            .all(|(entry, index)| entry.index == index && self.term_at(index) == Some(entry.term))
    }

    /// Forgets everything up to `to`.
    pub(super) fn purge_to(&mut self, to: Index) -> Vec<Entry> {
        assert!(
            to <= self.committed.min(self.persisted) && to >= self.purged().0,
            "purge to {to} beyond commit {} or disk",
            self.committed
        );
        self.forget(to)
    }

    /// Forgets all up to a position, and returns what of it was in memory.
    fn forget(&mut self, to: Index) -> Vec<Entry> {
        let count = self.cache.partition_point(|entry| entry.index <= to);
        let forgotten: Vec<Entry> = self.cache.drain(..count).collect();
        self.cache_bytes -= forgotten.iter().map(Entry::bytes).sum::<usize>();
        let kept =
            self.memberships.iter().position(|&(index, _)| index > to).unwrap_or(self.memberships.len());
        if let Some((_, base)) = self.memberships.drain(..kept).next_back() {
            self.base = base;
        }
        self.terms.purge(to);
        self.wounds.purge(to);
        forgotten
    }

    /// Lets go of the oldest entries while the cache is over its limit. What is not on disk cannot be read back, and
    /// what is not committed is about to be needed: both stay.
    fn evict(&mut self) {
        let safe = self.committed.min(self.persisted);
        while self.cache_bytes > self.cache_bytes_max {
            let Some(entry) = self.cache.pop_front_if(|entry| entry.index <= safe) else { break };
            self.cache_bytes -= entry.bytes();
        }
    }

    pub(super) fn check(&self) {
        self.terms.check();
        let last = self.last();
        assert!(
            self.purged().0 <= self.committed && self.committed <= last,
            "committed {}: {self:?}",
            self.committed
        );
        assert!(
            self.persisted <= self.handed && self.handed <= last,
            "persisted {}: {self:?}",
            self.persisted
        );
        assert!(self.cache.len() as u64 <= last.0 - self.purged().0.0, "cache before the purge point");
        self.wounds.check(self.purged().0, last, |index| self.term_at(index));
        let install = self.install.as_ref().map_or(self.purged(), |install| (install.index, install.term));
        assert_eq!(install, self.purged(), "the log does not begin after the snapshot that replaced it");
        let on_disk = self.persisted.max(self.purged().0);
        assert!(self.first_cached() <= on_disk.next(), "an entry not on disk is not in memory either");
        let (front, back) = self.cache.as_slices();
        let middle = Index(self.first_cached().0 + front.len() as u64);
        assert!(
            self.agrees(self.first_cached(), front) && self.agrees(middle, back),
            "cache and terms differ"
        );
        let bytes: usize = self.cache.iter().map(Entry::bytes).sum();
        assert_eq!(self.cache_bytes, bytes, "cache bytes");
        let ascending = self.memberships.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let within = self.memberships.iter().all(|&(index, _)| index > self.purged().0 && index <= last);
        assert!(ascending && within, "configurations out of the log: {:?}", self.memberships);
    }
}
