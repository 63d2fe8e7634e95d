//! Client sessions: a write that carries a session and a number takes effect once, however often it arrives (H24).
//!
//! A session is opened by a logged command under an id the client drew at random, and only so: a write that names a
//! session not held is refused, or a session that was evicted would forget what it had done. For each session the
//! replies of a *window* of numbers are kept, since a client pipelines its calls and they may be applied out of order:
//!
//! ```text
//!      forgotten           window: session_inflight_max numbers          not yet
//! 1 ............... done_below .................................. + max ...........
//!      refused             applied once, or its first reply again        refused
//! ```
//!
//! `done_below` is the client's: all replies below it have reached it. It only moves forward. A number that comes
//! again with another command is a client's error and refused, whatever that command is. Replies may be as large as what a
//! transaction reads: while those that are kept have [`REPLY_BYTES_MAX`], a new number is refused until `done_below` moves.
//!
//! A session goes when a logged command says so: its own close, or the opening of another when `sessions_max` are
//! held, which evicts the one whose last use lies furthest back. (To refuse the opening instead would let abandoned
//! sessions lock every new client out for good; an evicted client learns it by `SessionGone` and opens another.) So it goes, too,
//! where a reply makes those of all sessions cost more than `session_replies_bytes_max`: they live in memory. Use
//! is any command that names a session held, be it refused. Indexes tell the order of use, and no two are equal.
//!
//! The table lives in memory whole, in the tables `sessions` and `replies` durably. What a batch does to it is gathered in
//! [`Changes`] and goes into the write set at the batch's end: a session's row once, however many commands named it; and a
//! reply that is forgotten before any fold has seen it leaves no trace, as almost all do. Not so where the session is younger
//! than the set: there may have been one of its id before, whose replies the same set deletes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Error;
use super::schema::{self, ReplyRow, SessionRow, Table};
use super::write_set::WriteSet;
use crate::command::{Reply, SessionRefusal, SessionSeq, TXN_ANSWER_BYTES_MAX};
use crate::types::{ClientId, Index, Seq};

/// What a batch does to the rows of sessions and replies.
#[derive(Debug, Default)]
pub(super) struct Changes {
    sessions: BTreeSet<ClientId>,
    /// In the order in which it was done.
    replies: Vec<(ClientId, Seq, OfReply)>,
}

#[derive(Debug)]
enum OfReply {
    Kept(Bytes),
    Forgotten {
        /// The entry that it answered.
        at: Index,
        /// The entry that opened its session.
        opened: Index,
    },
}

/// The sessions held.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    held: BTreeMap<ClientId, Session>,
    /// The same sessions by their last use.
    by_use: BTreeSet<(Index, ClientId)>,
    /// What the replies of all of them cost.
    bytes: usize,
}

#[derive(Debug)]
struct Session {
    row: SessionRow,
    /// The entry that opened it; 0 if it was found in the file.
    opened: Index,
    replies: BTreeMap<Seq, Kept>,
    /// What all of them cost.
    bytes: usize,
}

/// A reply, and what it costs.
#[derive(Debug)]
struct Kept {
    row: ReplyRow,
    bytes: usize,
    /// The entry that it answers; 0 if it was found in the file.
    at: Index,
}

/// What a reply costs in memory beyond its row.
const REPLY_OVERHEAD_BYTES: usize = 128;

/// What the replies of one session may cost; one more may exceed it. Part of what applying means, so no setting.
const REPLY_BYTES_MAX: usize = 2 * TXN_ANSWER_BYTES_MAX;

/// What becomes of a command that names a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is new: execute it and [`Sessions::record`] its reply.
    Execute,
    /// It is not executed, and this is the reply: the first one again, or a refusal.
    Answer(Reply),
}

impl Sessions {
    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Opens a session, or finds it open.
    pub(super) fn open(
        &mut self,
        client: ClientId,
        index: Index,
        sessions_max: usize,
        changes: &mut Changes,
    ) -> Reply {
        if self.touch(client, index, changes) {
            return Reply::SessionOpened;
        }
        while self.held.len() >= sessions_max {
            let Some(&(_, oldest)) = self.by_use.first() else { break };
            self.remove(oldest, changes);
        }
        changes.sessions.insert(client);
        self.hold(client, SessionRow { last_used: index, done_below: Seq(1) }, index);
        Reply::SessionOpened
    }

    /// Closes a session and forgets its replies.
    pub(super) fn close(&mut self, client: ClientId, changes: &mut Changes) -> Reply {
        self.remove(client, changes);
        Reply::SessionClosed
    }

    /// Judges a command before it is executed, and moves the session's window.
    pub(super) fn admit(
        &mut self,
        at: SessionSeq,
        digest: u128,
        index: Index,
        session_inflight_max: usize,
        changes: &mut Changes,
    ) -> Admission {
        let SessionSeq { client, seq, done_below } = at;
        if !self.touch(client, index, changes) {
            return Admission::Answer(Reply::SessionGone);
        }
        let session = self.held.get_mut(&client).expect("a session that was just touched is held");
        if seq.0 == 0 || done_below > seq {
            return refused(SessionRefusal::Malformed);
        }
        self.bytes -= session.forget_below(client, done_below, changes);
        let begins = session.row.done_below;
        if seq < begins {
            return refused(SessionRefusal::BelowWindow);
        }
        if seq.0 - begins.0 >= session_inflight_max as u64 {
            return refused(SessionRefusal::BeyondWindow);
        }
        match session.replies.get(&seq) {
            None if session.bytes >= REPLY_BYTES_MAX => refused(SessionRefusal::RepliesFull),
            None => Admission::Execute,
            Some(Kept { row, .. }) if row.digest == digest => Admission::Answer(row.reply.clone()),
            Some(_) => refused(SessionRefusal::AnotherCommand),
        }
    }

    /// Keeps the reply of a command that [`Sessions::admit`] let through.
    pub(super) fn record(
        &mut self,
        at: SessionSeq,
        digest: u128,
        reply: Reply,
        replies_bytes_max: usize,
        changes: &mut Changes,
    ) {
        let session = self.held.get_mut(&at.client).expect("a session that admitted a command is held");
        let row = ReplyRow { digest, reply };
        let encoded = row.encode();
        let bytes = encoded.len() + REPLY_OVERHEAD_BYTES;
        // Its session was last used by this very command.
        let before = session.keep(at.seq, Kept { row, bytes, at: session.row.last_used });
        assert!(before.is_none(), "seq {} of session {} was executed twice", at.seq, at.client);
        self.bytes += bytes;
        changes.replies.push((at.client, at.seq, OfReply::Kept(encoded)));
        while self.bytes > replies_bytes_max {
            // This one was used last of all.
            let Some(&(_, oldest)) = self.by_use.first().filter(|(_, client)| *client != at.client) else {
                break;
            };
            self.remove(oldest, changes);
        }
    }

    /// Closes all sessions.
    pub(super) fn clear(&mut self, changes: &mut Changes) {
        while let Some(&(_, client)) = self.by_use.first() {
            self.remove(client, changes);
        }
    }

    /// Takes over a row of the file.
    pub(super) fn load_session(&mut self, client: ClientId, row: SessionRow) {
        self.hold(client, row, Index(0));
    }

    fn hold(&mut self, client: ClientId, row: SessionRow, opened: Index) {
        self.by_use.insert((row.last_used, client));
        self.held.insert(client, Session { row, opened, replies: BTreeMap::new(), bytes: 0 });
    }

    /// Takes over a row of the file; its session's row must have been.
    pub(super) fn load_reply(&mut self, client: ClientId, seq: Seq, row: ReplyRow) -> Result<(), Error> {
        let session = self.held.get_mut(&client);
        let session = session.ok_or_else(|| schema::broken("reply", "its session is not there"))?;
        // A forgotten reply whose row stayed would be a leak: every fold takes the rows with it.
        if seq < session.row.done_below {
            return Err(schema::broken("reply", "it lies below its session's window"));
        }
        let bytes = row.encode().len() + REPLY_OVERHEAD_BYTES;
        session.keep(seq, Kept { row, bytes, at: Index(0) });
        self.bytes += bytes;
        Ok(())
    }

    /// Notes a use. Says whether the session is held.
    fn touch(&mut self, client: ClientId, index: Index, changes: &mut Changes) -> bool {
        let Some(session) = self.held.get_mut(&client) else { return false };
        self.by_use.remove(&(session.row.last_used, client));
        self.by_use.insert((index, client));
        session.row.last_used = index;
        changes.sessions.insert(client);
        true
    }

    fn remove(&mut self, client: ClientId, changes: &mut Changes) {
        let Some(session) = self.held.remove(&client) else { return };
        self.by_use.remove(&(session.row.last_used, client));
        self.bytes -= session.bytes;
        changes.sessions.insert(client);
        for (&seq, kept) in &session.replies {
            changes.replies.push((client, seq, OfReply::Forgotten { at: kept.at, opened: session.opened }));
        }
    }

    /// Writes the changes into the active set, which has nothing of the entries up to `set_aside`.
    pub(super) fn write(&self, changes: Changes, set_aside: Index, active: &mut WriteSet) {
        for client in changes.sessions {
            let row = self.held.get(&client).map(|session| session.row.encode());
            active.insert(Table::Sessions, schema::session_key(client), row);
        }
        for (client, seq, change) in changes.replies {
            let key = schema::reply_key(client, seq);
            match change {
                OfReply::Kept(row) => active.insert(Table::Replies, key, Some(row)),
                // Its row is in this set and nowhere else, and this set deletes none that an earlier session of its id left.
                OfReply::Forgotten { at, opened } if at > set_aside && opened <= set_aside => {
                    active.remove(Table::Replies, &key);
                }
                OfReply::Forgotten { .. } => active.insert(Table::Replies, key, None),
            }
        }
    }
}

impl Session {
    fn keep(&mut self, seq: Seq, kept: Kept) -> Option<Kept> {
        self.bytes += kept.bytes;
        self.replies.insert(seq, kept)
    }

    /// Moves the window's begin forward. Returns what that frees.
    fn forget_below(&mut self, client: ClientId, done_below: Seq, changes: &mut Changes) -> usize {
        if done_below <= self.row.done_below {
            return 0;
        }
        let before = self.bytes;
        self.row.done_below = done_below;
        changes.sessions.insert(client);
        while let Some(first) = self.replies.first_entry().filter(|first| *first.key() < done_below) {
            let (seq, Kept { bytes, at, .. }) = first.remove_entry();
            self.bytes -= bytes;
            changes.replies.push((client, seq, OfReply::Forgotten { at, opened: self.opened }));
        }
        before - self.bytes
    }
}

fn refused(why: SessionRefusal) -> Admission {
    Admission::Answer(Reply::SessionRefused { why })
}
