//! Write a key, if a condition holds or always.

use std::fmt;

use super::super::value::{Key, Value};
use super::{Answer, Before, Effect, Fact};

/// Write a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Value,
    /// Only if this is the revision of the key's last change; 0: only if it is absent.
    pub condition: Option<u64>,
}

impl Set {
    pub(super) fn facts<'a>(&'a self, answer: Option<&'a Answer>) -> Option<Vec<Fact<'a>>> {
        let Set { key, value, condition } = self;
        match (answer, condition) {
            (None | Some(Answer::Written { .. }), _) => {
                let effect = Some(Effect::Put(value));
                Some(vec![Fact { key, before: Before::Anything, condition: *condition, effect }])
            }
            (Some(Answer::ConditionFailed { .. }), Some(revision)) => {
                let before = Before::NotAt(*revision);
                Some(vec![Fact { key, before, condition: None, effect: None }])
            }
            _ => None,
        }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {} = {}", self.key, self.value)?;
        super::condition(f, self.condition)
    }
}
