//! The loss of a quorum: what is left becomes a cluster of its own, with all that it had, and old nodes stay out.

use crate::harness::Cluster;
use crate::harness::node::command;
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::run::{Ended, run};

fn recover(cluster: &Cluster, ids: &[u64], flags: &[&str]) -> Ended {
    let mut recover = command();
    recover.arg("recover");
    for id in ids {
        recover.arg("--data-dir").arg(&cluster.node(*id).data);
    }
    recover.args(flags);
    run(&cluster.directory(), recover)
}

#[test]
fn one_of_three_becomes_a_cluster_of_its_own() {
    let mut cluster = Cluster::start("recover-one", 3);
    cluster.wait_ready();
    let client = cluster.client(1);
    let mut acknowledged = Vec::new();
    for number in 0..50 {
        let (key, value) = (format!("k{number:02}"), format!("v{number}"));
        acknowledged.push((key.clone(), value.clone(), client.set(&key, &value)));
    }
    let applied = client.stats()["applied_index"].as_u64().expect("a number");
    cluster.wait_applied(3, applied);
    let revision = acknowledged.last().expect("some").2;
    // Refused while it runs.
    let peer = cluster.node(3).peer.clone();
    let wish = ["--id", "3", "--peer", &peer, "--accept-data-loss"];
    recover(&cluster, &[3], &wish).expect(2, &["is this node running already"]);
    for id in [1, 2, 3] {
        cluster.node_mut(id).kill();
    }

    // A look at all of them changes nothing.
    let seen = recover(&cluster, &[1, 2, 3], &[]).expect(0, &[]);
    for part in ["last term", "the best of these: ", "members: 1, 2, 3", "nothing was changed"] {
        assert!(seen.stdout.contains(part), "no {part}: {}", seen.stdout);
    }
    recover(&cluster, &[1, 3], &wish).expect(2, &["exactly one --data-dir"]);
    let other = ["--id", "1", "--peer", &peer, "--accept-data-loss"];
    recover(&cluster, &[3], &other).expect(2, &["another member of the old cluster"]);

    let done = recover(&cluster, &[3], &wish).expect(0, &[]);
    assert!(done.stdout.contains("done: node 3 of cluster "), "{}", done.stdout);
    assert!(done.stdout.contains("ids that are gone for good: 1, 2"), "{}", done.stdout);
    let mut check = command();
    check.arg("check").arg(&cluster.node(3).data);
    run(&cluster.directory(), check).expect(0, &[]);

    cluster.node_mut(3).remove_flag("--initial-cluster");
    cluster.start_node(3);
    cluster.wait_leader_among(&[3]);
    let client = cluster.client(3);
    for (key, value, _) in &acknowledged {
        assert_eq!(client.value(key).as_ref(), Some(value), "{key}");
    }
    assert!(client.set("after", "v") > revision + 1_000_000_000, "the revision did not jump");

    // A node of the old cluster finds nobody.
    cluster.start_node(1);
    poll_until("node 1 to be refused", PATIENCE, || {
        let said = [cluster.node(1).output(), cluster.node(3).output()].concat();
        said.contains("belongs to cluster").then_some(())
    });
    assert!(!cluster.client(1).is_ready(), "a node of the old cluster serves");
    cluster.node_mut(3).assert_alive();
    cluster.node_mut(1).kill();

    // Emptied, both join anew, under new ids.
    for id in [1, 2] {
        std::fs::remove_dir_all(&cluster.node(id).data).expect("removable");
        let node = cluster.node_mut(id);
        node.remove_flag("--initial-cluster");
        node.remove_flag("--id");
        node.set_flag("--join", &peer);
        cluster.start_node(id);
        poll_until("the new member to vote", PATIENCE, || {
            let members = client.request("GET", "/api/members", &[], None).ok()?.json();
            let is_voter = |member: &&serde_json::Value| member["role"] == "voter";
            let voters = members["members"].as_array()?.iter().filter(is_voter).count() as u64;
            (voters == 1 + id).then_some(())
        });
    }
    let members = client.get("/api/members").expect(200).json();
    let ids: Vec<u64> =
        members["members"].as_array().expect("a list").iter().filter_map(|one| one["id"].as_u64()).collect();
    assert_eq!(ids, [3, 4, 5], "ids of the old cluster are gone for good");
    // It stands on its own feet: the recovered node goes, the two go on with everything.
    assert!(cluster.node_mut(3).stop().success());
    cluster.wait_leader_among(&[1, 2]);
    for (key, value, _) in &acknowledged {
        assert_eq!(cluster.client(1).value(key).as_ref(), Some(value), "{key}");
    }
    // And it starts again from where its files are now.
    cluster.start_node(3);
    cluster.wait_ready();
    assert_eq!(cluster.client(3).value("after").as_deref(), Some("v"));
}
