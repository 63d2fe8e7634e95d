//! Idempotency keys: once and only once, without a session (covers H24). Their twin is in `model`.

use super::support::*;
use crate::command::{Command, Keyed, Reply, Write};
use crate::fsm::Store;
use crate::fsm::keyed::ANSWER_MS;
use crate::fsm::testing::CrashFile;
use crate::types::{Keyspace, Revision};

/// A write of `value` with a key, at a time of the group.
fn call(store: &Store, key: &str, value: &str, group_time_ms: u64) -> Reply {
    let write = Write { keyspace: Keyspace(0), conditions: vec![], ops: vec![put("k", value)] };
    let command = Command::Keyed(Keyed { key: bytes(key), write });
    let envelope = crate::command::Envelope { group_time_ms, ..envelope(None, command) };
    apply_envelope(store, &envelope)
}

fn written(revision: u64) -> Reply {
    Reply::Written { revision: Revision(revision), deleted: 0 }
}

/// A key that was drawn at a time.
fn drawn_at(ms: u64, of_it: u8) -> String {
    format!("{:08x}-{:04x}-7000-8000-0000000000{of_it:02x}", ms >> 16, ms & 0xffff)
}

#[test]
fn the_same_write_with_the_same_key_takes_effect_once() {
    let file = CrashFile::new();
    let mut store = open(&file).expect("open");
    assert_eq!(call(&store, "key", "a", 0), written(2));
    for round in 0..3 {
        assert_eq!(call(&store, "key", "a", 0), written(2), "round {round}");
        assert_eq!(call(&store, "key", "b", 0), Reply::KeyMismatch);
        store.fold().expect("fold");
        drop(store);
        store = open(&file).expect("reopen");
    }
    assert_eq!(call(&store, "another", "b", 0), written(3));
    assert_eq!(get(&store, "k").map(|record| record.version), Some(2));
    assert_eq!(store.keys().expect("readable"), 1, "what is kept of keys is no key of a client");
}

#[test]
fn an_answer_is_kept_for_a_day_of_the_group() {
    let store = open(&CrashFile::new()).expect("open");
    assert_eq!(call(&store, "key", "a", 1_000), written(2));
    assert_eq!(call(&store, "next", "b", 1_000 + ANSWER_MS - 1), written(3));
    assert_eq!(call(&store, "key", "a", 1_000 + ANSWER_MS - 1), written(2));
    // It goes when another key comes.
    assert_eq!(call(&store, "last", "c", 1_000 + ANSWER_MS), written(4));
    assert_eq!(call(&store, "key", "a", 0), Reply::KeySpent);
    assert_eq!(get(&store, "k").map(|record| record.version), Some(3), "it was not executed again");
}

/// Three answers are kept, and four spent keys.
#[test]
fn keys_pass_in_the_order_in_which_they_were_used() {
    let store = open(&CrashFile::new()).expect("open");
    for number in 0..8 {
        assert_eq!(call(&store, &format!("key{number}"), "a", 0), written(2 + number));
    }
    assert_eq!(call(&store, "key7", "a", 0), written(9));
    assert_eq!(call(&store, "key5", "a", 0), written(7));
    for number in 1..5 {
        assert_eq!(call(&store, &format!("key{number}"), "a", 0), Reply::KeySpent, "key{number}");
    }
    // The end of the promise, for keys that do not tell their age.
    assert_eq!(call(&store, "key0", "a", 0), written(10));
}

#[test]
fn a_key_that_tells_its_age_is_never_taken_for_new_again() {
    let store = open(&CrashFile::new()).expect("open");
    for number in 0..9 {
        assert_eq!(call(&store, &drawn_at(100 + number, 0), "a", 200), written(2 + number));
    }
    // Two are forgotten: the first, and the second, which is the youngest of them.
    for drawn in [100, 101] {
        assert_eq!(call(&store, &drawn_at(drawn, 0), "a", 200), Reply::KeySpent, "drawn at {drawn}");
    }
    assert_eq!(
        call(&store, &drawn_at(101, 1), "a", 200),
        Reply::KeySpent,
        "it could be one that was forgotten"
    );
    assert_eq!(call(&store, &drawn_at(102, 1), "a", 200), written(11), "it cannot");
}

/// Clocks differ: a key from the future makes nobody's old.
#[test]
fn a_key_from_the_future_only_stays_for_longer() {
    let store = open(&CrashFile::new()).expect("open");
    assert_eq!(call(&store, &drawn_at(1 << 40, 0), "a", 200), written(2));
    for number in 0..20 {
        assert_eq!(call(&store, &drawn_at(200 + number, 0), "a", 200), written(3 + number), "{number}");
    }
    assert_eq!(call(&store, &drawn_at(1 << 40, 0), "a", 200), Reply::KeySpent);
    assert_eq!(call(&store, &drawn_at(200, 0), "a", 200), Reply::KeySpent);
}

/// One that was in use for so long that those which were drawn with it are forgotten.
#[test]
fn a_key_that_is_spent_when_its_age_is_forgotten_already_goes_at_once() {
    let store = open(&CrashFile::new()).expect("open");
    for number in 0..9 {
        assert_eq!(call(&store, &drawn_at(200 + number, 0), "a", 200), written(2 + number));
    }
    // Drawn long ago, and used only now.
    assert_eq!(call(&store, &drawn_at(202, 1), "a", 200), written(11));
    for number in 9..20 {
        assert_eq!(call(&store, &drawn_at(200 + number, 0), "a", 200), written(3 + number), "{number}");
    }
    assert_eq!(call(&store, &drawn_at(202, 1), "a", 200), Reply::KeySpent);
    assert_eq!(store.keys().expect("readable"), 1);
}

/// What lies before the first that is still known is passed over once, not each time: the file and the sets hold more of it
/// with every key.
#[test]
fn keys_pass_through_folds_and_restarts() {
    let file = CrashFile::new();
    let mut store = open(&file).expect("open");
    for number in 0..60 {
        let key = if number % 2 == 0 { format!("key{number}") } else { drawn_at(1_000 + number, 0) };
        assert_eq!(call(&store, &key, "a", 200), written(2 + number));
        if number % 7 == 0 {
            store.fold().expect("fold");
        }
        if number % 11 == 0 {
            drop(store);
            store = open(&file).expect("reopen");
            // What was not folded is gone with it: it is applied again.
            for again in store.revision().0 - 2 + 1..=number {
                let key = if again % 2 == 0 { format!("key{again}") } else { drawn_at(1_000 + again, 0) };
                assert_eq!(call(&store, &key, "a", 200), written(2 + again));
            }
        }
        assert_eq!(store.keys().expect("readable"), 1, "{number}");
    }
}
