//! What a node has on disk: a log and a hard state, written in the order of the writes, the state machine's checkpoint, and
//! snapshots that were received and are not in force.
//!
//! A write is on disk once its fsync has ended. What was handed out and not synced when the power fails is kept as far as
//! chance has it: some writes in order, and of the next one its hard state, its snapshot and some of its entries, in order
//! too. A snapshot takes the place of log and checkpoint in one stroke, and where the log has its last entry, of no more than
//! the log up to there. An entry that was synced may rot: it cannot be read back until it is stored once more. The end of the
//! log may be lost so that nobody can tell where it was: then the log is what it once was, and in doubt. More is
//! not modelled here (sectors, files, names are the cluster simulator's matter), and less would hide bugs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate::raft::{Damaged, Entry, EntryKind, Fetch, HardState, Membership, Restored, Write};
use quorate::types::{Index, Term};

use super::transfer::State;

/// A simulated log: what was written, what is on disk, and what a crash leaves.
#[derive(Clone, Debug)]
pub struct Disk {
    hard_state: HardState,
    purged: (Index, Term),
    /// The configuration in force at `purged`.
    base: Membership,
    /// All entries after `purged`.
    entries: VecDeque<Entry>,
    /// The state machine's checkpoint. Monotone, never below `purged`, unless it is lost.
    folded: State,
    /// There is none.
    is_stateless: bool,
    /// Snapshots that are here in full, and that nothing names; by index.
    staged: BTreeMap<Index, State>,
    /// Entries that cannot be read back. (What they were stays in `entries`, for the judges.)
    damaged: BTreeSet<Index>,
    /// Entries that are lost with the end of the log, until that is in doubt no more: they count as held, for the judges.
    lost: Vec<Entry>,
    /// The entries that were replaced last, as they stood there before.
    replaced: Vec<Entry>,
}

impl Disk {
    /// The disk of a member of a new group.
    pub fn new(membership: Membership) -> Disk {
        Disk {
            hard_state: HardState::default(),
            purged: (Index(0), Term(0)),
            base: membership,
            entries: VecDeque::new(),
            folded: State::default(),
            is_stateless: false,
            staged: BTreeMap::new(),
            damaged: BTreeSet::new(),
            lost: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// The stored term, vote and commit hint.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// The last entry and its term.
    pub fn last(&self) -> (Index, Term) {
        self.entries.back().map_or(self.purged, |entry| (entry.index, entry.term))
    }

    /// The checkpoint.
    pub fn folded(&self) -> State {
        self.folded
    }

    /// The checkpoint is damaged, or gone.
    pub fn lose_state(&mut self) {
        (self.folded, self.is_stateless) = (State::default(), true);
    }

    /// An empty one takes its place.
    pub fn begin_state(&mut self) {
        assert_eq!(self.purged.0, Index(0), "an empty state, and a log that begins later");
        (self.folded, self.is_stateless) = (State::default(), false);
    }

    /// Whether there is no checkpoint.
    pub fn is_stateless(&self) -> bool {
        self.is_stateless
    }

    /// The last purged entry.
    pub fn purged(&self) -> Index {
        self.purged.0
    }

    /// An entry, if it is here.
    pub fn get(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.purged.0.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// The term of an entry that is here or was purged last, and the configuration in force there.
    pub fn at(&self, index: Index) -> (Term, Membership) {
        let before = self.entries.iter().take_while(|entry| entry.index <= index);
        let configuration = before.clone().filter(|entry| entry.kind == EntryKind::Membership).last();
        let configuration = configuration.map_or_else(
            || self.base.clone(),
            |entry| Membership::decode(&entry.payload).expect("it was encoded by a leader"),
        );
        (before.last().map_or(self.purged.1, |entry| entry.term), configuration)
    }

    /// An entry rots.
    pub fn damage(&mut self, index: Index) {
        assert!(self.get(index).is_some(), "entry {index} is not here");
        self.damaged.insert(index);
    }

    /// The entries that cannot be read back.
    pub fn damaged(&self) -> impl Iterator<Item = Index> + '_ {
        self.damaged.iter().copied()
    }

    /// Whether an entry cannot be read back.
    pub fn is_damaged(&self, index: Index) -> bool {
        self.damaged.contains(&index)
    }

    /// The entries from `from` on are lost, and nobody can tell that they were there. If the log `was_older`, it is what it
    /// was before entries in it were replaced last. Where the checkpoint is beyond its end, it begins anew behind that.
    pub fn lose_end(&mut self, from: Index, was_older: bool) {
        assert!(from > self.purged.0, "entry {from} was purged");
        let (folded, at) = (self.folded.index, self.at(self.folded.index));
        let kept = usize::try_from(from.0 - self.purged.0.0 - 1).expect("an offset");
        self.lost.extend(self.entries.drain(kept.min(self.entries.len())..));
        self.damaged.split_off(&from);
        let is_next = self.replaced.first().is_some_and(|entry| entry.index == self.last().0.next());
        if was_older && is_next {
            self.entries.extend(self.replaced.drain(..));
            self.hard_state.commit = self.hard_state.commit.min(from.prev());
        }
        let is_other = self.get(folded).is_none_or(|entry| entry.term != at.0);
        if folded > self.purged.0 && is_other {
            (self.purged, self.base) = ((folded, at.0), at.1);
            self.entries.clear();
            self.damaged.clear();
        }
        self.replaced.clear();
        self.hard_state.in_doubt = true;
    }

    /// Whether it is not known how far the log went.
    pub fn is_in_doubt(&self) -> bool {
        self.hard_state.in_doubt
    }

    /// The entries that would be lost with the end of the log from here on.
    pub fn from(&self, from: Index) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.index >= from)
    }

    /// A snapshot has come, and is durable.
    pub fn stage(&mut self, state: State) {
        self.staged.insert(state.index, state);
    }

    /// A node starts: what the log does not name is deleted.
    pub fn forget_staged(&mut self) {
        self.staged.clear();
    }

    /// Whether it holds this entry, or the state of the machine after it.
    pub fn holds(&self, index: Index, term: Term) -> bool {
        let is_lost = self.lost.iter().any(|entry| (entry.index, entry.term) == (index, term));
        index <= self.purged.0 || is_lost || self.get(index).is_some_and(|entry| entry.term == term)
    }

    /// Stores a write, of its snapshot and its entries only the first `kept`. Returns from where on it replaced what was there, if it did.
    pub fn write(&mut self, write: &Write, kept: usize) -> Option<Index> {
        let mut replaced = None;
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
            if !hard_state.in_doubt {
                // From now on it has to hold by itself what it held.
                replaced = self.lost.iter().map(|entry| entry.index).min();
                self.lost.clear();
            }
        }
        let mut kept = kept;
        if let Some(install) = write.install.as_ref().filter(|_| kept > 0) {
            kept -= 1;
            let state =
                self.staged.remove(&install.index).expect("a snapshot is here before its core is told");
            let is_there = self.get(install.index).is_some_and(|entry| entry.term == install.term);
            let goes_on = is_there || self.purged == (install.index, install.term);
            let is_cut = !goes_on && self.last().0 > install.index;
            replaced = replaced.or(is_cut.then_some(install.index.next()));
            self.replaced.clear();
            self.purged = (install.index, install.term);
            self.base = install.membership.clone();
            self.entries.retain(|entry| goes_on && entry.index > install.index);
            self.damaged.retain(|index| goes_on && *index > install.index);
            (self.folded, self.is_stateless) = (state, false);
        }
        let repairs = &write.repairs[..kept.min(write.repairs.len())];
        kept -= repairs.len();
        for entry in repairs {
            // What was purged meanwhile needs no repair.
            let Some(offset) = entry.index.0.checked_sub(self.purged.0.0 + 1) else { continue };
            self.entries[usize::try_from(offset).expect("an offset")] = entry.clone();
            self.damaged.remove(&entry.index);
        }
        let entries = &write.entries[..kept.min(write.entries.len())];
        let Some(first) = entries.first().map(|entry| entry.index) else { return replaced };
        let last = self.last().0;
        assert!(
            first <= last.next() && first > self.purged.0,
            "a write from {first} on to a log that ends at {last}"
        );
        self.damaged.split_off(&first);
        let offset = usize::try_from(first.0 - self.purged.0.0 - 1).expect("an offset");
        if first <= last {
            self.replaced = self.entries.drain(offset..).collect();
        }
        self.entries.extend(entries.iter().cloned());
        let truncated = (first <= last).then_some(first);
        replaced.into_iter().chain(truncated).min()
    }

    /// Reads entries back.
    pub fn fetch(&self, fetch: &Fetch) -> Vec<Entry> {
        let mut bytes = 0;
        let readable = |index| self.get(Index(index)).filter(|entry| !self.is_damaged(entry.index));
        let wanted = (fetch.first.0..=fetch.last.0).map_while(readable);
        let within = |entry: &&Entry| {
            let more = bytes < fetch.bytes_max;
            bytes += entry.bytes();
            more
        };
        wanted.take_while(within).cloned().collect()
    }

    /// The state machine is stored as it is.
    pub fn fold(&mut self, state: State) {
        let State { index, .. } = state;
        assert!(index >= self.folded.index && index <= self.last().0, "checkpoint at {index}: {self:?}");
        self.folded = state;
    }

    /// Forgets the entries up to `to`.
    pub fn purge_to(&mut self, to: Index) {
        assert!(to <= self.folded.index, "purge to {to} beyond the checkpoint {}", self.folded.index);
        while self.purged.0 < to {
            let entry = self.entries.pop_front().expect("what is folded is in the log or purged");
            self.purged = (entry.index, entry.term);
            self.damaged.remove(&entry.index);
            if entry.kind == EntryKind::Membership {
                self.base = Membership::decode(&entry.payload).expect("it was encoded by a leader");
            }
        }
    }

    /// What recovery finds; the last `tail` entries come along.
    pub fn restore(&self, tail: usize) -> Restored {
        let mut terms: Vec<(Index, Term)> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if terms.last().is_none_or(|&(_, term)| term != entry.term) {
                terms.push((entry.index, entry.term));
            }
            if entry.kind == EntryKind::Membership {
                let membership = Membership::decode(&entry.payload).expect("it was encoded by a leader");
                memberships.push((entry.index, membership));
            }
        }
        let last_damaged = self.damaged.last().map_or(0, |index| index.0 - self.purged.0.0);
        let last_damaged = usize::try_from(last_damaged).expect("an offset");
        let skipped = self.entries.len().saturating_sub(tail).max(last_damaged);
        let damaged = self.damaged.iter().filter_map(|&index| self.get(index));
        let damaged =
            damaged.map(|entry| Damaged { index: entry.index, term: entry.term, crc: Some(entry.crc) });
        Restored {
            hard_state: self.hard_state,
            purged: self.purged,
            base: self.base.clone(),
            memberships,
            terms,
            last: self.last().0,
            tail: self.entries.iter().skip(skipped).cloned().collect(),
            damaged: damaged.collect(),
            applied: (!self.is_stateless).then_some(self.folded.index),
        }
    }
}
