//! The history of one key, taken out of all calls and made ready for the search.
//!
//! A list is many reads here, one of each key in its range: if all calls have an order that explains them, so do those of
//! every key alone. (That a list is no mixture of several moments is judged by the ledger.)
//!
//! A write of unknown outcome whose value was found took effect: if no other write of the key has that value, it did so
//! before the first call ended that found it, and so it has its place like any other. One whose value nobody found can
//! only be told from its absence by others' conditions and deletes: all such are one class. Stale reads have no place in
//! the order, but what they found had. A transaction is a call on each of its keys, too: that it changed all of them at one
//! revision is judged by the ledger.

use std::collections::BTreeMap;

use super::call::{Call, Outcome};
use super::ledger::Ledger;
use super::operations::{Answer, Before, Effect, Fact};
use super::search::{ABSENT, About, Class, Deepest, Must, State, Tasks, UNSEEN, Want};
use super::value::{Key, Value};

/// Every key with what is asked of it.
pub(super) fn partition(calls: &[Call], ledger: &Ledger) -> Result<BTreeMap<Key, Tasks>, String> {
    let mut parts: BTreeMap<&Key, Part<'_>> = BTreeMap::new();
    for call in calls {
        let answer = match &call.outcome {
            Outcome::Done(answer) => Some(answer),
            Outcome::Unknown(_) => None,
            Outcome::NotApplied(_) => continue,
        };
        let facts = call.operation.facts(answer, ledger.keys()).map_err(|why| format!("{why}: {call}"))?;
        for fact in facts {
            parts.entry(fact.key).or_default().take(call, fact);
        }
    }
    Ok(parts.into_iter().map(|(key, part)| (key.clone(), part.into_tasks())).collect())
}

/// The calls on one key.
#[derive(Default)]
struct Part<'a> {
    facts: Vec<(&'a Call, Fact<'a>)>,
    values: BTreeMap<&'a Value, Sightings>,
}

/// Writes that may be left out: what they do, and the condition they do it under; when each began, and its call.
type Classes = BTreeMap<(State, Option<u64>), Vec<(u64, usize)>>;

/// Where a value comes from and where it was found.
#[derive(Clone, Copy, Debug)]
struct Sightings {
    number: usize,
    /// How many writes may have written it.
    writes: usize,
    /// When the first call ended that found it, and at which revision.
    first: Option<(u64, u64)>,
}

impl<'a> Part<'a> {
    fn take(&mut self, call: &'a Call, fact: Fact<'a>) {
        if let Some(Effect::Put(value)) = fact.effect {
            self.sightings(value).writes += 1;
        }
        if let Before::Is(found) = fact.before {
            let ended = call.ended.expect("what found something has ended");
            let first = &mut self.sightings(&found.value).first;
            if first.is_none_or(|(before, _)| ended < before) {
                *first = Some((ended, found.revision));
            }
        }
        if call.answer().is_none() || call.operation.is_fresh() {
            self.facts.push((call, fact));
        }
    }

    fn sightings(&mut self, value: &'a Value) -> &mut Sightings {
        let number = self.values.len();
        self.values.entry(value).or_insert(Sightings { number, writes: 0, first: None })
    }

    fn into_tasks(self) -> Tasks {
        let absent = About { value: None, revision: Some(0) };
        let unseen = About { value: None, revision: None };
        let mut tasks = Tasks { musts: Vec::new(), classes: Vec::new(), states: vec![absent, unseen] };
        let mut classes = Classes::new();
        let mut shared: BTreeMap<usize, State> = BTreeMap::new();
        for (call, fact) in &self.facts {
            let mut must = Must {
                call: call.id,
                begun: call.begun,
                ended: call.ended.unwrap_or(u64::MAX),
                want: self.want(fact.before),
                condition: fact.condition,
                effect: None,
                rank: call.answer().map_or(0, |answer| rank(call, answer)),
            };
            let own = call.answer().map(Answer::own);
            match (fact.effect, own) {
                (None, _) => tasks.musts.push(must),
                (Some(Effect::Erase), Some(_)) => {
                    must.effect = Some(ABSENT);
                    tasks.musts.push(must);
                }
                (Some(Effect::Put(value)), Some(revision)) => {
                    must.effect = Some(tasks.state(self.values[value].number, revision));
                    tasks.musts.push(must);
                }
                (Some(Effect::Erase), None) => {
                    classes.entry((ABSENT, fact.condition)).or_default().push((call.begun, call.id));
                }
                (Some(Effect::Put(value)), None) => match self.values[value] {
                    Sightings { first: Some((ended, revision)), writes: 1, number } => {
                        must.effect = Some(tasks.state(number, Some(revision)));
                        (must.ended, must.rank) = (ended, revision.saturating_mul(2));
                        tasks.musts.push(must);
                    }
                    Sightings { first: Some(_), number, .. } => {
                        let state = *shared.entry(number).or_insert_with(|| tasks.state(number, None));
                        classes.entry((state, fact.condition)).or_default().push((call.begun, call.id));
                    }
                    Sightings { first: None, .. } => {
                        classes.entry((UNSEEN, fact.condition)).or_default().push((call.begun, call.id));
                    }
                },
            }
        }
        tasks.musts.sort_by_key(|must| must.begun);
        tasks.classes = classes
            .into_iter()
            .map(|((effect, condition), members)| Class { members, condition, effect })
            .collect();
        tasks
    }

    fn want(&self, before: Before<'_>) -> Want {
        match before {
            Before::Anything => Want::Anything,
            Before::Present => Want::Present,
            Before::Absent => Want::Absent,
            Before::Is(found) => Want::Value(self.values[&found.value].number),
            Before::NotAt(revision) => Want::NotAt(revision),
        }
    }
}

impl Tasks {
    fn state(&mut self, value: usize, revision: Option<u64>) -> State {
        self.states.push(About { value: Some(value), revision });
        self.states.len() - 1
    }
}

/// The place of an answer among all, if revisions are right: at its own, or between the store's and the next.
fn rank(call: &Call, answer: &Answer) -> u64 {
    let store = answer.store().unwrap_or(call.floor);
    answer.own().map_or(store.saturating_mul(2) | 1, |own| own.saturating_mul(2))
}

/// Says why a key's calls have no order: how far one comes, and what then should come and does not fit.
pub(super) fn explain(key: &Key, tasks: &Tasks, deepest: &Deepest, calls: &[Call]) -> String {
    let lines = |ids: &[usize]| {
        let lines: Vec<String> = ids.iter().map(|id| calls[*id].to_string()).collect();
        lines.join("; ")
    };
    let total = tasks.musts.len();
    let last = if deepest.last.is_empty() { "nothing".to_owned() } else { lines(&deepest.last) };
    format!(
        "linearizability: {key}: {} of {total} calls have an order, which ends with {last}. After that, next must come one \
         of these, and none fits: {}",
        deepest.placed,
        lines(&deepest.stuck)
    )
}
