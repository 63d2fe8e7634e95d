//! What a run is to do, complete and checked. It is written into the results: two runs can be compared if their plans can.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What keys begin with: a range of their own in any store.
pub(crate) const KEY_PREFIX: &str = "bench";

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// What is asked.
    pub(crate) work: Work,
    /// Which door is asked.
    pub(crate) target: TargetKind,
    /// Where its nodes are; connections are spread over them in turn.
    pub(crate) endpoints: Vec<String>,
    /// Requests under way at the same time, at most.
    pub(crate) clients: usize,
    /// Connections that they share.
    pub(crate) connections: usize,
    /// How long is measured; none: until `requests` were sent.
    pub(crate) duration_s: Option<f64>,
    /// How many requests are measured; none: as many as fit in `duration_s`.
    pub(crate) requests: Option<u64>,
    /// How long the same is done before it is measured.
    pub(crate) warmup_s: f64,
    /// Requests a second that are due, whatever the answers (open loop); none: each client asks when it was answered.
    pub(crate) rate: Option<f64>,
    /// Different keys.
    pub(crate) key_count: u64,
    /// Bytes of a key.
    pub(crate) key_bytes: usize,
    /// Bytes of a value.
    pub(crate) value_bytes: usize,
    /// Which keys are asked for how often.
    pub(crate) distribution: Distribution,
    /// The share of reads of mixed work.
    pub(crate) read_share: f64,
    /// Keys of a list.
    pub(crate) list_limit: u64,
    /// How fresh reads must be.
    pub(crate) consistency: Freshness,
    /// How long a request may take before it is given up as failed.
    pub(crate) timeout_s: f64,
    /// Whether every key is written once before anything is measured.
    pub(crate) preload: bool,
    /// What keys, values and their order are drawn from.
    pub(crate) seed: u64,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Work {
    /// Writes.
    Put,
    /// Reads of one key.
    Get,
    /// Both.
    Mixed,
    /// Reads of many keys in order.
    List,
}

/// Which door is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TargetKind {
    /// Quorate through its client library: one client, pipelined
    #[value(alias = "quorate")]
    Library,
    /// Quorate's gRPC API, a call for each request
    Grpc,
    /// Quorate's REST API over HTTP/1.1
    Rest,
    /// etcd's gRPC API, which etcd and Quorate have
    Etcd,
}

/// How fresh reads must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Freshness {
    /// Everything that was acknowledged before is seen
    Linearizable,
    /// The same, by the leader's lease where the cluster allows it (not etcd)
    Lease,
    /// What the node has (etcd: serializable)
    Stale,
}

/// Which keys are asked for how often.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Distribution {
    /// All alike.
    Uniform,
    /// The nth most popular one in proportion to n to the power of minus this.
    Zipf(f64),
}

/// The exponent of a `zipf` without one: some keys are hot, and most are asked for now and then.
const ZIPF_EXPONENT: f64 = 1.1;

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Distribution, String> {
        match text.split_once(':') {
            None if text == "uniform" => Ok(Distribution::Uniform),
            None if text == "zipf" => Ok(Distribution::Zipf(ZIPF_EXPONENT)),
            Some(("zipf", exponent)) => match exponent.parse::<f64>() {
                Ok(exponent) if exponent > 0.0 && exponent <= 10.0 => Ok(Distribution::Zipf(exponent)),
                _ => Err(format!("'{exponent}' is no exponent: give a number above 0, at most 10")),
            },
            _ => Err(format!("'{text}' is no distribution: use uniform, zipf or zipf:1.1")),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distribution::Uniform => f.write_str("uniform"),
            Distribution::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

impl From<Distribution> for String {
    fn from(distribution: Distribution) -> String {
        distribution.to_string()
    }
}

impl TryFrom<String> for Distribution {
    type Error = String;

    fn try_from(text: String) -> Result<Distribution, String> {
        text.parse()
    }
}

impl Work {
    /// As the command line says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Put => "put",
            Work::Get => "get",
            Work::Mixed => "mixed",
            Work::List => "list",
        }
    }
}

impl TargetKind {
    /// As the command line says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            TargetKind::Library => "library",
            TargetKind::Grpc => "grpc",
            TargetKind::Rest => "rest",
            TargetKind::Etcd => "etcd",
        }
    }
}

impl Freshness {
    /// As the command line says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Freshness::Linearizable => "linearizable",
            Freshness::Lease => "lease",
            Freshness::Stale => "stale",
        }
    }
}

impl Plan {
    /// Checks what the command line's own grammar cannot.
    ///
    /// # Errors
    /// What does not fit, and what would.
    pub(crate) fn check(&self) -> Result<(), String> {
        let digits = self.key_bytes.saturating_sub(KEY_PREFIX.len());
        let room = u32::try_from(digits).ok().and_then(|digits| 10_u64.checked_pow(digits));
        if digits == 0 || room.is_some_and(|room| room < self.key_count) {
            return Err(format!(
                "--key-size {} has no room for {} different keys: give more bytes, or a smaller --key-count",
                self.key_bytes, self.key_count
            ));
        }
        if !(0.0..=1.0).contains(&self.read_share) {
            return Err(format!("--read-share {} is no share: give 0 to 1", self.read_share));
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 10_000_000.0)) {
            return Err("--rate: give requests a second, above 0 and at most 10000000".to_owned());
        }
        if self.consistency == Freshness::Lease && self.target == TargetKind::Etcd {
            return Err("--consistency lease: etcd's API has none: use linearizable or stale".to_owned());
        }
        if self.endpoints.is_empty() {
            return Err("--endpoints: name one node at least".to_owned());
        }
        Ok(())
    }

    /// How long a request may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout_s)
    }

    /// In a line, without where it ran.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!(
            "{} over {}, {} {}, {} {}, {} keys ({}), {} B values",
            self.work.name(),
            self.target.name(),
            self.clients,
            if self.clients == 1 { "client" } else { "clients" },
            self.connections,
            if self.connections == 1 { "connection" } else { "connections" },
            super::text::count(self.key_count),
            self.distribution,
            self.value_bytes,
        );
        if self.work != Work::Put {
            text.push_str(&format!(", {} reads", self.consistency.name()));
        }
        if self.work == Work::Mixed {
            text.push_str(&format!(" ({} %)", self.read_share * 100.0));
        }
        match self.rate {
            Some(rate) => text.push_str(&format!(", {} due a second", super::text::rate(rate))),
            None => text.push_str(", closed loop"),
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Something to change.
    pub(crate) fn plan() -> Plan {
        Plan {
            work: Work::Put,
            target: TargetKind::Library,
            endpoints: vec!["127.0.0.1:9001".to_owned()],
            clients: 4,
            connections: 2,
            duration_s: None,
            requests: Some(100),
            warmup_s: 0.0,
            rate: None,
            key_count: 1_000,
            key_bytes: 16,
            value_bytes: 32,
            distribution: Distribution::Uniform,
            read_share: 0.5,
            list_limit: 10,
            consistency: Freshness::Linearizable,
            timeout_s: 10.0,
            preload: false,
            seed: 1,
        }
    }

    #[test]
    fn distributions_are_read_and_written() {
        assert_eq!("uniform".parse(), Ok(Distribution::Uniform));
        assert_eq!("zipf".parse(), Ok(Distribution::Zipf(1.1)));
        for text in ["uniform", "zipf:0.99", "zipf:2"] {
            assert_eq!(text.parse::<Distribution>().expect(text).to_string(), text);
        }
        for wrong in ["", "zip", "zipf:", "zipf:0", "zipf:-1", "zipf:NaN", "zipf:11", "uniform:1"] {
            assert!(wrong.parse::<Distribution>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(plan().check(), Ok(()));
        type Change = fn(&mut Plan);
        let wrong: [(Change, &str); 6] = [
            (|plan| plan.key_bytes = 5, "--key-size 5"),
            (|plan| plan.key_bytes = 7, "--key-size 7"),
            (|plan| plan.read_share = 1.5, "--read-share"),
            (|plan| plan.rate = Some(0.0), "--rate"),
            (|plan| plan.endpoints.clear(), "--endpoints"),
            (|plan| (plan.target, plan.consistency) = (TargetKind::Etcd, Freshness::Lease), "lease"),
        ];
        for (change, part) in wrong {
            let mut plan = plan();
            change(&mut plan);
            let error = plan.check().expect_err(part);
            assert!(error.contains(part), "{error}");
        }
        let just = Plan { key_bytes: 8, ..plan() };
        assert_eq!(just.check(), Ok(()), "three digits are a thousand keys");
    }

    #[test]
    fn plans_are_kept_in_json() {
        let plan = Plan { distribution: Distribution::Zipf(0.9), rate: Some(5e3), ..plan() };
        let text = serde_json::to_string(&plan).expect("it can be written");
        assert!(text.contains(r#""distribution":"zipf:0.9""#), "{text}");
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("it can be read"), plan);
    }
}
