//! The window on every node's core: brings what cores do to the invariants and into the trace.
//!
//! A [`Watch`] is the product's probe for one boot of one node. What it sees goes to the run's one [`Judge`] at the very
//! instant, so nothing is missed between two looks, and no node is asked anything: also one that is frozen or cut off is
//! judged. A node without power is not watched any more: what its tasks still do in that instant reaches nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use quorate::node::probe::Probe;
use quorate::raft::{Envelope, Raft, Ready, RoleName};
use quorate::types::{Index, NodeId};

use crate::Violation;
use crate::cluster::power::SharedPower;
use crate::invariants::{Disks, Invariants, Seen};
use crate::trace::SharedTrace;

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
}

impl Judge {
    /// A judge who has seen nothing yet.
    pub fn new(trace: SharedTrace) -> SharedJudge {
        let (invariants, hashes) = (Invariants::all(), BTreeMap::new());
        Arc::new(Judge { trace, state: Mutex::new(State { invariants, hashes, violation: None }) })
    }

    /// A node starts.
    pub fn booted(&self, node: u64) {
        self.lock().invariants.booted(NodeId(node));
    }

    /// Looks at what is truly on the disks.
    pub fn audit(&self, disks: &dyn Disks) {
        let mut state = self.lock();
        let result = state.invariants.audit(disks);
        state.note(result);
    }

    /// The first violation, if there is one.
    pub fn violation(&self) -> Option<Violation> {
        self.lock().violation.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.violation.get_or_insert(violation);
        }
    }
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
    fn stepping(&self, _raft: &Raft, _envelope: &Envelope) {}

    fn sending(&self, _raft: &Raft, _envelope: &Envelope) {}

    fn ready(&self, raft: &Raft, ready: &Ready) {
        if self.power.is_cut() {
            return;
        }
        for change in &ready.changes {
            self.judge.trace.count("role changes", 1);
            if change.role == RoleName::Leader {
                self.judge.trace.count("leaders elected", 1);
            }
        }
        let mut state = self.judge.lock();
        let result = state.invariants.observe(&Seen { raft, node: self.node, ready });
        state.note(result);
    }

    fn applied(&self, index: Index, state_hash: u128) {
        if self.power.is_cut() {
            return;
        }
        let mut state = self.judge.lock();
        let (known, first) = *state.hashes.entry(index).or_insert((state_hash, self.node));
        if known != state_hash {
            let node = self.node;
            state.note(Err(format!("state hash: nodes {first} and {node} differ after index {index}")));
        }
    }
}
