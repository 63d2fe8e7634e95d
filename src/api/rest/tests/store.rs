//! A store in memory that answers as a node would, and fails as it is told.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use crate::command::{Answer, Command, Condition, Found, Keyed, Op, Query, Record, Reply, SessionSeq, Write};
use crate::error::Error;
use crate::shard::fake::Fake;
use crate::shard::{Freshness, Member, MemberChange, MemberStatus, Members, Status};
use crate::telemetry::{FIGURES, Kind};
use crate::types::{ClusterId, GroupId, Incarnation, Index, Monotonic, NodeId, Revision, Term};

/// The state behind the lock.
pub(super) struct State {
    pub(super) pairs: BTreeMap<Bytes, Record>,
    pub(super) revision: Revision,
    /// If set, every call answers this.
    pub(super) failure: Option<Error>,
    /// If set, writes answer this.
    pub(super) reply: Option<Reply>,
    /// If set, reads find this.
    pub(super) found: Option<Found>,
    /// What the last call came with.
    pub(super) deadline: Option<Monotonic>,
    pub(super) freshness: Option<Freshness>,
    /// What was asked of the group.
    pub(super) asked: Vec<Asked>,
    pub(super) lease_ms: u32,
    pub(super) query: Option<Query>,
    /// The idempotency key that the last write came with.
    pub(super) key: Option<Bytes>,
    /// Calls that reached the store.
    pub(super) calls: u64,
}

/// What may be asked of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Of its leader.
    Members,
    /// Of this node.
    MembersHere,
    /// With or without force.
    Change(MemberChange, bool),
    Transfer(NodeId),
    /// That a quorum confirm a read.
    Confirm,
}

/// See the module.
pub(super) struct Store(Mutex<State>);

impl Default for Store {
    fn default() -> Store {
        Store(Mutex::new(State {
            pairs: BTreeMap::new(),
            revision: Revision::EMPTY,
            failure: None,
            reply: None,
            found: None,
            deadline: None,
            freshness: None,
            asked: Vec::new(),
            lease_ms: 0,
            query: None,
            key: None,
            calls: 0,
        }))
    }
}

impl Store {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A call came in.
    fn enter(&self, deadline: Monotonic) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.state();
        state.calls += 1;
        state.deadline = Some(deadline);
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(state),
        }
    }
}

impl State {
    fn mod_revision(&self, key: &Bytes) -> Revision {
        self.pairs.get(key).map_or(Revision(0), |record| record.mod_revision)
    }

    fn write(&mut self, write: &Write) -> Reply {
        let holds = |condition: &Condition| match condition {
            Condition::ModRevision { key, revision } => self.mod_revision(key) == *revision,
        };
        if !write.conditions.iter().all(holds) {
            return Reply::ConditionFailed { revision: self.revision };
        }
        let revision = self.revision.next();
        let mut deleted = 0;
        for op in &write.ops {
            match op {
                Op::Put { key, value } => {
                    let old = self.pairs.get(key).map(|old| (old.create_revision, old.version));
                    let (create_revision, version) = old.unwrap_or((revision, 0));
                    let (version, value) = (version + 1, value.clone());
                    let record = Record { create_revision, mod_revision: revision, version, lease: 0, value };
                    self.pairs.insert(key.clone(), record);
                    self.revision = revision;
                }
                Op::Delete { key } => {
                    if self.pairs.remove(key).is_some() {
                        deleted += 1;
                        self.revision = revision;
                    }
                }
            }
        }
        Reply::Written { revision: self.revision, deleted }
    }

    fn read(&self, query: &Query) -> Found {
        let (keys, after, limit, bytes_max) = match query {
            Query::Get { key, .. } => return Found::Record(self.pairs.get(key).cloned()),
            Query::List { keys, after, limit, bytes_max, .. } => (keys, after, *limit, *bytes_max),
            other => panic!("REST has no such query: {other:?}"),
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

impl Fake for Store {
    fn write(
        &self,
        session: Option<SessionSeq>,
        command: Command,
        deadline: Monotonic,
    ) -> Result<Reply, Error> {
        assert_eq!(session, None, "REST has no sessions");
        let (key, write) = match command {
            Command::Write(write) => (None, write),
            Command::Keyed(Keyed { key, write }) => (Some(key), write),
            other => panic!("REST has no such command: {other:?}"),
        };
        let mut state = self.enter(deadline)?;
        state.key = key;
        if let Some(reply) = state.reply.clone() {
            return Ok(reply);
        }
        Ok(state.write(&write))
    }

    fn read(&self, query: Query, freshness: Freshness, deadline: Monotonic) -> Result<Answer, Error> {
        let mut state = self.enter(deadline)?;
        let found = state.found.clone().unwrap_or_else(|| state.read(&query));
        state.freshness = Some(freshness);
        state.query = Some(query);
        Ok(Answer { revision: state.revision, applied: Index(9), found })
    }

    fn members(&self, deadline: Monotonic) -> Result<Members, Error> {
        let mut state = self.enter(deadline)?;
        state.asked.push(Asked::Members);
        Ok(members(state.lease_ms, true))
    }

    fn members_here(&self) -> Members {
        let mut state = self.state();
        state.asked.push(Asked::MembersHere);
        members(state.lease_ms, false)
    }

    fn change(&self, change: MemberChange, force: bool, deadline: Monotonic) -> Result<Members, Error> {
        let mut state = self.enter(deadline)?;
        if let MemberChange::Lease(lease_ms) = change {
            state.lease_ms = lease_ms;
        }
        state.asked.push(Asked::Change(change, force));
        Ok(members(state.lease_ms, true))
    }

    fn transfer(&self, to: NodeId, deadline: Monotonic) -> Result<Members, Error> {
        let mut state = self.enter(deadline)?;
        state.asked.push(Asked::Transfer(to));
        Ok(members(state.lease_ms, true))
    }

    fn confirm(&self, deadline: Monotonic) -> Result<(), Error> {
        let mut state = self.enter(deadline)?;
        state.asked.push(Asked::Confirm);
        Ok(())
    }

    fn revision(&self) -> Revision {
        self.state().revision
    }

    fn status(&self) -> Status {
        let member = MemberStatus {
            id: NodeId(1),
            incarnation: Some(Incarnation(u64::MAX - 1)),
            role: "voter",
            peer: "127.0.0.1:7001".to_owned(),
            http: "http://127.0.0.1:8081".to_owned(),
            grpc: "127.0.0.1:9001".to_owned(),
            labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            version: "0.1.0".to_owned(),
        };
        let unpublished = MemberStatus {
            id: NodeId(2),
            incarnation: None,
            http: String::new(),
            grpc: String::new(),
            version: String::new(),
            labels: BTreeMap::new(),
            ..member.clone()
        };
        Status {
            id: NodeId(1),
            group: GroupId::FIRST,
            state: "leader",
            leader: Some(NodeId(1)),
            leader_http: "http://127.0.0.1:8081".to_owned(),
            term: Term(3),
            commit_index: Index(9),
            applied_index: Index(8),
            last_index: Index(10),
            persisted_index: Index(10),
            folded_index: Index(5),
            purged_index: Index(2),
            revision: self.state().revision,
            members: vec![member, unpublished],
            cluster_id: ClusterId(0xdead_beef_0000_0001),
            counters: counters(),
            storage: "ample",
            poisoned: false,
        }
    }
}

/// A number of its own for each figure, in the table's order.
pub(super) fn counters() -> BTreeMap<&'static str, u64> {
    let shown_elsewhere = ["_index", "_leader", "term", "revision"];
    let counted = FIGURES.iter().map(|figure| (figure.name, figure.kind));
    let counted = counted.filter(|(name, kind)| {
        *kind != Kind::Info && !shown_elsewhere.iter().any(|ending| name.ends_with(ending))
    });
    counted.zip(101..).map(|((name, _), value)| (name, value)).collect()
}

/// One member of each role.
fn members(lease_ms: u32, is_leaders: bool) -> Members {
    let member = |id: u64, role: &'static str| Member {
        status: MemberStatus {
            id: NodeId(id),
            incarnation: None,
            role,
            peer: format!("n{id}:7001"),
            http: format!("n{id}:8081"),
            grpc: if role == "joining" { String::new() } else { format!("n{id}:9001") },
            labels: BTreeMap::new(),
            version: String::new(),
        },
        is_leader: id == 1,
        match_index: (is_leaders && id < 4).then_some(Index(9 - id)),
    };
    Members {
        members: vec![member(1, "voter"), member(2, "leaving"), member(3, "learner"), member(4, "joining")],
        config_index: Index(7),
        is_joint: true,
        lease_ms,
        version: 1,
    }
}
