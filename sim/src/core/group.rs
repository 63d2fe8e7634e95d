//! The group of a world as its committed configurations say it is: who is in it, who comes, and who may be struck.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use quorate::raft::{Membership, Raft, Role, RoleName};
use quorate::types::{Incarnation, Index, NodeId};

use super::disk::Disk;
use super::node::Node;
use super::world::{World, position};
use crate::invariants::{is_quorum, majorities_of};

/// So many nodes there are at most, with those that were removed: ids are never used again.
pub(super) const NODES_MAX: usize = 16;

/// So many members of a group there are at most.
pub(super) const MEMBERS_MAX: usize = 8;

/// The configurations of a group.
#[derive(Debug)]
pub(crate) struct Configurations {
    /// The committed ones, each by its index; the first one by index 0.
    committed: BTreeMap<Index, Membership>,
    /// Those that some leader appended and that may yet be committed.
    appended: Vec<(Index, Membership)>,
}

impl Configurations {
    pub(crate) fn new(first: Membership) -> Configurations {
        Configurations { committed: BTreeMap::from([(Index(0), first)]), appended: Vec::new() }
    }

    /// `raft` is the first to say that what lies between is committed.
    pub(crate) fn committed(&mut self, raft: &Raft, from: Index, to: Index) {
        for index in (from.0 + 1..=to.0).map(Index) {
            let membership = raft.membership_at(index);
            if membership != self.newest() {
                self.committed.insert(index, membership.clone());
            }
        }
        self.appended.retain(|&(index, _)| index > to);
    }

    /// A leader appends a configuration: it may come into force anywhere, whatever becomes of that leader.
    pub(super) fn appended(&mut self, index: Index, membership: &Membership) {
        self.appended.push((index, membership.clone()));
    }

    pub(crate) fn newest(&self) -> &Membership {
        self.committed.last_key_value().expect("the first one stays").1
    }

    /// Whose disks must hold a committed entry at the least. A configuration is committed by its own quorum, whatever
    /// follows it. Another entry may have been committed by that of the next one: which has the incoming half of a
    /// joint one in common with it, and all of any other.
    pub(crate) fn majorities_at(&self, index: Index) -> Vec<Vec<NodeId>> {
        let (&at, membership) = self.committed.range(..=index).next_back().expect("the first one stays");
        if at == index { majorities_of(membership) } else { vec![membership.voters().collect()] }
    }
}

impl World {
    /// The newest committed configuration.
    pub fn group(&self) -> &Membership {
        self.configurations.newest()
    }

    /// Whether a group that has lost these nodes could still decide: by the committed configuration, and by every later
    /// one that there is, be it on the disk of a node that is down, in a message under way, or in a leader that has not come to
    /// writing it yet.
    pub(super) fn can_do_without(&self, lost: &[NodeId]) -> bool {
        let appended = self.configurations.appended.iter().map(|(_, membership)| membership);
        let leaders = self.nodes.iter().filter_map(Node::raft).filter(|raft| raft.role() == RoleName::Leader);
        appended
            .chain(leaders.map(Raft::membership))
            .chain([self.group()])
            .all(|membership| is_quorum(&majorities_of(membership), |id| !lost.contains(&id)))
    }

    /// Who is in the committed configuration, or in one that may yet be committed.
    pub(super) fn known_members(&self) -> BTreeSet<NodeId> {
        let appended = self.configurations.appended.iter().map(|(_, membership)| membership);
        appended.chain([self.group()]).flat_map(|membership| membership.members.keys().copied()).collect()
    }

    /// Whether no change of the group is under way, nor can one begin by itself.
    pub(super) fn is_unchanging(&self) -> bool {
        let group = self.group();
        let is_steady = |role: Role| matches!(role, Role::Voter | Role::Learner);
        self.configurations.appended.is_empty()
            && !group.is_joint()
            && group.members.values().all(|member| is_steady(member.role))
    }

    /// A node starts that was just added to the group by a leader; one that was added before, by a leader that lost the
    /// entry, begins anew: it never counted anywhere.
    pub(super) fn admit(&mut self, id: NodeId, rng: &mut Rng) {
        let at = position(id);
        assert!(at <= self.nodes.len(), "node {id} of {}", self.nodes.len());
        if at == self.nodes.len() {
            let first = &self.nodes[0];
            let mut config = first.config.clone();
            (config.id, config.incarnation) = (id, Incarnation(id.0));
            let are_clocks_off = self.nodes.iter().any(|node| node.rate != 1_000_000);
            let rate = if are_clocks_off { rng.u64(880_000..=1_120_000) } else { 1_000_000 };
            self.nodes.push(Node::new(config, Membership::default(), rate));
        } else if self.nodes[at].raft.is_some() {
            self.cut_power(at, 0, 0);
        }
        self.nodes[at].disk = Disk::new(Membership::default());
        self.invariants.wiped(id);
        self.count("nodes admitted");
        self.boot(at);
    }
}
