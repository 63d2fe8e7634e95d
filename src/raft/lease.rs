//! Leases: reads at the leader without a round of messages, for as long as nobody else can have been elected (thesis,
//! section 6.4.1). They are off unless the configuration in force has a lease ([`Membership::lease_ms`]).
//!
//! ```text
//!   leader   --+ round r leaves                       + its lease ends
//!              |<------ lease x (1 - drift) --------->|
//!               \                  ...                    (a reader looks at the clock after it has read the data)
//!   voter        +--> receives round r                    + free to vote again
//!                |<----------------- lease -------------->|
//! ```
//!
//! **The voter** is *bound* for one lease from when it received the leader's last message: it grants no vote, answers no
//! pre-vote and does not campaign, whatever else it has heard since, also if it has forgotten its leader. It forgets
//! more than that when it restarts. So one that starts is bound for one lease from its start, the longest one of all
//! configurations that its log knows. Only the leader itself releases it, by an election that it asks for
//! (`Vote { transfer: true }`), before which it gives its lease up.
//!
//! **The leader's** lease begins when the newest round *left* that a quorum has answered, never when the answers came: an
//! answer may have been under way for long. A voter's answer counts only once the voter is known to have the
//! configuration in force on disk. Else this gives a stale read:
//!
//! 1. The group gets its first lease. Node 2 lags and does not know of it, but it answers heartbeats: 1 has a lease by 2.
//! 2. Node 2 restarts. It knows of no lease and votes for node 3 at once, which has heard nobody for long.
//! 3. Node 3 commits a write with node 2's help. Node 1 still has its lease, and answers reads without that write.
//!
//! That 2 has the configuration on disk in 1's term says that it had not voted for 3 until then, and a restart after
//! that finds the lease. So a change of the configuration, any change, cuts the lease until a quorum of the new one (of
//! both halves of a joint one) has it, and a leader has none before an entry of its own term is committed. It ends with
//! the role, and for the rest of the term when the leader asks another one to campaign: that request may arrive at any
//! later time, whatever the leader has given up by then.
//!
//! **Clocks** are monotonic ones, and no two of them drift apart by more than [`CLOCK_DRIFT_MAX_PPM`]: while one counts a
//! second, another counts at least a second less that. A clock that stands still while its machine is suspended breaks
//! this; the driver's clock must not (`CLOCK_BOOTTIME`).
//!
//! **When the lease changes.** A voter is bound by the longest lease of the configuration that it knows to be committed
//! and of all later ones in its log: any of these may be in force at a leader. When it learns that the configuration
//! with the longest one is superseded, it stays bound for that long once more. The leader goes by the configuration in
//! force alone, and so gives its lease up before anyone else can know that it is removed.
//!
//! A lease is at most an election timeout: whoever sets it checks that, and the leader cuts it there. A voter does not,
//! since its own election timeout may be another one.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::types::{Index, Monotonic};

use super::log::Log;
use super::raft::RoleState;
use super::{Config, Raft, Round};

/// How far two nodes' clocks may drift apart, in millionths: an eighth. Real ones stay below a thousandth; the rest is for
/// virtual machines that are moved, slewed or starved.
pub const CLOCK_DRIFT_MAX_PPM: u32 = 125_000;

/// A leader's lease. A read at any applied index from `index` on is linearizable if the clock, looked at *after* the data
/// was read, is before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When it ends, by this node's clock.
    pub until: Monotonic,
    /// The commit index when this was asked.
    pub index: Index,
}

/// When the rounds left: the round and the instant at which the first message of it did, oldest first. Like all times it
/// compares as equal; it is empty where leases are off.
#[derive(Clone, Debug, Default)]
pub(super) struct Departures(VecDeque<(Round, Monotonic)>);

impl Departures {
    /// A message of this round leaves. What left a whole lease ago is of no use any more.
    pub(super) fn note(&mut self, round: Round, now: Monotonic, lease: Duration) {
        // Nobody has answered round 0, and it is what everybody seems to have answered.
        if lease.is_zero() || round == Round(0) || self.0.back().is_some_and(|&(last, _)| last >= round) {
            return;
        }
        while self.0.pop_front_if(|(_, at)| at.plus(lease) <= now).is_some() {}
        self.0.push_back((round, now));
    }

    /// When this round left, or an earlier one if that is not known.
    fn of(&self, round: Round) -> Option<Monotonic> {
        self.0.iter().rev().find(|&&(left, _)| left <= round).map(|&(_, at)| at)
    }
}

impl PartialEq for Departures {
    fn eq(&self, _: &Departures) -> bool {
        true
    }
}

impl Eq for Departures {}

impl Hash for Departures {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Raft {
    /// The lease that this node holds at `now`, if it leads and has one. It may be asked at any time; whoever publishes it
    /// does so anew after every input, before any message that the input caused leaves.
    pub fn lease(&self, now: Monotonic) -> Option<Lease> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let lease = taken(&self.config, &self.log);
        let index = self.log.committed();
        let is_settled = self.log.term_at(index) == Some(self.term);
        if lease.is_zero() || leader.has_handed_over || !is_settled {
            return None;
        }
        let configured = self.log.membership_index();
        let answered = self.quorum.watermark(|id| {
            if id == self.config.id {
                return u64::MAX;
            }
            leader.peers.get(&id).filter(|peer| peer.matched() >= configured).map_or(0, |peer| peer.acked.0)
        });
        // Without others whose vote is needed nobody else can be elected.
        let left = if answered == u64::MAX { now } else { leader.departures.of(Round(answered))? };
        let until = left.plus(lease - lease / 1_000_000 * CLOCK_DRIFT_MAX_PPM);
        (now < until).then_some(Lease { until, index })
    }

    /// The longest lease that a leader may take as far as this node knows.
    pub(super) fn lease_promised(&self) -> Duration {
        millis(self.log.lease_ms_since(self.log.committed()))
    }

    /// Whether a leader may rely on this node not voting: see the [module](self).
    pub(super) fn is_bound(&self, now: Monotonic) -> bool {
        now < self.timers.bound || now < self.timers.heard.plus(self.lease_promised())
    }

    /// Whether leases are on, or were until a lease ago: then evidence of a leader's end ends nothing.
    pub(super) fn is_leased(&self, now: Monotonic) -> bool {
        now < self.timers.bound || !self.lease_promised().is_zero()
    }

    /// This node starts: it may have answered a leader just before.
    pub(super) fn bind_at_start(&mut self) {
        let longest = millis(self.log.lease_ms_since(self.log.purged().0));
        if !longest.is_zero() {
            self.timers.bound = self.timers.now.plus(longest);
        }
    }

    /// The commit index moved over a configuration; before that, leaders may have taken leases of this length.
    pub(super) fn outlast(&mut self, lease: Duration) {
        if self.lease_promised() < lease {
            self.timers.bound = self.timers.bound.max(self.timers.now.plus(lease));
        }
    }
}

/// The lease of the configuration in force, as a leader takes it; zero if leases are off.
pub(super) fn taken(config: &Config, log: &Log) -> Duration {
    millis(log.membership().lease_ms).min(config.election_timeout)
}

fn millis(lease_ms: u32) -> Duration {
    Duration::from_millis(u64::from(lease_ms))
}
