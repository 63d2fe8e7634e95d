//! Messages in words, for whoever looks at a trace.

use quorate::raft::{AppendResult, Message};

/// The message's name.
pub(super) fn name(message: &Message) -> &'static str {
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
    }
}

/// Its fields.
pub(super) fn fields(message: &Message) -> String {
    match message {
        Message::Append(append) => {
            let (prev, term, count) = (append.prev_index, append.prev_term, append.entries.len());
            format!("{count} entries after {prev} of term {term}, commit {}, round {}", append.commit, append.round.0)
        }
        Message::AppendReply(reply) => match reply.result {
            AppendResult::Matched { index } => format!("matched {index}, round {}", reply.round.0),
            AppendResult::Rejected { prev_index, hint_index, hint_term } => {
                format!("rejected {prev_index}, hint {hint_index} of term {hint_term}")
            }
        },
        other => format!("{other:?}"),
    }
}
