//! Links fail here and there: a node is left with one or two, or some pairs do not hear each other, so that nobody sees the
//! same group as the others do.

use quorate::types::NodeId;

use super::Fault;
use crate::core::story::{Deed, Story};

pub(super) const FAULT: Fault = Fault { name: "partial partition", strike };

fn strike(story: &mut Story<'_>, id: NodeId) -> bool {
    let ids: Vec<NodeId> = story.world.ids().collect();
    if ids.len() < 3 {
        return false;
    }
    let mut pairs = Vec::new();
    if story.rng.bool() {
        let mut others: Vec<NodeId> = ids.into_iter().filter(|&other| other != id).collect();
        story.rng.shuffle(&mut others);
        let kept = story.rng.usize(1..others.len());
        pairs.extend(others.into_iter().skip(kept).map(|other| (id, other)));
    } else {
        for (at, &one) in ids.iter().enumerate() {
            pairs.extend(ids[at + 1..].iter().filter(|_| story.rng.u8(..3) == 0).map(|&other| (one, other)));
        }
    }
    if pairs.is_empty() {
        return false;
    }
    let links = pairs.into_iter().flat_map(|(one, other)| [(one, other), (other, one)]);
    let cut = story.world.cut(links.collect());
    let length = story.length();
    story.later(length, Deed::Mend(cut));
    true
}
