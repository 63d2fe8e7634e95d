//! Reads, on any node.

use fastrand::Rng;
use quorate::raft::ReadId;
use quorate::types::NodeId;

use super::Operation;
use crate::core::driver::request_of_read;
use crate::core::world::{World, position};
use crate::trace::event::What;

pub(super) const OPERATION: Operation = Operation {
    weight: 70,
    is_restful: false, // the heartbeats that it causes would mend what must mend itself
    is_disturbing: false,
    is_change: false,
    perform: |world: &mut World, _: &mut Rng, id: NodeId| {
        read(world, id);
    },
};

/// Asks for an index to read at.
pub(in crate::core) fn read(world: &mut World, id: NodeId) -> ReadId {
    let read = world.oracle.asked(id, world.committed);
    world.trace.event(0, || What::Begun {
        request: request_of_read(read.0),
        client: id.0,
        to: id.0,
        operation: format!("read at {id}"),
    });
    world.input(position(id), |raft, now| raft.read(now, read));
    read
}
