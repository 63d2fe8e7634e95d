//! One lane to one peer: the queue of what waits to be sent, and the forwards that wait for their reply.
//!
//! Invariants:
//! - [`Lane::push`] never blocks. What does not fit, or has no connection to go to, is dropped and counted: Raft
//!   sends again what matters, and stale mail of a connection long gone helps nobody.
//! - Messages leave in the order in which they were pushed, many in a frame: each time the connection is ready for
//!   more, it takes all that is queued, up to `frame_bytes_max`.
//! - A forward that was never taken for a frame is [`ForwardError::NotSent`] when the connection ends; one that was
//!   taken is [`ForwardError::Lost`], since nobody can tell how far it came. A forward whose caller is gone frees its
//!   slot at once, and is not sent at all if it was still queued.
//! - What happens on one connection never touches the next: each has a session number, and a stale one does nothing.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_stream::Stream;

use crate::types::GroupId;

use super::ForwardError;
use super::counters::{Counter, Counters};
use super::frame::{Frame, item_bytes};
use super::proto;

/// Which of the connections to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LaneKind {
    /// Small messages whose delay would cost an election.
    Control,
    /// Appends and forwards.
    Bulk,
}

impl LaneKind {
    /// Its name in log lines.
    pub fn name(self) -> &'static str {
        match self {
            LaneKind::Control => "control",
            LaneKind::Bulk => "bulk",
        }
    }
}

/// How much a lane holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneLimits {
    /// A frame, and thereby a message.
    pub frame_bytes_max: usize,
    /// Queued messages.
    pub messages_max: usize,
    /// Queued bytes.
    pub bytes_max: usize,
    /// Forwards queued or waiting for their reply.
    pub forwards_max: usize,
}

/// The outcome of a forward.
pub(super) type Forwarded = Result<Bytes, ForwardError>;

/// See the module doc.
pub(super) struct Lane {
    kind: LaneKind,
    limits: LaneLimits,
    counters: Arc<Counters>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of the connection in use, or of the last one.
    session: u64,
    connected: bool,
    queue: VecDeque<Queued>,
    /// The sum over the queue, with the overhead.
    bytes: usize,
    /// Of the connection's task, while it waits for something to send.
    waker: Option<Waker>,
    /// By id. Queued or taken, not answered.
    forwards: BTreeMap<u64, Waiting>,
    forward_next: u64,
}

/// What a queued message costs in memory besides its encoded bytes.
const QUEUED_OVERHEAD_BYTES: usize = 256;

struct Queued {
    item: proto::Item,
    /// In a frame.
    bytes: usize,
    forward: Option<u64>,
}

struct Waiting {
    reply: oneshot::Sender<Forwarded>,
    /// Whether it was taken for a frame.
    taken: bool,
}

impl Lane {
    pub fn new(kind: LaneKind, limits: LaneLimits, counters: Arc<Counters>) -> Lane {
        Lane { kind, limits, counters, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can leave the state half changed, so a panic elsewhere while it was held does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message, or drops it.
    pub fn push(&self, item: proto::Item) {
        let bytes = item_bytes(&item);
        let state = self.lock();
        match self.admit(&state, bytes) {
            Ok(()) => push(state, Queued { item, bytes, forward: None }),
            Err(counter) => counter.increment(),
        }
    }

    /// Queues a request; the answer comes through the receiver. `Err` if it was not queued, so certainly never leaves.
    pub fn push_forward(
        self: &Arc<Lane>,
        group: GroupId,
        request: Bytes,
    ) -> Result<Forwarding, ForwardError> {
        let mut state = self.lock();
        let id = state.forward_next;
        let body = proto::item::Body::Forward(proto::Forward { id, request });
        let item = proto::Item { group: group.0, body: Some(body) };
        let bytes = item_bytes(&item);
        if state.forwards.len() >= self.limits.forwards_max {
            self.counters.dropped_bulk_full.increment();
            return Err(ForwardError::NotSent);
        }
        if let Err(counter) = self.admit(&state, bytes) {
            counter.increment();
            return Err(ForwardError::NotSent);
        }
        state.forward_next += 1;
        let (reply, receiver) = oneshot::channel();
        state.forwards.insert(id, Waiting { reply, taken: false });
        push(state, Queued { item, bytes, forward: Some(id) });
        Ok(Forwarding { lane: Arc::clone(self), id, receiver })
    }

    /// Whether `bytes` more may be queued; if not, where that is counted.
    fn admit(&self, state: &State, bytes: usize) -> Result<(), &Counter> {
        if bytes > self.limits.frame_bytes_max {
            return Err(&self.counters.dropped_oversize);
        }
        if !state.connected {
            return Err(&self.counters.dropped_unconnected);
        }
        let full = state.queue.len() >= self.limits.messages_max
            || state.bytes + bytes + QUEUED_OVERHEAD_BYTES > self.limits.bytes_max;
        if full {
            return Err(match self.kind {
                LaneKind::Control => &self.counters.dropped_control_full,
                LaneKind::Bulk => &self.counters.dropped_bulk_full,
            });
        }
        Ok(())
    }

    /// Prepares for a new connection. Nothing is queued before [`Lane::connect`].
    pub fn open(self: &Arc<Lane>) -> Outgoing {
        let mut state = self.lock();
        state.session += 1;
        Outgoing { lane: Arc::clone(self), session: state.session }
    }

    /// The connection of this session is up: from now on messages are queued.
    pub fn connect(&self, session: u64) {
        let mut state = self.lock();
        if state.session == session {
            state.connected = true;
        }
    }

    /// The connection of this session ended. Drops what is queued and settles all forwards.
    pub fn disconnect(&self, session: u64) {
        let mut state = self.lock();
        if state.session != session {
            return;
        }
        // The next session number: whatever is left of the old connection finds that its own is stale.
        state.session += 1;
        state.connected = false;
        state.bytes = 0;
        let waker = state.waker.take();
        let queue = std::mem::take(&mut state.queue);
        let forwards = std::mem::take(&mut state.forwards);
        drop(state);

        let messages = queue.iter().filter(|queued| queued.forward.is_none()).count();
        self.counters.dropped_unconnected.add(messages as u64);
        for waiting in forwards.into_values() {
            let error = if waiting.taken { ForwardError::Lost } else { ForwardError::NotSent };
            // The caller may be gone.
            let _ = waiting.reply.send(Err(error));
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// An answer came in on the connection of this session.
    pub fn complete(&self, session: u64, reply: proto::ForwardReply) {
        let mut state = self.lock();
        if state.session != session {
            return;
        }
        // Unknown: its caller is gone, or the peer made the number up.
        let Some(waiting) = state.forwards.remove(&reply.id) else { return };
        drop(state);
        let outcome = match reply.outcome {
            Some(proto::forward_reply::Outcome::Reply(reply)) => Ok(reply),
            Some(proto::forward_reply::Outcome::Refused(true)) => Err(ForwardError::NotSent),
            _ => Err(ForwardError::Lost),
        };
        let _ = waiting.reply.send(outcome);
    }

    fn forget(&self, id: u64) {
        self.lock().forwards.remove(&id);
    }

    /// All that is queued, as far as it fits into a frame.
    fn take(&self, session: u64, context: &Context<'_>) -> Poll<Option<Frame<proto::Item>>> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.session != session {
            return Poll::Ready(None);
        }
        let mut frame = Frame { items: Vec::new(), bytes: 0 };
        while let Some(queued) = state.queue.front() {
            if frame.bytes + queued.bytes > self.limits.frame_bytes_max {
                break;
            }
            let Some(queued) = state.queue.pop_front() else { break };
            state.bytes -= queued.bytes + QUEUED_OVERHEAD_BYTES;
            if let Some(id) = queued.forward {
                match state.forwards.get_mut(&id) {
                    Some(waiting) => waiting.taken = true,
                    // Its caller is gone: it need not be sent at all.
                    None => continue,
                }
            }
            frame.bytes += queued.bytes;
            frame.items.push(queued.item);
        }
        if frame.items.is_empty() {
            assert!(state.queue.is_empty(), "{} messages queued, none of which fits", state.queue.len());
            match &mut state.waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => state.waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        self.counters.sent.add(frame.items.len() as u64);
        self.counters.frames_sent.increment();
        Poll::Ready(Some(frame))
    }
}

fn push(mut state: MutexGuard<'_, State>, queued: Queued) {
    state.bytes += queued.bytes + QUEUED_OVERHEAD_BYTES;
    state.queue.push_back(queued);
    let waker = state.waker.take();
    // Woken outside the lock: the woken task takes it at once.
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The request half of one connection: yields a frame whenever something is queued. Ends with its session.
pub(super) struct Outgoing {
    lane: Arc<Lane>,
    session: u64,
}

impl Outgoing {
    /// The number of its connection.
    pub fn session(&self) -> u64 {
        self.session
    }
}

impl Stream for Outgoing {
    type Item = Frame<proto::Item>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.lane.take(self.session, context)
    }
}

/// A forward under way. Dropping it frees its slot.
pub(super) struct Forwarding {
    lane: Arc<Lane>,
    id: u64,
    receiver: oneshot::Receiver<Forwarded>,
}

impl Forwarding {
    /// The outcome.
    pub async fn outcome(mut self) -> Forwarded {
        // The sender is only ever dropped with the lane, which this holds.
        (&mut self.receiver).await.unwrap_or(Err(ForwardError::Lost))
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.lane.forget(self.id);
    }
}
