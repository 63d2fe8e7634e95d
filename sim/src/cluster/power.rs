//! A node's power switch: on, paused or cut, for one boot of one node.
//!
//! Disk, sockets, clock and executor of a node all ask it first. A *crash* cuts it before the node is dropped: from
//! that instant nothing the node does reaches the outside, whatever runs in its destructors (redb commits in `Drop`).
//! A *pause* freezes a node as SIGSTOP does: no byte comes in or goes out, no timer fires, no job runs, until it is
//! resumed, and then everything is late at once. A cut can also be set to fall after a number of disk calls, in the
//! middle of what the node thought of as one step.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// The switch.
#[derive(Debug, Default)]
pub struct Power {
    state: Mutex<State>,
}

/// A switch, shared by all parts of one boot of a node.
pub type SharedPower = Arc<Power>;

#[derive(Debug, Default)]
struct State {
    cut: bool,
    paused: bool,
    /// Disk calls until the cut, if one is set to fall.
    calls_left: Option<u64>,
    /// Writes until the cut, if one is set to fall in a write.
    writes_left: Option<u64>,
    /// Who waits for the end of a pause.
    waiting: Vec<Waker>,
}

/// How a disk call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It is carried out, and reported.
    Reported,
    /// It is carried out, but power goes before the node learns of it.
    Last,
}

impl Power {
    /// A switch that is on.
    pub fn on() -> SharedPower {
        Arc::new(Power::default())
    }

    /// Cuts the power, for good: a restarted node has a switch of its own.
    pub fn cut(&self) {
        let mut state = self.lock();
        state.cut = true;
        // Nobody is woken: a task without power never runs on.
        state.waiting.clear();
    }

    /// Cuts the power once the disk has carried out `calls` more calls.
    pub fn cut_after(&self, calls: u64) {
        self.lock().calls_left = Some(calls);
    }

    /// Cuts the power in the middle of the write that comes after `writes` more: nobody learns how far it came.
    pub fn cut_in_write(&self, writes: u64) {
        self.lock().writes_left = Some(writes);
    }

    /// Takes back a cut that has not fallen yet.
    pub fn keep_on(&self) {
        let mut state = self.lock();
        state.calls_left = None;
        state.writes_left = None;
    }

    /// Whether the power is cut.
    pub fn is_cut(&self) -> bool {
        self.lock().cut
    }

    /// Whether the node is frozen.
    pub fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Freezes the node.
    pub fn pause(&self) {
        self.lock().paused = true;
    }

    /// Lets a frozen node go on.
    pub fn resume(&self) {
        let waiting = {
            let mut state = self.lock();
            state.paused = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Accounts for one disk call. An error if there is no power for it.
    pub fn spend(&self, is_write: bool) -> io::Result<Spent> {
        let mut state = self.lock();
        if state.cut {
            return Err(no_power());
        }
        let mut is_last = tick_down(&mut state.calls_left, 1);
        if is_write {
            is_last |= tick_down(&mut state.writes_left, 0);
        }
        if !is_last {
            return Ok(Spent::Reported);
        }
        state.cut = true;
        state.waiting.clear();
        Ok(Spent::Last)
    }

    /// Ready while the node runs; pending while it is paused, and for ever once its power is cut.
    pub fn poll_running(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.cut {
            return Poll::Pending;
        }
        if state.paused {
            state.waiting.push(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Completes while the node runs (see [`Power::poll_running`]).
    pub async fn running(&self) {
        std::future::poll_fn(|context| self.poll_running(context)).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Counts one down; true once no more than `last` are left.
fn tick_down(left: &mut Option<u64>, last: u64) -> bool {
    let Some(count) = left.as_mut() else { return false };
    let is_last = *count <= last;
    *count = count.saturating_sub(1);
    is_last
}

/// The error of every call that comes after the cut.
pub fn no_power() -> io::Error {
    io::Error::other("the simulated power is cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_can_fall_after_a_number_of_calls() {
        let power = Power::on();
        power.cut_after(2);
        assert_eq!(power.spend(false).expect("power is on"), Spent::Reported);
        assert_eq!(power.spend(true).expect("power is on"), Spent::Last);
        assert!(power.is_cut());
        assert!(power.spend(false).is_err());
    }

    #[test]
    fn a_cut_can_fall_in_a_write() {
        let power = Power::on();
        power.cut_in_write(1);
        let calls = [false, true, false, true];
        let spent = calls.map(|is_write| power.spend(is_write).expect("power is on"));
        assert_eq!(spent, [Spent::Reported, Spent::Reported, Spent::Reported, Spent::Last]);
        let power = Power::on();
        power.cut_in_write(0);
        power.keep_on();
        assert_eq!(power.spend(true).expect("power is on"), Spent::Reported);
    }

    #[test]
    fn a_pause_ends_with_resume_and_a_cut_never() {
        let power = Power::on();
        let mut context = Context::from_waker(Waker::noop());
        power.pause();
        assert!(power.poll_running(&mut context).is_pending());
        power.resume();
        assert!(power.poll_running(&mut context).is_ready());
        power.pause();
        power.cut();
        power.resume();
        assert!(power.poll_running(&mut context).is_pending(), "no power comes back by resuming");
    }
}
