//! A core with a disk: what a driver does, without threads, files or time of its own.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::raft::{
    Config, Damaged, Entry, EntryKind, Envelope, Fetch, HardState, Membership, Raft, Restored, Write,
    WriteSeq,
};
use crate::types::{Incarnation, Index, Monotonic, NodeId, Term};

/// The limits and times that tests begin with.
pub(super) fn config(id: u64) -> Config {
    Config {
        id: NodeId(id),
        heartbeat_interval: Duration::from_millis(100),
        election_timeout: Duration::from_millis(1000),
        disk_stall_timeout: Duration::from_millis(3_000),
        evidence_delay_max: Duration::from_millis(50),
        append_batch_bytes_max: 1 << 20,
        append_inflight_max: 8,
        append_inflight_bytes_max: 8 << 20,
        uncommitted_bytes_max: 16 << 20,
        cache_bytes_max: 1 << 20,
        apply_inflight_bytes_max: 1 << 20,
        reads_waiting_max: 1000,
        seed: id,
        incarnation: Incarnation(id),
        boot: 1,
    }
}

/// A group of `voters` members and then `learners`, ids ascending from 1.
pub(super) fn membership(voters: u64, learners: u64) -> Membership {
    let peers = (1..=voters + learners).map(|id| (NodeId(id), format!("node{id}:7000")));
    let mut membership = Membership::bootstrap(peers);
    for (id, member) in &mut membership.members {
        if id.0 > voters {
            member.role = crate::raft::Role::Learner;
        }
    }
    membership
}

/// What a node has on disk: a log and a hard state, written in the order of the writes.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) purged: (Index, Term),
    pub(super) base: Membership,
    /// All entries after `purged`.
    pub(super) entries: VecDeque<Entry>,
    /// The state machine's checkpoint; none if it is lost.
    pub(super) folded: Option<Index>,
    /// Snapshots that are here in full and not installed.
    pub(super) staged: BTreeSet<Index>,
    /// Entries that cannot be read back.
    pub(super) damaged: BTreeSet<Index>,
}

impl Disk {
    pub(super) fn new(membership: Membership) -> Disk {
        Disk {
            hard_state: HardState::default(),
            purged: (Index(0), Term(0)),
            base: membership,
            entries: VecDeque::new(),
            folded: Some(Index(0)),
            staged: BTreeSet::new(),
            damaged: BTreeSet::new(),
        }
    }

    pub(super) fn last(&self) -> Index {
        Index(self.purged.0.0 + self.entries.len() as u64)
    }

    pub(super) fn get(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.purged.0.0 + 1)?;
        self.entries.get(usize::try_from(offset).unwrap())
    }

    pub(super) fn write(&mut self, write: &Write) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(install) = &write.install {
            assert!(self.staged.remove(&install.index), "snapshot {} never came", install.index);
            let is_there = self.get(install.index).is_some_and(|entry| entry.term == install.term);
            let goes_on = is_there || self.purged == (install.index, install.term);
            self.purged = (install.index, install.term);
            self.base = install.membership.clone();
            self.entries.retain(|entry| goes_on && entry.index > install.index);
            self.damaged.retain(|index| goes_on && *index > install.index);
            self.folded = Some(install.index);
        }
        for entry in &write.repairs {
            let known = self.get(entry.index);
            assert_eq!(known, Some(entry), "a repair changes an entry");
            self.damaged.remove(&entry.index);
        }
        if let Some(first) = write.entries.first() {
            assert!(first.index <= self.last().next(), "a write leaves a gap");
            self.damaged.split_off(&first.index);
            self.entries.truncate(usize::try_from(first.index.0 - self.purged.0.0 - 1).unwrap());
            self.entries.extend(write.entries.iter().cloned());
        }
    }

    /// Answers a fetch as far as the disk can.
    pub(super) fn fetch(&self, fetch: &Fetch) -> Vec<Entry> {
        let mut bytes = 0;
        let mut entries = Vec::new();
        for index in fetch.first.0..=fetch.last.0 {
            match self.get(Index(index)) {
                Some(entry) if bytes < fetch.bytes_max && !self.damaged.contains(&entry.index) => {
                    bytes += entry.bytes();
                    entries.push(entry.clone());
                }
                _ => break,
            }
        }
        entries
    }

    /// The end of the log is lost, and nobody knows where it was.
    pub(super) fn lose_from(&mut self, from: Index) {
        self.entries.truncate(usize::try_from(from.0 - self.purged.0.0 - 1).unwrap());
        self.damaged.split_off(&from);
        self.hard_state.in_doubt = true;
    }

    pub(super) fn purge_to(&mut self, to: Index) {
        while self.purged.0 < to {
            let entry = self.entries.pop_front().unwrap();
            self.damaged.remove(&entry.index);
            self.purged = (entry.index, entry.term);
            if entry.kind == EntryKind::Membership {
                self.base = Membership::decode(&entry.payload).unwrap();
            }
        }
    }

    /// What recovery finds; the last `tail` entries come along.
    pub(super) fn restore(&self, tail: usize) -> Restored {
        let mut terms: Vec<(Index, Term)> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if terms.last().is_none_or(|&(_, term)| term != entry.term) {
                terms.push((entry.index, entry.term));
            }
            if entry.kind == EntryKind::Membership {
                memberships.push((entry.index, Membership::decode(&entry.payload).unwrap()));
            }
        }
        let last_damaged = self.damaged.last().map_or(0, |index| index.0 - self.purged.0.0);
        let skip = self.entries.len().saturating_sub(tail).max(usize::try_from(last_damaged).unwrap());
        let damaged = self.damaged.iter().filter_map(|&index| self.get(index));
        let damaged =
            damaged.map(|entry| Damaged { index: entry.index, term: entry.term, crc: Some(entry.crc) });
        Restored {
            hard_state: self.hard_state,
            purged: self.purged,
            base: self.base.clone(),
            memberships,
            terms,
            last: self.last(),
            tail: self.entries.iter().skip(skip).cloned().collect(),
            damaged: damaged.collect(),
            applied: self.folded,
        }
    }
}

/// A node whose disk takes its time.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) config: Config,
    pub(super) disk: Disk,
    /// `None` while it is down.
    pub(super) raft: Option<Raft>,
    /// Handed out and not on disk yet.
    pub(super) writing: VecDeque<Write>,
    /// On disk; the core was not told yet.
    pub(super) completed: Vec<WriteSeq>,
    /// Snapshots that are on disk in place of the log, and that the state machine has not taken yet.
    pub(super) installs: Vec<Index>,
    /// The state machine: the last entry it took, since the last start; none if it is lost.
    pub(super) applied: Option<Index>,
}

impl Node {
    pub(super) fn new(config: Config, membership: Membership, now: Monotonic) -> Node {
        let disk = Disk::new(membership);
        let raft = Raft::new(config.clone(), disk.restore(0), now);
        Node {
            config,
            disk,
            raft: Some(raft),
            writing: VecDeque::new(),
            completed: Vec::new(),
            installs: Vec::new(),
            applied: Some(Index(0)),
        }
    }

    /// The core of a node that is up.
    pub(super) fn raft(&mut self) -> &mut Raft {
        self.raft.as_mut().expect("the node is up")
    }

    /// The first `count` writes reach the disk; their messages may leave.
    pub(super) fn persist(&mut self, count: usize) -> Vec<Envelope> {
        let mut messages = Vec::new();
        for write in self.writing.drain(..count) {
            self.disk.write(&write);
            self.completed.push(write.seq);
            self.installs.extend(write.install.map(|install| install.index));
            messages.extend(write.messages);
        }
        messages
    }

    /// Takes entries into the state machine.
    pub(super) fn apply(&mut self, entries: &[Entry]) {
        let mut applied = self.applied.expect("there is a state to apply to");
        for entry in entries {
            assert_eq!(entry.index, applied.next(), "applied out of order");
            assert_eq!(self.disk.get(entry.index), Some(entry), "applied what is not on disk");
            applied = entry.index;
        }
        self.applied = Some(applied);
        self.raft().applied(applied);
    }

    /// The state machine takes the snapshots that are on disk. Returns the last one.
    pub(super) fn install(&mut self) -> Option<Index> {
        let index = self.installs.drain(..).next_back()?;
        assert!(Some(index) > self.applied, "snapshot {index} takes the place of {:?}", self.applied);
        self.applied = Some(index);
        self.raft().applied(index);
        Some(index)
    }

    /// The power fails: what was being written is lost, but for the first `kept` writes.
    pub(super) fn crash(&mut self, kept: usize) {
        self.persist(kept);
        self.writing.clear();
        self.completed.clear();
        self.installs.clear();
        self.disk.staged.clear();
        self.raft = None;
        self.applied = None;
    }

    /// The state machine is lost, on the disk and in memory.
    pub(super) fn lose_state(&mut self) {
        (self.disk.folded, self.applied) = (None, None);
        if let Some(raft) = &mut self.raft {
            raft.lose_state();
        }
    }

    /// It begins anew.
    pub(super) fn begin_state(&mut self) {
        (self.disk.folded, self.applied) = (Some(Index(0)), Some(Index(0)));
        self.raft().state_begun();
    }

    pub(super) fn restart(&mut self, now: Monotonic, tail: usize) {
        assert!(self.raft.is_none(), "restarted while up");
        self.config.boot += 1;
        self.config.seed = self.config.seed.wrapping_mul(31).wrapping_add(1);
        self.applied = self.disk.folded;
        self.raft = Some(Raft::new(self.config.clone(), self.disk.restore(tail), now));
    }
}
