//! The log's file system seam as plain memory: what it writes is copied, what it syncs costs nothing.
//!
//! The disk in memory that tests use (`wal::fs::testing`) also knows what was not synced, and keeps a trace of all calls: a bench
//! would measure that.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate::wal::fs::{File, Fs};

/// Files by name. There are no directories.
pub struct MemoryFs {
    files: Mutex<BTreeMap<PathBuf, MemoryFile>>,
    /// How long files may become without being moved.
    file_bytes: usize,
}

/// A file, shared with its name.
#[derive(Clone)]
struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl MemoryFs {
    /// No files; room for files of this length is set aside when they are created.
    pub fn new(file_bytes: usize) -> MemoryFs {
        MemoryFs { files: Mutex::default(), file_bytes }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, MemoryFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, path: &Path) -> io::Result<MemoryFile> {
        self.files().get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Fs for MemoryFs {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(ErrorKind::AlreadyExists.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.files();
        let inside = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(self.file(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = MemoryFile(Arc::new(Mutex::new(Vec::with_capacity(self.file_bytes))));
        match self.files().insert(path.to_owned(), file.clone()) {
            None => Ok(Box::new(file)),
            Some(_) => Err(ErrorKind::AlreadyExists.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files().remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn allocated_bytes(&self, path: &Path) -> io::Result<u64> {
        self.file(path)?.len()
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }
}

impl MemoryFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File for MemoryFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let (bytes, start) = (self.bytes(), offset as usize);
        let found = bytes.get(start..start + buf.len()).ok_or(ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let (mut bytes, start) = (self.bytes(), offset as usize);
        // A segment's zeroes are appended to it.
        if bytes.len() == start {
            bytes.extend_from_slice(buf);
            return Ok(());
        }
        let end = start + buf.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(buf);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes().resize(len as usize, 0);
        Ok(())
    }
}
