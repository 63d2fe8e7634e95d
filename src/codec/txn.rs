//! The encodings of transactions and of what they answer.
//!
//! A transaction in a transaction is written as a length and its own encoding, and decoded by a call that counts how
//! deep it is: bytes that claim more than [`TXN_DEPTH_MAX`] levels are refused, not followed.

use std::borrow::Cow;

use bincode::de::BorrowDecoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Encode};
use bytes::Bytes;

use super::{CONFIG, Error, List, VecWriter};
use crate::command::{
    Bounds, Compare, Content, Keys, Order, OrderBy, Range, Record, Relation, Selection, TXN_DEPTH_MAX,
    Target, Txn, TxnAnswer, TxnAnswers, TxnOp,
};
use crate::types::{Keyspace, Revision};

/// Bytes that hold an encoding of their own.
pub(super) struct Blob<'a>(Cow<'a, [u8]>);

impl Encode for Blob<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.as_ref().encode(encoder)
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Blob<'de> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        <&[u8]>::borrow_decode(decoder).map(|bytes| Blob(Cow::Borrowed(bytes)))
    }
}

impl Blob<'_> {
    fn of(mirror: &impl Encode) -> Self {
        let mut writer = VecWriter(Vec::new());
        bincode::encode_into_writer(mirror, &mut writer, CONFIG).expect("encoding into memory cannot fail");
        Blob(Cow::Owned(writer.0))
    }

    fn decode<'s, T: BorrowDecode<'s, ()>>(&'s self) -> Result<T, Error> {
        let (mirror, read) = bincode::borrow_decode_from_slice(&self.0, CONFIG)
            .map_err(|error| Error::Malformed(error.to_string()))?;
        match self.0.len() - read {
            0 => Ok(mirror),
            trailing => Err(Error::Trailing(trailing)),
        }
    }
}

#[derive(Encode, BorrowDecode)]
pub(super) struct TxnV1<'a> {
    keyspace: u32,
    compares: List<CompareV1<'a>>,
    success: List<TxnOpV1<'a>>,
    failure: List<TxnOpV1<'a>>,
}

#[derive(Encode, BorrowDecode)]
enum KeysV1<'a> {
    One(&'a [u8]),
    From(&'a [u8]),
    Between(&'a [u8], &'a [u8]),
}

#[derive(Encode, BorrowDecode)]
struct CompareV1<'a> {
    keys: KeysV1<'a>,
    relation: RelationV1,
    target: TargetV1<'a>,
}

#[derive(Encode, bincode::Decode)]
enum RelationV1 {
    Equal,
    NotEqual,
    Greater,
    Less,
}

#[derive(Encode, BorrowDecode)]
enum TargetV1<'a> {
    Version(u64),
    CreateRevision(u64),
    ModRevision(u64),
    Value(&'a [u8]),
    Lease(u64),
}

#[derive(Encode, BorrowDecode)]
enum TxnOpV1<'a> {
    Range(RangeV1<'a>),
    Put { key: &'a [u8], value: Option<&'a [u8]>, previous: bool },
    Delete { keys: KeysV1<'a>, previous: bool },
    Txn(Blob<'a>),
}

#[derive(Encode, BorrowDecode)]
struct RangeV1<'a> {
    keys: KeysV1<'a>,
    limit: Option<u64>,
    by: OrderByV1,
    is_descending: bool,
    content: ContentV1,
    mod_revisions: (Option<u64>, Option<u64>),
    create_revisions: (Option<u64>, Option<u64>),
}

#[derive(Encode, bincode::Decode)]
enum OrderByV1 {
    Key,
    Version,
    CreateRevision,
    ModRevision,
    Value,
}

#[derive(Encode, bincode::Decode)]
enum ContentV1 {
    Records,
    Keys,
    Count,
}

#[derive(Encode, BorrowDecode)]
pub(super) struct TxnAnswersV1<'a> {
    succeeded: bool,
    answers: List<TxnAnswerV1<'a>>,
}

#[derive(Encode, BorrowDecode)]
enum TxnAnswerV1<'a> {
    Range { pairs: List<PairV1<'a>>, more: bool, count: u64 },
    Put { previous: Option<Blob<'a>> },
    Delete { deleted: u64, previous: List<PairV1<'a>> },
    Txn(Blob<'a>),
}

/// A key and its record's row.
#[derive(Encode, BorrowDecode)]
struct PairV1<'a> {
    key: &'a [u8],
    row: Blob<'a>,
}

impl<'a> From<&'a Txn> for TxnV1<'a> {
    fn from(txn: &'a Txn) -> TxnV1<'a> {
        TxnV1 {
            keyspace: txn.keyspace.0,
            compares: List(txn.compares.iter().map(CompareV1::from).collect()),
            success: List(txn.success.iter().map(TxnOpV1::from).collect()),
            failure: List(txn.failure.iter().map(TxnOpV1::from).collect()),
        }
    }
}

impl TxnV1<'_> {
    pub(super) fn into_txn(self, input: &Bytes) -> Result<Txn, Error> {
        self.into_txn_at(1, input)
    }

    fn into_txn_at(self, depth: usize, input: &Bytes) -> Result<Txn, Error> {
        if depth > TXN_DEPTH_MAX {
            return Err(Error::Malformed(format!("a transaction lies more than {TXN_DEPTH_MAX} deep")));
        }
        let ops = |ops: List<TxnOpV1<'_>>| -> Result<Vec<TxnOp>, Error> {
            ops.0.into_iter().map(|op| op.into_op_at(depth, input)).collect()
        };
        Ok(Txn {
            keyspace: Keyspace(self.keyspace),
            compares: self.compares.0.into_iter().map(|compare| compare.into_compare(input)).collect(),
            success: ops(self.success)?,
            failure: ops(self.failure)?,
        })
    }
}

impl<'a> From<&'a Keys> for KeysV1<'a> {
    fn from(keys: &'a Keys) -> KeysV1<'a> {
        match keys {
            Keys::One(key) => KeysV1::One(key),
            Keys::From(from) => KeysV1::From(from),
            Keys::Between(from, to) => KeysV1::Between(from, to),
        }
    }
}

impl KeysV1<'_> {
    fn into_keys(self, input: &Bytes) -> Keys {
        match self {
            KeysV1::One(key) => Keys::One(input.slice_ref(key)),
            KeysV1::From(from) => Keys::From(input.slice_ref(from)),
            KeysV1::Between(from, to) => Keys::Between(input.slice_ref(from), input.slice_ref(to)),
        }
    }
}

impl<'a> From<&'a Compare> for CompareV1<'a> {
    fn from(compare: &'a Compare) -> CompareV1<'a> {
        let Compare { keys, relation, target } = compare;
        let relation = match relation {
            Relation::Equal => RelationV1::Equal,
            Relation::NotEqual => RelationV1::NotEqual,
            Relation::Greater => RelationV1::Greater,
            Relation::Less => RelationV1::Less,
        };
        let target = match target {
            Target::Version(version) => TargetV1::Version(*version),
            Target::CreateRevision(revision) => TargetV1::CreateRevision(revision.0),
            Target::ModRevision(revision) => TargetV1::ModRevision(revision.0),
            Target::Value(value) => TargetV1::Value(value),
            Target::Lease(lease) => TargetV1::Lease(*lease),
        };
        CompareV1 { keys: KeysV1::from(keys), relation, target }
    }
}

impl CompareV1<'_> {
    fn into_compare(self, input: &Bytes) -> Compare {
        let relation = match self.relation {
            RelationV1::Equal => Relation::Equal,
            RelationV1::NotEqual => Relation::NotEqual,
            RelationV1::Greater => Relation::Greater,
            RelationV1::Less => Relation::Less,
        };
        let target = match self.target {
            TargetV1::Version(version) => Target::Version(version),
            TargetV1::CreateRevision(revision) => Target::CreateRevision(Revision(revision)),
            TargetV1::ModRevision(revision) => Target::ModRevision(Revision(revision)),
            TargetV1::Value(value) => Target::Value(input.slice_ref(value)),
            TargetV1::Lease(lease) => Target::Lease(lease),
        };
        Compare { keys: self.keys.into_keys(input), relation, target }
    }
}

impl<'a> From<&'a TxnOp> for TxnOpV1<'a> {
    fn from(op: &'a TxnOp) -> TxnOpV1<'a> {
        match op {
            TxnOp::Range(range) => TxnOpV1::Range(RangeV1::from(range)),
            TxnOp::Put { key, value, previous } => {
                TxnOpV1::Put { key, value: value.as_deref(), previous: *previous }
            }
            TxnOp::Delete { keys, previous } => {
                TxnOpV1::Delete { keys: KeysV1::from(keys), previous: *previous }
            }
            TxnOp::Txn(inner) => TxnOpV1::Txn(Blob::of(&TxnV1::from(inner))),
        }
    }
}

impl TxnOpV1<'_> {
    fn into_op_at(self, depth: usize, input: &Bytes) -> Result<TxnOp, Error> {
        Ok(match self {
            TxnOpV1::Range(range) => TxnOp::Range(range.into_range(input)),
            TxnOpV1::Put { key, value, previous } => TxnOp::Put {
                key: input.slice_ref(key),
                value: value.map(|value| input.slice_ref(value)),
                previous,
            },
            TxnOpV1::Delete { keys, previous } => TxnOp::Delete { keys: keys.into_keys(input), previous },
            TxnOpV1::Txn(inner) => TxnOp::Txn(inner.decode::<TxnV1<'_>>()?.into_txn_at(depth + 1, input)?),
        })
    }
}

impl<'a> From<&'a Range> for RangeV1<'a> {
    fn from(range: &'a Range) -> RangeV1<'a> {
        let Range { keys, limit, order, content, mod_revisions, create_revisions } = range;
        let bounds = |bounds: &Bounds| (bounds.min.map(|min| min.0), bounds.max.map(|max| max.0));
        RangeV1 {
            keys: KeysV1::from(keys),
            limit: limit.map(|limit| limit as u64),
            by: match order.by {
                OrderBy::Key => OrderByV1::Key,
                OrderBy::Version => OrderByV1::Version,
                OrderBy::CreateRevision => OrderByV1::CreateRevision,
                OrderBy::ModRevision => OrderByV1::ModRevision,
                OrderBy::Value => OrderByV1::Value,
            },
            is_descending: order.is_descending,
            content: match content {
                Content::Records => ContentV1::Records,
                Content::Keys => ContentV1::Keys,
                Content::Count => ContentV1::Count,
            },
            mod_revisions: bounds(mod_revisions),
            create_revisions: bounds(create_revisions),
        }
    }
}

impl RangeV1<'_> {
    fn into_range(self, input: &Bytes) -> Range {
        let bounds = |(min, max): (Option<u64>, Option<u64>)| Bounds {
            min: min.map(Revision),
            max: max.map(Revision),
        };
        let by = match self.by {
            OrderByV1::Key => OrderBy::Key,
            OrderByV1::Version => OrderBy::Version,
            OrderByV1::CreateRevision => OrderBy::CreateRevision,
            OrderByV1::ModRevision => OrderBy::ModRevision,
            OrderByV1::Value => OrderBy::Value,
        };
        Range {
            keys: self.keys.into_keys(input),
            // Beyond what a machine can count is no limit.
            limit: self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            order: Order { by, is_descending: self.is_descending },
            content: match self.content {
                ContentV1::Records => Content::Records,
                ContentV1::Keys => Content::Keys,
                ContentV1::Count => Content::Count,
            },
            mod_revisions: bounds(self.mod_revisions),
            create_revisions: bounds(self.create_revisions),
        }
    }
}

impl<'a> From<&'a TxnAnswers> for TxnAnswersV1<'a> {
    fn from(answers: &'a TxnAnswers) -> TxnAnswersV1<'a> {
        let TxnAnswers { succeeded, answers } = answers;
        TxnAnswersV1 { succeeded: *succeeded, answers: List(answers.iter().map(TxnAnswerV1::from).collect()) }
    }
}

impl TxnAnswersV1<'_> {
    pub(super) fn into_answers(self) -> Result<TxnAnswers, Error> {
        self.into_answers_at(1)
    }

    fn into_answers_at(self, depth: usize) -> Result<TxnAnswers, Error> {
        if depth > TXN_DEPTH_MAX {
            return Err(Error::Malformed(format!("an answer lies more than {TXN_DEPTH_MAX} deep")));
        }
        let answers = self.answers.0.into_iter().map(|answer| answer.into_answer_at(depth));
        Ok(TxnAnswers { succeeded: self.succeeded, answers: answers.collect::<Result<_, Error>>()? })
    }
}

impl<'a> From<&'a TxnAnswer> for TxnAnswerV1<'a> {
    fn from(answer: &'a TxnAnswer) -> TxnAnswerV1<'a> {
        match answer {
            TxnAnswer::Range(Selection { pairs, more, count }) => {
                TxnAnswerV1::Range { pairs: mirror_pairs(pairs), more: *more, count: *count }
            }
            TxnAnswer::Put { previous } => TxnAnswerV1::Put { previous: previous.as_ref().map(row_of) },
            TxnAnswer::Delete { deleted, previous } => {
                TxnAnswerV1::Delete { deleted: *deleted, previous: mirror_pairs(previous) }
            }
            TxnAnswer::Txn(inner) => TxnAnswerV1::Txn(Blob::of(&TxnAnswersV1::from(inner))),
        }
    }
}

impl TxnAnswerV1<'_> {
    fn into_answer_at(self, depth: usize) -> Result<TxnAnswer, Error> {
        Ok(match self {
            TxnAnswerV1::Range { pairs, more, count } => {
                TxnAnswer::Range(Selection { pairs: into_pairs(pairs)?, more, count })
            }
            TxnAnswerV1::Put { previous } => {
                let previous = previous.map(|row| super::decode_record_slice(&row.0)).transpose()?;
                TxnAnswer::Put { previous }
            }
            TxnAnswerV1::Delete { deleted, previous } => {
                TxnAnswer::Delete { deleted, previous: into_pairs(previous)? }
            }
            TxnAnswerV1::Txn(inner) => {
                TxnAnswer::Txn(inner.decode::<TxnAnswersV1<'_>>()?.into_answers_at(depth + 1)?)
            }
        })
    }
}

fn row_of(record: &Record) -> Blob<'static> {
    Blob(Cow::Owned(super::encode_record(record).into()))
}

fn mirror_pairs(pairs: &[(Bytes, Record)]) -> List<PairV1<'_>> {
    List(pairs.iter().map(|(key, record)| PairV1 { key, row: row_of(record) }).collect())
}

fn into_pairs(pairs: List<PairV1<'_>>) -> Result<Vec<(Bytes, Record)>, Error> {
    let pair =
        |pair: PairV1<'_>| Ok((Bytes::copy_from_slice(pair.key), super::decode_record_slice(&pair.row.0)?));
    pairs.0.into_iter().map(pair).collect()
}
