//! A node's disk, or what it may use of it, is nearly full or full; that changes now and then, until there is room again.

use quorate::raft::{Lack, Room};
use quorate::types::NodeId;

use super::Fault;
use crate::core::story::{Deed, Story};

pub(super) const FAULT: Fault = Fault { name: "full disk", strike };

/// How often a level changes into another one before there is room.
const CHANGES_MAX: usize = 3;

fn strike(story: &mut Story<'_>, id: NodeId) -> bool {
    if story.world.node(id).room() != Room::Ample {
        return false;
    }
    let room = draw(&mut story.rng);
    story.world.set_room(id, room);
    let mut after = 0;
    for _ in 0..story.rng.usize(..CHANGES_MAX) {
        after += story.length();
        let room = draw(&mut story.rng);
        story.later(after, Deed::Room(id, room));
    }
    if story.rng.u8(..4) > 0 {
        after += story.length();
        story.later(after, Deed::Room(id, Room::Ample));
    }
    true
}

/// A level without room.
pub(in crate::core) fn draw(rng: &mut fastrand::Rng) -> Room {
    let lack = if rng.bool() { Lack::Disk } else { Lack::Quota };
    if rng.bool() { Room::Short(lack) } else { Room::Full(lack) }
}
