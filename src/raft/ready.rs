//! What the core wants done, and in which order: the durability rules are in these types.
//!
//! [`Ready::messages`] may leave at once. [`Write::messages`] leave only when the write that carries them, and all
//! writes before it, are on disk: votes, append replies, rejections too. There is no other way to send them, so
//! no driver can acknowledge what it has not stored.

use crate::types::{Index, NodeId, Term};

use super::{Entry, Envelope, HardState, Membership, SessionId};

/// The number of a [`Write`]. A completion of n attests everything handed out up to n and not truncated since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteSeq(pub u64);

/// A read that waits for its index; the caller of [`Raft::read`](super::Raft::read) chooses the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// What the core hands out, all of it to be done, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Messages that may leave before the writes below are on disk.
    pub messages: Vec<Envelope>,
    /// Writes for the log, in order, without a gap between them and those of earlier `Ready`s.
    pub writes: Vec<Write>,
    /// Log entries to read back; the answers go to [`Raft::fetched`](super::Raft::fetched).
    pub fetches: Vec<Fetch>,
    /// Entries to apply: committed *and* on this node's disk, contiguous, each exactly once, in order.
    pub apply: Vec<Entry>,
    /// Members that need a snapshot, since what they lack was purged, or since they asked. Each is asked for once; the driver says what
    /// becomes of it by [`Raft::snapshot_begun`](super::Raft::snapshot_begun) and
    /// [`Raft::snapshot_sent`](super::Raft::snapshot_sent).
    pub snapshots: Vec<SnapshotFor>,
    /// Reads that got their index, or not.
    pub reads: Vec<(ReadId, ReadOutcome)>,
    /// Changes of role, term or leader since the last `Ready`, oldest first; for log lines and redirection.
    pub changes: Vec<RoleChange>,
}

/// A member that needs a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotFor {
    /// The member.
    pub to: NodeId,
    /// The conversation for which it is wanted.
    pub session: SessionId,
    /// One before this index would be of no use to it.
    pub at_least: Index,
}

/// A snapshot that takes the place of the log and of the state machine. Before the core was told of it, the driver made
/// it durable under a name of its own; what remains is the one pointer that says that it counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Install {
    /// The last entry that it covers: the log begins anew after it.
    pub index: Index,
    /// And its term.
    pub term: Term,
    /// The configuration in force there.
    pub membership: Membership,
}

/// One append to the log; empty but for its messages where only earlier writes must be waited for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// Its number, one more than the last.
    pub seq: WriteSeq,
    /// The hard state, if term or vote changed; it stands before the entries. Its commit index is a hint and never a
    /// reason to write.
    pub hard_state: Option<HardState>,
    /// A snapshot; it stands between the two. If the log has its last entry, what lies behind that is kept; otherwise all
    /// entries that the log holds are void from here on. The state machine is void in any case. On disk it and the pointer to the state are one record: a crash leaves both or neither. Once it
    /// is on disk, and behind what the state machine was given before, the driver lets the state machine take it and
    /// says so by [`Raft::applied`](super::Raft::applied).
    pub install: Option<Install>,
    /// Entries to be stored once more in place of damaged ones, ascending; before the entries below. Nothing is void.
    pub repairs: Vec<Entry>,
    /// Entries, contiguous. Whatever the log holds at the first one's index or beyond is void from here on.
    pub entries: Vec<Entry>,
    /// Messages that leave once this write and all before it are on disk.
    pub messages: Vec<Envelope>,
}

impl Write {
    /// Whether there is anything to store: if not, the write needs no fsync of its own.
    pub fn is_empty(&self) -> bool {
        self.hard_state.is_none()
            && self.install.is_none()
            && self.repairs.is_empty()
            && self.entries.is_empty()
    }
}

/// Why entries are read back from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FetchFor {
    /// To replicate them to this member, whose log ends before what is kept in memory.
    Peer(NodeId),
    /// To apply them, after a restart.
    Apply,
    /// For this member, whose copy is damaged: one entry.
    Repair(NodeId),
}

/// Entries to read back from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// Why. Only the last fetch for each purpose is wanted (of repairs, for each member and entry); an answer to an
    /// earlier one is ignored.
    pub purpose: FetchFor,
    /// The first index.
    pub first: Index,
    /// The last index. The answer may end before it, and is empty if `first` could not be read or was purged meanwhile.
    /// If it is damaged, [`Raft::damaged`](super::Raft::damaged) is told first.
    pub last: Index,
    /// Stop after the entry with which this is reached.
    pub bytes_max: usize,
}

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadOutcome {
    /// Linearizable once this index is applied.
    At(Index),
    /// No leader could confirm it: ask again.
    Lost,
}

/// The role a node plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleName {
    /// Receives the log without a vote.
    Learner,
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether an election could succeed.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

impl RoleName {
    /// The role's name in answers and log lines.
    pub fn name(self) -> &'static str {
        match self {
            RoleName::Learner => "learner",
            RoleName::Follower => "follower",
            RoleName::PreCandidate => "pre-candidate",
            RoleName::Candidate => "candidate",
            RoleName::Leader => "leader",
        }
    }
}

/// A change of role, term or known leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleChange {
    /// The role from now on.
    pub role: RoleName,
    /// The term from now on.
    pub term: Term,
    /// The leader, where known.
    pub leader: Option<NodeId>,
    /// Why, in a few words.
    pub reason: &'static str,
}
