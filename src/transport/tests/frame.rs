//! The hand-written frame against prost's own, and its faults.

use bytes::Bytes;
use prost::Message;

use super::harness::{append, heartbeat};
use crate::transport::frame::{Fault, Items, item_bytes};
use crate::transport::proto::{ForwardReply, forward_reply::Outcome};
use crate::transport::{fuzzing, testing};
use crate::types::NodeId;

/// `ReplyFrame` of proto/raft.proto, as prost would have it.
#[derive(Clone, PartialEq, Message)]
struct ReplyFrame {
    #[prost(message, repeated, tag = "1")]
    replies: Vec<ForwardReply>,
}

fn reply(id: u64, bytes: usize) -> ForwardReply {
    ForwardReply { id, outcome: Some(Outcome::Reply(Bytes::from(vec![5; bytes]))) }
}

fn items(frame: impl Into<Bytes>) -> Vec<Result<ForwardReply, Fault>> {
    Items::new(frame.into()).collect()
}

#[test]
fn frames_are_the_messages_of_the_proto_file() {
    let replies = vec![reply(1, 0), reply(u64::MAX, 200), reply(0, 70_000), ForwardReply::default()];
    let frame = ReplyFrame { replies: replies.clone() };
    assert_eq!(frame.encoded_len(), replies.iter().map(item_bytes).sum::<usize>());
    assert_eq!(items(frame.encode_to_vec()), replies.into_iter().map(Ok).collect::<Vec<_>>());
    assert_eq!(items(Bytes::new()), vec![]);
}

#[test]
fn a_frame_carries_messages_without_a_connection() {
    let payloads = [Bytes::from_static(b"a"), Bytes::new(), Bytes::from(vec![7; 40_000])];
    let messages = [heartbeat(1, 2, 3), append(1, 2, 1, &payloads)];
    let frame = testing::encode_frame(messages.clone());
    assert_eq!(frame, fuzzing::frame_of(messages.clone()), "as prost has it");
    assert_eq!(testing::decode_frame(frame, NodeId(1), NodeId(2)), messages);
}

#[test]
fn unknown_fields_are_skipped() {
    // Field 2, a varint; field 3, four bytes; then a reply.
    let mut bytes = vec![0x10, 0x07, 0x1d, 1, 2, 3, 4];
    ReplyFrame { replies: vec![reply(9, 1)] }.encode(&mut bytes).expect("a vector grows");
    assert_eq!(items(bytes), vec![Ok(reply(9, 1))]);
}

#[test]
fn a_bad_message_is_one_fault_and_a_bad_frame_the_last() {
    let good = ReplyFrame { replies: vec![reply(9, 1)] }.encode_to_vec();
    // A reply whose id is declared as a string of 5 bytes.
    let bad_item = [vec![0x0a, 0x02, 0x0a, 0x05], good.clone()].concat();
    assert_eq!(items(bad_item), vec![Err(Fault::Item), Ok(reply(9, 1))]);
    for bad_frame in [
        vec![0x0a, 0x05, 1], // longer than the frame
        vec![0x0a],          // no length
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // a length without end
        vec![0x00],          // field number 0
        vec![0x0f],          // no such wire type
    ] {
        let frame = [good.clone(), bad_frame].concat();
        assert_eq!(items(frame), vec![Ok(reply(9, 1)), Err(Fault::Frame)]);
    }
}
