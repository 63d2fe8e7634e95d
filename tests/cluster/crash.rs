//! Processes that die: what was acknowledged is there, whatever was killed and whenever.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::{Client, Cluster, Outcome, Writers};

fn clients(cluster: &Cluster) -> Vec<Client> {
    cluster.ids().into_iter().map(|id| cluster.client(id)).collect()
}

/// The history is checked through every node: linearizable reads do not depend on where they are asked.
fn check_everywhere(cluster: &Cluster, label: &str, history: &crate::harness::history::History) {
    assert!(!history.done.is_empty(), "nothing was acknowledged: the test shows nothing");
    for id in cluster.ids() {
        if cluster.node(id).is_running() {
            history.check(label, &cluster.client(id));
        }
    }
}

#[test]
fn the_leader_is_killed_under_load_three_times() {
    let mut cluster = Cluster::start("crash-leader", 3);
    cluster.wait_ready();
    let writers = Writers::start("load", clients(&cluster));
    for _ in 0..3 {
        writers.wait_acknowledged(100);
        let old = cluster.wait_leader();
        cluster.node_mut(old).kill();
        let others = cluster.ids_without(&[old]);
        let new = cluster.wait_leader_among(&others);
        assert_ne!(new, old);
        writers.wait_acknowledged(50);
        cluster.start_node(old);
        let client = cluster.client(old);
        poll_until("the killed node to be ready again", PATIENCE, || client.is_ready().then_some(()));
    }
    let history = writers.finish();
    cluster.wait_ready();
    check_everywhere(&cluster, "load", &history);
}

#[test]
fn all_are_killed_at_once_and_come_back_with_everything() {
    let mut cluster = Cluster::start("crash-all", 3);
    cluster.wait_ready();
    for round in 0..3 {
        let label = format!("round{round}");
        let writers = Writers::start(&label, clients(&cluster));
        writers.wait_acknowledged(150);
        for id in cluster.ids() {
            cluster.node(id).signal(nix::sys::signal::Signal::SIGKILL);
        }
        for id in cluster.ids() {
            cluster.node_mut(id).wait_exit(PATIENCE);
        }
        let history = writers.finish();
        cluster.start_all();
        cluster.wait_ready();
        check_everywhere(&cluster, &label, &history);
    }
}

#[test]
fn a_single_node_serves_and_keeps_what_it_acknowledged() {
    let mut cluster = Cluster::start("crash-single", 1);
    cluster.wait_ready();
    let writers = Writers::start("single", clients(&cluster));
    writers.wait_acknowledged(200);
    cluster.node_mut(1).kill();
    let history = writers.finish();
    cluster.start_all();
    cluster.wait_ready();
    check_everywhere(&cluster, "single", &history);
    assert!(cluster.node_mut(1).stop().success());
    cluster.start_all();
    cluster.wait_ready();
    check_everywhere(&cluster, "single", &history);
}

#[test]
fn five_nodes_serve_with_two_down_and_not_with_three() {
    let mut cluster = Cluster::start("crash-five", 5);
    let leader = cluster.wait_ready();
    cluster.client(leader).set("before", "1");
    let other = cluster.ids_without(&[leader])[0];
    cluster.node_mut(leader).kill();
    cluster.node_mut(other).kill();
    let rest = cluster.ids_without(&[leader, other]);
    cluster.wait_leader_among(&rest);
    for id in &rest {
        let client = cluster.client(*id);
        client.set(&format!("with-two-down-{id}"), "2");
        assert_eq!(client.value("before").as_deref(), Some("1"));
    }
    cluster.node_mut(rest[0]).kill();
    let client = cluster.client(rest[1]);
    match client.try_set("with-three-down", "3", Some(Duration::from_millis(800))) {
        Outcome::Done(revision) => panic!("two of five acknowledged a write at revision {revision}"),
        Outcome::NotApplied { .. } | Outcome::Unknown(_) => {}
    }
    cluster.start_all();
    cluster.wait_ready();
    for id in cluster.ids() {
        for key in rest.iter().map(|id| format!("with-two-down-{id}")) {
            assert_eq!(cluster.client(id).value(&key).as_deref(), Some("2"), "{key} through node {id}");
        }
    }
}

#[test]
fn a_follower_that_was_away_catches_up() {
    let mut cluster = Cluster::start("crash-follower", 3);
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    cluster.node_mut(follower).kill();
    let client = cluster.client(leader);
    // More than fits into one append message.
    let value = "x".repeat(256 << 10);
    for number in 0..30 {
        client.set(&format!("away/{number:02}"), &value);
    }
    let target = client.stats()["commit_index"].as_u64().expect("an index");
    cluster.start_node(follower);
    cluster.wait_applied(follower, target);
    let held = crate::harness::history::all(&cluster.client(follower), "away/");
    assert_eq!(held.len(), 30);
}

/// What a member lacks that is away goes from the log all the same: it gets a snapshot when it is back.
#[test]
fn a_member_that_is_away_does_not_fill_the_log() {
    let mut cluster = Cluster::prepare("crash-full", 3, false);
    for id in cluster.ids() {
        // The smallest that are accepted: 64 MiB of log.
        let limits =
            ["--wal-segment-bytes", "16MiB", "--wal-bytes-max", "64MiB", "--write-set-bytes-max", "8MiB"];
        cluster.node_mut(id).arguments.extend(limits.map(str::to_owned));
    }
    cluster.start_all();
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    cluster.node_mut(follower).kill();
    let client = cluster.client(leader);
    let value = "x".repeat(1 << 20);
    for number in 0..160 {
        poll_until("the log to have room", PATIENCE, || {
            match client.try_set(&format!("full/{number:03}"), &value, None) {
                Outcome::Done(_) => Some(()),
                // A fold may be a moment behind.
                Outcome::NotApplied { why, retryable: true } if why.contains("log_full") => None,
                other => panic!("after {number} writes: {other:?}"),
            }
        });
    }
    let bytes = client.stats()["counters"]["wal_bytes"].as_u64().expect("a size");
    assert!(bytes < 96 << 20, "a log of 64 MiB, with one segment begun and one kept, has {bytes} bytes");
    let target = client.stats()["commit_index"].as_u64().expect("an index");
    cluster.start_node(follower);
    cluster.wait_applied(follower, target);
    let held = crate::harness::history::all(&cluster.client(follower), "full/");
    assert_eq!(held.len(), 160, "the follower has everything");
}

/// One key, written over and over: little data, much log. It is folded and purged all the same.
#[test]
fn a_small_hot_set_does_not_fill_the_log() {
    let mut cluster = Cluster::prepare("crash-hot", 1, false);
    let limits = ["--wal-segment-bytes", "16MiB", "--wal-bytes-max", "64MiB"];
    cluster.node_mut(1).arguments.extend(limits.map(str::to_owned));
    cluster.start_all();
    cluster.wait_ready();
    let client = cluster.client(1);
    let value = "x".repeat(1 << 20);
    for _ in 0..160 {
        poll_until("the log to have room", PATIENCE, || match client.try_set("hot", &value, None) {
            Outcome::Done(_) => Some(()),
            // A fold may be a moment behind.
            Outcome::NotApplied { why, retryable: true } if why.contains("log_full") => None,
            other => panic!("{other:?}"),
        });
    }
    let stats = client.stats();
    assert!(stats["purged_index"].as_u64().expect("an index") > 0, "{stats}");
}

#[test]
fn a_paused_follower_does_not_disturb_and_catches_up() {
    let mut cluster = Cluster::start("crash-paused-follower", 3);
    let leader = cluster.wait_ready();
    let term = cluster.client(leader).stats()["term"].clone();
    let follower = cluster.ids_without(&[leader])[0];
    cluster.node(follower).pause();
    for number in 0..50 {
        cluster.client(leader).set(&format!("paused/{number}"), "x");
    }
    // Long enough for the paused node's election timer to have run out several times over.
    let begin = std::time::Instant::now();
    poll_until("three seconds of writes", PATIENCE, || {
        cluster.client(leader).set("paused/tick", "x");
        (begin.elapsed() > Duration::from_secs(3)).then_some(())
    });
    cluster.node(follower).resume();
    let target = cluster.client(leader).stats()["commit_index"].as_u64().expect("an index");
    cluster.wait_applied(follower, target);
    let stats = cluster.client(leader).stats();
    assert_eq!(stats["state"], "leader", "a node that wakes up must not depose a working leader: {stats}");
    assert_eq!(stats["term"], term, "pre-vote keeps the term: {stats}");
}

#[test]
fn a_paused_leader_wakes_up_deposed_and_serves_nothing_old() {
    let mut cluster = Cluster::start("crash-paused-leader", 3);
    let old = cluster.wait_ready();
    cluster.client(old).set("k", "before");
    cluster.node(old).pause();
    let others = cluster.ids_without(&[old]);
    let new = {
        let clients: Vec<(u64, Client)> = others.iter().map(|id| (*id, cluster.client(*id))).collect();
        poll_until("a leader among the others", PATIENCE, || {
            clients
                .iter()
                .find(|(_, client)| client.is_ready() && client.stats()["state"] == "leader")
                .map(|(id, _)| *id)
        })
    };
    cluster.client(new).set("k", "after");
    // These requests wait in the paused node's sockets when it wakes up: it reads them before it hears of its successor.
    let waiting: Vec<_> = (0..20).map(|_| ask_without_waiting(&cluster.node(old).http)).collect();
    cluster.node(old).resume();
    for (number, mut stream) in waiting.into_iter().enumerate() {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.contains("before"), "read {number}: a deposed leader served an old value: {answer}");
        assert!(answer.contains("after") || answer.starts_with("HTTP/1.1 503"), "read {number}: {answer:?}");
    }
    assert_eq!(cluster.client(old).value("k").as_deref(), Some("after"));
    cluster.wait_ready();
}

/// Sends a linearizable read of `k`. The kernel of a paused process still takes connections and bytes.
fn ask_without_waiting(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the kernel accepts");
    stream.set_read_timeout(Some(Duration::from_secs(12))).expect("a socket option");
    let request = format!(
        "GET /api/get?key=k HTTP/1.1\r\nhost: {address}\r\nx-quorate-timeout-ms: 8000\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("the kernel buffers");
    stream
}
