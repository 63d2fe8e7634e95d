//! A member's record is published: a configuration entry that changes no quorum.

use fastrand::Rng;
use quorate::raft::{Change, MemberRecord, ProposeError, Proposed};
use quorate::types::NodeId;

use super::Operation;
use crate::core::world::World;

pub(super) const OPERATION: Operation = Operation {
    weight: 4,
    is_restful: false,
    is_disturbing: false,
    is_change: false,
    perform: |world: &mut World, _: &mut Rng, id: NodeId| {
        let at = world.leader().unwrap_or(id);
        let _ = publish(world, at);
    },
};

/// Publishes a node's record with a new version.
pub(in crate::core) fn publish(world: &mut World, id: NodeId) -> Result<Proposed, ProposeError> {
    let version = world.oracle.next_number().to_string();
    let raft = world.node(id).raft();
    let record = raft.and_then(|raft| raft.membership().members.get(&id)).cloned();
    let record = MemberRecord { version, ..record.ok_or(ProposeError::NotMember)? };
    super::change(world, id, Change::Update(record), false)
}
