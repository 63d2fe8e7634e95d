//! What a node's driver does: brings inputs to the core, and does what it hands out.
//!
//! It keeps the contract of `Ready` to the letter, and no more than that: everything the contract leaves open (how much an
//! fsync covers, when a completion is told and in which order, whether several inputs are taken before the work is
//! collected) is drawn.

use std::hash::{DefaultHasher, Hash, Hasher};

use quorate::raft::{Entry, EntryKind, Envelope, Fetch, Message, Raft, Ready, RoleName, Write, WriteSeq};
use quorate::types::{Index, Monotonic, NodeId};

use super::node::{Shown, Work};
use super::queue::Event;
use super::weather::{chance, up_to};
use super::world::{AllDisks, World};
use crate::invariants::Seen;
use crate::trace::event::{Fate, What};

/// What is absorbed into the trace's hash, besides messages.
#[derive(Hash)]
enum Note {
    Tick(usize, Monotonic),
    Synced(usize, WriteSeq, usize),
    Told(usize, WriteSeq),
    Applied(usize, Index),
    Crashed(usize),
    Died(usize, NodeId),
}

impl World {
    /// Starts a node with what its disk holds.
    pub(super) fn boot(&mut self, node: usize) {
        let (seed, boot, origin) = (self.rng.u64(..), self.rng.u64(..), self.rng.u64(..1 << 50));
        let tail = self.rng.usize(..12);
        let now = self.now;
        let target = &mut self.nodes[node];
        assert!(target.raft.is_none(), "node {} is up already", target.id);
        target.boot += 1;
        target.config.seed = seed;
        target.config.boot = boot;
        target.clock = super::clock::Clock::new(now, Monotonic(origin), target.rate);
        target.disk.forget_staged();
        if target.disk.is_stateless() && target.disk.purged() == Index(0) {
            target.disk.begin_state();
        }
        target.state = target.disk.folded();
        target.applied_at = now;
        (target.synced, target.told) = (WriteSeq(0), WriteSeq(0));
        target.shown = None;
        let restored = target.disk.restore(tail);
        let mut raft = Raft::new(target.config.clone(), restored, target.clock.at(now));
        raft.set_room(target.clock.at(now), target.room);
        target.raft = Some(raft);
        let id = target.id;
        self.invariants.booted(id);
        self.trace.event(id.0, || What::Booted);
        self.collect(node);
    }

    /// Takes a node's power: of what is being written, some is kept.
    pub(super) fn cut_power(&mut self, node: usize, kept: usize, torn: usize) {
        let mut writing = std::mem::take(&mut self.nodes[node].writing);
        for (at, write) in writing.iter().take(kept + usize::from(torn > 0)).enumerate() {
            self.store(node, write, if at < kept { usize::MAX } else { torn - 1 });
        }
        writing.clear();
        self.absorb(&Note::Crashed(node));
        let target = &mut self.nodes[node];
        target.lose_memory();
        let id = target.id;
        self.oracle.crashed(id);
        self.trace.event(id.0, || What::Down { why: "crash".to_owned() });
        self.audit();
    }

    /// Puts a write on the disk, of its entries `kept`.
    fn store(&mut self, node: usize, write: &Write, kept: usize) {
        let disk = &self.nodes[node].disk;
        let is_wrong =
            |repair: &&Entry| repair.index > disk.purged() && disk.get(repair.index) != Some(repair);
        if let Some(wrong) = write.repairs.iter().find(is_wrong) {
            let (id, Entry { index, term, .. }) = (self.nodes[node].id, wrong);
            self.judge(Err(format!(
                "repair: {id} stores entry {index} of term {term}, which is not what it lost"
            )));
            return;
        }
        let target = &mut self.nodes[node];
        let replaced = target.disk.write(write, kept);
        for _ in &write.repairs {
            self.count("entries repaired");
        }
        let target = &self.nodes[node];
        let id = target.id;
        if let Some(from) = replaced {
            self.count("truncations");
            self.invariants.replaced(id, from);
            if from <= self.committed {
                self.audit();
            }
        }
    }

    /// A message comes to the core.
    pub(super) fn take_in(&mut self, node: usize, number: u64, envelope: Envelope) {
        self.steps += 1;
        self.absorb(&envelope);
        let id = envelope.to.0;
        self.trace.event(id, || What::Delivered { message: number });
        let target = &self.nodes[node];
        let (room, last) = (target.room, target.raft.as_ref().map(Raft::last_index));
        let commands = commands_of(&envelope);
        self.input(node, |raft, now| raft.step(now, envelope));
        let target = &self.nodes[node];
        let taken = target.raft.as_ref().map(Raft::last_index);
        let is_taken = |index: &Index| Some(*index) > last && Some(*index) <= taken;
        if let Some(index) = commands.into_iter().find(is_taken).filter(|_| room.is_full()) {
            self.judge(Err(format!("room: {} takes command {index}, and its disk is full", target.id)));
        }
    }

    pub(super) fn on_tick(&mut self, node: usize) {
        let target = &mut self.nodes[node];
        if target.tick.is_none_or(|(_, at)| at != self.now) {
            return; // an earlier one was scheduled in its place
        }
        target.tick = None;
        let now = target.clock.at(self.now);
        let is_due = target.raft.as_ref().is_some_and(|raft| raft.next_tick() <= now);
        if is_due {
            self.steps += 1;
            self.absorb(&Note::Tick(node, now));
            self.input(node, |raft, now| raft.tick(now));
        } else {
            self.arm_tick(node);
        }
    }

    /// Gives the core an input, and collects what it has made, now or a little later.
    pub(super) fn input<T>(&mut self, node: usize, input: impl FnOnce(&mut Raft, Monotonic) -> T) -> T {
        let target = &mut self.nodes[node];
        let now = target.clock.at(self.now);
        let raft = target.raft.as_mut().expect("the node is up");
        let output = input(raft, now);
        if target.is_collected_later {
            // It will be.
        } else if chance(&mut self.rng, self.weather.lazy) {
            self.fired("batched inputs");
            let at = self.now + up_to(&mut self.rng, self.weather.work_max);
            let target = &mut self.nodes[node];
            target.is_collected_later = true;
            self.queue.push(at, Event::Collect { node, boot: target.boot });
        } else {
            self.collect(node);
        }
        output
    }

    /// Collects what the core has made, has it judged, and does it.
    pub(super) fn collect(&mut self, node: usize) {
        let target = &mut self.nodes[node];
        let id = target.id;
        let Some(raft) = target.raft.as_mut() else { return };
        let promised = raft.has_ready();
        let ready = if promised { raft.ready() } else { Ready::default() };
        // Before anything leaves that could let another one lead.
        target.lease = raft.lease(target.clock.at(self.now));
        let is_looked_at = self.rng.u8(..32) == 0;
        if is_looked_at {
            raft.check_invariants();
        }
        if promised && ready == Ready::default() {
            self.judge(Err(format!("ready: {id} promised work and had none")));
        } else if !promised && is_looked_at && raft.clone().ready() != Ready::default() {
            self.judge(Err(format!("ready: {id} had work and did not say so")));
        }
        self.look(node, &ready);
        self.perform(node, ready);
        self.forget_irreparable(node);
        self.arm_tick(node);
    }

    /// What nobody has any more, and this node's state machine does: its log is forgotten up to there.
    fn forget_irreparable(&mut self, node: usize) {
        let target = &mut self.nodes[node];
        let Some(raft) = target.raft.as_mut().filter(|raft| raft.first_damaged().is_some()) else { return };
        let Some(index) = raft.irreparable().filter(|&index| index <= raft.applied_index()) else { return };
        if index <= target.disk.folded().index {
            raft.purge_to(index);
            target.disk.purge_to(index);
            self.count("damage purged");
        } else {
            target.fold();
        }
    }

    /// A scrub reads all that is on a node's disk: its core is told of all that is damaged.
    pub fn scrub(&mut self, id: NodeId) {
        let node = super::world::position(id);
        let found: Vec<Index> = self.nodes[node].disk.damaged().collect();
        if self.nodes[node].is_running() && !found.is_empty() {
            self.steps += 1;
            self.absorb(&(node, &found));
            self.input(node, |raft, _| found.iter().for_each(|&index| raft.damaged(index)));
        }
    }

    /// An entry rots on a node's disk.
    pub fn damage(&mut self, id: NodeId, index: Index) {
        self.nodes[super::world::position(id)].disk.damage(index);
        self.absorb(&(id, index));
        self.trace.event(id.0, || What::Fault { fault: "rot", text: format!("entry {index}") });
    }

    /// The end of the log of a node that is down is lost (see [`super::Disk::lose_end`]).
    pub fn lose_end(&mut self, id: NodeId, from: Index, was_older: bool) {
        let target = &mut self.nodes[super::world::position(id)];
        assert!(target.raft.is_none(), "{id} is up");
        target.disk.lose_end(from, was_older);
        self.absorb(&(id, from, was_older));
        self.trace.event(id.0, || What::Fault { fault: "lost tail", text: format!("from entry {from} on") });
    }

    /// The judges look at a core and at what it has just made.
    fn look(&mut self, node: usize, ready: &Ready) {
        let disks = AllDisks { nodes: &self.nodes, configurations: &self.configurations };
        let target = &self.nodes[node];
        let Some(raft) = &target.raft else { return };
        let (id, commit) = (target.id, raft.commit());
        let judged = self
            .invariants
            .observe(&Seen { raft, node: id, ready })
            .and_then(|()| self.invariants.attest(raft, id, &disks));
        let written = ready.writes.iter().flat_map(|write| &write.entries);
        let is_leader = raft.role() == RoleName::Leader;
        for entry in written.filter(|entry| is_leader && entry.kind == EntryKind::Membership) {
            self.notable.push(id);
            self.configurations.appended(entry.index, raft.membership_at(entry.index));
        }
        // What was judged false already tells nothing of the group.
        let is_news = commit > self.committed && judged.is_ok();
        if is_news {
            self.configurations.committed(raft, self.committed, commit);
            self.committed = commit;
        }
        self.judge(judged);
        if is_news {
            self.audit();
        }
    }

    fn perform(&mut self, node: usize, ready: Ready) {
        let id = self.nodes[node].id;
        let why = ready.changes.last().map(|change| change.reason);
        for change in ready.changes {
            self.note_change(id, &change);
            self.changes.push((id, change));
        }
        if self.is_shown {
            self.show_state(node, why);
        }
        for envelope in ready.messages {
            self.send(envelope);
        }
        if !ready.writes.is_empty() {
            self.nodes[node].writing.extend(ready.writes);
            self.sync(node);
        }
        let boot = self.nodes[node].boot;
        for fetch in ready.fetches {
            let at = self.now + up_to(&mut self.rng, self.weather.work_max);
            self.queue.push(at, Event::Fetched { node, boot, fetch });
        }
        if let Some(last) = ready.apply.last().map(|entry| entry.index) {
            self.give(node, last, Work::Apply(ready.apply));
        }
        for wanted in ready.snapshots {
            self.want_snapshot(node, wanted);
        }
        for (read, outcome) in ready.reads {
            self.absorb(&(read, outcome));
            let answered = self.oracle.answered(id, read, outcome);
            let fate = if answered == Ok(true) { Fate::Done } else { Fate::NotApplied };
            self.trace.event(0, || What::Ended {
                request: request_of_read(read.0),
                outcome: fate,
                answer: format!("{outcome:?}"),
            });
            self.judge(answered.map(|_| ()));
        }
    }

    /// Gives something to the state machine, behind what it was given before.
    fn give(&mut self, node: usize, last: Index, work: Work) {
        let takes = up_to(&mut self.rng, self.weather.work_max);
        let target = &mut self.nodes[node];
        target.applied_at = target.applied_at.max(self.now) + takes;
        target.applying.push_back(work);
        self.queue.push(target.applied_at, Event::Applied { node, boot: target.boot, last });
    }

    fn note_change(&mut self, id: NodeId, change: &quorate::raft::RoleChange) {
        self.absorb(&(id, change));
        self.count("role changes");
        if change.role == RoleName::Leader {
            self.count("leaders elected");
            let acknowledged = self.oracle.acknowledged();
            if change.term > self.leaders.term {
                if self.leaders.term.0 > 0 && acknowledged > self.leaders.acknowledged {
                    self.count("leader changes under load");
                }
                self.leaders.term = change.term;
                self.leaders.acknowledged = acknowledged;
            }
        }
    }

    /// Begins an fsync, if there is something to write and none is under way.
    pub(super) fn sync(&mut self, node: usize) {
        let target = &self.nodes[node];
        if target.syncing.is_some() || target.writing.is_empty() {
            return;
        }
        let waiting = target.writing.len();
        let covered = if self.rng.bool() { waiting } else { self.rng.usize(1..=waiting) };
        let mut at = self.now + self.weather.sync_min + up_to(&mut self.rng, self.weather.sync_spread);
        if chance(&mut self.rng, self.weather.slow_sync) {
            self.fired("slow fsync");
            at += up_to(&mut self.rng, self.weather.slow_sync_max);
        }
        let target = &mut self.nodes[node];
        target.syncing = Some(covered);
        self.queue.push(at, Event::Synced { node, boot: target.boot });
    }

    /// The fsync under way returns, unless the disk hangs.
    pub(super) fn on_synced(&mut self, node: usize) {
        let target = &mut self.nodes[node];
        if target.is_hung {
            target.is_stalled = true;
            return;
        }
        let covered = target.syncing.take().unwrap_or(0);
        for _ in 0..covered {
            let write = self.nodes[node].writing.pop_front().expect("an fsync covers what was handed out");
            self.store(node, &write, usize::MAX);
            self.absorb(&Note::Synced(node, write.seq, write.entries.len()));
            self.nodes[node].synced = write.seq;
            if write.install.is_some() {
                let state = self.nodes[node].disk.folded();
                self.nodes[node].installs.push_back((write.seq, state));
            }
            for envelope in write.messages {
                self.send(envelope);
            }
            self.complete(node, write.seq);
        }
        self.sync(node);
    }

    /// A write is on disk: the core is told, sooner or later, or by a later one's completion.
    fn complete(&mut self, node: usize, seq: WriteSeq) {
        if chance(&mut self.rng, self.weather.lost_completion) {
            self.fired("lost completion");
            return;
        }
        let mut at = self.now;
        if chance(&mut self.rng, self.weather.late_completion) {
            self.fired("late completion");
            at += up_to(&mut self.rng, self.weather.late_completion_max);
        }
        let target = &mut self.nodes[node];
        let boot = target.boot;
        target.told = target.told.max(seq);
        self.queue.push(at, Event::Tell { node, boot, seq });
        if chance(&mut self.rng, self.weather.repeated_completion) {
            self.fired("repeated completion");
            let old = WriteSeq(self.rng.u64(1..=seq.0));
            let at = at + up_to(&mut self.rng, self.weather.late_completion_max);
            self.queue.push(at, Event::Tell { node, boot, seq: old });
        }
    }

    /// Tells the core of what it was not told.
    pub(super) fn tell_all(&mut self, node: usize) {
        let target = &mut self.nodes[node];
        if target.told < target.synced {
            target.told = target.synced;
            let (boot, seq) = (target.boot, target.synced);
            self.queue.push(self.now, Event::Tell { node, boot, seq });
        }
    }

    pub(super) fn on_tell(&mut self, node: usize, seq: WriteSeq) {
        self.steps += 1;
        self.absorb(&Note::Told(node, seq));
        self.input(node, |raft, _| raft.persisted(seq));
        while let Some((_, state)) = self.nodes[node].installs.pop_front_if(|&mut (of, _)| of <= seq) {
            self.give(node, state.index, Work::Install(state));
        }
    }

    /// A node has evidence that the process of `peer` has ended.
    pub fn died(&mut self, id: NodeId, peer: NodeId) {
        self.steps += 1;
        let node = super::world::position(id);
        self.absorb(&Note::Died(node, peer));
        self.input(node, |raft, now| raft.died(now, peer));
    }

    pub(super) fn on_fetched(&mut self, node: usize, fetch: Fetch) {
        self.steps += 1;
        let is_lost = chance(&mut self.rng, self.weather.failed_fetch);
        let mut entries = if is_lost { Vec::new() } else { self.nodes[node].disk.fetch(&fetch) };
        if is_lost {
            self.fired("failed fetch");
        } else if entries.len() > 1 && self.rng.bool() {
            entries.truncate(self.rng.usize(1..=entries.len())); // an answer may end early
        }
        let is_damaged = !is_lost && self.nodes[node].disk.is_damaged(fetch.first);
        self.input(node, |raft, _| {
            if is_damaged {
                raft.damaged(fetch.first);
            }
            raft.fetched(fetch, entries);
        });
    }

    pub(super) fn on_applied(&mut self, node: usize, last: Index) {
        self.steps += 1;
        self.absorb(&Note::Applied(node, last));
        match self.nodes[node].applying.pop_front().expect("something was handed out") {
            // What it was given before its core heard that there is nobody to take it.
            Work::Apply(_) if self.nodes[node].takes_nothing => return,
            Work::Apply(batch) => batch.iter().for_each(|entry| self.apply(node, entry)),
            Work::Install(state) => self.on_installed(node, state),
            Work::GiveUp => return self.on_given_up(node),
            Work::Begin => return self.on_begun(node),
        }
        self.input(node, |raft, _| raft.applied(last));
    }

    /// A node's state file is found to be damaged. False if a snapshot is about to take its place.
    pub fn lose_state(&mut self, id: NodeId) -> bool {
        let node = super::world::position(id);
        let target = &mut self.nodes[node];
        let is_installing = target.raft.as_ref().is_some_and(|raft| raft.installing().is_some());
        if is_installing || target.disk.is_stateless() {
            return false;
        }
        target.disk.lose_state();
        let is_up = target.raft.is_some();
        target.takes_nothing = is_up;
        self.absorb(&(id, "lost"));
        self.trace.event(id.0, || What::Fault { fault: "state lost", text: String::new() });
        self.count("states lost");
        if is_up {
            self.give(node, Index(0), Work::GiveUp);
        }
        true
    }

    /// The state machine lets go of its state, behind all that it was given before; then its core hears of it.
    fn on_given_up(&mut self, node: usize) {
        // A snapshot may have come meanwhile, or be coming.
        let is_installing = self.nodes[node].raft.as_ref().is_some_and(|raft| raft.installing().is_some());
        if is_installing || !self.nodes[node].takes_nothing {
            return;
        }
        self.nodes[node].state = super::transfer::State::default();
        self.input(node, |raft, _| raft.lose_state());
        if self.nodes[node].disk.purged() == Index(0) {
            self.give(node, Index(0), Work::Begin);
        }
    }

    fn on_begun(&mut self, node: usize) {
        let target = &mut self.nodes[node];
        let is_needed = target.raft.as_ref().is_some_and(|raft| !raft.has_state());
        if is_needed {
            target.disk.begin_state();
            target.takes_nothing = false;
            self.input(node, |raft, _| raft.state_begun());
        }
    }

    /// A state machine takes an entry.
    fn apply(&mut self, node: usize, entry: &Entry) {
        let target = &mut self.nodes[node];
        let (id, expected) = (target.id, target.state.index.next());
        let mut hasher = DefaultHasher::new();
        entry.hash(&mut hasher);
        self.absorb(&hasher.finish());
        let target = &mut self.nodes[node];
        target.state = target.state.after(entry);
        if entry.index != expected {
            self.judge(Err(format!("proposals: {id} applies entry {} in place of {expected}", entry.index)));
        }
        let applied = self.oracle.applied(id, entry);
        if applied == Ok(1) {
            self.count("acknowledged proposals");
            let (number, index) = (super::operations::number_of(entry), entry.index);
            self.trace.event(0, || What::Ended {
                request: number,
                outcome: Fate::Done,
                answer: format!("applied at {index}"),
            });
        }
        self.judge(applied.map(|_| ()));
    }

    /// Sees to it that the core's earliest deadline is judged.
    pub(super) fn arm_tick(&mut self, node: usize) {
        let target = &self.nodes[node];
        let Some(due) = target.raft.as_ref().and_then(|raft| target.clock.when(raft.next_tick())) else {
            return;
        };
        let due = due.max(self.now);
        // One that comes too early finds that nothing is due yet, and comes back here.
        if target.tick.is_some_and(|(earlier, _)| earlier <= due) {
            return;
        }
        let mut at = due;
        if chance(&mut self.rng, self.weather.late_tick) {
            self.fired("late tick");
            at += up_to(&mut self.rng, self.weather.late_tick_max);
        }
        let target = &mut self.nodes[node];
        target.tick = Some((due, at));
        self.queue.push(at, Event::Tick { node, boot: target.boot });
    }

    pub(super) fn show_state(&mut self, node: usize, why: Option<&'static str>) {
        let target = &mut self.nodes[node];
        let Some(Shown { role, term, leader, last, persisted, commit, applied }) = target.show() else {
            return;
        };
        let id = target.id.0;
        self.trace.event(id, || What::State { role, term, leader, last, persisted, commit, applied, why });
    }
}

/// The commands among a message's entries that need room to be taken: not those that an earlier leader left behind.
fn commands_of(envelope: &Envelope) -> Vec<Index> {
    let Message::Append(append) = &envelope.message else { return Vec::new() };
    let needs_room = |entry: &&Entry| entry.index <= append.commit || entry.term == envelope.term;
    let commands = append.entries.iter().filter(|entry| entry.kind == EntryKind::Command).filter(needs_room);
    commands.map(|entry| entry.index).collect()
}

/// The number of a read among the requests that a trace shows: proposals have theirs below.
pub(super) fn request_of_read(read: u64) -> u64 {
    (1 << 40) + read
}
