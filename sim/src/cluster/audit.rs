//! What is truly on the disks, held against what nodes vouch for and what they find again.
//!
//! [`Audited`] answers the invariants' questions about the disks of a cluster as they are at one instant. [`Recall`] is a
//! probe that, at the start of a node, compares its log with what was on its disk when it went down: a restart neither
//! loses nor makes up an entry.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use quorate::node::probe::{Probe, SharedProbe};
use quorate::raft::{Envelope, Raft, Ready, RoleName};
use quorate::types::{Index, NodeId, Term};

use crate::Violation;
use crate::cluster::badge::log_dir;
use crate::cluster::disk::SharedDisk;
use crate::cluster::disk::damage::Part;
use crate::cluster::disk::platter::{Image, Platter};
use crate::cluster::faults::damage::Damage;
use crate::cluster::power::SharedPower;
use crate::core::group::Configurations;
use crate::invariants::Disks;

/// What the disks of all nodes hold at one instant.
#[derive(Debug)]
pub struct Held(BTreeMap<NodeId, Disk>);

/// What one of them holds.
#[derive(Debug)]
enum Disk {
    /// What its log says, or said before the disk was lost.
    Images(Vec<Image>),
    /// Its bytes changed by decree. The node may run on until it meets them, and what it stores meanwhile is stored,
    /// though its log can be read by nobody any more: it is believed.
    Believed,
}

/// A node's disk, as the world knows it.
pub struct Known<'a> {
    /// The node.
    pub node: NodeId,
    /// Its disk; `None` if it was lost for good, and the node with it.
    pub disk: Option<&'a SharedDisk>,
    /// How it was damaged.
    pub damage: Option<Damage>,
    /// What it held before that.
    pub before: Option<&'a Image>,
}

impl Held {
    /// Reads the disks.
    pub fn of<'a>(disks: impl Iterator<Item = Known<'a>>) -> Held {
        let read = disks.map(|Known { node, disk, damage, before }| {
            let held = match damage {
                Some(Damage::Changed(Part::Log)) => Disk::Believed,
                _ => {
                    let now = disk.map(|disk| Image::read(&Platter::of(disk), &log_dir(disk)));
                    Disk::Images(now.into_iter().chain(before.cloned()).collect())
                }
            };
            (node, held)
        });
        Held(read.collect())
    }
}

/// The disks of a group whose committed configurations are known.
pub struct Audited<'a> {
    /// The disks.
    pub held: &'a Held,
    /// The configurations.
    pub(crate) configurations: &'a Configurations,
}

impl Disks for Audited<'_> {
    fn majorities_at(&self, index: Index) -> Vec<Vec<NodeId>> {
        self.configurations.majorities_at(index)
    }

    fn holds(&self, node: NodeId, index: Index, term: Term) -> bool {
        match self.held.0.get(&node) {
            None => false,
            Some(Disk::Believed) => true,
            Some(Disk::Images(images)) => images.iter().any(|image| image.holds(index, term)),
        }
    }
}

/// What probes leave for the world to find.
#[derive(Clone, Debug, Default)]
pub struct SharedFindings(Arc<Mutex<Findings>>);

#[derive(Debug, Default)]
struct Findings {
    violation: Option<Violation>,
    /// The leader of the highest term that has one.
    leader: Option<(Term, NodeId)>,
}

impl SharedFindings {
    /// The violation, if there is one.
    pub fn violation(&self) -> Option<Violation> {
        self.lock().violation.clone()
    }

    /// Who was elected last, by its term: a good guess at who leads.
    pub fn leader(&self) -> Option<u64> {
        self.lock().leader.map(|(_, node)| node.0)
    }

    /// Leaves a violation, if there is none yet.
    pub fn leave(&self, violation: Violation) {
        self.lock().violation.get_or_insert(violation);
    }

    fn elected(&self, term: Term, node: NodeId) {
        let mut findings = self.lock();
        findings.leader = findings.leader.max(Some((term, node)));
    }

    fn lock(&self) -> MutexGuard<'_, Findings> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What the log of a node must hold at its start, as long as that is not compared and the node is the same.
pub type Expectation = Arc<Mutex<Option<Image>>>;

/// A probe that compares a node's log at its start, and passes everything on.
pub struct Recall {
    inner: SharedProbe,
    node: NodeId,
    expected: Expectation,
    /// Set once the node goes on what it has read.
    is_open: Arc<AtomicBool>,
    power: SharedPower,
    findings: SharedFindings,
}

impl Recall {
    /// A probe of one boot of `node`, whose log must be `expected` if that is known.
    pub fn over(
        inner: SharedProbe,
        node: u64,
        expected: Expectation,
        is_open: Arc<AtomicBool>,
        power: SharedPower,
        findings: SharedFindings,
    ) -> SharedProbe {
        let node = NodeId(node);
        Arc::new(Recall { inner, node, expected, is_open, power, findings })
    }

    /// Compares the log as it was before `new`, the first index that was handed out since the start.
    fn check(&self, raft: &Raft, new: Option<Index>) {
        self.is_open.store(true, Ordering::Relaxed);
        let expected = self.expected.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(expected) = expected.filter(|_| !self.power.is_cut()) else { return };
        if let Err(violation) = compare(raft, new, &expected) {
            self.findings.leave(format!("recovery: node {}: {violation}", self.node));
        }
    }
}

fn compare(raft: &Raft, new: Option<Index>, expected: &Image) -> Result<(), String> {
    if raft.is_in_doubt() {
        // It says itself that it does not hold what it held, and votes for nobody until it does.
        return Ok(());
    }
    let (last, term) = expected.last();
    let found = new.map_or(raft.last_index(), |new| Index(new.0 - 1));
    if found != last {
        return Err(format!(
            "its log ended at {last} of term {term} on its disk, and at {found} when it started"
        ));
    }
    for (index, term) in &expected.entries {
        let found = raft.term_at(*index);
        if *index > raft.purged().0 && found != Some(*term) {
            return Err(format!(
                "entry {index} was of term {term} on its disk, and is of {found:?} when it started"
            ));
        }
    }
    Ok(())
}

impl Probe for Recall {
    fn stepping(&self, raft: &Raft, envelope: &Envelope) {
        self.check(raft, None);
        self.inner.stepping(raft, envelope);
    }

    fn sending(&self, raft: &Raft, envelope: &Envelope) {
        self.inner.sending(raft, envelope);
    }

    fn ready(&self, raft: &Raft, ready: &Ready) {
        let new = ready.writes.iter().flat_map(|write| &write.entries).map(|entry| entry.index).min();
        self.check(raft, new);
        if !self.power.is_cut() && ready.changes.iter().any(|change| change.role == RoleName::Leader) {
            self.findings.elected(raft.term(), self.node);
        }
        self.inner.ready(raft, ready);
    }

    fn applied(&self, index: Index, state_hash: u128) {
        self.inner.applied(index, state_hash);
    }
}
