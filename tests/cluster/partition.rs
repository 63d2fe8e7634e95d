//! Networks that break: both ways, one way, and heal. What must hold: no stale linearizable read, no write lost, a
//! minority refuses within its deadline, and everything comes back by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::{Client, Cluster, Outcome, Writers};

const SHORT: Duration = Duration::from_millis(700);

/// Starts a thread that reads `key` through `client` without pause until told to stop. `floor` is the number in the
/// newest acknowledged value: every linearizable read that begins later must see at least that number.
fn watch(
    client: Client,
    floor: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<(u64, u64)> {
    std::thread::spawn(move || {
        let (mut served, mut refused) = (0, 0);
        while !stop.load(Ordering::SeqCst) {
            let at_least = floor.load(Ordering::SeqCst);
            match client.try_value("counter", Some(SHORT)) {
                Ok(value) => {
                    let seen: u64 = value.map_or(0, |value| value.parse().expect("a number"));
                    assert!(
                        seen >= at_least,
                        "stale: {} served {seen} after {at_least} was acked",
                        client.address()
                    );
                    served += 1;
                }
                Err(_) => refused += 1,
            }
        }
        (served, refused)
    })
}

#[test]
fn a_cut_off_leader_never_serves_a_stale_read() {
    let mut cluster = Cluster::start_relayed("cut-leader", 3);
    let old = cluster.wait_ready();
    cluster.client(old).set("counter", "1");
    let (floor, stop) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
    let reader = watch(cluster.client(old), Arc::clone(&floor), Arc::clone(&stop));
    let others = cluster.ids_without(&[old]);
    cluster.network().isolate(old, &others);
    // From now on the old leader must not acknowledge; it may take until it notices.
    let refused = cluster.client(old).try_set("counter-lost", "x", Some(SHORT));
    assert!(!matches!(refused, Outcome::Done(_)), "a cut-off leader acknowledged a write: {refused:?}");
    let new = cluster.wait_leader_among(&others);
    for number in 2..=60 {
        cluster.client(new).set("counter", &number.to_string());
        floor.store(number, Ordering::SeqCst);
    }
    let answer = cluster
        .client(old)
        .request("GET", "/api/get?key=counter", &[("x-quorate-timeout-ms", "700")], None)
        .expect("an answer within the deadline");
    answer.expect_problem(503);
    cluster.network().heal();
    let client = cluster.client(old);
    poll_until("the old leader to serve again", PATIENCE, || client.try_value("counter", Some(SHORT)).ok());
    stop.store(true, Ordering::SeqCst);
    let (_, refused) = reader.join().expect("a stale read");
    assert!(refused > 0, "the reader was never refused: was there a cut?");
    assert_eq!(cluster.client(old).value("counter").as_deref(), Some("60"));
}

#[test]
fn a_minority_refuses_writes_within_the_deadline_and_heals() {
    let mut cluster = Cluster::start_relayed("cut-minority", 3);
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    let others = cluster.ids_without(&[follower]);
    cluster.network().isolate(follower, &others);
    let client = cluster.client(follower);
    for round in 0..3 {
        let start = Instant::now();
        let outcome = client.try_set(&format!("minority/{round}"), "x", Some(SHORT));
        let took = start.elapsed();
        assert!(!matches!(outcome, Outcome::Done(_)), "a minority acknowledged a write: {outcome:?}");
        assert!(took < SHORT + Duration::from_secs(2), "refused after {took:?} of {SHORT:?}");
        cluster.client(leader).set(&format!("majority/{round}"), "y");
    }
    cluster.network().heal();
    for round in 0..3 {
        assert_eq!(client.value(&format!("majority/{round}")).as_deref(), Some("y"));
    }
    client.set("healed", "z");
    let stats = cluster.client(leader).stats();
    assert_eq!(stats["state"], "leader", "a node that comes back does not depose a working leader: {stats}");
}

#[test]
fn every_one_way_cut_of_the_leader_leaves_a_cluster_that_serves() {
    let mut cluster = Cluster::start_relayed("cut-one-way", 3);
    cluster.wait_ready();
    for outgoing in [true, false] {
        let leader = cluster.wait_ready();
        let others = cluster.ids_without(&[leader]);
        let label = if outgoing { "deaf-peers" } else { "deaf-leader" };
        let writers = Writers::start(label, cluster.ids().into_iter().map(|id| cluster.client(id)).collect());
        writers.wait_acknowledged(30);
        for other in &others {
            match outgoing {
                true => cluster.network().cut(leader, *other),
                false => cluster.network().cut(*other, leader),
            }
        }
        cluster.wait_leader_among(&others);
        writers.wait_acknowledged(30);
        cluster.network().heal();
        cluster.wait_ready();
        let history = writers.finish();
        for id in cluster.ids() {
            history.check(label, &cluster.client(id));
        }
    }
}

#[test]
fn one_broken_link_between_leader_and_follower_stops_nobody() {
    let mut cluster = Cluster::start_relayed("cut-link", 3);
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    cluster.network().isolate(leader, &[follower]);
    // The third node still reaches both: writes go on, through whoever leads after a while.
    let third = cluster.ids_without(&[leader, follower])[0];
    for number in 0..20 {
        cluster.client(third).set(&format!("link/{number}"), "x");
    }
    cluster.network().heal();
    cluster.wait_ready();
    for id in cluster.ids() {
        assert_eq!(cluster.client(id).value("link/19").as_deref(), Some("x"), "through node {id}");
    }
}

#[test]
fn writers_survive_a_leader_cut_off_again_and_again() {
    let mut cluster = Cluster::start_relayed("cut-again", 3);
    cluster.wait_ready();
    let writers = Writers::start("again", cluster.ids().into_iter().map(|id| cluster.client(id)).collect());
    for round in 0..4 {
        writers.wait_acknowledged(40);
        let leader = cluster.wait_leader();
        let others = cluster.ids_without(&[leader]);
        cluster.network().isolate(leader, &others);
        cluster.wait_leader_among(&others);
        writers.wait_acknowledged(20);
        if round % 2 == 1 {
            // Every connection dies with what it held back: the network forgets instead of repeating.
            cluster.network().reset();
        }
        cluster.network().heal();
        cluster.wait_ready();
    }
    let history = writers.finish();
    for id in cluster.ids() {
        history.check("again", &cluster.client(id));
    }
}
