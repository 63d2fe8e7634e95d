//! Each fault in small: it happens, it has the effect that it should have, and the cluster gets over it.

use std::path::Path;
use std::time::Duration;

use quorate::node::identity::{Expected, Identity};
use quorate::types::NodeId;
use quorate_sim::Violation;
use quorate_sim::cluster::assembly;
use quorate_sim::cluster::client::Written;
use quorate_sim::cluster::disk::fs::DiskFs;
use quorate_sim::cluster::disk::{Disk, Loss};
use quorate_sim::cluster::entropy;
use quorate_sim::cluster::executor::{Hang, Lanes};
use quorate_sim::cluster::faults::crash::CutPoint;
use quorate_sim::cluster::faults::kind::Kind;
use quorate_sim::cluster::faults::ledger::Ledger;
use quorate_sim::cluster::handle::{Cluster, PATIENCE};
use quorate_sim::cluster::newcomer;
use quorate_sim::cluster::power::Power;
use quorate_sim::cluster::scenarios::Playing;
use quorate_sim::cluster::world::{self, DISK_ROOT, Options, Report};
use quorate_sim::trace::Trace;

/// How long a node may take to stop after its disk failed, or to be refused.
const LIMIT: Duration = Duration::from_secs(10);

/// Plays a scenario on three nodes and expects that nothing is violated and that `kind` fired.
fn play(seed: u64, kind: Kind, scenario: fn(Cluster) -> Playing) -> Report {
    let options = Options { seed, nodes: 3, trace: None, log: false };
    let report = world::run(&options, &assembly::production(), scenario);
    assert_eq!(report.violation, None);
    assert!(report.faults.contains_key(kind.name()), "{:?}", report.faults);
    report
}

/// A node that follows, and the other two.
async fn follower(cluster: &Cluster) -> Result<(u64, Vec<u64>), Violation> {
    let leader = cluster.leader().await?;
    let follower = cluster.nodes().find(|node| *node != leader).ok_or("there is one node")?;
    cluster.ready(follower).await?;
    Ok((follower, cluster.majority_without(follower)))
}

/// Waits until a node is down, with writes through `others` to keep its disk busy.
async fn goes_down(cluster: &Cluster, node: u64, others: &[u64]) -> Result<(), Violation> {
    let is_down = async || {
        // What becomes of the write does not matter.
        drop(cluster.session().set(others[0]).await);
        (!cluster.up().await.contains(&node)).then_some(())
    };
    cluster.eventually("the node stops", LIMIT, is_down).await
}

/// Expects that a node, started again, refuses for good, and that the others serve without it.
async fn stays_down(cluster: &Cluster, node: u64, others: &[u64]) -> Result<(), Violation> {
    cluster.restart(node).await;
    goes_down(cluster, node, others).await?;
    cluster.restart(node).await;
    if cluster.up().await.contains(&node) {
        return Err("a node that refused for good was started".to_owned());
    }
    cluster.leader_among(others).await?;
    cluster.write_through(others, 2).await?;
    cluster.converge().await
}

#[test]
fn what_is_done_to_a_node_that_is_down_is_no_fault() {
    let report = play(1, Kind::Crash, |cluster| {
        Box::pin(async move {
            let (node, others) = follower(&cluster).await?;
            cluster.crash_now(node).await;
            cluster.pause(node).await;
            cluster.resume(node).await;
            cluster.ask_to_stop(node).await;
            cluster.leader_among(&others).await?;
            cluster.restart(node).await;
            cluster.converge().await
        })
    });
    assert_eq!(report.faults.keys().copied().collect::<Vec<_>>(), [Kind::Crash.name()]);
}

#[test]
fn a_node_whose_disk_fails_stops_and_comes_back() {
    play(1, Kind::DiskError, |cluster| {
        Box::pin(async move {
            let (node, others) = follower(&cluster).await?;
            cluster.fail_disk(node, 3).await;
            goes_down(&cluster, node, &others).await?;
            cluster.restart(node).await;
            cluster.ready(node).await?;
            cluster.converge().await
        })
    });
}

#[test]
fn a_node_whose_disk_is_full_goes_on_without_taking_part_in_writes() {
    play(2, Kind::DiskFull, |cluster| {
        Box::pin(async move {
            let (node, others) = follower(&cluster).await?;
            cluster.fill_disk(node, 0).await;
            cluster.write_through(&others, 40).await?;
            // It starts on the full disk, too.
            cluster.crash_now(node).await;
            cluster.restart(node).await;
            cluster.write_through(&others, 40).await?;
            cluster.mend_disk(node).await;
            cluster.ready(node).await?;
            cluster.converge().await
        })
    });
}

#[test]
fn what_needs_room_is_refused_where_a_quorum_has_none_and_taken_when_it_has() {
    let report = play(6, Kind::DiskFull, |cluster| {
        Box::pin(async move {
            let leader = cluster.leader().await?;
            cluster.write_through(&[leader], 4).await?;
            for node in cluster.nodes() {
                cluster.fill_disk(node, 0).await;
            }
            let mut session = cluster.session();
            let is_refused = async || match session.set(leader).await {
                Written::NotApplied(why) => why.contains("disk_full").then_some(()),
                Written::Done(_) | Written::Unknown(_) => None,
            };
            cluster.eventually("a write is refused for want of room", PATIENCE, is_refused).await?;
            if let Written::Done(_) = session.set(leader).await {
                return Err("a write was taken without room".to_owned());
            }
            cluster.end_faults().await;
            cluster.converge().await
        })
    });
    assert_eq!(report.faults["disk full"], 3);
}

/// The disk says that there is more room than there is, so a node that is short folds early, and finds out in the middle.
#[test]
fn a_fold_that_finds_no_room_ends_nobody_and_is_done_when_there_is() {
    play(3, Kind::DiskFull, |cluster| {
        Box::pin(async move {
            let (node, others) = follower(&cluster).await?;
            for bit in 0..20 {
                cluster.fill_disk_unsaid(node, bit * 4_000, 200_000).await;
                cluster.write_through(&others, 15).await?;
            }
            if !cluster.up().await.contains(&node) {
                return Err("a node stopped for want of room".to_owned());
            }
            cluster.mend_disk(node).await;
            cluster.ready(node).await?;
            cluster.converge().await
        })
    });
}

#[test]
fn nothing_is_acknowledged_that_a_hung_disk_holds_up() {
    let report = play(3, Kind::DiskHang, |cluster| {
        Box::pin(async move {
            let (node, others) = follower(&cluster).await?;
            let leader = cluster.leader().await?;
            let hang = Hang { lanes: Lanes::Log, at_the_end: false };
            cluster.hang_disk(node, hang).await;
            cluster.write_through(&[leader], 2).await?;
            // With two of three hung there is no majority whose disks have it.
            let third = others.iter().copied().find(|other| *other != leader).ok_or("there are three")?;
            cluster.hang_disk(third, hang).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut session = cluster.session();
            session.set_timeout(Duration::from_secs(1));
            let written = session.set(leader).await;
            if let quorate_sim::cluster::client::Written::Done { .. } = written {
                return Err("acknowledged by one disk of three".to_owned());
            }
            cluster.crash_now(third).await;
            cluster.end_faults().await;
            cluster.converge().await
        })
    });
    assert_eq!(report.faults["disk hang"], 2);
}

/// Whatever rots of a state file, at whatever time: the node gets another state.
#[test]
fn a_state_file_that_rotted_is_rebuilt() {
    let mut rebuilt = 0;
    for seed in 40..52 {
        let report = play(seed, Kind::Rot, |cluster| {
            Box::pin(async move {
                let (node, others) = follower(&cluster).await?;
                cluster.write_through(&others, 40).await?;
                cluster.crash_now(node).await;
                if !cluster.rot(node).await {
                    return Err("nothing rotted".to_owned());
                }
                cluster.restart(node).await;
                cluster.ready(node).await?;
                cluster.write_through(&others, 2).await?;
                cluster.converge().await
            })
        });
        rebuilt += report.counters.get("states lost").copied().unwrap_or(0);
    }
    assert!(rebuilt > 0, "no seed damaged what its node read");
}

/// Whatever rots of anything: the node heals, and if its log is beyond that, it comes back as another one, by itself.
#[test]
fn bytes_that_rotted_heal() {
    let mut given_up = 0;
    for seed in 60..76 {
        let report = play(seed, Kind::Rot, |cluster| {
            Box::pin(async move {
                let (node, others) = follower(&cluster).await?;
                cluster.write_through(&others, 20).await?;
                cluster.crash_now(node).await;
                if !cluster.rot(node).await {
                    return Err("nothing rotted".to_owned());
                }
                if cluster.rot(others[0]).await {
                    return Err("a majority was damaged".to_owned());
                }
                cluster.restart(node).await;
                cluster.ready(node).await?;
                cluster.write_through(&others, 2).await?;
                let id = cluster.id(node).await.ok_or("a node that is ready has an id")?;
                let mut session = cluster.session();
                let votes =
                    async || newcomer::voters(&mut session, others[0]).await?.contains(&id).then_some(());
                cluster.eventually("it votes", PATIENCE, votes).await?;
                if cluster.counted("logs given up") != u64::from(id > 3) {
                    return Err(format!("it goes by the id {id}"));
                }
                cluster.converge().await
            })
        });
        given_up += report.counters.get("logs given up").copied().unwrap_or(0);
    }
    assert!(given_up > 0, "no seed damaged a log beyond repair");
}

/// What the log lost by it the others have (H17).
#[test]
fn a_write_that_landed_elsewhere_is_repaired() {
    play(5, Kind::Misdirected, |cluster| {
        Box::pin(async move {
            let (node, others) = follower(&cluster).await?;
            cluster.write_through(&others, 5).await?;
            cluster.crash_at(node, CutPoint::MisdirectedWrite(0)).await;
            cluster.restart(node).await;
            cluster.ready(node).await?;
            cluster.write_through(&others, 2).await?;
            cluster.converge().await
        })
    });
}

#[test]
fn a_node_whose_disk_was_wiped_is_refused_by_the_others() {
    play(6, Kind::Wiped, |cluster| {
        Box::pin(async move {
            let (node, others) = follower(&cluster).await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            if !cluster.wipe(node).await {
                return Err("it was not wiped".to_owned());
            }
            stays_down(&cluster, node, &others).await
        })
    });
}

#[test]
fn a_node_that_has_to_go_gives_way_to_another_one() {
    let report = play(10, Kind::Removed, |cluster| {
        Box::pin(async move {
            let (node, others) = follower(&cluster).await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            if !cluster.dismiss(node).await {
                return Err("it is not lost".to_owned());
            }
            let is_replaced = async || newcomer::replace(&cluster, node).await.then_some(());
            cluster.eventually("another one votes in its place", PATIENCE, is_replaced).await?;
            if cluster.id(node).await != Some(4) {
                return Err("its id is not 4".to_owned());
            }
            cluster.write_through(&others, 2).await?;
            cluster.ready(node).await?;
            cluster.converge().await
        })
    });
    assert_eq!(report.counters["newcomers that vote"], 1);
}

#[test]
fn a_leader_that_is_not_heard_is_replaced() {
    play(7, Kind::OneWayCut, |cluster| {
        Box::pin(async move {
            let leader = cluster.leader().await?;
            let cuts = cluster.cut_one_way(leader).await;
            let others = cluster.majority_without(leader);
            cluster.leader_among(&others).await?;
            cluster.write_through(&others, 2).await?;
            cluster.mend(cuts).await;
            cluster.ready(leader).await?;
            cluster.converge().await
        })
    });
}

#[test]
fn clients_reach_a_node_through_the_others_only() {
    play(8, Kind::ClientCut, |cluster| {
        Box::pin(async move {
            let leader = cluster.leader().await?;
            let cuts = cluster.cut_from_clients(leader).await;
            // Its peers hear it: it leads on.
            cluster.write_through(&cluster.majority_without(leader), 2).await?;
            cluster.mend(cuts).await;
            cluster.converge().await
        })
    });
}

#[test]
fn late_slow_and_skewed_it_goes_on() {
    let report = play(9, Kind::LateSync, |cluster| {
        Box::pin(async move {
            let (node, others) = follower(&cluster).await?;
            cluster.slow_link(others[0], others[1], Duration::from_millis(60)).await;
            cluster.slow_disk(node, 10).await;
            cluster.set_clock_rate(node, 1_300_000).await;
            cluster.step_wall_clock(others[0], -7_200_000).await;
            cluster.delay_sync(others[1], Duration::from_secs(1)).await;
            cluster.reset(others[0], others[1], true).await;
            cluster.reset(0, others[1], false).await;
            cluster.write_through(&others, 3).await?;
            // What the late one applies is on its disk.
            cluster.agree(&others).await?;
            cluster.end_faults().await;
            cluster.converge().await
        })
    });
    assert!(report.overlapped, "a slow link and a slow disk");
    for kind in [Kind::SlowLink, Kind::SlowDisk, Kind::ClockRate, Kind::WallStep, Kind::Reset] {
        assert!(report.faults.contains_key(kind.name()), "{}", kind.name());
    }
}

/// The process dies at any call of the first start, the next one finds what it left, and then the power goes: the directory
/// is still there, and who it was when it was last asked.
#[test]
fn an_identity_that_was_read_survives_the_power() {
    let dir = Path::new("/srv/quorate/data");
    let expected = Expected { node: NodeId(1), token: "t", members: vec![NodeId(1)], joins: false };
    let mut taken_over = 0;
    for calls in 1..30 {
        let trace = Trace::new(entropy::now, None).expect("no sink to fail");
        let disk = Disk::new(1, Path::new(DISK_ROOT), trace.clone(), Ledger::new(trace));
        let mut rng = fastrand::Rng::with_seed(calls);
        let open = |power, random| {
            Identity::open(DiskFs::mount(disk.clone(), power).shared(), dir, &expected, random)
        };
        let power = Power::on();
        power.cut_after(calls);
        drop(open(power, 100));
        disk.crash(Loss::Nothing, &mut rng);
        let (power, random) = (Power::on(), 200);
        let read = open(power.clone(), random).expect("a start after a kill");
        power.cut();
        disk.crash(Loss::Whole, &mut rng);
        let found = open(Power::on(), 300).expect("a start after a power cut");
        assert_eq!(found.incarnation(), read.incarnation(), "killed at call {calls}");
        taken_over += u64::from(read.incarnation().0 != random);
    }
    assert!(taken_over > 0, "no kill left an identity");
}
