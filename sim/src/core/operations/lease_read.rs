//! Reads under a lease, where one is published: at the leader, or at one that was it and does not know better.

use fastrand::Rng;
use quorate::types::NodeId;

use super::Operation;
use crate::core::world::{World, position};

pub(super) const OPERATION: Operation =
    Operation { weight: 50, is_restful: true, is_disturbing: false, is_change: false, perform };

fn perform(world: &mut World, rng: &mut Rng, id: NodeId) {
    let holders: Vec<NodeId> = world.ids().filter(|&id| has_lease(world, id)).collect();
    if holders.is_empty() {
        return;
    }
    let id = if holders.contains(&id) { id } else { holders[rng.usize(..holders.len())] };
    lease_read(world, id);
}

fn has_lease(world: &World, id: NodeId) -> bool {
    world.node(id).is_running() && world.node(id).lease.is_some()
}

/// Reads at a node under the lease that it has published, if that still holds: the data first, the clock afterwards.
pub(in crate::core) fn lease_read(world: &mut World, id: NodeId) -> bool {
    let node = &world.nodes[position(id)];
    let now = node.clock.at(world.now);
    let read = node.state.index;
    if !node.lease.is_some_and(|lease| read >= lease.index && now < lease.until) {
        return false;
    }
    world.count("lease reads");
    let judged = world.oracle.read_by_lease(id, world.committed, read);
    world.absorb(&(id, read));
    world.judge(judged);
    true
}
