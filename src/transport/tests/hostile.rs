//! Input that no Quorate node would send. Whatever comes in, nothing panics, the other connections do not notice, and
//! the peer that sent it may connect again.

use bytes::{BufMut, Bytes};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use crate::transport::grpc::{BULK_PATH, CONTROL_PATH};
use crate::transport::net::TcpNet;
use crate::transport::{codec, handshake, proto};
use crate::types::NodeId;

use super::harness::*;

/// Sends the bytes it is given as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes::Buf::copy_to_bytes(buffer, bytes::Buf::remaining(buffer))))
    }
}

/// A lane to `node` that passes the handshake as node 2 and then sends anything.
struct Attacker {
    frames: mpsc::Sender<Bytes>,
    replies: Streaming<Bytes>,
    _channel: Channel,
}

impl Attacker {
    async fn open(node: &Node, path: &'static str) -> Attacker {
        let stream = TcpNet::shared().connect(&node.address).await.expect("the node listens");
        let mut stream = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_| {
            std::future::ready(stream.take().ok_or(std::io::Error::other("once only")))
        });
        let endpoint = Endpoint::from_static("http://attacker");
        let channel = endpoint.connect_with_connector(connector).await.expect("an HTTP/2 server");
        let (frames, receiver) = mpsc::channel(8);
        let mut request = Request::new(ReceiverStream::new(receiver));
        handshake::introduce(&usual(2), "127.0.0.1:1", node.id, request.metadata_mut());
        let mut grpc = Grpc::new(channel.clone()).max_encoding_message_size(usize::MAX);
        grpc.ready().await.expect("connected");
        let response = grpc.streaming(request, PathAndQuery::from_static(path), Raw).await;
        let replies = response.expect("the handshake is right").into_inner();
        Attacker { frames, replies, _channel: channel }
    }

    async fn send(&self, frame: impl Into<Bytes>) {
        self.frames.send(frame.into()).await.expect("the lane is open");
    }

    /// How the node ends the lane.
    async fn end(&mut self) -> Status {
        let end = tokio::time::timeout(DEADLINE, self.replies.message()).await.expect("it ends");
        end.expect_err("no reply, and no clean end")
    }
}

fn frame(items: &[proto::Item]) -> Vec<u8> {
    let mut frame = Vec::new();
    for item in items {
        prost::encoding::message::encode(1, item, &mut frame);
    }
    frame
}

fn item(envelope: proto::Envelope) -> proto::Item {
    proto::Item { group: GROUP.0, body: Some(proto::item::Body::Envelope(envelope)) }
}

fn good(inflight: u64) -> proto::Item {
    item(codec::encode(append(2, 1, inflight, &[Bytes::from_static(b"payload")])))
}

/// An append whose first entry was changed on the way.
fn changed(change: impl FnOnce(&mut proto::Entry)) -> proto::Item {
    let mut envelope = codec::encode(append(2, 1, 0, &[Bytes::from_static(b"payload")]));
    match &mut envelope.message {
        Some(proto::envelope::Message::Append(append)) => change(&mut append.entries[0]),
        other => panic!("an append, not {other:?}"),
    }
    item(envelope)
}

#[tokio::test]
async fn a_bad_message_is_dropped_and_the_next_one_is_read() {
    let mut node = Node::start(1).await;
    let attacker = Attacker::open(&node, BULK_PATH).await;
    let forged = codec::encode(append(3, 1, 0, &[]));
    let heartbeat = codec::encode(heartbeat(2, 1, 0));
    let bad = [
        changed(|entry| entry.crc ^= 1),
        changed(|entry| entry.kind = 99),
        changed(|entry| entry.index += 1),
        item(forged),
        item(heartbeat),
        proto::Item::default(),
    ];
    let mut items = bad.to_vec();
    items.push(good(1));
    attacker.send(frame(&items)).await;
    assert_eq!(number(&node.recv_message().await), 1);
    assert_eq!(node.counter("transport_rejected"), bad.len() as u64);
    // An item that is no message at all, and a good one behind it.
    let garbage = [vec![0x0a, 0x03, 0xff, 0xff, 0xff], frame(&[good(2)])].concat();
    attacker.send(garbage).await;
    assert_eq!(number(&node.recv_message().await), 2);
    assert_eq!(node.counter("transport_rejected"), bad.len() as u64 + 1);
}

#[tokio::test]
async fn forwards_and_appends_do_not_pass_by_the_control_lane() {
    let mut node = Node::start(1).await;
    let attacker = Attacker::open(&node, CONTROL_PATH).await;
    let forward = proto::Forward { id: 1, request: Bytes::from_static(b"r") };
    let forward = proto::Item { group: 1, body: Some(proto::item::Body::Forward(forward)) };
    let last = item(codec::encode(heartbeat(2, 1, 5)));
    attacker.send(frame(&[good(1), forward, last])).await;
    assert_eq!(number(&node.recv_message().await), 5);
    assert_eq!(node.counter("transport_rejected"), 2);
}

#[tokio::test]
async fn a_frame_that_cannot_be_read_closes_its_lane_only() {
    let mut node = Node::start(1).await;
    for path in [BULK_PATH, CONTROL_PATH] {
        let mut attacker = Attacker::open(&node, path).await;
        attacker.send(vec![0xff; 100]).await;
        assert_eq!(attacker.end().await.code(), Code::InvalidArgument);
    }
    assert_eq!(node.counter("transport_rejected_frames"), 2);
    let attacker = Attacker::open(&node, BULK_PATH).await;
    attacker.send(frame(&[good(3)])).await;
    assert_eq!(number(&node.recv_message().await), 3, "the lane is as good as new");
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_its_lane_only() {
    let mut node = Node::start(1).await;
    let mut attacker = Attacker::open(&node, BULK_PATH).await;
    attacker.send(vec![0; limits().frame_bytes_max + 1]).await;
    assert_eq!(attacker.end().await.code(), Code::OutOfRange);
    assert_eq!(node.counter("transport_rejected_frames"), 1);
    let attacker = Attacker::open(&node, BULK_PATH).await;
    attacker.send(frame(&[good(3)])).await;
    assert_eq!(number(&node.recv_message().await), 3);
}

#[tokio::test]
async fn a_lane_that_is_opened_anew_ends_the_one_before() {
    let mut node = Node::start(1).await;
    let mut old = Attacker::open(&node, BULK_PATH).await;
    let new = Attacker::open(&node, BULK_PATH).await;
    assert_eq!(old.end().await.code(), Code::Aborted);
    new.send(frame(&[good(4)])).await;
    assert_eq!(number(&node.recv_message().await), 4);
}

/// Random changes to a good frame: nothing but what it must be ever reaches the inbox, and the node stays well.
#[tokio::test]
async fn mangled_frames_do_no_harm() {
    let mut node = Node::start(1).await;
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let original = frame(&[good(1), good(2), good(3)]);
    let mut attacker = Attacker::open(&node, BULK_PATH).await;
    for _ in 0..500 {
        let mut bytes = original.clone();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(1..=bytes.len()));
        if attacker.frames.send(bytes.into()).await.is_err() {
            attacker = Attacker::open(&node, BULK_PATH).await;
        }
        while let Some(inbound) = node.inbox.try_recv() {
            let crate::transport::Inbound::Message { envelope, .. } = inbound else { continue };
            assert_eq!(envelope.from, NodeId(2));
            let crate::raft::Message::Append(append) = envelope.message else { continue };
            assert!(append.entries.iter().all(|entry| entry.is_intact()));
        }
    }
    let last = Attacker::open(&node, BULK_PATH).await;
    last.send(frame(&[good(u64::MAX)])).await;
    while number(&node.recv_message().await) != u64::MAX {}
}

#[tokio::test]
async fn random_bytes_on_the_port_do_no_harm() {
    let (mut a, b) = pair().await;
    let mut random = fastrand::Rng::with_seed(0x5eed);
    for round in 0..50 {
        let mut stream = TcpNet::shared().connect(&a.address).await.expect("the node listens");
        let mut bytes: Vec<u8> = (0..random.usize(1..5_000)).map(|_| random.u8(..)).collect();
        if round % 2 == 0 {
            // As if it were HTTP/2, so that the frames behind the preface are mangled.
            bytes.splice(0..0, *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        }
        // The node may hang up in the middle of it.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it hangs up");
    }
    b.transport.send(GROUP, heartbeat(2, 1, 6));
    assert_eq!(number(&a.recv_message().await), 6);
}

#[tokio::test]
async fn a_lane_that_its_peer_closes_ends_cleanly() {
    let node = Node::start(1).await;
    let mut attacker = Attacker::open(&node, BULK_PATH).await;
    attacker.send(frame(&[good(1)])).await;
    drop(attacker.frames);
    let end = tokio::time::timeout(DEADLINE, attacker.replies.message()).await.expect("it ends");
    assert!(matches!(end, Ok(None)), "{end:?}");
}
