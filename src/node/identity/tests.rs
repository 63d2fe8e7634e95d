use super::*;
use crate::wal::fs::testing::Fault;

fn content() -> Content {
    let expected = Expected {
        node: NodeId(2),
        token: "t",
        members: vec![NodeId(3), NodeId(1), NodeId(2)],
        joins: false,
    };
    let mut content = Content::new(&expected, Incarnation(0x0123_4567_89ab_cdef));
    content.peers.insert(NodeId(1), Incarnation(7));
    content
}

#[test]
fn the_file_has_this_form() {
    let golden = "quorate identity 1\nnode 2\ncluster 3900b7030422a03c\ntoken-hash 76033e85f0acf92d\n\
                  incarnation 0123456789abcdef\nstate creating\npeer 1 0000000000000007\ncrc 6721f31a\n";
    assert_eq!(content().encode(), golden);
    assert_eq!(Content::decode(golden.as_bytes()), Ok(content()));
}

#[test]
fn a_recovered_directory_names_where_its_files_are() {
    let before = content().encode();
    let fs = crate::wal::fs::testing::MemFs::default();
    let dir = Path::new("/data");
    fs::replace(&fs, &dir.join(FILE), before.as_bytes()).expect("written");
    let owner = Owner { cluster: ClusterId(0xabc), node: NodeId(9), incarnation: Incarnation(7) };
    recover(&fs, dir, owner).expect("recorded");
    let text = "quorate identity 1\nnode 9\ncluster 0000000000000abc\ntoken-hash 76033e85f0acf92d\n\
                incarnation 0000000000000007\nstate ready\nrecovered 1\ncrc ";
    let found = String::from_utf8(fs::read_all(&fs, &dir.join(FILE)).expect("there")).expect("text");
    assert!(found.starts_with(text), "{found}");
    let facts = read(&fs, dir).expect("sound").expect("there");
    assert_eq!((facts.owner, facts.home(dir)), (owner, dir.join("recovered-1")));
    assert_eq!(facts.next_home(dir), dir.join("recovered-2"));
    let kept = fs::read_all(&fs, &dir.join("identity.before-recovered-1")).expect("kept");
    assert_eq!(kept, before.as_bytes());
    // Without its identity such a directory is no new one.
    fs.remove(&dir.join(FILE)).expect("removed");
    let expected = Expected { node: NodeId(9), token: "t", members: vec![NodeId(9)], joins: false };
    let opened = Identity::open(std::sync::Arc::new(fs), dir, &expected, 1);
    assert!(matches!(opened, Err(Error::Damaged { .. })));
}

fn opened(fs: &crate::wal::fs::testing::MemFs, node: u64) -> Result<Identity, Error> {
    let members = vec![NodeId(1), NodeId(2), NodeId(3)];
    let expected = Expected { node: NodeId(node), token: "t", members, joins: false };
    Identity::open(fs.shared(), Path::new("/data"), &expected, 7)
}

/// Twice in a row; and in whatever home an earlier try has left something, nothing is begun.
#[test]
fn a_log_that_is_given_up_makes_another_node_of_its_directory() {
    let (fs, dir) = (crate::wal::fs::testing::MemFs::default(), Path::new("/data"));
    let made = opened(&fs, 2).expect("a new one");
    made.first_met(NodeId(1), Incarnation(9)).expect("recorded");
    made.set_ready().expect("recorded");
    let (cluster, before) = (made.cluster(), fs.bytes(&dir.join(FILE)));
    let first = made.give_up(Incarnation(0x11)).expect("recorded");
    assert_eq!(first, Former { node: NodeId(2), incarnation: Incarnation(7), recovered: 0 });
    assert_eq!(fs.bytes(&dir.join("identity.before-recovered-1")), before);
    let golden = format!(
        "quorate identity 1\nnode 0\ncluster {:016x}\ntoken-hash 76033e85f0acf92d\nincarnation 0000000000000011\n\
         state joining\nrecovered 1\nreplaces 2 0000000000000007 0\npeer 1 0000000000000009\ncrc ",
        cluster.0
    );
    let text = String::from_utf8(fs.bytes(&dir.join(FILE))).expect("text");
    assert!(text.starts_with(&golden), "{text}");
    assert_eq!(fs.bytes(&dir.join(COPY)), fs.bytes(&dir.join(FILE)));
    // The id that it had, or none, is still this directory; another one is not, though it asks for an id.
    assert!(matches!(opened(&fs, 3), Err(Error::Foreign { .. })));
    let again = opened(&fs, 2).expect("its own");
    assert!(again.is_joining() && opened(&fs, 0).is_ok());
    assert_eq!((again.incarnation(), again.home(dir)), (Incarnation(0x11), dir.join("recovered-1")));
    again.set_joined(cluster, NodeId(4)).expect("recorded");
    again.set_ready().expect("recorded");
    let left = fs.create(&dir.join("recovered-2/state.redb")).expect("created");
    left.sync().expect("synced");
    let second = again.give_up(Incarnation(0x12)).expect("recorded");
    assert_eq!(second, Former { node: NodeId(4), incarnation: Incarnation(0x11), recovered: 1 });
    for id in [2, 4] {
        let known = opened(&fs, id).expect("its own");
        assert_eq!(known.formers(), [first, second]);
        assert_eq!(known.home(dir), dir.join("recovered-3"), "in recovered-2 there is something");
    }
    assert!(matches!(opened(&fs, 1), Err(Error::Foreign { .. })));
}

/// At whichever call the power goes: the directory is the member that it was, or one that asks in its place, and then
/// always under the same incarnation.
#[test]
fn a_crash_while_a_log_is_given_up_leaves_the_one_or_the_other() {
    for keeps in [false, true] {
        let (mut gave_up, mut calls) = (false, 0);
        while !gave_up {
            let fs = crate::wal::fs::testing::MemFs::default();
            let made = opened(&fs, 2).expect("a new one");
            made.set_ready().expect("recorded");
            fs.fail_at(fs.calls() + calls, Fault::Stop);
            let result = made.give_up(Incarnation(0x11));
            fs.crash(&mut |_| keeps);
            let after = opened(&fs, 2).expect("a directory that starts");
            match after.is_joining() {
                true => assert_eq!((after.node(), after.incarnation()), (NodeId(0), Incarnation(0x11))),
                false => {
                    assert!(after.is_ready() && result.is_err(), "call {calls}");
                    assert_eq!((after.node(), after.incarnation()), (NodeId(2), Incarnation(7)));
                    assert_eq!(after.give_up(Incarnation(0x13)).expect("once more").node, NodeId(2));
                }
            }
            gave_up = result.is_ok();
            calls += 1;
        }
        assert!(calls > 5, "{calls} calls");
    }
}

/// Either file is enough; with both damaged nothing is guessed.
#[test]
fn a_damaged_identity_is_taken_from_its_copy() {
    let dir = Path::new("/data");
    let expected = || Expected { node: NodeId(2), token: "t", members: vec![NodeId(2)], joins: false };
    let fs = crate::wal::fs::testing::MemFs::default();
    let made = Identity::open(fs.shared(), dir, &expected(), 7).expect("a new one");
    made.first_met(NodeId(1), Incarnation(9)).expect("recorded");
    for lost in [FILE, COPY] {
        fs.flip(&dir.join(lost), 40, 1);
        let again = Identity::open(fs.shared(), dir, &expected(), 8).expect("the other one is whole");
        assert_eq!(again.incarnation(), Incarnation(7));
        assert_eq!(again.first_met(NodeId(1), Incarnation(5)).expect("known"), Incarnation(9));
        assert_eq!(fs.bytes(&dir.join(FILE)), fs.bytes(&dir.join(COPY)), "both are whole again");
    }
    for lost in [FILE, COPY] {
        fs.flip(&dir.join(lost), 40, 1);
    }
    let refused = Identity::open(fs.shared(), dir, &expected(), 8);
    assert!(matches!(refused, Err(Error::Damaged { .. })));
}

/// A full disk stops nobody: the node goes on with the file that is whole, and the other one is mended when there is room.
#[test]
fn a_damaged_identity_on_a_full_disk_waits_for_room() {
    let dir = Path::new("/data");
    let expected = || Expected { node: NodeId(2), token: "t", members: vec![NodeId(2)], joins: false };
    let fs = crate::wal::fs::testing::MemFs::default();
    Identity::open(fs.shared(), dir, &expected(), 7).expect("a new one");
    for lost in [FILE, COPY] {
        fs.flip(&dir.join(lost), 40, 1);
        fs.set_capacity(Some(0));
        let again = Identity::open(fs.shared(), dir, &expected(), 8).expect("the other one is whole");
        assert_eq!(again.incarnation(), Incarnation(7));
        assert_ne!(fs.bytes(&dir.join(FILE)), fs.bytes(&dir.join(COPY)), "{lost} was mended without room");
        fs.set_capacity(None);
        Identity::open(fs.shared(), dir, &expected(), 8).expect("the other one is whole");
        assert_eq!(fs.bytes(&dir.join(FILE)), fs.bytes(&dir.join(COPY)), "both are whole again");
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = content().encode().into_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(Content::decode(&flipped).is_err(), "bit {bit} of byte {at} was not noticed");
        }
    }
    for cut in 0..bytes.len() {
        assert!(Content::decode(&bytes[..cut]).is_err(), "a cut at {cut} was not noticed");
    }
}

/// Files with a right checksum that this program does not write: they were made by another, or by hand.
#[test]
fn another_way_to_write_the_same_is_refused() {
    let text = content().encode();
    let changes = [
        ("identity 1\n", "identity 12\n"),
        ("node 2\n", "node +2\n"),
        ("node 2\n", "node 1\nnode 2\n"),
        ("peer 1 0000000000000007\n", "peer 1 7\n"),
        ("peer 1 0000000000000007\n", "peer 1 0000000000000008\npeer 1 0000000000000007\n"),
        ("89abcdef", "89ABCDEF"),
    ];
    for (from, to) in changes {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        let body = &changed[..changed.rfind("crc").unwrap()];
        let mended = format!("{body}crc {:08x}\n", crc32fast::hash(body.as_bytes()));
        assert!(Content::decode(mended.as_bytes()).is_err(), "{to} was taken");
    }
}

#[test]
fn the_cluster_id_depends_on_token_and_members_but_not_their_order() {
    let ids = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
    assert_eq!(cluster_id("t", &ids(&[1, 2, 3])), cluster_id("t", &ids(&[3, 1, 2])));
    assert_ne!(cluster_id("t", &ids(&[1, 2, 3])), cluster_id("u", &ids(&[1, 2, 3])));
    assert_ne!(cluster_id("t", &ids(&[1, 2, 3])), cluster_id("t", &ids(&[1, 2, 4])));
}

#[test]
fn another_node_or_token_is_foreign() {
    let expected = |node, token| Expected { node: NodeId(node), token, members: vec![], joins: false };
    assert!(content().check(&expected(2, "t")).is_ok());
    assert!(content().check(&expected(1, "t")).is_err());
    assert!(content().check(&expected(2, "u")).is_err());
}
