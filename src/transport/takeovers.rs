//! How often a peer ended our connections for newer ones in our own name.
//!
//! Once is no alarm: an attempt that we gave up may arrive late and take the place of its successor. Again and again it
//! means that a second process runs on a copy of our data directory: both dial, each ends the other's connections, and
//! both vote in one name. That is said as a warning, once a minute, and what comes and goes meanwhile is no news.

use std::time::Duration;

use crate::types::Monotonic;

/// So many takeovers...
const SUSPECT: u32 = 5;
/// ...within this are no accident.
const WINDOW: Duration = Duration::from_secs(10);
/// It is said again after this, if it goes on.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Counts the takeovers of the connections to one peer.
#[derive(Default)]
pub(super) struct Takeovers {
    window_begin: Option<Monotonic>,
    in_window: u32,
    warned: Option<Monotonic>,
}

impl Takeovers {
    /// One more. Whether this is the time to warn.
    pub fn on_takeover(&mut self, now: Monotonic) -> bool {
        if self.window_begin.is_none_or(|begin| now.since(begin) >= WINDOW) {
            self.window_begin = Some(now);
            self.in_window = 0;
        }
        self.in_window += 1;
        let is_due = self.in_window >= SUSPECT && !self.is_suspected(now);
        if is_due {
            self.warned = Some(now);
        }
        is_due
    }

    /// Whether a warning was due not long ago.
    pub fn is_suspected(&self, now: Monotonic) -> bool {
        self.warned.is_some_and(|warned| now.since(warned) < WARNING_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic(0).plus(Duration::from_millis(millis))
    }

    #[test]
    fn many_in_a_short_time_are_warned_of_once_a_minute() {
        let mut takeovers = Takeovers::default();
        // Four a second for three minutes.
        let warned: Vec<u64> =
            (0..720).map(|number| number * 250).filter(|millis| takeovers.on_takeover(at(*millis))).collect();
        assert_eq!(warned, [1_000, 61_000, 121_000]);
    }

    #[test]
    fn a_few_now_and_then_are_no_alarm() {
        let mut takeovers = Takeovers::default();
        for number in 0..1_000 {
            assert!(!takeovers.on_takeover(at(number * 2_500)), "four in ten seconds");
            assert!(!takeovers.is_suspected(at(number * 2_500)));
        }
    }
}
