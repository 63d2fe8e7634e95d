//! The newtypes that every module shares: who, where in the log, which version, when.
//!
//! They are plain data without behaviour beyond arithmetic that cannot be got wrong. A `Term` can never be
//! passed where an `Index` is meant, which is the most common slip in a Raft implementation.

use std::fmt;
use std::time::Duration;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

newtype! {
    /// A member of the cluster, 1 or more. An id is never used twice, not even after its node was removed.
    NodeId(u64)
}
newtype! {
    /// A Raft group. 0 is reserved for cluster-wide state; today's one group is [`GroupId::FIRST`].
    GroupId(u32)
}
newtype! {
    /// A Raft term: a number in which at most one leader exists. 0 is before the first election.
    Term(u64)
}
newtype! {
    /// A position in a group's log. The first entry has index 1; 0 is the position before it.
    Index(u64)
}
newtype! {
    /// A version of a group's data. An empty store is at revision 1, the first write transaction gets 2.
    Revision(u64)
}
newtype! {
    /// The first component of every table key. 0 is the default keyspace.
    Keyspace(u32)
}
impl Keyspace {
    /// What is kept of idempotency keys. No client can name it.
    pub const IDEMPOTENCY: Keyspace = Keyspace(u32::MAX);
}

newtype! {
    /// Names one cluster. At bootstrap: a hash of the cluster token and the sorted member ids.
    ClusterId(u64)
}
newtype! {
    /// A data directory's random identity: a wiped disk under an old id has another incarnation.
    Incarnation(u64)
}
newtype! {
    /// A client session, random.
    ClientId(u128)
}
newtype! {
    /// The number of a command within its session, 1 or more.
    Seq(u64)
}

/// Whose a file is: it is stamped into the log and the state file, so that neither can be taken for another node's.
///
/// A node that starts on the log of another one votes a second time in that one's terms, and serves its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member.
    pub node: NodeId,
    /// Its data directory.
    pub incarnation: Incarnation,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Owner { cluster, node, incarnation } = self;
        write!(f, "node {node} of cluster {:016x} (incarnation {:016x})", cluster.0, incarnation.0)
    }
}

impl GroupId {
    /// The group that holds the default keyspace.
    pub const FIRST: GroupId = GroupId(1);
}

impl Term {
    /// The term after this one.
    pub fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

impl Index {
    /// The index after this one.
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }

    /// The index before this one; 0 stays 0.
    pub fn prev(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl Revision {
    /// The revision of an empty store.
    pub const EMPTY: Revision = Revision(1);

    /// The revision after this one.
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

/// A reading of a node's monotonic clock, in nanoseconds since an arbitrary origin of that node.
///
/// Readings of different nodes, or of one node before and after a restart, cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// This instant moved later by `duration`; stops at the end of time.
    pub fn plus(self, duration: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this instant is; zero if it is not after it.
    pub fn since(self, earlier: Monotonic) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The newest cluster version that this binary understands. A cluster is at the oldest of its members' (see
/// [`Membership::version`](crate::raft::Membership::version)); each command, record format and wire feature that came
/// after version 1 is used only once the cluster has reached its version.
///
/// What comes next raises it by one, says where it is used since which version it is there (as `node`'s marks do), and asks [`Membership::allows`](crate::raft::Membership::allows) before it is proposed,
/// written or sent.
pub const CLUSTER_VERSION: u32 = 1;
