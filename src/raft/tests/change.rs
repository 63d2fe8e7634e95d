//! What each change makes of a configuration. The names are those of etcd's `confchange/testdata`, where what is pinned
//! is the same; what etcd's quorums can do and ours cannot (several changes at once) is made of single ones.

use super::script::members::describe;
use crate::raft::{Change, MEMBERS_MAX, MemberRecord, Membership, ProposeError, Role};
use crate::types::{Incarnation, NodeId};

fn group(voters: u64) -> Membership {
    super::node::membership(voters, 0)
}

fn record(role: Role) -> MemberRecord {
    MemberRecord { role, ..group(1).members[&NodeId(1)].clone() }
}

fn add(id: u64) -> Change {
    Change::Add { id: Some(NodeId(id)), record: record(Role::Joining) }
}

/// Makes changes one after the other, each through its joint configuration, and returns all configurations.
fn play(first: &Membership, changes: impl IntoIterator<Item = Change>) -> Vec<String> {
    let mut membership = first.clone();
    let mut seen = Vec::new();
    for change in changes {
        membership = membership.changed(change).unwrap_or_else(|error| panic!("{error:?} after {seen:?}"));
        seen.push(describe(&membership));
        if let Some(left) = membership.left() {
            membership = left;
            seen.push(describe(&membership));
        }
        assert_eq!(Membership::decode(&membership.encode()), Ok(membership.clone()));
    }
    seen
}

#[test]
fn simple_learner_comes_and_goes() {
    let learner = Change::Add { id: None, record: record(Role::Learner) };
    let seen = play(&group(1), [learner, Change::Remove(NodeId(2))]);
    assert_eq!(seen, ["{1 learner 2}", "{1 gone 2}"]);
}

#[test]
fn joint_autoleave() {
    let seen = play(&group(2), [add(3), Change::Promote(NodeId(3)), Change::Remove(NodeId(1))]);
    assert_eq!(
        seen,
        ["{1 2 joining 3}", "{1 2 3 / 1 2}", "{1 2 3}", "{2 3 leaving 1 / 1 2 3}", "{2 3 gone 1}",]
    );
}

/// From one voter to two and back: there is no second rule for small groups.
#[test]
fn simple_promote_and_demote_are_joint() {
    let seen = play(&group(1), [add(2), Change::Promote(NodeId(2)), Change::Remove(NodeId(1))]);
    assert_eq!(seen[1..], ["{1 2 / 1}", "{1 2}", "{2 leaving 1 / 1 2}", "{2 gone 1}"]);
}

/// One step for both; the role of who comes is that of who goes, and its id is new.
#[test]
fn a_lost_member_is_replaced() {
    let replace = |id| Change::Replace { id: NodeId(id), record: record(Role::Voter) };
    let seen = play(&group(3), [replace(3), Change::Promote(NodeId(4)), replace(4)]);
    assert_eq!(
        seen,
        [
            "{1 2 joining 4 leaving 3 / 1 2 3}",
            "{1 2 joining 4 gone 3}",
            "{1 2 4 / 1 2 gone 3}",
            "{1 2 4 gone 3}",
            "{1 2 joining 5 leaving 4 / 1 2 4 gone 3}",
            "{1 2 joining 5 gone 3 gone 4}",
        ]
    );
    let learner = Change::Add { id: None, record: record(Role::Learner) };
    let seen = play(&group(2), [learner, replace(3), replace(4)]);
    assert_eq!(seen, ["{1 2 learner 3}", "{1 2 learner 4 gone 3}", "{1 2 learner 5 gone 3 gone 4}"]);
    assert_eq!(group(2).changed(replace(3)), Err(ProposeError::NotMember));
    assert_eq!(group(1).changed(replace(1)), Err(ProposeError::LastVoter));
    // Where there is no room for one more there is room for another one.
    let mut full = group(1);
    while let Ok(next) = full.changed(Change::Add { id: None, record: record(Role::Joining) }) {
        full = next;
    }
    assert_eq!(full.members.len(), MEMBERS_MAX);
    assert_eq!(full.changed(replace(2)).map(|next| next.members.len()), Ok(MEMBERS_MAX));
}

#[test]
fn joint_idempotency() {
    let same = Incarnation(7);
    let known =
        Change::Add { id: None, record: MemberRecord { incarnation: Some(same), ..record(Role::Joining) } };
    let once = group(3).changed(known.clone()).unwrap();
    assert_eq!(once.changed(known), Err(ProposeError::Exists { id: NodeId(4) }), "the same node again");
    assert_eq!(once.changed(add(4)), Err(ProposeError::Exists { id: NodeId(4) }), "another under its id");
    assert_eq!(once.changed(Change::Promote(NodeId(1))), Err(ProposeError::Exists { id: NodeId(1) }));
    assert_eq!(group(3).left(), None, "what is not joint is not left");
}

/// A voter on its way out stays a member until the joint configuration is left, and learners are as they were.
#[test]
fn joint_learners_next() {
    let learner = Change::Add { id: None, record: record(Role::Learner) };
    let seen = play(&group(3), [learner, Change::Remove(NodeId(2)), Change::Promote(NodeId(4))]);
    assert_eq!(
        seen[1..],
        [
            "{1 3 learner 4 leaving 2 / 1 2 3}",
            "{1 3 learner 4 gone 2}",
            "{1 3 4 / 1 3 gone 2}",
            "{1 3 4 gone 2}",
        ]
    );
}

#[test]
fn joint_safety() {
    let joint = group(3).changed(Change::Remove(NodeId(2))).unwrap();
    for change in [add(4), Change::Remove(NodeId(1)), Change::Promote(NodeId(1)), Change::Lease(5)] {
        assert_eq!(joint.changed(change), Err(ProposeError::Pending));
    }
    assert_eq!(group(1).changed(Change::Remove(NodeId(1))), Err(ProposeError::LastVoter));
    assert_eq!(group(3).changed(Change::Remove(NodeId(4))), Err(ProposeError::NotMember));
    assert_eq!(group(3).changed(Change::Promote(NodeId(4))), Err(ProposeError::NotMember));
}

#[test]
fn zero() {
    let Err(ProposeError::Invalid(invalid)) = group(1).changed(add(0)) else { panic!("no node has id 0") };
    assert_eq!(invalid.0, "node ids begin at 1");
}

#[test]
fn ids_are_never_used_again() {
    let learner = || Change::Add { id: None, record: record(Role::Learner) };
    let seen = play(&group(3), [learner(), Change::Remove(NodeId(4)), learner()]);
    assert_eq!(seen.last().unwrap(), "{1 2 3 learner 5 gone 4}");
    let gone = group(3).changed(Change::Remove(NodeId(3))).unwrap().left().unwrap();
    assert_eq!(gone.changed(add(3)), Err(ProposeError::Retired { id: NodeId(3) }));
    let far = group(1).changed(add(u64::MAX)).unwrap();
    assert_eq!(play(&far, [learner()]).last().unwrap(), &format!("{{1 learner 2 joining {}}}", u64::MAX));
}

/// A new member never begins as a voter, whatever its record says.
#[test]
fn nobody_comes_with_a_vote() {
    for role in [Role::Voter, Role::Leaving, Role::Joining] {
        let next = group(1).changed(Change::Add { id: None, record: record(role) }).unwrap();
        assert_eq!(describe(&next), "{1 joining 2}");
    }
}

#[test]
fn members_and_voters_are_bounded() {
    let most = group(1);
    let learners = (2..=MEMBERS_MAX as u64).map(add);
    let full = learners.fold(most, |group, add| group.changed(add).unwrap());
    assert_eq!(full.changed(add(1000)), Err(ProposeError::TooMany));
    let mut voters = group(31);
    voters = voters.changed(add(32)).unwrap();
    assert_eq!(voters.changed(Change::Promote(NodeId(32))), Err(ProposeError::TooMany));
}

#[test]
fn a_record_changes_but_not_its_role_nor_its_node() {
    let mut known = group(2);
    known.members.get_mut(&NodeId(2)).unwrap().incarnation = Some(Incarnation(7));
    let update = |incarnation| {
        let new =
            MemberRecord { id: NodeId(2), peer: "new:1".to_owned(), incarnation, ..record(Role::Learner) };
        known.changed(Change::Update(new)).map(|next| next.members[&NodeId(2)].clone())
    };
    for incarnation in [None, Some(Incarnation(7))] {
        let member = update(incarnation).unwrap();
        assert_eq!((member.role, member.incarnation), (Role::Voter, Some(Incarnation(7))));
        assert_eq!(member.peer, "new:1");
    }
    assert_eq!(update(Some(Incarnation(8))), Err(ProposeError::NotMember), "another node");
    let unknown = MemberRecord { id: NodeId(3), ..record(Role::Voter) };
    assert_eq!(known.changed(Change::Update(unknown)), Err(ProposeError::NotMember));
}

#[test]
fn the_version_is_what_all_support() {
    let mut known = group(2);
    let refused = |supported| Err(ProposeError::Version { current: 1, supported });
    assert_eq!(known.changed(Change::Version(2)), refused(0), "nobody has said what it supports");
    known.members.get_mut(&NodeId(1)).unwrap().supports = 3;
    known.members.get_mut(&NodeId(2)).unwrap().supports = 2;
    assert_eq!(known.changed(Change::Version(3)), refused(2), "one does not");
    assert_eq!(known.changed(Change::Version(1)), refused(2), "it is that already");
    let raised = known.changed(Change::Version(2)).unwrap();
    assert_eq!(raised.version, 2);
    assert!(raised.allows(2) && !raised.allows(3));
    let too_old = Err(ProposeError::Version { current: 2, supported: 1 });
    let old = Change::Add { id: None, record: MemberRecord { supports: 1, ..record(Role::Joining) } };
    assert_eq!(raised.changed(old), too_old);
    let older = MemberRecord { supports: 1, ..raised.members[&NodeId(2)].clone() };
    assert_eq!(raised.changed(Change::Update(older)), too_old, "a member went back to its old binary");
    assert_eq!(raised.changed(Change::Lease(250)).unwrap().lease_ms, 250);
}

#[test]
fn the_version_waits_for_learners() {
    let mut known = group(2);
    known.members.values_mut().for_each(|member| member.supports = 2);
    for (supports, raised) in [(0, None), (1, None), (2, Some(2))] {
        let learner = MemberRecord { supports, ..record(Role::Learner) };
        let with = known.changed(Change::Add { id: None, record: learner }).unwrap();
        assert_eq!(with.changed(Change::Version(2)).ok().map(|next| next.version), raised, "{supports}");
    }
}
