//! Crashes and restarts.
//!
//! A crash first cuts the node's power, so that neither its disk nor its sockets hear of what its destructors do, and
//! then drops it. What its disk keeps of that which was not synced is drawn ([`Loss`]). It is either the machine
//! that dies, in silence: packets to it get no answer, and what its peers had open with it stays half open; or the
//! process, and then the kernel closes its connections and refuses new ones.

use super::kind::Kind;
use crate::cluster::badge::log_dir;
use crate::cluster::disk::Loss;
use crate::cluster::disk::platter::{Image, Platter};
use crate::cluster::world::{CLIENTS, World, host};

/// Where in its work a node is to lose its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutPoint {
    /// After so many more disk calls.
    Call(u64),
    /// In the write that comes after so many more.
    Write(u64),
    /// As [`CutPoint::Write`], and that write lands in another place.
    MisdirectedWrite(u64),
}

impl World {
    /// Crashes a node that is up.
    pub fn crash(&mut self, id: u64) {
        if self.node(id).is_up {
            self.disarm(id);
            self.node(id).slot.power.borrow().cut();
            self.fall(id);
        }
    }

    /// Crashes several nodes at the same instant. No fault of its own if fewer than two of them are up.
    pub fn black_out(&mut self, nodes: &[u64]) {
        let up: Vec<u64> = nodes.iter().copied().filter(|id| self.nodes[id].is_up).collect();
        if up.len() > 1 {
            self.ledger.fire(Kind::Blackout, 0, &format!("nodes {up:?}"));
        }
        up.iter().for_each(|node| self.crash(*node));
    }

    /// Cuts a node's power in the middle of its work.
    pub fn crash_at(&mut self, id: u64, point: CutPoint) {
        if !self.node(id).is_up {
            return;
        }
        self.trace.record(&host(id), "armed", format_args!("power cut: {point:?}"), &[]);
        let node = self.node(id);
        node.falls_at = Some(point);
        match point {
            CutPoint::Call(calls) => node.slot.power.borrow().cut_after(calls),
            CutPoint::Write(writes) | CutPoint::MisdirectedWrite(writes) => {
                node.slot.power.borrow().cut_in_write(writes);
            }
        }
    }

    /// Takes back a power cut that has not fallen.
    pub fn disarm(&mut self, id: u64) {
        let node = self.node(id);
        node.falls_at = None;
        node.slot.power.borrow().keep_on();
    }

    /// The rest of a crash, once the power is cut.
    pub(crate) fn fall(&mut self, id: u64) {
        self.audit();
        let loss = Loss::draw(&mut self.rng);
        // Only a process leaves a machine behind that keeps what was not synced, and that answers for it.
        let silent = loss != Loss::Nothing;
        self.down(id, &format!("crash, loss {loss:?}, silent {silent}"));
        self.trace.count("crashes", 1);
        let others: Vec<String> = if silent { self.reachable_from(id) } else { Vec::new() };
        others.iter().for_each(|other| self.sim.partition_oneway(host(id), other.as_str()));
        self.bury(id);
        others.iter().for_each(|other| self.sim.repair_oneway(host(id), other.as_str()));
        self.wires.set_refusing(&host(id), !silent);
        self.node(id).is_up = false;
        let point = self.node(id).falls_at.take();
        let is_misdirected = matches!(point, Some(CutPoint::MisdirectedWrite(_))) && self.misdirect(id);
        let lost = self.lose(id, loss, is_misdirected);
        let is_torn = matches!(point, Some(CutPoint::Write(_))) && lost > 0 && loss != Loss::Nothing;
        let kind = if is_torn { Kind::TornWrite } else { Kind::Crash };
        self.ledger.fire(kind, id, &format!("{lost} un-synced writes, loss {loss:?}"));
    }

    /// A node's disk loses what was not synced. Returns how many writes that were.
    fn lose(&mut self, id: u64, loss: Loss, is_new_damage: bool) -> usize {
        let mut rng = self.rng.fork();
        let node = self.node(id);
        // What a log held before a crash that could not touch it, it must hold after it, damaged or not.
        let log = log_dir(&node.disk);
        let is_settled = loss == Loss::Whole || node.disk.is_settled(&log);
        let image = match &node.held {
            None => Some(Image::read(&Platter::of(&node.disk), &log)),
            Some(held) if is_new_damage => Some(held.clone()),
            Some(_) => None,
        };
        node.slot.recall.replace(image.filter(|_| is_settled));
        let lost = node.disk.crash(loss, &mut rng);
        self.trace.count("un-synced writes at a crash", lost as u64);
        lost
    }

    /// Starts a node that is down. One that is down for good stays so.
    pub fn restart(&mut self, id: u64) {
        let node = self.node(id);
        if node.is_up || node.is_gone {
            return;
        }
        let reboots = self.rng.bool();
        let node = self.node(id);
        // After an error of its disk the machine may have been started anew, or only the process.
        if std::mem::take(&mut node.has_ailed) && reboots {
            let loss = Loss::draw(&mut self.rng);
            self.lose(id, loss, false);
        }
        self.trace.record(&host(id), "restart", format_args!(""), &[]);
        self.wires.set_refusing(&host(id), false);
        self.node(id).is_up = true;
        self.sim.bounce(host(id));
    }

    /// Asks a node to stop in good order, as SIGTERM does. Nothing, and no fault, if it is down.
    pub fn stop(&mut self, id: u64) {
        if !self.node(id).is_up {
            return;
        }
        self.ledger.fire(Kind::Stop, id, "");
        let leads = self.leader() == Some(id);
        self.node(id).resigns |= leads;
        self.node(id).slot.stop.borrow().send_replace(true);
    }

    /// The hosts that hear this node.
    fn reachable_from(&self, id: u64) -> Vec<String> {
        let others = self.nodes.keys().copied().filter(|other| *other != id);
        let mut hosts: Vec<String> = others.filter(|other| self.is_linked(id, *other)).map(host).collect();
        if self.is_linked(id, 0) {
            hosts.push(CLIENTS.to_owned());
        }
        hosts
    }
}
