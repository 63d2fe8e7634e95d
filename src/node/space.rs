//! Space: what is free for this node, as its disk says it now, and what that means for its core (H18).
//!
//! ```text
//! free on the volume of the data directory      the log's next segments come out of this, and redb's new pages
//! + free pages in the state file                redb's alone: what it takes on the disk, less what its rows need
//! - what folds that are due may write           the write sets are in memory, and promised
//! = what may still be written, against the reserve; and never less is free on the volume than the floor
//! ```
//!
//! With a limit of the operator's, `storage_bytes_max`, the same is judged of what is left of that: log and rows count, and
//! what is not folded yet. The worse of the two counts.
//!
//! A level is left only with something to spare, so that a node on a border does not change its mind every second.
//! Measuring blocks, as every question to a disk: it belongs on a lane.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::LogWriter;
use super::state_files::StateFiles;
use crate::config::Limits;
use crate::fsm::{self, Store};
use crate::raft::{Lack, Room};

/// What is free for this node; cheap to clone.
#[derive(Clone)]
pub(super) struct Space(Arc<Shared>);

struct Shared {
    files: StateFiles,
    /// The number of the state file in use.
    state: AtomicU64,
    store: Store,
    log: LogWriter,
    bounds: Bounds,
    measured: Notify,
    is_short: AtomicBool,
    is_over: AtomicBool,
}

/// What is kept free, and what may be used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub reserve_bytes: u64,
    pub floor_bytes: u64,
    /// 0: no limit.
    pub storage_bytes_max: u64,
}

/// What a disk said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    /// Free on the volume.
    pub volume_bytes: u64,
    /// What folds of what is not folded yet may write.
    pub folds_bytes: u64,
    /// Free on the volume and in the state file, less what folds may write.
    pub free_bytes: u64,
    /// What is left of the operator's limit, if there is one.
    pub quota_bytes: Option<u64>,
}

impl Space {
    pub fn new(files: StateFiles, state: u64, store: Store, log: LogWriter, limits: &Limits) -> Space {
        let bounds = Bounds {
            reserve_bytes: limits.storage_reserve_bytes,
            floor_bytes: limits.storage_floor_bytes,
            storage_bytes_max: limits.storage_bytes_max,
        };
        let (state, measured) = (AtomicU64::new(state), Notify::new());
        let (is_short, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        Space(Arc::new(Shared { files, state, store, log, bounds, measured, is_short, is_over }))
    }

    pub fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    /// Another state file is in use.
    pub fn set_state(&self, number: u64) {
        self.0.state.store(number, Ordering::Release);
    }

    /// Asks the disk. Blocks.
    pub fn measure(&self) -> io::Result<Measured> {
        let shared = &*self.0;
        let volume_bytes = shared.files.fs.free_bytes(&shared.files.dir)?;
        let needs = shared.store.needs();
        let inside_bytes = self.file_bytes().saturating_sub(needs.rows_bytes);
        let used = shared.log.bytes() + needs.rows_bytes + needs.added_bytes;
        let max = shared.bounds.storage_bytes_max;
        Ok(Measured {
            volume_bytes,
            folds_bytes: needs.folds_bytes,
            free_bytes: volume_bytes.saturating_add(inside_bytes).saturating_sub(needs.folds_bytes),
            quota_bytes: (max > 0).then(|| max.saturating_sub(used)),
        })
    }

    /// What the state file takes on the disk. One that cannot be asked, since another has just taken its place, has nothing
    /// to give.
    fn file_bytes(&self) -> u64 {
        let path = self.0.files.path(self.0.state.load(Ordering::Acquire));
        self.0.files.fs.allocated_bytes(&path).unwrap_or(0)
    }

    /// Whether the next fold has room for all that it may write. redb may choose a page that was never written although there
    /// are free ones that were, so only what is free beyond all such holes is believed in, and of that half: it is an
    /// estimate, and an older reader may hold some. And only for pages that go anywhere: a large row finds no place in free pages that
    /// lie scattered, and the file grows by it. Blocks. A disk that cannot be asked is tried; a fold that finds no room all the
    /// same is undone.
    pub fn fits_fold(&self) -> Result<(), (u64, u64)> {
        let store = &self.0.store;
        let (scattered, whole) = store.next_fold_bytes();
        let (rows, length) = (store.needs().rows_bytes, store.sizes().file_bytes);
        let allocated = self.file_bytes();
        let holes = length.saturating_sub(allocated);
        let inside = allocated.saturating_sub(rows).saturating_sub(holes);
        let needed = whole + scattered.saturating_sub(inside / 2);
        match self.0.files.fs.free_bytes(&self.0.files.dir) {
            Ok(free) if free < needed => Err((needed, free)),
            _ => Ok(()),
        }
    }

    /// Says whether only the reserve is left.
    pub fn set_short(&self, is_short: bool) {
        self.0.is_short.store(is_short, Ordering::Release);
    }

    /// Whether only the reserve is left: then folds come early and small, so that they fit, and free what was deleted.
    pub fn is_short(&self) -> bool {
        self.0.is_short.load(Ordering::Acquire)
    }

    /// Folds what was set aside, and then what was applied since, as far as there is room. Blocks.
    pub fn fold_all(&self) -> Result<(), fsm::Error> {
        for _ in 0..2 {
            // A state that is lost is folded no more.
            if self.0.store.check().is_err() || self.fits_fold().is_err() {
                continue;
            }
            match self.0.store.fold() {
                // There was less room than it seemed. The log has what is not folded.
                Err(fsm::Error::Undone { .. }) => break,
                folded => drop(folded?),
            }
        }
        Ok(())
    }

    /// Whether another file of this size may be written without coming below the floor. Blocks.
    pub fn fits_file(&self, bytes: u64) -> Result<(), (u64, u64)> {
        match self.0.files.fs.free_bytes(&self.0.files.dir) {
            Ok(free) if free < bytes.saturating_add(self.0.bounds.floor_bytes) => Err((bytes, free)),
            _ => Ok(()),
        }
    }

    /// The disk was asked: the one who waits for room looks again.
    pub fn tell(&self) {
        self.0.measured.notify_one();
    }

    /// Nobody asks the disk any more.
    pub fn close(&self) {
        self.0.is_over.store(true, Ordering::Release);
        self.tell();
    }

    /// Waits until the disk was asked again; false if it never will be. One waits at a time.
    pub async fn asked_again(&self) -> bool {
        self.0.measured.notified().await;
        !self.0.is_over.load(Ordering::Acquire)
    }
}

impl Bounds {
    /// What it means, for a node of which this was said `before`.
    pub fn judge(&self, before: Room, measured: &Measured) -> Room {
        let Measured { volume_bytes, folds_bytes, free_bytes, .. } = *measured;
        let mut disk = self.level(before, free_bytes, volume_bytes.min(free_bytes));
        // What was taken must fit wherever redb puts it.
        if volume_bytes.saturating_sub(folds_bytes) < self.floor_bytes {
            disk = disk.max(Level::Short);
        }
        let quota = measured.quota_bytes.map_or(Level::Ample, |left| self.level(before, left, left));
        // What both lack is the disk's to say.
        let (level, lack) = if quota > disk { (quota, Lack::Quota) } else { (disk, Lack::Disk) };
        match level {
            Level::Ample => Room::Ample,
            Level::Short => Room::Short(lack),
            Level::Full => Room::Full(lack),
        }
    }

    fn level(&self, before: Room, in_all: u64, at_once: u64) -> Level {
        let spare = |bound: u64, was_below: bool| bound + if was_below { bound / 8 } else { 0 };
        if at_once < spare(self.floor_bytes, before.is_full()) {
            Level::Full
        } else if in_all < spare(self.reserve_bytes, before != Room::Ample) {
            Level::Short
        } else {
            Level::Ample
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ample,
    Short,
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { reserve_bytes: 800, floor_bytes: 200, storage_bytes_max: 0 };

    fn disk(volume_bytes: u64, free_bytes: u64) -> Measured {
        Measured { volume_bytes, folds_bytes: 0, free_bytes, quota_bytes: None }
    }

    #[test]
    fn levels_are_entered_at_their_bounds_and_left_with_something_to_spare() {
        let at = |before, bytes| BOUNDS.judge(before, &disk(bytes, bytes));
        let (short, full) = (Room::Short(Lack::Disk), Room::Full(Lack::Disk));
        for (before, bytes, after) in [
            (Room::Ample, 800, Room::Ample),
            (Room::Ample, 799, short),
            (Room::Ample, 199, full),
            (short, 899, short),
            (short, 900, Room::Ample),
            (short, 200, short),
            (full, 224, full),
            (full, 225, short),
            (full, 900, Room::Ample),
        ] {
            assert_eq!(at(before, bytes), after, "{before:?}, {bytes} bytes");
        }
    }

    #[test]
    fn free_pages_are_room_for_the_state_and_not_for_the_log() {
        assert_eq!(BOUNDS.judge(Room::Ample, &disk(300, 900)), Room::Ample);
        assert_eq!(BOUNDS.judge(Room::Ample, &disk(100, 900)), Room::Full(Lack::Disk));
        assert_eq!(BOUNDS.judge(Room::Ample, &disk(900, 100)), Room::Full(Lack::Disk), "folds have it all");
        let promised = Measured { folds_bytes: 800, ..disk(950, 2000) };
        assert_eq!(BOUNDS.judge(Room::Ample, &promised), Room::Short(Lack::Disk), "what was taken must fit");
    }

    #[test]
    fn of_disk_and_limit_the_worse_counts() {
        let of = |disk, quota| {
            let quota_bytes = Some(quota);
            let measured = Measured { volume_bytes: disk, folds_bytes: 0, free_bytes: disk, quota_bytes };
            BOUNDS.judge(Room::Ample, &measured)
        };
        assert_eq!(of(900, 900), Room::Ample);
        assert_eq!(of(900, 700), Room::Short(Lack::Quota));
        assert_eq!(of(700, 700), Room::Short(Lack::Disk));
        assert_eq!(of(700, 100), Room::Full(Lack::Quota));
        assert_eq!(of(100, 700), Room::Full(Lack::Disk));
    }
}
