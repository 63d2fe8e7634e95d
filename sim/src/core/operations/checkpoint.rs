//! A node's state machine is checkpointed, and the log that no member needs any more is forgotten.

use fastrand::Rng;
use quorate::types::NodeId;

use super::Operation;
use crate::core::world::{World, position};

pub(super) const OPERATION: Operation = Operation {
    weight: 4,
    is_restful: true,
    is_disturbing: false,
    perform: |world: &mut World, rng: &mut Rng, id: NodeId| checkpoint(world, id, rng.bool()),
};

/// Stores the state machine as it is, and purges if that is wanted.
pub(in crate::core) fn checkpoint(world: &mut World, id: NodeId, purging: bool) {
    let node = &mut world.nodes[position(id)];
    let Some(raft) = node.raft.as_mut() else { return };
    node.disk.fold(node.applied);
    let to = raft.stored_by_all().min(node.disk.folded()).min(raft.applied_index());
    if purging && to > node.disk.purged() {
        node.disk.purge_to(to);
        raft.purge_to(to);
        world.count("purges");
    }
}
