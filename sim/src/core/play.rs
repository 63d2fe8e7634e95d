//! One seed, from its draw to its outcome.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::story::Story;
use super::swarm::{self, Swarm};
use super::world::World;
use crate::run::{CALM_OPERATIONS, Counters, Outcome};
use crate::trace::About;

/// The length of a seed, where nothing else is asked for.
pub const STEPS: u64 = 30_000;

/// How to play a seed.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes vote; drawn from the seed if it is not given.
    pub nodes: Option<u64>,
    /// How many inputs the cores take before the end begins.
    pub steps: u64,
    /// Without faults, for a fixed number of operations.
    pub calm: bool,
    /// The command that does it again, for a trace's header.
    pub command: String,
}

impl Default for Options {
    fn default() -> Options {
        Options { nodes: None, steps: STEPS, calm: false, command: String::new() }
    }
}

/// Plays a seed. With `trace`, what happens is written there.
pub fn play(seed: u64, options: &Options, trace: Option<&Path>) -> Outcome {
    let setup = swarm::setup(seed, options.nodes);
    let swarm = Swarm::draw(seed, &setup);
    let are_clocks_off = !setup.rates.is_empty();
    let mut world = match World::with(setup, trace) {
        Ok(world) => world,
        Err(error) => return failed(seed, error.to_string()),
    };
    if are_clocks_off && !options.calm {
        world.fired("clock rates");
    }
    let mut overlapped = false;
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut story = Story::new(&mut world, seed, swarm);
        if options.calm {
            story.play_calm(CALM_OPERATIONS)
        } else {
            story.play(options.steps)
        }
        overlapped = story.overlapped;
    }));
    if let Err(panic) = played {
        world.judge(Err(format!("panic: {}", message_of(&*panic))));
    }
    world.trace.describe(About {
        simulator: "core",
        seed,
        command: options.command.clone(),
        counters: world.counters(),
        faults: world.faults().clone(),
        violation: world.violation().cloned(),
    });
    let untraced = world.trace.flush().err().map(|error| error.to_string());
    Outcome {
        seed,
        hash: world.hash(),
        simulated: world.time(),
        counters: world.counters(),
        faults: world.faults().clone(),
        overlapped,
        violation: world.violation().cloned(),
        untraced,
    }
}

/// The outcome of a seed that could not be run.
fn failed(seed: u64, why: String) -> Outcome {
    Outcome {
        seed,
        hash: 0,
        simulated: std::time::Duration::ZERO,
        counters: Counters::new(),
        faults: Counters::new(),
        overlapped: false,
        violation: None,
        untraced: Some(why),
    }
}

/// What a panic said.
fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
