//! What peers sent and the node has not looked at yet.
//!
//! Two bounded queues, one a lane: however many large appends wait, a heartbeat is next. Receivers wait for room, so a
//! node that does not keep up slows its peers' connections down and their queues drop; nothing grows. The bulk queue
//! is bounded in bytes too.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::Inbound;
use super::lane::LaneKind;
use super::shared::raised;

/// After so many control messages in a row, one bulk message gets its turn.
const CONTROL_BURST_MAX: u32 = 64;

/// The receiving end, for the node's driver. See the module doc.
pub struct Inbox {
    control: mpsc::Receiver<Inbound>,
    bulk: mpsc::Receiver<(Inbound, OwnedSemaphorePermit)>,
    closed: watch::Receiver<bool>,
    /// Control messages handed out since the last bulk message.
    burst: u32,
}

/// The sending end, for the connections.
#[derive(Clone)]
pub(super) struct InboxSender {
    control: mpsc::Sender<Inbound>,
    bulk: mpsc::Sender<(Inbound, OwnedSemaphorePermit)>,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
}

/// An empty inbox. `closed` turning true ends it.
pub(super) fn channel(
    messages_max: usize,
    bytes_max: usize,
    closed: watch::Receiver<bool>,
) -> (InboxSender, Inbox) {
    let (control_sender, control) = mpsc::channel(messages_max);
    let (bulk_sender, bulk) = mpsc::channel(messages_max);
    let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX).min(Semaphore::MAX_PERMITS as u32);
    let sender = InboxSender {
        control: control_sender,
        bulk: bulk_sender,
        bytes: Arc::new(Semaphore::new(bytes_max as usize)),
        bytes_max,
    };
    (sender, Inbox { control, bulk, closed, burst: 0 })
}

impl Inbox {
    /// The next message; `None` once the transport is closed. Cancelling it loses nothing.
    pub async fn recv(&mut self) -> Option<Inbound> {
        if let Some(inbound) = self.try_recv() {
            return Some(inbound);
        }
        tokio::select! {
            biased;
            () = raised(&mut self.closed) => None,
            inbound = self.control.recv() => Some(self.count_control(inbound?)),
            inbound = self.bulk.recv() => Some(self.count_bulk(inbound?)),
        }
    }

    /// The next message, if there is one now.
    pub fn try_recv(&mut self) -> Option<Inbound> {
        if self.burst >= CONTROL_BURST_MAX
            && let Ok(inbound) = self.bulk.try_recv()
        {
            return Some(self.count_bulk(inbound));
        }
        if let Ok(inbound) = self.control.try_recv() {
            return Some(self.count_control(inbound));
        }
        self.bulk.try_recv().ok().map(|inbound| self.count_bulk(inbound))
    }

    fn count_control(&mut self, inbound: Inbound) -> Inbound {
        self.burst = self.burst.saturating_add(1);
        inbound
    }

    /// Drops the permit: from here on the bytes are the node's to bound.
    fn count_bulk(&mut self, (inbound, _permit): (Inbound, OwnedSemaphorePermit)) -> Inbound {
        self.burst = 0;
        inbound
    }
}

impl InboxSender {
    /// Delivers a message, waiting for room. `Err` once the inbox is gone.
    pub async fn deliver(&self, lane: LaneKind, inbound: Inbound, bytes: usize) -> Result<(), ()> {
        match lane {
            LaneKind::Control => self.control.send(inbound).await.map_err(|_| ()),
            LaneKind::Bulk => {
                // A message that alone is over the limit waits until it is alone.
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
                let permit = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.map_err(|_| ())?;
                self.bulk.send((inbound, permit)).await.map_err(|_| ())
            }
        }
    }

    /// Delivers a notice of the transport itself, if there is room.
    pub fn notify(&self, inbound: Inbound) -> bool {
        self.control.try_send(inbound).is_ok()
    }
}
