//! What a follower asks its leader to do for it, as the opaque bytes that the transport carries.
//!
//! ```text
//! request = kind u8 | body        kind 1: body is an encoded command::Forward
//!                                 kind 2: body is the encoded MemberRecord to publish
//!                                 kind 3: body is an encoded Ask, see `admin`
//!                                 kind 4: body is the index of a mark u64 | this node's state hash there u128, little endian
//! reply   = an encoded command::Forwarded; to an ask an answer as `admin` has it; to a hash the one that a quorum has
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::admin::Ask;
use crate::codec;
use crate::command::{Command, Forward, Forwarded, SessionSeq};
use crate::error::{Error, ErrorKind};
use crate::raft::MemberRecord;
use crate::types::Index;

const KIND_COMMAND: u8 = 1;
const KIND_PUBLISH: u8 = 2;
const KIND_ASK: u8 = 3;
const KIND_HASH: u8 = 4;

/// A decoded request.
pub(super) enum Request {
    /// Propose this command.
    Command { session: Option<SessionSeq>, command: Command },
    /// Publish this member record.
    Publish(Box<MemberRecord>),
    /// Answer this as the leader.
    Ask(Ask),
    /// Compare this hash of the state at a mark.
    Hash(Index, u128),
}

pub(super) fn encode_command(session: Option<SessionSeq>, command: Command) -> Bytes {
    framed(KIND_COMMAND, &codec::encode_forward(&Forward { session, command }))
}

pub(super) fn encode_publish(record: &MemberRecord) -> Bytes {
    framed(KIND_PUBLISH, &record.encode())
}

pub(super) fn encode_ask(ask: &Ask) -> Bytes {
    framed(KIND_ASK, &ask.encode())
}

pub(super) fn encode_hash(index: Index, hash: u128) -> Bytes {
    framed(KIND_HASH, &[&index.0.to_le_bytes()[..], &hash.to_le_bytes()].concat())
}

fn framed(kind: u8, body: &[u8]) -> Bytes {
    let mut request = BytesMut::with_capacity(1 + body.len());
    request.put_u8(kind);
    request.put_slice(body);
    request.freeze()
}

/// Decodes a request; the text says what is wrong with it.
pub(super) fn decode(request: &Bytes) -> Result<Request, String> {
    let kind = *request.first().ok_or("an empty request was forwarded")?;
    let body = request.slice(1..);
    match kind {
        KIND_COMMAND => {
            let forward = codec::decode_forward(&body).map_err(|error| error.to_string())?;
            Ok(Request::Command { session: forward.session, command: forward.command })
        }
        KIND_PUBLISH => {
            let record = MemberRecord::decode(&body).map_err(|error| error.to_string())?;
            Ok(Request::Publish(Box::new(record)))
        }
        KIND_ASK => Ask::decode(&body).map(Request::Ask).ok_or_else(|| "an ask cannot be read".to_owned()),
        KIND_HASH => decode_hash(&body).ok_or_else(|| "a hash cannot be read".to_owned()),
        other => Err(format!("a request of the unknown kind {other} was forwarded")),
    }
}

fn decode_hash(body: &[u8]) -> Option<Request> {
    let (index, hash) = body.split_first_chunk()?;
    Some(Request::Hash(Index(u64::from_le_bytes(*index)), u128::from_le_bytes(hash.try_into().ok()?)))
}

/// The reply that carries an error back.
pub(super) fn failed(error: &Error) -> Forwarded {
    Forwarded::Failed { kind: error.kind(), outcome: error.outcome(), message: error.message().to_owned() }
}

/// The error that a forwarded failure is on this side.
pub(super) fn error_of(kind: ErrorKind, outcome: crate::error::Outcome, message: String) -> Error {
    match outcome {
        crate::error::Outcome::NotApplied => Error::new(kind, message),
        crate::error::Outcome::Unknown => Error::unknown(kind, message),
    }
}
