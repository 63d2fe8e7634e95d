//! What operators ask about the group itself: who is in it, who shall come or go, who shall lead.
//!
//! Only the leader can answer, so whoever is asked passes it on (see `forward`). A change is done when its configuration,
//! and the one that leaves a joint one, is committed; if the leader is lost before it can say so, the outcome is unknown
//! and the members tell.

use crate::error::{Error, ErrorKind};
use crate::raft::{self, ProposeError, TransferError};
use crate::types::{Index, NodeId};

use super::status::MemberStatus;

/// A change that an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Announces a node that does not run yet: it takes the place with `--join --id`, or without `--id` if the peer
    /// address is the one given here.
    Add {
        /// Its id; the first free one if absent.
        id: Option<NodeId>,
        /// Its peer address, `host:port`.
        peer: String,
        /// Whether it stays a learner: a read replica, never promoted by itself.
        is_learner: bool,
    },
    /// A member goes, and its id with it for ever.
    Remove(NodeId),
    /// Where a member is reached; what is absent stays. A node that runs publishes its own addresses, which then count.
    Update {
        /// The member.
        id: NodeId,
        /// Its peer address.
        peer: Option<String>,
        /// Its REST address.
        http: Option<String>,
        /// Its gRPC address.
        grpc: Option<String>,
    },
    /// A learner gets a vote, however far it is.
    Promote(NodeId),
    /// For how long a voter keeps to its leader for the sake of lease reads, in milliseconds; 0 turns them off. At most
    /// the election timeout counts.
    Lease(u32),
}

/// The group as its leader knows it, or, if nobody leads, as this node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The members, in id order.
    pub members: Vec<Member>,
    /// The index of the configuration in force.
    pub config_index: Index,
    /// Whether it is between two others.
    pub is_joint: bool,
    /// The lease of lease reads in milliseconds; 0: they are off.
    pub lease_ms: u32,
    /// The cluster version: what all members' binaries understand.
    pub version: u32,
}

/// A member in [`Members`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What the group knows of it.
    pub status: MemberStatus,
    /// Whether it leads.
    pub is_leader: bool,
    /// How far its log is known to be on its disk; absent where the leader was not asked.
    pub match_index: Option<Index>,
}

/// Why a change was not made, as the caller is told.
pub(super) fn error_of_change(error: &ProposeError) -> Error {
    let (kind, text) = match error {
        ProposeError::NotLeader { .. } => (ErrorKind::Unavailable, "no leader is known".to_owned()),
        ProposeError::Overloaded => {
            (ErrorKind::Overloaded, "too much is proposed and not committed: retry after a pause".to_owned())
        }
        ProposeError::Transferring { to } => {
            (ErrorKind::ChangeInProgress, format!("leadership is being handed over to node {to}: retry"))
        }
        ProposeError::Caretaker => (
            ErrorKind::Unavailable,
            "the leader has lost its state or a part of its log, and leads only until another one can: retry"
                .to_owned(),
        ),
        ProposeError::Pending => (
            ErrorKind::ChangeInProgress,
            "another change of the members is under way: wait until it is committed".to_owned(),
        ),
        ProposeError::NotMember => (ErrorKind::NoSuchMember, "there is no such member".to_owned()),
        ProposeError::Exists { id } => {
            (ErrorKind::MemberExists, format!("node {id} is a member already, or has a vote already"))
        }
        ProposeError::Retired { id } => (
            ErrorKind::IdRetired,
            format!("node {id} was removed, and its id is never used again: choose another one, or none"),
        ),
        ProposeError::Unreachable { reachable, needed } => (
            ErrorKind::QuorumAtRisk,
            format!(
                "of the voters that there would be {reachable} can be reached, and {needed} are needed to decide \
                 anything: bring them back first, or force it"
            ),
        ),
        ProposeError::Damaged { index } => (
            ErrorKind::Unavailable,
            format!(
                "entry {index} of the leader's log is damaged and not repaired yet, and the member that goes may have \
                 the only good copy: retry after a pause, or force it"
            ),
        ),
        ProposeError::TooMany => (
            ErrorKind::Invalid,
            format!(
                "there are as many as there may be: {} voters, {} members",
                raft::VOTERS_MAX,
                raft::MEMBERS_MAX
            ),
        ),
        ProposeError::LastVoter => {
            (ErrorKind::Invalid, "the last voter cannot go: nobody could decide anything".to_owned())
        }
        ProposeError::Version { current, supported } => (
            ErrorKind::Invalid,
            format!(
                "the cluster is at version {current}, and its binary knows {supported}: upgrade it first"
            ),
        ),
        ProposeError::Invalid(what) => (ErrorKind::Invalid, what.to_string()),
    };
    Error::new(kind, text)
}

/// Why leadership was not handed over, as the caller is told.
pub(super) fn error_of_transfer(error: &TransferError) -> Error {
    let (kind, text) = match error {
        TransferError::NotLeader { .. } => (ErrorKind::Unavailable, "no leader is known"),
        TransferError::Leads => (ErrorKind::Invalid, "it leads already"),
        TransferError::NotMember => (ErrorKind::NoSuchMember, "there is no such member"),
        TransferError::NotVoter => (ErrorKind::Invalid, "it has no vote: promote it first"),
        TransferError::NoTarget => (ErrorKind::Unavailable, "no other voter has answered lately"),
    };
    Error::new(kind, text)
}
