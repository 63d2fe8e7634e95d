//! A disk in memory that forgets what was not synced and fails on purpose.
//!
//! It keeps two images: what a process sees, and what is durable. [`MemFs::crash`] asks for each un-synced sector,
//! length and name whether it had reached the disk by itself, so that a test can go through all subsets and a
//! simulation can draw one. Handles from before a crash are dead: a process that is gone cannot write any more.
//!
//! A sync that is made to fail does the worst that real kernels do: the written bytes stay visible, count as clean,
//! and are on the disk only by luck, that is, never (H15). Directories are durable at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{File, Fs, SharedFs};

const SECTOR_BYTES: usize = 512;

/// Something a crash may lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// A name that was made, moved or removed.
    Name(PathBuf),
    /// A new length of the file that was created under this name.
    Length(PathBuf),
    /// A sector of the file that was created under this name.
    Sector(PathBuf, usize),
}

/// What goes wrong, at the call with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails with an I/O error, once. A write may have been done in part; a sync loses what it should sync.
    Error,
    /// The call fails as on a full disk, once, and nothing is done.
    Full,
    /// The call is done, but nobody learns of it: it and all calls from here on fail, as in a process that dies.
    Stop,
}

/// The file system. Clones share it; [`MemFs::fork`] makes an independent copy.
#[derive(Clone, Default)]
pub struct MemFs(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    life: u64,
    calls: u64,
    fault: Option<(u64, Fault)>,
    stopped: bool,
    capacity: Option<usize>,
    nodes: BTreeMap<u64, Node>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    changes: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    next_node: u64,
    trace: Vec<String>,
}

#[derive(Clone, Default)]
struct Node {
    created_as: PathBuf,
    bytes: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// A change of names. It is about one file: where an earlier change was lost, a later one never moves another file
/// that still has the old name.
#[derive(Clone)]
struct NameChange {
    node: u64,
    from: Option<PathBuf>,
    to: Option<PathBuf>,
}

impl NameChange {
    fn path(&self) -> &Path {
        self.to.as_deref().or(self.from.as_deref()).expect("a change has a name")
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        if let Some(from) = self.from.as_ref().filter(|from| names.get(*from) == Some(&self.node)) {
            names.remove(from);
        }
        if let Some(to) = &self.to {
            names.insert(to.clone(), self.node);
        }
    }
}

impl Node {
    fn sector(&self, sector: usize) -> Range<usize> {
        let start = sector * SECTOR_BYTES;
        start.min(self.bytes.len())..(start + SECTOR_BYTES).min(self.bytes.len())
    }

    fn persist(&mut self, sector: usize) {
        let range = self.sector(sector);
        let end = range.end.min(self.durable.len());
        if range.start < end {
            self.durable[range.start..end].copy_from_slice(&self.bytes[range.start..end]);
        }
    }

    fn sync(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.persist(sector);
        }
    }

    fn crash(&mut self, keep: &mut dyn FnMut(Unsynced) -> bool) {
        let name = self.created_as.clone();
        if self.durable.len() != self.bytes.len() && keep(Unsynced::Length(name.clone())) {
            self.durable.resize(self.bytes.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            if keep(Unsynced::Sector(name.clone(), sector)) {
                self.persist(sector);
            }
        }
        self.bytes = self.durable.clone();
    }
}

impl MemFs {
    /// An empty disk.
    pub fn new() -> MemFs {
        MemFs::default()
    }

    /// The seam.
    pub fn shared(&self) -> SharedFs {
        Arc::new(self.clone())
    }

    /// An independent copy; open handles belong to the original, and the trace begins anew for both.
    pub fn fork(&self) -> MemFs {
        self.state().trace.clear();
        MemFs(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Kills whoever uses the disk and forgets what was not synced, except what `keep` says had got through.
    pub fn crash(&self, keep: &mut dyn FnMut(Unsynced) -> bool) {
        let mut state = self.state();
        for change in std::mem::take(&mut state.changes) {
            if keep(Unsynced::Name(change.path().to_path_buf())) {
                change.apply(&mut state.durable_names);
            }
        }
        state.names = state.durable_names.clone();
        let named: BTreeSet<u64> = state.names.values().copied().collect();
        state.nodes.retain(|number, _| named.contains(number));
        for node in state.nodes.values_mut() {
            node.crash(keep);
        }
        state.new_life();
    }

    /// Kills whoever uses the disk; the machine lives on, so nothing is forgotten, and nothing more is durable.
    pub fn kill(&self) {
        self.state().new_life();
    }

    /// Makes the call with this number, counted from [`MemFs::calls`], go wrong.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.state().fault = Some((call, fault));
    }

    /// Limits the bytes of all files: writes beyond fail as on a full disk.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.state().capacity = bytes;
    }

    /// How many calls were made so far.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The writing calls since the last time this was asked, for golden traces.
    pub fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut self.state().trace)
    }

    /// A file's bytes as a process sees them.
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.names.get(path).map(|node| state.nodes[node].bytes.clone()).unwrap_or_default()
    }

    /// Replaces a file's bytes, durable ones included: damage.
    pub fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let Some(number) = state.names.get(path).copied() else { return };
        let node = state.nodes.entry(number).or_default();
        node.durable.clone_from(&bytes);
        node.bytes = bytes;
        node.dirty.clear();
    }

    /// Flips bits of one byte.
    pub fn flip(&self, path: &Path, offset: usize, bits: u8) {
        let mut state = self.state();
        let number = state.names[path];
        let node = state.nodes.entry(number).or_default();
        node.bytes[offset] ^= bits;
        node.durable[offset] ^= bits;
    }

    /// Removes a file, durably: damage.
    pub fn lose(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// The files there are, with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.state();
        state.names.iter().map(|(path, node)| (path.clone(), state.nodes[node].bytes.len())).collect()
    }

    /// The sectors of a file that a crash may lose.
    pub fn unsynced(&self, path: &Path) -> Vec<usize> {
        let state = self.state();
        state.names.get(path).map_or(Vec::new(), |node| state.nodes[node].dirty.iter().copied().collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, node: u64, life: u64) -> Box<dyn File> {
        Box::new(MemFile { fs: self.clone(), node, life })
    }
}

impl State {
    fn new_life(&mut self) {
        self.life += 1;
        self.locks.clear();
        self.fault = None;
        self.stopped = false;
    }

    /// Counts a call; what goes wrong with it, if anything does.
    fn call(
        &mut self,
        life: Option<u64>,
        what: impl FnOnce() -> Option<String>,
    ) -> io::Result<Option<Fault>> {
        if self.stopped || life.is_some_and(|life| life != self.life) {
            return Err(io::Error::other("the process is gone"));
        }
        if let Some(what) = what() {
            self.trace.push(what);
        }
        let number = self.calls;
        self.calls += 1;
        let fault = self.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        self.stopped = fault == Some(Fault::Stop);
        Ok(fault)
    }

    /// For calls that change nothing, or nothing if they fail.
    fn simple_call(&mut self, life: Option<u64>, what: impl FnOnce() -> Option<String>) -> io::Result<()> {
        match self.call(life, what)? {
            None => Ok(()),
            Some(_) => Err(injected()),
        }
    }

    /// For calls that change a name: a stop comes after the change.
    fn name_call(&mut self, change: NameChange, what: String) -> io::Result<()> {
        match self.call(None, || Some(what))? {
            Some(Fault::Error) => return Err(injected()),
            fault => {
                change.apply(&mut self.names);
                self.changes.push(change);
                if fault.is_some() {
                    return Err(injected());
                }
            }
        }
        Ok(())
    }

    /// The bytes of all files that have a name.
    fn used(&self) -> usize {
        self.names.values().map(|node| self.nodes[node].bytes.len()).sum()
    }

    fn node(&mut self, node: u64) -> io::Result<&mut Node> {
        self.nodes.get_mut(&node).ok_or_else(|| io::Error::other("the file is gone"))
    }

    fn write(&mut self, node: u64, offset: usize, buf: &[u8]) -> io::Result<()> {
        let used = self.used();
        let capacity = self.capacity;
        let node = self.node(node)?;
        let end = offset + buf.len();
        let grows = end.saturating_sub(node.bytes.len());
        if grows > 0 && capacity.is_some_and(|capacity| used + grows > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        node.bytes.resize(node.bytes.len().max(end), 0);
        node.bytes[offset..end].copy_from_slice(buf);
        node.dirty.extend(offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
        Ok(())
    }
}

fn injected() -> io::Error {
    io::Error::other("injected")
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Fs for MemFs {
    /// Every directory is there, and durable.
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        self.state().simple_call(None, || None)?;
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.simple_call(None, || None)?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| name(path)).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.simple_call(None, || None)?;
        let node = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(node, state.life))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = state.next_node;
        state.next_node += 1;
        state.nodes.insert(number, Node { created_as: path.to_path_buf(), ..Node::default() });
        let change = NameChange { node: number, from: None, to: Some(path.to_path_buf()) };
        state.name_call(change, format!("create {}", name(path)))?;
        Ok(self.file(number, state.life))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let what = format!("rename {} to {}", name(from), name(to));
        let mut state = self.state();
        let node = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let change = NameChange { node, from: Some(from.to_path_buf()), to: Some(to.to_path_buf()) };
        state.name_call(change, what)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let Some(node) = state.names.get(path).copied() else {
            state.simple_call(None, || None)?;
            return Err(io::ErrorKind::NotFound.into());
        };
        let change = NameChange { node, from: Some(path.to_path_buf()), to: None };
        state.name_call(change, format!("remove {}", name(path)))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let mut paths =
            state.names.keys().map(PathBuf::as_path).chain(state.changes.iter().map(NameChange::path));
        if !paths.any(|path| path.parent() == Some(dir)) {
            // One above those that are played with: durable from the beginning.
            return Ok(());
        }
        let fault = state.call(None, || Some("sync directory".to_owned()))?;
        if fault == Some(Fault::Error) {
            return Err(injected());
        }
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut state.changes)
            .into_iter()
            .partition(|change| change.path().parent() == Some(dir));
        now.iter().for_each(|change| change.apply(&mut state.durable_names));
        state.changes = later;
        if fault.is_some() { Err(injected()) } else { Ok(()) }
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let state = self.state();
        let used = state.used();
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used) as u64))
    }

    fn allocated_bytes(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        let node = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.nodes[node].bytes.len() as u64)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.state();
        state.simple_call(None, || None)?;
        if !state.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock { fs: self.clone(), path: path.to_path_buf(), life: state.life }))
    }
}

struct MemLock {
    fs: MemFs,
    path: PathBuf,
    life: u64,
}

impl Drop for MemLock {
    fn drop(&mut self) {
        let mut state = self.fs.state();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

struct MemFile {
    fs: MemFs,
    node: u64,
    life: u64,
}

fn to_usize(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl File for MemFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut state = self.fs.state();
        state.simple_call(Some(self.life), || None)?;
        let start = to_usize(offset)?;
        let node = state.node(self.node)?;
        let from = node.bytes.get(start..start + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(from);
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let mut state = self.fs.state();
        let what = format!("write {} at {offset}", buf.len());
        let fault = state.call(Some(self.life), || Some(what))?;
        if fault == Some(Fault::Full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let half = buf.len() / 2 / SECTOR_BYTES * SECTOR_BYTES;
        let done = if fault == Some(Fault::Error) { &buf[..half] } else { buf };
        state.write(self.node, to_usize(offset)?, done)?;
        if fault.is_some() { Err(injected()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.fs.state();
        let fault = state.call(Some(self.life), || Some("sync".to_owned()))?;
        let node = state.node(self.node)?;
        match fault {
            None => node.sync(),
            Some(Fault::Error | Fault::Full) => node.dirty.clear(),
            // Whether it had got so far is for the crash to decide: the sectors stay un-synced.
            Some(Fault::Stop) => {}
        }
        if fault.is_some() { Err(injected()) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.fs.state();
        state.simple_call(Some(self.life), || None)?;
        Ok(state.node(self.node)?.bytes.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.fs.state();
        let fault = state.call(Some(self.life), || Some(format!("set length {len}")))?;
        if fault == Some(Fault::Error) {
            return Err(injected());
        }
        let len = to_usize(len)?;
        let node = state.node(self.node)?;
        let start = node.bytes.len().min(len) / SECTOR_BYTES;
        node.bytes.resize(len, 0);
        node.dirty.extend(start..len.div_ceil(SECTOR_BYTES));
        if fault.is_some() { Err(injected()) } else { Ok(()) }
    }
}
