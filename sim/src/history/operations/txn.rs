//! A transaction: if a key is as it is said to be, some keys are changed at one revision; else nothing is, and one may be
//! read.

use std::fmt;

use super::super::value::{Key, Value};
use super::{Answer, Before, Effect, Fact};

/// Change keys together, if a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// The key that is compared.
    pub key: Key,
    /// What the revision of its last change must be; 0: it must be absent.
    pub condition: u64,
    /// What is done if it is, each to another key: the value is written there, or without one the key is deleted.
    pub changes: Vec<(Key, Option<Value>)>,
    /// What is read if it is not.
    pub otherwise: Option<Key>,
}

impl Txn {
    /// Without an answer, what it may do: not what it compares, which says nothing where it was not executed.
    pub(super) fn facts<'a>(&'a self, answer: Option<&'a Answer>) -> Result<Vec<Fact<'a>>, String> {
        match answer {
            None => Ok(self.changes.iter().map(|change| self.fact(change, true)).collect()),
            Some(Answer::Committed { changed, .. }) => self.committed(changed),
            Some(Answer::Otherwise { found, .. }) => self.not_held(found.as_ref()),
            Some(_) => Err("form: an answer of the wrong kind".to_owned()),
        }
    }

    fn fact<'a>(&'a self, (key, value): &'a (Key, Option<Value>), changed: bool) -> Fact<'a> {
        let (before, effect) = match value {
            Some(value) => (Before::Anything, Some(Effect::Put(value))),
            None if changed => (Before::Present, Some(Effect::Erase)),
            None => (Before::Absent, None),
        };
        let condition = (*key == self.key).then_some(self.condition);
        Fact { key, before, condition, effect }
    }

    fn committed<'a>(&'a self, changed: &[bool]) -> Result<Vec<Fact<'a>>, String> {
        let is_unchanged_put =
            self.changes.iter().zip(changed).any(|((_, value), changed)| value.is_some() && !changed);
        if changed.len() != self.changes.len() || is_unchanged_put {
            return Err("form: a transaction that does not say what it did".to_owned());
        }
        let changes = self.changes.iter().zip(changed);
        let mut facts: Vec<Fact<'a>> = changes.map(|(change, changed)| self.fact(change, *changed)).collect();
        if self.changes.iter().all(|(key, _)| *key != self.key) {
            let condition = Some(self.condition);
            facts.push(Fact { key: &self.key, before: Before::Anything, condition, effect: None });
        }
        Ok(facts)
    }

    fn not_held<'a>(&'a self, found: Option<&'a super::Found>) -> Result<Vec<Fact<'a>>, String> {
        let fact = |key, before| Fact { key, before, condition: None, effect: None };
        let not_at = fact(&self.key, Before::NotAt(self.condition));
        let Some(read) = &self.otherwise else {
            return if found.is_none() { Ok(vec![not_at]) } else { Err("form: nothing was read".to_owned()) };
        };
        let read = fact(read, found.map_or(Before::Absent, Before::Is));
        if *read.key != self.key {
            return Ok(vec![not_at, read]);
        }
        // Of one key it says two things: they must not contradict each other, and the read says more.
        if found.map_or(0, |found| found.revision) == self.condition {
            return Err(format!(
                "conditions: refused though its condition holds, as it says itself ({})",
                self.key
            ));
        }
        Ok(vec![read])
    }
}

impl fmt::Display for Txn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "txn {}", self.key)?;
        super::condition(f, Some(self.condition))?;
        for (at, (key, value)) in self.changes.iter().enumerate() {
            f.write_str(if at == 0 { ": " } else { ", " })?;
            match value {
                Some(value) => write!(f, "set {key} = {value}")?,
                None => write!(f, "delete {key}")?,
            }
        }
        match &self.otherwise {
            Some(key) => write!(f, ", else get {key}"),
            None => Ok(()),
        }
    }
}
