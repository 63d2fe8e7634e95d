//! What transactions may not do, and what their refusal leaves; what they do is in `model`.

use super::support::*;
use crate::command::{
    Command, Compare, Content, Found, Keys, Op, Query, Range, Relation, Reply, SessionRefusal,
    TXN_ANSWER_BYTES_MAX, TXN_KEYS_MAX, Target, Txn, TxnAnswer, TxnOp, TxnRefusal,
};
use crate::fsm::Store;
use crate::fsm::testing::CrashFile;
use crate::types::{ClientId, Keyspace, Revision};

fn txn(success: Vec<TxnOp>) -> Command {
    Command::Txn(Txn { keyspace: Keyspace(0), compares: vec![], success, failure: vec![] })
}

fn set(key: &str, value: &str) -> TxnOp {
    TxnOp::Put { key: bytes(key), value: Some(bytes(value)), previous: false }
}

fn read_all() -> TxnOp {
    TxnOp::Range(Range::of(Keys::all()))
}

/// A store with so many values of 1 MiB.
fn store_of_megabytes(values: usize) -> Store {
    let store = open(&CrashFile::new()).expect("open");
    for number in 0..values {
        apply(&store, write(vec![put_bytes(&format!("v{number}"), noise(number as u64, 1 << 20))]));
    }
    store
}

/// Refused, and nothing of it is there: not the put before, nor a revision.
fn assert_refused(store: &Store, ops: Vec<TxnOp>, why: TxnRefusal) {
    let (revision, hash, keys) = (store.revision(), store.state_hash(), store.sizes().keys);
    assert_eq!(apply(store, txn(ops)), Reply::TxnRefused { why });
    assert_eq!((store.revision(), store.state_hash(), store.sizes().keys), (revision, hash, keys));
    assert_eq!(get(store, "before"), None);
}

#[test]
fn one_that_would_answer_too_much_is_refused_whole() {
    let store = store_of_megabytes(3);
    let why = TxnRefusal::AnswerTooLarge;
    assert_refused(&store, vec![set("before", "x"), read_all()], why);
    let delete = TxnOp::Delete { keys: Keys::prefix(bytes("v")), previous: true };
    assert_refused(&store, vec![set("before", "x"), delete], why);
    let put = |key: &str| TxnOp::Put { key: bytes(key), value: Some(bytes("y")), previous: true };
    assert_refused(&store, vec![set("before", "x"), put("v0"), put("v1"), put("v2")], why);
    // Within the bound it is done.
    let one = Range { limit: Some(1), ..Range::of(Keys::all()) };
    let reply = apply(&store, txn(vec![TxnOp::Range(one)]));
    let Reply::Txn { answers, .. } = reply else { panic!("{reply:?}") };
    let TxnAnswer::Range(selection) = &answers.answers[0] else { panic!("{answers:?}") };
    assert_eq!((selection.pairs.len(), selection.more, selection.count), (1, true, 3));
    assert!(selection.pairs[0].1.value.len() < TXN_ANSWER_BYTES_MAX);
}

#[test]
fn one_that_keeps_the_value_of_an_absent_key_is_refused_whole() {
    let store = open(&CrashFile::new()).expect("open");
    let keep = TxnOp::Put { key: bytes("absent"), value: None, previous: false };
    assert_refused(&store, vec![set("before", "x"), keep], TxnRefusal::NoSuchKey);
}

#[test]
fn one_that_would_delete_too_many_is_refused_whole() {
    let store = open(&CrashFile::new()).expect("open");
    let key = |number: usize| format!("k{number:06}");
    let ops: Vec<Op> = (0..=TXN_KEYS_MAX).map(|number| put(&key(number), "")).collect();
    apply(&store, write(ops));
    let delete = |from: usize, to: usize| TxnOp::Delete {
        keys: Keys::Between(bytes(&key(from)), bytes(&key(to))),
        previous: false,
    };
    let all = delete(0, TXN_KEYS_MAX + 1);
    assert_refused(&store, vec![set("before", "x"), all], TxnRefusal::TooManyKeys);
    let halves = vec![delete(0, 5), delete(5, TXN_KEYS_MAX + 1)];
    assert_refused(&store, halves, TxnRefusal::TooManyKeys);
    let reply = apply(&store, txn(vec![delete(0, TXN_KEYS_MAX)]));
    let Reply::Txn { revision, answers } = reply else { panic!("{reply:?}") };
    assert_eq!(revision, Revision(3));
    let deleted = TxnAnswer::Delete { deleted: TXN_KEYS_MAX as u64, previous: vec![] };
    assert_eq!(answers.answers, vec![deleted]);
    assert_eq!(store.sizes().keys, 1);
}

#[test]
fn a_query_that_would_answer_too_much_says_so() {
    let store = store_of_megabytes(3);
    let range = |limit| Query::Range {
        keyspace: Keyspace(0),
        range: Range { limit, ..Range::of(Keys::all()) },
        bytes_max: 5 << 19,
    };
    let found = |query: &Query| store.query(query).expect("a query").found;
    assert_eq!(found(&range(None)), Found::TooLarge);
    assert!(matches!(found(&range(Some(2))), Found::Selection(selection) if selection.pairs.len() == 2));
    let Command::Txn(txn) = txn(vec![read_all()]) else { unreachable!("a transaction") };
    assert_eq!(found(&Query::Txn { txn, bytes_max: 5 << 19 }), Found::TooLarge);
}

/// In an order that shows only at the end which pairs come first, memory is bounded by the limit, not by what there is.
#[test]
fn the_last_of_many_is_found_within_the_bound_of_a_few() {
    let store = store_of_megabytes(5);
    let mut range = Range { limit: Some(1), ..Range::of(Keys::all()) };
    range.order.is_descending = true;
    let query = Query::Range { keyspace: Keyspace(0), range, bytes_max: 5 << 19 };
    let Found::Selection(selection) = store.query(&query).expect("a query").found else {
        panic!("too large")
    };
    assert_eq!(selection.pairs[0].0, bytes("v4"));
    assert_eq!((selection.pairs.len(), selection.more, selection.count), (1, true, 5));
}

/// Replies are kept until the client has them: those of a session are bounded in bytes, and a refusal loses nothing.
#[test]
fn a_session_keeps_replies_up_to_a_bound() {
    let store = open(&CrashFile::new()).expect("open");
    apply(&store, write(vec![put_bytes("v", noise(1, 3 << 19))]));
    apply(&store, Command::OpenSession { client: ClientId(1) });
    let call = |seq, done_below| {
        apply_envelope(&store, &envelope(Some(at(1, seq, done_below)), txn(vec![read_all()])))
    };
    for seq in 1..=3 {
        assert!(matches!(call(seq, 1), Reply::Txn { .. }), "seq {seq}");
    }
    let refused = call(4, 1);
    assert_eq!(refused, Reply::SessionRefused { why: SessionRefusal::RepliesFull });
    assert!(matches!(call(2, 1), Reply::Txn { .. }), "what was answered is answered again");
    assert!(matches!(call(4, 2), Reply::Txn { .. }), "and room is made by what has been received");
}

/// Every node applies it, and all that comes behind waits.
#[test]
fn one_that_would_look_at_too_many_keys_is_refused_whole() {
    let store = open(&CrashFile::new()).expect("open");
    apply(&store, write((0..1_000).map(|number| put(&format!("k{number:06}"), "")).collect()));
    let times = TXN_KEYS_MAX / 1_000;
    let count = |limit| TxnOp::Range(Range { content: Content::Count, limit, ..Range::of(Keys::all()) });
    let compare = Compare { keys: Keys::all(), relation: Relation::Greater, target: Target::Version(0) };
    let txn = |compares: usize, counts: usize| {
        let compares = vec![compare.clone(); compares];
        let success = vec![count(Some(1)); counts];
        Command::Txn(Txn { keyspace: Keyspace(0), compares, success, failure: vec![] })
    };
    for (compares, counts) in [(times, 0), (0, times), (times / 2, times / 2)] {
        assert!(matches!(apply(&store, txn(compares, counts)), Reply::Txn { .. }), "{compares} and {counts}");
    }
    for (compares, counts) in [(times + 1, 0), (0, times + 1), (times / 2, times / 2 + 1)] {
        let refused = Reply::TxnRefused { why: TxnRefusal::TooManyKeys };
        assert_eq!(apply(&store, txn(compares, counts)), refused, "{compares} and {counts}");
    }
}

/// A put that keeps its value is short to say and long to do.
#[test]
fn one_that_would_write_too_much_is_refused_whole() {
    let store = store_of_megabytes(5);
    let keep = |number| TxnOp::Put { key: bytes(&format!("v{number}")), value: None, previous: false };
    assert!(matches!(apply(&store, txn((0..3).map(keep).collect())), Reply::Txn { .. }));
    let ops = [set("before", "x")].into_iter().chain((0..5).map(keep)).collect();
    assert_refused(&store, ops, TxnRefusal::WritesTooMuch);
}

/// Pairs and answers cost something, however short they are.
#[test]
fn many_short_answers_are_as_much_as_a_few_long_ones() {
    let store = open(&CrashFile::new()).expect("open");
    apply(&store, write((0..10_000).map(|number| put(&format!("{number:04x}"), "")).collect()));
    let keys = |limit| Range { content: Content::Keys, limit, ..Range::of(Keys::all()) };
    assert!(matches!(apply(&store, txn(vec![TxnOp::Range(keys(None))])), Reply::Txn { .. }));
    assert_refused(
        &store,
        vec![set("before", "x"), TxnOp::Range(keys(None)), TxnOp::Range(keys(None))],
        TxnRefusal::AnswerTooLarge,
    );
    let nothing = Range { content: Content::Count, ..Range::of(Keys::prefix(bytes("x"))) };
    let (many, most) = (TXN_ANSWER_BYTES_MAX / 128 + 1, TXN_ANSWER_BYTES_MAX / 128);
    assert!(matches!(apply(&store, txn(vec![TxnOp::Range(nothing.clone()); most])), Reply::Txn { .. }));
    assert_refused(&store, vec![TxnOp::Range(nothing); many], TxnRefusal::AnswerTooLarge);
}

/// A query that nobody waits for any more ends soon, whatever is left of it.
#[test]
fn an_abandoned_query_ends() {
    let store = open(&CrashFile::new()).expect("open");
    apply(&store, write((0..5_000).map(|number| put(&format!("k{number:06}"), "")).collect()));
    let range = Range { content: Content::Count, ..Range::of(Keys::all()) };
    let query = Query::Range { keyspace: Keyspace(0), range, bytes_max: usize::MAX };
    let asked = std::cell::Cell::new(0);
    let wanted = |times| {
        asked.set(asked.get() + 1);
        asked.get() <= times
    };
    let found = store.query_while(&query, &|| wanted(2)).expect("a query").found;
    assert_eq!((found, asked.get()), (Found::TooLarge, 3), "it asks, and gives up");
    asked.set(0);
    let found = store.query_while(&query, &|| wanted(100)).expect("a query").found;
    assert!(matches!(found, Found::Selection(selection) if selection.count == 5_000));
}

/// They live in memory: where all of them cost too much, whoever was away for longest goes.
#[test]
fn all_sessions_keep_replies_up_to_a_bound() {
    let file = CrashFile::new();
    let mut store = open(&file).expect("open");
    apply(&store, write(vec![put_bytes("v", noise(1, 3 << 19))]));
    for client in 1..=3 {
        apply(&store, Command::OpenSession { client: ClientId(client) });
    }
    let call = |store: &Store, client, seq| {
        apply_envelope(store, &envelope(Some(at(client, seq, 1)), txn(vec![read_all()])))
    };
    // Five replies of a megabyte and a half are within eight, six are not.
    for (client, seq) in [(1, 1), (1, 2), (2, 1), (3, 1), (2, 2)] {
        assert!(matches!(call(&store, client, seq), Reply::Txn { .. }), "{client}, {seq}");
    }
    assert_eq!(store.sizes().sessions, 3);
    store.fold().expect("fold");
    drop(store);
    store = open(&file).expect("reopen");
    assert!(matches!(call(&store, 3, 2), Reply::Txn { .. }));
    assert_eq!(store.sizes().sessions, 2);
    assert_eq!(call(&store, 1, 1), Reply::SessionGone, "it was away for longest");
    assert!(matches!(call(&store, 2, 1), Reply::Txn { .. }));
}

/// Whoever passes replies on has few of them in memory.
#[test]
fn replies_are_handed_over_in_pieces() {
    let store = open(&CrashFile::new()).expect("open");
    apply(&store, write(vec![put_bytes("v", noise(1, 3 << 19))]));
    let batch: Vec<_> = (2..=13).map(|index| input(index, txn(vec![read_all()]))).collect();
    let first = store.apply_some(&batch).expect("applied");
    assert_eq!(first.len(), 6, "the sixth reaches eight megabytes");
    assert_eq!(store.applied().0.0, 7);
    assert_eq!(store.apply(&batch[6..]).expect("applied").len(), 6);
    assert_eq!(store.applied().0.0, 13);
}
