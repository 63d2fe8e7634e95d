//! The leader: replicates its log, decides what is committed, answers reads (sections 5.3, 5.4, 8).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::types::{Index, Monotonic, NodeId, Term};

use super::applying::Fetching;
use super::lease::{self, Departures};
use super::log::Log;
use super::outbox::Outbox;
use super::progress::{Digest, Plan, Progress};
use super::raft::RoleState;
use super::read_index::{Reader, Rounds};
use super::timers::NEVER;
use super::transfer::Transfer;
use super::{
    Append, AppendReply, Config, Entry, Fetch, FetchFor, Message, Raft, ReadOutcome, ReadRequest, Room,
    Round, SessionId, SnapshotFor,
};

/// What only a leader keeps: volatile, made anew in each election (Figure 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leader {
    /// All other members, learners too.
    pub(super) peers: BTreeMap<NodeId, Progress>,
    pub(super) rounds: Rounds,
    /// The index of this term's first entry, its no-op.
    pub(super) first: Index,
    /// When the rounds left, for leases.
    pub(super) departures: Departures,
    /// It asked another node to campaign, which may do so at any time from now on: no lease any more in this term.
    pub(super) has_handed_over: bool,
    /// The transfer of leadership under way.
    pub(super) transfer: Option<Transfer>,
    /// What a joining member must have to be promoted: what was committed at the last check-quorum deadline.
    pub(super) goal: Index,
    /// So many check-quorum deadlines pass before it tries again to make way for want of room.
    pub(super) deadlines_to_stay: u32,
    /// It was elected though it was not whole (see `caretaker`): how near somebody who is had come to all of its log, at the
    /// last check-quorum deadline.
    pub(super) caretaking: Option<Index>,
}

impl Leader {
    /// `first`: of its term. `is_whole`: it could do all that a leader has to.
    pub(super) fn new(first: Index, is_whole: bool) -> Leader {
        Leader {
            caretaking: (!is_whole).then_some(Index(0)),
            peers: BTreeMap::new(),
            rounds: Rounds::default(),
            first,
            departures: Departures::default(),
            has_handed_over: false,
            transfer: None,
            goal: first,
            deadlines_to_stay: 0,
        }
    }

    /// Follows a change of the configuration: a progress for each other member, none for anyone else. `sessions`: the
    /// last session given out.
    pub(super) fn set_peers(
        &mut self,
        members: impl Iterator<Item = NodeId>,
        next: Index,
        sessions: &mut SessionId,
    ) {
        let mut peers = BTreeMap::new();
        for id in members {
            let progress = self.peers.remove(&id).unwrap_or_else(|| {
                *sessions = SessionId(sessions.0 + 1);
                Progress::new(*sessions, next)
            });
            peers.insert(id, progress);
        }
        self.peers = peers;
    }
}

/// Borrows what a [`Sender`] needs from the node, and leaves the leader's `peers` free to be walked.
macro_rules! sender {
    ($raft:expr, $leader:expr) => {
        Sender {
            config: &$raft.config,
            term: $raft.term,
            log: &$raft.log,
            stored_by_all: $raft.stored_by_all,
            rounds: &mut $leader.rounds,
            departures: &mut $leader.departures,
            now: $raft.timers.now,
            lease: lease::taken(&$raft.config, &$raft.log),
            outbox: &mut $raft.outbox,
        }
    };
}

impl Raft {
    pub(super) fn on_append_reply(&mut self, from: NodeId, reply: AppendReply) {
        let RoleState::Leader(leader) = &mut self.role else {
            self.counters.stale += 1;
            return;
        };
        let current = leader.rounds.current();
        let Some(progress) = leader.peers.get_mut(&from).filter(|progress| progress.session == reply.session)
        else {
            self.counters.stale += 1;
            return;
        };
        if reply.round > current {
            self.counters.invalid += 1;
            return;
        }
        progress.on_answer();
        progress.hear_room(reply.room, reply.round);
        progress.acked = progress.acked.max(reply.round);
        match progress.on_reply(&reply, &self.log) {
            Digest::Advanced => self.maybe_commit(),
            Digest::Known => {}
            Digest::Stale => self.counters.stale += 1,
            Digest::Invalid => self.counters.invalid += 1,
        }
        self.note_untold();
        self.release_reads();
        self.seek_heir();
        self.hand_over();
    }

    pub(super) fn on_heartbeat_reply(
        &mut self,
        from: NodeId,
        session: SessionId,
        round: Round,
        needs_snapshot: Option<Index>,
        room: Room,
    ) {
        let RoleState::Leader(leader) = &mut self.role else {
            self.counters.stale += 1;
            return;
        };
        let current = leader.rounds.current();
        let Some(progress) = leader.peers.get_mut(&from).filter(|progress| progress.session == session)
        else {
            self.counters.stale += 1;
            return;
        };
        // What it purged is committed, and so it is in this log.
        if round > current || needs_snapshot.is_some_and(|index| index > self.log.committed()) {
            self.counters.invalid += 1;
            return;
        }
        progress.hear_room(room, round);
        progress.acked = progress.acked.max(round);
        progress.on_alive();
        let is_news = progress.on_said(needs_snapshot);
        self.release_reads();
        self.seek_heir();
        if is_news {
            self.advance_change();
        }
    }

    /// Figure 2, leaders, last rule: what a majority has on disk is committed, provided that it is of this term;
    /// everything before it is committed with it. An entry of an earlier term is never committed by counting
    /// (section 5.4.2, Figure 8). The leader counts itself like any other, by what is on its disk.
    pub(super) fn maybe_commit(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        let own = self.log.persisted();
        let index = Index(self.quorum.watermark(|id| {
            if id == self.config.id {
                own.0
            } else {
                leader.peers.get(&id).map_or(0, |peer| peer.matched().0)
            }
        }));
        if index > self.log.committed() && self.log.term_at(index) == Some(self.term) {
            self.commit_to(index);
            self.note_untold();
            self.release_reads();
            self.advance_change();
        }
    }

    /// Sets the deadline by which followers must be told of the commit index, if one of them needs to be.
    fn note_untold(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        let committed = self.log.committed();
        if self.timers.commit == NEVER && leader.peers.values().any(|peer| is_untold(peer, committed)) {
            self.timers.commit = self.timers.now.plus(self.config.commit_lag());
        }
    }

    pub(super) fn on_read_index(&mut self, from: NodeId, request: ReadRequest) {
        self.lead_read(Reader::Remote(from, request));
    }

    /// Takes in a read as a leader; as another, or when too many wait, refuses it.
    pub(super) fn lead_read(&mut self, reader: Reader) {
        let committed = self.log.committed();
        match &mut self.role {
            RoleState::Leader(leader) if leader.rounds.waiting() < self.config.reads_waiting_max => {
                leader.rounds.wait(reader, committed.max(leader.first));
                self.release_reads();
            }
            _ => self.refuse_read(reader),
        }
    }

    pub(super) fn refuse_read(&mut self, reader: Reader) {
        match reader {
            Reader::Local(id) => self.outbox.reads.push((id, ReadOutcome::Lost)),
            Reader::Remote(to, request) => {
                let reply = Message::ReadIndexReply { request, index: None };
                self.outbox.now(self.config.id, to, self.term, reply);
            }
        }
    }

    /// Answers the reads whose round a quorum has answered.
    pub(super) fn release_reads(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        if leader.rounds.waiting() == 0 {
            return;
        }
        let peers = &leader.peers;
        let current = leader.rounds.current();
        let confirmed = self.quorum.watermark(|id| {
            if id == self.config.id { current.0 } else { peers.get(&id).map_or(0, |peer| peer.acked.0) }
        });
        for (reader, index) in leader.rounds.release(Round(confirmed), self.log.committed()) {
            match reader {
                Reader::Local(id) => self.outbox.reads.push((id, ReadOutcome::At(index))),
                Reader::Remote(to, request) => {
                    if let Some(peer) = leader.peers.get_mut(&to) {
                        peer.wanted = peer.wanted.max(index);
                    }
                    let reply = Message::ReadIndexReply { request, index: Some(index) };
                    self.outbox.now(self.config.id, to, self.term, reply);
                }
            }
        }
    }

    /// Judges the leader's deadlines.
    pub(super) fn tick_leader(&mut self, now: Monotonic) {
        if now >= self.timers.quorum {
            self.check_quorum();
            self.make_way_again();
            self.promote_caught_up();
            self.advance_change();
            self.end_care();
        }
        if now >= self.timers.transfer {
            self.end_transfer();
        }
        let RoleState::Leader(leader) = &mut self.role else { return };
        if now >= self.timers.heartbeat {
            let stored = leader.peers.values().map(Progress::matched).fold(self.log.persisted(), Index::min);
            self.stored_by_all = self.stored_by_all.max(stored.min(self.log.committed()));
            let interval =
                u64::try_from(self.config.heartbeat_interval.as_nanos()).expect("a short interval");
            let missed = (now.0 - self.timers.heartbeat.0) / interval;
            self.timers.heartbeat = Monotonic(self.timers.heartbeat.0 + (missed + 1) * interval);
            self.timers.commit = NEVER;
            leader.peers.values_mut().for_each(Progress::on_heartbeat_due);
            if !lease::taken(&self.config, &self.log).is_zero() {
                leader.rounds.begin();
            }
            self.heartbeat_all();
            self.repeat_hand_over();
        }
        let RoleState::Leader(leader) = &mut self.role else { return };
        if now >= self.timers.commit {
            self.timers.commit = NEVER;
            let mut sender = sender!(self, leader);
            let untold = leader.peers.iter_mut().filter(|(_, peer)| is_untold(peer, self.log.committed()));
            untold.for_each(|(&to, peer)| sender.send_heartbeat(to, peer));
        }
    }

    /// Makes itself heard by everyone.
    pub(super) fn heartbeat_all(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let mut sender = sender!(self, leader);
        for (&to, peer) in &mut leader.peers {
            sender.send_heartbeat(to, peer);
        }
        sender.rounds.on_broadcast();
    }

    /// A leader that hears no quorum steps down: it could commit nothing, and those who ask it should look elsewhere
    /// (thesis, section 6.2).
    fn check_quorum(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        self.timers.quorum = self.timers.now.plus(self.config.election_timeout);
        let (id, peers) = (self.config.id, &leader.peers);
        let heard =
            self.quorum.is_reached(|voter| voter == id || peers.get(&voter).is_some_and(|peer| peer.active));
        leader.peers.values_mut().for_each(Progress::on_looked_at);
        if !heard {
            self.become_follower(self.term, None, "hears no quorum");
        }
    }

    /// Whether [`Raft::replicate`] would send anything.
    pub(super) fn is_replication_due(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let (reads_due, round) = (leader.rounds.is_broadcast_due(), leader.rounds.current());
        leader.peers.iter().any(|(&id, peer)| {
            is_wanting(peer, self.log.committed())
                || peer.plan(&self.config, &self.log) != Plan::Nothing
                || (reads_due && peer.stamped < round && self.quorum.contains(id))
        })
    }

    /// Sends every follower what it lacks, as far as its window goes; then what reads wait for.
    ///
    /// This runs when the driver collects its work, not for each proposal: a batch of proposals becomes one message.
    pub(super) fn replicate(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let mut sender = sender!(self, leader);
        for (&to, peer) in &mut leader.peers {
            while sender.send_append(to, peer) {}
        }
        let reads_due = sender.rounds.is_broadcast_due();
        let round = sender.rounds.current();
        for (&to, peer) in &mut leader.peers {
            let is_asked = reads_due && peer.stamped < round && self.quorum.contains(to);
            if is_asked || is_wanting(peer, self.log.committed()) {
                sender.send_heartbeat(to, peer);
            }
        }
        if reads_due {
            sender.rounds.on_broadcast();
        }
    }

    /// Entries were read back for a follower; none if that failed.
    pub(super) fn fetched_for(&mut self, to: NodeId, fetch: Fetch, entries: Vec<Entry>) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&to).filter(|peer| peer.fetching == Fetching::Asked(fetch))
        else {
            return;
        };
        peer.fetching = Fetching::Idle;
        if entries.is_empty() || !self.log.agrees(fetch.first, &entries) {
            peer.fetching = Fetching::Failed;
            return;
        }
        // While it was read, the follower may have been found to have more, or less, or what it lacks was purged.
        if peer.accepts(fetch.first, &self.config, &self.log) {
            sender!(self, leader).emit_append(to, peer, entries);
        }
    }
}

/// What a leader needs to send something, apart from the follower's progress.
struct Sender<'a> {
    config: &'a Config,
    term: Term,
    log: &'a Log,
    stored_by_all: Index,
    rounds: &'a mut Rounds,
    departures: &'a mut Departures,
    now: Monotonic,
    lease: Duration,
    outbox: &'a mut Outbox,
}

impl Sender<'_> {
    /// Sends the next append to `to`, if one is due. Returns whether another may follow at once.
    fn send_append(&mut self, to: NodeId, peer: &mut Progress) -> bool {
        let (first, last) = (peer.next(), self.log.last());
        let bytes_max = self.config.append_batch_bytes_max;
        let entries = match peer.plan(self.config, self.log) {
            Plan::Nothing => return false,
            Plan::Empty => Vec::new(),
            Plan::Entries => self.log.slice(first, last, bytes_max),
            Plan::Fetch => {
                let damaged = self.log.wounds().first_from(first);
                let last = self.log.first_cached().prev().min(damaged.map_or(last, Index::prev));
                let fetch = Fetch { purpose: FetchFor::Peer(to), first, last, bytes_max };
                peer.fetching = Fetching::Asked(fetch);
                self.outbox.fetches.push(fetch);
                return false;
            }
            Plan::Snapshot => {
                peer.on_snapshot_asked(self.log);
                let (session, at_least) = (peer.session, peer.needs_state_at());
                self.outbox.snapshots.push(SnapshotFor { to, session, at_least });
                return false;
            }
        };
        self.emit_append(to, peer, entries);
        true
    }

    /// Sends `entries`, which begin at the follower's next position.
    fn emit_append(&mut self, to: NodeId, peer: &mut Progress, entries: Vec<Entry>) {
        let prev_index = peer.next().prev();
        let prev_term = self.log.term_at(prev_index).expect("the plan has looked");
        let last = entries.last().map_or(prev_index, |entry| entry.index);
        let bytes = entries.iter().map(Entry::bytes).sum();
        let inflight = peer.on_sent(last, bytes);
        let (session, commit) = (peer.session, self.log.committed());
        peer.told = peer.told.max(commit.min(last));
        let round = self.stamp(peer);
        let append = Append { session, inflight, prev_index, prev_term, entries, commit, round };
        self.outbox.now(self.config.id, to, self.term, Message::Append(append));
    }

    /// Sends a heartbeat, with the commit index as far as the follower is known to have the log: it must never be told
    /// of an entry that it may lack or have another version of.
    fn send_heartbeat(&mut self, to: NodeId, peer: &mut Progress) {
        let commit = self.log.committed().min(peer.matched());
        peer.told = peer.told.max(commit);
        let round = self.stamp(peer);
        let stored_by_all = self.stored_by_all;
        let heartbeat = Message::Heartbeat { session: peer.session, commit, round, stored_by_all };
        self.outbox.now(self.config.id, to, self.term, heartbeat);
    }

    fn stamp(&mut self, peer: &mut Progress) -> Round {
        peer.stamped = self.rounds.stamp();
        self.departures.note(peer.stamped, self.now, self.lease);
        peer.stamped
    }
}

/// Whether a follower has entries of which it does not know that they are committed.
fn is_untold(peer: &Progress, committed: Index) -> bool {
    peer.told < peer.matched().min(committed)
}

/// Whether it also waits for that to answer a read.
fn is_wanting(peer: &Progress, committed: Index) -> bool {
    is_untold(peer, committed) && peer.told < peer.wanted
}
