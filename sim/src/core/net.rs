//! The links between nodes: which are cut, and what old messages may come again.

use std::collections::BTreeMap;
use std::fmt;

use fastrand::Rng;
use quorate::raft::Envelope;
use quorate::types::NodeId;

/// Names a cut, so that it can be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CutId(u64);

impl fmt::Display for CutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// How many old messages are kept to come again.
const KEPT_MAX: usize = 128;

/// The links.
#[derive(Debug, Default)]
pub struct Net {
    /// The cuts in force: pairs (from, to).
    cuts: BTreeMap<CutId, Vec<(NodeId, NodeId)>>,
    /// By sender, the set of receivers that nothing reaches, a bit each.
    blocked: [u32; 32],
    last_cut: u64,
    /// Messages of the past, some of them of long ago.
    kept: Vec<Envelope>,
}

impl Net {
    /// Cuts links, each in its direction.
    pub fn cut(&mut self, links: Vec<(NodeId, NodeId)>) -> CutId {
        self.last_cut += 1;
        self.cuts.insert(CutId(self.last_cut), links);
        self.refresh();
        CutId(self.last_cut)
    }

    /// Ends a cut. A link is open again when no cut is left that has it.
    pub fn mend(&mut self, cut: CutId) {
        self.cuts.remove(&cut);
        self.refresh();
    }

    /// Ends all cuts.
    pub fn mend_all(&mut self) {
        self.cuts.clear();
        self.refresh();
    }

    /// The cuts in force.
    pub fn in_force(&self) -> Vec<CutId> {
        self.cuts.keys().copied().collect()
    }

    /// Whether messages go from `from` to `to`.
    pub fn is_open(&self, from: NodeId, to: NodeId) -> bool {
        self.blocked[slot(from)] & (1 << slot(to)) == 0
    }

    /// Whether any link is cut.
    pub fn is_cut(&self) -> bool {
        !self.cuts.is_empty()
    }

    fn refresh(&mut self) {
        self.blocked = [0; 32];
        for &(from, to) in self.cuts.values().flatten() {
            self.blocked[slot(from)] |= 1 << slot(to);
        }
    }

    /// Keeps a copy of a message, in place of any other once there are enough: so some are of long ago.
    pub fn keep(&mut self, rng: &mut Rng, envelope: &Envelope) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(envelope.clone());
        } else {
            self.kept[rng.usize(..KEPT_MAX)] = envelope.clone();
        }
    }

    /// One of the messages that were kept.
    pub fn recall(&self, rng: &mut Rng) -> Option<Envelope> {
        (!self.kept.is_empty()).then(|| self.kept[rng.usize(..self.kept.len())].clone())
    }
}

fn slot(id: NodeId) -> usize {
    usize::try_from(id.0).expect("a small id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_when_the_last_cut_of_it_ends() {
        let (a, b) = (NodeId(1), NodeId(2));
        let mut net = Net::default();
        let (first, second) = (net.cut(vec![(a, b)]), net.cut(vec![(a, b), (b, a)]));
        assert!(!net.is_open(a, b) && !net.is_open(b, a));
        net.mend(second);
        assert!(!net.is_open(a, b) && net.is_open(b, a));
        net.mend(first);
        assert!(net.is_open(a, b) && !net.is_cut());
    }
}
