//! Configurations, as log entries carry them.

use std::collections::{BTreeMap, BTreeSet};

use crate::raft::{MemberRecord, Membership, Quorum, Role};
use crate::types::{Incarnation, NodeId};

/// A configuration that is accepted is one that a group can be in, and these bytes are its only encoding.
pub(crate) fn check(input: &[u8]) -> bool {
    let membership = match Membership::decode(input) {
        Ok(membership) => membership,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal without a reason");
            return false;
        }
    };
    assert_eq!(membership.validate(), Ok(()));
    assert_eq!(membership.encode(), input, "two encodings of {membership:?}");
    let quorum = Quorum::of(&membership);
    assert!(quorum.is_reached(|id| membership.is_voter(id)), "all voters are no quorum");
    assert!(!quorum.is_reached(|_| false), "nobody is a quorum");
    true
}

/// A bootstrap configuration, and a joint one with everything in it.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let plain = Membership::bootstrap((1..=3).map(|id| (NodeId(id), format!("n{id}:7000"))));
    let member = |id: u64, role| MemberRecord {
        id: NodeId(id),
        incarnation: Some(Incarnation(id << 50)),
        role,
        peer: format!("n{id}:7000"),
        http: format!("http://n{id}:8080"),
        grpc: format!("n{id}:9000"),
        labels: BTreeMap::from([("rack".to_owned(), "r1".to_owned()), ("zone".to_owned(), String::new())]),
        version: "0.1.0".to_owned(),
        supports: 1,
    };
    let members = [
        member(1, Role::Voter),
        member(2, Role::Leaving),
        member(4, Role::Learner),
        member(5, Role::Joining),
    ];
    let joint = Membership {
        version: 2,
        lease_ms: 500,
        members: members.into_iter().map(|member| (member.id, member)).collect(),
        outgoing: Some(BTreeSet::from([NodeId(1), NodeId(2)])),
        retired: BTreeSet::from([NodeId(3)]),
    };
    vec![("bootstrap", plain.encode().to_vec()), ("joint", joint.encode().to_vec())]
}
