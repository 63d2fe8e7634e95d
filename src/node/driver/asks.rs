//! The driver's part of [`super::super::admin`]: who answers an ask, and when it is done.

use bytes::Bytes;
use tracing::{info, warn};

use super::{Driver, Internal};
use crate::error::{Error, ErrorKind};
use crate::node::admin::{
    Ask, Asker, Goal, JoinRequest, Joined, NotLeader, Roll, UnderWay, announced, decode_answer,
};
use crate::node::forward;
use crate::node::members::{MemberChange, error_of_change, error_of_transfer};
use crate::raft::{Change, MemberRecord, ProposeError, Role, RoleName, TransferError};
use crate::transport::ForwardError;
use crate::types::{Monotonic, NodeId, Owner};

/// Asks that wait for a leader, or are under way, on one node; more are refused.
const ASKS_MAX: usize = 256;

impl Driver {
    /// An ask comes in, from here or from another node.
    pub(super) fn on_ask(&mut self, ask: Ask, asker: Asker) {
        if self.asks.len() + self.under_way.len() >= ASKS_MAX {
            let text = "too many questions about the members are under way: retry after a pause";
            return asker.answer(Err(Error::new(ErrorKind::Overloaded, text)));
        }
        self.asks.push((ask, asker));
    }

    /// A node asks to be let in.
    pub(super) fn on_join(&mut self, request: &Bytes, reply: tokio::sync::oneshot::Sender<Bytes>) {
        let asker = Asker::Remote(reply);
        match JoinRequest::decode(request) {
            Some(request) => self.on_ask(Ask::Join(request), asker),
            None => {
                let text = "the request to join cannot be read: do all nodes run one version?";
                asker.answer(Err(Error::new(ErrorKind::Invalid, text)));
            }
        }
    }

    /// Takes up what waits, if somebody leads.
    pub(super) fn take_up_asks(&mut self, now: Monotonic) {
        if self.asks.is_empty() {
            return;
        }
        match self.parts.raft.leader() {
            Some(leader) if leader == self.parts.id => {
                for (ask, asker) in std::mem::take(&mut self.asks) {
                    if !asker.is_gone() {
                        self.answer_as_leader(now, ask, asker);
                    }
                }
            }
            Some(leader) => {
                for (ask, asker) in std::mem::take(&mut self.asks) {
                    self.forward_ask(leader, ask, asker);
                }
            }
            None => {}
        }
    }

    fn forward_ask(&mut self, leader: NodeId, ask: Ask, mut asker: Asker) {
        let (transport, group, internal) =
            (self.parts.transport.clone(), self.parts.group, self.internal.clone());
        tokio::spawn(async move {
            let request = forward::encode_ask(&ask);
            let answer = tokio::select! {
                biased;
                answer = transport.forward(leader, group, request) => answer,
                () = asker.gone() => return,
            };
            let is_read = ask == Ask::Members;
            match answer.map(decode_answer) {
                Ok(Ok(answer)) => asker.answer(answer),
                // A read may be asked again freely, the rest only if it certainly did not begin.
                Ok(Err(NotLeader)) | Err(ForwardError::NotSent) => {
                    let _ = internal.send(Internal::AskReturned(ask, asker));
                }
                Err(ForwardError::Lost) if is_read => {
                    let _ = internal.send(Internal::AskReturned(ask, asker));
                }
                Err(ForwardError::Lost) => {
                    let text =
                        "the leader was lost before it answered: it may have been done, look at the members";
                    asker.answer(Err(Error::unknown(ErrorKind::Unavailable, text)));
                }
            }
        });
    }

    fn answer_as_leader(&mut self, now: Monotonic, ask: Ask, asker: Asker) {
        match ask {
            Ask::Members => {
                let roll = self.roll().encode();
                asker.answer(Ok(roll));
            }
            Ask::Transfer { to } => self.transfer(now, to, asker),
            Ask::Change { ref change, force } => match self.change_of(change) {
                Ok(made) => self.change(now, made, force, ask.clone(), asker, None),
                Err(error) => asker.answer(Err(error)),
            },
            Ask::Join(ref request) => match self.change_of_join(request) {
                Ok(JoinChange::Make(id, made)) => {
                    self.change(now, made, false, ask.clone(), asker, Some(id));
                }
                Ok(JoinChange::Done(id)) => self.tell_joined(id, asker),
                Err(error) => asker.answer(Err(error)),
            },
        }
    }

    /// A node asks to be let in that is a member of the configuration in force: it asked before, and did not hear the
    /// answer. It hears it once that configuration is committed. Before, this leader may still lose the entry, and the
    /// next one gives the same id to somebody else.
    fn tell_joined(&mut self, id: NodeId, asker: Asker) {
        let raft = &self.parts.raft;
        let answer = Joined { cluster: self.parts.cluster, id }.encode();
        let index = raft.membership_index();
        match raft.term_at(index) {
            Some(term) if index > raft.commit() || raft.membership().is_joint() => {
                let goal = Goal::Committed(index, term);
                self.under_way.push(UnderWay { asker, goal, answer: Some(answer) });
            }
            _ => asker.answer(Ok(answer)),
        }
    }

    fn transfer(&mut self, now: Monotonic, to: NodeId, asker: Asker) {
        match self.parts.raft.transfer(now, Some(to)) {
            Ok(to) => self.under_way.push(UnderWay { asker, goal: Goal::Leads(to), answer: None }),
            Err(TransferError::Leads) => {
                let roll = self.roll().encode();
                asker.answer(Ok(roll));
            }
            Err(error) => asker.answer(Err(error_of_transfer(&error))),
        }
    }

    /// Makes a change as leader. `joined`: it lets a node in, which is told its id.
    fn change(
        &mut self,
        now: Monotonic,
        change: Change,
        force: bool,
        ask: Ask,
        asker: Asker,
        joined: Option<Option<NodeId>>,
    ) {
        match self.parts.raft.change(now, change, force) {
            Ok(proposed) => {
                let answer = joined.map(|id| {
                    let membership = self.parts.raft.membership();
                    // Without an id of its own it got the one that was free.
                    let newest = membership.members.keys().next_back().copied();
                    let id = id.or(newest).expect("a member was just added");
                    Joined { cluster: self.parts.cluster, id }.encode()
                });
                let goal = Goal::Committed(proposed.last, proposed.term);
                self.under_way.push(UnderWay { asker, goal, answer });
            }
            Err(ProposeError::Pending) if self.is_briefly_pending() => self.asks.push((ask, asker)),
            Err(ProposeError::NotLeader { .. }) => self.asks.push((ask, asker)),
            Err(error) => asker.answer(Err(error_of_change(&error))),
        }
    }

    /// What is in the way will be gone as soon as it is committed, and nobody asked for it: this leader's first entry,
    /// or what a node published of itself.
    fn is_briefly_pending(&self) -> bool {
        let was_asked = self.under_way.iter().any(|pending| matches!(pending.goal, Goal::Committed(..)));
        !was_asked && !self.parts.raft.membership().is_joint()
    }

    fn change_of(&self, change: &MemberChange) -> Result<Change, Error> {
        Ok(match change {
            MemberChange::Add { id, peer, is_learner } => {
                let members = &self.parts.raft.membership().members;
                if let Some(known) = members.values().find(|member| member.peer == *peer) {
                    let text = format!("node {} is a member with the peer address {peer} already", known.id);
                    return Err(Error::new(ErrorKind::MemberExists, text));
                }
                Change::Add { id: *id, record: announced(peer.clone(), *is_learner) }
            }
            MemberChange::Remove(id) => Change::Remove(*id),
            MemberChange::Promote(id) => Change::Promote(*id),
            MemberChange::Lease(lease_ms) => {
                // A voter keeps silent for a lease whatever happens: longer than an election takes serves nobody.
                let max_ms = self.parts.election_timeout.as_millis();
                if u128::from(*lease_ms) > max_ms {
                    let text = format!("lease_ms is {lease_ms}: at most the election timeout, {max_ms}");
                    return Err(Error::new(ErrorKind::Invalid, text));
                }
                Change::Lease(*lease_ms)
            }
            MemberChange::Update { id, peer, http, grpc } => {
                let known = self.parts.raft.membership().members.get(id);
                let known = known.ok_or_else(|| error_of_change(&ProposeError::NotMember))?;
                let mut record = known.clone();
                for (field, new) in
                    [(&mut record.peer, peer), (&mut record.http, http), (&mut record.grpc, grpc)]
                {
                    if let Some(new) = new {
                        field.clone_from(new);
                    }
                }
                Change::Update(record)
            }
        })
    }

    /// What lets a node in.
    fn change_of_join(&self, request: &JoinRequest) -> Result<JoinChange, Error> {
        let JoinRequest { token_hash, id, replaces, record } = request;
        if *token_hash != self.parts.token_hash {
            let text = "it has another --cluster-token than this cluster";
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        if record.incarnation.is_none() || record.peer.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "it does not say who it is and where it is reached"));
        }
        // It has not given up anything yet, and asks whether it can.
        if let Some(lost) = replaces.filter(|lost| record.incarnation == Some(lost.incarnation)) {
            return self.judge_loss(lost, record).map(|_| JoinChange::Done(lost.node));
        }
        let membership = self.parts.raft.membership();
        // It asked before, and did not hear the answer.
        let mut members = membership.members.values();
        if let Some(known) = members.find(|known| known.incarnation == record.incarnation) {
            return Ok(JoinChange::Done(known.id));
        }
        if let Some(lost) = replaces {
            let change = self.judge_loss(*lost, record)?;
            warn!(%lost, "a member has lost its log: it is replaced by a new one");
            return Ok(JoinChange::Make(None, change));
        }
        let is_its_place = |known: &&MemberRecord| {
            let is_free = known.incarnation.is_none() && matches!(known.role, Role::Joining | Role::Learner);
            is_free && id.map_or(known.peer == record.peer, |id| id == known.id)
        };
        if let Some(place) = membership.members.values().find(is_its_place) {
            let record = MemberRecord { id: place.id, role: place.role, ..record.clone() };
            return Ok(JoinChange::Make(Some(record.id), Change::Update(record)));
        }
        if let Some(known) = membership.members.values().find(|known| known.peer == record.peer) {
            let text = format!(
                "node {} is a member with the peer address {} already: remove it first, if its data is lost",
                known.id, known.peer
            );
            return Err(Error::new(ErrorKind::MemberExists, text));
        }
        Ok(JoinChange::Make(*id, Change::Add { id: *id, record: record.clone() }))
    }

    /// What lets a node in that has lost what it promised under another id, if the group can do without the lost one now. That
    /// id is never heard again: the node gives it up before it asks for more than this, and says so under an incarnation of
    /// its own. One that is heard all the same has not lost its log: then a copy of its directory asks.
    fn judge_loss(&self, lost: Owner, record: &MemberRecord) -> Result<Change, Error> {
        let Owner { cluster, node, incarnation } = lost;
        if cluster != self.parts.cluster {
            let text = format!("it was {lost}, and this is cluster {:016x}", self.parts.cluster.0);
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let raft = &self.parts.raft;
        match raft.membership().members.get(&node) {
            Some(known) if known.incarnation.is_none_or(|known| known == incarnation) => {}
            Some(_) => {
                let text = format!(
                    "node {node} is a member with another data directory: it cannot come in its place"
                );
                return Err(Error::new(ErrorKind::MemberExists, text));
            }
            // Somebody removed it, and did not mean another one to come in its place.
            None => {
                let text = format!("node {node}, which it was, was removed from the cluster");
                return Err(Error::new(ErrorKind::IdRetired, text));
            }
        }
        if raft.is_heard(node) {
            let text = format!("node {node} was heard a moment ago: it cannot have lost its log, or not yet");
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        // Who has given nothing up yet asks under the incarnation that would go.
        let own = record.incarnation.filter(|own| *own != incarnation);
        let change =
            Change::Replace { id: node, record: MemberRecord { incarnation: own, ..record.clone() } };
        match raft.may_replace(node, change.clone()) {
            Ok(()) => Ok(change),
            // Where this leader's first entry is on its way, or another change, it is asked again.
            Err(error) => Err(Error::new(ErrorKind::Unavailable, error_of_change(&error).message())),
        }
    }

    /// Looks for asks that are done, or can no more be.
    pub(super) fn settle_asks(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let roll = self.roll().encode();
        let raft = &self.parts.raft;
        let (is_leader, term, commit) = (raft.role() == RoleName::Leader, raft.term(), raft.commit());
        let is_whole = !raft.committed_membership().is_joint() && !raft.membership().is_joint();
        let (leader, target) = (raft.leader(), raft.transferring());
        for pending in std::mem::take(&mut self.under_way) {
            let done = match pending.goal {
                Goal::Committed(index, of)
                    if commit >= index && raft.term_at(index) == Some(of) && is_whole =>
                {
                    Some(Ok(pending.answer.clone().unwrap_or_else(|| roll.clone())))
                }
                Goal::Committed(_, of) if !is_leader || term != of => {
                    let text = "the leader lost its office before it was committed: it may still be, look at the members";
                    Some(Err(Error::unknown(ErrorKind::Unavailable, text)))
                }
                Goal::Committed(..) => None,
                Goal::Leads(to) if leader == Some(to) => Some(Ok(roll.clone())),
                Goal::Leads(to) => match leader {
                    Some(leader) if !is_leader || target != Some(to) => {
                        let text = format!("node {to} did not take over in time: node {leader} leads");
                        Some(Err(Error::new(ErrorKind::Unavailable, text)))
                    }
                    _ => None,
                },
            };
            match done {
                Some(result) => pending.asker.answer(result),
                None => self.under_way.push(pending),
            }
        }
    }

    /// Who is in the group, as this node knows it.
    fn roll(&self) -> Roll {
        let raft = &self.parts.raft;
        let matched = raft.membership().members.keys();
        Roll {
            leader: raft.leader(),
            config_index: raft.membership_index(),
            membership: raft.membership().clone(),
            matched: matched.filter_map(|&id| Some((id, raft.matched(id)?))).collect(),
        }
    }

    /// Hands leadership over because this node is about to stop.
    pub(super) fn resign(&mut self, now: Monotonic, done: tokio::sync::oneshot::Sender<()>) {
        match self.parts.raft.transfer(now, None) {
            Ok(to) => {
                info!(to = to.0, "this node stops: it hands leadership over");
                self.resigning.push(done);
            }
            Err(TransferError::NoTarget) => {
                warn!("this node stops, and no other voter answers that could lead")
            }
            Err(_) => {}
        }
    }

    /// Leadership is handed over once another node is heard to lead.
    pub(super) fn settle_resignation(&mut self) {
        let raft = &self.parts.raft;
        let leads = raft.role() == RoleName::Leader;
        let is_over = match raft.leader() {
            Some(leader) => leader != self.parts.id,
            None => false,
        };
        if !self.resigning.is_empty() && (is_over || (leads && raft.transferring().is_none())) {
            for done in self.resigning.drain(..) {
                // Whoever asked may have run out of patience.
                let _ = done.send(());
            }
        }
    }

    /// Forgets who does not wait any more, and leaves the rest for another try.
    pub(super) fn sweep_asks(&mut self) {
        self.asks.retain(|(_, asker)| !asker.is_gone());
        self.under_way.retain(|pending| !pending.asker.is_gone());
    }

    /// The leader raises the cluster version as soon as every member's binary knows a newer one.
    pub(super) fn maybe_raise_version(&mut self, now: Monotonic) {
        let raft = &self.parts.raft;
        let membership = raft.membership();
        let supported = membership.supported();
        if raft.role() != RoleName::Leader || supported <= membership.version {
            return;
        }
        if self.parts.raft.change(now, Change::Version(supported), false).is_ok() {
            info!(version = supported, "all members know a newer cluster version: raised to it");
        }
    }
}

/// What is to be done about a node that wants to be let in.
enum JoinChange {
    /// This; `None`: it gets the id that is free.
    Make(Option<NodeId>, Change),
    /// Nothing, it is a member.
    Done(NodeId),
}
