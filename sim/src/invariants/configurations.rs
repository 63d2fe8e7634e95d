//! Configurations follow each other as the thesis has it (chapter 4): one step at a time, each after the one before it is
//! committed, and any quorum of one has a node in common with any quorum of the next.
//!
//! Judged of every configuration that is given to any disk, against the one before it in that log.

use std::collections::BTreeSet;

use quorate::raft::{EntryKind, Membership, Raft, RoleName};
use quorate::types::{Index, NodeId};

use super::{Invariant, Seen, is_quorum, majorities_of};
use crate::Violation;

/// What was judged already.
#[derive(Debug, Default)]
pub struct Configurations {
    /// The payload checksums of two that follow each other.
    known: BTreeSet<(u64, u32, Index)>,
}

impl Invariant for Configurations {
    fn name(&self) -> &'static str {
        "configurations"
    }

    fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let raft = seen.raft;
        for entry in seen.ready.writes.iter().flat_map(|write| &write.entries) {
            if entry.kind != EntryKind::Membership || entry.index <= raft.purged().0 {
                continue;
            }
            let (before, next) = (raft.membership_at(entry.index.prev()), raft.membership_at(entry.index));
            let complain = |why| {
                format!("{} writes configuration {} of term {}: {why}", seen.node, entry.index, entry.term)
            };
            // The first entry of all is the configuration that the group begins with: it changes none.
            let founds = entry.index == Index(1) && before == next;
            if raft.role() == RoleName::Leader && raft.term() == entry.term && !founds {
                one_in_flight(raft, entry.index).map_err(complain)?;
            }
            if self.known.insert((entry.term.0, entry.crc, entry.index)) {
                follows(before, next).map_err(complain)?;
            }
        }
        Ok(())
    }
}

/// A leader appends a configuration only when the one before it is committed, and an entry of its own term.
fn one_in_flight(raft: &Raft, index: Index) -> Result<(), Violation> {
    let commit = raft.commit();
    let newer = (commit.0..index.0 - 1)
        .map(Index)
        .find(|&at| raft.membership_at(at) != raft.membership_at(at.next()));
    if let Some(at) = newer {
        return Err(format!("the one at {} is not committed, {commit} is", at.next()));
    }
    if raft.term_at(commit) != Some(raft.term()) {
        return Err(format!("commit index {commit} is not of the leader's term"));
    }
    Ok(())
}

/// Whether one configuration may follow another.
fn follows(before: &Membership, next: &Membership) -> Result<(), Violation> {
    let ids = |membership: &Membership| -> BTreeSet<NodeId> { membership.members.keys().copied().collect() };
    let voters = |membership: &Membership| -> BTreeSet<NodeId> { membership.voters().collect() };
    if before.outgoing.is_some() {
        if next.outgoing.is_some() || voters(next) != voters(before) {
            return Err(format!("it does not leave the joint one before it: {next:?}"));
        }
    } else if voters(next) != voters(before) && next.outgoing.as_ref() != Some(&voters(before)) {
        return Err(format!("voters {:?} become {:?} at once", voters(before), voters(next)));
    }
    if !before.retired.is_subset(&next.retired) || !next.retired.is_disjoint(&ids(next)) {
        return Err(format!(
            "a removed id comes back: {:?} retired, then {:?}",
            before.retired, next.retired
        ));
    }
    if let Some(gone) = ids(before).difference(&ids(next)).find(|id| !next.retired.contains(id)) {
        return Err(format!("{gone} is gone and may come back"));
    }
    match disjoint(before, next) {
        Some(nodes) => Err(format!("{nodes:?} are a quorum of the one before it, and the others one of it")),
        None => Ok(()),
    }
}

/// A quorum of `one` whose complement is a quorum of `other`.
fn disjoint(one: &Membership, other: &Membership) -> Option<Vec<NodeId>> {
    let (one, other) = (majorities_of(one), majorities_of(other));
    let all: BTreeSet<NodeId> = one.iter().chain(&other).flatten().copied().collect();
    let all: Vec<NodeId> = all.into_iter().collect();
    assert!(all.len() < 20, "too many voters to try all sets: {all:?}");
    (0..1u32 << all.len()).find_map(|set| {
        let has =
            |id: NodeId| all.iter().position(|&known| known == id).is_some_and(|at| set & (1 << at) != 0);
        let is_split = is_quorum(&one, has) && is_quorum(&other, |id| !has(id));
        is_split.then(|| all.iter().copied().filter(|&id| has(id)).collect())
    })
}

#[cfg(test)]
mod tests {
    use quorate::raft::{Change, Role};

    use super::*;

    fn group(voters: u64) -> Membership {
        Membership::bootstrap((1..=voters).map(|id| (NodeId(id), String::new())))
    }

    #[test]
    fn what_the_core_makes_follows() {
        let three = group(3);
        let record = three.members[&NodeId(1)].clone();
        let learner = three.changed(Change::Add { id: None, record }).expect("it is added");
        follows(&three, &learner).expect("a learner comes");
        let joint = learner.changed(Change::Promote(NodeId(4))).expect("it is promoted");
        follows(&learner, &joint).expect("a joint one");
        follows(&joint, &joint.left().expect("it is joint")).expect("the joint one is left");
        let leaving = three.changed(Change::Remove(NodeId(3))).expect("it is removed");
        follows(&three, &leaving).expect("a joint one");
        follows(&leaving, &leaving.left().expect("it is joint")).expect("the joint one is left");
    }

    #[test]
    fn what_does_not_follow_is_found() {
        let three = group(3);
        assert!(follows(&three, &group(4)).is_err(), "without a joint one");
        let joint = three.changed(Change::Remove(NodeId(3))).expect("it is removed");
        assert!(follows(&joint, &three).is_err(), "back");
        let mut gone = three.clone();
        gone.members.remove(&NodeId(3));
        assert!(follows(&joint, &gone).is_err(), "the id is not retired");
        let mut back = joint.left().expect("it is joint");
        let retired = back.clone();
        back.retired.clear();
        assert!(follows(&retired, &back).is_err(), "a retired id is free again");
        assert!(disjoint(&group(3), &group(5)).is_some());
        assert!(disjoint(&group(3), &group(4)).is_none());
        let mut other = three.clone();
        other.members.values_mut().for_each(|member| member.role = Role::Learner);
        assert!(follows(&three, &other).is_err(), "nobody votes");
    }
}
