//! What a page will show: the events of a run, in order, and no more of them than a page can bear.
//!
//! A long run is cut at its beginning, since what went wrong is at its end. What was let go is counted, and the last state
//! of each node from before the cut is kept, so that its lane begins with what is true.

use std::collections::{BTreeMap, VecDeque};

use super::event::{Event, What};

/// The most events that a page shows: it still opens within a second or two, and scrolls.
pub const EVENTS_MAX: usize = 300_000;

/// The events of a run.
#[derive(Debug)]
pub struct Recording {
    events: VecDeque<Event>,
    events_max: usize,
    let_go: u64,
    /// The last state of each node among what was let go, and whether it was down.
    before: BTreeMap<u64, Event>,
}

impl Default for Recording {
    fn default() -> Recording {
        Recording::with_max(EVENTS_MAX)
    }
}

impl Recording {
    /// A recording that keeps the newest `events_max` events.
    pub fn with_max(events_max: usize) -> Recording {
        assert!(events_max > 0, "a recording of nothing shows nothing");
        Recording { events: VecDeque::new(), events_max, let_go: 0, before: BTreeMap::new() }
    }

    /// Adds what happened.
    pub fn push(&mut self, event: Event) {
        if self.events.len() == self.events_max {
            let gone = self.events.pop_front().expect("it is full");
            self.let_go += 1;
            if matches!(gone.what, What::State { .. } | What::Down { .. }) {
                self.before.insert(gone.node, gone);
            }
        }
        self.events.push_back(event);
    }

    /// How many events were let go.
    pub fn let_go(&self) -> u64 {
        self.let_go
    }

    /// What each node was when the events that were kept begin.
    pub fn before(&self) -> impl Iterator<Item = &Event> {
        self.before.values()
    }

    /// The events that were kept, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(at: u64, node: u64, what: What) -> Event {
        Event { at: Duration::from_millis(at), node, what }
    }

    #[test]
    fn the_newest_events_are_kept_and_the_rest_is_counted() {
        let mut recording = Recording::with_max(3);
        (0..10).for_each(|at| recording.push(event(at, 1, What::Delivered { message: at })));
        let kept: Vec<u128> = recording.events().map(|event| event.at.as_millis()).collect();
        assert_eq!((kept, recording.let_go()), (vec![7, 8, 9], 7));
    }

    #[test]
    fn a_node_is_still_known_after_its_last_state_was_let_go() {
        let mut recording = Recording::with_max(2);
        let down = What::Down { why: "crash".to_owned() };
        recording.push(event(1, 1, down.clone()));
        recording.push(event(2, 2, What::Booted));
        (3..9).for_each(|at| recording.push(event(at, 2, What::Delivered { message: at })));
        assert_eq!(recording.before().collect::<Vec<_>>(), [&event(1, 1, down)]);
    }
}
