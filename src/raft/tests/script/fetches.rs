//! What the core asks to be read back from the log.

use super::Script;
use crate::raft::Fetch;
use crate::types::NodeId;

impl Script {
    /// Reads what was asked for, and tells it unless the node lags.
    pub(super) fn fetch(&mut self, id: NodeId, fetch: Fetch) {
        self.say(format!("  {id} fetches {}..{} for {:?}", fetch.first, fetch.last, fetch.purpose));
        let is_lagging = self.lagging.contains(&id);
        let node = self.node(id);
        if node.disk.damaged.contains(&fetch.first) {
            node.raft().damaged(fetch.first);
        }
        let entries = node.disk.fetch(&fetch);
        if is_lagging {
            self.fetched.entry(id).or_default().push((fetch, entries));
        } else {
            node.raft().fetched(fetch, entries);
        }
    }

    /// Tells the core everything that was read back, oldest first. What is read from now on is told at once.
    pub(super) fn answer(&mut self, id: NodeId) {
        self.lagging.remove(&id);
        for (fetch, entries) in self.fetched.remove(&id).unwrap_or_default() {
            self.say(format!("  {id} has {}..{} for {:?}", fetch.first, fetch.last, fetch.purpose));
            self.node(id).raft().fetched(fetch, entries);
        }
        self.process(id);
    }
}
