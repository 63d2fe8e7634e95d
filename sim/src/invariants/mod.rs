//! What must hold at every step, one file each. A new invariant is a file and a line in [`Invariants::all`].
//!
//! Both simulators ask the same invariants: the core simulator after every step of a core, the cluster simulator through
//! the probe that each node's driver carries. An invariant sees the core itself, read only, and the work it just handed
//! out; what is truly on the disks it is told by the simulator ([`Disks`]), which never takes a node's word for it.
//!
//! Each is incremental: it looks at what is new since it last looked, so that a run of millions of steps is as cheap at
//! its end as at its beginning.

mod committed;
mod configurations;
mod damage;
mod election_safety;
mod leader_completeness;
mod ledger;
mod log_matching;
mod monotone;
mod promises;
mod snapshots;
mod state_machine_safety;
mod watermarks;

use quorate::raft::{Envelope, Membership, Raft, Ready};
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
    /// Whose disks must hold a committed entry at this position: a majority of each of these.
    fn majorities_at(&self, index: Index) -> Vec<Vec<NodeId>>;
    /// Whether a node's disk holds this entry, or the state of the machine after it.
    fn holds(&self, node: NodeId, index: Index, term: Term) -> bool;
    /// Whether a node's log on disk reaches to this position; asked only where [`Disks::ballot`] tells something.
    fn reaches(&self, _node: NodeId, _index: Index) -> bool {
        true
    }
    /// The term and the vote on a node's disk; `None` where the simulator cannot tell.
    fn ballot(&self, _node: NodeId) -> Option<(Term, Option<NodeId>)> {
        None
    }
}

/// Of whom a configuration needs majorities. That the core counts right is judged by this, not by its own arithmetic.
pub fn majorities_of(membership: &Membership) -> Vec<Vec<NodeId>> {
    let outgoing = membership.outgoing.iter().map(|outgoing| outgoing.iter().copied().collect());
    std::iter::once(membership.voters().collect()).chain(outgoing).collect()
}

/// Whether those for whom `has` holds are a majority of each.
pub fn is_quorum(majorities: &[Vec<NodeId>], has: impl Fn(NodeId) -> bool) -> bool {
    majorities.iter().all(|voters| voters.iter().filter(|&&voter| has(voter)).count() * 2 > voters.len())
}

/// What must hold.
pub trait Invariant: Send {
    /// Its name in violations and reports.
    fn name(&self) -> &'static str;

    /// A core did something.
    fn observe(&mut self, _seen: &Seen<'_>) -> Result<(), Violation> {
        Ok(())
    }

    /// A node starts, with what its disk kept: what was volatile begins anew.
    fn booted(&mut self, _node: NodeId) {}

    /// A message leaves its sender; `disks` where the simulator can look at them at this very instant.
    fn sent(&mut self, _envelope: &Envelope, _disks: Option<&dyn Disks>) -> Result<(), Violation> {
        Ok(())
    }

    /// The disks may be looked at: in the core simulator after every step in which a commit index rose, in the cluster
    /// simulator at intervals and at every crash.
    fn audit(&mut self, _disks: &dyn Disks) -> Result<(), Violation> {
        Ok(())
    }

    /// A core's own disk may be looked at, and does not change in this instant: after every step in the core simulator.
    fn attest(&mut self, _raft: &Raft, _node: NodeId, _disks: &dyn Disks) -> Result<(), Violation> {
        Ok(())
    }

    /// What a disk held from this position on was replaced; told by the core simulator.
    fn replaced(&mut self, _node: NodeId, _from: Index) {}

    /// A node's disk was replaced by an empty one.
    fn wiped(&mut self, _node: NodeId) {}
}

/// All invariants, at the start of a run.
#[derive(Default)]
pub struct Invariants(Vec<Box<dyn Invariant>>);

impl Invariants {
    /// All there are.
    pub fn all() -> Invariants {
        Invariants(vec![
            Box::new(election_safety::ElectionSafety::default()),
            Box::new(log_matching::LogMatching::default()),
            Box::new(leader_completeness::LeaderCompleteness::default()),
            Box::new(state_machine_safety::StateMachineSafety::default()),
            Box::new(committed::Committed::default()),
            Box::new(configurations::Configurations::default()),
            Box::new(watermarks::Watermarks),
            Box::new(monotone::Monotone::default()),
            Box::new(promises::Promises),
            Box::new(snapshots::Snapshots::default()),
            Box::new(damage::Damage::default()),
        ])
    }

    /// None: for a run without faults. What a bug does to those outside is judged there; inside it can be seen at once,
    /// also where only a fault would let it do any harm.
    pub fn none() -> Invariants {
        Invariants(Vec::new())
    }

    /// Asks each, see [`Invariant::observe`].
    pub fn observe(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        self.ask(|invariant| invariant.observe(seen))
    }

    /// See [`Invariant::booted`].
    pub fn booted(&mut self, node: NodeId) {
        self.0.iter_mut().for_each(|invariant| invariant.booted(node));
    }

    /// See [`Invariant::sent`].
    pub fn sent(&mut self, envelope: &Envelope, disks: Option<&dyn Disks>) -> Result<(), Violation> {
        self.ask(|invariant| invariant.sent(envelope, disks))
    }

    /// See [`Invariant::audit`].
    pub fn audit(&mut self, disks: &dyn Disks) -> Result<(), Violation> {
        self.ask(|invariant| invariant.audit(disks))
    }

    /// See [`Invariant::attest`].
    pub fn attest(&mut self, raft: &Raft, node: NodeId, disks: &dyn Disks) -> Result<(), Violation> {
        self.ask(|invariant| invariant.attest(raft, node, disks))
    }

    /// See [`Invariant::replaced`].
    pub fn replaced(&mut self, node: NodeId, from: Index) {
        self.0.iter_mut().for_each(|invariant| invariant.replaced(node, from));
    }

    /// See [`Invariant::wiped`].
    pub fn wiped(&mut self, node: NodeId) {
        self.0.iter_mut().for_each(|invariant| invariant.wiped(node));
    }

    fn ask(
        &mut self,
        mut question: impl FnMut(&mut dyn Invariant) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        self.0.iter_mut().try_for_each(|invariant| {
            question(&mut **invariant).map_err(|why| format!("{}: {why}", invariant.name()))
        })
    }
}
