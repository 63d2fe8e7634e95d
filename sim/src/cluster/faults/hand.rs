//! The hand for faults: what a scenario may do to the cluster. Each is carried out between two steps of the world.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::clock::RIGHT;
use super::crash::CutPoint;
use super::damage::Damage;
use super::kind::Kind;
use super::partition::{Cut, Cuts};
use crate::Violation;
use crate::cluster::executor::Hang;
use crate::cluster::handle::{Cluster, PATIENCE};
use crate::cluster::world::{World, host};

/// The longest that an armed power cut is waited for.
const CUT_WAIT: Duration = Duration::from_secs(1);

/// How often a keeper looks.
const KEEPER_INTERVAL: Duration = Duration::from_millis(100);

impl Cluster {
    /// Has the world do something between two steps.
    pub async fn world<T: 'static>(&self, body: impl FnOnce(&mut World) -> T + 'static) -> T {
        let (sender, receiver) = oneshot::channel();
        self.request(Box::new(move |world| drop(sender.send(body(world)))));
        receiver.await.expect("the world answers every request")
    }

    /// The nodes that run.
    pub async fn up(&self) -> Vec<u64> {
        self.world(|world| world.nodes.iter().filter(|(_, node)| node.is_up).map(|(id, _)| *id).collect())
            .await
    }

    /// The nodes that owe anything: all but those that have to give way to another one.
    pub async fn sound(&self) -> Vec<u64> {
        let is_sound = |node: &crate::cluster::world::Node| !node.damage.is_some_and(Damage::is_loss);
        self.world(move |world| {
            world.nodes.iter().filter(|(_, node)| is_sound(node)).map(|(id, _)| *id).collect()
        })
        .await
    }
}

/// Who is who.
impl Cluster {
    /// The id of a host's node, once it has one.
    pub async fn id(&self, node: u64) -> Option<u64> {
        self.world(move |world| world.node(node).badge.id().map(|id| id.0)).await
    }

    /// A node has to go: from now on it is one of the [lost](Cluster::lost). False if the budget for damage forbids it.
    pub async fn dismiss(&self, node: u64) -> bool {
        self.world(move |world| world.dismiss(node)).await
    }

    /// The nodes that have to give way to another one, until that one votes.
    pub async fn lost(&self) -> Vec<u64> {
        let is_lost = |node: &crate::cluster::world::Node| node.damage.is_some_and(Damage::is_loss);
        self.world(move |world| {
            world.nodes.iter().filter(|(_, node)| is_lost(node)).map(|(id, _)| *id).collect()
        })
        .await
    }
}

/// Who came back as another one.
impl Cluster {
    /// The hosts whose nodes gave up a log, and have come back as others that were not seen to vote yet.
    pub async fn rejoined(&self) -> Vec<u64> {
        let came_back = |node: &crate::cluster::world::Node| {
            node.is_newcomer && node.damage.is_some_and(|damage| !damage.is_loss())
        };
        self.world(move |world| {
            world.nodes.iter().filter(|(_, node)| came_back(node)).map(|(id, _)| *id).collect()
        })
        .await
    }
}

/// Starts again whatever goes down, as long as it lives: what was asked to stop, or whose disk failed, may take its time.
#[derive(Debug)]
pub struct Keeper {
    is_over: Rc<Cell<bool>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.is_over.set(true);
    }
}

/// Processes and machines.
impl Cluster {
    /// Starts every node that is down, or goes down before the keeper is dropped, unless it is down for good.
    pub fn keep_up(&self) -> Keeper {
        let is_over = Rc::new(Cell::new(false));
        let (cluster, stop) = (self.clone(), is_over.clone());
        tokio::task::spawn_local(async move {
            while !stop.get() {
                for node in cluster.nodes() {
                    cluster.restart(node).await;
                }
                tokio::time::sleep(KEEPER_INTERVAL).await;
            }
        });
        Keeper { is_over }
    }

    /// Crashes a node: at once, or within a second in the middle of its work on the disk.
    pub async fn crash(&self, node: u64) {
        let writes = self.draw(|rng| rng.u64(0..12));
        let calls = self.draw(|rng| rng.u64(1..40));
        match self.draw(|rng| rng.u32(..3)) {
            0 => self.crash_now(node).await,
            1 => self.crash_at(node, CutPoint::Call(calls)).await,
            _ => self.crash_at(node, CutPoint::Write(writes)).await,
        }
    }

    /// Crashes a node at once.
    pub async fn crash_now(&self, node: u64) {
        self.world(move |world| world.crash(node)).await;
    }

    /// Crashes a node at that point of its work on the disk, or in a second if it does not come there.
    pub async fn crash_at(&self, node: u64, point: CutPoint) {
        self.world(move |world| world.crash_at(node, point)).await;
        for _ in 0..CUT_WAIT.as_millis() / 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if !self.world(move |world| world.node(node).is_up).await {
                return;
            }
        }
        self.crash_now(node).await;
    }

    /// Crashes nodes at the same instant.
    pub async fn black_out(&self, nodes: &[u64]) {
        let nodes = nodes.to_vec();
        self.world(move |world| world.black_out(&nodes)).await;
    }

    /// Crashes all nodes at the same instant.
    pub async fn crash_all(&self) {
        self.black_out(&self.nodes().collect::<Vec<u64>>()).await;
    }

    /// Starts a node again, unless it is down for good.
    pub async fn restart(&self, node: u64) {
        self.world(move |world| world.restart(node)).await;
    }

    /// Asks a node to stop in good order.
    pub async fn ask_to_stop(&self, node: u64) {
        self.world(move |world| world.stop(node)).await;
    }

    /// Stops a node in good order.
    pub async fn stop(&self, node: u64) -> Result<(), Violation> {
        self.ask_to_stop(node).await;
        let is_down = async || {
            let is_up = self.world(move |world| world.node(node).is_up).await;
            (!is_up).then_some(())
        };
        self.eventually(&format!("{} stops", host(node)), PATIENCE, is_down).await
    }

    /// Freezes a node.
    pub async fn pause(&self, node: u64) {
        self.world(move |world| world.pause(node)).await;
    }

    /// Lets a frozen node go on.
    pub async fn resume(&self, node: u64) {
        self.world(move |world| world.resume(node)).await;
    }

    /// A node's clock runs at `rate` parts per million of simulated time from now on.
    pub async fn set_clock_rate(&self, node: u64, rate: u64) {
        self.world(move |world| world.set_clock_rate(node, rate)).await;
    }

    /// A node's wall clock is set `ms` ahead, or back.
    pub async fn step_wall_clock(&self, node: u64, ms: i64) {
        self.world(move |world| world.step_wall_clock(node, ms)).await;
    }
}

/// The network.
impl Cluster {
    /// Cuts a node off from all others, not from clients.
    pub async fn isolate(&self, node: u64) -> Cuts {
        let cut = self.draw(Cut::draw);
        self.world(move |world| world.isolate(node, cut)).await
    }

    /// What a node sends to the others is lost from now on; it hears them.
    pub async fn cut_one_way(&self, node: u64) -> Cuts {
        self.world(move |world| world.isolate(node, Cut::DroppedOneWay)).await
    }

    /// Cuts these links, as one fault of this kind that is entered under `node`.
    pub async fn cut(&self, kind: Kind, node: u64, links: Vec<(u64, u64)>, cut: Cut) -> Cuts {
        self.world(move |world| world.cut_links(kind, node, &links, cut)).await
    }

    /// Cuts every link between one part and the rest.
    pub async fn split(&self, part: &[u64]) -> Cuts {
        let rest: Vec<u64> = self.nodes().filter(|node| !part.contains(node)).collect();
        let links = part.iter().flat_map(|a| rest.iter().map(|b| (*a, *b))).collect();
        let cut = self.draw(Cut::draw);
        self.cut(Kind::Split, 0, links, cut).await
    }

    /// Cuts a node off from the clients.
    pub async fn cut_from_clients(&self, node: u64) -> Cuts {
        let cut = self.draw(Cut::draw);
        self.cut(Kind::ClientCut, node, vec![(node, 0)], cut).await
    }

    /// Heals what one call cut.
    pub async fn mend(&self, cuts: Cuts) {
        self.world(move |world| world.mend(&cuts)).await;
    }

    /// Heals every link, and makes it as fast as usual.
    pub async fn heal(&self) {
        self.world(World::heal).await;
    }

    /// Resets one of the connections between two nodes, or all; node 0 is the clients.
    pub async fn reset(&self, a: u64, b: u64, all: bool) {
        self.world(move |world| if all { world.reset(a, b) } else { world.reset_one(a, b) }).await;
    }

    /// What goes between two nodes takes at least `delay` from now on; zero: as usual. Node 0 is the clients.
    pub async fn slow_link(&self, a: u64, b: u64, delay: Duration) {
        self.world(move |world| world.slow_link(a, b, delay)).await;
    }
}

/// Disks.
impl Cluster {
    /// One of a node's next disk calls fails: the one after `calls` more.
    pub async fn fail_disk(&self, node: u64, calls: u64) {
        self.world(move |world| world.fail_disk(node, calls)).await;
    }

    /// One of a node's next reads from its disk fails: the one after `reads` more.
    pub async fn fail_read(&self, node: u64, reads: u64) {
        self.world(move |world| world.fail_read(node, reads)).await;
    }

    /// No more than `bytes` more fit on a node's disk.
    pub async fn fill_disk(&self, node: u64, bytes: usize) {
        self.world(move |world| world.fill_disk(node, bytes, 0)).await;
    }

    /// No more than `bytes` more fit on a node's disk, and nobody is told: it says that `unsaid` more do.
    pub async fn fill_disk_unsaid(&self, node: u64, bytes: usize, unsaid: usize) {
        self.world(move |world| world.fill_disk(node, bytes, unsaid)).await;
    }

    /// A node's disk does not come back.
    pub async fn hang_disk(&self, node: u64, hang: Hang) {
        self.world(move |world| world.hang_disk(node, hang)).await;
    }

    /// Everything that a node's disk does takes so many times as long; 0: as usual.
    pub async fn slow_disk(&self, node: u64, slowness: u32) {
        self.world(move |world| world.slow_disk(node, slowness)).await;
    }

    /// The next write to a node's log comes back this late.
    pub async fn delay_sync(&self, node: u64, late: Duration) {
        self.world(move |world| world.delay_sync(node, late)).await;
    }

    /// A node's disk does not fail any more, has room, and is as fast as usual; a hung one comes back.
    pub async fn mend_disk(&self, node: u64) {
        self.world(move |world| world.mend_disk(node)).await;
    }

    /// Changes synced bytes on a node's disk. False if that is not allowed: more than a minority would be damaged.
    pub async fn rot(&self, node: u64) -> bool {
        self.world(move |world| world.rot(node)).await
    }

    /// Crashes a node in one of its next writes, which lands in another place of its file, where that is allowed.
    pub async fn misdirect(&self, node: u64) {
        let writes = self.draw(|rng| rng.u64(0..12));
        self.crash_at(node, CutPoint::MisdirectedWrite(writes)).await;
    }

    /// Crashes a node and gives it an empty disk. False if that is not allowed (see [`World::wipe`]).
    pub async fn wipe(&self, node: u64) -> bool {
        self.world(move |world| world.wipe(node)).await
    }
}

/// All faults at once.
impl Cluster {
    /// Ends every fault that lasts: links, disks, pauses, clocks. What is down stays down.
    pub async fn end_faults(&self) {
        self.world(|world| {
            world.heal();
            let nodes: Vec<u64> = world.nodes.keys().copied().collect();
            for node in nodes {
                world.disarm(node);
                world.mend_disk(node);
                world.resume(node);
                world.set_clock_rate(node, RIGHT);
            }
        })
        .await;
    }
}
