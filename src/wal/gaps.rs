//! Gaps: records that recovery knows to be missing, and what can still be said of the log.
//!
//! A sector that is lost takes the headers of the records with it that begin in it. The chain of header checksums tells
//! that records are missing before the next one that can be read, and that one tells what they were, as far as it matters:
//! its index and term, and its [`Counts`](super::record::Counts). With R the next record of a group:
//!
//! ```text
//! R's counts        R                          so what is missing is
//! as expected       goes on behind a hole,     entries that continue the log, of that very term: they are *damaged*,
//!                   in the same term           present though not readable, and repaired one by one
//! as expected       replaces, or goes on       nothing of this group that matters
//! other turns, or   (anything)                 nobody knows: entries may have replaced others, brought another term, or
//! another term                                 have been configurations. The log that counts ends before the gap,
//!                                              and is *in doubt* (see `raft::doubt`)
//! no R              the log ends               likewise
//! other settings    (anything)                 a hard state, or a base: refused, unless a later preamble repeats them all
//! ```
//!
//! A log in doubt is one that this node had, whole: the one that ended before the gap. That later entries were acknowledged
//! is why it is in doubt, and nothing of it may be taken for committed that was not then. Hard states and bases go on to
//! count behind the gap: a vote must not be forgotten, and which state file belongs to the log is not a matter of doubt. A
//! base beyond the end that is visible says where the log begins: then it is empty.
//!
//! From a gap that leaves doubt the log goes on in a new segment, whose preamble says what counts. When it is read again, the
//! same gap leads to the same end, and the preamble that agrees with that closes it.
//!
//! Of a hard state, a base and a preamble there are two copies, which share no sector. Where a single sector is lost and one
//! of the two stands beside it, it held the other one, and nothing is missing.

use std::collections::{BTreeMap, BTreeSet};

use crate::raft::{Damaged, HardState};
use crate::types::{GroupId, Index};

use super::group::{Base, Group};
use super::record::{Counts, Header, Kind, Missed};
use super::recover::Replay;

/// What is missing of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Records, of which nothing is known yet.
    Open,
    /// More than can be made good: its entries do not count from there on.
    Frozen,
}

/// What is missing at the place that recovery has come to.
#[derive(Debug, Default)]
pub struct Gaps {
    /// What was passed over since the last record.
    missed: Missed,
    /// The last record was the first of two copies.
    is_after_first: bool,
    open: BTreeMap<GroupId, Gap>,
    /// Groups of which a hard state or a base may be lost, and no preamble has repeated them since.
    unsettled: BTreeSet<GroupId>,
    /// Of the batch under way: copies that were read, and such as could not be.
    read: BTreeSet<(GroupId, &'static str)>,
    lost: BTreeSet<(GroupId, &'static str)>,
}

/// So many sectors may be lost in a row and the counts, which go up to 256, still be believed.
const SECTORS_MAX: u64 = 128;

impl Gaps {
    /// Something was passed over.
    pub fn miss(&mut self, missed: Missed) {
        self.missed.sectors += missed.sectors;
        self.missed.is_header |= missed.is_header;
    }

    /// Whether a header may have been passed over since the last record.
    pub fn has_missed(&self) -> bool {
        self.missed.is_header
    }

    /// A record that can be read, behind one with the header CRC `chain`. `None` if it does not follow that, and nothing was
    /// passed over; else whether records may be missing.
    pub fn meet(&mut self, header: &Header, chain: u32, groups: &BTreeMap<GroupId, Group>) -> Option<bool> {
        let missed = std::mem::take(&mut self.missed);
        let copy = header.kind.copy();
        let is_after_first = std::mem::replace(&mut self.is_after_first, copy == Some(1));
        if header.chain == chain {
            return Some(false);
        }
        let is_copy = missed.sectors == 1 && (is_after_first || copy == Some(2));
        if !is_copy {
            self.open_all(groups, missed.sectors);
        }
        (missed.sectors > 0).then_some(!is_copy)
    }

    /// Records of all groups may be missing.
    pub fn open_all(&mut self, groups: &BTreeMap<GroupId, Group>, sectors: u64) {
        for id in groups.keys() {
            self.open.entry(*id).or_insert(Gap::Open);
            if sectors > SECTORS_MAX {
                self.freeze(*id);
                self.unsettled.insert(*id);
            }
        }
    }

    /// A segment ends, or the log, and no record is left that could tell: whether records may be missing.
    pub fn at_end(&mut self, groups: &BTreeMap<GroupId, Group>) -> bool {
        let missed = std::mem::take(&mut self.missed);
        if missed.is_header {
            self.open_all(groups, missed.sectors);
        }
        missed.is_header
    }

    /// How many sectors were passed over since the last record.
    pub fn missed_sectors(&self) -> u64 {
        self.missed.sectors
    }

    /// From here on the entries of the group do not count.
    pub fn freeze(&mut self, id: GroupId) {
        self.open.insert(id, Gap::Frozen);
    }

    /// The groups with entries that may be missing.
    pub fn in_doubt(&self) -> Vec<GroupId> {
        self.open.keys().copied().collect()
    }

    /// A group of which a hard state or a base may be missing.
    pub fn unsettled(&self) -> Option<GroupId> {
        self.unsettled.first().copied()
    }

    /// One of two copies: whether it can be read.
    pub fn note_copy(&mut self, id: GroupId, kind: Kind, is_intact: bool) {
        let copies = if is_intact { &mut self.read } else { &mut self.lost };
        copies.insert((id, kind.name()));
    }

    /// The batch is over: what it had in two copies is known by one of them, or lost. Returns a group whose state is lost.
    pub fn end_batch(&mut self, groups: &BTreeMap<GroupId, Group>) -> Option<GroupId> {
        let (read, lost) = (std::mem::take(&mut self.read), std::mem::take(&mut self.lost));
        let mut unknown = None;
        for (id, name) in lost.difference(&read) {
            if *name == "group" && !groups.contains_key(id) {
                unknown = Some(*id);
            } else if *name != "group" {
                self.unsettled.insert(*id);
            }
        }
        unknown
    }

    /// Behind a gap, a record says how many settings stand before it, and more are known, or fewer.
    fn compare_settings(&mut self, id: GroupId, header: &Header, known: Counts) {
        let is_second = header.kind.copy() == Some(2)
            && header.counts.settings == known.settings.wrapping_sub(1)
            && !matches!(header.kind, Kind::Group { .. });
        if self.open.contains_key(&id) && header.counts.settings != known.settings && !is_second {
            self.unsettled.insert(id);
        }
    }
}

impl Replay {
    /// Whether an entry, or one in place of a damaged one, counts: closes the gap before it if it can be closed.
    pub(super) fn takes_entry(&mut self, id: GroupId, header: &Header) -> bool {
        let Some(gap) = self.gaps.open.get(&id).copied() else { return true };
        let Some(group) = self.groups.get_mut(&id) else { return false };
        self.gaps.compare_settings(id, header, group.counts);
        group.counts.settings = header.counts.settings;
        let (last, is_straight) = (group.last, header.counts.turns == group.counts.turns);
        let is_before = header.index <= last.0;
        if gap == Gap::Frozen {
            return false;
        }
        if matches!(header.kind, Kind::Repair(_)) {
            return is_straight
                && is_before
                && group.term_at(header.index).is_none_or(|term| term == header.term);
        }
        if !is_straight || (header.index > last.0.next() && header.term != last.1) {
            self.gaps.freeze(id);
            return false;
        }
        self.fill(id, header.index);
        self.gaps.open.remove(&id);
        true
    }

    /// The entries from the end of the log to `before`, not included, are there, of the last term, and cannot be read.
    fn fill(&mut self, id: GroupId, before: Index) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let (last, term) = group.last;
        if before <= last.next() {
            return;
        }
        let damaged = self.damaged.entry(id).or_default();
        for index in (last.next().0..before.0).map(Index) {
            if let Err(what) = group.on_entry(index, term, None) {
                unreachable!("entry {index} follows {last}: {what}");
            }
            damaged.insert(index, Damaged { index, term, crc: None });
        }
        self.points.skip_to(id, before.prev());
        self.segments.note(id, before.prev());
        self.forget_tail(id);
    }

    /// A hard state that can be read.
    pub(super) fn take_hard_state(&mut self, header: &Header, next: HardState) -> Result<(), String> {
        let id = header.group;
        let in_gap = self.gaps.open.contains_key(&id);
        let known = self.known(id)?;
        let counts = known.counts;
        // What is committed may be entries that replaced those that are visible.
        let commit = if in_gap { known.hard_state.commit } else { next.commit };
        known.on_hard_state(HardState { commit, ..next })?;
        known.counts.settings = header.counts.settings.wrapping_add(1);
        self.gaps.compare_settings(id, header, counts);
        Ok(())
    }

    /// A base that can be read.
    pub(super) fn take_base(&mut self, header: &Header, base: &Base) -> Result<(), String> {
        let id = header.group;
        let known = self.known(id)?;
        let counts = known.counts;
        known.counts.settings = header.counts.settings.wrapping_add(1);
        if header.kind.copy() == Some(2) && header.counts.settings == counts.settings.wrapping_sub(1) {
            return Ok(()); // the first copy was read
        }
        self.gaps.compare_settings(id, header, counts);
        self.rebase(id, base)
    }

    fn rebase(&mut self, id: GroupId, base: &Base) -> Result<(), String> {
        let gap = self.gaps.open.get(&id).copied();
        let known = self.known(id)?;
        let is_here =
            base.to.0 <= known.last.0 && known.term_at(base.to.0).is_none_or(|term| term == base.to.1);
        let jumps = gap.is_some() && (base.resets || !is_here);
        if jumps {
            known.begin_at(base);
        } else {
            known.on_base(base)?;
        }
        if base.resets {
            self.gaps.open.remove(&id);
        }
        if base.resets || jumps {
            self.points.reset(id, base.to.0);
            self.segments.reset(id);
            self.damaged.remove(&id);
            self.forget_tail(id);
        } else {
            self.points.purge(id, base.to.0);
        }
        Ok(())
    }

    /// A preamble's record of a group that is known, behind a gap: whether it says what was come to, or what is missing.
    pub(super) fn restate(&mut self, theirs: &Group, counts: Counts) -> Result<(), String> {
        let id = theirs.id;
        let gap = self.gaps.open.get(&id).copied();
        let known = self.known(id)?;
        let is_straight = counts.turns == known.counts.turns;
        let is_same = is_straight && theirs.last == known.last;
        let is_longer = is_straight && theirs.last.0 > known.last.0 && theirs.last.1 == known.last.1;
        let is_closed = is_same || (is_longer && gap == Some(Gap::Open));
        let commit = if is_closed { theirs.hard_state.commit } else { known.hard_state.commit };
        known.on_hard_state(HardState { commit, ..theirs.hard_state })?;
        known.counts.settings = counts.settings;
        let (purged, state) = (known.purged, known.state);
        if is_closed {
            self.fill(id, theirs.last.0.next());
            self.gaps.open.remove(&id);
        } else {
            self.gaps.freeze(id);
        }
        if (purged, state) != (theirs.purged, theirs.state) {
            let (to, membership, state) = (theirs.purged, theirs.base.clone(), theirs.state);
            self.rebase(id, &Base { to, membership, state, resets: false })?;
        }
        self.gaps.unsettled.remove(&id);
        Ok(())
    }

    /// Whether a group has a gap that is not closed.
    pub(super) fn has_gap(&self, id: GroupId) -> bool {
        self.gaps.open.contains_key(&id)
    }
}
