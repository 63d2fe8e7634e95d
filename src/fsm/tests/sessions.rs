//! Sessions: once and only once (covers H24).

use super::support::*;
use crate::command::{Command, Reply, SessionRefusal};
use crate::fsm::Store;
use crate::fsm::testing::CrashFile;
use crate::types::{ClientId, Revision};

fn store_with(client: u128) -> Store {
    let store = open(&CrashFile::new()).expect("open");
    assert_eq!(apply(&store, Command::OpenSession { client: ClientId(client) }), Reply::SessionOpened);
    store
}

/// A write in session 1.
fn call(store: &Store, seq: u64, done_below: u64, value: &str) -> Reply {
    apply_envelope(store, &envelope(Some(at(1, seq, done_below)), write(vec![put("k", value)])))
}

fn written(revision: u64) -> Reply {
    Reply::Written { revision: Revision(revision), deleted: 0 }
}

#[track_caller]
fn assert_refused(reply: Reply, why: SessionRefusal) {
    assert_eq!(reply, Reply::SessionRefused { why });
}

#[test]
fn a_session_is_never_opened_by_use() {
    let store = open(&CrashFile::new()).expect("open");
    assert_eq!(call(&store, 1, 1, "a"), Reply::SessionGone);
    assert_eq!(get(&store, "k"), None, "the write was not executed");
}

#[test]
fn a_repeated_seq_gets_its_first_reply_and_is_not_executed() {
    let store = store_with(1);
    assert_eq!(call(&store, 1, 1, "a"), written(2));
    assert_eq!(apply(&store, write(vec![put("k", "by another")])), written(3));
    assert_eq!(call(&store, 1, 1, "a"), written(2));
    assert_eq!(get(&store, "k").expect("k was put").value, bytes("by another"));
}

#[test]
fn the_reply_of_a_failed_condition_is_kept_too() {
    let store = store_with(1);
    let failed = Reply::ConditionFailed { revision: Revision(1) };
    let command = envelope(Some(at(1, 1, 1)), write_if("k", 7, vec![put("k", "a")]));
    assert_eq!(apply_envelope(&store, &command), failed);
    for _ in 0..6 {
        apply(&store, write(vec![put("k", "b")]));
    }
    // At revision 7 the condition would hold now.
    assert_eq!(get(&store, "k").expect("k was put").mod_revision, Revision(7));
    assert_eq!(apply_envelope(&store, &command), failed);
}

#[test]
fn a_repeated_seq_with_another_command_is_refused() {
    let store = store_with(1);
    call(&store, 1, 1, "a");
    assert_refused(call(&store, 1, 1, "b"), SessionRefusal::AnotherCommand);
    assert_eq!(store.revision(), Revision(2));
}

#[test]
fn calls_may_be_applied_out_of_order_within_the_window() {
    let store = store_with(1);
    assert_eq!(call(&store, 4, 1, "d"), written(2));
    assert_eq!(call(&store, 2, 1, "b"), written(3));
    assert_eq!(call(&store, 4, 1, "d"), written(2));
    assert_eq!(call(&store, 1, 1, "a"), written(4));
    assert_eq!(call(&store, 3, 1, "c"), written(5));
}

#[test]
fn a_seq_outside_the_window_is_refused() {
    let store = store_with(1);
    // The window is 4 wide.
    assert_refused(call(&store, 5, 1, "e"), SessionRefusal::BeyondWindow);
    assert_refused(call(&store, u64::MAX, 1, "e"), SessionRefusal::BeyondWindow);
    call(&store, 1, 1, "a");
    assert_eq!(call(&store, 5, 2, "e"), written(3));
    assert_refused(call(&store, 1, 1, "a"), SessionRefusal::BelowWindow);
    // An old message with an older done_below does not move the window back.
    assert_refused(call(&store, 1, 0, "a"), SessionRefusal::BelowWindow);
    assert_refused(call(&store, 0, 0, "a"), SessionRefusal::Malformed);
    assert_refused(call(&store, 3, 4, "c"), SessionRefusal::Malformed);
    // Nor did the malformed one move it forward.
    assert_eq!(call(&store, 2, 2, "b"), written(4));
    assert_eq!(call(&store, u64::MAX, u64::MAX, "z"), written(5));
}

#[test]
fn opening_twice_keeps_the_replies_and_closing_forgets_them() {
    let store = store_with(1);
    call(&store, 1, 1, "a");
    assert_eq!(apply(&store, Command::OpenSession { client: ClientId(1) }), Reply::SessionOpened);
    assert_eq!(call(&store, 1, 1, "a"), written(2));
    assert_eq!(apply(&store, Command::CloseSession { client: ClientId(1) }), Reply::SessionClosed);
    assert_eq!(apply(&store, Command::CloseSession { client: ClientId(1) }), Reply::SessionClosed);
    assert_eq!(call(&store, 1, 1, "a"), Reply::SessionGone);
    apply(&store, Command::OpenSession { client: ClientId(1) });
    assert_eq!(call(&store, 1, 1, "a"), written(3), "a session opened anew remembers nothing");
}

#[test]
fn one_session_too_many_evicts_the_one_unused_for_longest() {
    let store = store_with(1);
    let open_one = |client| apply(&store, Command::OpenSession { client: ClientId(client) });
    open_one(2);
    open_one(3);
    // Session 1 is the oldest, but was used last.
    call(&store, 1, 1, "a");
    open_one(4);
    assert_eq!(store.sizes().sessions, 3);
    assert_eq!(call(&store, 1, 1, "a"), written(2));
    let in_2 = envelope(Some(at(2, 1, 1)), write(vec![put("k", "b")]));
    assert_eq!(apply_envelope(&store, &in_2), Reply::SessionGone);
}

#[test]
fn a_reply_outlives_folds_and_restarts_until_it_is_done() {
    let file = CrashFile::new();
    let mut store = open(&file).expect("open");
    apply(&store, Command::OpenSession { client: ClientId(1) });
    call(&store, 1, 1, "a");
    call(&store, 3, 1, "c");
    for round in 0..3 {
        store.fold().expect("fold");
        drop(store);
        store = open(&file).expect("reopen");
        assert_eq!(call(&store, 1, 1, "a"), written(2), "round {round}");
        assert_eq!(call(&store, 3, 1, "c"), written(3), "round {round}");
    }
    // The window moves on, and the fold removes the rows behind it.
    assert_eq!(call(&store, 4, 4, "d"), written(4));
    store.fold().expect("fold");
    drop(store);
    let store = open(&file).expect("reopen");
    assert_refused(call(&store, 3, 1, "c"), SessionRefusal::BelowWindow);
    assert_eq!(call(&store, 4, 4, "d"), written(4));
}

/// Almost every reply is forgotten before a fold comes: it must not be a row to write, nor one to delete.
#[test]
fn a_reply_that_no_fold_has_seen_leaves_no_trace() {
    let store = store_with(1);
    store.fold().expect("fold the session");
    call(&store, 1, 1, "a");
    call(&store, 2, 2, "a");
    let bytes = store.sizes().write_set_bytes;
    for seq in 3..100 {
        call(&store, seq, seq, "a");
        assert_eq!(store.sizes().write_set_bytes, bytes, "after seq {seq}");
    }
}

/// A session whose reply stayed behind would not open again.
#[test]
fn a_reply_that_is_being_folded_is_deleted_from_the_file() {
    let file = CrashFile::new();
    let store = open(&file).expect("open");
    apply(&store, Command::OpenSession { client: ClientId(1) });
    call(&store, 1, 1, "a");
    store.freeze();
    // The row is set aside by now, and not in the file.
    call(&store, 2, 2, "b");
    store.fold().expect("fold what was set aside");
    store.fold().expect("fold the rest");
    drop(store);
    let store = open(&file).expect("open again");
    assert_eq!(call(&store, 2, 2, "b"), written(3));
    assert_refused(call(&store, 1, 1, "a"), SessionRefusal::BelowWindow);
}

/// The end of one session and the beginning of the next of its id may be in one write set: what deletes the replies of the first
/// must outlive those of the second.
#[test]
fn a_session_that_is_opened_anew_leaves_nothing_of_the_one_before() {
    for last in ["written", "closed", "opened once more"] {
        let file = CrashFile::new();
        let store = open(&file).expect("open");
        let session = |command: fn(ClientId) -> Command| apply(&store, command(ClientId(1)));
        let (begin, end) =
            (|client| Command::OpenSession { client }, |client| Command::CloseSession { client });
        session(begin);
        call(&store, 1, 1, "of the first");
        store.fold().expect("fold the reply");
        session(end);
        session(begin);
        call(&store, 1, 1, "of the second");
        match last {
            "written" => drop(call(&store, 2, 2, "a")),
            _ => drop(session(end)),
        }
        if last == "opened once more" {
            session(begin);
        }
        store.fold().expect("fold the rest");
        let (manifest, chunks) = snapshot(&store);
        build(&CrashFile::new(), &manifest, &chunks).expect("a snapshot of it can be built");
        drop(store);
        let store = open(&file).unwrap_or_else(|error| panic!("{last}: {error}"));
        if last == "opened once more" {
            assert_eq!(
                call(&store, 1, 1, "of the first"),
                written(4),
                "it is another session's, and executed"
            );
        }
    }
}
