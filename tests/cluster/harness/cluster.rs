//! A cluster of node processes with its own addresses and directory.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::client::Client;
use super::node::Node;
use super::poll::{PATIENCE, poll_until};
use super::relay::Network;
use super::slots::Slot;

/// How much of a failed test's logs is shown.
const TAIL_LINES: usize = 60;

/// Some nodes. Dropped: every process is killed and reaped, and the directory goes unless the test failed.
pub struct Cluster {
    nodes: Vec<Node>,
    network: Option<Network>,
    directory: Directory,
    slot: Slot,
}

/// A test's directory, kept when the test fails.
pub struct Directory {
    inner: tempfile::TempDir,
}

impl Directory {
    /// A new one below cargo's directory for test files.
    pub fn new(name: &str) -> Directory {
        let inner = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("cargo's directory for test files is writable");
        Directory { inner }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.inner.path()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.inner.disable_cleanup(true);
            eprintln!("the files of this test are kept in {}", self.path().display());
        }
    }
}

impl Cluster {
    /// `count` nodes that talk to each other directly, started.
    pub fn start(name: &str, count: u64) -> Cluster {
        let mut cluster = Cluster::prepare(name, count, false);
        cluster.start_all();
        cluster
    }

    /// `count` nodes that talk through relays, started.
    pub fn start_relayed(name: &str, count: u64) -> Cluster {
        let mut cluster = Cluster::prepare(name, count, true);
        cluster.start_all();
        cluster
    }

    /// `founders` nodes, started, and room for more up to `count`: those join by node 1 when they are started, and are given
    /// their ids by the cluster.
    pub fn start_growing(name: &str, founders: u64, count: u64, flags: &[&str]) -> Cluster {
        let mut cluster = Cluster::prepare(name, count, false);
        let members: Vec<String> =
            (1..=founders).map(|id| format!("{id}={}", cluster.slot.peer(id))).collect();
        let first = cluster.slot.peer(1);
        for id in cluster.ids() {
            let node = cluster.node_mut(id);
            if id <= founders {
                node.set_flag("--initial-cluster", &members.join(","));
            } else {
                node.remove_flag("--initial-cluster");
                node.remove_flag("--id");
                node.set_flag("--join", &first);
            }
            node.arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        }
        for id in 1..=founders {
            cluster.start_node(id);
        }
        cluster
    }

    /// The same, not started: a test may change the command lines first.
    pub fn prepare(name: &str, count: u64, relayed: bool) -> Cluster {
        let slot = Slot::claim(usize::try_from(count).expect("a handful of nodes"));
        let directory = Directory::new(name);
        let reached_at = |id: u64| if relayed { slot.relay(id) } else { slot.peer(id) };
        let cluster: Vec<String> = (1..=count).map(|id| format!("{id}={}", reached_at(id))).collect();
        let cluster = cluster.join(",");
        let nodes = (1..=count)
            .map(|id| {
                let addresses = (slot.http(id), slot.peer(id), slot.grpc(id));
                Node::new(id, directory.path(), addresses, &cluster)
            })
            .collect();
        let network = relayed
            .then(|| Network::open((1..=count).map(|id| (id, slot.relay(id), slot.peer(id))).collect()));
        Cluster { nodes, network, directory, slot }
    }

    /// Starts every node that does not run.
    pub fn start_all(&mut self) {
        for id in self.ids() {
            if !self.node(id).is_running() {
                self.start_node(id);
            }
        }
    }

    /// Starts one node.
    pub fn start_node(&mut self, id: u64) {
        self.node_mut(id).start();
        if let Some(network) = &self.network {
            network.set_pid(id, self.node(id).pid());
        }
    }

    /// All ids.
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// All ids but these.
    pub fn ids_without(&self, without: &[u64]) -> Vec<u64> {
        self.ids().into_iter().filter(|id| !without.contains(id)).collect()
    }

    /// A node.
    pub fn node(&self, id: u64) -> &Node {
        &self.nodes[usize::try_from(id - 1).expect("ids are small")]
    }

    /// A node, to change it.
    pub fn node_mut(&mut self, id: u64) -> &mut Node {
        &mut self.nodes[usize::try_from(id - 1).expect("ids are small")]
    }

    /// A client of a node.
    pub fn client(&self, id: u64) -> Client {
        self.node(id).client()
    }

    /// The network between the nodes of a relayed cluster.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("the cluster was started with relays")
    }

    /// The test's addresses.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The test's directory.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Waits until one of the running nodes leads and serves, and returns its id.
    pub fn wait_leader(&mut self) -> u64 {
        let ids = self.ids();
        self.wait_leader_among(&ids)
    }

    /// Waits until one of `ids` leads and confirms a quorum read, and returns it.
    pub fn wait_leader_among(&mut self, ids: &[u64]) -> u64 {
        let running: Vec<u64> = ids.iter().copied().filter(|id| self.node(*id).is_running()).collect();
        poll_until(&format!("a leader among {running:?}"), PATIENCE, || {
            for id in &running {
                self.node_mut(*id).assert_alive();
            }
            running.iter().copied().find(|id| {
                let client = self.client(*id);
                client.try_stats().is_some_and(|stats| stats["state"] == "leader") && client.is_ready()
            })
        })
    }

    /// Waits until every running node confirms a quorum read.
    pub fn wait_ready(&mut self) -> u64 {
        for id in self.ids() {
            if self.node(id).is_running() {
                let client = self.client(id);
                poll_until(&format!("node {id} to be ready"), PATIENCE, || client.is_ready().then_some(()));
            }
        }
        self.wait_leader()
    }

    /// Waits until a node has applied at least `index`.
    pub fn wait_applied(&self, id: u64, index: u64) -> Value {
        let client = self.client(id);
        poll_until(&format!("node {id} to apply index {index}"), PATIENCE, || {
            client.try_stats().filter(|stats| stats["applied_index"].as_u64() >= Some(index))
        })
    }

    /// Fails the test if a node has ended by itself.
    pub fn assert_all_alive(&mut self) {
        for node in &mut self.nodes {
            if node.is_running() {
                node.assert_alive();
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in &self.nodes {
            let output = node.output();
            let lines: Vec<&str> = output.lines().collect();
            let from = lines.len().saturating_sub(TAIL_LINES);
            eprintln!("---- node {}: the last of {} lines", node.id, lines.len());
            for line in &lines[from..] {
                eprintln!("{line}");
            }
        }
    }
}
