//! The steward: gives the group orders now and then, whatever goes on around it, in storms and in rests.
//!
//! It asks any node. Nothing waits for it, and it tries nothing that it is refused again and again but what the seed is
//! about: the lease that leaders are to take.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::plan::{Plan, up_to};
use crate::cluster::assembly;
use crate::cluster::handle::{Cluster, Session};
use crate::cluster::order::{Order, Said};

/// How long the steward pauses before it asks again.
const PAUSE: Duration = Duration::from_millis(300);

/// The steward of a run.
pub struct Steward {
    is_over: Rc<Cell<bool>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Steward {
    /// Puts the steward to work.
    pub fn begin(cluster: &Cluster, plan: &Plan) -> Steward {
        let is_over = Rc::new(Cell::new(false));
        let mut tasks = Vec::new();
        if plan.leased {
            tasks.push(tokio::task::spawn_local(leases(cluster.clone(), is_over.clone())));
        }
        if let Some(gap_max) = plan.transfer_gap_max {
            tasks.push(tokio::task::spawn_local(transfers(cluster.clone(), gap_max, is_over.clone())));
        }
        Steward { is_over, tasks }
    }

    /// Ends its work.
    pub async fn end(self) {
        self.is_over.set(true);
        for task in self.tasks {
            // A panic in it has ended the run already.
            let _ = task.await;
        }
    }
}

/// Any node.
fn any(cluster: &Cluster) -> u64 {
    let nodes: Vec<u64> = cluster.nodes().collect();
    cluster.draw(|rng| nodes[rng.usize(..nodes.len())])
}

/// Gives an order to any node until the group has carried it out.
async fn insist(cluster: &Cluster, session: &mut Session, order: Order, is_over: &Cell<bool>) {
    while !is_over.get() {
        if let Said::Done(_) = session.order(any(cluster), order).await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Has leaders take a lease, a long or a short one; later, in some seeds, another one, or none for a while.
async fn leases(cluster: Cluster, is_over: Rc<Cell<bool>>) {
    let election_ms = assembly::election_timeout_ms(cluster.seed());
    let mut session = cluster.session();
    let changes = cluster.draw(|rng| [0, 0, 2, 5][rng.usize(..4)]);
    for change in 0..=changes {
        // The first one is a lease.
        let lengths = [election_ms, election_ms, election_ms / 2, 0];
        let lease_ms = cluster.draw(|rng| lengths[rng.usize(..if change == 0 { 3 } else { 4 })]);
        insist(&cluster, &mut session, Order::Lease(lease_ms), &is_over).await;
        let pauses = cluster.draw(|rng| rng.u32(1..40));
        for _ in 0..pauses {
            if is_over.get() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Has another node lead, now and then.
async fn transfers(cluster: Cluster, gap_max: Duration, is_over: Rc<Cell<bool>>) {
    let mut session = cluster.session();
    while !is_over.get() {
        let (through, to) = (any(&cluster), any(&cluster));
        // It may not get there, and need not: the storm may have struck it, or whoever leads.
        if let Some(id) = cluster.id(to).await {
            drop(session.order(through, Order::Lead(id)).await);
        }
        let gap = cluster.draw(|rng| up_to(gap_max, rng));
        tokio::time::sleep(gap).await;
    }
}
