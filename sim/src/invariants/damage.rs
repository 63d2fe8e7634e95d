//! Damage: what a node cannot read back it does not apply, and while others may lead it does not ask to; nor does one without a
//! state (Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST'18). That a damaged entry counts as present is judged by what becomes of it: leader completeness, and what is
//! committed. One that does not know how far its log went neither asks to lead nor votes.

use std::collections::HashMap;

use quorate::raft::{LAST_RESORT_TIMEOUTS, RoleName};
use quorate::types::{Monotonic, NodeId};

use super::{Invariant, Seen};
use crate::Violation;

/// Remembers when each node last had a leader.
#[derive(Debug, Default)]
pub struct Damage {
    led: HashMap<NodeId, Monotonic>,
}

/// A node that starts is not seen before it does something: after so many election timeouts at the latest it does.
const UNSEEN_TIMEOUTS: u32 = 2;

impl Damage {
    /// Whoever is not whole keeps back while others may lead.
    fn judge_campaign(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let Seen { raft, node, .. } = seen;
        let now = raft.now();
        let led = self.led.entry(*node).or_insert(now);
        if raft.leader().is_some() {
            *led = now;
        }
        let campaigns = matches!(raft.role(), RoleName::PreCandidate | RoleName::Candidate);
        if !campaigns || raft.is_whole() {
            return Ok(());
        }
        let silence = raft.config().election_timeout * (LAST_RESORT_TIMEOUTS - UNSEEN_TIMEOUTS);
        if now < led.plus(silence) {
            let what = raft
                .first_damaged()
                .map_or("it has no state".to_owned(), |first| format!("its entry {first} is damaged"));
            return Err(format!("{node} campaigns, {what}, and others may lead"));
        }
        Ok(())
    }
}

impl Invariant for Damage {
    fn name(&self) -> &'static str {
        "damage"
    }

    fn booted(&mut self, node: NodeId) {
        self.led.remove(&node);
    }

    fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        self.judge_campaign(seen)?;
        let Seen { raft, node, ready } = seen;
        let campaigns = matches!(raft.role(), RoleName::PreCandidate | RoleName::Candidate);
        if !raft.has_state() && !ready.apply.is_empty() {
            return Err(format!("{node} applies entries, and has no state"));
        }
        if raft.is_in_doubt() && (campaigns || raft.role() == RoleName::Leader) {
            return Err(format!("{node} campaigns or leads, and does not know how far its log went"));
        }
        match ready.apply.iter().find(|entry| raft.is_damaged(entry.index)) {
            Some(entry) => Err(format!("{node} applies entry {}, which is damaged", entry.index)),
            None => Ok(()),
        }
    }
}
