//! A node's state file is damaged, or gone: it is found while the node runs, or at its next start. Its log is whole. Nodes that
//! are without a state, or whose log is damaged or in doubt, are a minority: for the same reason as with [`rot`](super::rot).

use quorate::types::NodeId;

use super::Fault;
use super::rot::ailing;
use crate::core::story::{Deed, Story};

pub(super) const FAULT: Fault = Fault { name: "lost state", strike };

fn strike(story: &mut Story<'_>, id: NodeId) -> bool {
    let mut hurt = ailing(story.world);
    hurt.push(id);
    if !story.world.can_do_without(&hurt) {
        return false;
    }
    // With the power, or without: then it is found at the start.
    let is_found_at_the_start = story.rng.u8(..3) == 0 && story.world.node(id).raft().is_some();
    if is_found_at_the_start {
        story.world.crash(id);
        let length = story.length() / 4;
        story.later(length, Deed::Recover(id));
    }
    story.world.lose_state(id) || is_found_at_the_start
}
