//! Every message there and back, its golden bytes, and every rule that a message can break.

use std::fmt::Write;

use bytes::Bytes;
use prost::Message as _;

use crate::raft::{
    Append, AppendReply, AppendResult, Entry, EntryKind, Envelope, Lack, Message, ReadRequest, Room, Round,
    SessionId, Snapshot,
};
use crate::transport::codec::{Reject, decode, encode, is_control, is_on_lane};
use crate::transport::proto::envelope::Message as Proto;
use crate::transport::{fuzzing, proto};
use crate::types::{Incarnation, Index, NodeId, Term};

const GOLDEN: &str = include_str!("golden/wire_v2.txt");

/// One of each, with a name for the golden file.
fn samples() -> Vec<(&'static str, Envelope)> {
    let request = ReadRequest { incarnation: Incarnation(0x1122), boot: 0x3344, counter: 300 };
    let (session, round) = (SessionId(3), Round(800));
    let entries = vec![
        Entry::new(Index(11), Term(4), EntryKind::Noop, Bytes::new()),
        Entry::new(Index(12), Term(5), EntryKind::Command, Bytes::from_static(b"command")),
        Entry::new(Index(13), Term(5), EntryKind::Membership, Bytes::from_static(b"members")),
    ];
    let append = |entries| {
        Message::Append(Append {
            session,
            inflight: 6,
            prev_index: Index(10),
            prev_term: Term(4),
            entries,
            commit: Index(9),
            round,
        })
    };
    let room = Room::Full(Lack::Quota);
    let reply = |result| Message::AppendReply(AppendReply { session, inflight: 6, round, result, room });
    let rejected = AppendResult::Rejected { prev_index: Index(10), hint_index: Index(8), hint_term: Term(2) };
    let (last_index, last_term) = (Index(200), Term(4));
    let membership = Bytes::from_static(b"members");
    let snapshot = Snapshot { session, inflight: 6, round, index: Index(200), term: Term(4), membership };
    let entry = Entry::new(Index(12), Term(5), EntryKind::Command, Bytes::from_static(b"command"));
    let messages = vec![
        ("pre_vote", Message::PreVote { next_term: Term(6), last_index, last_term }),
        ("pre_vote_reply", Message::PreVoteReply { next_term: Term(6), granted: true }),
        ("vote", Message::Vote { last_index, last_term, transfer: true }),
        ("vote_reply", Message::VoteReply { granted: false }),
        ("append", append(entries)),
        ("append_probe", append(vec![])),
        ("append_matched", reply(AppendResult::Matched { index: Index(13) })),
        ("append_rejected", reply(rejected)),
        ("heartbeat", Message::Heartbeat { session, commit: Index(9), round, stored_by_all: Index(7) }),
        (
            "heartbeat_reply",
            Message::HeartbeatReply { session, round, needs_snapshot: None, room: Room::Short(Lack::Disk) },
        ),
        (
            "heartbeat_reply_asks",
            Message::HeartbeatReply { session, round, needs_snapshot: Some(Index(7)), room: Room::Ample },
        ),
        ("read_index", Message::ReadIndex { request }),
        ("read_index_reply", Message::ReadIndexReply { request, index: Some(Index(0)) }),
        ("read_index_refused", Message::ReadIndexReply { request, index: None }),
        ("snapshot", Message::Snapshot(snapshot)),
        ("timeout_now", Message::TimeoutNow),
        (
            "repair",
            Message::Repair { index: Index(12), term: Term(5), crc: Some(0x0102_0304), is_needed: true },
        ),
        ("repair_unknown", Message::Repair { index: Index(12), term: Term(5), crc: None, is_needed: false }),
        ("repair_reply", Message::RepairReply { index: Index(12), term: Term(5), entry: Some(entry) }),
        ("repair_refused", Message::RepairReply { index: Index(12), term: Term(5), entry: None }),
        (
            "end_query",
            Message::EndQuery { boot: 0x0102_0304_0506_0708, last_index: Index(12), last_term: Term(5) },
        ),
        ("end_reply", Message::EndReply { boot: 0x0102_0304_0506_0708, index: Index(14) }),
    ];
    let envelope = |message| Envelope { from: NodeId(1), to: NodeId(2), term: Term(5), message };
    messages.into_iter().map(|(name, message)| (name, envelope(message))).collect()
}

fn back(envelope: proto::Envelope) -> Result<Envelope, Reject> {
    decode(envelope, NodeId(1), NodeId(2), 0)
}

#[test]
fn every_message_comes_back_as_it_was() {
    for (name, envelope) in samples() {
        let bytes = Bytes::from(encode(envelope.clone()).encode_to_vec());
        let decoded = proto::Envelope::decode(bytes).expect("what prost encoded");
        assert_eq!(back(decoded), Ok(envelope), "{name}");
    }
}

/// Set UPDATE_GOLDEN=1 after a change that is meant, and raise the wire version if old peers would misread it.
#[test]
fn the_wire_format_does_not_change_by_accident() {
    let mut text = String::new();
    for (name, envelope) in samples() {
        write!(text, "{name} ").expect("a string grows");
        for byte in encode(envelope).encode_to_vec() {
            write!(text, "{byte:02x}").expect("a string grows");
        }
        text.push('\n');
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/transport/tests/golden/wire_v2.txt");
        std::fs::write(path, &text).expect("the source tree is writable");
        return;
    }
    assert_eq!(text, GOLDEN);
}

/// A large value is never copied; a small one must not keep a large frame alive.
#[test]
fn a_payload_is_shared_where_it_is_most_of_its_buffer() {
    let payload = Bytes::from(vec![3; 4_096]);
    let mut envelope = samples().remove(4).1;
    let Message::Append(append) = &mut envelope.message else { panic!("the sample is an append") };
    append.entries[1] = Entry::new(Index(12), Term(5), EntryKind::Command, payload.clone());
    let encoded = encode(envelope);
    let Some(Proto::Append(append)) = &encoded.message else { panic!("an append") };
    assert_eq!(append.entries[1].payload.as_ptr(), payload.as_ptr(), "copied on the way out");

    let wire = Bytes::from(encoded.encode_to_vec());
    for (received_bytes, shared) in [(wire.len(), true), (8_192, true), (8_194, false)] {
        let decoded = proto::Envelope::decode(wire.clone()).expect("well formed");
        let decoded = decode(decoded, NodeId(1), NodeId(2), received_bytes).expect("valid");
        let Message::Append(append) = decoded.message else { panic!("an append") };
        let at = append.entries[1].payload.as_ptr();
        assert_eq!(wire.as_ptr_range().contains(&at), shared, "in a buffer of {received_bytes}");
    }
}

#[test]
fn only_appends_are_bulk() {
    for (name, envelope) in samples() {
        assert_eq!(
            is_control(&envelope.message),
            !matches!(name, "append" | "append_probe" | "repair_reply" | "repair_refused"),
            "{name}"
        );
    }
}

/// Else a node would give up its log for a state that it does not have.
#[test]
fn a_snapshot_is_on_no_lane() {
    for (name, envelope) in samples() {
        assert_eq!(is_on_lane(&envelope.message), name != "snapshot", "{name}");
        let received = fuzzing::receive(&fuzzing::frame_of([envelope]), NodeId(1), NodeId(2));
        assert_eq!(received.rejected, usize::from(name == "snapshot"), "{name}");
    }
}

#[test]
fn snapshots_that_break_a_rule_are_rejected() {
    let with = |change: fn(&mut proto::Snapshot)| {
        let sample = samples().into_iter().find(|(name, _)| *name == "snapshot").expect("a sample of it");
        let mut envelope = encode(sample.1);
        let Some(Proto::Snapshot(snapshot)) = &mut envelope.message else { panic!("it is a snapshot") };
        change(snapshot);
        back(envelope)
    };
    assert!(with(|_| ()).is_ok());
    assert_eq!(with(|snapshot| snapshot.index = 0), Err(Reject::Field("index")));
    assert_eq!(with(|snapshot| snapshot.term = 0), Err(Reject::Field("term")));
    assert_eq!(with(|snapshot| snapshot.term = 6), Err(Reject::Field("term")), "later than its leader");
}

/// The sample append, changed.
fn append_with(change: impl FnOnce(&mut proto::Append)) -> Result<Envelope, Reject> {
    let mut envelope = encode(samples().remove(4).1);
    let Some(Proto::Append(append)) = &mut envelope.message else { panic!("the sample is an append") };
    change(append);
    back(envelope)
}

#[test]
fn entries_that_break_a_rule_are_rejected() {
    assert!(append_with(|_| ()).is_ok());
    assert_eq!(append_with(|a| a.prev_index = 9), Err(Reject::Gap { index: 11 }));
    assert_eq!(append_with(|a| a.prev_index = u64::MAX), Err(Reject::Gap { index: 11 }));
    assert_eq!(append_with(|a| a.entries[1].index = 11), Err(Reject::Gap { index: 11 }));
    assert_eq!(append_with(|a| drop(a.entries.remove(1))), Err(Reject::Gap { index: 13 }));
    assert_eq!(append_with(|a| a.entries[2].term = 4), Err(Reject::Gap { index: 13 }), "terms fell");
    assert_eq!(append_with(|a| a.prev_term = 5), Err(Reject::Gap { index: 11 }), "terms fell");
    assert_eq!(
        append_with(|a| a.entries[2].term = 6),
        Err(Reject::Gap { index: 13 }),
        "later than its leader"
    );
    assert_eq!(append_with(|a| a.entries[1].crc ^= 1), Err(Reject::Checksum { index: 12 }));
    assert_eq!(
        append_with(|a| a.entries[1].payload = Bytes::from_static(b"Command")),
        Err(Reject::Checksum { index: 12 })
    );
    for kind in [0, 4, 256 + 2, u32::MAX] {
        assert_eq!(append_with(|a| a.entries[1].kind = kind), Err(Reject::UnknownKind("entry")), "{kind}");
    }
    assert_eq!(append_with(|a| a.entries[1].kind = 1), Err(Reject::Field("payload")), "a no-op with payload");
}

#[test]
fn envelopes_that_break_a_rule_are_rejected() {
    let sample = || encode(samples().remove(0).1);
    assert_eq!(back(proto::Envelope { from: 3, ..sample() }), Err(Reject::Address { from: 3, to: 2 }));
    assert_eq!(back(proto::Envelope { to: 1, ..sample() }), Err(Reject::Address { from: 1, to: 1 }));
    assert_eq!(back(proto::Envelope { message: None, ..sample() }), Err(Reject::UnknownKind("message")));
    let with = |message| back(proto::Envelope { message: Some(message), ..sample() });
    let reply = proto::AppendReply::default();
    assert_eq!(with(Proto::AppendReply(reply)), Err(Reject::UnknownKind("append result")));
    assert_eq!(with(Proto::ReadIndex(proto::ReadIndex::default())), Err(Reject::Field("request")));
    let reply = proto::ReadIndexReply::default();
    assert_eq!(with(Proto::ReadIndexReply(reply)), Err(Reject::Field("request")));
}

/// Each bit of an append on the wire is flipped in turn. Nothing panics, and whatever still counts as a message carries
/// only payloads as their leader made them.
#[test]
fn no_flipped_bit_gets_a_wrong_payload_through() {
    let sample = samples().remove(4).1;
    let wire = encode(sample.clone()).encode_to_vec();
    let Message::Append(original) = &sample.message else { panic!("the sample is an append") };
    for bit in 0..wire.len() * 8 {
        let mut flipped = wire.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(decoded) = proto::Envelope::decode(Bytes::from(flipped)) else { continue };
        let Ok(Envelope { message: Message::Append(append), .. }) = back(decoded) else { continue };
        for entry in &append.entries {
            assert!(entry.is_intact(), "bit {bit}");
            let known = original.entries.iter().any(|other| other.payload == entry.payload);
            assert!(known, "bit {bit}: a payload that nobody made");
        }
    }
}
