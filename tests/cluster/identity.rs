//! Strangers: a wiped disk under an old id, another cluster's node, a directory of another node.

use crate::harness::node::Node;
use crate::harness::poll::{PATIENCE, poll_never, poll_until};
use crate::harness::{Client, Cluster};

/// Replaces or adds a flag of a node that is not running.
fn set_flag(cluster: &mut Cluster, id: u64, flag: &str, value: &str) {
    let arguments = &mut cluster.node_mut(id).arguments;
    match arguments.iter().position(|argument| argument == flag) {
        Some(at) => arguments[at + 1] = value.to_owned(),
        None => arguments.extend([flag.to_owned(), value.to_owned()]),
    }
}

#[test]
fn a_wiped_disk_under_the_old_id_is_refused_with_exit_5() {
    let mut cluster = Cluster::start("identity-wiped", 3);
    let leader = cluster.wait_ready();
    for id in cluster.ids() {
        cluster.client(id).set(&format!("k{id}"), "v");
    }
    // Follower and leader alike.
    for victim in [cluster.ids_without(&[leader])[0], leader] {
        cluster.node_mut(victim).kill();
        let data = cluster.node(victim).data.clone();
        let kept = data.with_extension("kept");
        std::fs::rename(&data, &kept).expect("a directory can be renamed");
        cluster.start_node(victim);
        let status = cluster.node_mut(victim).wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(5), "{}", cluster.node(victim).output());
        let others = cluster.ids_without(&[victim]);
        cluster.wait_leader_among(&others);
        for id in others {
            cluster.client(id).set(&format!("after-{victim}-{id}"), "v");
        }
        // With its own disk it is welcome.
        if data.exists() {
            std::fs::remove_dir_all(&data).expect("removable");
        }
        std::fs::rename(&kept, &data).expect("a directory can be renamed");
        cluster.start_node(victim);
        cluster.wait_ready();
        assert_eq!(cluster.client(victim).value("k1").as_deref(), Some("v"));
    }
}

#[test]
fn a_node_with_another_token_never_takes_part() {
    let mut cluster = Cluster::prepare("identity-token", 3, false);
    set_flag(&mut cluster, 3, "--cluster-token", "another");
    cluster.start_all();
    let leader = cluster.wait_leader_among(&[1, 2]);
    cluster.client(leader).set("k", "v");
    let stranger = cluster.client(3);
    poll_never("a stranger serves", std::time::Duration::from_secs(3), || {
        stranger.is_ready().then(|| "it is ready".to_owned())
    });
    for id in [1, 2] {
        cluster.node_mut(id).assert_alive();
        assert_eq!(cluster.client(id).value("k").as_deref(), Some("v"));
    }
    // Both sides say why: on one line each, with a word for what differs.
    poll_until("a line about the other cluster", PATIENCE, || {
        let said = |id: u64| {
            cluster.node(id).output().lines().any(|line| line.contains("cluster") && line.contains("refus"))
        };
        (said(3) || said(1) || said(2)).then_some(())
    });
}

#[test]
fn a_directory_belongs_to_one_id() {
    let mut cluster = Cluster::start("identity-id", 3);
    cluster.wait_ready();
    assert!(cluster.node_mut(3).stop().success());
    assert!(cluster.node_mut(2).stop().success());
    // Node 2 is started on node 3's directory.
    let other = cluster.node(3).data.to_str().expect("UTF-8").to_owned();
    set_flag(&mut cluster, 2, "--data-dir", &other);
    cluster.start_node(2);
    let status = cluster.node_mut(2).wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(5), "{}", cluster.node(2).output());
    cluster.start_node(3);
    cluster.wait_leader_among(&[1, 3]);
}

#[test]
fn a_changed_token_does_not_take_over_an_old_directory() {
    let mut cluster = Cluster::start("identity-retoken", 1);
    cluster.wait_ready();
    cluster.client(1).set("k", "v");
    assert!(cluster.node_mut(1).stop().success());
    set_flag(&mut cluster, 1, "--cluster-token", "another");
    cluster.start_node(1);
    let client = cluster.client(1);
    // Either it refuses, or it goes by what the directory says; it never becomes a new cluster with old data.
    let ended = poll_until("the node to refuse or to serve", PATIENCE, || {
        if client.is_ready() {
            return Some(false);
        }
        cluster.node_mut(1).has_ended().then_some(true)
    });
    match ended {
        true => assert_eq!(
            cluster.node_mut(1).wait_exit(PATIENCE).code(),
            Some(5),
            "{}",
            cluster.node(1).output()
        ),
        false => assert_eq!(client.value("k").as_deref(), Some("v")),
    }
}

/// Copies a directory with all that is in it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("the test's directory is writable");
    for entry in std::fs::read_dir(from).expect("the directory is there") {
        let entry = entry.expect("a name");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("a file can be copied")),
        }
    }
}

#[test]
fn two_processes_on_copies_of_one_directory_are_warned_of_and_not_chattered_about() {
    let mut cluster = Cluster::start("identity-twin", 3);
    let leader = cluster.wait_ready();
    let twinned = cluster.ids_without(&[leader])[0];
    assert!(cluster.node_mut(twinned).stop().success());
    let elsewhere = cluster.directory().join("twin");
    copy(&cluster.node(twinned).data, &elsewhere.join(format!("node{twinned}")));
    cluster.start_node(twinned);
    let slot = cluster.slot();
    let at = |port: u16| format!("{}:{port}", slot.ip(60));
    let peers: Vec<String> = cluster.ids().iter().map(|id| format!("{id}={}", slot.peer(*id))).collect();
    let addresses = (at(18_081), at(17_001), at(19_001));
    let mut twin = Node::new(twinned, &elsewhere, addresses, &peers.join(","));
    twin.start();

    let warnings = |node: &Node| -> usize {
        node.output()
            .lines()
            .filter(|line| line.contains("WARN") && line.contains("in this node's name"))
            .count()
    };
    poll_until("a warning about a second process", PATIENCE, || {
        (warnings(cluster.node(twinned)) + warnings(&twin) > 0).then_some(())
    });
    // It goes on: many more connections are ended, and the log does not grow with each.
    let failures = |client: &Client| {
        client.try_stats().and_then(|stats| stats["counters"]["transport_connect_failures"].as_u64())
    };
    let client = cluster.client(twinned);
    let start = poll_until("the count of failures", PATIENCE, || failures(&client));
    let lines = cluster.node(twinned).output().lines().count();
    poll_until("40 more failures", PATIENCE, || failures(&client).filter(|now| *now >= start + 40));
    let more = cluster.node(twinned).output().lines().count() - lines;
    assert!(more < 20, "{more} lines for 40 failures: {}", cluster.node(twinned).output());
    assert!(
        warnings(cluster.node(twinned)) <= 4,
        "one a peer and minute: {}",
        cluster.node(twinned).output()
    );
}
