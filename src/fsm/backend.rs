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
//! A write, or a growth, that found no room is the one exception (H18): the disk has said that it did not take it, and all
//! that was written before is where it was written. It is latched too, since redb believes in nothing after it; but the file
//! can be opened again ([`Checked::reopen`]), which is what a crash of this process would lead to, without the crash. A *sync*
//! that fails is final, whatever it gives as its reason (H15).
//!
//! Not done here: no repair, no encryption.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use redb::StorageBackend;

use super::Error;
use super::error::is_out_of_room;
use super::layout::{
    BLOCK_BYTES, FORMAT_VERSION, GROUP_BLOCKS, MAGIC, SECTOR_BYTES, SECTOR_CRC_AT, block_sum, blocks_of_raw,
    groups, is_on_grid, owner_of, position, raw_bytes, raw_offset, runs, seal_sector, sector_is_intact,
    sums_offset, superblock,
};
use crate::types::Owner;

/// The first failure, for all to see. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Latch(Arc<Latched>);

#[derive(Debug, Default)]
struct Latched {
    /// A write found no room: the file is to be opened again.
    full: OnceLock<Error>,
    /// What has no way back. It may be met beside the other, and counts for more.
    failed: OnceLock<Error>,
}

impl Latch {
    /// The failure, if there was one, of either kind.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.check_failed()?;
        self.0.full.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// The failure that has no way back, if there was one.
    pub(super) fn check_failed(&self) -> Result<(), Error> {
        self.0.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Whether all that is wrong is that a write found no room.
    pub(super) fn is_full(&self) -> bool {
        self.0.full.get().is_some() && self.0.failed.get().is_none()
    }

    /// What those are told who began something on a file that was full.
    pub(super) fn undone(&self) -> Error {
        let what = self.0.full.get().map_or_else(String::new, ToString::to_string);
        Error::Undone { what }
    }

    /// Keeps a failure that has no way back, unless there was one before, and returns the one that is kept.
    pub(super) fn set(&self, error: Error) -> Error {
        self.0.failed.get_or_init(|| error).clone()
    }

    /// Keeps that a write found no room.
    pub(super) fn set_full(&self, error: Error) -> Error {
        self.0.full.get_or_init(|| error).clone()
    }
}

/// A raw file as redb may see it. Clones share the file.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    raw: Arc<dyn StorageBackend>,
    latch: Latch,
    owner: Owner,
    /// Not held while a block is written, which may take as long as the disk likes: redb writes none that somebody may
    /// read (copy-on-write), and its reads of the others do not wait.
    sums: Arc<RwLock<Sums>>,
    /// Held by whoever changes the file, and by the scrub while it compares: it never meets a new block with the old sum.
    /// Readers never wait for it.
    changing: Arc<Mutex<()>>,
    /// Bytes written since the last sync.
    unsynced: Arc<AtomicUsize>,
    /// Somebody will wait for what is being written, unless it is done soon.
    is_hurried: Arc<AtomicBool>,
    phase: Arc<AtomicU8>,
}

/// It is in use.
const IN_USE: u8 = 0;
/// redb is being opened again over the file: a header that finds no room is not written.
const REOPENING: u8 = 1;
/// Another one has taken the raw file over: this one leaves it alone, its closing included.
const SEVERED: u8 = 2;

/// Written bytes after which the file is synced, asked or not. A fold writes tens of megabytes within a moment: left to
/// its last sync they would reach the disk as one burst, and every sync of the log would wait behind all of them.
const UNSYNCED_BYTES_MAX: usize = 64 << 10;

/// The same where it is hurried: fewer syncs, each of which costs a disk that is slow to sync as much as any other.
const HURRIED_BYTES_MAX: usize = 1 << 20;

/// How many blocks [`Checked::scrub`] reads at a time, while no other is written.
const SCRUB_BLOCKS: usize = 16;

/// How many blocks [`Checked::scan`] reads at a time.
const SCAN_BLOCKS: usize = 256;

/// What [`Checked::scan`] or [`Checked::scrub`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// redb's blocks.
    pub(super) blocks: u64,
    /// Those whose sum does not match.
    pub(super) strays: u64,
    /// Where the first of them lies in the raw file.
    pub(super) first_stray: Option<u64>,
}

impl Scanned {
    fn note(&mut self, at: u64, is_intact: bool) {
        if !is_intact {
            self.strays += 1;
            self.first_stray = self.first_stray.or(Some(at));
        }
    }
}

/// The checksums of all data blocks.
#[derive(Clone, Debug, Default)]
struct Sums {
    /// Whether the first commit is durable.
    formed: bool,
    /// redb's view of the file in blocks, its block 0 included.
    blocks: u64,
    /// How many of them have a sum: those that were ever written.
    written: u64,
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
        Checked::over(raw, owner, sums, IN_USE)
    }

    fn over(raw: Arc<dyn StorageBackend>, owner: Owner, sums: Sums, phase: u8) -> Result<Checked, Error> {
        if sums.formed {
            check_length(raw.as_ref(), sums.blocks)?;
        }
        Ok(Checked {
            raw,
            latch: Latch::default(),
            owner,
            sums: Arc::new(RwLock::new(sums)),
            changing: Arc::new(Mutex::new(())),
            unsynced: Arc::default(),
            is_hurried: Arc::default(),
            phase: Arc::new(AtomicU8::new(phase)),
        })
    }

    /// Takes the raw file over from this one, which met a full disk. From now on this one reaches the file no more, neither to write nor to read: what its readers look for may be
    /// overwritten soon. redb is to be opened over the new one, and then [`Checked::set_reopened`] to be called.
    ///
    /// # Errors
    /// If the disk fails, or had failed. Want of room is no error.
    pub(super) fn reopen(&self) -> Result<Checked, Error> {
        assert!(self.latch.check().is_err(), "a file that nothing is wrong with is taken over");
        // Whoever has one of these locks was admitted before the latch was set, and is waited for; nobody is after that.
        drop(self.change_lock());
        drop(self.write_lock());
        self.phase.store(SEVERED, Ordering::Release);
        self.latch.check_failed()?;
        // What is read from here on is on the disk, so that a crash cannot take it back. No sync failed before: it is no
        // second try (H15).
        self.raw.sync_data().map_err(|error| io_error("sync", 0, &error))?;
        let bytes = self.raw.len().map_err(|error| io_error("len", 0, &error))?;
        // Those of the pages that were written in vain too: a scrub would take them for damage.
        let mut sums = self.read_lock().clone();
        assert!(sums.formed, "a file that was never formed is begun anew, not opened again");
        sums.resize(whole_blocks(bytes)?);
        let is_hurried = self.is_hurried.clone();
        Ok(Checked { is_hurried, ..Checked::over(self.raw.clone(), self.owner, sums, REOPENING)? })
    }

    /// redb has opened the file again.
    pub(super) fn set_reopened(&self) {
        self.phase.store(IN_USE, Ordering::Release);
    }

    /// Whether somebody will wait for what is being written, from now on.
    pub(super) fn set_hurried(&self, is_hurried: bool) {
        self.is_hurried.store(is_hurried, Ordering::Relaxed);
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

    /// Compares so many blocks with their sums, from `first` on, and on the way what the file holds of the sums, of its header
    /// and of its superblock with what they should be. Latches nothing but a disk that fails, or a file that was cut short:
    /// of a block that differs nobody knows yet whether redb refers to it. Nothing of it is in redb's cache.
    pub(super) fn scrub(&self, first: u64, blocks: u64) -> Result<Scanned, Error> {
        let mut scanned = Scanned::default();
        let mut content = vec![0; SCRUB_BLOCKS * BLOCK_BYTES];
        let mut block = first;
        while block < first.saturating_add(blocks) {
            // No block changes between its content and its sum, and the file keeps its length. Who changes it waits for
            // one read of little.
            let _guard = self.change_lock();
            let sums = self.read_lock();
            self.latch.check()?;
            if block >= sums.blocks {
                break;
            }
            let read = if block == 0 {
                self.scrub_head(&sums, &mut scanned).map(|()| 1)
            } else {
                self.scrub_run(&sums, block, &mut content, &mut scanned)
            };
            block += read.map_err(|(at, error)| self.latch.set(raw_error("read", at, &error)))?;
        }
        scanned.blocks = block - first;
        Ok(scanned)
    }

    fn scrub_head(&self, sums: &Sums, scanned: &mut Scanned) -> Result<(), (u64, io::Error)> {
        let mut sector = [0; SECTOR_BYTES];
        self.raw.read(0, &mut sector).map_err(|error| (0, error))?;
        scanned.note(0, sector == superblock(self.owner, sums.formed));
        let at = raw_offset(0);
        self.raw.read(at, &mut sector).map_err(|error| (at, error))?;
        scanned.note(at, sector_is_intact(&sector));
        Ok(())
    }

    /// Compares some blocks of one group. Returns how many.
    fn scrub_run(
        &self,
        sums: &Sums,
        first: u64,
        content: &mut [u8],
        scanned: &mut Scanned,
    ) -> Result<u64, (u64, io::Error)> {
        let (group, slot) = position(first);
        if slot == 0 && !sums.dirty.contains(&(group as u64)) {
            let at = sums_offset(group as u64);
            let mut block = [0; BLOCK_BYTES];
            self.raw.read(at, &mut block).map_err(|error| (at, error))?;
            let is_same = |(sum, bytes): (&u32, &[u8])| sum.to_le_bytes() == bytes;
            scanned.note(at, sums.groups[group].iter().zip(block.chunks_exact(4)).all(is_same));
        }
        let count = (SCRUB_BLOCKS as u64).min(sums.blocks - first).min(GROUP_BLOCKS - slot as u64);
        let (at, content) = (raw_offset(first), &mut content[..count as usize * BLOCK_BYTES]);
        self.raw.read(at, content).map_err(|error| (at, error))?;
        for (block, content) in (first..).zip(content.chunks_exact(BLOCK_BYTES)) {
            scanned.note(raw_offset(block), sums.is_intact(block, content));
        }
        Ok(count)
    }

    /// The raw file's length in bytes.
    pub(super) fn raw_bytes(&self) -> u64 {
        raw_bytes(self.read_lock().blocks)
    }

    /// What the blocks take up that were ever written, in bytes. redb makes its file up to twice as long when it grows and
    /// fills it later: until then the rest is a hole, which costs nothing on the disk.
    pub(super) fn written_bytes(&self) -> u64 {
        self.read_lock().written * BLOCK_BYTES as u64
    }

    fn read_lock(&self) -> std::sync::RwLockReadGuard<'_, Sums> {
        self.sums.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> std::sync::RwLockWriteGuard<'_, Sums> {
        self.sums.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses everything once something failed. Who is to reach the raw file asks under a lock, for whose release
    /// [`Checked::reopen`] waits.
    fn admit(&self) -> io::Result<()> {
        self.latch.check().map_err(io::Error::other)
    }

    fn admit_reader(&self) -> io::Result<std::sync::RwLockReadGuard<'_, Sums>> {
        let sums = self.read_lock();
        self.admit().map(|()| sums)
    }

    fn admit_writer(&self) -> io::Result<MutexGuard<'_, ()>> {
        let guard = self.change_lock();
        self.admit().map(|()| guard)
    }

    /// Latches a failed raw call.
    fn failed(&self, call: &str, offset: u64, error: &io::Error) -> io::Error {
        io::Error::other(self.latch.set(raw_error(call, offset, error)))
    }

    /// Latches a write or a growth that failed: the one call that may find no room and leave everything as it was.
    fn refused(&self, call: &str, offset: u64, error: &io::Error) -> io::Error {
        match raw_error(call, offset, error) {
            error @ Error::NoRoom { .. } => io::Error::other(self.latch.set_full(error)),
            error => io::Error::other(self.latch.set(error)),
        }
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
        match self.raw.write(at, &sector) {
            // The block is there, so only a file system that writes nothing in place refuses this. The header on the disk says
            // what redb would have it say, that the file was not closed, and of the same commit.
            Err(error) if is_out_of_room(&error) && self.phase.load(Ordering::Acquire) == REOPENING => Ok(()),
            written => written.map_err(|error| self.refused("write", at, &error)),
        }
    }

    /// So much was written: syncs it if it is time.
    fn note_written(&self, bytes: usize) -> io::Result<()> {
        let is_hurried = self.is_hurried.load(Ordering::Relaxed);
        let unsynced_max = if is_hurried { HURRIED_BYTES_MAX } else { UNSYNCED_BYTES_MAX };
        match self.unsynced.fetch_add(bytes, Ordering::Relaxed) + bytes {
            unsynced if unsynced >= unsynced_max => self.sync_raw(),
            _ => Ok(()),
        }
    }

    fn sync_raw(&self) -> io::Result<()> {
        self.unsynced.store(0, Ordering::Relaxed);
        // Without a way back, whatever the reason (H15).
        self.raw.sync_data().map_err(|error| self.failed("sync", 0, &error))
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
        let sums = self.admit_reader()?;
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
        if !len.is_multiple_of(BLOCK_BYTES as u64) {
            return Err(off_grid(len, 0));
        }
        let blocks = len / BLOCK_BYTES as u64;
        // To cut a file takes a while, for which nobody waits who reads: the blocks go before the file is cut, and come
        // after it has grown.
        let _guard = self.admit_writer()?;
        let cut = blocks < self.read_lock().blocks;
        if cut {
            self.write_lock().resize(blocks);
        }
        let bytes = raw_bytes(blocks);
        self.raw.set_len(bytes).map_err(|error| self.refused("set_len", bytes, &error))?;
        if !cut {
            self.write_lock().resize(blocks);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let _guard = self.admit_writer()?;
        // No block changes between its sum's way to the file and the sync: whoever writes blocks is who calls this. While it
        // is opened again nothing new is referred to, and sums may find no room.
        if self.phase.load(Ordering::Acquire) != REOPENING {
            let dirty = self.read_lock().dirty();
            for (at, block) in dirty {
                self.raw.write(at, &block).map_err(|error| self.refused("write", at, &error))?;
                self.note_written(block.len())?;
            }
            self.write_lock().dirty.clear();
        }
        self.sync_raw()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let _guard = self.admit_writer()?;
        if offset < BLOCK_BYTES as u64 {
            return self.write_header(offset, data);
        }
        let bytes = self.read_lock().blocks * BLOCK_BYTES as u64;
        let inside = offset.checked_add(data.len() as u64).is_some_and(|end| end <= bytes);
        if !inside || !is_on_grid(offset, data.len()) {
            return Err(off_grid(offset, data.len()));
        }
        for (first, run) in runs(offset / BLOCK_BYTES as u64, data.len()) {
            let content = &data[run];
            let at = raw_offset(first);
            self.raw.write(at, content).map_err(|error| self.refused("write", at, &error))?;
            // Worked out before the lock is taken: readers wait for it.
            let blocks = (first..).zip(content.chunks_exact(BLOCK_BYTES));
            let made: Vec<(u64, u32)> =
                blocks.map(|(block, content)| (block, block_sum(block, content))).collect();
            let mut sums = self.write_lock();
            for (block, sum) in made {
                sums.set(block, sum);
            }
        }
        self.note_written(data.len())
    }

    fn close(&self) -> io::Result<()> {
        match self.phase.load(Ordering::Acquire) {
            SEVERED => Ok(()),
            _ => self.raw.close(),
        }
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

    /// The checksum blocks that are not what the file holds, with where they belong.
    fn dirty(&self) -> Vec<(u64, Vec<u8>)> {
        let block =
            |group: u64| self.groups[group as usize].iter().flat_map(|sum| sum.to_le_bytes()).collect();
        self.dirty.iter().map(|&group| (sums_offset(group), block(group))).collect()
    }

    fn set(&mut self, block: u64, sum: u32) {
        let (group, slot) = position(block);
        let before = std::mem::replace(&mut self.groups[group][slot], sum);
        self.written = self.written + u64::from(sum != 0) - u64::from(before != 0);
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
        self.written -=
            self.groups.iter().skip(groups as usize).map(|group| count_written(&group[..])).sum::<u64>();
        // A group that begins anew is zero in memory and, being new at the end of the file, on disk.
        self.groups.resize_with(groups as usize, || Box::new([0; GROUP_BLOCKS as usize]));
        self.dirty.split_off(&groups);
        self.blocks = blocks;
    }
}

fn count_written(sums: &[u32]) -> u64 {
    sums.iter().filter(|&&sum| sum != 0).count() as u64
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

/// What a failed raw call is. A read that the file ends before is no failure of the disk: something cut it short.
fn raw_error(call: &str, offset: u64, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            Error::Damaged { offset: Some(offset), what: "the file ends before what was there".to_owned() }
        }
        _ => io_error(call, offset, error),
    }
}

/// Whether a file holds a state of `owner` that was finished once. Changes nothing.
pub(super) fn is_formed(raw: &dyn StorageBackend, owner: Owner) -> Result<bool, Error> {
    read_superblock(raw, owner)
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
    raw.read(0, &mut sector).map_err(|error| raw_error("read", 0, &error))?;
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

/// Whether a formed file is as long as redb's header says. redb makes a file longer before its header says so, and shorter after
/// that; one that is shorter was cut. redb itself, after a crash, believes the length and not the header, and then finds pages
/// in use that are not there.
fn check_length(raw: &dyn StorageBackend, blocks: u64) -> Result<(), Error> {
    if blocks == 0 {
        return Ok(()); // there is no header; that a file with a state has one is `Base`'s to say
    }
    let mut sector = [0; SECTOR_BYTES];
    let at = raw_offset(0);
    let short = |needed: u64| {
        let what = format!("the file was cut short: redb has {blocks} blocks of at least {needed}");
        Err(Error::Damaged { offset: Some(raw_bytes(blocks)), what })
    };
    raw.read(at, &mut sector).map_err(|error| raw_error("read", at, &error))?;
    match redb_blocks(&sector) {
        // A header that fails its sum is found by redb's first read.
        Some(needed) if sector_is_intact(&sector) && blocks < needed => short(needed),
        _ => Ok(()),
    }
}

/// How long redb 4.6 says that its file is, in blocks: its regions are described by five numbers at the beginning of its
/// header. `None` if that is none of a page size that is ours.
pub(super) fn redb_blocks(header: &[u8; SECTOR_BYTES]) -> Option<u64> {
    let number = |at: usize| u64::from(u32::from_le_bytes(std::array::from_fn(|byte| header[at + byte])));
    let [page_bytes, head, full, regions, rest] = [12, 16, 20, 24, 28].map(number);
    let last = if rest > 0 { head + rest } else { 0 };
    (page_bytes == BLOCK_BYTES as u64)
        .then(|| regions.saturating_mul(head + full).saturating_add(last).saturating_add(1))
}

/// Begins the file anew: nothing in it but a superblock that says it is not formed.
fn begin(raw: &dyn StorageBackend, owner: Owner) -> io::Result<()> {
    raw.set_len(0)?;
    raw.set_len(raw_bytes(0))?;
    raw.write(0, &superblock(owner, false))?;
    raw.sync_data()
}

/// How many of redb's blocks a raw file of this length has.
fn whole_blocks(bytes: u64) -> Result<u64, Error> {
    blocks_of_raw(bytes).ok_or_else(|| Error::Damaged {
        offset: Some(bytes),
        what: format!("a length of {bytes} bytes, which no state file has"),
    })
}

/// Reads all checksum blocks.
fn read_sums(raw: &dyn StorageBackend, formed: bool) -> Result<Sums, Error> {
    let bytes = raw.len().map_err(|error| io_error("len", 0, &error))?;
    let blocks = whole_blocks(bytes)?;
    let mut sums = Sums { formed, ..Sums::default() };
    sums.resize(blocks);
    for group in 0..groups(blocks) {
        let at = sums_offset(group);
        let mut block = [0; BLOCK_BYTES];
        raw.read(at, &mut block).map_err(|error| raw_error("read", at, &error))?;
        let entries = sums.groups[group as usize].iter_mut();
        for (sum, bytes) in entries.zip(block.chunks_exact(4)) {
            *sum = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }
    sums.written = sums.groups.iter().map(|group| count_written(&group[..])).sum();
    Ok(sums)
}

#[cfg(test)]
#[path = "tests/backend.rs"]
mod tests;
