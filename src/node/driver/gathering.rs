//! When a leader's writes wait for more.
//!
//! Each batch costs every node messages, an fsync and wake-ups, whatever it holds. So a busy leader makes few and large ones: of
//! all that came while the last was on its way. What waits is let go
//!
//! - at once, if nothing is on its way: an idle leader gathers nothing;
//! - with the commit of what is;
//! - [`GATHER_MAX`] after the last batch, where the others are far away, or do not answer at all;
//! - as soon as it is worth a batch of its own, [`GATHERED_BYTES_MAX`].
//!
//! Commits and writes are inputs that bring a turn about by themselves; for the third rule the driver's timer asks [`Gathering::due`].
//! It is always later than the turn that asks: a leader whose batches are stuck makes one in [`GATHER_MAX`], and does not spin.

use std::time::Duration;

use crate::types::Monotonic;

/// How long writes wait for those before them to be committed.
const GATHER_MAX: Duration = Duration::from_millis(2);
/// Writes with so many bytes of keys and values are worth a batch of their own.
const GATHERED_BYTES_MAX: usize = 256 << 10;

/// Whether writes wait for those that were proposed before them.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    is_on: bool,
    /// Nothing waits for longer than that.
    until: Monotonic,
}

impl Gathering {
    /// Whether writes of so many bytes are to wait for more; `is_committed` tells that nothing is on its way.
    pub(super) fn holds(&mut self, now: Monotonic, is_committed: bool, bytes: usize) -> bool {
        self.is_on = !is_committed && bytes < GATHERED_BYTES_MAX && now < self.until;
        self.is_on
    }

    /// A batch is on its way.
    pub(super) fn begin(&mut self, now: Monotonic) {
        self.until = now.plus(GATHER_MAX);
    }

    /// Nothing waits here for more: there is nothing, or this node does not propose it.
    pub(super) fn end(&mut self) {
        self.is_on = false;
    }

    /// When what waits is let go though nothing comes in.
    pub(super) fn due(&self) -> Option<Monotonic> {
        self.is_on.then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Monotonic = Monotonic(7_000_000_000);
    const JUST_BEFORE: Duration = GATHER_MAX.saturating_sub(Duration::from_nanos(1));

    /// A batch was proposed at [`START`].
    fn begun() -> Gathering {
        let mut gathering = Gathering::default();
        gathering.begin(START);
        gathering
    }

    #[test]
    fn nothing_on_its_way_nothing_waits() {
        assert!(!Gathering::default().holds(START, true, 1), "an idle leader proposes at once");
        assert!(!Gathering::default().holds(START, false, 1), "so does one that comes to office with a log");
        let mut gathering = begun();
        assert!(gathering.holds(START, false, 1));
        assert!(!gathering.holds(START, true, 1), "the commit lets go what waits");
        assert_eq!(gathering.due(), None);
    }

    #[test]
    fn a_commit_that_does_not_come_is_waited_for_so_long_and_no_turn_is_due_at_once() {
        let mut gathering = begun();
        for now in [START, START.plus(JUST_BEFORE)] {
            assert!(gathering.holds(now, false, 1));
            assert_eq!(gathering.due(), Some(START.plus(GATHER_MAX)));
            assert!(gathering.due() > Some(now), "a timer that is due at once makes the driver spin");
        }
        let late = START.plus(GATHER_MAX);
        assert!(!gathering.holds(late, false, 1));
        assert_eq!(gathering.due(), None);
        // And so on, batch by batch.
        gathering.begin(late);
        assert!(gathering.holds(late, false, 1));
        assert_eq!(gathering.due(), Some(late.plus(GATHER_MAX)));
    }

    #[test]
    fn a_batch_of_its_own_does_not_wait() {
        let mut gathering = begun();
        assert!(gathering.holds(START, false, GATHERED_BYTES_MAX - 1));
        assert!(!gathering.holds(START, false, GATHERED_BYTES_MAX));
    }

    #[test]
    fn what_does_not_wait_here_any_more_wakes_nobody() {
        let mut gathering = begun();
        assert!(gathering.holds(START, false, 1));
        gathering.end();
        assert_eq!(gathering.due(), None);
    }
}
