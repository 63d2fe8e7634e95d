//! Time and entropy of the client: the only file of it that reads either from the machine.
//!
//! A client stands outside the nodes, so it keeps the time of its own runtime: the machine's, or the one that a test or a
//! simulation gave that runtime.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub(super) use tokio::time::Instant;

/// Longer than anyone waits, short enough to be added to any instant.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The time.
#[allow(clippy::disallowed_methods, reason = "the client is the edge: see the module's text")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The instant that lies `duration` ahead.
pub(super) fn after(duration: Duration) -> Instant {
    now() + duration.min(FOREVER)
}

/// Waits until `instant`.
#[allow(clippy::disallowed_methods, reason = "the client is the edge: see the module's text")]
pub(super) async fn sleep_until(instant: Instant) {
    tokio::time::sleep_until(instant).await;
}

/// Runs `future` until `deadline`; `None` if the deadline came first.
#[allow(clippy::disallowed_methods, reason = "the client is the edge: see the module's text")]
pub(super) async fn by<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline, future).await.ok()
}

/// Chance: pauses, and the ids of sessions.
#[derive(Debug)]
pub(super) struct Entropy {
    dice: Mutex<fastrand::Rng>,
    /// Whether ids come from the dice as well: then everything repeats.
    is_seeded: bool,
}

impl Entropy {
    /// From the operating system, or from a seed.
    ///
    /// # Errors
    /// The operating system has none.
    pub(super) fn new(seed: Option<u64>) -> Result<Entropy, getrandom::Error> {
        let dice = fastrand::Rng::with_seed(seed.map_or_else(getrandom::u64, Ok)?);
        Ok(Entropy { dice: Mutex::new(dice), is_seeded: seed.is_some() })
    }

    /// A session's id. It comes from the operating system: the dice have 64 bits of it, too few for ids that must
    /// differ among all clients there ever are.
    ///
    /// # Errors
    /// The operating system has no entropy.
    pub(super) fn id(&self) -> Result<[u8; 16], getrandom::Error> {
        let mut id = [0; 16];
        if self.is_seeded {
            self.dice.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut id);
        } else {
            getrandom::fill(&mut id)?;
        }
        Ok(id)
    }

    /// A pause of any length up to `max`.
    pub(super) fn up_to(&self, max: Duration) -> Duration {
        max.mul_f64(self.dice.lock().unwrap_or_else(PoisonError::into_inner).f64())
    }
}
