//! What the core is told at its start: its limits, and what recovery found on disk.

use std::time::Duration;

use crate::types::{Incarnation, Index, NodeId, Term};

use super::{Damaged, Entry, HardState, Membership};

/// The core's identity, times and limits. All limits count per group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// A leader makes itself heard at least this often.
    pub heartbeat_interval: Duration,
    /// A follower that hears no leader for one to two times this long asks for votes; a leader that hears no quorum
    /// for this long steps down (section 9.3: a broadcast takes far less than this, a machine lives far longer).
    pub election_timeout: Duration,
    /// When no write has completed for so long while some are under way, the disk hangs: a leader steps down, and nobody
    /// campaigns (see `disk`). Three election timeouts are usual: a disk that is merely slow should not cost a leader.
    pub disk_stall_timeout: Duration,
    /// With evidence that the leader's process has ended, a voter waits a random time up to this before it asks for
    /// pre-votes (see `evidence`).
    pub evidence_delay_max: Duration,
    /// An append message takes no further entry once it has reached this size.
    pub append_batch_bytes_max: usize,
    /// At most this many unanswered appends per follower.
    pub append_inflight_max: usize,
    /// No further append to a follower once this much is unanswered.
    pub append_inflight_bytes_max: usize,
    /// Proposals are refused while this much is proposed and not committed.
    pub uncommitted_bytes_max: usize,
    /// The end of the log that is kept in memory. What is not on disk or not committed is kept in any case.
    pub cache_bytes_max: usize,
    /// Nothing further is handed out to be applied once this much is handed out and not yet applied.
    pub apply_inflight_bytes_max: usize,
    /// At most this many reads wait for their index.
    pub reads_waiting_max: usize,
    /// The seed of the election timeouts.
    pub seed: u64,
    /// This node's data directory.
    pub incarnation: Incarnation,
    /// A random number of this process (see [`ReadRequest`](super::ReadRequest)).
    pub boot: u64,
}

impl Config {
    /// Asserts what the core relies on; the caller has validated the operator's input before.
    pub(super) fn check(&self) {
        assert!(self.id.0 > 0, "node ids begin at 1");
        assert!(!self.heartbeat_interval.is_zero(), "heartbeat interval is zero");
        assert!(
            self.heartbeat_interval * 2 <= self.election_timeout,
            "heartbeat interval {:?} leaves no room in election timeout {:?}",
            self.heartbeat_interval,
            self.election_timeout
        );
        assert!(
            self.disk_stall_timeout >= self.election_timeout,
            "disk stall timeout {:?} is shorter than the election timeout",
            self.disk_stall_timeout
        );
        assert!(!self.evidence_delay_max.is_zero(), "evidence would be acted on again and again at once");
        assert!(self.append_inflight_max > 0, "no append could ever be in flight");
        assert!(self.reads_waiting_max > 0, "no read could ever wait");
    }

    /// How long a leader may keep a follower in the dark about a new commit index when nothing else is to be sent.
    /// The paper lets it ride on the next append or heartbeat (section 5.3); alone it travels at most this late, so
    /// that a busy group does not pay an extra message per write.
    pub(super) fn commit_lag(&self) -> Duration {
        self.heartbeat_interval / 10
    }

    /// After this long without an answer a forwarded read is given up: the request or its answer was lost.
    pub(super) fn read_patience(&self) -> Duration {
        self.heartbeat_interval * 2
    }
}

/// What recovery found: the log as it is on disk and where the state machine stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The stored term, vote and commit hint.
    pub hard_state: HardState,
    /// Everything up to this position was purged.
    pub purged: (Index, Term),
    /// The configuration in force at `purged`.
    pub base: Membership,
    /// The configuration entries after `purged`, ascending.
    pub memberships: Vec<(Index, Membership)>,
    /// The first index of each run of equal term after `purged`, ascending.
    pub terms: Vec<(Index, Term)>,
    /// The last entry.
    pub last: Index,
    /// A contiguous suffix of the log that ends at `last`; may be shorter than the log, or empty.
    pub tail: Vec<Entry>,
    /// The entries after `purged` that are there and cannot be read back (see `repair`).
    pub damaged: Vec<Damaged>,
    /// What the state machine holds; `None` if it is lost (see `stateless`).
    pub applied: Option<Index>,
}

impl Restored {
    /// The state of a member of a new group: an empty log under the first configuration.
    pub fn bootstrap(membership: Membership) -> Restored {
        Restored {
            hard_state: HardState::default(),
            purged: (Index(0), Term(0)),
            base: membership,
            memberships: Vec::new(),
            terms: Vec::new(),
            last: Index(0),
            tail: Vec::new(),
            damaged: Vec::new(),
            applied: Some(Index(0)),
        }
    }
}
