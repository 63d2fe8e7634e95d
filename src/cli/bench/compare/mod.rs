//! `quorate bench compare`: three nodes of etcd and three of Quorate on this machine, the same loads in turn, the ratios.
//!
//! Absolute figures say as much about a machine as about a store, and a machine is not the same from minute to minute. So
//! contenders take turns within each round, the order is turned round from round to round, a ratio is taken within its round,
//! and the median of the rounds is shown. All run with the defaults of their makers, which have in common that a write is on the disks
//! of a quorum before it is acknowledged.
//!
//! `ceiling` is no store: it is a server that answers the same calls from a map in memory, without disks and without consensus,
//! by tonic's own server. It shows what calls cost by themselves on this machine where they are served in the usual way. That is no
//! strict bound: nodes serve them past that server.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::super::values::{Size, Span};
use super::super::{Failure, UNEXPECTED, say};
use super::plan::{Distribution, Freshness, Plan, TargetKind, Work};
use super::screen::Screen;
use super::{check_writable, html, load, options, write, write_json};
use nodes::{Nodes, Place};
use tally::{Comparison, Measurement};

pub(super) mod ceiling;
mod nodes;
pub(super) mod tally;

const AFTER_HELP: &str = "\
Examples:
  quorate bench compare                         about 20 minutes
  quorate bench compare --quick                 about 3 minutes, and as rough
  quorate bench compare --contenders etcd,library --clients 256 --key-count 1000000 --html compare.html

It needs etcd (Debian: apt-get install etcd-server), and a disk: a temporary directory in memory would make fsync free.";

/// Compare etcd and Quorate on this machine: equal settings, the same loads in turn
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// One round of short runs
    #[arg(long)]
    quick: bool,
    /// How often all is measured; the median counts [default: 3, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: Option<u32>,
    /// How long each run is measured [default: 10s, with --quick 4s]
    #[arg(long, value_name = "TIME")]
    duration: Option<Span>,
    /// How long each is loaded before [default: 2s, with --quick 1s]
    #[arg(long, value_name = "TIME")]
    warmup: Option<Span>,
    /// Who takes part
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',',
          default_values_t = [Contender::Etcd, Contender::EtcdApi, Contender::Grpc, Contender::Library, Contender::Rest, Contender::Ceiling])]
    contenders: Vec<Contender>,
    /// What is asked: put, get
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',', default_values_t = [Load::Put, Load::Get])]
    loads: Vec<Load>,
    /// Requests under way at the same time
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [1, 64, 256])]
    clients: Vec<usize>,
    /// Connections that they share, of the gRPC APIs
    #[arg(long, value_name = "N", default_value_t = 16)]
    connections: usize,
    /// How many different keys; all are there before anything is measured
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    key_count: u64,
    /// Bytes of a value
    #[arg(long, value_name = "SIZE", default_value = "256")]
    value_size: Size,
    /// Make the nodes' data below this directory [default: the one for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The etcd to start
    #[arg(long, value_name = "FILE", default_value = "etcd")]
    etcd: PathBuf,
    /// Write the results there
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with them there
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What is asked of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Load {
    /// Writes
    Put,
    /// Linearizable reads
    Get,
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Contender {
    /// etcd
    Etcd,
    /// Quorate by etcd's API: the same bytes that etcd is sent
    EtcdApi,
    /// Quorate by its gRPC API, a call for each request
    Grpc,
    /// Quorate by its client library
    Library,
    /// Quorate by REST
    Rest,
    /// A server without disks and without consensus, by etcd's API
    Ceiling,
}

impl Contender {
    /// As reports call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Contender::Etcd => "etcd",
            Contender::EtcdApi => "quorate, etcd API",
            Contender::Grpc => "quorate, gRPC",
            Contender::Library => "quorate, library",
            Contender::Rest => "quorate, REST",
            Contender::Ceiling => "ceiling (no store)",
        }
    }

    fn target(self) -> TargetKind {
        match self {
            Contender::Etcd | Contender::EtcdApi | Contender::Ceiling => TargetKind::Etcd,
            Contender::Grpc => TargetKind::Grpc,
            Contender::Library => TargetKind::Library,
            Contender::Rest => TargetKind::Rest,
        }
    }
}

/// The processes that contenders are.
struct Arena {
    etcd: Option<Nodes>,
    quorate: Option<Nodes>,
    ceiling: Option<Nodes>,
}

impl Arena {
    /// Starts whom `contenders` need, and waits until they serve.
    async fn start(args: &Args, place: &Place) -> Result<Arena, Failure> {
        let needs = |of: fn(&Contender) -> bool| args.contenders.iter().any(of);
        let of_quorate = |contender: &Contender| !matches!(contender, Contender::Etcd | Contender::Ceiling);
        let mut arena = Arena { etcd: None, quorate: None, ceiling: None };
        if needs(|contender| *contender == Contender::Etcd) {
            arena.etcd = Some(Nodes::etcd(place, &args.etcd)?);
        }
        if needs(of_quorate) {
            arena.quorate = Some(Nodes::quorate(place)?);
        }
        if needs(|contender| *contender == Contender::Ceiling) {
            arena.ceiling = Some(Nodes::ceiling(place)?);
        }
        for nodes in [&mut arena.etcd, &mut arena.quorate, &mut arena.ceiling].into_iter().flatten() {
            nodes.wait_ready().await?;
        }
        Ok(arena)
    }

    fn nodes(&self, contender: Contender) -> &Nodes {
        let nodes = match contender {
            Contender::Etcd => &self.etcd,
            Contender::Ceiling => &self.ceiling,
            _ => &self.quorate,
        };
        nodes.as_ref().expect("whom the contenders need was started")
    }
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let no_signals = |error| Failure::new(UNEXPECTED, format!("no signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(no_signals)?;
    // Dropped in the middle, it takes the processes that it started and their data with it.
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        outcome = compare(&args) => return outcome,
    }
    Err(Failure::new(UNEXPECTED, "stopped before all was measured"))
}

async fn compare(args: &Args) -> Result<(), Failure> {
    for path in args.json.iter().chain(&args.html) {
        check_writable(path)?;
    }
    if args.clients.contains(&0) || args.connections == 0 || args.contenders.is_empty() {
        return Err(Failure::usage("--clients, --connections and --contenders: give one at least"));
    }
    let place = Place::new(args.dir.as_deref())?;
    let mut screen = Screen::new();
    screen.line(&format!("starting nodes, data in {}", place.path().display()));
    let arena = Arena::start(args, &place).await?;
    fill(args, &arena, &mut screen).await?;
    let mut comparison = Comparison::new(args.key_count, args.value_size.in_memory(), args.connections);
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 3 });
    for round in 1..=rounds {
        for &load in &args.loads {
            for &clients in &args.clients {
                let mut contenders = args.contenders.clone();
                if round % 2 == 0 {
                    contenders.reverse();
                }
                for contender in contenders {
                    let prefix = format!(
                        "round {round} of {rounds}, {} \u{d7} {clients}, {}: ",
                        load_name(load),
                        contender.name()
                    );
                    screen.set_prefix(prefix);
                    let plan = plan(args, contender, &arena, load, clients);
                    let measured = measure(arena.nodes(contender), &plan, &mut screen).await?;
                    let Some(measured) = measured else { return Err(Failure::new(UNEXPECTED, "stopped")) };
                    comparison.add(round, contender, load, clients, measured);
                }
            }
        }
    }
    drop(arena);
    say(comparison.table().trim_end());
    if let Some(path) = &args.json {
        write_json(path, &comparison)?;
    }
    if let Some(path) = &args.html {
        write(path, &html::compare(&comparison))?;
    }
    Ok(())
}

/// The verb of a load.
pub(super) fn load_name(load: Load) -> &'static str {
    match load {
        Load::Put => "put",
        Load::Get => "get",
    }
}

/// Writes every key once into each store.
async fn fill(args: &Args, arena: &Arena, screen: &mut Screen) -> Result<(), Failure> {
    let doors = [Contender::Etcd, Contender::Ceiling];
    let quorate = args.contenders.iter().copied().find(|contender| !doors.contains(contender));
    let doors = doors.into_iter().filter(|door| args.contenders.contains(door)).chain(quorate);
    for door in doors {
        screen.set_prefix(format!("{}: ", door.name()));
        let fill = Plan {
            preload: true,
            requests: Some(1),
            duration_s: None,
            warmup_s: 0.0,
            ..plan(args, door, arena, Load::Put, 64)
        };
        load::run(&fill, screen).await.map_err(|error| Failure::new(UNEXPECTED, error))?;
    }
    Ok(())
}

fn plan(args: &Args, contender: Contender, arena: &Arena, load: Load, clients: usize) -> Plan {
    let target = contender.target();
    let endpoints = arena.nodes(contender).endpoints(target);
    let shared = (target != TargetKind::Rest).then_some(args.connections);
    let (warmup, duration) = if args.quick { (1, 4) } else { (2, 10) };
    let [warmup, duration] = [warmup, duration].map(Duration::from_secs);
    Plan {
        work: match load {
            Load::Put => Work::Put,
            Load::Get => Work::Get,
        },
        target,
        // HTTP/1.1 carries one request at a time: there each client has its own.
        connections: options::connections(target, shared, clients, endpoints.len()),
        endpoints,
        clients,
        duration_s: Some(args.duration.map_or(duration, |Span(duration)| duration).as_secs_f64()),
        requests: None,
        warmup_s: args.warmup.map_or(warmup, |Span(warmup)| warmup).as_secs_f64(),
        rate: None,
        key_count: args.key_count,
        key_bytes: 16,
        value_bytes: args.value_size.in_memory(),
        distribution: Distribution::Uniform,
        read_share: 0.0,
        list_limit: 1,
        consistency: Freshness::Linearizable,
        timeout_s: 10.0,
        preload: false,
        seed: 1,
    }
}

/// One run: a short one to warm up, then the one that counts, with what the nodes used meanwhile. None: a signal ended it.
async fn measure(nodes: &Nodes, plan: &Plan, screen: &mut Screen) -> Result<Option<Measurement>, Failure> {
    let failed = |error: String| Failure::new(UNEXPECTED, error);
    // Apart, so that what the nodes used belongs to the requests that are counted.
    if plan.warmup_s > 0.0 {
        let warm_up = Plan { duration_s: Some(plan.warmup_s), warmup_s: 0.0, ..plan.clone() };
        load::run(&warm_up, &mut Screen::silent()).await.map_err(failed)?;
    }
    let plan = &Plan { warmup_s: 0.0, ..plan.clone() };
    let before = nodes.usage();
    let outcome = load::run(plan, screen).await.map_err(failed)?;
    let used = nodes.usage().since(&before);
    Ok((!outcome.was_interrupted).then(|| Measurement::new(&outcome, &used)))
}
