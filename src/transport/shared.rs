//! What all connections of one transport share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::clock::SharedClock;
use crate::raft::Envelope;
use crate::types::{GroupId, NodeId};

use super::counters::Counters;
use super::handshake::{Reason, Refusal};
use super::inbox::{self, Inbox, InboxSender};
use super::lane::{Forwarding, LaneKind};
use super::net::SharedNet;
use super::peers::Peer;
use super::{Admission, ForwardError, Identity, Inbound, Limits, codec, proto};

/// See the module doc.
pub(super) struct Shared {
    pub net: SharedNet,
    pub clock: SharedClock,
    pub identity: Identity,
    pub admission: Arc<dyn Admission>,
    pub limits: Limits,
    pub counters: Arc<Counters>,
    pub inbox: InboxSender,
    closed: watch::Sender<bool>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    connections: watch::Sender<BTreeSet<NodeId>>,
    /// The accepted connections: the newest of each peer and lane. Dropping the sender ends it.
    accepted: Mutex<BTreeMap<(NodeId, LaneKind), Accepted>>,
    standing: Mutex<Standing>,
}

struct Accepted {
    number: u64,
    _superseded: oneshot::Sender<()>,
}

/// What the others think of this node.
#[derive(Default)]
struct Standing {
    /// Some peer passed a handshake with this node: it cannot be in the wrong cluster.
    accepted: bool,
    /// Peers that said that their cluster is another.
    foreign_to: BTreeSet<NodeId>,
    /// Whether the node was told.
    told: bool,
    /// The refusals of dialers that were logged: a stranger tries again and again.
    logged: BTreeSet<String>,
    accepted_next: u64,
}

/// Refusals that are remembered, so that they are logged once.
const REFUSALS_LOGGED_MAX: usize = 32;

impl Shared {
    pub fn new(
        net: SharedNet,
        clock: SharedClock,
        identity: Identity,
        admission: Arc<dyn Admission>,
        limits: Limits,
    ) -> (Shared, Inbox) {
        let closed = watch::Sender::new(false);
        let (sender, inbox) =
            inbox::channel(limits.inbox_messages_max, limits.inbox_bytes_max, closed.subscribe());
        let shared = Shared {
            net,
            clock,
            identity,
            admission,
            limits,
            counters: Arc::default(),
            inbox: sender,
            closed,
            peers: RwLock::default(),
            connections: watch::Sender::new(BTreeSet::new()),
            accepted: Mutex::default(),
            standing: Mutex::default(),
        };
        (shared, inbox)
    }

    pub fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    pub fn connections(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.connections.subscribe()
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accepted(&self) -> MutexGuard<'_, BTreeMap<(NodeId, LaneKind), Accepted>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn peer(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub fn set_peers(self: &Arc<Shared>, wanted: BTreeMap<NodeId, String>) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|id, peer| {
            let keep = wanted.get(id).is_some_and(|address| *address == peer.address);
            if !keep {
                peer.stop();
                self.on_connection(*id, false);
            }
            keep
        });
        if *self.closed.borrow() {
            return;
        }
        for (id, address) in wanted {
            if id != self.identity.node && !peers.contains_key(&id) {
                peers.insert(id, Peer::start(self, id, address));
            }
        }
    }

    pub fn send(&self, group: GroupId, envelope: Envelope) {
        assert_eq!(envelope.from, self.identity.node, "a node sends in its own name only");
        let lane = if codec::is_control(&envelope.message) { LaneKind::Control } else { LaneKind::Bulk };
        let Some(peer) = self.peer(envelope.to) else {
            self.counters.dropped_unconnected.increment();
            return;
        };
        let body = proto::item::Body::Envelope(codec::encode(envelope));
        peer.lane(lane).push(proto::Item { group: group.0, body: Some(body) });
    }

    pub fn forward(&self, to: NodeId, group: GroupId, request: Bytes) -> Result<Forwarding, ForwardError> {
        let peer = self.peer(to).ok_or(ForwardError::NotSent)?;
        peer.lane(LaneKind::Bulk).push_forward(group, request)
    }

    pub fn close(&self) {
        self.closed.send_replace(true);
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        for (id, peer) in std::mem::take(&mut *peers) {
            peer.stop();
            self.on_connection(id, false);
        }
        drop(peers);
        self.accepted().clear();
    }

    /// A peer passed the handshake of one of its lanes. The receiver ends once the peer opens that lane again: what
    /// is left of the older connection then is only stale.
    pub fn on_accepted(&self, from: NodeId, lane: LaneKind) -> (u64, oneshot::Receiver<()>) {
        self.counters.accepted.increment();
        let mut standing = self.standing();
        standing.accepted = true;
        standing.logged.clear();
        standing.accepted_next += 1;
        let number = standing.accepted_next;
        drop(standing);

        let (sender, receiver) = oneshot::channel();
        self.accepted().insert((from, lane), Accepted { number, _superseded: sender });
        // It is there, so it can be reached: a node that came back is dialed without waiting.
        if let Some(peer) = self.peer(from) {
            peer.hurry(lane);
        }
        (number, receiver)
    }

    /// An accepted connection ended.
    pub fn on_accepted_end(&self, from: NodeId, lane: LaneKind, number: u64) {
        let mut accepted = self.accepted();
        if accepted.get(&(from, lane)).is_some_and(|accepted| accepted.number == number) {
            accepted.remove(&(from, lane));
        }
    }

    /// A dialer did not pass the handshake.
    pub fn on_refused(&self, refusal: &Refusal) {
        self.counters.refused.increment();
        let mut standing = self.standing();
        let new = standing.logged.len() < REFUSALS_LOGGED_MAX && standing.logged.insert(refusal.text.clone());
        drop(standing);
        if new {
            tracing::warn!(reason = %refusal, "refused a connection of a peer");
        }
    }

    /// All lanes to a peer came up, or no longer all are.
    pub fn on_connection(&self, peer: NodeId, up: bool) {
        if up {
            self.standing().accepted = true;
        }
        self.connections.send_if_modified(|connections| {
            if up { connections.insert(peer) } else { connections.remove(&peer) }
        });
    }

    /// A peer refused this node. Whether this node is the one that is wrong depends on the reason:
    /// - *incarnation*: the peer keeps a durable record of another data directory under this id. This node is wrong.
    /// - *cluster*: one of the two is wrong. It is this one if more than half of its peers say so and none has ever
    ///   accepted it: a single address that leads astray must not stop a healthy cluster.
    /// - else the addresses or the versions are wrong, which an operator has to mend.
    pub fn on_refused_by(&self, peer: NodeId, refusal: &Refusal) {
        let mut standing = self.standing();
        let wrong = match refusal.reason {
            Reason::Incarnation => true,
            Reason::Cluster => {
                standing.foreign_to.insert(peer);
                let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
                let refusers = peers.keys().filter(|id| standing.foreign_to.contains(id)).count();
                !standing.accepted && refusers * 2 > peers.len()
            }
            Reason::Malformed | Reason::Wire | Reason::To | Reason::Stranger | Reason::Unable => false,
        };
        if wrong && !standing.told {
            // Where there is no room now there will be at the next refusal.
            standing.told = self.inbox.notify(Inbound::Refused { by: peer, reason: refusal.text.clone() });
        }
    }
}

/// Completes once the flag is true, or nobody can raise it any more.
pub(super) async fn raised(flag: &mut watch::Receiver<bool>) {
    // The guard within the result must not live across an await of the caller.
    let _ = flag.wait_for(|raised| *raised).await;
}
