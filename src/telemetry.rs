//! What a node says about itself: the log lines' output, and the name, kind and meaning of every figure.
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

/// What a figure is, as Prometheus has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process. Its full name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A text that does not change, as a label.
    Info,
}

/// A figure that a node gives of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name, without the prefix that all have. A unit stands last.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// One constant for each name, and the table of them all: a figure's doc is its help text.
macro_rules! figures {
    ($($(#[doc = $help:literal])+ $constant:ident: $kind:ident = $name:literal;)*) => {
        $($(#[doc = $help])+ pub const $constant: &str = $name;)*

        /// Every figure. `GET /metrics` shows them as `quorate_` and the name; alarms are written on those.
        pub const FIGURES: &[Figure] = &[$(
            Figure { name: $name, kind: Kind::$kind, help: concat!($($help),+).trim_ascii() },
        )*];
    };
}

figures! {
    /// The version of this node's binary.
    BUILD_INFO: Info = "build_info";
    /// Whether this node knows a leader: 1 or 0.
    HAS_LEADER: Gauge = "has_leader";
    /// Whether this node leads: 1 or 0.
    IS_LEADER: Gauge = "is_leader";
    /// The current term.
    TERM: Gauge = "term";
    /// The last log entry known to be committed.
    COMMIT_INDEX: Gauge = "commit_index";
    /// The last log entry that the state machine holds.
    APPLIED_INDEX: Gauge = "applied_index";
    /// The last log entry.
    LAST_INDEX: Gauge = "last_index";
    /// The last log entry on this node's disk.
    PERSISTED_INDEX: Gauge = "persisted_index";
    /// The last log entry in the state machine's file.
    FOLDED_INDEX: Gauge = "folded_index";
    /// The last log entry that was removed from the log.
    PURGED_INDEX: Gauge = "purged_index";
    /// The store's revision on this node.
    REVISION: Gauge = "revision";
    /// Writes that clients of this node asked for.
    PROPOSALS_TOTAL: Counter = "proposals_total";
    /// Writes that wait for their outcome.
    PROPOSALS_WAITING: Gauge = "proposals_waiting";
    /// Writes that this node passed on to the leader.
    FORWARDS_TOTAL: Counter = "forwards_total";
    /// Linearizable reads that clients of this node asked for.
    READS_TOTAL: Counter = "reads_total";
    /// Questions to the core that served linearizable reads; one serves all that wait.
    READ_ROUNDS_TOTAL: Counter = "read_rounds_total";
    /// Leaders that this node has met, each time another one than before.
    LEADER_CHANGES_TOTAL: Counter = "leader_changes_total";
    /// Elections that this node began.
    CAMPAIGNS_TOTAL: Counter = "campaigns_total";
    /// Vote requests ignored because a leader is heard.
    VOTES_IGNORED_TOTAL: Counter = "votes_ignored_total";
    /// Entries of this node's log that were found to be damaged, at its start or since.
    ENTRIES_DAMAGED_TOTAL: Counter = "entries_damaged_total";
    /// Damaged entries that were replaced by another member's copy.
    ENTRIES_REPAIRED_TOTAL: Counter = "entries_repaired_total";
    /// Whether this node has a state to read from: 1, or 0 while it is being rebuilt.
    HAS_STATE: Gauge = "has_state";
    /// Logs that had to be given up in this data directory since it was made, because they were damaged beyond repair or gone:
    /// each time the node came back as a new member.
    LOGS_GIVEN_UP: Gauge = "logs_given_up";
    /// States of this node that had to be given up, at its start or since: their file was damaged, or held something else
    /// than the others'.
    STATES_LOST_TOTAL: Counter = "states_lost_total";
    /// States that were rebuilt in their place.
    STATES_REBUILT_TOTAL: Counter = "states_rebuilt_total";
    /// States found to differ from that of a quorum, at one log entry: another member's, as its leader found, or this node's;
    /// and times that no quorum agreed on one.
    STATE_DIVERGENCES_TOTAL: Counter = "state_divergences_total";
    /// Blocks of the state file that do not match their checksums, found by the scrub: what a crash leaves where nothing
    /// is stored, or bit rot. The file is rewritten then.
    STATE_BLOCKS_STRAY_TOTAL: Counter = "state_blocks_stray_total";
    /// Whether the end of this node's log is lost, so that it grants no vote until it has it again: 1 or 0.
    LOG_IN_DOUBT: Gauge = "log_in_doubt";
    /// Times that the end of this node's log was lost, and it has it again.
    LOG_DOUBTS_SETTLED_TOTAL: Counter = "log_doubts_settled_total";
    /// Times that this node's disk was found to hang: writes were under way and none completed.
    DISK_STALLS_TOTAL: Counter = "disk_stalls_total";
    /// Evidence that the leader's process had ended, ignored because lease reads are on.
    DEATHS_IGNORED_TOTAL: Counter = "deaths_ignored_total";
    /// Messages of an earlier term or conversation: normal after a change of leader.
    MESSAGES_STALE_TOTAL: Counter = "messages_stale_total";
    /// Messages that no correct peer sends.
    MESSAGES_INVALID_TOTAL: Counter = "messages_invalid_total";
    /// Proposals refused because too much was uncommitted.
    PROPOSALS_REFUSED_TOTAL: Counter = "proposals_refused_total";
    /// What is free for this node, in bytes: on the volume and in the state file, or what is left of storage-bytes-max.
    STORAGE_FREE_BYTES: Gauge = "storage_free_bytes";
    /// What is kept free, in bytes: with less, writes that need room are refused.
    STORAGE_RESERVE_BYTES: Gauge = "storage_reserve_bytes";
    /// With less free than this, in bytes, this node takes no further commands.
    STORAGE_FLOOR_BYTES: Gauge = "storage_floor_bytes";
    /// How this node stands: 0 above its reserve, 1 in its reserve, 2 below its floor.
    STORAGE_LEVEL: Gauge = "storage_level";
    /// Proposals refused because the leader, or too many voters, had no room.
    STORAGE_REFUSED_TOTAL: Counter = "storage_refused_total";
    /// The log on disk, in bytes.
    WAL_BYTES: Gauge = "wal_bytes";
    /// Syncs (fdatasync) of the log's files: one for all writes that were queued by then, and those that prepare its next segment.
    WAL_SYNCS_TOTAL: Counter = "wal_syncs_total";
    /// The write set that is being written to, in bytes.
    WRITE_SET_BYTES: Gauge = "write_set_bytes";
    /// The state file, in bytes.
    STATE_FILE_BYTES: Gauge = "state_file_bytes";
    /// What of the state file holds nothing, in bytes, estimated.
    STATE_FILE_FREE_BYTES: Gauge = "state_file_free_bytes";
    /// Syncs (fdatasync) of the state file, and of files that are to take its place.
    STATE_FILE_SYNCS_TOTAL: Counter = "state_file_syncs_total";
    /// Keys held.
    KEYS: Gauge = "keys";
    /// Client sessions held.
    SESSIONS: Gauge = "sessions";
    /// Messages handed to a connection.
    TRANSPORT_SENT: Counter = "transport_sent";
    /// Frames that carried the messages handed to a connection.
    TRANSPORT_FRAMES_SENT: Counter = "transport_frames_sent";
    /// Messages from peers that were handed to the inbox.
    TRANSPORT_RECEIVED: Counter = "transport_received";
    /// Frames that carried the messages from peers.
    TRANSPORT_FRAMES_RECEIVED: Counter = "transport_frames_received";
    /// Messages dropped because there is no connection to the peer, or it ended before they were handed to it.
    TRANSPORT_DROPPED_UNCONNECTED: Counter = "transport_dropped_unconnected";
    /// Messages dropped because the control lane's queue was full.
    TRANSPORT_DROPPED_CONTROL_FULL: Counter = "transport_dropped_control_full";
    /// Messages dropped because the bulk lane's queue was full.
    TRANSPORT_DROPPED_BULK_FULL: Counter = "transport_dropped_bulk_full";
    /// Messages dropped because no frame may be as large.
    TRANSPORT_DROPPED_OVERSIZE: Counter = "transport_dropped_oversize";
    /// Messages of peers that broke a rule and were dropped.
    TRANSPORT_REJECTED: Counter = "transport_rejected";
    /// Frames of peers that could not be read; each closed its lane.
    TRANSPORT_REJECTED_FRAMES: Counter = "transport_rejected_frames";
    /// Forwards of peers that were refused because too many were under way.
    TRANSPORT_FORWARDS_REFUSED: Counter = "transport_forwards_refused";
    /// Connections that peers made and that were accepted.
    TRANSPORT_ACCEPTED: Counter = "transport_accepted";
    /// Connections that peers made and that were refused at the handshake.
    TRANSPORT_REFUSED: Counter = "transport_refused";
    /// Connections made to peers.
    TRANSPORT_CONNECTED: Counter = "transport_connected";
    /// Attempts to connect to a peer that failed.
    TRANSPORT_CONNECT_FAILURES: Counter = "transport_connect_failures";
    /// Nodes of the cluster that were heard although this node's configuration does not name them.
    TRANSPORT_GUESTS: Counter = "transport_guests";
    /// Connections to peers that ended with evidence that the peer's process died.
    TRANSPORT_DIED: Counter = "transport_died";
    /// Snapshots that this node began to send.
    TRANSPORT_SNAPSHOTS_SENT: Counter = "transport_snapshots_sent";
    /// Bytes of snapshots' chunks that were sent.
    TRANSPORT_SNAPSHOT_BYTES_SENT: Counter = "transport_snapshot_bytes_sent";
    /// Snapshots that peers began to send to this node.
    TRANSPORT_SNAPSHOTS_RECEIVED: Counter = "transport_snapshots_received";
    /// Bytes of snapshots' chunks that were received.
    TRANSPORT_SNAPSHOT_BYTES_RECEIVED: Counter = "transport_snapshot_bytes_received";
    /// Requests to join that were handed to the inbox.
    TRANSPORT_JOINS: Counter = "transport_joins";
    /// Requests to join that were turned away because too many were under way.
    TRANSPORT_JOINS_REFUSED: Counter = "transport_joins_refused";
}

/// What the system says of this process. Each is shown under the name that Prometheus' own client libraries give it, without
/// this project's prefix, so that dashboards of any process show it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Processor time that it has used, in seconds.
    pub cpu_seconds: f64,
    /// Files, connections among them, that it has open.
    pub open_fds: u64,
    /// And may have open.
    pub max_fds: u64,
    /// Its memory that is in RAM.
    pub resident_memory_bytes: u64,
    /// All of its address space.
    pub virtual_memory_bytes: u64,
    /// When it began, in seconds since 1970.
    pub start_time_seconds: f64,
}

impl Process {
    /// This process; `None` where the system has no `/proc` that can be read.
    #[cfg(target_os = "linux")]
    pub fn this() -> Option<Process> {
        use procfs::WithCurrentSystemInfo;
        use procfs::process::LimitValue;

        let this = procfs::process::Process::myself().ok()?;
        let stat = this.stat().ok()?;
        let ticks = |count: u64| count as f64 / procfs::ticks_per_second() as f64;
        let max_fds = match this.limits().ok()?.max_open_files.soft_limit {
            LimitValue::Value(max) => max,
            LimitValue::Unlimited => u64::MAX,
        };
        Some(Process {
            cpu_seconds: ticks(stat.utime + stat.stime),
            open_fds: this.fd_count().ok()? as u64,
            max_fds,
            resident_memory_bytes: stat.rss_bytes().get(),
            virtual_memory_bytes: stat.vsize,
            start_time_seconds: procfs::boot_time_secs().ok()? as f64 + ticks(stat.starttime),
        })
    }

    /// Nothing is known of it.
    #[cfg(not(target_os = "linux"))]
    pub fn this() -> Option<Process> {
        None
    }
}

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
