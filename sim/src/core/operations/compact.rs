//! A node's log is cut short: it is checkpointed, and forgets entries that other members may lack. They get a snapshot then.
//!
//! What a snapshot on its way continues at is kept.

use fastrand::Rng;
use quorate::types::{Index, NodeId};

use super::Operation;
use super::checkpoint::purge;
use crate::core::weather::chance;
use crate::core::world::{World, position};

pub(super) const OPERATION: Operation = Operation {
    weight: 6,
    is_restful: true,
    is_disturbing: false,
    is_change: false,
    perform: |world: &mut World, rng: &mut Rng, id: NodeId| {
        if chance(rng, world.compaction) {
            // The leader's log is the one that others need.
            let id = if rng.bool() { world.leader().unwrap_or(id) } else { id };
            let kept = if rng.bool() { 0 } else { rng.u64(..8) };
            compact(world, id, kept);
        }
    },
};

/// Stores the state machine as it is, and forgets the log but for so many entries before it.
pub(in crate::core) fn compact(world: &mut World, id: NodeId, kept: u64) {
    let node = &mut world.nodes[position(id)];
    node.fold();
    let to = Index(node.disk.folded().index.0.saturating_sub(kept));
    if purge(world, id, to) {
        world.count("compactions");
    }
}
