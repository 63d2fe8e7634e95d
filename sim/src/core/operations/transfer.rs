//! Leadership is handed over, to a voter or to somebody who is none.

use fastrand::Rng;
use quorate::raft::TransferError;
use quorate::types::NodeId;

use super::Operation;
use crate::core::world::{World, position};
use crate::trace::event::{Fate, What};

pub(super) const OPERATION: Operation = Operation {
    weight: 3,
    is_restful: false,
    is_disturbing: true,
    is_change: true,
    perform: |world: &mut World, rng: &mut Rng, id: NodeId| {
        let at = world.leader().unwrap_or(id);
        let to = (rng.u8(..3) > 0).then(|| NodeId(1 + rng.u64(..world.nodes.len() as u64)));
        let _ = transfer(world, at, to);
    },
};

/// Asks a leader to hand over.
pub(in crate::core) fn transfer(
    world: &mut World,
    id: NodeId,
    to: Option<NodeId>,
) -> Result<NodeId, TransferError> {
    let request = world.oracle.next_number();
    world.trace.event(0, || {
        let operation = format!("transfer to {to:?}");
        What::Begun { request, client: id.0, to: id.0, operation }
    });
    let result = world.input(position(id), |raft, now| raft.transfer(now, to));
    if result.is_ok() {
        world.count("transfers");
    }
    let outcome = if result.is_ok() { Fate::Done } else { Fate::NotApplied };
    world.trace.event(0, || What::Ended { request, outcome, answer: format!("{result:?}") });
    result
}
