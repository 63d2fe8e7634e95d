//! Transactions and their answers: there and back, pinned bytes, and depth.

use super::*;
use crate::codec::fuzzing::sample_txn;
use crate::command::{
    Bounds, Compare, Content, Keys, Order, OrderBy, Range, Relation, Selection, TXN_DEPTH_MAX, Target, Txn,
    TxnAnswer, TxnAnswers, TxnOp, TxnRefusal,
};

fn keys() -> impl Strategy<Value = Keys> {
    prop_oneof![
        bytes().prop_map(Keys::One),
        bytes().prop_map(Keys::From),
        (bytes(), bytes()).prop_map(|(from, to)| Keys::Between(from, to)),
    ]
}

fn range() -> impl Strategy<Value = Range> {
    let by = proptest::sample::select(vec![
        OrderBy::Key,
        OrderBy::Version,
        OrderBy::CreateRevision,
        OrderBy::ModRevision,
        OrderBy::Value,
    ]);
    let content = proptest::sample::select(vec![Content::Records, Content::Keys, Content::Count]);
    let bounds = || {
        let bound = || proptest::option::of(any::<u64>().prop_map(Revision));
        (bound(), bound()).prop_map(|(min, max)| Bounds { min, max })
    };
    (keys(), proptest::option::of(any::<usize>()), by, any::<bool>(), content, bounds(), bounds()).prop_map(
        |(keys, limit, by, is_descending, content, mod_revisions, create_revisions)| Range {
            keys,
            limit,
            order: Order { by, is_descending },
            content,
            mod_revisions,
            create_revisions,
        },
    )
}

fn compare() -> impl Strategy<Value = Compare> {
    let relation = proptest::sample::select(vec![
        Relation::Equal,
        Relation::NotEqual,
        Relation::Greater,
        Relation::Less,
    ]);
    let target = prop_oneof![
        any::<u64>().prop_map(Target::Version),
        any::<u64>().prop_map(|revision| Target::CreateRevision(Revision(revision))),
        any::<u64>().prop_map(|revision| Target::ModRevision(Revision(revision))),
        bytes().prop_map(Target::Value),
        any::<u64>().prop_map(Target::Lease),
    ];
    (keys(), relation, target).prop_map(|(keys, relation, target)| Compare { keys, relation, target })
}

pub(super) fn txn() -> impl Strategy<Value = Txn> {
    let put = (bytes(), proptest::option::of(bytes()), any::<bool>())
        .prop_map(|(key, value, previous)| TxnOp::Put { key, value, previous });
    let delete = (keys(), any::<bool>()).prop_map(|(keys, previous)| TxnOp::Delete { keys, previous });
    let op = prop_oneof![range().prop_map(TxnOp::Range), put, delete];
    op.prop_recursive(3, 12, 3, |op| {
        let ops = || proptest::collection::vec(op.clone(), 0..3);
        (any::<u32>(), proptest::collection::vec(compare(), 0..3), ops(), ops()).prop_map(
            |(keyspace, compares, success, failure)| {
                TxnOp::Txn(Txn { keyspace: Keyspace(keyspace), compares, success, failure })
            },
        )
    })
    .prop_map(|op| match op {
        TxnOp::Txn(txn) => txn,
        op => Txn { keyspace: Keyspace(0), compares: vec![], success: vec![op], failure: vec![] },
    })
}

fn record() -> impl Strategy<Value = Record> {
    (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), bytes()).prop_map(
        |(create, changed, version, lease, value)| Record {
            create_revision: Revision(create),
            mod_revision: Revision(changed),
            version,
            lease,
            value,
        },
    )
}

pub(super) fn answers() -> impl Strategy<Value = TxnAnswers> {
    let pairs = || proptest::collection::vec((bytes(), record()), 0..3);
    let answer =
        prop_oneof![
            (pairs(), any::<bool>(), any::<u64>())
                .prop_map(|(pairs, more, count)| TxnAnswer::Range(Selection { pairs, more, count })),
            proptest::option::of(record()).prop_map(|previous| TxnAnswer::Put { previous }),
            (any::<u64>(), pairs()).prop_map(|(deleted, previous)| TxnAnswer::Delete { deleted, previous }),
        ];
    let all = |answer: BoxedStrategy<TxnAnswer>| {
        (any::<bool>(), proptest::collection::vec(answer, 0..3))
            .prop_map(|(succeeded, answers)| TxnAnswers { succeeded, answers })
    };
    let inner = all(answer.clone().boxed()).prop_map(TxnAnswer::Txn);
    all(prop_oneof![3 => answer, 1 => inner].boxed())
}

pub(super) fn refusal() -> impl Strategy<Value = TxnRefusal> {
    proptest::sample::select(vec![
        TxnRefusal::NoSuchKey,
        TxnRefusal::AnswerTooLarge,
        TxnRefusal::TooManyKeys,
        TxnRefusal::WritesTooMuch,
    ])
}

/// Transactions in each other, so many levels.
fn nested(depth: usize) -> Command {
    let leaf = Txn { keyspace: Keyspace(0), compares: vec![], success: vec![], failure: vec![] };
    let around = |inner: Txn| Txn { success: vec![TxnOp::Txn(inner)], ..leaf.clone() };
    Command::Txn((1..depth).fold(leaf.clone(), |inner, _| around(inner)))
}

#[test]
fn no_deeper_than_is_allowed() {
    let forward = |depth| Forward { session: None, command: nested(depth) };
    let deepest = forward(TXN_DEPTH_MAX);
    assert_eq!(decode_forward(&encode_forward(&deepest)), Ok(deepest));
    for depth in [TXN_DEPTH_MAX + 1, 1_000] {
        let refused = decode_forward(&encode_forward(&forward(depth)));
        assert!(matches!(refused, Err(Error::Malformed(_))), "{depth} levels: {refused:?}");
    }
}

/// The bytes of version 1; see `golden_bytes`.
#[test]
fn golden_bytes_of_transactions() {
    let hex = |bytes: Bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        hex(encode_command(&Command::Txn(sample_txn()))),
        concat!(
            "0104",
            "00", // version, transaction, keyspace
            "02",
            "00016b",
            "00",
            "0005",
            "02016101",
            "62",
            "03",
            "030176", // version = 5; value < v
            "03",     // success
            "00",
            "010161",
            "010a",
            "02",
            "01",
            "01",
            "010300",
            "0000", // range from a
            "01",
            "016b",
            "01",
            "0176",
            "01", // put, with the record before
            "03",
            "09",
            "00",
            "00",
            "01",
            "02",
            "0001640000", // a transaction that deletes
            "01",         // failure
            "01",
            "016b",
            "00",
            "00", // put that keeps the value
        )
    );
    let record = Record {
        create_revision: Revision(1),
        mod_revision: Revision(2),
        version: 3,
        lease: 4,
        value: Bytes::from_static(b"v"),
    };
    let pair = (Bytes::from_static(b"k"), record.clone());
    let answers = vec![
        TxnAnswer::Range(Selection { pairs: vec![pair.clone()], more: true, count: 7 }),
        TxnAnswer::Put { previous: Some(record) },
        TxnAnswer::Put { previous: None },
        TxnAnswer::Delete { deleted: 1, previous: vec![] },
        TxnAnswer::Txn(TxnAnswers { succeeded: false, answers: vec![] }),
    ];
    let row = "23010001000000000000000200000000000000030000000000000004000000000000007600"
        .strip_suffix("00")
        .expect("one byte of value");
    let reply = Reply::Txn { revision: Revision(9), answers: TxnAnswers { succeeded: true, answers } };
    assert_eq!(
        hex(encode_reply(&reply)),
        format!("01080901050001016b{row}01070101{row}0100020100030200 00").replace(' ', "")
    );
    for (why, golden) in [
        (TxnRefusal::NoSuchKey, "010900"),
        (TxnRefusal::AnswerTooLarge, "010901"),
        (TxnRefusal::TooManyKeys, "010902"),
        (TxnRefusal::WritesTooMuch, "010903"),
    ] {
        assert_eq!(hex(encode_reply(&Reply::TxnRefused { why })), golden);
    }
}
