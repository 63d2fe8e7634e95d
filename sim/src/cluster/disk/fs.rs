//! A disk mounted by one boot of its node: the log's file system seam over the model.

use std::io;
use std::path::Path;
use std::sync::Arc;

use quorate::wal::fs::{File, Fs, SharedFs};

use super::{ChangeKind, Entry, InodeId, SharedDisk, State};
use crate::cluster::power::{SharedPower, Spent, no_power};
use crate::trace::event::What;

/// A mount.
#[derive(Clone, Debug)]
pub struct DiskFs {
    disk: SharedDisk,
    power: SharedPower,
}

impl DiskFs {
    /// Mounts `disk` for the boot that `power` feeds.
    pub fn mount(disk: SharedDisk, power: SharedPower) -> DiskFs {
        DiskFs { disk, power }
    }

    /// The mount as the seam takes it.
    pub fn shared(&self) -> SharedFs {
        Arc::new(self.clone())
    }

    /// Opens the file at `path`, creating it if need be.
    pub fn open_or_create(&self, path: &Path) -> io::Result<DiskFile> {
        let id = self.call("open", path, None, &[], |state| match state.file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => state.create(path),
            found => found,
        })?;
        Ok(self.handle(path, id))
    }

    fn handle(&self, path: &Path, id: InodeId) -> DiskFile {
        DiskFile { fs: self.clone(), id, name: path.display().to_string() }
    }

    /// Carries one call out, unless the power is cut, and records it.
    fn call<T>(
        &self,
        kind: &'static str,
        path: &Path,
        file: Option<InodeId>,
        bytes: &[u8],
        body: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let spent = self.power.spend(kind == "write")?;
        let result = {
            let mut state = self.disk.lock();
            let fails = state.health.fails(kind);
            if fails { Err(state.fail(file.filter(|_| kind == "sync"))) } else { body(&mut state) }
        };
        self.disk.note_failure(&result, kind, path);
        let fate = match (&result, spent) {
            (_, Spent::Last) => "power cut",
            (Ok(_), Spent::Reported) => "done",
            (Err(_), Spent::Reported) => "failed",
        };
        self.disk.trace.record(&self.disk.node, kind, format_args!("{} {fate}", path.display()), bytes);
        self.disk.trace.event(self.disk.id, || What::Disk {
            call: kind,
            text: format!("{} {fate}", path.display()),
            bytes: bytes.len(),
        });
        match spent {
            Spent::Reported => result,
            Spent::Last => Err(no_power()),
        }
    }
}

impl Fs for DiskFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.call("create_dir", dir, None, &[], |state| {
            if state.names.contains_key(dir) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let above = state.directory_of(dir)?.to_owned();
            state.change(above, ChangeKind::Set { path: dir.to_owned(), entry: Entry::Directory });
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.call("list", dir, None, &[], |state| {
            if state.names.get(dir) != Some(&Entry::Directory) {
                return Err(super::not_found(dir));
            }
            let files = state.names.iter().filter(|(_, entry)| entry.inode().is_some());
            let here = files.filter(|(path, _)| path.parent() == Some(dir));
            Ok(here.filter_map(|(path, _)| Some(path.file_name()?.to_str()?.to_owned())).collect())
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let id = self.call("open", path, None, &[], |state| state.file(path))?;
        Ok(Box::new(self.handle(path, id)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let id = self.call("create", path, None, &[], |state| state.create(path))?;
        Ok(Box::new(self.handle(path, id)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("rename", from, None, to.as_os_str().as_encoded_bytes(), |state| {
            let entry = Entry::File(state.file(from)?);
            let directory = state.directory_of(to)?.to_owned();
            if from.parent() != Some(&*directory) {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "a rename stays in its directory"));
            }
            if state.names.get(to) == Some(&Entry::Directory) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            let kind = ChangeKind::Rename { from: from.to_owned(), to: to.to_owned(), entry };
            state.change(directory, kind);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call("remove", path, None, &[], |state| {
            state.file(path)?;
            let directory = state.directory_of(path)?.to_owned();
            state.change(directory, ChangeKind::Remove { path: path.to_owned() });
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call("sync_dir", dir, None, &[], |state| state.sync_directory(dir))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.call("free", dir, None, &[], |state| Ok(state.free()))
    }

    fn allocated_bytes(&self, path: &Path) -> io::Result<u64> {
        self.call("stat", path, None, &[], |state| {
            let id = state.file(path)?;
            Ok(state.inodes.get(&id).map_or(0, |inode| inode.allocated()) as u64)
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let (epoch, file) = self.call("lock", path, None, &[], |state| {
            let file = match state.names.contains_key(path) {
                true => state.file(path)?,
                false => state.create(path)?,
            };
            if !state.locks.insert(file) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok((state.epoch, file))
        })?;
        Ok(Box::new(Lock { disk: self.disk.clone(), file, epoch }))
    }
}

/// A held lock. It is the file's, whatever its name is by now.
struct Lock {
    disk: SharedDisk,
    file: InodeId,
    epoch: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        // A crash released it already, and the next boot may hold it by now.
        if state.epoch == self.epoch {
            state.locks.remove(&self.file);
        }
    }
}

/// An open file.
#[derive(Clone, Debug)]
pub struct DiskFile {
    fs: DiskFs,
    id: InodeId,
    name: String,
}

impl DiskFile {
    /// The path it was opened under.
    pub fn path(&self) -> &Path {
        Path::new(&self.name)
    }

    fn call<T>(
        &self,
        kind: &'static str,
        what: std::fmt::Arguments<'_>,
        bytes: &[u8],
        body: impl FnOnce(&mut super::inode::Inode) -> io::Result<T>,
    ) -> io::Result<T> {
        let label = format!("{} {what}", self.name);
        // An open file lives on without a name, as POSIX has it; only a crash ends it, and then the power is cut.
        self.fs.call(kind, Path::new(&label), Some(self.id), bytes, |state| {
            body(state.inodes.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?)
        })
    }
}

impl DiskFile {
    /// Changes the file, if there is room for what is written to it at `range`.
    fn change(
        &self,
        kind: &'static str,
        what: std::fmt::Arguments<'_>,
        bytes: &[u8],
        range: std::ops::Range<usize>,
        body: impl FnOnce(&mut super::inode::Inode),
    ) -> io::Result<()> {
        let label = format!("{} {what}", self.name);
        self.fs.call(kind, Path::new(&label), Some(self.id), bytes, |state| {
            let inode = state.inodes.get(&self.id).ok_or(io::ErrorKind::NotFound)?;
            state.room_for(inode.lacking(range))?;
            body(state.inodes.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?);
            Ok(())
        })
    }
}

impl File for DiskFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let len = buf.len();
        self.call("read", format_args!("{offset}+{len}"), &[], |inode| {
            let start = to_usize(offset)?;
            let end = start.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
            let bytes = inode.bytes().get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
            buf.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let offset = to_usize(offset)?;
        self.change("write", format_args!("{offset}"), buf, offset..offset + buf.len(), |inode| {
            inode.write(offset, buf);
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.call("sync", format_args!(""), &[], |inode| {
            inode.sync();
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.call("len", format_args!(""), &[], |inode| Ok(inode.bytes().len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = to_usize(len)?;
        // What a file grows by is a hole.
        self.change("set_len", format_args!("{len}"), &[], 0..0, |inode| inode.set_len(len))
    }
}

fn to_usize(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use quorate::wal::fs::{read_all, replace};

    use super::super::{Disk, Loss};
    use super::*;
    use crate::cluster::faults::ledger::Ledger;
    use crate::cluster::power::Power;
    use crate::trace::Trace;

    fn disk() -> SharedDisk {
        let trace = Trace::new(crate::cluster::entropy::now, None).expect("no sink to fail");
        Disk::new(1, Path::new("/data"), trace.clone(), Ledger::new(trace))
    }

    fn mount(disk: &SharedDisk) -> DiskFs {
        DiskFs::mount(disk.clone(), Power::on())
    }

    fn crash(disk: &SharedDisk, fs: &DiskFs, loss: Loss) -> DiskFs {
        fs.power.cut();
        disk.crash(loss, &mut fastrand::Rng::with_seed(1));
        mount(disk)
    }

    fn path(name: &str) -> PathBuf {
        Path::new("/data").join(name)
    }

    #[test]
    fn a_name_is_durable_once_its_directory_is_synced() {
        let disk = disk();
        let fs = mount(&disk);
        let file = fs.create(&path("a")).expect("create");
        file.write_at(0, b"bytes").expect("write");
        file.sync().expect("sync");
        let fs = crash(&disk, &fs, Loss::Whole);
        assert_eq!(
            fs.list(Path::new("/data")).expect("list"),
            Vec::<String>::new(),
            "the name was not synced"
        );

        fs.create(&path("a")).expect("create").write_at(0, b"bytes").expect("write");
        fs.sync_dir(Path::new("/data")).expect("sync_dir");
        let fs = crash(&disk, &fs, Loss::Whole);
        assert_eq!(fs.list(Path::new("/data")).expect("list"), ["a"]);
        assert_eq!(read_all(&fs, &path("a")).expect("read"), b"", "the bytes were not synced");
    }

    #[test]
    fn a_new_directory_is_lost_with_all_in_it() {
        let disk = disk();
        let fs = mount(&disk);
        fs.create_dir(&path("wal")).expect("create_dir");
        fs.create(&path("wal/1")).expect("create");
        fs.sync_dir(&path("wal")).expect("sync_dir");
        let fs = crash(&disk, &fs, Loss::Whole);
        assert_eq!(fs.list(&path("wal")).expect_err("it is gone").kind(), io::ErrorKind::NotFound);
        assert_eq!(fs.create(&path("wal/1")).err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn replace_leaves_the_old_or_the_new_content_after_every_crash() {
        for calls in 1..12 {
            for seed in 0..40 {
                let disk = disk();
                let fs = mount(&disk);
                replace(&fs, &path("identity"), b"old").expect("replace");
                fs.power.cut_after(calls);
                let replaced = replace(&fs, &path("identity"), b"newer");
                fs.power.cut();
                let mut rng = fastrand::Rng::with_seed(seed);
                disk.crash(Loss::draw(&mut rng), &mut rng);
                let content = read_all(&mount(&disk), &path("identity")).expect("it is there");
                assert!(content == b"old" || content == b"newer", "{content:?}");
                assert!(replaced.is_err() || content == b"newer", "what was reported durable is lost");
            }
        }
    }

    #[test]
    fn a_rename_replaces_its_target_and_open_files_live_on() {
        let disk = disk();
        let fs = mount(&disk);
        let old = fs.create(&path("a")).expect("create");
        old.write_at(0, b"old").expect("write");
        let new = fs.create(&path("a.new")).expect("create");
        new.write_at(0, b"new").expect("write");
        fs.rename(&path("a.new"), &path("a")).expect("rename");
        assert_eq!(read_all(&fs, &path("a")).expect("read"), b"new");
        assert_eq!(fs.list(Path::new("/data")).expect("list"), ["a"]);
        let mut bytes = [0; 3];
        old.read_at(0, &mut bytes).expect("an open file lives on");
        assert_eq!(&bytes, b"old");
        fs.remove(&path("a")).expect("remove");
        assert_eq!(fs.open(&path("a")).err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_lock_is_exclusive_and_released_by_drop_and_by_a_crash() {
        let disk = disk();
        let fs = mount(&disk);
        let held = fs.lock(&path("lock")).expect("lock");
        assert_eq!(fs.lock(&path("lock")).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        drop(held);
        let of_the_dead = fs.lock(&path("lock")).expect("lock");
        let fs = crash(&disk, &fs, Loss::Whole);
        let _held = fs.lock(&path("lock")).expect("a crash releases the lock");
        drop(of_the_dead);
        assert!(fs.lock(&path("lock")).is_err(), "a guard of the dead releases nothing of the living");
    }

    #[test]
    fn no_call_reaches_the_disk_after_the_cut() {
        let disk = disk();
        let fs = mount(&disk);
        let file = fs.create(&path("a")).expect("create");
        fs.sync_dir(Path::new("/data")).expect("sync_dir");
        fs.power.cut();
        assert!(file.write_at(0, b"x").is_err());
        assert!(file.sync().is_err());
        assert!(fs.remove(&path("a")).is_err());
        let fs = crash(&disk, &fs, Loss::Nothing);
        assert_eq!(read_all(&fs, &path("a")).expect("read"), b"");
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let disk = disk();
        let fs = mount(&disk);
        let file = fs.create(&path("a")).expect("create");
        file.write_at(2, b"x").expect("write");
        assert_eq!(file.len().expect("len"), 3);
        let error = file.read_at(1, &mut [0; 3]).expect_err("one byte too far");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(fs.create(&path("a")).is_err(), "it exists");
    }
}
