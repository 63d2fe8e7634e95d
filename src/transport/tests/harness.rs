//! Nodes that are nothing but a transport behind the real serve loop, each on an address of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::{SharedClock, SystemClock};
use crate::config;
use crate::raft::{Append, Entry, EntryKind, Envelope, Message, Round, SessionId};
use crate::server::serve::{ServeOptions, Traffic, serve};
use crate::transport::net::{SharedNet, TcpNet};
use crate::transport::{
    Admission, Identity, Inbound, Inbox, Limits, Members, NotAdmitted, PeerInfo, Transport,
};
use crate::types::{ClusterId, GroupId, Incarnation, Index, NodeId, Term};

/// Far longer than anything here takes; only a broken test meets it.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub const GROUP: GroupId = GroupId::FIRST;

/// Keeps the first incarnation met of each peer, as the node does, but in memory.
#[derive(Default)]
pub struct FirstMet(Mutex<BTreeMap<NodeId, Incarnation>>);

impl FirstMet {
    pub fn knowing(peer: u64, incarnation: u64) -> Arc<FirstMet> {
        let known = BTreeMap::from([(NodeId(peer), Incarnation(incarnation))]);
        Arc::new(FirstMet(Mutex::new(known)))
    }
}

impl Admission for FirstMet {
    fn admit(&self, peer: NodeId, incarnation: Incarnation) -> Result<(), NotAdmitted> {
        let mut known = self.0.lock().expect("no test panics in here");
        let first = *known.entry(peer).or_insert(incarnation);
        let other = || NotAdmitted::Other(format!("node {peer} has another incarnation"));
        if first == incarnation { Ok(()) } else { Err(other()) }
    }
}

pub struct Node {
    pub id: NodeId,
    pub transport: Transport,
    pub inbox: Inbox,
    pub address: String,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

pub fn identity(cluster: u64, node: u64, incarnation: u64) -> Identity {
    Identity { cluster: ClusterId(cluster), node: NodeId(node), incarnation: Incarnation(incarnation) }
}

/// The identity that node `node` has where a test does not care.
pub fn usual(node: u64) -> Identity {
    identity(7, node, 1_000 + node)
}

/// Members at these addresses, without a data directory in their records.
pub fn members(peers: impl IntoIterator<Item = (NodeId, String)>) -> Members {
    let info = |address| PeerInfo { address, incarnation: None };
    let peers = peers.into_iter().map(|(id, address)| (id, info(address))).collect();
    Members { peers, removed: BTreeSet::new() }
}

/// The members that every node knows of, at an address where nobody listens.
fn nowhere() -> BTreeMap<NodeId, String> {
    (1..=8).map(|id| (NodeId(id), "127.0.0.1:1".to_owned())).collect()
}

pub fn limits() -> Limits {
    Limits::from(&config::Limits::default())
}

pub fn clock() -> SharedClock {
    SystemClock::shared()
}

impl Node {
    pub async fn start(node: u64) -> Node {
        Node::start_as(usual(node), Arc::new(FirstMet::default()), limits(), "127.0.0.1:0").await
    }

    pub async fn start_as(
        identity: Identity,
        admission: Arc<dyn Admission>,
        limits: Limits,
        address: &str,
    ) -> Node {
        Node::start_in(TcpNet::shared(), clock(), identity, admission, limits, address).await
    }

    pub async fn start_in(
        net: SharedNet,
        clock: SharedClock,
        identity: Identity,
        admission: Arc<dyn Admission>,
        limits: Limits,
        address: &str,
    ) -> Node {
        let listener = TcpNet::shared().bind(address).await.expect("a free port");
        let address = listener.local_address().expect("a bound address");
        let (transport, inbox) = Transport::start(net, clock, identity, &address, admission, limits);
        let options = ServeOptions {
            connections_max: 64,
            connections_all: None,
            shares: None,
            date_header: true,
            // Longer than any test waits: what ends, ends by itself.
            drain: DEADLINE * 10,
            send_timeout: DEADLINE,
            traffic: Traffic::Peers,
            clock: SystemClock::shared(),
        };
        let stop = watch::Sender::new(false);
        let mut stopped = stop.subscribe();
        let shutdown = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        transport.set_peers(members(nowhere()));
        let service = transport.routes().into_axum_router();
        let server = tokio::spawn(serve(listener, service, options, shutdown));
        Node { id: identity.node, transport, inbox, address, stop, server }
    }

    /// Tells this node about the others.
    pub fn dial(&self, others: &[&Node]) {
        let mut peers = nowhere();
        peers.extend(others.iter().map(|other| (other.id, other.address.clone())));
        self.transport.set_peers(members(peers));
    }

    /// Tells this node that these are all the others.
    pub fn dial_only(&self, others: &[&Node]) {
        let peers = others.iter().map(|other| (other.id, other.address.clone()));
        self.transport.set_peers(members(peers));
    }

    pub async fn connected_to(&self, others: &[NodeId]) {
        let mut connections = self.transport.connections();
        let all = connections.wait_for(|connections| others.iter().all(|id| connections.contains(id)));
        tokio::time::timeout(DEADLINE, all).await.expect("connected").expect("the transport lives");
    }

    pub async fn disconnected_from(&self, other: NodeId) {
        let mut connections = self.transport.connections();
        let gone = connections.wait_for(|connections| !connections.contains(&other));
        tokio::time::timeout(DEADLINE, gone).await.expect("disconnected").expect("the transport lives");
    }

    pub async fn recv(&mut self) -> Inbound {
        let inbound = tokio::time::timeout(DEADLINE, self.inbox.recv()).await;
        inbound.expect("something comes in").expect("the transport is open")
    }

    pub async fn recv_message(&mut self) -> Envelope {
        match self.recv().await {
            Inbound::Message { group, envelope } => {
                assert_eq!(group, GROUP);
                envelope
            }
            other => panic!("expected a message, got {other:?}"),
        }
    }

    /// Ends without a word to anybody, as a process does that is killed: first the listener, then the connections.
    pub async fn kill(self) -> String {
        self.server.abort();
        let _ = self.server.await;
        self.transport.close();
        self.address
    }

    /// Stops and gives the address back, to start another node there.
    pub async fn stop(self) -> String {
        self.transport.close();
        self.stop.send_replace(true);
        tokio::time::timeout(DEADLINE, self.server).await.expect("drained").expect("no panic");
        self.address
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.transport.counters()[name]
    }
}

/// Two nodes, connected both ways.
pub async fn pair() -> (Node, Node) {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    a.dial(&[&b]);
    b.dial(&[&a]);
    a.connected_to(&[b.id]).await;
    b.connected_to(&[a.id]).await;
    (a, b)
}

pub fn heartbeat(from: u64, to: u64, round: u64) -> Envelope {
    let (session, round) = (SessionId(3), Round(round));
    let message = Message::Heartbeat { session, commit: Index(4), round, stored_by_all: Index(2) };
    Envelope { from: NodeId(from), to: NodeId(to), term: Term(5), message }
}

pub fn append(from: u64, to: u64, inflight: u64, payloads: &[Bytes]) -> Envelope {
    let entry = |(i, payload): (usize, &Bytes)| {
        Entry::new(Index(11 + i as u64), Term(5), EntryKind::Command, payload.clone())
    };
    let message = Message::Append(Append {
        session: SessionId(3),
        inflight,
        prev_index: Index(10),
        prev_term: Term(4),
        entries: payloads.iter().enumerate().map(entry).collect(),
        commit: Index(9),
        round: Round(8),
    });
    Envelope { from: NodeId(from), to: NodeId(to), term: Term(5), message }
}

/// The number by which the tests tell messages apart.
pub fn number(envelope: &Envelope) -> u64 {
    match &envelope.message {
        Message::Heartbeat { round, .. } => round.0,
        Message::Append(append) => append.inflight,
        other => panic!("unexpected {other:?}"),
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, poll).await.unwrap_or_else(|_| panic!("never: {what}"));
}
