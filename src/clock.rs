//! The clock and entropy seam: the only place that reads time or randomness from the machine.
//!
//! Everything else takes a [`Clock`]. Production passes [`SystemClock`]; the simulation passes a clock with a rate
//! and pauses of its own for each node, and numbers from its seed. Nothing durable depends on wall time except
//! the start of group time and log lines.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::types::Monotonic;

/// A boxed future that the clock hands out.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Time and entropy of one node.
pub trait Clock: Send + Sync + 'static {
    /// The monotonic clock: never steps, not comparable between nodes.
    fn now(&self) -> Monotonic;

    /// The wall clock, in milliseconds since the Unix epoch. May be wrong and may step.
    fn wall_ms(&self) -> u64;

    /// Completes once [`Clock::now`] is at or after `deadline`.
    fn sleep_until(&self, deadline: Monotonic) -> Sleep;

    /// 64 random bits: seeds and incarnations.
    fn random(&self) -> u64;
}

/// A node's clock, shared by all its parts.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clock and entropy. The clock goes on while the machine is suspended: a lease must not outlive its
/// time because its holder slept (H39).
#[derive(Debug)]
pub struct SystemClock {
    /// What the machine's clock said when this one began.
    origin: Duration,
}

impl SystemClock {
    /// A clock whose origin is now.
    pub fn shared() -> SharedClock {
        Arc::new(SystemClock { origin: since_boot() })
    }
}

/// The time since the machine was started, with the time that it was suspended.
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
    // Elsewhere the monotonic clock goes on, or there is no better one.
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
    let now = clock_gettime(CLOCK).expect("every supported system has this clock");
    Duration::from(now)
}

#[allow(clippy::disallowed_methods, reason = "this is the clock seam")]
impl Clock for SystemClock {
    fn now(&self) -> Monotonic {
        Monotonic::default().plus(since_boot().saturating_sub(self.origin))
    }

    fn wall_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, deadline: Monotonic) -> Sleep {
        let wait = deadline.since(self.now());
        Box::pin(tokio::time::sleep(wait))
    }

    fn random(&self) -> u64 {
        getrandom::u64().expect("the operating system provides entropy")
    }
}

/// Runs `future` until `deadline`; `None` if the deadline came first.
pub async fn timeout_at<T>(
    clock: &dyn Clock,
    deadline: Monotonic,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    // What is there at once needs no timer.
    let mut sleep = None;
    poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        let sleep = sleep.get_or_insert_with(|| clock.sleep_until(deadline));
        sleep.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// Sleeps for `duration` on `clock`.
pub async fn sleep(clock: &dyn Clock, duration: Duration) {
    clock.sleep_until(clock.now().plus(duration)).await;
}
