//! States that come in while everything goes on (covers H26).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use super::concurrency::{Gated, Shared, assert_is_one_state, entry};
use super::support::*;
use crate::command::Query;
use crate::fsm::Store;
use crate::fsm::testing::CrashFile;
use crate::types::{Index, Keyspace};

/// The stream of the state after so many entries.
fn ahead(entries: u64) -> (bytes::Bytes, Vec<bytes::Bytes>) {
    let store = open(&CrashFile::new()).expect("open");
    for index in 1..=entries {
        store.apply(&[entry(index)]).expect("apply");
    }
    store.fold().expect("fold");
    snapshot(&store)
}

#[test]
fn every_answer_is_one_state_while_states_are_installed() {
    const ROUNDS: u64 = 6;
    const LEAP: u64 = 100;
    let states: Vec<_> = (1..=ROUNDS).map(|round| ahead(round * LEAP)).collect();
    let store = open(&CrashFile::new()).expect("open");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let folder = scope.spawn(|| {
            let mut last = Index(0);
            while !stop.load(Ordering::Acquire) {
                let folded = store.fold().expect("fold").0;
                assert!(folded >= last, "folded up to {folded} after {last}");
                last = folded;
            }
        });
        let readers: Vec<_> = [true, false]
            .into_iter()
            .map(|by_list| {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || {
                    let (mut last, mut reads) = (0, 0_u64);
                    while !stop.load(Ordering::Acquire) {
                        let get = Query::Get { keyspace: Keyspace(0), key: bytes("head") };
                        let list = list_query("", None, usize::MAX, usize::MAX);
                        let answer = store.query(if by_list { &list } else { &get }).expect("query");
                        assert_is_one_state(&answer);
                        assert!(answer.applied.0 >= last, "a later read saw an earlier state");
                        last = answer.applied.0;
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for (round, (manifest, chunks)) in (0..).zip(&states) {
            // Only some of what lies between, as for a follower that fell behind.
            for index in round * LEAP + 1..round * LEAP + LEAP / 2 {
                store.apply(&[entry(index)]).expect("apply");
            }
            store.install(build(&CrashFile::new(), manifest, chunks).expect("build"));
            assert_eq!(store.applied().0, Index((round + 1) * LEAP));
        }
        stop.store(true, Ordering::Release);
        folder.join().expect("the folder's assertions hold");
        for reader in readers {
            assert!(reader.join().expect("a reader's assertions hold") > 0, "there was no read");
        }
    });
}

/// Without chance: a fold stands still in a sync while another state is installed, and ends when it is in use.
#[test]
fn a_fold_that_is_under_way_ends_without_effect_on_the_state_installed() {
    let (manifest, chunks) = ahead(100);
    let gated = Gated::new();
    let store = Store::open(Box::new(Shared(gated.clone())), options()).expect("open");
    store.apply(&[entry(1), entry(2)]).expect("apply");
    let (stopped_sender, stopped) = channel();
    let (go, go_receiver) = channel();
    *gated.gate.lock().expect("no fold is under way") = Some((stopped_sender, go_receiver));
    let list = list_query("", None, usize::MAX, usize::MAX);
    std::thread::scope(|scope| {
        let fold = scope.spawn(|| store.fold().expect("fold"));
        stopped.recv().expect("the fold is in its sync");
        let file = CrashFile::new();
        store.install(build(&file, &manifest, &chunks).expect("build"));
        let state = State::of(&store);
        assert_eq!(state.applied.0, Index(100));
        // What is applied now belongs to the new state, and the old fold must not take it for folded.
        store.apply(&[entry(101)]).expect("apply");
        assert_is_one_state(&store.query(&list).expect("list"));
        assert_eq!(store.folded().0, Index(100));
        // All further syncs pass, those of the old file's closing too.
        (0..100).for_each(|_| go.send(()).expect("the fold waits"));
        assert_eq!(fold.join().expect("the fold").0, Index(100), "how far the file in use is");
        assert_eq!(store.folded().0, Index(100));
        assert!(store.sizes().write_set_bytes > 0, "entry 101 is not folded");
        assert_eq!(store.fold().expect("fold").0, Index(101));
        let expected = State::of(&store);
        assert_is_one_state(&store.query(&list).expect("list"));
        assert_eq!(State::of(&open(&file).expect("reopen")), expected);
    });
}
