//! Applying a write that carries an idempotency key. What is kept of keys, and why, is in [`crate::fsm::keyed`].
//!
//! What it must look up depends on what it finds, so it is a part of a batch by itself, worked out before anything changes.

use bytes::Bytes;

use super::Run;
use super::txn::Prepared;
use crate::codec;
use crate::command::{Command, Keyed, Reply};
use crate::fsm::keyed::{ANSWER_MS, Counters, KeyRow, OrderRow, counters_key, key_key, order_key};
use crate::fsm::schema::broken;
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
            None if Keyed::drawn_ms(key).is_some_and(|drawn| drawn <= counters.forgotten_ms) => {
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
        self.keep(&counters_key(), counters.encode())
    }

    /// The oldest answer goes, if it is time; and the oldest spent key.
    fn pass(&mut self, counters: &mut Counters, now_ms: u64) -> Result<(), Error> {
        let (answers_max, spent_max) =
            (self.shared.options.idempotency_answers_max, self.shared.options.idempotency_spent_max);
        let number = counters.answers_from;
        if number < counters.next {
            let OrderRow { at_ms, key } = self.in_order(number)?;
            if counters.next - number > answers_max || now_ms.saturating_sub(at_ms) >= ANSWER_MS {
                self.keep(&key_key(&key), KeyRow { number, answer: None }.encode())?;
                counters.answers_from += 1;
            }
        }
        if counters.answers_from - counters.spent_from > spent_max {
            let oldest = self.in_order(counters.spent_from)?;
            self.delete(Keyspace::IDEMPOTENCY, &key_key(&oldest.key))?;
            self.delete(Keyspace::IDEMPOTENCY, &order_key(counters.spent_from))?;
            counters.forgotten_ms = counters.forgotten_ms.max(Keyed::drawn_ms(&oldest.key).unwrap_or(0));
            counters.spent_from += 1;
        }
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
