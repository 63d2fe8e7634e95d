//! Messages, entries and writes in the words of the scripts.

use super::script::members;
use crate::raft::{
    Append, AppendResult, Entry, EntryKind, Envelope, Install, Membership, Message, Room, Snapshot, Write,
};

/// The names of the messages.
pub(super) const KINDS: [&str; 16] = [
    "PreVote",
    "PreVoteReply",
    "Vote",
    "VoteReply",
    "Append",
    "AppendReply",
    "Heartbeat",
    "HeartbeatReply",
    "ReadIndex",
    "ReadIndexReply",
    "Snapshot",
    "TimeoutNow",
    "Repair",
    "RepairReply",
    "EndQuery",
    "EndReply",
];

pub(super) fn kind(message: &Message) -> &'static str {
    match message {
        Message::PreVote { .. } => KINDS[0],
        Message::PreVoteReply { .. } => KINDS[1],
        Message::Vote { .. } => KINDS[2],
        Message::VoteReply { .. } => KINDS[3],
        Message::Append(_) => KINDS[4],
        Message::AppendReply(_) => KINDS[5],
        Message::Heartbeat { .. } => KINDS[6],
        Message::HeartbeatReply { .. } => KINDS[7],
        Message::ReadIndex { .. } => KINDS[8],
        Message::ReadIndexReply { .. } => KINDS[9],
        Message::Snapshot(_) => KINDS[10],
        Message::TimeoutNow => KINDS[11],
        Message::Repair { .. } => KINDS[12],
        Message::RepairReply { .. } => KINDS[13],
        Message::EndQuery { .. } => KINDS[14],
        Message::EndReply { .. } => KINDS[15],
    }
}

/// `index@term payload`.
pub(super) fn describe_entry(entry: &Entry) -> String {
    let payload = match entry.kind {
        EntryKind::Noop => "noop".to_owned(),
        EntryKind::Command => String::from_utf8_lossy(&entry.payload).into_owned(),
        EntryKind::Membership => Membership::decode(&entry.payload)
            .map_or_else(|error| error.to_string(), |membership| members::describe(&membership)),
    };
    format!("{}@{}:{payload}", entry.index, entry.term)
}

fn describe_entries(entries: &[Entry]) -> String {
    let entries: Vec<String> = entries.iter().map(describe_entry).collect();
    format!("[{}]", entries.join(" "))
}

pub(super) fn describe_envelope(envelope: &Envelope) -> String {
    let body = match &envelope.message {
        Message::PreVote { next_term, last_index, last_term } => {
            format!("for term {next_term}, log {last_index}@{last_term}")
        }
        Message::PreVoteReply { next_term, granted } => format!("for term {next_term}: {}", yes(*granted)),
        Message::Vote { last_index, last_term, transfer } => {
            format!("log {last_index}@{last_term}{}", if *transfer { " transfer" } else { "" })
        }
        Message::VoteReply { granted } => yes(*granted).to_owned(),
        Message::Append(Append { inflight, prev_index, prev_term, entries, commit, round, .. }) => {
            let entries = describe_entries(entries);
            format!("#{inflight} after {prev_index}@{prev_term} {entries} commit {commit} round {}", round.0)
        }
        Message::AppendReply(reply) => match reply.result {
            AppendResult::Matched { index } => {
                let room = describe_room(reply.room);
                format!("#{} matched {index} round {}{room}", reply.inflight, reply.round.0)
            }
            AppendResult::Rejected { prev_index, hint_index, hint_term } => {
                let room = describe_room(reply.room);
                format!("#{} rejected {prev_index}, hint {hint_index}@{hint_term}{room}", reply.inflight)
            }
        },
        Message::Snapshot(Snapshot { inflight, index, term, round, .. }) => {
            format!("#{inflight} at {index}@{term} round {}", round.0)
        }
        Message::Heartbeat { commit, round, .. } => format!("commit {commit} round {}", round.0),
        Message::HeartbeatReply { round, needs_snapshot, room, .. } => {
            let asks = needs_snapshot.map(|index| format!(", needs a snapshot at {index} or beyond"));
            format!("round {}{}{}", round.0, describe_room(*room), asks.unwrap_or_default())
        }
        Message::TimeoutNow => String::new(),
        Message::Repair { index, term, crc, is_needed } => {
            let crc = if crc.is_some() { "" } else { ", checksum unknown" };
            format!("{index}@{term}{crc}{}", if *is_needed { ", needed" } else { "" })
        }
        Message::RepairReply { index, term, entry } => match entry {
            Some(entry) => describe_entry(entry),
            None => format!("{index}@{term} not here"),
        },
        Message::EndQuery { boot, last_index, last_term } => {
            format!("boot {boot} log {last_index}@{last_term}")
        }
        Message::EndReply { boot, index } => format!("boot {boot} end {index}"),
        Message::ReadIndex { request } => format!("boot {} request {}", request.boot, request.counter),
        Message::ReadIndexReply { request, index } => match index {
            Some(index) => format!("boot {} request {} at {index}", request.boot, request.counter),
            None => format!("boot {} request {} refused", request.boot, request.counter),
        },
    };
    format!("{}->{} t{} {} {body}", envelope.from, envelope.to, envelope.term, kind(&envelope.message))
        .trim_end()
        .to_owned()
}

fn describe_room(room: Room) -> String {
    room.lack().map_or_else(String::new, |lack| format!(" {} {lack:?}", room.name()))
}

fn yes(granted: bool) -> &'static str {
    if granted { "granted" } else { "refused" }
}

pub(super) fn describe_write(write: &Write) -> String {
    let mut parts = vec![format!("writes #{}", write.seq.0)];
    if let Some(hard_state) = &write.hard_state {
        let vote = hard_state.vote.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let doubt = if hard_state.in_doubt { " in doubt" } else { "" };
        parts.push(format!("term {} vote {vote}{doubt}", hard_state.term));
    }
    if let Some(Install { index, term, .. }) = &write.install {
        parts.push(format!("snapshot {index}@{term}"));
    }
    if !write.repairs.is_empty() {
        parts.push(format!("repairs {}", describe_entries(&write.repairs)));
    }
    if !write.entries.is_empty() {
        parts.push(describe_entries(&write.entries));
    }
    if !write.messages.is_empty() {
        let messages: Vec<String> = write.messages.iter().map(describe_envelope).collect();
        parts.push(format!("then {{{}}}", messages.join("; ")));
    }
    parts.join(" ")
}
