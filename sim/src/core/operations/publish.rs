//! A member's record is published: a configuration entry that changes no quorum.

use fastrand::Rng;
use quorate::raft::{ProposeError, Proposed};
use quorate::types::NodeId;

use super::Operation;
use crate::core::world::{World, position};

pub(super) const OPERATION: Operation = Operation {
    weight: 4,
    is_restful: false,
    is_disturbing: false,
    perform: |world: &mut World, _: &mut Rng, id: NodeId| {
        let at = world.leader().unwrap_or(id);
        let _ = publish(world, at);
    },
};

/// Publishes a node's record with a new version.
pub(in crate::core) fn publish(world: &mut World, id: NodeId) -> Result<Proposed, ProposeError> {
    let version = world.oracle.next_number().to_string();
    let result = world.input(position(id), |raft, now| {
        let mut record = raft.membership().members[&id].clone();
        record.version = version;
        raft.publish(now, record)
    });
    if let Ok(at) = result {
        world.oracle.published(at);
    }
    result
}
