//! A node's disk: what is written, what is durable, and what a crash leaves of the difference.
//!
//! The contract is POSIX's at its weakest. Written bytes and a changed length are durable once the file is synced;
//! created, renamed and removed names, and new directories, once their directory is. A [`Disk::crash`] decides by the
//! run's seed what of the rest survives, in one of four ways ([`Loss`]): nothing, a prefix in time with the last write
//! torn, any subset of 512-byte sectors and any subset of the changes of names, or all, where only the process died: then
//! the next one reads what is no more durable than before, and a later power cut may still take it. A sector is never
//! torn in itself: it holds what it held after some number of the writes to it.
//!
//! A node reaches its disk through a mount ([`fs::DiskFs`]), one for each boot, that its power switch can cut.
//! Every call is recorded in the trace with its bytes. With the power on a call can fail, once, and a disk can be full
//! (`health`); synced bytes can change, a write can land elsewhere, all can be gone (`damage`). That a disk hangs or
//! is slow is its lanes' to show (see [`crate::cluster::executor`]). [`platter`] is what a power cut would leave.

pub mod fs;
pub mod platter;
pub mod damage;
mod health;
mod inode;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use health::Health;
use inode::Inode;

use crate::cluster::faults::ledger::SharedLedger;
use crate::cluster::world::host;
use crate::trace::SharedTrace;

/// What a disk writes as a whole or not at all.
pub const SECTOR_BYTES: u64 = 512;

/// What a crash takes of that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// All of it.
    Whole,
    /// Nothing: the machine lived on and only the process died. What was not synced still is not.
    Nothing,
    /// All after some instant; of the write at that instant some sectors are there.
    Tail,
    /// Any sectors and any changes of names, in any order.
    Sectors,
}

impl Loss {
    /// A kind of loss, drawn.
    pub fn draw(rng: &mut fastrand::Rng) -> Loss {
        [Loss::Whole, Loss::Nothing, Loss::Nothing, Loss::Tail, Loss::Sectors][rng.usize(..5)]
    }
}

/// A node's disk. It outlives the node's crashes.
#[derive(Debug)]
pub struct Disk {
    id: u64,
    node: String,
    trace: SharedTrace,
    ledger: SharedLedger,
    state: Mutex<State>,
}

/// A disk, shared by its mounts and the world.
pub type SharedDisk = Arc<Disk>;

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<InodeId, Inode>,
    inode_next: u64,
    /// Names as a running node sees them.
    names: BTreeMap<PathBuf, Entry>,
    /// Names as the platter has them.
    durable: BTreeMap<PathBuf, Entry>,
    /// What happened to names since their directory was synced, in order.
    pending: Vec<Change>,
    /// Locked paths.
    locks: BTreeSet<InodeId>,
    /// Counts crashes: a lock guard of an earlier boot releases nothing.
    epoch: u64,
    health: Health,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InodeId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Directory,
    File(InodeId),
}

/// One change of the names in one directory.
#[derive(Clone, Debug)]
struct Change {
    directory: PathBuf,
    kind: ChangeKind,
}

#[derive(Clone, Debug)]
enum ChangeKind {
    Set { path: PathBuf, entry: Entry },
    Rename { from: PathBuf, to: PathBuf, entry: Entry },
    Remove { path: PathBuf },
}

impl Disk {
    /// An empty disk of node `id` on which `directory` is there, durably.
    pub fn new(id: u64, directory: &Path, trace: SharedTrace, ledger: SharedLedger) -> SharedDisk {
        let state = Mutex::new(State::empty(directory));
        Arc::new(Disk { id, node: host(id), trace, ledger, state })
    }

    /// What the platter holds after a crash becomes what there is, unless only the process died; all locks are released.
    /// The node's power must be cut before. Returns how many un-synced writes were pending.
    pub fn crash(&self, loss: Loss, rng: &mut fastrand::Rng) -> usize {
        let mut state = self.lock();
        state.release();
        if loss == Loss::Nothing {
            self.record_all(&state, loss);
            return state.inodes.values().map(Inode::pending_len).sum();
        }
        let pending = std::mem::take(&mut state.pending);
        for change in survivors(pending, loss, rng) {
            change.kind.apply(&mut state.durable);
        }
        // A file beneath a directory whose name is lost is lost with it.
        let known = state.durable.clone();
        state.durable.retain(|path, _| path.ancestors().all(|above| known.contains_key(above)));
        state.names = state.durable.clone();
        let linked: BTreeSet<InodeId> = state.names.values().filter_map(|entry| entry.inode()).collect();
        state.inodes.retain(|id, _| linked.contains(id));
        let mut writes = 0;
        for inode in state.inodes.values_mut() {
            writes += inode.pending_len();
            inode.crash(loss, rng);
        }
        self.record_all(&state, loss);
        writes
    }

    /// The bytes of a file as a running node reads them, durable or not.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        let id = state.file(path).ok()?;
        Some(state.inodes[&id].bytes().to_vec())
    }

    /// The node's process ended and the machine did not: its locks are free.
    pub fn process_ended(&self) {
        self.lock().release();
    }

    /// Whether every segment of the log in `directory`, and its name, is as durable as it is written.
    pub fn is_settled(&self, directory: &Path) -> bool {
        let state = self.lock();
        let is_segment = |path: &Path| {
            path.parent() == Some(directory) && path.extension().is_some_and(|extension| extension == "wal")
        };
        let renamed = state.pending.iter().any(|change| change.kind.paths().any(is_segment));
        let mut segments = state.names.iter().filter(|(path, _)| is_segment(path));
        !renamed
            && segments.all(|(_, entry)| {
                let inode = entry.inode().and_then(|id| state.inodes.get(&id));
                inode.is_none_or(Inode::is_settled)
            })
    }

    /// A digest of everything on the disk enters the trace, so that two runs that differ in what a crash left differ
    /// from there on.
    fn record_all(&self, state: &State, loss: Loss) {
        for (path, entry) in &state.names {
            let bytes = match entry {
                Entry::Directory => &[][..],
                Entry::File(id) => state.inodes[id].bytes(),
            };
            self.trace.record(&self.node, "left", format_args!("{loss:?} {}", path.display()), bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn empty(directory: &Path) -> State {
        let mut state = State::default();
        for path in directory.ancestors() {
            state.names.insert(path.to_owned(), Entry::Directory);
        }
        state.durable = state.names.clone();
        state
    }

    /// Nobody holds a lock any more.
    fn release(&mut self) {
        self.epoch += 1;
        self.locks.clear();
    }

    fn directory_of<'p>(&self, path: &'p Path) -> io::Result<&'p Path> {
        let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        match self.names.get(directory) {
            Some(Entry::Directory) => Ok(directory),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(not_found(directory)),
        }
    }

    fn file(&self, path: &Path) -> io::Result<InodeId> {
        match self.names.get(path) {
            Some(Entry::File(id)) => Ok(*id),
            Some(Entry::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(not_found(path)),
        }
    }

    fn create(&mut self, path: &Path) -> io::Result<InodeId> {
        let directory = self.directory_of(path)?.to_owned();
        if self.names.contains_key(path) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, path.display().to_string()));
        }
        self.room_for(1)?;
        let id = InodeId(self.inode_next);
        self.inode_next += 1;
        self.inodes.insert(id, Inode::default());
        self.change(directory, ChangeKind::Set { path: path.to_owned(), entry: Entry::File(id) });
        Ok(id)
    }

    fn change(&mut self, directory: PathBuf, kind: ChangeKind) {
        kind.apply(&mut self.names);
        self.pending.push(Change { directory, kind });
    }

    fn sync_directory(&mut self, directory: &Path) -> io::Result<()> {
        if self.names.get(directory) != Some(&Entry::Directory) {
            return Err(not_found(directory));
        }
        let (synced, rest) =
            std::mem::take(&mut self.pending).into_iter().partition(|change| change.directory == directory);
        self.pending = rest;
        let synced: Vec<Change> = synced;
        synced.into_iter().for_each(|change| change.kind.apply(&mut self.durable));
        Ok(())
    }
}

impl Entry {
    fn inode(self) -> Option<InodeId> {
        match self {
            Entry::Directory => None,
            Entry::File(id) => Some(id),
        }
    }
}

impl ChangeKind {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let (first, second) = match self {
            ChangeKind::Set { path, .. } | ChangeKind::Remove { path } => (path, None),
            ChangeKind::Rename { from, to, .. } => (from, Some(to)),
        };
        [Some(first), second].into_iter().flatten().map(PathBuf::as_path)
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            ChangeKind::Set { path, entry } => drop(names.insert(path.clone(), *entry)),
            ChangeKind::Rename { from, to, entry } => {
                // `from` may be another file by now, or none, where only a part of the changes survived.
                if names.get(from) == Some(entry) {
                    names.remove(from);
                }
                names.insert(to.clone(), *entry);
            }
            ChangeKind::Remove { path } => drop(names.remove(path)),
        }
    }
}

/// The changes of names that a crash leaves.
fn survivors(pending: Vec<Change>, loss: Loss, rng: &mut fastrand::Rng) -> Vec<Change> {
    match loss {
        Loss::Whole => Vec::new(),
        Loss::Nothing => unreachable!("no change is lost"),
        Loss::Tail => {
            let kept = rng.usize(..=pending.len());
            pending.into_iter().take(kept).collect()
        }
        Loss::Sectors => pending.into_iter().filter(|_| rng.bool()).collect(),
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}
