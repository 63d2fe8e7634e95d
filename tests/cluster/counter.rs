//! The client library through the deaths of leaders and followers: what it says was done is done once, and it is never at a loss.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use quorate::client::{Client, ClientBuilder, Error, Swap, blocking};
use tokio::runtime::Builder;

use crate::harness::Cluster;
use crate::harness::poll::{PATIENCE, poll_until};
use crate::metrics::samples;

const KEY: &str = "counter";
const TASKS: u64 = 16;
const THREADS: u64 = 4;

/// Increments and kills at least, unless `QUORATE_COUNTER` says otherwise: `20000,20`.
const WORK: (u64, u64) = (1_500, 3);
/// Writes that must have been settled by a retry, or nothing is proven.
const SETTLED_MIN: u64 = 10;

/// Nodes that advertise an address at which nobody listens. While one of them leads, clients that were not told of it reach it through
/// followers; while node 1 leads, all write to it directly.
const HIDDEN: [u64; 2] = [2, 3];
/// Beyond the nodes.
const NOBODY: u64 = 9;

/// What those who count share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Increments that were acknowledged.
    done: AtomicU64,
}

/// What one of them knows of the counter.
#[derive(Default)]
struct Seen {
    revision: u64,
    count: u64,
}

impl Seen {
    fn next(&self) -> String {
        (self.count + 1).to_string()
    }

    fn learn(&mut self, swap: Swap, shared: &Shared) {
        match swap {
            Swap::Set { revision } => {
                shared.done.fetch_add(1, Ordering::Relaxed);
                *self = Seen { revision, count: self.count + 1 };
            }
            Swap::Changed { current: None } => *self = Seen::default(),
            Swap::Changed { current: Some(kv) } => {
                let count = kv.text().expect("a number").parse().expect("a number");
                *self = Seen { revision: kv.mod_revision, count };
            }
        }
    }
}

/// A client that is told of one node, and waits for as long as it takes.
fn builder(cluster: &Cluster, number: u64) -> ClientBuilder {
    let ids = cluster.ids();
    let id = ids[usize::try_from(number).expect("a few") % ids.len()];
    Client::builder().endpoints([cluster.slot().grpc(id)]).deadline(2 * PATIENCE)
}

async fn count_on(client: Client, shared: Arc<Shared>) -> Result<(), Error> {
    let mut seen = Seen::default();
    while !shared.stop.load(Ordering::Relaxed) {
        seen.learn(client.compare_and_set(KEY, seen.revision, seen.next()).await?, &shared);
    }
    Ok(())
}

fn count_on_blocking(client: &blocking::Client, shared: &Shared) -> Result<(), Error> {
    let mut seen = Seen::default();
    while !shared.stop.load(Ordering::Relaxed) {
        seen.learn(client.compare_and_set(KEY, seen.revision, seen.next()).call()?, shared);
    }
    Ok(())
}

/// Covers H24.
#[test]
fn increments_through_kills_are_counted_once() {
    let work = std::env::var("QUORATE_COUNTER").ok();
    let (increments, kills_min) = work.map_or(WORK, |work| {
        let (increments, kills) = work.split_once(',').expect("increments, a comma, kills");
        (increments.parse().expect("a number"), kills.parse().expect("a number"))
    });
    let mut cluster = Cluster::prepare("counter", 3, false);
    for id in HIDDEN {
        let nobody = cluster.slot().grpc(NOBODY + id);
        cluster.node_mut(id).set_flag("--advertise-grpc", &nobody);
    }
    cluster.start_all();
    cluster.wait_ready();
    let shared = Arc::new(Shared::default());
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let clients: Vec<Client> = (0..TASKS)
        .map(|number| runtime.block_on(builder(&cluster, number).connect()).expect("the cluster is up"))
        .collect();
    let tasks: Vec<_> =
        clients.iter().map(|client| runtime.spawn(count_on(client.clone(), shared.clone()))).collect();
    let blockings: Vec<blocking::Client> = (0..THREADS)
        .map(|number| blocking::Client::connect(builder(&cluster, number)).expect("the cluster is up"))
        .collect();
    let threads: Vec<_> = blockings
        .iter()
        .map(|client| {
            let (client, shared) = (client.clone(), shared.clone());
            thread::spawn(move || count_on_blocking(&client, &shared))
        })
        .collect();

    let settled = || -> u64 {
        let async_ones = clients.iter().map(Client::settled_by_retries);
        async_ones.chain(blockings.iter().map(blocking::Client::settled_by_retries)).sum()
    };
    let done = || shared.done.load(Ordering::Relaxed);
    let mut kills = 0;
    while kills < kills_min || done() < increments || settled() < SETTLED_MIN {
        assert!(
            kills < 10 * kills_min,
            "after {kills} kills {} are done and {} settled by retries",
            done(),
            settled()
        );
        let goal = done() + increments / kills_min;
        poll_until("increments", 4 * PATIENCE, || (done() >= goal).then_some(()));
        let leader = cluster.wait_leader();
        // Two leaders, a follower, and again.
        let victim = if kills % 3 == 2 { cluster.ids_without(&[leader])[0] } else { leader };
        cluster.node_mut(victim).kill();
        cluster.wait_leader_among(&cluster.ids_without(&[victim]));
        cluster.start_node(victim);
        let back = cluster.client(victim);
        poll_until("the node to be ready", PATIENCE, || back.is_ready().then_some(()));
        kills += 1;
    }
    shared.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        runtime.block_on(task).expect("no panic").expect("no increment fails, and none is unknown");
    }
    for thread in threads {
        thread.join().expect("no panic").expect("no increment fails, and none is unknown");
    }
    let value = cluster.client(1).value(KEY).expect("it was set").parse::<u64>().expect("a number");
    assert_eq!(value, done(), "after {kills} kills, {} settled by retries", settled());
    assert!(settled() >= SETTLED_MIN);
    let forwards = |id: &u64| samples(&cluster, *id)["quorate_forwards_total"];
    assert!(cluster.ids().iter().map(forwards).sum::<f64>() > 0.0, "no follower has passed anything on");
    // The clients close their sessions while there is somebody to close them.
    drop((clients, blockings));
    runtime.shutdown_timeout(Duration::from_secs(1));
    cluster.assert_all_alive();
}
