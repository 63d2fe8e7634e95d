//! A disk that fails with the power on: one call that fails, and a disk without room, which may say that it has some.
//!
//! A failed call does nothing, and is not repeated by the disk. A failed sync is worse (H15): what waited for it is still
//! read as if it were there, no later sync brings it to the platter, and the next crash takes it.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::inode::Inode;
use super::{Disk, InodeId, State};
use crate::cluster::entropy;
use crate::cluster::faults::kind::Kind;

/// The calls that may fail.
const FALLIBLE: [&str; 8] =
    ["read", "write", "sync", "sync_dir", "create", "create_dir", "rename", "set_len"];

/// What a disk without a limit says is free on it.
const ENDLESS_BYTES: u64 = 1 << 50;

/// What is wrong with a disk.
#[derive(Debug, Default)]
pub struct Health {
    /// Calls until one fails, if one is set to.
    fails_in: Option<u64>,
    /// Reads until one fails, if one is set to.
    fails_in_reads: Option<u64>,
    /// How many bytes fit on it, if that is limited.
    capacity: Option<usize>,
    /// How much more it says is free than fits on it: it knows of no quota, or others are about to take that much.
    unsaid: usize,
    /// Whether a call failed, for whatever reason, since the node started.
    has_failed: bool,
    /// When a call failed for the first time since the node started.
    broken_at: Option<Duration>,
}

impl Health {
    /// Whether this call is the one that fails.
    pub fn fails(&mut self, kind: &str) -> bool {
        let is_due = FALLIBLE.contains(&kind) && count_down(&mut self.fails_in);
        is_due | (kind == "read" && count_down(&mut self.fails_in_reads))
    }
}

/// Whether the count, if there is one, was at its end; it is gone then.
fn count_down(count: &mut Option<u64>) -> bool {
    let Some(left) = *count else { return false };
    *count = left.checked_sub(1);
    left == 0
}

impl State {
    /// An error if `bytes` more do not fit.
    pub fn room_for(&self, bytes: usize) -> io::Result<()> {
        let Some(capacity) = self.health.capacity.filter(|_| bytes > 0) else { return Ok(()) };
        if self.used() + bytes > capacity { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn used(&self) -> usize {
        self.inodes.values().map(Inode::allocated).sum()
    }

    /// How much more fits on it, as it says.
    pub fn free(&self) -> u64 {
        let Health { capacity, unsaid, .. } = self.health;
        capacity.map_or(ENDLESS_BYTES, |capacity| (capacity + unsaid).saturating_sub(self.used()) as u64)
    }

    /// The error of a call that fails. `synced` is the file whose sync it was.
    pub fn fail(&mut self, synced: Option<InodeId>) -> io::Error {
        if let Some(inode) = synced.and_then(|id| self.inodes.get_mut(&id)) {
            inode.fail_sync();
        }
        io::Error::other("simulated input/output error")
    }
}

impl Disk {
    /// One of the next calls fails: the one after `calls` more.
    pub fn fail_after(&self, calls: u64) {
        self.lock().health.fails_in = Some(calls);
    }

    /// One of the next reads fails: the one after `reads` more.
    pub fn fail_read_after(&self, reads: u64) {
        self.lock().health.fails_in_reads = Some(reads);
    }

    /// No more than `bytes` beyond what is there now fit on the disk, which says that `unsaid` more do.
    pub fn fill_up(&self, bytes: usize, unsaid: usize) {
        let mut state = self.lock();
        state.health.capacity = Some(state.used() + bytes);
        state.health.unsaid = unsaid;
    }

    /// All calls succeed again, and there is room.
    pub fn mend(&self) {
        let mut state = self.lock();
        state.health.fails_in = None;
        state.health.fails_in_reads = None;
        state.health.capacity = None;
    }

    /// A node starts on it.
    pub fn booted(&self) {
        let mut state = self.lock();
        state.health.has_failed = false;
        state.health.broken_at = None;
    }

    /// When a call first failed since the node started: from then on the node does not know what is on its disk, or
    /// cannot use it.
    pub fn broken_at(&self) -> Option<Duration> {
        self.lock().health.broken_at
    }

    /// Whether a call failed on purpose since the node started.
    pub fn has_failed(&self) -> bool {
        self.lock().health.has_failed
    }

    /// Remembers the first failure that was made on purpose, and enters it in the book of faults.
    pub(super) fn note_failure<T>(&self, result: &io::Result<T>, kind: &str, path: &Path) {
        let fault = match result {
            Err(error) if error.kind() == io::ErrorKind::Other => Kind::DiskError,
            // A disk that is full has not failed, and is entered when it is filled.
            _ => return,
        };
        self.lock().health.broken_at.get_or_insert_with(entropy::now);
        // What is not retried fails once; it counts once a boot.
        if !std::mem::replace(&mut self.lock().health.has_failed, true) {
            self.ledger.fire(fault, self.id, &format!("{kind} {}", path.display()));
        }
    }
}
