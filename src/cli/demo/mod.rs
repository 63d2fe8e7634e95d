//! `quorate demo`: a whole cluster on one machine, as child processes of this one, with production defaults.
//!
//! Promises, and what keeps each:
//! - *Nothing is started in vain.* Ports and directories are checked for all nodes first ([`plan`], [`home`]); a node
//!   that finds a fault of usage itself, before it ever answered, ends the demo with its words.
//! - *No child outlives the demo*, but for kill -9 of the whole machine's worth of reasons: on a signal the children
//!   get SIGTERM, then SIGKILL ([`nodes`]); if the demo is killed itself, the kernel kills them (`--exit-with-parent`).
//!   They are in process groups of their own, so that Ctrl-C reaches the demo alone, which then stops them in order.
//! - *A node that was killed stays down* until somebody starts it by hand with the line that is printed. The demo
//!   recognises it by its answers ([`watch`]), never signals it, and leaves it running at the end, with its data.
//! - *The status never waits for a node*: each node is asked by a thread of its own ([`watch`]); [`status`] reads what
//!   they found last.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::home::Home;
use self::nodes::Cluster;
use self::plan::Plan;
use self::screen::Screen;
use super::{Failure, UNEXPECTED, USAGE};
use crate::clock::{self, SharedClock, SystemClock};

mod home;
mod nodes;
mod plan;
mod screen;
mod status;
mod watch;

const AFTER_HELP: &str = "\
Examples:
  quorate demo                          three nodes; their data is removed at the end
  quorate demo --dir ./cluster          the same, and the data is kept for the next time
  quorate demo --nodes 5 --port-base 20000
                                        REST 20001-20005, peers 20101-20105, gRPC 20201-20205

Ctrl-C stops all nodes. A node that you kill stays down; the demo prints the line that brings it back.";

/// Run a cluster on this machine to try things with
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// How many nodes, 1 to 7
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    nodes: u16,
    /// Keep the data here, node i in DIR/node<i>/ [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Node i: REST on port P+i, peers P+100+i, gRPC P+200+i [default: 8080+i, 7000+i, 9000+i]
    #[arg(long, value_name = "P")]
    port_base: Option<u16>,
}

/// How often the status is renewed.
const REFRESH_INTERVAL: Duration = Duration::from_millis(500);

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    // One thread, this one: the kernel's promise to kill the children is tied to the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(UNEXPECTED, format!("no runtime: {error}")))?;
    runtime.block_on(demo(args))
}

async fn demo(args: &Args) -> Result<(), Failure> {
    let mut stop = StopSignals::install()?;
    let clock = SystemClock::shared();
    let plan = Plan::new(args.nodes, args.port_base)?;
    plan.check_ports()?;
    let mut home = Home::prepare(args.dir.as_deref(), args.nodes, &clock)?;
    let mut cluster = Cluster::start(&plan, &home, &clock)?;
    let mut screen = Screen::new();
    screen.introduce(&cluster, &home);

    let outcome = watch(&mut cluster, &mut screen, &mut stop, &clock).await;
    screen.event("stopping all nodes");
    cluster.stop(&mut stop, &clock).await;
    let left = cluster.left_running();
    if !left.is_empty() {
        home.keep();
    }
    screen.conclude(&home, &left);
    outcome
}

/// Shows what happens until a signal comes, or a node proves that it could not have been started.
async fn watch(
    cluster: &mut Cluster,
    screen: &mut Screen,
    stop: &mut StopSignals,
    clock: &SharedClock,
) -> Result<(), Failure> {
    loop {
        for event in cluster.observe(clock.now()) {
            if let Some(text) = event.fault_of_usage() {
                return Err(Failure::new(USAGE, text));
            }
            screen.event(&event.to_string());
        }
        screen.show(&cluster.status(clock.now()));
        tokio::select! {
            biased;
            () = stop.recv() => return Ok(()),
            () = clock::sleep(&**clock, REFRESH_INTERVAL) => {}
        }
    }
}

/// The signals that end the demo.
struct StopSignals([Signal; 3]);

impl StopSignals {
    fn install() -> Result<StopSignals, Failure> {
        let install =
            |kind| signal(kind).map_err(|error| Failure::new(UNEXPECTED, format!("no signals: {error}")));
        Ok(StopSignals([
            install(SignalKind::interrupt())?,
            install(SignalKind::terminate())?,
            install(SignalKind::hangup())?,
        ]))
    }

    async fn recv(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
