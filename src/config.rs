//! A node's configuration: every setting and every limit, with its default.
//!
//! The command line builds a [`Config`] from defaults, file, environment and flags (in rising precedence, see `cli`);
//! [`Config::validate`] judges it as a whole. There is no setting that turns fsync off.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::types::NodeId;

/// All that one node needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// Where it keeps `wal/`, `state.redb` and `identity`.
    pub data_dir: PathBuf,
    /// Where REST listens, `host:port`.
    pub http: String,
    /// Where peers connect, `host:port`.
    pub peer: String,
    /// Where gRPC listens, `host:port`.
    pub grpc: String,
    /// The REST address that others are told.
    pub advertise_http: String,
    /// The peer address that others are told.
    pub advertise_peer: String,
    /// The gRPC address that others are told.
    pub advertise_grpc: String,
    /// The voters of a new cluster with their peer addresses. Read at the first start only.
    pub initial_cluster: BTreeMap<NodeId, String>,
    /// Keeps clusters with the same member ids apart.
    pub cluster_token: String,
    /// How often a leader says that it is alive.
    pub heartbeat_interval: Duration,
    /// How long a follower waits before it campaigns: drawn from one to two times this.
    pub election_timeout: Duration,
    /// The limits.
    pub limits: Limits,
}

/// Every limit of a node. Full means refused or waited for, never grown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A key's length.
    pub key_bytes_max: usize,
    /// A value's length.
    pub value_bytes_max: usize,
    /// Pairs on one page of a list.
    pub list_pairs_max: usize,
    /// Pairs on one page of a list that names no limit.
    pub list_pairs_default: usize,
    /// Keys and values on one page of a list, in bytes.
    pub list_bytes_max: usize,
    /// How long a request may take that names no deadline.
    pub request_timeout_default: Duration,
    /// The longest deadline a request may name.
    pub request_timeout_max: Duration,
    /// Connections that one listener serves at once.
    pub connections_max: usize,
    /// Writes that wait to be proposed.
    pub proposals_queued_max: usize,
    /// Writes proposed, forwarded or waiting for their reply.
    pub proposals_inflight_max: usize,
    /// Reads that wait for their index.
    pub reads_waiting_max: usize,
    /// Entries of one append message, and of one proposal batch.
    pub append_batch_bytes_max: usize,
    /// Appends to one follower that are not answered.
    pub append_inflight_max: usize,
    /// And their bytes.
    pub append_inflight_bytes_max: usize,
    /// Uncommitted entries of a leader.
    pub uncommitted_bytes_max: usize,
    /// Recent entries that the core keeps in memory.
    pub log_cache_bytes_max: usize,
    /// Entries handed to the state machine and not applied yet.
    pub apply_inflight_bytes_max: usize,
    /// One frame between peers.
    pub frame_bytes_max: usize,
    /// Frames that wait for one peer's control lane.
    pub control_frames_queued_max: usize,
    /// Bytes that wait for one peer's bulk lane.
    pub bulk_bytes_queued_max: usize,
    /// Messages from peers that wait to be stepped.
    pub inbox_messages_max: usize,
    /// A log segment.
    pub wal_segment_bytes: u64,
    /// The whole log: past it a node refuses writes.
    pub wal_bytes_max: u64,
    /// The write set that is being written to; a fold begins when it is half full.
    pub write_set_bytes_max: usize,
    /// redb's page cache.
    pub store_cache_bytes: usize,
    /// Replies kept for one session.
    pub session_inflight_max: usize,
    /// Sessions held.
    pub sessions_max: usize,
    /// How long a stopping node lets requests finish.
    pub drain_timeout: Duration,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            key_bytes_max: 4 * KIB,
            value_bytes_max: MIB + MIB / 2,
            list_pairs_max: 10_000,
            list_pairs_default: 1_000,
            list_bytes_max: 4 * MIB,
            request_timeout_default: Duration::from_secs(5),
            request_timeout_max: Duration::from_secs(300),
            connections_max: 10_000,
            proposals_queued_max: 4_096,
            proposals_inflight_max: 16_384,
            reads_waiting_max: 16_384,
            append_batch_bytes_max: MIB,
            append_inflight_max: 64,
            append_inflight_bytes_max: 16 * MIB,
            uncommitted_bytes_max: 64 * MIB,
            log_cache_bytes_max: 16 * MIB,
            apply_inflight_bytes_max: 16 * MIB,
            frame_bytes_max: 4 * MIB,
            control_frames_queued_max: 1_024,
            bulk_bytes_queued_max: 32 * MIB,
            inbox_messages_max: 4_096,
            wal_segment_bytes: 64 << 20,
            wal_bytes_max: 8 << 30,
            write_set_bytes_max: 32 * MIB,
            store_cache_bytes: 32 * MIB,
            session_inflight_max: 1_024,
            sessions_max: 100_000,
            drain_timeout: Duration::from_secs(10),
        }
    }
}
