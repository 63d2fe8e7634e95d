//! The window on every node's core: brings what cores do to the invariants and into the trace.
//!
//! A [`Watch`] is the product's probe for one boot of one node. What it sees goes to the run's one [`Judge`] at the very
//! instant, so nothing is missed between two looks, and no node is asked anything: also one that is frozen or cut off is
//! judged. A node without power is not watched any more: what its tasks still do in that instant reaches nobody.
//!
//! If somebody looks at the run, it also tells the trace each message and each change of state. What changed without a
//! change of role, term or leader is told every few milliseconds only: watermarks move with every message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quorate::node::probe::Probe;
use quorate::raft::{Envelope, Raft, Ready, RoleChange, RoleName};
use quorate::types::{Index, NodeId, Term};

use crate::Violation;
use crate::cluster::audit::{Audited, Held};
use crate::cluster::badge::SharedBadge;
use crate::cluster::entropy;
use crate::cluster::flights::Flights;
use crate::cluster::power::SharedPower;
use crate::core::group::Configurations;
use crate::invariants::{Invariants, Seen};
use crate::trace::SharedTrace;
use crate::trace::event::What;
use crate::trace::message;

/// How often watermarks are told.
const WATERMARKS_EVERY: Duration = Duration::from_millis(4);

/// What is judged of all nodes of a run.
pub struct Judge {
    trace: SharedTrace,
    state: Mutex<State>,
}

/// A run's judge, shared by all watches and the world.
pub type SharedJudge = Arc<Judge>;

struct State {
    invariants: Invariants,
    /// The hash of the state after each index, and who was the first to have it.
    hashes: BTreeMap<Index, (u128, NodeId)>,
    violation: Option<Violation>,
    /// The leader of the highest term that has one.
    leader: Option<(Term, NodeId)>,
    flights: Flights,
    /// What was last told of each host's node, and when.
    told: BTreeMap<u64, Told>,
    /// The host of each node that ever sent anything.
    hosts: BTreeMap<NodeId, u64>,
    /// The committed configurations, up to the highest commit index of any node.
    group: Option<(Configurations, Index)>,
    /// The hosts whose nodes have had to give up a state.
    stateless: BTreeSet<u64>,
    /// Who is removed by a configuration that some core holds, committed or not.
    retiring: BTreeSet<NodeId>,
}

/// What the trace was told of a node's core.
struct Told {
    at: Duration,
    state: What,
    /// A newer state that was not told yet.
    untold: Option<What>,
}

impl Judge {
    /// A judge who has seen nothing yet.
    pub fn new(trace: SharedTrace) -> SharedJudge {
        let state = State {
            invariants: Invariants::all(),
            hashes: BTreeMap::new(),
            violation: None,
            leader: None,
            flights: Flights::default(),
            told: BTreeMap::new(),
            hosts: BTreeMap::new(),
            group: None,
            stateless: BTreeSet::new(),
            retiring: BTreeSet::new(),
        };
        Arc::new(Judge { trace, state: Mutex::new(state) })
    }

    /// A host's node starts; `None` for one that has yet to be given its id.
    pub fn booted(&self, host: u64, node: Option<NodeId>) {
        let mut state = self.lock();
        state.told.remove(&host);
        if let Some(node) = node {
            state.invariants.booted(node);
            state.flights.booted(entropy::now(), node.0);
        }
    }

    /// A node's disk is replaced by an empty one: what it promised it cannot know.
    pub fn wiped(&self, node: NodeId) {
        self.lock().invariants.wiped(node);
    }

    /// The run is over: tells the trace what was held back, and what never arrived.
    pub fn end(&self) {
        let mut state = self.lock();
        for (host, told) in std::mem::take(&mut state.told) {
            if let Some(state) = told.untold {
                self.trace.event(host, || state);
            }
        }
        for lost in state.flights.end(entropy::now()) {
            let host = state.hosts.get(&NodeId(lost.from)).copied().unwrap_or(lost.from);
            self.trace.event(host, || What::Lost { message: lost.number, why: lost.why });
        }
    }

    /// From now on no invariant is asked, see [`Invariants::none`]; the states' hashes are still compared.
    pub fn look_from_outside(&self) {
        self.lock().invariants = Invariants::none();
    }

    /// Whether a node may have been told that it is removed. A core may know for a moment that the configuration is
    /// committed before it hands anything out again: whether it was, [`Judge::is_retired`] tells later.
    pub fn may_be_retired(&self, node: NodeId) -> bool {
        self.lock().retiring.contains(&node)
    }

    /// The hosts whose nodes have had to give up a state.
    pub fn stateless(&self) -> BTreeSet<u64> {
        self.lock().stateless.clone()
    }

    /// Whether the group has removed a node for good.
    pub fn is_retired(&self, node: NodeId) -> bool {
        let state = self.lock();
        state.group.as_ref().is_some_and(|(group, _)| group.newest().retired.contains(&node))
    }

    /// Looks at what is truly on the disks.
    pub fn audit(&self, held: &Held) {
        let mut state = self.lock();
        let group = state.group.take();
        // As long as nobody knows of a group, nothing is committed.
        if let Some((configurations, _)) = &group {
            let result = state.invariants.audit(&Audited { held, configurations });
            self.note(&mut state, 0, result);
        }
        state.group = group;
    }

    /// The first violation, if there is one.
    pub fn violation(&self) -> Option<Violation> {
        self.lock().violation.clone()
    }

    /// Notes what was found on a host, 0 for none: the first violation is the one that counts.
    fn note(&self, state: &mut State, host: u64, result: Result<(), Violation>) {
        let Err(violation) = result else { return };
        if state.violation.is_none() {
            self.trace.event(host, || What::Violation { text: violation.clone() });
            state.violation = Some(violation);
        }
    }

    /// Counts a leader: one of a later term, and another than before, is a change of leaders.
    fn elected(&self, state: &mut State, term: Term, node: NodeId) {
        self.trace.count("leaders elected", 1);
        match state.leader {
            Some((known, _)) if term <= known => return,
            Some((_, before)) if before != node => self.trace.count("other leaders elected", 1),
            _ => {}
        }
        state.leader = Some((term, node));
    }

    /// Tells the trace how a node's core stands after `ready`.
    fn tell(&self, state: &mut State, host: u64, raft: &Raft, ready: &Ready) {
        let now = entropy::now();
        let what = standing(raft, None);
        if let Some(told) = state.told.get_mut(&host).filter(|_| ready.changes.is_empty()) {
            if now < told.at + WATERMARKS_EVERY {
                told.untold = (told.state != what).then_some(what);
                return;
            }
            if told.state == what {
                return;
            }
        }
        for change in &ready.changes {
            self.trace.event(host, || changed(raft, change));
        }
        if ready.changes.is_empty() {
            self.trace.event(host, || what.clone());
        }
        state.told.insert(host, Told { at: now, state: what, untold: None });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// Takes in the configurations that are committed as far as this core knows, and further than anybody knew before.
    fn learn_group(&mut self, raft: &Raft) {
        self.retiring.extend(&raft.membership().retired);
        let (configurations, known) = self.group.get_or_insert_with(|| {
            (Configurations::new(raft.membership_at(raft.purged().0).clone()), Index(0))
        });
        if raft.commit() > *known {
            configurations.committed(raft, raft.purged().0.max(*known), raft.commit());
            *known = raft.commit();
        }
    }
}

/// How a core stands.
fn standing(raft: &Raft, why: Option<&'static str>) -> What {
    What::State {
        role: raft.role().name(),
        term: raft.term().0,
        leader: raft.leader().map(|leader| leader.0),
        last: raft.last_index().0,
        persisted: raft.persisted_index().0,
        commit: raft.commit().0,
        applied: raft.applied_index().0,
        why,
    }
}

/// How it stood after one of its changes; its watermarks are those of now.
fn changed(raft: &Raft, change: &RoleChange) -> What {
    let mut what = standing(raft, Some(change.reason));
    if let What::State { role, term, leader, .. } = &mut what {
        (*role, *term) = (change.role.name(), change.term.0);
        *leader = change.leader.map(|leader| leader.0);
    }
    what
}

/// The probe of one boot of one node.
pub struct Watch {
    host: u64,
    badge: SharedBadge,
    power: SharedPower,
    judge: SharedJudge,
}

impl Watch {
    /// A watch over the node of `host`, as long as `power` lasts.
    pub fn over(host: u64, badge: SharedBadge, power: SharedPower, judge: SharedJudge) -> Arc<Watch> {
        Arc::new(Watch { host, badge, power, judge })
    }

    fn node(&self) -> NodeId {
        self.badge.id().expect("a core runs under the id that its directory says")
    }
}

impl Probe for Watch {
    fn stepping(&self, _raft: &Raft, envelope: &Envelope) {
        let trace = &self.judge.trace;
        if self.power.is_cut() || !trace.is_shown() {
            return;
        }
        if let Some(message) = self.judge.lock().flights.delivered(entropy::now(), envelope) {
            trace.event(self.host, || What::Delivered { message });
        }
    }

    fn sending(&self, _raft: &Raft, envelope: &Envelope) {
        if self.power.is_cut() {
            return;
        }
        let trace = &self.judge.trace;
        let mut state = self.judge.lock();
        if trace.is_shown() {
            state.hosts.insert(envelope.from, self.host);
            let number = state.flights.sent(entropy::now(), envelope);
            trace.event(self.host, || message::sent(number, envelope));
        }
        // The disk is not read for every message: what this one promises is remembered, and held against what follows.
        let result = state.invariants.sent(envelope, None);
        self.judge.note(&mut state, self.host, result);
    }

    fn ready(&self, raft: &Raft, ready: &Ready) {
        if self.power.is_cut() {
            return;
        }
        let node = self.node();
        let mut state = self.judge.lock();
        for change in &ready.changes {
            self.judge.trace.count("role changes", 1);
            if change.role == RoleName::Leader {
                self.judge.elected(&mut state, change.term, node);
            }
        }
        if self.judge.trace.is_shown() {
            self.judge.tell(&mut state, self.host, raft, ready);
        }
        state.learn_group(raft);
        if raft.counters().states_lost > 0 && state.stateless.insert(self.host) {
            self.judge.trace.count("states lost", 1);
        }
        let result = state.invariants.observe(&Seen { raft, node, ready });
        self.judge.note(&mut state, self.host, result);
    }

    fn applied(&self, index: Index, state_hash: u128) {
        if self.power.is_cut() {
            return;
        }
        let node = self.node();
        let mut state = self.judge.lock();
        let (known, first) = *state.hashes.entry(index).or_insert((state_hash, node));
        if known != state_hash {
            let result = Err(format!("state hash: nodes {first} and {node} differ after index {index}"));
            self.judge.note(&mut state, self.host, result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::badge::Badge;
    use crate::cluster::disk::Disk;
    use crate::cluster::faults::ledger::Ledger;
    use crate::cluster::power::Power;
    use crate::core::World;
    use crate::trace::Trace;
    use quorate::raft::Message;

    /// What a node, once started again, may not take back is what it said, whoever looks at the run.
    #[test]
    fn what_leaves_is_judged() {
        let world = World::new(1, 3);
        let raft = world.node(NodeId(1)).raft().expect("it is up");
        let vote = |to| {
            let message = Message::VoteReply { granted: true };
            Envelope { from: NodeId(1), to: NodeId(to), term: Term(3), message }
        };
        let found = |votes: &[u64], power: &SharedPower| {
            let trace = Trace::new(entropy::now, None).expect("no sink to fail");
            let badge = Badge::new(1, Disk::new(1, "/".as_ref(), trace.clone(), Ledger::new(trace.clone())));
            let judge = Judge::new(trace);
            let watch = Watch::over(1, badge, power.clone(), judge.clone());
            votes.iter().for_each(|to| watch.sending(raft, &vote(*to)));
            judge.violation()
        };
        assert_eq!(found(&[2, 2], &Power::on()), None);
        let violation = found(&[2, 3], &Power::on()).expect("two votes in a term");
        assert!(violation.starts_with("monotone: "), "{violation}");
        let cut = Power::on();
        cut.cut();
        assert_eq!(found(&[2, 3], &cut), None, "it reaches nobody");
    }
}
