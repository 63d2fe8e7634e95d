//! What a leader knows of one follower's log, and how fast it may send.
//!
//! ```text
//!              a match is confirmed
//!    +-------+ ---------------------> +-----------+
//! -->| Probe |                        | Replicate |
//!    +-------+ <--------------------- +-----------+
//!       |  ^     an append is rejected
//!       +--+ rejected: go back, at least a term at a time
//! ```
//!
//! - **Probe**: where the logs agree is not known; one append at a time looks for it.
//! - **Replicate**: it is known; appends follow each other without waiting, up to a window of messages and bytes.
//! - **Snapshot** (the follower needs entries that were purged) has its place here; until snapshots exist, nothing is
//!   purged that any member lacks, and a follower that needs it all the same is simply sent no entries.
//!
//! No reply can do harm by being late, repeated or out of order. Every conversation has a session, every append in it
//! a number. "Matched up to i" is a fact that holds for the rest of the leader's term (the follower has it on disk,
//! and truncates nothing while it follows the same leader), so it only ever raises `matched`. A rejection is about a
//! guess that may have been corrected since: it counts only if its append was sent after the last correction (`epoch`).
//!
//! Nothing gets stuck by loss. When a heartbeat falls due, the leader marks the appends sent so far as *suspect*. If
//! the follower answers a heartbeat and the oldest unanswered append is a suspect, messages get through and that one
//! may be lost: a probe is repeated; in Replicate an empty append goes out behind all those sent (a *nudge*), which the
//! follower rejects if it lacks any of them, and the search starts over. Once an interval is enough.

use std::collections::VecDeque;

use crate::types::{Index, Term};

use super::applying::Fetching;
use super::log::Log;
use super::{AppendReply, AppendResult, Config, Round, SessionId};

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
    /// The follower answered since check-quorum last looked.
    pub(super) active: bool,
    /// The largest round that the follower answered. Monotone.
    pub(super) acked: Round,
    /// The largest round sent to it.
    pub(super) stamped: Round,
    /// The commit index that it knows if all messages arrived.
    pub(super) told: Index,
    /// It waits to read at this index: it must not wait for the next heartbeat to learn of the commit.
    pub(super) wanted: Index,
    pub(super) fetching: Fetching,
}

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
            acked: Round(0),
            stamped: Round(0),
            told: Index(0),
            wanted: Index(0),
            fetching: Fetching::Idle,
        }
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

    /// What should be sent to this follower next.
    pub(super) fn plan(&self, config: &Config, log: &Log) -> Plan {
        if log.term_at(self.next.prev()).is_none() {
            return Plan::Nothing; // what it needs was purged: the place of the snapshot
        }
        let is_lacking = self.next <= log.last();
        let is_cached = self.next >= log.first_cached();
        match self.pace {
            Pace::Probe { waiting: true } => Plan::Nothing,
            // A probe needs no entries: not worth reading them back.
            Pace::Probe { waiting: false } if is_lacking && is_cached => Plan::Entries,
            Pace::Probe { waiting: false } => Plan::Empty,
            Pace::Replicate if is_lacking && self.has_room(config) && is_cached => Plan::Entries,
            Pace::Replicate if is_lacking && self.has_room(config) && self.fetching == Fetching::Idle => {
                Plan::Fetch
            }
            Pace::Replicate if self.nudge => Plan::Empty,
            Pace::Replicate => Plan::Nothing,
        }
    }

    /// Whether entries that begin at `first` and were read back may be sent.
    pub(super) fn accepts(&self, first: Index, config: &Config) -> bool {
        self.pace == Pace::Replicate && self.next == first && self.has_room(config)
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
        }
        id
    }

    /// The follower answered an append that had `prev_index` as its start.
    pub(super) fn on_reply(&mut self, reply: &AppendReply, log: &Log) -> Digest {
        if reply.inflight >= self.next_id {
            return Digest::Invalid;
        }
        match reply.result {
            AppendResult::Matched { index } => self.on_matched(index),
            AppendResult::Rejected { prev_index, hint_index, hint_term } => {
                self.on_rejected(reply.inflight, prev_index, (hint_index, hint_term), log)
            }
        }
    }

    fn on_matched(&mut self, index: Index) -> Digest {
        // An empty probe confirms the position before `next`, which was never sent.
        if index > self.sent {
            return Digest::Invalid;
        }
        while let Some(sent) = self.window.pop_front_if(|sent| sent.last <= index) {
            self.window_bytes -= sent.bytes;
        }
        let advanced = index > self.matched;
        self.matched = self.matched.max(index);
        if let Pace::Probe { .. } = self.pace {
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
                let prev_term = log.term_at(prev_index);
                let agreed = log.last_at_most(hint_index.min(prev_index), hint_term).0;
                if agreed >= prev_index || prev_term.is_none() {
                    return Digest::Invalid;
                }
                self.next = agreed.max(self.matched).next();
            }
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
        self.active = true;
        if self.fetching == Fetching::Failed {
            self.fetching = Fetching::Idle;
        }
        let Some(suspect) = self.suspect.take() else { return };
        match &mut self.pace {
            Pace::Probe { waiting } => *waiting &= self.next_id > suspect,
            Pace::Replicate => self.nudge = self.window.front().is_some_and(|oldest| oldest.id < suspect),
        }
    }

    /// A heartbeat fell due and leaves now.
    pub(super) fn on_heartbeat_due(&mut self) {
        self.suspect = Some(self.next_id);
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
