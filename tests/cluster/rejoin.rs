//! A log that is lost: the node comes back by itself as another member in place of its old self. Nobody gives a command, the
//! others serve on, and all that was acknowledged is there.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::client::Outcome;
use crate::harness::files::segments;
use crate::harness::node::{Node, command};
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::run::run;
use crate::harness::{Client, Cluster, Writers};

const SECTOR_BYTES: usize = 512;

/// Makes the first sectors of every segment others: what it begins with, and both copies of every preamble's hard state.
fn lose_hard_states(wal: &Path) {
    for segment in segments(wal) {
        let mut bytes = std::fs::read(&segment).expect("readable");
        bytes[..8 * SECTOR_BYTES].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(segment, bytes).expect("writable");
    }
}

/// The log of a node's directory: its home is the identity's word.
fn wal(data: &Path) -> PathBuf {
    let identity = std::fs::read_to_string(data.join("identity")).expect("an identity");
    match identity.lines().find_map(|line| line.strip_prefix("recovered ")) {
        Some(number) => data.join(format!("recovered-{number}")).join("wal"),
        None => data.join("wal"),
    }
}

/// The ids of those that vote, once nothing is under way.
fn voters(client: &Client) -> Option<Vec<u64>> {
    let answer = client.request("GET", "/api/members", &[], None).ok()?;
    let members: Value = (answer.status == 200).then(|| answer.json())?;
    let all = members["members"].as_array()?.iter();
    let votes = all.filter(|member| member["role"] == "voter").filter_map(|member| member["id"].as_u64());
    (members["joint"] == false).then(|| votes.collect())
}

fn wait_voters(client: &Client, wanted: &[u64]) {
    poll_until(&format!("voters {wanted:?}"), PATIENCE, || (voters(client)? == wanted).then_some(()));
}

/// Twice in a row, and once more on another node: both copies of what holds the votes, the whole directory of the log, and a
/// segment that is cut short.
#[test]
fn a_node_of_three_that_lost_its_log_comes_back_as_another_one() {
    let mut cluster = Cluster::start("rejoin-three", 3);
    let leader = cluster.wait_ready();
    let big = "x".repeat(16 << 10);
    for number in 0..16 {
        cluster.client(leader).set(&format!("early/{number}"), &format!("{number}{big}"));
    }
    // Followers, and a leader of that time; the ids that vote then.
    let follower = cluster.ids_without(&[leader])[0];
    let mut ids: Vec<u64> = vec![1, 2, 3];
    for (round, victim) in [follower, follower, leader].into_iter().enumerate() {
        let others = cluster.ids_without(&[victim]);
        let before = cluster.client(victim).stats()["id"].as_u64().expect("an id");
        cluster.node_mut(victim).kill();
        let data = cluster.node(victim).data.clone();
        let lost = wal(&data);
        match round {
            0 => lose_hard_states(&lost),
            1 => std::fs::remove_dir_all(&lost).expect("removable"),
            _ => {
                let newest = segments(&lost).pop().expect("a segment");
                let file = std::fs::OpenOptions::new().write(true).open(newest).expect("writable");
                file.set_len(100).expect("cut");
            }
        }
        let writers =
            Writers::start(&format!("rejoin-{round}"), others.iter().map(|id| cluster.client(*id)).collect());
        writers.wait_acknowledged(10);
        let since = cluster.node(victim).output().len();
        cluster.start_node(victim);
        ids.retain(|id| *id != before);
        ids.push(4 + round as u64);
        let client = cluster.client(others[0]);
        wait_voters(&client, &ids);
        writers.wait_acknowledged(10);
        let history = writers.finish();
        let back = cluster.client(victim);
        poll_until("the node to be ready", PATIENCE, || back.is_ready().then_some(()));
        history.check(&format!("rejoin-{round}"), &back);
        for number in 0..16 {
            let value = back.value(&format!("early/{number}"));
            assert!(value == Some(format!("{number}{big}")), "early/{number}, round {round}");
        }
        let output = cluster.node(victim).output()[since..].to_owned();
        assert!(output.contains("THE LOG IS LOST"), "{output}");
        let given_up = back.stats()["counters"]["logs_given_up"].as_u64();
        assert_eq!(given_up, Some(if round == 1 { 2 } else { 1 }));
        cluster.assert_all_alive();
        // The state of before makes room; the log stays, where anything of it is left.
        let old = lost.parent().expect("a home").join("state.redb");
        poll_until("the old state to be removed", PATIENCE, || (!old.exists()).then_some(()));
        assert_eq!(lost.exists(), round != 1);
    }
    // Whoever is started again with its old id goes by the new one, and the three are a group like any: any two suffice.
    assert!(cluster.node_mut(follower).stop().success());
    let mut check = command();
    check.arg("check").arg(&cluster.node(follower).data);
    run(&cluster.directory(), check).expect(0, &[]);
    let since = cluster.node(follower).output().len();
    cluster.start_node(follower);
    let back = cluster.client(follower);
    poll_until("the node to be ready", PATIENCE, || back.is_ready().then_some(()));
    assert!(cluster.node(follower).output()[since..].contains("goes by another id"));
    cluster.node_mut(leader).kill();
    poll_until("a write without the leader", PATIENCE, || {
        matches!(back.try_set("last", "v", None), Outcome::Done(_)).then_some(())
    });
}

/// While the others are away it waits, gives nothing up, and asks again after a crash.
#[test]
fn a_node_that_lost_its_log_waits_for_the_others() {
    let mut cluster = Cluster::start("rejoin-waits", 3);
    let leader = cluster.wait_ready();
    cluster.client(leader).set("k", "v");
    let victim = cluster.ids_without(&[leader])[0];
    let others = cluster.ids_without(&[victim]);
    for id in cluster.ids() {
        cluster.node_mut(id).kill();
    }
    let data = cluster.node(victim).data.clone();
    std::fs::remove_dir_all(data.join("wal")).expect("removable");
    let before = std::fs::read(data.join("identity")).expect("readable");
    cluster.node_mut(victim).set_flag("--log-level", "info,quorate::server=debug");
    for _ in 0..2 {
        let since = cluster.node(victim).output().len();
        cluster.start_node(victim);
        // The third round of questions: it may ask for days, and says only once what is wrong.
        poll_until("it to ask again and again", PATIENCE, || {
            (said(&cluster, victim, since, "the log is still lost") >= 2).then_some(())
        });
        assert_eq!(said(&cluster, victim, since, "ERROR"), 1, "{}", cluster.node(victim).output());
        assert_eq!(said(&cluster, victim, since, "THE LOG IS LOST"), 1);
        for other in &others {
            let warnings = output_of(&cluster, victim, since);
            let warnings = warnings
                .lines()
                .filter(|line| line.contains("WARN") && line.contains(&cluster.node(*other).peer));
            assert!(warnings.count() <= 2, "{}", cluster.node(victim).output());
        }
        cluster.node_mut(victim).kill();
        assert!(std::fs::read(data.join("identity")).expect("readable") == before, "it gave something up");
    }
    for id in others.iter().chain([&victim]) {
        cluster.start_node(*id);
    }
    let client = cluster.client(others[0]);
    wait_voters(&client, &[others[0], others[1], 4]);
    assert_eq!(cluster.client(victim).value("k").as_deref(), Some("v"));
    let given_up = cluster.client(victim).stats()["counters"]["logs_given_up"].as_u64();
    assert_eq!(given_up, Some(1), "it gave up once and asked as the same one");
}

/// Copies the files of a directory, and not what is in directories in it.
fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for entry in std::fs::read_dir(from).expect("readable").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

/// A member's directory is copied while it runs, and its log is not: the copy looks like a node that has lost its log. It asks
/// in vain whether the group can do without that one, gives nothing up, and the member lives on. Once the member is gone for
/// good the same question has another answer.
#[test]
fn a_copy_of_a_member_that_lives_does_not_take_its_place() {
    let mut cluster = Cluster::start("rejoin-copy", 3);
    let leader = cluster.wait_ready();
    cluster.client(leader).set("k", "v");
    let follower = cluster.ids_without(&[leader])[0];
    for victim in [leader, follower] {
        let directory = cluster.directory().join(format!("copy{victim}"));
        let slot = cluster.slot();
        let addresses = (slot.http(50), slot.peer(50), slot.grpc(50));
        let mut copy = Node::new(victim, &directory, addresses, "");
        copy_files(&cluster.node(victim).data, &copy.data);
        let initial = cluster.node(victim).arguments.last().expect("the founders").clone();
        copy.set_flag("--initial-cluster", &initial);
        copy.set_flag("--advertise-peer", &slot.peer(50));
        let before = std::fs::read(copy.data.join("identity")).expect("readable");
        copy.start();
        poll_until("it to ask whoever leads", PATIENCE, || {
            copy.assert_alive();
            copy.output().contains(&format!("node {victim} was heard a moment ago")).then_some(())
        });
        assert!(copy.output().contains("THE LOG IS LOST"), "{}", copy.output());
        assert!(
            std::fs::read(copy.data.join("identity")).expect("readable") == before,
            "it gave something up"
        );
        assert!(std::fs::read(cluster.node(victim).data.join("identity")).expect("readable") == before);
        cluster.assert_all_alive();
        assert_eq!(cluster.client(victim).stats()["id"].as_u64(), Some(victim));
        let key = format!("by-{victim}");
        cluster.client(victim).set(&key, "v");
        assert_eq!(voters(&cluster.client(leader)), Some(vec![1, 2, 3]));
        for id in cluster.ids() {
            assert_eq!(cluster.client(id).value(&key).as_deref(), Some("v"));
        }
        if victim == leader {
            copy.kill();
            continue;
        }
        cluster.node_mut(victim).kill();
        let mut wanted = cluster.ids_without(&[victim]);
        wanted.push(4);
        wait_voters(&cluster.client(leader), &wanted);
        assert_eq!(copy.client().value(&key).as_deref(), Some("v"));
    }
}

/// All nodes come up without the volume that their logs are on: none of them gives anything up, and once the logs are there
/// they serve again, as who they were, without a restart.
#[test]
fn logs_that_come_back_are_taken() {
    let mut cluster = Cluster::start("rejoin-mounts", 3);
    let leader = cluster.wait_ready();
    cluster.client(leader).set("k", "v");
    for id in cluster.ids() {
        cluster.node_mut(id).kill();
        let data = cluster.node(id).data.clone();
        std::fs::rename(data.join("wal"), data.join("away")).expect("renamed");
    }
    for id in cluster.ids() {
        let since = cluster.node(id).output().len();
        cluster.start_node(id);
        wait_asks(&cluster, id, since);
    }
    for id in cluster.ids() {
        let data = cluster.node(id).data.clone();
        if data.join("wal").exists() {
            std::fs::remove_dir(data.join("wal")).expect("an empty directory");
        }
        std::fs::rename(data.join("away"), data.join("wal")).expect("renamed");
    }
    let leader = cluster.wait_leader_among(&[1, 2, 3]);
    wait_voters(&cluster.client(leader), &[1, 2, 3]);
    for id in cluster.ids() {
        assert_eq!(cluster.client(id).value("k").as_deref(), Some("v"));
        assert_eq!(cluster.client(id).stats()["counters"]["logs_given_up"].as_u64(), Some(0));
    }
    cluster.assert_all_alive();
}

/// What a node has said from `since` on.
fn output_of(cluster: &Cluster, id: u64, since: usize) -> String {
    cluster.node(id).output()[since..].to_owned()
}

/// How many of those lines have this in them.
fn said(cluster: &Cluster, id: u64, since: usize, what: &str) -> usize {
    output_of(cluster, id, since).lines().filter(|line| line.contains(what)).count()
}

/// Waits until a node has asked somebody in vain, in what it says from `since` on.
fn wait_asks(cluster: &Cluster, id: u64, since: usize) {
    poll_until("it to ask", PATIENCE, || {
        cluster.node(id).output()[since..].contains("could not join yet").then_some(())
    });
}

/// With both copies of its identity damaged a node does not know who it was: it says what to do, and nothing is done.
#[test]
fn a_node_that_does_not_know_who_it_was_says_how_to_replace_it() {
    let mut cluster = Cluster::start("rejoin-nobody", 3);
    let leader = cluster.wait_ready();
    let victim = cluster.ids_without(&[leader])[0];
    cluster.node_mut(victim).kill();
    for name in ["identity", "identity.copy"] {
        let path = cluster.node(victim).data.join(name);
        let mut bytes = std::fs::read(&path).expect("readable");
        bytes[40] ^= 1;
        std::fs::write(path, bytes).expect("writable");
    }
    cluster.start_node(victim);
    assert_eq!(cluster.node_mut(victim).wait_exit(PATIENCE).code(), Some(3));
    let output = cluster.node(victim).output();
    assert!(output.contains("remove this member") && output.contains("--join"), "{output}");
    cluster.client(leader).set("k", "v");
    assert_eq!(voters(&cluster.client(leader)), Some(vec![1, 2, 3]));
}

/// The only voter that a node knows of is itself: it gives nothing up (see also `damage.rs`), though others may have left their
/// addresses on its command line.
#[test]
fn the_last_voter_keeps_its_log() {
    let mut cluster = Cluster::start("rejoin-last", 3);
    let leader = cluster.wait_ready();
    let client = cluster.client(leader);
    for id in cluster.ids_without(&[leader]) {
        poll_until("the removal", PATIENCE, || {
            (client.delete(&format!("/api/members/{id}")).status != 409).then_some(())
        });
        cluster.node_mut(id).wait_exit(PATIENCE);
    }
    wait_voters(&client, &[leader]);
    client.set("k", "v");
    // Folds what it has.
    assert!(cluster.node_mut(leader).stop().success());
    let data = cluster.node(leader).data.clone();
    let before = std::fs::read(data.join("identity")).expect("readable");
    std::fs::rename(data.join("wal"), data.join("away")).expect("renamed");
    cluster.start_node(leader);
    assert_eq!(cluster.node_mut(leader).wait_exit(PATIENCE).code(), Some(3));
    assert!(cluster.node(leader).output().contains("are no majority without it"));
    assert!(std::fs::read(data.join("identity")).expect("readable") == before, "it gave something up");
    if data.join("wal").exists() {
        std::fs::remove_dir_all(data.join("wal")).expect("removable");
    }
    std::fs::rename(data.join("away"), data.join("wal")).expect("renamed");
    cluster.start_node(leader);
    cluster.wait_leader_among(&[leader]);
    assert_eq!(cluster.client(leader).value("k").as_deref(), Some("v"));
}
