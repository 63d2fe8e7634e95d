//! Waiting: look again until it is so, or fail. The only place in the tests that sleeps, and it sleeps between looks,
//! never instead of one.

use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What every wait may take that has no reason to be shorter. It only runs out when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Looks until `look` finds something; fails the test after `patience`.
pub fn poll_until<T>(what: &str, patience: Duration, look: impl FnMut() -> Option<T>) -> T {
    match try_poll_until(patience, look) {
        Some(found) => found,
        None => panic!("waited {patience:?} in vain for: {what}"),
    }
}

/// Looks until `look` finds something, or gives up after `patience`.
pub fn try_poll_until<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() >= patience {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Looks for the whole of `span` and fails the test as soon as `look` finds something: for what must never happen.
pub fn poll_never(what: &str, span: Duration, look: impl FnMut() -> Option<String>) {
    if let Some(found) = try_poll_until(span, look) {
        panic!("{what}: {found}");
    }
}
