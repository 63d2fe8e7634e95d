//! The network of the model: the set of all messages that may still arrive.
//!
//! A message that was sent stays in the set when it is delivered, so it can arrive any number of times, in any order,
//! and as late as one likes; and nothing makes it arrive at all. Loss, duplication, delay and reordering need no
//! actions of their own.
//!
//! A set that only grows would tell apart states that differ in nothing but the past. So messages whose arrival can
//! have no effect any more are taken out ([`is_spent`]): with or without them the future is the same.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quorate::raft::{Envelope, Message, RoleName};
use quorate::types::NodeId;

use super::node::Node;

/// A message under way.
#[derive(Clone, Debug, Eq)]
pub struct Packet {
    digest: u64,
    /// The message with its addresses.
    pub envelope: Arc<Envelope>,
}

impl PartialEq for Packet {
    fn eq(&self, other: &Packet) -> bool {
        self.digest == other.digest && self.envelope == other.envelope
    }
}

impl Hash for Packet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest);
    }
}

impl Packet {
    /// Puts a message on its way.
    pub fn new(envelope: Envelope) -> Packet {
        let mut hasher = DefaultHasher::new();
        envelope.hash(&mut hasher);
        Packet { digest: hasher.finish(), envelope: Arc::new(envelope) }
    }

    /// The hash of the message.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// For whom it is.
    pub fn to(&self) -> NodeId {
        self.envelope.to
    }
}

/// All messages that may still arrive, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Network(Vec<Packet>);

impl Network {
    /// All of them.
    pub fn packets(&self) -> &[Packet] {
        &self.0
    }

    /// Whether all of these are there already.
    pub fn contains_all(&self, packets: &[Packet]) -> bool {
        packets.iter().all(|packet| self.0.contains(packet))
    }

    /// Adds a message; twice the same is once. If that makes more than `capacity`, the oldest is lost.
    pub fn add(&mut self, packet: Packet, capacity: usize) {
        if self.0.contains(&packet) {
            return;
        }
        self.0.push(packet);
        if self.0.len() > capacity {
            self.0.remove(0);
        }
    }

    /// Takes out what it need not keep.
    pub fn retain(&mut self, keep: impl FnMut(&Packet) -> bool) {
        self.0.retain(keep);
    }
}

/// Whether a message's arrival can have no effect any more, neither now nor after anything that may happen to the node
/// that it is for, crashes included.
///
/// Replies bind to an election or a reign. A node takes part in each of them once: it becomes a candidate in a term that
/// is new to it, and comes back from a crash as a follower in a term that is not before the one on its disk.
pub fn is_spent(envelope: &Envelope, to: &Node) -> bool {
    let (term, durable) = (envelope.term, to.durable_term());
    let plays = |role: RoleName| to.raft.term() == term && to.raft.role() == role;
    match &envelope.message {
        Message::PreVoteReply { next_term, .. } => term <= durable && *next_term <= durable,
        // As a candidate it may yet win, and as a leader crash: it counts no more votes of this term then.
        Message::VoteReply { .. } => term <= durable && !plays(RoleName::Candidate),
        Message::AppendReply(_) | Message::HeartbeatReply { .. } => {
            term <= durable && !plays(RoleName::Leader)
        }
        Message::ReadIndexReply { .. } => term < durable,
        Message::PreVote { .. }
        | Message::Vote { .. }
        | Message::TimeoutNow
        | Message::Append(_)
        | Message::Heartbeat { .. }
        | Message::Snapshot(_)
        | Message::ReadIndex { .. }
        | Message::Repair { .. }
        | Message::RepairReply { .. }
        | Message::EndQuery { .. }
        | Message::EndReply { .. } => false,
    }
}

/// Whether it is a request of a term that the receiver has left behind on its disk: it only brings the answer that the
/// term is over.
pub fn is_outdated(envelope: &Envelope, to: &Node) -> bool {
    is_request(&envelope.message) && envelope.term < to.durable_term()
}

/// Whether it asks whether a vote would be given, or answers that.
pub fn is_pre_vote(envelope: &Envelope) -> bool {
    matches!(envelope.message, Message::PreVote { .. } | Message::PreVoteReply { .. })
}

fn is_request(message: &Message) -> bool {
    matches!(
        message,
        Message::PreVote { .. }
            | Message::Vote { .. }
            | Message::Append(_)
            | Message::Snapshot(_)
            | Message::Heartbeat { .. }
    )
}

/// The message in a few words.
pub fn describe(envelope: &Envelope) -> String {
    let Envelope { from, to, term, message } = envelope;
    let body = match message {
        Message::PreVote { next_term, last_index, last_term } => {
            format!("PreVote for term {next_term}, its log ends at {last_index} of term {last_term}")
        }
        Message::PreVoteReply { next_term, granted } => {
            format!("PreVoteReply for term {next_term}: {}", if *granted { "yes" } else { "no" })
        }
        Message::Vote { last_index, last_term, .. } => {
            format!("Vote, its log ends at {last_index} of term {last_term}")
        }
        Message::VoteReply { granted } => format!("VoteReply: {}", if *granted { "yes" } else { "no" }),
        Message::Append(append) => {
            let entries: Vec<String> = append.entries.iter().map(describe_entry).collect();
            format!(
                "Append after {} of term {}: [{}], commit {}",
                append.prev_index,
                append.prev_term,
                entries.join(", "),
                append.commit
            )
        }
        Message::AppendReply(reply) => format!("AppendReply {:?}", reply.result),
        Message::Snapshot(snapshot) => format!("Snapshot at {} of term {}", snapshot.index, snapshot.term),
        Message::Heartbeat { commit, round, .. } => format!("Heartbeat, commit {commit}, round {}", round.0),
        Message::HeartbeatReply { round, .. } => format!("HeartbeatReply, round {}", round.0),
        Message::TimeoutNow => "TimeoutNow".to_owned(),
        Message::Repair { index, term, .. } => format!("Repair {index} of term {term}"),
        Message::RepairReply { index, term, entry } => {
            format!("RepairReply {index} of term {term}: {}", if entry.is_some() { "yes" } else { "no" })
        }
        Message::EndQuery { last_index, last_term, .. } => {
            format!("EndQuery, its log ends at {last_index} of term {last_term}, if not later")
        }
        Message::EndReply { index, .. } => format!("EndReply {index}"),
        Message::ReadIndex { .. } => "ReadIndex".to_owned(),
        Message::ReadIndexReply { index, .. } => format!("ReadIndexReply {index:?}"),
    };
    format!("{from} -> {to}, term {term}: {body}")
}

/// An entry in a few words.
pub fn describe_entry(entry: &quorate::raft::Entry) -> String {
    match entry.payload.first() {
        Some(command) => format!("{}: command {command} of term {}", entry.index, entry.term),
        None => format!("{}: no-op of term {}", entry.index, entry.term),
    }
}
