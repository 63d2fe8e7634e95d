//! A node loses its power, and with it what was not synced: some of it, or all, or in the middle of a write. Sometimes
//! several nodes at once.

use quorate::types::NodeId;

use super::Fault;
use crate::core::story::{Deed, Story};
use crate::core::world::position;

pub(super) const FAULT: Fault = Fault { name: "crash", strike };

fn strike(story: &mut Story<'_>, id: NodeId) -> bool {
    let mut victims = vec![id];
    if story.rng.u8(..12) == 0 {
        victims.extend(story.world.ids().filter(|&other| other != id));
    }
    let mut struck = false;
    for id in victims {
        if story.world.node(id).raft().is_none() {
            continue;
        }
        let waiting = story.world.nodes[position(id)].writing.len();
        let kept = match story.rng.u8(..3) {
            0 => 0,
            1 => waiting,
            _ => story.rng.usize(..=waiting),
        };
        let torn = if story.rng.bool() { story.rng.usize(..4) } else { 0 };
        if torn > 0 && kept < waiting {
            story.world.fired("torn write");
        }
        story.world.crash_keeping(id, kept, torn);
        story.spread_evidence(id);
        // Some are back in no time.
        let length = story.length() / if story.rng.u8(..3) == 0 { 20 } else { 1 };
        story.later(length, Deed::Recover(id));
        struck = true;
    }
    struck
}
