//! Promises: what a message promises is on its sender's disk when it leaves (Raft paper, section 5.1 and Figure 2:
//! "updated on stable storage before responding to RPCs").
//!
//! A vote promises term and vote; a request for votes promises them too, and the log that it claims; an acknowledgement
//! promises the entries. Where the simulator cannot look at a disk in the very instant, nothing is judged.

use quorate::raft::{AppendResult, Envelope, Message};

use super::monotone::promised_by;
use super::{Disks, Invariant};
use crate::Violation;

/// Needs no memory.
#[derive(Debug)]
pub struct Promises;

impl Invariant for Promises {
    fn name(&self) -> &'static str {
        "promises"
    }

    fn sent(&mut self, envelope: &Envelope, disks: Option<&dyn Disks>) -> Result<(), Violation> {
        let (Some(disks), Some((term, vote))) = (disks, promised_by(envelope)) else { return Ok(()) };
        let from = envelope.from;
        let Some(stored) = disks.ballot(from) else { return Ok(()) };
        if stored.0 < term || (stored.0 == term && vote.is_some() && stored.1 != vote) {
            return Err(format!("{from} speaks of term {term} and vote {vote:?}, its disk says {stored:?}"));
        }
        match &envelope.message {
            // The log may have changed since this was said, but only in a later term.
            &Message::Vote { last_index, last_term, .. }
                if stored.0 == term && last_index.0 > 0 && !disks.holds(from, last_index, last_term) =>
            {
                Err(format!("{from} claims entry {last_index} of term {last_term}, which is not on its disk"))
            }
            Message::AppendReply(reply) => match reply.result {
                AppendResult::Matched { index } if stored.0 == term && !disks.reaches(from, index) => {
                    Err(format!("{from} acknowledges entry {index}, which is not on its disk"))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate::raft::{AppendReply, Room, Round, SessionId};
    use quorate::types::{Index, NodeId, Term};

    use super::*;

    /// A disk with term 3, a vote for node 2, and entries 1 to 5 of term 2.
    struct Stored;

    impl Disks for Stored {
        fn majorities_at(&self, _index: Index) -> Vec<Vec<NodeId>> {
            vec![[1, 2, 3].map(NodeId).to_vec()]
        }

        fn holds(&self, _node: NodeId, index: Index, term: Term) -> bool {
            index <= Index(5) && term == Term(2)
        }

        fn ballot(&self, _node: NodeId) -> Option<(Term, Option<NodeId>)> {
            Some((Term(3), Some(NodeId(2))))
        }

        fn reaches(&self, _node: NodeId, index: Index) -> bool {
            index <= Index(5)
        }
    }

    fn sent(to: u64, term: u64, message: Message) -> Result<(), Violation> {
        let envelope = Envelope { from: NodeId(1), to: NodeId(to), term: Term(term), message };
        Promises.sent(&envelope, Some(&Stored))
    }

    #[test]
    fn a_vote_that_is_not_on_disk_is_found() {
        sent(2, 3, Message::VoteReply { granted: true }).expect("it is on disk");
        assert!(sent(3, 3, Message::VoteReply { granted: true }).is_err(), "for another");
        assert!(sent(2, 4, Message::VoteReply { granted: true }).is_err(), "in a later term");
        assert!(sent(2, 4, Message::VoteReply { granted: false }).is_err(), "a term that is not on disk");
        sent(3, 2, Message::VoteReply { granted: true }).expect("nothing is known of an earlier term");
    }

    #[test]
    fn an_acknowledgement_of_what_is_not_on_disk_is_found() {
        let reply = |index| {
            let result = AppendResult::Matched { index: Index(index) };
            let (session, round, room) = (SessionId(1), Round(1), Room::Ample);
            Message::AppendReply(AppendReply { session, inflight: 1, round, result, room })
        };
        sent(2, 3, reply(5)).expect("it is on disk");
        assert!(sent(2, 3, reply(6)).is_err());
    }

    #[test]
    fn a_claim_of_a_log_that_is_not_on_disk_is_found() {
        let vote =
            |index, term| Message::Vote { last_index: Index(index), last_term: Term(term), transfer: false };
        let asks = |message| {
            let envelope = Envelope { from: NodeId(2), to: NodeId(1), term: Term(3), message };
            Promises.sent(&envelope, Some(&Stored))
        };
        asks(vote(5, 2)).expect("it is on disk");
        assert!(asks(vote(6, 2)).is_err());
        assert!(asks(vote(5, 3)).is_err());
    }
}
