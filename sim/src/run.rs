//! Runs seeds, one after another or several at a time, and says what became of them: the same for both simulators.
//!
//! A seed *counts* only if something happened in it: each simulator names counters and how much of each a seed must
//! reach ([`Simulator::quotas`]). Over many seeds each kind of fault must have fired ([`Simulator::faults`]): a fault
//! that is never drawn proves nothing.
//!
//! Exit codes: 0 clean, 1 a violation (with one line that reproduces it), 2 usage, 3 too little happened. They are the
//! same where nobody reads what is printed.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Violation;

/// What happened in a run, and how often.
pub type Counters = BTreeMap<&'static str, u64>;

/// What became of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The hash of all that happened.
    pub hash: u64,
    /// How much simulated time it took.
    pub simulated: Duration,
    /// What happened, and how often.
    pub counters: Counters,
    /// How often each kind of fault fired.
    pub faults: Counters,
    /// Whether network and disk faults were in force at the same time.
    pub overlapped: bool,
    /// What went wrong, if anything.
    pub violation: Option<Violation>,
    /// Why it could not be written down, where it was to be.
    pub untraced: Option<String>,
}

/// A simulator with its options.
pub trait Simulator: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What to repeat on the command line besides the seed; empty, or with a leading space.
    fn options(&self) -> String;

    /// What to type before the seed to run one again.
    fn command(&self) -> String {
        format!("cargo run --release -p quorate-sim -- {}", self.name())
    }

    /// Runs one seed. A `calm` run has the ordinary load and no fault, and ends after [`CALM_OPERATIONS`] operations,
    /// which it counts as `operations`. With `trace`, what happens is written there: a page if its name ends in
    /// `.html`, else text.
    fn run(&self, seed: u64, calm: bool, trace: Option<&Path>) -> Outcome;

    /// The counters that a seed must reach to count.
    fn quotas(&self) -> &[(&'static str, u64)];

    /// The kinds of faults, by their counters. Over 500 seeds each must fire 50 times.
    fn faults(&self) -> Vec<&'static str>;

    /// Of how many seeds one at least must overlap network and disk faults; `None` where there is no such rule.
    fn overlap_one_in(&self) -> Option<u64>;
}

/// Which seeds to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Seeds {
    /// How many seeds to run.
    #[arg(long, default_value_t = 20, conflicts_with = "seed", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first of them; drawn, and printed, if it is not given.
    #[arg(long, conflicts_with = "seed")]
    pub from: Option<u64>,
    /// Run this seed only, and print the hash of its trace.
    #[arg(long)]
    pub seed: Option<u64>,
    /// No faults: the ordinary load alone, for 1,000 operations.
    #[arg(long)]
    pub calm: bool,
    /// Write what happens to this file: a page to look at if its name ends in .html, else a line for each thing. Of
    /// several seeds it shows the first that fails, or else the last.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// How many seeds at a time; as many as there are processors if it is not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub jobs: Option<u64>,
    /// Print a line for each seed, with the hash of its trace.
    #[arg(long, short)]
    pub verbose: bool,
}

/// How many operations a run without faults has, by its counter `operations`.
pub const CALM_OPERATIONS: u64 = 1_000;

/// What a run without faults owes instead of the simulator's own quotas: nobody changes leaders in it.
const CALM_QUOTAS: &[(&str, u64)] = &[("operations", CALM_OPERATIONS)];

/// From how many seeds on the rules about many seeds are judged.
const MANY: u64 = 500;

/// How often each kind of fault must fire in [`MANY`] seeds.
const FIRES_MIN: u64 = 50;

/// A first seed that nobody chose. A short one, for it is typed again.
#[allow(clippy::disallowed_methods, reason = "outside every run: which seeds to look at is left to chance")]
fn any_seed() -> u64 {
    fastrand::u64(..1 << 40)
}

/// Runs the seeds, prints what became of them, and returns the exit code.
pub fn run(seeds: &Seeds, simulator: &dyn Simulator) -> io::Result<ExitCode> {
    // Known before the first seed is run, not after the last; and it is no violation.
    if let Some(path) = &seeds.trace
        && let Err(error) = OpenOptions::new().create(true).append(true).open(path)
    {
        return usage(&format!("--trace {}: {error}", path.display()));
    }
    match seeds.seed {
        Some(seed) => one(seeds, seed, simulator),
        None => many(seeds, simulator),
    }
}

fn usage(text: &str) -> io::Result<ExitCode> {
    writeln!(io::stderr().lock(), "error: {text}")?;
    Ok(ExitCode::from(2))
}

/// Prints text. If standard output is gone, the exit code is left to say it.
fn say(text: &[u8]) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text).and_then(|()| out.flush());
}

fn one(seeds: &Seeds, seed: u64, simulator: &dyn Simulator) -> io::Result<ExitCode> {
    let outcome = simulator.run(seed, seeds.calm, seeds.trace.as_deref());
    let mut total = Total::new(seeds.calm);
    total.add(simulator, &outcome);
    let mut out = Vec::new();
    writeln!(out, "{}", line(simulator, &outcome))?;
    if let Some(violation) = &outcome.violation {
        explain(&mut out, simulator, seeds, seed, violation)?;
    }
    if let Some(path) = &seeds.trace {
        writeln!(out, "trace: {}", path.display())?;
    }
    let code = total.code(&mut out, simulator)?;
    writeln!(out, "trace hash: {:016x}", outcome.hash)?;
    say(&out);
    untraced(Some(&outcome), code)
}

fn many(seeds: &Seeds, simulator: &dyn Simulator) -> io::Result<ExitCode> {
    let from = seeds.from.unwrap_or_else(any_seed);
    let Some(end) = from.checked_add(seeds.seeds) else {
        let (count, last) = (seeds.seeds, u64::MAX);
        return usage(&format!("there are no {count} seeds from seed {from} on; the last is {last}"));
    };
    let jobs =
        seeds.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u64));
    say(format!("{}: seeds {from}..{end}, {jobs} at a time\n", simulator.name()).as_bytes());
    let ran = run_all(seeds, simulator, from..end, jobs);
    let mut out = Vec::new();
    ran.total.print(&mut out, ran.elapsed)?;
    if let Some(outcome) = &ran.failed {
        writeln!(out, "{}", line(simulator, outcome))?;
        explain(&mut out, simulator, seeds, outcome.seed, outcome.violation.as_deref().unwrap_or_default())?;
    }
    let mut code = ran.total.code(&mut out, simulator)?;
    let mut shown = None;
    if let Some(path) = &seeds.trace {
        let (seed, hash) = ran.failed.as_ref().map_or((end - 1, ran.last), |it| (it.seed, it.hash));
        let again = simulator.run(seed, seeds.calm, Some(path));
        writeln!(out, "trace of seed {seed}: {}", path.display())?;
        // Run a second time to be shown: it must have come to the same.
        if again.untraced.is_none() && again.hash != hash {
            let then = again.hash;
            writeln!(out, "violation: seed {seed} did not repeat: trace hash {hash:016x}, then {then:016x}")?;
            code = ExitCode::FAILURE;
        }
        shown = Some(again);
    }
    say(&out);
    untraced(shown.as_ref(), code)
}

/// What became of many seeds.
struct Ran {
    total: Total,
    /// The lowest seed that failed.
    failed: Option<Outcome>,
    /// The hash of the last seed, if it was run.
    last: u64,
    elapsed: Duration,
}

/// Runs the seeds, `jobs` at a time, up to the first that fails.
#[allow(
    clippy::disallowed_methods,
    reason = "outside every run: how long it took is printed, and decides nothing"
)]
fn run_all(seeds: &Seeds, simulator: &dyn Simulator, range: Range<u64>, jobs: u64) -> Ran {
    let begin = Instant::now();
    let Range { start, end } = range;
    let bar = progress_bar(end - start);
    let (next, stop, last) = (AtomicU64::new(start), AtomicU64::new(end), AtomicU64::new(0));
    let (total, failed) = (Mutex::new(Total::new(seeds.calm)), Mutex::new(None::<Outcome>));
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(end - start) {
            scope.spawn(|| {
                let take = |next: u64| (next < stop.load(Ordering::Relaxed)).then(|| next + 1);
                // The last seed may be the last number: the counter never goes beyond.
                while let Ok(seed) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                    let outcome = simulator.run(seed, seeds.calm, None);
                    if seeds.verbose {
                        let line =
                            format!("{}, trace hash: {:016x}\n", line(simulator, &outcome), outcome.hash);
                        bar.suspend(|| say(line.as_bytes()));
                    }
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.add(simulator, &outcome);
                    bar.set_message(total.faults_line());
                    bar.inc(1);
                    if seed == end - 1 {
                        last.store(outcome.hash, Ordering::Relaxed);
                    }
                    if outcome.violation.is_some() {
                        // The lowest seed that fails is the one to report: later ones need not be begun.
                        stop.fetch_min(seed, Ordering::Relaxed);
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        if failed.as_ref().is_none_or(|known| seed < known.seed) {
                            *failed = Some(outcome);
                        }
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    Ran {
        total: total.into_inner().unwrap_or_else(PoisonError::into_inner),
        failed: failed.into_inner().unwrap_or_else(PoisonError::into_inner),
        last: last.into_inner(),
        elapsed: begin.elapsed(),
    }
}

/// The exit code of a run whose trace may not have been written; a violation comes first.
fn untraced(outcome: Option<&Outcome>, code: ExitCode) -> io::Result<ExitCode> {
    match outcome.and_then(|outcome| outcome.untraced.as_ref()) {
        Some(error) if code != ExitCode::FAILURE => usage(&format!("the trace was not written: {error}")),
        _ => Ok(code),
    }
}

fn progress_bar(seeds: u64) -> ProgressBar {
    let target =
        if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left  {wide_msg}")
        .expect("the template is valid");
    ProgressBar::with_draw_target(Some(seeds), target).with_style(style)
}

/// A seed in one line.
fn line(simulator: &dyn Simulator, outcome: &Outcome) -> String {
    let verdict = if outcome.violation.is_some() { "FAILED" } else { "ok" };
    let simulated = outcome.simulated.as_secs_f64();
    let counted = |name: &&'static str| outcome.counters.get(name).copied().unwrap_or(0);
    let counters = simulator.quotas().iter().map(|(name, _)| format!("{name} {}, ", counted(name)));
    let faults: u64 = outcome.faults.values().sum();
    format!(
        "seed {}: {verdict}, {simulated:.1} s simulated, {}faults {faults}",
        outcome.seed,
        counters.collect::<String>()
    )
}

fn explain(
    out: &mut impl Write,
    simulator: &dyn Simulator,
    seeds: &Seeds,
    seed: u64,
    violation: &str,
) -> io::Result<()> {
    writeln!(out, "violation: {violation}")?;
    writeln!(out, "reproduce: {}", reproduction(simulator, seed, seeds.calm))
}

/// What to type to run a seed again.
pub fn reproduction(simulator: &dyn Simulator, seed: u64, calm: bool) -> String {
    let (command, options) = (simulator.command(), simulator.options());
    let calm = if calm { " --calm" } else { "" };
    format!("{command} --seed {seed}{calm}{options}")
}

/// What became of all seeds.
#[derive(Debug, Default)]
struct Total {
    /// Whether these are runs without faults.
    calm: bool,
    seeds: u64,
    /// Seeds in which too little happened, and what.
    idle: Vec<(u64, String)>,
    overlapped: u64,
    simulated: Duration,
    counters: Counters,
    faults: Counters,
    violations: u64,
}

impl Total {
    fn new(calm: bool) -> Total {
        Total { calm, ..Total::default() }
    }

    fn add(&mut self, simulator: &dyn Simulator, outcome: &Outcome) {
        self.seeds += 1;
        self.overlapped += u64::from(outcome.overlapped);
        self.simulated += outcome.simulated;
        self.violations += u64::from(outcome.violation.is_some());
        for (name, count) in &outcome.counters {
            *self.counters.entry(name).or_default() += count;
        }
        for (name, count) in &outcome.faults {
            *self.faults.entry(name).or_default() += count;
        }
        let quotas = if self.calm { CALM_QUOTAS } else { simulator.quotas() };
        let lacking = quotas.iter().find_map(|(name, quota)| {
            let count = outcome.counters.get(name).copied().unwrap_or(0);
            (count < *quota).then(|| format!("{name} {count} of {quota}"))
        });
        // A run that found something ended there: it owes no more.
        if let Some(lacking) = lacking.filter(|_| outcome.violation.is_none()) {
            self.idle.push((outcome.seed, lacking));
        }
    }

    fn faults_line(&self) -> String {
        let faults: Vec<String> = self.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
        faults.join(", ")
    }

    fn print(&self, out: &mut impl Write, elapsed: Duration) -> io::Result<()> {
        let (seconds, simulated) = (elapsed.as_secs_f64().max(0.001), self.simulated.as_secs_f64());
        #[allow(clippy::cast_precision_loss, reason = "a rate is shown with one decimal")]
        let rate = self.seeds as f64 / seconds;
        writeln!(
            out,
            "{} seeds in {seconds:.1} s ({rate:.1} a second), {:.2} h simulated, {} overlapped network and disk faults",
            self.seeds,
            simulated / 3_600.0,
            self.overlapped
        )?;
        if let Some(steps) = self.counters.get("steps") {
            #[allow(clippy::cast_precision_loss, reason = "a rate is shown in thousands")]
            let rate = *steps as f64 / seconds / 1_000.0;
            writeln!(out, "{rate:.0} thousand steps a second")?;
        }
        let counters: Vec<String> =
            self.counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(out, "happened: {}", counters.join(", "))?;
        writeln!(out, "faults: {}", self.faults_line())
    }

    fn code(&self, out: &mut impl Write, simulator: &dyn Simulator) -> io::Result<ExitCode> {
        if self.violations > 0 {
            return Ok(ExitCode::from(1));
        }
        let mut is_enough = true;
        for (seed, lacking) in &self.idle {
            writeln!(out, "too little happened: seed {seed}: {lacking}")?;
            is_enough = false;
        }
        let many = self.seeds >= MANY && !self.calm;
        for fault in simulator.faults() {
            let fired = self.faults.get(fault).copied().unwrap_or(0);
            if many && fired * MANY < FIRES_MIN * self.seeds {
                writeln!(out, "too little happened: {fault} fired {fired} times in {} seeds", self.seeds)?;
                is_enough = false;
            }
        }
        if let Some(one_in) = simulator.overlap_one_in()
            && many
            && self.overlapped * one_in < self.seeds
        {
            writeln!(
                out,
                "too little happened: network and disk faults overlapped in {} seeds",
                self.overlapped
            )?;
            is_enough = false;
        }
        Ok(if is_enough { ExitCode::SUCCESS } else { ExitCode::from(3) })
    }
}
