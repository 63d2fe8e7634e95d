//! Which nodes there are, which of them leads, and whom to ask next.
//!
//! ```text
//! given by the user     never dropped ----------------------+
//! advertised by members (Admin.Members, hints)              +--> candidates
//!     unless a given endpoint is known to be that member ---+
//! ```
//!
//! A node may be known under two addresses: the one that the user gave, and the one that it advertises, which need not
//! be reachable from here (another network, a container's name). So each given endpoint is asked once for its id, and
//! where an id has a given endpoint, that one stands for the member.
//!
//! What is said here is a guess: any node answers anything. A wrong one costs a hop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::edge::Instant;
use super::node::{Address, Dial, Node};
use crate::proto::v1::{MembersResponse, OperationError};

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The leader, if it is known: it has the fewest hops.
    Leader,
    /// Each in turn.
    Any,
}

/// What is known of the cluster.
pub(super) struct Cluster {
    dial: Dial,
    view: Mutex<View>,
}

struct View {
    entries: Vec<Entry>,
    members: Vec<Known>,
    leader: Option<Arc<Node>>,
    /// Of the membership that is believed.
    config_index: u64,
    turn: usize,
}

struct Entry {
    node: Arc<Node>,
    is_given: bool,
    id: Option<u64>,
    /// Whether the id is to be relied on. After a failure another node may come up at the address.
    is_sure: bool,
}

/// A member, as a node told it.
struct Known {
    id: u64,
    address: Address,
}

impl Cluster {
    /// The endpoints that the user gave.
    pub(super) fn new(given: &[Address], dial: Dial) -> Cluster {
        let entry = |address: &Address| Entry {
            node: Node::new(address.clone(), &dial),
            is_given: true,
            id: None,
            is_sure: false,
        };
        let entries = given.iter().map(entry).collect();
        let view = View { entries, members: Vec::new(), leader: None, config_index: 0, turn: 0 };
        Cluster { dial, view: Mutex::new(view) }
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom to ask. Nodes that failed lately are passed over, unless all did: then it is the one whose rest ends first.
    pub(super) fn route(&self, target: Target, now: Instant) -> Arc<Node> {
        let mut view = self.lock();
        let leader = view.leader.as_ref().filter(|_| target == Target::Leader);
        if let Some(leader) = leader.filter(|leader| leader.rests_until(now).is_none()) {
            return leader.clone();
        }
        view.turn = view.turn.wrapping_add(1);
        let (turn, count) = (view.turn, view.entries.len());
        let in_turn = (0..count).map(|at| &view.entries[turn.wrapping_add(at) % count].node);
        let next = in_turn.min_by_key(|node| node.rests_until(now));
        next.expect("the endpoints that the user gave stay").clone()
    }

    /// A node for each address, in the order in which they are best asked.
    pub(super) fn nodes(&self, now: Instant) -> Vec<Arc<Node>> {
        let mut nodes: Vec<Arc<Node>> = self.lock().entries.iter().map(|entry| entry.node.clone()).collect();
        nodes.sort_by_key(|node| node.rests_until(now));
        nodes
    }

    /// The node of an address, be it known or not.
    pub(super) fn node_at(&self, address: &Address) -> Arc<Node> {
        let view = self.lock();
        let known = view.entries.iter().find(|entry| entry.node.address == *address);
        known.map_or_else(|| Node::new(address.clone(), &self.dial), |entry| entry.node.clone())
    }

    /// Given endpoints of which it is not known, or not sure, whose they are.
    pub(super) fn strangers(&self) -> Vec<Arc<Node>> {
        let view = self.lock();
        let strangers = view.entries.iter().filter(|entry| entry.is_given && !entry.is_sure);
        strangers.map(|entry| entry.node.clone()).collect()
    }

    /// Whether a leader is known.
    pub(super) fn has_leader(&self) -> bool {
        self.lock().leader.is_some()
    }

    /// A node failed. If it was taken for the leader, none is known now; and whose its address is, is asked again.
    pub(super) fn on_failure(&self, node: &Arc<Node>) {
        let mut view = self.lock();
        if view.leader.as_ref().is_some_and(|leader| Arc::ptr_eq(leader, node)) {
            view.leader = None;
        }
        if let Some(entry) = view.entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.node, node)) {
            entry.is_sure = false;
        }
    }

    /// A node said where the leader is. Says whether that is news.
    pub(super) fn on_hint(&self, error: &OperationError) -> bool {
        if error.leader_id == 0 {
            return false;
        }
        let mut view = self.lock();
        if let Ok(address) = Address::parse(&error.leader_grpc) {
            view.meet(error.leader_id, address);
            view.arrange(&self.dial);
        }
        view.follow(error.leader_id)
    }

    /// A given endpoint said who it is.
    pub(super) fn on_identity(&self, node: &Arc<Node>, id: u64) {
        let mut view = self.lock();
        let leader = view.leader.as_ref().and_then(|leader| view.id_of(leader));
        if let Some(entry) = view.entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.node, node)) {
            (entry.id, entry.is_sure) = (Some(id), true);
        }
        view.arrange(&self.dial);
        // It may stand for the leader now, or for it no longer.
        if let Some(leader) = leader {
            view.follow(leader);
        }
    }

    /// A node said who the members are.
    pub(super) fn on_members(&self, response: &MembersResponse) {
        let mut view = self.lock();
        let is_older = response.config_index < view.config_index;
        // One older answer is passed over, a second one is believed: a cluster that was recovered begins again lower, and
        // would otherwise not be known any more.
        view.config_index = if is_older { 0 } else { response.config_index };
        if !is_older {
            view.members.clear();
            for member in &response.members {
                if let Ok(address) = Address::parse(&member.grpc) {
                    view.meet(member.id, address);
                }
            }
            view.arrange(&self.dial);
        }
        if let Some(leader) = response.members.iter().find(|member| member.leader) {
            view.follow(leader.id);
        }
    }

    /// The addresses of all nodes that are known.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.lock().entries.iter().map(|entry| entry.node.address.as_str().to_owned()).collect()
    }

    /// The leader's address.
    pub(super) fn leader(&self) -> Option<String> {
        self.lock().leader.as_ref().map(|leader| leader.address.as_str().to_owned())
    }
}

impl View {
    fn meet(&mut self, id: u64, address: Address) {
        match self.members.iter_mut().find(|known| known.id == id) {
            Some(known) => known.address = address,
            None => self.members.push(Known { id, address }),
        }
    }

    /// Brings the entries in line with the members: what the user gave stays, each other member has its advertised
    /// address, unless a given endpoint is that member.
    fn arrange(&mut self, dial: &Dial) {
        for Known { id, address } in &self.members {
            let has_given = self.entries.iter().any(|entry| entry.is_given && entry.id == Some(*id));
            let same = self.entries.iter_mut().find(|entry| entry.node.address == *address);
            match same {
                Some(entry) => (entry.id, entry.is_sure) = (Some(*id), true),
                None if has_given => {}
                None => {
                    let node = Node::new(address.clone(), dial);
                    self.entries.push(Entry { node, is_given: false, id: Some(*id), is_sure: true });
                }
            }
        }
        let given: Vec<u64> =
            self.entries.iter().filter(|entry| entry.is_given).filter_map(|entry| entry.id).collect();
        let members = &self.members;
        self.entries.retain(|entry| {
            entry.is_given
                || members.iter().any(|known| {
                    Some(known.id) == entry.id
                        && known.address == entry.node.address
                        && !given.contains(&known.id)
                })
        });
        let entries = &self.entries;
        self.leader =
            self.leader.take().filter(|leader| entries.iter().any(|entry| Arc::ptr_eq(&entry.node, leader)));
    }

    fn id_of(&self, node: &Arc<Node>) -> Option<u64> {
        self.entries.iter().find(|entry| Arc::ptr_eq(&entry.node, node)).and_then(|entry| entry.id)
    }

    /// Takes a member for the leader. Says whether that is news.
    fn follow(&mut self, id: u64) -> bool {
        let entry = self.entries.iter().find(|entry| entry.id == Some(id));
        let Some(leader) = entry.map(|entry| entry.node.clone()) else { return false };
        let is_news = self.leader.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &leader));
        if is_news {
            tracing::debug!(id, address = leader.address.as_str(), "the leader");
        }
        self.leader = Some(leader);
        is_news
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::edge;
    use crate::proto::v1::Member;

    fn cluster(given: &[&str]) -> Cluster {
        let dial = Dial {
            connect_timeout: Duration::from_secs(1),
            runtime: tokio::runtime::Handle::current(),
            #[cfg(feature = "server")]
            connector: None,
        };
        let given: Vec<Address> = given.iter().map(|text| Address::parse(text).expect(text)).collect();
        Cluster::new(&given, dial)
    }

    fn members(config_index: u64, members: &[(u64, &str)], leader: u64) -> MembersResponse {
        let member = |(id, grpc): &(u64, &str)| Member {
            id: *id,
            grpc: (*grpc).to_owned(),
            leader: *id == leader,
            ..Default::default()
        };
        MembersResponse { members: members.iter().map(member).collect(), config_index, ..Default::default() }
    }

    #[tokio::test]
    async fn an_older_membership_is_passed_over_once() {
        let cluster = cluster(&["a:1"]);
        cluster.on_members(&members(9, &[(1, "a:1"), (2, "b:1")], 1));
        let older = members(5, &[(1, "a:1"), (3, "c:1")], 1);
        cluster.on_members(&older);
        assert_eq!(cluster.addresses(), ["a:1", "b:1"]);
        cluster.on_members(&older);
        assert_eq!(cluster.addresses(), ["a:1", "c:1"], "the cluster was recovered, and begins lower");
    }

    #[tokio::test]
    async fn a_given_endpoint_stands_for_its_member_also_after_a_failure() {
        let cluster = cluster(&["a:1"]);
        let told = members(1, &[(1, "inside:1"), (2, "b:1")], 1);
        cluster.on_members(&told);
        assert_eq!(cluster.leader().as_deref(), Some("inside:1"), "nothing else is known");
        let [given] = &cluster.strangers()[..] else { panic!("one was given") };
        cluster.on_identity(given, 1);
        assert_eq!(cluster.leader().as_deref(), Some("a:1"));
        assert_eq!(cluster.addresses(), ["a:1", "b:1"]);
        cluster.on_failure(given);
        assert_eq!((cluster.leader(), cluster.strangers().len()), (None, 1));
        cluster.on_members(&told);
        assert_eq!(cluster.leader().as_deref(), Some("a:1"));
        // Another node comes up there.
        cluster.on_identity(given, 7);
        assert_eq!(cluster.leader().as_deref(), Some("inside:1"), "1 is elsewhere now");
    }

    #[tokio::test]
    async fn nodes_that_failed_are_passed_over_while_there_are_others() {
        let cluster = cluster(&["a:1", "b:1"]);
        cluster.on_members(&members(1, &[(1, "a:1"), (2, "b:1")], 1));
        let (now, entropy) = (edge::now(), edge::Entropy::new(Some(7)).expect("seeded"));
        let first = cluster.route(Target::Leader, now);
        assert_eq!(first.address.as_str(), "a:1");
        first.blame(now, &entropy);
        for target in [Target::Leader, Target::Any, Target::Any] {
            let other = cluster.route(target, now);
            assert_eq!(other.address.as_str(), "b:1");
        }
        cluster.route(Target::Any, now).blame(now + Duration::from_millis(10), &entropy);
        let later = now + Duration::from_secs(9);
        assert_eq!(cluster.route(Target::Leader, later).address.as_str(), "a:1", "it has rested");
        first.praise();
        assert_eq!(cluster.route(Target::Any, now).address.as_str(), "a:1");
    }
}
