//! The node: its state, its inputs, and the changes of its role.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::types::{Index, Monotonic, NodeId, Term};

use super::applying::Applying;
use super::candidate::Candidate;
use super::doubt::Doubt;
use super::follower::Follower;
use super::leader::Leader;
use super::log::Log;
use super::outbox::Outbox;
use super::progress::Progress;
use super::quorum::Quorum;
use super::read_index::Reader;
use super::repair::Serving;
use super::timers::{Counters, NEVER, Timers};
use super::writes::{Ballot, Writes};
use super::{
    Config, Entry, EntryKind, Envelope, Fetch, FetchFor, InvalidMembership, Membership, Message, ReadId,
    ReadOutcome, Restored, RoleChange, RoleName, Room, SessionId, WriteSeq,
};

/// One member of one group: see the [module](super).
///
/// Time and randomness apart (they compare as equal), a clone that gets the same inputs does the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    pub(super) config: Config,
    /// `currentTerm` of Figure 2. Monotone.
    pub(super) term: Term,
    /// `votedFor`: changes at most once in a term.
    pub(super) vote: Option<NodeId>,
    /// The leader of this term, once known; this node itself if it leads.
    pub(super) leader: Option<NodeId>,
    pub(super) role: RoleState,
    pub(super) log: Log,
    /// Every member that there was at the time was known to have the log up to here on disk; at most the commit index.
    /// Monotone.
    pub(super) stored_by_all: Index,
    /// The quorum of the configuration in force.
    pub(super) quorum: Quorum,
    pub(super) writes: Writes,
    /// Writes are under way of which none completed for too long (see `disk`).
    pub(super) is_stalled: bool,
    /// What this node's disk has room for, as the driver last said (see `room`).
    pub(super) room: Room,
    /// The leader whose process has ended, until another one is heard (see `evidence`).
    pub(super) evidence: Option<NodeId>,
    pub(super) applying: Applying,
    /// How far the log went is not known (see `doubt`).
    pub(super) doubt: Option<Doubt>,
    /// The entries that are being read back for others (see `repair`).
    pub(super) serving: Serving,
    /// The number of the last forwarded read. Never falls, so that no number is used twice.
    pub(super) read_counter: u64,
    /// The last session given out as a leader. Never falls: what a driver reports of a transfer that began in an earlier
    /// leadership must not be taken for one of this.
    pub(super) sessions: SessionId,
    pub(super) outbox: Outbox,
    pub(super) timers: Timers,
    pub(super) counters: Counters,
}

/// The role with what only that role keeps. Written by `become_*` alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum RoleState {
    Follower(Follower),
    PreCandidate(Candidate),
    Candidate(Candidate),
    Leader(Leader),
}

/// Where a batch of proposals went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The term in which they were appended: an entry committed at one of these positions with another term is
    /// somebody else's, and these are lost.
    pub term: Term,
    /// The first one's position.
    pub first: Index,
    /// The last one's.
    pub last: Index,
}

/// Why a proposal was refused. It was not appended: it certainly has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// Another node leads, or none.
    NotLeader {
        /// The leader, where known.
        leader: Option<NodeId>,
    },
    /// Too much is proposed and not committed.
    Overloaded,
    /// Leadership is being handed over. This ends within an election timeout, and most likely with `to` as the leader.
    Transferring {
        /// Who is to lead.
        to: NodeId,
    },
    /// This leader lacks a state, or a part of its log, and leads only until somebody else can.
    Caretaker,
    /// A change of the configuration is under way, or this leader has not committed an entry of its own term yet.
    Pending,
    /// The node is no member of the group: not of this id, or another node has it.
    NotMember,
    /// It is so already: the id, or the incarnation, is this member's, or this member is a voter.
    Exists {
        /// The member.
        id: NodeId,
    },
    /// The id was a removed member's: it is never used again.
    Retired {
        /// The id.
        id: NodeId,
    },
    /// Fewer of the new voters have answered lately than they need to decide anything.
    Unreachable {
        /// So many have, this node among them if it is one.
        reachable: usize,
        /// So many are needed.
        needed: usize,
    },
    /// An entry of this leader's log is damaged and not repaired yet: who goes may have the only good copy.
    Damaged {
        /// The first of them.
        index: Index,
    },
    /// There are as many members, or voters, as there may be; or no id is left.
    TooMany,
    /// A group without voters could decide nothing.
    LastVoter,
    /// The cluster version is only ever raised, to at most what every member's binary supports; and a binary that does
    /// not support it is not let in.
    Version {
        /// The version of the group.
        current: u32,
        /// What is supported by those that are asked about.
        supported: u32,
    },
    /// The result would be no configuration.
    Invalid(InvalidMembership),
}

/// No honest term or index comes near this; a peer that says so is not believed, so that sums cannot overflow.
const TERM_MAX: Term = Term(u64::MAX / 2);

impl Raft {
    /// A member that continues from what recovery found. It begins as a follower (section 5.2).
    ///
    /// The commit index starts at what is known to be committed: the stored hint, or what was applied.
    pub fn new(config: Config, restored: Restored, now: Monotonic) -> Raft {
        config.check();
        let (hard_state, applied) = (restored.hard_state, restored.applied);
        let damaged = restored.damaged.len() as u64;
        let states_lost = u64::from(applied.is_none());
        let log = Log::new(restored, config.cache_bytes_max);
        assert!(log.last_term() <= hard_state.term, "log of term {} under {hard_state:?}", log.last_term());
        let mut raft = Raft {
            term: hard_state.term,
            vote: hard_state.vote,
            leader: None,
            role: RoleState::Follower(Follower::default()),
            quorum: Quorum::of(log.membership()),
            stored_by_all: Index(0),
            log,
            writes: Writes::new(Ballot::of(&hard_state)),
            is_stalled: false,
            room: Room::Ample,
            evidence: None,
            applying: Applying::new(applied, config.apply_inflight_bytes_max),
            doubt: hard_state.in_doubt.then(Doubt::default),
            serving: Serving::new(),
            read_counter: 0,
            sessions: SessionId(0),
            outbox: Outbox::default(),
            timers: Timers::new(config.seed, now),
            counters: Counters::default(),
            config,
        };
        raft.timers.arm_election(raft.config.election_timeout);
        raft.bind_at_start();
        (raft.counters.damaged, raft.counters.states_lost) = (damaged, states_lost);
        raft.watch_wounds();
        raft
    }

    /// Takes in a message. What no correct peer sends is dropped and counted.
    pub fn step(&mut self, now: Monotonic, envelope: Envelope) {
        self.timers.see(now);
        let Envelope { from, to, term, message } = envelope;
        if to != self.config.id || from == self.config.id || from.0 == 0 || term >= TERM_MAX {
            self.counters.invalid += 1;
            return;
        }
        // What an entry of some index and term is does not depend on who leads.
        if matches!(message, Message::Repair { .. } | Message::RepairReply { .. }) {
            return self.on_message(now, from, message);
        }
        match term.cmp(&self.term) {
            Ordering::Less => self.on_past(from, message),
            Ordering::Equal => self.on_message(now, from, message),
            Ordering::Greater if self.is_disturbance(now, &message) => self.counters.ignored_votes += 1,
            Ordering::Greater => {
                // Figure 2, all servers: a higher term makes a follower of everyone. A rejected pre-vote teaches it
                // too, or two nodes of which one has the higher term and the other the longer log elect nobody.
                let is_leader = matches!(
                    message,
                    Message::Append(_)
                        | Message::Heartbeat { .. }
                        | Message::Snapshot(_)
                        | Message::TimeoutNow
                );
                self.adopt_term(term, is_leader.then_some(from));
                self.on_message(now, from, message);
            }
        }
    }

    /// Whether this asks for votes while a leader is heard: such a candidate is partitioned from the leader or was
    /// removed, and is not listened to, nor its term taken over (section 6; thesis, section 4.2.3). The old leader may
    /// ask for an election itself, to hand over.
    fn is_disturbance(&self, now: Monotonic, message: &Message) -> bool {
        let asks = matches!(message, Message::PreVote { .. } | Message::Vote { transfer: false, .. });
        // A leader hears a quorum, or check-quorum ends it.
        let hears = self.leader == Some(self.config.id)
            || (self.leader.is_some() && now < self.timers.heard.plus(self.config.election_timeout));
        asks && (hears || self.is_bound(now))
    }

    /// Takes in a message of the current term, or of none.
    fn on_message(&mut self, now: Monotonic, from: NodeId, message: Message) {
        match message {
            Message::PreVote { .. } if self.is_disturbance(now, &message) => self.counters.ignored_votes += 1,
            Message::PreVote { next_term, last_index, last_term } => {
                self.on_pre_vote(from, next_term, (last_term, last_index));
            }
            Message::PreVoteReply { next_term, granted } => self.on_pre_vote_reply(from, next_term, granted),
            // A vote of this term is no disturbance; but its own leader's lease may be of the term before.
            Message::Vote { transfer: false, .. } if self.is_bound(now) => self.counters.ignored_votes += 1,
            Message::Vote { last_index, last_term, .. } => self.on_vote(from, (last_term, last_index)),
            Message::VoteReply { granted } => self.on_vote_reply(from, granted),
            Message::Append(append) => self.on_append(now, from, append),
            Message::AppendReply(reply) => self.on_append_reply(from, reply),
            Message::Snapshot(snapshot) => self.on_snapshot(now, from, snapshot),
            Message::Heartbeat { session, commit, round, stored_by_all } => {
                if self.on_heartbeat(now, from, session, commit, round) {
                    self.stored_by_all = self.stored_by_all.max(stored_by_all.min(self.log.committed()));
                }
            }
            Message::HeartbeatReply { session, round, needs_snapshot, room } => {
                self.on_heartbeat_reply(from, session, round, needs_snapshot, room);
            }
            Message::TimeoutNow => self.on_timeout_now(now, from),
            Message::ReadIndex { request } => self.on_read_index(from, request),
            Message::ReadIndexReply { request, index } => self.on_read_index_reply(from, request, index),
            Message::Repair { index, term, crc, is_needed } => {
                self.on_repair(from, (index, term), crc, is_needed);
            }
            Message::RepairReply { index, term, entry } => self.on_repair_reply(from, index, term, entry),
            Message::EndQuery { boot, last_index, last_term } => {
                self.on_end_query(from, boot, (last_index, last_term));
            }
            Message::EndReply { boot, index } => self.on_end_reply(from, boot, index),
        }
    }

    /// Judges the deadlines. To be called at [`Raft::next_tick`], after the messages that wait were stepped.
    pub fn tick(&mut self, now: Monotonic) {
        self.timers.see(now);
        self.applying.retry();
        if now < self.timers.next() {
            return;
        }
        self.timers.forgive_pause(self.config.heartbeat_interval);
        if now >= self.timers.disk {
            self.on_disk_stalled();
        }
        if let RoleState::Leader(_) = self.role {
            self.tick_leader(now);
        }
        if now >= self.timers.repair {
            self.on_repair_due();
        }
        if now >= self.timers.evidence {
            self.on_evidence(now);
        }
        if now >= self.timers.read {
            self.timers.read = NEVER;
            if let RoleState::Follower(follower) = &mut self.role {
                let lost = follower.reads.give_up();
                self.outbox.reads.extend(lost.into_iter().map(|id| (id, ReadOutcome::Lost)));
            }
        }
        if now >= self.timers.election {
            self.timers.arm_election(self.config.election_timeout);
            if self.may_campaign(now) {
                let reason = if self.is_whole() { "heard no leader" } else { "nobody else leads" };
                self.become_pre_candidate(reason);
            } else if self.leader.is_some() {
                self.become_follower(self.term, None, "heard no leader");
            }
        }
    }

    /// When [`Raft::tick`] has something to judge.
    pub fn next_tick(&self) -> Monotonic {
        self.timers.next()
    }

    /// Appends commands to the log, if this node leads. Replication and writing happen with the next
    /// [`Raft::ready`], for all proposals at once.
    pub fn propose(&mut self, now: Monotonic, batch: Vec<Bytes>) -> Result<Proposed, ProposeError> {
        assert!(!batch.is_empty(), "an empty batch was proposed");
        self.timers.see(now);
        let RoleState::Leader(leader) = &self.role else {
            return Err(ProposeError::NotLeader { leader: self.leader });
        };
        if let Some(to) = leader.transfer_target() {
            return Err(ProposeError::Transferring { to });
        }
        if self.is_caretaker() {
            return Err(ProposeError::Caretaker);
        }
        let bytes: usize = batch.iter().map(|payload| payload.len() + Entry::OVERHEAD_BYTES).sum();
        self.check_load(bytes)?;
        let first = self.log.last().next();
        for payload in batch {
            self.log.append(self.term, EntryKind::Command, payload);
        }
        Ok(Proposed { term: self.term, first, last: self.log.last() })
    }

    /// Whether proposals of so many bytes would be taken for their size. One batch may always be under way, however
    /// large.
    pub fn has_room(&self, bytes: usize) -> bool {
        let uncommitted = self.log.uncommitted_bytes();
        uncommitted == 0 || uncommitted.saturating_add(bytes) <= self.config.uncommitted_bytes_max
    }

    /// Refuses what would make too much uncommitted.
    pub(super) fn check_load(&mut self, bytes: usize) -> Result<(), ProposeError> {
        if !self.has_room(bytes) {
            self.counters.overloaded += 1;
            return Err(ProposeError::Overloaded);
        }
        Ok(())
    }

    /// Asks for an index at which a linearizable read may be done; the outcome comes in a [`Ready`](super::Ready).
    pub fn read(&mut self, now: Monotonic, id: ReadId) {
        self.timers.see(now);
        match &mut self.role {
            RoleState::Leader(_) => self.lead_read(Reader::Local(id)),
            RoleState::Follower(follower)
                if self.leader.is_some() && follower.reads.waiting() < self.config.reads_waiting_max =>
            {
                follower.reads.gather(id);
            }
            _ => self.outbox.reads.push((id, ReadOutcome::Lost)),
        }
    }

    /// Begins an election now, with a pre-vote. Nothing happens on a leader, or on a node that must not campaign: without
    /// a vote, with a disk that hangs, with a log whose end is not known, or bound by a lease; with a damaged log or without a
    /// state, unless it is the last resort (see `caretaker`).
    pub fn campaign(&mut self, now: Monotonic) {
        self.timers.see(now);
        let is_leader = matches!(self.role, RoleState::Leader(_));
        if !is_leader && self.may_campaign(now) {
            self.timers.arm_election(self.config.election_timeout);
            self.become_pre_candidate("asked to campaign");
        }
    }

    /// Whether it could win an election, and may: it has a vote, could replicate, no leader relies on its silence, and nobody
    /// should rather lead.
    pub(super) fn may_campaign(&self, now: Monotonic) -> bool {
        let should = self.is_whole() || self.is_last_resort(now);
        should && self.is_needed() && self.can_replicate() && !self.is_bound(now)
    }

    /// Whether it can make others' logs like its own: its disk takes writes, and it knows how far its log goes.
    pub(super) fn can_replicate(&self) -> bool {
        !self.is_stalled && self.doubt.is_none()
    }

    /// Write `seq` and all before it are on disk. Late, repeated and reordered calls are harmless.
    pub fn persisted(&mut self, seq: WriteSeq) {
        if let Some(attested) = self.writes.complete(seq) {
            self.on_disk_progress();
            self.log.persisted_to(attested.last);
            self.counters.repaired += self.log.wounds_mut().repaired(&attested.repaired);
            self.count_own_vote();
            self.maybe_commit();
            self.settle();
        }
    }

    /// The state machine holds everything up to `index`.
    ///
    /// # Panics
    /// If that was not handed out, or not since the state was lost.
    pub fn applied(&mut self, index: Index) {
        self.applying.applied_to(index);
    }

    /// Entries were read back; none if that failed (they will be asked for again).
    pub fn fetched(&mut self, fetch: Fetch, entries: Vec<Entry>) {
        match fetch.purpose {
            FetchFor::Apply => self.applying.fetched(fetch, entries, &self.log),
            FetchFor::Peer(to) => self.fetched_for(to, fetch, entries),
            FetchFor::Repair(to) => self.fetched_to_repair(to, fetch, entries),
        }
    }

    /// Forgets the log up to `index`, which must be applied. A member that lacks what goes gets a snapshot in its place.
    /// Returns what of it was in memory: there may be many entries, and to free them takes a while.
    pub fn purge_to(&mut self, index: Index) -> Vec<Entry> {
        let applied = self.applying.applied();
        assert!(index <= applied, "purge to {index} beyond applied {applied}");
        if index > self.log.purged().0 { self.log.purge_to(index) } else { Vec::new() }
    }

    /// Moves the commit index, if `index` is above it.
    pub(super) fn commit_to(&mut self, index: Index) {
        let lease = self.log.is_membership_pending().then(|| self.lease_promised());
        if self.log.commit_to(index)
            && let Some(lease) = lease
        {
            self.outlast(lease);
        }
        self.settle();
    }

    /// Follows the configuration in force, which may have changed with the log.
    pub(super) fn refresh_quorum(&mut self) {
        let quorum = Quorum::of(self.log.membership());
        let before = std::mem::replace(&mut self.quorum, quorum);
        let (others, next) = (self.others(), self.log.last().next());
        if let RoleState::Leader(leader) = &mut self.role {
            leader.set_peers(others, next, &mut self.sessions);
            // A new voter's silence so far was nobody's concern.
            let newcomers = leader.peers.iter_mut().filter(|&(&id, _)| !before.contains(id));
            newcomers.for_each(|(_, peer)| peer.active = true);
        }
    }

    /// Figure 2, all servers: enters a later term as a follower.
    fn adopt_term(&mut self, term: Term, leader: Option<NodeId>) {
        let reason = if leader.is_some() { "heard a new leader" } else { "saw a higher term" };
        self.become_follower(term, leader, reason);
    }

    /// Follows `leader`, or waits for one. The election deadline stays as it is: only a leader that is heard and a
    /// vote that is given put it off (section 5.2).
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<NodeId>, reason: &'static str) {
        assert!(term >= self.term, "term falls from {} to {term}", self.term);
        if term > self.term {
            self.term = term;
            self.vote = None;
            self.forget_verified();
        }
        if let RoleState::Leader(_) = self.role {
            self.timers.arm_election(self.config.election_timeout);
        }
        self.leave_role();
        self.set_leader(leader);
        if leader.is_some() {
            self.drop_evidence();
        }
        self.role = RoleState::Follower(Follower::default());
        self.note_change(reason);
    }

    fn set_leader(&mut self, leader: Option<NodeId>) {
        if self.leader.is_some() {
            self.timers.led = self.timers.now;
        }
        self.leader = leader;
    }

    pub(super) fn become_pre_candidate(&mut self, reason: &'static str) {
        assert!(!matches!(self.role, RoleState::Leader(_)), "a leader campaigns");
        self.counters.campaigns += 1;
        self.leave_role();
        self.set_leader(None);
        self.role = RoleState::PreCandidate(Candidate::with_own(self.config.id));
        self.note_change(reason);
        self.ask_pre_votes();
        self.count_pre_votes();
    }

    /// Figure 2, candidates: a new term, the own vote, a new deadline, and the question to all others.
    ///
    /// Where the leader asked for it (`transfer`), this comes without a pre-vote.
    pub(super) fn become_candidate(&mut self, transfer: bool) {
        match &self.role {
            RoleState::PreCandidate(_) => assert!(!transfer, "a pre-candidate has no leader to ask it"),
            RoleState::Follower(_) => assert!(transfer, "a candidate without a pre-vote"),
            RoleState::Candidate(_) | RoleState::Leader(_) => panic!("{:?} campaigns", self.role()),
        }
        self.leave_role();
        self.term = self.term.next();
        self.vote = Some(self.config.id);
        self.set_leader(None);
        self.role = RoleState::Candidate(Candidate::default());
        self.timers.arm_election(self.config.election_timeout);
        self.note_change(if transfer { "the leader hands over" } else { "won the pre-vote" });
        let (last_index, last_term) = (self.log.last(), self.log.last_term());
        self.ask_voters(&Message::Vote { last_index, last_term, transfer });
    }

    /// Leads: begins with an entry of its own term, without which nothing of earlier terms could be committed
    /// (section 5.4.2) and no read answered (section 8).
    pub(super) fn become_leader(&mut self) {
        assert!(matches!(self.role, RoleState::Candidate(_)), "a leader without an election");
        let mut leader = Leader::new(self.log.last().next(), self.is_whole());
        let (others, next) = (self.others(), self.log.last().next());
        leader.set_peers(others, next, &mut self.sessions);
        self.set_leader(Some(self.config.id));
        self.drop_evidence();
        self.role = RoleState::Leader(leader);
        let now = self.timers.now;
        self.timers.election = NEVER;
        self.timers.heartbeat = now.plus(self.config.heartbeat_interval);
        self.timers.quorum = now.plus(self.config.election_timeout);
        self.append_first();
        self.note_change("won the election");
    }

    /// The first entry of this leader's term: a no-op; or, as the first entry of all, the configuration that the group
    /// begins with. So the log tells the configuration of each of its positions to whoever reads it from the beginning,
    /// also to a member that joins and was told of another one.
    fn append_first(&mut self) {
        if self.log.last() == Index(0) {
            let founding = self.log.membership().clone();
            self.log.append_membership(self.term, founding);
        } else {
            self.log.append(self.term, EntryKind::Noop, Bytes::new());
        }
    }

    /// Lets those who wait for this role know that it ends.
    fn leave_role(&mut self) {
        self.timers.heartbeat = NEVER;
        self.timers.quorum = NEVER;
        self.timers.commit = NEVER;
        self.timers.transfer = NEVER;
        self.timers.read = NEVER;
        let readers: Vec<Reader> = match &mut self.role {
            RoleState::Leader(leader) => leader.rounds.abandon(),
            RoleState::Follower(follower) => {
                follower.reads.abandon().into_iter().map(Reader::Local).collect()
            }
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => Vec::new(),
        };
        for reader in readers {
            self.refuse_read(reader);
        }
    }

    fn note_change(&mut self, reason: &'static str) {
        let change = RoleChange { role: self.role(), term: self.term, leader: self.leader, reason };
        self.outbox.changes.push(change);
    }

    /// All members but this one.
    pub(super) fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        let id = self.config.id;
        let members: Vec<NodeId> = self.log.membership().members.keys().copied().collect();
        members.into_iter().filter(move |&member| member != id)
    }
}

/// What can be asked of a node.
impl Raft {
    /// What it was told at its start.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The latest instant that it was told of.
    pub fn now(&self) -> Monotonic {
        self.timers.now
    }

    /// The current term.
    pub fn term(&self) -> Term {
        self.term
    }

    /// Whom this node voted for in the current term.
    pub fn vote(&self) -> Option<NodeId> {
        self.vote
    }

    /// The leader of the current term, where known.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The role it plays.
    pub fn role(&self) -> RoleName {
        match &self.role {
            RoleState::Follower(_) if !self.quorum.contains(self.config.id) => RoleName::Learner,
            RoleState::Follower(_) => RoleName::Follower,
            RoleState::PreCandidate(_) => RoleName::PreCandidate,
            RoleState::Candidate(_) => RoleName::Candidate,
            RoleState::Leader(_) => RoleName::Leader,
        }
    }

    /// The last entry known to be committed.
    pub fn commit(&self) -> Index {
        self.log.committed()
    }

    /// The last entry that the state machine holds; 0 without one.
    pub fn applied_index(&self) -> Index {
        self.applying.applied()
    }

    /// The last entry of the log.
    pub fn last_index(&self) -> Index {
        self.log.last()
    }

    /// The last entry on this node's disk.
    pub fn persisted_index(&self) -> Index {
        self.log.persisted()
    }

    /// The last purged entry and its term.
    pub fn purged(&self) -> (Index, Term) {
        self.log.purged()
    }

    /// The configuration in force: the newest in the log, committed or not.
    pub fn membership(&self) -> &Membership {
        self.log.membership()
    }

    /// The entry that holds it; the purge point, if it is older than that.
    pub fn membership_index(&self) -> Index {
        self.log.membership_index()
    }

    /// How far the log of a member is known to be on its disk, this node's own too; `None` if this node does not lead.
    pub fn matched(&self, id: NodeId) -> Option<Index> {
        let RoleState::Leader(leader) = &self.role else { return None };
        if id == self.config.id {
            return Some(self.log.persisted());
        }
        leader.peers.get(&id).map(Progress::matched)
    }

    /// The newest committed configuration.
    pub fn committed_membership(&self) -> &Membership {
        self.log.committed_membership()
    }

    /// The term of an entry: none if it was purged or is not there.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// A position up to which every member, learners too, has the log on disk, as far as this node knows: none of those
    /// that were members then will ask it for those entries. One that has joined since may. At most the commit index;
    /// may be below the purge point. Monotone.
    pub fn stored_by_all(&self) -> Index {
        self.stored_by_all
    }

    /// The configuration that is in force at `index`, which must not be before the purge point.
    pub fn membership_at(&self, index: Index) -> &Membership {
        self.log.membership_at(index)
    }

    /// What was dropped or refused so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Asserts everything that must hold between two inputs.
    pub fn check_invariants(&self) {
        self.log.check();
        self.applying.check(&self.log);
        assert!(
            self.log.last_term() <= self.term,
            "entries of term {} in {}",
            self.log.last_term(),
            self.term
        );
        assert!(self.writes.durable().term <= self.term, "a later term is on disk");
        assert_eq!(self.quorum, Quorum::of(self.log.membership()), "quorum of another configuration");
        assert!(
            self.evidence.is_none() || self.leader.is_none(),
            "a leader is heard, and another one's end stands"
        );
        let is_asking = self.timers.repair != NEVER;
        assert!(is_asking || !self.log.wounds().has_lost(), "what is lost is not asked for");
        let is_watched = self.timers.disk != NEVER || self.is_stalled;
        assert_eq!(is_watched, self.writes.are_outstanding(), "the disk is watched while it is written to");
        match &self.role {
            RoleState::Leader(leader) => {
                assert_eq!(self.leader, Some(self.config.id), "a leader knows itself");
                assert_eq!(self.doubt, None, "a leader knows how far its log goes");
                assert_eq!(self.vote, Some(self.config.id), "a leader voted for itself");
                assert!(leader.peers.keys().copied().eq(self.others()), "a progress for each other member");
                leader.peers.values().for_each(|peer| peer.check(&self.log));
                let to = leader.transfer_target();
                assert!(
                    to.is_none_or(|to| self.quorum.contains(to)),
                    "hands over to {to:?}, who is no voter"
                );
            }
            RoleState::Candidate(_) => {
                self.check_campaign();
                assert_eq!(self.doubt, None, "a candidate knows how far its log goes");
                assert_eq!(self.vote, Some(self.config.id), "a candidate voted for itself");
                assert_eq!(self.leader, None, "a candidate knows no leader");
            }
            RoleState::PreCandidate(_) => {
                assert_eq!(self.leader, None, "a pre-candidate knows no leader");
                self.check_campaign();
            }
            RoleState::Follower(_) => {
                assert_ne!(self.leader, Some(self.config.id), "a follower does not lead")
            }
        }
    }
}
