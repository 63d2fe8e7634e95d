//! A state of the whole group: its nodes, the messages between them, what is left of the bounds, and what must be
//! remembered to judge what comes.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quorate::raft::{Entry, ReadId};
use quorate::types::{NodeId, Term};

use super::network::Network;
use super::node::Node;

/// How much of the bounds is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Used {
    /// Elections begun.
    pub campaigns: u8,
    /// Commands proposed.
    pub proposals: u8,
    /// Heartbeats of idle leaders.
    pub heartbeats: u8,
    /// Leaders that stepped down because they heard nobody.
    pub step_downs: u8,
    /// Reads begun.
    pub reads: u8,
    /// Writes made slow.
    pub slow_writes: u8,
}

/// A committed entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Committed {
    /// The entry.
    pub entry: Entry,
    /// The term of the node that first knew that it is committed: its leader.
    pub by: Term,
}

/// A read that waits for its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reading {
    /// Its number.
    pub id: ReadId,
    /// Where it was asked.
    pub node: NodeId,
    /// How many entries were committed when it was asked: it must see them all.
    pub floor: usize,
}

/// What no node knows, but any judge would remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    /// Who led which term; the first is term 0, which nobody leads.
    pub leaders: Vec<Option<NodeId>>,
    /// All that was ever committed, from index 1 on.
    pub committed: Vec<Committed>,
    /// The reads that wait.
    pub reads: Vec<Reading>,
}

/// A property that does not hold any more, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broken {
    /// Its name.
    pub property: &'static str,
    /// What was seen.
    pub why: String,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The nodes; node n stands at n - 1.
    pub nodes: Vec<Arc<Node>>,
    /// To which nodes something has happened, a bit each.
    pub touched: u8,
    /// The messages that may still arrive.
    pub network: Network,
    /// How much of the bounds is used up.
    pub used: Used,
    /// What any judge would remember.
    pub memory: Arc<Memory>,
    /// What went wrong on the way here.
    pub broken: Option<Arc<Broken>>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Nodes and messages bring the hashes that they were given when they were made.
        for node in &self.nodes {
            node.hash(state);
        }
        (self.touched, &self.network, self.used, &self.memory, self.broken.is_some()).hash(state);
    }
}

impl State {
    /// A node by its name.
    pub fn node(&self, id: NodeId) -> &Arc<Node> {
        &self.nodes[position(id)]
    }
}

/// Where a node stands in [`State::nodes`].
pub fn position(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).expect("few nodes")
}
