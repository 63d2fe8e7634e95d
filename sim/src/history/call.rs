//! One request of a client, with its outcome.

use std::fmt;

use super::operations::{Answer, Operation};
use super::value::Key;

/// What became of a call, as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was executed, and this is the answer. A conditional write whose condition did not hold is done: its answer is a
    /// fact about the key.
    Done(Answer),
    /// It was not executed and never will be.
    NotApplied(String),
    /// It may have been executed, or may still be. A read that got no answer is unknown, too.
    Unknown(String),
}

impl Outcome {
    /// In a word or two.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Done(Answer::ConditionFailed { .. } | Answer::Otherwise { .. }) => {
                "refused by its condition"
            }
            Outcome::Done(_) => "done",
            Outcome::NotApplied(_) => "not applied",
            Outcome::Unknown(_) => "unknown",
        }
    }
}

/// A request of a client. Beginnings and ends of all calls are numbered through in the order in which they were recorded.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its number.
    pub id: usize,
    /// Who asked.
    pub client: u64,
    /// Which node was asked; 0: whichever the client's library chose.
    pub node: u64,
    /// What was asked.
    pub operation: Operation,
    /// The moment before it was sent.
    pub begun: u64,
    /// The moment after its outcome was known; `None` while it is under way.
    pub ended: Option<u64>,
    /// What became of it; unknown while it is under way.
    pub outcome: Outcome,
    /// The newest revision of the store that anybody had been told when it began.
    pub(super) floor: u64,
}

impl Call {
    /// The answer, if it was done.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Done(answer) => Some(answer),
            Outcome::NotApplied(_) | Outcome::Unknown(_) => None,
        }
    }

    /// If its answer says that more keys follow: after which, and which prefix they have.
    pub(super) fn more_after(&self) -> Option<(&Key, &Key)> {
        match (&self.operation, self.answer()) {
            (Operation::List(list), Some(Answer::Listed { pairs, more: true, .. })) => {
                pairs.last().map(|pair| (&pair.key, &list.prefix))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} client {}", self.id, self.client)?;
        match self.node {
            0 => write!(f, " at any node: {}, ", self.operation)?,
            node => write!(f, " at node {node}: {}, ", self.operation)?,
        }
        match &self.outcome {
            Outcome::Done(answer) => write!(f, "{answer}")?,
            Outcome::NotApplied(why) => write!(f, "not applied ({why})")?,
            Outcome::Unknown(why) => write!(f, "unknown ({why})")?,
        }
        match self.ended {
            Some(ended) => write!(f, " [{}-{ended}]", self.begun),
            None => write!(f, " [{}-]", self.begun),
        }
    }
}
