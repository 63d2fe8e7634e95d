//! Files that are looked at: nothing is changed, what a crash leaves is no damage, and no damage that a reader would come
//! upon is missed.

use super::support::*;
use crate::command::Command;
use crate::fsm::offline::{Examined, examine, look};
use crate::fsm::testing::{CrashFile, Loss};
use crate::fsm::{Error, Store};
use crate::types::{ClientId, Index, NodeId, Owner, Revision, Term};

/// A store with rows of all kinds and sizes, folded some times.
fn populate(file: &CrashFile) -> Store {
    let store = open(file).expect("open");
    apply(&store, Command::OpenSession { client: ClientId(1) });
    apply_envelope(&store, &envelope(Some(at(1, 1, 1)), write(vec![put("in a session", "v")])));
    for round in 0..4_usize {
        for key in 0..80_usize {
            let value = format!("{round}-{key}-").repeat(key * key % 300);
            apply(&store, write(vec![put(&format!("key {:03}", key * 7 % 80), &value)]));
        }
        store.fold().expect("fold");
    }
    store
}

fn examine_file(file: &CrashFile) -> Result<Examined, Error> {
    let (bytes, calls) = (file.bytes(), file.calls());
    let found = examine(Box::new(file.clone()), OWNER);
    assert!(file.bytes() == bytes && file.calls() == calls, "the file was changed");
    found
}

#[test]
fn a_closed_file_is_sound_and_stays_as_it_is() {
    let file = CrashFile::new();
    let store = populate(&file);
    let (folded, revision, state_hash) = (store.folded(), store.revision(), store.state_hash());
    let keys = store.sizes().keys;
    drop(store);
    let found = examine_file(&file).expect("sound");
    let expected = Examined {
        is_formed: true,
        folded,
        revision,
        keys,
        state_hash,
        sessions: 1,
        membership: None,
        strays: found.strays,
    };
    assert_eq!(found, expected);
    assert_eq!(look(Box::new(file), OWNER), Ok(Examined { strays: 0, ..expected }));
}

#[test]
fn a_file_that_was_never_formed_holds_nothing() {
    let found = examine_file(&CrashFile::new()).expect("no damage");
    assert!(!found.is_formed && found.folded == (Index(0), Term(0)) && found.revision == Revision::EMPTY);
}

#[test]
fn what_a_crash_leaves_is_no_damage() {
    let whole = CrashFile::new();
    drop(populate(&whole));
    let mut strays = 0;
    for calls in (0..40).step_by(3) {
        for (seed, loss) in Loss::EVERY.into_iter().enumerate() {
            let file = CrashFile::with_bytes(whole.bytes());
            let store = open(&file).expect("open");
            for key in 0..80_usize {
                apply(&store, write(vec![put(&format!("key {key:03}"), &"x".repeat(key * 97 % 3_000))]));
            }
            file.cut_after(calls);
            let _ = store.fold();
            drop(store);
            let found = examine_file(&file.reboot(loss, seed as u64));
            strays += found.unwrap_or_else(|error| panic!("{loss:?} after {calls} calls: {error}")).strays;
        }
    }
    assert!(strays > 0, "no crash left a block without its sum: the test is too mild");
}

/// Every damaged byte is found, or is one that no reader ever meets.
#[test]
fn damage_is_found_or_is_nobodys() {
    let whole = CrashFile::new();
    let store = populate(&whole);
    let content = dump(&store).expect("readable");
    drop(store);
    let len = whole.bytes().len();
    let (mut found, mut missed) = (0, 0);
    for at in (0..len).step_by(len / 200 + 1) {
        let file = CrashFile::with_bytes(whole.bytes());
        file.flip(at, 0x10);
        match examine_file(&file) {
            Err(Error::Damaged { .. }) => found += 1,
            Err(error) => panic!("byte {at}: {error}"),
            Ok(_) => {
                missed += 1;
                let store = open(&file).unwrap_or_else(|error| panic!("byte {at} was not found: {error}"));
                assert!(dump(&store).is_ok_and(|found| found == content), "byte {at} was not found");
            }
        }
    }
    assert!(found > 30, "{found} of {} flips were found", found + missed);
}

#[test]
fn a_head_that_the_rows_do_not_add_up_to_is_damage() {
    for (keys, hash) in [(1, 0), (0, 1)] {
        let file = CrashFile::new();
        let store = populate(&file);
        apply(&store, write(vec![put("k", "v")]));
        {
            let mut view = store.shared.view_mut();
            view.head.keys += keys;
            view.head.hash ^= hash;
        }
        store.fold().expect("fold");
        drop(store);
        let error = examine_file(&file).expect_err("it does not add up");
        assert!(matches!(&error, Error::Damaged { what, .. } if what.contains("are noted")), "{error}");
    }
}

#[test]
fn another_owners_file_is_foreign() {
    let file = CrashFile::new();
    drop(populate(&file));
    let owner = Owner { node: NodeId(9), ..OWNER };
    assert!(matches!(examine(Box::new(file), owner), Err(Error::Foreign { .. })));
}
