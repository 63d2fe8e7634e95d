//! A node gets no processor for a while; its mail waits.

use quorate::types::NodeId;

use super::Fault;
use crate::core::story::{Deed, Story};

pub(super) const FAULT: Fault = Fault { name: "pause", strike };

fn strike(story: &mut Story<'_>, id: NodeId) -> bool {
    if !story.world.node(id).is_running() {
        return false;
    }
    story.world.pause(id);
    let length = story.length();
    story.later(length, Deed::Recover(id));
    true
}
