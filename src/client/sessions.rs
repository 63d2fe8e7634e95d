//! Sessions: the numbers under which writes are executed once, however often they are sent.
//!
//! ```text
//!   forgotten      window: WINDOW numbers                               not yet
//! 1 .......... done_below [released][under way][released][kept attempt] ..............
//! ```
//!
//! A write *claims* the next number and *releases* it when its outcome is known for good: answered, given up by its caller,
//! or its [attempt](super::Attempt) dropped. `done_below` is the lowest number that is not released, so the cluster never
//! forgets a reply that may still be asked for.
//!
//! # One slow write holds up nobody
//!
//! The cluster keeps a window of numbers for each session and refuses those beyond it (`session_inflight_max`, 1,024). So
//! one number that is not released would in the end stop all others: a write in a bad place, or an attempt that a
//! program keeps. Instead, a session whose window is used up is *retired*: it serves the writes it has, and the next
//! ones get a new session. A client has [`SESSIONS_MAX`] at most; beyond that writes wait, within their deadlines.
//!
//! # A session is gone
//!
//! The cluster evicts the session that was unused for longest when it holds too many. What it knew of numbers is
//! forgotten with it, so a write that may have been executed cannot be sent again under another session: it is unknown.
//! One that certainly was not, goes on under a new session as if nothing had been.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, OnceCell};

use crate::proto::v1::SessionSeq;

/// Sessions that a client has at most, retired ones included.
pub(super) const SESSIONS_MAX: usize = 8;

/// A client's sessions, shared by all its clones.
pub(super) struct Sessions {
    /// Numbers between `done_below` and the highest one claimed, at most.
    window: usize,
    held: Mutex<Held>,
    /// Told when a place may be had again.
    freed: Notify,
}

#[derive(Default)]
struct Held {
    current: Option<Arc<Session>>,
    retired: Vec<Arc<Session>>,
    /// Served all they had: to be closed.
    drained: Vec<Bytes>,
}

/// A session.
pub(super) struct Session {
    pub id: Bytes,
    /// Set once the cluster has opened it.
    pub opened: OnceCell<()>,
    numbers: Mutex<Numbers>,
}

/// The numbers of a session, from `done_below` on: whether each is released.
struct Numbers {
    done_below: u64,
    released: VecDeque<bool>,
}

/// A write's number in its session. Dropped, it is released.
pub(super) struct Place {
    sessions: Arc<Sessions>,
    pub session: Arc<Session>,
    seq: u64,
}

impl Sessions {
    /// None is open. `window` is what the cluster accepts, or less.
    pub(super) fn new(window: usize) -> Arc<Sessions> {
        Arc::new(Sessions { window, held: Mutex::default(), freed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a number, in a new session with an id of `draw` where that is needed; waits while all windows are used up.
    ///
    /// # Errors
    /// Those of `draw`.
    pub(super) async fn claim<E>(
        self: &Arc<Self>,
        draw: impl Fn() -> Result<[u8; 16], E>,
    ) -> Result<Place, E> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registered before it is looked at, or a release in between would not be heard.
            freed.as_mut().enable();
            if let Some(place) = self.try_claim(&draw)? {
                return Ok(place);
            }
            freed.await;
        }
    }

    fn try_claim<E>(self: &Arc<Self>, draw: &impl Fn() -> Result<[u8; 16], E>) -> Result<Option<Place>, E> {
        let mut held = self.lock();
        if let Some(current) = &held.current {
            if let Some(seq) = current.lock().claim(self.window) {
                return Ok(Some(Place { sessions: self.clone(), session: current.clone(), seq }));
            }
            if held.retired.len() + 1 >= SESSIONS_MAX {
                return Ok(None);
            }
            let full = held.current.take().expect("it was there one line above");
            tracing::debug!("a session's window is used up: the next writes get a new one");
            held.retired.push(full);
        }
        let session = Session::new(Bytes::copy_from_slice(&draw()?));
        let seq = session.lock().claim(self.window).expect("a window is not empty");
        held.current = Some(session.clone());
        Ok(Some(Place { sessions: self.clone(), session, seq }))
    }

    /// The cluster does not hold this one any more.
    pub(super) fn forget(&self, session: &Arc<Session>) {
        let mut held = self.lock();
        held.retired.retain(|other| !Arc::ptr_eq(other, session));
        if held.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            held.current = None;
        }
        drop(held);
        self.freed.notify_waiters();
    }

    fn release(&self, session: &Arc<Session>, seq: u64) {
        let mut numbers = session.lock();
        let was_full = numbers.released.len() >= self.window;
        numbers.release(seq);
        let is_drained = numbers.released.is_empty();
        let has_room = was_full && numbers.released.len() < self.window;
        drop(numbers);
        if !is_drained && !has_room {
            return;
        }
        let mut held = self.lock();
        let retired = held.retired.iter().position(|other| Arc::ptr_eq(other, session));
        if let Some(at) = retired.filter(|_| is_drained) {
            let session = held.retired.swap_remove(at);
            held.drained.push(session.id.clone());
        } else if !has_room {
            return;
        }
        drop(held);
        self.freed.notify_waiters();
    }

    /// The sessions that have served all they had, to be closed.
    pub(super) fn take_drained(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.lock().drained)
    }

    /// All sessions that the cluster may hold, to be closed: nobody writes any more.
    pub(super) fn take_all(&self) -> Vec<Bytes> {
        let held = std::mem::take(&mut *self.lock());
        let sessions = held.current.into_iter().chain(held.retired).map(|session| session.id.clone());
        sessions.chain(held.drained).collect()
    }
}

impl Session {
    fn new(id: Bytes) -> Arc<Session> {
        let numbers = Numbers { done_below: 1, released: VecDeque::new() };
        Arc::new(Session { id, opened: OnceCell::new(), numbers: Mutex::new(numbers) })
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Numbers {
    fn claim(&mut self, window: usize) -> Option<u64> {
        if self.released.len() >= window {
            return None;
        }
        self.released.push_back(false);
        Some(self.done_below + self.released.len() as u64 - 1)
    }

    fn release(&mut self, seq: u64) {
        let at = seq.checked_sub(self.done_below).and_then(|at| usize::try_from(at).ok());
        let released = at.and_then(|at| self.released.get_mut(at)).expect("a number is released once");
        assert!(!*released, "seq {seq} was released twice");
        *released = true;
        while self.released.front() == Some(&true) {
            self.released.pop_front();
            self.done_below += 1;
        }
    }
}

impl Place {
    /// As it is sent now.
    pub(super) fn seq(&self) -> SessionSeq {
        let done_below = self.session.lock().done_below;
        assert!(done_below <= self.seq, "seq {} is done though it is under way", self.seq);
        SessionSeq { client: self.session.id.clone(), seq: self.seq, done_below }
    }

    /// The cluster does not hold its session any more.
    pub(super) fn forget_session(&self) {
        self.sessions.forget(&self.session);
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("seq", &self.seq).finish_non_exhaustive()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.release(&self.session, self.seq);
    }
}
