//! Handing committed entries to the state machine: each exactly once, in order, no faster than it takes them.
//!
//! An entry is handed out once it is committed *and* on this node's disk: so a node never shows what it could forget
//! in a crash, and replay after a restart meets every entry that was ever applied.
//!
//! A snapshot takes the place of all entries up to its index. It reaches the state machine by way of the write that
//! stores it ([`Install`](super::Install)), behind all that was handed out before; until it is there nothing further is
//! handed out, so that nobody has to put entries and snapshots in order.
//!
//! Nothing is handed out from the next damaged entry on (see `repair`), and nothing at all while there is no state to
//! apply it to (see `stateless`).

use std::collections::VecDeque;

use crate::types::Index;

use super::log::Log;
use super::{Entry, Fetch, FetchFor};

/// Where a fetch stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Fetching {
    /// None is under way.
    #[default]
    Idle,
    /// This one is.
    Asked(Fetch),
    /// The last one could not be answered: ask again when something else happens, not at once.
    Failed,
}

/// The state machine's place in the log.
///
/// Invariant: `applied <= handed <= min(committed, persisted)`, both monotone; while a snapshot is being installed,
/// `applied < handed`, and `handed` is the snapshot's index. Both fall, to 0, when the state is lost, and only then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Applying {
    applied: Index,
    handed: Index,
    /// Last index and bytes of each batch handed out and not yet applied, oldest first.
    inflight: VecDeque<(Index, usize)>,
    inflight_bytes: usize,
    inflight_bytes_max: usize,
    /// Entries read back and not yet handed out; they begin right after `handed`.
    fetched: Vec<Entry>,
    fetching: Fetching,
    /// There is no state (see `stateless`).
    is_stateless: bool,
}

impl Applying {
    /// `applied`: what the state machine holds, if there is one.
    pub(super) fn new(applied: Option<Index>, inflight_bytes_max: usize) -> Applying {
        let (is_stateless, applied) = (applied.is_none(), applied.unwrap_or(Index(0)));
        Applying {
            is_stateless,
            applied,
            handed: applied,
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            inflight_bytes_max,
            fetched: Vec::new(),
            fetching: Fetching::Idle,
        }
    }

    pub(super) fn applied(&self) -> Index {
        self.applied
    }

    pub(super) fn is_stateless(&self) -> bool {
        self.is_stateless
    }

    /// The state is lost, unless a snapshot is about to take its place.
    pub(super) fn lose_state(&mut self, log: &Log) {
        let installing = self.installing(log);
        self.is_stateless = installing.is_none();
        (self.applied, self.handed) = (Index(0), installing.unwrap_or(Index(0)));
        self.inflight.clear();
        self.inflight_bytes = 0;
        self.fetched.clear();
        self.fetching = Fetching::Idle;
    }

    /// There is a state again, and nothing in it.
    pub(super) fn begin_state(&mut self) {
        self.is_stateless = false;
    }

    /// The state machine holds everything up to `index`.
    pub(super) fn applied_to(&mut self, index: Index) {
        assert!(index <= self.handed, "applied {index}, but only {} was handed out", self.handed);
        assert!(index >= self.applied, "applied falls from {} to {index}", self.applied);
        self.applied = index;
        while let Some((_, bytes)) = self.inflight.pop_front_if(|&mut (last, _)| last <= index) {
            self.inflight_bytes -= bytes;
        }
    }

    /// A snapshot at `index` replaces the log: it is what the state machine takes next, after what it was given.
    pub(super) fn install(&mut self, index: Index) {
        assert!(index > self.handed, "a snapshot at {index}, and {} was handed out", self.handed);
        self.is_stateless = false;
        self.handed = index;
        self.fetched.clear();
        self.fetching = Fetching::Idle;
    }

    /// The snapshot that the state machine does not hold yet.
    pub(super) fn installing(&self, log: &Log) -> Option<Index> {
        let purged = log.purged().0;
        (self.applied < purged && !self.is_stateless).then_some(purged)
    }

    fn is_full(&self) -> bool {
        !self.inflight.is_empty() && self.inflight_bytes >= self.inflight_bytes_max
    }

    /// Whether nothing may be handed out for now.
    fn is_held(&self, log: &Log) -> bool {
        self.is_stateless || self.is_full() || self.installing(log).is_some()
    }

    fn limit(log: &Log) -> Index {
        log.committed().min(log.persisted())
    }

    /// The last entry that may be handed out: nothing from the next damaged one on.
    fn end(&self, log: &Log) -> Index {
        let damaged = log.wounds().first_from(self.handed.next());
        damaged.map_or(Applying::limit(log), |index| index.prev().min(Applying::limit(log)))
    }

    /// Whether the state machine has not been given this entry.
    pub(super) fn needs(&self, index: Index) -> bool {
        index > self.handed
    }

    /// Whether it can come to a snapshot's `index` by that snapshot alone: what it takes next is damaged, or there is no state
    /// to take it.
    pub(super) fn is_stuck_before(&self, index: Index, log: &Log) -> bool {
        let damaged = log.wounds().first_from(self.handed.next());
        self.is_stateless || damaged.is_some_and(|damaged| damaged <= index)
    }

    /// Whether [`Applying::next`] or [`Applying::next_fetch`] has something.
    pub(super) fn has_next(&self, log: &Log) -> bool {
        if self.is_held(log) || self.handed >= self.end(log) {
            return false;
        }
        !self.fetched.is_empty()
            || self.handed.next() >= log.first_cached()
            || self.fetching == Fetching::Idle
    }

    /// The next entries to apply, if any may and can be handed out.
    pub(super) fn next(&mut self, log: &Log) -> Vec<Entry> {
        if self.is_held(log) {
            return Vec::new();
        }
        let end = self.end(log);
        let mut entries = std::mem::take(&mut self.fetched);
        // One of them may have been found damaged since.
        entries.retain(|entry| entry.index <= end);
        if entries.is_empty() {
            let room = self.inflight_bytes_max.saturating_sub(self.inflight_bytes).max(1);
            entries = log.slice(self.handed.next(), end, room);
        }
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            assert_eq!(first.index, self.handed.next(), "entries to apply leave a gap");
            let bytes = entries.iter().map(Entry::bytes).sum();
            self.handed = last.index;
            self.inflight.push_back((last.index, bytes));
            self.inflight_bytes += bytes;
        }
        entries
    }

    /// What must be read back before more can be applied, if anything. To be asked after [`Applying::next`].
    pub(super) fn next_fetch(&mut self, log: &Log) -> Option<Fetch> {
        let first = self.handed.next();
        let last = self.end(log).min(log.first_cached().prev());
        if self.is_held(log) || first > last || self.fetching != Fetching::Idle {
            return None;
        }
        let bytes_max = self.inflight_bytes_max.saturating_sub(self.inflight_bytes).max(1);
        let fetch = Fetch { purpose: FetchFor::Apply, first, last, bytes_max };
        self.fetching = Fetching::Asked(fetch);
        Some(fetch)
    }

    /// The answer to a fetch; empty if it could not be read.
    pub(super) fn fetched(&mut self, fetch: Fetch, entries: Vec<Entry>, log: &Log) {
        if self.fetching != Fetching::Asked(fetch) {
            return;
        }
        self.fetching = if entries.is_empty() { Fetching::Failed } else { Fetching::Idle };
        assert!(log.agrees(fetch.first, &entries), "the log on disk differs from {} on", fetch.first);
        assert!(entries.last().is_none_or(|entry| entry.index <= fetch.last), "more was read than asked for");
        self.fetched = entries;
    }

    /// A moment has passed: what could not be read may be tried again.
    pub(super) fn retry(&mut self) {
        if self.fetching == Fetching::Failed {
            self.fetching = Fetching::Idle;
        }
    }

    pub(super) fn check(&self, log: &Log) {
        assert!(self.applied <= self.handed, "applied {} beyond handed {}", self.applied, self.handed);
        if let Some(snapshot) = self.installing(log) {
            assert_eq!(
                self.handed, snapshot,
                "applied {} and not the snapshot that comes next",
                self.applied
            );
            return;
        }
        let end = Applying::limit(log);
        assert!(
            self.handed <= end,
            "handed {} to be applied, committed and on disk is only {end}",
            self.handed
        );
    }
}
