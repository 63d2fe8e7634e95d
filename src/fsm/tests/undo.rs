//! Folds that find no room are undone, and nobody but who folds hears of it (covers H15, H18, H20, H26).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::StorageBackend;

use super::concurrency::{entry, read_on, wait_for_each};
use super::support::{
    State, apply, apply_envelope, at, build, delete, dump, envelope, get, noise, put, put_bytes, rows,
    snapshot, write,
};
use crate::command::{Command, Reply};
use crate::fsm::testing::{CrashFile, Loss};
use crate::fsm::{Error, Options, Store};
use crate::types::ClientId;

/// A cache of next to nothing makes redb write and read pages in the middle of a transaction.
fn options() -> Options {
    Options { cache_bytes: 4_096, ..super::support::options() }
}

fn open(file: &CrashFile) -> Result<Store, Error> {
    Store::open(Box::new(file.clone()), options())
}

/// Changes of all kinds, small rows and some that have pages of their own.
fn change(store: &Store, round: u64) {
    let session = Some(at(1, round + 1, 1));
    apply_envelope(store, &envelope(session, write(vec![put("in a session", &round.to_string())])));
    for key in 0..8 {
        let value = noise(key + 100 * round, 700 * key as usize);
        apply(store, write(vec![put_bytes(&format!("key {key}"), value)]));
    }
    let large = put_bytes(&format!("large {round}"), noise(round, 20_000));
    apply(store, write(vec![large, delete("key 3")]));
}

/// A store with a fold behind it, and changes that are not folded.
fn with_a_fold_due(file: &CrashFile) -> Store {
    let store = open(file).expect("open");
    apply(&store, Command::OpenSession { client: ClientId(1) });
    change(&store, 0);
    store.fold().expect("fold");
    change(&store, 1);
    store
}

/// How many calls the fold makes that is due.
fn calls_of_a_fold() -> u64 {
    let file = CrashFile::new();
    let store = with_a_fold_due(&file);
    let before = file.calls();
    store.fold().expect("fold");
    file.calls() - before
}

fn assert_undone<T: std::fmt::Debug>(result: &Result<T, Error>, when: &str) {
    assert!(matches!(result, Err(Error::Undone { .. })), "{when}: {result:?}");
}

/// What a crash leaves opens at `folded`, or further, and holds what the store did then.
fn assert_survives(file: &CrashFile, expected: &State, folded: &Store, seed: u64, when: &str) {
    for (loss, seed) in Loss::EVERY.into_iter().zip(seed..) {
        let left = open(&file.reboot(loss, seed)).unwrap_or_else(|error| panic!("{when}, {loss:?}: {error}"));
        assert!(left.applied() >= folded.folded(), "{when}, {loss:?}: {:?} was opened", left.applied());
        if left.applied() == expected.applied {
            assert_eq!(State::of(&left), *expected, "{when}, {loss:?}");
        }
    }
}

/// One call finds no room, or all do from there on: then also those that change the header in place.
const LASTING: [u64; 2] = [1, u64::MAX];

#[test]
fn a_fold_without_room_is_undone_wherever_it_finds_none() {
    let calls = calls_of_a_fold();
    assert!(calls > 30, "only {calls} calls");
    let mut undone = 0;
    for (nth, failing) in (0..calls).flat_map(|nth| LASTING.map(|failing| (nth, failing))) {
        let when = format!("{failing} calls without room after {nth} of {calls}");
        let file = CrashFile::new();
        let store = with_a_fold_due(&file);
        let (expected, before) = (State::of(&store), store.folded());
        file.no_room_after(nth, failing);
        let folded = store.fold();
        if folded.is_ok() {
            assert_eq!(folded, Ok(expected.applied), "{when}");
        } else {
            assert_undone(&folded, &when);
            undone += 1;
            assert_eq!((store.folded(), store.check()), (before, Ok(())), "{when}");
            assert!(store.sizes().frozen_bytes > 0, "{when}: what was set aside still is");
            // Nothing of it is in the file.
            let (manifest, chunks) = snapshot(&store);
            let copy = build(&CrashFile::new(), &manifest, &chunks).expect("build");
            assert_eq!(copy.applied(), before, "{when}");
        }
        assert_eq!(State::of(&store), expected, "{when}");
        assert_survives(&file, &expected, &store, nth, &when);
        // What is applied meanwhile comes on top, and is not lost either.
        apply(&store, write(vec![put("meanwhile", "v")]));
        file.make_room();
        let expected = State::of(&store);
        while store.fold().unwrap_or_else(|error| panic!("{when}: {error}")) < expected.applied {}
        assert_eq!(State::of(&store), expected, "{when}, with room");
        let expected_rows = rows(&store);
        drop(store);
        let store = open(&file).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_eq!((State::of(&store), rows(&store)), (expected, expected_rows), "{when}, opened");
    }
    assert!(undone > calls, "{undone} folds were undone");
}

/// The power goes anywhere in what follows: in the undoing itself, and in the fold that has room again.
#[test]
fn a_crash_at_any_call_after_the_disk_was_full_loses_no_fold() {
    let calls = calls_of_a_fold();
    let mut crashes = 0;
    for nth in (0..calls).step_by(7) {
        for cut in (0..).step_by(3) {
            let file = CrashFile::new();
            let store = with_a_fold_due(&file);
            let expected = State::of(&store);
            file.no_room_after(nth, 1);
            file.cut_after(nth + 1 + cut);
            let mut folded = store.fold();
            if matches!(folded, Err(Error::Undone { .. })) {
                folded = store.fold();
            }
            let when = format!("no room after {nth} of {calls}, the power went {cut} calls later");
            assert_survives(&file, &expected, &store, cut, &when);
            if folded.is_ok() {
                assert_eq!(store.folded(), expected.applied, "{when}");
                break;
            }
            assert!(matches!(folded, Err(Error::Io { .. })), "{when}: {folded:?}");
            crashes += 1;
        }
    }
    assert!(crashes > 100, "{crashes} crashes");
}

/// The disk stays full for some time: each try is undone, over what the one before it left.
#[test]
fn a_fold_is_tried_as_often_as_it_takes() {
    let file = CrashFile::new();
    let store = with_a_fold_due(&file);
    let (expected, before) = (State::of(&store), store.folded());
    let mut tries = 0;
    let folded = loop {
        let nth = tries;
        file.no_room_after(nth, u64::MAX);
        match store.fold() {
            Ok(folded) => break folded,
            undone => assert_undone(&undone, &format!("try {nth}")),
        }
        tries += 1;
        assert_eq!(store.folded(), before, "try {nth}");
        assert_eq!(State::of(&store), expected, "try {nth}");
        assert_survives(&file, &expected, &store, nth, &format!("try {nth}"));
    };
    assert_eq!(folded, expected.applied);
    assert!(tries > 20, "{tries} tries");
    assert_survives(&file, &expected, &store, 0, "at the end");
}

/// A raw file whose n-th sync fails, and says that there was no room.
#[derive(Debug)]
struct FullSync {
    file: CrashFile,
    left: AtomicU64,
}

impl StorageBackend for FullSync {
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
        match self.left.fetch_sub(1, Ordering::AcqRel) {
            0 => Err(io::ErrorKind::StorageFull.into()),
            _ => self.file.sync_data(),
        }
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}

/// Covers H15: after a failed sync nobody knows what is on the disk, whatever its reason. It has no second try.
#[test]
fn a_sync_without_room_is_final() {
    let mut final_ones = 0;
    for nth in 0..12 {
        let file = CrashFile::new();
        drop(with_a_fold_due(&file));
        let raw = FullSync { file: file.clone(), left: AtomicU64::new(nth) };
        let Ok(store) = Store::open(Box::new(raw), options()) else { continue };
        change(&store, 1);
        let Err(error) = store.fold() else { break };
        assert!(matches!(error, Error::NoRoom { .. }), "sync {nth}: {error}");
        final_ones += 1;
        let calls = file.calls();
        assert_eq!((store.fold(), dump(&store)), (Err(error.clone()), Err(error.clone())), "sync {nth}");
        assert_eq!(store.check(), Err(error));
        drop(store);
        assert_eq!(file.calls(), calls, "the disk was written to after sync {nth} failed");
    }
    assert!(final_ones >= 2, "{final_ones} syncs of a fold failed");
}

/// Covers H15: what fails beside the want of room, in the undoing, has no way back.
#[test]
fn a_failure_while_it_is_undone_is_final() {
    for later in 0..3 {
        let file = CrashFile::new();
        let store = with_a_fold_due(&file);
        file.no_room_after(4, 1);
        file.fail_after(5 + later);
        let error = store.fold().expect_err("the disk fails");
        assert!(matches!(error, Error::Io { .. }), "call {later}: {error}");
        file.make_room();
        assert_eq!((store.fold(), dump(&store)), (Err(error.clone()), Err(error.clone())));
        assert_eq!(store.check(), Err(error));
    }
}

/// The wrong state stays wrong, though its file is opened again.
#[test]
fn a_condemned_state_is_not_undone() {
    let file = CrashFile::new();
    let store = with_a_fold_due(&file);
    let full = store.shared.base();
    full.latch.set_full(Error::NoRoom { what: "on purpose".to_owned() });
    store.condemn("on purpose".to_owned());
    assert!(matches!(store.fold(), Err(Error::Damaged { .. })));
    assert!(matches!(dump(&store), Err(Error::Damaged { .. })));
}

/// Whoever meets a file that is full, and not by a fold, opens it again; a session's write is executed once.
#[test]
fn readers_and_appliers_begin_anew_on_the_file_that_was_opened_again() {
    let file = CrashFile::new();
    let store = with_a_fold_due(&file);
    let expected = State::of(&store);
    let fill = || {
        let base = store.shared.base();
        base.latch.set_full(Error::NoRoom { what: "on purpose".to_owned() });
        base
    };
    let mut bases = vec![fill()];
    assert_eq!(State::of(&store), expected);
    bases.push(fill());
    assert!(get(&store, "key 2").is_some());
    bases.push(fill());
    assert_eq!(store.scrub(0, 1 << 20).expect("scrub").strays, 0);
    bases.push(fill());
    assert_eq!(store.snapshot(u64::MAX, || ()).expect("snapshot").applied(), store.folded());
    bases.push(fill());
    let session = Some(at(1, 3, 1));
    let reply = apply_envelope(&store, &envelope(session, write(vec![put("in a session", "third")])));
    assert!(matches!(reply, Reply::Written { .. }), "{reply:?}");
    bases.push(fill());
    let again = apply_envelope(&store, &envelope(session, write(vec![put("in a session", "third")])));
    assert_eq!(again, reply);
    assert_eq!(get(&store, "in a session").expect("a record").version, 3);
    bases.push(fill());
    assert_eq!(store.fold(), Ok(store.applied()));
    for base in bases {
        assert!(base.latch.is_full() && base.file.len().is_err(), "one that was left is used no more");
    }
}

/// Covers H26: who reads in more than one call never goes on with pages that a later fold has overwritten.
#[test]
fn a_snapshot_that_is_being_read_is_broken_off() {
    let file = CrashFile::new();
    let store = with_a_fold_due(&file);
    for seed in 0..4 {
        apply(&store, write(vec![put_bytes(&format!("more than a chunk {seed}"), noise(seed, 600_000))]));
    }
    store.fold().expect("there is room");
    change(&store, 2);
    let mut snapshot_before = store.snapshot(u64::MAX, || ()).expect("snapshot");
    assert!(snapshot_before.next_chunk().expect("a chunk").is_some());
    file.no_room_after(3, 1);
    assert_undone(&store.fold(), "the fold");
    for round in 3..7 {
        store.fold().expect("there is room");
        change(&store, round);
    }
    assert_undone(&snapshot_before.next_chunk(), "the next chunk");
    let calls = file.calls();
    drop(snapshot_before);
    assert_eq!(file.calls(), calls, "the file of before was written to");
}

#[test]
fn a_copy_is_given_up_when_the_original_is_full() {
    let (file, new) = (CrashFile::new(), CrashFile::new());
    let store = with_a_fold_due(&file);
    let expected = State::of(&store);
    let raw = WhileWritten { file: new, nth: AtomicU64::new(4), store: store.clone(), original: file };
    let copied = store.rewrite(Box::new(raw));
    assert_undone(&copied, "the copy");
    assert_eq!(State::of(&store), expected);
    let rewritten = store.rewrite(Box::new(CrashFile::new())).expect("another one");
    store.adopt(rewritten).expect("adopt");
    assert_eq!(State::of(&store), expected);
    assert_eq!(store.fold(), Ok(expected.applied));
}

/// A file in whose n-th write a fold of the original finds no room.
struct WhileWritten {
    file: CrashFile,
    nth: AtomicU64,
    store: Store,
    original: CrashFile,
}

impl std::fmt::Debug for WhileWritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl StorageBackend for WhileWritten {
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
        if self.nth.fetch_sub(1, Ordering::AcqRel) == 0 {
            self.original.no_room_after(2, 1);
            assert_undone(&self.store.fold(), "the fold");
        }
        self.file.write(offset, data)
    }
}

/// Covers H27: while the pointer may be at either file, a fold that has room in one of them counts in neither, and whichever
/// is opened then, or adopted, lacks nothing.
#[test]
fn between_two_files_a_fold_counts_when_both_have_room() {
    let calls = calls_of_a_fold();
    for (nth, is_new_full) in (0..calls).step_by(3).flat_map(|nth| [(nth, false), (nth, true)]) {
        let (old, new) = (CrashFile::new(), CrashFile::new());
        let store = with_a_fold_due(&old);
        let rewritten = store.rewrite(Box::new(new.clone())).expect("rewrite");
        let (expected, before) = (State::of(&store), store.folded());
        let full = if is_new_full { &new } else { &old };
        full.no_room_after(nth, u64::MAX);
        let when = format!("no room after {nth}, in the new file: {is_new_full}");
        let folded = store.fold();
        if folded.is_err() {
            assert_undone(&folded, &when);
            assert_eq!(store.folded(), before, "{when}");
        }
        for file in [&old, &new] {
            assert_survives(file, &expected, &store, nth, &when);
        }
        full.make_room();
        // Before there is room, or after it.
        if nth % 2 == 0 {
            assert_eq!(store.fold(), Ok(expected.applied), "{when}");
        }
        store.adopt(rewritten).expect("adopt");
        assert_eq!(State::of(&store), expected, "{when}");
        let bytes_before = old.bytes();
        change(&store, 2);
        let expected = State::of(&store);
        while store.fold().expect("fold") < expected.applied {}
        assert!(old.bytes() == bytes_before, "{when}: the old file was written to");
        assert_eq!(State::of(&open(&new).expect("opened")), expected, "{when}");
    }
}

#[test]
fn every_answer_is_one_state_while_folds_are_undone() {
    const ENTRIES: u64 = 1_000;
    let file = CrashFile::new();
    let store = Store::open(Box::new(file.clone()), options()).expect("open");
    let stop = AtomicBool::new(false);
    let undone = AtomicU64::new(0);
    let reads = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        let folder = scope.spawn(|| {
            let mut rng = fastrand::Rng::with_seed(3);
            while !stop.load(Ordering::Acquire) {
                file.no_room_after(rng.u64(0..40), rng.u64(1..20));
                match store.fold() {
                    Ok(folded) => assert!(folded.0 <= store.applied().0),
                    Err(Error::Undone { .. }) => drop(undone.fetch_add(1, Ordering::Release)),
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let readers: Vec<_> = [true, false]
            .into_iter()
            .map(|by_list| {
                let (store, stop, reads) = (&store, &stop, &reads[usize::from(by_list)]);
                scope.spawn(move || read_on(store, by_list, stop, reads))
            })
            .collect();
        let mut next = 1;
        // Where nothing is new a fold has nothing to write, and finds no room for nothing.
        while next <= ENTRIES || undone.load(Ordering::Acquire) == 0 && !folder.is_finished() {
            let batch: Vec<_> = (next..next + 5).map(entry).collect();
            store.apply(&batch).expect("apply");
            next += 5;
        }
        wait_for_each([&reads[0], &reads[1]], &[&folder, &readers[0], &readers[1]]);
        stop.store(true, Ordering::Release);
        folder.join().expect("the folder's assertions hold");
        for reader in readers {
            reader.join().expect("a reader's assertions hold");
        }
    });
    file.make_room();
    let expected = State::of(&store);
    while store.fold().expect("fold") < expected.applied {}
    drop(store);
    assert_eq!(State::of(&open(&file).expect("reopen")), expected);
}
