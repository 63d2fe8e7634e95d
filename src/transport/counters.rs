//! What the transport counts: every message that it does not deliver is counted once. `telemetry` says what each is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry;

/// One number. Monotone.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        // Relaxed: the numbers are for people, nothing is ordered by them.
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn increment(&self) {
        self.add(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($name:ident => $public:ident,)*) => {
        /// The numbers of one transport.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub $name: Counter,)*
        }

        impl Counters {
            /// All numbers by name.
            pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
                BTreeMap::from([$((telemetry::$public, self.$name.get()),)*])
            }
        }
    };
}

counters! {
    sent => TRANSPORT_SENT,
    frames_sent => TRANSPORT_FRAMES_SENT,
    received => TRANSPORT_RECEIVED,
    frames_received => TRANSPORT_FRAMES_RECEIVED,
    dropped_unconnected => TRANSPORT_DROPPED_UNCONNECTED,
    dropped_control_full => TRANSPORT_DROPPED_CONTROL_FULL,
    dropped_bulk_full => TRANSPORT_DROPPED_BULK_FULL,
    dropped_oversize => TRANSPORT_DROPPED_OVERSIZE,
    rejected => TRANSPORT_REJECTED,
    rejected_frames => TRANSPORT_REJECTED_FRAMES,
    forwards_refused => TRANSPORT_FORWARDS_REFUSED,
    accepted => TRANSPORT_ACCEPTED,
    refused => TRANSPORT_REFUSED,
    connected => TRANSPORT_CONNECTED,
    connect_failures => TRANSPORT_CONNECT_FAILURES,
    guests => TRANSPORT_GUESTS,
    died => TRANSPORT_DIED,
    snapshots_sent => TRANSPORT_SNAPSHOTS_SENT,
    snapshot_bytes_sent => TRANSPORT_SNAPSHOT_BYTES_SENT,
    snapshots_received => TRANSPORT_SNAPSHOTS_RECEIVED,
    snapshot_bytes_received => TRANSPORT_SNAPSHOT_BYTES_RECEIVED,
    joins => TRANSPORT_JOINS,
    joins_refused => TRANSPORT_JOINS_REFUSED,
}
