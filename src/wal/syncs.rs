//! How often the log syncs a file: what its writes cost the disk, and how many share one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fs::File;

/// Syncs the files of a log, and counts that. Clones count together. Directories are not counted.
#[derive(Clone, Debug, Default)]
pub struct Syncs(Arc<AtomicU64>);

impl Syncs {
    pub(super) fn sync(&self, file: &dyn File) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        file.sync()
    }

    /// How many there were, those that failed included. Monotone.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
