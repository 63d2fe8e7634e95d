//! The production raw backend: one file, locked, synced with fdatasync.
//!
//! It knows nothing of blocks or checksums; [`super::backend`] adds those. After a failed write, truncation or sync it
//! refuses everything: Linux marks pages clean after a failed sync, so a second one would report success for bytes
//! that never reached the disk. But a write or a growth that found no room was not taken, or in part, and nothing else
//! was lost by it (H18): it is for the caller to say what becomes of it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

use super::Error;
use super::error::is_out_of_room;

/// Opens the state file for this process alone, creating it if need be; its name is durable when this returns.
///
/// # Errors
/// [`Error::Locked`] if another process has it open, [`Error::Io`] if the disk fails.
pub fn file_backend(path: &Path) -> Result<Box<dyn StorageBackend>, Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| failed("open", path, &error))?;
    let file = locked(file, path)?;
    // A new file's name is durable only when its directory is.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| failed("sync the directory of", path, &error))?;
    Ok(Box::new(file))
}

/// Opens a state file that is there, to read alone: whatever would change it fails. Still for this process alone, so that
/// no node begins to write to it.
///
/// # Errors
/// As of [`file_backend`].
pub fn file_to_read(path: &Path) -> Result<Box<dyn StorageBackend>, Error> {
    let file = File::open(path).map_err(|error| failed("open", path, &error))?;
    Ok(Box::new(locked(file, path)?))
}

fn locked(file: File, path: &Path) -> Result<RawFile, Error> {
    match file.try_lock() {
        Ok(()) => Ok(RawFile { file, poisoned: AtomicBool::new(false) }),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(failed("lock", path, &error)),
    }
}

fn failed(call: &str, path: &Path, error: &io::Error) -> Error {
    Error::io(format!("{call} {}: {error}", path.display()), error)
}

/// A locked file. The lock goes with the descriptor.
#[derive(Debug)]
struct RawFile {
    file: File,
    /// Set by the first failed change, never cleared.
    poisoned: AtomicBool,
}

impl RawFile {
    fn sync(&self, sync: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        self.admit()?;
        sync(&self.file).inspect_err(|_| self.poisoned.store(true, Ordering::Release))
    }

    fn change(&self, change: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        self.admit()?;
        change(&self.file).inspect_err(|error| {
            if !is_out_of_room(error) {
                self.poisoned.store(true, Ordering::Release);
            }
        })
    }

    fn admit(&self) -> io::Result<()> {
        match self.poisoned.load(Ordering::Acquire) {
            true => Err(io::Error::other("an earlier write or sync failed, and is never retried")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for RawFile {
    fn len(&self) -> io::Result<u64> {
        self.admit()?;
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.admit()?;
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|file| file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(File::sync_data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|file| file.write_all_at(data, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("state.redb");
        let first = file_backend(&path).expect("the first open");
        // flock belongs to the open file description, so a second open conflicts within a process too.
        assert!(matches!(file_backend(&path), Err(Error::Locked { .. })));
        drop(first);
        file_backend(&path).expect("the lock went with the first");
    }

    #[test]
    fn bytes_written_are_read_and_the_length_is_the_files() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = file_backend(&dir.path().join("state.redb")).expect("open");
        file.set_len(10).expect("set_len");
        file.write(3, b"abc").expect("write");
        file.sync_data().expect("sync");
        let mut out = [9; 5];
        file.read(2, &mut out).expect("read");
        assert_eq!(&out, b"\0abc\0");
        assert_eq!(file.len().expect("len"), 10);
        assert!(file.read(8, &mut out).is_err(), "a read past the end must fail");
        file.read(0, &mut out).expect("a failed read poisons nothing");
    }

    /// Covers H15: what follows a failed change is refused, and never tried.
    #[test]
    fn a_failed_change_poisons_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("state.redb");
        File::create(&path).expect("create");
        let file = File::open(&path).expect("open to read, so that writes fail");
        let file = RawFile { file, poisoned: AtomicBool::new(false) };
        assert!(file.write(0, b"x").is_err());
        for result in [file.sync_data(), file.write(0, b""), file.set_len(0), file.read(0, &mut [])] {
            let error = result.expect_err("poisoned");
            assert!(error.to_string().contains("never retried"), "{error}");
        }
    }

    /// Covers H18 and H15: want of room is no failure of the disk, unless a sync gives it as its reason.
    #[test]
    fn want_of_room_poisons_nothing_but_a_sync() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("state.redb");
        let file = File::options().create_new(true).read(true).write(true).open(&path).expect("create");
        let file = RawFile { file, poisoned: AtomicBool::new(false) };
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            assert!(file.change(|_| Err(kind.into())).is_err());
            file.write(0, b"x").expect("there is room again");
        }
        assert!(file.sync(|_| Err(io::ErrorKind::StorageFull.into())).is_err());
        let error = file.write(0, b"x").expect_err("poisoned");
        assert!(error.to_string().contains("never retried"), "{error}");
    }
}
