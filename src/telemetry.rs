//! What a node says about itself: the log lines' output, and the name of every counter.
//!
//! Log lines go to stderr, one event a line, for a person or as JSON objects. Nothing is logged per request at the
//! level `info`: a line stands for a change (of role, of membership, of the process) or for something that an
//! operator should look at. Answers and reports of commands go to stdout and never through here.

use std::fmt;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For a person: time, level, text, fields.
    #[default]
    Human,
    /// For a collector: one JSON object a line.
    Json,
}

/// What is logged unless told otherwise.
pub const LOG_LEVEL_DEFAULT: &str = "info";

/// Writes that clients of this node asked for.
pub const PROPOSALS_TOTAL: &str = "proposals_total";
/// Writes that wait for their outcome.
pub const PROPOSALS_WAITING: &str = "proposals_waiting";
/// Writes that this node passed on to the leader.
pub const FORWARDS_TOTAL: &str = "forwards_total";
/// Linearizable reads that clients of this node asked for.
pub const READS_TOTAL: &str = "reads_total";
/// Questions to the core that served them.
pub const READ_ROUNDS_TOTAL: &str = "read_rounds_total";
/// Leaders that this node has met, beyond the one before.
pub const LEADER_CHANGES_TOTAL: &str = "leader_changes_total";
/// Elections that this node began.
pub const CAMPAIGNS_TOTAL: &str = "campaigns_total";
/// Vote requests ignored because a leader is heard.
pub const VOTES_IGNORED_TOTAL: &str = "votes_ignored_total";
/// Times that this node's disk was found to hang: writes were under way and none completed.
pub const DISK_STALLS_TOTAL: &str = "disk_stalls_total";
/// Evidence that the leader's process had ended, ignored because lease reads are on.
pub const DEATHS_IGNORED_TOTAL: &str = "deaths_ignored_total";
/// Messages of an earlier term or conversation: normal after a change of leader.
pub const MESSAGES_STALE_TOTAL: &str = "messages_stale_total";
/// Messages that no correct peer sends.
pub const MESSAGES_INVALID_TOTAL: &str = "messages_invalid_total";
/// Proposals refused because too much was uncommitted.
pub const PROPOSALS_REFUSED_TOTAL: &str = "proposals_refused_total";
/// The log on disk, in bytes.
pub const WAL_BYTES: &str = "wal_bytes";
/// The write set that is being written to, in bytes.
pub const WRITE_SET_BYTES: &str = "write_set_bytes";
/// The state file, in bytes.
pub const STATE_FILE_BYTES: &str = "state_file_bytes";
/// Keys held.
pub const KEYS: &str = "keys";
/// Client sessions held.
pub const SESSIONS: &str = "sessions";
/// Messages handed to a connection.
pub const TRANSPORT_SENT: &str = "transport_sent";
/// The frames that carried them.
pub const TRANSPORT_FRAMES_SENT: &str = "transport_frames_sent";
/// Messages from peers that were handed to the inbox.
pub const TRANSPORT_RECEIVED: &str = "transport_received";
/// The frames that carried them.
pub const TRANSPORT_FRAMES_RECEIVED: &str = "transport_frames_received";
/// Messages dropped because there is no connection to the peer, or it ended before they were handed to it.
pub const TRANSPORT_DROPPED_UNCONNECTED: &str = "transport_dropped_unconnected";
/// Messages dropped because the control lane's queue was full.
pub const TRANSPORT_DROPPED_CONTROL_FULL: &str = "transport_dropped_control_full";
/// Messages dropped because the bulk lane's queue was full.
pub const TRANSPORT_DROPPED_BULK_FULL: &str = "transport_dropped_bulk_full";
/// Messages dropped because no frame may be as large.
pub const TRANSPORT_DROPPED_OVERSIZE: &str = "transport_dropped_oversize";
/// Messages of peers that broke a rule and were dropped.
pub const TRANSPORT_REJECTED: &str = "transport_rejected";
/// Frames of peers that could not be read; each closed its lane.
pub const TRANSPORT_REJECTED_FRAMES: &str = "transport_rejected_frames";
/// Forwards of peers that were refused because too many were under way.
pub const TRANSPORT_FORWARDS_REFUSED: &str = "transport_forwards_refused";
/// Connections that peers made and that were accepted.
pub const TRANSPORT_ACCEPTED: &str = "transport_accepted";
/// Connections that peers made and that were refused at the handshake.
pub const TRANSPORT_REFUSED: &str = "transport_refused";
/// Connections made to peers.
pub const TRANSPORT_CONNECTED: &str = "transport_connected";
/// Attempts to connect to a peer that failed.
pub const TRANSPORT_CONNECT_FAILURES: &str = "transport_connect_failures";
/// Nodes of the cluster that were heard although this node's configuration does not name them.
pub const TRANSPORT_GUESTS: &str = "transport_guests";
/// Connections to peers that ended with evidence that the peer's process died.
pub const TRANSPORT_DIED: &str = "transport_died";
/// Snapshots that this node began to send.
pub const TRANSPORT_SNAPSHOTS_SENT: &str = "transport_snapshots_sent";
/// The bytes of their chunks that were sent.
pub const TRANSPORT_SNAPSHOT_BYTES_SENT: &str = "transport_snapshot_bytes_sent";
/// Snapshots that peers began to send to this node.
pub const TRANSPORT_SNAPSHOTS_RECEIVED: &str = "transport_snapshots_received";
/// The bytes of their chunks that were received.
pub const TRANSPORT_SNAPSHOT_BYTES_RECEIVED: &str = "transport_snapshot_bytes_received";
/// Requests to join that were handed to the inbox.
pub const TRANSPORT_JOINS: &str = "transport_joins";
/// Requests to join that were turned away because too many were under way.
pub const TRANSPORT_JOINS_REFUSED: &str = "transport_joins_refused";

/// Why log lines could not be set up.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Sends the log lines of this process to stderr. `level` is a level (`error`, `warn`, `info`, `debug`, `trace`) or a
/// list such as `info,quorate::raft=debug`.
pub fn init(format: LogFormat, level: &str) -> Result<(), Error> {
    let filter = filter(level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = match format {
        LogFormat::Human => builder.with_ansi(colours()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    done.map_err(|error| Error(error.to_string()))
}

fn filter(level: &str) -> Result<EnvFilter, Error> {
    let refuse = |what: &str| {
        Error(format!(
            "'{level}' {what}: use error, warn, info, debug, trace, off, or a list such as info,quorate::raft=debug"
        ))
    };
    if let Some(word) = directives(level).into_iter().find(|directive| !says_level(directive)) {
        return Err(refuse(&if word == level {
            "is no log level".to_owned()
        } else {
            format!("has '{word}', which sets no log level")
        }));
    }
    EnvFilter::try_new(level).map_err(|error| refuse(&format!("is no log level ({error})")))
}

/// The parts of a list. A comma within braces separates a span's fields.
fn directives(list: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let parts = list.split(|c| {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).collect()
}

/// Whether a part of a list is a level, or ends in one. The filter itself takes any other word for the name of a
/// module to be traced, and is silent about all others: a misspelt level would turn the log off.
fn says_level(directive: &str) -> bool {
    let word = match directive.rsplit_once('=') {
        Some((target, word)) if !target.is_empty() => word,
        Some(_) => return false,
        None => directive,
    };
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|level| word.eq_ignore_ascii_case(level))
}

/// Colours are for a person at a terminal who did not decline them (<https://no-color.org>).
fn colours() -> bool {
    let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !declined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_lists_are_understood() {
        for level in ["info", "DEBUG", "off", "info,quorate::raft=debug", "warn,[batch{id=1}]=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        for wrong in [
            "zork",
            "",
            "quorate=loud",
            "info,zork",
            "info,quorate::raft=loud",
            "info,",
            "=info",
            "quorate=",
            "info=zork",
        ] {
            let text = filter(wrong).expect_err(wrong).to_string();
            assert!(
                text.contains("use error, warn") && text.contains(wrong) && !text.contains('\n'),
                "{text}"
            );
        }
    }
}
