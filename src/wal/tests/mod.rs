//! Tests of the log against a model of it, on a disk that loses what was not synced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::raft::{Entry, EntryKind, HardState, Membership};
use crate::types::{ClusterId, GroupId, Incarnation, Index, NodeId, Owner, Term};

use super::fs::testing::MemFs;
use super::{Error, Freed, GroupWrite, Install, Options, Reader, Recovered, RecoveredGroup, Wal};

mod append;
mod crash;
mod damage;
mod format;
mod install;
mod race;
mod random;
mod repair;
mod room;
mod script;
mod tail;
mod wounds;

pub const DIR: &str = "/wal";
pub const GROUP: GroupId = GroupId(1);
pub const OTHER: GroupId = GroupId(7);

pub const OWNER: Owner = Owner {
    cluster: ClusterId(0xc1c2_c3c4_c5c6_c7c8),
    node: NodeId(1),
    incarnation: Incarnation(0xa1a2_a3a4_a5a6_a7a8),
};

pub fn options() -> Options {
    Options { owner: OWNER, segment_bytes: 5120, bytes_max: 1 << 20, tail_bytes_max: 1 << 20 }
}

pub fn membership(nodes: u64) -> Membership {
    Membership::bootstrap((1..=nodes).map(|id| (NodeId(id), format!("n{id}:7000"))))
}

pub fn bootstrap() -> BTreeMap<GroupId, Membership> {
    BTreeMap::from([(GROUP, membership(3)), (OTHER, membership(1))])
}

pub fn open(fs: &MemFs) -> Result<(Wal, Reader, Recovered), Error> {
    Wal::open(fs.shared(), Path::new(DIR), options(), &bootstrap())
}

pub fn segment(number: u64) -> PathBuf {
    super::segment::path(Path::new(DIR), number)
}

/// A command of `len` bytes that differ from index to index and term to term.
pub fn command(index: u64, term: u64, len: usize) -> Entry {
    let payload: Vec<u8> = (0..len).map(|at| (at as u64 ^ index ^ (term << 3)) as u8).collect();
    Entry::new(Index(index), Term(term), EntryKind::Command, Bytes::from(payload))
}

/// A command of `len` zeroes.
pub fn zeroes(index: u64, term: u64, len: usize) -> Entry {
    Entry::new(Index(index), Term(term), EntryKind::Command, Bytes::from(vec![0; len]))
}

pub fn config(index: u64, term: u64, nodes: u64) -> Entry {
    Entry::new(Index(index), Term(term), EntryKind::Membership, membership(nodes).encode())
}

pub fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    let vote = (vote > 0).then_some(NodeId(vote));
    HardState { term: Term(term), vote, commit: Index(commit), in_doubt: false }
}

pub fn write(group: GroupId, hard_state: Option<HardState>, entries: Vec<Entry>) -> GroupWrite {
    GroupWrite { group, hard_state, install: None, repairs: Vec::new(), entries }
}

/// A snapshot that ends at `(index, term)` under so many members, in a state file.
pub fn install(to: (u64, u64), nodes: u64, state: u64) -> Install {
    Install { to: (Index(to.0), Term(to.1)), base: membership(nodes), state }
}

/// A write with an install between hard state and entries.
pub fn installing(
    group: GroupId,
    hard_state: Option<HardState>,
    install: Install,
    entries: Vec<Entry>,
) -> GroupWrite {
    GroupWrite { group, hard_state, install: Some(install), repairs: Vec::new(), entries }
}

/// What a group's log should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelGroup {
    pub hard_state: HardState,
    pub purged: (Index, Term),
    pub base: Membership,
    pub state: u64,
    pub entries: Vec<Entry>,
}

/// What stands in a batch behind the hard states, one after the other.
enum Item<'a> {
    Install(&'a Install),
    Entry(&'a Entry),
}

/// What the log should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub groups: BTreeMap<GroupId, ModelGroup>,
}

impl Model {
    pub fn new() -> Model {
        let group = |base: Membership| ModelGroup {
            hard_state: HardState::default(),
            purged: (Index(0), Term(0)),
            base,
            state: 0,
            entries: Vec::new(),
        };
        Model { groups: bootstrap().into_iter().map(|(id, base)| (id, group(base))).collect() }
    }

    pub fn entry(&mut self, group: GroupId, entry: &Entry) {
        let entries = &mut self.groups.get_mut(&group).unwrap().entries;
        entries.retain(|held| held.index < entry.index);
        entries.push(entry.clone());
    }

    pub fn apply(&mut self, batch: &[GroupWrite]) {
        for write in batch {
            if let Some(hard_state) = write.hard_state {
                self.groups.get_mut(&write.group).unwrap().hard_state = hard_state;
            }
            items(write).for_each(|item| self.item(write.group, &item));
        }
    }

    fn item(&mut self, group: GroupId, item: &Item<'_>) {
        match item {
            Item::Install(install) => self.install(group, install),
            Item::Entry(entry) => self.entry(group, entry),
        }
    }

    /// What follows the snapshot's end is kept if the log has just that entry; else nothing is.
    pub fn install(&mut self, group: GroupId, install: &Install) {
        let model = self.groups.get_mut(&group).unwrap();
        let has = model.purged == install.to
            || model.entries.iter().any(|entry| (entry.index, entry.term) == install.to);
        model.entries.retain(|entry| has && entry.index > install.to.0);
        model.purged = install.to;
        model.base = install.base.clone();
        model.state = install.state;
    }

    pub fn last(&self, group: GroupId) -> (Index, Term) {
        let group = &self.groups[&group];
        group.entries.last().map_or(group.purged, |entry| (entry.index, entry.term))
    }

    /// The membership in force at an index.
    pub fn membership_at(&self, group: GroupId, index: Index) -> Membership {
        let group = &self.groups[&group];
        let configs = group.entries.iter().filter(|entry| entry.kind == EntryKind::Membership);
        let last = configs.filter(|entry| entry.index <= index).last();
        last.map_or(group.base.clone(), |entry| Membership::decode(&entry.payload).unwrap())
    }

    /// Purges; returns what to pass to the log.
    pub fn purge(&mut self, group: GroupId, to: u64) -> ((Index, Term), Membership) {
        let base = self.membership_at(group, Index(to));
        let model = self.groups.get_mut(&group).unwrap();
        let term = model.entries.iter().find(|entry| entry.index == Index(to)).unwrap().term;
        model.entries.retain(|entry| entry.index > Index(to));
        model.purged = (Index(to), term);
        model.base = base.clone();
        (model.purged, base)
    }

    /// What a log was found to be, in the model's terms; checks on the way that all the ways to see it agree.
    pub fn found(recovered: &Recovered, reader: &Reader) -> Model {
        let mut groups = BTreeMap::new();
        for (id, found) in &recovered.groups {
            let first = found.purged.0.next();
            let entries = reader.read(*id, first, Index(u64::MAX), usize::MAX).unwrap();
            let last = entries.last().map_or(found.purged.0, |entry| entry.index);
            assert_eq!(found.last, last, "group {id}: last");
            for (at, entry) in entries.iter().enumerate() {
                assert_eq!(entry.index, Index(first.0 + at as u64), "group {id}: entries are contiguous");
                assert!(entry.is_intact(), "group {id}: {entry:?}");
            }
            assert!(entries.ends_with(&found.tail), "group {id}: the tail is the log's end");
            let mut terms: Vec<(Index, Term)> = Vec::new();
            for entry in &entries {
                if terms.last().is_none_or(|(_, term)| *term != entry.term) {
                    terms.push((entry.index, entry.term));
                }
            }
            assert_eq!(found.terms, terms, "group {id}: runs of terms");
            let configs = entries.iter().filter(|entry| entry.kind == EntryKind::Membership);
            let configs: Vec<_> =
                configs.map(|entry| (entry.index, Membership::decode(&entry.payload).unwrap())).collect();
            assert_eq!(found.memberships, configs, "group {id}: memberships");
            let group = ModelGroup {
                hard_state: found.hard_state,
                purged: found.purged,
                base: found.base.clone(),
                state: found.state,
                entries,
            };
            groups.insert(*id, group);
        }
        Model { groups }
    }

    /// Whether `found` is what may be left of this log after a crash while `batch` was written: all of it, or its
    /// hard states, or not even those, and its installs and entries up to some place.
    pub fn may_become(&self, batch: &[GroupWrite], found: &Model) -> bool {
        let mut whole = self.clone();
        whole.apply(batch);
        if *found == whole || found == self {
            return true;
        }
        let all: Vec<(GroupId, Item<'_>)> =
            batch.iter().flat_map(|write| items(write).map(|item| (write.group, item))).collect();
        (0..=all.len()).any(|count| {
            let mut part = self.clone();
            all[..count].iter().for_each(|(group, item)| part.item(*group, item));
            part.groups.iter_mut().all(|(id, part)| {
                let found = &found.groups[id];
                let new = whole.groups[id].hard_state;
                let kept = HardState { commit: part.hard_state.commit, ..new };
                let old_is_fine = count == 0 && found.hard_state == part.hard_state;
                (old_is_fine || found.hard_state == kept)
                    && found.entries == part.entries
                    && found.purged == part.purged
                    && found.base == part.base
                    && found.state == part.state
            })
        })
    }
}

fn items(write: &GroupWrite) -> impl Iterator<Item = Item<'_>> {
    write.install.iter().map(Item::Install).chain(write.entries.iter().map(Item::Entry))
}

/// Opens the log and says what is in it.
pub fn reopen(fs: &MemFs) -> (Wal, Reader, Recovered, Model) {
    let (wal, reader, recovered) = open(fs).unwrap_or_else(|error| panic!("{error}"));
    let found = Model::found(&recovered, &reader);
    (wal, reader, recovered, found)
}

/// Checks that a log says of each entry that cannot be read which one it is, and has all else as the model says; or, that it
/// is in doubt, and still has the vote and the state file.
pub fn check_damaged(model: &Model, recovered: &Recovered, reader: &Reader) {
    for (id, expected) in &model.groups {
        let found = &recovered.groups[id];
        let RecoveredGroup { hard_state, purged, base, state, .. } = found.clone();
        let commit = hard_state.commit.min(expected.hard_state.commit);
        let kept = HardState { commit, in_doubt: hard_state.in_doubt, ..expected.hard_state };
        assert_eq!(hard_state, kept, "group {id}");
        assert_eq!(state, expected.state, "group {id}");
        if hard_state.in_doubt {
            assert!(purged.0 <= expected.purged.0.max(found.last), "group {id}");
            continue;
        }
        assert_eq!((purged, &base), (expected.purged, &expected.base), "group {id}");
        assert_eq!(found.last, model.last(*id).0, "group {id}: last");
        assert!(expected.entries.ends_with(&found.tail), "group {id}: the tail is not the log's end");
        let mut damaged = found.damaged.iter().peekable();
        for entry in &expected.entries {
            let read = reader.read(*id, entry.index, entry.index, usize::MAX);
            match damaged.next_if(|damaged| damaged.index == entry.index) {
                Some(damaged) => {
                    assert_eq!(damaged.term, entry.term, "group {id}");
                    assert!(damaged.crc.is_none_or(|crc| crc == entry.crc), "group {id}");
                    let is_named = matches!(&read, Err(Error::Entry { group, index, .. })
                        if group == id && *index == entry.index);
                    assert!(is_named, "group {id}, damaged {damaged:?}: {read:?}");
                    assert!(found.tail.iter().all(|entry| entry.index > damaged.index), "group {id}: tail");
                }
                None => assert_eq!(read.unwrap(), std::slice::from_ref(entry), "group {id}"),
            }
        }
        assert_eq!(damaged.next(), None, "group {id}: a damaged entry that is not in the log");
        let configs = expected.entries.iter().filter(|entry| entry.kind == EntryKind::Membership);
        let configs: Vec<_> =
            configs.map(|entry| (entry.index, Membership::decode(&entry.payload).unwrap())).collect();
        assert_eq!(found.memberships, configs, "group {id}: memberships");
    }
}

/// The repairs that the entries of a model make.
pub fn repairs_of(model: &Model, recovered: &Recovered) -> Vec<GroupWrite> {
    let of_group = |(id, found): (&GroupId, &RecoveredGroup)| {
        let is_damaged = |entry: &&Entry| {
            let is_it =
                |damaged: &crate::raft::Damaged| (damaged.index, damaged.term) == (entry.index, entry.term);
            found.damaged.iter().any(is_it)
        };
        let repairs = model.groups[id].entries.iter().filter(is_damaged).cloned().collect();
        GroupWrite { group: *id, hard_state: None, install: None, repairs, entries: vec![] }
    };
    recovered.groups.iter().map(of_group).collect()
}

/// Repairs all damage from the model, as another member would, and says what is in the log then, and after a power cut.
pub fn heal(fs: &MemFs, opened: (Wal, Reader, Recovered), model: &Model) {
    let (mut wal, reader, recovered) = opened;
    check_damaged(model, &recovered, &reader);
    wal.append(&repairs_of(model, &recovered)).unwrap();
    for (id, group) in &model.groups {
        settle(&mut wal, *id, group, &recovered.groups[id]);
    }
    for (id, group) in &model.groups {
        let read = reader.read(*id, group.purged.0.next(), Index(u64::MAX), usize::MAX).unwrap();
        assert_eq!(read, group.entries, "group {id} after its repair");
    }
    drop(wal);
    fs.crash(&mut |_| false);
    let (.., recovered, found) = reopen(fs);
    assert!(found == *model && recovered.groups.values().all(|group| group.damaged.is_empty()));
}

/// What a leader does for a log in doubt: sends a snapshot where entries are gone, and then all entries.
fn settle(wal: &mut Wal, id: GroupId, group: &ModelGroup, found: &RecoveredGroup) {
    let hard_state = Some(group.hard_state);
    if !found.hard_state.in_doubt {
        if found.hard_state != group.hard_state {
            wal.append(&[write(id, hard_state, vec![])]).unwrap();
        }
        return;
    }
    let to = group.purged;
    let is_behind = found.purged != to || found.base != group.base;
    let install = is_behind.then(|| Install { to, base: group.base.clone(), state: group.state });
    let entries = group.entries.clone();
    wal.append(&[GroupWrite { install, ..write(id, hard_state, entries) }]).unwrap();
}

/// Removes the files of what was freed, as a node does beside its log.
/// How many segments there are.
fn segments(fs: &MemFs) -> usize {
    fs.files().iter().filter(|(path, _)| path.extension().is_some()).count()
}

fn remove_freed(wal: &mut Wal) -> Result<(), Error> {
    wal.take_freed().map(Freed::remove).transpose().map(drop)
}
