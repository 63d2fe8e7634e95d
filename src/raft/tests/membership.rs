//! The layout of a configuration on disk and on the wire, and what is no configuration.

use std::collections::{BTreeMap, BTreeSet};

use crate::raft::{DecodeError, MemberRecord, Membership, Role};
use crate::types::{Incarnation, NodeId};

/// A joint configuration that uses every field.
fn example() -> Membership {
    let peers = [(1, "a:7"), (2, "b:7"), (3, "c:7")].map(|(id, peer)| (NodeId(id), peer.to_owned()));
    let mut membership = Membership::bootstrap(peers);
    let first = membership.members.get_mut(&NodeId(1)).unwrap();
    first.incarnation = Some(Incarnation(0x1122_3344_5566_7788));
    first.http = "a:8".to_owned();
    first.grpc = "a:9".to_owned();
    first.labels =
        BTreeMap::from([("rack".to_owned(), "r1".to_owned()), ("zone".to_owned(), "z".to_owned())]);
    first.version = "0.1".to_owned();
    first.supports = 3;
    membership.members.get_mut(&NodeId(2)).unwrap().role = Role::Learner;
    membership.members.get_mut(&NodeId(3)).unwrap().role = Role::Leaving;
    let joining =
        MemberRecord { id: NodeId(4), role: Role::Joining, ..membership.members[&NodeId(2)].clone() };
    membership.members.insert(NodeId(4), joining);
    (membership.version, membership.lease_ms) = (2, 500);
    membership.outgoing = Some(BTreeSet::from([NodeId(1), NodeId(3)]));
    membership.retired = BTreeSet::from([NodeId(9)]);
    membership
}

const GOLDEN: &str = "02 02000000 f4010000\
    04000000\
    0100000000000000 01 01 8877665544332211 03000000 613a37 03000000 613a38 03000000 613a39 \
    02000000 04000000 7261636b 02000000 7231 04000000 7a6f6e65 01000000 7a 03000000 302e31 03000000\
    0200000000000000 02 00 03000000 623a37 00000000 00000000 00000000 00000000 00000000\
    0300000000000000 03 00 03000000 633a37 00000000 00000000 00000000 00000000 00000000\
    0400000000000000 04 00 03000000 623a37 00000000 00000000 00000000 00000000 00000000\
    01 02000000 0100000000000000 0300000000000000\
    01000000 0900000000000000";

fn golden() -> Vec<u8> {
    let digits: Vec<u8> = GOLDEN.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn the_layout_is_pinned() {
    assert_eq!(example().encode(), golden());
    assert_eq!(Membership::decode(&golden()), Ok(example()));
}

#[test]
fn every_cut_and_every_excess_is_refused() {
    let bytes = golden();
    for len in 0..bytes.len() {
        assert_eq!(Membership::decode(&bytes[..len]), Err(DecodeError::Short), "cut at {len}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(Membership::decode(&longer), Err(DecodeError::Excess(1)));
}

/// Whatever can be decoded has exactly one encoding, and no byte makes the decoder panic or allocate without end.
#[test]
fn every_changed_byte_is_refused_or_is_another_configuration() {
    let bytes = golden();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(membership) = Membership::decode(&changed) {
                assert_eq!(membership.encode(), changed, "byte {at} bit {bit}");
                assert_ne!(membership, example());
            }
        }
    }
}

#[test]
fn newer_layouts_are_refused_loudly() {
    let mut bytes = golden();
    bytes[0] = 3;
    assert_eq!(Membership::decode(&bytes), Err(DecodeError::Version(3)));
}

#[test]
fn what_is_no_configuration() {
    type Break = (&'static str, fn(&mut Membership));
    let breaks: [Break; 9] = [
        ("no cluster version", |it| it.version = 0),
        ("no voter", |it| it.members.retain(|_, member| member.role != Role::Voter)),
        ("another id", |it| it.members.get_mut(&NodeId(1)).unwrap().id = NodeId(7)),
        ("ids begin at 1", |it| {
            let mut record = it.members[&NodeId(1)].clone();
            record.id = NodeId(0);
            it.members.insert(NodeId(0), record);
        }),
        ("retired id", |it| it.retired = BTreeSet::from([NodeId(2)])),
        ("no outgoing voter", |it| it.outgoing = Some(BTreeSet::from([NodeId(1)]))),
        ("without outgoing", |it| {
            it.members.remove(&NodeId(3));
            it.outgoing = Some(BTreeSet::new());
        }),
        ("no record", |it| it.outgoing = Some([1, 3, 5].map(NodeId).into())),
        ("too many voters", |it| {
            *it = Membership::bootstrap((1..=32).map(|id| (NodeId(id), String::new())));
        }),
    ];
    assert_eq!(example().validate(), Ok(()));
    for (expected, change) in breaks {
        let mut membership = example();
        change(&mut membership);
        let error = membership.validate().expect_err(expected);
        assert!(error.0.contains(expected), "{error} is not about {expected}");
    }
}
