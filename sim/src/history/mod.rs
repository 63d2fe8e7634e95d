//! What clients asked and were told, and whether it can all be true.
//!
//! ```text
//! operations   what a client can ask, one file each; what an answer says of single keys (facts)
//! call         one request with its outcome: done, not applied, unknown
//! ledger       revisions: who owns which, what the store was at each        judged at every answer, and in the end
//! keys         the history of one key, made ready for the search
//! search       is there an order of all calls that explains all answers?    judged in the end
//! ```
//!
//! A [`History`] is filled while a run goes on: [`History::begin`] before a request leaves, [`History::end`] when its
//! outcome is known. `end` already judges what a look at the revisions can tell, so that most violations are noted at the
//! answer that shows them. [`History::check`] judges the whole.
//!
//! # What must hold
//!
//! - *Linearizability*, key by key, by search (Wing and Gong 1993, Lowe 2017): some order of all calls, each between its
//!   beginning and its end, in which every answer is right. A call of unknown outcome may take its place at any time
//!   after its beginning, or never; one that was not applied has none. The search looks at values and conditions; it takes
//!   from revisions only which write a condition means.
//! - *Revisions*: each write that changed something has one of its own, and nothing else takes any. An answer's revision
//!   of the store never lies behind what anybody was told before its request began (but for stale reads, which never lie
//!   behind the revision that they ask for), and a write's lies above it. So real time orders revisions.
//! - *The store at a revision*: every answer that names the store's revision, fresh or stale, shows the key, or all keys
//!   of a list, as the writes up to that revision leave it: no more, no less, no mixture.
//! - *Transactions*: all that one changes it changes at one revision.
//! - *Conditions*: a conditional write is done only if the key was at the revision it names, and refused only if it was not.
//!
//! It is sound: whatever a right store answers passes, however many outcomes are unknown. The history must know every
//! client of the store since it held [`REVISION_EMPTY`]. A write that is sent again and again under one number, or one key,
//! is one call here: a second execution takes a revision, or leaves a value, that no call explains.
//!
//! It does no I/O, knows no clock and no threads, and uses std alone: the tests with real processes include this folder.

mod call;
mod keys;
mod ledger;
pub mod operations;
mod search;
#[cfg(test)]
mod twin;
mod value;

pub use self::call::{Call, Outcome};
pub use self::operations::{Answer, Freshness, Operation};
pub use self::value::{Found, Key, Value};

use std::collections::BTreeMap;
use std::io;

use self::ledger::Ledger;

/// The revision of an empty store.
pub const REVISION_EMPTY: u64 = 1;

/// What was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it can be true.
    Right,
    /// It cannot, and this is why.
    Wrong(String),
    /// The search came to no end within its bound: nothing is proven. That is a failure of the test, never a success.
    GaveUp(String),
}

impl Verdict {
    /// The text of what is not right.
    ///
    /// # Errors
    /// What is wrong, or that the search gave up.
    pub fn into_result(self) -> Result<(), String> {
        match self {
            Verdict::Right => Ok(()),
            Verdict::Wrong(why) => Err(why),
            Verdict::GaveUp(why) => Err(format!("no verdict: {why}")),
        }
    }
}

/// All that clients of a store asked and were told.
#[derive(Clone, Debug, Default)]
pub struct History {
    calls: Vec<Call>,
    /// How many beginnings and ends there were: the clock of this history.
    moments: u64,
    ledger: Ledger,
}

impl History {
    /// A client is about to send a request to a node; 0: to whichever its library chooses. Returns the call's number.
    pub fn begin(&mut self, client: u64, node: u64, operation: Operation) -> usize {
        let (id, begun) = (self.calls.len(), self.moment());
        let call = Call {
            id,
            client,
            node,
            operation,
            begun,
            ended: None,
            outcome: Outcome::Unknown("no answer yet".to_owned()),
            floor: self.ledger.floor(),
        };
        self.ledger.begun(&call);
        self.calls.push(call);
        id
    }

    /// A call ended. A call ends once.
    ///
    /// # Errors
    /// What this answer proves to be wrong, with the call.
    pub fn end(&mut self, id: usize, outcome: Outcome) -> Result<(), String> {
        let ended = self.moment();
        let call = &mut self.calls[id];
        assert!(call.ended.is_none(), "{call} has ended before");
        call.ended = Some(ended);
        call.outcome = outcome;
        let call = &self.calls[id];
        self.ledger.ended(call).map_err(|why| format!("{why}: {call}"))
    }

    /// Judges the whole. Calls that have not ended count as unknown.
    #[must_use]
    pub fn check(&self) -> Verdict {
        if let Err(why) = self.ledger.check(&self.calls) {
            return Verdict::Wrong(why);
        }
        let keys = match keys::partition(&self.calls, &self.ledger) {
            Ok(keys) => keys,
            Err(why) => return Verdict::Wrong(why),
        };
        for (key, tasks) in &keys {
            match search::search(tasks, search::STEPS_MAX) {
                search::Found::Order => {}
                search::Found::None(deepest) => {
                    return Verdict::Wrong(keys::explain(key, tasks, &deepest, &self.calls));
                }
                search::Found::GaveUp => {
                    return Verdict::GaveUp(format!(
                        "no order of {key} found in {} steps",
                        search::STEPS_MAX
                    ));
                }
            }
        }
        Verdict::Right
    }

    /// The calls, in the order of their beginning.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// How many calls of each name ended in which way: `set done`, `get unknown`, ...
    #[must_use]
    pub fn totals(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let mut totals = BTreeMap::new();
        for call in &self.calls {
            *totals.entry((call.operation.name(), call.outcome.name())).or_default() += 1;
        }
        totals
    }

    /// Writes one line for each call.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl io::Write) -> io::Result<()> {
        self.calls.iter().try_for_each(|call| writeln!(out, "{call}"))
    }

    fn moment(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }
}
