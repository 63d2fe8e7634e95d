//! Under which id a host's node goes: the one that its data directory says.
//!
//! A host keeps its name, its addresses and its clock for ever. The node on it may come to be another one: if its disk is
//! lost, it is removed from the group, and what then starts there joins under a new id. Who judges cores and disks goes by
//! the id; who strikes, asks and shows goes by the host.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate::types::NodeId;

use crate::cluster::disk::SharedDisk;
use crate::cluster::world::DATA_DIR;

/// A host's badge.
#[derive(Debug)]
pub struct Badge {
    disk: SharedDisk,
    /// 0 while the directory does not say.
    id: AtomicU64,
}

/// A badge, shared by the boots of a node and the world.
pub type SharedBadge = Arc<Badge>;

impl Badge {
    /// The badge of a host whose node begins as `id`.
    pub fn new(id: u64, disk: SharedDisk) -> SharedBadge {
        Arc::new(Badge { disk, id: AtomicU64::new(id) })
    }

    /// The node's id; `None` until a group has given it one.
    pub fn id(&self) -> Option<NodeId> {
        let known = self.id.load(Ordering::Relaxed);
        let id = if known > 0 { known } else { self.read().unwrap_or(0) };
        self.id.store(id, Ordering::Relaxed);
        (id > 0).then_some(NodeId(id))
    }

    /// What runs there from now on is another node.
    pub fn hand_in(&self) {
        self.id.store(0, Ordering::Relaxed);
    }

    fn read(&self) -> Option<u64> {
        let identity = self.disk.read(&Path::new(DATA_DIR).join("identity"))?;
        let identity = String::from_utf8(identity).ok()?;
        identity.lines().find_map(|line| line.strip_prefix("node "))?.parse().ok()
    }
}
