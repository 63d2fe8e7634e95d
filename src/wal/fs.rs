//! The file system seam: all that the log, the identity file and recovery ask of a disk.
//!
//! Production passes [`StdFs`]; the simulation passes a disk that forgets what was not synced, in whole, in part or
//! by sector, and that fails on purpose. The contract is POSIX's at its weakest: written bytes survive a crash only
//! after [`File::sync`], a created, renamed or removed name only after [`Fs::sync_dir`] of its directory.

use std::fs::{self as disk, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

/// A file system, or the part of one that a node lives in.
pub trait Fs: Send + Sync + 'static {
    /// Creates a directory in one that exists; [`io::ErrorKind::AlreadyExists`] if there is anything of that name.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Creates a file that must not exist, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Renames a file, replacing the target if it exists.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// How many bytes are free for this program in the file system that a directory is in.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// How many bytes a file takes up on the disk: fewer than its length where it has holes.
    fn allocated_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Takes the exclusive lock file at `path`, creating it if need be; held until the guard is dropped.
    /// Fails with [`io::ErrorKind::WouldBlock`] if another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file. Positions are explicit, so one handle serves readers and the writer at once.
pub trait File: Send + Sync {
    /// Fills `buf` from `offset`; [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes all of `buf` at `offset`, growing the file if need be.
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()>;

    /// Makes all written bytes, and the length, durable (fdatasync).
    fn sync(&self) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or extends (with zeroes) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A file system, shared by all parts of a node.
pub type SharedFs = Arc<dyn Fs>;

/// Whether a call failed because the disk is full, or what of it this program may use.
pub fn is_out_of_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reads a whole small file.
pub fn read_all(fs: &dyn Fs, path: &Path) -> io::Result<Vec<u8>> {
    let file = fs.open(path)?;
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// Makes a directory, and those above it that are missing. When this returns the names on the way to it are durable, also
/// where a process that was killed made them and did not come to sync them (H14).
pub fn make_dirs(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let Some(above) = dir.parent() else { return Ok(()) };
    let (above, is_named) = match above.as_os_str().is_empty() {
        true => (Path::new("."), false),
        false => (above, true),
    };
    if is_named {
        make_dirs(fs, above)?;
    }
    let existed = match fs.create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => true,
        made => made.map(|()| false).map_err(|error| during("making the directory", dir, &error))?,
    };
    match fs.sync_dir(above) {
        // It was there before this program, above it is not this user's, or knows no fsync: whoever made it saw to it.
        Err(error) if existed && NO_SYNC.contains(&error.kind()) => Ok(()),
        synced => synced.map_err(|error| during("syncing the directory", above, &error)),
    }
}

/// How a directory says that it cannot be synced by this user, or at all.
const NO_SYNC: [io::ErrorKind; 3] =
    [io::ErrorKind::PermissionDenied, io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported];

fn during(call: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{call} {}: {error}", path.display()))
}

/// Replaces a small file so that a crash leaves the old or the new content: a temporary file, synced, renamed over
/// the old one, then the directory synced.
pub fn replace(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or_else(|| io::Error::other("a file needs a directory"))?;
    let mut temporary = PathBuf::from(path);
    temporary.as_mut_os_string().push(".new");
    match fs.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs.create(&temporary)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    fs.rename(&temporary, path)?;
    fs.sync_dir(dir)
}

/// The real disk. The only place in the log's code that touches it.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdFs;

impl Fs for StdFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        disk::create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in disk::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(StdFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(StdFile(OpenOptions::new().read(true).write(true).create_new(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        disk::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        disk::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        disk::File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stats = nix::sys::statvfs::statvfs(dir)?;
        Ok(stats.blocks_available().saturating_mul(stats.fragment_size()))
    }

    fn allocated_bytes(&self, path: &Path) -> io::Result<u64> {
        // In units of 512 bytes, whatever the file system's are.
        Ok(disk::metadata(path)?.blocks() * 512)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        lock(OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?)
    }
}

/// The real disk, only to be looked at: files are opened to read, and every call that would change something is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadFs;

impl Fs for ReadFs {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        StdFs.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(StdFile(disk::File::open(path)?)))
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn File>> {
        refused()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        StdFs.free_bytes(dir)
    }

    fn allocated_bytes(&self, path: &Path) -> io::Result<u64> {
        StdFs.allocated_bytes(path)
    }

    /// Takes the lock of a file that is there. Where there is none nobody holds it, and none is made.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        match disk::File::open(path) {
            Ok(file) => lock(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Box::new(())),
            Err(error) => Err(error),
        }
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this disk is only looked at"))
}

fn lock(file: disk::File) -> io::Result<Box<dyn Send + Sync>> {
    match file.try_lock() {
        Ok(()) => Ok(Box::new(file)),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A file of the real disk.
struct StdFile(disk::File);

impl File for StdFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}
