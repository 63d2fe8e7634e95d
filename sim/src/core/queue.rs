//! What is going to happen, by the instant at which it does.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use quorate::raft::{Envelope, Fetch, SnapshotFor, WriteSeq};
use quorate::types::Index;

use super::clock::Instant;
use super::transfer::Transfer;

/// Something that will happen. `node` is a position, one less than the node's id; what names a boot is void in another.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A message arrives.
    Deliver {
        /// Its number in the trace.
        number: u64,
        /// The message.
        envelope: Box<Envelope>,
    },
    /// The core's earliest deadline may have come.
    Tick {
        /// The node.
        node: usize,
        /// Its boot.
        boot: u64,
    },
    /// The fsync under way ends.
    Synced {
        /// The node.
        node: usize,
        /// Its boot.
        boot: u64,
    },
    /// The core is told of a completed write.
    Tell {
        /// The node.
        node: usize,
        /// Its boot.
        boot: u64,
        /// The write.
        seq: WriteSeq,
    },
    /// Entries were read back.
    Fetched {
        /// The node.
        node: usize,
        /// Its boot.
        boot: u64,
        /// Which.
        fetch: Fetch,
    },
    /// The state machine has taken the oldest batch, or snapshot, that it was given.
    Applied {
        /// The node.
        node: usize,
        /// Its boot.
        boot: u64,
        /// Its last entry.
        last: Index,
    },
    /// The driver opens a snapshot that its core wants to be sent.
    Open {
        /// The node.
        node: usize,
        /// Its boot.
        boot: u64,
        /// For whom.
        wanted: SnapshotFor,
    },
    /// A chunk of a snapshot arrives.
    Chunk {
        /// The snapshot.
        transfer: Box<Transfer>,
    },
    /// The driver hears how the transfer of a snapshot ended.
    Reported {
        /// The sender.
        node: usize,
        /// Its boot.
        boot: u64,
        /// The transfer.
        number: u64,
        /// For whom it was.
        wanted: SnapshotFor,
        /// All of it arrived.
        ok: bool,
    },
    /// The driver collects what the core has made.
    Collect {
        /// The node.
        node: usize,
        /// Its boot.
        boot: u64,
    },
}

/// Events by their instants; of one instant, in the order in which they were scheduled.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Due>,
    scheduled: u64,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    order: u64,
    event: Event,
}

impl Queue {
    /// Lets `event` happen at `at`.
    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.heap.push(Due { at, order: self.scheduled, event });
    }

    /// When the next event is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|due| due.at)
    }

    /// The next event with its instant.
    pub(super) fn pop(&mut self) -> Option<(Instant, Event)> {
        self.heap.pop().map(|due| (due.at, due.event))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> Ordering {
        // The heap's greatest is the earliest.
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_then_of_scheduling() {
        let mut queue = Queue::default();
        for (at, node) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            queue.push(at, Event::Collect { node, boot: 1 });
        }
        let nodes = std::iter::from_fn(|| queue.pop()).map(|(_, event)| match event {
            Event::Collect { node, .. } => node,
            other => panic!("{other:?}"),
        });
        assert_eq!(nodes.collect::<Vec<_>>(), [1, 3, 0, 2]);
    }
}
