//! A node's state machine is checkpointed, and the log that no member needs any more is forgotten.

use fastrand::Rng;
use quorate::types::{Index, NodeId};

use super::Operation;
use crate::core::world::{World, position};

pub(super) const OPERATION: Operation = Operation {
    weight: 4,
    is_restful: true,
    is_disturbing: false,
    is_change: false,
    perform: |world: &mut World, rng: &mut Rng, id: NodeId| checkpoint(world, id, rng.bool()),
};

/// Stores the state machine as it is, and purges if that is wanted.
pub(in crate::core) fn checkpoint(world: &mut World, id: NodeId, purging: bool) {
    let node = &mut world.nodes[position(id)];
    node.fold();
    let Some(stored_by_all) = node.raft().map(quorate::raft::Raft::stored_by_all) else { return };
    if purging && purge(world, id, stored_by_all) {
        world.count("purges");
    }
}

/// Forgets the log up to `to`, as far as it is checkpointed and no snapshot on its way needs what follows it. Whether
/// anything was forgotten.
pub(super) fn purge(world: &mut World, id: NodeId, to: Index) -> bool {
    let node = &mut world.nodes[position(id)];
    let Some(raft) = node.raft.as_mut() else { return false };
    let pinned = node.pins.values().copied().min().unwrap_or(to);
    let to = to.min(pinned).min(node.disk.folded().index).min(raft.applied_index());
    // While a snapshot takes the place of the log, it is the purge point, on disk or about to be.
    if raft.installing().is_some() || to <= node.disk.purged() {
        return false;
    }
    node.disk.purge_to(to);
    raft.purge_to(to);
    true
}
