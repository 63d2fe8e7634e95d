//! Crashes and restarts.
//!
//! A crash first cuts the node's power, so that neither its disk nor its sockets hear of what its destructors do, and
//! then drops it. What its disk keeps of that which was not synced is drawn ([`Loss`]). It is either the machine
//! that dies, in silence: packets to it get no answer, and what its peers had open with it stays half open; or the
//! process, and then the kernel closes its connections and refuses new ones.

use crate::cluster::disk::Loss;
use crate::cluster::faults::partition::Cut;
use crate::cluster::world::{World, host};

impl World {
    /// Crashes a node that is up.
    pub fn crash(&mut self, id: u64) {
        if self.node(id).is_up {
            self.node(id).slot.power.borrow().cut();
            self.fall(id);
        }
    }

    /// Cuts a node's power once its disk has carried out `calls` more calls: in the middle of a write, as a rule.
    pub fn crash_after(&mut self, id: u64, calls: u64) {
        if self.node(id).is_up {
            self.trace.record(&host(id), "fault", format_args!("power cut after {calls} disk calls"), &[]);
            self.node(id).slot.power.borrow().cut_after(calls);
        }
    }

    /// The rest of a crash, once the power is cut.
    pub(crate) fn fall(&mut self, id: u64) {
        let loss = Loss::draw(&mut self.rng);
        let silent = self.rng.bool();
        self.trace.record(&host(id), "fault", format_args!("crash, loss {loss:?}, silent {silent}"), &[]);
        self.trace.count("crashes", 1);
        let others: Vec<String> = if silent { self.reachable_from(id) } else { Vec::new() };
        others.iter().for_each(|other| self.sim.partition_oneway(host(id), other.as_str()));
        // Destructors run in an order that is not the seed's: what they say is not heard.
        self.trace.mute(true);
        self.sim.crash(host(id));
        self.trace.mute(false);
        others.iter().for_each(|other| self.sim.repair_oneway(host(id), other.as_str()));
        self.wires.set_refusing(&host(id), !silent);
        let mut rng = self.rng.fork();
        let node = self.node(id);
        node.is_up = false;
        let lost = node.disk.crash(loss, &mut rng);
        self.trace.count("un-synced writes at a crash", lost as u64);
    }

    /// Starts a node that is down.
    pub fn restart(&mut self, id: u64) {
        if self.node(id).is_up {
            return;
        }
        self.trace.record(&host(id), "fault", format_args!("restart"), &[]);
        self.wires.set_refusing(&host(id), false);
        self.node(id).is_up = true;
        // Tasks that outlived a stop in good order are dropped now, as at a crash; the boot after them is heard again.
        self.node(id).slot.power.borrow().cut();
        self.trace.mute(true);
        self.sim.bounce(host(id));
    }

    /// Asks a node to stop in good order, as SIGTERM does.
    pub fn stop(&mut self, id: u64) {
        self.trace.record(&host(id), "fault", format_args!("stop"), &[]);
        self.node(id).slot.stop.borrow().send_replace(true);
    }

    /// The hosts whose link with this node is whole.
    fn reachable_from(&self, id: u64) -> Vec<String> {
        let others = self.nodes.keys().filter(|other| **other != id);
        let linked = others.filter(|other| !self.cuts.contains_key(&Cut::link(id, **other)));
        linked.map(|other| host(*other)).chain([crate::cluster::world::CLIENTS.to_owned()]).collect()
    }
}
