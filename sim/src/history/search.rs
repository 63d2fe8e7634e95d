//! The search for an order of all calls on one key that explains every answer (Wing and Gong 1993, with the memory of
//! Lowe 2017).
//!
//! It builds the order from its beginning. Next may come any call that began before the first of those not yet placed
//! ended. A call that changes nothing and fits is placed at once: if any order works from here, so does the one with this
//! call moved to here. So it branches at changes alone, and goes back where nothing fits. What was placed and what the key
//! is then is all that matters for the rest, so it is never tried twice from the same such *position*.
//!
//! Calls that must be placed stand in `musts`; those of unknown outcome that nobody saw stand in *classes* and may be
//! placed or left out. The members of a class do the same, so the one that began first is always as good as the others:
//! they are placed in the order of their beginning, and ten lost deletes cost eleven positions, not a thousand.
//!
//! Which of several calls is tried first is decided by the revisions in their answers: where these are right, the first
//! try succeeds. Where they lie the search takes longer, and finds the same.
//!
//! It is no recursion: histories are thousands of calls long.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// How many placements are tried for one key. A history that is right needs about one for each change, and so do most
/// that are wrong.
pub(super) const STEPS_MAX: u64 = 1_000_000;

/// How many calls are named where the order ends.
const NAMED_MAX: usize = 4;

/// What the key is: an index into [`Tasks::states`].
pub(super) type State = usize;

/// The key is absent.
pub(super) const ABSENT: State = 0;

/// The key holds a value that nobody saw.
pub(super) const UNSEEN: State = 1;

/// What is known of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// The number of its value; `None` for an absent key, and for one that holds what nobody saw.
    pub value: Option<usize>,
    /// The revision of the change that led to it, 0 if absent; `None` if it is not known.
    pub revision: Option<u64>,
}

/// What the key must be for a call to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Anything,
    Present,
    Absent,
    Value(usize),
    NotAt(u64),
}

/// A call that has its place in the order.
#[derive(Clone, Debug)]
pub(super) struct Must {
    pub call: usize,
    pub begun: u64,
    /// By when it has taken place.
    pub ended: u64,
    pub want: Want,
    pub condition: Option<u64>,
    pub effect: Option<State>,
    /// Where it belongs if the revisions in the answers are right: what is tried first is decided by this, and nothing else.
    pub rank: u64,
}

/// Calls of unknown outcome that all do the same.
#[derive(Clone, Debug)]
pub(super) struct Class {
    /// When each began, and its call, in this order.
    pub members: Vec<(u64, usize)>,
    pub condition: Option<u64>,
    pub effect: State,
}

/// All that is asked of one key.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    /// In the order of their beginning.
    pub musts: Vec<Must>,
    pub classes: Vec<Class>,
    pub states: Vec<About>,
}

/// What came of a search.
#[derive(Debug)]
pub(super) enum Found {
    /// There is an order.
    Order,
    /// There is none, and so far one comes.
    None(Deepest),
    /// The bound was reached.
    GaveUp,
}

/// The longest order that explains its calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Deepest {
    /// How many calls it has of those that must be placed.
    pub placed: usize,
    /// Its last calls.
    pub last: Vec<usize>,
    /// Those of which one should come next, and none fits.
    pub stuck: Vec<usize>,
}

/// Searches for an order, in at most `steps_max` steps.
pub(super) fn search(tasks: &Tasks, steps_max: u64) -> Found {
    let (order, deepest, known) = (Vec::new(), Deepest::default(), HashSet::default());
    Search { tasks, classes: &tasks.classes, order, deepest, known }.run(steps_max)
}

/// A position: what was placed, and what the key is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Position {
    state: State,
    /// All musts before this word's first are placed.
    word: usize,
    /// Which of the musts from there on are placed, 64 to a word.
    placed: Vec<u64>,
    /// How many of each class are placed.
    taken: Vec<usize>,
    /// How many musts are placed.
    count: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Must(usize),
    Open(usize),
}

struct Branch {
    position: Position,
    steps: Vec<Step>,
    next: usize,
    /// How long the order was.
    len: usize,
}

struct Search<'a> {
    tasks: &'a Tasks,
    classes: &'a [Class],
    /// The order so far, by calls.
    order: Vec<usize>,
    deepest: Deepest,
    known: HashSet<Position, BuildHasherDefault<DefaultHasher>>,
}

impl<'a> Search<'a> {
    fn run(mut self, steps_max: u64) -> Found {
        let taken = vec![0; self.classes.len()];
        let mut start = Position { state: ABSENT, word: 0, placed: Vec::new(), taken, count: 0 };
        self.settle(&mut start);
        let mut branches = Vec::new();
        let (mut arrived, mut steps) = (Some(start), 0);
        loop {
            if let Some(position) = arrived.take() {
                if position.count == self.tasks.musts.len() {
                    return Found::Order;
                }
                self.note(&position);
                let steps = self.steps(&position);
                branches.push(Branch { position, steps, next: 0, len: self.order.len() });
            }
            let Some(branch) = branches.last_mut() else { return Found::None(self.deepest) };
            self.order.truncate(branch.len);
            let Some(step) = branch.steps.get(branch.next).copied() else {
                branches.pop();
                continue;
            };
            branch.next += 1;
            if steps == steps_max {
                return Found::GaveUp;
            }
            steps += 1;
            let mut position = branch.position.clone();
            self.place(&mut position, step);
            self.settle(&mut position);
            arrived = self.known.insert(position.clone()).then_some(position);
        }
    }

    fn place(&mut self, position: &mut Position, step: Step) {
        match step {
            Step::Must(at) => {
                let must = &self.tasks.musts[at];
                position.state = must.effect.unwrap_or(position.state);
                position.mark(at);
                self.order.push(must.call);
            }
            Step::Open(class) => {
                let members = &self.classes[class];
                position.state = members.effect;
                self.order.push(members.members[position.taken[class]].1);
                position.taken[class] += 1;
            }
        }
    }

    /// Places all that may come now, fits, and changes nothing.
    fn settle(&mut self, position: &mut Position) {
        loop {
            let fits = |at: &usize| {
                let must = &self.tasks.musts[*at];
                must.effect.is_none() && self.fits(must.want, must.condition, position.state)
            };
            let now: Vec<usize> = self.ready(position).0.into_iter().filter(fits).collect();
            if now.is_empty() {
                return;
            }
            for at in now {
                position.mark(at);
                self.order.push(self.tasks.musts[at].call);
            }
        }
    }

    /// The musts of which one may come next, and the first end among those that are not placed.
    fn ready(&self, position: &Position) -> (Vec<usize>, u64) {
        let mut first_end = u64::MAX;
        let mut ready = Vec::new();
        for (at, must) in self.tasks.musts.iter().enumerate().skip(position.word * 64) {
            if must.begun >= first_end {
                break;
            }
            if !position.is_placed(at) {
                first_end = first_end.min(must.ended);
                ready.push(at);
            }
        }
        ready.retain(|at| self.tasks.musts[*at].begun < first_end);
        (ready, first_end)
    }

    /// The changes that may come next, the likeliest first: a store that is right is explained without going back. That
    /// is the change of the lowest rank, unless something of a lower rank does not fit: then an unknown write came before.
    fn steps(&self, position: &Position) -> Vec<Step> {
        let (ready, first_end) = self.ready(position);
        let fits = |at: usize, state| {
            let must = &self.tasks.musts[at];
            self.fits(must.want, must.condition, state)
        };
        let lowest = ready.iter().copied().min_by_key(|at| self.tasks.musts[*at].rank);
        let is_lowest_next = lowest.is_none_or(|at| fits(at, position.state));
        let mut musts: Vec<usize> = ready
            .into_iter()
            .filter(|at| self.tasks.musts[*at].effect.is_some() && fits(*at, position.state))
            .collect();
        musts.sort_unstable_by_key(|at| (self.tasks.musts[*at].rank, *at));
        let mut open: Vec<(bool, bool, usize)> = Vec::new();
        for (at, class) in self.classes.iter().enumerate() {
            let next = class.members.get(position.taken[at]);
            // To change nothing is never of use.
            if next.is_some_and(|(begun, _)| *begun < first_end)
                && class.effect != position.state
                && self.fits(Want::Anything, class.condition, position.state)
            {
                let helps = lowest.is_some_and(|lowest| fits(lowest, class.effect));
                // One with a condition is of use more seldom: the others are kept for later.
                open.push((!helps, class.condition.is_none(), at));
            }
        }
        open.sort_unstable();
        let mut steps: Vec<Step> = musts.into_iter().map(Step::Must).collect();
        let open = open.into_iter().map(|(_, _, at)| Step::Open(at));
        if is_lowest_next {
            steps.extend(open)
        } else {
            drop(steps.splice(..0, open))
        }
        steps
    }

    fn fits(&self, want: Want, condition: Option<u64>, state: State) -> bool {
        let about = &self.tasks.states[state];
        let wanted = match want {
            Want::Anything => true,
            Want::Present => state != ABSENT,
            Want::Absent => state == ABSENT,
            Want::Value(value) => about.value == Some(value),
            Want::NotAt(0) => state != ABSENT,
            Want::NotAt(revision) => about.revision != Some(revision),
        };
        wanted
            && match condition {
                None => true,
                Some(0) => state == ABSENT,
                Some(revision) => about.revision.is_none_or(|known| known == revision),
            }
    }

    fn note(&mut self, position: &Position) {
        if position.count < self.deepest.placed
            || (position.count == self.deepest.placed && position.count > 0)
        {
            return;
        }
        let mut stuck = self.ready(position).0;
        stuck.sort_by_key(|at| self.tasks.musts[*at].ended);
        self.deepest = Deepest {
            placed: position.count,
            last: self.order[self.order.len().saturating_sub(NAMED_MAX)..].to_vec(),
            stuck: stuck.into_iter().take(NAMED_MAX).map(|at| self.tasks.musts[at].call).collect(),
        };
    }
}

impl Position {
    fn is_placed(&self, at: usize) -> bool {
        match (at / 64).checked_sub(self.word) {
            None => true,
            Some(word) => self.placed.get(word).is_some_and(|bits| bits >> (at % 64) & 1 == 1),
        }
    }

    fn mark(&mut self, at: usize) {
        let word = at / 64 - self.word;
        if self.placed.len() <= word {
            self.placed.resize(word + 1, 0);
        }
        self.placed[word] |= 1 << (at % 64);
        self.count += 1;
        let full = self.placed.iter().take_while(|bits| **bits == u64::MAX).count();
        self.placed.drain(..full);
        self.word += full;
    }
}
