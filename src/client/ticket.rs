//! One operation's way through a connection: who waits for it, and who owes the answer.
//!
//! ```text
//! Queued --start--> Sent --answer--> Done
//!   \ \                \
//!    \ owner dropped    owner dropped: Done(Lost)      it may have been executed
//!     \       Done(NotSent)                            it certainly was not
//!      waiter gone: Gone, and `start` refuses
//! ```
//!
//! It is a channel for one value that knows, in one step with giving up, whether the operation had left: by that a caller
//! whose time is over is told *not applied* instead of *unknown*.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::error::Failure;
use crate::proto::v1::operation_result;

/// What an operation comes to.
pub(super) type Answer = Result<operation_result::Result, Failure>;

enum State {
    Queued(Option<Waker>),
    Sent(Option<Waker>),
    Done(Answer),
    Gone,
}

type Shared = Mutex<State>;

/// The end that waits.
pub(super) struct Waiter(Arc<Shared>);

/// The end that owes the answer.
pub(super) struct Debtor(Option<Arc<Shared>>);

/// The two ends of a new ticket.
pub(super) fn ticket() -> (Waiter, Debtor) {
    let shared = Arc::new(Mutex::new(State::Queued(None)));
    (Waiter(shared.clone()), Debtor(Some(shared)))
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiter {
    /// Gives up. Says what is known by then: the answer, if it has come, or whether the operation had left. That the node is to
    /// blame is left to who knows it to say.
    pub(super) fn give_up(self) -> Answer {
        let state = std::mem::replace(&mut *lock(&self.0), State::Gone);
        match state {
            State::Queued(_) => Err(Failure::Late { was_sent: false, is_the_nodes: false }),
            State::Sent(_) => Err(Failure::Late { was_sent: true, is_the_nodes: false }),
            State::Done(answer) => answer,
            State::Gone => unreachable!("a waiter gives up once"),
        }
    }
}

impl Future for Waiter {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut state = lock(&self.0);
        match &mut *state {
            State::Queued(waker) | State::Sent(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Done(_) => {
                let State::Done(answer) = std::mem::replace(&mut *state, State::Gone) else {
                    unreachable!("it was done one line above")
                };
                Poll::Ready(answer)
            }
            State::Gone => unreachable!("a ticket is not awaited again"),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        *lock(&self.0) = State::Gone;
    }
}

impl Debtor {
    /// The operation leaves now. `false`: nobody waits for it any more, it stays.
    pub(super) fn start(&self) -> bool {
        let Some(shared) = &self.0 else { return false };
        let mut state = lock(shared);
        match &mut *state {
            State::Queued(waker) => {
                *state = State::Sent(waker.take());
                true
            }
            State::Gone => false,
            State::Sent(_) | State::Done(_) => unreachable!("an operation leaves once"),
        }
    }

    /// Gives the answer.
    pub(super) fn answer(mut self, answer: Answer) {
        self.settle(|_| answer);
    }

    /// The connection ended: it was not sent, or it is lost. With `is_refused` the node has said that it took it not.
    pub(super) fn fail(mut self, why: &Arc<str>, is_refused: bool) {
        self.settle(|was_sent| {
            let is_lost = was_sent && !is_refused;
            Err(if is_lost { Failure::Lost(why.clone()) } else { Failure::NotSent(why.clone()) })
        });
    }

    fn settle(&mut self, answer: impl FnOnce(bool) -> Answer) {
        let Some(shared) = self.0.take() else { return };
        let mut state = lock(&shared);
        let waker = match &mut *state {
            State::Queued(waker) => {
                let waker = waker.take();
                *state = State::Done(answer(false));
                waker
            }
            State::Sent(waker) => {
                let waker = waker.take();
                *state = State::Done(answer(true));
                waker
            }
            State::Done(_) | State::Gone => None,
        };
        drop(state);
        // Woken outside the lock, which is the first thing that the waiter takes.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Debtor {
    fn drop(&mut self) {
        if self.0.is_some() {
            let why: Arc<str> = "the connection was closed".into();
            self.settle(|was_sent| Err(if was_sent { Failure::Lost(why) } else { Failure::NotSent(why) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_left_is_certainly_not_executed() {
        let (waiter, debtor) = ticket();
        assert!(matches!(waiter.give_up(), Err(Failure::Late { was_sent: false, .. })));
        assert!(!debtor.start(), "nobody waits for it any more");
    }

    #[test]
    fn what_has_left_may_be_executed() {
        let (waiter, debtor) = ticket();
        assert!(debtor.start());
        assert!(matches!(waiter.give_up(), Err(Failure::Late { was_sent: true, .. })));
    }

    #[test]
    fn a_debtor_that_goes_says_whether_it_was_sent() {
        let (waiter, debtor) = ticket();
        drop(debtor);
        assert!(matches!(waiter.give_up(), Err(Failure::NotSent(_))));
        let (waiter, debtor) = ticket();
        assert!(debtor.start());
        drop(debtor);
        assert!(matches!(waiter.give_up(), Err(Failure::Lost(_))));
    }
}
