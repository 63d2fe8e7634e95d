//! What must hold at every step, one file each. A new invariant is a file and a line in [`all`].
//!
//! Both simulators ask the same invariants: the core simulator after every step of a core, the cluster simulator through
//! the probe that each node's driver carries. An invariant sees the core itself, read only, and the work it just handed
//! out; what is truly on the disks it is told by the simulator ([`Disks`]), which never takes a node's word for it.

mod election_safety;

use quorate::raft::{Raft, Ready};
use quorate::types::{Index, NodeId, Term};

use crate::Violation;

/// One node's core, just after it did something.
pub struct Seen<'a> {
    /// The core.
    pub raft: &'a Raft,
    /// Which node it is.
    pub node: NodeId,
    /// What it hands out in this step; the simulator performs it afterwards.
    pub ready: &'a Ready,
}

/// What is on the disks, as a power cut at this instant would leave them at the least.
pub trait Disks {
    /// Every voter of the group, up or down.
    fn voters(&self) -> Vec<NodeId>;
    /// Whether a node's disk holds this entry, or the state of the machine after it.
    fn holds(&self, node: NodeId, index: Index, term: Term) -> bool;
}

/// What must hold.
pub trait Invariant: Send {
    /// Its name in violations and reports.
    fn name(&self) -> &'static str;

    /// A core did something.
    fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation>;

    /// A node starts, with what its disk kept: what was volatile begins anew.
    fn booted(&mut self, _node: NodeId) {}

    /// The disks may be looked at: in the core simulator after every step in which a commit index rose, in the cluster
    /// simulator at intervals and at every crash.
    fn audit(&mut self, _disks: &dyn Disks) -> Result<(), Violation> {
        Ok(())
    }
}

/// All invariants, at the start of a run.
#[derive(Default)]
pub struct Invariants(Vec<Box<dyn Invariant>>);

impl Invariants {
    /// All there are.
    pub fn all() -> Invariants {
        Invariants(vec![Box::new(election_safety::ElectionSafety::default())])
    }

    /// Asks each, see [`Invariant::observe`].
    pub fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        self.0.iter_mut().try_for_each(|invariant| {
            invariant.observe(seen).map_err(|why| format!("{}: {why}", invariant.name()))
        })
    }

    /// See [`Invariant::booted`].
    pub fn booted(&mut self, node: NodeId) {
        self.0.iter_mut().for_each(|invariant| invariant.booted(node));
    }

    /// See [`Invariant::audit`].
    pub fn audit(&mut self, disks: &dyn Disks) -> Result<(), Violation> {
        self.0.iter_mut().try_for_each(|invariant| {
            invariant.audit(disks).map_err(|why| format!("{}: {why}", invariant.name()))
        })
    }
}
