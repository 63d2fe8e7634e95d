//! `quorate serve`: one node, until it is told to stop.
//!
//! Settings are layered and judged, log lines set up, and only then does anything start: a mistake costs one line and
//! exit code 2.
//!
//! SIGTERM and Ctrl-C drain; a second one does not wait. A panic anywhere ends the process: a node whose invariant
//! broke must not go on answering with the rest of its parts.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::settings::Settings;
use super::{Failure, UNEXPECTED, USAGE};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::server::{self, Seams};
use crate::telemetry;

const AFTER_HELP: &str = "\
Every flag is also a variable (--data-dir: QUORATE_DATA_DIR) and a key of the TOML file that --config names
(data-dir = \"...\"). Precedence: flag, then variable, then file, then default. Unknown keys of the file are errors.
Times are written 100ms, 1s, 2m; sizes 1048576, 64MiB, 8GiB.

Examples:
  One node:
    quorate serve --id 1 --data-dir /var/lib/quorate --initial-cluster 1=127.0.0.1:7001

  Three nodes on hosts a, b and c; the same on each but for --id and --advertise-*:
    quorate serve --id 1 --data-dir /var/lib/quorate \\
      --http 0.0.0.0:8081 --peer 0.0.0.0:7001 --grpc 0.0.0.0:9001 \\
      --advertise-http a:8081 --advertise-grpc a:9001 \\
      --initial-cluster 1=a:7001,2=b:7001,3=c:7001

  The same from a file:
    quorate serve --config /etc/quorate.toml

SIGTERM and Ctrl-C let requests finish and exit with 0. Exit codes: 1 unexpected, 2 usage, port or directory,
3 damaged data, 4 disk failure, 5 identity refused or removed.";

/// Run one node of a cluster
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    settings: Settings,
    /// A TOML file with any of these settings, named as the flags are
    #[arg(long, env = "QUORATE_CONFIG", value_name = "FILE", help_heading = "Node")]
    config: Option<PathBuf>,
    /// Die with this process (the demo's nodes do)
    #[arg(long, hide = true, value_name = "PID")]
    exit_with_parent: Option<u32>,
}

/// Runs a node until it is told to stop.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    if let Some(parent) = args.exit_with_parent {
        parent::exit_with(parent)?;
    }
    decline_huge_pages();
    let file = args.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let settings = args.settings.or(file);
    let (format, level) = settings.logging();
    telemetry::init(format, level).map_err(|error| Failure::usage(format!("--log-level {error}")))?;
    let mut config = settings.into_config()?;
    config.validate().map_err(Failure::usage)?;
    // A directory that has been a node's knows its cluster; the server judges whether it is the same one.
    if !config.data_dir.join("identity").exists() {
        config.validate_bootstrap().map_err(Failure::usage)?;
    }
    warn_of_unknown_variables();
    config.limits.connections_all_max = files::for_clients(config.limits.connections_max)?;
    stop_on_panic();
    block_on_node(config)
}

/// A huge page costs 2 MiB for as long as one byte of it is used, and a node's heap is full of such holes: with 256 clients it had a
/// third more memory for them, and was no faster. A kernel that cannot be asked gives what it gives.
fn decline_huge_pages() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(true);
}

fn block_on_node(config: Config) -> Result<(), Failure> {
    let unexpected = |error: std::io::Error| Failure::new(UNEXPECTED, format!("no runtime: {error}"));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.clamp(2, 4))
        .enable_all()
        .build()
        .map_err(unexpected)?;
    let outcome = runtime.block_on(async {
        // Before anything else: a signal that comes while the node opens must not be lost.
        let signals = Signals::install().map_err(unexpected)?;
        let (stop, stopped) = oneshot::channel();
        let seams = Seams::production();
        tokio::spawn(signals.watch(stop, seams.clock.clone()));
        let shutdown = async {
            // The sender lives as long as the watch does, which never ends by itself.
            let _ = stopped.await;
        };
        server::run(config, seams, shutdown).await.map_err(|exit| Failure::new(exit.code as u8, exit.message))
    });
    // What is left are tasks of connections that did not end in time.
    runtime.shutdown_background();
    outcome
}

/// For how long a second signal is taken for the first one.
pub(super) const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// The signals that end a node.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The first signal asks for a drain, the second does not wait for it. What follows the first at once is the first
    /// again: `timeout`, for one, signals its child and then the process group that the child is in.
    async fn watch(mut self, stop: oneshot::Sender<()>, clock: SharedClock) {
        let first = self.next().await;
        tracing::info!(signal = first, "stopping");
        // The node may have stopped by itself just now.
        let _ = stop.send(());
        let patient_until = clock.now().plus(SAME_SIGNAL);
        let mut second = self.next().await;
        while clock.now() < patient_until {
            second = self.next().await;
        }
        tracing::warn!(signal = second, "stopping at once");
        exit_now(UNEXPECTED);
    }
}

#[allow(clippy::disallowed_methods, reason = "the process is to end now, whatever its threads do")]
fn exit_now(code: u8) -> ! {
    std::process::exit(code.into())
}

/// Makes any panic the end of the process. What was acknowledged is on disk; the rest is recovery's.
fn stop_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        tracing::error!(%panic, %backtrace, "this is a bug; the node stops");
        exit_now(UNEXPECTED);
    }));
}

/// A misspelt variable would be silently without effect. It is no error, because others make variables too: in
/// Kubernetes a service named `quorate` puts `QUORATE_SERVICE_HOST` and the like into every container.
fn warn_of_unknown_variables() {
    let command = super::command();
    let known = super::arguments(&command).into_iter();
    let known: Vec<String> = known.filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned())).collect();
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("QUORATE_")) else { continue };
        if !known.iter().any(|known| known == name) {
            tracing::warn!(variable = name, "no such setting: the variable has no effect");
        }
    }
}

mod files {
    //! How many clients this process has room for. Each connection is an open file, and so is each segment of the log: a node
    //! that may not open one because clients have taken all would take that for a failed disk.

    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::{Failure, UNEXPECTED, USAGE};
    use crate::config::FILES_OWN;

    /// As many files as any system lets a process open that may raise its limit.
    const FILES_PLAIN: u64 = 10_240;

    /// Raises the limit of open files as far as this process may, and says how many of them are for clients. The lower one
    /// that processes begin with is for programs that cannot count so far.
    pub(super) fn for_clients(connections_max: usize) -> Result<usize, Failure> {
        let failed =
            |error| Failure::new(UNEXPECTED, format!("the limit of open files cannot be read: {error}"));
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
        // Some systems say that there is no limit, and take no more than this.
        let wishes = [hard, hard.min(FILES_PLAIN).max(soft)];
        let raised = wishes.into_iter().find(|wish| setrlimit(Resource::RLIMIT_NOFILE, *wish, hard).is_ok());
        let files = usize::try_from(raised.unwrap_or(soft)).unwrap_or(usize::MAX);
        let for_clients = files.saturating_sub(FILES_OWN);
        if for_clients == 0 {
            let text = format!(
                "this process may open {files} files, and needs {FILES_OWN} for itself: raise the limit (ulimit -n, or \
                 LimitNOFILE of the unit)"
            );
            return Err(Failure::new(USAGE, text));
        }
        if for_clients < connections_max {
            tracing::warn!(
                files,
                connections = for_clients,
                connections_max,
                "this process may not open as many files as clients may connect: further ones wait; raise the limit \
                 (ulimit -n, or LimitNOFILE of the unit)"
            );
        }
        Ok(for_clients)
    }
}

mod parent {
    //! Dying with the parent, whatever ends it.
    //!
    //! The kernel is asked to send SIGKILL when the parent dies: it needs no help of ours and reaches a node that is
    //! paused or hung. A thread watches the parent as well, for systems whose kernel cannot be asked. The parent may
    //! have died before the request: then this process has another parent already, and leaves.

    use std::time::Duration;

    use nix::unistd::{Pid, getppid};

    use super::{Failure, UNEXPECTED, USAGE, exit_now};

    const WATCH_INTERVAL: Duration = Duration::from_secs(1);

    pub(super) fn exit_with(parent: u32) -> Result<(), Failure> {
        let parent = i32::try_from(parent).map(Pid::from_raw);
        let parent = parent.map_err(|_| Failure::new(USAGE, "--exit-with-parent is no process id"))?;
        #[cfg(target_os = "linux")]
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(|error| {
            Failure::new(UNEXPECTED, format!("cannot follow the parent process: {error}"))
        })?;
        if getppid() != parent {
            return Err(Failure::new(UNEXPECTED, "the parent process is gone"));
        }
        watch(parent)
    }

    #[allow(clippy::disallowed_methods, reason = "a watch over the process, outside the node")]
    fn watch(parent: Pid) -> Result<(), Failure> {
        let watch = move || {
            while getppid() == parent {
                std::thread::sleep(WATCH_INTERVAL);
            }
            exit_now(UNEXPECTED);
        };
        let started = std::thread::Builder::new().name("parent-watch".to_owned()).spawn(watch);
        started.map(drop).map_err(|error| Failure::new(UNEXPECTED, format!("no thread: {error}")))
    }
}
