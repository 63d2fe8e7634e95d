//! `Idempotency-Key`: a write that is sent again with the same key is not executed again, it is answered again.
//!
//! The key is the client's, drawn at random for each write; a UUID of version 7 is best (see [`crate::fsm::keyed`], which
//! keeps them). As the header's draft has it (draft-ietf-httpapi-idempotency-key-header) it is a string in quotes; without
//! them it is taken, too, and is the same key.

use bytes::Bytes;
use http::HeaderMap;

use crate::command::{Command, IDEMPOTENCY_KEY_BYTES_MAX, Keyed, Reply, Write};
use crate::error::Outcome;

use super::problem::{Code, Problem};

/// The header's name.
pub(super) const HEADER: &str = "idempotency-key";

/// How far a client's clock may be ahead of this node's: a key from the future would make all that are drawn until then old.
const AHEAD_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// The key of a request; `None` if it has none. `wall_ms`: what time it is here.
pub(super) fn key(headers: &HeaderMap, wall_ms: u64) -> Result<Option<Bytes>, Problem> {
    let mut given = headers.get_all(HEADER).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Problem::new(
            Code::InvalidHeader,
            "Idempotency-Key is given more than once: give it once.",
        ));
    }
    let value = value.as_bytes();
    let key = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) || !key.iter().all(is_plain) {
        let detail = format!(
            "Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters, without quotes or \
             backslashes among them: a UUID, for example."
        );
        return Err(Problem::new(Code::InvalidHeader, detail));
    }
    if Keyed::drawn_ms(key).is_some_and(|drawn| drawn > wall_ms.saturating_add(AHEAD_MS_MAX)) {
        let detail = "Idempotency-Key is a UUID of version 7 whose time is more than a day ahead of this node's clock: set the \
                      client's clock, or draw keys without a time.";
        return Err(Problem::new(Code::InvalidHeader, detail));
    }
    Ok(Some(Bytes::copy_from_slice(key)))
}

/// The write, with the key if there is one.
pub(super) fn command(key: Option<Bytes>, write: Write) -> Command {
    match key {
        None => Command::Write(write),
        Some(key) => Command::Keyed(Keyed { key, write }),
    }
}

/// What a reply is that neither did the write nor judged its condition.
pub(super) fn problem(reply: &Reply) -> Problem {
    match reply {
        Reply::KeyMismatch => Problem::new(
            Code::IdempotencyMismatch,
            "The key came with another write before, and this one was not executed: draw a key for each write, and send \
             the same write with it again.",
        ),
        Reply::KeySpent => Problem {
            outcome: Outcome::Unknown,
            ..Problem::new(
                Code::SessionExpired,
                "The key was used long ago, and the answer is no longer kept. Nothing was executed now; what became of the \
                 write then is not known any more: read before you write again, with another key.",
            )
        },
        _ => Problem::unexpected_reply(),
    }
}
