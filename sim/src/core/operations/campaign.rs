//! A node is asked to campaign.

use fastrand::Rng;
use quorate::types::NodeId;

use super::Operation;
use crate::core::world::{World, position};

pub(super) const OPERATION: Operation = Operation {
    weight: 1,
    is_restful: false,
    is_disturbing: true,
    is_change: false,
    perform: |world: &mut World, _: &mut Rng, id: NodeId| campaign(world, id),
};

/// Lets a node campaign.
pub(in crate::core) fn campaign(world: &mut World, id: NodeId) {
    world.input(position(id), |raft, now| raft.campaign(now));
}
