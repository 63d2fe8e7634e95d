//! The end of a run: what every node holds, and whether all that clients were told can be true.
//!
//! Every node is read in whole, page by page: fresh, and then from what it has applied itself, which is no less, since the
//! fresh read waited for it. All answers enter the history, so no acknowledged write may be missing but where another
//! took its place. Nodes that are at the same revision must hold the same, to the byte. A write of unknown outcome may
//! still come in between two pages: then the scan is made again.

use std::collections::BTreeMap;

use crate::Violation;
use crate::cluster::ask::Ask;
use crate::cluster::client::Freshness;
use crate::cluster::handle::{Cluster, PATIENCE, Session};
use crate::cluster::world::host;
use crate::history::{Answer, Found, Key, Outcome};

/// How many pairs a page of the scan has.
const PAGE_PAIRS: usize = 40;

/// All that a node holds at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holding {
    store: u64,
    keys: BTreeMap<Key, Found>,
}

impl Cluster {
    /// Reads all that each of `nodes` holds, compares them, and judges the run's whole history.
    ///
    /// # Errors
    /// What is wrong, or that a node does not let itself be read.
    pub async fn final_scan(&self, nodes: &[u64]) -> Result<(), Violation> {
        let mut known: Option<(u64, Holding)> = None;
        for node in nodes {
            let mut session = self.session();
            let mut floor = 0;
            for freshness in [Freshness::Linearizable, Freshness::Stale] {
                let what = format!("a scan of {}", host(*node));
                let scan = async || scan(&mut session, *node, freshness).await;
                let holding = self.eventually(&what, PATIENCE, scan).await?;
                if holding.store < floor {
                    return Err(format!(
                        "final scan: {} held @{} after it had served @{floor}",
                        host(*node),
                        holding.store
                    ));
                }
                floor = holding.store;
                if let Some((other, before)) = &known {
                    compare((*other, before), (*node, &holding))?;
                }
                known = Some((*node, holding));
                self.count("final reads");
            }
        }
        self.judge()
    }

    /// Judges the run's whole history.
    ///
    /// # Errors
    /// What is wrong.
    pub fn judge(&self) -> Result<(), Violation> {
        self.history().check().into_result()
    }
}

/// Reads all that a node holds. `None` if some page did not come, or the store changed from one to the next.
async fn scan(session: &mut Session, node: u64, freshness: Freshness) -> Option<Holding> {
    let mut holding: Option<Holding> = None;
    let mut after = Key::from("");
    loop {
        let ask = Ask::list("".into(), after, Some(PAGE_PAIRS), freshness);
        let Outcome::Done(Answer::Listed { pairs, more, store }) = session.call(node, &ask).await else {
            return None;
        };
        let holding = holding.get_or_insert_with(|| Holding { store, keys: BTreeMap::new() });
        if holding.store != store {
            return None;
        }
        after = pairs.last().map_or_else(|| Key::from(""), |pair| pair.key.clone());
        holding.keys.extend(pairs.into_iter().map(|pair| (pair.key, pair.found)));
        if !more || after.0.is_empty() {
            return Some(holding.clone());
        }
    }
}

/// At the same revision nodes hold the same. At another, the history tells whether both can be right.
fn compare(one: (u64, &Holding), other: (u64, &Holding)) -> Result<(), Violation> {
    let ((one, held), (other, holds)) = (one, other);
    if held.store != holds.store || held == holds {
        return Ok(());
    }
    let differs =
        held.keys.keys().chain(holds.keys.keys()).find(|key| held.keys.get(key) != holds.keys.get(key));
    let key = differs.expect("they are not equal");
    let shown = |holding: &Holding| holding.keys.get(key).map_or("nothing".to_owned(), ToString::to_string);
    Err(format!(
        "final scan: at @{} {key} is {} on {} and {} on {}",
        held.store,
        shown(held),
        host(one),
        shown(holds),
        host(other)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Value;

    fn holding(store: u64, keys: &[(&str, u64)]) -> Holding {
        let found = |revision| Found { value: Value::of(b"v"), revision };
        Holding {
            store,
            keys: keys.iter().map(|(key, revision)| (Key::from(*key), found(*revision))).collect(),
        }
    }

    #[test]
    fn nodes_at_one_revision_hold_the_same() {
        let all = holding(3, &[("a", 2), ("b", 3)]);
        compare((1, &all), (2, &all)).expect("they are equal");
        compare((1, &all), (2, &holding(4, &[("a", 4)]))).expect("another revision");
        let why = compare((1, &all), (2, &holding(3, &[("a", 2)]))).expect_err("b is missing");
        assert_eq!(why, "final scan: at @3 b is v @3 on node1 and nothing on node2");
    }
}
