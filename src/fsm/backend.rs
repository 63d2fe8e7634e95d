//! The block-checksum backend: redb's view of a raw file in which every block carries a CRC.
//!
//! redb verifies its own checksums only in a full repair, so a bit that rots in `state.redb` would be served to a
//! client as data. [`Checked`] stands between redb and the raw file: whatever redb reads from the file is compared
//! with a CRC-32 over the block's number and content first, and no byte that fails reaches redb. The block's number
//! is part of the sum, so that a block written to the wrong place fails too.
//!
//! Where what lies is [`super::layout`]'s to say.
//!
//! # Why a crash cannot make a good file look damaged
//!
//! The fault model is that of the log: a sector of 512 bytes is written whole or not at all, and of the sectors
//! written since the last sync any subset may survive a crash, each in any of the versions written.
//!
//! - Block 0 is the one block that redb rewrites in place: its header, 320 bytes, with both commit slots and the byte
//!   that says which one counts. It shares a sector with its CRC, so either both are new or neither is. (Were the two
//!   apart, a crash between them would make the file unreadable.) A write to block 0 that would not fit, or any
//!   access off the block grid, is refused: redb 4.6 makes none, and a later version that does must be looked at.
//! - All other blocks are copy-on-write: redb never overwrites one that the commit on disk refers to. Their sums are
//!   kept in memory whole and written before the raw sync, inside `sync_data`. [`super::fold`] commits in two phases,
//!   so redb writes its pages, *syncs*, and only then turns the header: when the header can first point to a page,
//!   page and sum are both on disk. What a crash tears (a page without its sum, a sum without its page) is a block
//!   that redb does not refer to and does not read. The other sums in a checksum block that is rewritten are the same
//!   bytes before and after, so no tear can hurt them.
//! - redb itself cannot open a file whose creation was cut short (a length but no magic number). So the superblock
//!   says whether the first commit is durable, and a file that was never formed is emptied and begun anew: it never
//!   held anything that was acknowledged.
//!
//! # Failure
//!
//! The first failed call (or sum) is kept in a latch and every later call fails with it: a write or sync that failed
//! is never repeated, since after it nobody knows what the disk holds.
//!
//! Not done here: no repair, no scrub in the background (the layout allows one), no encryption.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use redb::StorageBackend;

use super::Error;
use super::layout::{
    BLOCK_BYTES, FORMAT_VERSION, GROUP_BLOCKS, MAGIC, SECTOR_BYTES, SECTOR_CRC_AT, block_sum, blocks_of_raw,
    groups, is_on_grid, owner_of, position, raw_bytes, raw_offset, runs, seal_sector, sector_is_intact,
    sums_offset, superblock,
};
use crate::types::Owner;

/// The first failure, for all to see. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Latch(Arc<OnceLock<Error>>);

impl Latch {
    /// The failure, if there was one.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.0.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Keeps a failure, unless there was one before, and returns the one that is kept.
    pub(super) fn set(&self, error: Error) -> Error {
        self.0.get_or_init(|| error).clone()
    }
}

/// A raw file as redb may see it. Clones share the file.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    raw: Arc<dyn StorageBackend>,
    latch: Latch,
    owner: Owner,
    /// Held to write while a block and its sum change, to read while they are compared: a reader never meets the
    /// new block with the old sum.
    sums: Arc<RwLock<Sums>>,
    /// Serialises the syncs, which write checksum blocks.
    syncing: Arc<Mutex<()>>,
}

/// How many blocks [`Checked::scan`] reads at a time.
const SCAN_BLOCKS: usize = 256;

/// What [`Checked::scan`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// redb's blocks.
    pub(super) blocks: u64,
    /// Those whose sum does not match.
    pub(super) strays: u64,
    /// Where the first of them lies in the raw file.
    pub(super) first_stray: Option<u64>,
}

/// The checksums of all data blocks.
#[derive(Debug, Default)]
struct Sums {
    /// Whether the first commit is durable.
    formed: bool,
    /// redb's view of the file in blocks, its block 0 included.
    blocks: u64,
    /// The sums of a group's blocks, by group.
    groups: Vec<Box<[u32; GROUP_BLOCKS as usize]>>,
    /// Groups whose sums are not what the file holds.
    dirty: BTreeSet<u64>,
}

impl Checked {
    /// Opens a raw file of `owner`, or begins one that is empty or was never formed.
    pub(super) fn open(raw: Box<dyn StorageBackend>, owner: Owner) -> Result<Checked, Error> {
        let raw: Arc<dyn StorageBackend> = Arc::from(raw);
        let formed = read_superblock(raw.as_ref(), owner)?;
        if !formed {
            begin(raw.as_ref(), owner).map_err(|error| io_error("begin", 0, &error))?;
        }
        let sums = read_sums(raw.as_ref(), formed)?;
        Ok(Checked {
            raw,
            latch: Latch::default(),
            owner,
            sums: Arc::new(RwLock::new(sums)),
            syncing: Arc::new(Mutex::new(())),
        })
    }

    /// The failure that all calls see.
    pub(super) fn latch(&self) -> &Latch {
        &self.latch
    }

    /// Whether the first commit is durable.
    pub(super) fn is_formed(&self) -> bool {
        self.read_lock().formed
    }

    /// Records durably that the first commit is on disk: from now on the file is opened, never begun anew.
    pub(super) fn set_formed(&self) -> Result<(), Error> {
        self.latch.check()?;
        let result = self.raw.write(0, &superblock(self.owner, true)).and_then(|()| self.raw.sync_data());
        result.map_err(|error| self.latch.set(io_error("form", 0, &error)))?;
        self.write_lock().formed = true;
        Ok(())
    }

    /// Compares every block with its sum, and latches nothing: a block that redb does not refer to may differ after a
    /// crash, and whether it refers to one is redb's to find out.
    pub(super) fn scan(&self) -> Result<Scanned, Error> {
        let mut scanned = Scanned { blocks: self.read_lock().blocks, ..Scanned::default() };
        let mut content = vec![0; SCAN_BLOCKS * BLOCK_BYTES];
        let mut first = 1;
        while first < scanned.blocks {
            let count = (SCAN_BLOCKS as u64).min(scanned.blocks - first) as usize;
            for (block, run) in runs(first, count * BLOCK_BYTES) {
                let (at, target) = (raw_offset(block), &mut content[run]);
                self.raw.read(at, target).map_err(|error| io_error("read", at, &error))?;
                let sums = self.read_lock();
                for (block, content) in (block..).zip(target.chunks_exact(BLOCK_BYTES)) {
                    if !sums.is_intact(block, content) {
                        scanned.strays += 1;
                        scanned.first_stray = scanned.first_stray.or(Some(raw_offset(block)));
                    }
                }
            }
            first += count as u64;
        }
        Ok(scanned)
    }

    /// The raw file's length in bytes.
    pub(super) fn raw_bytes(&self) -> u64 {
        raw_bytes(self.read_lock().blocks)
    }

    fn read_lock(&self) -> std::sync::RwLockReadGuard<'_, Sums> {
        self.sums.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> std::sync::RwLockWriteGuard<'_, Sums> {
        self.sums.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync_lock(&self) -> MutexGuard<'_, ()> {
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses everything once something failed.
    fn admit(&self) -> io::Result<()> {
        self.latch.check().map_err(io::Error::other)
    }

    /// Latches a failed raw call.
    fn failed(&self, call: &str, offset: u64, error: &io::Error) -> io::Error {
        io::Error::other(self.latch.set(io_error(call, offset, error)))
    }

    /// Latches a sum that does not match. `offset` is the raw file's.
    fn damaged(&self, offset: u64, what: String) -> io::Error {
        io::Error::other(self.latch.set(Error::Damaged { offset: Some(offset), what }))
    }

    fn read_header(&self, sums: &Sums, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = raw_offset(0);
        let mut sector = [0; SECTOR_BYTES];
        self.raw.read(at, &mut sector).map_err(|error| self.failed("read", at, &error))?;
        // While the file is being formed its header has not been written yet and is zero.
        let blank = !sums.formed && sector.iter().all(|&byte| byte == 0);
        if !blank && !sector_is_intact(&sector) {
            return Err(self.damaged(at, "the checksum of redb's header does not match".to_owned()));
        }
        let start = offset as usize;
        out.copy_from_slice(&sector[start..start + out.len()]);
        Ok(())
    }

    fn write_header(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = raw_offset(0);
        // redb writes its whole header each time; the rest of the sector stays zero.
        if offset != 0 || data.len() > SECTOR_CRC_AT {
            return Err(off_grid(offset, data.len()));
        }
        let mut sector = [0; SECTOR_BYTES];
        sector[..data.len()].copy_from_slice(data);
        seal_sector(&mut sector);
        let _guard = self.write_lock();
        self.raw.write(at, &sector).map_err(|error| self.failed("write", at, &error))
    }

    fn verify(&self, sums: &Sums, block: u64, content: &[u8]) -> io::Result<()> {
        if sums.is_intact(block, content) {
            return Ok(());
        }
        let at = raw_offset(block);
        Err(self.damaged(at, format!("the checksum of block {block} does not match")))
    }
}

impl StorageBackend for Checked {
    fn len(&self) -> io::Result<u64> {
        self.admit()?;
        Ok(self.read_lock().blocks * BLOCK_BYTES as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.admit()?;
        let sums = self.read_lock();
        let bytes = sums.blocks * BLOCK_BYTES as u64;
        let end = offset.checked_add(out.len() as u64).filter(|&end| end <= bytes);
        let Some(end) = end else {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("a read of {} bytes at {offset}, but there are {bytes}", out.len()),
            ));
        };
        if end <= SECTOR_CRC_AT as u64 {
            return self.read_header(&sums, offset, out);
        }
        if offset == 0 || !is_on_grid(offset, out.len()) {
            return Err(off_grid(offset, out.len()));
        }
        // A page may straddle a checksum block: read it in runs that are contiguous in the raw file.
        let first = offset / BLOCK_BYTES as u64;
        for (block, run) in runs(first, out.len()) {
            let target = &mut out[run.clone()];
            let at = raw_offset(block);
            self.raw.read(at, target).map_err(|error| self.failed("read", at, &error))?;
            for (block, content) in (block..).zip(target.chunks_exact(BLOCK_BYTES)) {
                self.verify(&sums, block, content)?;
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.admit()?;
        if !len.is_multiple_of(BLOCK_BYTES as u64) {
            return Err(off_grid(len, 0));
        }
        let blocks = len / BLOCK_BYTES as u64;
        let mut sums = self.write_lock();
        self.raw
            .set_len(raw_bytes(blocks))
            .map_err(|error| self.failed("set_len", raw_bytes(blocks), &error))?;
        sums.resize(blocks);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.admit()?;
        let _guard = self.sync_lock();
        {
            // Held to write: no block may change between its sum's way to the file and the sync. It is not held over
            // the sync itself, so readers do not wait for the disk.
            let mut sums = self.write_lock();
            for group in std::mem::take(&mut sums.dirty) {
                let at = sums_offset(group);
                let mut block = Vec::with_capacity(BLOCK_BYTES);
                for sum in sums.groups[group as usize].iter() {
                    block.extend_from_slice(&sum.to_le_bytes());
                }
                self.raw.write(at, &block).map_err(|error| self.failed("write", at, &error))?;
            }
        }
        self.raw.sync_data().map_err(|error| self.failed("sync", 0, &error))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.admit()?;
        if offset < BLOCK_BYTES as u64 {
            return self.write_header(offset, data);
        }
        let mut sums = self.write_lock();
        let bytes = sums.blocks * BLOCK_BYTES as u64;
        let inside = offset.checked_add(data.len() as u64).is_some_and(|end| end <= bytes);
        if !inside || !is_on_grid(offset, data.len()) {
            return Err(off_grid(offset, data.len()));
        }
        for (first, run) in runs(offset / BLOCK_BYTES as u64, data.len()) {
            let content = &data[run];
            let at = raw_offset(first);
            self.raw.write(at, content).map_err(|error| self.failed("write", at, &error))?;
            for (block, content) in (first..).zip(content.chunks_exact(BLOCK_BYTES)) {
                sums.set(block, block_sum(block, content));
            }
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.raw.close()
    }
}

impl Sums {
    fn is_intact(&self, block: u64, content: &[u8]) -> bool {
        let (group, slot) = position(block);
        match self.groups[group][slot] {
            // A sum is one word: any single damaged bit of a block that was written leaves its sum as it was.
            0 => content.iter().all(|&byte| byte == 0),
            expected => expected == block_sum(block, content),
        }
    }

    fn set(&mut self, block: u64, sum: u32) {
        let (group, slot) = position(block);
        self.groups[group][slot] = sum;
        self.dirty.insert(group as u64);
    }

    /// Blocks that are cut off and come back read as zero, so their sums go with them.
    fn resize(&mut self, blocks: u64) {
        if blocks < self.blocks {
            let kept = blocks.max(1);
            for block in kept..self.blocks.min(kept + GROUP_BLOCKS) {
                let (group, slot) = position(block);
                if (group as u64) < groups(blocks) && self.groups[group][slot] != 0 {
                    self.set(block, 0);
                }
            }
        }
        let groups = groups(blocks);
        // A group that begins anew is zero in memory and, being new at the end of the file, on disk.
        self.groups.resize_with(groups as usize, || Box::new([0; GROUP_BLOCKS as usize]));
        self.dirty.split_off(&groups);
        self.blocks = blocks;
    }
}

/// An access that redb 4.6 does not make. It is refused rather than served by luck.
fn off_grid(offset: u64, bytes: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("an access of {bytes} bytes at {offset} is outside the file or off the block grid"),
    )
}

pub(super) fn io_error(call: &str, offset: u64, error: &io::Error) -> Error {
    Error::io(format!("{call} at offset {offset}: {error}"), error)
}

/// Whether the file is formed; false also for one that is empty or whose very first write was lost.
fn read_superblock(raw: &dyn StorageBackend, owner: Owner) -> Result<bool, Error> {
    let bytes = raw.len().map_err(|error| io_error("len", 0, &error))?;
    if bytes == 0 {
        return Ok(false);
    }
    if bytes < BLOCK_BYTES as u64 {
        return Err(Error::Damaged {
            offset: Some(bytes),
            what: format!("the file ends after {bytes} bytes"),
        });
    }
    let mut sector = [0; SECTOR_BYTES];
    raw.read(0, &mut sector).map_err(|error| io_error("read", 0, &error))?;
    // A crash right after the creation: the length reached the disk, the superblock did not. Nothing follows it.
    if bytes == BLOCK_BYTES as u64 && sector.iter().all(|&byte| byte == 0) {
        return Ok(false);
    }
    if sector[..8] != MAGIC {
        let what = "the magic number does not match: this is no state file, or its first sector is damaged";
        return Err(Error::Damaged { offset: Some(0), what: what.to_owned() });
    }
    if !sector_is_intact(&sector) {
        let what = "the checksum of the superblock does not match".to_owned();
        return Err(Error::Damaged { offset: Some(0), what });
    }
    let found = u32::from_le_bytes([sector[8], sector[9], sector[10], sector[11]]);
    if found != FORMAT_VERSION {
        return Err(Error::Version { found, known: FORMAT_VERSION });
    }
    let formed = sector[12] == 1;
    let found = owner_of(&sector);
    if formed && found != owner {
        return Err(Error::Foreign { found, expected: owner });
    }
    Ok(formed)
}

/// Begins the file anew: nothing in it but a superblock that says it is not formed.
fn begin(raw: &dyn StorageBackend, owner: Owner) -> io::Result<()> {
    raw.set_len(0)?;
    raw.set_len(raw_bytes(0))?;
    raw.write(0, &superblock(owner, false))?;
    raw.sync_data()
}

/// Reads all checksum blocks.
fn read_sums(raw: &dyn StorageBackend, formed: bool) -> Result<Sums, Error> {
    let bytes = raw.len().map_err(|error| io_error("len", 0, &error))?;
    let Some(blocks) = blocks_of_raw(bytes) else {
        let what = format!("a length of {bytes} bytes, which no state file has");
        return Err(Error::Damaged { offset: Some(bytes), what });
    };
    let mut sums = Sums { formed, ..Sums::default() };
    sums.resize(blocks);
    for group in 0..groups(blocks) {
        let at = sums_offset(group);
        let mut block = [0; BLOCK_BYTES];
        raw.read(at, &mut block).map_err(|error| io_error("read", at, &error))?;
        let entries = sums.groups[group as usize].iter_mut();
        for (sum, bytes) in entries.zip(block.chunks_exact(4)) {
            *sum = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }
    Ok(sums)
}

#[cfg(test)]
#[path = "tests/backend.rs"]
mod tests;
