//! Who is let in, who is told off, and who is told that it is the wrong one.

use std::sync::Arc;

use tonic::metadata::MetadataMap;

use crate::transport::handshake::{
    Introduced, Reason, Refusal, answer, check_dialer, check_server, introduce, is_address,
};
use crate::transport::{Identity, Inbound};
use crate::types::{Incarnation, NodeId};

use super::harness::*;

async fn start(identity: Identity) -> Node {
    Node::start_as(identity, Arc::new(FirstMet::default()), limits(), "127.0.0.1:0").await
}

async fn expect_refused(node: &mut Node, by: u64) {
    match node.recv().await {
        Inbound::Refused { by: refuser, reason } => {
            assert_eq!(refuser, NodeId(by));
            assert!(!reason.is_empty());
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused_and_told() {
    let a = start(identity(7, 1, 1)).await;
    let mut stranger = start(identity(8, 2, 2)).await;
    stranger.dial_only(&[&a]);
    expect_refused(&mut stranger, 1).await;
    assert!(a.counter("transport_refused") > 0);
    assert_eq!(a.counter("transport_accepted"), 0);
}

/// One address that leads into another cluster does not make a node believe that it is the wrong one itself.
#[tokio::test]
async fn a_healthy_node_outlives_a_peer_of_another_cluster() {
    let mut a = start(identity(7, 1, 1)).await;
    let b = start(identity(7, 2, 2)).await;
    let stranger = start(identity(8, 3, 3)).await;
    a.dial_only(&[&b, &stranger]);
    a.connected_to(&[b.id]).await;
    eventually("it is refused repeatedly", || stranger.counter("transport_refused") > 4).await;
    assert!(a.inbox.try_recv().is_none(), "nothing to tell");
}

#[tokio::test]
async fn a_wiped_node_under_its_old_id_is_refused_and_told() {
    let known = FirstMet::knowing(2, 22);
    let mut a = Node::start_as(identity(7, 1, 1), known, limits(), "127.0.0.1:0").await;
    let mut wiped = start(identity(7, 2, 23)).await;
    wiped.dial(&[&a]);
    expect_refused(&mut wiped, 1).await;
    // The other way round: the dialer sees that the node it reached is not the one it knows, and does not blame itself.
    a.dial(&[&wiped]);
    eventually("it tries repeatedly", || a.counter("transport_connect_failures") > 4).await;
    assert_eq!(a.counter("transport_connected"), 0);
    assert!(a.inbox.try_recv().is_none(), "nothing to tell");
    assert_eq!(a.transport.connections().borrow().len(), 0);
}

#[tokio::test]
async fn a_node_at_another_nodes_address_is_not_mistaken_for_it() {
    let mut a = start(identity(7, 1, 1)).await;
    let b = start(identity(7, 2, 2)).await;
    // What a has for node 3 is the address of node 2.
    a.transport.set_peers(members([(NodeId(3), b.address.clone())]));
    eventually("it is refused repeatedly", || b.counter("transport_refused") > 4).await;
    assert!(a.inbox.try_recv().is_none(), "the address is wrong, not this node");
    assert_eq!(b.counter("transport_accepted"), 0);
}

#[tokio::test]
async fn a_peer_that_is_put_right_is_connected_without_a_restart() {
    let a = start(identity(7, 1, 1)).await;
    let stranger = start(identity(8, 2, 2)).await;
    a.dial(&[&stranger]);
    eventually("it is refused", || stranger.counter("transport_refused") > 0).await;
    let address = stranger.stop().await;
    let b = Node::start_as(identity(7, 2, 2), Arc::new(FirstMet::default()), limits(), &address).await;
    a.connected_to(&[b.id]).await;
}

const ADDRESS: &str = "host.example:7001";

fn introduction(identity: &Identity, to: u64) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    introduce(identity, ADDRESS, NodeId(to), &mut metadata);
    metadata
}

/// Node 2 is known with data directory 2, and nobody is to be asked about node 9.
fn reason(metadata: &MetadataMap) -> Result<Introduced, Reason> {
    let admit = |dialer: &Introduced| match (dialer.node, dialer.incarnation) {
        (NodeId(2), Incarnation(2)) => Ok(()),
        (NodeId(2), _) => Err(Refusal::new(Reason::Incarnation, "another")),
        _ => Err(Refusal::new(Reason::Stranger, "nobody")),
    };
    check_dialer(&identity(7, 1, 1), admit, metadata).map_err(|refusal| refusal.reason)
}

#[test]
fn each_part_of_the_handshake_is_checked() {
    let peer = identity(7, 2, 2);
    let right = Introduced { node: NodeId(2), incarnation: Incarnation(2), address: ADDRESS.to_owned() };
    assert_eq!(reason(&introduction(&peer, 1)), Ok(right));
    assert_eq!(reason(&introduction(&identity(8, 2, 2), 1)), Err(Reason::Cluster));
    assert_eq!(reason(&introduction(&identity(7, 2, 3), 1)), Err(Reason::Incarnation));
    assert_eq!(reason(&introduction(&peer, 3)), Err(Reason::To));
    assert_eq!(reason(&introduction(&identity(7, 9, 9), 1)), Err(Reason::Stranger), "no member");
    assert_eq!(reason(&introduction(&identity(7, 1, 2), 1)), Err(Reason::Malformed), "calls itself as we");
    assert_eq!(reason(&introduction(&identity(7, 0, 2), 1)), Err(Reason::Malformed), "calls itself 0");
    let keys = [
        "quorate-wire",
        "quorate-cluster",
        "quorate-from",
        "quorate-incarnation",
        "quorate-to",
        "quorate-peer",
    ];
    for key in keys {
        let mut metadata = introduction(&peer, 1);
        metadata.remove(key);
        assert_eq!(reason(&metadata), Err(Reason::Malformed), "without {key}");
        for bad in ["", "-1", "x", "18446744073709551616", "00000000000000000"] {
            let mut metadata = introduction(&peer, 1);
            metadata.insert(key, bad.parse().expect("valid metadata"));
            assert!(reason(&metadata).is_err(), "{key}: {bad:?}");
        }
    }
    for wire in ["2", "4"] {
        let mut metadata = introduction(&peer, 1);
        metadata.insert("quorate-wire", wire.parse().expect("valid metadata"));
        assert_eq!(reason(&metadata), Err(Reason::Wire));
    }
}

#[test]
fn an_address_is_a_host_and_a_port() {
    for good in ["h:1", "127.0.0.1:65535", "[::1]:7001", "a-name.example.:7001"] {
        assert!(is_address(good), "{good:?}");
    }
    let long = format!("{}:7001", "x".repeat(255));
    for bad in ["", ":7001", "h", "h:", "h:0", "h:65536", "h:-1", "a host:1", "h\n:1", "h\u{e9}:1", &long] {
        assert!(!is_address(bad), "{bad:?}");
    }
}

#[test]
fn the_server_is_checked_as_well() {
    let me = identity(7, 1, 1);
    let admit = |incarnation| match incarnation {
        Incarnation(2) => Ok(()),
        _ => Err(Refusal::new(Reason::Incarnation, "another")),
    };
    let check = |server: &Identity| {
        let mut metadata = MetadataMap::new();
        answer(server, &mut metadata);
        check_server(&me, NodeId(2), admit, &metadata).map_err(|refusal| refusal.reason)
    };
    assert_eq!(check(&identity(7, 2, 2)), Ok(Incarnation(2)));
    assert_eq!(check(&identity(8, 2, 2)), Err(Reason::Cluster));
    assert_eq!(check(&identity(7, 3, 2)), Err(Reason::To));
    assert_eq!(check(&identity(7, 2, 3)), Err(Reason::Incarnation));
}

/// Nobody who is not of this cluster and meant us is even considered.
#[test]
fn who_may_talk_is_asked_only_after_all_else_was_right() {
    let me = identity(7, 1, 1);
    let mut bad = introduction(&identity(7, 2, 99), 1);
    bad.insert("quorate-peer", "nowhere".parse().expect("valid metadata"));
    for metadata in [introduction(&identity(8, 2, 99), 1), introduction(&identity(7, 2, 99), 3), bad] {
        assert!(check_dialer(&me, |dialer| panic!("asked about {dialer:?}"), &metadata).is_err());
    }
}

#[test]
fn a_refusal_survives_the_way_through_a_status() {
    for reason in Reason::ALL {
        let refusal = Refusal { reason, text: "because".to_owned() };
        assert_eq!(Refusal::from_status(&refusal.to_status()), Some(refusal));
    }
    assert_eq!(Refusal::from_status(&tonic::Status::unavailable("no")), None);
}
