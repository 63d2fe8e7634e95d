//! Messages between peers: gRPC streams of frames, two connections a direction, and a third for a snapshot.
//!
//! ```text
//! node A                                                              node B
//! send / forward -> [lane: bounded queue] -> frame -> HTTP/2 request half -> decode, verify -> Inbox
//!        reply  <-  slot by id            <- frame <- HTTP/2 response half <- reply of B's node
//! snapshot: begin -> chunks, a window of them ------> HTTP/2 request half -> SnapshotReceiver, as fast as B takes them
//!           how far <-------------------------------- HTTP/2 response half <- ask_from, ack, done
//! ```
//!
//! Every node dials every peer, and a message from A to B travels on a call that A made. Per peer there are two lanes,
//! each a connection of its own: *control* (heartbeats, votes, append replies, read indexes: small, and late ones
//! cost an election) and *bulk* (appends, forwards), so that no value, however large, delays a heartbeat. A snapshot has
//! a third one for the same reason, made for it and closed after it.
//!
//! Invariants:
//! - [`Transport::send`] never blocks and never fails: what cannot be queued is dropped and counted. Raft expects loss.
//! - Within one lane and one connection messages arrive in the order they were sent, each at most once. Between lanes,
//!   and across connections, there is no order.
//! - A message that reaches the [`Inbox`] came from the node its envelope names (that node passed the handshake), is
//!   for this node, and every payload in it matches the checksum its leader made. Bad input closes at most the
//!   connection that it came by. The node need not be a member as far as this node knows: see `roster`.
//! - A forward has three outcomes: answered, certainly never looked at ([`ForwardError::NotSent`]), and unknown
//!   ([`ForwardError::Lost`]). It is never sent twice.
//! - The chunks of a snapshot arrive in order, each once, from the one that the receiver wanted on, or the stream ends.
//! - [`Inbound::Died`] is said only on evidence that no partition and no slowness can fake: see `evidence`.
//! - All queues are bounded, in both directions ([`Limits`], and the constants of `snapshot` and `join`).
//!
//! It deliberately does not retry, does not deduplicate and does not know what a message means, beyond the lane it
//! belongs on. The parts, in reading order: `handshake` (who talks to whom), `roster` (who may), `codec` (core messages
//! to protobuf and back), `frame` (several in one), `lane` (the queue to a peer), `dial` and `peers` (connecting),
//! `evidence` (whether a peer's process died), `takeovers` (somebody else in our name), `grpc` (being connected to),
//! [`snapshot`], [`join()`], `inbox`, [`net`] (the seam to the network).

mod codec;
mod counters;
mod dial;
mod evidence;
mod frame;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod grpc;
mod handshake;
mod inbox;
mod join;
mod lane;
pub mod net;
mod peers;
mod proto;
mod roster;
mod shared;
pub mod snapshot;
mod takeovers;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::clock::SharedClock;
use crate::config;
use crate::raft::Envelope;
use crate::types::{ClusterId, GroupId, Incarnation, NodeId};

use self::net::SharedNet;
use self::shared::Shared;
use self::snapshot::{Failed, SnapshotReceiver, SnapshotSender};

pub use self::inbox::Inbox;
pub use self::join::{JoinError, join};

/// Who this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its id.
    pub node: NodeId,
    /// Its data directory.
    pub incarnation: Incarnation,
}

/// The other nodes, as the group's configuration has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The members. This node itself may be among them; it is left out.
    pub peers: BTreeMap<NodeId, PeerInfo>,
    /// The ids that were members and never will be again: none of them is among the peers. A node that is named here is
    /// told, and stops for good, so only a *committed* removal belongs here.
    pub removed: BTreeSet<NodeId>,
}

/// What is known of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Where to dial it, `host:port`.
    pub address: String,
    /// Its data directory, if its record names it: then no other is let in under its id.
    pub incarnation: Option<Incarnation>,
}

/// Decides whether a member with this data directory may talk to this node. Asked at every handshake, on both ends,
/// after cluster and ids were found right, about members whose record names no data directory ([`PeerInfo`]); never
/// about anybody else. Durable inside: the first incarnation met under an id is the only one.
pub trait Admission: Send + Sync + 'static {
    /// Admits the peer, or says why not.
    fn admit(&self, peer: NodeId, incarnation: Incarnation) -> Result<(), NotAdmitted>;
}

/// Why a peer is not admitted, with a text for a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// Another data directory was met first under the peer's id: the peer must not take part.
    Other(String),
    /// This node cannot tell, or cannot record it: its own failure, not the peer's.
    Failed(String),
}

/// The limits of one transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One frame, on both ends. A message that alone is larger cannot be sent.
    pub frame_bytes_max: usize,
    /// Messages that wait for one peer's control lane.
    pub control_frames_queued_max: usize,
    /// Bytes that wait for one peer's bulk lane.
    pub bulk_bytes_queued_max: usize,
    /// Forwards to one peer that are not answered, and of one peer that this node has not answered.
    pub forwards_inflight_max: usize,
    /// Messages of each lane that wait in the inbox, from all peers together.
    pub inbox_messages_max: usize,
    /// Bytes of the bulk lanes that wait in the inbox, from all peers together.
    pub inbox_bytes_max: usize,
}

impl From<&config::Limits> for Limits {
    fn from(limits: &config::Limits) -> Limits {
        Limits {
            frame_bytes_max: limits.frame_bytes_max,
            control_frames_queued_max: limits.control_frames_queued_max,
            bulk_bytes_queued_max: limits.bulk_bytes_queued_max,
            forwards_inflight_max: limits.proposals_inflight_max,
            inbox_messages_max: limits.inbox_messages_max,
            inbox_bytes_max: limits.bulk_bytes_queued_max,
        }
    }
}

/// Why a forward has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// It certainly never reached the peer's node: it may be tried again.
    #[error("the request was not sent")]
    NotSent,
    /// It may have been carried out, now or later.
    #[error("the connection was lost before the reply came")]
    Lost,
}

/// What came in.
#[derive(Debug)]
pub enum Inbound {
    /// A message for a group's core.
    Message {
        /// The group.
        group: GroupId,
        /// The message; its sender is who the handshake said.
        envelope: Envelope,
    },
    /// A request that a peer's client made.
    Forward {
        /// The peer.
        from: NodeId,
        /// The group.
        group: GroupId,
        /// The request, opaque here.
        request: Bytes,
        /// Takes the answer. Dropping it tells the peer that the outcome is unknown.
        reply: oneshot::Sender<Bytes>,
    },
    /// A peer sends a snapshot. Dropping the stream refuses it.
    Snapshot {
        /// The peer.
        from: NodeId,
        /// The group.
        group: GroupId,
        /// The message for the group's core, once all of the snapshot is in safe keeping.
        envelope: Envelope,
        /// What the snapshot consists of, opaque here.
        manifest: Bytes,
        /// The sender's number for it: a later stream of the same sender with the same number has the same chunks.
        id: u64,
        /// The chunks.
        stream: Box<SnapshotReceiver>,
    },
    /// A node that is in no cluster asks to be let into this one. Whoever it is: it showed nothing.
    Join {
        /// The request, opaque here.
        request: Bytes,
        /// Takes the answer. Dropping it tells the joiner that the outcome is unknown.
        reply: oneshot::Sender<Bytes>,
    },
    /// The process of a peer died: it closed the connection that this node had made to it, and does not listen any more
    /// (or another data directory answers in its place). Said once a connection, and never on a time-out.
    Died {
        /// The peer.
        peer: NodeId,
        /// Its data directory.
        incarnation: Incarnation,
    },
    /// This node is the wrong one: it must not take part under its id.
    Refused {
        /// The peer that says so.
        by: NodeId,
        /// Why.
        reason: String,
    },
    /// This node was removed from the cluster: it must not take part under its id ever again.
    Removed {
        /// The peer that says so.
        by: NodeId,
    },
}

/// The handle of a transport. The transport closes when the last handle is dropped, or by [`Transport::close`].
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Transport {
    /// Starts a transport without peers. Needs a tokio runtime around it and around [`Transport::set_peers`].
    /// `advertised` is where the others can dial this node, `host:port`.
    pub fn start(
        net: SharedNet,
        clock: SharedClock,
        identity: Identity,
        advertised: &str,
        admission: Arc<dyn Admission>,
        limits: Limits,
    ) -> (Transport, Inbox) {
        assert!(identity.node.0 > 0, "node ids begin at 1");
        assert!(limits.inbox_messages_max > 0, "an inbox without room would never deliver");
        assert!(handshake::is_address(advertised), "{advertised:?} is no HOST:PORT that peers could dial");
        let (shared, inbox) = Shared::new(net, clock, identity, advertised.to_owned(), admission, limits);
        let shared = Arc::new(shared);
        (Transport { _closer: Arc::new(Closer(Arc::clone(&shared))), shared }, inbox)
    }

    /// The members from now on. One whose address changed, or that turns out to be another data directory than the one
    /// met, is dialed anew; the connections of those that may not talk to this node any more are ended.
    pub fn set_peers(&self, members: Members) {
        self.shared.set_peers(members);
    }

    /// Sends a message to the node it names, or drops it. Never blocks.
    pub fn send(&self, group: GroupId, envelope: Envelope) {
        self.shared.send(group, envelope);
    }

    /// Sends a request to a peer and waits for its reply, for as long as the connection lives: the caller brings its
    /// own deadline, and may drop the future at any time.
    pub async fn forward(&self, to: NodeId, group: GroupId, request: Bytes) -> Result<Bytes, ForwardError> {
        self.shared.forward(to, group, request)?.outcome().await
    }

    /// Prepares to send a snapshot to a peer, on a connection of its own; [`SnapshotSender::begin`] makes it. `id` stands
    /// for the snapshot's content: where it is the same, a receiver may go on from where an earlier transfer broke off.
    ///
    /// # Errors
    /// If there is no such peer, or envelope and manifest together are too large for a frame.
    pub fn snapshot(
        &self,
        to: NodeId,
        group: GroupId,
        envelope: Envelope,
        manifest: Bytes,
        id: u64,
    ) -> Result<SnapshotSender, Failed> {
        assert_eq!(envelope.from, self.shared.identity.node, "a node sends in its own name only");
        assert_eq!(envelope.to, to, "a snapshot whose message is for another node");
        SnapshotSender::new(&self.shared, to, snapshot::Begin { group, id, envelope, manifest })
    }

    /// The service for peers to connect to; to be served on the peer address.
    pub fn routes(&self) -> tonic::service::Routes {
        grpc::routes(&self.shared)
    }

    /// The peers, guests among them, to which both lanes are up.
    pub fn connections(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.shared.connections()
    }

    /// What was counted so far.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.shared.counters.snapshot()
    }

    /// Ends all connections, both those made and those accepted, and the inbox. A stopping node calls it before it
    /// drains its peer listener: the lanes would otherwise stay open until the drain's limit.
    pub fn close(&self) {
        self.shared.close();
    }
}
