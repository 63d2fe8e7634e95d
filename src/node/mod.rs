//! The driver: the only place where core, disk, network and state machine meet.
//!
//! ```text
//!              Handle (bounded queue; full => Overloaded)
//!                |                                       ^
//!                v                                       | Reply | Error
//!   inbox ->  driver: one task a group, owns raft::Raft  |
//!                |  Ready                                |
//!      +---------+-----------+-----------------+         |
//!      v                     v                 v         |
//!   transport.send      log_writer          applier -----+
//!   (at once)           one fsync for       store.apply, folds behind
//!                       all groups; then
//!                       persisted(seq) and the messages that waited for it
//! ```
//!
//! **Invariants.**
//! - The driver performs a [`Ready`](crate::raft::Ready) in the order of its fields and never waits inside: disk, state
//!   machine and network are queues with a bound, their completions come back as inputs.
//! - A message that attests durability leaves only from `persisted`: the driver holds a write's messages until the log
//!   says that the write, and all before it, is on disk.
//! - All that is queued is stepped before a timeout is judged, so a node that was paused reads its mail before it
//!   campaigns.
//! - A write has three outcomes. It is *not done* while its ticket was never started (see `proposals`) or when another
//!   term's entry was applied at its index; it is *done* when its own entry was applied; all else is *unknown*.
//! - Any disk error is fatal: the node stops voting and acknowledging by stopping altogether. Damage of the state file is
//!   none: the log is whole, and the node goes on without a state until it has another one.
//!
//! It deliberately knows no protocol: bytes of clients are parsed in `api`, bytes of peers in `transport`.

pub mod executor;
pub mod identity;
pub mod probe;

mod admin;
mod applier;
mod divergence;
mod driver;
mod forward;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod handle;
mod log_writer;
mod members;
mod proposals;
mod reads;
mod space;
mod state_faults;
pub mod state_files;
mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use crate::raft::Membership;

pub use admin::{JoinRequest, Joined};
use driver::can_be_helped;
pub use driver::{Parts, Running, start};
pub use handle::Handle;
pub use log_writer::LogWriter;
pub use members::{Member, MemberChange, Members};
pub use status::{Consistency, Freshness, MemberStatus, Standing, Status};

/// Why a node must stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// A read, a write or an fsync failed: what is on disk is no longer known, and asking again would not tell.
    Disk(String),
    /// Stored data is not what was written.
    Damaged(String),
    /// The cluster does not accept this node under its id.
    Refused(String),
    /// The cluster has come to a version that this binary does not know.
    Outdated(String),
    /// An invariant of the node's own does not hold.
    Broken(String),
}

/// Why a node cannot take part with this binary, if so: what is committed promises that every member understands
/// `membership.version`. An older binary would stop at the first entry that it cannot read, at a moment of nobody's choice.
pub fn outdated(membership: &Membership, supports: u32) -> Option<Fatal> {
    (membership.version > supports).then(|| {
        Fatal::Outdated(format!(
            "the cluster is at version {}, and this binary knows {supports}: use the newer binary that the other members \
             run; a cluster's version is never lowered",
            membership.version
        ))
    })
}

/// Where the parts of a node report that it must stop; the first report counts.
#[derive(Clone, Debug)]
pub struct FatalSender(tokio::sync::mpsc::UnboundedSender<Fatal>);

impl FatalSender {
    /// A sender and the receiver of its reports. Unbounded, for a report must never block; each part sends at most
    /// a few before it stops.
    pub fn channel() -> (FatalSender, tokio::sync::mpsc::UnboundedReceiver<Fatal>) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        (FatalSender(sender), receiver)
    }

    /// Reports that the node must stop.
    pub fn report(&self, fatal: Fatal) {
        // Nobody listens only once the node is being dropped anyway.
        let _ = self.0.send(fatal);
    }
}
