//! A storm: many faults, each begun a moment after the one before and ended in its own time.
//!
//! Whatever goes down is started again after a while by the storm's keeper, but for nodes that a fault keeps down for a
//! purpose of its own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::plan::{Plan, up_to};
use crate::cluster::client::Written;
use crate::cluster::executor::Hang;
use crate::cluster::faults::clock::RIGHT;
use crate::cluster::faults::crash::CutPoint;
use crate::cluster::faults::kind::Kind;
use crate::cluster::faults::partition::Cut;
use crate::cluster::handle::Cluster;
use crate::cluster::newcomer;
use crate::core::swarm::rate_for_leases;

/// How often the keeper looks.
const KEEPER_INTERVAL: Duration = Duration::from_millis(50);

/// How much more than there is a disk says is free, where it does: a node believes that it is short, and that a fold fits; or
/// it believes that all is well, with 20 times as much.
const UNSAID_BYTES: usize = 200_000;

/// How often a storm tries to be there when a write is acknowledged.
const ACK_TRIES: usize = 5;

/// How often a storm goes on with putting another node in the place of one that is lost.
const NEWCOMER_TRIES: usize = 6;

/// A storm under way; cheap to clone.
#[derive(Clone)]
pub struct Storm {
    cluster: Cluster,
    plan: Rc<Plan>,
    /// Nodes that the keeper leaves alone.
    kept_down: Rc<RefCell<BTreeSet<u64>>>,
    is_over: Rc<Cell<bool>>,
}

impl Storm {
    /// Blows one storm, from its first fault to the end of its last.
    pub async fn blow(cluster: &Cluster, plan: &Plan, number: usize) {
        let mut faults = cluster.draw(|rng| plan.faults(rng));
        // What cannot be mended comes once or twice in a run, at any place of any storm.
        if let Some(damage) = plan.damage.filter(|_| number < plan.storms) {
            let at = cluster.draw(|rng| rng.usize(..=faults.len()));
            faults.insert(at, (damage, Duration::from_millis(100)));
        }
        let (kept_down, is_over) = (Rc::default(), Rc::default());
        let storm = Storm { cluster: cluster.clone(), plan: Rc::new(plan.clone()), kept_down, is_over };
        let keeper = tokio::task::spawn_local(storm.clone().keep());
        let mut strikes = Vec::new();
        for (kind, gap) in faults {
            strikes.push(tokio::task::spawn_local(storm.clone().strike(kind)));
            tokio::time::sleep(gap).await;
        }
        for strike in strikes {
            // A panic in it has ended the run already.
            let _ = strike.await;
        }
        storm.is_over.set(true);
        let _ = keeper.await;
    }

    /// Starts again what is down.
    async fn keep(self) {
        while !self.is_over.get() {
            tokio::time::sleep(KEEPER_INTERVAL).await;
            let up = self.cluster.up().await;
            let down = self.cluster.nodes().filter(|node| !up.contains(node));
            for node in down.filter(|node| self.kept_down.borrow_mut().insert(*node)) {
                let storm = self.clone();
                tokio::task::spawn_local(async move {
                    storm.sleep(Plan::downtime).await;
                    storm.cluster.restart(node).await;
                    storm.kept_down.borrow_mut().remove(&node);
                });
            }
        }
    }

    async fn sleep(&self, length: fn(&Plan, &mut fastrand::Rng) -> Duration) {
        let length = self.cluster.draw(|rng| length(&self.plan, rng));
        tokio::time::sleep(length).await;
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        self.cluster.draw(draw)
    }

    /// A node: the leader or any.
    async fn victim(&self) -> u64 {
        let nodes: Vec<u64> = self.cluster.nodes().collect();
        let (any, wants_leader) =
            self.draw(|rng| (nodes[rng.usize(..nodes.len())], rng.u32(..self.plan.leader_one_in) == 0));
        if !wants_leader {
            return any;
        }
        self.cluster.world(|world| world.leader()).await.unwrap_or(any)
    }

    /// Two hosts, the second perhaps the clients'.
    fn two_hosts(&self) -> (u64, u64) {
        let nodes = self.cluster.nodes().count() as u64;
        self.draw(|rng| {
            let first = rng.u64(1..=nodes);
            let second = rng.u64(0..nodes);
            (first, if second == first { nodes } else { second })
        })
    }

    /// Carries a fault out, from its beginning to its end.
    async fn strike(self, kind: Kind) {
        match kind {
            Kind::Isolation | Kind::Split | Kind::PartialCut | Kind::OneWayCut | Kind::ClientCut => {
                self.strike_links(kind).await;
            }
            Kind::Reset => self.strike_connections().await,
            Kind::SlowLink => self.strike_speed().await,
            Kind::Crash => {
                let node = self.victim().await;
                self.cluster.crash(node).await;
            }
            Kind::Blackout => self.strike_all().await,
            Kind::Stop => self.strike_in_good_order().await,
            Kind::Pause => {
                let node = self.victim().await;
                self.cluster.pause(node).await;
                self.sleep(Plan::length).await;
                self.cluster.resume(node).await;
                self.strike_on_return(node).await;
            }
            Kind::ClockRate | Kind::WallStep => self.strike_clock(kind).await,
            Kind::TornWrite => self.strike_in_a_write().await,
            Kind::DiskError | Kind::DiskFull | Kind::DiskHang | Kind::LateSync | Kind::SlowDisk => {
                self.strike_disk(kind).await;
            }
            Kind::Rot | Kind::Misdirected | Kind::Wiped | Kind::Removed => self.strike_for_good(kind).await,
        }
    }

    /// The power goes in the middle of a write, at best in one of those that an election brings.
    async fn strike_in_a_write(&self) {
        let is_at_an_election = self.draw(fastrand::Rng::bool);
        if is_at_an_election {
            self.await_election().await;
        }
        let node = self.victim().await;
        let writes = self.draw(|rng| rng.u64(0..if is_at_an_election { 4 } else { 30 }));
        self.cluster.crash_at(node, CutPoint::Write(writes)).await;
    }

    /// A node that was away has much to write down at once, terms and entries of them: at times its power goes in that.
    async fn strike_on_return(&self, node: u64) {
        if self.draw(|rng| rng.u32(..4)) == 0 {
            let calls = self.draw(|rng| rng.u64(1..8));
            self.cluster.crash_at(node, CutPoint::Call(calls)).await;
        }
    }

    /// Brings an election about, in most cases, and waits for a node to win it, or for a moment in it.
    async fn await_election(&self) {
        let elected = || self.cluster.counted("leaders elected");
        let before = elected();
        if let Some(leader) = self.cluster.world(|world| world.leader()).await
            && self.draw(|rng| rng.u32(..4)) > 0
        {
            self.cluster.crash_now(leader).await;
        }
        let moments = self.draw(|rng| rng.usize(100..1_000));
        for _ in 0..moments {
            if elected() > before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn strike_links(&self, kind: Kind) {
        let node = self.victim().await;
        let mut nodes: Vec<u64> = self.cluster.nodes().collect();
        self.draw(|rng| rng.shuffle(&mut nodes));
        let cuts = match kind {
            Kind::Isolation => self.cluster.isolate(node).await,
            Kind::Split => {
                let size = self.draw(|rng| rng.usize(1..nodes.len()));
                self.cluster.split(&nodes[..size]).await
            }
            Kind::OneWayCut if self.draw(fastrand::Rng::bool) => self.cluster.cut_one_way(node).await,
            Kind::OneWayCut => {
                let link = vec![(nodes[0], nodes[1])];
                self.cluster.cut(kind, nodes[0], link, Cut::DroppedOneWay).await
            }
            Kind::ClientCut => self.cluster.cut_from_clients(node).await,
            _ => {
                let links = self.draw(|rng| partial(&nodes, rng));
                let cut = self.draw(Cut::draw);
                self.cluster.cut(kind, 0, links, cut).await
            }
        };
        self.sleep(Plan::length).await;
        self.cluster.mend(cuts).await;
        if kind == Kind::Isolation || kind == Kind::OneWayCut {
            self.strike_on_return(node).await;
        }
    }

    async fn strike_connections(&self) {
        for _ in 0..self.draw(|rng| rng.usize(1..6)) {
            let ((a, b), all) = (self.two_hosts(), self.draw(fastrand::Rng::bool));
            self.cluster.reset(a, b, all).await;
            let pause = self.draw(|rng| up_to(Duration::from_millis(500), rng));
            tokio::time::sleep(pause).await;
        }
    }

    async fn strike_speed(&self) {
        let (a, b) = self.two_hosts();
        let delay = Duration::from_millis(self.draw(|rng| [20, 100, 300, 800][rng.usize(..4)]));
        self.cluster.slow_link(a, b, delay).await;
        self.sleep(Plan::length).await;
        self.cluster.slow_link(a, b, Duration::ZERO).await;
    }

    /// The power of most nodes, or of all, goes at the same instant, at best just when something was acknowledged; those
    /// that come back first, a bare majority, must know it without the rest (H8, H10, H11).
    async fn strike_all(&self) {
        let mut nodes: Vec<u64> = self.cluster.nodes().collect();
        self.draw(|rng| rng.shuffle(&mut nodes));
        let majority = nodes.len() / 2 + 1;
        let struck =
            self.draw(|rng| if rng.bool() { nodes.len() } else { rng.usize(majority..=nodes.len()) });
        nodes.truncate(struck);
        self.await_ack().await;
        self.kept_down.borrow_mut().extend(&nodes);
        self.cluster.black_out(&nodes).await;
        self.draw(|rng| rng.shuffle(&mut nodes));
        for (number, node) in nodes.iter().enumerate() {
            if number == majority {
                self.sleep(Plan::length).await;
            }
            self.sleep(Plan::downtime).await;
            self.cluster.restart(*node).await;
            self.kept_down.borrow_mut().remove(node);
        }
    }

    /// Waits for a write of its own to be acknowledged, if any is.
    async fn await_ack(&self) {
        let mut session = self.cluster.session();
        session.set_timeout(Duration::from_millis(500));
        for _ in 0..ACK_TRIES {
            let node = self.victim().await;
            if matches!(session.set(node).await, Written::Done { .. }) {
                return;
            }
        }
    }

    /// One node, or each in turn, stops in good order.
    async fn strike_in_good_order(&self) {
        let nodes: Vec<u64> = if self.draw(fastrand::Rng::bool) {
            self.cluster.nodes().collect()
        } else {
            vec![self.victim().await]
        };
        for node in nodes {
            self.cluster.ask_to_stop(node).await;
            self.sleep(Plan::length).await;
        }
    }

    async fn strike_clock(&self, kind: Kind) {
        let node = self.victim().await;
        if kind == Kind::WallStep {
            let ms = self.draw(|rng| rng.i64(-20_000_000..20_000_000));
            self.cluster.step_wall_clock(node, ms).await;
            return;
        }
        let is_leased = self.plan.leased;
        let rate = self.draw(|rng| {
            if is_leased {
                return rate_for_leases(rng);
            }
            if rng.u32(..3) == 0 { rng.u64(500_000..2_000_000) } else { rng.u64(950_000..1_050_000) }
        });
        self.cluster.set_clock_rate(node, rate).await;
        self.sleep(Plan::length).await;
        self.sleep(Plan::length).await;
        self.cluster.set_clock_rate(node, RIGHT).await;
    }

    async fn strike_disk(&self, kind: Kind) {
        let node = self.victim().await;
        match kind {
            Kind::DiskError if self.draw(fastrand::Rng::bool) => {
                let reads = self.draw(|rng| rng.u64(0..6));
                self.cluster.fail_read(node, reads).await;
            }
            Kind::DiskError => {
                let calls = self.draw(|rng| rng.u64(0..60));
                self.cluster.fail_disk(node, calls).await;
            }
            Kind::DiskFull => {
                // What is free changes, as where others use the same volume.
                for _ in 0..self.draw(|rng| rng.usize(1..=3)) {
                    let bytes =
                        self.draw(|rng| [0, rng.usize(0..200_000), rng.usize(0..2_000_000)][rng.usize(..3)]);
                    // And what a disk says is free need not be so.
                    let unsaid = self.draw(|rng| [0, UNSAID_BYTES, 20 * UNSAID_BYTES][rng.usize(..3)]);
                    self.cluster.fill_disk_unsaid(node, bytes, unsaid).await;
                    self.sleep(Plan::length).await;
                }
                self.sleep(Plan::length).await;
                self.cluster.mend_disk(node).await;
            }
            Kind::DiskHang => {
                let hang = self.draw(Hang::draw);
                self.cluster.hang_disk(node, hang).await;
                self.sleep(Plan::length).await;
                // A node whose disk hung is started again: before the disk comes back, or after.
                let is_first = self.draw(fastrand::Rng::bool);
                if is_first {
                    self.cluster.crash_now(node).await;
                }
                self.cluster.mend_disk(node).await;
                if !is_first {
                    self.sleep(Plan::downtime).await;
                    self.cluster.crash_now(node).await;
                }
            }
            Kind::LateSync => {
                for _ in 0..self.draw(|rng| rng.usize(1..4)) {
                    let late = self.draw(|rng| up_to(Duration::from_secs(3), rng));
                    self.cluster.delay_sync(node, late).await;
                    self.sleep(Plan::length).await;
                }
            }
            _ => {
                let slowness = self.draw(|rng| [4, 10, 40][rng.usize(..3)]);
                self.cluster.slow_disk(node, slowness).await;
                self.sleep(Plan::length).await;
                self.cluster.slow_disk(node, 0).await;
            }
        }
    }

    /// A disk is replaced by an empty one, which may take its time: others may go down and start again meanwhile.
    async fn strike_with_an_empty_disk(&self, node: u64) {
        let is_mine = self.kept_down.borrow_mut().insert(node);
        if self.cluster.wipe(node).await && is_mine {
            self.sleep(Plan::length).await;
            self.cluster.restart(node).await;
        }
        if is_mine {
            self.kept_down.borrow_mut().remove(&node);
        }
        if is_mine && self.draw(fastrand::Rng::bool) {
            self.strike_with_a_newcomer(node).await;
        }
    }

    /// Another node takes the place of one that is lost, as far as it gets while everything else goes on.
    async fn strike_with_a_newcomer(&self, node: u64) {
        for _ in 0..NEWCOMER_TRIES {
            self.sleep(Plan::length).await;
            if !self.cluster.lost().await.contains(&node) || newcomer::replace(&self.cluster, node).await {
                return;
            }
        }
    }

    async fn strike_for_good(&self, kind: Kind) {
        let node = self.victim().await;
        match kind {
            Kind::Misdirected => self.cluster.misdirect(node).await,
            Kind::Wiped => self.strike_with_an_empty_disk(node).await,
            Kind::Removed => {
                if self.cluster.dismiss(node).await {
                    self.strike_with_a_newcomer(node).await;
                }
            }
            _ => {
                // Bytes rot while nobody reads them, or beneath a node that runs, which then meets them or is started.
                let is_down = self.draw(fastrand::Rng::bool);
                if is_down {
                    self.cluster.crash_now(node).await;
                }
                let rotted = self.cluster.rot(node).await;
                if rotted && !is_down && self.draw(fastrand::Rng::bool) {
                    self.cluster.crash_now(node).await;
                }
            }
        }
    }
}

/// Links to cut so that who reaches whom is not the same for all: any few, or those of the graph on which plain Raft
/// finds no leader that stays (H31): three nodes that all reach each other, and two more that reach one of them each.
fn partial(nodes: &[u64], rng: &mut fastrand::Rng) -> Vec<(u64, u64)> {
    if let ([a, b, c, d, e], true) = (nodes, rng.bool()) {
        return vec![(*a, *d), (*c, *d), (*a, *e), (*b, *e), (*d, *e)];
    }
    let pairs = nodes.iter().flat_map(|a| nodes.iter().map(|b| (*a, *b))).filter(|(a, b)| a < b);
    let mut pairs: Vec<(u64, u64)> = pairs.collect();
    rng.shuffle(&mut pairs);
    pairs.truncate(rng.usize(1..=(nodes.len() - 1).max(1)));
    pairs
}
