//! The nodes fall into two halves that do not hear each other. A node alone in its half is the commonest case.

use quorate::types::NodeId;

use super::Fault;
use crate::core::story::{Deed, Story};

pub(super) const FAULT: Fault = Fault { name: "partition", strike };

fn strike(story: &mut Story<'_>, id: NodeId) -> bool {
    let mut others: Vec<NodeId> = story.world.ids().filter(|&other| other != id).collect();
    if others.is_empty() {
        return false;
    }
    story.rng.shuffle(&mut others);
    let company = if story.rng.bool() { 0 } else { story.rng.usize(..others.len()) };
    let mut here = others.split_off(others.len() - company);
    here.push(id);
    let cut = story.world.partition(&here, &others);
    let length = story.length();
    story.later(length, Deed::Mend(cut));
    true
}
