//! The naive twin of idempotency keys: one list, in the order in which they were used first.

use super::*;
use crate::command::Keyed;
use crate::fsm::keyed::ANSWER_MS;

/// A key that was used.
pub(super) struct Used {
    key: Bytes,
    write: Write,
    at_ms: u64,
    /// `None` once it is spent.
    reply: Option<Reply>,
}

impl Model {
    pub(super) fn keyed(&mut self, Keyed { key, write }: &Keyed) -> Reply {
        if let Some(used) = self.used.iter().find(|used| used.key == *key) {
            return match &used.reply {
                Some(reply) if used.write == *write => reply.clone(),
                Some(_) => Reply::KeyMismatch,
                None => Reply::KeySpent,
            };
        }
        if Keyed::drawn_ms(key).is_some_and(|drawn| drawn <= self.forgotten_ms) {
            return Reply::KeySpent;
        }
        let reply = self.write(write);
        let (key, write, at_ms) = (key.clone(), write.clone(), self.group_time_ms);
        self.used.push(Used { key, write, at_ms, reply: Some(reply.clone()) });
        for _ in 0..2 {
            let answers = self.used.iter().filter(|used| used.reply.is_some()).count() as u64;
            let oldest = self.used.iter().position(|used| used.reply.is_some());
            if let Some(at) = oldest
                && (answers > options().idempotency_answers_max
                    || self.group_time_ms - self.used[at].at_ms >= ANSWER_MS)
            {
                if Keyed::drawn_ms(&self.used[at].key).is_some_and(|drawn| drawn <= self.forgotten_ms) {
                    self.used.remove(at);
                } else {
                    self.used[at].reply = None;
                }
            }
            for is_timed in [false, true] {
                let spent = self.used.iter().enumerate().filter(|(_, used)| used.reply.is_none());
                let drawn = spent.map(|(at, used)| (Keyed::drawn_ms(&used.key), at));
                let mut drawn: Vec<_> = drawn.filter(|(drawn, _)| drawn.is_some() == is_timed).collect();
                drawn.sort_unstable();
                if drawn.len() as u64 > options().idempotency_spent_max {
                    let (drawn, at) = drawn[0];
                    self.used.remove(at);
                    self.forgotten_ms = self.forgotten_ms.max(drawn.unwrap_or(0));
                }
            }
        }
        reply
    }
}

/// Few keys, so that they come again, some of them telling when they were drawn; and few writes.
pub(super) fn a_keyed() -> impl Strategy<Value = Command> {
    let plain = "[a-f]".prop_map(Bytes::from);
    let timed = (0..100_u64).prop_map(|ms| Bytes::from(format!("00000000-{ms:04x}-7000-8000-000000000000")));
    let write = (key(), 0..2_usize).prop_map(|(key, value)| {
        let ops = vec![Op::Put { key, value: bytes(["x", "y"][value]) }];
        Write { keyspace: Keyspace(0), conditions: vec![], ops }
    });
    let few = prop_oneof![
        Just(Write { keyspace: Keyspace(0), conditions: vec![], ops: vec![put("i", "1")] }),
        write
    ];
    (prop_oneof![3 => plain, 1 => timed], few).prop_map(|(key, write)| Command::Keyed(Keyed { key, write }))
}
