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

pub mod api;
pub mod shard;
pub mod node;
pub mod raft;
pub mod wal;
pub mod transport;
pub mod fsm;

pub mod cli;
pub mod clock;
pub mod codec;
pub mod command;
pub mod config;
pub mod error;
pub mod server;
pub mod telemetry;
pub mod types;
