//! A reader beside a writer that purges and installs: at the worst moment, between the look and the read, and all the
//! time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::wal::fs::{File, Fs, SharedFs};

type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A disk that does something else first when it is read from, and counts the files that were cut to nothing.
struct Hooked {
    fs: SharedFs,
    hook: Hook,
    cut: Arc<AtomicU64>,
}

struct HookedFile {
    file: Box<dyn File>,
    hook: Hook,
    cut: Arc<AtomicU64>,
}

impl Hooked {
    fn wrap(&self, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(HookedFile { file, hook: self.hook.clone(), cut: self.cut.clone() })
    }
}

impl Fs for Hooked {
    fn create_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.fs.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.fs.list(dir)
    }
    fn open(&self, path: &Path) -> std::io::Result<Box<dyn File>> {
        self.fs.open(path).map(|file| self.wrap(file))
    }
    fn create(&self, path: &Path) -> std::io::Result<Box<dyn File>> {
        self.fs.create(path).map(|file| self.wrap(file))
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.fs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.fs.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.fs.sync_dir(dir)
    }
    fn free_bytes(&self, dir: &Path) -> std::io::Result<u64> {
        self.fs.free_bytes(dir)
    }
    fn allocated_bytes(&self, path: &Path) -> std::io::Result<u64> {
        self.fs.allocated_bytes(path)
    }
    fn lock(&self, path: &Path) -> std::io::Result<Box<dyn Send + Sync>> {
        self.fs.lock(path)
    }
}

impl File for HookedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let hook = self.hook.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.file.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> std::io::Result<()> {
        self.file.write_at(offset, buf)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.file.sync()
    }
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.cut.fetch_add(u64::from(len == 0), Ordering::Relaxed);
        self.file.set_len(len)
    }
}

/// Reads entries 2 to 20 of a log of 12 in some segments; `change` happens when the reader has looked and before it
/// reads the file, and then every segment that was freed is made unreadable.
fn read_while(change: impl FnOnce(&mut Wal) + Send + 'static) -> (Vec<Entry>, Reader) {
    let disk = MemFs::new();
    let hook = Hook::default();
    let fs: SharedFs = Arc::new(Hooked { fs: disk.shared(), hook: hook.clone(), cut: Arc::default() });
    let (mut wal, reader, _) = Wal::open(fs, Path::new(DIR), options(), &bootstrap()).unwrap();
    wal.append(&[write(GROUP, Some(hard_state(9, 1, 0)), vec![])]).unwrap();
    for index in 1..=12 {
        wal.append(&[write(GROUP, None, vec![command(index, 1, 700)])]).unwrap();
    }
    *hook.lock().unwrap() = Some(Box::new(move || change(&mut wal)));
    let read = reader.read(GROUP, Index(2), Index(20), usize::MAX).unwrap();
    assert!(hook.lock().unwrap().is_none(), "the change came");
    (read, reader)
}

#[test]
fn entries_purged_between_the_look_and_the_read_are_none() {
    let (read, reader) = read_while(|wal| wal.purge(GROUP, (Index(11), Term(1)), &membership(3)).unwrap());
    assert_eq!(read, []);
    assert_eq!(reader.read(GROUP, Index(12), Index(20), usize::MAX).unwrap(), [command(12, 1, 700)]);
}

#[test]
fn an_install_between_the_look_and_the_read_leaves_nothing_of_the_void_log() {
    let (read, reader) = read_while(|wal| {
        wal.append(&[installing(GROUP, None, install((30, 2), 3, 1), vec![command(31, 2, 5)])]).unwrap();
    });
    assert_eq!(read, []);
    assert_eq!(reader.read(GROUP, Index(31), Index(40), usize::MAX).unwrap(), [command(31, 2, 5)]);
}

#[test]
fn a_read_that_a_reset_overtakes_gives_the_new_log() {
    let entries: Vec<Entry> = (2..=6).map(|index| command(index, 2, 300)).collect();
    let new = entries.clone();
    let (read, _) = read_while(move |wal| {
        wal.append(&[installing(GROUP, None, install((1, 2), 3, 1), new)]).unwrap();
    });
    assert_eq!(read, entries);
}

#[test]
fn an_install_that_keeps_what_is_being_read_does_not_disturb() {
    let (read, _) =
        read_while(|wal| wal.append(&[installing(GROUP, None, install((1, 1), 3, 1), vec![])]).unwrap());
    assert_eq!(read, (2..=12).map(|index| command(index, 1, 700)).collect::<Vec<_>>());
}

/// What cannot be read any more and is not wanted any more poisons nothing.
#[test]
fn an_error_in_what_was_purged_meanwhile_is_none() {
    let disk = MemFs::new();
    let hook = Hook::default();
    let fs: SharedFs = Arc::new(Hooked { fs: disk.shared(), hook: hook.clone(), cut: Arc::default() });
    let (mut wal, reader, _) = Wal::open(fs, Path::new(DIR), options(), &bootstrap()).unwrap();
    wal.append(&[write(GROUP, None, (1..=3).map(|index| command(index, 1, 600)).collect())]).unwrap();
    let damaged = disk.clone();
    *hook.lock().unwrap() = Some(Box::new(move || {
        wal.purge(GROUP, (Index(3), Term(1)), &membership(3)).unwrap();
        damaged.flip(&segment(1), 1600, 1);
    }));
    assert_eq!(reader.read(GROUP, Index(1), Index(9), usize::MAX).unwrap(), []);
    assert_eq!(reader.read(GROUP, Index(5), Index(9), usize::MAX).unwrap(), [], "not poisoned");
}

/// A segment that was freed gives its space back bit by bit, unless a reader has its file: that one reads on.
#[test]
fn no_segment_is_cut_under_a_reader() {
    let (disk, hook, cut) = (MemFs::new(), Hook::default(), Arc::new(AtomicU64::new(0)));
    let fs = Hooked { fs: disk.shared(), hook: hook.clone(), cut: cut.clone() };
    let (mut wal, reader, _) = Wal::open(Arc::new(fs), Path::new(DIR), options(), &bootstrap()).unwrap();
    for index in 1..=40 {
        wal.append(&[write(GROUP, None, vec![command(index, 1, 700)])]).unwrap();
    }
    let mut free = move |to: u64| {
        let (segments_before, cut_before) = (segments(&disk), cut.load(Ordering::Relaxed));
        wal.purge(GROUP, (Index(to), Term(1)), &membership(3)).unwrap();
        let mut removed = wal.take_freed().expect("segments are freed").remove().unwrap();
        while removed.give_back() {}
        ((segments_before - segments(&disk)) as u64, cut.load(Ordering::Relaxed) - cut_before)
    };
    let (removed, cut) = free(15);
    assert_eq!(removed, cut, "nobody has any of them");
    *hook.lock().unwrap() = Some(Box::new(move || {
        let (removed, cut) = free(39);
        assert!(removed > 1, "the segment that is read and others are freed");
        assert_eq!(removed - 1, cut, "all but the one that is read");
    }));
    assert_eq!(reader.read(GROUP, Index(16), Index(20), usize::MAX).unwrap(), []);
    assert!(hook.lock().unwrap().is_none(), "the segments were freed meanwhile");
}

/// Lives of a log, one reset after the other, each with entries of a term of its own: a read never fails, is without a
/// hole, of one life, and never of one before that which was there when it began.
#[test]
fn a_reader_reads_while_the_log_is_purged_and_reset() {
    const LIVES: u64 = 60;
    let fs = MemFs::new();
    let (mut wal, reader, ..) = reopen(&fs);
    // The life that was last begun, and that the writer is done.
    let (life, done) = (AtomicU64::new(0), std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(7);
            while !done.load(Ordering::Acquire) {
                let before = life.load(Ordering::Acquire);
                let first = Index(before * 10 + random.u64(0..25));
                let read = reader.read(GROUP, first, Index(first.0 + 12), usize::MAX).unwrap();
                for (index, entry) in (first.0..).zip(&read) {
                    assert_eq!((entry.index, entry.term), (Index(index), read[0].term), "one life, no hole");
                    assert!(entry.term.0 >= before, "an entry of life {} in life {before}", entry.term);
                    assert_eq!(entry, &command(index, entry.term.0, 300));
                }
            }
        });
        // Each life begins a little further than the one before, inside what that had; its first entries are purged.
        for term in 1..=LIVES {
            let begins = term * 10;
            let entries = (begins + 1..=begins + 20).map(|index| command(index, term, 300)).collect();
            let state = Some(hard_state(term, 0, 0));
            wal.append(&[installing(GROUP, state, install((begins, term), 3, term), entries)]).unwrap();
            life.store(term, Ordering::Release);
            for to in [begins + 3, begins + 9] {
                wal.purge(GROUP, (Index(to), Term(term)), &membership(3)).unwrap();
            }
        }
        done.store(true, Ordering::Release);
    });
}
