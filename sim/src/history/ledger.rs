//! The books on revisions: who owns which, and what the store was at each.
//!
//! A revision places a change in the one order of all changes, so most wrong answers show without a search. The ledger
//! grows with every answer and judges each by what is known by then; in the end it judges all of them again by all that
//! came to be known.
//!
//! What is known of a key is its changes by revision: those that were acknowledged, and those that a read found. Between
//! them lie *gaps*: revisions that nobody is known to own. Each is owned by a write of unknown outcome, or else something
//! took a revision that had no right to. Where an answer can only be true if some unknown write lies in between, the
//! ledger asks for an unknown write that began early enough, of the right kind, and a gap for it.
//!
//! A revision belongs to one write, and so to one key, or to those that one transaction changes. Where a value was found that
//! a single transaction of unknown outcome can have written, that transaction was executed there, and with it all else that
//! it writes. An answer without the store's revision enters the books with what it found, and is judged by the search alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Bound;

use super::REVISION_EMPTY;
use super::call::{Call, Outcome};
use super::operations::{Before, Effect, Fact, Freshness};
use super::value::{Found, Key, Value};

/// What is known of all revisions.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// The newest revision of the store that an answer carried.
    floor: u64,
    owners: Owners,
    shelves: BTreeMap<Key, Shelf>,
    /// The keys of the shelves.
    keys: BTreeSet<Key>,
    /// The first thing that was wrong.
    wrong: Option<String>,
}

/// Who owns the revisions.
#[derive(Clone, Debug, Default)]
struct Owners {
    /// The keys that are known to have changed at each.
    keys: BTreeMap<u64, BTreeSet<Key>>,
    /// The transactions that may take effect, or may have, with the keys that they may change.
    txns: BTreeMap<usize, BTreeSet<Key>>,
}

impl Owners {
    /// Whether `key` may have changed at a revision: nobody owns it, or one transaction may have changed the key and all
    /// that are known to have changed there.
    fn may_be(&self, revision: u64, key: &Key) -> bool {
        let Some(owners) = self.keys.get(&revision) else { return true };
        owners.contains(key) || self.txns.values().any(|keys| keys.contains(key) && owners.is_subset(keys))
    }

    /// Whether a transaction may have been executed at a revision in this range of which others of its keys are known.
    fn may_be_within(&self, txn: usize, (above, top): (u64, u64)) -> bool {
        let Some(keys) = self.txns.get(&txn) else { return false };
        let range = (Bound::Excluded(above), Bound::Included(top));
        self.keys.range(range).any(|(_, owners)| owners.is_subset(keys))
    }
}

/// What is known of one key.
#[derive(Clone, Debug)]
struct Shelf {
    key: Key,
    /// Its changes.
    changes: BTreeMap<u64, Change>,
    /// Its writes, by what they write.
    puts: BTreeMap<Value, Puts>,
    /// Deletes that may take effect, or may have.
    erases: Vec<Open>,
}

#[derive(Clone, Debug)]
struct Change {
    /// `None`: it was deleted.
    value: Option<Value>,
    /// The call that was told that it did this; `None` if a read found it.
    by: Option<usize>,
}

/// All writes of one value to one key.
#[derive(Clone, Debug, Default)]
struct Puts {
    /// Those that may take effect, or may have.
    open: Vec<Open>,
    /// Where the value was found, where no acknowledged write explains it. Each takes one of `open`.
    found: BTreeSet<u64>,
    /// Those that have no effect, by what their clients were told.
    refused: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    id: usize,
    begun: u64,
    floor: u64,
    condition: Option<u64>,
    is_erase: bool,
    /// Whether it is here that its call counts among those that may have taken a revision. A transaction is open on
    /// several shelves, and takes one.
    counts: bool,
}

impl Ledger {
    /// The newest revision of the store that anybody was told.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The keys that writes were sent for.
    pub fn keys(&self) -> &BTreeSet<Key> {
        &self.keys
    }

    /// A call begins.
    pub fn begun(&mut self, call: &Call) {
        let facts = call.operation.facts(None, &self.keys).expect("without an answer nothing can be wrong");
        let mut keys = Vec::new();
        // What it writes it writes for sure, if it is executed.
        let surest = facts.iter().position(|fact| matches!(fact.effect, Some(Effect::Put(_))));
        if facts.len() > 1 {
            self.owners.txns.insert(call.id, facts.iter().map(|fact| fact.key.clone()).collect());
        }
        for (at, Fact { key, effect, condition, .. }) in facts.into_iter().enumerate() {
            let shelf = self.shelves.entry(key.clone()).or_insert_with(|| Shelf::of(key));
            let is_erase = effect == Some(Effect::Erase);
            let counts = surest.is_none_or(|surest| surest == at);
            let open =
                Open { id: call.id, begun: call.begun, floor: call.floor, condition, is_erase, counts };
            match effect {
                Some(Effect::Put(value)) => shelf.puts.entry(value.clone()).or_default().open.push(open),
                Some(Effect::Erase) => shelf.erases.push(open),
                None => {}
            }
            keys.push(key.clone());
        }
        self.keys.extend(keys);
    }

    /// A call ended.
    pub fn ended(&mut self, call: &Call) -> Result<(), String> {
        let result = self.learn(call);
        if let Err(why) = &result {
            self.wrong.get_or_insert_with(|| format!("{why}: {call}"));
        }
        result
    }

    fn learn(&mut self, call: &Call) -> Result<(), String> {
        match &call.outcome {
            Outcome::Unknown(_) => return Ok(()),
            Outcome::NotApplied(_) => return self.close(call),
            Outcome::Done(_) => {}
        }
        let answer = call.answer().expect("it is done");
        let keys = std::mem::take(&mut self.keys);
        let result = self.learn_answer(call, &keys);
        self.keys = keys;
        self.floor = self.floor.max(answer.store().unwrap_or(0));
        result
    }

    fn learn_answer(&mut self, call: &Call, keys: &BTreeSet<Key>) -> Result<(), String> {
        let answer = call.answer().expect("it is done");
        check_order(call)?;
        let facts = call.operation.facts(Some(answer), keys)?;
        if let Some(revision) = answer.own() {
            let changes = facts.iter().filter_map(|fact| Some((fact.key, fact.effect?)));
            let changes: Vec<(&Key, Effect<'_>)> = changes.collect();
            self.own(revision, &changes)?;
            for (key, effect) in changes {
                self.place(key, effect, revision, Some(call.id))?;
            }
        }
        self.close(call)?;
        for fact in &facts {
            if let Before::Is(Found { value, revision }) = fact.before {
                self.found(fact.key, value, *revision)?;
            }
        }
        facts.iter().try_for_each(|fact| self.judge(call, fact, None))?;
        self.judge_more(call, None)
    }

    /// A page that says more keys follow must be able to name one.
    fn judge_more(&self, call: &Call, gaps: Option<&[u64]>) -> Result<(), String> {
        let (Some(answer), Some((after, prefix))) = (call.answer(), call.more_after()) else { return Ok(()) };
        let (Some(at), until) = (answer.store(), call.ended.expect("it is done")) else { return Ok(()) };
        let range = (Bound::Excluded(after), Bound::Unbounded);
        let mut following = self.shelves.range(range).take_while(|(key, _)| key.0.starts_with(&prefix.0));
        let may_be = |shelf| Room { shelf, at, until, gaps, owners: &self.owners }.is_present().is_ok();
        if following.any(|(_, shelf)| may_be(shelf)) {
            return Ok(());
        }
        Err(format!("lists: a page that says more keys follow {after}, but none can"))
    }

    /// A write has its outcome: it may not take effect any more, or has at the place that it was given.
    fn close(&mut self, call: &Call) -> Result<(), String> {
        let facts = call.operation.facts(None, &self.keys)?;
        let took_effect = call.answer().is_some_and(|answer| answer.own().is_some());
        self.owners.txns.remove(&call.id);
        for Fact { key, effect, .. } in facts {
            let shelf = self.shelves.get_mut(key).expect("its call began");
            match effect {
                Some(Effect::Put(value)) => {
                    let puts = shelf.puts.get_mut(value).expect("its call began");
                    puts.open.retain(|open| open.id != call.id);
                    if !took_effect {
                        puts.refused.push(call.id);
                    }
                    puts.check(key, value)?;
                }
                Some(Effect::Erase) => shelf.erases.retain(|open| open.id != call.id),
                None => {}
            }
        }
        Ok(())
    }

    /// A call was told that it made these changes at this revision: nobody else made any.
    fn own(&mut self, revision: u64, changes: &[(&Key, Effect<'_>)]) -> Result<(), String> {
        let owners = self.owners.keys.entry(revision).or_default();
        if let (Some(owner), Some((key, _))) =
            (owners.iter().find(|owner| changes.iter().all(|(key, _)| key != owner)), changes.first())
        {
            return Err(format!("revisions: {revision} belongs to {owner} and to {key}"));
        }
        owners.extend(changes.iter().map(|(key, _)| (*key).clone()));
        Ok(())
    }

    /// A read found a value at a revision. If only one transaction can have written it, all that it writes is there.
    fn found(&mut self, key: &Key, value: &Value, revision: u64) -> Result<(), String> {
        if !self.owners.may_be(revision, key) {
            let owner = self.owners.keys[&revision].iter().next().expect("an owned revision has an owner");
            return Err(format!("revisions: {revision} belongs to {owner} and to {key}"));
        }
        self.owners.keys.entry(revision).or_default().insert(key.clone());
        self.place(key, Effect::Put(value), revision, None)?;
        let puts = self.shelves[key].puts.get(value).filter(|puts| puts.found.contains(&revision));
        let Some([Open { id, .. }]) = puts.map(|puts| puts.open.as_slice()) else { return Ok(()) };
        let beside = self.beside(*id, key);
        for (key, value) in beside {
            self.owners.keys.entry(revision).or_default().insert(key.clone());
            self.place(&key, Effect::Put(&value), revision, None)?;
        }
        Ok(())
    }

    /// What a transaction writes beside this key.
    fn beside(&self, txn: usize, key: &Key) -> Vec<(Key, Value)> {
        let Some(keys) = self.owners.txns.get(&txn) else { return Vec::new() };
        let others = keys.iter().filter(|other| *other != key);
        let written = others.filter_map(|other| {
            let is_its = |puts: &Puts| puts.open.iter().any(|open| open.id == txn);
            let (value, _) = self.shelves[other].puts.iter().find(|(_, puts)| is_its(puts))?;
            Some((other.clone(), value.clone()))
        });
        written.collect()
    }

    /// Enters a change at its revision: one that `by` was told of, or one that a read found.
    fn place(
        &mut self,
        key: &Key,
        effect: Effect<'_>,
        revision: u64,
        by: Option<usize>,
    ) -> Result<(), String> {
        if revision <= REVISION_EMPTY {
            return Err(format!(
                "revisions: a change of {key} at revision {revision}, which an empty store has"
            ));
        }
        let value = match effect {
            Effect::Put(value) => Some(value.clone()),
            Effect::Erase => None,
        };
        let shelf = self.shelves.entry(key.clone()).or_insert_with(|| Shelf::of(key));
        match shelf.changes.get_mut(&revision) {
            Some(change) if change.value != value => {
                return Err(format!(
                    "revisions: {revision} of {key} is {}, and is {}",
                    shown(change.value.as_ref()),
                    shown(value.as_ref())
                ));
            }
            Some(Change { by: Some(owner), .. }) => {
                if let Some(by) = by {
                    return Err(format!("revisions: {revision} was given to #{owner} and to #{by}"));
                }
            }
            Some(change) => {
                change.by = by;
                if let (Some(value), Some(_)) = (&value, by) {
                    shelf.puts.entry(value.clone()).or_default().found.remove(&revision);
                }
            }
            None => {
                if let (Some(value), None) = (&value, by) {
                    shelf.puts.entry(value.clone()).or_default().find(key, value, revision)?;
                }
                shelf.changes.insert(revision, Change { value, by });
            }
        }
        Ok(())
    }

    /// Judges everything again by all that is known, and that no revision was taken without right.
    pub fn check(&self, calls: &[Call]) -> Result<(), String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let gaps = self.gaps()?;
        for call in calls {
            if let Some(answer) = call.answer() {
                check_order(call)?;
                for fact in call.operation.facts(Some(answer), &self.keys)? {
                    self.judge(call, &fact, Some(&gaps)).map_err(|why| format!("{why}: {call}"))?;
                }
                self.judge_more(call, Some(&gaps)).map_err(|why| format!("{why}: {call}"))?;
            }
        }
        Ok(())
    }

    /// The revisions that nobody is known to own. Each must have an unknown write to itself that may have taken it.
    fn gaps(&self) -> Result<Vec<u64>, String> {
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for shelf in self.shelves.values() {
            let counting = |open: &&Open| open.counts;
            let erases = shelf.erases.iter().filter(counting);
            spans.extend(erases.filter_map(|open| shelf.span(open, &self.owners)));
            for puts in shelf.puts.values() {
                if puts.found.is_empty() {
                    let open = puts.open.iter().filter(counting);
                    spans.extend(open.filter_map(|open| shelf.span(open, &self.owners)));
                    continue;
                }
                // Which of them were found is not known where there are several: leave those that may take more, also if
                // they count elsewhere, since they stand for others here.
                let mut open: Vec<&Open> = puts.open.iter().collect();
                open.sort_unstable_by_key(|open| (open.condition.is_some(), open.floor));
                let left = &open[..open.len() - puts.found.len()];
                spans.extend(left.iter().filter_map(|open| shelf.span(open, &self.owners)));
            }
        }
        let newest = self.owners.keys.keys().next_back().copied().unwrap_or(0).max(self.floor);
        let room = (newest.saturating_sub(REVISION_EMPTY)).saturating_sub(self.owners.keys.len() as u64);
        if room > spans.len() as u64 {
            return Err(format!(
                "revisions: {room} of those up to {newest} belong to no write, and only {} writes of unknown outcome may have \
                 taken one",
                spans.len()
            ));
        }
        let gaps: Vec<u64> = (REVISION_EMPTY + 1..=newest)
            .filter(|revision| !self.owners.keys.contains_key(revision))
            .collect();
        match unmatched(&gaps, spans) {
            Some(gap) => Err(format!(
                "revisions: {gap} belongs to no write: no write of unknown outcome is left that may have taken it"
            )),
            None => Ok(gaps),
        }
    }

    /// Judges what a done call says of a key. Without `gaps` not all owners are known yet.
    fn judge(&self, call: &Call, fact: &Fact<'_>, gaps: Option<&[u64]>) -> Result<(), String> {
        let key = fact.key;
        let Some(shelf) = self.shelves.get(key) else {
            // Nobody ever wrote to it.
            let is_absent = matches!(fact.before, Before::Absent | Before::Anything)
                || matches!(fact.before, Before::NotAt(revision) if revision > 0);
            let holds = is_absent && fact.condition.unwrap_or(0) == 0;
            return if holds { Ok(()) } else { Err(format!("phantom: nobody ever wrote {key}")) };
        };
        let answer = call.answer().expect("only done calls are judged");
        let Some(store) = answer.store() else { return Ok(()) };
        // A change saw the store as it was before it.
        let at = store - u64::from(answer.own().is_some());
        let until = call.ended.expect("it is done");
        let room = Room { shelf, at, until, gaps, owners: &self.owners };
        if let Some(revision) = fact.condition {
            room.is_at(revision).map_err(|why| {
                format!("conditions: done though its condition does not hold: {why} ({key})")
            })?;
        }
        match fact.before {
            Before::Anything => Ok(()),
            Before::Present => {
                room.is_present().map_err(|why| format!("phantom: {key} was not there to delete: {why}"))
            }
            Before::Absent => {
                room.is_absent().map_err(|why| format!("lost write: {key} is missing at @{at}: {why}"))
            }
            Before::Is(found) => room
                .is_newest(found.revision)
                .map_err(|why| format!("stale read: {key} shows {found} while the store is at @{at}: {why}")),
            Before::NotAt(revision) => room
                .is_not_at(revision)
                .map_err(|why| format!("conditions: refused though its condition holds: {why} ({key})")),
        }
    }
}

/// An answer is never older than what was known before its request began, unless it was asked to be stale.
fn check_order(call: &Call) -> Result<(), String> {
    let answer = call.answer().expect("it is done");
    let (Some(store), floor) = (answer.store(), call.floor) else { return Ok(()) };
    if store < REVISION_EMPTY {
        return Err("revisions: an answer without the store's revision".to_owned());
    }
    if let Some(own) = answer.own().filter(|own| *own <= floor) {
        return Err(format!(
            "revisions: a write at revision {own}, but the store was at @{floor} before it began"
        ));
    }
    if call.operation.is_fresh() && store < floor {
        let name = if call.operation.is_write() { "answer" } else { "read" };
        return Err(format!("stale {name}: the store at @{store}, but @{floor} was known before it began"));
    }
    match call.operation.freshness() {
        Freshness::StaleFrom(revision) if store < revision => {
            Err(format!("stale read: the store at @{store}, but at least @{revision} was asked for"))
        }
        _ => Ok(()),
    }
}

impl Shelf {
    fn of(key: &Key) -> Shelf {
        Shelf { key: key.clone(), changes: BTreeMap::new(), puts: BTreeMap::new(), erases: Vec::new() }
    }

    /// Between which revisions, without these, an unknown write may have taken one; `None` if it cannot have taken any.
    fn span(&self, open: &Open, owners: &Owners) -> Option<(u64, u64)> {
        // A delete needs something to delete.
        let other_put = || self.puts.values().flat_map(|puts| &puts.open).any(|put| put.id != open.id);
        let was_put = || self.changes.values().any(|change| change.value.is_some());
        if open.is_erase && !(other_put() || was_put()) {
            return None;
        }
        match open.condition {
            None => Some((open.floor, u64::MAX)),
            Some(0) => (!open.is_erase).then_some((open.floor, u64::MAX)),
            Some(revision) => {
                let may_be = match self.changes.get(&revision) {
                    Some(change) => change.value.is_some(),
                    None => owners.may_be(revision, &self.key) && other_put(),
                };
                let next = self.changes.range(revision + 1..).next().map(|(next, _)| *next);
                may_be.then_some((open.floor.max(revision), next.unwrap_or(u64::MAX)))
            }
        }
    }
}

/// The first of `gaps` that is left over when each takes a span of its own that it lies in: of those, always the one
/// that ends first.
fn unmatched(gaps: &[u64], mut spans: Vec<(u64, u64)>) -> Option<u64> {
    spans.sort_unstable();
    let mut spans = spans.into_iter().peekable();
    let mut ends = BinaryHeap::new();
    for gap in gaps {
        while let Some((_, end)) = spans.next_if(|(above, _)| above < gap) {
            ends.push(Reverse(end));
        }
        while ends.peek().is_some_and(|Reverse(end)| end <= gap) {
            ends.pop();
        }
        if ends.pop().is_none() {
            return Some(*gap);
        }
    }
    None
}

impl Puts {
    /// The value was found at a revision that no acknowledged write owns.
    fn find(&mut self, key: &Key, value: &Value, revision: u64) -> Result<(), String> {
        if !self.open.is_empty() && self.open.iter().all(|open| open.floor >= revision) {
            let id = self.open[0].id;
            return Err(format!(
                "revisions: {key} = {value} at revision {revision}, taken before its write #{id} began"
            ));
        }
        self.found.insert(revision);
        self.check(key, value)
    }

    /// Each revision at which the value is found needs a write of its own.
    fn check(&self, key: &Key, value: &Value) -> Result<(), String> {
        let Some(last) = self.found.last().filter(|_| self.found.len() > self.open.len()) else {
            return Ok(());
        };
        let why = match (self.refused.first(), self.open.len()) {
            (Some(id), 0) => format!("whose write #{id} was not applied"),
            (_, 0) => "which no write left there: nobody wrote it, or it is there twice".to_owned(),
            (_, open) => {
                format!("one of {} places for {open} writes: a write took effect twice", self.found.len())
            }
        };
        Err(format!("phantom: {key} = {value} at revision {last}, {why}"))
    }

    /// Those that may still explain something: where all were found, none.
    fn unexplained(&self) -> &[Open] {
        if self.found.len() >= self.open.len() { &[] } else { &self.open }
    }
}

/// A key as it was at one revision of the store, and what may be unknown of it.
struct Room<'a> {
    shelf: &'a Shelf,
    at: u64,
    /// Calls that began later cannot have mattered.
    until: u64,
    gaps: Option<&'a [u64]>,
    owners: &'a Owners,
}

impl Room<'_> {
    /// The newest change that is known.
    fn newest(&self) -> Option<(u64, &Change)> {
        self.shelf.changes.range(..=self.at).next_back().map(|(revision, change)| (*revision, change))
    }

    fn is_newest(&self, revision: u64) -> Result<(), String> {
        if revision > self.at {
            return Err("the key is newer than the store".to_owned());
        }
        match self.newest() {
            Some((newest, change)) if newest > revision => Err(told(newest, change)),
            _ => Ok(()),
        }
    }

    fn is_absent(&self) -> Result<(), String> {
        match self.newest() {
            Some((revision, change)) if change.value.is_some() && !self.may_erase(revision) => {
                Err(format!("{}, and nothing can have deleted it since", told(revision, change)))
            }
            _ => Ok(()),
        }
    }

    fn is_present(&self) -> Result<(), String> {
        match self.newest() {
            Some((_, Change { value: Some(_), .. })) => Ok(()),
            Some((revision, change)) if !self.may_put(revision) => Err(told(revision, change)),
            None if !self.may_put(0) => Err("nobody had written it".to_owned()),
            _ => Ok(()),
        }
    }

    fn is_at(&self, revision: u64) -> Result<(), String> {
        if revision == 0 {
            return self.is_absent();
        }
        self.is_newest(revision)?;
        match self.newest() {
            Some((newest, change)) if newest == revision => {
                change.value.as_ref().map(|_| ()).ok_or_else(|| told(newest, change))
            }
            // Not known yet: an unknown write may own it, unless it is somebody else's.
            newest => {
                let may_be = self.owners.may_be(revision, &self.shelf.key);
                if may_be && self.may_put(newest.map_or(0, |(newest, _)| newest)) {
                    return Ok(());
                }
                Err(format!("no write of this key can be at @{revision}"))
            }
        }
    }

    fn is_not_at(&self, revision: u64) -> Result<(), String> {
        match self.newest() {
            None if revision == 0 && !self.may_put(0) => Err("nobody had written it".to_owned()),
            Some((newest, change @ Change { value: None, .. })) if revision == 0 && !self.may_put(newest) => {
                Err(told(newest, change))
            }
            Some((newest, change @ Change { value: Some(_), .. })) if newest == revision => {
                if self.may_put(newest) || self.may_erase(newest) {
                    return Ok(());
                }
                Err(format!("{}, and nothing can have changed it since", told(newest, change)))
            }
            _ => Ok(()),
        }
    }

    fn may_put(&self, above: u64) -> bool {
        let mut open = self.shelf.puts.values().flat_map(Puts::unexplained);
        open.any(|open| self.may(open, above))
    }

    fn may_erase(&self, above: u64) -> bool {
        self.shelf.erases.iter().any(|open| self.may(open, above))
    }

    /// Whether an unknown write may have taken a revision above `above`, as far up as we look.
    fn may(&self, open: &Open, above: u64) -> bool {
        let Some((floor, below)) = self.shelf.span(open, self.owners) else { return false };
        let (above, top) = (above.max(floor), self.at.min(below - 1));
        if open.begun >= self.until || above >= top {
            return false;
        }
        let Some(gaps) = self.gaps else { return true };
        gaps.get(gaps.partition_point(|gap| *gap <= above)).is_some_and(|gap| *gap <= top)
            || self.owners.may_be_within(open.id, (above, top))
    }
}

fn told(revision: u64, change: &Change) -> String {
    let by = change.by.map_or_else(|| "a read found".to_owned(), |by| format!("#{by} left"));
    format!("{by} {} at @{revision}", shown(change.value.as_ref()))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "absent".to_owned(), ToString::to_string)
}
