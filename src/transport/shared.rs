//! What all connections of one transport share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::AtomicU64,
};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot, watch};
use tonic::Status;

use crate::clock::SharedClock;
use crate::raft::Envelope;
use crate::types::{GroupId, Incarnation, NodeId};

use super::counters::Counters;
use super::handshake::{Introduced, Reason, Refusal};
use super::inbox::{self, Inbox, InboxSender};
use super::join::JOINS_INFLIGHT_MAX;
use super::lane::{Forwarding, LaneKind};
use super::net::SharedNet;
use super::peers::Peer;
use super::roster::{Roster, Standing};
use super::snapshot::SNAPSHOTS_INCOMING_MAX;
use super::{Admission, ForwardError, Identity, Inbound, Limits, codec, proto};

/// See the module doc.
pub(super) struct Shared {
    pub net: SharedNet,
    pub clock: SharedClock,
    pub identity: Identity,
    /// Where the others can dial this node.
    pub advertised: String,
    pub admission: Arc<dyn Admission>,
    pub limits: Limits,
    pub counters: Arc<Counters>,
    pub inbox: InboxSender,
    /// A permit for each request to join that the node has not answered.
    pub joins: Arc<Semaphore>,
    /// A permit for each incoming snapshot.
    pub snapshots: Arc<Semaphore>,
    closed: watch::Sender<bool>,
    /// Taken before `accepted`, where both are.
    roster: RwLock<Roster>,
    connections: watch::Sender<BTreeSet<NodeId>>,
    /// The accepted calls: the newest of each kind.
    accepted: Mutex<BTreeMap<CallKey, Accepted>>,
    accepted_next: AtomicU64,
    reputation: Mutex<Reputation>,
}

/// Of which there is one accepted call at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CallKey {
    /// A lane of a peer.
    Lane(NodeId, LaneKind),
    /// The snapshot for a group, whoever sends it.
    Snapshot(GroupId),
}

/// An accepted call.
pub(super) struct Accepted {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub standing: Standing,
    number: u64,
    /// How the call is to end now; there until that was said. Dropping it says that a newer one took its place.
    end: Option<oneshot::Sender<Status>>,
}

/// The place of an accepted call. Dropping it gives the place up.
pub(super) struct Place {
    shared: Arc<Shared>,
    key: CallKey,
    number: u64,
    end: oneshot::Receiver<Status>,
}

impl Place {
    /// Completes when the call has to end, with how.
    pub async fn lost(&mut self) -> Status {
        let status = (&mut self.end).await;
        status.unwrap_or_else(|_| Status::aborted(super::grpc::SUPERSEDED))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut accepted = self.shared.accepted();
        if accepted.get(&self.key).is_some_and(|accepted| accepted.number == self.number) {
            accepted.remove(&self.key);
        }
    }
}

/// What the others think of this node.
#[derive(Default)]
struct Reputation {
    /// Some peer passed a handshake with this node: it cannot be in the wrong cluster.
    accepted: bool,
    /// Peers that said that their cluster is another.
    foreign_to: BTreeSet<NodeId>,
    /// Whether the node was told.
    told: bool,
    /// The refusals of dialers that were logged: a stranger tries again and again.
    logged: BTreeSet<String>,
}

/// Refusals that are remembered, so that they are logged once.
const REFUSALS_LOGGED_MAX: usize = 32;

impl Shared {
    pub fn new(
        net: SharedNet,
        clock: SharedClock,
        identity: Identity,
        advertised: String,
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
            advertised,
            admission,
            limits,
            counters: Arc::default(),
            inbox: sender,
            joins: Arc::new(Semaphore::new(JOINS_INFLIGHT_MAX)),
            snapshots: Arc::new(Semaphore::new(SNAPSHOTS_INCOMING_MAX)),
            closed,
            roster: RwLock::default(),
            connections: watch::Sender::new(BTreeSet::new()),
            accepted: Mutex::default(),
            accepted_next: AtomicU64::new(0),
            reputation: Mutex::default(),
        };
        (shared, inbox)
    }

    pub fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    pub fn connections(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.connections.subscribe()
    }

    fn reputation(&self) -> MutexGuard<'_, Reputation> {
        self.reputation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accepted(&self) -> MutexGuard<'_, BTreeMap<CallKey, Accepted>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn roster(&self) -> RwLockReadGuard<'_, Roster> {
        self.roster.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn roster_mut(&self) -> RwLockWriteGuard<'_, Roster> {
        self.roster.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn peer(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.roster().peer(id).cloned()
    }

    /// Ends the lanes to a peer.
    pub fn stop(&self, peer: &Peer) {
        peer.stop();
        self.on_connection(peer.id, false);
    }

    pub fn send(&self, group: GroupId, envelope: Envelope) {
        assert_eq!(envelope.from, self.identity.node, "a node sends in its own name only");
        assert!(codec::is_on_lane(&envelope.message), "a snapshot's message goes with its state");
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
        for peer in self.roster_mut().drain() {
            self.stop(&peer);
        }
        self.accepted().clear();
    }

    /// A dialer passed the handshake of a call. The place is lost once the same call is made again, since what is left
    /// of the older one then is only stale, or once the dialer would not be accepted any more.
    pub fn on_accepted(self: &Arc<Shared>, dialer: &Introduced, key: CallKey) -> Result<Place, Refusal> {
        let roster = self.roster();
        // Once more: the members may have changed since it was admitted.
        let standing = roster.standing(dialer.node, dialer.incarnation)?;
        self.counters.accepted.increment();
        let mut reputation = self.reputation();
        reputation.accepted = true;
        reputation.logged.clear();
        drop(reputation);

        let number = self.accepted_next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (sender, end) = oneshot::channel();
        let (node, incarnation) = (dialer.node, dialer.incarnation);
        let accepted = Accepted { node, incarnation, standing, number, end: Some(sender) };
        let before = self.accepted().insert(key, accepted);
        drop(before);
        // It is there, so it can be reached: a node that came back is dialed without waiting.
        if let (CallKey::Lane(_, lane), Some(peer)) = (key, roster.peer(node)) {
            peer.hurry(lane);
        }
        drop(roster);
        Ok(Place { shared: Arc::clone(self), key, number, end })
    }

    /// Ends the accepted calls that `judge` has a status for.
    pub fn end_accepted(&self, judge: impl Fn(&mut Accepted) -> Option<Status>) {
        self.accepted().retain(|_, call| {
            let Some(status) = judge(call) else { return true };
            if let Some(end) = call.end.take() {
                // It may have ended by itself.
                let _ = end.send(status);
            }
            false
        });
    }

    /// Whether a call of this node is open.
    pub fn has_accepted(&self, node: NodeId) -> bool {
        self.accepted().values().any(|accepted| accepted.node == node)
    }

    /// A dialer did not pass the handshake.
    pub fn on_refused(&self, refusal: &Refusal) {
        self.counters.refused.increment();
        let mut reputation = self.reputation();
        let new =
            reputation.logged.len() < REFUSALS_LOGGED_MAX && reputation.logged.insert(refusal.text.clone());
        drop(reputation);
        if new {
            tracing::warn!(reason = %refusal, "refused a connection of a peer");
        }
    }

    /// All lanes to a peer came up, or no longer all are.
    pub fn on_connection(&self, peer: NodeId, up: bool) {
        if up {
            self.reputation().accepted = true;
        }
        self.connections.send_if_modified(|connections| {
            if up { connections.insert(peer) } else { connections.remove(&peer) }
        });
    }

    /// A peer refused this node. Whether this node is the one that is wrong depends on the reason:
    /// - *incarnation*: the peer keeps a durable record of another data directory under this id. This node is wrong.
    /// - *removed*: the peer's configuration says that this id shall never be used again. This node is wrong.
    /// - *cluster*: one of the two is wrong. It is this one if more than half of its peers say so and none has ever
    ///   accepted it: a single address that leads astray must not stop a healthy cluster.
    /// - else the addresses or the versions are wrong, which an operator has to mend.
    pub fn on_refused_by(&self, peer: NodeId, refusal: &Refusal) {
        let members: Vec<NodeId> = self.roster().members().collect();
        let mut reputation = self.reputation();
        let wrong = match refusal.reason {
            Reason::Incarnation | Reason::Removed => true,
            Reason::Cluster => {
                reputation.foreign_to.insert(peer);
                let refusers = members.iter().filter(|id| reputation.foreign_to.contains(id)).count();
                !reputation.accepted && refusers * 2 > members.len()
            }
            Reason::Malformed | Reason::Wire | Reason::To | Reason::Stranger | Reason::Unable => false,
        };
        if wrong && !reputation.told {
            let notice = match refusal.reason {
                Reason::Removed => Inbound::Removed { by: peer },
                _ => Inbound::Refused { by: peer, reason: refusal.text.clone() },
            };
            // Where there is no room now there will be at the next refusal.
            reputation.told = self.inbox.notify(notice);
        }
    }
}

/// Completes once the flag is true, or nobody can raise it any more.
pub(super) async fn raised(flag: &mut watch::Receiver<bool>) {
    // The guard within the result must not live across an await of the caller.
    let _ = flag.wait_for(|raised| *raised).await;
}
