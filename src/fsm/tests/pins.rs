//! Snapshots that are not read on, and what they may cost (see `pin`).

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use redb::StorageBackend;

use super::support::*;
use crate::fsm::testing::CrashFile;
use crate::fsm::{Error, Options, Snapshot, Store};

/// A value, and the pages that redb gives it.
const VALUE_BYTES: usize = 100_000;
const PAGES_BYTES: u64 = 128 << 10;

/// Values that a fold writes anew.
const FOLDED: u64 = 8;

/// What a fold writes besides: the pages above the values, redb's own tables, the state of its allocator.
const REST_BYTES: u64 = 256 << 10;

const FOLD_BYTES: u64 = FOLDED * PAGES_BYTES + REST_BYTES;

const KEYS: u64 = 5 * FOLDED;

fn store_over(raw: Box<dyn StorageBackend>) -> Store {
    let store = Store::open(raw, Options { write_set_bytes_max: 64 << 20, ..options() }).expect("open");
    for round in 0..KEYS / FOLDED {
        fold_round(&store, round);
    }
    store
}

fn store() -> Store {
    store_over(Box::new(CrashFile::new()))
}

/// Writes some of the keys anew, and folds that.
fn fold_round(store: &Store, round: u64) {
    for at in 0..FOLDED {
        let key = (round * FOLDED + at) % KEYS;
        apply(
            store,
            write(vec![put_bytes(&format!("key {key:02}"), noise(round * KEYS + key, VALUE_BYTES))]),
        );
    }
    store.fold().expect("fold");
}

fn written_bytes(store: &Store) -> u64 {
    store.shared.base().file.written_bytes()
}

/// A snapshot that may cost so much, and how often it was said that it has ended.
fn pinned(store: &Store, growth_bytes_max: u64) -> (Snapshot, Arc<AtomicU64>) {
    let told = Arc::new(AtomicU64::new(0));
    let count = told.clone();
    let on_revoked = move || {
        count.fetch_add(1, Ordering::AcqRel);
    };
    (store.snapshot(growth_bytes_max, on_revoked).expect("a snapshot"), told)
}

fn chunks(snapshot: &mut Snapshot) -> Vec<Bytes> {
    std::iter::from_fn(|| snapshot.next_chunk().expect("a chunk")).collect()
}

/// Its receiver stands still, and no fold waits for it: this test has one thread.
#[test]
fn a_fold_ends_a_snapshot_under_which_the_file_has_grown_too_much() {
    for limit in [0, 1, 3 * FOLD_BYTES, 10 * FOLD_BYTES] {
        let store = store();
        let before = written_bytes(&store);
        let (mut snapshot, told) = pinned(&store, limit);
        snapshot.next_chunk().expect("a chunk").expect("there are more");
        let mut ended_in = None;
        for round in 0..40 {
            let is_costly = written_bytes(&store) - before > limit;
            fold_round(&store, round);
            if is_costly {
                ended_in = ended_in.or(Some(round));
            }
            assert_eq!(told.load(Ordering::Acquire), u64::from(ended_in.is_some()), "limit {limit}, {round}");
            let grown = written_bytes(&store) - before;
            assert!(grown <= limit + FOLD_BYTES, "{grown} bytes in round {round}, the limit is {limit}");
        }
        assert!(ended_in.is_some_and(|round| round >= limit / FOLD_BYTES), "limit {limit}: {ended_in:?}");
        for _ in 0..2 {
            assert_eq!(snapshot.next_chunk(), Err(Error::Revoked));
        }
        store.check().expect("nothing is wrong with the store");
        // Another one may begin, at the state of now.
        let (mut next, _) = pinned(&store, limit);
        assert!(next.applied() > snapshot.applied());
        assert!(chunks(&mut next) == self::snapshot(&store).1);
    }
}

#[test]
fn a_snapshot_that_costs_less_is_read_to_its_end() {
    let store = store();
    let expected = snapshot(&store).1;
    let before = written_bytes(&store);
    let (mut snapshot, told) = pinned(&store, 5 * FOLD_BYTES);
    let mut chunks = vec![];
    for round in 0..5 {
        chunks.extend(snapshot.next_chunk().expect("a chunk"));
        fold_round(&store, round);
    }
    assert!(written_bytes(&store) - before > 3 * FOLDED * PAGES_BYTES, "it costs nothing");
    chunks.extend(self::chunks(&mut snapshot));
    assert!(chunks == expected);
    assert_eq!(told.load(Ordering::Acquire), 0);
}

/// Chunks that wait for their receiver need no state.
#[test]
fn a_snapshot_that_has_been_read_costs_nothing() {
    let store = store();
    let (mut snapshot, told) = pinned(&store, 0);
    chunks(&mut snapshot);
    let before = written_bytes(&store);
    for round in 0..20 {
        fold_round(&store, round);
    }
    assert_eq!(told.load(Ordering::Acquire), 0);
    assert_eq!(snapshot.next_chunk(), Ok(None));
    let grown = written_bytes(&store) - before;
    assert!(grown <= FOLD_BYTES, "{grown} bytes");
}

/// Nothing is folded into a file that another one has replaced.
#[test]
fn a_snapshot_of_a_file_that_was_replaced_goes_on() {
    let store = store();
    let expected = snapshot(&store).1;
    let (mut snapshot, told) = pinned(&store, 0);
    let rewritten = store.rewrite(Box::new(CrashFile::new())).expect("rewrite");
    store.adopt(rewritten).expect("adopt");
    for round in 0..5 {
        fold_round(&store, round);
    }
    assert!(chunks(&mut snapshot) == expected);
    assert_eq!(told.load(Ordering::Acquire), 0);
}

/// Where a read says that it stops, and hears that it may go on.
type Stop = Arc<Mutex<Option<(Sender<()>, Receiver<()>)>>>;

/// A raw file that stops in one read, once it is told to, until it is told to go on.
#[derive(Debug)]
struct Stopping {
    file: CrashFile,
    stop: Stop,
}

impl StorageBackend for Stopping {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let stop = self.stop.lock().expect("no test panicked").take();
        if let Some((stopped, go)) = stop {
            stopped.send(()).expect("the test listens");
            go.recv().expect("the test lets go");
        }
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}

/// A chunk that is being read is whole, whatever is folded; the one after it is not begun.
#[test]
fn a_fold_waits_for_the_chunk_that_is_being_read() {
    let stop: Stop = Arc::default();
    let store = store_over(Box::new(Stopping { file: CrashFile::new(), stop: stop.clone() }));
    let expected = snapshot(&store).1;
    let (mut snapshot, told) = pinned(&store, 0);
    // It grows, and the next fold ends the snapshot.
    fold_round(&store, 0);
    let (stopped_sender, stopped) = channel();
    let (go, go_receiver) = channel();
    *stop.lock().expect("nobody reads") = Some((stopped_sender, go_receiver));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| snapshot.next_chunk());
        stopped.recv().expect("the reader stops in its first read");
        let fold = scope.spawn(|| fold_round(&store, 1));
        go.send(()).expect("the reader waits");
        assert_eq!(reader.join().expect("the reader"), Ok(Some(expected[0].clone())));
        fold.join().expect("the fold");
    });
    assert_eq!(snapshot.next_chunk(), Err(Error::Revoked));
    assert_eq!(told.load(Ordering::Acquire), 1);
}
