//! What a leader knows of one follower's log, and how fast it may send.
//!
//! ```text
//!               a match is confirmed
//!     +-------+ ---------------------> +-----------+
//!  -->| Probe |                        | Replicate |<--+
//!     +-------+ <--------------------- +-----------+   |
//!       | ^ | ^   an append is rejected   |            |
//!       +-+ | |                           |            |
//!   rejected| | it was sent               |            |
//!           | |     +----------+          |            |
//!           | +-----| Snapshot |<---------+            |
//!           +------>|          |-----------------------+
//!     what comes    +----------+    a match is confirmed, at the
//!   next was purged    |   ^       snapshot's index or elsewhere
//!                      +---+ failed: again after the next heartbeat
//! ```
//!
//! - **Probe**: where the logs agree is not known; one append at a time looks for it. Rejected, it goes back at least a
//!   term at a time.
//! - **Replicate**: it is known; appends follow each other without waiting, up to a window of messages and bytes.
//! - **Snapshot**: the follower needs entries that were purged. No appends, while heartbeats go on: it counts for
//!   check-quorum and confirms reads like any other. The driver is asked for a snapshot, once ([`Transfer`]); it sends one
//!   beside the core and says how that ended. What counts is the follower's own word that it has the log up to there.
//!
//! No reply can do harm by being late, repeated or out of order. Every conversation has a session, every append in it
//! a number. "Matched up to i" is a fact that holds for the rest of the leader's term (the follower has it on disk,
//! and truncates nothing while it follows the same leader), so it only ever raises `matched`. A rejection is about a
//! guess that may have been corrected since: it counts only if its append was sent after the last correction (`epoch`).
//!
//! Nothing gets stuck by loss. When a heartbeat falls due, the leader marks the appends sent so far as *suspect*. If
//! the follower answers a heartbeat and the oldest unanswered append is a suspect, messages get through and that one
//! may be lost: a probe is repeated; in Replicate an empty append goes out behind all those sent (a *nudge*), which the
//! follower rejects if it lacks any of them, and the search starts over. Once an interval is enough. A snapshot that
//! was sent is followed by a probe: should the follower not have it after all, it says so. One that could not be sent is
//! asked for again only after a later heartbeat was answered, so that an unreachable follower costs nothing.

use std::collections::VecDeque;

use crate::types::{Index, Term};

use super::applying::Fetching;
use super::log::Log;
use super::room::Heard;
use super::{AppendReply, AppendResult, Config, Room, Round, SessionId};

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pace {
    /// Looking for the last position at which the logs agree.
    Probe {
        /// A probe is out and was not answered.
        waiting: bool,
    },
    /// Streaming.
    Replicate,
    /// What comes next for the follower was purged.
    Snapshot,
}

/// Where the follower's snapshot stands. Not part of the pace: a transfer goes on, and must be reported, though the
/// follower was found not to need it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Transfer {
    /// None is under way.
    #[default]
    Idle,
    /// The driver was asked for one.
    Asked,
    /// The driver sends the one at this index.
    Sending(Index),
    /// The last one failed: ask again when the follower is heard.
    Failed,
}

/// What to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing: all is sent, or the window is full, or an answer must come first.
    Nothing,
    /// An append without entries: a probe or a nudge.
    Empty,
    /// An append with entries.
    Entries,
    /// Entries that must be read back first.
    Fetch,
    /// A snapshot, to be asked for.
    Snapshot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Inflight {
    id: u64,
    last: Index,
    bytes: usize,
}

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    /// `matched` rose.
    Advanced,
    /// It was in order and told nothing new of the log.
    Known,
    /// It belongs to the past: nothing changed.
    Stale,
    /// No correct follower sends this.
    Invalid,
}

/// One follower, as its leader sees it. Lives for one term of leadership at most.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    pub(super) session: SessionId,
    pub(super) pace: Pace,
    /// The follower's log equals the leader's up to here and is on disk. Monotone, below `next`.
    matched: Index,
    /// The first entry to be sent next.
    next: Index,
    /// The largest position sent in this session.
    sent: Index,
    /// Unanswered appends with entries, oldest first; empty in Probe.
    window: VecDeque<Inflight>,
    window_bytes: usize,
    /// The number of the next append.
    next_id: u64,
    /// The number of the first append sent since `next` was last corrected.
    epoch: u64,
    /// Appends below this number were sent before the last heartbeat that fell due.
    suspect: Option<u64>,
    /// An empty append is due that finds out whether something was lost.
    nudge: bool,
    /// The follower answered since check-quorum last looked, or has had no chance to.
    pub(super) active: bool,
    /// Whether it really answered since check-quorum last looked, and in the period before.
    answered: [bool; 2],
    /// The largest round that the follower answered. Monotone.
    pub(super) acked: Round,
    /// The largest round sent to it.
    pub(super) stamped: Round,
    /// The commit index that it knows if all messages arrived.
    pub(super) told: Index,
    /// It waits to read at this index: it must not wait for the next heartbeat to learn of the commit.
    pub(super) wanted: Index,
    pub(super) fetching: Fetching,
    transfer: Transfer,
    /// It needs a snapshot, whatever its log is, and one at this index or beyond: it has no state, or an entry before that is
    /// damaged there and was purged here.
    lacks_state: Option<Index>,
    /// Heartbeats that have yet to fall due until such a question is a new one: one that left before the last snapshot had
    /// arrived may still be on its way.
    settling: u8,
    heard: Heard,
    /// Whether it has said in this conversation what it lacks, if it lacks anything.
    is_known: bool,
    /// The process of the follower that did not know how far its log went, for which this conversation was begun.
    renewed_for: Option<u64>,
    /// Where the log ended that it was told to make sure of then: it votes for nobody, and does not lead, before it has that.
    in_doubt_until: Index,
}

/// After a snapshot has arrived, its receiver's questions for another are not heard for so many heartbeats.
const SETTLING_HEARTBEATS: u8 = 2;

impl Progress {
    /// A follower of whose log nothing is known. `next`: the first guess, one after where the leader's log ended.
    pub(super) fn new(session: SessionId, next: Index) -> Progress {
        Progress {
            session,
            pace: Pace::Probe { waiting: false },
            matched: Index(0),
            next,
            sent: Index(0),
            window: VecDeque::new(),
            window_bytes: 0,
            next_id: 1,
            epoch: 1,
            suspect: None,
            nudge: false,
            active: true,
            answered: [false; 2],
            acked: Round(0),
            stamped: Round(0),
            told: Index(0),
            wanted: Index(0),
            fetching: Fetching::Idle,
            transfer: Transfer::Idle,
            lacks_state: None,
            settling: 0,
            heard: Heard::default(),
            is_known: false,
            renewed_for: None,
            in_doubt_until: Index(0),
        }
    }

    /// The follower's process `boot` does not know how far its log went (see `doubt`): nothing that it ever said counts any
    /// more, and whatever it said late belongs to another conversation. `end`: where the leader's log ends.
    pub(super) fn renewed(session: SessionId, next: Index, boot: u64, end: Index) -> Progress {
        Progress { renewed_for: Some(boot), in_doubt_until: end, ..Progress::new(session, next) }
    }

    /// Whether this conversation was begun for this process.
    pub(super) fn is_renewed_for(&self, boot: u64) -> bool {
        self.renewed_for == Some(boot)
    }

    pub(super) fn matched(&self) -> Index {
        self.matched
    }

    pub(super) fn next(&self) -> Index {
        self.next
    }

    fn has_room(&self, config: &Config) -> bool {
        self.window.len() < config.append_inflight_max && self.window_bytes < config.append_inflight_bytes_max
    }

    /// What the follower has said of its room.
    pub(super) fn room(&self) -> Room {
        self.heard.room()
    }

    /// The follower says what its disk has room for, in answer to this round.
    pub(super) fn hear_room(&mut self, room: Room, round: Round) {
        self.heard.hear(room, round);
    }

    /// What should be sent to this follower next.
    pub(super) fn plan(&self, config: &Config, log: &Log) -> Plan {
        match self.plan_with_room(config, log) {
            plan @ (Plan::Entries | Plan::Fetch)
                if self.room().is_full() && (log.begins_small(self.next) || log.is_left_over(self.next)) =>
            {
                plan
            }
            // It would take none of it, nor a snapshot: only where the logs agree can be found out (see `room`).
            Plan::Entries | Plan::Fetch | Plan::Snapshot if self.room().is_full() => match self.pace {
                Pace::Probe { waiting: false } if !self.is_cut_off(log) => Plan::Empty,
                Pace::Replicate if self.nudge && !self.is_cut_off(log) => Plan::Empty,
                _ => Plan::Nothing,
            },
            plan => plan,
        }
    }

    fn plan_with_room(&self, config: &Config, log: &Log) -> Plan {
        if self.is_cut_off(log) {
            // An answer that is still due may show that the follower has what was purged.
            let is_answered = match self.pace {
                Pace::Probe { waiting } => !waiting,
                Pace::Replicate => self.window.is_empty() || self.nudge,
                Pace::Snapshot => true,
            };
            let is_due = is_answered && self.transfer == Transfer::Idle;
            return if is_due { Plan::Snapshot } else { Plan::Nothing };
        }
        if self.lacks_state.is_some() && self.transfer == Transfer::Idle && self.pace == Pace::Replicate {
            return Plan::Snapshot;
        }
        let is_lacking = self.next <= log.last();
        let is_damaged = log.wounds().contains(self.next);
        let is_cached = self.next >= log.first_cached();
        match self.pace {
            Pace::Probe { waiting: true } => Plan::Nothing,
            // A probe needs no entries: not worth reading them back.
            Pace::Probe { waiting: false } if is_lacking && is_cached => Plan::Entries,
            Pace::Probe { waiting: false } => Plan::Empty,
            Pace::Replicate if is_lacking && self.has_room(config) && is_cached => Plan::Entries,
            Pace::Replicate
                if is_lacking && !is_damaged && self.has_room(config) && self.fetching == Fetching::Idle =>
            {
                Plan::Fetch
            }
            Pace::Replicate if self.nudge => Plan::Empty,
            Pace::Replicate | Pace::Snapshot => Plan::Nothing,
        }
    }

    /// Whether the position before `next` was purged, so that no append can begin there.
    fn is_cut_off(&self, log: &Log) -> bool {
        self.next <= log.purged().0
    }

    /// Whether entries that begin at `first` and were read back may be sent.
    pub(super) fn accepts(&self, first: Index, config: &Config, log: &Log) -> bool {
        self.pace == Pace::Replicate && self.next == first && self.has_room(config) && !self.is_cut_off(log)
    }

    /// An append leaves that begins at `next` and ends at `last` (`next - 1` if it is empty). Returns its number.
    pub(super) fn on_sent(&mut self, last: Index, bytes: usize) -> u64 {
        assert!(last.next() >= self.next, "an append that ends at {last} cannot begin at {}", self.next);
        let id = self.next_id;
        self.next_id += 1;
        self.sent = self.sent.max(last);
        match &mut self.pace {
            Pace::Probe { waiting } => *waiting = true,
            Pace::Replicate => {
                self.nudge = false;
                if last >= self.next {
                    self.window.push_back(Inflight { id, last, bytes });
                    self.window_bytes += bytes;
                    self.next = last.next();
                }
            }
            Pace::Snapshot => panic!("an append to a follower that waits for a snapshot: {self:?}"),
        }
        id
    }

    /// The driver is asked for a snapshot. One for a follower whose log goes on changes nothing else.
    pub(super) fn on_snapshot_asked(&mut self, log: &Log) {
        assert_eq!(self.transfer, Transfer::Idle, "a snapshot is under way");
        if self.is_cut_off(log) {
            self.search();
            self.pace = Pace::Snapshot;
        }
        self.transfer = Transfer::Asked;
    }

    /// The follower needs a snapshot at `index` or beyond.
    pub(super) fn on_state_wanted(&mut self, index: Index) {
        if self.settling == 0 {
            self.lacks_state = self.lacks_state.max(Some(index));
        }
    }

    /// Whether it answered lately, and could lead as far as is known: it has a state to go on with, and knows how far its log
    /// went. A group whose voters have none, or do not know, elects nobody.
    pub(super) fn is_able(&self) -> bool {
        self.is_reachable() && self.lacks_state.is_none() && self.matched >= self.in_doubt_until
    }

    /// Whether a snapshot is being made for it, or is on its way.
    pub(super) fn is_being_sent(&self) -> bool {
        matches!(self.transfer, Transfer::Asked | Transfer::Sending(_))
    }

    /// Whether it could lead, and has had its say.
    pub(super) fn is_surely_able(&self) -> bool {
        self.is_able() && self.is_known
    }

    /// It answered a heartbeat, and with that it has said what it lacks. Returns whether it says so for the first time.
    pub(super) fn on_said(&mut self, needs_snapshot: Option<Index>) -> bool {
        if let Some(index) = needs_snapshot {
            self.on_state_wanted(index);
        }
        !std::mem::replace(&mut self.is_known, true)
    }

    /// A snapshot before this index would be of no use to it.
    pub(super) fn needs_state_at(&self) -> Index {
        self.lacks_state.unwrap_or(Index(0))
    }

    /// The driver has a snapshot at `index` to send. Returns the message's number; none if it is not wanted any more.
    pub(super) fn on_snapshot_begun(&mut self, index: Index, log: &Log) -> Option<u64> {
        if self.transfer != Transfer::Asked {
            return None;
        }
        if self.pace != Pace::Snapshot && self.lacks_state.is_none() {
            self.transfer = Transfer::Idle;
            return None;
        }
        if index < log.purged().0.max(self.needs_state_at()) {
            // Its successor is gone already, here or there: it would not help.
            self.on_snapshot_failed();
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.sent = self.sent.max(index);
        self.transfer = Transfer::Sending(index);
        Some(id)
    }

    /// The transfer has ended. `is_received`: the follower has all of it, and may have answered already.
    pub(super) fn on_snapshot_ended(&mut self, is_received: bool) {
        match self.transfer {
            Transfer::Sending(index) if is_received => {
                self.transfer = Transfer::Idle;
                (self.lacks_state, self.settling) = (None, SETTLING_HEARTBEATS);
                if self.pace == Pace::Snapshot {
                    self.next = index.max(self.matched).next();
                    self.search();
                }
            }
            Transfer::Asked if is_received => panic!("a snapshot was sent that was never begun"),
            Transfer::Sending(_) | Transfer::Asked => self.on_snapshot_failed(),
            Transfer::Idle | Transfer::Failed => {}
        }
    }

    fn on_snapshot_failed(&mut self) {
        self.transfer = Transfer::Failed;
        // Only a heartbeat that falls due from now on tells that the follower is there.
        self.suspect = None;
    }

    /// The follower answered an append that had `prev_index` as its start.
    pub(super) fn on_reply(&mut self, reply: &AppendReply, log: &Log) -> Digest {
        if reply.inflight >= self.next_id {
            return Digest::Invalid;
        }
        match reply.result {
            AppendResult::Matched { index } => self.on_matched(index, log),
            AppendResult::Rejected { prev_index, hint_index, hint_term } => {
                self.on_rejected(reply.inflight, prev_index, (hint_index, hint_term), log)
            }
        }
    }

    fn on_matched(&mut self, index: Index, log: &Log) -> Digest {
        // An empty probe confirms the position before `next`, which was never sent.
        if index > self.sent {
            return Digest::Invalid;
        }
        while let Some(sent) = self.window.pop_front_if(|sent| sent.last <= index) {
            self.window_bytes -= sent.bytes;
        }
        let advanced = index > self.matched;
        self.matched = self.matched.max(index);
        let is_found = match self.pace {
            Pace::Probe { .. } => true,
            Pace::Snapshot => self.matched >= log.purged().0,
            Pace::Replicate => false,
        };
        if is_found {
            // Whatever this answers: what is matched is a fact, and what follows it is what must be sent.
            self.pace = Pace::Replicate;
            self.next = self.matched.next();
            self.epoch = self.next_id;
        }
        self.next = self.next.max(self.matched.next());
        if advanced { Digest::Advanced } else { Digest::Known }
    }

    fn on_rejected(&mut self, id: u64, prev_index: Index, hint: (Index, Term), log: &Log) -> Digest {
        if id < self.epoch || prev_index <= self.matched {
            return Digest::Stale;
        }
        let (hint_index, hint_term) = hint;
        match self.pace {
            Pace::Replicate => self.next = self.matched.next(),
            Pace::Probe { .. } => {
                if prev_index != self.next.prev() {
                    return Digest::Stale;
                }
                // The follower agrees with us nowhere after its hint; nor can it where our term is above the hint's.
                // What is left was purged: then anything before the purge point will do.
                let agreed = log.last_at_most(hint_index.min(prev_index), hint_term);
                let agreed = agreed.map_or(Index(0), |(index, _)| index);
                if agreed >= prev_index {
                    return Digest::Invalid;
                }
                self.next = agreed.max(self.matched).next();
            }
            Pace::Snapshot => return Digest::Stale,
        }
        self.search();
        Digest::Known
    }

    /// Starts over from `next`, one append at a time; replies to what was sent before no longer correct anything.
    fn search(&mut self) {
        self.pace = Pace::Probe { waiting: false };
        self.window.clear();
        self.window_bytes = 0;
        self.epoch = self.next_id;
        self.nudge = false;
        self.fetching = Fetching::Idle;
    }

    /// The follower answered a heartbeat: whatever was lost may be tried again.
    pub(super) fn on_alive(&mut self) {
        self.on_answer();
        if self.fetching == Fetching::Failed {
            self.fetching = Fetching::Idle;
        }
        let Some(suspect) = self.suspect.take() else { return };
        if self.transfer == Transfer::Failed {
            self.transfer = Transfer::Idle;
        }
        match &mut self.pace {
            Pace::Probe { waiting } => *waiting &= self.next_id > suspect,
            Pace::Replicate => self.nudge = self.window.front().is_some_and(|oldest| oldest.id < suspect),
            Pace::Snapshot => {}
        }
    }

    /// The follower answered.
    pub(super) fn on_answer(&mut self) {
        self.active = true;
        self.answered[0] = true;
    }

    /// Its process has ended: that it answered lately says nothing any more.
    pub(super) fn on_died(&mut self) {
        self.answered = [false; 2];
    }

    /// Whether it answered lately: within one to two periods of check-quorum.
    pub(super) fn is_reachable(&self) -> bool {
        self.answered.contains(&true)
    }

    /// Check-quorum has looked.
    pub(super) fn on_looked_at(&mut self) {
        self.active = false;
        self.answered = [false, self.answered[0]];
    }

    /// A heartbeat fell due and leaves now.
    pub(super) fn on_heartbeat_due(&mut self) {
        self.suspect = Some(self.next_id);
        self.settling = self.settling.saturating_sub(1);
    }

    pub(super) fn check(&self, log: &Log) {
        assert!(self.matched < self.next, "matched {} is not below next {}", self.matched, self.next);
        assert!(self.matched <= log.last(), "matched {} beyond last {}", self.matched, log.last());
        assert!(self.next <= log.last().next(), "next {} beyond last {}", self.next, log.last());
        let bytes: usize = self.window.iter().map(|sent| sent.bytes).sum();
        assert_eq!(bytes, self.window_bytes, "window bytes: {self:?}");
        assert!(self.window.is_empty() || self.pace == Pace::Replicate, "a window while probing: {self:?}");
    }
}
