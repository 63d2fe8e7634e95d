//! `quorate-sim model`.

use std::io::{self, Write};
use std::panic;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::bounds::Bounds;
use super::explore::{Found, explore};

/// What to explore.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    bounds: Bounds,
    /// How many threads explore. With one, the path to a violation is a shortest one; with more it is nearly so.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: u64,
    /// Give up after this many seconds.
    #[arg(long, default_value_t = 86_400)]
    seconds: u64,
}

/// Explores and prints what was found. Exit codes: 0 all states explored and clean, 1 a violation, with the path to it,
/// 3 given up before the end.
#[allow(
    clippy::disallowed_methods,
    reason = "outside the model: how long it took is printed, and decides nothing"
)]
pub fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let (threads, limit) =
        (usize::try_from(arguments.threads).unwrap_or(1), Duration::from_secs(arguments.seconds));
    // An assertion of the core that fails is a find, and printed as one.
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().name().is_none_or(|name| !name.starts_with("checker-")) {
            usual(info);
        }
    }));
    let start = Instant::now();
    let found = explore(arguments.bounds, threads, limit);
    let seconds = start.elapsed().as_secs_f64();
    drop(panic::take_hook());
    report(&found, seconds)
}

fn report(found: &Found, seconds: f64) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let Found { generated, unique, depth, .. } = found;
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate"
    )]
    let rate = (*unique as f64 / seconds.max(0.001)) as u64;
    writeln!(out, "{unique} distinct states, {generated} reached, longest path {depth} steps")?;
    writeln!(out, "{seconds:.1} s, {rate} distinct states a second{}", peak_memory())?;
    for name in &found.witnessed {
        writeln!(out, "reached: {name}")?;
    }
    if let Some((broken, path)) = &found.violation {
        writeln!(out, "violation: {}: {}", broken.property, broken.why)?;
        writeln!(out, "after {} steps:", path.len())?;
        for (number, step) in path.iter().enumerate() {
            writeln!(out, "{:4}. {step}", number + 1)?;
        }
        return Ok(ExitCode::from(1));
    }
    if !found.complete {
        writeln!(out, "given up: not all states were explored")?;
        return Ok(ExitCode::from(3));
    }
    writeln!(out, "explored to the end, no violation")?;
    Ok(ExitCode::SUCCESS)
}

/// The most memory that this process had, where the system tells.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.map_or_else(String::new, |kilobytes| format!(", {} MiB", kilobytes / 1024))
}
