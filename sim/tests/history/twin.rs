//! Random small histories, judged by the checker and by a twin that is too simple to be wrong: it has a store, and tries
//! every order of all calls that real time allows.
//!
//! Histories come from a store that is right, with calls that overlap and outcomes that get lost; in half of them one
//! answer is then changed. The twin knows all of the store, revisions too, so it may find more than the checker, which
//! only asks of revisions what needs no search. It must never be the other way round.

use std::collections::BTreeMap;

use quorate_sim::history::operations::Pair;
use quorate_sim::history::{
    Answer, Call, Found, Freshness, History, Key, Operation, Outcome, REVISION_EMPTY, Value, Verdict,
};

use crate::script::{delete, delete_if, get, list, lost, refused, set, set_if, stale, txn};

/// A store that is right.
#[derive(Clone)]
struct Store {
    revision: u64,
    keys: BTreeMap<Key, Found>,
}

impl Store {
    fn new() -> Store {
        Store { revision: REVISION_EMPTY, keys: BTreeMap::new() }
    }

    fn at(&self, key: &Key) -> u64 {
        self.keys.get(key).map_or(0, |found| found.revision)
    }

    fn execute(&mut self, operation: &Operation) -> Answer {
        match operation {
            Operation::Get(get) => {
                Answer::Got { found: self.keys.get(&get.key).cloned(), store: Some(self.revision) }
            }
            Operation::Set(set) => {
                if set.condition.is_some_and(|revision| revision != self.at(&set.key)) {
                    return Answer::ConditionFailed { store: Some(self.revision) };
                }
                self.revision += 1;
                let found = Found { value: set.value.clone(), revision: self.revision };
                self.keys.insert(set.key.clone(), found);
                Answer::Written { revision: self.revision }
            }
            Operation::Delete(delete) => {
                if delete.condition.is_some_and(|revision| revision != self.at(&delete.key)) {
                    return Answer::ConditionFailed { store: Some(self.revision) };
                }
                let existed = self.keys.remove(&delete.key).is_some();
                self.revision += u64::from(existed);
                Answer::Deleted { existed, revision: self.revision }
            }
            Operation::List(list) => {
                let after = self.keys.iter().filter(|(key, _)| **key > list.after);
                let mut pairs: Vec<Pair> = after
                    .filter(|(key, _)| key.0.starts_with(&list.prefix.0))
                    .map(|(key, found)| Pair { key: key.clone(), found: found.clone() })
                    .collect();
                let limit = list.limit.unwrap_or(usize::MAX);
                let more = pairs.len() > limit;
                pairs.truncate(limit);
                Answer::Listed { pairs, more, store: self.revision }
            }
            Operation::Txn(txn) => {
                if txn.condition != self.at(&txn.key) {
                    let found = txn.otherwise.as_ref().and_then(|key| self.keys.get(key)).cloned();
                    return Answer::Otherwise { found, store: self.revision };
                }
                let revision = self.revision + 1;
                let mut changed = Vec::new();
                for (key, value) in &txn.changes {
                    changed.push(match value {
                        Some(value) => {
                            self.keys.insert(key.clone(), Found { value: value.clone(), revision });
                            true
                        }
                        None => self.keys.remove(key).is_some(),
                    });
                }
                self.revision += u64::from(changed.contains(&true));
                Answer::Committed { changed, revision: self.revision }
            }
        }
    }
}

/// Whether some order explains every answer. What need not have taken effect may be left out.
fn has_order(calls: &[Call], placed: &mut [bool], store: &Store) -> bool {
    let is_owed = |call: &Call| matches!(call.outcome, Outcome::Done(_));
    let owed = calls.iter().zip(&*placed).filter(|(call, placed)| is_owed(call) && !**placed);
    let Some(first_end) = owed.map(|(call, _)| call.ended.expect("it is done")).min() else { return true };
    for (at, call) in calls.iter().enumerate() {
        // A stale read may be of any time before its end.
        let is_stale = match &call.operation {
            Operation::Get(get) => get.freshness.is_stale(),
            Operation::List(list) => list.freshness.is_stale(),
            _ => false,
        };
        let is_lost = matches!(call.outcome, Outcome::Unknown(_)) && call.operation.is_write();
        if placed[at] || !(is_owed(call) || is_lost) || (call.begun > first_end && !is_stale) {
            continue;
        }
        let mut after = store.clone();
        let answer = after.execute(&call.operation);
        if let Outcome::Done(told) = &call.outcome
            && *told != as_told(answer, told)
        {
            continue;
        }
        placed[at] = true;
        if has_order(calls, placed, &after) {
            return true;
        }
        placed[at] = false;
    }
    false
}

/// What a store answers, as far as the client was told.
fn as_told(mut answer: Answer, told: &Answer) -> Answer {
    if let Answer::Got { store, .. } | Answer::ConditionFailed { store } = &mut answer
        && matches!(told, Answer::Got { store: None, .. } | Answer::ConditionFailed { store: None })
    {
        *store = None;
    }
    answer
}

fn draw_txn(rng: &mut fastrand::Rng, value: &str) -> Operation {
    let key = |rng: &mut fastrand::Rng| ["a", "ab", "b"][rng.usize(..3)];
    let value = |rng: &mut fastrand::Rng| (rng.u32(..3) > 0).then_some(value);
    let (first, compared) = (key(rng), key(rng));
    let second = if first == "a" { "b" } else { "a" };
    let changes = [(first, value(rng)), (second, value(rng))];
    let condition = if rng.bool() { 0 } else { rng.u64(..5) };
    txn((compared, condition), &changes[..rng.usize(1..=2)], rng.bool().then(|| key(rng)))
}

fn draw_operation(rng: &mut fastrand::Rng, number: usize) -> Operation {
    let key = ["a", "ab", "b"][rng.usize(..3)];
    // Some values are written more than once.
    let value = if rng.u32(..8) == 0 { "same".to_owned() } else { format!("v{number}") };
    match rng.u32(..15) {
        12.. => draw_txn(rng, &value),
        0..3 => set(key, &value),
        3..5 => set_if(key, &value, rng.u64(..5)),
        5 => delete(key),
        6 => delete_if(key, rng.u64(..5)),
        7..10 => get(key),
        10 => stale(key),
        _ => {
            list(["", "a", "ab"][rng.usize(..3)], ["", "a"][rng.usize(..2)], [None, Some(1)][rng.usize(..2)])
        }
    }
}

/// A history of a right store, as `(call, outcome)` in the order of beginnings and ends.
fn draw_events(rng: &mut fastrand::Rng) -> Vec<(usize, Option<Operation>, Option<Outcome>)> {
    let (mut store, mut events) = (Store::new(), Vec::new());
    let mut past = vec![store.clone()];
    // Begun, and executed or to be executed.
    let mut running: Vec<(usize, Operation, Option<Outcome>)> = Vec::new();
    let (mut begun, total) = (0, rng.usize(3..8));
    while begun < total || !running.is_empty() {
        if begun < total && running.len() < 3 && rng.bool() {
            let operation = draw_operation(rng, begun);
            events.push((begun, Some(operation.clone()), None));
            running.push((begun, operation, None));
            begun += 1;
        } else if !running.is_empty() {
            let at = rng.usize(..running.len());
            let (call, operation, outcome) = &mut running[at];
            match outcome.take() {
                None if rng.u32(..12) == 0 => *outcome = Some(refused()),
                None if operation.is_write() && rng.u32(..6) == 0 => *outcome = Some(lost()),
                None => {
                    let is_stale =
                        matches!(operation, Operation::Get(get) if get.freshness == Freshness::Stale);
                    let mut old = past[rng.usize(..past.len())].clone();
                    let mut answer = if is_stale { old.execute(operation) } else { store.execute(operation) };
                    if let Answer::Got { store, .. } | Answer::ConditionFailed { store } = &mut answer
                        && rng.u32(..3) == 0
                    {
                        *store = None;
                    }
                    past.push(store.clone());
                    let is_lost = operation.is_write() && rng.u32(..4) == 0;
                    *outcome = Some(if is_lost { lost() } else { Outcome::Done(answer) });
                }
                // A write without an answer may take effect after its client gave up.
                Some(Outcome::Unknown(why)) => {
                    events.push((*call, None, Some(Outcome::Unknown(why))));
                    if rng.bool() {
                        store.execute(operation);
                        past.push(store.clone());
                    }
                    running.swap_remove(at);
                }
                Some(ended) => {
                    events.push((*call, None, Some(ended)));
                    running.swap_remove(at);
                }
            }
        }
    }
    events
}

/// Changes one answer.
fn damage(rng: &mut fastrand::Rng, outcome: &mut Outcome) {
    let nudge =
        |rng: &mut fastrand::Rng, number: &mut u64| *number = (*number + rng.u64(..3)).saturating_sub(1);
    let other = Found { value: Value::of(format!("v{}", rng.u32(..6)).as_bytes()), revision: rng.u64(2..6) };
    *outcome = match outcome.clone() {
        Outcome::Unknown(_) => refused(),
        Outcome::NotApplied(_) => lost(),
        Outcome::Done(mut answer) => {
            match &mut answer {
                Answer::Got { found, store } => match rng.u32(..4) {
                    0 => store.iter_mut().for_each(|store| nudge(rng, store)),
                    1 => *found = None,
                    _ => *found = Some(other),
                },
                Answer::Written { revision } => match rng.u32(..3) {
                    0 => answer = Answer::ConditionFailed { store: Some(*revision) },
                    _ => nudge(rng, revision),
                },
                Answer::ConditionFailed { store } => match rng.u32(..3) {
                    0 => answer = Answer::Written { revision: store.unwrap_or(2) + 1 },
                    _ => store.iter_mut().for_each(|store| nudge(rng, store)),
                },
                Answer::Committed { changed, revision } => match rng.u32(..3) {
                    0 => changed[0] = !changed[0],
                    1 => answer = Answer::Otherwise { found: None, store: *revision },
                    _ => nudge(rng, revision),
                },
                Answer::Otherwise { found, store } => match rng.u32(..3) {
                    0 => *found = if found.is_some() { None } else { Some(other) },
                    1 => answer = Answer::Committed { changed: vec![true, true], revision: *store + 1 },
                    _ => nudge(rng, store),
                },
                Answer::Deleted { existed, revision } => match rng.u32(..2) {
                    0 => *existed = !*existed,
                    _ => nudge(rng, revision),
                },
                Answer::Listed { pairs, more, store } => match rng.u32(..4) {
                    0 => nudge(rng, store),
                    1 => *more = !*more,
                    _ if pairs.is_empty() => pairs.push(Pair { key: "a".into(), found: other }),
                    2 => drop(pairs.pop()),
                    _ => pairs[0].found = other,
                },
            }
            Outcome::Done(answer)
        }
    };
}

#[test]
fn the_checker_and_its_twin_agree() {
    let mut rng = fastrand::Rng::with_seed(2);
    let (mut right, mut wrong, mut missed) = (0, 0, 0);
    for case in 0..20_000 {
        let mut events = draw_events(&mut rng);
        let ends: Vec<usize> = (0..events.len()).filter(|at| events[*at].2.is_some()).collect();
        if rng.bool() {
            let at = ends[rng.usize(..ends.len())];
            damage(&mut rng, events[at].2.as_mut().expect("it is an end"));
        }
        let (mut history, mut ids, mut noted) = (History::default(), BTreeMap::new(), None);
        for (call, operation, outcome) in events {
            if let Some(operation) = operation {
                ids.insert(call, history.begin(1, 1, operation));
            }
            if let Some(outcome) = outcome {
                noted = noted.or(history.end(ids[&call], outcome).err());
            }
        }
        let verdict = history.check();
        let text = || {
            let mut text = Vec::new();
            history.write_to(&mut text).expect("memory takes all");
            format!("case {case}: {verdict:?}, noted {noted:?}\n{}", String::from_utf8_lossy(&text))
        };
        assert!(!matches!(verdict, Verdict::GaveUp(_)), "{}", text());
        assert!(noted.is_none() || verdict != Verdict::Right, "forgotten in the end: {}", text());
        if has_order(history.calls(), &mut vec![false; history.calls().len()], &Store::new()) {
            assert_eq!(verdict, Verdict::Right, "a false alarm: {}", text());
            right += 1;
        } else {
            wrong += 1;
            missed += u32::from(verdict == Verdict::Right);
        }
    }
    assert!(right > 5_000 && wrong > 5_000, "{right} right, {wrong} wrong");
    // What is missed are revisions that a lost write could have taken by its time, but not by what was read of its key, or, of a
    // transaction, of the key that it compares.
    assert!(missed * 20 < wrong, "{missed} of {wrong} missed");
}

/// Twenty clients, thousands of calls, a tenth of them lost: a search that is not clever would not come back.
#[test]
fn large_histories_have_a_verdict() {
    let mut rng = fastrand::Rng::with_seed(20);
    let (mut history, mut store) = (History::default(), Store::new());
    let mut running: Vec<(usize, Operation, Option<Answer>)> = Vec::new();
    for number in 0..40_000 {
        if running.len() < 20 {
            let key = if rng.u32(..3) == 0 {
                format!("cold{}", rng.u32(..50))
            } else {
                format!("hot{}", rng.u32(..4))
            };
            let at = store.at(&Key::from(key.as_str()));
            let operation = match rng.u32(..20) {
                0..6 => set(&key, &format!("v{number}")),
                6..9 => set_if(&key, &format!("v{number}"), at),
                9 => delete(&key),
                10 => delete_if(&key, at),
                11 => txn((&key, at), &[(&key, Some(&format!("v{number}"))), ("side", None)], Some("side")),
                12 => txn(("side", 0), &[(&key, None), ("side", Some(&format!("v{number}")))], None),
                13..18 => get(&key),
                _ => list("", "", Some(10)),
            };
            running.push((history.begin(number % 20, 1, operation.clone()), operation, None));
        } else {
            let at = rng.usize(..running.len());
            let (call, operation, answer) = &mut running[at];
            let Some(answer) = answer.take() else {
                *answer = Some(store.execute(operation));
                continue;
            };
            let outcome = if rng.u32(..10) == 0 { lost() } else { Outcome::Done(answer) };
            history.end(*call, outcome).expect("the store is right");
            running.swap_remove(at);
        }
    }
    assert!(history.calls().len() > 10_000);
    assert_eq!(history.check(), Verdict::Right);

    // The newest value of a key is read, and then, by someone who began later, the one before.
    let key = Key::from("hot0");
    let mut before = store.clone();
    let late = set("hot0", "late");
    let (old, new) = (history.begin(1, 1, get("hot0")), history.begin(2, 1, late.clone()));
    let answer = store.execute(&late);
    history.end(new, Outcome::Done(answer)).expect("it is right");
    history.end(old, Outcome::Done(before.execute(&get("hot0")))).expect("they overlap");
    let stale = history.begin(3, 1, get("hot0"));
    let found = Some(Found { value: Value::of(b"late"), revision: before.at(&key) });
    drop(history.end(stale, Outcome::Done(Answer::Got { found, store: Some(store.revision) })));
    assert!(matches!(history.check(), Verdict::Wrong(_)));
}
