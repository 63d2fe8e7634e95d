//! What must hold of frames and handshakes for any bytes of a peer that is none, or a broken one.

use bytes::Bytes;
use prost::Message as _;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

use crate::raft::{
    Append, AppendReply, AppendResult, Entry, EntryKind, Envelope, Lack, Message, ReadRequest, Room, Round,
    SessionId,
};
use crate::types::{ClusterId, GroupId, Incarnation, Index, NodeId, Term};

use super::frame::{Fault, Items, received_bytes};
use super::handshake::{
    Introduced, Reason, Refusal, answer, check_dialer, check_server, introduce, is_address,
};
use super::snapshot::{
    Begin, Chunks, SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_CHUNKS_INFLIGHT_MAX, Step, decode_begin, encode_begin,
};
use super::{Identity, codec, proto};

/// The node that the inputs are sent to, and the one that they come from.
const TO: NodeId = NodeId(1);
const FROM: NodeId = NodeId(2);

/// What a frame held.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// The messages for the core, in order.
    pub(crate) messages: Vec<Envelope>,
    /// The requests of the peer's clients.
    pub(crate) forwards: Vec<Bytes>,
    /// What was dropped.
    pub(crate) rejected: usize,
}

/// Takes a frame apart as the receiving end of a lane does.
pub(crate) fn receive(frame: &[u8], from: NodeId, to: NodeId) -> Received {
    let frame = Bytes::copy_from_slice(frame);
    let buffer_bytes = received_bytes(&frame);
    let mut items = Items::<proto::Item>::new(frame);
    let mut received = Received::default();
    loop {
        let before = items.rest_bytes();
        let Some(item) = items.next() else { return received };
        assert!(items.rest_bytes() < before, "an item of no bytes: the frame has no end");
        match item.map(|item| item.body) {
            Ok(Some(proto::item::Body::Envelope(envelope))) => {
                match codec::decode(envelope, from, to, buffer_bytes) {
                    Ok(envelope) if codec::is_on_lane(&envelope.message) => received.messages.push(envelope),
                    Ok(_) => received.rejected += 1,
                    Err(reject) => {
                        assert!(!reject.to_string().is_empty(), "a rejection without a reason");
                        received.rejected += 1;
                    }
                }
            }
            Ok(Some(proto::item::Body::Forward(forward))) => {
                received.forwards.push(codec::detach(forward.request, buffer_bytes));
            }
            Ok(None) | Err(Fault::Item) => received.rejected += 1,
            Err(Fault::Frame) => {
                assert_eq!(items.rest_bytes(), 0, "a frame that cannot be followed was followed");
                received.rejected += 1;
            }
        }
    }
}

/// The frame that carries these messages.
pub(crate) fn frame_of(messages: impl IntoIterator<Item = Envelope>) -> Vec<u8> {
    frame(messages.into_iter().map(|envelope| proto::item::Body::Envelope(codec::encode(envelope))))
}

fn frame(bodies: impl IntoIterator<Item = proto::item::Body>) -> Vec<u8> {
    let mut frame = Vec::new();
    for body in bodies {
        let item = proto::Item { group: GroupId::FIRST.0, body: Some(body) };
        prost::encoding::message::encode(1, &item, &mut frame);
    }
    frame
}

/// Checks a frame: what comes out of it is what its rules promise, and survives the way over the wire once more. The
/// same bytes are read as a frame of replies, too.
pub(crate) fn check_frame(input: &[u8]) -> bool {
    let received = receive(input, FROM, TO);
    let mut payload_bytes = received.forwards.iter().map(Bytes::len).sum::<usize>();
    for envelope in &received.messages {
        assert_eq!((envelope.from, envelope.to), (FROM, TO), "a message of somebody else");
        if let Message::Append(append) = &envelope.message {
            payload_bytes += check_append(append, envelope.term);
        }
    }
    assert!(payload_bytes <= input.len(), "{payload_bytes} bytes of payload in a frame of {}", input.len());
    let again = receive(&frame_of(received.messages.iter().cloned()), FROM, TO);
    assert_eq!(again.rejected, 0, "sent on, and rejected");
    assert_eq!(again.messages, received.messages);

    let replies = Items::<proto::ForwardReply>::new(Bytes::copy_from_slice(input));
    for reply in replies.flatten() {
        assert!(reply.encoded_len() <= 2 * input.len() + 16, "{reply:?}");
    }
    !received.messages.is_empty() || !received.forwards.is_empty()
}

/// Checks the promises of an append's entries; the bytes of their payloads.
fn check_append(append: &Append, term: Term) -> usize {
    let mut before = (append.prev_index, append.prev_term);
    let mut bytes = 0;
    for entry in &append.entries {
        assert_eq!(Some(entry.index.0), before.0.0.checked_add(1), "a gap in {append:?}");
        assert!(entry.term >= before.1 && entry.term <= term, "terms of {append:?}");
        assert!(
            entry.is_intact() && (entry.kind != EntryKind::Noop || entry.payload.is_empty()),
            "{entry:?}"
        );
        before = (entry.index, entry.term);
        bytes += entry.payload.len();
    }
    bytes
}

/// Gives every message of a frame its right addresses and every payload its right checksum; a frame that cannot be
/// read at all stays as it is.
pub(crate) fn mend_frame(input: &mut Vec<u8>) {
    mend_frame_between(input, FROM, TO);
}

/// The same for a frame from one node to another.
pub(crate) fn mend_frame_between(input: &mut Vec<u8>, from: NodeId, to: NodeId) {
    let mut bodies = Vec::new();
    for item in Items::<proto::Item>::new(Bytes::copy_from_slice(input)).flatten() {
        let mut body = item.body;
        if let Some(proto::item::Body::Envelope(envelope)) = &mut body {
            (envelope.from, envelope.to) = (from.0, to.0);
            if let Some(proto::envelope::Message::Append(append)) = &mut envelope.message {
                for entry in &mut append.entries {
                    entry.crc = crc32fast::hash(&entry.payload);
                }
            }
        }
        bodies.extend(body);
    }
    if !bodies.is_empty() {
        *input = frame(bodies);
    }
}

/// One of each message, and a forward.
pub(crate) fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let envelope = |message| Envelope { from: FROM, to: TO, term: Term(7), message };
    let request = ReadRequest { incarnation: Incarnation(u64::MAX - 1), boot: 5, counter: 300 };
    let (session, round) = (SessionId(9), Round(400));
    let room = Room::Short(Lack::Quota);
    let reply = |result| Message::AppendReply(AppendReply { session, inflight: 2, round, result, room });
    let entries = vec![
        Entry::new(Index(11), Term(6), EntryKind::Command, Bytes::from(vec![5; 200])),
        Entry::new(Index(12), Term(7), EntryKind::Noop, Bytes::new()),
        Entry::new(Index(13), Term(7), EntryKind::Membership, Bytes::from_static(b"opaque here")),
    ];
    let append = Message::Append(Append {
        session,
        inflight: 3,
        prev_index: Index(10),
        prev_term: Term(6),
        entries,
        commit: Index(11),
        round,
    });
    let (last_index, last_term) = (Index(10), Term(6));
    let votes = vec![
        envelope(Message::PreVote { next_term: Term(8), last_index, last_term }),
        envelope(Message::PreVoteReply { next_term: Term(8), granted: true }),
        envelope(Message::Vote { last_index, last_term, transfer: false }),
        envelope(Message::VoteReply { granted: true }),
    ];
    let beats = vec![
        envelope(Message::Heartbeat { session, commit: Index(9), round, stored_by_all: Index(8) }),
        envelope(Message::HeartbeatReply { session, round, needs_snapshot: Some(Index(8)), room }),
        envelope(reply(AppendResult::Matched { index: Index(13) })),
        envelope(reply(AppendResult::Rejected {
            prev_index: last_index,
            hint_index: Index(8),
            hint_term: Term(5),
        })),
        envelope(Message::ReadIndex { request }),
        envelope(Message::ReadIndexReply { request, index: Some(Index(9)) }),
        envelope(Message::TimeoutNow),
        envelope(Message::Repair { index: Index(7), term: Term(3), crc: Some(9), is_needed: true }),
        envelope(Message::EndQuery { boot: 5, last_index: Index(7), last_term: Term(3) }),
        envelope(Message::EndReply { boot: 5, index: Index(9) }),
    ];
    let forward = proto::Forward { id: 300, request: Bytes::from_static(b"a request") };
    let outcome = proto::forward_reply::Outcome::Reply(Bytes::from_static(b"a reply"));
    let mut replies = Vec::new();
    let reply = proto::ForwardReply { id: 300, outcome: Some(outcome) };
    prost::encoding::message::encode(1, &reply, &mut replies);
    // A frame of replies read as one of messages holds none; behind a forward it is accepted as the sample it is.
    let mut forwards = frame([proto::item::Body::Forward(forward)]);
    forwards.extend(replies);
    let entries = vec![Entry::new(Index(1), Term(7), EntryKind::Noop, Bytes::new())];
    let (prev_index, prev_term, commit) = (Index(0), Term(0), Index(0));
    let first = Append { session, inflight: 1, prev_index, prev_term, entries, commit, round };
    let entry = Some(Entry::new(Index(7), Term(3), EntryKind::Command, Bytes::from_static(b"once more")));
    let repaired = Message::RepairReply { index: Index(7), term: Term(3), entry };
    vec![
        ("first", frame_of([envelope(Message::Append(first))])),
        ("votes", frame_of(votes)),
        ("beats", frame_of(beats)),
        ("append", frame_of([envelope(append)])),
        ("repaired", frame_of([envelope(repaired)])),
        ("forward", forwards),
    ]
}

const HERE: Identity = Identity { cluster: ClusterId(7), node: TO, incarnation: Incarnation(1_001) };
const THERE: Identity = Identity { cluster: ClusterId(7), node: FROM, incarnation: Incarnation(1_002) };

/// Admits the one incarnation that it knows.
fn admit(incarnation: Incarnation) -> Result<(), Refusal> {
    match incarnation == THERE.incarnation {
        true => Ok(()),
        false => Err(Refusal::new(Reason::Incarnation, "another")),
    }
}

/// Checks a handshake, given as lines `name: value`: whoever is let in is node 2 and said so, and a refusal can be told
/// to the peer.
pub(crate) fn check_handshake(input: &[u8]) -> bool {
    let mut metadata = MetadataMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let name = MetadataKey::<Ascii>::from_bytes(name);
        let value = MetadataValue::<Ascii>::try_from(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            metadata.append(name, value);
        }
    }
    let judged = |result: Result<(), Refusal>| match result {
        Ok(()) => {
            let mut right = MetadataMap::new();
            answer(&THERE, &mut right);
            for name in ["quorate-wire", "quorate-cluster", "quorate-from", "quorate-incarnation"] {
                let text = |metadata: &MetadataMap| {
                    let text = metadata.get(name).and_then(|value| value.to_str().ok());
                    text.map(|text| text.trim_start_matches('+').trim_start_matches('0').to_lowercase())
                };
                assert_eq!(text(&metadata), text(&right), "{name}");
            }
            true
        }
        Err(refusal) => {
            let told = Refusal::from_status(&refusal.to_status());
            assert_eq!(told.map(|told| told.reason), Some(refusal.reason), "{refusal}");
            false
        }
    };
    let admit_dialer = |dialer: &Introduced| {
        assert!(is_address(&dialer.address), "{:?} passed for an address", dialer.address);
        match dialer.node == FROM {
            true => admit(dialer.incarnation),
            false => Err(Refusal::new(Reason::Stranger, "nobody")),
        }
    };
    let dialer = check_dialer(&HERE, admit_dialer, &metadata);
    let is_dialer = judged(dialer.map(|dialer| assert_eq!(dialer.node, FROM)));
    let is_server = judged(check_server(&HERE, FROM, admit, &metadata).map(|_| ()));
    assert!(is_server || !is_dialer, "a dialer says all that a server says, and more");
    is_dialer
}

/// Both halves of a handshake.
pub(crate) fn handshakes() -> Vec<(&'static str, Vec<u8>)> {
    let mut metadata = MetadataMap::new();
    introduce(&THERE, "there.example:7001", TO, &mut metadata);
    let mut lines: Vec<String> = metadata
        .iter()
        .filter_map(|pair| match pair {
            tonic::metadata::KeyAndValueRef::Ascii(name, value) => {
                Some(format!("{}: {}\n", name.as_str(), value.to_str().expect("digits")))
            }
            tonic::metadata::KeyAndValueRef::Binary(..) => None,
        })
        .collect();
    lines.sort();
    let plain = lines.concat();
    let more = format!("user-agent: other\n{plain}quorate-later: 1\n");
    vec![("dialer", plain.into_bytes()), ("later", more.into_bytes())]
}

/// Checks a snapshot stream, given as its frames one behind the other, each with its length before it. The chunks begin
/// at 3, and every other one is acknowledged.
pub(crate) fn check_snapshot(input: &[u8]) -> bool {
    let mut rest = Bytes::copy_from_slice(input);
    let mut frames = std::iter::from_fn(|| {
        if rest.is_empty() {
            return None;
        }
        proto::SnapshotFrame::decode_length_delimited(&mut rest).ok()
    });
    let Some(Ok(begin)) = frames.next().map(|first| decode_begin(first, FROM, TO)) else { return false };
    assert_eq!((begin.envelope.from, begin.envelope.to), (FROM, TO), "a message of somebody else");
    assert!(begin.manifest.len() <= input.len());
    let again = decode_begin(encode_begin(begin.clone()), FROM, TO);
    assert_eq!(again, Ok(begin), "sent on, and changed");

    let mut chunks = Chunks::default();
    chunks.ask_from(FIRST_CHUNK);
    let (mut next, mut stored) = (FIRST_CHUNK, FIRST_CHUNK);
    for frame in frames {
        match chunks.on_frame(frame) {
            Ok(Step::Chunk(number, data)) => {
                assert_eq!(number, next, "a chunk out of order");
                assert!((1..=SNAPSHOT_CHUNK_BYTES_MAX).contains(&data.len()), "{} bytes", data.len());
                next += 1;
                assert!(next - stored <= SNAPSHOT_CHUNKS_INFLIGHT_MAX, "{next} behind {stored}");
                if number % 2 == 0 {
                    chunks.ack(number);
                    stored = number + 1;
                }
                assert_eq!(chunks.to_ack().stored, stored);
            }
            Ok(Step::Finish) => return true,
            Err(reject) => {
                assert!(!reject.to_string().is_empty(), "a rejection without a reason");
                return false;
            }
        }
    }
    false
}

const FIRST_CHUNK: u64 = 3;

/// A stream from its begin to its end, and one without chunks.
pub(crate) fn snapshots() -> Vec<(&'static str, Vec<u8>)> {
    use proto::snapshot_frame::Body;
    let message = Message::Heartbeat {
        session: SessionId(9),
        commit: Index(9),
        round: Round(400),
        stored_by_all: Index(8),
    };
    let begin = |manifest| {
        let envelope = Envelope { from: FROM, to: TO, term: Term(7), message: message.clone() };
        encode_begin(Begin { group: GroupId::FIRST, id: 5, envelope, manifest })
    };
    let frame = |body| proto::SnapshotFrame { body: Some(body) };
    let stream = |frames: Vec<proto::SnapshotFrame>| -> Vec<u8> {
        frames.iter().flat_map(proto::SnapshotFrame::encode_length_delimited_to_vec).collect()
    };
    let mut whole = vec![begin(Bytes::from_static(b"a manifest"))];
    whole.extend((FIRST_CHUNK..FIRST_CHUNK + 7).map(|number| {
        let data = Bytes::from(vec![number as u8; 20 * number as usize]);
        frame(Body::Chunk(proto::SnapshotChunk { number, data }))
    }));
    whole.push(frame(Body::Finish(proto::SnapshotFinish { chunks: FIRST_CHUNK + 7 })));
    let finish = frame(Body::Finish(proto::SnapshotFinish { chunks: FIRST_CHUNK }));
    vec![("whole", stream(whole)), ("empty", stream(vec![begin(Bytes::new()), finish]))]
}
