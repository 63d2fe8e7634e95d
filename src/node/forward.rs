//! What a follower asks its leader to do for it, as the opaque bytes that the transport carries.
//!
//! ```text
//! request = kind u8 | body        kind 1: body is an encoded command::Forward
//!                                 kind 2: body is the encoded MemberRecord to publish
//! reply   = an encoded command::Forwarded
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec;
use crate::command::{Command, Forward, Forwarded, SessionSeq};
use crate::error::{Error, ErrorKind};
use crate::raft::MemberRecord;

const KIND_COMMAND: u8 = 1;
const KIND_PUBLISH: u8 = 2;

/// A decoded request.
pub(super) enum Request {
    /// Propose this command.
    Command { session: Option<SessionSeq>, command: Command },
    /// Publish this member record.
    Publish(Box<MemberRecord>),
}

pub(super) fn encode_command(session: Option<SessionSeq>, command: Command) -> Bytes {
    framed(KIND_COMMAND, &codec::encode_forward(&Forward { session, command }))
}

pub(super) fn encode_publish(record: &MemberRecord) -> Bytes {
    framed(KIND_PUBLISH, &record.encode())
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
        other => Err(format!("a request of the unknown kind {other} was forwarded")),
    }
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
