//! Files that are looked at: nothing is changed, what a crash leaves is no damage, and no damage that a reader would come
//! upon is missed.

use super::support::*;
use crate::command::{Command, Envelope, Reply, SessionSeq};
use crate::fsm::offline::{Examined, copy, examine, look};
use crate::fsm::testing::{CrashFile, Loss};
use crate::fsm::{Error, Input, Options, Store};
use crate::types::{ClientId, ClusterId, Incarnation, Index, NodeId, Owner, Revision, Term};

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

const NEW_OWNER: Owner = Owner { cluster: ClusterId(0xd), node: NodeId(1), incarnation: Incarnation(0xe) };

/// The state of a lost cluster becomes that of a new one: everything but sessions, revision, place and membership stays.
#[test]
fn a_copy_begins_anew() {
    let (old, new) = (CrashFile::new(), CrashFile::new());
    let store = populate(&old);
    let folded = store.folded();
    let more = input_of(
        folded.0.next().0,
        &Envelope { group_time_ms: 77, ..envelope(None, write(vec![put("z", "v")])) },
    );
    drop(store);
    let before = (old.bytes(), old.calls());
    let options = Options { owner: NEW_OWNER, ..options() };
    let store = copy(Box::new(old.clone()), OWNER, Box::new(new.clone()), options.clone()).expect("copied");
    assert!((old.bytes(), old.calls()) == before, "the old file was changed");
    assert_eq!((store.folded(), store.applied()), (folded, folded));
    store.apply(&[more]).expect("applied");
    // A set that waits to be folded does not get lost.
    store.freeze();
    let (revision, hash, content) = (store.revision(), store.state_hash(), dump(&store).expect("readable"));
    let at = (Index(store.applied().0.0 + 1_000_000_000), Term(9));
    let jumped = store.begin_anew(at, bytes("a membership"), 1_000_000_000).expect("durable");
    assert_eq!(jumped, Revision(revision.0 + 1_000_000_000));
    assert_eq!((store.folded(), store.sizes().sessions), (at, 0));
    // Power goes: all of it was durable.
    let rebooted = new.reboot(Loss::All, 0);
    let found = examine(Box::new(rebooted.clone()), NEW_OWNER).expect("sound");
    assert_eq!((found.folded, found.revision, found.sessions), (at, jumped, 0));
    assert_eq!(found.membership, Some(bytes("a membership")));
    drop(store);
    let store = Store::open(Box::new(rebooted), options).expect("open");
    assert_eq!((store.state_hash(), store.group_time_ms()), (hash, 77));
    assert_eq!(dump(&store).expect("readable"), content);
    let late = envelope(Some(at_session()), write(vec![put("k", "v")]));
    let late = Input { index: at.0.next(), term: at.1, ..input_of(at.0.next().0, &late) };
    assert_eq!(store.apply(&[late]).expect("applied"), [Reply::SessionGone]);
    let next = Input { term: at.1, ..input(at.0.next().next().0, write(vec![put("k", "v")])) };
    let reply = store.apply(&[next]).expect("applied");
    assert_eq!(reply, [Reply::Written { revision: jumped.next(), deleted: 0 }]);
}

fn at_session() -> SessionSeq {
    at(1, 2, 1)
}
