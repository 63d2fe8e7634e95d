//! A node crashes and finds the end of its log lost, so that it cannot tell what stood there: some entries, or many, or what
//! replaced others last. Of what is committed a good copy remains elsewhere, and those that are in doubt or damaged are a
//! minority (see [`super::rot`]), in a group that is not changing: a node in doubt has no vote, and a configuration that comes
//! into force meanwhile could need it.

use quorate::raft::Entry;
use quorate::types::{Index, NodeId};

use super::Fault;
use super::rot::ailing;
use crate::core::story::{Deed, Story};
use crate::core::world::{World, position};

pub(super) const FAULT: Fault = Fault { name: "lost tail", strike };

fn strike(story: &mut Story<'_>, id: NodeId) -> bool {
    let (kept, is_far, was_older) = (story.rng.u64(..4), story.rng.u8(..6) == 0, story.rng.bool());
    let disk = story.world.node(id).disk();
    let (first, last) = (disk.purged().0 + 1, disk.last().0.0);
    if first > last {
        return false;
    }
    let from = if is_far { story.rng.u64(first..=last) } else { first.max(last.saturating_sub(kept)) };
    if !is_safe(story.world, id, Index(from)) {
        return false;
    }
    if story.world.node(id).raft().is_some() {
        story.world.crash(id);
    }
    story.world.lose_end(id, Index(from), was_older);
    let length = story.length() / 4;
    story.later(length, Deed::Recover(id));
    true
}

/// Whether the log may be lost there from this entry on.
fn is_safe(world: &World, id: NodeId, from: Index) -> bool {
    let mut lost = ailing(world);
    lost.push(id);
    let others: Vec<_> = world.group().members.keys().filter(|&&other| other != id).collect();
    let has_copy = |entry: &Entry| {
        others.iter().any(|&&other| {
            let disk = &world.nodes[position(other)].disk;
            let is_good = disk.get(entry.index) == Some(entry) && !disk.is_damaged(entry.index);
            is_good || disk.folded().index >= entry.index
        })
    };
    let mut entries = world.node(id).disk().from(from);
    world.can_do_without(&lost)
        && world.is_unchanging()
        && entries.all(|entry| entry.index > world.committed || has_copy(entry))
}
