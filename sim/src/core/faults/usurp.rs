//! The leader is cut off, first from some and then from all, and goes on reading under its lease; the others, some of which
//! restart meanwhile, campaign around the moment at which the lease ends.

use quorate::types::{Monotonic, NodeId};

use super::Fault;
use crate::core::story::{Deed, Story};
use crate::core::weather::up_to;

pub(super) const FAULT: Fault = Fault { name: "cut leader", strike };

/// A leader that is going to be cut off, and until when its lease was when it was last looked at; it is looked at so often.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Cut {
    leader: NodeId,
    until: Option<Monotonic>,
    patience: u8,
}

fn strike(story: &mut Story<'_>, _: NodeId) -> bool {
    let Some(leader) = story.world.leader() else { return false };
    let mut others: Vec<NodeId> = story.world.ids().filter(|&other| other != leader).collect();
    if others.len() < 2 {
        return false;
    }
    story.rng.shuffle(&mut others);
    others.truncate(story.rng.usize(..=others.len() / 2));
    let election = story.world.election;
    let delay = if others.is_empty() { 0 } else { election + up_to(&mut story.rng, election) };
    let cut = story.world.partition(&[leader], &others);
    story.later(delay * 2 + election * 2, Deed::Mend(cut));
    let patience = if story.rng.bool() { PATIENCE } else { 0 };
    story.later(delay, Deed::Isolate(Cut { leader, until: None, patience }));
    true
}

/// So often it is looked for a leader with a fresh lease, eight times in a heartbeat interval.
const PATIENCE: u8 = 200;

/// Who is to be cut off: where leases are on, one whose lease was renewed just now, if somebody has one before long. Voters are bound
/// from the leader's last message on, and its lease lasts from its last answered round on: the nearer the two, the more it
/// matters how long each takes the other's to be.
fn choose(story: &mut Story<'_>, cut: Cut) -> Option<NodeId> {
    let world = &story.world;
    let has_leases = world.node(cut.leader).raft().is_some_and(|raft| raft.membership().lease_ms > 0);
    let holds = |&id: &NodeId| {
        let node = world.node(id);
        node.is_running() && node.lease.is_some_and(|lease| node.clock.at(world.now) < lease.until)
    };
    let leader = world.ids().find(holds).unwrap_or(cut.leader);
    let until = world.node(leader).lease.map(|lease| lease.until);
    let is_fresh = leader == cut.leader && cut.until.is_some() && until > cut.until;
    if !has_leases || is_fresh || cut.patience == 0 {
        return Some(leader);
    }
    let soon = world.heartbeat / 8;
    story.later(soon, Deed::Isolate(Cut { leader, until, patience: cut.patience - 1 }));
    None
}

/// Cuts the leader off from all others, which look for another one. Answers that are under way may still reach it.
pub(in crate::core) fn isolate(story: &mut Story<'_>, cut: Cut) {
    let Some(leader) = choose(story, cut) else { return };
    let others: Vec<NodeId> = story.world.ids().filter(|&other| other != leader).collect();
    let election = story.world.election;
    let mute = story.world.cut(others.iter().map(|&other| (leader, other)).collect());
    story.later(election * 2, Deed::Mend(mute));
    let hears_for = up_to(&mut story.rng, election / 2);
    story.later(hears_for, Deed::Deafen(leader));
    let does_restart = story.rng.u8(..3) == 0;
    // The last round left up to a heartbeat interval ago.
    let lease = story.world.node(leader).raft().map_or(0, |raft| u64::from(raft.membership().lease_ms));
    let lease = if lease == 0 { election } else { lease * 1_000_000 };
    let (begin, spread) = if does_restart { (0, lease) } else { (lease * 5 / 8, lease / 2) };
    for &id in &others {
        if does_restart && story.rng.bool() && story.world.node(id).is_running() {
            story.world.crash(id);
            let delay = up_to(&mut story.rng, election / 20);
            story.later(delay, Deed::Recover(id));
        }
        for _ in 0..6 {
            let delay = begin + up_to(&mut story.rng, spread);
            story.later(delay, Deed::Campaign(id));
        }
    }
    for _ in 0..30 {
        let delay = begin + up_to(&mut story.rng, spread * 3 / 2);
        story.later(delay, Deed::LeaseRead(leader));
    }
}

/// And then nothing reaches it.
pub(in crate::core) fn deafen(story: &mut Story<'_>, leader: NodeId) {
    let others = story.world.ids().filter(|&other| other != leader);
    let cut = story.world.cut(others.map(|other| (other, leader)).collect());
    let election = story.world.election;
    story.later(election * 3 / 2, Deed::Mend(cut));
}
