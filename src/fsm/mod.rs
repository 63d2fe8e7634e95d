//! The state machine: step 5 of the write path. Committed log entries go in, in order; keys, values and replies come
//! out, the same on every node.
//!
//! ```text
//! entry -> apply -> write set (memory) -- freeze --> frozen set -- fold --> redb (one durable transaction)
//!             |          |                             |                     |    on Checked (a CRC per block)
//!             v          +------------ reads merge all three ----------------+    on the raw file
//!           reply                    at one applied index
//! ```
//!
//! Applying an entry touches memory only. Now and then the write set is frozen, and a second thread folds it into redb:
//! one durable transaction that also holds the applied (index, term), the revision, the sessions, the membership,
//! the group time and the state hash. That fold is the checkpoint: after a crash the store opens at the last folded
//! index and the log is replayed from there, exactly, since applying is deterministic (H20, H21).
//!
//! The file below can be replaced whole, by one mechanism for two ends: a snapshot from another node is built into a file
//! of its own and installed ([`Builder`], [`Store::install`]), and a file that is mostly free is copied into a new one
//! and adopted ([`Store::rewrite`], [`Store::adopt`]). Both need the node to make its pointer to the new file durable
//! first; no crash leaves a mixture (H26-H30). A state that is lost is given up, and replaced by the first of the two
//! ([`Store::give_up`]).
//!
//! # The data model
//!
//! etcd's. An empty store is at revision 1. Each command that changes at least one key takes the next revision, and
//! all its operations share it; a delete of nothing, a failed condition, a session command, a no-op or a membership
//! takes none. A key remembers the revision that created it, the one that last changed it, and its version: how often
//! it was written since it was created (1 again after a delete). Conditions are judged before the first operation;
//! operations run in order, so a later one meets the key as an earlier one left it.
//!
//! # Invariants
//!
//! - `folded <= applied`; both are monotone, and indexes are applied without a gap (asserted).
//! - Whether and how a command takes effect depends on the entries up to it and on nothing else: no clock, no
//!   randomness, no hash order, no memory limit. Group time is what leaders wrote into the envelopes, and never goes
//!   back. **The session limits of [`Options`] decide replies, so they must be equal on all nodes.**
//! - A reader sees the state after some whole batch: content, revision and applied index belong together.
//! - A command that cannot be decoded stops the node. It is never skipped: the nodes' states would part.
//! - The first error about the file is latched; from then on the store answers nothing else (H15), until another state
//!   takes the place of that one. An error about a
//!   file that nobody points to yet ([`Error::Snapshot`], [`Error::Staged`]) is not: the state is as it was. Nor is want of
//!   room: the fold that met it is undone ([`Error::Undone`]), and the store answers as before (see `undo`).
//! - Who holds a transaction on a file holds that file open; one that was replaced is closed when its last reader is done.
//!
//! # What it deliberately does not do
//!
//! It does not know the log, the network or the clock, starts no thread and never waits for one: who calls
//! [`Store::fold`], and that the applier stops while [`Store::is_full`], is the node's business. So is what a state file
//! is called, which one counts, and when a transfer that no longer makes progress is dropped. It keeps no history of a
//! key; that gets its own table.

mod apply;
mod backend;
mod base;
mod error;
mod file;
mod fold;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod hash;
mod key;
mod keyed;
mod layout;
mod loss;
pub mod offline;
mod overlay;
mod pin;
mod read;
mod rewrite;
mod room;
mod schema;
mod scrub;
mod select;
mod sessions;
mod snapshot;
mod stage;
mod store;
mod syncs;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod txn;
mod undo;
mod write_set;

use bytes::Bytes;

pub use error::Error;
pub use file::{file_backend, file_to_read};
pub use rewrite::Rewritten;
pub use room::{Needs, staged_bytes};
pub use scrub::Scrubbed;
pub use snapshot::{Builder, CHUNK_BYTES_MAX, Fresh, Manifest, Snapshot};
pub use store::{Options, Sizes, Store};
pub use syncs::Syncs;

use crate::types::{Index, Term};

/// A raw file, as [`Store::open`], [`Store::rewrite`] and [`Builder::begin`] take it.
pub type RawFile = Box<dyn redb::StorageBackend>;

/// A committed entry on its way into the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its index: the one after the last applied.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// What it asks.
    pub body: Body,
}

/// What an entry asks of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Noop,
    /// An encoded [`Envelope`](crate::command::Envelope).
    Command(Bytes),
    /// To keep these bytes as the membership.
    Membership(Bytes),
}

#[cfg(test)]
mod tests;
