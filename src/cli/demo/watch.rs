//! Asking a node how it is, over and over, in a thread of its own: a node that hangs delays nobody but its own thread.

use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::{Failure, UNEXPECTED, http};
use crate::clock::SharedClock;
use crate::types::Monotonic;

/// The pause between two questions.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What the demo needs of `/api/stats`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Stats {
    /// Who answers.
    pub(super) id: u64,
    /// Its part in the group.
    pub(super) state: String,
    /// Its term.
    pub(super) term: u64,
    /// What it knows to be committed.
    pub(super) commit_index: u64,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// When the question left.
    pub(super) asked: Monotonic,
    /// When the answer was read.
    pub(super) answered: Monotonic,
    /// The answer.
    pub(super) stats: Stats,
}

/// One node's watch; ends when dropped.
pub(super) struct Watch {
    latest: Arc<Mutex<Option<Sample>>>,
    /// Dropped: the thread ends at its next pause.
    _stop: mpsc::Sender<()>,
}

impl Watch {
    /// Begins to ask the node with this id and REST address.
    #[allow(clippy::disallowed_methods, reason = "the demo is no node: its threads are not simulated")]
    pub(super) fn start(id: u16, address: SocketAddr, clock: SharedClock) -> Result<Watch, Failure> {
        let latest = Arc::new(Mutex::new(None));
        let (stop, stopped) = mpsc::channel();
        let slot = Arc::clone(&latest);
        let url = format!("http://{address}/api/stats");
        let run = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                let asked = clock.now();
                // A node that lost its log goes by another id: here it is still the one that was started as this.
                let Some(stats) = ask(&url).map(|stats| Stats { id: u64::from(id), ..stats }) else {
                    continue;
                };
                let sample = Sample { asked, answered: clock.now(), stats };
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(sample);
            }
        };
        std::thread::Builder::new()
            .name(format!("watch-{id}"))
            .spawn(run)
            .map_err(|error| Failure::new(UNEXPECTED, format!("no thread: {error}")))?;
        Ok(Watch { latest, _stop: stop })
    }

    /// The last answer, however old.
    pub(super) fn latest(&self) -> Option<Sample> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `None`: nobody answered, or something that is no node.
fn ask(url: &str) -> Option<Stats> {
    let (status, body) = http::get(url, ANSWER_TIMEOUT).ok()?;
    if status != 200 {
        return None;
    }
    serde_json::from_str(&body).ok()
}
