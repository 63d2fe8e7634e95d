//! Under which id a host's node goes: the one that its data directory says.
//!
//! A host keeps its name, its addresses and its clock for ever. The node on it may come to be another one: if its disk is
//! lost, it is removed from the group, and what then starts there joins under a new id; if its log is lost, it comes back as
//! another by itself. Who judges cores and disks goes by
//! the id; who strikes, asks and shows goes by the host.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate::node::identity;
use quorate::types::NodeId;

use crate::cluster::disk::SharedDisk;
use crate::cluster::disk::platter::Platter;
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

    /// Which node it was before it gave up its log the last time, as far as that is durable.
    pub fn gave_up(&self) -> Option<NodeId> {
        let facts = identity::read(&Platter::of(&self.disk), DATA_DIR.as_ref()).ok().flatten();
        Some(facts?.replaces?.node)
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

/// Where the log is that a node would start from if the power went now.
pub fn log_dir(disk: &SharedDisk) -> PathBuf {
    let dir = Path::new(DATA_DIR);
    let facts = identity::read(&Platter::of(disk), dir).ok().flatten();
    facts.map_or_else(|| dir.to_path_buf(), |facts| facts.home(dir)).join("wal")
}
