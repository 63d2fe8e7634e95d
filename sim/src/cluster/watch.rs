//! The window on every node's core: brings what cores do to the invariants and into the trace.
//!
//! A [`Watch`] is the product's probe for one boot of one node. What it sees goes to the run's one [`Judge`] at the very
//! instant, so nothing is missed between two looks, and no node is asked anything: also one that is frozen or cut off is
//! judged. A node without power is not watched any more: what its tasks still do in that instant reaches nobody.
//!
//! If somebody looks at the run, it also tells the trace each message and each change of state. What changed without a
//! change of role, term or leader is told every few milliseconds only: watermarks move with every message.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quorate::node::probe::Probe;
use quorate::raft::{Envelope, Raft, Ready, RoleChange, RoleName};
use quorate::types::{Index, NodeId, Term};

use crate::Violation;
use crate::cluster::entropy;
use crate::cluster::flights::Flights;
use crate::cluster::power::SharedPower;
use crate::invariants::{Disks, Invariants, Seen};
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
    /// What was last told of each node, and when.
    told: BTreeMap<NodeId, Told>,
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
        };
        Arc::new(Judge { trace, state: Mutex::new(state) })
    }

    /// A node starts.
    pub fn booted(&self, node: u64) {
        let mut state = self.lock();
        state.invariants.booted(NodeId(node));
        state.flights.booted(entropy::now(), node);
        state.told.remove(&NodeId(node));
    }

    /// A node's disk is replaced by an empty one: what it promised it cannot know.
    pub fn wiped(&self, node: u64) {
        self.lock().invariants.wiped(NodeId(node));
    }

    /// The run is over: tells the trace what was held back, and what never arrived.
    pub fn end(&self) {
        let mut state = self.lock();
        for (node, told) in std::mem::take(&mut state.told) {
            if let Some(state) = told.untold {
                self.trace.event(node.0, || state);
            }
        }
        for lost in state.flights.end(entropy::now()) {
            self.trace.event(lost.from, || What::Lost { message: lost.number, why: lost.why });
        }
    }

    /// From now on no invariant is asked, see [`Invariants::none`]; the states' hashes are still compared.
    pub fn look_from_outside(&self) {
        self.lock().invariants = Invariants::none();
    }

    /// Looks at what is truly on the disks.
    pub fn audit(&self, disks: &dyn Disks) {
        let mut state = self.lock();
        let result = state.invariants.audit(disks);
        self.note(&mut state, 0, result);
    }

    /// The first violation, if there is one.
    pub fn violation(&self) -> Option<Violation> {
        self.lock().violation.clone()
    }

    /// Notes what was found at a node, 0 for none: the first violation is the one that counts.
    fn note(&self, state: &mut State, node: u64, result: Result<(), Violation>) {
        let Err(violation) = result else { return };
        if state.violation.is_none() {
            self.trace.event(node, || What::Violation { text: violation.clone() });
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
    fn tell(&self, state: &mut State, node: NodeId, raft: &Raft, ready: &Ready) {
        let now = entropy::now();
        let what = standing(raft, None);
        if let Some(told) = state.told.get_mut(&node).filter(|_| ready.changes.is_empty()) {
            if now < told.at + WATERMARKS_EVERY {
                told.untold = (told.state != what).then_some(what);
                return;
            }
            if told.state == what {
                return;
            }
        }
        for change in &ready.changes {
            self.trace.event(node.0, || changed(raft, change));
        }
        if ready.changes.is_empty() {
            self.trace.event(node.0, || what.clone());
        }
        state.told.insert(node, Told { at: now, state: what, untold: None });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
    node: NodeId,
    power: SharedPower,
    judge: SharedJudge,
}

impl Watch {
    /// A watch over `node`, as long as `power` lasts.
    pub fn over(node: u64, power: SharedPower, judge: SharedJudge) -> Arc<Watch> {
        Arc::new(Watch { node: NodeId(node), power, judge })
    }
}

impl Probe for Watch {
    fn stepping(&self, _raft: &Raft, envelope: &Envelope) {
        let trace = &self.judge.trace;
        if self.power.is_cut() || !trace.is_shown() {
            return;
        }
        if let Some(message) = self.judge.lock().flights.delivered(entropy::now(), envelope) {
            trace.event(self.node.0, || What::Delivered { message });
        }
    }

    fn sending(&self, _raft: &Raft, envelope: &Envelope) {
        if self.power.is_cut() {
            return;
        }
        let trace = &self.judge.trace;
        let mut state = self.judge.lock();
        if trace.is_shown() {
            let number = state.flights.sent(entropy::now(), envelope);
            trace.event(self.node.0, || message::sent(number, envelope));
        }
        // The disk is not read for every message: what this one promises is remembered, and held against what follows.
        let result = state.invariants.sent(envelope, None);
        self.judge.note(&mut state, self.node.0, result);
    }

    fn ready(&self, raft: &Raft, ready: &Ready) {
        if self.power.is_cut() {
            return;
        }
        let mut state = self.judge.lock();
        for change in &ready.changes {
            self.judge.trace.count("role changes", 1);
            if change.role == RoleName::Leader {
                self.judge.elected(&mut state, change.term, self.node);
            }
        }
        if self.judge.trace.is_shown() {
            self.judge.tell(&mut state, self.node, raft, ready);
        }
        let result = state.invariants.observe(&Seen { raft, node: self.node, ready });
        self.judge.note(&mut state, self.node.0, result);
    }

    fn applied(&self, index: Index, state_hash: u128) {
        if self.power.is_cut() {
            return;
        }
        let mut state = self.judge.lock();
        let (known, first) = *state.hashes.entry(index).or_insert((state_hash, self.node));
        if known != state_hash {
            let node = self.node;
            let result = Err(format!("state hash: nodes {first} and {node} differ after index {index}"));
            self.judge.note(&mut state, node.0, result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let judge = Judge::new(Trace::new(entropy::now, None).expect("no sink to fail"));
            let watch = Watch::over(1, power.clone(), judge.clone());
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
