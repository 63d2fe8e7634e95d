//! A frame of core messages without a connection, for benches: what a lane and its other end do to them, and nothing else. There is
//! no other way to it: beyond a connection, what is measured is the network and the runtime.

use bytes::{Bytes, BytesMut};

use crate::raft::Envelope;
use crate::types::{GroupId, NodeId};

use super::frame::{Frame, Items, item_bytes, received_bytes};
use super::{codec, proto};

/// The frame that carries these messages, as a lane makes it.
pub fn encode_frame(messages: impl IntoIterator<Item = Envelope>) -> Bytes {
    let mut frame = Frame { items: Vec::new(), bytes: 0 };
    for envelope in messages {
        let body = proto::item::Body::Envelope(codec::encode(envelope));
        let item = proto::Item { group: GroupId::FIRST.0, body: Some(body) };
        frame.bytes += item_bytes(&item);
        frame.items.push(item);
    }
    let mut buffer = BytesMut::with_capacity(frame.bytes);
    frame.put(&mut buffer);
    buffer.freeze()
}

/// The messages of a frame that `from` sent to `to`, as the lane's other end takes them in.
///
/// # Panics
/// If one of them would be rejected.
pub fn decode_frame(frame: Bytes, from: NodeId, to: NodeId) -> Vec<Envelope> {
    let received_bytes = received_bytes(&frame);
    let items = Items::<proto::Item>::new(frame).map(|item| match item.map(|item| item.body) {
        Ok(Some(proto::item::Body::Envelope(envelope))) => {
            codec::decode(envelope, from, to, received_bytes).expect("a message keeps all rules")
        }
        other => panic!("not a message of the core: {other:?}"),
    });
    items.collect()
}
