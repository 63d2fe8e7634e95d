//! A peer's process that died is known to be dead, and nobody else is.

use std::io;
use std::sync::Arc;

use crate::transport::Inbound;
use crate::transport::net::{Net, TcpNet};
use crate::types::{Incarnation, NodeId};

use super::harness::*;
use super::seams::{Unruly, UnrulyNet};

/// Node 1, behind a network that does what the test says, connected to node 2.
async fn unruly_pair() -> (Arc<Unruly>, Node, Node) {
    let net = Arc::new(Unruly::default());
    let shared = Arc::new(UnrulyNet(Arc::clone(&net)));
    let admission = Arc::new(FirstMet::default());
    let a = Node::start_in(shared, clock(), usual(1), admission, limits(), "127.0.0.1:0").await;
    let b = Node::start(2).await;
    a.dial_only(&[&b]);
    b.dial_only(&[&a]);
    a.connected_to(&[b.id]).await;
    b.connected_to(&[a.id]).await;
    (net, a, b)
}

async fn expect_died(node: &mut Node) {
    match node.recv().await {
        Inbound::Died { peer, incarnation } => {
            assert_eq!((peer, incarnation), (NodeId(2), Incarnation(1_002)));
        }
        other => panic!("expected a death, got {other:?}"),
    }
}

/// Waits until a good many more attempts to connect have failed; nothing is said about any of them.
async fn expect_nothing(node: &mut Node) {
    let before = node.counter("transport_connect_failures");
    eventually("more attempts", || node.counter("transport_connect_failures") > before + 5).await;
    assert!(node.inbox.try_recv().is_none(), "nothing to tell");
}

#[tokio::test]
async fn a_killed_process_is_dead_and_that_is_said_once_for_each_connection() {
    let (mut a, b) = pair().await;
    let address = b.kill().await;
    expect_died(&mut a).await;
    expect_nothing(&mut a).await;
    let b = Node::start_as(usual(2), Arc::new(FirstMet::default()), limits(), &address).await;
    a.connected_to(&[b.id]).await;
    assert!(a.inbox.try_recv().is_none(), "a peer that is back makes itself heard");
    b.kill().await;
    expect_died(&mut a).await;
    assert_eq!(a.counter("transport_died"), 2);
}

#[tokio::test]
async fn a_node_that_stops_in_good_order_is_dead_too() {
    let (mut a, b) = pair().await;
    b.stop().await;
    expect_died(&mut a).await;
}

#[tokio::test]
async fn a_name_that_stands_for_nothing_any_more_is_evidence() {
    let (net, mut a, _b) = unruly_pair().await;
    net.fail(Some(io::ErrorKind::NotFound));
    net.cut();
    expect_died(&mut a).await;
}

#[tokio::test]
async fn another_data_directory_in_its_place_is_evidence() {
    let (net, mut a, _b) = unruly_pair().await;
    let other =
        Node::start_as(identity(7, 2, 5), Arc::new(FirstMet::default()), limits(), "127.0.0.1:0").await;
    net.lead_to(&other.address);
    net.cut();
    expect_died(&mut a).await;
    expect_nothing(&mut a).await;
}

#[tokio::test]
async fn another_node_in_its_place_is_none() {
    let (net, mut a, _b) = unruly_pair().await;
    let other = Node::start(3).await;
    net.lead_to(&other.address);
    net.cut();
    expect_nothing(&mut a).await;
}

#[tokio::test]
async fn a_connection_that_is_closed_while_the_process_lives_is_none() {
    let (net, mut a, b) = unruly_pair().await;
    for round in 1..4 {
        let connected = a.counter("transport_connected");
        net.cut();
        eventually("both lanes are up again", || a.counter("transport_connected") == connected + 2).await;
        b.transport.send(GROUP, heartbeat(2, 1, round));
        assert_eq!(number(&a.recv_message().await), round, "and not a death");
    }
}

#[tokio::test]
async fn what_tells_nothing_of_the_process_is_none() {
    let unreachable = [
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::HostUnreachable,
        io::ErrorKind::TimedOut,
        io::ErrorKind::ConnectionAborted,
    ];
    for failure in unreachable {
        let (net, mut a, _b) = unruly_pair().await;
        net.fail(Some(failure));
        net.cut();
        expect_nothing(&mut a).await;
        // The question is still open, and now it is answered.
        net.fail(Some(io::ErrorKind::ConnectionRefused));
        expect_died(&mut a).await;
    }
}

/// A black hole: the connection is given up here, for want of an answer. Even a refusal is no evidence then: who knows
/// which machine refuses.
#[tokio::test]
async fn a_connection_that_nobody_answers_is_none() {
    let (net, mut a, _b) = unruly_pair().await;
    net.freeze();
    a.disconnected_from(NodeId(2)).await;
    let connects = net.connects();
    eventually("it is dialed again", || net.connects() > connects).await;
    assert!(a.inbox.try_recv().is_none(), "nothing to tell");
    net.fail(Some(io::ErrorKind::ConnectionRefused));
    net.thaw();
    expect_nothing(&mut a).await;
}

#[tokio::test]
async fn the_network_tells_a_refusal_and_a_name_without_address_from_all_else() {
    let kind = |address: &'static str| async move {
        TcpNet.connect(address).await.map(drop).map_err(|error| error.kind())
    };
    assert_eq!(kind("127.0.0.1:1").await, Err(io::ErrorKind::ConnectionRefused));
    assert_eq!(kind("does-not-resolve.invalid:1").await, Err(io::ErrorKind::NotFound));
    assert_eq!(kind("no port").await, Err(io::ErrorKind::InvalidInput));
}
