//! The last resort: a quorum is lost for good, and one survivor's data becomes a new cluster of one.
//!
//! All that the survivor's log holds is taken for committed. That is a guess, and may be wrong both ways: what only the
//! lost nodes had is gone although it was acknowledged, and what was never acknowledged may become true. So the result is
//! *another cluster*: with an id, an incarnation and a term of its own, with indexes and revisions far beyond what the old
//! one can have given out, and without sessions; nodes of the old one are refused, and the ids of its members are retired.
//!
//! # What a crash leaves
//!
//! ```text
//! DIR/identity                       1  the old one, until step 3
//! DIR/wal  DIR/state.redb               never touched
//! DIR/recovered-1/state.redb         2  a copy, with the rest of the old log applied; durable
//! DIR/recovered-1/wal/...            2  a new log that begins where that ends; durable
//! DIR/identity.before-recovered-1    3  a copy of the old identity
//! DIR/identity                       3  the new one, by one rename: it names recovered-1
//! ```
//!
//! Before the rename of step 3 the directory is what it was, and what lies in `recovered-1` is nothing that anybody looks
//! at; the next attempt begins it anew. After it the directory is the new cluster's, whole. No file of before is changed or
//! removed, and no directory is renamed: that would not be one step, nor possible where the directory is a mount point.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Disk, Place, unreadable};
use crate::config::Limits;
use crate::fsm::{self, Input, Store, offline as states};
use crate::node::identity::{self, Facts};
use crate::node::{outdated, state_files};
use crate::raft::{HardState, Membership};
use crate::server::{Exit, ExitCode, Seams, continues, log_bytes_max, store_exit, term_at};
use crate::types::{ClusterId, GroupId, Incarnation, Index, NodeId, Owner, Revision, Term};
use crate::wal::fs::make_dirs;
use crate::wal::{self, GroupWrite, Install, Reader, RecoveredGroup, Wal, offline};

/// How far the revision jumps at least.
pub const REVISION_JUMP_MIN: u64 = 1_000_000_000;

/// How far it may jump at most: revisions must not come to an end.
pub const REVISION_JUMP_MAX: u64 = 1 << 60;

/// Where a new log may begin at most.
const INDEX_MAX: u64 = 1 << 62;

/// How much of the log is read at a time.
const READ_BYTES: usize = 4 << 20;

/// How long the new log's first file is.
const FIRST_SEGMENT_BYTES: u64 = 1 << 20;

/// What a survivor has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its data directory.
    pub dir: PathBuf,
    /// Whose it is.
    pub owner: Owner,
    /// The term that it was in.
    pub term: Term,
    /// The last entry of its log.
    pub last: (Index, Term),
    /// How far it knew its log to be committed. More may have been.
    pub committed: Index,
    /// How far its state file is.
    pub folded: Index,
    /// All members, as of its log's end.
    pub members: Vec<NodeId>,
}

/// Reads what a survivor has, and changes nothing.
///
/// # Errors
/// If the directory cannot be read, is damaged, or a node runs on it.
pub fn survey(disk: &Disk, dir: &Path) -> Result<Survivor, Exit> {
    let opened = Opened::open(disk, dir)?;
    let raw = opened.state(disk)?;
    let found = raw.map(|raw| states::look(raw, opened.facts.owner)).transpose();
    let found = found.map_err(|error| store_exit(&opened.state_path(), &error))?;
    Ok(opened.survivor(dir, found.map_or(Index(0), |found| found.folded.0)))
}

/// The survivor that has the most: of those whose last entry is of the highest term the one with the longest log. The
/// first of several equal ones.
pub fn best(survivors: &[Survivor]) -> Option<&Survivor> {
    let rank = |survivor: &Survivor| (survivor.last.1, survivor.last.0);
    survivors.iter().rev().max_by_key(|survivor| rank(survivor))
}

/// What the new cluster is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its only member.
    pub id: NodeId,
    /// That one's peer address.
    pub peer: String,
    /// How far the revision jumps.
    pub revision_jump: u64,
}

/// What the new cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCluster {
    /// Its id and that of its member.
    pub owner: Owner,
    /// Where its log begins.
    pub begins: (Index, Term),
    /// Its revision.
    pub revision: Revision,
    /// Its keys.
    pub keys: u64,
    /// Ids that no member of it can have.
    pub retired: BTreeSet<NodeId>,
    /// Where its files are.
    pub home: PathBuf,
}

/// Makes a new cluster of a survivor's data. `tell` hears of each step. Blocks on the disk.
///
/// # Errors
/// If the wish cannot be fulfilled, the data is damaged, or the disk fails: the directory is as it was, unless the error
/// is about the identity file, at the very end.
pub fn recover(
    disk: &Disk,
    seams: &Seams,
    dir: &Path,
    wish: &Wish,
    tell: &mut dyn FnMut(&str),
) -> Result<NewCluster, Exit> {
    let old = Opened::open(disk, dir)?;
    let membership = new_membership(&old.group, old.facts.owner.node, wish, seams.supports)?;
    // Revisions never run ahead of indexes (an entry has one at most): so indexes jump with them.
    let begins =
        (Index(old.group.last.0.saturating_add(wish.revision_jump)), old.group.hard_state.term.next());
    if begins.0.0 > INDEX_MAX {
        let text = format!("--revision-jump {}: indexes would end; give less", wish.revision_jump);
        return Err(Exit::new(ExitCode::Usage, text));
    }
    let random = || seams.clock.random().max(1);
    let (cluster, incarnation) = (ClusterId(random()), Incarnation(random()));
    let owner = Owner { cluster, node: wish.id, incarnation };
    let home = old.facts.next_home(dir);
    tell("verifying the state file");
    old.verify(disk)?;
    tell("copying the state");
    clear(seams, &home)?;
    let files = crate::server::state_files(&Limits::default(), seams, home.clone(), owner);
    let store = old.copy(disk, &files)?;
    tell(&format!("applying the log from {} to {}", store.applied().0.next(), old.group.last));
    old.replay(&store).map_err(|failed| failed.exit(&files.path(0)))?;
    let revision = store
        .begin_anew(begins, membership.encode(), wish.revision_jump)
        .map_err(|error| store_exit(&files.path(0), &error))?;
    let keys = store.keys().map_err(|error| store_exit(&files.path(0), &error))?;
    // Closes the file.
    drop(store);
    tell("beginning the log");
    begin_log(seams, &home, owner, begins, &membership)?;
    tell("switching over");
    identity::recover(&*seams.fs, dir, owner)?;
    Ok(NewCluster { owner, begins, revision, keys, retired: membership.retired, home })
}

/// A survivor's directory, read. Held as long as this is: no node starts on it.
struct Opened {
    facts: Facts,
    place: Place,
    reader: Reader,
    group: RecoveredGroup,
    _no_node_runs: Box<dyn Send + Sync>,
}

impl Opened {
    fn open(disk: &Disk, dir: &Path) -> Result<Opened, Exit> {
        let mut place = Place::find(disk, dir)?;
        let lock = offline::lock(&*disk.fs, &place.wal)?;
        let facts = std::mem::replace(&mut place.identity, Ok(None))?;
        let Some(facts) = facts.filter(|facts| facts.is_ready) else {
            let text = match facts.and_then(|facts| facts.replaces) {
                Some(former) => format!(
                    "{}: node {} gave up its log here, and waits to be let in as a new member: it has nothing to save. What \
                     it had lies in {}, and cannot be read as a log",
                    dir.display(),
                    former.node,
                    former.home(dir).display()
                ),
                None => {
                    format!(
                        "{}: no node has ever started here completely: it has nothing to save",
                        dir.display()
                    )
                }
            };
            return Err(Exit::new(ExitCode::Usage, text));
        };
        let found = offline::read(&*disk.fs, &place.wal, facts.owner, &mut |_| {})?;
        let group = found.and_then(|(reader, mut recovered)| {
            recovered.groups.remove(&GroupId::FIRST).map(|group| (reader, group))
        });
        let (reader, group) = group.ok_or_else(|| damaged(&place.wal, "there is no log"))?;
        Ok(Opened { facts, place, reader, group, _no_node_runs: lock })
    }

    fn state_path(&self) -> PathBuf {
        self.place.state.join(state_files::name(self.group.state))
    }

    /// The state file that counts; `None` if there is none yet and the log holds everything.
    fn state(&self, disk: &Disk) -> Result<Option<fsm::RawFile>, Exit> {
        let path = self.state_path();
        if self.place.numbers.contains(&self.group.state) {
            return (disk.state_file)(&path).map(Some).map_err(|error| store_exit(&path, &error));
        }
        match self.group.purged.0 {
            Index(0) => Ok(None),
            _ => Err(damaged(&path, "it is missing, and the log does not hold all that was in it")),
        }
    }

    /// Verifies that the state file is sound, and that the log has all that comes after it.
    fn verify(&self, disk: &Disk) -> Result<(), Exit> {
        let path = self.state_path();
        let found = self.state(disk)?.map(|raw| states::examine(raw, self.facts.owner)).transpose();
        let folded = match found.map_err(|error| store_exit(&path, &error))? {
            Some(found) => found.folded,
            None => (Index(0), Term(0)),
        };
        continues(&self.group, folded).map_err(|what| damaged(&path, &what))?;
        match self.group.damaged.iter().find(|entry| entry.index > folded.0) {
            // A node would get it from the others, but they are gone.
            Some(lost) => {
                let what = format!("entry {} is damaged, and nobody is left to repair it", lost.index);
                Err(damaged(&self.place.wal, &what))
            }
            None => Ok(()),
        }
    }

    fn survivor(&self, dir: &Path, folded: Index) -> Survivor {
        let last = self.group.last;
        Survivor {
            dir: dir.to_path_buf(),
            owner: self.facts.owner,
            term: self.group.hard_state.term,
            last: (last, term_at(&self.group, last)),
            committed: self.group.hard_state.commit.max(folded),
            folded,
            members: effective(&self.group).members.keys().copied().collect(),
        }
    }

    /// Copies the state into the first file of another directory.
    fn copy(&self, disk: &Disk, files: &state_files::StateFiles) -> Result<Store, Exit> {
        let path = files.path(0);
        let Some(from) = self.state(disk)? else {
            return files.open(0).map_err(|error| store_exit(&path, &error));
        };
        let into = (files.open)(&path).map_err(|error| store_exit(&path, &error))?;
        states::copy(from, self.facts.owner, into, files.options.clone())
            .map_err(|error| store_exit(&path, &error))
    }

    /// Applies all of the log that the state does not have.
    fn replay(&self, store: &Store) -> Result<(), Failed> {
        let last = self.group.last;
        loop {
            let next = store.applied().0.next();
            if next > last {
                return Ok(());
            }
            let entries = self.reader.read(GroupId::FIRST, next, last, READ_BYTES).map_err(Failed::Log)?;
            if entries.first().is_none_or(|entry| entry.index != next) {
                return Err(Failed::Gap(next));
            }
            for entries in entries.chunks(256) {
                let inputs: Vec<Input> = entries.iter().map(Input::from).collect();
                store.apply(&inputs).map_err(Failed::Store)?;
                if store.fold_due() {
                    store.fold().map_err(Failed::Store)?;
                }
            }
        }
    }
}

/// Why the rest of a log could not be applied.
enum Failed {
    Log(wal::Error),
    Gap(Index),
    Store(fsm::Error),
}

impl Failed {
    fn exit(self, path: &Path) -> Exit {
        match self {
            Failed::Log(error) => error.into(),
            Failed::Gap(index) => damaged(path, &format!("the log does not give entry {index}")),
            Failed::Store(error) => store_exit(path, &error),
        }
    }
}

fn damaged(path: &Path, what: &str) -> Exit {
    Exit::new(ExitCode::Damaged, format!("{}: {what}", path.display()))
}

/// The configuration in force at the end of a log.
fn effective(group: &RecoveredGroup) -> &Membership {
    group.memberships.last().map_or(&group.base, |(_, membership)| membership)
}

/// The new cluster's: one voter; all whom the old one ever knew are retired.
fn new_membership(
    group: &RecoveredGroup,
    own: NodeId,
    wish: &Wish,
    supports: u32,
) -> Result<Membership, Exit> {
    let usage = |text: String| Err(Exit::new(ExitCode::Usage, text));
    let old = effective(group);
    if old.members.is_empty() {
        return usage("this node was never told who its cluster is: it has nothing to save".to_owned());
    }
    if let Some(fatal) = outdated(old, supports) {
        return Err(fatal.into());
    }
    if old.retired.contains(&wish.id) {
        return usage(format!("--id {}: that id was a removed member's; choose another", wish.id));
    }
    if wish.id != own && old.members.contains_key(&wish.id) {
        return usage(format!(
            "--id {}: that is another member of the old cluster; use --id {own}, or an id that was never used",
            wish.id
        ));
    }
    let known = group.memberships.iter().map(|(_, membership)| membership).chain([&group.base]);
    let ids = known.flat_map(|membership| membership.members.keys().chain(&membership.retired));
    let mut retired: BTreeSet<NodeId> = ids.copied().chain([own]).collect();
    retired.remove(&wish.id);
    let first = Membership::bootstrap([(wish.id, wish.peer.clone())]);
    Ok(Membership { version: old.version, lease_ms: old.lease_ms, retired, ..first })
}

/// Makes the new directory, and empties it of what an earlier attempt left.
fn clear(seams: &Seams, home: &Path) -> Result<(), Exit> {
    let (fs, log) = (&*seams.fs, home.join("wal"));
    make_dirs(fs, &log).map_err(|error| unreadable(&log, &error))?;
    for dir in [log.as_path(), home] {
        for name in fs.list(dir).map_err(|error| unreadable(dir, &error))? {
            let path = dir.join(&name);
            let is_ours = name.ends_with(".wal") || ["lock", "spare", "state.redb"].contains(&name.as_str());
            if !is_ours {
                let text = format!("{}: not a file of an earlier attempt: move it away", path.display());
                return Err(Exit::new(ExitCode::Usage, text));
            }
            fs.remove(&path).map_err(|error| unreadable(&path, &error))?;
        }
        fs.sync_dir(dir).map_err(|error| unreadable(dir, &error))?;
    }
    Ok(())
}

/// Makes a log that begins where the state ends.
fn begin_log(
    seams: &Seams,
    home: &Path,
    owner: Owner,
    begins: (Index, Term),
    membership: &Membership,
) -> Result<(), Exit> {
    let limits = Limits::default();
    let options = wal::Options {
        owner,
        // Its first file holds nothing more; the node's own setting decides about the next.
        segment_bytes: FIRST_SEGMENT_BYTES,
        bytes_max: log_bytes_max(&limits),
        tail_bytes_max: 0,
    };
    let bootstrap = BTreeMap::from([(GroupId::FIRST, membership.clone())]);
    let (mut log, _, _) = Wal::open(seams.fs.clone(), &home.join("wal"), options, &bootstrap)?;
    // Nobody has voted in this term, in a cluster that is just beginning.
    let hard_state = HardState { term: begins.1, vote: None, commit: begins.0, in_doubt: false };
    let install = Install { to: begins, base: membership.clone(), state: 0 };
    log.append(&[GroupWrite {
        group: GroupId::FIRST,
        hard_state: Some(hard_state),
        install: Some(install),
        entries: Vec::new(),
        repairs: Vec::new(),
    }])?;
    Ok(())
}
