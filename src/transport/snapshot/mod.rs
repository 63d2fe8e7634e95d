//! A snapshot stream: one call, on a connection of its own, for one snapshot of one group.
//!
//! ```text
//! sender                                        receiver
//! begin {group, id, envelope, manifest}  --->   Inbound::Snapshot
//!                                        <---   wanted n              ask_from(n)
//! chunk n, chunk n+1, ...                --->                         next()
//!      at most CHUNKS_INFLIGHT_MAX of
//!      them that are not stored          <---   stored m              ack(m - 1)
//! finish {chunks}                        --->                         next() is None
//!                                        <---   done | failed, why    done(result)
//! ```
//!
//! What the receiver says is always all that it has to say so far, so nothing of it queues up. The receiver decides
//! where to begin: at 0, or, if it still has the first chunks of the snapshot with this id, behind them. What chunks,
//! manifest and message hold is not known here; that a chunk is what was read from the sender's disk is for its own
//! checksum to say.
//!
//! Invariants:
//! - Chunks arrive in order, each once, none before it was asked for, none too large, and never more than the window
//!   ahead of what is stored. A sender that breaks this is cut off.
//! - Memory is bounded on both sides by the window: the sender holds at most so many chunks that are not stored, and the
//!   receiver reads the next one from the connection only when it is asked for it.
//! - The newest stream for a group ends the one before: what an older leader, or a sender whose connection broke
//!   unnoticed, still has to say is stale. At most [`SNAPSHOTS_INCOMING_MAX`] come in at once.
//! - Each side waits for the other for at most [`SNAPSHOT_STALL_MAX`] without progress. What the other side has to do
//!   with its disk counts as no progress, so that is generous; a connection that is dead is found out sooner. At the
//!   end the receiver has [`SNAPSHOT_FINISH_MAX`], for it makes everything durable.
//! - Either side may drop its end at any time, and the other finds out. Both ends are to be driven by tasks of their
//!   own, never by the node's driver: they wait.

mod receiver;
mod sender;
mod wire;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::raft::Envelope;
use crate::types::GroupId;

pub use self::receiver::SnapshotReceiver;
pub(super) use self::receiver::serve;
pub use self::sender::SnapshotSender;
#[cfg(any(test, feature = "testing"))]
pub(super) use self::wire::{Chunks, Step, decode_begin, encode_begin};

/// The largest chunk: 1 MiB of content, and what its format has around it.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = (1 << 20) + (4 << 10);
/// Chunks that were sent and are not stored.
pub const SNAPSHOT_CHUNKS_INFLIGHT_MAX: u64 = 4;
/// Snapshots that come in at once, for all groups.
pub const SNAPSHOTS_INCOMING_MAX: usize = 4;
/// How long one side waits for the other without progress.
pub const SNAPSHOT_STALL_MAX: Duration = Duration::from_secs(30);
/// How long the sender waits, once all chunks are there, for the receiver to have them in safe keeping.
pub const SNAPSHOT_FINISH_MAX: Duration = Duration::from_secs(300);

/// A frame: the largest chunk, or a begin, and what is around it on the wire.
const FRAME_BYTES_MAX: usize = SNAPSHOT_CHUNK_BYTES_MAX + 1_024;

/// What a snapshot is announced with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    pub group: GroupId,
    pub id: u64,
    pub envelope: Envelope,
    pub manifest: Bytes,
}

/// Why a snapshot was not sent, for a log line. It may be begun again, with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// In words.
    pub reason: String,
}

impl Failed {
    fn new(reason: impl Into<String>) -> Failed {
        Failed { reason: reason.into() }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for Failed {}

/// Why a snapshot will not arrive, for a log line. What arrived is whole as far as it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// In words.
    pub reason: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for Lost {}
