//! Damage to disks, within a budget: never more than a minority of the nodes, ever, so that at least one good copy of
//! everything that was committed stays where a majority can reach it.
//!
//! A damaged node is expected to refuse to start, or to stop, and then stays down ([`crate::cluster::exceptions`]). What
//! its disk held counts as held for the audit: it was lost by decree, not by the product.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::kind::Kind;
use crate::cluster::disk::platter::{Image, Platter};
use crate::cluster::world::{DATA_DIR, DISK_ROOT, LOG_DIR, World};

/// What was done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Synced bytes changed, or a write landed elsewhere.
    Changed,
    /// All is gone.
    Wiped,
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
        let Some(place) = node.disk.rot(&mut rng) else { return false };
        node.damage = Some(Damage::Changed);
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
        let Some(place) = node.disk.misdirect(&mut rng) else { return false };
        node.damage = Some(Damage::Changed);
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
        self.judge.wiped(id);
        self.ledger.fire(Kind::Wiped, id, "");
        true
    }

    /// Whether every other node has it on record who this one is. Of a node that runs, and goes on what it has read, a
    /// record that can be read counts: that it is durable before it is acted upon is the product's to see to (H14). Of any
    /// other it must be durable.
    fn is_known_to_all(&self, id: u64) -> bool {
        let line = format!("\npeer {id} ");
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
        Image::read(&Platter::of(&self.nodes[&id].disk), LOG_DIR.as_ref())
    }
}
