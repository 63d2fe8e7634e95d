//! What the front doors hold of a group: a cheap handle with the three things one can ask of it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::admin::{Ask, Asker, Roll};
use super::executor::Lane;
use super::log_writer::LogWriter;
use super::members::{MemberChange, Members};
use super::proposals::{Origin, Pending, Ticket, stopping};
use super::reads::Waiter;
use super::state_faults::StateFaults;
use super::status::{self, Board, Consistency, Freshness, Standing, Status};
use crate::clock::{SharedClock, timeout_at};
use crate::command::{
    Answer, Command, Condition, DuplicateKey, IDEMPOTENCY_KEY_BYTES_MAX, Keyed, Keys, Op, Query, Reply,
    SessionSeq, TXN_DEPTH_MAX, TXN_PARTS_MAX, Txn, TxnOp, Write,
};
use crate::config::Limits;
use crate::error::{Error, ErrorKind};
use crate::fsm::{self, Store};
use crate::raft::Room;
use crate::telemetry;
use crate::transport::Transport;
use crate::types::{ClusterId, GroupId, Index, Keyspace, Monotonic, NodeId, Revision};

/// What a handle asks of the driver.
pub(super) enum Request {
    Write(Pending),
    Read(Waiter),
    Ask(Ask, Asker),
    /// Fold what is applied, and say how far the state file is then.
    Compact(oneshot::Sender<Result<Index, Error>>),
    /// Hand leadership over, to whoever is best, and say when that is done or cannot be.
    Resign(oneshot::Sender<()>),
}

/// A group on this node. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

pub(super) struct Shared {
    pub id: NodeId,
    pub group: GroupId,
    pub cluster: ClusterId,
    pub requests: mpsc::Sender<Request>,
    pub board: Arc<Board>,
    pub store: Store,
    pub log: LogWriter,
    pub state_syncs: fsm::Syncs,
    pub transport: Transport,
    pub clock: SharedClock,
    pub limits: Limits,
    pub poisoned: Arc<AtomicBool>,
    pub faults: StateFaults,
    /// Lists run here, one after another: a page of 4 MiB would hold up the tasks of a worker.
    pub list_lane: Lane,
    pub lists: Arc<Semaphore>,
}

impl Shared {
    /// Asks the store. One that failed once answers nothing any more: the node stops, though nobody may ever write again,
    /// nor wait for this answer (H15). One that is damaged is rebuilt.
    fn query(&self, query: &Query, wanted: &dyn Fn() -> bool) -> Result<Answer, Error> {
        self.store.query_while(query, wanted).map_err(|error| self.fault(&error))
    }

    /// Whether there is a state to read from. A read that cannot be done need not wait for a quorum first.
    fn check_state(&self) -> Result<(), Error> {
        self.store.check().map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &fsm::Error) -> Error {
        match error {
            fsm::Error::Damaged { .. } | fsm::Error::Lost => {
                self.faults.report(error);
                let text = "this node's state is lost and is being rebuilt: ask another node, or retry after a pause";
                Error::new(ErrorKind::Unavailable, text)
            }
            error => {
                if !self.poisoned.swap(true, Ordering::Relaxed) {
                    self.faults.report(error);
                }
                Error::new(ErrorKind::Internal, error.to_string())
            }
        }
    }
}

impl Handle {
    pub(super) fn new(shared: Shared) -> Handle {
        Handle(Arc::new(shared))
    }

    /// Executes a command through the log, on whichever node leads.
    ///
    /// # Errors
    /// [`Error::outcome`] tells whether the command is certainly not executed or may have been. At `deadline` the
    /// call ends with [`ErrorKind::Unavailable`], whatever the state of the cluster.
    pub async fn write(
        &self,
        session: Option<SessionSeq>,
        command: Command,
        deadline: Monotonic,
    ) -> Result<Reply, Error> {
        check(&self.0.limits, &command)?;
        let ticket = Ticket::new();
        let (reply, receiver) = oneshot::channel();
        let origin = Origin::Local { ticket: ticket.clone(), reply };
        self.send(Request::Write(Pending { session, command, origin }))?;
        match timeout_at(&*self.0.clock, deadline, receiver).await {
            Some(Ok(result)) => result,
            Some(Err(_)) if ticket.cancel() => Err(stopping()),
            Some(Err(_)) => Err(Error::unknown(
                ErrorKind::Stopping,
                "the node stopped before it could tell whether the write was committed",
            )),
            None if ticket.cancel() => Err(Error::new(
                ErrorKind::Unavailable,
                "no leader was known before the deadline, so the write was not executed: retry it",
            )),
            None => Err(Error::unknown(
                ErrorKind::Unavailable,
                "no quorum confirmed the write before the deadline: it may have been executed, or may still be",
            )),
        }
    }

    /// Reads.
    ///
    /// # Errors
    /// A linearizable read that no quorum confirms ends at `deadline` with [`ErrorKind::Unavailable`].
    pub async fn read(
        &self,
        query: Query,
        freshness: Freshness,
        deadline: Monotonic,
    ) -> Result<Answer, Error> {
        check_query(&self.0.limits, &query)?;
        self.0.check_state()?;
        match freshness.consistency {
            Consistency::Linearizable => self.confirm(deadline).await?,
            Consistency::Lease => return self.read_leased(query, freshness.min_revision, deadline).await,
            Consistency::Stale { max_staleness_ms: None } => {}
            Consistency::Stale { max_staleness_ms: Some(max) } => {
                // Too far behind, or nobody knows: then the leader is asked.
                if self.staleness_ms().is_none_or(|age| age > max) {
                    self.confirm(deadline).await?;
                }
            }
        }
        self.reach(freshness.min_revision, deadline).await?;
        self.look_up(query, deadline).await
    }

    /// Reads under the lease if this node has one, else as any linearizable read. The clock is looked at after the data
    /// was read (H39).
    async fn read_leased(
        &self,
        query: Query,
        min_revision: Option<Revision>,
        deadline: Monotonic,
    ) -> Result<Answer, Error> {
        self.reach(min_revision, deadline).await?;
        if self.0.board.lease().is_some() {
            let answer = self.look_up(query.clone(), deadline).await?;
            let lease = self.0.board.lease();
            if lease.is_some_and(|lease| answer.applied >= lease.index && self.0.clock.now() < lease.until) {
                return Ok(answer);
            }
        }
        self.confirm(deadline).await?;
        self.look_up(query, deadline).await
    }

    /// Waits until the store is at `revision` at least.
    async fn reach(&self, revision: Option<Revision>, deadline: Monotonic) -> Result<(), Error> {
        let Some(revision) = revision.filter(|revision| self.0.store.revision() < *revision) else {
            return Ok(());
        };
        let mut reached = self.0.board.revisions();
        let waited = timeout_at(&*self.0.clock, deadline, reached.wait_for(|now| *now >= revision)).await;
        match waited {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) => Err(stopping()),
            None => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "this node is at revision {}, not yet at {revision}, and did not get there before the deadline: \
                     retry, or ask another node",
                    self.0.store.revision()
                ),
            )),
        }
    }

    /// How long ago what this node shows was the newest, as far as it can tell by when it last heard its leader.
    fn staleness_ms(&self) -> Option<u64> {
        let fresh_at = self.0.board.fresh_at()?;
        Some(u64::try_from(self.0.clock.now().since(fresh_at).as_millis()).unwrap_or(u64::MAX))
    }

    async fn look_up(&self, query: Query, deadline: Monotonic) -> Result<Answer, Error> {
        match query {
            // Here, in the caller's task: the store is shared and a point read costs microseconds.
            Query::Get { .. } => self.0.query(&query, &|| true),
            Query::List { .. } | Query::Range { .. } | Query::Txn { .. } => {
                let Ok(_permit) = self.0.lists.try_acquire() else {
                    let text = format!(
                        "{} lists are under way on this node, its limit: retry after a pause",
                        self.0.limits.lists_inflight_max
                    );
                    return Err(Error::new(ErrorKind::Overloaded, text));
                };
                let interest = Interest::new();
                let (shared, is_wanted) = (Arc::clone(&self.0), interest.0.clone());
                let wanted = move || is_wanted.load(Ordering::Relaxed);
                let answer = self.0.list_lane.run(move || shared.query(&query, &wanted));
                match timeout_at(&*self.0.clock, deadline, answer).await {
                    Some(answer) => answer.ok_or_else(stopping)?,
                    None => Err(Error::new(
                        ErrorKind::Unavailable,
                        "the keys were not read before the deadline: ask for fewer, or give it more time",
                    )),
                }
            }
        }
    }

    /// Waits until a quorum has confirmed that everything acknowledged before this call is applied here.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] at `deadline`, [`ErrorKind::Overloaded`] if too many reads wait.
    pub async fn confirm(&self, deadline: Monotonic) -> Result<(), Error> {
        let (waiter, receiver) = oneshot::channel();
        self.send(Request::Read(waiter))?;
        match timeout_at(&*self.0.clock, deadline, receiver).await {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(stopping()),
            None => Err(Error::new(
                ErrorKind::Unavailable,
                "no quorum confirmed the read before the deadline: retry, or read with consistency=stale",
            )),
        }
    }

    /// Whether this node has a state to read from.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] while it is being rebuilt.
    pub fn check_state(&self) -> Result<(), Error> {
        self.0.check_state()
    }

    /// The members, as the leader knows them.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if no leader answers before `deadline`.
    pub async fn members(&self, deadline: Monotonic) -> Result<Members, Error> {
        self.ask(Ask::Members, deadline).await
    }

    /// The members, as this node knows them: how far each is only its leader knows.
    pub fn members_here(&self) -> Members {
        let leader = self.0.board.read().0.leader;
        let (config_index, membership) = self.0.board.membership();
        status::members(&Roll { leader, config_index, membership, matched: Vec::new() })
    }

    /// Changes the members, and answers with those that there are then, once that is committed.
    ///
    /// # Errors
    /// Why it was refused; then nothing was changed. If the leader is lost, or does not commit it before `deadline`, the
    /// outcome is unknown: the members tell.
    pub async fn change(
        &self,
        change: MemberChange,
        force: bool,
        deadline: Monotonic,
    ) -> Result<Members, Error> {
        self.ask(Ask::Change { change, force }, deadline).await
    }

    /// Makes a voter lead, and answers once it does.
    ///
    /// # Errors
    /// If it is no voter, or does not lead before `deadline`; the present leader then leads on.
    pub async fn transfer(&self, to: NodeId, deadline: Monotonic) -> Result<Members, Error> {
        self.ask(Ask::Transfer { to }, deadline).await
    }

    /// Folds what this node has applied into its state file now, and lets its log forget what it needs no longer; answers how
    /// far the state file is then.
    ///
    /// # Errors
    /// [`ErrorKind::DiskFull`] if there is no room for it, [`ErrorKind::Unavailable`] if it is not done before `deadline` or
    /// there is no state. It may be done later all the same, and does no harm.
    pub async fn compact(&self, deadline: Monotonic) -> Result<Index, Error> {
        self.0.check_state()?;
        let (reply, receiver) = oneshot::channel();
        self.send(Request::Compact(reply))?;
        match timeout_at(&*self.0.clock, deadline, receiver).await {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(stopping()),
            None => {
                let text =
                    "the state was not folded before the deadline, and that goes on: look at folded_index";
                Err(Error::new(ErrorKind::Unavailable, text))
            }
        }
    }

    /// If this node leads: makes another one lead, if any can, before `deadline`.
    pub async fn resign(&self, deadline: Monotonic) {
        let (done, resigned) = oneshot::channel();
        if self.send(Request::Resign(done)).is_ok() {
            let _ = timeout_at(&*self.0.clock, deadline, resigned).await;
        }
    }

    async fn ask(&self, ask: Ask, deadline: Monotonic) -> Result<Members, Error> {
        let is_read = ask == Ask::Members;
        let (reply, receiver) = oneshot::channel();
        self.send(Request::Ask(ask, Asker::Local(reply)))?;
        let answer = match timeout_at(&*self.0.clock, deadline, receiver).await {
            Some(Ok(answer)) => answer?,
            Some(Err(_)) => return Err(stopping()),
            None if is_read => {
                let text = "no leader answered before the deadline: retry, or ask for the members that this node knows \
                            with consistency=stale";
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
            None => {
                let text =
                    "it was not known to be done before the deadline, and may still be: look at the members";
                return Err(Error::unknown(ErrorKind::Unavailable, text));
            }
        };
        let roll = Roll::decode(&answer).ok_or_else(|| {
            let text = "the leader's answer cannot be understood: do all nodes run one version?";
            Error::unknown(ErrorKind::Internal, text)
        })?;
        Ok(status::members(&roll))
    }

    /// The store's revision on this node. Cheap, unlike the whole status.
    pub fn revision(&self) -> Revision {
        self.0.store.revision()
    }

    /// Where this node stands. Cheap, unlike the whole status.
    pub fn standing(&self) -> Standing {
        let (gauges, _) = self.0.board.read();
        Standing { cluster_id: self.0.cluster, id: self.0.id, term: gauges.term, leader: gauges.leader }
    }

    /// The leader and its advertised gRPC address, if it is known and another node. Cheap, unlike the whole status.
    pub fn leader_elsewhere(&self) -> Option<(NodeId, String)> {
        let (gauges, members) = self.0.board.read();
        let leader = gauges.leader.filter(|leader| *leader != self.0.id)?;
        let member = members.iter().find(|member| member.id == leader)?;
        Some((leader, member.grpc.clone()))
    }

    /// What the node says about itself, without asking anyone.
    pub fn status(&self) -> Status {
        let shared = &*self.0;
        let (gauges, members) = shared.board.read();
        let leader_http = gauges
            .leader
            .and_then(|leader| members.iter().find(|member| member.id == leader))
            .map_or_else(String::new, |member| member.http.clone());
        Status {
            id: shared.id,
            group: shared.group,
            cluster_id: shared.cluster,
            state: gauges.state,
            leader: gauges.leader,
            leader_http,
            term: gauges.term,
            commit_index: gauges.commit,
            applied_index: shared.store.applied().0,
            last_index: gauges.last,
            persisted_index: gauges.persisted,
            folded_index: shared.store.folded().0,
            purged_index: gauges.purged,
            revision: shared.store.revision(),
            members: members.to_vec(),
            counters: self.counters(&gauges),
            storage: gauges.room.name(),
            poisoned: shared.poisoned.load(Ordering::Relaxed),
        }
    }

    fn counters(&self, gauges: &super::status::Gauges) -> BTreeMap<&'static str, u64> {
        let sizes = self.0.store.sizes();
        let mut counters = BTreeMap::from([
            (telemetry::PROPOSALS_TOTAL, gauges.proposals),
            (telemetry::PROPOSALS_WAITING, gauges.proposals_waiting),
            (telemetry::FORWARDS_TOTAL, gauges.forwarded),
            (telemetry::READS_TOTAL, gauges.reads),
            (telemetry::READ_ROUNDS_TOTAL, gauges.read_rounds),
            (telemetry::LEADER_CHANGES_TOTAL, gauges.leader_changes),
            (telemetry::CAMPAIGNS_TOTAL, gauges.core.campaigns),
            (telemetry::VOTES_IGNORED_TOTAL, gauges.core.ignored_votes),
            (telemetry::ENTRIES_DAMAGED_TOTAL, gauges.core.damaged),
            (telemetry::ENTRIES_REPAIRED_TOTAL, gauges.core.repaired),
            (telemetry::HAS_STATE, u64::from(self.0.store.check().is_ok())),
            (telemetry::LOGS_GIVEN_UP, gauges.logs_given_up),
            (telemetry::STATES_LOST_TOTAL, gauges.states_lost),
            (telemetry::STATES_REBUILT_TOTAL, gauges.states_rebuilt),
            (telemetry::STATE_DIVERGENCES_TOTAL, gauges.divergences),
            (telemetry::STATE_BLOCKS_STRAY_TOTAL, gauges.strays),
            (telemetry::LOG_IN_DOUBT, u64::from(gauges.in_doubt)),
            (telemetry::LOG_DOUBTS_SETTLED_TOTAL, gauges.core.settled),
            (telemetry::DISK_STALLS_TOTAL, gauges.core.stalls),
            (telemetry::DEATHS_IGNORED_TOTAL, gauges.core.ignored_deaths),
            (telemetry::MESSAGES_STALE_TOTAL, gauges.core.stale),
            (telemetry::MESSAGES_INVALID_TOTAL, gauges.core.invalid),
            (telemetry::PROPOSALS_REFUSED_TOTAL, gauges.core.overloaded),
            (telemetry::STORAGE_FREE_BYTES, gauges.free_bytes),
            (telemetry::STORAGE_RESERVE_BYTES, self.0.limits.storage_reserve_bytes),
            (telemetry::STORAGE_FLOOR_BYTES, self.0.limits.storage_floor_bytes),
            (telemetry::STORAGE_LEVEL, level_of(gauges.room)),
            (telemetry::STORAGE_REFUSED_TOTAL, gauges.refused_for_room),
            (telemetry::WAL_BYTES, self.0.log.bytes()),
            (telemetry::WAL_SYNCS_TOTAL, self.0.log.syncs()),
            (telemetry::WRITE_SET_BYTES, sizes.write_set_bytes as u64),
            (telemetry::STATE_FILE_BYTES, sizes.file_bytes),
            (telemetry::STATE_FILE_FREE_BYTES, sizes.free_bytes),
            (telemetry::STATE_FILE_SYNCS_TOTAL, self.0.state_syncs.count()),
            (telemetry::KEYS, self.0.store.keys().unwrap_or(sizes.keys)),
            (telemetry::SESSIONS, sizes.sessions as u64),
        ]);
        counters.extend(self.0.transport.counters());
        counters
    }

    fn send(&self, request: Request) -> Result<(), Error> {
        match self.0.requests.try_send(request) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let text = format!(
                    "{} requests wait on this node, its limit: retry after a pause",
                    self.0.limits.proposals_queued_max
                );
                Err(Error::new(ErrorKind::Overloaded, text))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(stopping()),
        }
    }
}

/// Whether somebody waits for what is read; dropped: nobody.
struct Interest(Arc<AtomicBool>);

impl Interest {
    fn new() -> Interest {
        Interest(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The level of room as a figure.
fn level_of(room: Room) -> u64 {
    match room {
        Room::Ample => 0,
        Room::Short(_) => 1,
        Room::Full(_) => 2,
    }
}

/// The limits on keys and values, the same at every front door and for what peers forward.
pub(super) fn check(limits: &Limits, command: &Command) -> Result<(), Error> {
    match command {
        Command::Write(write) => check_write(limits, write),
        Command::Keyed(Keyed { key, write }) => {
            if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
                let text = format!("an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes");
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            check_write(limits, write)
        }
        Command::Txn(txn) => check_txn(limits, txn),
        Command::OpenSession { .. } | Command::CloseSession { .. } | Command::HashMark => Ok(()),
    }
}

fn check_write(limits: &Limits, write: &Write) -> Result<(), Error> {
    check_keyspace(write.keyspace)?;
    for Condition::ModRevision { key, .. } in &write.conditions {
        check_key(limits, key)?;
    }
    for op in &write.ops {
        match op {
            Op::Put { key, value } => {
                check_key(limits, key)?;
                check_value(limits, value)?;
            }
            Op::Delete { key } => check_key(limits, key)?,
        }
    }
    Ok(())
}

/// The same of a query.
fn check_query(limits: &Limits, query: &Query) -> Result<(), Error> {
    match query {
        Query::Txn { txn, .. } => {
            assert!(txn.is_read_only(), "a transaction that writes came as a query: {txn:?}");
            check_txn(limits, txn)
        }
        Query::Range { keyspace, range, .. } => {
            check_keyspace(*keyspace)?;
            check_keys(limits, &range.keys)
        }
        Query::Get { keyspace, .. } | Query::List { keyspace, .. } => check_keyspace(*keyspace),
    }
}

fn check_txn(limits: &Limits, txn: &Txn) -> Result<(), Error> {
    check_keyspace(txn.keyspace)?;
    let mut parts = 0;
    let checked = txn.visit(&mut |txn, depth| {
        parts += txn.compares.len() + txn.success.len() + txn.failure.len();
        let checked = if depth > TXN_DEPTH_MAX {
            let text = format!("transactions lie in each other more than {TXN_DEPTH_MAX} deep");
            Err(Error::new(ErrorKind::Invalid, text))
        } else if parts > TXN_PARTS_MAX {
            let text = format!("a transaction has at most {TXN_PARTS_MAX} compares and operations: split it");
            Err(Error::new(ErrorKind::Invalid, text))
        } else {
            check_parts(limits, txn)
        };
        match checked {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    });
    if let ControlFlow::Break(error) = checked {
        return Err(error);
    }
    if txn.bytes() > limits.txn_bytes_max() {
        let text = format!(
            "a transaction has at most {} bytes of keys and values, this one has {}: split it",
            limits.txn_bytes_max(),
            txn.bytes()
        );
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    txn.check_keys().map_err(|DuplicateKey(key)| {
        let key = String::from_utf8_lossy(&key);
        let text =
            format!("the transaction puts the key {key:?} twice, or puts and deletes it: do one of them");
        Error::new(ErrorKind::Invalid, text)
    })
}

fn check_parts(limits: &Limits, txn: &Txn) -> Result<(), Error> {
    for compare in &txn.compares {
        check_keys(limits, &compare.keys)?;
    }
    for op in txn.ops() {
        match op {
            TxnOp::Range(range) => check_keys(limits, &range.keys)?,
            TxnOp::Put { key, value, .. } => {
                check_key(limits, key)?;
                value.as_ref().map_or(Ok(()), |value| check_value(limits, value))?;
            }
            TxnOp::Delete { keys, .. } => check_keys(limits, keys)?,
            TxnOp::Txn(_) => {}
        }
    }
    Ok(())
}

/// A range may begin at the empty key, which is none.
fn check_keys(limits: &Limits, keys: &Keys) -> Result<(), Error> {
    let check_bound = |bound: &Bytes| if bound.is_empty() { Ok(()) } else { check_key(limits, bound) };
    match keys {
        Keys::One(key) => check_key(limits, key),
        Keys::From(from) => check_bound(from),
        Keys::Between(from, to) => check_bound(from).and_then(|()| check_bound(to)),
    }
}

/// What the store keeps for itself nobody names.
fn check_keyspace(keyspace: Keyspace) -> Result<(), Error> {
    if keyspace == Keyspace::IDEMPOTENCY {
        return Err(Error::new(ErrorKind::Invalid, format!("keyspace {keyspace} is the store's own")));
    }
    Ok(())
}

fn check_key(limits: &Limits, key: &Bytes) -> Result<(), Error> {
    if key.is_empty() || key.len() > limits.key_bytes_max {
        let text = format!("a key has 1 to {} bytes, this one has {}", limits.key_bytes_max, key.len());
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Ok(())
}

fn check_value(limits: &Limits, value: &Bytes) -> Result<(), Error> {
    if value.len() > limits.value_bytes_max {
        let text = format!(
            "a value has at most {} bytes, this one has {}: split it, or raise value-bytes-max on all nodes",
            limits.value_bytes_max,
            value.len()
        );
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    Ok(())
}
