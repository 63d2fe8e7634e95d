//! Strangers: a wiped disk under an old id, another cluster's node, a directory of another node.

use crate::harness::Cluster;
use crate::harness::poll::{PATIENCE, poll_never, poll_until};

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
