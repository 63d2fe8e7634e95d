//! A node's clock: an origin and a rate of its own, so that no two nodes agree on how long anything takes.

use std::time::Duration;

use quorate::types::Monotonic;

/// Simulated time since the run began, in nanoseconds: what no node knows.
pub type Instant = u64;

/// The simulated time that `duration` takes.
pub fn span(duration: Duration) -> Instant {
    Instant::try_from(duration.as_nanos()).expect("simulated runs are short")
}

/// A million parts of a rate.
const WHOLE: u64 = 1_000_000;

/// The monotonic clock of one boot of one node.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    origin: Monotonic,
    /// How fast it runs, in parts of a million.
    rate: u64,
}

impl Clock {
    /// A clock that shows `origin` at `started` and runs at `rate` parts of a million.
    pub fn new(started: Instant, origin: Monotonic, rate: u64) -> Clock {
        assert!((WHOLE / 10..WHOLE * 10).contains(&rate), "a clock of {rate} ppm");
        Clock { started, origin, rate }
    }

    /// What it shows at `instant`.
    pub fn at(&self, instant: Instant) -> Monotonic {
        let passed = instant.saturating_sub(self.started);
        Monotonic(self.origin.0 + scale(passed, self.rate, WHOLE))
    }

    /// The first instant at which it shows `reading` or more; `None` for the end of time.
    pub fn when(&self, reading: Monotonic) -> Option<Instant> {
        if reading.0 == u64::MAX {
            return None;
        }
        let ahead = reading.0.saturating_sub(self.origin.0);
        let mut instant = self.started + scale(ahead, WHOLE, self.rate);
        while self.at(instant) < reading {
            instant += 1;
        }
        Some(instant)
    }
}

/// `value * by / of`, without overflow for anything that a run lasts.
fn scale(value: u64, by: u64, of: u64) -> u64 {
    value / of * by + value % of * by / of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_met_and_not_early() {
        for rate in [850_000, 999_999, 1_000_000, 1_150_003] {
            let clock = Clock::new(1_234, Monotonic(9_876_543_210), rate);
            for ahead in [0, 1, 2, 999, 1_000_000, 123_456_789, 10_000_000_000] {
                let reading = Monotonic(9_876_543_210 + ahead);
                let instant = clock.when(reading).expect("a time");
                assert!(clock.at(instant) >= reading, "{rate} {ahead}");
                assert!(instant == 1_234 || clock.at(instant - 1) < reading, "{rate} {ahead}");
            }
            assert_eq!(clock.when(Monotonic(u64::MAX)), None);
        }
    }
}
