//! Damage: what a node cannot read back it does not apply, and while others may lead it does not ask to; nor does one without a
//! state (Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST'18). That a damaged entry counts as present is judged by what becomes of it: leader completeness, and what is
//! committed. One that does not know how far its log went neither asks to lead nor votes.

use std::collections::HashMap;

use quorate::raft::{Entry, EntryKind, LAST_RESORT_TIMEOUTS, Raft, RoleName};
use quorate::types::{Monotonic, NodeId, Term};

use super::{Invariant, Seen};
use crate::Violation;

/// Remembers when each node last had a leader, and in which term it asked to lead as the last resort.
#[derive(Debug, Default)]
pub struct Damage {
    led: HashMap<NodeId, Led>,
    caretakers: HashMap<NodeId, Term>,
}

/// When a node last had a leader; before it had one, when it was first seen.
#[derive(Clone, Copy, Debug)]
struct Led {
    at: Monotonic,
    had_one: bool,
}

/// A node that starts is not seen before it does something: after so many election timeouts at the latest it does.
const UNSEEN_TIMEOUTS: u32 = 2;

/// What a leader has to be: not what the core says that it is.
fn is_whole(raft: &Raft) -> bool {
    raft.has_state() && raft.first_damaged().is_none()
}

impl Damage {
    /// Whoever is not whole keeps back while others may lead.
    fn judge_campaign(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let Seen { raft, node, .. } = seen;
        let now = raft.now();
        let led = self.led.entry(*node).or_insert(Led { at: now, had_one: false });
        if raft.leader().is_some() {
            *led = Led { at: now, had_one: true };
        }
        let campaigns = matches!(raft.role(), RoleName::PreCandidate | RoleName::Candidate);
        if !campaigns || is_whole(raft) {
            return Ok(());
        }
        let unseen = if led.had_one { 0 } else { UNSEEN_TIMEOUTS };
        let silence = raft.config().election_timeout * (LAST_RESORT_TIMEOUTS - unseen);
        if now < led.at.plus(silence) {
            let what = raft
                .first_damaged()
                .map_or("it has no state".to_owned(), |first| format!("its entry {first} is damaged"));
            return Err(format!("{node} campaigns, {what}, and others may lead"));
        }
        Ok(())
    }
}

impl Damage {
    /// Whoever was not whole when it asked to lead, and is not yet, begins its term and lets others decide. (A leader that is
    /// damaged later leads on.)
    fn judge_caretaker(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let Seen { raft, node, ready } = seen;
        let (role, term) = (raft.role(), raft.term());
        if is_whole(raft) {
            self.caretakers.remove(node);
        } else if role == RoleName::Candidate {
            self.caretakers.insert(*node, term);
        }
        let is_caretaker = role == RoleName::Leader && self.caretakers.get(node) == Some(&term);
        let adds = |entry: &&Entry| entry.term == term && entry.kind != EntryKind::Noop;
        let entry = ready.writes.iter().flat_map(|write| &write.entries).find(adds);
        match entry.filter(|_| is_caretaker) {
            Some(entry) => {
                Err(format!("{node} leads only as a caretaker, and appends entry {}", entry.index))
            }
            None => Ok(()),
        }
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
        self.judge_caretaker(seen)?;
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
