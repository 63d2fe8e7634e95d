//! Members come and go: by a joining process, by the API, under load; and who must not come back does not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::node::command;
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::run::run;
use crate::harness::{Client, Cluster, Writers};

fn members(client: &Client) -> Option<Value> {
    let answer = client.request("GET", "/api/members", &[], None).ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// The ids of those with a role, as the leader knows them.
fn ids_of(members: &Value, role: &str) -> Vec<u64> {
    let all = members["members"].as_array().expect("a list of members");
    all.iter().filter(|member| member["role"] == role).filter_map(|member| member["id"].as_u64()).collect()
}

/// Waits until exactly these vote, and nothing is under way.
fn wait_voters(client: &Client, voters: &[u64]) {
    poll_until(&format!("voters {voters:?} at {}", client.address()), PATIENCE, || {
        let members = members(client)?;
        (ids_of(&members, "voter") == voters && members["joint"] == json!(false)).then_some(())
    });
}

fn put(client: &Client, path: &str, body: &Value) -> crate::harness::client::Answer {
    let body = serde_json::to_vec(body).expect("a JSON value has a text");
    client
        .request("PUT", path, &[("content-type", "application/json")], Some(&body))
        .unwrap_or_else(|error| panic!("PUT {path} at {}: {error}", client.address()))
}

/// Removes a member; a change under way is waited for.
fn remove(client: &Client, id: u64) {
    poll_until(&format!("the removal of node {id}"), PATIENCE, || {
        let answer = client.delete(&format!("/api/members/{id}"));
        match answer.status {
            200 => Some(()),
            // The removal may have been made by an attempt whose answer was lost.
            404 => Some(()),
            409 | 503 => None,
            _ => panic!("the removal of node {id}: {}", answer.text()),
        }
    });
}

/// Hands leadership to a member.
fn lead(client: &Client, id: u64) {
    poll_until(&format!("node {id} to lead"), PATIENCE, || {
        (client.post("/api/leader", &json!({"id": id})).status == 200).then_some(())
    });
}

/// 1 -> 3 -> 5 -> 7 -> 3, nodes joining by themselves and being removed, while clients write.
#[test]
fn a_cluster_grows_from_one_to_seven_and_shrinks_to_three_under_load() {
    let mut cluster = Cluster::start_growing("members-grow", 1, 7, &[]);
    cluster.wait_leader_among(&[1]);
    let first = cluster.client(1);
    let writers = Writers::start("grow", vec![first.clone(); 3]);
    writers.wait_acknowledged(20);
    for id in 2..=7 {
        cluster.start_node(id);
        let voters: Vec<u64> = (1..=id).collect();
        wait_voters(&first, &voters);
        writers.wait_acknowledged(10);
        cluster.assert_all_alive();
    }
    // The leader among those that go: it hands over, and clients of node 1 are forwarded.
    for id in [7, 6, 5, 4] {
        lead(&first, id);
        remove(&first, id);
        let status = cluster.node_mut(id).wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(5), "{}", cluster.node(id).output());
        assert!(cluster.node(id).output().contains("was removed from the cluster"), "node {id} says why");
        writers.wait_acknowledged(10);
    }
    wait_voters(&first, &[1, 2, 3]);
    let history = writers.finish();
    history.assert_none_failed();
    for id in [1, 2, 3] {
        history.check("grow", &cluster.client(id));
    }
    // A removed node does not come back under its id: not with its directory, not with a new one.
    cluster.start_node(7);
    assert_eq!(cluster.node_mut(7).wait_exit(PATIENCE).code(), Some(5), "{}", cluster.node(7).output());
    let data = cluster.node(7).data.clone();
    std::fs::remove_dir_all(&data).expect("removable");
    cluster.node_mut(7).set_flag("--id", "7");
    cluster.start_node(7);
    assert_eq!(cluster.node_mut(7).wait_exit(PATIENCE).code(), Some(5), "{}", cluster.node(7).output());
    // Without an id it is a new member.
    let data = cluster.node(7).data.clone();
    std::fs::remove_dir_all(&data).expect("removable");
    cluster.node_mut(7).remove_flag("--id");
    cluster.start_node(7);
    wait_voters(&first, &[1, 2, 3, 8]);
    history.check("grow", &cluster.client(7));
}

#[test]
fn the_leader_is_removed_and_another_one_leads() {
    let mut cluster = Cluster::start("members-leader", 3);
    let leader = cluster.wait_ready();
    let others = cluster.ids_without(&[leader]);
    let client = cluster.client(others[0]);
    client.set("before", "v");
    // Asked at the leader itself: the answer still leaves.
    let answer = cluster.client(leader).delete(&format!("/api/members/{leader}"));
    assert!(answer.status == 200 || answer.status == 503, "{}", answer.text());
    assert_eq!(cluster.node_mut(leader).wait_exit(PATIENCE).code(), Some(5));
    let new = cluster.wait_leader_among(&others);
    assert_ne!(new, leader);
    wait_voters(&client, &others);
    assert_eq!(client.value("before").as_deref(), Some("v"));
    client.set("after", "v");
}

/// The documented sequence: a dead node is removed, and a new one joins in its place.
#[test]
fn a_dead_node_is_replaced() {
    let mut cluster = Cluster::start_growing("members-replace", 3, 4, &[]);
    cluster.wait_leader_among(&[1, 2, 3]);
    let client = cluster.client(1);
    client.set("k", "v");
    cluster.node_mut(3).kill();
    client.set("k", "w");
    remove(&client, 3);
    cluster.start_node(4);
    wait_voters(&client, &[1, 2, 4]);
    assert_eq!(cluster.client(4).value("k").as_deref(), Some("w"));
    // What was lost is told when it comes back.
    cluster.start_node(3);
    assert_eq!(cluster.node_mut(3).wait_exit(PATIENCE).code(), Some(5), "{}", cluster.node(3).output());
}

#[test]
fn a_learner_serves_reads_and_is_promoted_only_when_asked() {
    let mut cluster = Cluster::start_growing("members-learner", 1, 3, &[]);
    cluster.wait_leader_among(&[1]);
    let first = cluster.client(1);
    let revision = first.set("k", "v");
    cluster.node_mut(2).arguments.push("--learner".to_owned());
    cluster.start_node(2);
    let replica = cluster.client(2);
    poll_until("the replica to be ready", PATIENCE, || {
        let members = members(&first)?;
        (ids_of(&members, "learner") == [2]).then_some(())
    });
    assert_eq!(replica.value("k").as_deref(), Some("v"), "a linearizable read");
    for consistency in ["lease", "stale"] {
        let path = format!("/api/get?key=k&consistency={consistency}&min_revision={revision}");
        assert_eq!(replica.get(&path).expect(200).json()["value"], json!("v"), "{consistency}");
    }
    let path = "/api/get?key=k&consistency=stale&max_staleness_ms=60000";
    assert_eq!(replica.get(path).expect(200).json()["value"], json!("v"));
    // Written through the replica, read through it at that revision.
    let revision = replica.set("k", "w");
    let path = format!("/api/get?key=k&consistency=stale&min_revision={revision}");
    assert_eq!(replica.get(&path).expect(200).json()["value"], json!("w"));
    assert_eq!(ids_of(&members(&first).expect("members"), "voter"), [1], "it stays a learner");
    let promoted = first.request("POST", "/api/members/2/promote", &[], None).expect("an answer");
    promoted.expect(200);
    wait_voters(&first, &[1, 2]);

    // Another one, by the command line.
    cluster.node_mut(3).arguments.push("--learner".to_owned());
    cluster.start_node(3);
    poll_until("the second replica to be a learner", PATIENCE, || {
        (ids_of(&members(&first)?, "learner") == [3]).then_some(())
    });
    assert_eq!(cluster.client(3).value("k").as_deref(), Some("w"));
    let mut promote = command();
    promote.args(["member", "promote", "3", "--endpoints", &cluster.node(1).grpc]);
    promote.env("XDG_CONFIG_HOME", cluster.directory());
    run(&cluster.directory(), promote).expect(0, &[]);
    wait_voters(&first, &[1, 2, 3]);
}

#[test]
fn what_cannot_be_changed_is_refused_with_a_reason() {
    let mut cluster = Cluster::start("members-refused", 3);
    let leader = cluster.wait_ready();
    for id in cluster.ids() {
        let client = cluster.client(id);
        assert_eq!(client.delete("/api/members/9").expect_problem(404)["code"], json!("no_such_member"));
        let taken = client.post("/api/members", &json!({"id": 2, "peer": "n9.example:7001"}));
        assert_eq!(taken.expect_problem(409)["code"], json!("member_exists"));
    }
    // With one of three dead, another one cannot go: two voters of which one is dead decide nothing.
    let victims = cluster.ids_without(&[leader]);
    let client = cluster.client(leader);
    cluster.node_mut(victims[0]).kill();
    // The leader knows as soon as it is refused a connection, long before an election timeout.
    poll_until("news of the dead process", PATIENCE, || {
        (client.stats()["counters"]["transport_died"].as_u64() > Some(0)).then_some(())
    });
    let answer = client.delete(&format!("/api/members/{}", victims[1]));
    assert_eq!(answer.expect_problem(409)["code"], json!("quorum_at_risk"));
    client.set("still", "here");
    // The dead one may go, and its id with it for ever.
    remove(&client, victims[0]);
    let again = client.post("/api/members", &json!({"id": victims[0], "peer": "n9.example:7001"}));
    assert_eq!(again.expect_problem(409)["code"], json!("id_retired"));
}

#[test]
fn leadership_goes_where_it_is_sent() {
    let mut cluster = Cluster::start("members-transfer", 3);
    let mut leader = cluster.wait_ready();
    for to in [1, 2, 3, 1] {
        // Asked at whichever node.
        let client = cluster.client(cluster.ids()[to as usize % 3]);
        lead(&client, to);
        leader = cluster.wait_leader();
        assert_eq!(leader, to);
        client.set(&format!("led-by-{to}"), "v");
    }
    let answer = cluster.client(leader).post("/api/leader", &json!({"id": 9}));
    assert_eq!(answer.expect_problem(404)["code"], json!("no_such_member"));
}

/// One node after the other is stopped with SIGTERM and started again, under load: leadership is handed over each time,
/// so nobody waits for an election timeout, and nobody is told that a write failed.
#[test]
fn a_rolling_restart_loses_nothing() {
    // A cluster that waits for one is silent for so long at least. How short the silence really is the benchmark measures
    // (tests/bench/recovery.py).
    const ELECTION_TIMEOUT: Duration = Duration::from_secs(3);
    let mut cluster = Cluster::prepare("members-rolling", 3, false);
    for id in cluster.ids() {
        cluster.node_mut(id).set_flag("--election-timeout", &format!("{}s", ELECTION_TIMEOUT.as_secs()));
    }
    cluster.start_all();
    cluster.wait_ready();
    let clients: Vec<Client> = cluster.ids().into_iter().map(|id| cluster.client(id)).collect();
    let writers = Writers::start_failing_over("rolling", 3, &clients);
    let mut handed_over = 0;
    for id in cluster.ids() {
        writers.wait_acknowledged(50);
        let led = cluster.client(id).stats()["state"] == json!("leader");
        assert!(cluster.node_mut(id).stop().success());
        if led {
            handed_over += 1;
            assert!(
                cluster.node(id).output().contains("hands leadership over"),
                "node {id} led and said nothing"
            );
        }
        cluster.start_node(id);
        let client = cluster.client(id);
        poll_until("the restarted node to be ready", PATIENCE, || client.is_ready().then_some(()));
    }
    assert!(handed_over > 0, "nobody led when it was stopped");
    let history = writers.finish();
    eprintln!("{} writes, the longest gap {:?}", history.done.len(), history.longest_gap);
    history.assert_none_failed();
    assert!(history.longest_gap < ELECTION_TIMEOUT, "nothing was acknowledged for {:?}", history.longest_gap);
    for id in cluster.ids() {
        history.check("rolling", &cluster.client(id));
    }
}

/// A node that comes back at another address is found there, with no command from anybody.
#[test]
fn a_node_moves_to_another_address() {
    let mut cluster = Cluster::start("members-move", 3);
    let leader = cluster.wait_ready();
    let mover = cluster.ids_without(&[leader])[0];
    assert!(cluster.node_mut(mover).stop().success());
    let peer = cluster.slot().peer(50);
    cluster.node_mut(mover).set_flag("--peer", &peer);
    cluster.node_mut(mover).set_flag("--advertise-peer", &peer);
    cluster.start_node(mover);
    let client = cluster.client(leader);
    poll_until("the new address to be known", PATIENCE, || {
        let members = members(&client)?;
        let all = members["members"].as_array()?;
        all.iter().any(|member| member["id"] == json!(mover) && member["peer"] == json!(peer)).then_some(())
    });
    let last = cluster.ids_without(&[leader, mover])[0];
    cluster.node_mut(last).kill();
    client.set("by-two", "v");
    assert_eq!(cluster.client(mover).value("by-two").as_deref(), Some("v"));
}

#[test]
fn lease_reads_are_a_setting_of_the_cluster() {
    let mut cluster = Cluster::start("members-lease", 3);
    let leader = cluster.wait_ready();
    let client = cluster.client(leader);
    put(&client, "/api/settings", &json!({"lease_ms": 400})).expect(200);
    client.set("k", "v");
    for id in cluster.ids() {
        let at = cluster.client(id);
        assert_eq!(at.get("/api/settings").expect(200).json()["lease_ms"], json!(400));
        assert_eq!(at.get("/api/get?key=k&consistency=lease").expect(200).json()["value"], json!("v"));
    }
    let rounds = |client: &Client| client.stats()["counters"]["read_rounds_total"].as_u64();
    poll_until("a read that asks nobody", PATIENCE, || {
        let before = rounds(&client);
        client.get("/api/get?key=k&consistency=lease").expect(200);
        (rounds(&client) == before).then_some(())
    });
    let long = put(&client, "/api/settings", &json!({"lease_ms": 50_000}));
    assert_eq!(long.expect_problem(400)["code"], json!("invalid"));
    put(&client, "/api/settings", &json!({"lease_ms": 0})).expect(200);
}
