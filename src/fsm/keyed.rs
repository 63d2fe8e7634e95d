//! Idempotency keys: a write that carries one takes effect once, however often it arrives (H24), without a session.
//!
//! A client that keeps nothing between two requests, as those of REST do, draws a key for each write and sends it again with
//! the write. Nobody opens anything before, so a key that is not known is new, and the store must remember those that are
//! not: first with the answer, then as spent. Both are bounded in number, and the answer in (group) time besides:
//!
//! ```text
//!  forgotten         spent: at most `spent_max`        answered: at most `answers_max`, for ANSWER_MS        next
//!  ............... spent_from ...................... answers_from ......................................... next
//!  may come again  refused: KeySpent                 the same write: its answer; another one: KeyMismatch
//! ```
//!
//! Keys pass from right to left in the order in which they were used first. One that is forgotten would be taken for new.
//! That is a promise with an end, unless the key tells its age: of UUIDs of version 7 (RFC 9562, section 5.7), which begin
//! with the time at which they were drawn, the youngest that was forgotten is remembered, and none that is as old is new.
//! (Who lets keys in refuses those from the future: one of them would make all that are drawn until then old.)
//!
//! All of this are records of a keyspace of their own, which no client can name. So it is folded, sent in snapshots and
//! compared between nodes as all records are, and it takes no revision:
//!
//! ```text
//! key                        value
//! 'k' | the key              format 1 | number u64 | 0 spent  or  1 answered: digest u128 | reply (see codec)
//! 'o' | number u64 big end.  format 1 | group time u64 | the key
//! 's'                        format 1 | next u64 | answers_from u64 | spent_from u64 | forgotten_ms u64
//! ```

use bytes::Bytes;

use super::schema::{Fields, broken};
use super::{Error, Store};
use crate::codec;
use crate::command::{Found, IDEMPOTENCY_KEY_BYTES_MAX, Query, Reply};
use crate::types::Keyspace;

/// How long an answer is kept, in group time: a day.
pub(super) const ANSWER_MS: u64 = 24 * 60 * 60 * 1_000;

/// The version of the rows that are laid out here.
const FORMAT: u8 = 1;

impl Store {
    /// How many keys clients have written: those that are kept for idempotency are not among them.
    ///
    /// # Errors
    /// Any error of the file.
    pub fn keys(&self) -> Result<u64, Error> {
        let query = Query::Get { keyspace: Keyspace::IDEMPOTENCY, key: counters_key() };
        let Found::Record(record) = self.query(&query)?.found else { unreachable!("a get finds a record") };
        let own = record.map(|record| Counters::decode(&record.value)).transpose()?.map_or(0, |counters| {
            // Two rows for each key, and that of the counters.
            2 * (counters.next - counters.spent_from) + 1
        });
        Ok(self.sizes().keys.saturating_sub(own))
    }
}

/// Where the keys are in their passage. `spent_from <= answers_from <= next`, all monotone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    /// The number of the next key.
    pub(super) next: u64,
    /// The first that still has its answer.
    pub(super) answers_from: u64,
    /// The first that is known.
    pub(super) spent_from: u64,
    /// The youngest that was forgotten, of those that tell when they were drawn.
    pub(super) forgotten_ms: u64,
}

impl Counters {
    /// Before the first key.
    pub(super) fn new() -> Counters {
        Counters { next: 1, answers_from: 1, spent_from: 1, forgotten_ms: 0 }
    }

    pub(super) fn encode(&self) -> Bytes {
        let numbers = [self.next, self.answers_from, self.spent_from, self.forgotten_ms];
        row(numbers.iter().flat_map(|number| number.to_le_bytes()))
    }

    pub(super) fn decode(row: &[u8]) -> Result<Counters, Error> {
        let mut fields = Fields::new("idempotency counters", row)?;
        let counters = Counters {
            next: fields.u64()?,
            answers_from: fields.u64()?,
            spent_from: fields.u64()?,
            forgotten_ms: fields.u64()?,
        };
        fields.end()?;
        let Counters { next, answers_from, spent_from, .. } = counters;
        if spent_from > answers_from || answers_from > next {
            return Err(broken("idempotency counters", &format!("{counters:?} are in no order")));
        }
        Ok(counters)
    }
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyRow {
    /// Its number.
    pub(super) number: u64,
    /// The digest of its write and the answer; `None` once it is spent.
    pub(super) answer: Option<(u128, Reply)>,
}

impl KeyRow {
    pub(super) fn encode(&self) -> Bytes {
        let KeyRow { number, answer } = self;
        let mut bytes = number.to_le_bytes().to_vec();
        match answer {
            None => bytes.push(0),
            Some((digest, reply)) => {
                bytes.push(1);
                bytes.extend(digest.to_le_bytes());
                bytes.extend(codec::encode_reply(reply));
            }
        }
        row(bytes)
    }

    pub(super) fn decode(row: &[u8]) -> Result<KeyRow, Error> {
        let what = "idempotency key";
        let mut fields = Fields::new(what, row)?;
        let number = fields.u64()?;
        let answer = match fields.take()? {
            [0] => {
                fields.end()?;
                None
            }
            [1] => {
                let digest = fields.u128()?;
                let reply =
                    codec::decode_reply(fields.rest()).map_err(|error| broken(what, &error.to_string()))?;
                Some((digest, reply))
            }
            [other] => return Err(broken(what, &format!("it is of the unknown kind {other}"))),
        };
        Ok(KeyRow { number, answer })
    }
}

/// A key by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrderRow {
    /// The group's time when it was first used.
    pub(super) at_ms: u64,
    /// The key.
    pub(super) key: Bytes,
}

impl OrderRow {
    pub(super) fn encode(&self) -> Bytes {
        row(self.at_ms.to_le_bytes().into_iter().chain(self.key.iter().copied()))
    }

    pub(super) fn decode(row: &[u8]) -> Result<OrderRow, Error> {
        let mut fields = Fields::new("idempotency order", row)?;
        let at_ms = fields.u64()?;
        let key = Bytes::copy_from_slice(fields.rest());
        if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            return Err(broken("idempotency order", &format!("it names a key of {} bytes", key.len())));
        }
        Ok(OrderRow { at_ms, key })
    }
}

fn row(bytes: impl IntoIterator<Item = u8>) -> Bytes {
    [FORMAT].into_iter().chain(bytes).collect()
}

/// The record's key of a key.
pub(super) fn key_key(key: &[u8]) -> Bytes {
    [b"k", key].concat().into()
}

/// The record's key of a number.
pub(super) fn order_key(number: u64) -> Bytes {
    [&b"o"[..], &number.to_be_bytes()].concat().into()
}

/// The record's key of the counters.
pub(super) fn counters_key() -> Bytes {
    Bytes::from_static(b"s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Revision;

    /// These rows are on disks: a change needs a new format byte.
    #[test]
    fn golden_rows() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let counters = Counters { next: 4, answers_from: 3, spent_from: 2, forgotten_ms: 1 };
        let golden = "010400000000000000030000000000000002000000000000000100000000000000";
        assert_eq!(hex(&counters.encode()), golden);
        assert_eq!(Counters::decode(&counters.encode()), Ok(counters));
        let spent = KeyRow { number: 5, answer: None };
        assert_eq!(hex(&spent.encode()), "01050000000000000000");
        assert_eq!(KeyRow::decode(&spent.encode()), Ok(spent));
        let reply = Reply::Written { revision: Revision(2), deleted: 1 };
        let answered = KeyRow { number: 5, answer: Some((9, reply)) };
        let golden = concat!("0105000000000000000109000000000000000000000000000000", "01000201");
        assert_eq!(hex(&answered.encode()), golden);
        assert_eq!(KeyRow::decode(&answered.encode()), Ok(answered));
        let order = OrderRow { at_ms: 7, key: Bytes::from_static(b"key") };
        assert_eq!(hex(&order.encode()), "0107000000000000006b6579");
        assert_eq!(OrderRow::decode(&order.encode()), Ok(order));
        assert_eq!(hex(&order_key(258)), "6f0000000000000102");
        assert_eq!(hex(&key_key(b"s")), "6b73");
    }

    #[test]
    fn rows_that_make_no_sense_are_refused() {
        let bad = Counters { next: 1, answers_from: 2, spent_from: 1, forgotten_ms: 0 };
        assert!(matches!(Counters::decode(&bad.encode()), Err(Error::Damaged { .. })));
        assert!(matches!(KeyRow::decode(b"\x01\x05\0\0\0\0\0\0\0\x02"), Err(Error::Damaged { .. })));
        assert!(matches!(KeyRow::decode(b"\x01\x05\0\0\0\0\0\0\0\0\0"), Err(Error::Damaged { .. })));
        assert!(matches!(OrderRow::decode(b"\x01\x05\0\0\0\0\0\0\0"), Err(Error::Damaged { .. })));
    }
}
