//! The driver's part of comparing states: the leader's marks, the members' reports, and what a node does that is wrong. How it
//! is judged is in [`divergence`](super::super::divergence).
//!
//! ```text
//! leader       HashMark in the log, each `hash_mark_interval` in which anything else was logged
//! every node   applies it: the hash of its state there     -> the leader keeps its own, a member forwards it
//! leader       a quorum has one hash: every member is answered with it; who has another one is named in the log
//! member       has another one: its state is condemned, and rebuilt like one that is damaged (`rebuild.rs`)
//! leader       has another one itself: the same, and it makes way
//! ```
//!
//! A report that is lost is not repeated: there is another mark soon. A verdict counts only for the state that was reported:
//! one that came in the meantime is another.

use tokio::sync::oneshot;
use tracing::error;

use super::{Driver, Internal};
use crate::codec;
use crate::command::{Command, Envelope, Forwarded, Reply};
use crate::error::{Error, ErrorKind};
use crate::node::divergence::{Marks, Verdict};
use crate::node::forward;
use crate::raft::RoleName;
use crate::types::{Index, Monotonic, NodeId};

/// The cluster version from which on every member knows marks.
const MARKS_SINCE_VERSION: u32 = 1;

/// What a node knows of marks.
pub(super) struct Comparing {
    marks: Marks,
    next: Monotonic,
    /// The last one that this node logged as leader.
    last: Index,
    /// How often the state was replaced.
    generation: u64,
    /// Marks at which a member's state was found to be wrong, or nobody knew whose is right.
    pub divergences: u64,
}

/// What the leader said about a report.
pub(super) struct Told {
    index: Index,
    own: u128,
    generation: u64,
    agreed: u128,
}

impl Comparing {
    pub fn new(first: Monotonic) -> Comparing {
        Comparing { marks: Marks::default(), next: first, last: Index(0), generation: 0, divergences: 0 }
    }
}

impl Driver {
    /// Logs a mark if one is due, and anything was logged since the last one.
    pub(super) fn maybe_mark(&mut self, now: Monotonic) {
        if now < self.comparing.next {
            return;
        }
        self.comparing.next = now.plus(self.parts.limits.hash_mark_interval);
        let raft = &self.parts.raft;
        let is_known = self.membership.allows(MARKS_SINCE_VERSION);
        let is_of_use = self.membership.members.len() > 1 && raft.last_index() > self.comparing.last;
        let may_propose =
            raft.role() == RoleName::Leader && !self.hands_over_soon() && self.knows_group_time();
        if !is_known || !is_of_use || !may_propose {
            return;
        }
        let (term, group_time_ms) = (raft.term(), self.group_time(now));
        let (session, principal, command) = (None, String::new(), Command::HashMark);
        let envelope = Envelope { term, group_time_ms, session, principal, command };
        // Refused while leadership is handed over, or too much is uncommitted: then another time.
        if let Ok(proposed) = self.parts.raft.propose(now, vec![codec::encode_envelope(&envelope)]) {
            self.comparing.last = proposed.last;
        }
    }

    /// A mark was applied here.
    pub(super) fn on_mark(&mut self, index: Index, hash: u128) {
        self.comparing.marks.reported(index, self.parts.id, hash, None);
        match self.parts.raft.leader() {
            Some(leader) if leader == self.parts.id => self.judge(index),
            Some(leader) => self.report_hash(leader, index, hash),
            None => {}
        }
    }

    fn report_hash(&self, leader: NodeId, index: Index, own: u128) {
        let (transport, group, internal) =
            (self.parts.transport.clone(), self.parts.group, self.internal.clone());
        let generation = self.comparing.generation;
        // The transport bounds how long the task lives.
        tokio::spawn(async move {
            let answer = transport.forward(leader, group, forward::encode_hash(index, own)).await;
            match answer.map(|answer| codec::decode_forwarded(&answer)) {
                Ok(Ok(Forwarded::Done { reply: Reply::Hash(agreed) })) => {
                    let _ = internal.send(Internal::Told(Told { index, own, generation, agreed }));
                }
                Ok(Ok(Forwarded::Failed { message, .. })) => {
                    error!(%index, hash = format!("{own:032x}"), message, "this node's state may be wrong");
                }
                _ => {}
            }
        });
    }

    /// A member reports its hash.
    pub(super) fn on_hash(
        &mut self,
        from: NodeId,
        (index, hash): (Index, u128),
        reply: oneshot::Sender<bytes::Bytes>,
    ) {
        // A mark is committed before anybody applies it, and of the latest few alone there is a record: what a peer makes up must
        // not push those out.
        if index > self.parts.raft.commit() || !self.membership.members.contains_key(&from) {
            return;
        }
        let (answer, told) = oneshot::channel();
        tokio::spawn(async move {
            let Ok(verdict) = told.await else { return };
            let answer = match verdict {
                Verdict::Agreed(hash) => Forwarded::Done { reply: Reply::Hash(hash) },
                Verdict::Split => forward::failed(&Error::new(ErrorKind::Internal, SPLIT)),
            };
            let _ = reply.send(codec::encode_forwarded(&answer));
        });
        self.comparing.marks.reported(index, from, hash, Some(answer));
        self.judge(index);
    }

    fn judge(&mut self, index: Index) {
        let Some((verdict, differing)) = self.comparing.marks.judge(index, &self.membership) else { return };
        let Verdict::Agreed(agreed) = verdict else {
            self.comparing.divergences += 1;
            return error!(%index, SPLIT);
        };
        for member in differing {
            let agreed_hash = format!("{agreed:032x}");
            if member == self.parts.id {
                self.on_diverged(index, agreed);
            } else {
                self.comparing.divergences += 1;
                error!(%index, %member, agreed_hash, "the state of a member differs from that of a quorum: it rebuilds it");
            }
        }
    }

    /// The leader knows what a quorum has.
    pub(super) fn on_told(&mut self, told: &Told) {
        if told.own != told.agreed && told.generation == self.comparing.generation {
            self.on_diverged(told.index, told.agreed);
        }
    }

    /// This node's state is not what the log leads to.
    fn on_diverged(&mut self, index: Index, agreed: u128) {
        // Of several marks that it differs at one is enough.
        if self.parts.store.check().is_err() {
            return;
        }
        self.comparing.divergences += 1;
        let what = format!("its hash at index {index} is not {agreed:032x}, which a quorum has");
        error!(%index, agreed_hash = format!("{agreed:032x}"), "this node's state differs from that of a quorum: CORRUPT");
        self.parts.store.condemn(what);
        self.on_state_fault();
    }

    /// This node's state is another one.
    pub(super) fn on_state_replaced(&mut self) {
        self.comparing.generation += 1;
        self.comparing.marks.forget(self.parts.id);
    }

    /// Another node leads, or none.
    pub(super) fn on_leader_gone(&mut self) {
        self.comparing.marks.forget_others(self.parts.id);
    }
}

/// What is said where nobody is right.
const SPLIT: &str = "the members' states differ and no quorum agrees on one: nothing is rebuilt; compare them with \
                     `quorate check`, and replace the member that is wrong";
