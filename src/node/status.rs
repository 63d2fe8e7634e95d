//! What a node says about itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::raft::{Counters, Membership, Raft, Role};
use crate::types::{ClusterId, GroupId, Incarnation, Index, NodeId, Revision, Term};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Shows every write that was acknowledged before the read began.
    Linearizable,
    /// Shows some state that this node has applied; needs no other node.
    Stale,
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
            core: raft.counters(),
        }
    }
}

/// Where the driver leaves its figures for [`Handle::status`](super::Handle::status).
#[derive(Debug)]
pub(super) struct Board {
    gauges: Mutex<Gauges>,
    members: Mutex<Arc<Vec<MemberStatus>>>,
}

impl Board {
    pub fn new(raft: &Raft) -> Board {
        let members = Arc::new(member_statuses(raft.membership()));
        Board { gauges: Mutex::new(Gauges::of(raft)), members: Mutex::new(members) }
    }

    pub fn set_gauges(&self, gauges: Gauges) {
        *self.gauges.lock().unwrap_or_else(PoisonError::into_inner) = gauges;
    }

    pub fn set_members(&self, membership: &Membership) {
        let members = Arc::new(member_statuses(membership));
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    pub fn read(&self) -> (Gauges, Arc<Vec<MemberStatus>>) {
        let gauges = *self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (gauges, members)
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
