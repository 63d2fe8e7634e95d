//! What the log knows of one group: enough to write a preamble, to check what is appended, and to tell a restarted
//! core where it stands. The writer and recovery move it by the same three methods, so that a preamble written from
//! it must equal what recovery arrives at by itself; recovery checks that.
//!
//! ```text
//! payload of a group record; the purge point stands in the record's header as index and term
//!                      0  25  hard state
//!                     25   8  number of the state file
//!                     33   8  index of the last entry, the purge point's if there is none
//!                     41   8  its term
//!                     49   4  number of configuration entries after the purge point
//!                     53   4  n, then n bytes: the membership in force at the purge point
//!                             for each configuration entry, ascending: index (8), n (4), n bytes
//! payload of a base record; the purge point likewise
//!                      0   8  number of the state file
//!                      8      the membership in force at the purge point
//! ```
//!
//! The committed membership is the last of these at or below the commit index, the effective one the last of all:
//! the list holds both, and those between them that a truncation would bring back.
//!
//! # The base
//!
//! Purge point, membership there and the number of the state file change together, by one record: so no crash can
//! leave a log that begins where its state file does not end (H27). The newest base record is the one pointer to the
//! state file. The log does not know what is in that file; it sees to it that the number never falls.
//!
//! A base record *keeps* what follows its point or *resets* the log: then nothing that stood before the record counts
//! any more, above the point as well as below it, and the log begins after the point (H28). The writer, which
//! knows the term of every entry, decides that and writes it down: recovery may have begun after the entry in question
//! and could not decide it again.

use bytes::Bytes;

use crate::raft::{Entry, EntryKind, HardState};
use crate::types::{GroupId, Index, Term};

use super::hard_state::{self, HARD_STATE_BYTES};
use super::record::{Counts, Header, Kind};
use super::sector::{NUMBER_MAX, u32_at, u64_at};

/// What a base record says: where the log begins, and the state file that holds what is before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The purge point: the log begins after it.
    pub to: (Index, Term),
    /// The membership in force there, encoded.
    pub membership: Bytes,
    /// The number of the state file.
    pub state: u64,
    /// Whether all that the log held is void, not only what is at or below the point.
    pub resets: bool,
}

impl Base {
    /// The length of the payload of a base record.
    pub fn encoded_len(&self) -> usize {
        8 + self.membership.len()
    }

    /// Encodes the payload of a base record.
    pub fn encode(&self) -> Vec<u8> {
        [&self.state.to_le_bytes(), &self.membership[..]].concat()
    }

    /// Decodes the payload of a base record to this point; `None` if it is not one.
    pub fn decode(to: (Index, Term), resets: bool, payload: &[u8]) -> Option<Base> {
        let state = u64_at(payload.get(..8)?, 0);
        let membership = Bytes::copy_from_slice(&payload[8..]);
        (state < NUMBER_MAX).then_some(Base { to, membership, state, resets })
    }
}

/// The state of one group.
///
/// `purged.0 <= last.0`. All move as the log does: `purged` and `state` only forward, `last` back on truncation and
/// reset, never below `purged`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Which one.
    pub id: GroupId,
    /// What stands before its next record.
    pub counts: Counts,
    /// The newest hard state.
    pub hard_state: HardState,
    /// The purge point: the log begins after it.
    pub purged: (Index, Term),
    /// The membership in force at the purge point, encoded.
    pub base: Bytes,
    /// The number of the state file.
    pub state: u64,
    /// The configuration entries after it, encoded, ascending.
    pub configs: Vec<(Index, Bytes)>,
    /// The last entry; the purge point if there is none.
    pub last: (Index, Term),
    /// The runs of equal term after the purge point: first index and term. They cover `held..=last`.
    pub terms: Vec<(Index, Term)>,
    /// The first entry that recovery has seen itself. Entries between the purge point and this one stood in segments
    /// that are gone; by the end of recovery there must be none.
    pub held: Index,
}

impl Group {
    /// A group without a log.
    pub fn new(id: GroupId, base: Bytes) -> Group {
        Group {
            id,
            counts: Counts::default(),
            hard_state: HardState::default(),
            purged: (Index(0), Term(0)),
            base,
            state: 0,
            configs: Vec::new(),
            last: (Index(0), Term(0)),
            terms: Vec::new(),
            held: Index(1),
        }
    }

    /// The term at an index, where known.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.purged.0 {
            return Some(self.purged.1);
        }
        if index == self.last.0 {
            return Some(self.last.1);
        }
        if index < self.held || index > self.last.0 {
            return None;
        }
        let after = self.terms.partition_point(|(first, _)| *first <= index);
        after.checked_sub(1).map(|run| self.terms[run].1)
    }

    /// A new hard state.
    pub fn on_hard_state(&mut self, next: HardState) -> Result<(), String> {
        hard_state::may_follow(&self.hard_state, &next)?;
        self.hard_state = next;
        Ok(())
    }

    /// A new entry. What stands at its index and beyond is void.
    pub fn on_entry(&mut self, index: Index, term: Term, config: Option<&Bytes>) -> Result<(), String> {
        if index <= self.purged.0 || index > self.last.0.next() {
            return Err(format!("entry {index} in a log of {} to {}", self.purged.0.next(), self.last.0));
        }
        let before = self.term_at(index.prev());
        if term == Term(0) || before.is_some_and(|before| term < before) {
            return Err(format!("entry {index} of term {term} after one of term {before:?}"));
        }
        while self.terms.last().is_some_and(|(first, _)| *first >= index) {
            self.terms.pop();
        }
        while self.configs.last().is_some_and(|(at, _)| *at >= index) {
            self.configs.pop();
        }
        if self.terms.last().is_none_or(|(_, last)| *last != term) {
            self.terms.push((index, term));
        }
        if let Some(config) = config {
            self.configs.push((index, config.clone()));
        }
        self.last = (index, term);
        self.held = self.held.min(index);
        Ok(())
    }

    /// Whether this entry, read elsewhere, can take the place of the one that is here.
    pub fn check_repair(&self, index: Index, term: Term) -> Result<(), String> {
        let known = self.term_at(index);
        if index <= self.purged.0 || known.is_some_and(|known| known != term) || index > self.last.0 {
            let (first, last) = (self.purged.0.next(), self.last.0);
            return Err(format!(
                "repair of entry {index} of term {term} ({known:?}) in a log of {first} to {last}"
            ));
        }
        Ok(())
    }

    /// Whether to begin after this point makes all void that the log has. It does not if the log has the entry
    /// there: what follows that is a log of the same past.
    pub fn resets(&self, to: (Index, Term)) -> bool {
        self.term_at(to.0) != Some(to.1)
    }

    /// Whether this base can follow.
    pub fn check_base(&self, base: &Base) -> Result<(), String> {
        let (index, term) = base.to;
        if base.state < self.state || base.state >= NUMBER_MAX {
            return Err(format!("state file {} after {}", base.state, self.state));
        }
        if base.resets {
            if index <= self.purged.0 || term < self.purged.1.max(Term(1)) || !self.resets(base.to) {
                let (first, last) = (self.purged.0.next(), self.last.0);
                return Err(format!("reset to {index} of term {term} of a log of {first} to {last}"));
            }
            if term > self.hard_state.term {
                return Err(format!("reset to {index} of term {term} in term {}", self.hard_state.term));
            }
            return Ok(());
        }
        if index < self.purged.0 || index > self.last.0 {
            return Err(format!("purge to {index} of a log of {} to {}", self.purged.0.next(), self.last.0));
        }
        let known = self.term_at(index);
        if known.is_some_and(|known| known != term) {
            return Err(format!("purge to {index} of term {term}, there it is {known:?}"));
        }
        Ok(())
    }

    /// A new base.
    pub fn on_base(&mut self, base: &Base) -> Result<(), String> {
        self.check_base(base)?;
        let (to, first) = (base.to, base.to.0.next());
        self.purged = to;
        self.base = base.membership.clone();
        self.state = base.state;
        if base.resets {
            self.begin_at(base);
            return Ok(());
        }
        self.configs.retain(|(index, _)| *index > to.0);
        if to.0 == self.last.0 {
            self.terms.clear();
        } else if self.held <= to.0 {
            let after = self.terms.partition_point(|(start, _)| *start <= first);
            self.terms.drain(..after.saturating_sub(1));
            if let Some(run) = self.terms.first_mut() {
                run.0 = run.0.max(first);
            }
        }
        self.held = self.held.max(first);
        Ok(())
    }

    /// Its log begins here, empty, whatever of it was seen before.
    pub fn begin_at(&mut self, base: &Base) {
        self.purged = base.to;
        self.base = base.membership.clone();
        self.state = base.state;
        self.last = base.to;
        self.configs.clear();
        self.terms.clear();
        self.held = base.to.0.next();
    }

    /// Whether these entries can follow, without adding them.
    pub fn check_entries(&self, entries: &[Entry]) -> Result<(), String> {
        let Some(first) = entries.first() else { return Ok(()) };
        if first.index <= self.purged.0 || first.index > self.last.0.next() {
            return Err(format!(
                "entry {} in a log of {} to {}",
                first.index,
                self.purged.0.next(),
                self.last.0
            ));
        }
        let mut before = (first.index.prev(), self.term_at(first.index.prev()).unwrap_or_default());
        for entry in entries {
            if entry.index != before.0.next() || entry.term < before.1 || entry.term == Term(0) {
                return Err(format!("entry {} of term {} after {before:?}", entry.index, entry.term));
            }
            before = (entry.index, entry.term);
        }
        Ok(())
    }

    /// The length of the payload of a group record.
    pub fn encoded_len(&self) -> usize {
        let configs: usize = self.configs.iter().map(|(_, config)| 12 + config.len()).sum();
        HARD_STATE_BYTES + 32 + self.base.len() + configs
    }

    /// Encodes the payload of a group record.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = hard_state::encode(&self.hard_state).to_vec();
        bytes.extend_from_slice(&self.state.to_le_bytes());
        bytes.extend_from_slice(&self.last.0.0.to_le_bytes());
        bytes.extend_from_slice(&self.last.1.0.to_le_bytes());
        bytes.extend_from_slice(&len(self.configs.len()));
        bytes.extend_from_slice(&len(self.base.len()));
        bytes.extend_from_slice(&self.base);
        for (index, config) in &self.configs {
            bytes.extend_from_slice(&index.0.to_le_bytes());
            bytes.extend_from_slice(&len(config.len()));
            bytes.extend_from_slice(config);
        }
        assert_eq!(bytes.len(), self.encoded_len(), "a group record was measured wrongly");
        bytes
    }

    /// Decodes the payload of a group record with this header; `None` if it is not one.
    pub fn decode(header: &Header, payload: &[u8]) -> Option<Group> {
        let (id, counts, purged) = (header.group, header.counts, (header.index, header.term));
        let mut rest = Bytes::copy_from_slice(payload);
        let mut take = |n: usize| (n <= rest.len()).then(|| rest.split_to(n));
        let hard_state = hard_state::decode(&take(HARD_STATE_BYTES)?)?;
        let fixed = take(24)?;
        let state = u64_at(&fixed, 0);
        let last = (Index(u64_at(&fixed, 8)), Term(u64_at(&fixed, 16)));
        if state.max(last.0.0).max(last.1.0) >= NUMBER_MAX {
            return None;
        }
        let count = u32_at(&take(4)?, 0);
        let base_len = u32_at(&take(4)?, 0);
        let base = take(base_len as usize)?;
        let mut configs: Vec<(Index, Bytes)> = Vec::new();
        for _ in 0..count {
            let index = Index(u64_at(&take(8)?, 0));
            let config_len = u32_at(&take(4)?, 0);
            let before = configs.last().map_or(purged.0, |(index, _)| *index);
            if index <= before || index > last.0 {
                return None;
            }
            configs.push((index, take(config_len as usize)?));
        }
        let held = last.0.next();
        let ends_here = rest.is_empty() && purged.0 <= last.0;
        ends_here.then_some(Group {
            id,
            counts,
            hard_state,
            purged,
            base,
            state,
            configs,
            last,
            terms: Vec::new(),
            held,
        })
    }
}

fn len(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or_else(|_| panic!("a length of {len}")).to_le_bytes()
}

/// The number of the state file that a record names, if it names one.
pub fn state_of(kind: Kind, payload: &[u8]) -> Option<u64> {
    let at = match kind {
        Kind::Group { .. } => HARD_STATE_BYTES,
        Kind::Base { .. } => 0,
        Kind::HardState { .. } | Kind::Entry(_) | Kind::Repair(_) => return None,
    };
    payload.get(at..at + 8).map(|number| u64_at(number, 0))
}

/// The configuration that an entry carries, if it carries one.
pub fn config_of(kind: EntryKind, payload: &Bytes) -> Option<&Bytes> {
    (kind == EntryKind::Membership).then_some(payload)
}
