//! Damage to disks, within a budget: never more than a minority of the nodes, ever, so that at least one good copy of
//! everything that was committed stays where a majority can reach it.
//!
//! A node of whose disk anything is damaged owes all that a sound one does: it heals. If its log is beyond that, it comes back as
//! another one by itself, under an id of its own; what it held as the one before counts as held for the audit: it was lost by
//! decree, not by the product. One whose disk was wiped, or that is removed for no reason of its own, is replaced by somebody
//! (see [`crate::cluster::ends`]). Either counts as damaged until its successor votes.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::kind::Kind;
use crate::cluster::badge::log_dir;
use crate::cluster::disk::damage::Part;
use crate::cluster::disk::platter::{Image, Platter};
use crate::cluster::world::{DATA_DIR, DISK_ROOT, Node, World, host};

/// What was done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Synced bytes of this part changed, or a write landed elsewhere in it.
    Changed(Part),
    /// All is gone.
    Wiped,
    /// Nothing, but the node has to go: the group is to remove it.
    Removed,
}

impl Damage {
    /// Whether the node has to give way to another one.
    pub fn is_loss(self) -> bool {
        matches!(self, Damage::Wiped | Damage::Removed)
    }
}

impl World {
    /// Whether one more disk may be damaged, and this one is not yet.
    pub fn may_damage(&self, id: u64) -> bool {
        let damaged = self.nodes.values().filter(|node| node.damage.is_some()).count();
        self.nodes[&id].damage.is_none() && damaged < (self.nodes.len() - 1) / 2
    }

    /// Changes synced bytes on a node's disk. False if the budget forbids it, or nothing was synced there yet.
    pub fn rot(&mut self, id: u64) -> bool {
        if !self.may_damage(id) {
            return false;
        }
        self.audit();
        let held = self.held(id);
        let mut rng = self.rng.fork();
        let node = self.node(id);
        let Some((part, place)) = node.disk.rot(&mut rng) else { return false };
        node.damage = Some(Damage::Changed(part));
        node.held = Some(held);
        self.ledger.fire(Kind::Rot, id, &place);
        true
    }

    /// The last un-synced write lands elsewhere; part of a crash. False if there is none, or the budget forbids it.
    pub(crate) fn misdirect(&mut self, id: u64) -> bool {
        if !self.may_damage(id) {
            return false;
        }
        let held = self.held(id);
        let mut rng = self.rng.fork();
        let node = self.node(id);
        let Some((part, place)) = node.disk.misdirect(&mut rng) else { return false };
        node.damage = Some(Damage::Changed(part));
        node.held = Some(held);
        self.ledger.fire(Kind::Misdirected, id, &place);
        true
    }

    /// Crashes a node, if it is up, and gives it an empty disk. False if the budget forbids it, or a node lives that has
    /// not met it: that one could not know that it is another.
    pub fn wipe(&mut self, id: u64) -> bool {
        if !self.may_damage(id) || !self.is_known_to_all(id) {
            return false;
        }
        self.crash(id);
        self.audit();
        let held = self.held(id);
        let node = self.node(id);
        node.disk.wipe(Path::new(DISK_ROOT));
        node.damage = Some(Damage::Wiped);
        node.held = Some(held);
        node.slot.recall.replace(None);
        // Who founded the group comes back under its id, and is refused. Who once joined would ask to be let in, and would
        // be as soon as the old one is removed: it is not started before that.
        node.is_gone = node.slot.joins.get().is_some();
        let lost = self.node(id).badge.id().expect("it is known to all");
        self.judge.wiped(lost);
        self.ledger.fire(Kind::Wiped, id, "");
        true
    }

    /// A node is to be removed from the group, and another one to take its place. False if the budget forbids it.
    pub fn dismiss(&mut self, id: u64) -> bool {
        let is_member = self.node(id).badge.id().is_some();
        if !is_member || !self.may_damage(id) {
            return false;
        }
        self.node(id).damage = Some(Damage::Removed);
        self.ledger.fire(Kind::Removed, id, "");
        true
    }

    /// A node that is lost, and which the group has removed, gives way to a new one on the same host, which asks to
    /// be let in. Whatever the old one wrote meanwhile goes with it.
    pub fn replace(&mut self, id: u64) {
        assert!(self.node(id).is_lost(), "node {id} is not lost");
        self.crash(id);
        self.audit();
        let held = self.held(id);
        let node = self.node(id);
        node.disk.wipe(Path::new(DISK_ROOT));
        let lost = node.badge.id().expect("it was a member");
        let held = node.held.take().unwrap_or(held);
        node.former.push((lost, Some(held)));
        node.badge.hand_in();
        (node.is_gone, node.has_ailed, node.is_newcomer) = (false, false, true);
        node.slot.recall.replace(None);
        self.trace.record(&host(id), "replaced", format_args!("node {lost}"), &[]);
        self.trace.count("nodes replaced", 1);
        self.ask_another(id);
    }

    /// A node whose log was damaged beyond repair gives it up, and comes back as another one: takes note of those that have
    /// done so, durably. What was known of the one before is not asked of the one after.
    pub(crate) fn note_rejoins(&mut self) {
        let is_hurt = |node: &&mut Node| matches!(node.damage, Some(Damage::Changed(_)));
        for (host_id, node) in self.nodes.iter_mut().map(|(id, node)| (*id, node)) {
            let Some(before) = Some(node).filter(is_hurt).and_then(|node| node.leaves_its_id()) else {
                continue;
            };
            let (name, text) = (host(host_id), format!("node {before}"));
            self.trace.record(&name, "given up", format_args!("{text}"), &[]);
            self.trace.count("logs given up", 1);
        }
    }

    /// Whom a node that joins asks at its next start.
    pub fn ask_another(&mut self, id: u64) {
        let is_sound = |other: &u64| *other != id && self.nodes[other].damage.is_none();
        let sound: Vec<u64> = self.nodes.keys().copied().filter(is_sound).collect();
        let asked = sound[self.rng.usize(..sound.len())];
        self.node(id).slot.joins.set(Some(asked));
    }

    /// A node that took the place of another votes: it is as good as any.
    pub fn settle(&mut self, id: u64) {
        let node = self.node(id);
        assert!(node.is_newcomer, "node {id} is no newcomer");
        (node.damage, node.is_newcomer) = (None, false);
        let before = node.former.last().expect("it took somebody's place").0;
        if !self.judge.is_retired(before) {
            self.findings.leave(format!("node {before} made room for another one and was never removed"));
        }
        self.trace.count("newcomers that vote", 1);
    }

    /// Whether every other node has it on record who this one is. Of a node that runs, and goes on what it has read, a
    /// record that can be read counts: that it is durable before it is acted upon is the product's to see to (H14). Of any
    /// other it must be durable.
    fn is_known_to_all(&self, id: u64) -> bool {
        let Some(node) = self.nodes[&id].badge.id() else { return false };
        let line = format!("\npeer {node} ");
        let path = Path::new(DATA_DIR).join("identity");
        let others = self.nodes.iter().filter(|(other, node)| **other != id && node.damage.is_none());
        others.into_iter().all(|(_, node)| {
            let is_open = node.is_up && node.slot.is_open.borrow().load(Ordering::Relaxed);
            let identity = if is_open { node.disk.read(&path) } else { Platter::of(&node.disk).read(&path) };
            let identity = identity.unwrap_or_default();
            String::from_utf8_lossy(&identity).contains(&line)
        })
    }

    /// What a node's disk holds before something is done to it.
    fn held(&self, id: u64) -> Image {
        Image::read(&Platter::of(&self.nodes[&id].disk), &log_dir(&self.nodes[&id].disk))
    }
}
