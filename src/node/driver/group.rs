//! The driver's part of the group's configuration: who is in it, as everybody else on this node has to know it; and what a
//! leader's words mean for reads.

use tracing::{debug, info};

use super::{Driver, PeerInfo};
use crate::command::{Forwarded, Reply};
use crate::error::{Error, ErrorKind};
use crate::node::forward;
use crate::raft::{self, MemberRecord};
use crate::transport::Members;
use crate::types::{Incarnation, Index, Monotonic, NodeId};

impl Driver {
    pub(super) fn on_membership(&mut self) {
        let membership = self.parts.raft.membership();
        if *membership == self.membership {
            return;
        }
        let before = std::mem::replace(&mut self.membership, membership.clone());
        let until = self.parts.clock.now().plus(self.parts.election_timeout);
        for (id, member) in before.members.into_iter().filter(|(id, _)| *id != self.parts.id) {
            let info = PeerInfo { address: member.peer, incarnation: member.incarnation };
            self.leaving.entry(id).or_insert((info, until));
        }
        self.board.set_members(self.parts.raft.membership_index(), &self.membership);
        self.tell_transport();
    }

    /// Follows what is committed: who was removed is told so only then, this node itself included.
    pub(super) fn on_commit(&mut self) {
        let retired = &self.parts.raft.committed_membership().retired;
        if *retired == self.retired {
            return;
        }
        self.retired = retired.clone();
        self.tell_transport();
        if self.retired.contains(&self.parts.id) && self.leaves_at.is_none() {
            let now = self.parts.clock.now();
            info!("this node was removed from the cluster");
            // What it still has to say, such as the answer to whoever removed it, leaves first.
            self.leaves_at = Some(now.plus(self.parts.election_timeout));
        }
    }

    pub(super) fn publish_lease(&self) {
        self.board.set_lease(self.parts.raft.lease(self.parts.clock.now()));
    }

    /// Who is not in the configuration any more is spoken to for a while yet: a leader that is removed still owes answers to
    /// what was forwarded to it, and whoever is cut off from it could not tell what became of that.
    pub(super) fn tell_transport(&mut self) {
        let members = &self.membership.members;
        let is_elsewhere = |info: &PeerInfo| members.values().all(|member| member.peer != info.address);
        self.leaving.retain(|id, (info, _)| !members.contains_key(id) && is_elsewhere(info));
        let others = members.values().filter(|member| member.id != self.parts.id);
        let peers = others.map(|member| {
            (member.id, PeerInfo { address: member.peer.clone(), incarnation: member.incarnation })
        });
        // Also where a removal is committed that a configuration in force here does not know: then it is truncated soon.
        let peers = peers.filter(|(id, _)| !self.retired.contains(id));
        let leaving = self.leaving.iter().map(|(id, (info, _))| (*id, info.clone()));
        let removed = self.retired.iter().copied().filter(|id| !self.leaving.contains_key(id));
        let members = Members { peers: peers.chain(leaving).collect(), removed: removed.collect() };
        self.parts.transport.set_peers(members);
    }

    /// Forgets who has left for good.
    pub(super) fn sweep_leaving(&mut self, now: Monotonic) {
        let before = self.leaving.len();
        self.leaving.retain(|_, (_, until)| now < *until);
        if self.leaving.len() < before {
            self.tell_transport();
        }
    }

    /// The process of a peer ended: news for whoever follows it, if it is the member that the group knows.
    pub(super) fn on_died(&mut self, peer: NodeId, incarnation: Incarnation) {
        let known = self.parts.raft.membership().members.get(&peer).and_then(|member| member.incarnation);
        if known.is_none_or(|known| known == incarnation) {
            debug!(%peer, "a peer's process ended");
            self.parts.raft.died(self.parts.clock.now(), peer);
        }
    }

    /// The leader was heard: what it knows to be committed was the newest just now.
    pub(super) fn on_heard(&mut self, from: NodeId, now: Monotonic) {
        if self.parts.raft.leader() != Some(from) {
            return;
        }
        let commit = self.parts.raft.commit();
        if commit <= self.parts.raft.applied_index() {
            self.heard.clear();
            self.board.set_fresh_at(Some(now));
        } else if self.heard.back().is_none_or(|&(last, _)| last < commit) {
            self.heard.push_back((commit, now));
        }
    }

    /// The state machine is there.
    pub(super) fn on_reached(&mut self, applied: Index) {
        self.board.set_revision(self.parts.store.revision());
        let mut fresh_at = None;
        while let Some((_, at)) = self.heard.pop_front_if(|(commit, _)| *commit <= applied) {
            fresh_at = Some(at);
        }
        if fresh_at.is_some() {
            self.board.set_fresh_at(fresh_at);
        }
    }

    /// Appends a member record as leader. The asker sees success in the configuration it then receives.
    pub(super) fn publish(&mut self, record: MemberRecord) -> Forwarded {
        match self.parts.raft.change(self.parts.clock.now(), raft::Change::Update(record), false) {
            Ok(_) => Forwarded::Done { reply: Reply::Void },
            Err(raft::ProposeError::NotLeader { .. }) => Forwarded::NotLeader,
            Err(error) => forward::failed(&Error::new(ErrorKind::Unavailable, format!("{error:?}"))),
        }
    }

    /// Publishes this node's record if the group knows another one.
    pub(super) fn maybe_publish(&mut self, now: Monotonic) {
        let own = &self.parts.own;
        let Some(known) = self.membership.members.get(&self.parts.id) else { return };
        if *known == (MemberRecord { role: known.role, ..own.clone() }) {
            return;
        }
        match self.parts.raft.leader() {
            Some(leader) if leader == self.parts.id => {
                // Refused while another change is under way: asked again at the next interval.
                let _ = self.parts.raft.change(now, raft::Change::Update(own.clone()), false);
            }
            Some(leader) => {
                let request = forward::encode_publish(own);
                let (transport, group) = (self.parts.transport.clone(), self.parts.group);
                // The answer does not matter: success shows in the membership, all else is asked again. The transport
                // bounds how long the task lives.
                tokio::spawn(async move {
                    let _ = transport.forward(leader, group, request).await;
                });
            }
            None => {}
        }
    }
}
