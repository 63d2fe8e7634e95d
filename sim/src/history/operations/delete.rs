//! Delete a key, if a condition holds or always.

use std::fmt;

use super::super::value::Key;
use super::{Answer, Before, Effect, Fact};

/// Delete a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The key.
    pub key: Key,
    /// Only if this is the revision of the key's last change; 0: only if it is absent.
    pub condition: Option<u64>,
}

impl Delete {
    pub(super) fn facts<'a>(&'a self, answer: Option<&'a Answer>) -> Option<Vec<Fact<'a>>> {
        let Delete { key, condition } = self;
        let (before, condition, effect) = match (answer, condition) {
            (None | Some(Answer::Deleted { existed: true, .. }), _) => {
                (Before::Present, *condition, Some(Effect::Erase))
            }
            (Some(Answer::Deleted { existed: false, .. }), _) => (Before::Absent, *condition, None),
            (Some(Answer::ConditionFailed { .. }), Some(revision)) => (Before::NotAt(*revision), None, None),
            _ => return None,
        };
        Some(vec![Fact { key, before, condition, effect }])
    }
}

impl fmt::Display for Delete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delete {}", self.key)?;
        super::condition(f, self.condition)
    }
}
