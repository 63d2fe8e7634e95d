//! Damaged entries: what a node does about entries that it has and cannot read back.
//!
//! A disk gives back other bytes than it was given, or none. The log knows then which entry is lost (its index and term, and
//! most times its checksum), and that it was there: the node may have acknowledged it, and it may be committed by that.
//! What goes wrong otherwise is a history of its own (H17; Alagappan et al., "Protocol-Aware Recovery for Consensus-Based
//! Storage", FAST'18):
//!
//! 1. Entry 5 is committed by nodes 1 and 2; node 3 lags. Entry 5 rots on node 2.
//! 2. Node 2 cuts its log there, as if it had never been written.
//! 3. Node 1 is away. Nodes 2 and 3 elect one of them and write another entry 5. A committed entry is lost.
//!
//! So a damaged entry *counts as present*: wherever logs are compared, in votes and in appends, and in what was
//! acknowledged. The terms of all positions are known without it. What the node cannot do without the entry it does not do:
//!
//! - It *does not campaign*: as a leader it could not send the entry to those that lack it. It votes and acknowledges. Where
//!   nobody else can win it campaigns after all (see `caretaker`).
//! - It *applies nothing from the first damaged entry on*.
//! - A leader that finds damage *leads on*: whoever lacks the entry waits until it is repaired. It was elected with this
//!   log and holds a quorum together; handing over would cost more than a repair, which takes a round trip.
//!
//! # Repair
//!
//! ```text
//!    damaged node                                  another member
//!  Restored::damaged, or damaged(index)
//!  -- Repair {index, term, crc} ---------------->  has exactly this entry? on disk: Fetch, in memory: at once
//!                                             <--  RepairReply {entry}
//!  checks index, term, crc, payload
//!  ready()  -> Write{repairs} -> disk: stored once more, nothing is overwritten
//!  persisted(seq): damaged no more
//! ```
//!
//! Entries are asked for a few at a time, of the leader first, then of the members in turn, and again at each heartbeat
//! interval. Index and term name an entry: by Log Matching (Figure 3) there is one with them at most, so that it does not
//! matter who answers, when, or in which term. These two messages are therefore outside the rule for terms: they neither
//! make a node enter a term nor are they out of date. The checksum guards against what a member may have got wrong.
//!
//! A damaged entry that a leader's append replaces, a purge forgets or a snapshot covers is damaged no more. What the others
//! have purged nobody can send. Then, if this node lacks it to go on, the leader sends a snapshot, which is installed
//! though the log has its last entry: what lies behind that is kept (see `snapshot`). If it has applied the entry, its own
//! next purge ends the matter.
//!
//! A leader that cannot go on without an entry that nobody has does step down: another one may have purged it, and can send
//! a snapshot.
//!
//! If every other member says that it does not have the entry, it is *irreparable* ([`Raft::irreparable`]): all copies are
//! damaged, and if it was committed the group stops there. The node goes on asking.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{Index, NodeId, Term};

use super::raft::RoleState;
use super::timers::NEVER;
use super::{Entry, Fetch, FetchFor, Message, Raft};

/// An entry that is in the log and cannot be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Damaged {
    /// Its position.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// The checksum of its payload, where known.
    pub crc: Option<u32>,
}

/// So many entries are asked for at a time.
const ASKED_MAX: usize = 8;

/// So many entries are read back for others at a time.
const SERVING_MAX: usize = 16;

/// The damaged entries of a log, all of them behind its purge point and on its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Wounds(BTreeMap<Index, Wound>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wound {
    term: Term,
    crc: Option<u32>,
    state: State,
    /// Who was asked in this turn.
    tried: BTreeSet<NodeId>,
    /// Who said that it does not have the entry.
    lacking: BTreeSet<NodeId>,
    /// How often it was asked for.
    asks: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Nobody was asked since the last interval began.
    Lost,
    /// Somebody was.
    Asked,
    /// It is here, and will be written with the next write.
    Found(Entry),
    /// It is being written.
    Writing,
}

impl Wounds {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, index: Index) -> bool {
        self.0.contains_key(&index)
    }

    /// The first damaged entry at `index` or beyond.
    pub(super) fn first_from(&self, index: Index) -> Option<Index> {
        self.0.range(index..).next().map(|(&index, _)| index)
    }

    /// An entry is damaged. `copy`: it is in memory all the same. Returns whether that is news.
    pub(super) fn add(&mut self, damaged: Damaged, copy: Option<Entry>) -> bool {
        let Damaged { index, term, crc } = damaged;
        if self.contains(index) {
            return false;
        }
        let state = copy.map_or(State::Lost, State::Found);
        let (tried, lacking) = (BTreeSet::new(), BTreeSet::new());
        self.0.insert(index, Wound { term, crc, state, tried, lacking, asks: 0 });
        true
    }

    /// The entries at `from` and beyond were replaced.
    pub(super) fn truncate(&mut self, from: Index) {
        self.0.split_off(&from);
    }

    /// The entries up to `to` were forgotten.
    pub(super) fn purge(&mut self, to: Index) {
        self.0 = self.0.split_off(&to.next());
    }

    /// Whether an entry waits to be written.
    pub(super) fn has_found(&self) -> bool {
        self.0.values().any(|wound| matches!(wound.state, State::Found(_)))
    }

    /// The entries that wait to be written: given to the driver with this.
    pub(super) fn hand_out(&mut self) -> Vec<Entry> {
        let mut found = Vec::new();
        for wound in self.0.values_mut() {
            if let State::Found(entry) = &wound.state {
                found.push(entry.clone());
                wound.state = State::Writing;
            }
        }
        found
    }

    /// These entries are on disk once more. Returns how many of them were still to be repaired.
    pub(super) fn repaired(&mut self, indexes: &[Index]) -> u64 {
        let before = self.0.len();
        for index in indexes {
            if self.0.get(index).is_some_and(|wound| wound.state == State::Writing) {
                self.0.remove(index);
            }
        }
        (before - self.0.len()) as u64
    }

    /// Whether somebody is to be asked for an entry, sooner or later.
    pub(super) fn has_lost(&self) -> bool {
        self.0.values().any(|wound| matches!(wound.state, State::Lost | State::Asked))
    }

    /// What to ask now, and whom: of the entries for which nobody was asked in this interval, those that were asked for
    /// least.
    fn next_questions(&mut self, leader: Option<NodeId>, others: &[NodeId]) -> Vec<(NodeId, Damaged)> {
        let asked = self.0.values().filter(|wound| wound.state == State::Asked).count();
        let mut lost: Vec<(u32, Index)> = self
            .0
            .iter()
            .filter(|(_, wound)| wound.state == State::Lost)
            .map(|(&index, wound)| (wound.asks, index))
            .collect();
        lost.sort_unstable();
        lost.truncate(ASKED_MAX.saturating_sub(asked));
        let mut questions = Vec::new();
        for (_, index) in lost {
            let Some(wound) = self.0.get_mut(&index) else { continue };
            if let Some(to) = wound.next_to_ask(leader, others) {
                let Wound { term, crc, .. } = *wound;
                questions.push((to, Damaged { index, term, crc }));
            }
        }
        questions
    }

    /// An interval has passed: who has not answered may be asked again.
    fn forget_asked(&mut self) {
        for wound in self.0.values_mut().filter(|wound| wound.state == State::Asked) {
            wound.state = State::Lost;
        }
    }

    pub(super) fn check(&self, purged: Index, last: Index, term_at: impl Fn(Index) -> Option<Term>) {
        for (&index, wound) in &self.0 {
            assert!(
                index > purged && index <= last,
                "entry {index} is damaged, and not in {purged}..={last}"
            );
            assert_eq!(term_at(index), Some(wound.term), "the damaged entry {index} is another one");
        }
    }
}

impl Wound {
    /// Whom to ask: the leader, then the others in turn, then all over again.
    fn next_to_ask(&mut self, leader: Option<NodeId>, others: &[NodeId]) -> Option<NodeId> {
        if others.iter().all(|id| self.tried.contains(id)) {
            self.tried.clear();
        }
        let first = leader.into_iter().chain(others.iter().copied());
        let to = first.into_iter().find(|id| others.contains(id) && !self.tried.contains(id))?;
        self.tried.insert(to);
        self.state = State::Asked;
        self.asks = self.asks.saturating_add(1);
        Some(to)
    }
}

/// What a node reads back for others: by whom and where, and which entry it must be.
pub(super) type Serving = BTreeMap<(NodeId, Index), (Term, Option<u32>)>;

/// The damaged node's side.
impl Raft {
    /// An entry that was on disk cannot be read back: a reader or a scrub has found it. What is known already, and what is
    /// not in the log any more, changes nothing.
    pub fn damaged(&mut self, index: Index) {
        let Some(term) = self.log.term_at(index) else { return };
        if index <= self.log.purged().0 || index > self.log.persisted() {
            return;
        }
        if !self.log.wound(Damaged { index, term, crc: None }) {
            return;
        }
        self.counters.damaged += 1;
        if matches!(self.role, RoleState::PreCandidate(_) | RoleState::Candidate(_)) {
            self.become_follower(self.term, None, "its log is damaged");
        }
        self.watch_wounds();
    }

    /// The first damaged entry; none if all is well. Until there is none, this node does not campaign, and nothing from
    /// there on is handed out to be applied that was not before.
    pub fn first_damaged(&self) -> Option<Index> {
        self.log.wounds().first_from(Index(0))
    }

    /// Whether an entry is damaged, as far as this node knows.
    pub fn is_damaged(&self, index: Index) -> bool {
        self.log.wounds().contains(index)
    }

    /// The first damaged entry of which every other member has said that it does not have it either.
    pub fn irreparable(&self) -> Option<Index> {
        let others: Vec<NodeId> = self.others().collect();
        let is_lost = |wound: &Wound| {
            matches!(wound.state, State::Lost | State::Asked)
                && others.iter().all(|id| wound.lacking.contains(id))
        };
        self.log.wounds().0.iter().find(|(_, wound)| is_lost(wound)).map(|(&index, _)| index)
    }

    /// Sees to it that what is lost is asked for, at once.
    pub(super) fn watch_wounds(&mut self) {
        if self.timers.repair == NEVER && self.log.wounds().has_lost() {
            self.timers.repair = self.timers.now;
        }
    }

    /// An interval has passed.
    pub(super) fn on_repair_due(&mut self) {
        self.timers.repair = NEVER;
        self.log.wounds_mut().forget_asked();
        if self.log.wounds().has_lost() {
            self.timers.repair = self.timers.now.plus(self.config.heartbeat_interval);
            self.ask_repairs();
        }
    }

    fn ask_repairs(&mut self) {
        let others: Vec<NodeId> = self.others().collect();
        let leader = self.leader;
        for (to, Damaged { index, term, crc }) in self.log.wounds_mut().next_questions(leader, &others) {
            let is_needed = self.applying.needs(index);
            let question = Message::Repair { index, term, crc, is_needed };
            self.outbox.now(self.config.id, to, self.term, question);
        }
    }

    /// A leader whose state machine cannot go on makes way if nobody has what it lacks.
    fn give_way(&mut self) {
        let is_stuck = self.irreparable().is_some_and(|index| self.applying.needs(index));
        let can_be_replaced = self.quorum.is_reached(|voter| voter != self.config.id);
        let leads = matches!(self.role, RoleState::Leader(_)) && !self.is_caretaker();
        if is_stuck && can_be_replaced && leads {
            self.become_follower(self.term, None, "its log is damaged");
        }
    }

    /// Another member's answer. An entry is believed if it is the one that is lost, and whole.
    pub(super) fn on_repair_reply(&mut self, from: NodeId, index: Index, term: Term, entry: Option<Entry>) {
        let Some(wound) = self.log.wounds_mut().0.get_mut(&index).filter(|wound| wound.term == term) else {
            self.counters.stale += 1;
            return;
        };
        if !matches!(wound.state, State::Lost | State::Asked) {
            self.counters.stale += 1;
            return;
        }
        let Some(entry) = entry else {
            wound.lacking.insert(from);
            return self.give_way();
        };
        let is_it = entry.index == index && entry.term == term;
        if !is_it || wound.crc.is_some_and(|crc| crc != entry.crc) || !entry.is_intact() {
            self.counters.invalid += 1;
            return;
        }
        wound.state = State::Found(entry);
        if !self.log.wounds().has_lost() {
            self.timers.repair = NEVER;
        }
        self.ask_repairs();
    }
}

/// The side of those who have the entry.
impl Raft {
    /// Another member lacks an entry. `is_needed`: it cannot go on without.
    pub(super) fn on_repair(
        &mut self,
        from: NodeId,
        (index, term): (Index, Term),
        crc: Option<u32>,
        is_needed: bool,
    ) {
        let purged = self.log.purged().0;
        if index <= purged || self.log.term_at(index) != Some(term) || self.log.wounds().contains(index) {
            if index <= purged && is_needed {
                self.give_state(from, index);
            }
            return self.answer_repair(from, index, term, None);
        }
        if let Some(entry) = self.log.slice(index, index, 1).pop() {
            let entry = crc.is_none_or(|crc| crc == entry.crc).then_some(entry);
            return self.answer_repair(from, index, term, entry);
        }
        // One that finds no room asks again.
        if self.serving.len() < SERVING_MAX && self.serving.insert((from, index), (term, crc)).is_none() {
            let fetch = Fetch { purpose: FetchFor::Repair(from), first: index, last: index, bytes_max: 1 };
            self.outbox.fetches.push(fetch);
        }
    }

    /// An entry was read back for another member; none if that failed.
    pub(super) fn fetched_to_repair(&mut self, to: NodeId, fetch: Fetch, mut entries: Vec<Entry>) {
        let index = fetch.first;
        let Some((term, crc)) = self.serving.remove(&(to, index)) else { return };
        let Some(entry) = entries.pop() else {
            // Another time, unless it is known by now that it is damaged here too.
            if self.log.wounds().contains(index) {
                self.answer_repair(to, index, term, None);
            }
            return;
        };
        let is_it = entry.index == index && entry.term == term && crc.is_none_or(|crc| crc == entry.crc);
        self.answer_repair(to, index, term, is_it.then_some(entry));
    }

    fn answer_repair(&mut self, to: NodeId, index: Index, term: Term, entry: Option<Entry>) {
        let reply = Message::RepairReply { index, term, entry };
        self.outbox.now(self.config.id, to, self.term, reply);
    }
}
