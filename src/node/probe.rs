//! A window on the core, for whoever checks it from outside: it sees, and can change nothing.
//!
//! The simulation and the tests hang their invariants here; production leaves it empty. It is no seam: nothing comes back
//! through it. Calls come from the driver's and the applier's tasks, at the very step that they are about.

use std::sync::Arc;

use crate::raft::{Envelope, Raft, Ready};
use crate::types::Index;

/// What may be watched of a node.
pub trait Probe: Send + Sync {
    /// The core is about to take in a message from a peer.
    fn stepping(&self, raft: &Raft, envelope: &Envelope);

    /// A message leaves.
    fn sending(&self, raft: &Raft, envelope: &Envelope);

    /// The core handed this out; nothing of it has been done yet.
    fn ready(&self, raft: &Raft, ready: &Ready);

    /// The state machine has applied everything up to `index`, and its state then has this hash.
    fn applied(&self, index: Index, state_hash: u128);
}

/// A probe, shared by the tasks of a node.
pub type SharedProbe = Arc<dyn Probe>;
