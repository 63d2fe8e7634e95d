//! The data model and the sessions, entry by entry.

use super::support::*;
use crate::command::{Command, Envelope, Reply};
use crate::fsm::testing::CrashFile;
use crate::fsm::{Body, Error, Input, Store, Syncs};
use crate::types::{ClientId, Index, Revision, Term};

fn store() -> Store {
    open(&CrashFile::new()).expect("open an empty file")
}

fn written(revision: u64, deleted: u64) -> Reply {
    Reply::Written { revision: Revision(revision), deleted }
}

#[test]
fn an_empty_store_is_at_revision_1_and_the_first_write_gets_2() {
    let store = store();
    assert_eq!(store.revision(), Revision(1));
    assert_eq!(apply(&store, write(vec![put("k", "v")])), written(2, 0));
    let record = get(&store, "k").expect("k was put");
    assert_eq!((record.create_revision, record.mod_revision, record.version), (Revision(2), Revision(2), 1));
    assert_eq!(record.value, bytes("v"));
}

#[test]
fn what_changes_no_key_takes_no_revision() {
    let store = store();
    apply(&store, write(vec![put("k", "v")]));
    assert_eq!(apply(&store, write(vec![delete("absent")])), written(2, 0));
    assert_eq!(apply(&store, write(vec![])), written(2, 0));
    let failed = Reply::ConditionFailed { revision: Revision(2) };
    assert_eq!(apply(&store, write_if("k", 0, vec![put("k", "w")])), failed);
    apply(&store, Command::OpenSession { client: ClientId(1) });
    apply(&store, Command::HashMark);
    apply(&store, Command::CloseSession { client: ClientId(1) });
    let index = store.applied().0.next();
    let noop = Input { index, term: Term(1), body: Body::Noop };
    let membership = Input { index: index.next(), term: Term(1), body: Body::Membership(bytes("m")) };
    assert_eq!(store.apply(&[noop, membership]).expect("apply"), [Reply::Void, Reply::Void]);
    assert_eq!(store.membership(), Some(bytes("m")));
    assert_eq!(store.revision(), Revision(2));
    assert_eq!(apply(&store, write(vec![put("k", "w")])), written(3, 0));
}

#[test]
fn a_key_counts_its_versions_until_it_is_deleted() {
    let store = store();
    apply(&store, write(vec![put("k", "1")]));
    apply(&store, write(vec![put("k", "2")]));
    let record = get(&store, "k").expect("k was put");
    assert_eq!((record.create_revision, record.mod_revision, record.version), (Revision(2), Revision(3), 2));
    assert_eq!(apply(&store, write(vec![delete("k")])), written(4, 1));
    assert_eq!(get(&store, "k"), None);
    apply(&store, write(vec![put("k", "3")]));
    let record = get(&store, "k").expect("k was put again");
    assert_eq!((record.create_revision, record.mod_revision, record.version), (Revision(5), Revision(5), 1));
}

#[test]
fn operations_run_in_order_at_one_revision() {
    let store = store();
    let ops = vec![put("a", "1"), put("a", "2"), delete("a"), delete("a"), put("a", "3"), put("b", "4")];
    assert_eq!(apply(&store, write(ops)), written(2, 1));
    let record = get(&store, "a").expect("a was put last");
    assert_eq!((record.create_revision, record.version), (Revision(2), 1));
    assert_eq!(record.value, bytes("3"));
    assert_eq!(get(&store, "b").expect("b was put").mod_revision, Revision(2));
    assert_eq!(store.sizes().keys, 2);
}

#[test]
fn conditions_are_judged_before_the_first_operation() {
    let store = store();
    assert_eq!(apply(&store, write_if("k", 0, vec![put("k", "1"), put("k", "2")])), written(2, 0));
    assert_eq!(apply(&store, write_if("k", 2, vec![delete("k"), put("k", "3")])), written(3, 1));
    let failed = Reply::ConditionFailed { revision: Revision(3) };
    assert_eq!(apply(&store, write_if("k", 2, vec![put("k", "4")])), failed);
    assert_eq!(get(&store, "k").expect("k was put").value, bytes("3"));
}

/// Covers H23: a leader's own command does nothing in a later term, its clock included.
#[test]
fn a_leader_made_command_of_another_term_is_void() {
    let store = store();
    let mark = Envelope { term: Term(1), group_time_ms: 70, ..envelope(None, Command::HashMark) };
    let body = |envelope: &Envelope| Body::Command(crate::codec::encode_envelope(envelope));
    let replies = store
        .apply(&[
            Input { index: Index(1), term: Term(2), body: body(&mark) },
            Input { index: Index(2), term: Term(2), body: body(&Envelope { term: Term(2), ..mark.clone() }) },
        ])
        .expect("apply");
    assert_eq!(replies, [Reply::Void, Reply::Hash(store.state_hash())]);
    assert_eq!(store.group_time_ms(), 70);
    // A client's write is not leader-made: its proposer's term does not matter.
    let write = Envelope { term: Term(1), group_time_ms: 60, ..envelope(None, write(vec![put("k", "v")])) };
    let replies = store.apply(&[Input { index: Index(3), term: Term(2), body: body(&write) }]);
    assert_eq!(replies, Ok(vec![written(2, 0)]));
    assert_eq!(store.group_time_ms(), 70, "group time never goes back");
}

#[test]
fn a_void_command_does_not_move_group_time() {
    let store = store();
    let mark = Envelope { term: Term(7), group_time_ms: 70, ..envelope(None, Command::HashMark) };
    assert_eq!(apply_envelope(&store, &mark), Reply::Void);
    assert_eq!(store.group_time_ms(), 0);
}

/// Covers H22: a command that cannot be decoded is never skipped.
#[test]
fn an_undecodable_command_stops_the_store() {
    let store = store();
    let good = input(1, write(vec![put("k", "v")]));
    let bad = Input { index: Index(2), term: Term(1), body: Body::Command(bytes("\x09 from the future")) };
    let error = store.apply(&[good, bad]).expect_err("the second cannot be decoded");
    assert!(matches!(error, Error::Undecodable { index: Index(2), .. }), "{error}");
    assert_eq!(store.applied().0, Index(0), "nothing of the batch was applied");
}

#[test]
#[should_panic(expected = "entries are applied without a gap")]
fn a_gap_in_the_indexes_is_a_broken_invariant() {
    let _ = store().apply(&[input(2, Command::HashMark)]);
}

#[test]
fn the_hash_depends_on_the_content_alone() {
    let (one, other) = (store(), store());
    assert_eq!(one.state_hash(), 0);
    apply(&one, write(vec![put("a", "1"), put("b", "2")]));
    apply(&other, write(vec![put("b", "2"), put("a", "1")]));
    assert_eq!(one.state_hash(), other.state_hash());
    apply(&one, write(vec![put("c", "3")]));
    assert_ne!(one.state_hash(), other.state_hash());
    apply(&one, write(vec![delete("a"), delete("b"), delete("c")]));
    assert_eq!(one.state_hash(), 0);
}

#[test]
fn keyspaces_do_not_meet() {
    let store = store();
    let in_keyspace = |keyspace, ops| {
        let Command::Write(inner) = write(ops) else { panic!("a write") };
        Command::Write(crate::command::Write { keyspace: crate::types::Keyspace(keyspace), ..inner })
    };
    apply(&store, in_keyspace(0, vec![put("k", "zero")]));
    apply(&store, in_keyspace(1, vec![put("k", "one"), put("l", "one")]));
    assert_eq!(get(&store, "k").expect("k was put").value, bytes("zero"));
    assert_eq!(dump(&store).expect("list").len(), 1);
}

#[test]
fn a_reopened_store_is_where_it_was_folded() {
    let file = CrashFile::new();
    let store = open(&file).expect("open");
    apply(&store, write(vec![put("a", "1"), put("b", "2")]));
    apply(&store, Command::OpenSession { client: ClientId(1) });
    apply_envelope(&store, &envelope(Some(at(1, 1, 1)), write(vec![put("c", "3")])));
    let membership = Input { index: Index(4), term: Term(1), body: Body::Membership(bytes("m")) };
    store.apply(&[membership]).expect("apply");
    assert_eq!(store.folded().0, Index(0));
    assert_eq!(store.fold(), Ok((Index(4), Term(1))));
    let (hash, content) = (store.state_hash(), dump(&store).expect("list"));
    apply(&store, write(vec![put("lost", "5")]));
    drop(store);
    let store = open(&file).expect("reopen");
    assert_eq!((store.applied(), store.folded()), ((Index(4), Term(1)), (Index(4), Term(1))));
    assert_eq!((store.state_hash(), dump(&store).expect("list")), (hash, content));
    assert_eq!((store.revision(), store.membership()), (Revision(3), Some(bytes("m"))));
    assert_eq!(store.sizes().keys, 3);
    // The session and its reply are there: the same command again is not executed.
    let again = envelope(Some(at(1, 1, 1)), write(vec![put("c", "3")]));
    assert_eq!(apply_envelope(&store, &again), written(3, 0));
    assert_eq!(store.revision(), Revision(3));
}

/// From the moment it is set aside a set is read, built upon, and what the next fold writes, whatever is applied after it.
#[test]
fn what_is_set_aside_is_seen_and_folded_first() {
    let file = CrashFile::new();
    let store = open(&file).expect("open");
    apply(&store, write(vec![put("a", "1"), put("b", "2"), put("c", "3")]));
    let aside = store.applied();
    store.freeze();
    apply(&store, write(vec![put("a", "4"), delete("b")]));
    store.freeze();
    assert_eq!(get(&store, "a").map(|record| (record.value, record.version)), Some((bytes("4"), 2)));
    assert_eq!(get(&store, "c").map(|record| record.value), Some(bytes("3")));
    let (hash, content) = (store.state_hash(), dump(&store).expect("list"));
    assert_eq!((content.len(), store.fold()), (2, Ok(aside)));
    assert_eq!((store.folded(), store.fold()), (aside, Ok(store.applied())));
    drop(store);
    let store = open(&file).expect("reopen");
    assert_eq!((store.state_hash(), dump(&store).expect("list")), (hash, content));
}

#[test]
fn a_fold_without_news_writes_nothing() {
    let file = CrashFile::new();
    let store = open(&file).expect("open");
    apply(&store, write(vec![put("a", "1")]));
    let first = store.fold().expect("fold");
    let calls = file.calls();
    assert_eq!(store.fold(), Ok(first));
    assert_eq!(file.calls(), calls);
}

/// Those of the file in use, and of the one that takes its place.
#[test]
fn each_sync_of_a_state_file_is_counted() {
    let (file, next, syncs) = (CrashFile::new(), CrashFile::new(), Syncs::default());
    let counted = |file: &CrashFile| syncs.counted(Box::new(file.clone()));
    let store = Store::open(counted(&file), options()).expect("open");
    for round in 0..3 {
        apply(&store, write(vec![put_bytes("a", noise(round, 300_000))]));
        store.fold().expect("fold");
    }
    let rewritten = store.rewrite(counted(&next)).expect("rewrite");
    store.adopt(rewritten).expect("adopt");
    apply(&store, write(vec![put("a", "1")]));
    store.fold().expect("fold");
    assert!(file.syncs() > 10 && next.syncs() > 5, "{} and {} syncs", file.syncs(), next.syncs());
    assert_eq!(syncs.count(), file.syncs() + next.syncs());
}
