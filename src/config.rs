//! A node's configuration: every setting and every limit, with its default.
//!
//! The command line builds a [`Config`] from defaults, file, environment and flags (in rising precedence, see `cli`);
//! [`Config::validate`] judges it as a whole. There is no setting that turns fsync off.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::types::NodeId;

/// Where REST listens unless told otherwise.
pub const HTTP_DEFAULT: &str = "127.0.0.1:8081";
/// Where peers connect unless told otherwise.
pub const PEER_DEFAULT: &str = "127.0.0.1:7001";
/// Where gRPC listens unless told otherwise.
pub const GRPC_DEFAULT: &str = "127.0.0.1:9001";
/// The token of a cluster that was given none.
pub const CLUSTER_TOKEN_DEFAULT: &str = "quorate";
/// How often a leader says that it is alive, unless told otherwise.
pub const HEARTBEAT_INTERVAL_DEFAULT: Duration = Duration::from_millis(100);
/// The election timeout unless told otherwise.
pub const ELECTION_TIMEOUT_DEFAULT: Duration = Duration::from_millis(500);
/// A disk on which no write has completed for so many election timeouts hangs: its node leads no more. With fewer a disk
/// that is merely slow would cost a leader, with more its clients wait longer for another one.
pub const DISK_STALL_ELECTION_TIMEOUTS: u32 = 3;
/// With evidence that the leader's process has ended, a voter campaigns after a random time of at most this: long enough
/// that one is first where several have it, and short against the rest of a failover.
pub const EVIDENCE_DELAY_MAX: Duration = Duration::from_millis(50);

/// Connections that the listener for peers serves at once: as many members as there may be, learners among them, with a lane
/// for control, one for the log, a snapshot, and the one that takes the place of a lost one.
pub const PEER_CONNECTIONS_MAX: usize = 64 * 4;
/// Files that a node opens for itself: connections with and of its peers, segments of its log, state files.
pub const FILES_OWN: usize = 2 * PEER_CONNECTIONS_MAX + 256;

/// The largest cluster: beyond seven members every write waits for more disks and tolerates little more.
pub const MEMBERS_MAX: usize = 7;

/// The shortest heartbeat interval: below it nodes would mostly send heartbeats.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// The longest election timeout: a cluster that waits longer for a new leader is not a cluster.
const ELECTION_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// What frames and records add to a key and a value.
const ENTRY_OVERHEAD_BYTES_MAX: usize = 64 * KIB;

/// All that one node needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node; 0 if it is to be told by the cluster that it joins, or by its data directory.
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
    /// The peer address of any member of the cluster that this node is to join. Read at the first start only.
    pub join: Option<String>,
    /// Whether it joins as a read replica, which has no vote. Read at the first start only.
    pub learner: bool,
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
    /// Keys and values of one answer of the etcd API, in bytes: what it reads has no pages. No more than half of
    /// `request_bytes_inflight_max` counts, see [`Limits::range_answer_bytes_max`].
    pub range_bytes_max: usize,
    /// How long a request may take that names no deadline.
    pub request_timeout_default: Duration,
    /// The longest deadline a request may name.
    pub request_timeout_max: Duration,
    /// Connections that one listener for clients serves at once.
    pub connections_max: usize,
    /// Connections that all listeners for clients serve at once: what the system lets this process open, less what the node
    /// needs for itself. No setting; see `cli`.
    pub connections_all_max: usize,
    /// Requests for data that clients have under way at once, on all connections: from the head of a request until its
    /// answer has left. One connection has at most half of them, see [`api::shares`](crate::api::shares).
    pub requests_inflight_max: usize,
    /// And the bytes of their bodies and answers.
    pub request_bytes_inflight_max: usize,
    /// Operations of one gRPC pipeline that are under way or have results that its client has not taken: beyond it the stream
    /// is not read. No setting.
    pub pipeline_operations_inflight_max: usize,
    /// Writes that wait to be proposed.
    pub proposals_queued_max: usize,
    /// Writes proposed, forwarded or waiting for their reply.
    pub proposals_inflight_max: usize,
    /// And their keys and values, in bytes.
    pub proposals_inflight_bytes_max: usize,
    /// Reads that wait for their index.
    pub reads_waiting_max: usize,
    /// Lists that wait for, or are in, the state machine.
    pub lists_inflight_max: usize,
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
    /// What is kept free on the volume of the data directory: with less, nothing is written any more that makes the state
    /// grow. Deletes, and what the node needs for itself, may use it.
    pub storage_reserve_bytes: u64,
    /// With less than this free a follower takes no more commands, and a leader makes way.
    pub storage_floor_bytes: u64,
    /// What log and state file may take together, the reserve included; 0: as much as there is.
    pub storage_bytes_max: u64,
    /// The end of the log that is kept for members that lag; who lags further gets a snapshot. What a member lacks goes
    /// only beyond this.
    pub log_tail_bytes_max: u64,
    /// How long a snapshot that is being sent, or was received in part, is kept without progress.
    pub snapshot_pin: Duration,
    /// By how much the state file may grow, on the disk, while a snapshot is being sent from it. The last fold that begins
    /// below it comes on top; the next one ends the snapshot.
    pub snapshot_pin_growth_bytes: u64,
    /// How long the scrub rests between two rounds through the log and the state file.
    pub scrub_pause: Duration,
    /// How often a leader lets the members compare their states, if anything was written since.
    pub hash_mark_interval: Duration,
    /// The write set that is being written to; a fold begins when it is half full.
    pub write_set_bytes_max: usize,
    /// redb's page cache.
    pub store_cache_bytes: usize,
    /// Replies kept for one session.
    pub session_inflight_max: usize,
    /// Sessions held.
    pub sessions_max: usize,
    /// What the replies of all sessions may cost in memory, in bytes.
    pub session_replies_bytes_max: usize,
    /// Idempotency keys whose answers are kept.
    pub idempotency_answers_max: u64,
    /// And those that are known to be spent: behind them, in the order in which they were used.
    pub idempotency_spent_max: u64,
    /// How long a stopping node lets requests finish.
    pub drain_timeout: Duration,
    /// How long a connection may take none of the bytes that wait for it: then it ends. An answer that is left where it is though
    /// others are taken ends it after at most three times this. Without it, clients that ask and never read would hold for ever
    /// what the answers take. No setting.
    pub send_timeout: Duration,
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
            range_bytes_max: 32 * MIB,
            request_timeout_default: Duration::from_secs(5),
            request_timeout_max: Duration::from_secs(300),
            connections_max: 10_000,
            connections_all_max: usize::MAX,
            requests_inflight_max: 16_384,
            request_bytes_inflight_max: 128 * MIB,
            pipeline_operations_inflight_max: 1_024,
            proposals_queued_max: 4_096,
            proposals_inflight_max: 16_384,
            proposals_inflight_bytes_max: 64 * MIB,
            reads_waiting_max: 16_384,
            lists_inflight_max: 64,
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
            storage_reserve_bytes: 512 << 20,
            storage_floor_bytes: 128 << 20,
            storage_bytes_max: 0,
            log_tail_bytes_max: 256 << 20,
            snapshot_pin: Duration::from_secs(60),
            snapshot_pin_growth_bytes: 1 << 30,
            scrub_pause: Duration::from_secs(600),
            hash_mark_interval: Duration::from_secs(60),
            write_set_bytes_max: 32 * MIB,
            store_cache_bytes: 32 * MIB,
            session_inflight_max: 1_024,
            sessions_max: 100_000,
            session_replies_bytes_max: 128 * MIB,
            idempotency_answers_max: 100_000,
            idempotency_spent_max: 1_000_000,
            drain_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(30),
        }
    }
}

/// A configuration that cannot work: what is wrong and what to do, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

fn invalid<T>(text: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(text.into()))
}

impl Config {
    /// Judges the configuration as a whole. Settings are named as the command line names them.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.data_dir.as_os_str().is_empty() {
            return invalid("--data-dir is empty: name the directory that holds this node's data");
        }
        self.validate_listeners()?;
        // Before the advertised addresses: one of them comes from here, and the complaint names what was written.
        if !self.initial_cluster.is_empty() {
            self.validate_initial_cluster()?;
        }
        self.validate_advertised()?;
        if let Some(address) = &self.join {
            check_address("--join", address)?;
        }
        if self.learner && self.join.is_none() {
            return invalid("--learner says how a node joins: name a member with --join, or leave it out");
        }
        self.validate_timing()?;
        self.limits.validate()
    }

    /// What must hold besides, where the data directory is new: this node is a voter of the cluster that it founds.
    pub fn validate_bootstrap(&self) -> Result<(), Invalid> {
        if self.join.is_some() {
            return Ok(());
        }
        if self.id.0 == 0 {
            return invalid(
                "--id is missing: give this node's number, 1 or more (QUORATE_ID, or id in the file), or --join, with \
                 which the cluster gives it one",
            );
        }
        if self.initial_cluster.is_empty() {
            return invalid(format!(
                "{} is a new data directory: --initial-cluster must name the members, this node among them, \
                 for example --initial-cluster {}={}; or name a member of the cluster to join with --join",
                self.data_dir.display(),
                self.id,
                self.advertise_peer
            ));
        }
        if !self.initial_cluster.contains_key(&self.id) {
            let ids: Vec<String> = self.initial_cluster.keys().map(NodeId::to_string).collect();
            return invalid(format!(
                "--initial-cluster names nodes {} but not this one: add {}=host:port, or mend --id",
                ids.join(", "),
                self.id
            ));
        }
        Ok(())
    }

    fn validate_listeners(&self) -> Result<(), Invalid> {
        let listeners = [("--http", &self.http), ("--peer", &self.peer), ("--grpc", &self.grpc)];
        for (name, address) in listeners {
            check_address(name, address)?;
        }
        for (at, (name, address)) in listeners.iter().enumerate() {
            if let Some((other, _)) = listeners[..at].iter().find(|(_, earlier)| earlier == address) {
                return invalid(format!("{other} and {name} are both {address}: give each its own port"));
            }
        }
        Ok(())
    }

    fn validate_advertised(&self) -> Result<(), Invalid> {
        let advertised =
            [("http", &self.advertise_http), ("peer", &self.advertise_peer), ("grpc", &self.advertise_grpc)];
        for (name, address) in advertised {
            check_address(&format!("--advertise-{name}"), address)?;
            if is_wildcard(address) {
                return invalid(format!(
                    "others cannot connect to {address}: --advertise-{name} must say where --{name} is reached \
                     from outside, for example --advertise-{name} node{}.example:{}",
                    self.id,
                    port_of(address).unwrap_or_default()
                ));
            }
            if port_of(address) == Some(0) {
                return invalid(format!("port 0 cannot be advertised: give --advertise-{name} a fixed port"));
            }
        }
        Ok(())
    }

    fn validate_timing(&self) -> Result<(), Invalid> {
        let (heartbeat, election) = (self.heartbeat_interval, self.election_timeout);
        if heartbeat < HEARTBEAT_INTERVAL_MIN {
            // No unit of time is written that is shorter: it can only be 0.
            return invalid("--heartbeat-interval is 0: use 1ms or more");
        }
        if election > ELECTION_TIMEOUT_MAX {
            return invalid(format!("--election-timeout {election:?} is too long: use 60s or less"));
        }
        // One lost heartbeat must not be enough for an election.
        if election < heartbeat.saturating_mul(2) {
            return invalid(format!(
                "--election-timeout {election:?} must be at least twice --heartbeat-interval {heartbeat:?}; \
                 five times is usual"
            ));
        }
        Ok(())
    }

    fn validate_initial_cluster(&self) -> Result<(), Invalid> {
        let members = self.initial_cluster.len();
        if members > MEMBERS_MAX {
            return invalid(format!(
                "--initial-cluster names {members} members: {MEMBERS_MAX} at most; 3 or 5 are usual"
            ));
        }
        let mut seen: BTreeMap<&str, NodeId> = BTreeMap::new();
        for (id, address) in &self.initial_cluster {
            if id.0 == 0 {
                return invalid("--initial-cluster names node 0: ids are 1 or more");
            }
            check_address(&format!("--initial-cluster, node {id}"), address)?;
            if is_wildcard(address) || port_of(address) == Some(0) {
                return invalid(format!(
                    "--initial-cluster, node {id}: others cannot connect to {address}: name a host and a port"
                ));
            }
            if let Some(other) = seen.insert(address, *id) {
                return invalid(format!(
                    "--initial-cluster gives nodes {other} and {id} the same address {address}"
                ));
            }
        }
        Ok(())
    }
}

impl Limits {
    /// The keys and values of one transaction: it travels between peers in one frame, with what its parts add to them.
    pub fn txn_bytes_max(&self) -> usize {
        self.frame_bytes_max - 2 * ENTRY_OVERHEAD_BYTES_MAX
    }

    /// The keys and values that one range may answer with: never more than one connection could have under way.
    pub fn range_answer_bytes_max(&self) -> usize {
        self.range_bytes_max.min(self.request_bytes_inflight_max / 2)
    }

    /// Judges the limits against each other.
    pub fn validate(&self) -> Result<(), Invalid> {
        // What is written may be near the end of the integers: no sum of it is trusted to be one.
        let entry = self.value_bytes_max.saturating_add(self.key_bytes_max + ENTRY_OVERHEAD_BYTES_MAX);
        if self.value_bytes_max == 0 {
            return invalid("--value-bytes-max is 0: no value could be stored");
        }
        if entry > self.frame_bytes_max {
            return invalid(format!(
                "--value-bytes-max {} is too large: a value must fit one frame between peers, so use {} or less",
                self.value_bytes_max,
                self.frame_bytes_max - self.key_bytes_max - ENTRY_OVERHEAD_BYTES_MAX
            ));
        }
        if self.wal_segment_bytes < 4 * self.frame_bytes_max as u64 {
            return invalid(format!(
                "--wal-segment-bytes {} is too small: use {} or more",
                self.wal_segment_bytes,
                4 * self.frame_bytes_max
            ));
        }
        let Some(four) = self.wal_segment_bytes.checked_mul(4) else {
            return invalid(format!(
                "--wal-segment-bytes {} is too large: four log segments must fit --wal-bytes-max",
                self.wal_segment_bytes
            ));
        };
        if self.wal_bytes_max < four {
            return invalid(format!(
                "--wal-bytes-max {} is too small: it must hold four log segments, so use {} or more, \
                 or lower --wal-segment-bytes",
                self.wal_bytes_max, four
            ));
        }
        if self.log_tail_bytes_max > self.wal_bytes_max / 2 {
            return invalid(format!(
                "--log-tail-bytes-max {} is too large: at most half of --wal-bytes-max {} can be kept for members that lag",
                self.log_tail_bytes_max, self.wal_bytes_max
            ));
        }
        self.validate_storage()?;
        if self.snapshot_pin.is_zero() {
            return invalid("--snapshot-pin is 0: no snapshot could ever be sent");
        }
        if self.scrub_pause.is_zero() || self.hash_mark_interval.is_zero() {
            return invalid("--scrub-pause and --hash-mark-interval must be above 0: use 1s or more");
        }
        if self.write_set_bytes_max < 2 * self.frame_bytes_max {
            return invalid(format!(
                "--write-set-bytes-max {} is too small: use {} or more",
                self.write_set_bytes_max,
                2 * self.frame_bytes_max
            ));
        }
        if self.connections_max == 0 {
            return invalid("--connections-max is 0: nobody could connect");
        }
        self.validate_requests()?;
        if self.request_timeout_default.is_zero() || self.request_timeout_default > self.request_timeout_max {
            return invalid(format!(
                "--request-timeout must be above 0 and at most {:?}",
                self.request_timeout_max
            ));
        }
        Ok(())
    }

    /// What clients may have under way.
    fn validate_requests(&self) -> Result<(), Invalid> {
        if self.requests_inflight_max < 2 {
            return invalid(format!(
                "--requests-inflight-max {} is too small: one connection has half of them, so use 2 or more",
                self.requests_inflight_max
            ));
        }
        // A quarter of it is for small ones; and JSON may have every byte escaped, six for one.
        let pair = self.value_bytes_max.saturating_add(self.key_bytes_max);
        let least = pair.max(self.list_bytes_max).saturating_mul(6).saturating_mul(4) / 3;
        if self.request_bytes_inflight_max < least {
            return invalid(format!(
                "--request-bytes-inflight-max {} is too small: three quarters of it must hold the largest request and the \
                 largest answer, so use {least} or more, or lower --value-bytes-max",
                self.request_bytes_inflight_max
            ));
        }
        Ok(())
    }

    /// What is kept free, and what may be used.
    fn validate_storage(&self) -> Result<(), Invalid> {
        // Below the floor the log must still be able to begin one more segment.
        if self.storage_floor_bytes < self.wal_segment_bytes
            || self.storage_reserve_bytes / 2 < self.storage_floor_bytes
        {
            return invalid(format!(
                "--storage-reserve-bytes {} is too small: a quarter of it must hold a log segment, so use {} or more, or \
                 lower --wal-segment-bytes",
                self.storage_reserve_bytes,
                self.wal_segment_bytes.saturating_mul(4)
            ));
        }
        let segments = self.wal_segment_bytes.saturating_mul(4);
        let least =
            self.storage_reserve_bytes.saturating_add(self.log_tail_bytes_max).saturating_add(segments);
        if self.storage_bytes_max != 0 && self.storage_bytes_max < least {
            return invalid(format!(
                "--storage-bytes-max {} is too small: it must hold --storage-reserve-bytes, --log-tail-bytes-max and four \
                 log segments, so use {least} or more",
                self.storage_bytes_max
            ));
        }
        Ok(())
    }
}

/// Whether nobody can connect to the address: it names every interface of its own host.
pub fn is_wildcard(address: &str) -> bool {
    host_of(address).is_some_and(|host| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()))
}

/// Checks that an address is `host:port`.
///
/// # Errors
/// What is wrong with it.
pub fn check_address(name: &str, address: &str) -> Result<(), Invalid> {
    if port_of(address).is_none() {
        return invalid(format!("{name} '{address}' is not host:port, for example 127.0.0.1:8081"));
    }
    match host_of(address) {
        None | Some("") => {
            invalid(format!("{name} '{address}' names no host: for every interface use 0.0.0.0"))
        }
        Some(host) if host.chars().any(|c| c.is_whitespace() || c.is_control() || "/@?#".contains(c)) => {
            invalid(format!("{name} '{address}' is not host:port: it takes no scheme and no path"))
        }
        Some(host) if host.contains(':') && !address.starts_with('[') => {
            invalid(format!("{name} '{address}': write an IPv6 address in brackets, for example [::1]:8081"))
        }
        Some(_) => Ok(()),
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host_of(address: &str) -> Option<&str> {
    let (host, _) = address.rsplit_once(':')?;
    Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
}

fn port_of(address: &str) -> Option<u16> {
    let (_, port) = address.rsplit_once(':')?;
    // u16's own parser takes a plus sign.
    if port.starts_with('+') { None } else { port.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            id: NodeId(1),
            data_dir: PathBuf::from("/var/lib/quorate"),
            http: HTTP_DEFAULT.to_owned(),
            peer: PEER_DEFAULT.to_owned(),
            grpc: GRPC_DEFAULT.to_owned(),
            advertise_http: HTTP_DEFAULT.to_owned(),
            advertise_peer: PEER_DEFAULT.to_owned(),
            advertise_grpc: GRPC_DEFAULT.to_owned(),
            join: None,
            learner: false,
            initial_cluster: cluster(&[(1, "127.0.0.1:7001"), (2, "127.0.0.1:7002"), (3, "n3.example:7003")]),
            cluster_token: CLUSTER_TOKEN_DEFAULT.to_owned(),
            heartbeat_interval: HEARTBEAT_INTERVAL_DEFAULT,
            election_timeout: ELECTION_TIMEOUT_DEFAULT,
            limits: Limits::default(),
        }
    }

    fn cluster(members: &[(u64, &str)]) -> BTreeMap<NodeId, String> {
        members.iter().map(|(id, address)| (NodeId(*id), (*address).to_owned())).collect()
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Config), part: &str) {
        let mut config = config();
        change(&mut config);
        let Invalid(text) = config.validate().expect_err("this configuration cannot work");
        assert!(text.contains(part), "{text:?} does not say {part:?}");
        assert!(!text.contains('\n') && !text.contains("  "), "not one clean line: {text:?}");
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(config().validate(), Ok(()));
        assert_eq!(config().validate_bootstrap(), Ok(()));
    }

    #[test]
    fn addresses_are_judged() {
        refused(|c| c.http = "8081".to_owned(), "is not host:port");
        refused(|c| c.http = "localhost:http".to_owned(), "is not host:port");
        refused(|c| c.http = "localhost:+80".to_owned(), "is not host:port");
        refused(|c| c.http = "localhost:70000".to_owned(), "is not host:port");
        refused(|c| c.grpc = ":9001".to_owned(), "use 0.0.0.0");
        refused(|c| c.peer = "::1:7001".to_owned(), "in brackets");
        refused(|c| c.advertise_http = "http://localhost:8081".to_owned(), "no scheme");
        refused(|c| c.peer = c.http.clone(), "--http and --peer are both");
        let mut six = config();
        six.http = "[::1]:8081".to_owned();
        assert_eq!(six.validate(), Ok(()));
    }

    #[test]
    fn an_advertised_address_can_be_reached() {
        refused(|c| c.advertise_http = "0.0.0.0:8081".to_owned(), "--advertise-http must say");
        refused(|c| c.advertise_peer = "[::]:7001".to_owned(), "--advertise-peer must say");
        refused(|c| c.advertise_grpc = "127.0.0.1:0".to_owned(), "port 0 cannot be advertised");
    }

    #[test]
    fn the_timings_fit_each_other() {
        refused(|c| c.heartbeat_interval = Duration::ZERO, "--heartbeat-interval is 0: use 1ms");
        refused(|c| c.election_timeout = Duration::from_millis(199), "at least twice");
        refused(|c| c.election_timeout = Duration::from_secs(61), "is too long");
        let mut twice = config();
        twice.election_timeout = Duration::from_millis(200);
        assert_eq!(twice.validate(), Ok(()));
    }

    #[test]
    fn the_initial_cluster_is_judged() {
        let eight: Vec<(u64, String)> = (1..=8).map(|id| (id, format!("h{id}:1"))).collect();
        let eight: Vec<(u64, &str)> = eight.iter().map(|(id, address)| (*id, address.as_str())).collect();
        refused(|c| c.initial_cluster = cluster(&eight), "7 at most");
        refused(|c| c.initial_cluster = cluster(&[(1, "a:1"), (2, "a:1")]), "the same address");
        refused(|c| c.initial_cluster = cluster(&[(0, "a:1")]), "ids are 1 or more");
        refused(|c| c.initial_cluster = cluster(&[(1, "a")]), "is not host:port");
        refused(|c| c.initial_cluster = cluster(&[(1, "0.0.0.0:7001")]), "others cannot connect");
    }

    #[test]
    fn a_new_directory_needs_its_own_member() {
        let mut other = config();
        other.id = NodeId(4);
        assert_eq!(other.validate(), Ok(()), "an old directory may know better");
        assert!(
            other.validate_bootstrap().expect_err("4 is no member").to_string().contains("add 4=host:port")
        );
        other.initial_cluster.clear();
        let text = other.validate_bootstrap().expect_err("no members at all").to_string();
        assert!(text.contains("--initial-cluster 4=127.0.0.1:7001"), "{text}");
    }

    #[test]
    fn a_range_answers_with_no_more_than_a_connection_may_have() {
        let limits = Limits::default();
        assert_eq!(limits.range_answer_bytes_max(), 32 * MIB);
        let small = Limits { request_bytes_inflight_max: 32 * MIB, ..limits };
        assert_eq!(small.range_answer_bytes_max(), 16 * MIB);
    }

    #[test]
    fn the_limits_fit_each_other() {
        refused(|c| c.limits.value_bytes_max = 4 * MIB, "--value-bytes-max");
        refused(|c| c.limits.value_bytes_max = 0, "--value-bytes-max is 0");
        refused(|c| c.limits.wal_segment_bytes = 1, "--wal-segment-bytes 1 is too small");
        refused(|c| c.limits.wal_bytes_max = 64 << 20, "--wal-bytes-max");
        refused(|c| c.limits.value_bytes_max = usize::MAX, "--value-bytes-max");
        refused(|c| c.limits.wal_segment_bytes = u64::MAX / 4 + 1, "is too large: four log segments");
        refused(|c| c.limits.write_set_bytes_max = 1, "--write-set-bytes-max");
        refused(|c| c.limits.storage_floor_bytes = 1, "--storage-reserve-bytes");
        refused(
            |c| c.limits.storage_reserve_bytes = c.limits.storage_floor_bytes,
            "so use 268435456 or more",
        );
        refused(|c| c.limits.storage_bytes_max = (1 << 30) - 1, "--storage-bytes-max");
        let mut small = config();
        small.limits.storage_bytes_max = 1 << 30;
        assert_eq!(small.validate(), Ok(()));
        refused(|c| c.limits.connections_max = 0, "--connections-max");
        refused(|c| c.limits.requests_inflight_max = 1, "--requests-inflight-max");
        refused(|c| c.limits.request_bytes_inflight_max = 8 * MIB, "--request-bytes-inflight-max");
        refused(|c| c.limits.request_timeout_default = Duration::ZERO, "--request-timeout");
    }
}
