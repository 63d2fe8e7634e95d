//! The core's messages to and from their protobuf form.
//!
//! Encoding moves: payloads are shared, never copied. Decoding copies small payloads out of the received buffer, since
//! a value that stays in memory for long (in a write set, say) must not keep a frame of other values alive with it; a
//! payload that is most of its buffer is shared. Decoding trusts nothing: each rule that the core's types state
//! (addresses, contiguous entries, terms that do not fall, payloads that match their checksum) is checked here, and a
//! message that breaks one is an error, never a panic. A checksum is compared with what the leader made, never made
//! anew: damage on the way must not be blessed.

use std::fmt;

use bytes::Bytes;

use crate::raft::{
    Append, AppendReply, AppendResult, Entry, EntryKind, Envelope, Message, ReadRequest, Room, Round,
    SessionId, Snapshot,
};
use crate::types::{Incarnation, Index, NodeId, Term};

use super::proto;
use super::proto::append_reply::Result as ProtoResult;
use super::proto::envelope::Message as Proto;

/// Why a message was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reject {
    /// Not the protobuf message it should be.
    Malformed,
    /// A kind of message, entry or result that this version does not know, or none.
    UnknownKind(&'static str),
    /// A field that must be there is not, or has a value it cannot have.
    Field(&'static str),
    /// Its sender or addressee is not what the handshake said.
    Address { from: u64, to: u64 },
    /// An entry does not follow the one before it.
    Gap { index: u64 },
    /// An entry's payload is not what its leader made.
    Checksum { index: u64 },
    /// A message that does not belong on this lane.
    Lane,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reject::Malformed => write!(f, "not a peer message"),
            Reject::UnknownKind(what) => write!(f, "unknown kind of {what}"),
            Reject::Field(name) => write!(f, "field `{name}` is missing or out of range"),
            Reject::Address { from, to } => write!(f, "claims to go from node {from} to node {to}"),
            Reject::Gap { index } => write!(f, "entry {index} does not follow the entry before it"),
            Reject::Checksum { index } => {
                write!(f, "the payload of entry {index} does not match its checksum")
            }
            Reject::Lane => write!(f, "does not belong on this lane"),
        }
    }
}

/// Whether the message travels on the control lane. Everything that may carry a payload goes by the bulk lane, so
/// that a large value never delays a heartbeat; appends without entries too, so that appends keep their order.
pub(super) fn is_control(message: &Message) -> bool {
    !matches!(message, Message::Append(_) | Message::RepairReply { .. })
}

/// Whether the message travels on a lane at all. A snapshot's does not: it must not be taken in without the state.
pub(super) fn is_on_lane(message: &Message) -> bool {
    !matches!(message, Message::Snapshot(_))
}

/// The protobuf form of a message.
pub(super) fn encode(envelope: Envelope) -> proto::Envelope {
    let message = match envelope.message {
        Message::PreVote { next_term, last_index, last_term } => Proto::PreVote(proto::PreVote {
            next_term: next_term.0,
            last_index: last_index.0,
            last_term: last_term.0,
        }),
        Message::PreVoteReply { next_term, granted } => {
            Proto::PreVoteReply(proto::PreVoteReply { next_term: next_term.0, granted })
        }
        Message::Vote { last_index, last_term, transfer } => {
            Proto::Vote(proto::Vote { last_index: last_index.0, last_term: last_term.0, transfer })
        }
        Message::VoteReply { granted } => Proto::VoteReply(proto::VoteReply { granted }),
        Message::Append(append) => Proto::Append(encode_append(append)),
        Message::AppendReply(reply) => Proto::AppendReply(encode_append_reply(&reply)),
        Message::Snapshot(snapshot) => Proto::Snapshot(encode_snapshot(snapshot)),
        Message::Heartbeat { session, commit, round, stored_by_all } => Proto::Heartbeat(proto::Heartbeat {
            session: session.0,
            commit: commit.0,
            round: round.0,
            stored_by_all: stored_by_all.0,
        }),
        Message::HeartbeatReply { session, round, needs_snapshot, room } => {
            Proto::HeartbeatReply(proto::HeartbeatReply {
                session: session.0,
                round: round.0,
                needs_snapshot: needs_snapshot.map(|index| index.0),
                room: room.code(),
            })
        }
        Message::Repair { index, term, crc, is_needed } => {
            Proto::Repair(proto::Repair { index: index.0, term: term.0, crc, is_needed })
        }
        Message::RepairReply { index, term, entry } => Proto::RepairReply(proto::RepairReply {
            index: index.0,
            term: term.0,
            entry: entry.map(encode_entry),
        }),
        Message::EndQuery { boot, last_index, last_term } => {
            Proto::EndQuery(proto::EndQuery { boot, last_index: last_index.0, last_term: last_term.0 })
        }
        Message::EndReply { boot, index } => Proto::EndReply(proto::EndReply { boot, index: index.0 }),
        Message::TimeoutNow => Proto::TimeoutNow(proto::TimeoutNow {}),
        Message::ReadIndex { request } => {
            Proto::ReadIndex(proto::ReadIndex { request: Some(encode_request(request)) })
        }
        Message::ReadIndexReply { request, index } => Proto::ReadIndexReply(proto::ReadIndexReply {
            request: Some(encode_request(request)),
            index: index.map(|index| index.0),
        }),
    };
    proto::Envelope {
        from: envelope.from.0,
        to: envelope.to.0,
        term: envelope.term.0,
        message: Some(message),
    }
}

fn encode_entry(entry: Entry) -> proto::Entry {
    proto::Entry {
        index: entry.index.0,
        term: entry.term.0,
        kind: u32::from(entry.kind.code()),
        payload: entry.payload,
        crc: entry.crc,
    }
}

fn encode_append(append: Append) -> proto::Append {
    proto::Append {
        session: append.session.0,
        inflight: append.inflight,
        prev_index: append.prev_index.0,
        prev_term: append.prev_term.0,
        entries: append.entries.into_iter().map(encode_entry).collect(),
        commit: append.commit.0,
        round: append.round.0,
    }
}

fn encode_append_reply(reply: &AppendReply) -> proto::AppendReply {
    let result = match reply.result {
        AppendResult::Matched { index } => ProtoResult::Matched(proto::Matched { index: index.0 }),
        AppendResult::Rejected { prev_index, hint_index, hint_term } => {
            ProtoResult::Rejected(proto::Rejected {
                prev_index: prev_index.0,
                hint_index: hint_index.0,
                hint_term: hint_term.0,
            })
        }
    };
    proto::AppendReply {
        session: reply.session.0,
        inflight: reply.inflight,
        round: reply.round.0,
        result: Some(result),
        room: reply.room.code(),
    }
}

fn encode_snapshot(snapshot: Snapshot) -> proto::Snapshot {
    proto::Snapshot {
        session: snapshot.session.0,
        inflight: snapshot.inflight,
        round: snapshot.round.0,
        index: snapshot.index.0,
        term: snapshot.term.0,
        membership: snapshot.membership,
    }
}

fn encode_request(request: ReadRequest) -> proto::ReadRequest {
    proto::ReadRequest { incarnation: request.incarnation.0, boot: request.boot, counter: request.counter }
}

/// The message, if it comes from `from`, is for `to` and keeps all rules. `received_bytes` is the size of the buffer
/// that its payloads are slices of.
pub(super) fn decode(
    envelope: proto::Envelope,
    from: NodeId,
    to: NodeId,
    received_bytes: usize,
) -> Result<Envelope, Reject> {
    if envelope.from != from.0 || envelope.to != to.0 {
        return Err(Reject::Address { from: envelope.from, to: envelope.to });
    }
    let term = Term(envelope.term);
    let message = match envelope.message.ok_or(Reject::UnknownKind("message"))? {
        Proto::PreVote(m) => Message::PreVote {
            next_term: Term(m.next_term),
            last_index: Index(m.last_index),
            last_term: Term(m.last_term),
        },
        Proto::PreVoteReply(m) => Message::PreVoteReply { next_term: Term(m.next_term), granted: m.granted },
        Proto::Vote(m) => Message::Vote {
            last_index: Index(m.last_index),
            last_term: Term(m.last_term),
            transfer: m.transfer,
        },
        Proto::VoteReply(m) => Message::VoteReply { granted: m.granted },
        Proto::Append(m) => Message::Append(decode_append(m, term, received_bytes)?),
        Proto::AppendReply(m) => Message::AppendReply(decode_append_reply(m)?),
        Proto::Snapshot(m) => Message::Snapshot(decode_snapshot(m, term, received_bytes)?),
        Proto::Heartbeat(m) => Message::Heartbeat {
            session: SessionId(m.session),
            commit: Index(m.commit),
            round: Round(m.round),
            stored_by_all: Index(m.stored_by_all),
        },
        Proto::HeartbeatReply(m) => Message::HeartbeatReply {
            session: SessionId(m.session),
            round: Round(m.round),
            needs_snapshot: m.needs_snapshot.map(Index),
            room: decode_room(m.room)?,
        },
        Proto::Repair(m) => {
            let (index, term) = decode_place(m.index, m.term)?;
            Message::Repair { index, term, crc: m.crc, is_needed: m.is_needed }
        }
        Proto::RepairReply(m) => decode_repair_reply(m, received_bytes)?,
        Proto::EndQuery(m) => {
            Message::EndQuery { boot: m.boot, last_index: Index(m.last_index), last_term: Term(m.last_term) }
        }
        Proto::EndReply(m) => Message::EndReply { boot: m.boot, index: Index(m.index) },
        Proto::TimeoutNow(_) => Message::TimeoutNow,
        Proto::ReadIndex(m) => Message::ReadIndex { request: decode_request(m.request)? },
        Proto::ReadIndexReply(m) => {
            Message::ReadIndexReply { request: decode_request(m.request)?, index: m.index.map(Index) }
        }
    };
    Ok(Envelope { from, to, term, message })
}

fn decode_append(append: proto::Append, term: Term, received_bytes: usize) -> Result<Append, Reject> {
    let mut previous = (append.prev_index, append.prev_term);
    let mut entries = Vec::with_capacity(append.entries.len());
    for entry in append.entries {
        let follows = previous.0.checked_add(1) == Some(entry.index);
        if !follows || entry.term < previous.1 || entry.term > term.0 {
            return Err(Reject::Gap { index: entry.index });
        }
        previous = (entry.index, entry.term);
        entries.push(decode_entry(entry, received_bytes)?);
    }
    Ok(Append {
        session: SessionId(append.session),
        inflight: append.inflight,
        prev_index: Index(append.prev_index),
        prev_term: Term(append.prev_term),
        entries,
        commit: Index(append.commit),
        round: Round(append.round),
    })
}

fn decode_entry(entry: proto::Entry, received_bytes: usize) -> Result<Entry, Reject> {
    let kind = u8::try_from(entry.kind).ok().and_then(EntryKind::from_code);
    let kind = kind.ok_or(Reject::UnknownKind("entry"))?;
    if kind == EntryKind::Noop && !entry.payload.is_empty() {
        return Err(Reject::Field("payload"));
    }
    let index = Index(entry.index);
    let payload = detach(entry.payload, received_bytes);
    let entry = Entry { index, term: Term(entry.term), kind, payload, crc: entry.crc };
    if !entry.is_intact() {
        return Err(Reject::Checksum { index: index.0 });
    }
    Ok(entry)
}

/// The payload, as something that keeps at most twice its own size alive.
pub(super) fn detach(payload: Bytes, received_bytes: usize) -> Bytes {
    if payload.len() < received_bytes / 2 { Bytes::copy_from_slice(&payload) } else { payload }
}

fn decode_append_reply(reply: proto::AppendReply) -> Result<AppendReply, Reject> {
    let result = match reply.result.ok_or(Reject::UnknownKind("append result"))? {
        ProtoResult::Matched(m) => AppendResult::Matched { index: Index(m.index) },
        ProtoResult::Rejected(m) => AppendResult::Rejected {
            prev_index: Index(m.prev_index),
            hint_index: Index(m.hint_index),
            hint_term: Term(m.hint_term),
        },
    };
    Ok(AppendReply {
        session: SessionId(reply.session),
        inflight: reply.inflight,
        round: Round(reply.round),
        result,
        room: decode_room(reply.room)?,
    })
}

fn decode_room(code: u32) -> Result<Room, Reject> {
    Room::from_code(code).ok_or(Reject::Field("room"))
}

/// The place of an entry that is damaged.
fn decode_place(index: u64, term: u64) -> Result<(Index, Term), Reject> {
    match (index, term) {
        (0, _) => Err(Reject::Field("index")),
        (_, 0) => Err(Reject::Field("term")),
        _ => Ok((Index(index), Term(term))),
    }
}

fn decode_repair_reply(reply: proto::RepairReply, received_bytes: usize) -> Result<Message, Reject> {
    let (index, term) = decode_place(reply.index, reply.term)?;
    let entry = reply.entry.map(|entry| decode_entry(entry, received_bytes)).transpose()?;
    if let Some(entry) = entry.as_ref().filter(|entry| (entry.index, entry.term) != (index, term)) {
        return Err(Reject::Gap { index: entry.index.0 });
    }
    Ok(Message::RepairReply { index, term, entry })
}

/// Whether the configuration can be decoded, the core looks.
fn decode_snapshot(snapshot: proto::Snapshot, term: Term, received_bytes: usize) -> Result<Snapshot, Reject> {
    if snapshot.index == 0 {
        return Err(Reject::Field("index"));
    }
    if snapshot.term == 0 || snapshot.term > term.0 {
        return Err(Reject::Field("term"));
    }
    Ok(Snapshot {
        session: SessionId(snapshot.session),
        inflight: snapshot.inflight,
        round: Round(snapshot.round),
        index: Index(snapshot.index),
        term: Term(snapshot.term),
        membership: detach(snapshot.membership, received_bytes),
    })
}

fn decode_request(request: Option<proto::ReadRequest>) -> Result<ReadRequest, Reject> {
    let request = request.ok_or(Reject::Field("request"))?;
    Ok(ReadRequest {
        incarnation: Incarnation(request.incarnation),
        boot: request.boot,
        counter: request.counter,
    })
}
