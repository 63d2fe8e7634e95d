//! A raw file that loses power, for tests of crash-safety.
//!
//! [`CrashFile`] is a [`StorageBackend`] in memory that remembers which of its bytes were synced. After
//! [`CrashFile::cut`], or when the calls granted by [`CrashFile::cut_after`] are used up, every call fails, as for a
//! process that is gone. [`CrashFile::reboot`] then gives the file as the disk may hold it: all that was synced, and of
//! what was not any part that [`Loss`] leaves, each sector in any version that was written to it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What becomes of writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None reaches the disk.
    All,
    /// All reach the disk.
    Nothing,
    /// The first ones reach the disk, the rest does not, whole calls each.
    Suffix,
    /// Any of them reach the disk, whole calls each.
    Writes,
    /// Any sectors of any of them reach the disk.
    Sectors,
}

impl Loss {
    /// All ways to lose.
    pub const EVERY: [Loss; 5] = [Loss::All, Loss::Nothing, Loss::Suffix, Loss::Writes, Loss::Sectors];
}

/// A file in memory that can lose what was not synced. Clones are handles to the same file.
#[derive(Clone, Debug, Default)]
pub struct CrashFile(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    /// What a sync made durable.
    synced: Vec<u8>,
    /// What a reader sees.
    current: Vec<u8>,
    /// Changes since the last sync, in order.
    pending: Vec<Pending>,
    /// Calls so far that a crash can come before: writes, truncations, syncs.
    calls: u64,
    /// How many of them were syncs.
    syncs: u64,
    /// Further calls that succeed, if the power is to go.
    granted: Option<u64>,
    /// A call to fail once, by its number.
    fail_at: Option<u64>,
    /// The calls that find no room, by their numbers.
    full: std::ops::Range<u64>,
    /// How many did.
    refused: u64,
}

#[derive(Clone, Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl CrashFile {
    /// An empty file.
    pub fn new() -> CrashFile {
        CrashFile::default()
    }

    /// A file that holds these bytes, durably.
    pub fn with_bytes(bytes: Vec<u8>) -> CrashFile {
        let disk = Disk { synced: bytes.clone(), current: bytes, ..Disk::default() };
        CrashFile(Arc::new(Mutex::new(disk)))
    }

    /// What a reader of the file sees now.
    pub fn bytes(&self) -> Vec<u8> {
        self.disk().current.clone()
    }

    /// How many changing calls there were: writes, truncations and syncs, those that failed included.
    pub fn calls(&self) -> u64 {
        self.disk().calls
    }

    /// How many of them were syncs.
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// Takes the power away: every call fails from now on.
    pub fn cut(&self) {
        self.cut_after(0);
    }

    /// Takes the power away after so many further changing calls.
    pub fn cut_after(&self, calls: u64) {
        self.disk().granted = Some(calls);
    }

    /// Makes one changing call fail, by how many come before it; calls after it succeed again.
    pub fn fail_after(&self, calls: u64) {
        let mut disk = self.disk();
        disk.fail_at = Some(disk.calls + calls);
    }

    /// Makes so many changing calls fail for want of room, by how many come before them. A sync among them does not, since it
    /// needs none.
    pub fn no_room_after(&self, calls: u64, failing: u64) {
        let mut disk = self.disk();
        let first = disk.calls + calls;
        disk.full = first..first.saturating_add(failing);
    }

    /// There is room again.
    pub fn make_room(&self) {
        self.disk().full = 0..0;
    }

    /// How many calls found no room.
    pub fn refused(&self) -> u64 {
        self.disk().refused
    }

    /// Flips bits of a byte on the disk, behind everyone's back.
    pub fn flip(&self, offset: usize, mask: u8) {
        let mut disk = self.disk();
        disk.current[offset] ^= mask;
        if let Some(byte) = disk.synced.get_mut(offset) {
            *byte ^= mask;
        }
    }

    /// The file as the disk holds it after a crash: another file, durable and with power. What survives of the
    /// changes that were not synced is drawn from `seed`.
    pub fn reboot(&self, loss: Loss, seed: u64) -> CrashFile {
        let disk = self.disk();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = disk.synced.clone();
        let first_lost = rng.usize(0..=disk.pending.len());
        for (number, pending) in disk.pending.iter().enumerate() {
            let survives = match loss {
                Loss::All => false,
                Loss::Nothing | Loss::Sectors => true,
                Loss::Suffix => number < first_lost,
                Loss::Writes => rng.bool(),
            };
            match pending {
                Pending::SetLen(len) if survives && (loss != Loss::Sectors || rng.bool()) => {
                    bytes.resize(*len, 0)
                }
                Pending::SetLen(_) => {}
                Pending::Write(offset, data) if survives => {
                    for (offset, sector) in sectors(*offset, data) {
                        if loss != Loss::Sectors || rng.bool() {
                            write_inside(&mut bytes, offset, sector);
                        }
                    }
                }
                Pending::Write(..) => {}
            }
        }
        CrashFile::with_bytes(bytes)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Counts a changing call, and says whether it happens.
    fn change(&mut self) -> io::Result<()> {
        let is_full = self.full.contains(&self.calls);
        self.call()?;
        if is_full {
            self.refused += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// The same for a call that needs no room.
    fn call(&mut self) -> io::Result<()> {
        let number = self.calls;
        self.calls += 1;
        match &mut self.granted {
            Some(0) => return Err(no_power()),
            Some(left) => *left -= 1,
            None => {}
        }
        match self.fail_at == Some(number) {
            true => Err(io::Error::other("the disk failed, on purpose")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for CrashFile {
    fn len(&self) -> io::Result<u64> {
        let disk = self.disk();
        if disk.granted == Some(0) {
            return Err(no_power());
        }
        Ok(disk.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk();
        if disk.granted == Some(0) {
            return Err(no_power());
        }
        let offset = offset as usize;
        let source = disk.current.get(offset..offset + out.len());
        out.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change()?;
        let len = len as usize;
        disk.current.resize(len, 0);
        disk.pending.push(Pending::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.syncs += 1;
        disk.call()?;
        let disk = &mut *disk;
        for pending in disk.pending.drain(..) {
            match pending {
                Pending::SetLen(len) => disk.synced.resize(len, 0),
                Pending::Write(offset, data) => write_inside(&mut disk.synced, offset, &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change()?;
        let offset = offset as usize;
        let end = offset + data.len();
        if disk.current.len() < end {
            return Err(io::Error::other(format!("a write up to {end} of {} bytes", disk.current.len())));
        }
        disk.current[offset..end].copy_from_slice(data);
        disk.pending.push(Pending::Write(offset, data.to_vec()));
        Ok(())
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power is gone")
}

/// Cuts a write at the borders of sectors.
fn sectors(offset: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = data;
    let mut offset = offset;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (sector, after) = rest.split_at(rest.len().min(SECTOR_BYTES - offset % SECTOR_BYTES));
        let at = offset;
        (rest, offset) = (after, offset + sector.len());
        Some((at, sector))
    })
}

/// Writes what lies inside the file: bytes past an end that was not made durable are nowhere.
fn write_inside(bytes: &mut [u8], offset: usize, data: &[u8]) {
    if let Some(target) = bytes.get_mut(offset..) {
        let len = target.len().min(data.len());
        target[..len].copy_from_slice(&data[..len]);
    }
}
