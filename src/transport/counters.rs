//! What the transport counts: every message that it does not deliver is counted once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

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
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// The numbers of one transport.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $($(#[doc = $doc])* pub $name: Counter,)*
        }

        impl Counters {
            /// All numbers by name.
            pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
                BTreeMap::from([$((concat!("transport_", stringify!($name)), self.$name.get()),)*])
            }
        }
    };
}

counters! {
    /// Messages handed to a connection.
    sent,
    /// The frames that carried them.
    frames_sent,
    /// Messages from peers that were handed to the inbox.
    received,
    /// The frames that carried them.
    frames_received,
    /// Messages dropped because there is no connection to the peer, or it ended before they were handed to it.
    dropped_unconnected,
    /// Messages dropped because the control lane's queue was full.
    dropped_control_full,
    /// Messages dropped because the bulk lane's queue was full.
    dropped_bulk_full,
    /// Messages dropped because no frame may be as large.
    dropped_oversize,
    /// Messages of peers that broke a rule and were dropped.
    rejected,
    /// Frames of peers that could not be read; each closed its lane.
    rejected_frames,
    /// Forwards of peers that were refused because too many were under way.
    forwards_refused,
    /// Connections that peers made and that were accepted.
    accepted,
    /// Connections that peers made and that were refused at the handshake.
    refused,
    /// Connections made to peers.
    connected,
    /// Attempts to connect to a peer that failed.
    connect_failures,
}
