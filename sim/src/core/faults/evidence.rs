//! Some nodes are told that their leader's process has ended, and it has not. No driver does this: it is here because no
//! harm may come of it, only an election.

use quorate::types::NodeId;

use super::Fault;
use crate::core::story::Story;

pub(super) const FAULT: Fault = Fault { name: "false evidence", strike };

fn strike(story: &mut Story<'_>, id: NodeId) -> bool {
    let others: Vec<NodeId> = story.world.ids().filter(|&other| other != id).collect();
    let mut struck = false;
    for other in std::iter::once(id).chain(others) {
        let leader = story.world.node(other).raft().and_then(|raft| raft.leader());
        let Some(leader) = leader.filter(|&leader| leader != other) else { continue };
        if story.world.node(other).is_running() && story.rng.u8(..3) > 0 {
            story.world.died(other, leader);
            struck = true;
        }
    }
    struck
}
