//! What the core has made and the driver has not collected yet, and how it becomes a [`Ready`].

use crate::types::{Index, NodeId, Term};

use super::raft::RoleState;
use super::writes::Ballot;
use super::{
    AppendReply, AppendResult, Envelope, Fetch, HardState, Message, Raft, ReadId, ReadOutcome, ReadRequest,
    Ready, RoleChange, SnapshotFor, Write,
};

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outbox {
    /// May leave now.
    messages: Vec<Envelope>,
    /// Leave once all that was handed out, or is about to be, is on disk.
    after_write: Vec<Envelope>,
    pub(super) fetches: Vec<Fetch>,
    pub(super) snapshots: Vec<SnapshotFor>,
    pub(super) reads: Vec<(ReadId, ReadOutcome)>,
    pub(super) changes: Vec<RoleChange>,
}

impl Outbox {
    /// Sends a message that may leave before anything else is on disk.
    pub(super) fn now(&mut self, from: NodeId, to: NodeId, term: Term, message: Message) {
        self.messages.push(Envelope { from, to, term, message });
    }

    /// Sends a message that must not leave before all that precedes it is on disk: whoever receives it relies on it.
    pub(super) fn after(&mut self, from: NodeId, to: NodeId, term: Term, message: Message) {
        let envelope = Envelope { from, to, term, message };
        // Of several acknowledgements that leave together the last says it all.
        match self.after_write.last_mut() {
            Some(last) if supersedes(&envelope, last) => *last = envelope,
            _ => self.after_write.push(envelope),
        }
    }

    /// The entries at `from` and beyond were truncated before they were handed out: what was to be said of them must
    /// not leave, since the write that it waits for would not attest them. Nor must a request for votes that claims
    /// them: the election that it belongs to is over.
    pub(super) fn retract(&mut self, from: Index) {
        self.after_write.retain(|envelope| match &envelope.message {
            Message::AppendReply(AppendReply { result: AppendResult::Matched { index }, .. })
            | Message::Vote { last_index: index, .. } => *index < from,
            _ => true,
        });
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.after_write.is_empty()
            && self.fetches.is_empty()
            && self.snapshots.is_empty()
            && self.reads.is_empty()
            && self.changes.is_empty()
    }
}

/// Whether `new` makes `old` superfluous: an acknowledgement in the same conversation, of at least as much.
fn supersedes(new: &Envelope, old: &Envelope) -> bool {
    let (Message::AppendReply(new_reply), Message::AppendReply(old_reply)) = (&new.message, &old.message)
    else {
        return false;
    };
    let (AppendResult::Matched { index: new_index }, AppendResult::Matched { index: old_index }) =
        (new_reply.result, old_reply.result)
    else {
        return false;
    };
    (new.to, new.term, new_reply.session) == (old.to, old.term, old_reply.session)
        && new_index >= old_index
        && new_reply.round >= old_reply.round
}

impl Raft {
    /// Whether [`Raft::ready`] has anything to hand out.
    pub fn has_ready(&self) -> bool {
        !self.outbox.is_empty()
            || self.log.has_unhanded()
            || self.writes.handed() != self.ballot()
            || self.applying.has_next(&self.log)
            || self.is_replication_due()
            || self.is_forward_due()
    }

    /// Hands out everything that is to be done, each thing once.
    pub fn ready(&mut self) -> Ready {
        self.replicate();
        self.forward_reads();
        let writes = Vec::from_iter(self.next_write());
        let apply = self.applying.next(&self.log);
        self.outbox.fetches.extend(self.applying.next_fetch(&self.log));
        Ready {
            messages: std::mem::take(&mut self.outbox.messages),
            writes,
            fetches: std::mem::take(&mut self.outbox.fetches),
            apply,
            snapshots: std::mem::take(&mut self.outbox.snapshots),
            reads: std::mem::take(&mut self.outbox.reads),
            changes: std::mem::take(&mut self.outbox.changes),
        }
    }

    pub(super) fn ballot(&self) -> Ballot {
        Ballot { term: self.term, vote: self.vote, in_doubt: self.doubt.is_some() }
    }

    /// The next write, if there is something to store, or something to say once earlier writes are on disk.
    fn next_write(&mut self) -> Option<Write> {
        let ballot = self.ballot();
        let is_new_ballot = ballot != self.writes.handed();
        if !is_new_ballot && !self.log.has_unhanded() {
            if !self.writes.are_outstanding() {
                self.outbox.messages.append(&mut self.outbox.after_write);
            }
            if self.outbox.after_write.is_empty() {
                return None;
            }
        }
        // Of what is committed only as much as is on disk: should the power fail in the middle of this write, the entries
        // that stand at those positions may still be those that it replaces.
        let commit = self.log.committed().min(self.log.persisted());
        let Ballot { term, vote, in_doubt } = ballot;
        let hard_state = HardState { term, vote, commit, in_doubt };
        let install = self.log.hand_out_install();
        let repairs = self.log.wounds_mut().hand_out();
        let entries = self.log.hand_out();
        let repaired = repairs.iter().map(|entry| entry.index).collect();
        self.watch_disk();
        Some(Write {
            seq: self.writes.hand_out(self.log.last(), ballot, repaired),
            hard_state: is_new_ballot.then_some(hard_state),
            install,
            repairs,
            entries,
            messages: std::mem::take(&mut self.outbox.after_write),
        })
    }

    fn is_forward_due(&self) -> bool {
        matches!(&self.role, RoleState::Follower(follower) if self.leader.is_some() && follower.reads.is_due())
    }

    /// Asks the leader for an index for all reads that gathered.
    fn forward_reads(&mut self) {
        let RoleState::Follower(follower) = &mut self.role else { return };
        let Some(to) = self.leader.filter(|_| follower.reads.is_due()) else { return };
        self.read_counter += 1;
        follower.reads.on_sent(self.read_counter);
        let (incarnation, boot) = (self.config.incarnation, self.config.boot);
        let request = ReadRequest { incarnation, boot, counter: self.read_counter };
        self.timers.read = self.timers.now.plus(self.config.read_patience());
        self.outbox.now(self.config.id, to, self.term, Message::ReadIndex { request });
    }
}
