//! Links that are slow, and connections that are reset.

use std::time::Duration;

use super::kind::Kind;
use crate::cluster::world::{World, host_or_clients};

impl World {
    /// What goes between two nodes takes at least `delay`; node 0 is the clients. Zero: as long as usual.
    pub fn slow_link(&mut self, a: u64, b: u64, delay: Duration) {
        let text = format!("with {}", host_or_clients(b));
        let (from, to) = (host_or_clients(a), host_or_clients(b));
        self.sim.set_link_latency(from.as_str(), to.as_str(), delay);
        if delay.is_zero() {
            self.ledger.end(Kind::SlowLink, a, &text);
            self.sim.set_link_max_message_latency(from.as_str(), to.as_str(), self.latency_max);
        } else {
            self.ledger.begin(Kind::SlowLink, a, &text);
            self.sim.set_link_max_message_latency(from.as_str(), to.as_str(), delay * 2);
        }
        if delay.is_zero() {
            self.slow_links.remove(&(a, b));
        } else {
            self.slow_links.insert((a, b));
        }
    }

    /// All links are as fast as usual.
    pub fn speed_up_links(&mut self) {
        let slow = std::mem::take(&mut self.slow_links);
        slow.into_iter().for_each(|(a, b)| self.slow_link(a, b, Duration::ZERO));
    }

    /// Resets every connection between two nodes; node 0 is the clients. No fault if there is none.
    pub fn reset(&mut self, a: u64, b: u64) {
        if self.wires.reset_between(&host_or_clients(a), &host_or_clients(b)) {
            self.ledger.fire(Kind::Reset, a, &format!("with {}", host_or_clients(b)));
        }
    }

    /// Resets one of the connections between two nodes, drawn; node 0 is the clients. No fault if there is none.
    pub fn reset_one(&mut self, a: u64, b: u64) {
        let drawn = self.rng.usize(..1 << 20);
        if self.wires.reset_one_between(&host_or_clients(a), &host_or_clients(b), drawn) {
            self.ledger.fire(Kind::Reset, a, &format!("one with {}", host_or_clients(b)));
        }
    }
}
