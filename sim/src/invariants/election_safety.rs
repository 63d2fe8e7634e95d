//! Election safety: at most one leader in a term (Raft paper, Figure 3).

use std::collections::BTreeMap;

use super::Invariant;
use crate::events::RoleChange;
use crate::oracle::Violation;

/// The leader that each term has had.
#[derive(Debug, Default)]
pub struct ElectionSafety(BTreeMap<u64, String>);

impl Invariant for ElectionSafety {
    fn observe(&mut self, changes: &[RoleChange]) -> Result<(), Violation> {
        for change in changes.iter().filter(|change| change.role.eq_ignore_ascii_case("leader")) {
            let leader = self.0.entry(change.term).or_insert_with(|| change.node.clone());
            if *leader != change.node {
                return Err(format!(
                    "election safety: {leader} and {} led term {}",
                    change.node, change.term
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(node: &str, term: u64) -> RoleChange {
        RoleChange { node: node.into(), role: "leader".into(), term }
    }

    #[test]
    fn two_leaders_of_one_term_are_found() {
        let mut invariant = ElectionSafety::default();
        invariant.observe(&[leads("node1", 1), leads("node2", 2)]).expect("two terms");
        invariant.observe(&[leads("node1", 1)]).expect("the same node says it again");
        assert!(invariant.observe(&[leads("node2", 1)]).is_err());
    }
}
