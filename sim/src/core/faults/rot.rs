//! Entries rot on a node's disk: some at once, of which at least one good copy remains on another member's. Those whose disks
//! are damaged are a minority: where the others could not decide alone, a damaged node whose log is the longest, and whose
//! lost entries they have purged, neither leads nor finds a leader that could send it a snapshot. The node finds
//! it when it reads them, when a scrub comes by, or at its next start, which may come at once.

use quorate::raft::EntryKind;
use quorate::types::{Index, NodeId};

use super::Fault;
use crate::core::story::{Deed, Story};
use crate::core::world::{World, position};

pub(super) const FAULT: Fault = Fault { name: "rot", strike };

fn strike(story: &mut Story<'_>, id: NodeId) -> bool {
    let disk = story.world.node(id).disk();
    let (first, last) = (disk.purged().0 + 1, disk.last().0.0);
    if first > last {
        return false;
    }
    // The newest entries are the ones that matter most, but for those after the checkpoint.
    let from = match story.rng.u8(..3) {
        0 => first,
        1 => first.max(disk.folded().index.0 + 1).min(last),
        _ => first.max(last.saturating_sub(4)),
    };
    let at = story.rng.u64(from..=last);
    let count = story.rng.u64(1..=4);
    let mut struck = false;
    for index in (at..=last).take(usize::try_from(count).unwrap_or(1)).map(Index) {
        if is_safe(story.world, id, index) {
            story.world.damage(id, index);
            struck = true;
        }
    }
    if !struck {
        return false;
    }
    match story.rng.u8(..3) {
        0 => story.world.scrub(id),
        1 if story.world.node(id).raft().is_some() => {
            story.world.crash(id);
            let length = story.length() / 4;
            story.later(length, Deed::Recover(id));
        }
        _ => {
            let length = story.length();
            story.later(length, Deed::Scrub(id));
        }
    }
    true
}

/// The nodes whose log is damaged or in doubt, or whose state is lost.
pub(super) fn ailing(world: &World) -> Vec<NodeId> {
    let ails = |id: &NodeId| {
        let disk = world.node(*id).disk();
        disk.damaged().next().is_some() || disk.is_in_doubt() || disk.is_stateless()
    };
    world.ids().filter(ails).collect()
}

/// Whether this entry may be lost there. A log whose configuration is lost does not open at all.
fn is_safe(world: &World, id: NodeId, index: Index) -> bool {
    let Some(entry) = world.node(id).disk().get(index) else { return false };
    let has = |other: &NodeId| {
        let disk = &world.nodes[position(*other)].disk;
        *other != id && disk.get(index) == Some(entry) && !disk.is_damaged(index)
    };
    let mut damaged = ailing(world);
    damaged.push(id);
    entry.kind != EntryKind::Membership
        && world.can_do_without(&damaged)
        && world.group().members.keys().any(has)
}
