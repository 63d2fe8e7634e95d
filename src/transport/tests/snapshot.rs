//! Snapshots: in order, no faster than they are stored, and both ends know how it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::transport::codec::Reject;
use crate::transport::net::TcpNet;
use crate::transport::proto::{self, snapshot_frame::Body};
use crate::transport::snapshot::{
    Chunks, Failed, SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_CHUNKS_INFLIGHT_MAX, SNAPSHOT_FINISH_MAX,
    SNAPSHOT_STALL_MAX, SNAPSHOTS_INCOMING_MAX, SnapshotReceiver, SnapshotSender, Step,
};
use crate::transport::{Inbound, Members};
use crate::types::{GroupId, NodeId};

use super::harness::*;
use super::seams::Forward;

const WINDOW: u64 = SNAPSHOT_CHUNKS_INFLIGHT_MAX;

fn sender(from: &Node, to: &Node) -> SnapshotSender {
    sender_for(from, to, GROUP)
}

fn sender_for(from: &Node, to: &Node, group: GroupId) -> SnapshotSender {
    let envelope = heartbeat(from.id.0, to.id.0, 12);
    let manifest = Bytes::from_static(b"manifest");
    from.transport.snapshot(to.id, group, envelope, manifest, 8).expect("a peer")
}

async fn recv_snapshot(node: &mut Node, from: u64) -> SnapshotReceiver {
    match node.recv().await {
        Inbound::Snapshot { from: sender, group: _, envelope, manifest, id, stream } => {
            assert_eq!((sender, id, &*manifest), (NodeId(from), 8, &b"manifest"[..]));
            assert_eq!(envelope, heartbeat(from, node.id.0, 12));
            *stream
        }
        other => panic!("expected a snapshot, got {other:?}"),
    }
}

/// A stream from the first node to the second, at this chunk.
async fn begun(a: &Node, b: &mut Node, wanted: u64) -> (SnapshotSender, SnapshotReceiver) {
    let mut sender = sender(a, b);
    let receive = async {
        let mut receiver = recv_snapshot(b, a.id.0).await;
        receiver.ask_from(wanted);
        receiver
    };
    let (first, receiver) = tokio::join!(sender.begin(), receive);
    assert_eq!(first, Ok(wanted));
    (sender, receiver)
}

fn chunk(number: u64) -> Bytes {
    Bytes::from(vec![number as u8; if number.is_multiple_of(3) { SNAPSHOT_CHUNK_BYTES_MAX } else { 10 }])
}

#[tokio::test]
async fn the_chunks_arrive_from_the_one_that_was_wanted_on() {
    let (a, mut b) = pair().await;
    for wanted in [0, 3, 40] {
        let (mut sender, mut receiver) = begun(&a, &mut b, wanted).await;
        let send = async {
            for number in wanted..wanted + 20 {
                sender.send(number, chunk(number)).await?;
                assert!(sender.acked() + WINDOW > number, "{} of {number}", sender.acked());
            }
            sender.finish().await
        };
        let receive = async {
            for number in wanted..wanted + 20 {
                assert_eq!(receiver.next().await, Ok(Some((number, chunk(number)))));
                receiver.ack(number);
            }
            assert_eq!(receiver.next().await, Ok(None));
            receiver.done(Ok(()));
        };
        let (sent, ()) = tokio::join!(send, receive);
        assert_eq!(sent, Ok(()));
    }
    assert_eq!((a.counter("transport_snapshots_sent"), b.counter("transport_snapshots_received")), (3, 3));
    let bytes = a.counter("transport_snapshot_bytes_sent");
    assert_eq!(bytes, b.counter("transport_snapshot_bytes_received"));
    assert!(bytes > 18 << 20, "{bytes}");
}

/// A receiver that stores nothing gets no more than the window, and what else passes between the nodes passes on.
#[tokio::test]
async fn no_more_is_under_way_than_the_window_and_the_lanes_are_free() {
    let (a, mut b) = pair().await;
    let (mut sender, mut receiver) = begun(&a, &mut b, 0).await;
    let sending = tokio::spawn(async move {
        for number in 0..9 {
            sender.send(number, Bytes::from(vec![1; 1 << 20])).await?;
        }
        sender.finish().await
    });
    let mut next = 0;
    while next < 9 {
        let until = (next + WINDOW).min(9);
        for number in next..until {
            assert_eq!(receiver.next().await.map(|chunk| chunk.map(|(number, _)| number)), Ok(Some(number)));
        }
        a.transport.send(GROUP, heartbeat(1, 2, next));
        a.transport.send(GROUP, append(1, 2, next, &[]));
        assert_eq!(number(&b.recv_message().await), next);
        assert_eq!(number(&b.recv_message().await), next);
        assert_eq!(a.counter("transport_snapshot_bytes_sent"), until << 20, "and not one more");
        next = until;
        receiver.ack(next - 1);
    }
    assert_eq!(receiver.next().await, Ok(None));
    receiver.done(Ok(()));
    assert_eq!(sending.await.expect("no panic"), Ok(()));
}

/// Sends until it fails.
async fn send_on(mut sender: SnapshotSender, from: u64) -> Failed {
    for number in from.. {
        if let Err(failed) = sender.send(number, chunk(number)).await {
            return failed;
        }
    }
    unreachable!("the receiver takes all of it")
}

#[tokio::test]
async fn a_receiver_that_gives_up_is_noticed_and_its_reason_known() {
    let (a, mut b) = pair().await;
    let (sender, receiver) = begun(&a, &mut b, 0).await;
    drop(receiver);
    let failed = send_on(sender, 0).await;
    assert!(failed.reason.contains("gave it up"), "{failed}");

    let (sender, mut receiver) = begun(&a, &mut b, 0).await;
    let receive = async move {
        receiver.next().await.expect("a chunk");
        receiver.done(Err("the disk is full".to_owned()));
    };
    let (failed, ()) = tokio::join!(send_on(sender, 0), receive);
    assert!(failed.reason.contains("the disk is full"), "{failed}");

    // It does not even look at it.
    let mut sender = sender_for(&a, &b, GROUP);
    let refuse = async { drop(recv_snapshot(&mut b, 1).await) };
    let (begun, ()) = tokio::join!(sender.begin(), refuse);
    assert!(begun.is_err(), "{begun:?}");
}

#[tokio::test]
async fn a_sender_that_gives_up_is_noticed() {
    let (a, mut b) = pair().await;
    let (mut sender, mut receiver) = begun(&a, &mut b, 0).await;
    sender.send(0, chunk(0)).await.expect("room");
    assert!(receiver.next().await.expect("a chunk").is_some());
    drop(sender);
    receiver.next().await.expect_err("the sender is gone");
}

#[tokio::test]
async fn a_newer_snapshot_for_the_group_ends_the_older_one() {
    let (a, mut b) = pair().await;
    let (old_sender, mut old) = begun(&a, &mut b, 0).await;
    let (mut sender, mut receiver) = begun(&a, &mut b, 0).await;
    old.next().await.expect_err("it is stale");
    drop(send_on(old_sender, 0).await);
    sender.send(0, chunk(0)).await.expect("room");
    assert_eq!(receiver.next().await, Ok(Some((0, chunk(0)))));
}

#[tokio::test]
async fn only_so_many_snapshots_come_in() {
    let (a, mut b) = pair().await;
    let mut open = Vec::new();
    for group in 1..=SNAPSHOTS_INCOMING_MAX as u32 {
        let mut sender = sender_for(&a, &b, GroupId(group));
        let receive = async {
            let mut receiver = recv_snapshot(&mut b, 1).await;
            receiver.ask_from(0);
            receiver
        };
        let (begun, receiver) = tokio::join!(sender.begin(), receive);
        assert_eq!(begun, Ok(0));
        open.push((sender, receiver));
    }
    let refused = sender_for(&a, &b, GroupId(99)).begin().await;
    assert!(refused.as_ref().is_err_and(|failed| failed.reason.contains("too many")), "{refused:?}");
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let clock = Forward::start();
    let admission = || Arc::new(FirstMet::default());
    let start =
        |id| Node::start_in(TcpNet::shared(), clock.clone(), usual(id), admission(), limits(), "127.0.0.1:0");
    let (a, mut b) = (start(1).await, start(2).await);
    a.dial(&[&b]);
    a.connected_to(&[b.id]).await;
    let jump = async |by: Duration| clock.jump(by);

    // The receiver does not ask for anything.
    let mut sender = sender_for(&a, &b, GROUP);
    let (mute, _receiver) = tokio::join!(sender.begin(), async {
        let receiver = recv_snapshot(&mut b, 1).await;
        eventually("it waits", || a.counter("transport_snapshots_sent") == 1).await;
        jump(SNAPSHOT_STALL_MAX).await;
        receiver
    });
    assert!(mute.is_err(), "{mute:?}");

    // The sender sends nothing.
    let (_sender, mut receiver) = begun(&a, &mut b, 0).await;
    let (lost, ()) = tokio::join!(biased; receiver.next(), jump(SNAPSHOT_STALL_MAX));
    assert!(lost.as_ref().is_err_and(|lost| lost.reason.contains("does not go on")), "{lost:?}");

    // The receiver stores nothing.
    let (sender, _receiver) = begun(&a, &mut b, 0).await;
    let sending = tokio::spawn(send_on(sender, 0));
    let window: u64 = (0..WINDOW).map(|number| chunk(number).len() as u64).sum();
    eventually("the window is full", || a.counter("transport_snapshot_bytes_sent") >= window).await;
    clock.jump(SNAPSHOT_STALL_MAX);
    assert!(sending.await.expect("no panic").reason.contains("does not go on"));

    // Nor does it ever finish; but for that it has more time.
    let (mut sender, mut receiver) = begun(&a, &mut b, 0).await;
    sender.send(0, chunk(0)).await.expect("room");
    let finishing = tokio::spawn(sender.finish());
    while receiver.next().await.expect("a chunk").is_some() {
        receiver.ack(0);
    }
    clock.jump(SNAPSHOT_STALL_MAX);
    a.transport.send(GROUP, heartbeat(1, 2, 1));
    b.recv_message().await;
    assert!(!finishing.is_finished());
    clock.jump(SNAPSHOT_FINISH_MAX);
    finishing.await.expect("no panic").expect_err("it took too long");
}

#[tokio::test]
async fn a_peer_that_is_none_any_more_is_sent_nothing() {
    let (a, mut b) = pair().await;
    let (sender, _receiver) = begun(&a, &mut b, 0).await;
    let sending = tokio::spawn(send_on(sender, 0));
    a.dial_only(&[]);
    sending.await.expect("no panic");
    let envelope = heartbeat(1, 9, 1);
    assert!(a.transport.snapshot(NodeId(9), GROUP, envelope, Bytes::new(), 1).is_err(), "no peer");
}

#[tokio::test]
async fn who_was_removed_sends_nothing_more() {
    let (a, mut b) = pair().await;
    let (sender, mut receiver) = begun(&a, &mut b, 0).await;
    b.transport.set_peers(Members { peers: BTreeMap::new(), removed: BTreeSet::from([NodeId(1)]) });
    receiver.next().await.expect_err("its sender was removed");
    assert!(send_on(sender, 0).await.reason.contains("removed"));
}

#[tokio::test]
async fn a_closed_transport_ends_its_snapshots() {
    let (a, mut b) = pair().await;
    let (sender, mut receiver) = begun(&a, &mut b, 0).await;
    b.transport.close();
    receiver.next().await.expect_err("it is closed");
    drop(send_on(sender, 0).await);
}

#[tokio::test]
async fn what_no_frame_can_carry_is_not_begun() {
    let (a, _b) = pair().await;
    let manifest = Bytes::from(vec![0; SNAPSHOT_CHUNK_BYTES_MAX + 1_024]);
    let refused = a.transport.snapshot(NodeId(2), GROUP, heartbeat(1, 2, 1), manifest, 1);
    assert!(refused.is_err());
}

fn frame(body: Body) -> proto::SnapshotFrame {
    proto::SnapshotFrame { body: Some(body) }
}

fn numbered(number: u64, bytes: usize) -> proto::SnapshotFrame {
    frame(Body::Chunk(proto::SnapshotChunk { number, data: Bytes::from(vec![1; bytes]) }))
}

fn finish(chunks: u64) -> proto::SnapshotFrame {
    frame(Body::Finish(proto::SnapshotFinish { chunks }))
}

#[test]
fn frames_that_break_a_rule_are_rejected() {
    let unasked = || Chunks::default();
    let asked = || {
        let mut chunks = Chunks::default();
        chunks.ask_from(5);
        chunks
    };
    assert!(unasked().on_frame(numbered(0, 1)).is_err(), "nobody asked");
    assert!(unasked().on_frame(finish(0)).is_err(), "nobody asked");
    for number in [0, 4, 6, u64::MAX] {
        assert_eq!(asked().on_frame(numbered(number, 1)), Err(Reject::Gap { index: number }));
    }
    assert!(asked().on_frame(numbered(5, 0)).is_err(), "empty");
    assert!(asked().on_frame(numbered(5, SNAPSHOT_CHUNK_BYTES_MAX)).is_ok());
    assert!(asked().on_frame(numbered(5, SNAPSHOT_CHUNK_BYTES_MAX + 1)).is_err(), "too large");
    assert!(asked().on_frame(proto::SnapshotFrame { body: None }).is_err());
    assert!(asked().on_frame(frame(Body::Begin(proto::SnapshotBegin::default()))).is_err(), "begun already");
    assert!(asked().on_frame(finish(4)).is_err(), "a chunk is missing");
    let mut ended = asked();
    assert_eq!(ended.on_frame(finish(5)), Ok(Step::Finish));
    assert!(ended.on_frame(numbered(5, 1)).is_err(), "after the end");

    let mut ahead = asked();
    for number in 5..5 + WINDOW {
        assert!(ahead.on_frame(numbered(number, 1)).is_ok());
    }
    assert!(ahead.clone().on_frame(numbered(5 + WINDOW, 1)).is_err(), "beyond the window");
    ahead.ack(5);
    assert!(ahead.on_frame(numbered(5 + WINDOW, 1)).is_ok());
    assert!(ahead.on_frame(numbered(6 + WINDOW, 1)).is_err(), "beyond the window");
    let mut last = Chunks::default();
    last.ask_from(u64::MAX);
    assert!(last.on_frame(numbered(u64::MAX, 1)).is_err(), "there is no number after it");
}
