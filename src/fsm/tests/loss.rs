//! A state that is lost: no answer is that of an empty store, and another state takes its place whatever it held.

use super::support::*;
use crate::command::Command;
use crate::fsm::testing::CrashFile;
use crate::fsm::{Error, Fresh, Options, Store, backend, layout};
use crate::types::Index;

const BLOCK_BYTES: usize = 4_096;

/// A store with this many entries, all folded.
fn filled(entries: u64) -> (CrashFile, Store) {
    let file = CrashFile::new();
    let store = open(&file).expect("open");
    for at in 0..entries {
        apply(&store, write(vec![put(&format!("key {at:03}"), &"v".repeat(2_000))]));
        if at % 8 == 7 {
            store.fold().expect("fold");
        }
    }
    store.fold().expect("fold");
    (file, store)
}

fn assert_is_lost(store: &Store) {
    assert_eq!(store.check(), Err(Error::Lost));
    assert_eq!(dump(store), Err(Error::Lost));
    assert_eq!(store.apply(&[input(1, write(vec![put("a", "b")]))]), Err(Error::Lost));
    assert_eq!(store.fold(), Err(Error::Lost));
    assert_eq!(store.snapshot(u64::MAX, || ()).map(drop), Err(Error::Lost));
    assert_eq!(store.scrub(0, 1 << 20).map(drop), Err(Error::Lost));
    assert_eq!(store.applied().0, Index(0));
}

#[test]
fn what_was_given_up_answers_nothing() {
    let (_, store) = filled(20);
    apply(&store, write(vec![put("not folded", "v")]));
    store.give_up().expect("given up");
    assert_is_lost(&store);
    assert_is_lost(&Store::without_state(options()).expect("made in memory"));
}

/// It replaces and does not merge, though it is of an earlier index (covers H29).
#[test]
fn another_state_takes_its_place_whatever_it_held() {
    let (_, source) = filled(5);
    let (manifest, chunks) = snapshot(&source);
    let (_, store) = filled(20);
    apply(&store, Command::OpenSession { client: crate::types::ClientId(7) });
    store.condemn("its hash is another one".to_owned());
    store.give_up().expect("given up");
    let fresh = build(&CrashFile::new(), &manifest, &chunks).expect("built");
    store.install(fresh);
    store.check().expect("there is a state");
    assert_eq!(State::of(&store), State::of(&source));
    apply(&store, write(vec![put("after", "v")]));
    store.fold().expect("fold");
}

#[test]
fn an_empty_state_begins_and_is_given_everything_once_more() {
    let (_, whole) = filled(20);
    let (_, store) = filled(20);
    store.give_up().expect("given up");
    store.install(Fresh::begin(Box::new(CrashFile::new()), &options()).expect("begun"));
    for at in 0..20 {
        apply(&store, write(vec![put(&format!("key {at:03}"), &"v".repeat(2_000))]));
    }
    assert_eq!(State::of(&store), State::of(&whole));
}

/// What is known to be wrong is read by nobody any more, though nothing is wrong with the file.
#[test]
fn a_condemned_state_is_damaged() {
    let (file, store) = filled(5);
    store.condemn("its hash is another one".to_owned());
    let error = dump(&store).expect_err("condemned");
    assert!(matches!(&error, Error::Damaged { what, .. } if what == "its hash is another one"), "{error}");
    assert_eq!(store.fold(), Err(error));
    drop(store);
    open(&file).expect("the file knows nothing of it");
}

#[test]
fn what_was_there_before_is_not_begun_anew() {
    for bytes in [vec![], vec![0; BLOCK_BYTES]] {
        let file = CrashFile::with_bytes(bytes.clone());
        let error = Store::reopen(Box::new(file.clone()), options()).map(drop).expect_err("nothing is there");
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert_eq!(file.bytes(), bytes, "it was left as it is");
    }
    let (file, store) = filled(5);
    let state = State::of(&store);
    drop(store);
    assert_eq!(State::of(&Store::reopen(Box::new(file), options()).expect("reopened")), state);
}

/// A file that was cut short is damaged, wherever it was cut: never a failure of the disk, and never a smaller state.
#[test]
fn a_file_that_was_cut_short_is_damaged() {
    let (file, store) = filled(40);
    let content = dump(&store).expect("list");
    drop(store);
    let bytes = file.bytes();
    for at in (0..bytes.len()).step_by(BLOCK_BYTES / 2) {
        let cut = CrashFile::with_bytes(bytes[..at].to_vec());
        let read = Store::reopen(Box::new(cut), options()).and_then(|store| dump(&store));
        match read {
            Ok(found) => assert!(found == content, "cut at {at}: another state"),
            Err(error) => assert!(matches!(error, Error::Damaged { .. }), "cut at {at}: {error}"),
        }
    }
}

/// Where redb's header says how long its file is, is redb's: a version that has it elsewhere must be looked at.
#[test]
fn the_length_in_redbs_header_is_that_of_its_file() {
    let file = CrashFile::new();
    let store = open(&file).expect("open");
    for round in 0..4_u64 {
        let value = "v".repeat(700_000 * usize::try_from(round).expect("small"));
        apply(&store, write(vec![put(&format!("{round}"), &value)]));
        store.fold().expect("fold");
        let bytes = file.bytes();
        let blocks = layout::blocks_of_raw(bytes.len() as u64).expect("a whole file");
        let at = usize::try_from(layout::raw_offset(0)).expect("small");
        let header = bytes[at..at + layout::SECTOR_BYTES].try_into().expect("a sector");
        assert_eq!(backend::redb_blocks(&header), Some(blocks), "in round {round}");
    }
}

/// Reads the whole file through, and returns how many blocks differ.
fn scrub(store: &Store) -> Result<u64, Error> {
    let (mut next, mut strays, mut parts) = (Some(0), 0, 0);
    while let Some(from) = next {
        let scrubbed = store.scrub(from, 64 << 10)?;
        (next, strays, parts) = (scrubbed.next, strays + scrubbed.strays, parts + 1);
    }
    assert!(parts > 3, "the file was read in {parts} parts");
    Ok(strays)
}

/// Each flipped bit is found in the file that is open, though redb has all of it in its cache, and whatever is in it: a page, a
/// sum, the header, the superblock.
#[test]
fn the_scrub_finds_every_flipped_bit_of_what_was_written() {
    let (file, store) = filled(40);
    assert_eq!(scrub(&store), Ok(0), "the file is sound");
    let bytes = file.bytes();
    let mut rng = fastrand::Rng::with_seed(5);
    let mut found = 0;
    for block in 0..bytes.len() / BLOCK_BYTES {
        let range = block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES;
        // What was never written is zero; of the first two blocks a sector is used.
        let used: Vec<usize> = range.filter(|at| bytes[*at] != 0).collect();
        let Some(&at) = used.get(rng.usize(0..used.len().max(1))) else { continue };
        let mask = 1 << rng.u8(0..8);
        file.flip(at, mask);
        assert_eq!(scrub(&store), Ok(1), "block {block}, byte {at}");
        file.flip(at, mask);
        found += 1;
    }
    assert!(found > 30, "{found} blocks were flipped");
    assert_eq!(scrub(&store), Ok(0), "it latches nothing");
    dump(&store).expect("nor is the state lost");
}

/// What a scrub finds is settled by a rewrite: the new file is whole, or the state is lost, and nothing else.
#[test]
fn a_rewrite_leaves_rot_behind_or_meets_it() {
    let (file, store) = filled(40);
    let content = dump(&store).expect("list");
    drop(store);
    let bytes = file.bytes();
    let (mut met, mut left) = (0, 0);
    for block in (2..bytes.len() / BLOCK_BYTES).step_by(3) {
        let rotten = CrashFile::with_bytes(bytes.clone());
        // Nothing is cached: the copy reads all that it needs.
        let options = Options { cache_bytes: 0, ..options() };
        let store = Store::open(Box::new(rotten.clone()), options).expect("open");
        rotten.flip(block * BLOCK_BYTES + 77, 4);
        let new = CrashFile::new();
        match store.rewrite(Box::new(new.clone())) {
            Ok(rewritten) => {
                store.adopt(rewritten).expect("adopted");
                assert_eq!(scrub(&store), Ok(0), "block {block}");
                assert!(dump(&store).expect("list") == content, "block {block}");
                left += 1;
            }
            Err(error) => {
                assert!(matches!(error, Error::Damaged { .. }), "block {block}: {error}");
                assert!(store.check().is_err(), "block {block}");
                met += 1;
            }
        }
    }
    assert!(met > 5 && left > 5, "{met} met, {left} left behind");
}

/// The scrub reads while folds write: it takes nothing that is on its way for rot.
#[test]
fn a_scrub_beside_folds_finds_nothing() {
    let (_, store) = filled(8);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let scrubber = scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(std::sync::atomic::Ordering::Acquire) || rounds == 0 {
                let (mut next, mut strays) = (Some(0), 0);
                while let Some(from) = next {
                    let scrubbed = store.scrub(from, 16 << 10).expect("scrub");
                    (next, strays) = (scrubbed.next, strays + scrubbed.strays);
                }
                assert_eq!(strays, 0, "in round {rounds}");
                rounds += 1;
            }
            rounds
        });
        for at in 0..60 {
            apply(&store, write(vec![put(&format!("key {:03}", at % 20), &format!("{at}").repeat(900))]));
            store.fold().expect("fold");
        }
        stop.store(true, std::sync::atomic::Ordering::Release);
        scrubber.join().expect("the scrub found nothing");
    });
}
