//! Changes of the configuration, as pure functions from one [`Membership`] to the next.
//!
//! ```text
//!             Add                     Promote                 (left by itself)
//!  nobody ---------> learner, joining ---------> joint: + it -----------------> voter
//!                         |                                                       |
//!                         | Remove                                                | Remove
//!                         v                                                       v
//!                      retired <--------------------------------------- joint: leaving
//!                                           (left by itself)
//! ```
//!
//! Any change of the voter set goes through a joint configuration (thesis, section 4.3), also that of a single voter:
//! one way to argue, and no second rule for groups of one and two. What changes no quorum (learners, records, settings)
//! is in force without one. [`Membership::left`] leaves a joint configuration; what was [`Role::Leaving`] in it is retired.
//!
//! Who lost what it promised is *replaced* ([`Change::Replace`]): it is removed as any other, and in the same step another
//! one is added, as any other. Until that is committed by a quorum of the voters before, of which the lost one is still
//! counted and says nothing, nothing has changed for anybody.
//!
//! A new member never begins as a voter: it would count in quorums before it has the log. Who asks to be one is
//! `Joining` and promoted once it has caught up.
//!
//! # Ids
//!
//! An id that was ever a member's is never given to another. A node that comes back under a removed id would find
//! configurations in old logs in which it has a vote (this split a cluster that let ids be used again).

use std::collections::BTreeSet;

use crate::types::NodeId;

use super::quorum::VOTERS_MAX;
use super::{MemberRecord, Membership, ProposeError, Role};

/// The most members of a group, learners among them.
pub const MEMBERS_MAX: usize = 64;

/// A change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new member: a learner if its record says so, else one that is promoted by itself once it has caught up.
    Add {
        /// Its id; without one it gets the first that is above all that were ever used.
        id: Option<NodeId>,
        /// What is known of it; the id in it is not looked at.
        record: MemberRecord,
    },
    /// A learner gets a vote.
    Promote(NodeId),
    /// A member goes for ever.
    Remove(NodeId),
    /// A member goes for ever, and a new one comes in its place: under an id that was never used, without a vote, to be
    /// promoted by itself if the one before it had one or was to get one.
    Replace {
        /// Who goes.
        id: NodeId,
        /// What is known of who comes; id and role in it are not looked at.
        record: MemberRecord,
    },
    /// A member's record, its role apart.
    Update(MemberRecord),
    /// The cluster version is raised.
    Version(u32),
    /// How long a voter keeps to its leader for the sake of lease reads, in milliseconds; 0: there are none.
    Lease(u32),
}

impl Membership {
    /// What a change makes of this configuration, or why it cannot be made.
    pub fn changed(&self, change: Change) -> Result<Membership, ProposeError> {
        if self.is_joint() {
            return Err(ProposeError::Pending);
        }
        let next = match change {
            Change::Add { id, record } => self.with_member(id, record)?,
            Change::Promote(id) => self.promoted(id)?,
            Change::Remove(id) => self.removed(id)?,
            Change::Replace { id, record } => self.replaced(id, record)?,
            Change::Update(record) => self.updated(record)?,
            Change::Version(version) => self.raised(version)?,
            Change::Lease(lease_ms) => Membership { lease_ms, ..self.clone() },
        };
        next.validate().map_err(ProposeError::Invalid)?;
        Ok(next)
    }

    /// Whether this configuration is between two others.
    pub fn is_joint(&self) -> bool {
        self.outgoing.is_some()
    }

    /// The configuration that a joint one leads to; `None` if this is not joint.
    pub fn left(&self) -> Option<Membership> {
        self.outgoing.as_ref()?;
        let mut next = self.clone();
        next.outgoing = None;
        let gone = next.members.extract_if(.., |_, member| member.role == Role::Leaving);
        let gone: Vec<NodeId> = gone.map(|(id, _)| id).collect();
        next.retired.extend(gone);
        Some(next)
    }

    /// One more than any id that was ever used; where somebody has used the last one there is, the first that nobody has.
    fn free_id(&self) -> NodeId {
        let is_used = |id: &NodeId| self.members.contains_key(id) || self.retired.contains(id);
        let last = self.members.keys().chain(&self.retired).max().map_or(0, |id| id.0);
        let next = last.checked_add(1).map(NodeId);
        next.or_else(|| (1..).map(NodeId).find(|id| !is_used(id))).expect("there are more ids than members")
    }

    fn with_member(&self, id: Option<NodeId>, record: MemberRecord) -> Result<Membership, ProposeError> {
        let is_same =
            |member: &&MemberRecord| member.incarnation.is_some() && member.incarnation == record.incarnation;
        if let Some(known) = self.members.values().find(is_same) {
            return Err(ProposeError::Exists { id: known.id });
        }
        let id = id.unwrap_or_else(|| self.free_id());
        if self.retired.contains(&id) {
            return Err(ProposeError::Retired { id });
        }
        if self.members.contains_key(&id) {
            return Err(ProposeError::Exists { id });
        }
        // Who leaves makes room for who comes in the same change.
        let staying = self.members.values().filter(|member| member.role != Role::Leaving).count();
        if staying >= MEMBERS_MAX {
            return Err(ProposeError::TooMany);
        }
        self.check_supports(&record)?;
        let role = if record.role == Role::Learner { Role::Learner } else { Role::Joining };
        let mut next = self.clone();
        next.members.insert(id, MemberRecord { id, role, ..record });
        Ok(next)
    }

    fn promoted(&self, id: NodeId) -> Result<Membership, ProposeError> {
        let role = self.members.get(&id).ok_or(ProposeError::NotMember)?.role;
        if role == Role::Voter {
            return Err(ProposeError::Exists { id });
        }
        if self.voters().count() >= VOTERS_MAX {
            return Err(ProposeError::TooMany);
        }
        Ok(self.joint_with(id, Role::Voter))
    }

    fn removed(&self, id: NodeId) -> Result<Membership, ProposeError> {
        let role = self.members.get(&id).ok_or(ProposeError::NotMember)?.role;
        if role == Role::Voter {
            if self.voters().count() == 1 {
                return Err(ProposeError::LastVoter);
            }
            return Ok(self.joint_with(id, Role::Leaving));
        }
        let mut next = self.clone();
        next.members.remove(&id);
        next.retired.insert(id);
        Ok(next)
    }

    /// One entry for both, so that no crash of a leader leaves a group that has lost a member and does not know that another
    /// one is on its way, or as what.
    fn replaced(&self, id: NodeId, record: MemberRecord) -> Result<Membership, ProposeError> {
        let role = match self.members.get(&id).ok_or(ProposeError::NotMember)?.role {
            Role::Learner => Role::Learner,
            Role::Voter | Role::Leaving | Role::Joining => Role::Joining,
        };
        self.removed(id)?.with_member(None, MemberRecord { role, ..record })
    }

    /// Enters a joint configuration in which a member has another role.
    fn joint_with(&self, id: NodeId, role: Role) -> Membership {
        let mut next = self.clone();
        next.outgoing = Some(self.voters().collect::<BTreeSet<NodeId>>());
        if let Some(member) = next.members.get_mut(&id) {
            member.role = role;
        }
        next
    }

    /// A record that says nothing of the incarnation keeps the known one; another incarnation is another node.
    fn updated(&self, record: MemberRecord) -> Result<Membership, ProposeError> {
        let mut next = self.clone();
        let member = next.members.get_mut(&record.id).ok_or(ProposeError::NotMember)?;
        let incarnation = record.incarnation.or(member.incarnation);
        if member.incarnation.is_some_and(|known| Some(known) != incarnation) {
            return Err(ProposeError::NotMember);
        }
        self.check_supports(&record)?;
        *member = MemberRecord { role: member.role, incarnation, ..record };
        Ok(next)
    }

    /// A binary that is too old for the group would stop at the first entry that it cannot read. One that nothing is known
    /// of is refused once it says so.
    fn check_supports(&self, record: &MemberRecord) -> Result<(), ProposeError> {
        if (1..self.version).contains(&record.supports) {
            return Err(ProposeError::Version { current: self.version, supported: record.supports });
        }
        Ok(())
    }

    /// The cluster version promises that every member understands it: it is never lowered, since what it has let into
    /// the log stays there.
    fn raised(&self, version: u32) -> Result<Membership, ProposeError> {
        let supported = self.supported();
        if version <= self.version || version > supported {
            return Err(ProposeError::Version { current: self.version, supported });
        }
        Ok(Membership { version, ..self.clone() })
    }
}
