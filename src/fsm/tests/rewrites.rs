//! Files that are mostly free are written anew, while everything goes on (covers H26, H27).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::concurrency::{entry, read_on, wait_for_each};
use super::support::*;
use crate::command::Command;
use crate::fsm::schema::{META, META_FOOTPRINT};
use crate::fsm::testing::{CrashFile, Loss};
use crate::fsm::{Error, Options, Store};
use crate::types::{ClientId, Index};

/// A store that held much, and holds little: with sessions, replies, and keys of all sizes.
fn shrunk(file: &CrashFile, values: u64) -> Store {
    shrunk_by(file, values, 300_000)
}

fn shrunk_by(file: &CrashFile, values: u64, value_bytes: usize) -> Store {
    let store = open(file).expect("open");
    apply(&store, Command::OpenSession { client: ClientId(1) });
    apply_envelope(&store, &envelope(Some(at(1, 1, 1)), write(vec![put("in a session", "v")])));
    for key in 0..values {
        apply(&store, write(vec![put_bytes(&format!("large {key}"), noise(key, value_bytes))]));
        apply(&store, write(vec![put(&format!("small {key}"), "v")]));
        if store.fold_due() {
            store.fold().expect("fold");
        }
    }
    // From the front, so that what is left lies at the end of the file.
    for key in 0..values - 2 {
        apply(&store, write(vec![delete(&format!("large {key}"))]));
        store.fold().expect("fold");
    }
    store
}

fn staged(result: Result<impl std::fmt::Debug, Error>) -> String {
    match result {
        Err(Error::Staged { what } | Error::GivenUp { what }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_is_mostly_free_says_so_and_is_small_afterwards() {
    let (old, new) = (CrashFile::new(), CrashFile::new());
    let store = shrunk(&old, 60);
    let before = (State::of(&store), rows(&store));
    let sizes = store.sizes();
    assert!(sizes.file_bytes > 8 << 20, "{sizes:?}");
    assert!(store.is_mostly_free(), "{sizes:?}");
    let rewritten = store.rewrite(Box::new(new.clone())).expect("rewrite");
    assert_eq!(rewritten.applied(), store.folded());
    store.adopt(rewritten).expect("adopt");
    assert_eq!((State::of(&store), rows(&store)), before);
    let after = store.sizes();
    assert_eq!(after.file_bytes, new.bytes().len() as u64, "the new file is the one in use");
    assert!(after.file_bytes * 4 < sizes.file_bytes, "{sizes:?} became {after:?}");
    assert!(!store.is_mostly_free() && after.free_bytes * 2 < after.file_bytes, "{after:?}");
    // It goes on in the new file alone.
    let old_bytes = old.bytes();
    apply(&store, write(vec![put("afterwards", "v"), delete("small 3")]));
    store.fold().expect("fold");
    assert!(old.bytes() == old_bytes, "the old file was written to");
    let expected = State::of(&store);
    assert_eq!(State::of(&open(&new.reboot(Loss::All, 0)).expect("reopen")), expected);
}

/// A rewrite must not be asked for again and again: neither of what it made, nor of a file that is full.
#[test]
fn free_bytes_are_those_of_pages_that_hold_nothing() {
    let file = CrashFile::new();
    let store = Store::open(Box::new(file.clone()), Options { write_set_bytes_max: 1 << 30, ..options() });
    let store = store.expect("open");
    let free = |store: &Store| {
        let sizes = store.sizes();
        sizes.free_bytes as f64 / sizes.file_bytes as f64
    };
    // Small rows in no order, as clients write them.
    for key in 0..8_000_u64 {
        let name = format!("{:016x}", key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        apply(&store, write(vec![put_bytes(&name, noise(key, 1_200))]));
        if key % 800 == 799 {
            store.fold().expect("fold");
        }
    }
    let full = store.sizes();
    assert!(full.file_bytes > 8 << 20 && !store.is_mostly_free(), "{full:?}");
    let rewrite = |store: &Store| {
        let rewritten = store.rewrite(Box::new(CrashFile::new())).expect("rewrite");
        store.adopt(rewritten).expect("adopt");
    };
    rewrite(&store);
    let rewritten = store.sizes();
    assert!(free(&store) < 0.05, "{rewritten:?} after {full:?}");
    // One in eight stays: the pages that are left are next to empty.
    for key in (0..8_000_u64).filter(|key| key % 8 > 0) {
        let name = format!("{:016x}", key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        apply(&store, write(vec![delete(&name)]));
    }
    store.fold().expect("fold");
    assert!(store.is_mostly_free(), "{:?}", store.sizes());
    let reopened = store.sizes();
    rewrite(&store);
    assert!(store.sizes().file_bytes * 2 < reopened.file_bytes, "{:?} after {reopened:?}", store.sizes());
    assert!(!store.is_mostly_free());
}

#[test]
fn what_the_rows_cost_is_kept_through_restarts() {
    let file = CrashFile::new();
    let store = shrunk(&file, 5);
    store.fold().expect("fold");
    let expected: u64 = rows(&store).iter().map(|(_, key, row)| crate::fsm::base::cost(key, row)).sum();
    assert_eq!(store.shared.base().footprint(), expected);
    drop(store);
    let store = open(&file).expect("reopen");
    assert_eq!(store.shared.base().footprint(), expected);
    // Nor is a file refused that was made before it was kept.
    {
        let base = store.shared.base();
        let txn = base.db.begin_write().expect("begin");
        txn.open_table(META).expect("open").remove(META_FOOTPRINT).expect("remove").expect("it was there");
        txn.commit().expect("commit");
    }
    drop(store);
    let store = open(&file).expect("reopen");
    assert_eq!(store.shared.base().footprint(), expected);
    let (manifest, chunks) = snapshot(&store);
    let received = open(&CrashFile::new()).expect("open");
    received.install(build(&CrashFile::new(), &manifest, &chunks).expect("build"));
    assert_eq!(received.shared.base().footprint(), expected);
}

/// A raw file that calls back once, in its n-th write.
struct Hooked {
    file: CrashFile,
    writes: AtomicU64,
    hook: Mutex<Option<(u64, Hook)>>,
}

type Hook = Box<dyn FnOnce() + Send>;

impl Hooked {
    fn raw(file: &CrashFile, nth: u64, hook: impl FnOnce() + Send + 'static) -> Box<Hooked> {
        let hook: Hook = Box::new(hook);
        Box::new(Hooked {
            file: file.clone(),
            writes: AtomicU64::new(0),
            hook: Mutex::new(Some((nth, hook))),
        })
    }
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl StorageBackend for Hooked {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let number = self.writes.fetch_add(1, Ordering::AcqRel);
        let due = self.hook.lock().expect("no hook panicked").take_if(|(nth, _)| *nth == number);
        if let Some((_, hook)) = due {
            hook();
        }
        self.file.write(offset, data)
    }
}

/// Wherever in the copy a fold comes, it is in the new file.
#[test]
fn folds_while_the_file_is_copied_are_in_the_copy() {
    for nth in (1..40).step_by(3) {
        let store = shrunk(&CrashFile::new(), 5);
        store.fold().expect("fold");
        let (folded, called) = (store.folded(), Arc::new(AtomicBool::new(false)));
        let (inner, flag) = (store.clone(), called.clone());
        let new = CrashFile::new();
        let raw = Hooked::raw(&new, nth, move || {
            for round in 0..3 {
                apply(&inner, write(vec![put(&format!("meanwhile {round}"), "v"), delete("small 1")]));
                inner.fold().expect("fold");
            }
            // And one that is applied, and not folded.
            apply(&inner, write(vec![put("not folded", "v")]));
            flag.store(true, Ordering::Release);
        });
        let rewritten = store.rewrite(raw).expect("rewrite");
        if !called.load(Ordering::Acquire) {
            assert!(nth > 10, "the copy makes {nth} writes only");
            break;
        }
        assert_eq!(store.folded().0.0, folded.0.0 + 3);
        assert_eq!(rewritten.applied(), store.folded());
        let expected = rows(&store);
        store.adopt(rewritten).expect("adopt");
        assert_eq!(rows(&store), expected, "write {nth}");
        assert!(get(&store, "not folded").is_some(), "write {nth}");
        store.fold().expect("fold");
        assert_eq!(State::of(&open(&new).expect("reopen")), State::of(&store), "write {nth}");
    }
}

/// What is kept for the copy is bounded; the store does not suffer from it.
#[test]
fn a_copy_that_is_outrun_is_given_up() {
    let options = Options { write_set_bytes_max: 20_000, ..options() };
    let run = |folds: usize| {
        let store = Store::open(Box::new(CrashFile::new()), options.clone()).expect("open");
        for key in 0..200 {
            apply(&store, write(vec![put_bytes(&format!("before {key:03}"), noise(key, 40_000))]));
        }
        store.fold().expect("fold");
        let (inner, new) = (store.clone(), CrashFile::new());
        let raw = Hooked::raw(&new, 3, move || {
            for round in 0..folds {
                apply(&inner, write(vec![put(&format!("meanwhile {round}"), &"v".repeat(20_000))]));
                inner.fold().expect("fold");
            }
        });
        (store.rewrite(raw).map(drop), store, new.bytes().len())
    };
    let (kept, _, whole_bytes) = run(3);
    assert_eq!(kept, Ok(()));
    let (outrun, store, begun_bytes) = run(5);
    assert!(staged(outrun).contains("too busy"));
    // At once: what is read makes the file grow.
    assert!(begun_bytes * 2 < whole_bytes, "{begun_bytes} of {whole_bytes} bytes were copied in vain");
    // The sets are free, and the next one may succeed.
    let expected = State::of(&store);
    let rewritten = store.rewrite(Box::new(CrashFile::new())).expect("rewrite");
    store.adopt(rewritten).expect("adopt");
    assert_eq!(State::of(&store), expected);
}

/// The fold that outruns a copy is written over what was kept for the copy, and not behind it.
#[test]
fn what_was_kept_for_a_copy_that_is_outrun_is_free_at_once() {
    const PAGES_BYTES: u64 = 4 * (64 << 10);
    // Of four values each, seven sets may be kept.
    let options = Options { write_set_bytes_max: 300_000, ..options() };
    let store = Store::open(Box::new(CrashFile::new()), options).expect("open");
    let put_some = |store: &Store, round: u64| {
        for key in 4 * round..4 * (round + 1) {
            apply(store, write(vec![put_bytes(&format!("before {:03}", key % 80), noise(key, 40_000))]));
        }
    };
    for round in 0..20 {
        put_some(&store, round);
    }
    store.fold().expect("fold");
    let (inner, grown) = (store.clone(), Arc::new(Mutex::new(vec![])));
    let measured = grown.clone();
    let raw = Hooked::raw(&CrashFile::new(), 3, move || {
        for round in 20..28 {
            let before = inner.shared.base().file.written_bytes();
            put_some(&inner, round);
            inner.fold().expect("fold");
            let after = inner.shared.base().file.written_bytes();
            measured.lock().expect("no test panicked").push(after - before);
        }
    });
    assert!(staged(store.rewrite(raw)).contains("too busy"));
    let grown = grown.lock().expect("no test panicked");
    // The first ones find what was free before.
    assert!(grown[5..7].iter().all(|grown| *grown >= PAGES_BYTES), "copying costs nothing: {grown:?}");
    assert!(grown[7] < PAGES_BYTES, "the file has grown by {grown:?}");
}

/// Between the rewrite and its adoption, whichever file a crash leaves the pointer at has what was folded.
#[test]
fn before_it_is_adopted_both_files_have_every_fold() {
    let (old, new) = (CrashFile::new(), CrashFile::new());
    let store = shrunk(&old, 5);
    store.fold().expect("fold");
    let rewritten = store.rewrite(Box::new(new.clone())).expect("rewrite");
    assert!(staged(store.rewrite(Box::new(CrashFile::new()))).contains("under way"));
    for round in 0..3 {
        apply(&store, write(vec![put(&format!("meanwhile {round}"), "v")]));
        let folded = store.fold().expect("fold");
        assert_eq!(rewritten.applied(), folded);
        let expected = State::of(&store);
        for file in [&old, &new] {
            assert_eq!(State::of(&open(&file.reboot(Loss::All, 0)).expect("reopen")), expected, "{round}");
        }
    }
    // Dropped, it is out of the game, and another one may begin.
    drop(rewritten);
    let calls = new.calls();
    apply(&store, write(vec![put("afterwards", "v")]));
    store.fold().expect("fold");
    assert_eq!(new.calls(), calls, "a fold went into a file that was dropped");
    let rewritten = store.rewrite(Box::new(CrashFile::new())).expect("rewrite");
    store.adopt(rewritten).expect("adopt");
}

/// A fold that does not reach the new file does not count: the pointer may be there already.
#[test]
fn a_fold_that_one_of_the_files_lacks_does_not_count() {
    let new = CrashFile::new();
    let store = shrunk(&CrashFile::new(), 3);
    store.fold().expect("fold");
    let rewritten = store.rewrite(Box::new(new.clone())).expect("rewrite");
    let folded = store.folded();
    new.cut();
    apply(&store, write(vec![put("lost", "v")]));
    staged(store.fold());
    assert_eq!(store.folded(), folded);
    assert!(get(&store, "lost").is_some(), "it is still applied");
    drop(rewritten);
    assert_eq!(store.fold(), Ok(store.applied()), "the old file is well");
}

#[test]
fn a_state_that_is_installed_meanwhile_ends_a_rewrite() {
    let ahead = shrunk(&CrashFile::new(), 9);
    let (manifest, chunks) = snapshot(&ahead);
    for before in [true, false] {
        let store = shrunk(&CrashFile::new(), 3);
        store.fold().expect("fold");
        let fresh = build(&CrashFile::new(), &manifest, &chunks).expect("build");
        let result = if before {
            let inner = store.clone();
            store.rewrite(Hooked::raw(&CrashFile::new(), 3, move || inner.install(fresh))).map(drop)
        } else {
            let rewritten = store.rewrite(Box::new(CrashFile::new())).expect("rewrite");
            store.install(fresh);
            // A fold of the new state is none of the old one's copy.
            apply(&store, write(vec![put("a", "v")]));
            store.fold().expect("fold");
            store.adopt(rewritten)
        };
        assert!(staged(result).contains("installed meanwhile"));
        assert!(store.applied() >= ahead.folded());
        let rewritten = store.rewrite(Box::new(CrashFile::new())).expect("rewrite");
        store.adopt(rewritten).expect("adopt");
    }
}

/// What the rows are must be what was applied: a copy is the time to find out.
#[test]
fn rows_that_do_not_add_up_are_damage() {
    let file = CrashFile::new();
    let store = shrunk(&file, 3);
    store.fold().expect("fold");
    {
        let base = store.shared.base();
        let txn = base.db.begin_write().expect("begin");
        let definition = crate::fsm::schema::DEFINITIONS[0];
        txn.open_table(definition).expect("open").remove(b"\0\0\0\0small 1".as_slice()).expect("remove");
        txn.commit().expect("commit");
    }
    let error = store.rewrite(Box::new(CrashFile::new())).expect_err("a row is missing");
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert_eq!(store.fold(), Err(error));
}

/// The power goes between any two calls to the new file, from its first to a fold after its adoption. The pointer is
/// at the old one until the rewrite has returned.
#[test]
fn a_crash_at_any_step_leaves_a_file_at_least_at_the_last_fold() {
    let run = |old: &CrashFile, new: &CrashFile| -> (bool, Index) {
        let store = shrunk_by(old, 3, 20_000);
        store.fold().expect("fold");
        let Ok(rewritten) = store.rewrite(Box::new(new.clone())) else { return (false, store.folded().0) };
        apply(&store, write(vec![put("between", "v")]));
        // A node whose fold fails stops there.
        if store.fold().is_ok() {
            store.adopt(rewritten).expect("the old file is well");
            apply(&store, write(vec![put("after", "v")]));
            drop(store.fold());
        }
        (true, store.folded().0)
    };
    let whole = CrashFile::new();
    let (pointed, last) = run(&CrashFile::new(), &whole);
    assert!(pointed);
    let calls = whole.calls();
    let mut at_the_end = 0;
    for cut in (0..=calls).rev() {
        let (old, new) = (CrashFile::new(), CrashFile::new());
        new.cut_after(cut);
        let (pointed, folded) = run(&old, &new);
        for (loss, seed) in Loss::EVERY.into_iter().zip(cut..) {
            let when = format!("cut after {cut} of {calls}, {loss:?}");
            let in_use = if pointed { &new } else { &old };
            let store = open(&in_use.reboot(loss, seed)).unwrap_or_else(|error| panic!("{when}: {error}"));
            let applied = store.applied().0;
            assert!(
                applied >= folded && applied <= last,
                "{when}: {applied} was opened, {folded} was folded"
            );
            assert_eq!(get(&store, "small 2").expect("a key").value, bytes("v"), "{when}");
            at_the_end += u64::from(applied == last);
            if !pointed {
                // Nobody opens the new one; were it done, it would be found empty or whole.
                let left = open(&new.reboot(loss, seed)).unwrap_or_else(|error| panic!("{when}: {error}"));
                assert!(left.applied().0 == Index(0) || State::of(&left) == State::of(&store), "{when}");
            }
        }
    }
    assert!(at_the_end > 0);
}

#[test]
fn a_failing_disk_under_the_new_file_leaves_the_old_one_in_use() {
    let whole = CrashFile::new();
    let store = shrunk(&CrashFile::new(), 3);
    store.fold().expect("fold");
    drop(store.rewrite(Box::new(whole.clone())).expect("rewrite"));
    // The last calls are those of its closing, by the drop.
    for failing in 0..whole.calls() {
        let new = CrashFile::new();
        new.fail_after(failing);
        if let Err(error) = store.rewrite(Box::new(new)) {
            assert!(matches!(error, Error::Staged { .. }), "call {failing}: {error}");
        }
        apply(&store, write(vec![put("a", &failing.to_string())]));
        assert_eq!(store.fold(), Ok(store.applied()), "call {failing}");
    }
}

#[test]
fn every_answer_is_one_state_while_files_are_rewritten() {
    const ENTRIES: u64 = 1_200;
    let store = open(&CrashFile::new()).expect("open");
    let stop = AtomicBool::new(false);
    let last = Mutex::new(CrashFile::new());
    let (rewrites, reads) = (AtomicU64::new(0), [AtomicU64::new(0), AtomicU64::new(0)]);
    std::thread::scope(|scope| {
        let folder = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                let folded = store.fold().expect("fold").0;
                assert!(folded <= store.applied().0);
            }
        });
        let rewriter = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                let new = CrashFile::new();
                // Folds of next to nothing, one after the other, may outrun it.
                let Ok(rewritten) = store.rewrite(Box::new(new.clone())) else { continue };
                store.adopt(rewritten).expect("adopt");
                *last.lock().expect("no panic") = new;
                rewrites.fetch_add(1, Ordering::Release);
            }
        });
        let readers: Vec<_> = [true, false]
            .into_iter()
            .map(|by_list| {
                let (store, stop, reads) = (&store, &stop, &reads[usize::from(by_list)]);
                scope.spawn(move || read_on(store, by_list, stop, reads))
            })
            .collect();
        for first in (1..=ENTRIES).step_by(5) {
            let batch: Vec<_> = (first..first + 5).map(entry).collect();
            store.apply(&batch).expect("apply");
        }
        wait_for_each([&rewrites, &reads[0], &reads[1]], &[&folder, &rewriter, &readers[0], &readers[1]]);
        stop.store(true, Ordering::Release);
        folder.join().expect("the folder's assertions hold");
        rewriter.join().expect("the rewriter's assertions hold");
        for reader in readers {
            reader.join().expect("a reader's assertions hold");
        }
    });
    store.fold().expect("fold");
    let expected = State::of(&store);
    let file = last.lock().expect("no panic").clone();
    drop(store);
    assert_eq!(State::of(&open(&file).expect("reopen")), expected);
}
