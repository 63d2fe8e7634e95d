//! What clients may have under way on one node, and how much of that one connection may have.
//!
//! A request counts from its head until the client has taken its answer, and its bytes do: those of the body as they come
//! in, those of the answer until they left. So neither clients that send faster than the node works nor clients that ask
//! and never read make the heap grow: beyond the bound a request is refused, and the client is told to come back.
//!
//! Shares are those of dynamic thresholds (Choudhury and Hahne, 1998): a connection may have as much as is free.
//!
//! ```text
//! connections that want all they can get:    1      2      3     ...   n
//! each of them has:                         1/2    1/3    1/4         1/(n+1)
//! free for whoever wants little:            1/2    1/3    1/4         1/(n+1)
//! ```
//!
//! A quarter of the bytes is kept for requests and answers that are small: there are always enough clients that want large
//! ones to use up what there is.
//!
//! Nobody has to be told apart, no table of connections is kept, and no order in which they come lets one starve another.
//!
//! # Invariants
//!
//! - What all have never exceeds the bound, but for answers to writes: what was done is said; and for the little that a
//!   stream may always send.
//! - An answer that nobody takes is found at the third look after it was made ([`Connection::is_overdue`]).
//! - What a [`Held`] counts is given back when it is dropped, wherever its request ended.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::config::Limits;

/// What counts as small.
const SMALL_BYTES: usize = 64 << 10;

/// All that clients have under way on a node. Cheap to clone.
#[derive(Clone)]
pub struct Shares(Arc<Total>);

struct Total {
    max: Used,
    used: Mutex<Used>,
}

/// Requests, and the bytes of their bodies and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Used {
    requests: usize,
    bytes: usize,
}

/// One connection's part of it. Cheap to clone: every request of the connection carries one.
#[derive(Clone)]
pub struct Connection(Arc<Part>);

struct Part {
    total: Arc<Total>,
    /// Changed only while the total's lock is held, so that the two agree.
    used: Mutex<Used>,
    answers: Mutex<Answers>,
}

/// Answers that have not left, by their age in looks of whoever serves the connection.
#[derive(Debug, Default)]
struct Answers {
    /// Looks so far.
    looks: u64,
    /// Made since the last look, between the two last ones, and before.
    waiting: [usize; 3],
}

impl Answers {
    fn age(&self, made: u64) -> usize {
        usize::try_from(self.looks - made).unwrap_or(2).min(2)
    }
}

/// What one request counts for, or several whose answers leave together. Dropped: nothing.
pub struct Held {
    part: Arc<Part>,
    requests: usize,
    bytes: usize,
}

impl Shares {
    /// None of it is in use.
    pub fn new(limits: &Limits) -> Shares {
        let max = Used { requests: limits.requests_inflight_max, bytes: limits.request_bytes_inflight_max };
        Shares(Arc::new(Total { max, used: Mutex::default() }))
    }

    /// Whether nothing is under way.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        let used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used == Used::default()
    }

    /// A connection that has nothing under way.
    pub fn connection(&self) -> Connection {
        let (used, answers) = (Mutex::default(), Mutex::default());
        Connection(Arc::new(Part { total: self.0.clone(), used, answers }))
    }
}

impl Shares {
    /// The connection of a request with these extensions: the server puts it into each of its requests. One without is its own.
    pub fn connection_of(&self, extensions: &http::Extensions) -> Connection {
        extensions.get::<Connection>().cloned().unwrap_or_else(|| self.connection())
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").field("max", &self.0.max).finish_non_exhaustive()
    }
}

impl Connection {
    /// One more request; `None` if this connection has its share.
    pub fn enter(&self) -> Option<Held> {
        let part = &self.0;
        let (mut total, mut own) = part.lock();
        let free = part.total.max.requests.saturating_sub(total.requests);
        if own.requests >= free {
            return None;
        }
        total.requests += 1;
        own.requests += 1;
        Some(Held { part: part.clone(), requests: 1, bytes: 0 })
    }

    /// Looks, from time to time, for an answer that was there two looks ago: its client does not read it, and what it holds is
    /// lacking to others. A connection's own buffers do not show that where each request has a window of its own (HTTP/2).
    pub fn is_overdue(&self) -> bool {
        let mut answers = self.0.answers();
        let [young, old, older] = answers.waiting;
        answers.waiting = [0, young, old + older];
        answers.looks += 1;
        older > 0
    }

    /// The same, whatever the share.
    pub fn enter_always(&self) -> Held {
        let (mut total, mut own) = self.0.lock();
        total.requests += 1;
        own.requests += 1;
        Held { part: self.0.clone(), requests: 1, bytes: 0 }
    }
}

impl Part {
    /// Always in this order.
    fn lock(&self) -> (MutexGuard<'_, Used>, MutexGuard<'_, Used>) {
        // Nothing that can panic is done under them.
        let total = self.total.used.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        (total, own)
    }
}

impl Part {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// So many bytes more; false, and nothing is counted, if that is beyond the connection's share.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let (mut total, mut own) = self.part.lock();
        let max = self.part.total.max.bytes;
        let max = if self.bytes + bytes > SMALL_BYTES { max - max / 4 } else { max };
        let free = max.saturating_sub(total.bytes);
        // The only one of its connection that has any may take what there is: else one that is larger than half, and allowed,
        // would be refused for ever.
        let counted = if own.bytes == self.bytes { 0 } else { own.bytes };
        if counted.saturating_add(bytes) > free {
            return false;
        }
        total.bytes += bytes;
        own.bytes += bytes;
        drop((total, own));
        self.bytes += bytes;
        true
    }

    /// So many bytes instead of what is counted now; false if that is more, and beyond the connection's share.
    #[must_use]
    pub fn resize(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes {
            return self.grow(bytes - self.bytes);
        }
        self.give_back(0, self.bytes - bytes);
        self.bytes = bytes;
        true
    }

    /// The same, whatever the share: for what must be said.
    pub fn force(&mut self, bytes: usize) {
        if !self.resize(bytes) {
            let (mut total, mut own) = self.part.lock();
            total.bytes += bytes - self.bytes;
            own.bytes += bytes - self.bytes;
            drop((total, own));
            self.bytes = bytes;
        }
    }

    /// Takes over what another request of the same connection counts for: their answers leave together.
    pub fn absorb(&mut self, mut other: Held) {
        assert!(Arc::ptr_eq(&self.part, &other.part), "requests of two connections leave together");
        self.requests += std::mem::take(&mut other.requests);
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// So many of its bytes, to count by themselves from now on.
    pub fn split(&mut self, bytes: usize) -> Held {
        assert!(bytes <= self.bytes, "{bytes} bytes of {}", self.bytes);
        self.bytes -= bytes;
        Held { part: self.part.clone(), requests: 0, bytes }
    }

    /// The bytes that are counted.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The answer's bytes, which count until the last of them has left: hyper drops them then.
    pub fn keep(self, bytes: Bytes) -> Bytes {
        let made = {
            let mut answers = self.part.answers();
            answers.waiting[0] += 1;
            answers.looks
        };
        Bytes::from_owner(Kept { bytes, held: self, made })
    }

    fn give_back(&self, requests: usize, bytes: usize) {
        let (mut total, mut own) = self.part.lock();
        for used in [&mut *total, &mut *own] {
            used.requests -= requests;
            used.bytes -= bytes;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that was absorbed has nothing to give back.
        if self.requests + self.bytes > 0 {
            self.give_back(self.requests, self.bytes);
        }
    }
}

/// Bytes that count for as long as anybody has them.
struct Kept {
    bytes: Bytes,
    held: Held,
    /// At which look of the connection.
    made: u64,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut answers = self.held.part.answers();
        let age = answers.age(self.made);
        answers.waiting[age] -= 1;
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(requests: usize, bytes: usize) -> Shares {
        let limits = Limits {
            requests_inflight_max: requests,
            request_bytes_inflight_max: bytes,
            ..Limits::default()
        };
        Shares::new(&limits)
    }

    fn used(shares: &Shares) -> (usize, usize) {
        let used = *shares.0.used.lock().unwrap();
        (used.requests, used.bytes)
    }

    /// As many requests as the connection is let in with.
    fn all(connection: &Connection) -> Vec<Held> {
        std::iter::from_fn(|| connection.enter()).take(1_000).collect()
    }

    #[test]
    fn a_greedy_connection_leaves_as_much_as_it_has() {
        let shares = shares(12, 0);
        let (greedy, other, modest) = (shares.connection(), shares.connection(), shares.connection());
        let held = all(&greedy);
        assert_eq!(held.len(), 6);
        let others = all(&other);
        assert_eq!(others.len(), 3, "as much as is free then");
        assert!(modest.enter().is_some(), "who wants one is let in");
        assert!(greedy.enter().is_none());
        drop((held, others));
        assert_eq!(used(&shares), (0, 0));
        assert_eq!(all(&other).len(), 6);
    }

    #[test]
    fn all_together_have_no_more_than_there_is() {
        let shares = shares(100, 0);
        let connections: Vec<Connection> = (0..500).map(|_| shares.connection()).collect();
        let held: Vec<Held> = connections.iter().filter_map(Connection::enter).collect();
        assert_eq!((held.len(), used(&shares).0), (100, 100));
    }

    #[test]
    fn bytes_are_shared_the_same_way() {
        let shares = shares(10, 100);
        let (greedy, modest) = (shares.connection(), shares.connection());
        let (mut first, mut second) = (greedy.enter().unwrap(), greedy.enter().unwrap());
        assert!(first.grow(30) && second.grow(20));
        assert!(!second.grow(1) && !first.grow(1), "half is all that one may have");
        let mut other = modest.enter().unwrap();
        assert!(!other.grow(51) && other.grow(50));
        assert_eq!(used(&shares), (3, 100));
        assert!(first.resize(10) && !first.resize(31));
        drop((first, second, other));
        assert_eq!(used(&shares), (0, 0));
        let mut alone = greedy.enter().unwrap();
        assert!(alone.grow(50) && alone.grow(50) && !alone.grow(1), "one request may have all that is free");
    }

    #[test]
    fn large_ones_leave_a_quarter_to_small_ones() {
        let shares = shares(100, 16 * SMALL_BYTES);
        let large: Vec<Held> = (0..16)
            .filter_map(|_| {
                let mut held = shares.connection().enter().unwrap();
                held.grow(SMALL_BYTES + 1).then_some(held)
            })
            .collect();
        assert_eq!(large.len(), 11, "twelve of them would be a little more than three quarters");
        let mut small = shares.connection().enter().unwrap();
        assert!(small.grow(SMALL_BYTES));
        assert!(!small.grow(1), "it is large then");
    }

    #[test]
    fn an_answer_counts_until_its_last_byte_has_left() {
        let shares = shares(10, 100);
        let mut held = shares.connection().enter().unwrap();
        assert!(held.grow(50));
        held.force(120);
        let answer = held.keep(Bytes::from(vec![7; 120]));
        let rest = answer.slice(100..);
        drop(answer);
        assert_eq!(used(&shares), (1, 120));
        assert_eq!(rest.len(), 20);
        drop(rest);
        assert_eq!(used(&shares), (0, 0));
    }

    #[test]
    fn answers_that_leave_together_count_until_they_have() {
        let shares = shares(10, 100);
        let connection = shares.connection();
        let (mut first, mut second) = (connection.enter().unwrap(), connection.enter().unwrap());
        assert!(first.grow(10) && second.grow(20));
        first.absorb(second);
        assert_eq!((used(&shares), first.bytes()), ((2, 30), 30));
        let answer = first.keep(Bytes::from_static(b"both"));
        assert_eq!(used(&shares), (2, 30));
        drop(answer);
        assert_eq!(used(&shares), (0, 0));
    }

    #[test]
    fn a_part_that_was_split_off_counts_until_it_is_dropped() {
        let shares = shares(10, 100);
        let mut whole = shares.connection().enter().unwrap();
        assert!(whole.grow(50));
        let part = whole.split(20);
        assert_eq!((used(&shares), whole.bytes(), part.bytes()), ((1, 50), 30, 20));
        drop(whole);
        assert_eq!(used(&shares), (0, 20));
        drop(part);
        assert_eq!(used(&shares), (0, 0));
    }

    #[test]
    fn an_answer_that_nobody_takes_is_found() {
        let shares = shares(10, 100);
        let connection = shares.connection();
        let answer = || connection.enter().unwrap().keep(Bytes::from_static(b"answer"));
        for _ in 0..3 {
            let taken = answer();
            assert!(!connection.is_overdue());
            drop(taken);
        }
        let (first, slow) = (answer(), answer());
        assert!(!connection.is_overdue() && !connection.is_overdue(), "it has two looks' time");
        drop(slow);
        assert!(connection.is_overdue() && connection.is_overdue(), "until it is gone");
        drop(first);
        assert!(!connection.is_overdue());
        assert_eq!(used(&shares), (0, 0));
    }
}
