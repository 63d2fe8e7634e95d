//! Messages on their way between cores: pairs what one node sent with what another took in.
//!
//! Between the two probes lie queues, gRPC and sockets, which carry no number. So a message is known by its addresses and
//! its content, and of several equal ones the first sent is the first that arrives, as on one connection. Only where the
//! oldest has been away for so long that it was most likely lost with its connection, the newest is taken instead.
//!
//! This is for whoever looks at a run; nothing that is judged depends on it.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use quorate::raft::Envelope;

/// After how long a message is lost rather than late, if an equal one was sent since.
const LATE_MAX: Duration = Duration::from_secs(1);

/// What is on its way.
#[derive(Debug, Default)]
pub struct Flights {
    sent: u64,
    under_way: BTreeMap<Content, VecDeque<Flight>>,
    boots: BTreeMap<u64, Duration>,
}

/// The hash of an envelope, addresses and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Content(u64);

#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u64,
    from: u64,
    to: u64,
    at: Duration,
}

/// A message that never arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its number.
    pub number: u64,
    /// Who sent it.
    pub from: u64,
    /// Why, as far as can be told: `down`, or `unknown`.
    pub why: &'static str,
}

impl Flights {
    /// A message leaves now; returns its number.
    pub fn sent(&mut self, now: Duration, envelope: &Envelope) -> u64 {
        self.sent += 1;
        let flight = Flight { number: self.sent, from: envelope.from.0, to: envelope.to.0, at: now };
        self.under_way.entry(Content::of(envelope)).or_default().push_back(flight);
        self.sent
    }

    /// A message was taken in now; returns its number, if it was ever sent.
    pub fn delivered(&mut self, now: Duration, envelope: &Envelope) -> Option<u64> {
        let content = Content::of(envelope);
        let equal = self.under_way.get_mut(&content)?;
        let is_late = equal.front().is_some_and(|flight| now.saturating_sub(flight.at) > LATE_MAX);
        let flight = if is_late { equal.pop_back() } else { equal.pop_front() };
        if equal.is_empty() {
            self.under_way.remove(&content);
        }
        flight.map(|flight| flight.number)
    }

    /// A node begins to run.
    pub fn booted(&mut self, now: Duration, node: u64) {
        self.boots.insert(node, now);
    }

    /// The run is over: what has been on its way for longer than a message takes will not arrive any more.
    pub fn end(&mut self, now: Duration) -> Vec<Lost> {
        let flights = std::mem::take(&mut self.under_way).into_values().flatten();
        let lost = flights.filter(|flight| now.saturating_sub(flight.at) > LATE_MAX);
        let mut lost: Vec<Lost> = lost
            .map(|flight| {
                let booted = |node| self.boots.get(&node).is_some_and(|boot| *boot >= flight.at);
                let why = if booted(flight.to) || booted(flight.from) { "down" } else { "unknown" };
                Lost { number: flight.number, from: flight.from, why }
            })
            .collect();
        lost.sort_unstable_by_key(|lost| lost.number);
        lost
    }
}

impl Content {
    fn of(envelope: &Envelope) -> Content {
        let mut hasher = DefaultHasher::new();
        envelope.hash(&mut hasher);
        Content(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use quorate::raft::Message;
    use quorate::types::{NodeId, Term};

    use super::*;

    fn reply(to: u64, granted: bool) -> Envelope {
        let message = Message::VoteReply { granted };
        Envelope { from: NodeId(1), to: NodeId(to), term: Term(3), message }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn equal_messages_arrive_in_the_order_of_their_leaving() {
        let mut flights = Flights::default();
        assert_eq!(flights.sent(ms(0), &reply(2, true)), 1);
        assert_eq!(flights.sent(ms(1), &reply(2, true)), 2);
        assert_eq!(flights.sent(ms(2), &reply(3, true)), 3);
        assert_eq!(flights.delivered(ms(5), &reply(3, true)), Some(3), "another receiver is another message");
        assert_eq!(flights.delivered(ms(5), &reply(2, true)), Some(1));
        assert_eq!(flights.delivered(ms(6), &reply(2, true)), Some(2));
        assert_eq!(flights.delivered(ms(7), &reply(2, true)), None, "it was sent twice only");
    }

    #[test]
    fn what_comes_long_after_was_sent_anew() {
        let mut flights = Flights::default();
        flights.sent(ms(0), &reply(2, true));
        flights.sent(ms(5_000), &reply(2, true));
        assert_eq!(flights.delivered(ms(5_010), &reply(2, true)), Some(2), "the first was lost on the way");
        let lost = [Lost { number: 1, from: 1, why: "unknown" }];
        assert_eq!(flights.end(ms(9_000)), lost);
    }

    #[test]
    fn in_the_end_what_may_still_arrive_is_not_lost() {
        let mut flights = Flights::default();
        flights.sent(ms(0), &reply(2, true));
        flights.sent(ms(1), &reply(3, true));
        flights.booted(ms(700), 2);
        flights.sent(ms(8_990), &reply(2, false));
        let lost = [Lost { number: 1, from: 1, why: "down" }, Lost { number: 2, from: 1, why: "unknown" }];
        assert_eq!(flights.end(ms(9_000)), lost);
    }
}
