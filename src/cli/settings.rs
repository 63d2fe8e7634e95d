//! The settings of `quorate serve`: one struct that the command line, the environment and the file all fill.
//!
//! Every field is optional, so "not said here" is a value, and precedence is one `or` a field: flag, else variable
//! (clap does these two), else file, else default. A setting has one name: `--some-name`, `QUORATE_SOME_NAME`, and
//! `some-name = ...` in the file; a test holds the three together.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Failure;
use super::remote;
use super::values::{Members, Size, Span};
use crate::config::{self, Config, Limits};
use crate::telemetry::{self, LogFormat};
use crate::types::NodeId;

/// What was said about a node, in one place or in all of them together.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct Settings {
    /// This node's number in the cluster, 1 or more; never used again for another node [required for a new cluster]
    #[arg(long, env = "QUORATE_ID", value_name = "N", help_heading = "Node")]
    id: Option<u64>,
    /// The directory of this node's data; made at the first start; one node each [required]
    #[arg(long, env = "QUORATE_DATA_DIR", value_name = "DIR", help_heading = "Node")]
    data_dir: Option<PathBuf>,

    /// Where REST listens [default: 127.0.0.1:8081]
    #[arg(long, env = "QUORATE_HTTP", value_name = "HOST:PORT", help_heading = "Addresses")]
    http: Option<String>,
    /// Where the other nodes connect [default: 127.0.0.1:7001]
    #[arg(long, env = "QUORATE_PEER", value_name = "HOST:PORT", help_heading = "Addresses")]
    peer: Option<String>,
    /// Where gRPC listens [default: 127.0.0.1:9001]
    #[arg(long, env = "QUORATE_GRPC", value_name = "HOST:PORT", help_heading = "Addresses")]
    grpc: Option<String>,
    /// The REST address that others are told [default: --http; required if that is a wildcard]
    #[arg(long, env = "QUORATE_ADVERTISE_HTTP", value_name = "HOST:PORT", help_heading = "Addresses")]
    advertise_http: Option<String>,
    /// The peer address that others are told [default: this node's entry of --initial-cluster, else --peer]
    #[arg(long, env = "QUORATE_ADVERTISE_PEER", value_name = "HOST:PORT", help_heading = "Addresses")]
    advertise_peer: Option<String>,
    /// The gRPC address that others are told [default: --grpc; required if that is a wildcard]
    #[arg(long, env = "QUORATE_ADVERTISE_GRPC", value_name = "HOST:PORT", help_heading = "Addresses")]
    advertise_grpc: Option<String>,

    /// The members of a new cluster, 1 to 7, with their peer addresses: 1=host:port,2=host:port,...; the same on all
    /// of them; read at the first start only. Names that do not resolve yet are retried
    #[arg(long, env = "QUORATE_INITIAL_CLUSTER", value_name = "ID=HOST:PORT,...", help_heading = "Cluster")]
    initial_cluster: Option<Members>,
    /// The peer address of any member of a cluster that this new node is to join; read at the first start only
    #[arg(long, env = "QUORATE_JOIN", value_name = "HOST:PORT", help_heading = "Cluster")]
    join: Option<String>,
    /// Join as a read replica: it has all data, has no vote and is never promoted by itself
    #[arg(long, env = "QUORATE_LEARNER", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Cluster")]
    learner: Option<bool>,
    /// Keeps clusters with the same member ids apart; the same on all members [default: quorate]
    #[arg(long, env = "QUORATE_CLUSTER_TOKEN", value_name = "TEXT", help_heading = "Cluster")]
    cluster_token: Option<String>,
    /// How often a leader says that it is alive [default: 100ms]
    #[arg(long, env = "QUORATE_HEARTBEAT_INTERVAL", value_name = "TIME", help_heading = "Cluster")]
    heartbeat_interval: Option<Span>,
    /// How long a node waits for a leader before it campaigns: drawn from once to twice this; at least twice
    /// --heartbeat-interval, five times is usual [default: 500ms]
    #[arg(long, env = "QUORATE_ELECTION_TIMEOUT", value_name = "TIME", help_heading = "Cluster")]
    election_timeout: Option<Span>,

    /// The largest value [default: 1536KiB]
    #[arg(long, env = "QUORATE_VALUE_BYTES_MAX", value_name = "SIZE", help_heading = "Limits")]
    value_bytes_max: Option<Size>,
    /// Connections that one listener serves at once [default: 10000]
    #[arg(long, env = "QUORATE_CONNECTIONS_MAX", value_name = "N", help_heading = "Limits")]
    connections_max: Option<u32>,
    /// Requests that clients have under way at once; one connection has at most half of them [default: 16384]
    #[arg(long, env = "QUORATE_REQUESTS_INFLIGHT_MAX", value_name = "N", help_heading = "Limits")]
    requests_inflight_max: Option<u32>,
    /// The bytes of their bodies and answers; several of one connection have at most half of them [default: 128MiB]
    #[arg(long, env = "QUORATE_REQUEST_BYTES_INFLIGHT_MAX", value_name = "SIZE", help_heading = "Limits")]
    request_bytes_inflight_max: Option<Size>,
    /// How long a request may take that names no deadline [default: 5s]
    #[arg(long, env = "QUORATE_REQUEST_TIMEOUT", value_name = "TIME", help_heading = "Limits")]
    request_timeout: Option<Span>,
    /// How long a stopping node lets requests finish [default: 10s]
    #[arg(long, env = "QUORATE_DRAIN_TIMEOUT", value_name = "TIME", help_heading = "Limits")]
    drain_timeout: Option<Span>,
    /// The whole log on disk: past it the node refuses writes [default: 8GiB]
    #[arg(long, env = "QUORATE_WAL_BYTES_MAX", value_name = "SIZE", help_heading = "Limits")]
    wal_bytes_max: Option<Size>,
    /// One file of the log [default: 64MiB]
    #[arg(long, env = "QUORATE_WAL_SEGMENT_BYTES", value_name = "SIZE", help_heading = "Limits")]
    wal_segment_bytes: Option<Size>,
    /// The end of the log that is kept for members that lag; who lags further gets a snapshot [default: 256MiB]
    #[arg(long, env = "QUORATE_LOG_TAIL_BYTES_MAX", value_name = "SIZE", help_heading = "Limits")]
    log_tail_bytes_max: Option<Size>,
    /// What is kept free on the data directory's volume: with less, writes are refused, and deletes are not [default: 512MiB]
    #[arg(long, env = "QUORATE_STORAGE_RESERVE_BYTES", value_name = "SIZE", help_heading = "Limits")]
    storage_reserve_bytes: Option<Size>,
    /// What log and state file may take together, the reserve included; 0 is no limit [default: 0]
    #[arg(long, env = "QUORATE_STORAGE_BYTES_MAX", value_name = "SIZE", help_heading = "Limits")]
    storage_bytes_max: Option<Size>,
    /// How long a snapshot that is being sent is kept without progress [default: 60s]
    #[arg(long, env = "QUORATE_SNAPSHOT_PIN", value_name = "TIME", help_heading = "Limits")]
    snapshot_pin: Option<Span>,
    /// How much the state file may grow while a snapshot is being sent from it [default: 1GiB]
    #[arg(long, env = "QUORATE_SNAPSHOT_PIN_GROWTH_BYTES", value_name = "SIZE", help_heading = "Limits")]
    snapshot_pin_growth_bytes: Option<Size>,
    /// How long the scrub rests between two rounds through log and state file [default: 600s]
    #[arg(long, env = "QUORATE_SCRUB_PAUSE", value_name = "TIME", help_heading = "Limits")]
    scrub_pause: Option<Span>,
    /// How often the members compare their states, if anything was written [default: 60s]
    #[arg(long, env = "QUORATE_HASH_MARK_INTERVAL", value_name = "TIME", help_heading = "Limits")]
    hash_mark_interval: Option<Span>,
    /// Writes held in memory before they are folded into the state file; two such sets exist [default: 32MiB]
    #[arg(long, env = "QUORATE_WRITE_SET_BYTES_MAX", value_name = "SIZE", help_heading = "Limits")]
    write_set_bytes_max: Option<Size>,
    /// Memory that caches pages of the state file [default: 32MiB]
    #[arg(long, env = "QUORATE_STORE_CACHE_BYTES", value_name = "SIZE", help_heading = "Limits")]
    store_cache_bytes: Option<Size>,

    /// How log lines on stderr look: human or json [default: human]
    #[arg(long, env = "QUORATE_LOG_FORMAT", value_name = "FORMAT", help_heading = "Logging")]
    #[arg(hide_possible_values = true)]
    log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or a list such as info,quorate::raft=debug [default: info]
    #[arg(long, env = "QUORATE_LOG_LEVEL", value_name = "LEVEL", help_heading = "Logging")]
    log_level: Option<String>,

    /// What the commands that ask a cluster take from the same file: no concern of a node, but of its spelling.
    #[arg(skip)]
    client: Option<remote::Settings>,
}

/// Fills each field that `$first` leaves open from `$second`. A field that is forgotten here does not compile.
macro_rules! layer {
    ($first:ident, $second:ident, $($field:ident),+ $(,)?) => {
        Settings { $($field: $first.$field.or($second.$field)),+ }
    };
}

impl Settings {
    /// These settings, and `file`'s where they say nothing.
    pub(super) fn or(self, file: Settings) -> Settings {
        layer!(
            self,
            file,
            id,
            data_dir,
            http,
            peer,
            grpc,
            advertise_http,
            advertise_peer,
            advertise_grpc,
            initial_cluster,
            join,
            learner,
            cluster_token,
            heartbeat_interval,
            election_timeout,
            value_bytes_max,
            connections_max,
            requests_inflight_max,
            request_bytes_inflight_max,
            request_timeout,
            drain_timeout,
            wal_bytes_max,
            log_tail_bytes_max,
            storage_reserve_bytes,
            storage_bytes_max,
            snapshot_pin,
            snapshot_pin_growth_bytes,
            scrub_pause,
            hash_mark_interval,
            wal_segment_bytes,
            write_set_bytes_max,
            store_cache_bytes,
            log_format,
            log_level,
            client,
        )
    }

    /// Reads a configuration file.
    pub(super) fn read(path: &Path) -> Result<Settings, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("--config {}: {error}", path.display())))?;
        Settings::parse(&text)
            .map_err(|error| Failure::usage(format!("--config {}, {error}", path.display())))
    }

    /// Reads the text of a configuration file.
    pub(super) fn parse(text: &str) -> Result<Settings, String> {
        let keys = "quorate serve --help lists the keys: those of the flags, without dashes in front";
        toml::from_str(text).map_err(|error| complaint(text, &error, keys))
    }

    /// How and what to log.
    pub(super) fn logging(&self) -> (LogFormat, &str) {
        let level = self.log_level.as_deref().unwrap_or(telemetry::LOG_LEVEL_DEFAULT);
        (self.log_format.unwrap_or_default(), level)
    }

    /// The configuration, with defaults where nothing was said; not validated yet.
    pub(super) fn into_config(self) -> Result<Config, Failure> {
        let limits = self.limits();
        let needed = |name: &str, example: &str| {
            let variable = format!("QUORATE_{}", name.to_uppercase().replace('-', "_"));
            Failure::usage(format!(
                "--{name} is missing: give --{name} {example}, {variable}, or {name} in the file"
            ))
        };
        let id = match self.id {
            Some(0) => return Err(Failure::usage("--id must be 1 or more")),
            // Who joins is told its id, and who has joined has it in its data directory.
            id => NodeId(id.unwrap_or(0)),
        };
        let data_dir = self.data_dir.ok_or_else(|| needed("data-dir", "DIR"))?;
        let initial_cluster = self.initial_cluster.map(|Members(members)| members).unwrap_or_default();
        let http = self.http.unwrap_or_else(|| config::HTTP_DEFAULT.to_owned());
        let peer = self.peer.unwrap_or_else(|| config::PEER_DEFAULT.to_owned());
        let grpc = self.grpc.unwrap_or_else(|| config::GRPC_DEFAULT.to_owned());
        let own_entry = initial_cluster.get(&id).cloned();
        Ok(Config {
            id,
            data_dir,
            advertise_http: self.advertise_http.unwrap_or_else(|| http.clone()),
            advertise_peer: self.advertise_peer.or(own_entry).unwrap_or_else(|| peer.clone()),
            advertise_grpc: self.advertise_grpc.unwrap_or_else(|| grpc.clone()),
            http,
            peer,
            grpc,
            initial_cluster,
            join: self.join,
            learner: self.learner.unwrap_or(false),
            cluster_token: self.cluster_token.unwrap_or_else(|| config::CLUSTER_TOKEN_DEFAULT.to_owned()),
            heartbeat_interval: self
                .heartbeat_interval
                .map_or(config::HEARTBEAT_INTERVAL_DEFAULT, |span| span.0),
            election_timeout: self.election_timeout.map_or(config::ELECTION_TIMEOUT_DEFAULT, |span| span.0),
            limits,
        })
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        let in_memory = |size: Option<Size>, default: usize| size.map_or(default, Size::in_memory);
        limits.value_bytes_max = in_memory(self.value_bytes_max, limits.value_bytes_max);
        limits.write_set_bytes_max = in_memory(self.write_set_bytes_max, limits.write_set_bytes_max);
        limits.store_cache_bytes = in_memory(self.store_cache_bytes, limits.store_cache_bytes);
        limits.wal_bytes_max = self.wal_bytes_max.map_or(limits.wal_bytes_max, |size| size.0);
        // Where the log may take little, what is kept for others is little, too.
        let tail = limits.log_tail_bytes_max.min(limits.wal_bytes_max / 4);
        limits.log_tail_bytes_max = self.log_tail_bytes_max.map_or(tail, |size| size.0);
        limits.snapshot_pin = self.snapshot_pin.map_or(limits.snapshot_pin, |span| span.0);
        let growth = self.snapshot_pin_growth_bytes;
        limits.snapshot_pin_growth_bytes = growth.map_or(limits.snapshot_pin_growth_bytes, |size| size.0);
        limits.scrub_pause = self.scrub_pause.map_or(limits.scrub_pause, |span| span.0);
        let marks = self.hash_mark_interval;
        limits.hash_mark_interval = marks.map_or(limits.hash_mark_interval, |span| span.0);
        limits.wal_segment_bytes = self.wal_segment_bytes.map_or(limits.wal_segment_bytes, |size| size.0);
        // Larger segments need a larger reserve.
        let reserve = limits.storage_reserve_bytes.max(limits.wal_segment_bytes.saturating_mul(4));
        limits.storage_reserve_bytes = self.storage_reserve_bytes.map_or(reserve, |size| size.0);
        limits.storage_floor_bytes = limits.storage_reserve_bytes / 4;
        limits.storage_bytes_max = self.storage_bytes_max.map_or(0, |size| size.0);
        limits.connections_max = self.connections_max.map_or(limits.connections_max, |count| count as usize);
        let requests = self.requests_inflight_max;
        limits.requests_inflight_max = requests.map_or(limits.requests_inflight_max, |count| count as usize);
        let bytes = self.request_bytes_inflight_max;
        limits.request_bytes_inflight_max = in_memory(bytes, limits.request_bytes_inflight_max);
        limits.drain_timeout = self.drain_timeout.map_or(limits.drain_timeout, |span| span.0);
        let request_timeout = self.request_timeout.map_or(limits.request_timeout_default, |span| span.0);
        limits.request_timeout_default = request_timeout;
        limits
    }
}

/// What is wrong in a file's text, on one line; `keys` says where all keys are found.
pub(super) fn complaint(text: &str, error: &toml::de::Error, keys: &str) -> String {
    let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
    let mut message = error.message().lines().collect::<Vec<_>>().join("; ");
    // A file's whole vocabulary would bury the word that is wrong.
    if message.starts_with("unknown field")
        && let Some(at) = message.find(", expected one of")
    {
        message.truncate(at);
        message.push_str(&format!(" ({keys})"));
    }
    format!("line {line}: {message}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use clap::Args as _;

    use super::*;

    fn file(text: &str) -> Settings {
        Settings::parse(text).expect("the file is right")
    }

    fn command() -> clap::Command {
        Settings::augment_args(clap::Command::new("test"))
    }

    #[test]
    fn a_setting_has_one_name_in_all_three_places() {
        let mut names = BTreeSet::new();
        for arg in command().get_arguments() {
            let name = arg.get_long().expect("every setting is a long flag").to_owned();
            let variable = format!("QUORATE_{}", name.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(variable.as_str()), "--{name}");
            assert!(arg.get_help_heading().is_some(), "--{name} stands under no heading");
            // A key that the file knows is mistyped by an array, not unknown.
            let error =
                Settings::parse(&format!("{name} = [[]]")).expect_err("no setting is an array of arrays");
            assert!(!error.contains("unknown field"), "{name} in the file: {error}");
            names.insert(name);
        }
        let error = toml::from_str::<Settings>("no-such-key = 1").expect_err("unknown").to_string();
        let listed = error.split("expected one of").nth(1).expect("serde lists the keys");
        let listed = listed.split('`').skip(1).step_by(2).filter(|key| *key != "client");
        let keys: BTreeSet<String> = listed.map(ToOwned::to_owned).collect();
        assert_eq!(keys, names, "the file has a key that is no flag");
    }

    #[test]
    fn what_is_said_first_wins() {
        let flags = Settings { id: Some(1), ..Settings::default() };
        let file = file("id = 2\nhttp = \"a:1\"\nheartbeat-interval = \"20ms\"");
        let config =
            Settings { data_dir: Some("d".into()), ..flags.or(file) }.into_config().expect("complete");
        assert_eq!((config.id, config.http.as_str()), (NodeId(1), "a:1"));
        assert_eq!(config.heartbeat_interval, Duration::from_millis(20));
        assert_eq!(config.grpc, config::GRPC_DEFAULT);
    }

    #[test]
    fn the_file_is_judged_with_line_numbers() {
        for (text, part) in [
            ("id = 1\nhtpp = \"a:1\"", "line 2: unknown field `htpp` (quorate serve --help"),
            ("id = \"one\"", "line 1: invalid type"),
            ("\nelection-timeout = 5", "line 2: invalid type"),
            ("election-timeout = \"5\"", "needs a unit"),
            ("initial-cluster = \"1=a:1,1=b:1\"", "named twice"),
            ("wal-bytes-max = \"8GB\"", "no unit of size"),
            ("wal-bytes-max = true", "a number of bytes, or a string"),
            ("log-format = \"xml\"", "line 1: unknown variant `xml`"),
            ("id = 1\nid = 2", "line 2: duplicate key"),
            ("id 1", "line 1:"),
            ("id = 1\n[client]\nendpoint = \"a:1\"", "line 3: unknown field `endpoint`"),
        ] {
            let error = Settings::parse(text).expect_err(text);
            assert!(error.contains(part), "{text:?}: {error:?}");
            assert!(!error.contains('\n'), "{text:?}: {error:?}");
        }
    }

    #[test]
    fn a_full_file_is_understood() {
        let settings = file(
            "id = 3\ndata-dir = \"/d\"\ninitial-cluster = \"1=a:1,3=c:3\"\nwal-bytes-max = 1073741824\n\
             value-bytes-max = \"1MiB\"\nlog-format = \"json\"\nlog-level = \"debug\"\ndrain-timeout = \"1s\"",
        );
        assert_eq!(settings.logging(), (LogFormat::Json, "debug"));
        let config = settings.into_config().expect("complete");
        assert_eq!((config.limits.wal_bytes_max, config.limits.value_bytes_max), (1 << 30, 1 << 20));
        assert_eq!(config.limits.drain_timeout, Duration::from_secs(1));
        assert_eq!(config.initial_cluster.len(), 2);
    }

    #[test]
    fn defaults_of_the_advertised_addresses() {
        let settings = file(
            "id = 2\ndata-dir = \"d\"\npeer = \"0.0.0.0:7\"\ninitial-cluster = \"2=n2:7\"\nhttp = \"h:1\"",
        );
        let config = settings.into_config().expect("complete");
        assert_eq!(config.advertise_peer, "n2:7", "the own entry of the initial cluster");
        assert_eq!(
            (config.advertise_http.as_str(), config.advertise_grpc.as_str()),
            ("h:1", config::GRPC_DEFAULT)
        );
        assert_eq!(config.validate(), Ok(()));

        let wildcard =
            file("id = 2\ndata-dir = \"d\"\npeer = \"0.0.0.0:7\"").into_config().expect("complete");
        assert!(wildcard.validate().is_err(), "nobody can connect to a wildcard");
    }

    #[test]
    fn what_is_required_is_asked_for() {
        let error = file("id = 0").into_config().expect_err("ids begin at 1");
        assert!(error.text.starts_with("--id must be 1"), "{}", error.text);
        let new = file("data-dir = \"d\"").into_config().expect("who joins has no id");
        let error = new.validate_bootstrap().expect_err("neither id nor cluster").to_string();
        assert!(error.starts_with("--id is missing"), "{error}");
        let error = file("id = 1").into_config().expect_err("no directory");
        assert!(error.text.contains("QUORATE_DATA_DIR"), "{}", error.text);
    }

    #[test]
    fn the_defaults_in_the_help_are_the_defaults() {
        let limits = Limits::default();
        let mib = |bytes: u64| format!("{}MiB", bytes >> 20);
        let defaults = [
            ("http", config::HTTP_DEFAULT.to_owned()),
            ("peer", config::PEER_DEFAULT.to_owned()),
            ("grpc", config::GRPC_DEFAULT.to_owned()),
            ("cluster-token", config::CLUSTER_TOKEN_DEFAULT.to_owned()),
            ("heartbeat-interval", format!("{:?}", config::HEARTBEAT_INTERVAL_DEFAULT)),
            ("election-timeout", format!("{:?}", config::ELECTION_TIMEOUT_DEFAULT)),
            ("value-bytes-max", format!("{}KiB", limits.value_bytes_max >> 10)),
            ("connections-max", limits.connections_max.to_string()),
            ("requests-inflight-max", limits.requests_inflight_max.to_string()),
            ("request-bytes-inflight-max", mib(limits.request_bytes_inflight_max as u64)),
            ("request-timeout", format!("{:?}", limits.request_timeout_default)),
            ("drain-timeout", format!("{:?}", limits.drain_timeout)),
            ("wal-bytes-max", format!("{}GiB", limits.wal_bytes_max >> 30)),
            ("log-tail-bytes-max", mib(limits.log_tail_bytes_max)),
            ("storage-reserve-bytes", mib(limits.storage_reserve_bytes)),
            ("storage-bytes-max", limits.storage_bytes_max.to_string()),
            ("snapshot-pin", format!("{:?}", limits.snapshot_pin)),
            ("snapshot-pin-growth-bytes", format!("{}GiB", limits.snapshot_pin_growth_bytes >> 30)),
            ("scrub-pause", format!("{:?}", limits.scrub_pause)),
            ("hash-mark-interval", format!("{:?}", limits.hash_mark_interval)),
            ("wal-segment-bytes", mib(limits.wal_segment_bytes)),
            ("write-set-bytes-max", mib(limits.write_set_bytes_max as u64)),
            ("store-cache-bytes", mib(limits.store_cache_bytes as u64)),
            ("log-level", telemetry::LOG_LEVEL_DEFAULT.to_owned()),
        ];
        let command = command();
        for (name, default) in defaults {
            let arg = command.get_arguments().find(|arg| arg.get_long() == Some(name)).expect(name);
            let help = arg.get_help().expect(name).to_string();
            assert!(help.contains(&format!("[default: {default}]")), "--{name}: {help}");
        }
    }
}
