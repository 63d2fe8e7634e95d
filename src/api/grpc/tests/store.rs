//! A store in memory that answers as a node would, and otherwise as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::watch;

use crate::command::{Answer, Command, Condition, Found, Op, Query, Record, Reply, SessionSeq, Write};
use crate::error::Error;
use crate::shard::fake::{Busy, Fake};
use crate::shard::{Freshness, Member, MemberChange, MemberStatus, Members, Status};
use crate::telemetry;
use crate::types::{ClusterId, GroupId, Index, Monotonic, NodeId, Revision, Term};

/// The state behind the lock.
#[derive(Default)]
pub(super) struct State {
    pub(super) pairs: BTreeMap<Bytes, Record>,
    pub(super) revision: u64,
    /// What the next calls answer, in place of what they would.
    pub(super) failures: VecDeque<Error>,
    pub(super) replies: VecDeque<Reply>,
    pub(super) found: VecDeque<Found>,
    /// What came.
    pub(super) submitted: Vec<Command>,
    pub(super) written: Vec<(Option<SessionSeq>, Command)>,
    pub(super) queries: Vec<(Query, Freshness)>,
    pub(super) deadline: Option<Monotonic>,
    pub(super) asked: Vec<Asked>,
    /// Who leads; this node is 1.
    pub(super) leader: Option<u64>,
    /// How often the whole status was asked for.
    pub(super) statuses: usize,
}

/// What was asked of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Members,
    MembersHere,
    Change(MemberChange, bool),
    Transfer(NodeId),
    Confirm,
    Compact,
}

/// See the module.
pub(super) struct Store {
    state: Mutex<State>,
    /// Whether calls wait.
    pub(super) busy: watch::Sender<bool>,
}

impl Default for Store {
    fn default() -> Store {
        Store { state: Mutex::default(), busy: watch::Sender::new(false) }
    }
}

impl Store {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next call fails so.
    pub(super) fn fail(&self, error: Error) {
        self.state().failures.push_back(error);
    }

    /// The next write answers this.
    pub(super) fn reply(&self, reply: Reply) {
        self.state().replies.push_back(reply);
    }

    /// The next read finds this.
    pub(super) fn find(&self, found: Found) {
        self.state().found.push_back(found);
    }

    /// What the last write was.
    pub(super) fn last_written(&self) -> (Option<SessionSeq>, Command) {
        self.state().written.last().cloned().expect("a write")
    }

    fn enter(&self, deadline: Monotonic) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.state();
        state.deadline = Some(deadline);
        match state.failures.pop_front() {
            Some(failure) => Err(failure),
            None => Ok(state),
        }
    }
}

impl State {
    fn write(&mut self, write: &Write) -> Reply {
        let at = |key: &Bytes| self.pairs.get(key).map_or(Revision(0), |record| record.mod_revision);
        let holds = |condition: &Condition| match condition {
            Condition::ModRevision { key, revision } => at(key) == *revision,
        };
        if !write.conditions.iter().all(holds) {
            return Reply::ConditionFailed { revision: Revision(self.revision) };
        }
        self.revision += 1;
        let mut deleted = 0;
        for op in &write.ops {
            match op {
                Op::Put { key, value } => drop(self.pairs.insert(key.clone(), record(self.revision, value))),
                Op::Delete { key } => deleted += u64::from(self.pairs.remove(key).is_some()),
            }
        }
        Reply::Written { revision: Revision(self.revision), deleted }
    }

    fn read(&self, query: &Query) -> Found {
        let (keys, after, limit, bytes_max) = match query {
            Query::Get { key, .. } => return Found::Record(self.pairs.get(key).cloned()),
            Query::List { keys, after, limit, bytes_max, .. } => (keys, after, *limit, *bytes_max),
            other => panic!("a test says what this finds: {other:?}"),
        };
        let start = after.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.pairs.range::<Bytes, _>((start, Bound::Unbounded));
        let mut matching = range.filter(|(key, _)| keys.contain(key)).peekable();
        let (mut pairs, mut bytes) = (Vec::new(), 0);
        while pairs.len() < limit && bytes < bytes_max {
            let Some((key, record)) = matching.next() else { break };
            bytes += key.len() + record.value.len();
            pairs.push((key.clone(), record.clone()));
        }
        Found::Page { pairs, more: matching.peek().is_some() }
    }
}

/// A record as it is after its first write.
pub(super) fn record(revision: u64, value: &Bytes) -> Record {
    let revision = Revision(revision);
    Record { create_revision: revision, mod_revision: revision, version: 1, lease: 0, value: value.clone() }
}

impl Fake for Store {
    fn busy(&self) -> Busy {
        let mut busy = self.busy.subscribe();
        Box::pin(async move {
            let _ = busy.wait_for(|busy| !busy).await;
        })
    }

    fn submitted(&self, command: &Command) {
        self.state().submitted.push(command.clone());
    }

    fn write(
        &self,
        session: Option<SessionSeq>,
        command: Command,
        deadline: Monotonic,
    ) -> Result<Reply, Error> {
        let mut state = self.enter(deadline)?;
        state.written.push((session, command.clone()));
        let reply = state.replies.pop_front();
        Ok(match (reply, command) {
            (Some(reply), _) => reply,
            (None, Command::Write(write)) => state.write(&write),
            (None, Command::OpenSession { .. }) => Reply::SessionOpened,
            (None, Command::CloseSession { .. }) => Reply::SessionClosed,
            (None, other) => panic!("a test says what this answers: {other:?}"),
        })
    }

    fn read(&self, query: Query, freshness: Freshness, deadline: Monotonic) -> Result<Answer, Error> {
        let mut state = self.enter(deadline)?;
        let found = state.found.pop_front().unwrap_or_else(|| state.read(&query));
        state.queries.push((query, freshness));
        Ok(Answer { revision: Revision(state.revision), applied: Index(9), found })
    }

    fn members(&self, deadline: Monotonic) -> Result<Members, Error> {
        self.enter(deadline)?.asked.push(Asked::Members);
        Ok(members(true))
    }

    fn members_here(&self) -> Members {
        self.state().asked.push(Asked::MembersHere);
        members(false)
    }

    fn change(&self, change: MemberChange, force: bool, deadline: Monotonic) -> Result<Members, Error> {
        self.enter(deadline)?.asked.push(Asked::Change(change, force));
        Ok(members(true))
    }

    fn transfer(&self, to: NodeId, deadline: Monotonic) -> Result<Members, Error> {
        self.enter(deadline)?.asked.push(Asked::Transfer(to));
        Ok(members(true))
    }

    fn compact(&self, deadline: Monotonic) -> Result<Index, Error> {
        self.enter(deadline)?.asked.push(Asked::Compact);
        Ok(Index(8))
    }

    fn confirm(&self, deadline: Monotonic) -> Result<(), Error> {
        self.enter(deadline)?.asked.push(Asked::Confirm);
        Ok(())
    }

    fn revision(&self) -> Revision {
        Revision(self.state().revision)
    }

    fn leader_elsewhere(&self) -> Option<(NodeId, String)> {
        let leader = self.state().leader.filter(|leader| *leader != 1)?;
        let member = members(false).members.into_iter().find(|member| member.status.id == NodeId(leader))?;
        Some((NodeId(leader), member.status.grpc))
    }

    fn status(&self) -> Status {
        self.state().statuses += 1;
        Status {
            id: NodeId(1),
            group: GroupId::FIRST,
            state: "follower",
            leader: self.state().leader.map(NodeId),
            leader_http: String::new(),
            term: Term(3),
            commit_index: Index(9),
            applied_index: Index(8),
            last_index: Index(10),
            persisted_index: Index(10),
            folded_index: Index(5),
            purged_index: Index(2),
            revision: Revision(7),
            members: members(false).members.into_iter().map(|member| member.status).collect(),
            cluster_id: ClusterId(0xdead_beef_0000_0001),
            counters: BTreeMap::from([
                (telemetry::KEYS, 11),
                (telemetry::STATE_FILE_BYTES, 12),
                (telemetry::WAL_BYTES, 13),
            ]),
            storage: "short",
            poisoned: false,
        }
    }
}

/// One member of each role.
fn members(is_leaders: bool) -> Members {
    let member = |id: u64, role: &'static str| Member {
        status: MemberStatus {
            id: NodeId(id),
            incarnation: None,
            role,
            peer: format!("n{id}:7001"),
            http: format!("n{id}:8081"),
            grpc: if role == "joining" { String::new() } else { format!("n{id}:9001") },
            labels: BTreeMap::new(),
            version: "0.1.0".to_owned(),
        },
        is_leader: id == 1,
        match_index: (is_leaders && id < 4).then_some(Index(9 - id)),
    };
    Members {
        members: vec![member(1, "voter"), member(2, "leaving"), member(3, "learner"), member(4, "joining")],
        config_index: Index(7),
        is_joint: true,
        lease_ms: 400,
        version: 1,
    }
}
