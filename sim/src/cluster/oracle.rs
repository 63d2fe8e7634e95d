//! The oracle: what clients were told, and whether it can all be true.
//!
//! Every write has a value of its own, so a value found names the write that made it. A write's revision places it
//! in the one order of all writes of the group, so no search is needed to judge a history of single keys:
//!
//! - *Phantoms*: a value found was written, under that key, by a write that was not refused.
//! - *One place in the order*: a write has one revision, however often and wherever it is seen; two writes have two.
//! - *Recency*: a linearizable read finds, at least, the newest of what was acknowledged or found by a linearizable
//!   read before it began; so does the revision that a write is given. This holds for a key, and for the store's
//!   revision that comes with an answer.
//! - *Durability*: in the end every key holds its newest acknowledged write, or a newer one whose outcome is unknown.
//!
//! Refused writes must leave nothing; unknown ones may appear at any time. Deletes, conditions and lists are to come.

use std::collections::BTreeMap;

use crate::Violation;
use crate::cluster::client::{Found, Freshness, Written};

/// The bookkeeping of all clients of a run.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Every write by its value.
    writes: BTreeMap<String, Attempt>,
    /// The write that each revision belongs to.
    revisions: BTreeMap<u64, String>,
    /// What is known of each key.
    keys: BTreeMap<String, Floor>,
    /// The newest revision of the store that an answer carried.
    store_floor: u64,
}

#[derive(Debug)]
struct Attempt {
    key: String,
    refused: bool,
    revision: Option<u64>,
}

/// The newest write of a key that somebody knows of.
#[derive(Clone, Debug, Default)]
struct Floor {
    revision: u64,
    acked: u64,
}

/// A request under way: what was known when it began.
#[derive(Debug)]
#[must_use = "a request that began has an outcome"]
pub struct Begun {
    key: String,
    floor: u64,
    store_floor: u64,
}

impl Oracle {
    /// A write of `value` under `key` begins.
    pub fn begin_write(&mut self, key: &str, value: &str) -> Begun {
        let attempt = Attempt { key: key.to_owned(), refused: false, revision: None };
        let before = self.writes.insert(value.to_owned(), attempt);
        assert!(before.is_none(), "every write has a value of its own, {value} has two");
        self.begin(key)
    }

    /// A linearizable or stale read of `key` begins.
    pub fn begin_read(&mut self, key: &str) -> Begun {
        self.begin(key)
    }

    fn begin(&self, key: &str) -> Begun {
        let floor = self.keys.get(key).map_or(0, |floor| floor.revision);
        Begun { key: key.to_owned(), floor, store_floor: self.store_floor }
    }

    /// A write ended.
    pub fn end_write(&mut self, begun: &Begun, value: &str, written: &Written) -> Result<(), Violation> {
        match written {
            Written::Unknown(_) => Ok(()),
            Written::NotApplied(why) => {
                let attempt = self.writes.get_mut(value).expect("the write began");
                if let Some(revision) = attempt.revision {
                    return Err(format!(
                        "{} was refused ({why}), but found at revision {revision}",
                        short(value)
                    ));
                }
                attempt.refused = true;
                Ok(())
            }
            Written::Done { revision } => {
                if *revision <= begun.store_floor {
                    return Err(format!(
                        "{} got revision {revision}, but the store was at {} before it began",
                        short(value),
                        begun.store_floor
                    ));
                }
                self.place(&begun.key, value, *revision)?;
                self.raise(&begun.key, *revision, *revision);
                let floor = self.keys.entry(begun.key.clone()).or_default();
                floor.acked = floor.acked.max(*revision);
                Ok(())
            }
        }
    }

    /// A read ended with a value.
    pub fn end_read(&mut self, begun: &Begun, found: &Found, freshness: Freshness) -> Result<(), Violation> {
        if let Some(value) = &found.value {
            self.place(&begun.key, value, found.revision)?;
        }
        if found.revision > found.store_revision {
            return Err(format!("{found:?} of {}: the key is newer than the store", begun.key));
        }
        if freshness == Freshness::Stale {
            return Ok(());
        }
        if found.revision < begun.floor {
            return Err(format!(
                "stale read of {}: {found:?}, but revision {} was known before it began",
                begun.key, begun.floor
            ));
        }
        if found.store_revision < begun.store_floor {
            return Err(format!(
                "stale read of {}: the store at {}, but {} was known before it began",
                begun.key, found.store_revision, begun.store_floor
            ));
        }
        self.raise(&begun.key, found.revision, found.store_revision);
        Ok(())
    }

    /// Every key that was written to, for the final scan.
    pub fn keys(&self) -> Vec<String> {
        let keys: std::collections::BTreeSet<&String> =
            self.writes.values().map(|attempt| &attempt.key).collect();
        keys.into_iter().cloned().collect()
    }

    /// Judges what the final scan found under `key`: its newest acknowledged write, or a newer unknown one.
    pub fn judge_final(&self, key: &str, found: &Found) -> Result<(), Violation> {
        let floor = self.keys.get(key).cloned().unwrap_or_default();
        if found.revision < floor.acked {
            let lost = &self.revisions[&floor.acked];
            return Err(format!(
                "lost write: {lost} of {key} was acknowledged at {}, found {found:?}",
                floor.acked
            ));
        }
        Ok(())
    }

    /// Binds a write to its place in the order.
    fn place(&mut self, key: &str, value: &str, revision: u64) -> Result<(), Violation> {
        let name = short(value);
        let Some(attempt) = self.writes.get_mut(value) else {
            return Err(format!("phantom: {key} holds {name}, which nobody wrote"));
        };
        if attempt.key != key {
            return Err(format!("phantom: {key} holds {name}, which was written to {}", attempt.key));
        }
        if attempt.refused {
            return Err(format!("phantom: {key} holds {name}, whose write was refused"));
        }
        if attempt.revision.is_some_and(|known| known != revision) {
            return Err(format!("{name} is at revision {revision}, and was at {:?}", attempt.revision));
        }
        attempt.revision = Some(revision);
        let owner = self.revisions.entry(revision).or_insert_with(|| value.to_owned());
        if owner != value {
            return Err(format!("revision {revision} belongs to {} and to {name}", short(owner)));
        }
        Ok(())
    }

    fn raise(&mut self, key: &str, revision: u64, store_revision: u64) {
        let floor = self.keys.entry(key.to_owned()).or_default();
        floor.revision = floor.revision.max(revision);
        self.store_floor = self.store_floor.max(store_revision);
    }
}

/// A value without its padding: what names the write.
pub fn short(value: &str) -> &str {
    value.trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(value: Option<&str>, revision: u64, store_revision: u64) -> Found {
        Found { value: value.map(str::to_owned), revision, store_revision }
    }

    fn write(oracle: &mut Oracle, value: &str, written: Written) -> Result<(), Violation> {
        let begun = oracle.begin_write("k", value);
        oracle.end_write(&begun, value, &written)
    }

    fn acked(values: &[(&str, u64)]) -> Oracle {
        let mut oracle = Oracle::default();
        for (value, revision) in values {
            write(&mut oracle, value, Written::Done { revision: *revision }).expect("a good history");
        }
        oracle
    }

    fn read(oracle: &mut Oracle, found: &Found) -> Result<(), Violation> {
        let begun = oracle.begin_read("k");
        oracle.end_read(&begun, found, Freshness::Linearizable)
    }

    #[test]
    fn a_good_history_passes() {
        let mut oracle = acked(&[("a", 2), ("b", 3)]);
        read(&mut oracle, &found(Some("b"), 3, 3)).expect("the newest");
        write(&mut oracle, "c", Written::Unknown("lost".into())).expect("unknown");
        read(&mut oracle, &found(Some("b"), 3, 3)).expect("c may not have been applied yet");
        read(&mut oracle, &found(Some("c"), 4, 4)).expect("or it may");
        oracle.judge_final("k", &found(Some("c"), 4, 4)).expect("newer than what was acknowledged");
        assert_eq!(oracle.keys(), ["k"]);
    }

    #[test]
    fn a_stale_linearizable_read_is_found() {
        let mut oracle = acked(&[("a", 2), ("b", 3)]);
        assert!(read(&mut oracle, &found(Some("a"), 2, 3)).is_err());
        let mut oracle = acked(&[("a", 2)]);
        assert!(read(&mut oracle, &found(None, 0, 2)).is_err(), "an absent key is the oldest of all");
        let begun = oracle.begin_read("k");
        oracle.end_read(&begun, &found(None, 0, 1), Freshness::Stale).expect("it asked for no more");
    }

    #[test]
    fn a_read_may_miss_what_was_acknowledged_after_it_began() {
        let mut oracle = acked(&[("a", 2)]);
        let begun = oracle.begin_read("k");
        write(&mut oracle, "b", Written::Done { revision: 3 }).expect("b is done");
        oracle.end_read(&begun, &found(Some("a"), 2, 2), Freshness::Linearizable).expect("they overlapped");
    }

    #[test]
    fn reads_never_go_back_even_from_an_unknown_write() {
        let mut oracle = acked(&[("a", 2)]);
        write(&mut oracle, "b", Written::Unknown("lost".into())).expect("unknown");
        read(&mut oracle, &found(Some("b"), 3, 3)).expect("it was applied");
        assert!(read(&mut oracle, &found(Some("a"), 2, 3)).is_err());
        assert!(read(&mut oracle, &found(Some("a"), 2, 2)).is_err());
    }

    #[test]
    fn phantoms_are_found() {
        let mut oracle = acked(&[("a", 2)]);
        assert!(read(&mut oracle, &found(Some("never written"), 3, 3)).is_err());
        write(&mut oracle, "b", Written::NotApplied("full".into())).expect("refused");
        assert!(read(&mut oracle, &found(Some("b"), 3, 3)).is_err());
        let begun = oracle.begin_read("other");
        assert!(oracle.end_read(&begun, &found(Some("a"), 2, 3), Freshness::Linearizable).is_err());
    }

    #[test]
    fn a_refusal_after_the_value_was_seen_is_found() {
        let mut oracle = Oracle::default();
        let begun = oracle.begin_write("k", "a");
        read(&mut oracle, &found(Some("a"), 2, 2)).expect("it was applied");
        assert!(oracle.end_write(&begun, "a", &Written::NotApplied("full".into())).is_err());
    }

    #[test]
    fn a_write_has_one_place_in_the_order() {
        let mut oracle = acked(&[("a", 2)]);
        assert!(write(&mut oracle, "b", Written::Done { revision: 2 }).is_err(), "a has it");
        let mut oracle = acked(&[("a", 2)]);
        assert!(read(&mut oracle, &found(Some("a"), 3, 3)).is_err(), "applied twice");
        let mut oracle = acked(&[("a", 5)]);
        assert!(
            write(&mut oracle, "b", Written::Done { revision: 4 }).is_err(),
            "before what was done before it"
        );
    }

    #[test]
    fn a_lost_write_is_found_at_the_end() {
        let oracle = acked(&[("a", 2), ("b", 3)]);
        assert!(oracle.judge_final("k", &found(Some("a"), 2, 3)).is_err());
        assert!(oracle.judge_final("k", &found(None, 0, 1)).is_err());
        oracle.judge_final("k", &found(Some("b"), 3, 3)).expect("it is there");
    }
}
