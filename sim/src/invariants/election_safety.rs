//! Election safety: at most one leader in a term (Raft paper, Figure 3), and nobody takes another node for it.

use std::collections::BTreeMap;

use quorate::raft::RoleName;
use quorate::types::{NodeId, Term};

use super::{Invariant, Seen};
use crate::Violation;

/// The leader that each term has had.
#[derive(Debug, Default)]
pub struct ElectionSafety(BTreeMap<Term, NodeId>);

impl ElectionSafety {
    fn leads(&mut self, node: NodeId, term: Term) -> Result<(), Violation> {
        let leader = *self.0.entry(term).or_insert(node);
        if leader == node { Ok(()) } else { Err(format!("{leader} and {node} led term {term}")) }
    }
}

impl Invariant for ElectionSafety {
    fn name(&self) -> &'static str {
        "election safety"
    }

    fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let elected = seen.ready.changes.iter().filter(|change| change.role == RoleName::Leader);
        let terms: Vec<Term> = elected.map(|change| change.term).collect();
        terms.into_iter().try_for_each(|term| self.leads(seen.node, term))?;
        match seen.raft.leader() {
            Some(leader) => self.leads(leader, seen.raft.term()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_one_term_are_found() {
        let mut invariant = ElectionSafety::default();
        invariant.leads(NodeId(1), Term(1)).expect("the first");
        invariant.leads(NodeId(2), Term(2)).expect("another term");
        invariant.leads(NodeId(1), Term(1)).expect("the same node says it again");
        assert!(invariant.leads(NodeId(2), Term(1)).is_err());
    }
}
