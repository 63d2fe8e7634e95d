//! Delivery, order, reconnection, and that bulk traffic does not hold up control messages.

use std::sync::Arc;

use bytes::Bytes;

use crate::transport::{Inbound, Limits};
use crate::types::NodeId;

use super::harness::*;

#[tokio::test]
async fn every_message_arrives_once_and_in_order_within_its_lane() {
    let (a, mut b) = pair().await;
    let payload = Bytes::from(vec![7; 300]);
    for i in 0..500 {
        a.transport.send(GROUP, heartbeat(1, 2, i));
        a.transport.send(GROUP, append(1, 2, i, std::slice::from_ref(&payload)));
    }
    let (mut heartbeats, mut appends) = (0, 0);
    while heartbeats < 500 || appends < 500 {
        let envelope = b.recv_message().await;
        let next = match &envelope.message {
            crate::raft::Message::Append(_) => &mut appends,
            _ => &mut heartbeats,
        };
        let expected = match &envelope.message {
            crate::raft::Message::Append(_) => append(1, 2, *next, std::slice::from_ref(&payload)),
            _ => heartbeat(1, 2, *next),
        };
        assert_eq!(envelope, expected, "a message was lost, repeated or changed on its way");
        *next += 1;
    }
    assert_eq!(b.counter("transport_received"), 1_000);
    assert_eq!(a.counter("transport_sent"), 1_000);
    let frames = a.counter("transport_frames_sent");
    assert!(frames < 1_000, "{frames} frames: messages are not put together");
}

#[tokio::test]
async fn three_nodes_reach_each_other() {
    let (a, b, c) = (Node::start(1).await, Node::start(2).await, Node::start(3).await);
    let mut nodes = [a, b, c];
    for i in 0..3 {
        let others: Vec<&Node> = nodes.iter().filter(|node| node.id != nodes[i].id).collect();
        nodes[i].dial(&others);
    }
    for from in 0..3 {
        for to in (0..3).filter(|to| *to != from) {
            let (from_id, to_id) = (nodes[from].id, nodes[to].id);
            nodes[from].connected_to(&[to_id]).await;
            nodes[from].transport.send(GROUP, heartbeat(from_id.0, to_id.0, 42));
            let envelope = nodes[to].recv_message().await;
            assert_eq!(envelope.from, from_id);
        }
    }
}

#[tokio::test]
async fn a_value_of_the_largest_size_and_several_in_one_frame() {
    let (a, mut b) = pair().await;
    let value = Bytes::from(vec![1; (1 << 20) + (1 << 19) + 8_192]);
    a.transport.send(GROUP, append(1, 2, 0, std::slice::from_ref(&value)));
    a.transport.send(GROUP, append(1, 2, 1, &[value.clone(), value.clone()]));
    for i in 0..2 {
        assert_eq!(number(&b.recv_message().await), i);
    }
    // Three of them are more than a frame may hold: that is counted, and harms nothing.
    a.transport.send(GROUP, append(1, 2, 2, &[value.clone(), value.clone(), value.clone()]));
    assert_eq!(a.counter("transport_dropped_oversize"), 1);
    a.transport.send(GROUP, append(1, 2, 3, &[value]));
    assert_eq!(number(&b.recv_message().await), 3);
}

#[tokio::test]
async fn nothing_is_queued_for_a_peer_that_is_not_there() {
    let a = Node::start(1).await;
    a.transport.send(GROUP, heartbeat(1, 2, 0));
    assert_eq!(a.counter("transport_dropped_unconnected"), 1, "an unknown peer");
    a.transport.set_peers(members([(NodeId(2), "does-not-resolve.invalid:1".to_owned())]));
    a.transport.send(GROUP, heartbeat(1, 2, 1));
    a.transport.send(GROUP, append(1, 2, 2, &[]));
    assert_eq!(a.counter("transport_dropped_unconnected"), 3, "a peer without connection");
}

#[tokio::test]
async fn a_restarted_peer_is_connected_again_in_both_directions() {
    let (mut a, b) = pair().await;
    let address = b.stop().await;
    a.disconnected_from(NodeId(2)).await;
    let mut b = Node::start_as(usual(2), Arc::new(FirstMet::default()), limits(), &address).await;
    b.dial(&[&a]);
    a.connected_to(&[NodeId(2)]).await;
    b.connected_to(&[NodeId(1)]).await;
    a.transport.send(GROUP, heartbeat(1, 2, 5));
    assert_eq!(number(&b.recv_message().await), 5);
    assert!(matches!(a.recv().await, Inbound::Died { .. }), "it was dead meanwhile");
    b.transport.send(GROUP, append(2, 1, 6, &[Bytes::from_static(b"x")]));
    assert_eq!(number(&a.recv_message().await), 6);
}

#[tokio::test]
async fn a_peer_at_a_new_address_is_dialed_there() {
    let (a, b) = pair().await;
    drop(b);
    let mut b = Node::start_as(usual(2), Arc::new(FirstMet::default()), limits(), "127.0.0.2:0").await;
    a.dial(&[&b]);
    a.connected_to(&[NodeId(2)]).await;
    a.transport.send(GROUP, heartbeat(1, 2, 1));
    assert_eq!(number(&b.recv_message().await), 1);
    // A peer that is no longer one is left alone.
    a.dial(&[]);
    a.disconnected_from(NodeId(2)).await;
    a.transport.send(GROUP, heartbeat(1, 2, 2));
    assert_eq!(a.counter("transport_dropped_unconnected"), 1);
}

/// The receiving node does not look at its inbox: the bulk lane is stuffed from end to end. Yet a heartbeat passes it,
/// on the wire and in the inbox, while not one of the large messages moves.
#[tokio::test]
async fn a_flood_of_bulk_does_not_hold_up_control() {
    let (a, mut b) = pair().await;
    let value = Bytes::from(vec![1; 1 << 20]);
    // 31 of them fill the inbox, and the next one waits for room.
    let stuck = limits().inbox_bytes_max as u64 >> 20;
    let mut sent = 0;
    eventually("the bulk lane is stuffed", || {
        a.transport.send(GROUP, append(1, 2, sent, std::slice::from_ref(&value)));
        sent += 1;
        a.counter("transport_dropped_bulk_full") > 0 && b.counter("transport_received") == stuck
    })
    .await;
    a.transport.send(GROUP, heartbeat(1, 2, 777));
    eventually("the heartbeat passes", || b.counter("transport_received") == stuck + 1).await;
    assert_eq!(b.recv_message().await, heartbeat(1, 2, 777));
    assert_eq!(number(&b.recv_message().await), 0, "and then the flood, from its beginning");
}

/// The other way round: many control messages do not starve the bulk lane.
#[tokio::test]
async fn bulk_gets_its_turn_among_control_messages() {
    let (a, mut b) = pair().await;
    a.transport.send(GROUP, append(1, 2, 9, &[]));
    for i in 0..500 {
        a.transport.send(GROUP, heartbeat(1, 2, i));
    }
    eventually("all are there", || b.counter("transport_received") == 501).await;
    let mut before = 0;
    while b.recv_message().await.message != append(1, 2, 9, &[]).message {
        before += 1;
    }
    assert_eq!(before, 64, "control messages in a row while a bulk message waits");
}

#[tokio::test]
async fn a_full_control_lane_drops_and_counts() {
    let few = Limits { control_frames_queued_max: 4, ..limits() };
    let a = Node::start_as(usual(1), Arc::new(FirstMet::default()), few, "127.0.0.1:0").await;
    let mut b = Node::start(2).await;
    a.dial(&[&b]);
    a.connected_to(&[b.id]).await;
    // Without an await in between the connection takes nothing.
    for i in 0..10 {
        a.transport.send(GROUP, heartbeat(1, 2, i));
    }
    assert_eq!(a.counter("transport_dropped_control_full"), 6);
    for i in 0..4 {
        assert_eq!(number(&b.recv_message().await), i, "the oldest are kept");
    }
}

#[tokio::test]
async fn a_closed_transport_says_so() {
    let (a, mut b) = pair().await;
    b.transport.close();
    assert!(tokio::time::timeout(DEADLINE, b.inbox.recv()).await.expect("ends").is_none());
    a.disconnected_from(b.id).await;
    b.disconnected_from(a.id).await;
}
