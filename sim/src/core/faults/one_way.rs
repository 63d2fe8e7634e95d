//! A node is deaf or mute, to all others or to some.

use quorate::types::NodeId;

use super::Fault;
use crate::core::story::{Deed, Story};

pub(super) const FAULT: Fault = Fault { name: "one-way cut", strike };

fn strike(story: &mut Story<'_>, id: NodeId) -> bool {
    let (is_deaf, is_total) = (story.rng.bool(), story.rng.bool());
    let others: Vec<NodeId> = story.world.ids().filter(|&other| other != id).collect();
    let others: Vec<NodeId> = others.into_iter().filter(|_| is_total || story.rng.bool()).collect();
    if others.is_empty() {
        return false;
    }
    let links = others.into_iter().map(|other| if is_deaf { (other, id) } else { (id, other) });
    let cut = story.world.cut(links.collect());
    let length = story.length();
    story.later(length, Deed::Mend(cut));
    true
}
