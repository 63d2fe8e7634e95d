//! Histories in a few words.

use quorate_sim::history::operations::{Delete, Get, List, Pair, Set, Txn};
use quorate_sim::history::{Answer, Found, Freshness, History, Key, Operation, Outcome, Value, Verdict};

/// A history that is being written down. What `end` finds is kept, as a run would end with it.
#[derive(Clone, Default)]
pub struct Script {
    pub history: History,
    noted: Option<String>,
}

pub fn set(key: &str, value: &str) -> Operation {
    Operation::Set(Set { key: key.into(), value: Value::of(value.as_bytes()), condition: None })
}

pub fn set_if(key: &str, value: &str, revision: u64) -> Operation {
    let condition = Some(revision);
    Operation::Set(Set { key: key.into(), value: Value::of(value.as_bytes()), condition })
}

pub fn delete(key: &str) -> Operation {
    Operation::Delete(Delete { key: key.into(), condition: None })
}

pub fn delete_if(key: &str, revision: u64) -> Operation {
    Operation::Delete(Delete { key: key.into(), condition: Some(revision) })
}

pub fn get(key: &str) -> Operation {
    Operation::Get(Get { key: key.into(), freshness: Freshness::Linearizable })
}

pub fn stale(key: &str) -> Operation {
    Operation::Get(Get { key: key.into(), freshness: Freshness::Stale })
}

pub fn stale_from(key: &str, revision: u64) -> Operation {
    Operation::Get(Get { key: key.into(), freshness: Freshness::StaleFrom(revision) })
}

pub fn leased(key: &str) -> Operation {
    Operation::Get(Get { key: key.into(), freshness: Freshness::Leased })
}

pub fn list(prefix: &str, after: &str, limit: Option<usize>) -> Operation {
    let freshness = Freshness::Linearizable;
    Operation::List(List { prefix: prefix.into(), after: after.into(), limit, freshness })
}

/// A transaction: each of `changes` a key with what is written there, or nothing to delete it.
pub fn txn(
    (key, condition): (&str, u64),
    changes: &[(&str, Option<&str>)],
    otherwise: Option<&str>,
) -> Operation {
    let change = |(key, value): &(&str, Option<&str>)| {
        (Key::from(*key), value.map(|value| Value::of(value.as_bytes())))
    };
    let changes = changes.iter().map(change).collect();
    Operation::Txn(Txn { key: key.into(), condition, changes, otherwise: otherwise.map(Key::from) })
}

pub fn committed(changed: &[bool], revision: u64) -> Outcome {
    Outcome::Done(Answer::Committed { changed: changed.to_vec(), revision })
}

pub fn otherwise(found: Option<(&str, u64)>, store: u64) -> Outcome {
    let found = found.map(|(value, revision)| Found { value: Value::of(value.as_bytes()), revision });
    Outcome::Done(Answer::Otherwise { found, store })
}

/// What the client library says of a read: not at which revision the store was.
pub fn found_somewhen(value: &str, revision: u64) -> Outcome {
    let found = Some(Found { value: Value::of(value.as_bytes()), revision });
    Outcome::Done(Answer::Got { found, store: None })
}

pub fn written(revision: u64) -> Outcome {
    Outcome::Done(Answer::Written { revision })
}

pub fn deleted(revision: u64) -> Outcome {
    Outcome::Done(Answer::Deleted { existed: true, revision })
}

pub fn nothing_deleted(revision: u64) -> Outcome {
    Outcome::Done(Answer::Deleted { existed: false, revision })
}

pub fn condition_failed(store: u64) -> Outcome {
    Outcome::Done(Answer::ConditionFailed { store: Some(store) })
}

pub fn found(value: &str, revision: u64, store: u64) -> Outcome {
    let found = Some(Found { value: Value::of(value.as_bytes()), revision });
    Outcome::Done(Answer::Got { found, store: Some(store) })
}

pub fn absent(store: u64) -> Outcome {
    Outcome::Done(Answer::Got { found: None, store: Some(store) })
}

pub fn page(pairs: &[(&str, &str, u64)], more: bool, store: u64) -> Outcome {
    let pair = |(key, value, revision): &(&str, &str, u64)| Pair {
        key: Key::from(*key),
        found: Found { value: Value::of(value.as_bytes()), revision: *revision },
    };
    Outcome::Done(Answer::Listed { pairs: pairs.iter().map(pair).collect(), more, store })
}

pub fn refused() -> Outcome {
    Outcome::NotApplied("overloaded".to_owned())
}

pub fn lost() -> Outcome {
    Outcome::Unknown("connection lost".to_owned())
}

impl Script {
    pub fn begin(&mut self, client: u64, operation: Operation) -> usize {
        self.history.begin(client, client, operation)
    }

    pub fn end(&mut self, call: usize, outcome: Outcome) -> &mut Script {
        if let Err(why) = self.history.end(call, outcome) {
            self.noted.get_or_insert(why);
        }
        self
    }

    /// A call that meets no other.
    pub fn call(&mut self, operation: Operation, outcome: Outcome) -> &mut Script {
        let call = self.begin(1, operation);
        self.end(call, outcome)
    }

    /// What is wrong with it. What was noted on the way must be known in the end, too.
    pub fn verdict(&self) -> Result<(), String> {
        let verdict = self.history.check();
        assert!(!matches!(verdict, Verdict::GaveUp(_)), "{verdict:?}");
        if let Some(noted) = &self.noted {
            assert!(matches!(verdict, Verdict::Wrong(_)), "forgotten in the end: {noted}");
            return Err(noted.clone());
        }
        verdict.into_result()
    }

    /// Fails the test unless it is good.
    #[track_caller]
    pub fn passes(&self) {
        if let Err(why) = self.verdict() {
            panic!("a false alarm: {why}");
        }
    }

    /// Fails the test unless it is bad for a reason that contains all of `words`.
    #[track_caller]
    pub fn fails(&self, words: &[&str]) {
        let why = self.verdict().expect_err("it was not noticed");
        assert!(words.iter().all(|word| why.contains(word)), "another reason: {why}");
    }
}
