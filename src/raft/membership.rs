//! Who is in the group, with which role, at which addresses.
//!
//! A [`Membership`] is the payload of a configuration entry and is in force from the moment it is appended (thesis,
//! section 4.1). It can express a joint configuration (section 4.3): while `outgoing` is set, every decision needs a
//! majority of the voters *and* a majority of the outgoing ones. A learner receives the log but never counts.
//!
//! Invariants, checked by [`Membership::validate`]: a voter has a member record (the role stands in the record, so
//! there cannot be one without); all outgoing voters have records; a retired id has none and never gets one again.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{Incarnation, NodeId};

/// A member's part in decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Counts in every quorum.
    Voter,
    /// Receives the log, counts in none.
    Learner,
    /// Only a voter of the outgoing half of a joint configuration; gone once that is left.
    Leaving,
}

/// What the group knows of one member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemberRecord {
    /// The member.
    pub id: NodeId,
    /// Its data directory's identity; `None` until the member has published its record.
    pub incarnation: Option<Incarnation>,
    /// Its part in decisions.
    pub role: Role,
    /// Its advertised peer address, `host:port`.
    pub peer: String,
    /// Its advertised REST address; empty until the member has published its record.
    pub http: String,
    /// Its advertised gRPC address; empty until the member has published its record.
    pub grpc: String,
    /// Free labels (zone, rack, ...).
    pub labels: BTreeMap<String, String>,
    /// The version of its binary; empty until the member has published its record.
    pub version: String,
}

/// A configuration of the group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// All members by id.
    pub members: BTreeMap<NodeId, MemberRecord>,
    /// While a joint configuration is in force: the voters of the configuration being left.
    pub outgoing: Option<BTreeSet<NodeId>>,
    /// Ids that were removed: never to be used again.
    pub retired: BTreeSet<NodeId>,
}

impl Membership {
    /// The first configuration of a cluster: these voters at these peer addresses, nothing else known yet.
    pub fn bootstrap(peers: impl IntoIterator<Item = (NodeId, String)>) -> Membership {
        let members = peers.into_iter().map(|(id, peer)| {
            let record = MemberRecord {
                id,
                incarnation: None,
                role: Role::Voter,
                peer,
                http: String::new(),
                grpc: String::new(),
                labels: BTreeMap::new(),
                version: String::new(),
            };
            (id, record)
        });
        Membership { members: members.collect(), outgoing: None, retired: BTreeSet::new() }
    }

    /// The voters of the (incoming) configuration, in id order.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.values().filter(|member| member.role == Role::Voter).map(|member| member.id)
    }

    /// Whether `id` counts in any quorum of this configuration.
    pub fn is_voter(&self, id: NodeId) -> bool {
        let incoming = self.members.get(&id).is_some_and(|member| member.role == Role::Voter);
        incoming || self.outgoing.as_ref().is_some_and(|outgoing| outgoing.contains(&id))
    }
}
