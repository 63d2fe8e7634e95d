//! What a power cut at this instant would leave at the least, read with the product's own reader.
//!
//! A [`Platter`] is a file system that shows durable names and durable bytes only, and cannot be written. [`Image`] is
//! what its log says of one group: which entries are there, and where it begins.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use quorate::types::{GroupId, Index, Term};
use quorate::wal::fs::{File, Fs};
use quorate::wal::inspect;

use super::{Entry, SharedDisk, State};

/// The durable side of a disk.
#[derive(Debug)]
pub struct Platter(SharedDisk);

/// A file as the platter has it.
struct Durable(Arc<[u8]>);

impl Platter {
    /// The durable side of `disk`.
    pub fn of(disk: &SharedDisk) -> Platter {
        Platter(disk.clone())
    }

    /// The bytes of a file, if its name is durable.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.lock();
        durable(&state, path).ok().map(<[u8]>::to_vec)
    }
}

fn durable<'s>(state: &'s State, path: &Path) -> io::Result<&'s [u8]> {
    match state.durable.get(path) {
        Some(Entry::File(id)) => Ok(state.inodes.get(id).map_or(&[], |inode| inode.durable())),
        Some(Entry::Directory) => Err(io::ErrorKind::IsADirectory.into()),
        None => Err(super::not_found(path)),
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Fs for Platter {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        read_only()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        if state.durable.get(dir) != Some(&Entry::Directory) {
            return Err(super::not_found(dir));
        }
        let files = state.durable.iter().filter(|(_, entry)| entry.inode().is_some());
        let here = files.filter(|(path, _)| path.parent() == Some(dir));
        Ok(here.filter_map(|(path, _)| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Durable(Arc::from(durable(&self.0.lock(), path)?))))
    }

    fn create(&self, _path: &Path) -> io::Result<Box<dyn File>> {
        read_only()
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        read_only()
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(0)
    }

    fn allocated_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(durable(&self.0.lock(), path)?.len() as u64)
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        read_only()
    }
}

impl File for Durable {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let bytes = self.0.get(start..start + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, _offset: u64, _buf: &[u8]) -> io::Result<()> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        read_only()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        read_only()
    }
}

/// What a log holds of the first group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The log begins after this entry; up to it, the state file has it all.
    pub purged: (Index, Term),
    /// The entries after it.
    pub entries: BTreeMap<Index, Term>,
}

impl Image {
    /// Reads the log in `dir`. What is damaged is not there.
    pub fn read(platter: &Platter, dir: &Path) -> Image {
        let mut image = Image::default();
        let mut visit = |record: inspect::RecordInfo| {
            if record.damage.is_some() || record.group != GroupId::FIRST.0 {
                return;
            }
            let (index, term) = (Index(record.index), Term(record.term));
            match record.kind {
                "noop" | "command" | "membership" => {
                    // An entry makes void what stood at its index and beyond.
                    drop(image.entries.split_off(&index));
                    image.entries.insert(index, term);
                }
                "reset" => {
                    image.entries.clear();
                    image.purged = (index, term);
                }
                "group" | "base" if index >= image.purged.0 => image.purged = (index, term),
                _ => {}
            }
        };
        // A log that cannot be read at all holds nothing.
        let _ = inspect::inspect(platter, dir, &mut visit);
        image.entries = image.entries.split_off(&image.purged.0.next());
        image
    }

    /// The position of the last entry.
    pub fn last(&self) -> (Index, Term) {
        self.entries.last_key_value().map_or(self.purged, |(index, term)| (*index, *term))
    }

    /// Whether this entry, or the state of the machine after it, is there.
    pub fn holds(&self, index: Index, term: Term) -> bool {
        index <= self.purged.0 || self.entries.get(&index) == Some(&term)
    }
}
