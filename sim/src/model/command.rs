//! `quorate-sim model`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Path};

use super::bounds::Bounds;
use super::group::{Action, Group};
use super::state::State;

/// What to explore.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    bounds: Bounds,
    /// Threads. With one, the path to a violation is the shortest.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Give up after this many seconds.
    #[arg(long)]
    timeout: Option<u64>,
}

/// Runs it.
#[allow(clippy::disallowed_methods, reason = "how long it took is printed")]
pub fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let mut builder = Group::new(arguments.bounds).checker().threads(arguments.threads).finish_when(HasDiscoveries::AnyFailures);
    if let Some(t) = arguments.timeout {
        builder = builder.timeout(Duration::from_secs(t));
    }
    let checker = builder.spawn_bfs().join();
    let mut out = io::stdout().lock();
    writeln!(out, "states {} unique {} depth {} in {:.1} s, done {}", checker.state_count(), checker.unique_state_count(), checker.max_depth(), start.elapsed().as_secs_f64(), checker.is_done())?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    writeln!(out, "{:?}", status.lines().find(|l| l.starts_with("VmHWM")))?;
    let mut code = ExitCode::SUCCESS;
    for (_, path) in checker.discoveries() {
        let path: Path<State, Action> = path;
        let steps = path.into_vec();
        if let Some(broken) = &steps.last().expect("first").0.broken {
            writeln!(out, "violation: {}: {}", broken.property, broken.why)?;
            for (_, action) in &steps {
                if let Some(action) = action {
                    writeln!(out, "  {action}")?;
                }
            }
            code = ExitCode::from(1);
        }
    }
    Ok(code)
}
