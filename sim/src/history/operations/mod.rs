//! What a client can ask: one file for each operation.
//!
//! An operation says two things of itself. `Operation::facts`: what an answer claims about single keys, or, without an
//! answer, what the operation may do to them; ledger and search know nothing else of it. And whether an answer is well
//! formed at all: that needs no other call. A new operation is a file, a variant here, and an answer if it has one of
//! its own.

mod delete;
mod get;
mod list;
mod set;
mod txn;

pub use self::delete::Delete;
pub use self::get::Get;
pub use self::list::{List, Pair};
pub use self::set::Set;
pub use self::txn::Txn;

use std::collections::BTreeSet;
use std::fmt;

use super::value::{Found, Key, Value};

/// How many pairs of a page are named where it is put in words.
const PAIRS_SHOWN_MAX: usize = 6;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As of some instant between request and answer.
    Linearizable,
    /// The same, where the node may take a lease's word for it.
    Leased,
    /// As of whatever the node has applied.
    Stale,
    /// As of whatever the node has applied, this revision of the store or a later one.
    StaleFrom(u64),
}

impl Freshness {
    /// Whether the answer may be older than the request.
    #[must_use]
    pub fn is_stale(self) -> bool {
        match self {
            Freshness::Linearizable | Freshness::Leased => false,
            Freshness::Stale | Freshness::StaleFrom(_) => true,
        }
    }
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read a key.
    Get(Get),
    /// Write a key.
    Set(Set),
    /// Delete a key.
    Delete(Delete),
    /// Read a page of keys.
    List(List),
    /// Change keys together, if a condition holds.
    Txn(Txn),
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Get`].
    Got {
        /// The key, if it is there.
        found: Option<Found>,
        /// The store's revision when it was read; `None` where the client is not told.
        store: Option<u64>,
    },
    /// To [`Set`].
    Written {
        /// The write's own revision.
        revision: u64,
    },
    /// To [`Delete`].
    Deleted {
        /// Whether the key was there.
        existed: bool,
        /// The write's own revision if it was, else the store's.
        revision: u64,
    },
    /// To a conditional write: the key was not at the revision it named. Nothing was changed.
    ConditionFailed {
        /// The store's revision when that was found; `None` where the client is not told.
        store: Option<u64>,
    },
    /// To [`Txn`]: its condition held.
    Committed {
        /// Of each of its changes, whether it changed anything: a delete of nothing does not.
        changed: Vec<bool>,
        /// Its own revision if anything was changed, else the store's.
        revision: u64,
    },
    /// To [`Txn`]: its condition did not hold. Nothing was changed.
    Otherwise {
        /// What it read then, if it was to and the key is there.
        found: Option<Found>,
        /// The store's revision when that was found.
        store: u64,
    },
    /// To [`List`].
    Listed {
        /// The pairs.
        pairs: Vec<Pair>,
        /// Whether further keys follow.
        more: bool,
        /// The store's revision when they were read.
        store: u64,
    },
}

/// What a call says of one key, or may do to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact<'a> {
    pub key: &'a Key,
    /// What the key was just before.
    pub before: Before<'a>,
    /// The revision the key was at just before, where the call named one: 0 if absent.
    pub condition: Option<u64>,
    /// What it is after, where the call changed it.
    pub effect: Option<Effect<'a>>,
}

/// What a key was just before a call, as far as the call tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before<'a> {
    Anything,
    Present,
    Absent,
    Is(&'a Found),
    /// Not last changed at this revision; 0: not absent.
    NotAt(u64),
}

/// What a call did to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect<'a> {
    Put(&'a Value),
    Erase,
}

impl Operation {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Get(_) => "get",
            Operation::Set(_) => "set",
            Operation::Delete(_) => "delete",
            Operation::List(_) => "list",
            Operation::Txn(_) => "txn",
        }
    }

    /// Whether it may change the store.
    #[must_use]
    pub fn is_write(&self) -> bool {
        match self {
            Operation::Get(_) | Operation::List(_) => false,
            Operation::Set(_) | Operation::Delete(_) | Operation::Txn(_) => true,
        }
    }

    /// How fresh its answer must be.
    pub(super) fn freshness(&self) -> Freshness {
        match self {
            Operation::Get(get) => get.freshness,
            Operation::List(list) => list.freshness,
            Operation::Set(_) | Operation::Delete(_) | Operation::Txn(_) => Freshness::Linearizable,
        }
    }

    /// Whether its answer must be as fresh as the request.
    pub(super) fn is_fresh(&self) -> bool {
        !self.freshness().is_stale()
    }

    /// What `answer` claims about keys; without one, what the operation does if it is executed and changes something.
    /// `keys` are all that were ever written to.
    ///
    /// # Errors
    /// Why the answer cannot be one to this operation, whatever the store holds.
    pub(super) fn facts<'a>(
        &'a self,
        answer: Option<&'a Answer>,
        keys: &'a BTreeSet<Key>,
    ) -> Result<Vec<Fact<'a>>, String> {
        let facts = match self {
            Operation::Get(get) => get.facts(answer),
            Operation::Set(set) => set.facts(answer),
            Operation::Delete(delete) => delete.facts(answer),
            Operation::List(list) => return list.facts(answer, keys),
            Operation::Txn(txn) => return txn.facts(answer),
        };
        facts.ok_or_else(|| "form: an answer of the wrong kind".to_owned())
    }
}

impl Answer {
    /// The store's revision when the call was executed: after it, if it changed something. `None`: the client was not told.
    pub(super) fn store(&self) -> Option<u64> {
        match self {
            Answer::Got { store, .. } | Answer::ConditionFailed { store } => *store,
            Answer::Listed { store, .. } | Answer::Otherwise { store, .. } => Some(*store),
            Answer::Written { revision }
            | Answer::Deleted { revision, .. }
            | Answer::Committed { revision, .. } => Some(*revision),
        }
    }

    /// The revision that the call took for itself.
    pub(super) fn own(&self) -> Option<u64> {
        match self {
            Answer::Written { revision } | Answer::Deleted { existed: true, revision } => Some(*revision),
            Answer::Committed { changed, revision } if changed.contains(&true) => Some(*revision),
            Answer::Deleted { existed: false, .. }
            | Answer::Committed { .. }
            | Answer::Otherwise { .. }
            | Answer::Got { .. }
            | Answer::ConditionFailed { .. }
            | Answer::Listed { .. } => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Get(get) => get.fmt(f),
            Operation::Set(set) => set.fmt(f),
            Operation::Delete(delete) => delete.fmt(f),
            Operation::List(list) => list.fmt(f),
            Operation::Txn(txn) => txn.fmt(f),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Got { found: Some(found), store } => write!(f, "{found}{}", At(*store)),
            Answer::Got { found: None, store } => write!(f, "absent{}", At(*store)),
            Answer::Written { revision } => write!(f, "done @{revision}"),
            Answer::Deleted { existed: true, revision } => write!(f, "done @{revision}"),
            Answer::Deleted { existed: false, revision } => write!(f, "was absent, store @{revision}"),
            Answer::ConditionFailed { store } => write!(f, "condition failed{}", At(*store)),
            Answer::Committed { changed, revision } => match self.own() {
                Some(own) if changed.contains(&false) => write!(f, "done but for what was absent @{own}"),
                Some(own) => write!(f, "done @{own}"),
                None => write!(f, "was absent, store @{revision}"),
            },
            Answer::Otherwise { found: Some(found), store } => {
                write!(f, "condition failed, found {found}, store @{store}")
            }
            Answer::Otherwise { found: None, store } => write!(f, "condition failed, store @{store}"),
            Answer::Listed { pairs, more, store } => {
                let shown: Vec<String> =
                    pairs.iter().take(PAIRS_SHOWN_MAX).map(ToString::to_string).collect();
                let rest = pairs.len() - shown.len();
                let rest = if rest > 0 { format!(", and {rest} others") } else { String::new() };
                let more = if *more { ", more" } else { "" };
                write!(f, "[{}{rest}]{more}, store @{store}", shown.join(", "))
            }
        }
    }
}

/// The store's revision in words, where it is known.
struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |store| write!(f, ", store @{store}"))
    }
}

/// A condition in words.
fn condition(f: &mut fmt::Formatter<'_>, condition: Option<u64>) -> fmt::Result {
    match condition {
        None => Ok(()),
        Some(0) => write!(f, " if absent"),
        Some(revision) => write!(f, " if @{revision}"),
    }
}

fn freshness(f: &mut fmt::Formatter<'_>, freshness: Freshness) -> fmt::Result {
    match freshness {
        Freshness::Linearizable => Ok(()),
        Freshness::Leased => write!(f, " leased"),
        Freshness::Stale => write!(f, " stale"),
        Freshness::StaleFrom(revision) => write!(f, " stale from @{revision}"),
    }
}
