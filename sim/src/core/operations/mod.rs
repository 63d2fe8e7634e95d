//! What callers do with a core: one file each. A new operation is a file and a line in [`ALL`].

mod campaign;
mod checkpoint;
mod propose;
mod publish;
mod read;

use fastrand::Rng;
use quorate::raft::Entry;
use quorate::types::NodeId;

use super::world::World;

pub(super) use campaign::campaign;
pub(super) use checkpoint::checkpoint;
pub(super) use propose::propose;
pub(super) use publish::publish;
pub(super) use read::read;

/// Something that is done at a node that runs.
pub(super) struct Operation {
    /// How often it is done, compared with others.
    pub(super) weight: u32,
    /// It does not add to the log, and may be done while the group must come to rest.
    pub(super) is_restful: bool,
    /// It may lead to an election.
    pub(super) is_disturbing: bool,
    /// Does it.
    pub(super) perform: fn(&mut World, &mut Rng, NodeId),
}

/// All there are.
pub(super) const ALL: [Operation; 5] =
    [propose::OPERATION, read::OPERATION, publish::OPERATION, checkpoint::OPERATION, campaign::OPERATION];

/// The number of the proposal that made this entry.
pub(super) fn number_of(entry: &Entry) -> u64 {
    entry.payload.first_chunk().map_or(0, |number| u64::from_le_bytes(*number))
}
