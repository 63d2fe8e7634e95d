//! A disk that hangs: writes do not fail, they do not end.
//!
//! Nothing in the protocol notices by itself. A leader's heartbeats promise nothing and need no disk, so its followers
//! stick to it; if they are a quorum without it they even go on committing, and what they commit piles up before its
//! disk. So the core watches its own writes: a deadline is set when a write is handed out while none was under way,
//! moves whenever one completes, and is cleared when none is left. When it passes (`disk_stall_timeout`), the disk is
//! taken to hang, until something completes.
//!
//! - A leader steps down, and with it its heartbeats end, its lease, and the flow of new entries to its disk. But not one
//!   whom nobody can replace: where the others are no quorum without it (one voter or two), nothing commits without its
//!   disk either, so what waits for that is bounded by what may be uncommitted, and it still answers reads.
//! - Nobody whose disk hangs campaigns, not even with a pre-vote: it could not store its own vote. What it is asked it
//!   answers as always, once the disk has what the answer relies on.
//! - When the disk is back, the node takes part again at once; it campaigns when its next election deadline passes.
//!
//! A node that was paused must not take its pause for a hung disk: the completion may wait in its mail. So the deadline is
//! forgiven like those of elections (see `timers`). Completions bring no time of their own; they count as of the last
//! input that did, which on a leader is at most a heartbeat interval old.

use super::Raft;
use super::raft::RoleState;
use super::timers::NEVER;

impl Raft {
    /// A write was handed out.
    pub(super) fn watch_disk(&mut self) {
        if self.timers.disk == NEVER && !self.is_stalled {
            self.timers.disk = self.timers.now.plus(self.config.disk_stall_timeout);
        }
    }

    /// A write completed.
    pub(super) fn on_disk_progress(&mut self) {
        self.is_stalled = false;
        self.timers.disk = NEVER;
        if self.writes.are_outstanding() {
            self.watch_disk();
        }
    }

    /// No write completed for too long.
    pub(super) fn on_disk_stalled(&mut self) {
        assert!(self.writes.are_outstanding(), "a disk hangs without a write under way");
        self.timers.disk = NEVER;
        self.is_stalled = true;
        self.counters.stalls += 1;
        let gives_way = match &self.role {
            RoleState::Follower(_) => false,
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => true,
            RoleState::Leader(_) => self.quorum.is_reached(|voter| voter != self.config.id),
        };
        if gives_way {
            self.become_follower(self.term, None, "its disk hangs");
        }
    }

    /// Whether writes are under way of which none completed for too long.
    pub fn is_stalled(&self) -> bool {
        self.is_stalled
    }
}
