//! Raft's messages in words, for the page and for the text trace: the same for both simulators.
//!
//! Short and complete: every field of every variant is there, none twice. What the envelope says (from, to, term) stands
//! in [`What::Sent`] beside them.

use quorate::raft::{
    Append, AppendReply, AppendResult, Entry, EntryKind, Envelope, Message, ReadRequest, Room, Snapshot,
};

use super::event::What;

/// What is shown of a message that leaves; `number` pairs it with its arrival.
pub fn sent(number: u64, envelope: &Envelope) -> What {
    What::Sent {
        message: number,
        to: envelope.to.0,
        name: name(&envelope.message),
        term: envelope.term.0,
        fields: fields(&envelope.message),
    }
}

/// The variant's name.
pub fn name(message: &Message) -> &'static str {
    match message {
        Message::PreVote { .. } => "PreVote",
        Message::PreVoteReply { .. } => "PreVoteReply",
        Message::Vote { .. } => "Vote",
        Message::VoteReply { .. } => "VoteReply",
        Message::Append(_) => "Append",
        Message::AppendReply(_) => "AppendReply",
        Message::Heartbeat { .. } => "Heartbeat",
        Message::HeartbeatReply { .. } => "HeartbeatReply",
        Message::ReadIndex { .. } => "ReadIndex",
        Message::ReadIndexReply { .. } => "ReadIndexReply",
        Message::Snapshot(_) => "Snapshot",
        Message::TimeoutNow => "TimeoutNow",
        Message::Repair { .. } => "Repair",
        Message::RepairReply { .. } => "RepairReply",
        Message::EndQuery { .. } => "EndQuery",
        Message::EndReply { .. } => "EndReply",
    }
}

/// Its fields, `name value` separated by commas. A position in a log is written `index@term`.
pub fn fields(message: &Message) -> String {
    match message {
        Message::PreVote { next_term, last_index, last_term } => {
            format!("next term {next_term}, last {last_index}@{last_term}")
        }
        Message::PreVoteReply { next_term, granted } => {
            format!("next term {next_term}, {}", verdict(*granted))
        }
        Message::Vote { last_index, last_term, transfer } => {
            let transfer = if *transfer { ", transfer" } else { "" };
            format!("last {last_index}@{last_term}{transfer}")
        }
        Message::VoteReply { granted } => verdict(*granted).to_owned(),
        Message::Append(append) => append_fields(append),
        Message::AppendReply(reply) => append_reply_fields(reply),
        Message::Snapshot(Snapshot { session, inflight, round, index, term, membership }) => format!(
            "at {index}@{term} ({} B of membership), round {}, session {}, inflight {inflight}",
            membership.len(),
            round.0,
            session.0
        ),
        Message::Heartbeat { session, commit, round, stored_by_all } => {
            let (session, round) = (session.0, round.0);
            format!("commit {commit}, round {round}, session {session}, stored by all {stored_by_all}")
        }
        Message::HeartbeatReply { session, round, needs_snapshot, room } => {
            let asks = needs_snapshot.map(|index| format!(", needs a snapshot at {index} or beyond"));
            format!(
                "round {}, session {}{}{}",
                round.0,
                session.0,
                room_text(*room),
                asks.unwrap_or_default()
            )
        }
        Message::ReadIndex { request } => format!("request {}", read_request(request)),
        Message::TimeoutNow => String::new(),
        Message::Repair { index, term, crc, is_needed } => {
            let crc = crc.map_or("unknown".to_owned(), |crc| format!("{crc:08x}"));
            format!("{index}@{term}, checksum {crc}{}", if *is_needed { ", needed" } else { "" })
        }
        Message::RepairReply { index, term, entry } => {
            let entry =
                entry.as_ref().map_or("not here".to_owned(), |entry| format!("{} B", entry.payload.len()));
            format!("{index}@{term}, {entry}")
        }
        Message::EndQuery { boot, last_index, last_term } => {
            format!("last {last_index}@{last_term}, boot {boot:x}")
        }
        Message::EndReply { boot, index } => format!("end {index}, boot {boot:x}"),
        Message::ReadIndexReply { request, index } => {
            let index = index.map_or("not the leader".to_owned(), |index| format!("read at {index}"));
            format!("{index}, request {}", read_request(request))
        }
    }
}

fn verdict(granted: bool) -> &'static str {
    if granted { "granted" } else { "refused" }
}

fn append_fields(append: &Append) -> String {
    let Append { session, inflight, prev_index, prev_term, entries, commit, round } = append;
    format!(
        "prev {prev_index}@{prev_term}, {}, commit {commit}, round {}, session {}, inflight {inflight}",
        entries_text(entries),
        round.0,
        session.0
    )
}

fn append_reply_fields(reply: &AppendReply) -> String {
    let AppendReply { session, inflight, round, result, room } = reply;
    let room = room_text(*room);
    let result = match result {
        AppendResult::Matched { index } => format!("matched {index}"),
        AppendResult::Rejected { prev_index, hint_index, hint_term } => {
            format!("rejected prev {prev_index}, hint {hint_index}@{hint_term}")
        }
    };
    format!("{result}, round {}, session {}, inflight {inflight}{room}", round.0, session.0)
}

/// Nothing where there is more than the reserve.
fn room_text(room: Room) -> String {
    room.lack().map_or_else(String::new, |lack| format!(", room {} ({lack:?})", room.name()))
}

/// The entries' range with the terms at both ends, and what they hold.
fn entries_text(entries: &[Entry]) -> String {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return "no entries".to_owned() };
    let bytes: usize = entries.iter().map(|entry| entry.payload.len()).sum();
    let mut text = if entries.len() == 1 {
        format!("entry {}@{}", first.index, first.term)
    } else {
        format!("entries {}@{}..{}@{}", first.index, first.term, last.index, last.term)
    };
    for (kind, name) in [(EntryKind::Noop, "no-op"), (EntryKind::Membership, "membership")] {
        if entries.iter().any(|entry| entry.kind == kind) {
            text.push_str(&format!(" with a {name}"));
        }
    }
    text.push_str(&format!(" ({bytes} B)"));
    text
}

fn read_request(request: &ReadRequest) -> String {
    let ReadRequest { incarnation, boot, counter } = request;
    format!("{counter} of boot {boot:x}, incarnation {:x}", incarnation.0)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate::raft::{Lack, Round, SessionId};
    use quorate::types::{Incarnation, Index, NodeId, Term};

    use super::*;

    fn entry(index: u64, kind: EntryKind, payload: &'static [u8]) -> Entry {
        Entry::new(Index(index), Term(3), kind, Bytes::from_static(payload))
    }

    fn append(entries: Vec<Entry>) -> Message {
        Message::Append(Append {
            session: SessionId(5),
            inflight: 6,
            prev_index: Index(7),
            prev_term: Term(2),
            entries,
            commit: Index(4),
            round: Round(9),
        })
    }

    #[test]
    fn every_field_of_an_append_is_there() {
        let noop = append(vec![entry(8, EntryKind::Noop, b""), entry(9, EntryKind::Command, b"xyz")]);
        let text = "prev 7@2, entries 8@3..9@3 with a no-op (3 B), commit 4, round 9, session 5, inflight 6";
        assert_eq!(fields(&noop), text);
        assert_eq!(
            fields(&append(vec![entry(8, EntryKind::Command, b"x")])),
            "prev 7@2, entry 8@3 (1 B), commit 4, round 9, session 5, inflight 6"
        );
        assert_eq!(
            fields(&append(Vec::new())),
            "prev 7@2, no entries, commit 4, round 9, session 5, inflight 6"
        );
    }

    #[test]
    fn every_message_has_a_name_and_its_fields() {
        let request = ReadRequest { incarnation: Incarnation(0xabc), boot: 0x12, counter: 3 };
        let (session, round) = (SessionId(5), Round(9));
        let (short, room) = (Room::Short(Lack::Disk), Room::Ample);
        let reply = |result| Message::AppendReply(AppendReply { session, inflight: 6, round, result, room });
        let rejected =
            AppendResult::Rejected { prev_index: Index(7), hint_index: Index(2), hint_term: Term(1) };
        let cases = [
            (
                Message::PreVote { next_term: Term(4), last_index: Index(7), last_term: Term(2) },
                "PreVote: next term 4, last 7@2",
            ),
            (
                Message::PreVoteReply { next_term: Term(4), granted: true },
                "PreVoteReply: next term 4, granted",
            ),
            (
                Message::Vote { last_index: Index(7), last_term: Term(2), transfer: true },
                "Vote: last 7@2, transfer",
            ),
            (Message::VoteReply { granted: false }, "VoteReply: refused"),
            (
                reply(AppendResult::Matched { index: Index(8) }),
                "AppendReply: matched 8, round 9, session 5, inflight 6",
            ),
            (reply(rejected), "AppendReply: rejected prev 7, hint 2@1, round 9, session 5, inflight 6"),
            (
                Message::Heartbeat { session, commit: Index(4), round, stored_by_all: Index(1) },
                "Heartbeat: commit 4, round 9, session 5, stored by all 1",
            ),
            (
                Message::Snapshot(Snapshot {
                    session,
                    inflight: 6,
                    round,
                    index: Index(7),
                    term: Term(2),
                    membership: Bytes::from_static(b"xyz"),
                }),
                "Snapshot: at 7@2 (3 B of membership), round 9, session 5, inflight 6",
            ),
            (
                Message::HeartbeatReply { session, round, needs_snapshot: None, room },
                "HeartbeatReply: round 9, session 5",
            ),
            (
                Message::HeartbeatReply { session, round, needs_snapshot: Some(Index(4)), room },
                "HeartbeatReply: round 9, session 5, needs a snapshot at 4 or beyond",
            ),
            (
                Message::HeartbeatReply { session, round, needs_snapshot: None, room: short },
                "HeartbeatReply: round 9, session 5, room short (Disk)",
            ),
            (Message::TimeoutNow, "TimeoutNow: "),
            (
                Message::Repair { index: Index(8), term: Term(3), crc: Some(0xab), is_needed: true },
                "Repair: 8@3, checksum 000000ab, needed",
            ),
            (
                Message::RepairReply { index: Index(8), term: Term(3), entry: None },
                "RepairReply: 8@3, not here",
            ),
            (Message::ReadIndex { request }, "ReadIndex: request 3 of boot 12, incarnation abc"),
            (
                Message::ReadIndexReply { request, index: Some(Index(8)) },
                "ReadIndexReply: read at 8, request 3 of boot 12, incarnation abc",
            ),
            (
                Message::ReadIndexReply { request, index: None },
                "ReadIndexReply: not the leader, request 3 of boot 12, incarnation abc",
            ),
        ];
        for (message, text) in cases {
            assert_eq!(format!("{}: {}", name(&message), fields(&message)), text);
        }
    }

    #[test]
    fn the_envelope_stands_beside_the_fields() {
        let message = Message::VoteReply { granted: true };
        let envelope = Envelope { from: NodeId(1), to: NodeId(2), term: Term(3), message };
        let (name, fields) = ("VoteReply", "granted".to_owned());
        assert_eq!(sent(7, &envelope), What::Sent { message: 7, to: 2, name, term: 3, fields });
    }
}
