//! Applying a write that carries an idempotency key. What is kept of keys, and why, is in [`crate::fsm::keyed`].
//!
//! What it must look up depends on what it finds, so it is a part of a batch by itself, worked out before anything changes.

use bytes::Bytes;

use super::Run;
use super::txn::Prepared;
use crate::codec;
use crate::command::{Command, Keyed, Keys, Reply};
use crate::fsm::keyed::{
    ANSWER_MS, Counters, KeyRow, OrderRow, counters_key, decode_plain, decode_spent, decode_timed,
    encode_spent, key_key, order_key, plain_key, timed_key,
};
use crate::fsm::read::Span;
use crate::fsm::schema::broken;
use crate::fsm::select::Source;
use crate::fsm::{Error, hash};
use crate::types::Keyspace;

/// Keys that may become spent, and be forgotten, with each that is new: two, so that a bound that was exceeded is met again.
const PASSING: usize = 2;

impl Run<'_> {
    /// Works a write with a key out, at this time of the group.
    pub(super) fn prepare_keyed(&mut self, keyed: &Keyed, now_ms: u64) -> Result<Prepared, Error> {
        let before = self.before();
        let Keyed { key, write } = keyed;
        let digest = hash::digest(&codec::encode_command(&Command::Write(write.clone())));
        let counters = self.kept(&counters_key())?;
        let counters = counters.map(|row| Counters::decode(&row)).transpose()?.unwrap_or(Counters::new());
        let known = self.kept(&key_key(key))?.map(|row| KeyRow::decode(&row)).transpose()?;
        let reply = match known.map(|row| row.answer) {
            Some(Some((of, reply))) if of == digest => reply,
            Some(Some(_)) => Reply::KeyMismatch,
            Some(None) => Reply::KeySpent,
            None if Keyed::drawn_ms(key).is_some_and(|drawn| drawn <= counters.forgotten.0) => {
                Reply::KeySpent
            }
            None => {
                let reply = self.on_write(write)?;
                self.keep_answer(counters, key, (digest, reply.clone()), now_ms)?;
                reply
            }
        };
        Ok(Prepared { reply, before })
    }

    fn keep_answer(
        &mut self,
        mut counters: Counters,
        key: &Bytes,
        answer: (u128, Reply),
        at_ms: u64,
    ) -> Result<(), Error> {
        let number = counters.next;
        counters.next += 1;
        self.keep(&key_key(key), KeyRow { number, answer: Some(answer) }.encode())?;
        self.keep(&order_key(number), OrderRow { at_ms, key: key.clone() }.encode())?;
        for _ in 0..PASSING {
            self.pass(&mut counters, at_ms)?;
        }
        self.own_keys = Some(counters.rows());
        self.keep(&counters_key(), counters.encode())
    }

    /// The oldest answer goes, if it is time; and a spent key of each kind, if there are too many.
    fn pass(&mut self, counters: &mut Counters, now_ms: u64) -> Result<(), Error> {
        let number = counters.answers_from;
        if number < counters.next {
            let OrderRow { at_ms, key } = self.in_order(number)?;
            let answers_max = self.below.shared.options.idempotency_answers_max;
            if counters.next - number > answers_max || now_ms.saturating_sub(at_ms) >= ANSWER_MS {
                self.spend(counters, &key)?;
            }
        }
        let spent_max = self.below.shared.options.idempotency_spent_max;
        if counters.plain > spent_max {
            let (row, key) = self.first_spent(&plain_key(counters.plain_from), b"q")?;
            self.forget_key(&row, &key)?;
            counters.plain -= 1;
            counters.plain_from = decode_plain(&row)? + 1;
        }
        if counters.timed > spent_max {
            let (ms, number) = counters.forgotten;
            let (row, key) = self.first_spent(&timed_key(ms, number), b"w")?;
            self.forget_key(&row, &key)?;
            counters.timed -= 1;
            counters.forgotten = decode_timed(&row)?;
        }
        Ok(())
    }

    /// The answer of the first key that has one goes.
    fn spend(&mut self, counters: &mut Counters, key: &Bytes) -> Result<(), Error> {
        let number = counters.answers_from;
        counters.answers_from += 1;
        let place = match Keyed::drawn_ms(key) {
            // What was forgotten speaks for it.
            Some(drawn_ms) if drawn_ms <= counters.forgotten.0 => {
                return self.forget_key(&order_key(number), key);
            }
            Some(drawn_ms) => {
                counters.timed += 1;
                timed_key(drawn_ms, number)
            }
            None => {
                counters.plain += 1;
                plain_key(number)
            }
        };
        self.delete(Keyspace::IDEMPOTENCY, &order_key(number))?;
        self.keep(&key_key(key), KeyRow { number, answer: None }.encode())?;
        self.keep(&place, encode_spent(key))
    }

    /// The first spent key of a kind: its row's key, and it. From where it can be on: what lies before was forgotten, and would
    /// have to be passed over each time.
    fn first_spent(&self, from: &Bytes, to: &'static [u8]) -> Result<(Bytes, Bytes), Error> {
        let keys = Keys::Between(from.clone(), Bytes::from_static(to));
        let span = Span::of(Keyspace::IDEMPOTENCY, &keys);
        let first = self.scan(&span)?.next()?;
        let (row, record) =
            first.ok_or_else(|| broken("idempotency order", "there are fewer than are counted"))?;
        let record = codec::decode_record(&record.into_bytes())
            .map_err(|error| broken("idempotency order", &error.to_string()))?;
        Ok((row, decode_spent(&record.value)?))
    }

    fn forget_key(&mut self, row: &Bytes, key: &[u8]) -> Result<(), Error> {
        self.delete(Keyspace::IDEMPOTENCY, row)?;
        self.delete(Keyspace::IDEMPOTENCY, &key_key(key))?;
        Ok(())
    }

    fn in_order(&mut self, number: u64) -> Result<OrderRow, Error> {
        let row = self.kept(&order_key(number))?;
        let row = row.ok_or_else(|| broken("idempotency order", &format!("number {number} is not there")))?;
        OrderRow::decode(&row)
    }

    fn kept(&mut self, key: &Bytes) -> Result<Option<Bytes>, Error> {
        Ok(self.whole(Keyspace::IDEMPOTENCY, key)?.map(|record| record.value))
    }

    fn keep(&mut self, key: &Bytes, row: Bytes) -> Result<(), Error> {
        let revision = self.head.revision;
        self.put(Keyspace::IDEMPOTENCY, key, row, revision)
    }
}
