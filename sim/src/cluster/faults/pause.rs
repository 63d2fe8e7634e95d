//! Pauses: a node frozen as by SIGSTOP, or as a virtual machine that was not scheduled.

use super::kind::Kind;
use crate::cluster::world::World;

impl World {
    /// Freezes a node. Nothing, and no fault, if it is down.
    pub fn pause(&mut self, id: u64) {
        if !self.node(id).is_up {
            return;
        }
        self.ledger.begin(Kind::Pause, id, "");
        self.trace.count("pauses", 1);
        self.node(id).slot.power.borrow().pause();
    }

    /// Lets a frozen node go on.
    pub fn resume(&mut self, id: u64) {
        self.ledger.end(Kind::Pause, id, "");
        self.node(id).slot.power.borrow().resume();
    }
}
