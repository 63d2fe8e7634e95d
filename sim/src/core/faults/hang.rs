//! A node's fsyncs do not return for a while, or for as long as the storm lasts.

use quorate::types::NodeId;

use super::Fault;
use crate::core::story::{Deed, Story};

pub(super) const FAULT: Fault = Fault { name: "hung disk", strike };

fn strike(story: &mut Story<'_>, id: NodeId) -> bool {
    let node = story.world.node(id);
    if !node.is_running() || node.is_hung() {
        return false;
    }
    story.world.hang(id);
    if story.rng.u8(..3) > 0 {
        let length = story.length();
        story.later(length, Deed::Unhang(id));
    }
    true
}
