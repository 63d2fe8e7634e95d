//! Read a key.

use std::fmt;

use super::super::value::Key;
use super::{Answer, Before, Fact, Freshness};

/// Read a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// The key.
    pub key: Key,
    /// How fresh.
    pub freshness: Freshness,
}

impl Get {
    pub(super) fn facts<'a>(&'a self, answer: Option<&'a Answer>) -> Option<Vec<Fact<'a>>> {
        let Some(answer) = answer else { return Some(Vec::new()) };
        let Answer::Got { found, .. } = answer else { return None };
        let before = found.as_ref().map_or(Before::Absent, Before::Is);
        Some(vec![Fact { key: &self.key, before, condition: None, effect: None }])
    }
}

impl fmt::Display for Get {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "get {}", self.key)?;
        super::freshness(f, self.freshness)
    }
}
