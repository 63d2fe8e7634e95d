//! Explores a model to its end, breadth first, and says what was found.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use super::bounds::Bounds;
use super::group::Group;
use super::state::Broken;

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Found {
    /// States reached, each as often as it was.
    pub generated: usize,
    /// Distinct states.
    pub unique: usize,
    /// The number of steps to the state that is farthest from the first one.
    pub depth: usize,
    /// Whether every state was explored.
    pub complete: bool,
    /// What was to be reached somewhere, and was.
    pub witnessed: Vec<&'static str>,
    /// The first violation, and the steps that lead to it.
    pub violation: Option<(Arc<Broken>, Vec<String>)>,
}

/// Explores all states within the bounds, or as many as `limit` allows, until a property is broken.
///
/// States are told apart by 64-bit hashes: of ten million states one is taken for another, and left out, with a
/// probability of about one in 370,000.
#[allow(
    clippy::disallowed_methods,
    reason = "outside the model: whether there was time enough for all of it"
)]
pub fn explore(bounds: Bounds, threads: usize, limit: Duration) -> Found {
    let start = Instant::now();
    let builder = Group::new(bounds).checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = builder.timeout(limit).spawn_bfs().join();
    // The checker calls a search that ran out of time done, like one that came to its end.
    let in_time = start.elapsed() < limit;
    let mut violation = None;
    let mut witnessed = Vec::new();
    let properties = checker.model().properties();
    for property in &properties {
        let Some(path) = checker.discovery(property.name) else { continue };
        if let Expectation::Sometimes = property.expectation {
            witnessed.push(property.name);
            continue;
        }
        let broken = path.last_state().broken.clone();
        let steps = path.into_actions().iter().map(ToString::to_string).collect();
        violation = violation.or(broken.map(|broken| (broken, steps)));
    }
    Found {
        generated: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth() - 1,
        complete: in_time && violation.is_none(),
        witnessed,
        violation,
    }
}
