//! Quorate: a linearizable, replicated key-value store. The modules, in the order in which a write meets them:
//!
//! ```text
//! client -> [1 api]        bytes -> Command; limits, deadline
//!        -> [2 node]       Handle: bounded queue (full => Overloaded), batch
//!        -> [3 raft]       pure core: propose(batch) -> Ready
//!        -> [4a wal]       append + one fsync for all that is queued   } at the same time: the leader's
//!        -> [4b transport] to followers: step -> their wal -> ack      } disk runs beside the network
//!        -> [3 raft]       commit on quorum (own vote counts only after own fsync)
//!        -> [5 fsm]        apply to the write set: data + applied index + sessions (folded into redb behind)
//!        -> [6 node]       (term, index) -> waiting reply
//!        -> [7 api]        Reply | ErrorKind -> protocol status
//! ```

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod shard;
#[cfg(feature = "server")]
pub mod node;
pub mod raft;
#[cfg(feature = "server")]
pub mod wal;
#[cfg(feature = "server")]
pub mod transport;
#[cfg(feature = "server")]
pub mod fsm;

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod codec;
#[cfg(feature = "server")]
pub mod command;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "client")]
pub mod error;
#[cfg(all(feature = "server", any(test, feature = "testing")))]
pub mod fuzzing;
#[cfg(feature = "client")]
pub mod proto;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod telemetry;
pub mod types;
