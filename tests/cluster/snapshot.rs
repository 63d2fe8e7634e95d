//! A node that was away for longer than the log reaches back gets a snapshot, and so does a new one.

use serde_json::json;

use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::{Client, Cluster};

/// Small files, so that a test's load is a long log.
const SMALL: [&str; 8] = [
    "--wal-segment-bytes",
    "16MiB",
    "--wal-bytes-max",
    "128MiB",
    "--log-tail-bytes-max",
    "0",
    "--write-set-bytes-max",
    "8MiB",
];

/// Writes `count` values of a quarter MiB, each of its own content.
fn fill(client: &Client, label: &str, count: usize) {
    for at in 0..count {
        client.set(&format!("{label}-{at}"), &value(label, at));
    }
}

fn value(label: &str, at: usize) -> String {
    format!("{label}{at:08}").repeat((256 << 10) / (label.len() + 8))
}

fn check(client: &Client, label: &str, count: usize) {
    for at in (0..count).step_by(7) {
        let found = client.value(&format!("{label}-{at}"));
        assert!(found.as_deref() == Some(value(label, at).as_str()), "{label}-{at} at {}", client.address());
    }
}

/// Waits until the log of the leader begins after `index`.
fn wait_purged(client: &Client, index: u64) {
    let mut at = 0;
    poll_until("the log to be purged", PATIENCE, || {
        // Folds come with writes.
        at += 1;
        client.set(&format!("nudge-{}", at % 4), &value("nudge", at));
        (client.stats()["purged_index"].as_u64() > Some(index)).then_some(())
    });
}

#[test]
fn a_node_that_was_down_through_compaction_comes_back_by_snapshot() {
    let mut cluster = Cluster::start_growing("snapshot-away", 3, 4, &SMALL);
    let leader = cluster.wait_leader_among(&[1, 2, 3]);
    let client = cluster.client(leader);
    fill(&client, "early", 40);
    client.set("gone", "v");
    let away = [1, 2, 3].into_iter().find(|id| *id != leader).expect("there are three");
    let index = cluster.wait_applied(away, 1)["applied_index"].as_u64().expect("an index");
    cluster.node_mut(away).kill();
    fill(&client, "late", 120);
    client.delete("/api/delete?key=gone").expect(200);
    wait_purged(&client, index + 50);
    cluster.start_node(away);
    let back = cluster.client(away);
    poll_until("the node to be back", PATIENCE, || back.is_ready().then_some(()));
    let output = cluster.node(away).output();
    assert!(output.contains("installing a snapshot"), "{output}");
    check(&back, "early", 40);
    check(&back, "late", 120);
    // It replaces, it does not merge (H29).
    assert_eq!(back.value("gone"), None);
    let files = std::fs::read_dir(&cluster.node(away).data).expect("readable");
    let names: Vec<String> =
        files.map(|file| file.expect("listed").file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(names.iter().filter(|name| name.contains("redb")).count(), 1, "{names:?}");
    // A new node gets one as well, and both go on from there.
    cluster.start_node(4);
    let newcomer = cluster.client(4);
    poll_until("the new node to vote", PATIENCE, || {
        let answer = client.request("GET", "/api/members", &[], None).ok()?;
        let members = answer.json();
        let all = members["members"].as_array()?;
        all.iter().any(|member| member["id"] == json!(4) && member["role"] == json!("voter")).then_some(())
    });
    check(&newcomer, "late", 120);
    cluster.node_mut(away).kill();
    cluster.start_node(away);
    poll_until("the node to be back again", PATIENCE, || back.is_ready().then_some(()));
    check(&back, "early", 40);
    client.set("last", "v");
    for id in cluster.ids() {
        assert_eq!(cluster.client(id).value("last").as_deref(), Some("v"));
    }
    cluster.assert_all_alive();
}

/// The receiver is killed again and again while the snapshot comes in, at whatever step it is.
#[test]
fn a_node_that_is_killed_while_a_snapshot_comes_in_converges() {
    let mut cluster = Cluster::start_growing("snapshot-killed", 1, 2, &SMALL);
    cluster.wait_leader_among(&[1]);
    let first = cluster.client(1);
    fill(&first, "data", 160);
    wait_purged(&first, 60);
    for round in 0..6_u32 {
        cluster.start_node(2);
        let at = ["joined a cluster", "a snapshot comes", "installing a snapshot"][round as usize % 3];
        let seen = cluster.node(2).output().matches(at).count();
        // After the last step it may have all of it already, and never see the line again.
        crate::harness::poll::try_poll_until(PATIENCE / 20, || {
            (cluster.node(2).output().matches(at).count() > seen).then_some(())
        });
        cluster.node_mut(2).kill();
    }
    cluster.start_node(2);
    let second = cluster.client(2);
    poll_until("the node to be ready", PATIENCE, || second.is_ready().then_some(()));
    check(&second, "data", 160);
    assert!(cluster.node(2).output().contains("installing a snapshot"), "{}", cluster.node(2).output());
    cluster.assert_all_alive();
}

/// What was deleted is given back to the file system, with no command from anybody.
#[test]
fn a_state_file_that_is_mostly_free_is_rewritten() {
    let mut cluster = Cluster::start_growing("snapshot-rewrite", 1, 1, &SMALL);
    cluster.wait_leader_among(&[1]);
    let client = cluster.client(1);
    client.set("kept", "v");
    fill(&client, "data", 240);
    for at in 0..240 {
        client.delete(&format!("/api/delete?key=data-{at}")).expect(200);
    }
    let mut at = 0;
    poll_until("the state file to be rewritten", PATIENCE, || {
        // Folds come with writes.
        at += 1;
        client.set(&format!("nudge-{}", at % 4), &value("nudge", at));
        cluster.node(1).output().contains("the state file was rewritten").then_some(())
    });
    let bytes = client.stats()["counters"]["state_file_bytes"].as_u64().expect("a size");
    assert!(bytes < 40 << 20, "60 MiB were deleted, and the file has {bytes} bytes");
    cluster.node_mut(1).kill();
    cluster.start_node(1);
    cluster.wait_leader_among(&[1]);
    assert_eq!(client.value("kept").as_deref(), Some("v"));
    assert_eq!(client.value("data-7"), None);
    assert_eq!(client.value(&format!("nudge-{}", at % 4)), Some(value("nudge", at)));
}
