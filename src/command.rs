//! The replicated vocabulary: what a log entry can ask of the state machine, and what it answers.
//!
//! A client's [`Command`] travels in an [`Envelope`] that the leader fills in: its term, the group's time, the
//! session, the principal. The envelope is the payload of a log entry, encoded by [`crate::codec`]; its encoding is
//! part of the log's format and can only grow (a new version byte), never change. A node that meets a committed
//! envelope it cannot decode stops; it never skips one, or its state would differ from the others'.
//!
//! A [`Query`] reads and is never logged. A [`Forward`] is what a follower passes on to the leader.

mod keyed;
mod txn;

use bytes::Bytes;

pub use keyed::{IDEMPOTENCY_KEY_BYTES_MAX, Keyed};
pub use txn::{
    Bounds, Compare, Content, DuplicateKey, Keys, Order, OrderBy, Range, Relation, Selection,
    TXN_ANSWER_BYTES_MAX, TXN_DEPTH_MAX, TXN_KEYS_MAX, TXN_PARTS_MAX, TXN_WRITTEN_BYTES_MAX, Target, Txn,
    TxnAnswer, TxnAnswers, TxnOp, TxnRefusal,
};

use crate::error::{ErrorKind, Outcome};
use crate::types::{ClientId, Index, Keyspace, Revision, Seq, Term};

/// A command on its way through the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The term of the leader that proposed it. A leader-made command (see [`Command::is_leader_made`]) is void when
    /// the entry's term is another one.
    pub term: Term,
    /// Group time in milliseconds since the Unix epoch, as the proposing leader reckons it. Group time is the
    /// maximum over all applied envelopes, so it never goes back.
    pub group_time_ms: u64,
    /// The session the command belongs to, if any.
    pub session: Option<SessionSeq>,
    /// The authenticated caller, empty until there is authentication.
    pub principal: String,
    /// What to do.
    pub command: Command,
}

/// The place of a command in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSeq {
    /// The session.
    pub client: ClientId,
    /// The command's number: a command is applied once however often its number arrives.
    pub seq: Seq,
    /// All replies below this number have reached the client: they are forgotten.
    pub done_below: Seq,
}

/// What a log entry asks of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A write transaction: if all conditions hold, all operations take effect at one revision.
    Write(Write),
    /// Opens the session `client`.
    OpenSession {
        /// The session's random id.
        client: ClientId,
    },
    /// Closes the session `client` and forgets its replies.
    CloseSession {
        /// The session's id.
        client: ClientId,
    },
    /// Makes every node report its state hash at this entry's index. Made by the leader.
    HashMark,
    /// A transaction that chooses what it does. (What [`Command::Write`] can say is said so: it is shorter.)
    Txn(Txn),
    /// A write that takes effect once, however often it arrives.
    Keyed(Keyed),
}

impl From<Write> for Command {
    fn from(write: Write) -> Command {
        Command::Write(write)
    }
}

impl From<Txn> for Command {
    fn from(txn: Txn) -> Command {
        Command::Txn(txn)
    }
}

impl From<Keyed> for Command {
    fn from(keyed: Keyed) -> Command {
        Command::Keyed(keyed)
    }
}

impl Command {
    /// The bytes of its keys and values: what it costs in a queue.
    pub fn bytes(&self) -> usize {
        match self {
            Command::Write(write) => write.bytes(),
            Command::Txn(txn) => txn.bytes(),
            Command::Keyed(Keyed { key, write }) => key.len() + write.bytes(),
            Command::OpenSession { .. } | Command::CloseSession { .. } | Command::HashMark => 0,
        }
    }

    /// Whether only the leader makes such a command: then it is void if its term is not the entry's.
    pub fn is_leader_made(&self) -> bool {
        matches!(self, Command::HashMark)
    }
}

/// A write transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The keyspace of all keys in it.
    pub keyspace: Keyspace,
    /// All must hold, judged before the first operation.
    pub conditions: Vec<Condition>,
    /// Executed in order, all at the same revision.
    pub ops: Vec<Op>,
}

impl Write {
    /// The bytes of its keys and values.
    pub fn bytes(&self) -> usize {
        let conditions = self.conditions.iter().map(|Condition::ModRevision { key, .. }| key.len());
        let ops = self.ops.iter().map(|op| match op {
            Op::Put { key, value } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
        });
        conditions.chain(ops).sum()
    }
}

/// What must hold for a write to take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key's mod_revision is this; 0 means that the key is absent.
    ModRevision {
        /// The key.
        key: Bytes,
        /// Its expected mod_revision.
        revision: Revision,
    },
}

/// One operation of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key; removing an absent one changes nothing.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// What a read asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// One key.
    Get {
        /// Its keyspace.
        keyspace: Keyspace,
        /// The key.
        key: Bytes,
    },
    /// Keys in order.
    List {
        /// Their keyspace.
        keyspace: Keyspace,
        /// Which.
        keys: Keys,
        /// Only those greater than this one.
        after: Option<Bytes>,
        /// Without their values.
        keys_only: bool,
        /// At most so many pairs.
        limit: usize,
        /// Stop after the pair with which what is answered reaches so many bytes.
        bytes_max: usize,
    },
    /// Keys in any order, counted.
    Range {
        /// Their keyspace.
        keyspace: Keyspace,
        /// Which, and how.
        range: Range,
        /// Refuse to answer with more keys and values than this, in bytes.
        bytes_max: usize,
    },
    /// A transaction that only reads; see [`Txn::is_read_only`].
    Txn {
        /// The transaction.
        txn: Txn,
        /// Refuse to answer with more keys and values than this, in bytes.
        bytes_max: usize,
    },
}

/// A key's value and versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The revision at which the key came into being.
    pub create_revision: Revision,
    /// The revision of its last change.
    pub mod_revision: Revision,
    /// How often it was written since it came into being; 1 at first.
    pub version: u64,
    /// The lease it is attached to; 0 means none.
    pub lease: u64,
    /// The value.
    pub value: Bytes,
}

/// What a query found, and at which state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The store's revision that the answer shows.
    pub revision: Revision,
    /// The last applied index that the answer shows.
    pub applied: Index,
    /// What was found.
    pub found: Found,
}

/// The body of an [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Answer to [`Query::Get`].
    Record(Option<Record>),
    /// Answer to [`Query::List`].
    Page {
        /// Keys with their records, in key order.
        pairs: Vec<(Bytes, Record)>,
        /// Whether further keys follow.
        more: bool,
    },
    /// Answer to [`Query::Range`].
    Selection(Selection),
    /// Answer to [`Query::Txn`].
    Txn(TxnAnswers),
    /// Answer to [`Query::Range`] and [`Query::Txn`]: it would be larger than `bytes_max`.
    TooLarge,
}

/// What a command answered. Deterministic: every node computes the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The write took effect (or changed nothing, if it only deleted absent keys).
    Written {
        /// The store's revision after it.
        revision: Revision,
        /// How many keys its deletes removed.
        deleted: u64,
    },
    /// A condition did not hold: nothing was written.
    ConditionFailed {
        /// The store's revision.
        revision: Revision,
    },
    /// The session was opened, or had been already.
    SessionOpened,
    /// The session was closed, or was not there.
    SessionClosed,
    /// The session is not held; the write was not executed.
    SessionGone,
    /// The session refused the command: it was not executed now.
    SessionRefused {
        /// Why.
        why: SessionRefusal,
    },
    /// The entry was void: a leader-made command of another term, or a no-op.
    Void,
    /// The state hash at this entry.
    Hash(u128),
    /// The transaction was executed.
    Txn {
        /// The store's revision after it.
        revision: Revision,
        /// What it answered.
        answers: TxnAnswers,
    },
    /// The transaction was not executed.
    TxnRefused {
        /// Why.
        why: TxnRefusal,
    },
    /// The idempotency key came with another write before; this one was not executed.
    KeyMismatch,
    /// The idempotency key was used before, and what was answered then is no longer kept; nothing was executed now.
    KeySpent,
}

impl Reply {
    /// The keys and values in it, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Reply::Txn { answers, .. } => answers.bytes(),
            _ => 0,
        }
    }
}

/// Why a session refuses a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRefusal {
    /// The numbers make no sense: a seq of 0, or one that is said to be done.
    Malformed,
    /// The seq lies below the window: it was executed, or passed over, and its reply is forgotten.
    BelowWindow,
    /// It lies so far ahead that it must wait until `done_below` moves.
    BeyondWindow,
    /// So many bytes of replies are kept that it must wait until `done_below` moves.
    RepliesFull,
    /// The seq came with another command before.
    AnotherCommand,
}

impl SessionRefusal {
    /// For the caller: what is wrong, and what to do.
    pub fn text(self) -> &'static str {
        match self {
            SessionRefusal::Malformed => {
                "seq is 1 or more, and done_below is not above it: a write that is sent is not done"
            }
            SessionRefusal::BelowWindow => {
                "seq is below done_below as it was said before: it is done, and its reply is no longer kept"
            }
            SessionRefusal::BeyondWindow => {
                "seq is too far beyond done_below: wait for replies, and say with done_below which have been received"
            }
            SessionRefusal::RepliesFull => {
                "too many bytes of replies are kept: say with done_below which have been received"
            }
            SessionRefusal::AnotherCommand => "seq came with another command before: take a new one for each",
        }
    }
}

/// What a follower passes on to the leader, and never retries once its outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The sender's belief of the leader's term is not part of it: the receiver proposes if it leads, else refuses.
    pub session: Option<SessionSeq>,
    /// The command.
    pub command: Command,
}

/// The leader's answer to a [`Forward`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// Committed and applied at the leader.
    Done {
        /// The reply.
        reply: Reply,
    },
    /// Not done, or unknown.
    Failed {
        /// What the caller can do.
        kind: ErrorKind,
        /// What became of the write.
        outcome: Outcome,
        /// What happened.
        message: String,
    },
    /// The receiver does not lead: certainly not executed, may be sent to another node.
    NotLeader,
}
