//! Idempotency keys: a write that carries one takes effect once, however often it arrives (H24), without a session.
//!
//! A client that keeps nothing between two requests, as those of REST do, draws a key for each write and sends it again with
//! the write. Nobody opens anything before, so a key that is not known is new, and the store must remember those that are
//! not: first with the answer, then as spent. Both are bounded in number, and the answer in (group) time besides:
//!
//! ```text
//! new -> answered: at most `answers_max`, for ANSWER_MS -> spent: at most `spent_max` of each kind -> forgotten
//!        the same write: its answer                       refused: KeySpent                           may come again
//!        another one: KeyMismatch
//! ```
//!
//! Answers go in the order in which the keys were used first, and so do spent keys that do not tell their age: one that is
//! forgotten would be taken for new. That promise has an end. UUIDs of version 7 (RFC 9562, section 5.7) begin with the time at
//! which they were drawn. Of those the ones that were drawn first are forgotten first, and how far that has come is
//! remembered: none that is as old is new, so for them the promise has no end. (By the order in which they are used, a
//! single one from the future would make all old that are drawn until then. So it only stays for longer.)
//!
//! All of this are records of a keyspace of their own, which no client can name. So it is folded, sent in snapshots and
//! compared between nodes as all records are, and it takes no revision:
//!
//! ```text
//! key                          value
//! 'k' | the key                format 1 | number u64 | 0 spent  or  1 answered: digest u128 | reply (see codec)
//! 'o' | number                 format 1 | group time u64 | the key           answered, in the order of their first use
//! 'p' | number                 format 1 | the key                            spent, of unknown age, in the same order
//! 'v' | drawn ms | number      format 1 | the key                            spent, of known age, from the oldest on
//! 's'                          format 1 | next u64 | answers_from u64 | plain u64 | plain_from u64 | timed u64
//!                              | forgotten ms u64 | forgotten number u64
//! ```
//!
//! In keys integers are u64, big endian; else little endian.

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
        let own = match self.known_own_keys() {
            Some(own) => own,
            None => self.count_own_keys()?,
        };
        Ok(self.sizes().keys.saturating_sub(own))
    }

    fn known_own_keys(&self) -> Option<u64> {
        self.shared.view().own_keys
    }

    fn count_own_keys(&self) -> Result<u64, Error> {
        let query = Query::Get { keyspace: Keyspace::IDEMPOTENCY, key: counters_key() };
        let Found::Record(record) = self.query(&query)?.found else { unreachable!("a get finds a record") };
        let counters = record.map(|record| Counters::decode(&record.value)).transpose()?;
        let own = counters.map_or(0, |counters| counters.rows());
        // Whoever has applied a key meanwhile knows better.
        Ok(*self.shared.view_mut().own_keys.get_or_insert(own))
    }
}

/// How many keys there are, and how far they have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    /// The number of the next key. Monotone.
    pub(super) next: u64,
    /// The first number that still has its answer. Monotone, at most `next`.
    pub(super) answers_from: u64,
    /// Spent keys of unknown age.
    pub(super) plain: u64,
    /// None of them has a lesser number. Monotone.
    pub(super) plain_from: u64,
    /// Spent keys of known age.
    pub(super) timed: u64,
    /// When the youngest was drawn of those that were forgotten, and its number. Monotone.
    pub(super) forgotten: (u64, u64),
}

impl Counters {
    /// Before the first key.
    pub(super) fn new() -> Counters {
        Counters { next: 1, answers_from: 1, plain: 0, plain_from: 1, timed: 0, forgotten: (0, 0) }
    }

    /// The rows that are kept: two for each key, and this one.
    pub(super) fn rows(&self) -> u64 {
        2 * (self.next - self.answers_from + self.plain + self.timed) + 1
    }

    pub(super) fn encode(&self) -> Bytes {
        let Counters { next, answers_from, plain, plain_from, timed, forgotten: (ms, number) } = *self;
        let numbers = [next, answers_from, plain, plain_from, timed, ms, number];
        row(numbers.iter().flat_map(|number| number.to_le_bytes()))
    }

    pub(super) fn decode(row: &[u8]) -> Result<Counters, Error> {
        let mut fields = Fields::new("idempotency counters", row)?;
        let counters = Counters {
            next: fields.u64()?,
            answers_from: fields.u64()?,
            plain: fields.u64()?,
            plain_from: fields.u64()?,
            timed: fields.u64()?,
            forgotten: (fields.u64()?, fields.u64()?),
        };
        fields.end()?;
        if counters.answers_from > counters.next {
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

/// A key by its number, while it has its answer.
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
        Ok(OrderRow { at_ms, key: key_of(fields)? })
    }
}

/// A spent key's row in its order.
pub(super) fn encode_spent(key: &[u8]) -> Bytes {
    row(key.iter().copied())
}

pub(super) fn decode_spent(row: &[u8]) -> Result<Bytes, Error> {
    Fields::new("idempotency order", row).and_then(key_of)
}

fn key_of(mut fields: Fields<'_>) -> Result<Bytes, Error> {
    let key = Bytes::copy_from_slice(fields.rest());
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(broken("idempotency order", &format!("it names a key of {} bytes", key.len())));
    }
    Ok(key)
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

/// The record's key of a spent key of unknown age.
pub(super) fn plain_key(number: u64) -> Bytes {
    [&b"p"[..], &number.to_be_bytes()].concat().into()
}

/// The record's key of a spent key that was drawn at a time.
pub(super) fn timed_key(drawn_ms: u64, number: u64) -> Bytes {
    [&b"v"[..], &drawn_ms.to_be_bytes(), &number.to_be_bytes()].concat().into()
}

/// What [`plain_key`] was made of.
pub(super) fn decode_plain(key: &[u8]) -> Result<u64, Error> {
    number_at(key, 1)
}

/// What [`timed_key`] was made of.
pub(super) fn decode_timed(key: &[u8]) -> Result<(u64, u64), Error> {
    Ok((number_at(key, 1)?, number_at(key, 9)?))
}

fn number_at(key: &[u8], at: usize) -> Result<u64, Error> {
    let bytes = key.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_be_bytes).ok_or_else(|| broken("idempotency order", "its key is too short"))
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
        let counters =
            Counters { next: 4, answers_from: 3, plain: 5, plain_from: 2, timed: 6, forgotten: (7, 1) };
        let golden = concat!(
            "01",
            "0400000000000000",
            "0300000000000000",
            "0500000000000000",
            "0200000000000000",
            "0600000000000000",
            "0700000000000000",
            "0100000000000000"
        );
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
        assert_eq!(hex(&plain_key(258)), "700000000000000102");
        assert_eq!(hex(&timed_key(258, 1)), "7600000000000001020000000000000001");
        assert_eq!(decode_timed(&timed_key(258, 1)), Ok((258, 1)));
        assert_eq!(decode_plain(&plain_key(258)), Ok(258));
        assert_eq!(hex(&encode_spent(b"key")), "016b6579");
        assert_eq!(decode_spent(&encode_spent(b"key")), Ok(Bytes::from_static(b"key")));
    }

    #[test]
    fn rows_that_make_no_sense_are_refused() {
        let bad = Counters { answers_from: 2, ..Counters::new() };
        assert!(matches!(Counters::decode(&bad.encode()), Err(Error::Damaged { .. })));
        assert!(matches!(KeyRow::decode(b"\x01\x05\0\0\0\0\0\0\0\x02"), Err(Error::Damaged { .. })));
        assert!(matches!(KeyRow::decode(b"\x01\x05\0\0\0\0\0\0\0\0\0"), Err(Error::Damaged { .. })));
        assert!(matches!(OrderRow::decode(b"\x01\x05\0\0\0\0\0\0\0"), Err(Error::Damaged { .. })));
        assert!(matches!(decode_spent(b"\x01"), Err(Error::Damaged { .. })));
        assert!(matches!(decode_timed(b"v1234567"), Err(Error::Damaged { .. })));
    }
}
