//! The group changes: members come, are promoted and go, the leader too; mostly at the leader.

use fastrand::Rng;
use quorate::raft::{Change, MemberRecord, Membership, ProposeError, Proposed, Role};
use quorate::types::NodeId;

use super::Operation;
use crate::core::group::{MEMBERS_MAX, NODES_MAX};
use crate::core::world::{World, position};
use crate::trace::event::{Fate, What};

pub(super) const ADD: Operation =
    Operation { weight: 4, is_restful: false, is_disturbing: false, is_change: true, perform: perform_add };

pub(super) const PROMOTE: Operation = Operation {
    weight: 2,
    is_restful: false,
    is_disturbing: false,
    is_change: true,
    perform: |world: &mut World, rng: &mut Rng, id: NodeId| {
        let at = world.leader().unwrap_or(id);
        let chosen = any_member(world, rng, at, |member| member.role != Role::Voter);
        if let Some(chosen) = chosen {
            let _ = change(world, at, Change::Promote(chosen), false);
        }
    },
};

pub(super) const REMOVE: Operation = Operation {
    weight: 4,
    is_restful: false,
    is_disturbing: true,
    is_change: true,
    perform: |world: &mut World, rng: &mut Rng, id: NodeId| {
        let at = world.leader().unwrap_or(id);
        let voters = world.group().voters().count();
        // A group that can get no new members any more keeps some.
        if voters <= 2 && (rng.u8(..4) > 0 || world.nodes.len() >= NODES_MAX) {
            return;
        }
        let any = any_member(world, rng, at, |_| true);
        let chosen = if rng.u8(..3) == 0 { Some(at) } else { any };
        if let Some(chosen) = chosen {
            let _ = change(world, at, Change::Remove(chosen), rng.u8(..8) == 0);
        }
    },
};

/// A member goes and another one takes its place, as when it lost its log: in one step.
pub(super) const REPLACE: Operation = Operation {
    weight: 2,
    is_restful: false,
    is_disturbing: true,
    is_change: true,
    perform: |world: &mut World, rng: &mut Rng, id: NodeId| {
        let at = world.leader().unwrap_or(id);
        if world.nodes.len() >= NODES_MAX {
            return;
        }
        if let Some(lost) = any_member(world, rng, at, |member| member.id != at) {
            let _ = bring_in(world, rng, at, |record| Change::Replace { id: lost, record });
        }
    },
};

/// A member of the configuration in force at a node.
fn any_member(
    world: &World,
    rng: &mut Rng,
    at: NodeId,
    is_meant: impl Fn(&MemberRecord) -> bool,
) -> Option<NodeId> {
    let raft = world.node(at).raft()?;
    let meant = raft.membership().members.values().filter(|member| is_meant(member));
    let meant: Vec<NodeId> = meant.map(|member| member.id).collect();
    (!meant.is_empty()).then(|| meant[rng.usize(..meant.len())])
}

fn perform_add(world: &mut World, rng: &mut Rng, id: NodeId) {
    let at = world.leader().unwrap_or(id);
    if world.nodes.len() >= NODES_MAX || world.group().members.len() >= MEMBERS_MAX {
        return;
    }
    let role = if rng.u8(..4) == 0 { Role::Learner } else { Role::Joining };
    let id = (rng.u8(..4) == 0).then(|| NodeId(rng.u64(1..=world.nodes.len() as u64 + 1)));
    let _ = add(world, rng, at, id, role);
}

/// Adds a member at a leader, and starts it.
pub(in crate::core) fn add(
    world: &mut World,
    rng: &mut Rng,
    at: NodeId,
    id: Option<NodeId>,
    role: Role,
) -> Option<NodeId> {
    bring_in(world, rng, at, |record| Change::Add { id, record: MemberRecord { role, ..record } })
}

/// Makes a change that brings in a member, and starts it.
fn bring_in(
    world: &mut World,
    rng: &mut Rng,
    at: NodeId,
    how: impl FnOnce(MemberRecord) -> Change,
) -> Option<NodeId> {
    let next = world.nodes.len() as u64 + 1;
    let peers = [(NodeId(next), format!("node{next}:7000"))];
    let record = Membership::bootstrap(peers).members.into_values().next()?;
    let before: Vec<NodeId> = world.node(at).raft()?.membership().members.keys().copied().collect();
    let known = world.known_members();
    change(world, at, how(record), false).ok()?;
    let members = &world.node(at).raft()?.membership().members;
    let added = members.keys().copied().find(|id| !before.contains(id))?;
    // A leader of before may give away an id that another one has given away, too: who has it counts, or may.
    if !known.contains(&added) {
        world.admit(added, rng);
    }
    Some(added)
}

/// Asks for a change of the configuration.
pub(in crate::core) fn change(
    world: &mut World,
    id: NodeId,
    change: Change,
    force: bool,
) -> Result<Proposed, ProposeError> {
    let request = world.oracle.next_number();
    let operation = match &change {
        Change::Add { id, record } => format!("add {id:?} as {:?}", record.role),
        other => format!("{other:?}{}", if force { ", forced" } else { "" }),
    };
    world.trace.event(0, || What::Begun { request, client: id.0, to: id.0, operation });
    let name = match change {
        Change::Add { .. } => "additions",
        Change::Promote(_) => "promotions asked for",
        Change::Remove(gone) if gone == id => "removals of the leader",
        Change::Remove(_) => "removals",
        Change::Replace { .. } => "replacements",
        Change::Update(_) => "records published",
        Change::Version(_) | Change::Lease(_) => "settings changed",
    };
    if world.nodes.iter().any(|node| node.disk.is_in_doubt()) {
        // Whoever is in doubt has no vote: that of a member that comes, or stays, could be needed for ever.
        return Err(ProposeError::Pending);
    }
    if world.node(id).takes_nothing {
        // Its state is lost, and its core has not heard of that yet: it would send those away who could give it another one.
        return Err(ProposeError::Pending);
    }
    let sends_away = matches!(change, Change::Remove(_) | Change::Replace { .. });
    let is_hurt = |id: &NodeId| world.node(*id).disk().damaged().next().is_some();
    if sends_away && world.known_members().iter().filter(|id| position(**id) < world.nodes.len()).any(is_hurt)
    {
        // Who goes may have the only good copy.
        return Err(ProposeError::Pending);
    }
    let result = world.input(position(id), |raft, now| raft.change(now, change, force));
    if result.is_ok() {
        world.count(name);
    }
    let outcome = if result.is_ok() { Fate::Done } else { Fate::NotApplied };
    world.trace.event(0, || What::Ended { request, outcome, answer: format!("{result:?}") });
    result
}
