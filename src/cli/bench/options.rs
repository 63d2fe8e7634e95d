//! The flags of a run, and the plan that they make.

use std::path::PathBuf;
use std::time::Duration;

use super::super::Failure;
use super::super::values::{Size, Span};
use super::plan::{Distribution, Freshness, Plan, TargetKind, Work};

/// Connections of a target that carries many requests on each.
const CONNECTIONS: usize = 16;
/// How long is measured, unless the flags say otherwise.
const DURATION: Duration = Duration::from_secs(30);

/// The flags of a run.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Which door to load
    #[arg(long, value_enum, default_value_t = TargetKind::Library)]
    target: TargetKind,
    /// Where nodes are, HOST:PORT,... [default: 127.0.0.1, port 9001, for rest 8081, for etcd 2379]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    endpoints: Vec<String>,
    /// Requests under way at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    clients: usize,
    /// Connections that they share, spread over the endpoints in turn; the library has one for each node
    /// [default: 16, for rest one for each client]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    connections: Option<usize>,
    /// How long to measure [default: 30s]
    #[arg(long, value_name = "TIME", conflicts_with = "requests")]
    duration: Option<Span>,
    /// How many requests to measure, instead of a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// How long to load before measuring
    #[arg(long, value_name = "TIME", default_value = "2s")]
    warmup: Span,
    /// Requests a second that are due, whatever the answers (open loop) [default: each client asks when it was answered]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// How many different keys
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    key_count: u64,
    /// Bytes of a key
    #[arg(long, value_name = "SIZE", default_value = "16")]
    key_size: Size,
    /// Bytes of a value
    #[arg(long, value_name = "SIZE", default_value = "256")]
    value_size: Size,
    /// Which keys are asked for how often: uniform, zipf, zipf:EXPONENT
    #[arg(long, value_name = "NAME", default_value = "uniform")]
    distribution: Distribution,
    /// mixed: the share of reads, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    read_share: f64,
    /// list: how many keys to read
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    list_limit: u64,
    /// How fresh reads must be
    #[arg(long, value_enum, default_value_t = Freshness::Linearizable)]
    consistency: Freshness,
    /// Write every key once before
    #[arg(long)]
    preload: bool,
    /// How long a request may take before it counts as failed
    #[arg(long, value_name = "TIME", default_value = "10s")]
    timeout: Span,
    /// What keys and values are drawn from: the same seed, the same requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// So many may fail; more make the exit code 1
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) max_errors: u64,
    /// What to call this run in reports [default: the target]
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Write the results there
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write a page with plots there
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Show the results of another run (its --json) on the same page
    #[arg(long, value_name = "FILE", requires = "html")]
    pub(super) compare_with: Option<PathBuf>,
}

/// A number of things of which one is needed.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("give a whole number, 1 or more".to_owned()),
        Ok(number) => Ok(number),
    }
}

impl Options {
    /// What they ask for.
    pub(super) fn plan(&self, work: Work) -> Result<Plan, Failure> {
        let endpoints = match self.target {
            _ if !self.endpoints.is_empty() => self.endpoints.clone(),
            TargetKind::Library | TargetKind::Grpc => vec!["127.0.0.1:9001".to_owned()],
            TargetKind::Rest => vec!["127.0.0.1:8081".to_owned()],
            TargetKind::Etcd => vec!["127.0.0.1:2379".to_owned()],
        };
        let duration = self.duration.map(|Span(duration)| duration);
        let duration = duration.or((self.requests.is_none()).then_some(DURATION));
        if duration.is_some_and(|duration| duration.is_zero()) {
            return Err(Failure::usage("--duration is 0: give more"));
        }
        let plan = Plan {
            work,
            target: self.target,
            connections: connections(self.target, self.connections, self.clients, endpoints.len()),
            endpoints,
            clients: self.clients,
            duration_s: duration.map(|duration| duration.as_secs_f64()),
            requests: self.requests,
            warmup_s: self.warmup.0.as_secs_f64(),
            rate: self.rate,
            key_count: self.key_count,
            key_bytes: self.key_size.in_memory(),
            value_bytes: self.value_size.in_memory(),
            distribution: self.distribution,
            read_share: self.read_share,
            list_limit: self.list_limit,
            consistency: self.consistency,
            timeout_s: self.timeout.0.as_secs_f64(),
            preload: self.preload,
            seed: self.seed,
        };
        plan.check().map_err(Failure::usage)?;
        Ok(plan)
    }

    /// What this run is called.
    pub(super) fn label(&self) -> String {
        self.label.clone().unwrap_or_else(|| self.target.name().to_owned())
    }
}

/// How many connections `clients` share. More than there are clients would never be used.
pub(super) fn connections(
    target: TargetKind,
    asked: Option<usize>,
    clients: usize,
    endpoints: usize,
) -> usize {
    match target {
        TargetKind::Library => endpoints,
        TargetKind::Rest => asked.unwrap_or(clients).min(clients),
        TargetKind::Grpc | TargetKind::Etcd => asked.unwrap_or(CONNECTIONS).min(clients),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let words = ["bench"].into_iter().chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.options.plan(Work::Put).map_err(|failure| failure.text)
    }

    #[test]
    fn each_target_has_its_port_and_its_connections() {
        for (target, endpoint, connections) in [
            ("library", "127.0.0.1:9001", 1),
            ("quorate", "127.0.0.1:9001", 1),
            ("grpc", "127.0.0.1:9001", 16),
            ("rest", "127.0.0.1:8081", 64),
            ("etcd", "127.0.0.1:2379", 16),
        ] {
            let plan = plan(&format!("--target {target}")).expect(target);
            assert_eq!((plan.endpoints, plan.connections), (vec![endpoint.to_owned()], connections));
        }
        let few = plan("--target grpc --clients 2 --endpoints a:1,b:2").expect("it is right");
        assert_eq!((few.connections, few.endpoints.len()), (2, 2));
    }

    #[test]
    fn time_or_count_ends_a_run() {
        let ends = |line| plan(line).map(|plan| (plan.duration_s, plan.requests));
        assert_eq!(ends(""), Ok((Some(30.0), None)));
        assert_eq!(ends("--duration 1500ms"), Ok((Some(1.5), None)));
        assert_eq!(ends("--requests 7"), Ok((None, Some(7))));
        for wrong in
            ["--requests 7 --duration 1s", "--requests 0", "--duration 0s", "--clients 0", "--rate -1"]
        {
            assert!(plan(wrong).is_err(), "{wrong}");
        }
    }
}
