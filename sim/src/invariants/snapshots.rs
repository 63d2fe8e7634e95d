//! A snapshot takes the place of what is committed, and of nothing else (Raft paper, section 7).
//!
//! - It is at a committed entry, of that entry's term.
//! - It never removes what its receiver knew to be committed: it covers all of that, or the log keeps what lies behind.
//! - The configuration at a purge point, wherever it came from, is the one that the committed log puts in force there.
//!
//! That the state itself is what the log would have made is judged where states are known: by the core simulator's oracle,
//! and by the state hashes of the cluster simulator.

use std::collections::BTreeMap;

use quorate::raft::{EntryKind, Install, Membership};
use quorate::types::{Index, NodeId, Term};

use super::ledger::Ledger;
use super::{Invariant, Seen};
use crate::Violation;

/// What is committed, and the configurations in it.
#[derive(Debug, Default)]
pub struct Snapshots {
    ledger: Ledger,
    /// The configuration that the group began with.
    first: Option<Membership>,
    /// Every configuration that any node was ever given to write.
    written: BTreeMap<(Index, Term), Membership>,
    /// Each node's commit index, as it was last seen since its start.
    committed: BTreeMap<NodeId, Index>,
    /// And its purge point.
    purged: BTreeMap<NodeId, Index>,
}

impl Snapshots {
    /// The configuration in force after a committed entry; `None` if not enough is known.
    fn configuration_at(&self, index: Index) -> Option<&Membership> {
        let before = self.written.range(..=(index, Term(u64::MAX))).rev();
        for (&(at, term), membership) in before {
            if self.ledger.get(at)?.term? == term {
                return Some(membership);
            }
        }
        self.first.as_ref()
    }

    fn installs(&self, node: NodeId, install: &Install, last: Index) -> Result<(), Violation> {
        let Install { index, term, .. } = install;
        let known = self.committed.get(&node).copied().unwrap_or_default();
        if *index <= known && last < known {
            return Err(format!("{node} installs a snapshot at {index}, and had committed {known}"));
        }
        match self.ledger.get(*index).and_then(|line| line.term) {
            Some(committed) if committed == *term => Ok(()),
            committed => Err(format!(
                "{node} installs a snapshot at {index} of term {term}, and the entry there was committed with {committed:?}"
            )),
        }
    }

    /// A node's log begins after `purged`, with this configuration in force.
    fn begins(&mut self, node: NodeId, purged: Index, membership: &Membership) -> Result<(), Violation> {
        if self.purged.insert(node, purged) == Some(purged) {
            return Ok(());
        }
        if purged == Index(0) {
            // Founders start before all others. Who joins later begins with what it was told, or with nothing.
            self.first.get_or_insert_with(|| membership.clone());
            return Ok(());
        }
        match self.configuration_at(purged) {
            Some(expected) if expected != membership => Err(format!(
                "{node} has purged up to {purged} under {membership:?}, and what is committed there is {expected:?}"
            )),
            _ => Ok(()),
        }
    }
}

impl Invariant for Snapshots {
    fn name(&self) -> &'static str {
        "snapshots"
    }

    fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let Seen { raft, node, ready } = *seen;
        for entry in ready.writes.iter().flat_map(|write| &write.entries) {
            if entry.kind == EntryKind::Membership
                && let Ok(membership) = Membership::decode(&entry.payload)
            {
                self.written.entry((entry.index, entry.term)).or_insert(membership);
            }
        }
        // Before what this node says of itself: what was committed before must be known from others.
        for install in ready.writes.iter().filter_map(|write| write.install.as_ref()) {
            self.installs(node, install, raft.last_index())?;
        }
        self.committed.insert(node, raft.commit());
        // Other invariants say so if nodes disagree.
        let _ = self.ledger.compare(node, raft);
        let purged = raft.purged().0;
        self.begins(node, purged, raft.membership_at(purged))
    }

    fn booted(&mut self, node: NodeId) {
        self.ledger.booted(node);
        self.committed.remove(&node);
        self.purged.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn membership(version: &str) -> Membership {
        let mut membership = Membership::bootstrap([(NODE, "n1:7000".to_owned())]);
        membership.members.get_mut(&NODE).expect("a member").version = version.to_owned();
        membership
    }

    /// Entries 1 to 3 of terms 1, 2, 2 are committed.
    fn three() -> Snapshots {
        let mut invariant = Snapshots::default();
        for term in [1, 2, 2] {
            invariant.ledger.push(Term(term), Term(2));
        }
        invariant
    }

    #[test]
    fn a_snapshot_of_what_is_not_committed_is_found() {
        let install =
            |index, term| Install { index: Index(index), term: Term(term), membership: membership("") };
        let installs = |index, term| three().installs(NODE, &install(index, term), Index(index));
        installs(3, 2).expect("it is committed");
        assert!(installs(3, 1).is_err(), "another term");
        assert!(installs(4, 2).is_err(), "nobody has committed that");
        let mut ahead = three();
        ahead.committed.insert(NODE, Index(3));
        assert!(ahead.installs(NODE, &install(2, 2), Index(2)).is_err(), "older than what it had");
        ahead.installs(NODE, &install(2, 2), Index(3)).expect("what it had is kept");
    }

    #[test]
    fn another_configuration_at_the_purge_point_is_found() {
        let mut invariant = three();
        invariant.begins(NODE, Index(0), &membership("first")).expect("the first");
        invariant.written.insert((Index(2), Term(1)), membership("lost"));
        invariant.written.insert((Index(2), Term(2)), membership("kept"));
        invariant.begins(NODE, Index(1), &membership("first")).expect("before the change");
        assert!(invariant.begins(NODE, Index(2), &membership("first")).is_err(), "it was changed");
        assert!(invariant.begins(NodeId(2), Index(3), &membership("lost")).is_err(), "never committed");
        invariant.begins(NodeId(3), Index(3), &membership("kept")).expect("in force");
        invariant.begins(NodeId(4), Index(9), &membership("x")).expect_err("nothing else was committed");
    }
}
