//! Pauses: a node frozen as by SIGSTOP, or as a virtual machine that was not scheduled.

use crate::cluster::world::{World, host};

impl World {
    /// Freezes a node.
    pub fn pause(&mut self, id: u64) {
        self.trace.record(&host(id), "fault", format_args!("pause"), &[]);
        self.trace.count("pauses", 1);
        self.node(id).slot.power.borrow().pause();
    }

    /// Lets a frozen node go on.
    pub fn resume(&mut self, id: u64) {
        self.trace.record(&host(id), "fault", format_args!("resume"), &[]);
        self.node(id).slot.power.borrow().resume();
    }
}
