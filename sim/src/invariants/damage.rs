//! Damage: what a node cannot read back it does not apply, and it does not ask to lead; nor does one without a state (Alagappan et al., "Protocol-Aware
//! Recovery for Consensus-Based Storage", FAST'18). That a damaged entry counts as present is judged by what becomes of it:
//! leader completeness, and what is committed. One that does not know how far its log went neither asks to lead nor votes.

use quorate::raft::RoleName;

use super::{Invariant, Seen};
use crate::Violation;

/// Needs no memory.
#[derive(Debug)]
pub struct Damage;

impl Invariant for Damage {
    fn name(&self) -> &'static str {
        "damage"
    }

    fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let Seen { raft, node, ready } = seen;
        let campaigns = matches!(raft.role(), RoleName::PreCandidate | RoleName::Candidate);
        if !raft.has_state() && campaigns {
            return Err(format!("{node} campaigns, and has no state"));
        }
        if !raft.has_state() && !ready.apply.is_empty() {
            return Err(format!("{node} applies entries, and has no state"));
        }
        if raft.is_in_doubt() && (campaigns || raft.role() == RoleName::Leader) {
            return Err(format!("{node} campaigns or leads, and does not know how far its log went"));
        }
        let Some(first) = raft.first_damaged() else { return Ok(()) };
        if campaigns {
            return Err(format!("{node} campaigns, and its entry {first} is damaged"));
        }
        match ready.apply.iter().find(|entry| raft.is_damaged(entry.index)) {
            Some(entry) => Err(format!("{node} applies entry {}, which is damaged", entry.index)),
            None => Ok(()),
        }
    }
}
