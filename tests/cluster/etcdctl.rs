//! etcd's own client against a cluster, through a node that follows; and the same commands against a real etcd.

use serde_json::Value;

use crate::harness::Cluster;
use crate::harness::etcd::{Ctl, Etcd};
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::run::Ended;
use crate::harness::skip::{is_installed, skipped};

/// A cluster, the id of its leader and of a node that follows.
fn start(name: &str) -> (Cluster, u64, u64) {
    let mut cluster = Cluster::start(name, 3);
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    (cluster, leader, follower)
}

fn ctl(cluster: &Cluster, id: u64) -> Ctl {
    Ctl::new(&cluster.node(id).grpc, &cluster.directory())
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty()).collect()
}

#[test]
fn keys_are_put_read_and_removed() {
    const NAME: &str = "etcdctl::keys_are_put_read_and_removed";
    if !is_installed("etcdctl", "version") {
        return skipped(NAME, "etcdctl", "it is not installed");
    }
    let (cluster, _, follower) = start("etcdctl-keys");
    let ctl = ctl(&cluster, follower);
    for (key, value) in [("a", "3"), ("a/1", "1"), ("a/2", "2"), ("b", "0")] {
        assert_eq!(ctl.ok(&["put", key, value]), "OK\n");
    }
    assert_eq!(ctl.ok(&["get", "a"]), "a\n3\n");
    assert_eq!(ctl.ok(&["get", "none"]), "");
    assert_eq!(lines(&ctl.ok(&["get", "a", "b"])), ["a", "3", "a/1", "1", "a/2", "2"]);
    let keys = |arguments: &[&str]| {
        let printed = ctl.ok(&[&["get", "--keys-only"], arguments].concat());
        lines(&printed).join(" ")
    };
    assert_eq!(keys(&["a", "--prefix"]), "a a/1 a/2");
    assert_eq!(keys(&["a/2", "--from-key"]), "a/2 b");
    assert_eq!(keys(&["", "--prefix", "--limit=2"]), "a a/1");
    assert_eq!(keys(&["", "--prefix", "--order=DESCEND"]), "b a/2 a/1 a");
    assert_eq!(keys(&["", "--prefix", "--sort-by=VALUE"]), "b a/1 a/2 a");
    assert_eq!(keys(&["", "--prefix", "--sort-by=MODIFY", "--order=DESCEND", "--limit=1"]), "b");
    assert_eq!(keys(&["a", "--prefix", "--consistency=l"]), "a a/1 a/2");
    assert_eq!(lines(&ctl.ok(&["get", "a/", "--prefix", "--print-value-only"])), ["1", "2"]);
    let json: Value =
        serde_json::from_str(&ctl.ok(&["get", "a", "--prefix", "--limit=1", "-w", "json"])).expect("JSON");
    assert_eq!((&json["count"], &json["more"]), (&3.into(), &true.into()), "{json}");
    assert_eq!(json["header"]["member_id"], follower);

    assert_eq!(ctl.ok(&["put", "b", "1", "--prev-kv"]), "OK\nb\n0\n");
    assert_eq!(ctl.ok(&["put", "b", "--ignore-value"]), "OK\n");
    let json: Value = serde_json::from_str(&ctl.ok(&["get", "b", "-w", "json"])).expect("JSON");
    assert_eq!((&json["kvs"][0]["value"], &json["kvs"][0]["version"]), (&"MQ==".into(), &3.into()), "{json}");

    assert_eq!(ctl.ok(&["del", "none"]), "0\n");
    assert_eq!(ctl.ok(&["del", "a"]), "1\n");
    assert_eq!(ctl.ok(&["del", "a/", "--prefix", "--prev-kv"]), "2\na/1\n1\na/2\n2\n");
    assert_eq!(ctl.ok(&["del", "a", "--from-key"]), "1\n");
    assert_eq!(ctl.ok(&["get", "", "--prefix"]), "");
}

#[test]
fn a_node_without_a_quorum_serves_serializable_reads() {
    const NAME: &str = "etcdctl::a_node_without_a_quorum_serves_serializable_reads";
    if !is_installed("etcdctl", "version") {
        return skipped(NAME, "etcdctl", "it is not installed");
    }
    let (mut cluster, _, follower) = start("etcdctl-stale");
    ctl(&cluster, follower).ok(&["put", "k", "v"]);
    ctl(&cluster, follower).ok(&["get", "k"]);
    for other in cluster.ids_without(&[follower]) {
        cluster.node_mut(other).kill();
    }
    let ctl = ctl(&cluster, follower);
    assert_eq!(ctl.ok(&["get", "k", "--consistency=s"]), "k\nv\n");
    let complaint = ctl.fails(&["get", "k", "--command-timeout=1s"]);
    assert!(complaint.contains("etcdserver: ") || complaint.contains("deadline exceeded"), "{complaint}");
    assert!(ctl.fails(&["endpoint", "health", "--command-timeout=1s"]).contains("is unhealthy"));
}

#[test]
fn transactions_choose() {
    const NAME: &str = "etcdctl::transactions_choose";
    if !is_installed("etcdctl", "version") {
        return skipped(NAME, "etcdctl", "it is not installed");
    }
    let (cluster, _, follower) = start("etcdctl-txn");
    let ctl = ctl(&cluster, follower);
    // Compares, an empty line, what is done if they hold, an empty line, what is done if not, an empty line.
    let create = "ver(\"lock\") = \"0\"\n\nput lock mine\n\nget lock\n\n";
    assert_eq!(lines(&ctl.txn(create)), ["SUCCESS", "OK"]);
    assert_eq!(lines(&ctl.txn(create)), ["FAILURE", "lock", "mine"]);
    let json: Value = serde_json::from_str(&ctl.ok(&["get", "lock", "-w", "json"])).expect("JSON");
    let created = json["kvs"][0]["create_revision"].as_u64().expect("a revision");
    let holds = [
        "val(\"lock\") = \"mine\"".to_owned(),
        "val(\"lock\") > \"a\"".to_owned(),
        "ver(\"lock\") < \"2\"".to_owned(),
        format!("create(\"lock\") = \"{created}\""),
        format!("mod(\"lock\") != \"{}\"", created + 1),
    ];
    assert_eq!(ctl.txn(&format!("{}\n\n\n\n", holds.join("\n"))).trim(), "SUCCESS");
    for compare in ["val(\"none\") = \"\"", "val(\"lock\") < \"a\"", "mod(\"none\") > \"0\""] {
        assert_eq!(ctl.txn(&format!("{compare}\n\n\n\n")).trim(), "FAILURE", "{compare}");
    }
    let swap = "val(\"lock\") = \"mine\"\n\ndel lock\nput other yours\nget other\n\n\n";
    assert_eq!(lines(&ctl.txn(swap)), ["SUCCESS", "1", "OK", "other", "yours"]);
    assert_eq!(ctl.ok(&["get", "", "--prefix"]), "other\nyours\n");
    let twice = ctl.run_with(&["txn"], "\nput a 1\nput a 2\n\n\n");
    twice.expect(1, &["Error: etcdserver: duplicate key given in txn request"]);
}

#[test]
fn the_cluster_is_told_to_etcds_tools() {
    const NAME: &str = "etcdctl::the_cluster_is_told_to_etcds_tools";
    if !is_installed("etcdctl", "version") {
        return skipped(NAME, "etcdctl", "it is not installed");
    }
    let (cluster, leader, follower) = start("etcdctl-cluster");
    let ctl = ctl(&cluster, follower);
    // A node tells the others where it is reached once it has started.
    let members: Value = poll_until("all members to have published their addresses", PATIENCE, || {
        let members: Value = serde_json::from_str(&ctl.ok(&["member", "list", "-w", "json"])).expect("JSON");
        let list = members["members"].as_array().expect("a list");
        list.iter().all(|member| member["clientURLs"].is_array()).then_some(members)
    });
    for id in cluster.ids() {
        let member = &members["members"][usize::try_from(id - 1).expect("small")];
        let node = cluster.node(id);
        assert_eq!(member["ID"], id, "{members}");
        assert_eq!(member["peerURLs"][0], format!("http://{}", node.peer));
        assert_eq!(member["clientURLs"][0], format!("http://{}", node.grpc));
    }
    assert!(ctl.ok(&["member", "list"]).contains("1, started, node1, "));
    // With --cluster, etcdctl 3.4 asks for the status of `http://host:port`, which is no host that HTTP/2 allows: docs/etcd.md.
    let endpoints =
        cluster.ids().iter().map(|id| cluster.node(*id).grpc.clone()).collect::<Vec<_>>().join(",");
    let all = Ctl::new(&endpoints, &cluster.directory());
    let status: Value = serde_json::from_str(&all.ok(&["endpoint", "status", "-w", "json"])).expect("JSON");
    let status = status.as_array().expect("a list");
    assert_eq!(status.len(), 3, "{status:?}");
    for node in status {
        let node = &node["Status"];
        assert_eq!((&node["leader"], &node["version"]), (&leader.into(), &"3.5.0".into()), "{node}");
        assert!(node["raftIndex"].as_u64() > Some(0) && node["dbSize"].as_u64() > Some(0), "{node}");
    }
    // That is printed as a complaint.
    let health = ctl.run(&["endpoint", "health", "--cluster"]).expect(0, &[]);
    assert_eq!((health.stdout + &health.stderr).matches("is healthy").count(), 3);
    assert_eq!(ctl.ok(&["alarm", "list"]), "");
}

#[test]
fn what_is_missing_fails_and_says_what_there_is_instead() {
    const NAME: &str = "etcdctl::what_is_missing_fails_and_says_what_there_is_instead";
    if !is_installed("etcdctl", "version") {
        return skipped(NAME, "etcdctl", "it is not installed");
    }
    let (cluster, leader, _) = start("etcdctl-missing");
    // It asks none but the leader to hand leadership over.
    let ctl = ctl(&cluster, leader);
    ctl.ok(&["put", "k", "v"]);
    let snapshot = cluster.directory().join("backup");
    let snapshot = snapshot.to_str().expect("test directories are UTF-8");
    let cases: [(&[&str], &str); 10] = [
        (&["watch", "k"], "changes cannot be watched yet"),
        (&["lease", "grant", "60"], "there are no leases yet"),
        (&["lock", "k"], "there are no leases yet"),
        (&["compaction", "1"], "no history is kept"),
        (&["member", "remove", "1"], "/api/members"),
        (&["move-leader", "1"], "POST /api/leader"),
        (&["snapshot", "save", snapshot], "backups cannot be taken"),
        (&["user", "list"], "there are no users"),
        (&["put", "k", "v", "--lease=1234"], "etcdserver: requested lease not found"),
        (&["get", "k", "--rev=1"], "etcdserver: mvcc: required revision has been compacted"),
    ];
    for (arguments, part) in cases {
        let complaint = ctl.fails(arguments);
        assert!(complaint.contains(part), "{arguments:?}: {complaint}");
    }
    assert_eq!(ctl.ok(&["get", "k"]), "k\nv\n", "nothing of it did anything");
}

/// Commands with what they read.
const SAME: &[(&[&str], &str)] = &[
    (&["put", "a", "1"], ""),
    (&["put", "a", "2", "--prev-kv", "-w", "json"], ""),
    (&["put", "b", "1", "--prev-kv"], ""),
    (&["put", "c/1", "z"], ""),
    (&["put", "c/2", "y"], ""),
    (&["put", "c/3", ""], ""),
    (&["put", "", "1"], ""),
    (&["put", "none", "--ignore-value"], ""),
    (&["put", "none", "1", "--ignore-lease"], ""),
    (&["put", "a", "--ignore-value", "--prev-kv", "-w", "json"], ""),
    (&["put", "a", "3", "--ignore-lease", "-w", "json"], ""),
    (&["put", "a", "1", "--lease=77"], ""),
    (&["get", "a", "-w", "json"], ""),
    (&["get", "none", "-w", "json"], ""),
    (&["get", "", "--prefix", "-w", "json"], ""),
    (&["get", "c/", "--prefix", "--limit=2", "-w", "json"], ""),
    (&["get", "c/", "--prefix", "--keys-only", "-w", "json"], ""),
    (&["get", "b", "--from-key", "--order=DESCEND", "-w", "json"], ""),
    (&["get", "", "--prefix", "--sort-by=VALUE", "--order=ASCEND", "--limit=3", "-w", "json"], ""),
    (&["get", "", "--prefix", "--sort-by=CREATE", "--order=DESCEND", "-w", "json"], ""),
    (&["get", "", "--prefix", "--sort-by=MODIFY", "-w", "json"], ""),
    (&["get", "b", "a", "-w", "json"], ""),
    (&["get", "a", "--consistency=s", "-w", "json"], ""),
    (&["get", "a", "--rev=9", "-w", "json"], ""),
    (&["get", "a", "--rev=1000"], ""),
    (&["txn", "-w", "json"], "ver(\"a\") > \"1\"\n\nput a 4\nget a\ndel b\nget b\n\nput b 9\n\n"),
    (&["txn", "-w", "json"], "val(\"a\") = \"no\"\n\nput a 5\n\nget c/1\ndel none\n\n"),
    (&["txn", "-w", "json"], "val(\"none\") != \"x\"\n\nput a 5\n\n\n"),
    (
        &["txn", "-w", "json"],
        "mod(\"none\") = \"0\"\ncreate(\"none\") = \"0\"\nlease(\"a\") = \"0\"\n\nget a\n\n\n",
    ),
    (&["txn"], "\nput a 1\nput a 2\n\n\n"),
    (&["txn"], "\nput a 1\ndel a\n\n\n"),
    (&["del", "none", "-w", "json"], ""),
    (&["del", "c/1", "--prev-kv", "-w", "json"], ""),
    (&["del", "c/", "--prefix", "-w", "json"], ""),
    (&["del", ""], ""),
    (&["del", "", "--prefix", "--prev-kv", "-w", "json"], ""),
    (&["get", "", "--from-key", "-w", "json"], ""),
];

/// What of a command's end does not depend on who answers: what it printed without ids and terms, and its last complaint.
fn essence(ended: &Ended) -> (Option<i32>, String, String) {
    let printed = match serde_json::from_str::<Value>(&ended.stdout) {
        Ok(mut json) if json["header"].is_object() => {
            json["header"] = json["header"]["revision"].take();
            json.to_string()
        }
        _ => ended.stdout.clone(),
    };
    (ended.code, printed, ended.stderr.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn the_same_commands_end_the_same_on_etcd_and_here() {
    const NAME: &str = "etcdctl::the_same_commands_end_the_same_on_etcd_and_here";
    if !is_installed("etcdctl", "version") {
        return skipped(NAME, "etcdctl", "it is not installed");
    }
    if !is_installed("etcd", "--version") {
        return skipped(NAME, "etcd", "it is not installed");
    }
    let etcd = Etcd::start("etcdctl-same-etcd");
    let mut cluster = Cluster::start("etcdctl-same", 1);
    let leader = cluster.wait_ready();
    let (there, here) = (etcd.ctl(), ctl(&cluster, leader));
    for (arguments, input) in SAME {
        let (there, here) = (there.run_with(arguments, input), here.run_with(arguments, input));
        assert_eq!(essence(&there), essence(&here), "etcdctl {arguments:?} {input:?}");
    }
}
