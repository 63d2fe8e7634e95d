//! Links between nodes, cut and healed. Clients reach every node throughout.

use crate::cluster::world::{World, host};

/// How a link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Segments wait until it heals, and then arrive: TCP that sent them again and again.
    Held,
    /// Segments are lost, and the connections that crossed the link are reset when it heals: TCP that gave up.
    Dropped,
}

impl Cut {
    /// A kind of cut, drawn.
    pub fn draw(rng: &mut fastrand::Rng) -> Cut {
        if rng.bool() { Cut::Held } else { Cut::Dropped }
    }

    /// The key of the link between two nodes.
    pub fn link(a: u64, b: u64) -> (u64, u64) {
        (a.min(b), a.max(b))
    }
}

impl World {
    /// Cuts the links between a node and all others.
    pub fn isolate(&mut self, id: u64, cut: Cut) {
        let others: Vec<u64> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        others.into_iter().for_each(|other| self.cut(id, other, cut));
    }

    /// Cuts the link between two nodes.
    pub fn cut(&mut self, a: u64, b: u64, cut: Cut) {
        if self.cuts.contains_key(&Cut::link(a, b)) {
            return;
        }
        self.trace.record(&host(a), "fault", format_args!("cut from {}: {cut:?}", host(b)), &[]);
        self.trace.count("links cut", 1);
        self.cuts.insert(Cut::link(a, b), cut);
        match cut {
            Cut::Held => self.sim.hold(host(a), host(b)),
            Cut::Dropped => self.sim.partition(host(a), host(b)),
        }
    }

    /// Heals every link.
    pub fn heal(&mut self) {
        for ((a, b), cut) in std::mem::take(&mut self.cuts) {
            self.trace.record(&host(a), "fault", format_args!("healed with {}", host(b)), &[]);
            match cut {
                Cut::Held => self.sim.release(host(a), host(b)),
                Cut::Dropped => {
                    self.sim.repair(host(a), host(b));
                    self.wires.reset_between(&host(a), &host(b));
                }
            }
        }
    }
}
