//! Writers under faults: unique keys and values on all nodes, three-valued outcomes, and the check at the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Client, Outcome};
use super::poll::{PATIENCE, poll_until, try_poll_until};

/// How long one write may take: short, so that writers move on from a dead node.
const DEADLINE: Duration = Duration::from_millis(1_500);

/// Threads that write without pause and remember what they were told.
pub struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    threads: Vec<JoinHandle<Vec<(String, String, Outcome)>>>,
}

/// The acknowledgements of all writers.
#[derive(Debug)]
struct Acknowledged {
    count: u64,
    last: Instant,
    longest_gap: Duration,
}

/// What the writers were told, by key.
#[derive(Debug, Default)]
pub struct History {
    /// Acknowledged: value and revision.
    pub done: BTreeMap<String, (String, u64)>,
    /// Certainly not executed: value, and why.
    pub not_applied: BTreeMap<String, (String, String)>,
    /// Possibly executed: the same.
    pub unknown: BTreeMap<String, (String, String)>,
    /// The longest time in which no writer was told that a write was done.
    pub longest_gap: Duration,
}

impl Acknowledged {
    fn note(&mut self) {
        let now = Instant::now();
        self.longest_gap = self.longest_gap.max(now - self.last);
        (self.count, self.last) = (self.count + 1, now);
    }
}

impl Writers {
    /// Starts one writer for each client, which stays with it. `label` keeps the keys of two runs apart.
    pub fn start(label: &str, clients: Vec<Client>) -> Writers {
        Writers::start_all(label, clients.into_iter().map(|client| vec![client]).collect())
    }

    /// Starts so many writers that know all of these: where nobody listens, they go to the next one, as a client does that was
    /// given several addresses. That is no failure; everything else is.
    pub fn start_failing_over(label: &str, count: usize, clients: &[Client]) -> Writers {
        let each = |writer: usize| {
            let mut clients = clients.to_vec();
            let first = writer % clients.len();
            clients.rotate_left(first);
            clients
        };
        Writers::start_all(label, (0..count).map(each).collect())
    }

    fn start_all(label: &str, clients: Vec<Vec<Client>>) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let nothing = Acknowledged { count: 0, last: Instant::now(), longest_gap: Duration::ZERO };
        let acknowledged = Arc::new(Mutex::new(nothing));
        let threads = clients
            .into_iter()
            .enumerate()
            .map(|(writer, clients)| {
                let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
                let label = label.to_owned();
                std::thread::spawn(move || write(&label, writer, &clients, &stop, &acknowledged))
            })
            .collect();
        Writers { stop, acknowledged, threads }
    }

    /// Waits until `more` further writes were acknowledged.
    pub fn wait_acknowledged(&self, more: u64) {
        let count = || lock(&self.acknowledged).count;
        let target = count() + more;
        poll_until(&format!("{more} acknowledged writes"), PATIENCE, || (count() >= target).then_some(()));
    }

    /// Ends the writers and returns what they know.
    pub fn finish(mut self) -> History {
        self.stop.store(true, Ordering::SeqCst);
        let mut history = History::default();
        for thread in self.threads.drain(..) {
            for (key, value, outcome) in thread.join().expect("a writer saw what the contract forbids") {
                match outcome {
                    Outcome::Done(revision) => drop(history.done.insert(key, (value, revision))),
                    Outcome::NotApplied { why, .. } => drop(history.not_applied.insert(key, (value, why))),
                    Outcome::Unknown(why) => drop(history.unknown.insert(key, (value, why))),
                }
            }
        }
        history.longest_gap = lock(&self.acknowledged).longest_gap;
        history
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lock(acknowledged: &Mutex<Acknowledged>) -> MutexGuard<'_, Acknowledged> {
    acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(
    label: &str,
    writer: usize,
    clients: &[Client],
    stop: &AtomicBool,
    acknowledged: &Mutex<Acknowledged>,
) -> Vec<(String, String, Outcome)> {
    let mut told = Vec::new();
    let mut at = 0;
    while !stop.load(Ordering::SeqCst) {
        let (key, value) =
            (format!("{label}/{writer}/{:06}", told.len()), format!("{label}-{writer}-{}", told.len()));
        let outcome = match clients[at].try_set_if_there(&key, &value, Some(DEADLINE)) {
            Some(outcome) => outcome,
            None if clients.len() > 1 => {
                at = (at + 1) % clients.len();
                continue;
            }
            None => Outcome::NotApplied { retryable: true, why: "connection refused".to_owned() },
        };
        match &outcome {
            Outcome::Done(_) => lock(acknowledged).note(),
            // A dead node refuses at once: no reason to fill the history with refusals.
            Outcome::NotApplied { .. } | Outcome::Unknown(_) => {
                let _ = try_poll_until(Duration::from_millis(500), || {
                    (stop.load(Ordering::SeqCst) || clients[at].is_ready()).then_some(())
                });
            }
        }
        told.push((key, value, outcome));
    }
    told
}

impl History {
    /// Fails the test unless every write was acknowledged.
    pub fn assert_none_failed(&self) {
        let failed: Vec<_> =
            self.not_applied.iter().chain(&self.unknown).map(|(key, (_, why))| (key, why)).collect();
        assert!(
            failed.is_empty(),
            "{} of {} writes failed: {failed:?}",
            failed.len(),
            failed.len() + self.done.len()
        );
    }

    /// Fails the test unless the store, read through `client`, agrees: what was acknowledged is there, what was
    /// refused is not, and what is unknown has its own value or none. No two writes share a revision.
    pub fn check(&self, label: &str, client: &Client) {
        let held = all(client, &format!("{label}/"));
        for (key, (value, revision)) in &self.done {
            let found = held.get(key);
            assert_eq!(
                found,
                Some(&(value.clone(), *revision)),
                "acknowledged write of {key} at {}",
                client.address()
            );
        }
        for key in self.not_applied.keys() {
            assert_eq!(held.get(key), None, "{key} was answered not_applied and is there");
        }
        for (key, (value, _)) in &self.unknown {
            if let Some((found, _)) = held.get(key) {
                assert_eq!(found, value, "{key}, of unknown outcome, has a value nobody wrote");
            }
        }
        let known = self.done.len() + self.unknown.len();
        assert!(held.len() <= known, "{} keys are there, {known} can be", held.len());
        let mut revisions: Vec<u64> = held.values().map(|(_, revision)| *revision).collect();
        revisions.sort_unstable();
        revisions.dedup();
        assert_eq!(revisions.len(), held.len(), "two writes share a revision");
    }
}

/// Every pair under a prefix, through pages, with its revision.
pub fn all(client: &Client, prefix: &str) -> BTreeMap<String, (String, u64)> {
    let mut held = BTreeMap::new();
    let mut after = String::new();
    loop {
        let mut path = format!("/api/list?prefix={}", super::client::encode(prefix));
        if !after.is_empty() {
            path.push_str(&format!("&after={}", super::client::encode(&after)));
        }
        let page = poll_until("a page of the list", PATIENCE, || {
            client.request("GET", &path, &[], None).ok().filter(|answer| answer.status == 200)
        });
        let page = page.json();
        for pair in page["pairs"].as_array().expect("pairs is a list") {
            let text =
                |name: &str| pair[name].as_str().unwrap_or_else(|| panic!("no {name} in {pair}")).to_owned();
            let revision = pair["revision"].as_u64().expect("a pair has a revision");
            after = text("key");
            held.insert(text("key"), (text("value"), revision));
        }
        if page["more"] == false {
            return held;
        }
        assert!(!after.is_empty(), "an empty page says there is more");
    }
}
