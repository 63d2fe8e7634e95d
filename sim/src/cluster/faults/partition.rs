//! Links, cut and healed: between two nodes, in one direction or both, and between a node and the clients.
//!
//! A direction of a link is cut at most once at a time; a cut of what is cut already changes nothing. Node 0 is the host
//! of the clients.

use super::kind::Kind;
use crate::cluster::world::{World, host_or_clients};

/// How a link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Segments wait until it heals, and then arrive: TCP that sent them again and again. Both directions.
    Held,
    /// Segments are lost, and the connections that crossed the link are reset when it heals: TCP that gave up.
    Dropped,
    /// As [`Cut::Dropped`], but only what the first sends to the second.
    DroppedOneWay,
}

impl Cut {
    /// A kind of cut of both directions, drawn.
    pub fn draw(rng: &mut fastrand::Rng) -> Cut {
        if rng.bool() { Cut::Held } else { Cut::Dropped }
    }
}

/// Cuts under way, to be healed together: what one call cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cuts {
    kind: Kind,
    node: u64,
    text: String,
    links: Vec<(u64, u64)>,
}

impl World {
    /// Cuts the links between a node and all other nodes.
    pub fn isolate(&mut self, id: u64, cut: Cut) -> Cuts {
        let others: Vec<u64> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        let links: Vec<(u64, u64)> = others.into_iter().map(|other| (id, other)).collect();
        let kind = if cut == Cut::DroppedOneWay { Kind::OneWayCut } else { Kind::Isolation };
        self.cut_links(kind, id, &links, cut)
    }

    /// Cuts these links, as one fault of this kind; `node` is whom it is entered under.
    pub fn cut_links(&mut self, kind: Kind, node: u64, links: &[(u64, u64)], cut: Cut) -> Cuts {
        let mut done = Vec::new();
        for (a, b) in links.iter().copied() {
            if self.cut(a, b, cut) {
                done.push((a, b));
            }
        }
        let named: Vec<String> =
            done.iter().map(|(a, b)| format!("{}-{}", host_or_clients(*a), host_or_clients(*b))).collect();
        let text = format!("{cut:?} {}", named.join(" "));
        if !done.is_empty() {
            self.ledger.begin(kind, node, &text);
        }
        Cuts { kind, node, text, links: done }
    }

    /// Cuts a link. False if it was cut already.
    fn cut(&mut self, a: u64, b: u64, cut: Cut) -> bool {
        if self.cuts.contains_key(&key(a, b)) {
            return false;
        }
        self.trace.count("links cut", 1);
        self.cuts.insert(key(a, b), (a, cut));
        let (from, to) = (host_or_clients(a), host_or_clients(b));
        match cut {
            Cut::Held => self.sim.hold(from, to),
            Cut::Dropped => self.sim.partition(from, to),
            Cut::DroppedOneWay => self.sim.partition_oneway(from, to),
        }
        true
    }

    /// Heals what one call cut, as far as it is still cut.
    pub fn mend(&mut self, cuts: &Cuts) {
        for (a, b) in &cuts.links {
            self.mend_link(*a, *b);
        }
        self.ledger.end(cuts.kind, cuts.node, &cuts.text);
    }

    /// Heals every link.
    pub fn heal(&mut self) {
        let cut: Vec<(u64, u64)> = self.cuts.keys().copied().collect();
        cut.into_iter().for_each(|(a, b)| self.mend_link(a, b));
        let kinds = [Kind::Isolation, Kind::Split, Kind::PartialCut, Kind::OneWayCut, Kind::ClientCut];
        kinds.into_iter().for_each(|kind| self.ledger.end_all(kind));
        self.speed_up_links();
    }

    fn mend_link(&mut self, a: u64, b: u64) {
        let Some((_, cut)) = self.cuts.remove(&key(a, b)) else { return };
        let (from, to) = (host_or_clients(a), host_or_clients(b));
        match cut {
            Cut::Held => self.sim.release(from, to),
            Cut::Dropped | Cut::DroppedOneWay => {
                self.sim.repair(from.as_str(), to.as_str());
                self.wires.reset_between(&from, &to);
            }
        }
    }

    /// Whether what `from` sends reaches `to`, as far as cuts go.
    pub(crate) fn is_linked(&self, from: u64, to: u64) -> bool {
        match self.cuts.get(&key(from, to)) {
            None => true,
            Some((first, cut)) => *cut == Cut::DroppedOneWay && *first != from,
        }
    }
}

/// The key of the link between two hosts.
fn key(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}
