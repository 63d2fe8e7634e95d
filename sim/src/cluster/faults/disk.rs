//! Disks that fail, fill up, hang, come late or are slow while the power is on.

use std::path::Path;
use std::time::Duration;

use crate::cluster::executor::Hang;
use crate::cluster::faults::kind::Kind;
use crate::cluster::world::{DATA_DIR, World};

impl World {
    /// One of a node's next disk calls fails: the one after `calls` more. It counts as a fault when it does.
    pub fn fail_disk(&mut self, id: u64, calls: u64) {
        self.node(id).disk.fail_after(calls);
    }

    /// One of a node's next reads fails: the one after `reads` more. It counts as a fault when it does.
    pub fn fail_read(&mut self, id: u64, reads: u64) {
        self.node(id).disk.fail_read_after(reads);
    }

    /// No more than `bytes` more fit on a node's disk, which says that `unsaid` more do. Nothing happens to one that is not complete yet: its node could only
    /// say that it needs room.
    pub fn fill_disk(&mut self, id: u64, bytes: usize, unsaid: usize) {
        let identity = self.node(id).disk.read(&Path::new(DATA_DIR).join("identity")).unwrap_or_default();
        if !String::from_utf8_lossy(&identity).contains("state ready") {
            return;
        }
        self.ledger.begin(Kind::DiskFull, id, "");
        self.node(id).disk.fill_up(bytes, unsaid);
    }

    /// A node's disk does not come back from any call of these lanes. It counts as a fault when it is called.
    pub fn hang_disk(&mut self, id: u64, hang: Hang) {
        let node = self.node(id);
        node.hang = Some(hang);
        node.pace.hang(hang);
    }

    /// A hung disk comes back.
    pub fn unhang_disk(&mut self, id: u64) {
        let node = self.node(id);
        node.hang = None;
        node.pace.unhang();
    }

    /// The next write to a node's log comes back this late. It counts as a fault when it does.
    pub fn delay_sync(&mut self, id: u64, late: Duration) {
        self.node(id).pace.be_late(Some(late));
    }

    /// Everything that a node's disk does takes so many times as long; 0: as usual. It counts as a fault when it is
    /// asked for something.
    pub fn slow_disk(&mut self, id: u64, slowness: u32) {
        self.node(id).pace.slow_down(slowness);
    }

    /// A node's disk is as good as its bytes are.
    pub fn mend_disk(&mut self, id: u64) {
        self.unhang_disk(id);
        self.slow_disk(id, 0);
        let node = self.node(id);
        node.pace.be_late(None);
        node.disk.mend();
        self.ledger.end(Kind::DiskFull, id, "");
    }
}
