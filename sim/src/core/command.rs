//! `quorate-sim core`.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use super::story::{QUOTAS, Story};
use super::swarm::{self, Swarm};
use super::world::World;
use crate::run::{self, CALM_OPERATIONS, Outcome, Seeds, Simulator};
use crate::trace::About;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
    /// How many nodes vote; drawn from the seed if it is not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=7))]
    nodes: Option<u64>,
    /// How many inputs the cores take before the end begins: messages, ticks, completions.
    #[arg(long, default_value_t = STEPS, value_parser = clap::value_parser!(u64).range(100..))]
    steps: u64,
}

/// The length of a seed, where nothing else is asked for.
const STEPS: u64 = 30_000;

/// The kinds of faults.
const FAULTS: &[&str] = &[
    "crash",
    "torn write",
    "pause",
    "hung disk",
    "partition",
    "one-way cut",
    "partial partition",
    "replay",
    "loss",
    "duplicate",
    "straggler",
    "slow fsync",
    "late completion",
    "lost completion",
    "repeated completion",
    "late tick",
    "failed fetch",
    "batched inputs",
    "clock rates",
];

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    run::run(&arguments.seeds, arguments)
}

impl Simulator for Arguments {
    fn name(&self) -> &'static str {
        "core"
    }

    fn options(&self) -> String {
        let nodes = self.nodes.map_or_else(String::new, |nodes| format!(" --nodes {nodes}"));
        let steps = if self.steps == STEPS { String::new() } else { format!(" --steps {}", self.steps) };
        nodes + &steps
    }

    fn run(&self, seed: u64, calm: bool, trace: Option<&Path>) -> Outcome {
        let setup = swarm::setup(seed, self.nodes);
        let swarm = Swarm::draw(seed, &setup);
        let are_clocks_off = !setup.rates.is_empty();
        let mut world = match World::with(setup, trace) {
            Ok(world) => world,
            Err(error) => return failed(seed, format!("trace: {error}")),
        };
        if are_clocks_off && !calm {
            world.fired("clock rates");
        }
        let mut overlapped = false;
        let played = catch_unwind(AssertUnwindSafe(|| {
            let mut story = Story::new(&mut world, seed, swarm);
            if calm {
                story.play_calm(CALM_OPERATIONS)
            } else {
                story.play(self.steps)
            }
            overlapped = story.overlapped;
        }));
        if let Err(panic) = played {
            world.judge(Err(format!("panic: {}", message_of(&*panic))));
        }
        world.trace.describe(About {
            simulator: self.name(),
            seed,
            command: run::reproduction(self, seed, calm),
            counters: world.counters(),
            faults: world.faults().clone(),
            violation: world.violation().cloned(),
        });
        let flushed = world.trace.flush().map_err(|error| format!("trace: {error}"));
        world.judge(flushed);
        Outcome {
            seed,
            hash: world.hash(),
            simulated: world.time(),
            counters: world.counters(),
            faults: world.faults().clone(),
            overlapped,
            violation: world.violation().cloned(),
        }
    }

    fn quotas(&self) -> &[(&'static str, u64)] {
        QUOTAS
    }

    fn faults(&self) -> &[&'static str] {
        FAULTS
    }

    fn overlap_one_in(&self) -> Option<u64> {
        Some(5)
    }
}

/// The outcome of a seed that could not be run.
fn failed(seed: u64, why: String) -> Outcome {
    Outcome {
        seed,
        hash: 0,
        simulated: std::time::Duration::ZERO,
        counters: run::Counters::new(),
        faults: run::Counters::new(),
        overlapped: false,
        violation: Some(why),
    }
}

/// What a panic said.
fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
