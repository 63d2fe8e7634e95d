//! Read a page of keys. A page is one read: all its keys at one revision, and the absence of all others in its range.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;

use super::super::value::{Found, Key};
use super::{Answer, Before, Fact, Freshness};

/// Read a page of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Only keys that begin with this.
    pub prefix: Key,
    /// Only keys after this one; an empty one is before all.
    pub after: Key,
    /// At most so many; `None` leaves it to the store.
    pub limit: Option<usize>,
    /// How fresh.
    pub freshness: Freshness,
}

/// A key of a page with what was found under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Key,
    /// What was found.
    pub found: Found,
}

impl List {
    /// A page holds what it shows, and of its range nothing else. If more keys follow it, its range ends with its last key.
    pub(super) fn facts<'a>(
        &'a self,
        answer: Option<&'a Answer>,
        keys: &'a BTreeSet<Key>,
    ) -> Result<Vec<Fact<'a>>, String> {
        let Some(answer) = answer else { return Ok(Vec::new()) };
        let Answer::Listed { pairs, more, .. } = answer else {
            return Err("form: an answer of the wrong kind".to_owned());
        };
        self.check_form(pairs, *more)?;
        let fact = |key, before| Fact { key, before, condition: None, effect: None };
        let mut facts: Vec<Fact<'_>> =
            pairs.iter().map(|pair| fact(&pair.key, Before::Is(&pair.found))).collect();
        let end = if *more { pairs.last().map(|pair| &pair.key) } else { None };
        let (begin, end) = (self.begin(), end.map_or(Bound::Unbounded, Bound::Excluded));
        // A range that is empty, or ends before it begins, is not to be asked of the set.
        if matches!((begin, end), (Bound::Included(begin) | Bound::Excluded(begin), Bound::Excluded(end)) if begin >= end)
        {
            return Ok(facts);
        }
        let mut shown = pairs.iter().map(|pair| &pair.key).peekable();
        for key in keys.range((begin, end)).take_while(|key| key.0.starts_with(&self.prefix.0)) {
            while shown.next_if(|shown| *shown < key).is_some() {}
            if shown.next_if_eq(&key).is_none() {
                facts.push(fact(key, Before::Absent));
            }
        }
        Ok(facts)
    }

    fn begin(&self) -> Bound<&Key> {
        if self.after >= self.prefix && !self.after.0.is_empty() {
            Bound::Excluded(&self.after)
        } else {
            Bound::Included(&self.prefix)
        }
    }

    /// Judges what needs no knowledge of the store.
    fn check_form(&self, pairs: &[Pair], more: bool) -> Result<(), String> {
        if let Some(pair) = pairs.windows(2).find(|pair| pair[0].key >= pair[1].key) {
            return Err(format!("lists: a list out of order: {} before {}", pair[0].key, pair[1].key));
        }
        let outside = |pair: &&Pair| !pair.key.0.starts_with(&self.prefix.0) || pair.key <= self.after;
        if let Some(pair) = pairs.iter().find(outside) {
            return Err(format!("lists: a list with {}, which was not asked for", pair.key));
        }
        if self.limit.is_some_and(|limit| pairs.len() > limit) {
            return Err(format!("lists: a list of {} pairs, more than its limit", pairs.len()));
        }
        if more && pairs.is_empty() {
            return Err("lists: an empty page that says more keys follow".to_owned());
        }
        Ok(())
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "list {}*", self.prefix)?;
        if !self.after.0.is_empty() {
            write!(f, " after {}", self.after)?;
        }
        if let Some(limit) = self.limit {
            write!(f, " limit {limit}")?;
        }
        super::freshness(f, self.freshness)
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.found)
    }
}
