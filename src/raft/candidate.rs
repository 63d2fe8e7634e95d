//! The candidate and the pre-candidate: counting votes (section 5.2; thesis, section 9.6).
//!
//! A pre-candidate asks whether an election could succeed before it disturbs anyone with a new term. Only if a quorum
//! would vote for it does it become a candidate.

use std::collections::BTreeMap;

use crate::types::{NodeId, Term};

use super::quorum::Tally;
use super::raft::RoleState;
use super::{Message, Raft};

/// What only a candidate keeps, of either kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Candidate {
    /// Who answered what. The first answer of each counts; those who are no voters are not asked by the quorum.
    pub(super) votes: BTreeMap<NodeId, bool>,
}

impl Candidate {
    /// A pre-candidate would vote for itself. It says so at once, since this binds nobody.
    pub(super) fn with_own(id: NodeId) -> Candidate {
        Candidate { votes: BTreeMap::from([(id, true)]) }
    }
}

impl Raft {
    pub(super) fn on_pre_vote_reply(&mut self, from: NodeId, next_term: Term, granted: bool) {
        if next_term != self.term.next() {
            self.counters.stale += 1;
            return;
        }
        let RoleState::PreCandidate(candidate) = &mut self.role else {
            self.counters.stale += 1;
            return;
        };
        candidate.votes.entry(from).or_insert(granted);
        self.count_pre_votes();
    }

    pub(super) fn count_pre_votes(&mut self) {
        let RoleState::PreCandidate(candidate) = &self.role else { return };
        match self.tally(candidate) {
            Tally::Won => self.become_candidate(false),
            Tally::Lost => self.lose("lost the pre-vote"),
            Tally::Pending => {}
        }
    }

    pub(super) fn on_vote_reply(&mut self, from: NodeId, granted: bool) {
        let RoleState::Candidate(candidate) = &mut self.role else {
            self.counters.stale += 1;
            return;
        };
        candidate.votes.entry(from).or_insert(granted);
        self.count_votes();
    }

    /// The own vote counts like any other: once it is on disk.
    pub(super) fn count_own_vote(&mut self) {
        let durable = self.writes.durable();
        let RoleState::Candidate(candidate) = &mut self.role else { return };
        if durable.term == self.term && durable.vote == Some(self.config.id) {
            candidate.votes.insert(self.config.id, true);
            self.count_votes();
        }
    }

    fn count_votes(&mut self) {
        let RoleState::Candidate(candidate) = &self.role else { return };
        match self.tally(candidate) {
            Tally::Won => self.become_leader(),
            Tally::Lost => self.lose("lost the election"),
            Tally::Pending => {}
        }
    }

    /// How it stands. A leader whose process has ended will hardly answer.
    fn tally(&self, candidate: &Candidate) -> Tally {
        let dead = |id| (self.evidence == Some(id)).then_some(false);
        self.quorum.tally(|id| candidate.votes.get(&id).copied().or_else(|| dead(id)))
    }

    /// Asks all voters what they would say.
    pub(super) fn ask_pre_votes(&mut self) {
        let (last_index, last_term) = (self.log.last(), self.log.last_term());
        self.ask_voters(&Message::PreVote { next_term: self.term.next(), last_index, last_term });
    }

    /// Sends the same question to every other voter.
    pub(super) fn ask_voters(&mut self, message: &Message) {
        let id = self.config.id;
        let others: Vec<NodeId> = self.quorum.voters().filter(|&voter| voter != id).collect();
        for (at, &to) in others.iter().enumerate() {
            if others[..at].contains(&to) {
                continue; // in both halves of a joint configuration
            }
            match message {
                // A vote request claims a log and a term: both must be on disk before anyone relies on them. Else:
                // 1. A has entry 7 in memory only, campaigns in term 5; B, which has entry 7, grants.
                // 2. A crashes, loses entry 7 and term 5, restarts, campaigns in term 5 again.
                // 3. B's first answer arrives and is counted: A leads without entry 7, which may be committed.
                Message::Vote { .. } => self.outbox.after(id, to, self.term, message.clone()),
                _ => self.outbox.now(id, to, self.term, message.clone()),
            }
        }
    }
}
