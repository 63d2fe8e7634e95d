//! What callers do with a core: one file each. A new operation is a file and a line in [`ALL`].

mod campaign;
mod change;
mod checkpoint;
mod compact;
mod lease_read;
mod propose;
mod publish;
mod read;
mod transfer;

use fastrand::Rng;
use quorate::raft::Entry;
use quorate::types::NodeId;

use super::world::World;

pub(super) use campaign::campaign;
pub(super) use change::{add, change};
pub(super) use checkpoint::checkpoint;
pub(super) use compact::compact;
pub(super) use lease_read::lease_read;
pub(super) use propose::propose;
pub(super) use publish::publish;
pub(super) use read::read;
pub(super) use transfer::transfer;

/// Something that is done at a node that runs.
pub(super) struct Operation {
    /// How often it is done, compared with others.
    pub(super) weight: u32,
    /// It does not add to the log, and may be done while the group must come to rest.
    pub(super) is_restful: bool,
    /// It may lead to an election.
    pub(super) is_disturbing: bool,
    /// It changes who is in the group or who leads it: more common in some seeds than in others.
    pub(super) is_change: bool,
    /// Does it.
    pub(super) perform: fn(&mut World, &mut Rng, NodeId),
}

/// All there are.
pub(super) const ALL: [Operation; 12] = [
    propose::OPERATION,
    read::OPERATION,
    lease_read::OPERATION,
    publish::OPERATION,
    checkpoint::OPERATION,
    compact::OPERATION,
    campaign::OPERATION,
    change::ADD,
    change::PROMOTE,
    change::REMOVE,
    change::REPLACE,
    transfer::OPERATION,
];

/// The number of the proposal that made this entry.
pub(super) fn number_of(entry: &Entry) -> u64 {
    entry.payload.first_chunk().map_or(0, |number| u64::from_le_bytes(*number))
}
