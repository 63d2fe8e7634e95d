//! Guests, removed members, data directories that the record names, and peers that moved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::transport::roster::GUESTS_MAX;
use crate::transport::{Admission, Identity, Inbound, Members, NotAdmitted, PeerInfo};
use crate::types::{Incarnation, NodeId};

use super::harness::*;

/// Must not be asked.
struct Nobody;

impl Admission for Nobody {
    fn admit(&self, peer: NodeId, _incarnation: Incarnation) -> Result<(), NotAdmitted> {
        panic!("asked about node {peer}")
    }
}

async fn start(identity: Identity) -> Node {
    Node::start_as(identity, Arc::new(FirstMet::default()), limits(), "127.0.0.1:0").await
}

fn recorded(node: &Node, incarnation: u64) -> Members {
    let info = PeerInfo { address: node.address.clone(), incarnation: Some(Incarnation(incarnation)) };
    Members { peers: BTreeMap::from([(node.id, info)]), removed: BTreeSet::new() }
}

/// Both ways, over and over, since either may be about to connect anew.
async fn talk(a: &mut Node, b: &mut Node) {
    for (from, to) in [(0, 1), (1, 0)] {
        let nodes = [&mut *a, &mut *b];
        let (from_id, to_id) = (nodes[from].id, nodes[to].id);
        let transport = nodes[from].transport.clone();
        let told = tokio::spawn(async move {
            loop {
                transport.send(GROUP, heartbeat(from_id.0, to_id.0, 4));
                tokio::task::yield_now().await;
            }
        });
        let to = if to == 0 { &mut *a } else { &mut *b };
        while to.recv_message().await.from != from_id {}
        told.abort();
        // What is under way still.
        let _ = told.await;
    }
}

#[tokio::test]
async fn who_is_no_member_is_heard_and_answered_and_nothing_is_recorded_of_it() {
    let mut a = Node::start_as(identity(7, 1, 1), Arc::new(Nobody), limits(), "127.0.0.1:0").await;
    let mut guest = start(identity(7, 77, 5)).await;
    a.dial_only(&[]);
    guest.dial_only(&[&a]);
    talk(&mut a, &mut guest).await;
    assert_eq!(a.counter("transport_guests"), 1);
    assert_eq!(a.counter("transport_refused"), 0);
}

/// The place of a guest that is gone is free again after a while.
#[tokio::test]
async fn guests_are_few_and_are_forgotten() {
    let a = start(identity(7, 1, 1)).await;
    a.dial_only(&[]);
    let mut guests = Vec::new();
    for id in 0..GUESTS_MAX as u64 {
        let guest = start(identity(7, 70 + id, 5)).await;
        guest.dial_only(&[&a]);
        a.connected_to(&[guest.id]).await;
        guests.push(guest);
    }
    let one_more = start(identity(7, 99, 5)).await;
    one_more.dial_only(&[&a]);
    eventually("it is turned away", || a.counter("transport_refused") > 0).await;
    assert_eq!(a.counter("transport_guests"), GUESTS_MAX as u64);
    guests.remove(0).kill().await;
    a.connected_to(&[one_more.id]).await;
    assert_eq!(a.counter("transport_guests"), GUESTS_MAX as u64 + 1);
    a.transport.send(GROUP, heartbeat(1, 70, 1));
    assert_eq!(a.counter("transport_dropped_unconnected"), 1, "forgotten");
}

#[tokio::test]
async fn a_guest_of_another_data_directory_is_turned_away_but_not_told_to_stop() {
    let a = start(identity(7, 1, 1)).await;
    a.dial_only(&[]);
    let guest = start(identity(7, 77, 5)).await;
    guest.dial_only(&[&a]);
    a.connected_to(&[guest.id]).await;
    let mut other = start(identity(7, 77, 6)).await;
    other.dial_only(&[&a]);
    eventually("it is turned away", || a.counter("transport_refused") > 4).await;
    assert!(other.inbox.try_recv().is_none(), "nothing to tell");
}

#[tokio::test]
async fn a_guest_becomes_a_member_and_a_member_a_guest() {
    let mut a = Node::start_as(identity(7, 1, 1), Arc::new(Nobody), limits(), "127.0.0.1:0").await;
    let mut b = start(identity(7, 77, 5)).await;
    a.dial_only(&[]);
    b.dial_only(&[&a]);
    talk(&mut a, &mut b).await;
    for _ in 0..2 {
        a.transport.set_peers(recorded(&b, 5));
        talk(&mut a, &mut b).await;
        a.dial_only(&[]);
        talk(&mut a, &mut b).await;
    }
}

/// A member whose record names nothing is recorded by the node itself, even if it was a guest before.
#[tokio::test]
async fn a_guest_that_becomes_a_member_without_a_record_is_asked_about() {
    let known = FirstMet::knowing(77, 6);
    let a = Node::start_as(identity(7, 1, 1), known, limits(), "127.0.0.1:0").await;
    let mut guest = start(identity(7, 77, 5)).await;
    a.dial_only(&[]);
    guest.dial_only(&[&a]);
    a.connected_to(&[guest.id]).await;
    a.dial_only(&[&guest]);
    assert!(matches!(guest.recv().await, Inbound::Refused { by: NodeId(1), .. }));
}

#[tokio::test]
async fn what_the_record_names_counts_alone() {
    let mut a = Node::start_as(identity(7, 1, 1), Arc::new(Nobody), limits(), "127.0.0.1:0").await;
    let mut b = start(identity(7, 2, 22)).await;
    a.transport.set_peers(recorded(&b, 22));
    b.dial_only(&[&a]);
    talk(&mut a, &mut b).await;
    // The record names another one, suddenly: both connections end, and the node is told.
    a.transport.set_peers(recorded(&b, 23));
    a.disconnected_from(b.id).await;
    while !matches!(b.recv().await, Inbound::Refused { by: NodeId(1), .. }) {}
    a.transport.set_peers(recorded(&b, 22));
    a.connected_to(&[b.id]).await;
}

#[tokio::test]
async fn who_was_removed_is_told_at_once_and_at_each_attempt() {
    let (a, mut b) = pair().await;
    let removed = Members { peers: BTreeMap::new(), removed: BTreeSet::from([NodeId(2)]) };
    a.transport.set_peers(removed);
    assert!(matches!(b.recv().await, Inbound::Removed { by: NodeId(1) }));
    a.disconnected_from(b.id).await;
    b.disconnected_from(a.id).await;
    let address = b.stop().await;
    let mut again = Node::start_as(usual(2), Arc::new(FirstMet::default()), limits(), &address).await;
    again.dial_only(&[&a]);
    assert!(matches!(again.recv().await, Inbound::Removed { by: NodeId(1) }));
    assert_eq!(a.counter("transport_guests"), 0);
}

/// Nobody listens where the record says: the address that the peer gives is as good, until the record has it.
#[tokio::test]
async fn a_peer_that_moved_is_reached_before_its_record_says_so() {
    let mut a = start(identity(7, 1, 1)).await;
    let mut b = start(identity(7, 2, 2)).await;
    a.transport.set_peers(members([(NodeId(2), "127.0.0.1:1".to_owned())]));
    b.dial_only(&[&a]);
    talk(&mut a, &mut b).await;
    a.dial_only(&[&b]);
    talk(&mut a, &mut b).await;
}
