//! Writers under faults: unique keys and values on all nodes, three-valued outcomes, and the check at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::{Client, Outcome};
use super::poll::{PATIENCE, poll_until, try_poll_until};

/// How long one write may take: short, so that writers move on from a dead node.
const DEADLINE: Duration = Duration::from_millis(1_500);

/// Threads that write without pause, each to one node, and remember what they were told.
pub struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<(String, String, Outcome)>>>,
}

/// What the writers were told, by key.
#[derive(Debug, Default)]
pub struct History {
    /// Acknowledged: value and revision.
    pub done: BTreeMap<String, (String, u64)>,
    /// Certainly not executed.
    pub not_applied: BTreeMap<String, String>,
    /// Possibly executed.
    pub unknown: BTreeMap<String, String>,
}

impl Writers {
    /// Starts one writer for each client. `label` keeps the keys of two runs apart.
    pub fn start(label: &str, clients: Vec<Client>) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let threads = clients
            .into_iter()
            .enumerate()
            .map(|(writer, client)| {
                let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
                let label = label.to_owned();
                std::thread::spawn(move || write(&label, writer, &client, &stop, &acknowledged))
            })
            .collect();
        Writers { stop, acknowledged, threads }
    }

    /// Waits until `more` further writes were acknowledged.
    pub fn wait_acknowledged(&self, more: u64) {
        let target = self.acknowledged.load(Ordering::SeqCst) + more;
        poll_until(&format!("{more} acknowledged writes"), PATIENCE, || {
            (self.acknowledged.load(Ordering::SeqCst) >= target).then_some(())
        });
    }

    /// Ends the writers and returns what they know.
    pub fn finish(mut self) -> History {
        self.stop.store(true, Ordering::SeqCst);
        let mut history = History::default();
        for thread in self.threads.drain(..) {
            for (key, value, outcome) in thread.join().expect("a writer saw what the contract forbids") {
                match outcome {
                    Outcome::Done(revision) => drop(history.done.insert(key, (value, revision))),
                    Outcome::NotApplied { .. } => drop(history.not_applied.insert(key, value)),
                    Outcome::Unknown(_) => drop(history.unknown.insert(key, value)),
                }
            }
        }
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

fn write(
    label: &str,
    writer: usize,
    client: &Client,
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Vec<(String, String, Outcome)> {
    let mut told = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let (key, value) =
            (format!("{label}/{writer}/{:06}", told.len()), format!("{label}-{writer}-{}", told.len()));
        let outcome = client.try_set(&key, &value, Some(DEADLINE));
        match &outcome {
            Outcome::Done(_) => drop(acknowledged.fetch_add(1, Ordering::SeqCst)),
            // A dead node refuses at once: no reason to fill the history with refusals.
            Outcome::NotApplied { .. } | Outcome::Unknown(_) => {
                let _ = try_poll_until(Duration::from_millis(500), || {
                    (stop.load(Ordering::SeqCst) || client.is_ready()).then_some(())
                });
            }
        }
        told.push((key, value, outcome));
    }
    told
}

impl History {
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
        for (key, value) in &self.unknown {
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
