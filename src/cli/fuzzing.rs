//! What must hold of a configuration file for any text in it; and the way to what must hold of the language of `quorate txn`.

use super::remote::script::fuzzing as script;
use super::settings::Settings;
use crate::config::Config;

/// A file is refused with one line, or it becomes a configuration; that is judged with one line, too, and what is found
/// good keeps what the limits promise each other.
pub(crate) fn check(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let config = match Settings::parse(text) {
        Err(complaint) => return refused(&complaint),
        Ok(settings) => match settings.or(Settings::default()).into_config() {
            Err(failure) => return refused(&failure.text),
            Ok(config) => config,
        },
    };
    if let Err(invalid) = config.validate() {
        return refused(&invalid.to_string());
    }
    if let Err(invalid) = config.validate_bootstrap() {
        return refused(&invalid.to_string());
    }
    check_promises(&config);
    true
}

/// The same of a transaction's text: see there.
pub(crate) fn check_script(input: &[u8]) -> bool {
    script::check(input)
}

/// Transactions.
pub(crate) fn scripts() -> Vec<(&'static str, Vec<u8>)> {
    script::samples()
}

/// A refusal is one line that says something.
fn refused(complaint: &str) -> bool {
    assert!(!complaint.is_empty() && !complaint.contains('\n'), "not one line: {complaint:?}");
    false
}

/// In numbers that cannot overflow.
fn check_promises(config: &Config) {
    let limits = &config.limits;
    let (value, key) = (limits.value_bytes_max as u128, limits.key_bytes_max as u128);
    assert!(value > 0 && value + key <= limits.frame_bytes_max as u128, "a value fits no frame: {limits:?}");
    let segment = u128::from(limits.wal_segment_bytes);
    assert!(segment >= 4 * limits.frame_bytes_max as u128, "a frame fits no segment: {limits:?}");
    assert!(u128::from(limits.wal_bytes_max) >= 4 * segment, "no room for the segments: {limits:?}");
    assert!(config.election_timeout.as_nanos() >= 2 * config.heartbeat_interval.as_nanos(), "{config:?}");
    assert!(config.initial_cluster.contains_key(&config.id), "a founder that is no member: {config:?}");
}

/// The smallest file, and one with all settings.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let small = "id = 1\ndata-dir = \"/var/lib/quorate\"\ninitial-cluster = \"1=n1.example:7001\"\n";
    let whole = "\
# Node 2 of 3.
id = 2
data-dir = \"/var/lib/quorate\"
http = \"0.0.0.0:8081\"
peer = \"[::1]:7001\"
grpc = \"127.0.0.1:9001\"
advertise-http = \"n2.example:8081\"
advertise-peer = \"n2.example:7001\"
advertise-grpc = \"n2.example:9001\"
initial-cluster = \"1=n1.example:7001,2=n2.example:7001,3=n3.example:7001\"
cluster-token = \"token\"
heartbeat-interval = \"100ms\"
election-timeout = \"1s\"
value-bytes-max = \"1MiB\"
connections-max = 500
request-timeout = \"5s\"
drain-timeout = \"10s\"
wal-bytes-max = \"8GiB\"
wal-segment-bytes = 67108864
write-set-bytes-max = \"32MiB\"
store-cache-bytes = 33554432
log-format = \"json\"
log-level = \"info,quorate::raft=debug\"
";
    vec![("small", small.into()), ("whole", whole.into())]
}
