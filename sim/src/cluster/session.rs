//! A client whose requests are written into the run's history.
//!
//! [`Session::call`] sends anything, `call_through` leaves it to the client library; the others draw what they send. What a session learns of revisions it uses in its
//! conditions: most name the revision that it saw last, some the wrong one, so both outcomes happen all the time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Violation;
use crate::cluster::ask::Ask;
use crate::cluster::client::{Client, Freshness};
use crate::cluster::clock::WALL_ORIGIN_MS;
use crate::cluster::entropy;
use crate::cluster::handle::{Cluster, address};
use crate::cluster::library::Library;
use crate::cluster::order::{Order, Said};
use crate::history::operations::Txn;
use crate::history::{Answer, Key, Operation, Outcome};
use crate::trace::event::{Fate, What};

/// How many keys many clients write to at a time.
const HOT_KEYS: u64 = 4;

/// How often a write with a key is sent again.
const ATTEMPTS_MAX: usize = 8;

/// How many keys are written to now and then.
const COLD_KEYS: u64 = 60;

/// Where the history has the node that was asked: the library asks whom it likes.
const ANY_NODE: u64 = 0;

/// How many keys are no text.
const BINARY_KEYS: u8 = 4;

/// A client whose requests are judged.
pub struct Session {
    cluster: Cluster,
    pub(super) client: Client,
    number: u64,
    writes: u64,
    /// Idempotency keys drawn so far.
    keys: u64,
    pub(super) rng: fastrand::Rng,
    /// The revision that each key was at when this client last heard of it; 0 for absent.
    seen: BTreeMap<Key, u64>,
    /// The revision of its own newest write that was acknowledged; 0 for none.
    wrote: u64,
}

impl Session {
    pub(super) fn new(cluster: Cluster, client: Client, number: u64, rng: fastrand::Rng) -> Session {
        Session { cluster, client, number, writes: 0, keys: 0, rng, seen: BTreeMap::new(), wrote: 0 }
    }

    /// Limits how long requests may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.client.timeout = timeout;
    }

    /// Writes a new value to some key through a node.
    pub async fn set(&mut self, node: u64) -> Outcome {
        let (key, value) = (self.key(), self.value());
        self.call(node, &Ask::set(key, &value, None)).await
    }

    /// Reads some key through a node. `None` if it got no answer.
    pub async fn get(&mut self, node: u64, freshness: Freshness) -> Option<Answer> {
        let key = self.key();
        self.read(node, key, freshness).await
    }

    /// Reads `key` through a node. `None` if it got no answer.
    pub async fn read(&mut self, node: u64, key: Key, freshness: Freshness) -> Option<Answer> {
        match self.call(node, &Ask::get(key, freshness)).await {
            Outcome::Done(answer) => Some(answer),
            Outcome::NotApplied(_) | Outcome::Unknown(_) => None,
        }
    }

    /// Sends any request to a node.
    pub async fn call(&mut self, node: u64, ask: &Ask) -> Outcome {
        let request = self.begin(node, ask);
        let outcome = self.until_known(node, ask).await;
        self.end(request, ask, outcome)
    }

    /// Leaves a request to the client library.
    pub(super) async fn call_through(&mut self, library: &Library, ask: &Ask) -> Outcome {
        let request = self.begin(ANY_NODE, ask);
        let outcome = library.call(ask, &mut self.rng).await;
        self.client.note("library", ask, &outcome);
        self.end(request, ask, outcome)
    }

    fn begin(&self, node: u64, ask: &Ask) -> usize {
        let request = self.cluster.history().begin(self.number, node, ask.operation.clone());
        self.cluster.trace().event(0, || What::Begun {
            request: request as u64,
            client: self.number,
            to: node,
            operation: ask.operation.to_string(),
        });
        request
    }

    fn end(&mut self, request: usize, ask: &Ask, outcome: Result<Outcome, Violation>) -> Outcome {
        let cluster = self.cluster.clone();
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(violation) => {
                cluster.fail(violation);
                Outcome::Unknown("a wrong answer".to_owned())
            }
        };
        cluster.trace().event(0, || ended(request as u64, &outcome));
        self.learn(&ask.operation, &outcome);
        let judged = cluster.history().end(request, outcome.clone());
        judged.unwrap_or_else(|violation| cluster.fail(violation));
        outcome
    }

    /// One attempt; of a write with a key as many as it takes to know what became of it, at one node after the other. All of
    /// them are one call: however many executed it, at most one did.
    async fn until_known(&mut self, node: u64, ask: &Ask) -> Result<Outcome, Violation> {
        let mut outcome = self.client.call(&address(node), ask).await?;
        if ask.key.is_none() || !matches!(outcome, Outcome::Unknown(_)) {
            return Ok(outcome);
        }
        let nodes: Vec<u64> = self.cluster.nodes().collect();
        // Those that come after it wait as any other.
        let ask = Ask { deadline: None, hang_up: None, ..ask.clone() };
        for _ in 0..ATTEMPTS_MAX {
            tokio::time::sleep(Duration::from_millis(self.rng.u64(1..300))).await;
            let node = nodes[self.rng.usize(..nodes.len())];
            match self.client.call(&address(node), &ask).await? {
                done @ Outcome::Done(_) => {
                    self.cluster.trace().count("known by a retry", 1);
                    return Ok(done);
                }
                // That this attempt did not do it says nothing of the ones before.
                Outcome::NotApplied(_) => {}
                unknown @ Outcome::Unknown(_) => outcome = unknown,
            }
        }
        Ok(outcome)
    }

    /// Gives an order to the group through a node.
    pub(super) async fn order(&mut self, node: u64, order: Order) -> Said {
        match self.client.order(&address(node), order).await {
            Ok(said) => said,
            Err(violation) => {
                self.cluster.fail(violation);
                Said::Unknown("a wrong answer".to_owned())
            }
        }
    }

    /// A node's `/api/stats`.
    pub(super) async fn stats(&mut self, node: u64) -> Option<serde_json::Value> {
        self.client.stats(&address(node)).await
    }

    /// Whether a node says that it is ready to serve.
    pub(super) async fn is_ready(&mut self, node: u64) -> bool {
        self.client.is_ready(&address(node)).await
    }

    /// Draws a request from all that a client can ask: more of what many clients do at the same keys, and a little of
    /// everything else.
    pub(super) fn draw(&mut self) -> Ask {
        let mut ask = match self.rng.u32(..100) {
            0..30 => Ask::set(self.key(), &self.value(), None),
            30..45 => {
                let key = self.key();
                let condition = self.condition(&key);
                Ask::set(key, &self.value(), Some(condition))
            }
            45..50 => Ask::delete(self.key(), None),
            50..53 => {
                let key = self.key();
                let condition = self.condition(&key);
                Ask::delete(key, Some(condition))
            }
            53..72 => Ask::get(self.key(), Freshness::Linearizable),
            72..80 => Ask::get(self.key(), Freshness::Leased),
            80..83 => Ask::get(self.key(), Freshness::Stale),
            83..86 => Ask::get(self.key(), Freshness::StaleFrom(self.wrote)),
            86..93 => self.list(Freshness::Linearizable),
            93..96 => self.list(Freshness::Leased),
            96..98 => self.list(Freshness::Stale),
            _ => self.list(Freshness::StaleFrom(self.wrote)),
        };
        ask.base64 = self.rng.u32(..8) == 0;
        if ask.operation.is_write() && self.rng.bool() {
            ask.key = Some(self.idempotency_key());
        }
        // Some wait too short a time for the node to be sure, some not even for its answer.
        match self.rng.u32(..40) {
            0 => ask.deadline = Some(Duration::from_millis(self.rng.u64(1..50))),
            1..3 => ask.deadline = Some(Duration::from_millis(self.rng.u64(50..500))),
            3 => ask.hang_up = Some(Duration::from_millis(self.rng.u64(1..40))),
            _ => {}
        }
        ask
    }

    /// Draws a request that the library can carry out: transactions, too.
    pub(super) fn draw_for_library(&mut self) -> Ask {
        if self.rng.u32(..4) > 0 {
            return self.draw();
        }
        let (key, first) = (self.key(), self.key());
        let second = loop {
            let second = self.key();
            if second != first {
                break second;
            }
        };
        let condition = self.condition(&key);
        let (value, both) = (self.value(), self.rng.bool());
        // As often as not what is compared is what is changed, as in a move.
        let first = if self.rng.bool() && second != key { key.clone() } else { first };
        let otherwise = match self.rng.u32(..3) {
            0 => None,
            1 => Some(key.clone()),
            _ => Some(self.key()),
        };
        let mut ask = Ask::txn((key, condition), [first, second], (&value, both), otherwise);
        if self.rng.u32(..10) == 0 {
            ask.deadline = Some(Duration::from_millis(self.rng.u64(1..500)));
        }
        ask
    }

    fn list(&mut self, freshness: Freshness) -> Ask {
        let (prefix, after) = match self.rng.u32(..5) {
            0 => ("", Key::from("")),
            1 => ("hot/", Key::from("")),
            2 => ("cold/", self.key()),
            3 => ("cold/1", Key::from("")),
            _ => ("", self.key()),
        };
        let limit = self.rng.bool().then(|| self.rng.usize(1..20));
        Ask::list(prefix.into(), after, limit, freshness)
    }

    /// A key: often one of few, so that clients meet there.
    pub(super) fn key(&mut self) -> Key {
        match self.rng.u32(..20) {
            0..11 => Key::from(format!("hot/{}", self.rng.u64(..HOT_KEYS)).as_str()),
            11..19 => Key::from(format!("cold/{}", self.rng.u64(..COLD_KEYS)).as_str()),
            _ => Key(vec![0xff, self.rng.u8(..BINARY_KEYS)]),
        }
    }

    /// A value: of its own, but for a few empty ones. Most are small; a few are so large that logs roll and state files
    /// fold within a run.
    fn value(&mut self) -> Vec<u8> {
        self.writes += 1;
        if self.rng.u32(..200) == 0 {
            return Vec::new();
        }
        let mut value = format!("{}-{}", self.number, self.writes).into_bytes();
        let padding = match self.rng.u32(..100) {
            0..60 => 0,
            60..85 => self.rng.usize(..1 << 10),
            85..98 => self.rng.usize(..8 << 10),
            _ => self.rng.usize(..64 << 10),
        };
        let filling = if self.rng.u32(..8) == 0 { 0xfe } else { b'.' };
        value.resize(value.len() + padding, filling);
        value
    }

    /// A UUID of version 7: the limits of some runs are so small that other keys would be forgotten while they are in use.
    fn idempotency_key(&mut self) -> String {
        self.keys += 1;
        let ms = WALL_ORIGIN_MS + u64::try_from(entropy::now().as_millis()).unwrap_or(u64::MAX);
        let (number, count) = (self.number & 0xffff_ffff, self.keys & 0xffff);
        format!("{:08x}-{:04x}-7000-8000-{number:08x}{count:04x}", ms >> 16, ms & 0xffff)
    }

    fn condition(&mut self, key: &Key) -> u64 {
        let seen = self.seen.get(key).copied().unwrap_or(0);
        match self.rng.u32(..10) {
            0 => 0,
            1 => seen + 1,
            _ => seen,
        }
    }

    fn learn(&mut self, operation: &Operation, outcome: &Outcome) {
        let Outcome::Done(answer) = outcome else { return };
        if let Answer::Written { revision }
        | Answer::Deleted { existed: true, revision }
        | Answer::Committed { revision, .. } = answer
        {
            self.wrote = self.wrote.max(*revision);
        }
        match (operation, answer) {
            (Operation::Get(get), Answer::Got { found, .. }) => {
                self.seen.insert(get.key.clone(), found.as_ref().map_or(0, |found| found.revision));
            }
            (Operation::Set(set), Answer::Written { revision }) => {
                self.seen.insert(set.key.clone(), *revision);
            }
            (Operation::Delete(delete), Answer::Deleted { .. }) => {
                self.seen.insert(delete.key.clone(), 0);
            }
            (Operation::Txn(txn), Answer::Committed { changed, revision }) => {
                for ((key, value), _) in txn.changes.iter().zip(changed).filter(|(_, changed)| **changed) {
                    let revision = if value.is_some() { *revision } else { 0 };
                    self.seen.insert(key.clone(), revision);
                }
            }
            (Operation::Txn(Txn { otherwise: Some(key), .. }), Answer::Otherwise { found, .. }) => {
                self.seen.insert(key.clone(), found.as_ref().map_or(0, |found| found.revision));
            }
            (Operation::List(_), Answer::Listed { pairs, .. }) => {
                self.seen.extend(pairs.iter().map(|pair| (pair.key.clone(), pair.found.revision)));
            }
            _ => {}
        }
    }
}

fn ended(request: u64, outcome: &Outcome) -> What {
    let (fate, answer) = match outcome {
        Outcome::Done(answer) => (Fate::Done, answer.to_string()),
        Outcome::NotApplied(why) => (Fate::NotApplied, why.clone()),
        Outcome::Unknown(why) => (Fate::Unknown, why.clone()),
    };
    What::Ended { request, outcome: fate, answer }
}
