//! Messages of the past, some of long ago, come once more; sometimes a whole snapshot.

use quorate::types::NodeId;

use super::Fault;
use crate::core::story::Story;

pub(super) const FAULT: Fault = Fault { name: "replay", strike };

fn strike(story: &mut Story<'_>, _: NodeId) -> bool {
    if story.rng.u8(..3) == 0 && story.world.repeat_transfer() {
        return true;
    }
    let count = story.rng.usize(1..12);
    for _ in 0..count {
        let Some(envelope) = story.world.net.recall(&mut story.rng) else { return false };
        story.world.replay(envelope);
    }
    true
}
