//! What a node says about itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::admin::Roll;
use super::members::{Member, Members};
use crate::raft::{Counters, Lease, Membership, Raft, Role, Room};
use crate::types::{ClusterId, GroupId, Incarnation, Index, Monotonic, NodeId, Revision, Term};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Shows every write that was acknowledged before the read began.
    Linearizable,
    /// The same, as long as no two clocks of the group drift apart by more than an eighth: a leader that has a lease asks
    /// nobody. Where there is none, on a follower or with leases off, it is a linearizable read.
    Lease,
    /// Shows some state that this node has applied; needs no other node.
    Stale {
        /// The state must have been the newest at most so many milliseconds ago, as far as this node can tell by when it
        /// last heard its leader. A node that is further behind asks the leader.
        max_staleness_ms: Option<u64>,
    },
}

/// What a read may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// How fresh it must be.
    pub consistency: Consistency,
    /// And at least at this revision: waits until the node has applied it. A client that passes on the revision of its
    /// last write reads that write, on any node.
    pub min_revision: Option<Revision>,
}

impl Freshness {
    /// Linearizable, at whatever revision.
    pub const LINEARIZABLE: Freshness =
        Freshness { consistency: Consistency::Linearizable, min_revision: None };
}

/// One member, as the group knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// The member.
    pub id: NodeId,
    /// Its data directory's identity, once published.
    pub incarnation: Option<Incarnation>,
    /// `voter`, `learner`, `leaving` or `joining`.
    pub role: &'static str,
    /// Its advertised peer address.
    pub peer: String,
    /// Its advertised REST address, once published.
    pub http: String,
    /// Its advertised gRPC address, once published.
    pub grpc: String,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// The version of its binary, once published.
    pub version: String,
}

/// Where a node stands: what answers are stamped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This node.
    pub id: NodeId,
    /// The term.
    pub term: Term,
    /// The leader, where known.
    pub leader: Option<NodeId>,
}

/// A node's state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// The group.
    pub group: GroupId,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// `leader`, `follower`, `candidate`, `pre-candidate` or `learner`.
    pub state: &'static str,
    /// The leader, where known.
    pub leader: Option<NodeId>,
    /// The leader's advertised REST address, empty where unknown.
    pub leader_http: String,
    /// The term.
    pub term: Term,
    /// The last index known to be committed.
    pub commit_index: Index,
    /// The last index applied to the state machine.
    pub applied_index: Index,
    /// The last index of this node's log.
    pub last_index: Index,
    /// The last index on this node's disk.
    pub persisted_index: Index,
    /// The last index whose effects are in the state file.
    pub folded_index: Index,
    /// The last index that was removed from the log.
    pub purged_index: Index,
    /// The store's revision.
    pub revision: Revision,
    /// The members, in id order.
    pub members: Vec<MemberStatus>,
    /// Counters and gauges by name, see `telemetry`.
    pub counters: BTreeMap<&'static str, u64>,
    /// What this node's disk has room for: `ample`, `short` (only the reserve is left) or `full` (less than the floor).
    pub storage: &'static str,
    /// Whether the node has met a disk error and is stopping.
    pub poisoned: bool,
}

/// The driver's figures, copied out once a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gauges {
    pub state: &'static str,
    pub leader: Option<NodeId>,
    pub term: Term,
    pub commit: Index,
    pub last: Index,
    pub persisted: Index,
    pub purged: Index,
    pub proposals: u64,
    pub proposals_waiting: u64,
    pub forwarded: u64,
    pub reads: u64,
    pub read_rounds: u64,
    pub leader_changes: u64,
    pub logs_given_up: u64,
    pub states_lost: u64,
    pub states_rebuilt: u64,
    pub divergences: u64,
    pub strays: u64,
    /// Proposals refused for want of room.
    pub refused_for_room: u64,
    /// What is free for this node.
    pub free_bytes: u64,
    pub room: Room,
    pub in_doubt: bool,
    pub core: Counters,
}

impl Gauges {
    pub fn of(raft: &Raft) -> Gauges {
        Gauges {
            state: raft.role().name(),
            leader: raft.leader(),
            term: raft.term(),
            commit: raft.commit(),
            last: raft.last_index(),
            persisted: raft.persisted_index(),
            purged: raft.purged().0,
            proposals: 0,
            proposals_waiting: 0,
            forwarded: 0,
            reads: 0,
            read_rounds: 0,
            leader_changes: 0,
            logs_given_up: 0,
            states_lost: 0,
            states_rebuilt: 0,
            divergences: 0,
            strays: 0,
            refused_for_room: 0,
            free_bytes: 0,
            room: raft.room(),
            in_doubt: raft.is_in_doubt(),
            core: raft.counters(),
        }
    }
}

/// Where the driver leaves its figures for [`Handle::status`](super::Handle::status).
#[derive(Debug)]
pub(super) struct Board {
    gauges: Mutex<Gauges>,
    members: Mutex<Arc<Vec<MemberStatus>>>,
    membership: Mutex<(Index, Membership)>,
    lease: Mutex<Option<Lease>>,
    /// When what is applied here was the newest, by what the leader then said; absent where nobody is heard.
    fresh_at: Mutex<Option<Monotonic>>,
    revision: watch::Sender<Revision>,
}

impl Board {
    pub fn new(raft: &Raft) -> Board {
        let members = Arc::new(member_statuses(raft.membership()));
        Board {
            gauges: Mutex::new(Gauges::of(raft)),
            members: Mutex::new(members),
            membership: Mutex::new((raft.membership_index(), raft.membership().clone())),
            lease: Mutex::new(None),
            fresh_at: Mutex::new(None),
            revision: watch::Sender::new(Revision(0)),
        }
    }

    /// The lease that a leader has. Set before any message leaves that could end it.
    pub fn set_lease(&self, lease: Option<Lease>) {
        *lock(&self.lease) = lease;
    }

    /// The lease, as of the driver's last turn.
    pub fn lease(&self) -> Option<Lease> {
        *lock(&self.lease)
    }

    pub fn set_fresh_at(&self, fresh_at: Option<Monotonic>) {
        *lock(&self.fresh_at) = fresh_at;
    }

    pub fn fresh_at(&self) -> Option<Monotonic> {
        *lock(&self.fresh_at)
    }

    /// The store is at this revision.
    pub fn set_revision(&self, revision: Revision) {
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }

    /// Follows the store's revision.
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    /// The configuration in force and its index.
    pub fn membership(&self) -> (Index, Membership) {
        lock(&self.membership).clone()
    }

    pub fn set_gauges(&self, gauges: Gauges) {
        *lock(&self.gauges) = gauges;
    }

    pub fn set_members(&self, index: Index, membership: &Membership) {
        *lock(&self.membership) = (index, membership.clone());
        let members = Arc::new(member_statuses(membership));
        *lock(&self.members) = members;
    }

    pub fn read(&self) -> (Gauges, Arc<Vec<MemberStatus>>) {
        let gauges = *lock(&self.gauges);
        let members = lock(&self.members).clone();
        (gauges, members)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The members as callers are told.
pub(super) fn members(roll: &Roll) -> Members {
    let Roll { leader, config_index, membership, matched } = roll;
    let member = |status: MemberStatus| Member {
        is_leader: *leader == Some(status.id),
        match_index: matched.iter().find(|(id, _)| *id == status.id).map(|(_, index)| *index),
        status,
    };
    Members {
        members: member_statuses(membership).into_iter().map(member).collect(),
        config_index: *config_index,
        is_joint: membership.is_joint(),
        lease_ms: membership.lease_ms,
        version: membership.version,
    }
}

fn member_statuses(membership: &Membership) -> Vec<MemberStatus> {
    let status = |member: &crate::raft::MemberRecord| MemberStatus {
        id: member.id,
        incarnation: member.incarnation,
        role: match member.role {
            Role::Voter => "voter",
            Role::Learner => "learner",
            Role::Leaving => "leaving",
            Role::Joining => "joining",
        },
        peer: member.peer.clone(),
        http: member.http.clone(),
        grpc: member.grpc.clone(),
        labels: member.labels.clone(),
        version: member.version.clone(),
    };
    membership.members.values().map(status).collect()
}
