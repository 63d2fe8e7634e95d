//! What the tests of several front doors need.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Clock, Sleep};
use crate::types::Monotonic;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct HandClock(watch::Sender<Monotonic>);

impl HandClock {
    /// It shows something that is not the beginning.
    pub fn new() -> HandClock {
        HandClock(watch::Sender::new(Monotonic(1_000_000_000)))
    }

    /// Moves it.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = now.plus(by));
    }
}

impl Clock for HandClock {
    fn now(&self) -> Monotonic {
        *self.0.borrow()
    }

    fn wall_ms(&self) -> u64 {
        0
    }

    fn sleep_until(&self, deadline: Monotonic) -> Sleep {
        let mut now = self.0.subscribe();
        Box::pin(async move {
            if now.wait_for(|now| *now >= deadline).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    fn random(&self) -> u64 {
        4
    }
}
