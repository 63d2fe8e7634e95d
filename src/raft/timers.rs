//! Deadlines, and the dice that set them.
//!
//! This and the [counters](Counters) are all that the core knows beyond the protocol's state. They compare and hash as
//! equal, so that a model checker sees two states that differ only in time as one.
//!
//! Deadlines are judged in `tick` alone, never while a message is stepped. A node that was paused finds all its
//! deadlines long past, and its mail unread. So a tick that comes late judges no election deadline: it moves them by
//! the time that was slept through and a little more, and the mail goes first. What is due only later than that stays
//! as it is: some of the mail may have been read before this tick, and have set it. This is done once in a row, or a
//! machine that is always late would never hold an election.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::types::Monotonic;

/// See the [module](self). A deadline that is not set is at the end of time.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    rng: fastrand::Rng,
    /// The latest instant that the core was told of.
    pub(super) now: Monotonic,
    /// Follower, candidates: campaign.
    pub(super) election: Monotonic,
    /// Follower: when a leader was heard last.
    pub(super) heard: Monotonic,
    /// When this node last knew of a leader, or was one; else when it started.
    pub(super) led: Monotonic,
    /// Until then this node is bound by a lease of which it knows no more (see `lease`).
    pub(super) bound: Monotonic,
    /// Follower, pre-candidate: act on the evidence that the leader's process has ended.
    pub(super) evidence: Monotonic,
    /// All: of the writes under way none has completed for too long.
    pub(super) disk: Monotonic,
    /// Leader: make yourself heard. Moves on by whole intervals, so that late ticks add no drift.
    pub(super) heartbeat: Monotonic,
    /// Leader: see whether a quorum was heard from.
    pub(super) quorum: Monotonic,
    /// Leader: tell the followers what is committed.
    pub(super) commit: Monotonic,
    /// Leader: the transfer under way has failed.
    pub(super) transfer: Monotonic,
    /// Follower: the forwarded reads under way are lost.
    pub(super) read: Monotonic,
    /// All: ask for damaged entries.
    pub(super) repair: Monotonic,
    postponed: bool,
}

/// A deadline that is not set.
pub(super) const NEVER: Monotonic = Monotonic(u64::MAX);

impl Timers {
    pub(super) fn new(seed: u64, now: Monotonic) -> Timers {
        Timers {
            rng: fastrand::Rng::with_seed(seed),
            now,
            election: NEVER,
            heard: Monotonic(0),
            led: now,
            bound: Monotonic(0),
            evidence: NEVER,
            disk: NEVER,
            heartbeat: NEVER,
            quorum: NEVER,
            commit: NEVER,
            transfer: NEVER,
            read: NEVER,
            repair: NEVER,
            postponed: false,
        }
    }

    /// The core was told that it is `now`; time does not run backwards.
    pub(super) fn see(&mut self, now: Monotonic) {
        self.now = self.now.max(now);
    }

    /// Draws an election deadline, one to two timeouts from now: drawn, so that split votes are rare and end
    /// (section 5.2).
    pub(super) fn arm_election(&mut self, timeout: Duration) {
        let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX / 2);
        let drawn = timeout.saturating_add(self.rng.u64(0..timeout.max(1)));
        self.election = self.now.plus(Duration::from_nanos(drawn));
    }

    /// Draws when evidence is acted on: after `wait`, and up to `spread` more.
    pub(super) fn arm_evidence(&mut self, wait: Duration, spread: Duration) {
        let spread = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX / 2);
        self.evidence = self.now.plus(wait).plus(Duration::from_nanos(self.rng.u64(..=spread)));
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Monotonic {
        let leading = self.heartbeat.min(self.quorum).min(self.commit).min(self.transfer);
        self.election.min(leading).min(self.read).min(self.evidence).min(self.disk).min(self.repair)
    }

    /// If this tick is late by more than `slack`, moves the deadlines that would end a role, so that what came in
    /// meanwhile is stepped first.
    pub(super) fn forgive_pause(&mut self, slack: Duration) {
        let late = self.now.since(self.next());
        if late <= slack {
            self.postponed = false;
        } else if !self.postponed {
            self.postponed = true;
            let Timers { election, quorum, read, evidence, disk, .. } = self;
            let soon = self.now.plus(slack);
            for deadline in [election, quorum, read, evidence, disk] {
                if *deadline <= soon {
                    *deadline = deadline.plus(late).plus(slack);
                }
            }
        }
    }
}

impl PartialEq for Timers {
    fn eq(&self, _: &Timers) -> bool {
        true
    }
}

impl Eq for Timers {}

impl Hash for Timers {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// What the core dropped, and why; for metrics. Monotone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Messages that no correct peer sends: addressed to another node, contradictory, undecodable.
    pub invalid: u64,
    /// Messages of an earlier term or conversation. They are normal after every change of leader.
    pub stale: u64,
    /// Vote requests ignored because a leader is heard.
    pub ignored_votes: u64,
    /// Proposals refused because too much is uncommitted.
    pub overloaded: u64,
    /// Elections this node began.
    pub campaigns: u64,
    /// Times that the disk was found to hang.
    pub stalls: u64,
    /// Evidence that the leader's process had ended, ignored because leases are on.
    pub ignored_deaths: u64,
    /// Entries on this node's disk that were found to be damaged, those of its start too.
    pub damaged: u64,
    /// Damaged entries that were stored once more.
    pub repaired: u64,
    /// Times that there was no state any more; at the start, too.
    pub states_lost: u64,
    /// Times that it became known again how far the log went.
    pub settled: u64,
}

impl PartialEq for Counters {
    fn eq(&self, _: &Counters) -> bool {
        true
    }
}

impl Eq for Counters {}

impl Hash for Counters {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
