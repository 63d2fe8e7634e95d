//! Forwards: answered, certainly not sent, or lost, and never a fourth thing.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_stream::Stream;

use crate::transport::counters::Counters;
use crate::transport::lane::{Lane, LaneKind, LaneLimits};
use crate::transport::proto::{ForwardReply, forward_reply::Outcome};
use crate::transport::{ForwardError, Inbound, Limits};
use crate::types::{GroupId, NodeId};

use super::harness::*;

async fn recv_forward(node: &mut Node) -> (Bytes, oneshot::Sender<Bytes>) {
    match node.recv().await {
        Inbound::Forward { from, group, request, reply } => {
            assert_eq!((from, group), (NodeId(1), GROUP));
            (request, reply)
        }
        other => panic!("expected a forward, got {other:?}"),
    }
}

#[tokio::test]
async fn replies_find_their_requests_in_any_order() {
    let (a, mut b) = pair().await;
    let forwards: Vec<_> = (0..100_u8)
        .map(|i| {
            let transport = a.transport.clone();
            let request = Bytes::from(vec![i; 1 + usize::from(i) * 1_000]);
            tokio::spawn(async move { transport.forward(NodeId(2), GROUP, request).await })
        })
        .collect();
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(recv_forward(&mut b).await);
    }
    for (request, reply) in open.into_iter().rev() {
        reply.send(request).expect("somebody waits");
    }
    for (i, forward) in forwards.into_iter().enumerate() {
        let reply = forward.await.expect("no panic").expect("an answer");
        assert_eq!(reply, vec![i as u8; 1 + i * 1_000]);
    }
}

#[tokio::test]
async fn a_peer_without_connection_is_not_sent() {
    let a = Node::start(1).await;
    let request = Bytes::from_static(b"r");
    a.dial_only(&[]);
    let unknown = a.transport.forward(NodeId(2), GROUP, request.clone()).await;
    assert_eq!(unknown, Err(ForwardError::NotSent));
    a.transport.set_peers(members([(NodeId(2), "127.0.0.1:1".to_owned())]));
    let unconnected = a.transport.forward(NodeId(2), GROUP, request).await;
    assert_eq!(unconnected, Err(ForwardError::NotSent));
}

#[tokio::test]
async fn what_no_frame_can_carry_is_not_sent() {
    let (a, _b) = pair().await;
    let request = Bytes::from(vec![0; limits().frame_bytes_max]);
    assert_eq!(a.transport.forward(NodeId(2), GROUP, request).await, Err(ForwardError::NotSent));
}

#[tokio::test]
async fn a_reply_that_no_frame_can_carry_is_lost() {
    let (a, mut b) = pair().await;
    let answer = async {
        let (_, reply) = recv_forward(&mut b).await;
        reply.send(Bytes::from(vec![0; limits().frame_bytes_max])).expect("somebody waits");
    };
    let (outcome, ()) = tokio::join!(a.transport.forward(NodeId(2), GROUP, Bytes::new()), answer);
    assert_eq!(outcome, Err(ForwardError::Lost));
}

#[tokio::test]
async fn a_request_that_the_peer_gives_up_on_is_lost() {
    let (a, mut b) = pair().await;
    let give_up = async {
        drop(recv_forward(&mut b).await);
    };
    let (outcome, ()) = tokio::join!(a.transport.forward(NodeId(2), GROUP, Bytes::new()), give_up);
    assert_eq!(outcome, Err(ForwardError::Lost));
}

#[tokio::test]
async fn a_request_whose_connection_dies_is_lost() {
    let (a, mut b) = pair().await;
    let die = async {
        let (_, _reply) = recv_forward(&mut b).await;
        b.stop().await;
    };
    let (outcome, ()) = tokio::join!(a.transport.forward(NodeId(2), GROUP, Bytes::new()), die);
    assert_eq!(outcome, Err(ForwardError::Lost));
}

/// The peer takes one forward at a time, this node would send three: two come back untouched.
#[tokio::test]
async fn what_the_peer_has_no_room_for_is_not_sent() {
    let a = Node::start(1).await;
    let one = Limits { forwards_inflight_max: 1, ..limits() };
    let mut b = Node::start_as(usual(2), Arc::new(FirstMet::default()), one, "127.0.0.1:0").await;
    a.dial(&[&b]);
    a.connected_to(&[b.id]).await;
    let forward = || a.transport.forward(NodeId(2), GROUP, Bytes::from_static(b"r"));
    let answer = async {
        let (request, reply) = recv_forward(&mut b).await;
        eventually("two are refused", || b.counter("transport_forwards_refused") == 2).await;
        reply.send(request).expect("somebody waits");
    };
    let (first, second, third, ()) = tokio::join!(biased; forward(), forward(), forward(), answer);
    assert_eq!(first, Ok(Bytes::from_static(b"r")));
    assert_eq!((second, third), (Err(ForwardError::NotSent), Err(ForwardError::NotSent)));
    // Its place is free again.
    let answer = async {
        let (request, reply) = recv_forward(&mut b).await;
        reply.send(request).expect("somebody waits");
    };
    let (again, ()) = tokio::join!(forward(), answer);
    assert!(again.is_ok(), "{again:?}");
}

#[tokio::test]
async fn a_caller_that_gives_up_frees_its_slot() {
    let one = Limits { forwards_inflight_max: 1, ..limits() };
    let a = Node::start_as(usual(1), Arc::new(FirstMet::default()), one, "127.0.0.1:0").await;
    let mut b = Node::start(2).await;
    a.dial(&[&b]);
    a.connected_to(&[b.id]).await;
    {
        let mut forward = pin!(a.transport.forward(NodeId(2), GROUP, Bytes::from_static(b"given up")));
        let reply = tokio::select! {
            biased;
            outcome = &mut forward => panic!("nobody answered, yet: {outcome:?}"),
            (_, reply) = recv_forward(&mut b) => reply,
        };
        let full = a.transport.forward(NodeId(2), GROUP, Bytes::from_static(b"too many")).await;
        assert_eq!(full, Err(ForwardError::NotSent));
        // Answered, but the caller is gone by the time the answer arrives.
        reply.send(Bytes::new()).expect("the connection waits");
    }
    let answer = async {
        let (request, reply) = recv_forward(&mut b).await;
        reply.send(request).expect("somebody waits");
    };
    let (outcome, ()) =
        tokio::join!(a.transport.forward(NodeId(2), GROUP, Bytes::from_static(b"next")), answer);
    assert_eq!(outcome, Ok(Bytes::from_static(b"next")), "not the reply to the one given up");
}

fn lane() -> Arc<Lane> {
    let limits = LaneLimits { frame_bytes_max: 1_000, messages_max: 8, bytes_max: 10_000, forwards_max: 8 };
    Arc::new(Lane::new(LaneKind::Bulk, limits, Arc::new(Counters::default())))
}

/// What the connection would take now; how many messages are in the frame.
fn take(
    outgoing: &mut (impl Stream<Item = crate::transport::frame::Frame<crate::transport::proto::Item>> + Unpin),
) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(outgoing).poll_next(&mut context) {
        Poll::Ready(Some(frame)) => frame.items.len(),
        Poll::Ready(None) => panic!("the session ended"),
        Poll::Pending => 0,
    }
}

fn settled<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("not settled"),
    }
}

/// The line between "certainly not sent" and "unknown" is where the connection takes the request.
#[test]
fn what_the_connection_never_took_is_not_sent_and_the_rest_is_lost() {
    let lane = lane();
    let mut outgoing = lane.open();
    lane.connect(outgoing.session());
    let push = || lane.push_forward(GroupId(1), Bytes::from_static(b"r")).expect("room");
    let taken = push();
    assert_eq!(take(&mut outgoing), 1);
    let queued = push();
    lane.disconnect(outgoing.session());
    assert_eq!(settled(taken.outcome()), Err(ForwardError::Lost));
    assert_eq!(settled(queued.outcome()), Err(ForwardError::NotSent));
}

#[test]
fn a_queued_request_whose_caller_is_gone_is_never_sent() {
    let lane = lane();
    let mut outgoing = lane.open();
    lane.connect(outgoing.session());
    let push = || lane.push_forward(GroupId(1), Bytes::from_static(b"r")).expect("room");
    let (first, second) = (push(), push());
    drop(first);
    assert_eq!(take(&mut outgoing), 1);
    drop(second);
    assert_eq!(take(&mut outgoing), 0);
}

/// An old connection that is slow to die must not settle, or take, what belongs to the new one.
#[test]
fn a_stale_session_does_nothing() {
    let lane = lane();
    let old = lane.open();
    lane.connect(old.session());
    lane.disconnect(old.session());
    let mut new = lane.open();
    lane.connect(new.session());
    let forward = lane.push_forward(GroupId(1), Bytes::from_static(b"r")).expect("room");
    let mut context = Context::from_waker(Waker::noop());
    let mut old_stream = old;
    assert!(matches!(Pin::new(&mut old_stream).poll_next(&mut context), Poll::Ready(None)));
    lane.disconnect(old_stream.session());
    let reply = ForwardReply { id: 0, outcome: Some(Outcome::Reply(Bytes::from_static(b"old"))) };
    lane.complete(old_stream.session(), reply);
    assert_eq!(take(&mut new), 1);
    let reply = ForwardReply { id: 0, outcome: Some(Outcome::Reply(Bytes::from_static(b"new"))) };
    lane.complete(new.session(), reply);
    assert_eq!(settled(forward.outcome()), Ok(Bytes::from_static(b"new")));
}
