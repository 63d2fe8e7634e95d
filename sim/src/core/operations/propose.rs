//! Commands are proposed, several at once, of various sizes; on any node, so most are refused.

use bytes::Bytes;
use fastrand::Rng;
use quorate::raft::{Growth, ProposeError, Proposed, Room};
use quorate::types::NodeId;

use super::Operation;
use crate::core::world::{World, position};
use crate::trace::event::{Fate, What};

pub(super) const OPERATION: Operation =
    Operation { weight: 100, is_restful: false, is_disturbing: false, is_change: false, perform };

fn perform(world: &mut World, rng: &mut Rng, id: NodeId) {
    // Most callers know who leads.
    let id = if rng.u8(..4) > 0 { world.leader().unwrap_or(id) } else { id };
    let (count, padding) =
        (rng.usize(1..4), if rng.u8(..8) == 0 { rng.usize(..400) } else { rng.usize(..16) });
    let growth = if rng.u8(..8) == 0 { Growth::Frees } else { Growth::Grows };
    let _ = propose_as(world, id, count, padding, growth);
}

/// Proposes so many commands with so much padding, which make the state grow.
pub(in crate::core) fn propose(
    world: &mut World,
    id: NodeId,
    count: usize,
    padding: usize,
) -> Result<Proposed, ProposeError> {
    propose_as(world, id, count, padding, Growth::Grows)
}

/// The same of commands that do this to the state.
fn propose_as(
    world: &mut World,
    id: NodeId,
    count: usize,
    padding: usize,
    growth: Growth,
) -> Result<Proposed, ProposeError> {
    let numbers: Vec<u64> = (0..count).map(|_| world.oracle.next_number()).collect();
    let batch: Vec<Bytes> = numbers
        .iter()
        .map(|number| number.to_le_bytes().into_iter().chain(std::iter::repeat_n(0, padding)).collect())
        .collect();
    for &number in &numbers {
        world.trace.event(0, || What::Begun {
            request: number,
            client: id.0,
            to: id.0,
            operation: format!("propose {number}"),
        });
    }
    let result = world.input(position(id), |raft, now| match raft.admits(growth) {
        Ok(()) => raft.propose(now, batch),
        // To a caller it is one as the other: nothing was done, and it may be tried again.
        Err(_) => Err(ProposeError::Overloaded),
    });
    if result.is_ok() && growth == Growth::Grows && world.node(id).room() != Room::Ample {
        world.judge(Err(format!("room: {id} proposes what needs room, and has {:?}", world.node(id).room())));
    }
    match result {
        Ok(at) => world.oracle.proposed(id, &numbers, at),
        Err(error) => {
            for &number in &numbers {
                let (outcome, answer) = (Fate::NotApplied, format!("{error:?}"));
                world.trace.event(0, || What::Ended { request: number, outcome, answer });
            }
        }
    }
    result
}
