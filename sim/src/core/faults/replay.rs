//! Messages of the past, some of long ago, come once more.

use quorate::types::NodeId;

use super::Fault;
use crate::core::story::Story;

pub(super) const FAULT: Fault = Fault { name: "replay", strike };

fn strike(story: &mut Story<'_>, _: NodeId) -> bool {
    let count = story.rng.usize(1..12);
    for _ in 0..count {
        let Some(envelope) = story.world.net.recall(&mut story.rng) else { return false };
        story.world.replay(envelope);
    }
    true
}
