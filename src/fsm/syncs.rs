//! How often a store's files are synced: what folds cost the disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;

use super::RawFile;

/// Counts the syncs of raw files: the state file's, those of files that are to take its place, and of those that it took the
/// place of. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Syncs(Arc<AtomicU64>);

impl Syncs {
    /// From now on the syncs of this file are counted.
    pub fn counted(&self, raw: RawFile) -> RawFile {
        Box::new(Counted { raw, syncs: self.clone() })
    }

    /// How many there were, those that failed included. Monotone.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Counted {
    raw: RawFile,
    syncs: Syncs,
}

impl StorageBackend for Counted {
    fn len(&self) -> io::Result<u64> {
        self.raw.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.raw.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.raw.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.0.fetch_add(1, Ordering::Relaxed);
        self.raw.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.raw.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.raw.close()
    }
}
