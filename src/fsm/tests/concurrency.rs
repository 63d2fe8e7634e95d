//! Readers while batches are applied and folded.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::ScopedJoinHandle;

use redb::StorageBackend;

use super::support::*;
use crate::command::{Answer, Found, Query};
use crate::fsm::Store;
use crate::fsm::testing::CrashFile;
use crate::types::{Keyspace, NodeId};

/// The entries of these tests: entry n takes revision n + 1, and each writes `head` and one other key, or removes one.
pub(super) fn entry(index: u64) -> crate::fsm::Input {
    let key = format!("k{:03}", index * 7 % 100);
    let other = if index.is_multiple_of(3) { delete(&key) } else { put(&key, &index.to_string()) };
    input(index, write(vec![other, put("head", &index.to_string())]))
}

/// What the answer says of itself and what it holds must be one state.
pub(super) fn assert_is_one_state(answer: &Answer) {
    assert_eq!(answer.revision.0, answer.applied.0 + 1, "revision and applied index do not belong together");
    match &answer.found {
        Found::Record(record) => {
            let head = record.as_ref().map_or(1, |record| record.mod_revision.0);
            assert_eq!(head, answer.revision.0, "the key that each entry writes is of another revision");
        }
        Found::Page { pairs, .. } => {
            // Replay what the pairs should be: the last writer of each key up to the applied index.
            let applied = answer.applied.0;
            for (key, record) in pairs.iter().filter(|(key, _)| key.as_ref() != b"head") {
                let wrote = record.mod_revision.0 - 1;
                let last = (1..=applied).rev().find(|index| *key == format!("k{:03}", index * 7 % 100));
                assert_eq!(Some(wrote), last, "{key:?} at {applied} shows entry {wrote}");
            }
            let keys = (0..100_u64).filter(|key| {
                let last = (1..=applied).rev().find(|index| index * 7 % 100 == *key);
                last.is_some_and(|last| !last.is_multiple_of(3))
            });
            let others = pairs.iter().filter(|(key, _)| key.as_ref() != b"head").count();
            assert_eq!(others, keys.count(), "at {applied} keys are missing or too many");
        }
        found => panic!("nobody asked for {found:?}"),
    }
}

/// Reads one key, or all by lists, until it is told to stop: each answer is one state, and none an earlier one than before.
pub(super) fn read_on(store: &Store, by_list: bool, stop: &AtomicBool, reads: &AtomicU64) {
    let get = Query::Get { keyspace: Keyspace(0), key: bytes("head") };
    let list = list_query("", None, usize::MAX, usize::MAX);
    let mut last = 0;
    while !stop.load(Ordering::Acquire) {
        let answer = store.query(if by_list { &list } else { &get }).expect("query");
        assert_is_one_state(&answer);
        assert!(answer.applied.0 >= last, "a later read saw an earlier state");
        last = answer.applied.0;
        reads.fetch_add(1, Ordering::Release);
    }
}

/// Waits until each of these threads has done something, or one of them has ended: before it is told to, by a panic.
pub(super) fn wait_for_each<const N: usize>(done: [&AtomicU64; N], threads: &[&ScopedJoinHandle<'_, ()>]) {
    while done.iter().any(|done| done.load(Ordering::Acquire) == 0)
        && !threads.iter().any(|thread| thread.is_finished())
    {
        std::thread::yield_now();
    }
}

#[test]
fn every_answer_is_one_state_while_folds_go_on() {
    const ENTRIES: u64 = 1_500;
    let store = open(&CrashFile::new()).expect("open");
    let stop = AtomicBool::new(false);
    let (folds, reads) = (AtomicU64::new(0), [AtomicU64::new(0), AtomicU64::new(0)]);
    std::thread::scope(|scope| {
        let folder = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                let folded = store.fold().expect("fold").0;
                assert!(folded <= store.applied().0);
                folds.fetch_add(1, Ordering::Release);
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
        wait_for_each([&folds, &reads[0], &reads[1]], &[&folder, &readers[0], &readers[1]]);
        stop.store(true, Ordering::Release);
        folder.join().expect("the folder's assertions hold");
        for reader in readers {
            reader.join().expect("a reader's assertions hold");
        }
    });
}

/// A raw file that stops in each sync until it is told to go on. But not in one that makes the file's growth durable:
/// redb holds a lock over that one which every transaction needs to begin.
#[derive(Debug)]
pub(super) struct Gated {
    file: CrashFile,
    grew: AtomicBool,
    pub(super) gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Gated {
    pub(super) fn new() -> Arc<Gated> {
        Arc::new(Gated { file: CrashFile::new(), grew: AtomicBool::new(false), gate: Mutex::new(None) })
    }
}

/// A handle to it.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<Gated>);

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

impl StorageBackend for Gated {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.grew.store(true, Ordering::Release);
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.grew.load(Ordering::Acquire) {
            return self.file.sync_data();
        }
        if let Some((stopped, go)) = &*self.gate.lock().expect("no test holds it") {
            stopped.send(()).expect("the test listens");
            go.recv().expect("the test lets go");
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.grew.store(false, Ordering::Release);
        self.file.write(offset, data)
    }
}

/// The same without chance: while a fold stands still in each of its syncs, entries are applied and all is readable.
#[test]
fn readers_and_the_applier_go_on_while_a_fold_waits_for_the_disk() {
    let gated = Gated::new();
    let store = Store::open(Box::new(Shared(gated.clone())), options()).expect("open");
    let mut index = 0;
    let mut go_on = |store: &Store| {
        // Before anything else is applied: what was just frozen is in no other layer.
        let get = Query::Get { keyspace: Keyspace(0), key: bytes("head") };
        assert_is_one_state(&store.query(&get).expect("get"));
        let list = list_query("", None, usize::MAX, usize::MAX);
        assert_is_one_state(&store.query(&list).expect("list"));
        for _ in 0..20 {
            index += 1;
            store.apply(&[entry(index)]).expect("apply");
            assert_is_one_state(&store.query(&get).expect("get"));
        }
        assert_is_one_state(&store.query(&list).expect("list"));
    };
    for _ in 0..4 {
        go_on(&store);
        let before = store.applied();
        let (stopped_sender, stopped) = channel();
        let (go, go_receiver) = channel();
        *gated.gate.lock().expect("no fold is under way") = Some((stopped_sender, go_receiver));
        std::thread::scope(|scope| {
            let fold = scope.spawn(|| {
                let folded = store.fold().expect("fold");
                // The gate holds the sender: without it the loop below ends.
                *gated.gate.lock().expect("no sync is under way") = None;
                folded
            });
            let mut syncs = 0;
            while stopped.recv().is_ok() {
                syncs += 1;
                go_on(&store);
                assert!(!store.fold_due(), "one fold at a time");
                assert!(store.folded() < before, "folded before it is durable");
                go.send(()).expect("the fold waits");
            }
            assert!(syncs >= 2, "a commit in two phases syncs twice, this one {syncs} times");
            assert_eq!(fold.join().expect("the fold"), before);
        });
        assert_eq!(store.folded(), before);
        go_on(&store);
    }
}

#[test]
fn a_full_write_set_says_so_and_a_fold_empties_it() {
    let mut options = options();
    options.write_set_bytes_max = 10_000;
    let store = Store::open(Box::new(CrashFile::new()), options).expect("open");
    let mut index = 0;
    let mut fill = |until: &dyn Fn() -> bool| {
        while !until() {
            index += 1;
            assert!(index < 1_000, "the write set never fills up");
            store
                .apply(&[input(index, write(vec![put(&format!("k{index}"), "0123456789")]))])
                .expect("apply");
        }
    };
    fill(&|| store.fold_due());
    assert!(!store.is_full());
    let bytes = store.sizes().write_set_bytes;
    assert!((3_750..6_750).contains(&bytes), "a fold is due at about half the limit, not at {bytes} bytes");
    fill(&|| store.is_full());
    let bytes = store.sizes().write_set_bytes;
    assert!((10_000..10_500).contains(&bytes), "full at {bytes} bytes");
    store.fold().expect("fold");
    assert!(!store.is_full() && !store.fold_due());
    assert_eq!((store.sizes().write_set_bytes, store.sizes().frozen_bytes), (0, 0));
}

/// All nodes apply the same entries; what they cost each other is least when they do not all fold after the same one.
#[test]
fn nodes_do_not_fold_in_step() {
    let folds_of = |node: u64| -> Vec<u64> {
        let mut options = options();
        options.write_set_bytes_max = 10_000;
        options.owner.node = NodeId(node);
        let store = Store::open(Box::new(CrashFile::new()), options).expect("open");
        let mut folds = Vec::new();
        for index in 1..=3_000 {
            store
                .apply(&[input(index, write(vec![put(&format!("k{index:05}"), "0123456789")]))])
                .expect("apply");
            if store.fold_due() {
                store.fold().expect("fold");
                folds.push(index);
            }
        }
        folds
    };
    let nodes = [1, 2, 3].map(folds_of);
    for folds in &nodes {
        assert!(folds.len() > 20, "{folds:?}");
        let gaps: Vec<u64> = folds.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (least, most) = (gaps.iter().min().expect("many"), gaps.iter().max().expect("many"));
        assert!(least * 10 < most * 7 && least * 2 > *most, "gaps of {least} to {most} entries");
    }
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let together = nodes[one].iter().filter(|index| nodes[other].contains(index)).count();
        assert!(together * 4 < nodes[one].len(), "{:?} and {:?}", nodes[one], nodes[other]);
    }
}

/// A fold syncs what it writes bit by bit, so that nobody else's sync waits for all of it; once the next one is due it hurries.
#[test]
fn a_fold_syncs_in_small_steps_until_the_next_one_is_due() {
    let syncs_of_a_fold = |applied_meanwhile: usize| {
        let mut options = options();
        options.write_set_bytes_max = 8 << 20;
        let file = CrashFile::new();
        let store = Store::open(Box::new(file.clone()), options).expect("open");
        let apply = |rows: usize| {
            for row in 0..rows {
                let index = store.applied().0.next().0;
                let batch = write(vec![put(&format!("k{row:06}"), &"v".repeat(1000))]);
                store.apply(&[input(index, batch)]).expect("apply");
            }
        };
        apply(2000);
        store.freeze();
        apply(applied_meanwhile);
        let before = file.syncs();
        store.fold().expect("fold");
        file.syncs() - before
    };
    let (at_leisure, hurried) = (syncs_of_a_fold(100), syncs_of_a_fold(5000));
    assert!(at_leisure > 20, "2 MB were written with {at_leisure} syncs");
    assert!(hurried < 15, "2 MB were written in a hurry with {hurried} syncs");
}

/// Folds replace pages, and readers have a cache that does not hold them all: to make room in it is nothing that the file sees.
#[test]
fn nobody_but_a_fold_writes_the_file() {
    let mut options = options();
    options.cache_bytes = 64 << 10;
    let file = CrashFile::new();
    let store = Store::open(Box::new(file.clone()), options).expect("open");
    for round in 1..=4 {
        for at in 0..200 {
            // Each round changes some rows of nearly every page.
            let (index, key) = (store.applied().0.next().0, format!("k{:04}", at * 7 + round));
            store.apply(&[input(index, write(vec![put(&key, &"v".repeat(500))]))]).expect("apply");
        }
        store.fold().expect("fold");
        let calls = file.calls();
        for at in 0..1_410 {
            let query = Query::Get { keyspace: Keyspace(0), key: bytes(&format!("k{at:04}")) };
            store.query(&query).expect("query");
        }
        assert_eq!(file.calls(), calls, "a reader wrote the file after fold {round}");
    }
}
