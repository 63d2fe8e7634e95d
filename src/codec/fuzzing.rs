//! What must hold of every decoder for any input: what it accepts encodes back to an equal value, and nothing in that
//! value is larger than the input.

use bytes::Bytes;

use crate::command::{
    Bounds, Command, Compare, Condition, Content, Envelope, Forward, Forwarded, Keys, Op, Order, OrderBy,
    Range, Record, Relation, Reply, Selection, SessionRefusal, SessionSeq, Target, Txn, TxnAnswer,
    TxnAnswers, TxnOp, Write,
};
use crate::error::{ErrorKind, Outcome};
use crate::types::{ClientId, Keyspace, Revision, Seq, Term};

use super::*;

/// Lets every decoder loose on the input; whether one of them accepted it.
pub(crate) fn check(input: &[u8]) -> bool {
    let input = Bytes::copy_from_slice(input);
    let mut accepted = false;
    if let Ok(envelope) = decode_envelope(&input) {
        assert!(envelope.command.bytes() + envelope.principal.len() <= input.len(), "{envelope:?}");
        assert_eq!(decode_envelope(&encode_envelope(&envelope)), Ok(envelope));
        accepted = true;
    }
    if let Ok(forward) = decode_forward(&input) {
        assert!(forward.command.bytes() <= input.len(), "{forward:?}");
        assert_eq!(decode_forward(&encode_forward(&forward)), Ok(forward));
        accepted = true;
    }
    if let Ok(forwarded) = decode_forwarded(&input) {
        assert_eq!(decode_forwarded(&encode_forwarded(&forwarded)), Ok(forwarded));
        accepted = true;
    }
    if let Ok(reply) = decode_reply(&input) {
        assert_eq!(decode_reply(&encode_reply(&reply)), Ok(reply));
        accepted = true;
    }
    let record = decode_record(&input);
    assert_eq!(decode_record_slice(&input), record, "a row and its copy differ");
    match &record {
        Ok(record) => {
            assert_eq!(encode_record(record), input, "a record has one encoding");
            let header = decode_record_header(&input);
            assert_eq!(header, Ok(Record { value: Bytes::new(), ..record.clone() }));
            accepted = true;
        }
        Err(error) => assert_eq!(decode_record_header(&input).as_ref(), Err(error)),
    }
    accepted
}

/// A transaction with one of each part.
pub(crate) fn sample_txn() -> Txn {
    let key = |key: &'static str| Bytes::from_static(key.as_bytes());
    let range = Range {
        limit: Some(10),
        order: Order { by: OrderBy::CreateRevision, is_descending: true },
        content: Content::Keys,
        mod_revisions: Bounds { min: Some(Revision(3)), max: None },
        ..Range::of(Keys::From(key("a")))
    };
    let delete = TxnOp::Delete { keys: Keys::One(key("d")), previous: false };
    let inner = Txn { keyspace: Keyspace(0), compares: vec![], success: vec![delete], failure: vec![] };
    Txn {
        keyspace: Keyspace(0),
        compares: vec![
            Compare { keys: Keys::One(key("k")), relation: Relation::Equal, target: Target::Version(5) },
            Compare {
                keys: Keys::Between(key("a"), key("b")),
                relation: Relation::Less,
                target: Target::Value(key("v")),
            },
        ],
        success: vec![
            TxnOp::Range(range),
            TxnOp::Put { key: key("k"), value: Some(key("v")), previous: true },
            TxnOp::Txn(inner),
        ],
        failure: vec![TxnOp::Put { key: key("k"), value: None, previous: false }],
    }
}

/// One of each.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let write = Command::Write(Write {
        keyspace: Keyspace(0),
        conditions: vec![Condition::ModRevision {
            key: Bytes::from_static(b"condition"),
            revision: Revision(300),
        }],
        ops: vec![
            Op::Put { key: Bytes::from_static(b"key"), value: Bytes::from(vec![7; 260]) },
            Op::Delete { key: Bytes::from_static(b"deleted") },
        ],
    });
    let session = Some(SessionSeq { client: ClientId(1 << 90), seq: Seq(9), done_below: Seq(8) });
    let envelope = |session, command| Envelope {
        term: Term(5),
        group_time_ms: 1_700_000_000_000,
        session,
        principal: "root".to_owned(),
        command,
    };
    let failed = Forwarded::Failed {
        kind: ErrorKind::Overloaded,
        outcome: Outcome::Unknown,
        message: "too much".to_owned(),
    };
    let record = Record {
        create_revision: Revision(2),
        mod_revision: Revision(3),
        version: 4,
        lease: 0,
        value: Bytes::from_static(b"value"),
    };
    let open = Command::OpenSession { client: ClientId(u128::MAX) };
    let pairs = vec![(Bytes::from_static(b"key"), record.clone())];
    let inner =
        TxnAnswers { succeeded: false, answers: vec![TxnAnswer::Put { previous: Some(record.clone()) }] };
    let answers = TxnAnswers {
        succeeded: true,
        answers: vec![
            TxnAnswer::Range(Selection { pairs: pairs.clone(), more: true, count: 300 }),
            TxnAnswer::Delete { deleted: 1, previous: pairs },
            TxnAnswer::Txn(inner),
        ],
    };
    vec![
        ("envelope-write", encode_envelope(&envelope(session, write.clone())).into()),
        ("envelope-open", encode_envelope(&envelope(None, open)).into()),
        ("envelope-txn", encode_envelope(&envelope(session, Command::Txn(sample_txn()))).into()),
        ("envelope-mark", encode_envelope(&envelope(None, Command::HashMark)).into()),
        ("forward", encode_forward(&Forward { session, command: write }).into()),
        ("forwarded-done", encode_forwarded(&Forwarded::Done { reply: Reply::Hash(1 << 99) }).into()),
        ("forwarded-failed", encode_forwarded(&failed).into()),
        ("reply-written", encode_reply(&Reply::Written { revision: Revision(300), deleted: 2 }).into()),
        ("reply-refused", encode_reply(&Reply::SessionRefused { why: SessionRefusal::BeyondWindow }).into()),
        ("reply-txn", encode_reply(&Reply::Txn { revision: Revision(300), answers }).into()),
        ("record", encode_record(&record).into()),
    ]
}
