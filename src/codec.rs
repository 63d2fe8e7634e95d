//! How the replicated vocabulary becomes bytes. The only user of bincode.
//!
//! Every encoding begins with a version byte; what follows is bincode 2 with one pinned configuration (little endian,
//! variable-length integers) over private mirror types. The mirrors, not the public types of [`crate::command`], are
//! the format: a field or variant added there changes no byte until a new version is written here on purpose, and the
//! golden bytes in the tests fail before a log does.
//!
//! ```text
//! envelope   version 1 | term | group_time_ms | session? | principal | command
//! session    client u128 | seq | done_below
//! command    0 write: write   1 open: client   2 close: client   3 hash mark   4 txn: txn   5 keyed: key | write
//! write      keyspace | [condition] | [op]
//! condition  0 mod_revision: key | revision
//! op         0 put: key | value                          1 delete: key
//! forward    version 1 | session? | command
//! reply      version 1 | 0 written: revision | deleted   1 condition failed: revision   2 session opened
//!                        3 session closed  4 session gone  5 session refused: why  6 void  7 hash: u128
//!                        why: 0 malformed  1 below the window  2 beyond it  3 replies full  4 another command
//!                        8 txn: revision | txn answers   9 txn refused: 0 no such key  1 answer too large  2 too many keys  3 writes too much
//!                        10 key mismatch  11 key spent
//! txn        keyspace | [compare] | success [txn op] | failure [txn op]
//! compare    keys | relation 0 =  1 !=  2 >  3 <  | 0 version  1 create_revision  2 mod_revision  3 value  4 lease: the value
//! keys       0 one: key   1 from: key   2 between: key | key
//! txn op     0 range: keys | limit? | by 0 key  1 version  2 create_revision  3 mod_revision  4 value | is_descending
//!                     | content 0 records  1 keys  2 count | mod_revisions min? | max? | create_revisions min? | max?
//!            1 put: key | value? | previous   2 delete: keys | previous   3 txn: length | txn
//! answers    succeeded | [ 0 range: [pair] | more | count   1 put: length? | record   2 delete: deleted | [pair]
//!                          3 txn: length | answers ]           pair   key | length | record
//! forwarded  version 1 | 0 done: reply without version   1 failed: kind | outcome | message   2 not leader
//! record     format 1 | flags 0 | create_revision | mod_revision | version | lease (u64, little endian) | value
//! ```
//!
//! A record is not bincode: its header has a fixed size, so that the value is the rest of the row.
//!
//! Decoding trusts nothing. A length is compared with what is left of the input before anything is made of it, so a
//! hostile one allocates nothing; bytes left over are an error; keys and values are slices of the input, not copies.

use bincode::config::{Configuration, LittleEndian, NoLimit, Varint};
use bincode::de::{BorrowDecode, BorrowDecoder, Decode};
use bincode::enc::{Encode, Encoder, write::Writer};
use bincode::error::{DecodeError, EncodeError};
use bytes::Bytes;

use crate::command::{
    Command, Condition, Envelope, Forward, Forwarded, Keyed, Op, Record, Reply, SessionSeq, Write,
};
use crate::error::{ErrorKind, Outcome};
use crate::types::{ClientId, Keyspace, Revision, Seq, Term};

mod refusals;
mod txn;

use refusals::{SessionRefusalV1, TxnRefusalV1};
use txn::{TxnAnswersV1, TxnV1};

/// The version of every bincode encoding here that this binary writes and reads.
const VERSION: u8 = 1;

/// A record row's format byte.
const RECORD_FORMAT: u8 = 1;

/// The bytes of a record row before its value: format, flags, and four integers.
pub const RECORD_HEADER_BYTES: usize = 2 + 4 * 8;

/// The pinned configuration. Never change it: write a new version instead.
const CONFIG: Configuration<LittleEndian, Varint, NoLimit> =
    bincode::config::standard().with_little_endian().with_variable_int_encoding().with_no_limit();

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is not even a version byte.
    #[error("no bytes at all")]
    Empty,
    /// Another version than this binary knows.
    #[error("version {found}, but this binary reads version {known}: was it written by a newer one?")]
    Version {
        /// The version byte found.
        found: u8,
        /// The one this binary reads.
        known: u8,
    },
    /// The bytes are not what the version promises.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The encoding ends before the bytes do.
    #[error("{0} bytes too many")]
    Trailing(usize),
}

/// Encodes the payload of a log entry.
pub fn encode_envelope(envelope: &Envelope) -> Bytes {
    let bytes_hint = 64 + envelope.principal.len() + command_bytes(&envelope.command);
    encode(
        bytes_hint,
        &EnvelopeV1 {
            head: HeadV1 {
                term: envelope.term.0,
                group_time_ms: envelope.group_time_ms,
                session: envelope.session.map(SessionV1::from),
                principal: &envelope.principal,
            },
            command: CommandV1::from(&envelope.command),
        },
    )
}

/// Decodes the payload of a log entry. Keys and values share the input's memory.
pub fn decode_envelope(input: &Bytes) -> Result<Envelope, Error> {
    Ok(open_envelope(input)?.0)
}

/// The same, with the command as it is encoded, which a session knows it again by: it is the end of the payload.
pub fn open_envelope(input: &Bytes) -> Result<(Envelope, Bytes), Error> {
    let (head, read) = decode_first::<HeadV1<'_>>(versioned(input)?)?;
    let command = input.slice(1 + read..);
    let envelope = Envelope {
        term: Term(head.term),
        group_time_ms: head.group_time_ms,
        session: head.session.map(SessionSeq::from),
        principal: head.principal.to_owned(),
        command: decode_all::<CommandV1<'_>>(&command)?.into_command(input)?,
    };
    Ok((envelope, command))
}

/// Encodes a command by itself.
pub fn encode_command(command: &Command) -> Bytes {
    encode(16 + command_bytes(command), &CommandV1::from(command))
}

/// Encodes what a follower passes on to the leader.
pub fn encode_forward(forward: &Forward) -> Bytes {
    encode(
        48 + command_bytes(&forward.command),
        &ForwardV1 {
            session: forward.session.map(SessionV1::from),
            command: CommandV1::from(&forward.command),
        },
    )
}

/// Decodes what a follower passed on. Keys and values share the input's memory.
pub fn decode_forward(input: &Bytes) -> Result<Forward, Error> {
    let mirror: ForwardV1<'_> = decode(input)?;
    Ok(Forward {
        session: mirror.session.map(SessionSeq::from),
        command: mirror.command.into_command(input)?,
    })
}

/// Encodes the leader's answer to a forward.
pub fn encode_forwarded(forwarded: &Forwarded) -> Bytes {
    let mirror = match forwarded {
        Forwarded::Done { reply } => ForwardedV1::Done(ReplyV1::from(reply)),
        Forwarded::Failed { kind, outcome, message } => {
            ForwardedV1::Failed { kind: kind_code(*kind), outcome: outcome_code(*outcome), message }
        }
        Forwarded::NotLeader => ForwardedV1::NotLeader,
    };
    encode(64, &mirror)
}

/// Decodes the leader's answer to a forward.
pub fn decode_forwarded(input: &[u8]) -> Result<Forwarded, Error> {
    Ok(match decode(input)? {
        ForwardedV1::Done(reply) => Forwarded::Done { reply: reply.into_reply()? },
        ForwardedV1::Failed { kind, outcome, message } => Forwarded::Failed {
            kind: KINDS
                .get(usize::from(kind))
                .copied()
                .ok_or_else(|| Error::Malformed(format!("error kind {kind}")))?,
            outcome: OUTCOMES
                .get(usize::from(outcome))
                .copied()
                .ok_or_else(|| Error::Malformed(format!("outcome {outcome}")))?,
            message: message.to_owned(),
        },
        ForwardedV1::NotLeader => Forwarded::NotLeader,
    })
}

/// Encodes a reply, as a session keeps it.
pub fn encode_reply(reply: &Reply) -> Bytes {
    encode(24, &ReplyV1::from(reply))
}

/// Decodes a reply.
pub fn decode_reply(input: &[u8]) -> Result<Reply, Error> {
    decode::<ReplyV1<'_>>(input).and_then(ReplyV1::into_reply)
}

/// Encodes a record row.
pub fn encode_record(record: &Record) -> Bytes {
    let mut row = Vec::with_capacity(RECORD_HEADER_BYTES + record.value.len());
    row.extend_from_slice(&[RECORD_FORMAT, 0]);
    for number in [record.create_revision.0, record.mod_revision.0, record.version, record.lease] {
        row.extend_from_slice(&number.to_le_bytes());
    }
    row.extend_from_slice(&record.value);
    Bytes::from(row)
}

/// Decodes a record row. The value shares the row's memory.
pub fn decode_record(row: &Bytes) -> Result<Record, Error> {
    let header = decode_record_header(row)?;
    Ok(Record { value: row.slice(RECORD_HEADER_BYTES..), ..header })
}

/// Decodes a borrowed record row, copying the value.
pub fn decode_record_slice(row: &[u8]) -> Result<Record, Error> {
    let header = decode_record_header(row)?;
    Ok(Record { value: Bytes::copy_from_slice(&row[RECORD_HEADER_BYTES..]), ..header })
}

/// Decodes all of a record but its value, which is left empty.
pub fn decode_record_header(row: &[u8]) -> Result<Record, Error> {
    let (&format, _) = row.split_first().ok_or(Error::Empty)?;
    if format != RECORD_FORMAT {
        return Err(Error::Version { found: format, known: RECORD_FORMAT });
    }
    if row.len() < RECORD_HEADER_BYTES {
        return Err(Error::Malformed(format!("a record row of {} bytes", row.len())));
    }
    if row[1] != 0 {
        return Err(Error::Malformed(format!("record flags {:#04x}, none is known", row[1])));
    }
    let number = |position: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&row[2 + 8 * position..2 + 8 * (position + 1)]);
        u64::from_le_bytes(bytes)
    };
    Ok(Record {
        create_revision: Revision(number(0)),
        mod_revision: Revision(number(1)),
        version: number(2),
        lease: number(3),
        value: Bytes::new(),
    })
}

/// What a command takes at most, beyond a constant: a hint that saves the growing of the buffer.
fn command_bytes(command: &Command) -> usize {
    match command {
        Command::Write(write) => write_bytes(write),
        Command::Txn(txn) => 64 + txn.bytes() + txn.bytes() / 4,
        Command::Keyed(Keyed { key, write }) => 16 + key.len() + write_bytes(write),
        Command::OpenSession { .. } | Command::CloseSession { .. } | Command::HashMark => 24,
    }
}

fn write_bytes(write: &Write) -> usize {
    let conditions: usize =
        write.conditions.iter().map(|Condition::ModRevision { key, .. }| 24 + key.len()).sum();
    let ops: usize = write
        .ops
        .iter()
        .map(|op| match op {
            Op::Put { key, value } => 24 + key.len() + value.len(),
            Op::Delete { key } => 12 + key.len(),
        })
        .sum();
    16 + conditions + ops
}

/// Appends to a vector: bincode's own writer measures first and so walks every value twice.
struct VecWriter(Vec<u8>);

impl Writer for VecWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn encode(bytes_hint: usize, mirror: &impl Encode) -> Bytes {
    let mut writer = VecWriter(Vec::with_capacity(bytes_hint));
    writer.0.push(VERSION);
    // Neither the writer nor a mirror can refuse: the mirrors hold no lock, no path and no system time.
    bincode::encode_into_writer(mirror, &mut writer, CONFIG).expect("encoding into memory cannot fail");
    Bytes::from(writer.0)
}

fn decode<'de, T: BorrowDecode<'de, ()>>(input: &'de [u8]) -> Result<T, Error> {
    decode_all(versioned(input)?)
}

/// What stands behind the version.
fn versioned(input: &[u8]) -> Result<&[u8], Error> {
    match input.split_first().ok_or(Error::Empty)? {
        (&VERSION, body) => Ok(body),
        (&found, _) => Err(Error::Version { found, known: VERSION }),
    }
}

fn decode_all<'de, T: BorrowDecode<'de, ()>>(body: &'de [u8]) -> Result<T, Error> {
    let (mirror, read) = decode_first(body)?;
    match body.len() - read {
        0 => Ok(mirror),
        trailing => Err(Error::Trailing(trailing)),
    }
}

/// What the bytes begin with, and how many it takes.
fn decode_first<'de, T: BorrowDecode<'de, ()>>(body: &'de [u8]) -> Result<(T, usize), Error> {
    bincode::borrow_decode_from_slice(body, CONFIG).map_err(|error| Error::Malformed(error.to_string()))
}

/// A list that never reserves room for what a length prefix claims: it grows with what is really there, and every
/// element takes at least a byte of the input.
struct List<T>(Vec<T>);

impl<T: Encode> Encode for List<T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.0.len() as u64).encode(encoder)?;
        self.0.iter().try_for_each(|element| element.encode(encoder))
    }
}

impl<'de, Context, T: BorrowDecode<'de, Context>> BorrowDecode<'de, Context> for List<T> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let count = u64::decode(decoder)?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(T::borrow_decode(decoder)?);
        }
        Ok(List(list))
    }
}

#[derive(bincode::Encode)]
struct EnvelopeV1<'a> {
    head: HeadV1<'a>,
    command: CommandV1<'a>,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct HeadV1<'a> {
    term: u64,
    group_time_ms: u64,
    session: Option<SessionV1>,
    principal: &'a str,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct ForwardV1<'a> {
    session: Option<SessionV1>,
    command: CommandV1<'a>,
}

#[derive(bincode::Encode, bincode::Decode)]
struct SessionV1 {
    client: u128,
    seq: u64,
    done_below: u64,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
enum CommandV1<'a> {
    Write(WriteV1<'a>),
    OpenSession { client: u128 },
    CloseSession { client: u128 },
    HashMark,
    Txn(TxnV1<'a>),
    Keyed { key: &'a [u8], write: WriteV1<'a> },
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct WriteV1<'a> {
    keyspace: u32,
    conditions: List<ConditionV1<'a>>,
    ops: List<OpV1<'a>>,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
enum ConditionV1<'a> {
    ModRevision { key: &'a [u8], revision: u64 },
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
enum OpV1<'a> {
    Put { key: &'a [u8], value: &'a [u8] },
    Delete { key: &'a [u8] },
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
enum ReplyV1<'a> {
    Written { revision: u64, deleted: u64 },
    ConditionFailed { revision: u64 },
    SessionOpened,
    SessionClosed,
    SessionGone,
    SessionRefused { why: SessionRefusalV1 },
    Void,
    Hash(u128),
    Txn { revision: u64, answers: TxnAnswersV1<'a> },
    TxnRefused { why: TxnRefusalV1 },
    KeyMismatch,
    KeySpent,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
enum ForwardedV1<'a> {
    Done(ReplyV1<'a>),
    Failed { kind: u8, outcome: u8, message: &'a str },
    NotLeader,
}

/// The kinds by their number on the wire. Append only.
const KINDS: [ErrorKind; 16] = [
    ErrorKind::Invalid,
    ErrorKind::TooLarge,
    ErrorKind::ConditionFailed,
    ErrorKind::Unavailable,
    ErrorKind::Overloaded,
    ErrorKind::LogFull,
    ErrorKind::SessionGone,
    ErrorKind::Stopping,
    ErrorKind::Internal,
    ErrorKind::NoSuchMember,
    ErrorKind::ChangeInProgress,
    ErrorKind::MemberExists,
    ErrorKind::IdRetired,
    ErrorKind::QuorumAtRisk,
    ErrorKind::DiskFull,
    ErrorKind::StorageFull,
];

/// The outcomes by their number on the wire. Append only.
const OUTCOMES: [Outcome; 2] = [Outcome::NotApplied, Outcome::Unknown];

/// The number of a kind: an exhaustive match, so that a new kind cannot be forgotten here.
fn kind_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Invalid => 0,
        ErrorKind::TooLarge => 1,
        ErrorKind::ConditionFailed => 2,
        ErrorKind::Unavailable => 3,
        ErrorKind::Overloaded => 4,
        ErrorKind::LogFull => 5,
        ErrorKind::SessionGone => 6,
        ErrorKind::Stopping => 7,
        ErrorKind::Internal => 8,
        ErrorKind::NoSuchMember => 9,
        ErrorKind::ChangeInProgress => 10,
        ErrorKind::MemberExists => 11,
        ErrorKind::IdRetired => 12,
        ErrorKind::QuorumAtRisk => 13,
        ErrorKind::DiskFull => 14,
        ErrorKind::StorageFull => 15,
    }
}

fn outcome_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::NotApplied => 0,
        Outcome::Unknown => 1,
    }
}

impl From<SessionSeq> for SessionV1 {
    fn from(session: SessionSeq) -> SessionV1 {
        SessionV1 { client: session.client.0, seq: session.seq.0, done_below: session.done_below.0 }
    }
}

impl From<SessionV1> for SessionSeq {
    fn from(mirror: SessionV1) -> SessionSeq {
        SessionSeq {
            client: ClientId(mirror.client),
            seq: Seq(mirror.seq),
            done_below: Seq(mirror.done_below),
        }
    }
}

impl<'a> From<&'a Command> for CommandV1<'a> {
    fn from(command: &'a Command) -> CommandV1<'a> {
        match command {
            Command::Write(write) => CommandV1::Write(WriteV1::from(write)),
            Command::OpenSession { client } => CommandV1::OpenSession { client: client.0 },
            Command::CloseSession { client } => CommandV1::CloseSession { client: client.0 },
            Command::HashMark => CommandV1::HashMark,
            Command::Txn(txn) => CommandV1::Txn(TxnV1::from(txn)),
            Command::Keyed(Keyed { key, write }) => CommandV1::Keyed { key, write: WriteV1::from(write) },
        }
    }
}

impl CommandV1<'_> {
    fn into_command(self, input: &Bytes) -> Result<Command, Error> {
        Ok(match self {
            CommandV1::Write(write) => Command::Write(write.into_write(input)),
            CommandV1::OpenSession { client } => Command::OpenSession { client: ClientId(client) },
            CommandV1::CloseSession { client } => Command::CloseSession { client: ClientId(client) },
            CommandV1::HashMark => Command::HashMark,
            CommandV1::Txn(txn) => Command::Txn(txn.into_txn(input)?),
            CommandV1::Keyed { key, write } => {
                Command::Keyed(Keyed { key: input.slice_ref(key), write: write.into_write(input) })
            }
        })
    }
}

impl<'a> From<&'a Write> for WriteV1<'a> {
    fn from(write: &'a Write) -> WriteV1<'a> {
        WriteV1 {
            keyspace: write.keyspace.0,
            conditions: List(
                write
                    .conditions
                    .iter()
                    .map(|Condition::ModRevision { key, revision }| ConditionV1::ModRevision {
                        key,
                        revision: revision.0,
                    })
                    .collect(),
            ),
            ops: List(
                write
                    .ops
                    .iter()
                    .map(|op| match op {
                        Op::Put { key, value } => OpV1::Put { key, value },
                        Op::Delete { key } => OpV1::Delete { key },
                    })
                    .collect(),
            ),
        }
    }
}

impl WriteV1<'_> {
    fn into_write(self, input: &Bytes) -> Write {
        Write {
            keyspace: Keyspace(self.keyspace),
            conditions: self
                .conditions
                .0
                .into_iter()
                .map(|ConditionV1::ModRevision { key, revision }| Condition::ModRevision {
                    key: input.slice_ref(key),
                    revision: Revision(revision),
                })
                .collect(),
            ops: self
                .ops
                .0
                .into_iter()
                .map(|op| match op {
                    OpV1::Put { key, value } => {
                        Op::Put { key: input.slice_ref(key), value: input.slice_ref(value) }
                    }
                    OpV1::Delete { key } => Op::Delete { key: input.slice_ref(key) },
                })
                .collect(),
        }
    }
}

impl<'a> From<&'a Reply> for ReplyV1<'a> {
    fn from(reply: &'a Reply) -> ReplyV1<'a> {
        match reply {
            Reply::Written { revision, deleted } => {
                ReplyV1::Written { revision: revision.0, deleted: *deleted }
            }
            Reply::ConditionFailed { revision } => ReplyV1::ConditionFailed { revision: revision.0 },
            Reply::SessionOpened => ReplyV1::SessionOpened,
            Reply::SessionClosed => ReplyV1::SessionClosed,
            Reply::SessionGone => ReplyV1::SessionGone,
            Reply::SessionRefused { why } => ReplyV1::SessionRefused { why: (*why).into() },
            Reply::Void => ReplyV1::Void,
            Reply::Hash(hash) => ReplyV1::Hash(*hash),
            Reply::Txn { revision, answers } => {
                ReplyV1::Txn { revision: revision.0, answers: TxnAnswersV1::from(answers) }
            }
            Reply::TxnRefused { why } => ReplyV1::TxnRefused { why: (*why).into() },
            Reply::KeyMismatch => ReplyV1::KeyMismatch,
            Reply::KeySpent => ReplyV1::KeySpent,
        }
    }
}

impl ReplyV1<'_> {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(match self {
            ReplyV1::Written { revision, deleted } => {
                Reply::Written { revision: Revision(revision), deleted }
            }
            ReplyV1::ConditionFailed { revision } => Reply::ConditionFailed { revision: Revision(revision) },
            ReplyV1::SessionOpened => Reply::SessionOpened,
            ReplyV1::SessionClosed => Reply::SessionClosed,
            ReplyV1::SessionGone => Reply::SessionGone,
            ReplyV1::SessionRefused { why } => Reply::SessionRefused { why: why.into() },
            ReplyV1::Void => Reply::Void,
            ReplyV1::Hash(hash) => Reply::Hash(hash),
            ReplyV1::Txn { revision, answers } => {
                Reply::Txn { revision: Revision(revision), answers: answers.into_answers()? }
            }
            ReplyV1::TxnRefused { why } => Reply::TxnRefused { why: why.into() },
            ReplyV1::KeyMismatch => Reply::KeyMismatch,
            ReplyV1::KeySpent => Reply::KeySpent,
        })
    }
}

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
