//! The arithmetic of majorities against a second implementation that is too simple to be wrong (covers H5, H6).

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::raft::{Quorum, Tally};
use crate::types::NodeId;

/// More than half of `voters` are in `yes`; no voters, no constraint.
fn naive_majority(voters: &BTreeSet<u64>, yes: &BTreeSet<u64>) -> bool {
    voters.is_empty() || 2 * voters.intersection(yes).count() > voters.len()
}

fn naive_quorum(halves: &(BTreeSet<u64>, BTreeSet<u64>), yes: &BTreeSet<u64>) -> bool {
    naive_majority(&halves.0, yes) && naive_majority(&halves.1, yes)
}

/// The largest value that a quorum has reached, found by trying each.
fn naive_watermark(halves: &(BTreeSet<u64>, BTreeSet<u64>), values: &BTreeMap<u64, u64>) -> u64 {
    let reached = |mark: u64| {
        let yes = values.iter().filter(|&(_, &value)| value >= mark).map(|(&id, _)| id).collect();
        naive_quorum(halves, &yes)
    };
    let candidates = values.values().copied().chain([0, u64::MAX]);
    candidates.filter(|&mark| reached(mark)).max().unwrap()
}

fn quorum(halves: &(BTreeSet<u64>, BTreeSet<u64>)) -> Quorum {
    Quorum::new(halves.0.iter().copied().map(NodeId), halves.1.iter().copied().map(NodeId))
}

fn voters() -> impl Strategy<Value = (BTreeSet<u64>, BTreeSet<u64>)> {
    let half = || prop::collection::btree_set(1..12u64, 0..8);
    (half(), half())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn watermark_is_the_naive_one(halves in voters(), values in prop::collection::vec(0..20u64, 12)) {
        let all: BTreeMap<u64, u64> = (1..12).zip(values).collect();
        prop_assert_eq!(quorum(&halves).watermark(|id| all[&id.0]), naive_watermark(&halves, &all));
    }

    #[test]
    fn reached_is_the_naive_one(halves in voters(), yes in prop::collection::btree_set(1..12u64, 0..12)) {
        let reached = quorum(&halves).is_reached(|id| yes.contains(&id.0));
        prop_assert_eq!(reached, naive_quorum(&halves, &yes));
    }

    /// Won: those who said yes are a quorum. Lost: not even with all who did not answer. Else it is pending.
    #[test]
    fn tally_is_the_naive_one(
        halves in voters(),
        votes in prop::collection::btree_map(1..12u64, any::<bool>(), 0..12),
    ) {
        let yes: BTreeSet<u64> = votes.iter().filter(|&(_, &yes)| yes).map(|(&id, _)| id).collect();
        let hope: BTreeSet<u64> = (1..12).filter(|id| votes.get(id) != Some(&false)).collect();
        let expected = if naive_quorum(&halves, &yes) {
            Tally::Won
        } else if naive_quorum(&halves, &hope) {
            Tally::Pending
        } else {
            Tally::Lost
        };
        prop_assert_eq!(quorum(&halves).tally(|id| votes.get(&id.0).copied()), expected);
    }

    /// Any two quorums of one configuration share a voter: all of Raft's safety rests on it.
    #[test]
    fn quorums_intersect(
        halves in voters(),
        one in prop::collection::btree_set(1..12u64, 0..12),
        other in prop::collection::btree_set(1..12u64, 0..12),
    ) {
        let quorum = quorum(&halves);
        let are_quorums = quorum.is_reached(|id| one.contains(&id.0)) && quorum.is_reached(|id| other.contains(&id.0));
        if are_quorums && !halves.0.is_empty() {
            prop_assert!(one.intersection(&other).any(|id| quorum.contains(NodeId(*id))));
        }
    }
}

#[test]
fn majorities_by_size() {
    for (voters, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)] {
        let quorum = Quorum::new((1..=voters).map(NodeId), []);
        assert!(!quorum.is_reached(|id| id.0 < needed), "{} of {voters}", needed - 1);
        assert!(quorum.is_reached(|id| id.0 <= needed), "{needed} of {voters}");
    }
}

#[test]
fn a_joint_configuration_needs_both_majorities() {
    let quorum = Quorum::new([1, 2, 3].map(NodeId), [3, 4, 5].map(NodeId));
    assert!(!quorum.is_reached(|id| [1, 2, 3].contains(&id.0)));
    assert!(!quorum.is_reached(|id| [3, 4, 5].contains(&id.0)));
    assert!(quorum.is_reached(|id| [1, 3, 4].contains(&id.0)));
    assert_eq!(quorum.watermark(|id| id.0), 2, "the smaller of 2 and 4");
}
