//! Many clients at once: each asks whatever the API has, of every node, and records what it was told.
//!
//! Each client has a node that it prefers, so that nobody can starve a node of requests by slowing another down. The
//! keys that all of them fight over change with every turn of events: a write of unknown outcome stays open for ever,
//! and the search for an order need not carry it through the whole run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::activity::Board;
use super::history::operations::{Delete, Get, List, Set, Txn};
use super::history::{Answer, Freshness, History, Key, Operation, Outcome, Value};
use super::plan::generator;
use super::requests::Request;
use super::transactions::Library;
use crate::harness::Client;
use crate::harness::poll::try_poll_until;

/// Keys of one turn that all clients use.
const HOT_KEYS: u64 = 4;
/// Keys of one client alone.
const OWN_KEYS: u64 = 3;
/// A client waits for an answer this much longer than the node may take.
const GRACE: Duration = Duration::from_millis(700);
/// The longest deadline that is drawn.
const DEADLINE_MAX: Duration = Duration::from_millis(700);

/// The history of a run, filled by all clients.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<History>>);

impl Recorder {
    /// The history.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request and records it, from before it leaves until its outcome is known.
    ///
    /// # Errors
    /// An answer that the API does not have, or that cannot be true.
    pub fn send(&self, who: u64, node: u64, client: &Client, request: &Request) -> Result<Outcome, String> {
        self.record(who, node, &request.operation, || request.send(client))
    }

    /// Records what `send` does, from before it until its outcome is known.
    fn record(
        &self,
        who: u64,
        node: u64,
        operation: &Operation,
        send: impl FnOnce() -> Result<Outcome, String>,
    ) -> Result<Outcome, String> {
        let id = self.history().begin(who, node, operation.clone());
        let outcome = send()?;
        self.history().end(id, outcome.clone())?;
        Ok(outcome)
    }
}

/// Running clients. Dropped, they end.
pub struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts `count` clients of the nodes at `addresses`, by id.
    pub fn start(
        count: u64,
        seed: u64,
        addresses: &BTreeMap<u64, String>,
        library: &Library,
        board: &Board,
        recorder: &Recorder,
    ) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let ids: Vec<u64> = addresses.keys().copied().collect();
        let threads = (0..count)
            .map(|number| {
                let worker = Worker {
                    number,
                    home: ids[usize::try_from(number).expect("few clients") % ids.len()],
                    nodes: addresses
                        .iter()
                        .map(|(id, address)| (*id, Client::with_timeout(address, DEADLINE_MAX + GRACE)))
                        .collect(),
                    library: library.clone(),
                    random: generator(seed, number + 1),
                    board: board.clone(),
                    recorder: recorder.clone(),
                    stop: Arc::clone(&stop),
                    seen: BTreeMap::new(),
                    sets: 0,
                };
                std::thread::spawn(move || worker.run())
            })
            .collect();
        Clients { stop, threads }
    }

    /// Ends them, each after the request it has under way.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a client panicked");
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.end();
    }
}

/// One client.
struct Worker {
    number: u64,
    /// The node it asks more often than others.
    home: u64,
    nodes: BTreeMap<u64, Client>,
    library: Library,
    random: fastrand::Rng,
    board: Board,
    recorder: Recorder,
    stop: Arc<AtomicBool>,
    /// The revision at which it last saw a key: what its conditions name.
    seen: BTreeMap<Key, u64>,
    sets: u64,
}

impl Worker {
    fn run(mut self) {
        while !self.stop.load(Ordering::SeqCst) {
            let node = match self.random.u8(..10) {
                0..7 => self.home,
                _ => self.random.choice(self.nodes.keys().copied()).expect("there are nodes"),
            };
            let turn = self.board.turn();
            if self.random.u8(..20) == 0 {
                if let Err(why) = self.transact(turn) {
                    return self.board.complain(why);
                }
                continue;
            }
            let request = self.draw(turn);
            match self.recorder.send(self.number, node, &self.nodes[&node], &request) {
                Ok(outcome) => {
                    self.board.count(turn, node, request.ended(&outcome));
                    self.learn(&request.operation, &outcome);
                    self.think(&outcome);
                }
                Err(why) => return self.board.complain(why),
            }
        }
    }

    /// A transaction, through whichever node the library asks: it says nothing of any.
    fn transact(&mut self, turn: u64) -> Result<(), String> {
        let (key, other) = (self.key(turn), self.key(turn));
        let condition = self.condition(&key);
        let bytes = self.value(false);
        let value = Some(Value::of(&bytes));
        let mut changes = vec![(key.clone(), value.clone())];
        if other != key {
            changes.push((other.clone(), value.filter(|_| self.random.bool())));
        }
        let txn = Txn { key: key.clone(), condition, changes, otherwise: Some(key) };
        let library = &self.library;
        let operation = Operation::Txn(txn.clone());
        let outcome = self.recorder.record(self.number, 0, &operation, || library.send(&txn, &bytes))?;
        self.think(&outcome);
        Ok(())
    }

    /// A pause now and then, and always after a refusal: a dead node refuses at once, and a history of refusals shows
    /// nothing.
    fn think(&mut self, outcome: &Outcome) {
        let pause = match outcome {
            Outcome::Done(_) if self.random.bool() => return,
            Outcome::Done(_) => 10,
            Outcome::NotApplied(_) | Outcome::Unknown(_) => 60,
        };
        let pause = Duration::from_millis(self.random.u64(1..=pause));
        let _ = try_poll_until(pause, || self.stop.load(Ordering::SeqCst).then_some(()));
    }

    fn learn(&mut self, operation: &Operation, outcome: &Outcome) {
        let Outcome::Done(answer) = outcome else { return };
        match (operation, answer) {
            (Operation::Get(Get { key, .. }), Answer::Got { found, .. }) => {
                self.seen.insert(key.clone(), found.as_ref().map_or(0, |found| found.revision));
            }
            (Operation::Set(Set { key, .. }), Answer::Written { revision }) => {
                self.seen.insert(key.clone(), *revision);
            }
            (Operation::Delete(Delete { key, .. }), Answer::Deleted { .. }) => {
                self.seen.insert(key.clone(), 0);
            }
            _ => {}
        }
    }

    fn draw(&mut self, turn: u64) -> Request {
        let base64 = self.random.u8(..5) == 0;
        let deadline = DEADLINE_MAX.mul_f64(0.3 + 0.7 * self.random.f64());
        let mut bytes = Vec::new();
        let freshness = match self.random.u8(..8) {
            0..2 => Freshness::Stale,
            // Nothing older than what it has seen itself.
            2 => Freshness::StaleFrom(self.seen.values().copied().max().unwrap_or(0)),
            3 => Freshness::Leased,
            _ => Freshness::Linearizable,
        };
        let key = self.key(turn);
        let operation = match self.random.u8(..100) {
            0..40 => Operation::Get(Get { key, freshness }),
            40..65 => {
                bytes = self.value(base64);
                Operation::Set(Set { key, value: Value::of(&bytes), condition: None })
            }
            65..80 => {
                bytes = self.value(base64);
                let condition = Some(self.condition(&key));
                Operation::Set(Set { key, value: Value::of(&bytes), condition })
            }
            80..86 => Operation::Delete(Delete { key, condition: None }),
            86..92 => {
                let condition = Some(self.condition(&key));
                Operation::Delete(Delete { key, condition })
            }
            _ => Operation::List(self.list(turn, freshness)),
        };
        Request { operation, bytes, base64, deadline }
    }

    /// A key of this turn, or of one of the last, or one of its own.
    fn key(&mut self, turn: u64) -> Key {
        let back = [0, 0, 0, 0, 1, 2][self.random.usize(..6)];
        let (turn, number) = (turn.saturating_sub(back), self.random.u64(..HOT_KEYS));
        match self.random.u8(..5) {
            0 => Key::from(&*format!("own/{:02}/{}", self.number, self.random.u64(..OWN_KEYS))),
            _ => Key::from(&*format!("hot/{turn:04}/{number}")),
        }
    }

    /// A value that nobody else writes; now and then a large one, and one that is no text.
    fn value(&mut self, base64: bool) -> Vec<u8> {
        self.sets += 1;
        let mut value = format!("{}-{}", self.number, self.sets).into_bytes();
        match self.random.u8(..12) {
            0 => value.resize(self.random.usize(1_000..40_000), b'.'),
            1 if base64 => value.extend([0xff, 0, 0xfe]),
            _ => {}
        }
        value
    }

    /// What it last saw of the key, or a guess.
    fn condition(&mut self, key: &Key) -> u64 {
        match (self.seen.get(key), self.random.u8(..8)) {
            (_, 0) => self.random.u64(..50),
            (Some(revision), _) => *revision,
            (None, _) => 0,
        }
    }

    fn list(&mut self, turn: u64, freshness: Freshness) -> List {
        let (prefix, limit) = match self.random.u8(..6) {
            0 => (Key::from("hot/"), Some(self.random.usize(1..=8))),
            1 => (Key::from("own/"), Some(self.random.usize(1..=8))),
            2 => (Key::from(&*format!("own/{:02}/", self.number)), None),
            _ => (Key::from(&*format!("hot/{turn:04}/")), None),
        };
        let after = match (limit, self.seen.last_key_value()) {
            (Some(_), Some((key, _))) if self.random.bool() && key > &prefix => key.clone(),
            _ => Key(Vec::new()),
        };
        List { prefix, after, limit, freshness }
    }
}
