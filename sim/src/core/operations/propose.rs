//! Commands are proposed, several at once, of various sizes; on any node, so most are refused.

use bytes::Bytes;
use fastrand::Rng;
use quorate::raft::{ProposeError, Proposed};
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
    let _ = propose(world, id, count, padding);
}

/// Proposes so many commands with so much padding.
pub(in crate::core) fn propose(
    world: &mut World,
    id: NodeId,
    count: usize,
    padding: usize,
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
    let result = world.input(position(id), |raft, now| raft.propose(now, batch));
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
