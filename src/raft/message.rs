//! What nodes say to each other: one variant a message, each with only the fields it needs.
//!
//! `term` of the [`Envelope`] is always the sender's current term, by Figure 2's rule for all servers. A pre-vote
//! asks about a term that nobody has entered yet, so it carries that one in its body.

use bytes::Bytes;

use crate::types::{Incarnation, Index, NodeId, Term};

use super::{Entry, Room};

/// A message with its addresses. Delivery may lose, repeat, delay and reorder it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// Who sent it.
    pub from: NodeId,
    /// For whom.
    pub to: NodeId,
    /// The sender's term when it was sent.
    pub term: Term,
    /// What it says.
    pub message: Message,
}

/// Names one leader's conversation with one follower: replies from an earlier conversation change nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A leader's counter of the rounds that confirm its leadership. Within a term never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u64);

/// A follower's read request: never reused, not even across restarts, since the incarnation and the boot count are
/// part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadRequest {
    /// The asking node's data directory.
    pub incarnation: Incarnation,
    /// A random number of the asking process, so that a restarted one never meets answers to its predecessor.
    pub boot: u64,
    /// The asking node's own counter; every attempt has a new one.
    pub counter: u64,
}

/// The messages of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Would you vote for me? (thesis, section 9.6)
    PreVote {
        /// The term the sender would campaign in.
        next_term: Term,
        /// The sender's last entry.
        last_index: Index,
        /// And its term.
        last_term: Term,
    },
    /// Answer to a pre-vote.
    PreVoteReply {
        /// The term that was asked about.
        next_term: Term,
        /// Whether the vote would be given.
        granted: bool,
    },
    /// Vote for me (section 5.2).
    Vote {
        /// The candidate's last entry.
        last_index: Index,
        /// And its term.
        last_term: Term,
        /// The old leader asked for this election: answer although you hear from it (thesis, section 3.10).
        transfer: bool,
    },
    /// Answer to a vote request, in the envelope's term.
    VoteReply {
        /// Whether the vote was given.
        granted: bool,
    },
    /// Entries to append, or none as a probe (section 5.3).
    Append(Append),
    /// Answer to an append or a snapshot.
    AppendReply(AppendReply),
    /// The state machine at some index, in place of entries that were purged (section 7). The state itself travels
    /// beside the core: the receiver's driver brings this in once it has all of it, durable.
    Snapshot(Snapshot),
    /// The leader is alive; and the question whether it still is the leader (section 5.2, 6.4 of the thesis).
    Heartbeat {
        /// The conversation.
        session: SessionId,
        /// min(match of the receiver, commit): never beyond what the receiver is known to have.
        commit: Index,
        /// The round this confirms when answered.
        round: Round,
        /// Every member has the log up to here on disk, and it is committed: nobody needs to keep it for another.
        stored_by_all: Index,
    },
    /// Answer to a heartbeat.
    HeartbeatReply {
        /// The heartbeat's conversation.
        session: SessionId,
        /// The heartbeat's round.
        round: Round,
        /// The sender has no state, and needs a snapshot at this index or beyond (see `stateless`).
        needs_snapshot: Option<Index>,
        /// What the sender's disk has room for.
        room: Room,
    },
    /// The sender's copy of an entry is damaged: it asks for another (see `repair`). Of no term.
    Repair {
        /// The entry.
        index: Index,
        /// Its term.
        term: Term,
        /// The checksum of its payload, where known.
        crc: Option<u32>,
        /// The sender cannot go on without it: if it was purged, it needs a snapshot.
        is_needed: bool,
    },
    /// The answer to a [`Message::Repair`].
    RepairReply {
        /// The entry that was asked for.
        index: Index,
        /// And its term.
        term: Term,
        /// The entry; none if the sender does not have it, or not whole.
        entry: Option<Entry>,
    },
    /// The sender does not know how far its log went: it asks its leader (see `doubt`).
    EndQuery {
        /// The asking process: a leader begins a new conversation with each, once.
        boot: u64,
        /// The last entry that it sees.
        last_index: Index,
        /// And its term.
        last_term: Term,
    },
    /// The answer to a [`Message::EndQuery`].
    EndReply {
        /// The process that asked.
        boot: u64,
        /// Where the leader's log ended when it was asked.
        index: Index,
    },
    /// Campaign now: the leader hands over (thesis, section 3.10).
    TimeoutNow,
    /// A follower asks for an index at which it may read (thesis, section 6.4).
    ReadIndex {
        /// Its number.
        request: ReadRequest,
    },
    /// The answer to a [`Message::ReadIndex`].
    ReadIndexReply {
        /// The request's number.
        request: ReadRequest,
        /// Read once this index is applied; `None`: the receiver does not lead, ask elsewhere.
        index: Option<Index>,
    },
}

/// See [`Message::Append`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    /// The conversation.
    pub session: SessionId,
    /// The number of this message in the conversation.
    pub inflight: u64,
    /// The position before the first entry.
    pub prev_index: Index,
    /// And its term.
    pub prev_term: Term,
    /// Entries from `prev_index + 1` on, contiguous.
    pub entries: Vec<Entry>,
    /// The leader's commit index.
    pub commit: Index,
    /// The round this confirms when answered.
    pub round: Round,
}

/// See [`Message::Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The conversation.
    pub session: SessionId,
    /// The number of this message in the conversation.
    pub inflight: u64,
    /// The round this confirms when answered.
    pub round: Round,
    /// The last entry that it covers.
    pub index: Index,
    /// And its term.
    pub term: Term,
    /// The configuration in force there, encoded.
    pub membership: Bytes,
}

/// See [`Message::AppendReply`]. Leaves only when what it says is on disk, a rejection too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppendReply {
    /// The append's conversation.
    pub session: SessionId,
    /// The append's number.
    pub inflight: u64,
    /// The append's round.
    pub round: Round,
    /// What became of it.
    pub result: AppendResult,
    /// What the sender's disk had room for when it took it in.
    pub room: Room,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendResult {
    /// The follower's log equals the leader's up to here, and is on disk so far.
    Matched {
        /// prev_index + the number of entries; the index of a snapshot.
        index: Index,
    },
    /// The follower has no entry at `prev_index` with `prev_term`.
    Rejected {
        /// The append's prev_index.
        prev_index: Index,
        /// The largest index, not above prev_index, whose term in the follower's log is at most prev_term.
        hint_index: Index,
        /// And that term: the leader goes back to its own last entry with at most this term.
        hint_term: Term,
    },
}
