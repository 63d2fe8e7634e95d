//! State files that are damaged, gone or wrong: a node of several gets another state by itself, and never shows a wrong one.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use quorate::codec;
use quorate::command::{Command, Envelope, Op, Write};
use quorate::config::Limits;
use quorate::fsm::{self, Body, Input, Store};
use quorate::types::Keyspace;
use serde_json::{Value, json};

use crate::harness::files::{owner, state_files};
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::{Client, Cluster};

/// Small files, so that a test's load is a long log, of which little is kept.
const SMALL: [&str; 12] = [
    "--wal-segment-bytes",
    "16MiB",
    "--wal-bytes-max",
    "128MiB",
    "--log-tail-bytes-max",
    "0",
    "--write-set-bytes-max",
    "8MiB",
    "--store-cache-bytes",
    "1MiB",
    "--hash-mark-interval",
    "1s",
];

/// How many values of a quarter MiB are written: enough that all logs forget their beginning.
const VALUES: usize = 60;

const BLOCK_BYTES: u64 = 4_096;

fn value(at: usize) -> String {
    format!("value-{at:08}-").repeat((256 << 10) / 15)
}

fn fill(client: &Client) {
    for at in 0..VALUES {
        client.set(&format!("key-{at:03}"), &value(at));
    }
}

/// All that was written is there, as its own node holds it; nothing else was ever shown.
fn check(client: &Client) {
    for at in 0..VALUES {
        let found = client.value(&format!("key-{at:03}"));
        assert!(found.as_deref() == Some(value(at).as_str()), "key-{at:03} at {}", client.address());
    }
}

/// A cluster of three whose logs begin long after their beginning, and the id of its leader.
fn filled(name: &str, flags: &[&str]) -> (Cluster, u64) {
    let flags: Vec<&str> = SMALL.iter().chain(flags).copied().collect();
    let mut cluster = Cluster::start_growing(name, 3, 3, &flags);
    let leader = cluster.wait_leader_among(&[1, 2, 3]);
    let client = cluster.client(leader);
    fill(&client);
    for id in cluster.ids() {
        let node = cluster.client(id);
        let mut at = 0;
        poll_until("the log to be purged", PATIENCE, || {
            // Folds come with writes.
            at += 1;
            client.set(&format!("nudge-{}", at % 4), &value(at));
            (node.stats()["purged_index"].as_u64() > Some(0)).then_some(())
        });
    }
    (cluster, leader)
}

/// The state file that a node lives from.
fn state_file(data: &Path) -> PathBuf {
    let state = state_files(data);
    assert_eq!(state.len(), 1, "{state:?}");
    state.into_iter().next().expect("there is one")
}

/// What is done to a state file.
type Damage = fn(&Path);

/// Flips a bit in each `step`th block of a file, from `first` on, that holds anything.
fn flip_blocks(file: &Path, first: u64, step: usize) {
    let bytes = std::fs::read(file).expect("readable");
    let file = OpenOptions::new().write(true).open(file).expect("writable");
    for block in (first..bytes.len() as u64 / BLOCK_BYTES).step_by(step) {
        let at = block * BLOCK_BYTES + 2_000;
        let byte = bytes[usize::try_from(at).expect("a small file")];
        if byte != 0 {
            file.write_at(&[byte ^ 0x10], at).expect("written");
        }
    }
}

fn counter(stats: &Value, name: &str) -> u64 {
    stats["counters"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {stats}"))
}

/// Waits until a node has a state again, in place of one that it lost, and that it holds everything.
fn wait_rebuilt(cluster: &Cluster, id: u64) {
    let client = cluster.client(id);
    poll_until("the state to be rebuilt", PATIENCE, || {
        // Damage is met when it is read.
        for at in 0..VALUES {
            if let Ok(found) = client.try_value(&format!("key-{at:03}"), None) {
                assert!(found.as_deref() == Some(value(at).as_str()), "a wrong value was served");
            }
        }
        let stats = client.try_stats()?;
        (counter(&stats, "states_rebuilt_total") > 0 && counter(&stats, "has_state") == 1).then_some(())
    });
    check(&client);
    let output = cluster.node(id).output();
    assert!(output.contains("the state is lost: it is given up and rebuilt"), "{output}");
    let stats = client.stats();
    assert!(counter(&stats, "states_lost_total") > 0, "{stats}");
    poll_until("what was set aside to be removed", PATIENCE, || {
        let files = std::fs::read_dir(&cluster.node(id).data).expect("readable");
        let is_aside = |name: String| name.ends_with(".aside");
        (!files.flatten().any(|file| is_aside(file.file_name().to_string_lossy().into_owned()))).then_some(())
    });
}

/// The state file of a node that was stopped: bits that changed, a header, a length, the whole file. On a follower and on the
/// leader of the time. Each time the logs begin too late to begin anew from, and the others give it theirs.
#[test]
fn a_node_of_three_whose_state_file_is_damaged_gets_another_ones_state() {
    let (mut cluster, leader) = filled("state-damage", &[]);
    let follower = cluster.ids_without(&[leader])[0];
    let damages: [(u64, &str, Damage); 5] = [
        (follower, "bits all over the file", |file| flip_blocks(file, 2, 1)),
        (leader, "redb's header", |file| flip_blocks_at(file, BLOCK_BYTES + 100)),
        (follower, "the superblock", |file| flip_blocks_at(file, 3)),
        (leader, "half of the file", |file| {
            let half = std::fs::metadata(file).expect("there").len() / 2 / BLOCK_BYTES * BLOCK_BYTES;
            let file = OpenOptions::new().write(true).open(file).expect("writable");
            file.set_len(half).expect("cut");
        }),
        (follower, "the file", |file| std::fs::remove_file(file).expect("removed")),
    ];
    for (victim, what, damage) in damages {
        eprintln!("node {victim} loses {what}");
        cluster.node_mut(victim).kill();
        let others = cluster.ids_without(&[victim]);
        cluster.wait_leader_among(&others);
        damage(&state_file(&cluster.node(victim).data));
        cluster.start_node(victim);
        wait_rebuilt(&cluster, victim);
        cluster.client(victim).set("after", what);
        for id in cluster.ids() {
            assert_eq!(cluster.client(id).value("after").as_deref(), Some(what));
        }
        // And for good: the next start finds nothing wrong.
        cluster.node_mut(victim).kill();
        cluster.start_node(victim);
        let back = cluster.client(victim);
        poll_until("the node to be ready", PATIENCE, || back.is_ready().then_some(()));
        assert_eq!(counter(&back.stats(), "states_lost_total"), 0);
        check(&back);
    }
}

/// Flips a bit at one place.
fn flip_blocks_at(file: &Path, at: u64) {
    let bytes = std::fs::read(file).expect("readable");
    let file = OpenOptions::new().write(true).open(file).expect("writable");
    let byte = bytes[usize::try_from(at).expect("a small file")];
    file.write_at(&[byte ^ 0x10], at).expect("written");
}

/// The leader's file rots while it serves: a reader meets it, never gets a wrong value, and another node leads. Nobody reads from
/// the follower's: the scrub meets that.
#[test]
fn bits_that_flip_while_a_node_runs_are_found_and_it_gets_another_state() {
    let (mut cluster, leader) = filled("state-rot", &["--scrub-pause", "1s"]);
    let follower = cluster.ids_without(&[leader])[0];
    // Nothing is left to fold after a stop in good order, nor to apply once it has caught up: nobody reads but the scrub.
    assert!(cluster.node_mut(follower).stop().success());
    cluster.start_node(follower);
    let quiet = cluster.client(follower);
    let written = cluster.client(leader).stats()["last_index"].as_u64();
    poll_until("the follower to catch up", PATIENCE, || {
        (quiet.try_stats()?["applied_index"].as_u64() >= written).then_some(())
    });
    let stats = quiet.stats();
    assert_eq!(counter(&stats, "states_rebuilt_total") + counter(&stats, "state_blocks_stray_total"), 0);
    flip_blocks(&state_file(&cluster.node(follower).data), 2, 7);
    poll_until("another state", PATIENCE, || {
        (counter(&quiet.try_stats()?, "states_rebuilt_total") > 0).then_some(())
    });
    assert!(counter(&quiet.stats(), "state_blocks_stray_total") > 0, "the scrub did not find it");
    wait_rebuilt(&cluster, follower);

    let leader = cluster.wait_leader();
    flip_blocks(&state_file(&cluster.node(leader).data), 2, 1);
    wait_rebuilt(&cluster, leader);
    let next = cluster.wait_leader();
    cluster.client(next).set("after", "v");
    check(&cluster.client(next));
    cluster.assert_all_alive();
}

/// Whose log still has everything needs nobody.
#[test]
fn a_state_file_of_one_is_rebuilt_from_its_own_log() {
    let mut cluster = Cluster::start("state-own-log", 1);
    cluster.wait_ready();
    let client = cluster.client(1);
    fill(&client);
    assert!(cluster.node_mut(1).stop().success());
    let file = state_file(&cluster.node(1).data);
    for damage in
        [(|file| flip_blocks_at(file, 3)) as fn(&Path), |file| std::fs::remove_file(file).expect("gone")]
    {
        damage(&file);
        cluster.start_node(1);
        wait_rebuilt(&cluster, 1);
        assert!(cluster.node_mut(1).stop().success());
    }
    cluster.start_node(1);
    cluster.wait_ready();
    check(&client);
}

/// Nobody has what a cluster of one has lost, once its log has forgotten it: it says so, and changes nothing.
#[test]
fn a_state_file_that_nobody_has_is_exit_3_and_left_alone() {
    let mut cluster = Cluster::start_growing("state-lost", 1, 1, &SMALL);
    cluster.wait_leader_among(&[1]);
    let client = cluster.client(1);
    fill(&client);
    let mut at = 0;
    poll_until("the log to be purged", PATIENCE, || {
        at += 1;
        client.set(&format!("nudge-{}", at % 4), &value(at));
        (client.stats()["purged_index"].as_u64() > Some(0)).then_some(())
    });
    assert!(cluster.node_mut(1).stop().success());
    let file = state_file(&cluster.node(1).data);
    let whole = std::fs::read(&file).expect("readable");
    flip_blocks_at(&file, BLOCK_BYTES + 100);
    let damaged = std::fs::read(&file).expect("readable");
    for _ in 0..2 {
        cluster.start_node(1);
        let status = cluster.node_mut(1).wait_exit(PATIENCE);
        let output = cluster.node(1).output();
        assert_eq!(status.code(), Some(3), "{output}");
        assert!(output.contains("keep the directory as it is") && !output.contains("panicked"), "{output}");
        assert!(std::fs::read(&file).expect("readable") == damaged, "the evidence was changed");
    }
    std::fs::write(&file, whole).expect("written");
    cluster.start_node(1);
    cluster.wait_ready();
    check(&client);
}

/// Makes the state of a node that is down another one than the log leads to, as a bug would: it takes one entry for another
/// one, which nobody wrote. (To take it for nothing would not do: it may be a mark, which changes no state.) All checksums are
/// right.
fn diverge(data: &Path) {
    let limits = Limits::default();
    let options = fsm::Options {
        owner: owner(data),
        write_set_bytes_max: 1 << 20,
        cache_bytes: 1 << 20,
        session_inflight_max: limits.session_inflight_max,
        sessions_max: limits.sessions_max,
        session_replies_bytes_max: limits.session_replies_bytes_max,
        idempotency_answers_max: 1,
        idempotency_spent_max: 1,
    };
    let raw = fsm::file_backend(&state_file(data)).expect("the node is down");
    let store = Store::open(raw, options).expect("a sound file");
    let (folded, term) = store.folded();
    let op = Op::Put { key: "nobody-wrote".into(), value: "this".into() };
    let write = Write { keyspace: Keyspace(0), conditions: Vec::new(), ops: vec![op] };
    let (session, principal, command) = (None, String::new(), Command::Write(write));
    let envelope = Envelope { term, group_time_ms: 0, session, principal, command };
    let body = Body::Command(codec::encode_envelope(&envelope));
    store.apply(&[Input { index: folded.next(), term, body }]).expect("applied");
    store.fold().expect("folded");
}

/// What no checksum finds: the members compare what they hold, and who differs from a quorum rebuilds its state. A leader that
/// differs makes way first.
#[test]
fn a_node_that_diverged_is_found_and_rebuilt() {
    let (mut cluster, leader) = filled("state-diverged", &[]);
    let follower = cluster.ids_without(&[leader])[0];
    for (victim, leads) in [(follower, false), (leader, true)] {
        let now = cluster.wait_leader();
        let term = cluster.client(now).stats()["term"].clone();
        // Behind the last fold there must be an entry to take for another one, of the same term as the one before it.
        let client = cluster.client(victim);
        poll_until("a fold, and writes behind it", PATIENCE, || {
            fill(&client);
            let stats = client.stats();
            (stats["folded_index"].as_u64() < stats["applied_index"].as_u64()).then_some(())
        });
        assert_eq!(client.stats()["term"], term, "the leader changed meanwhile");
        cluster.node_mut(victim).kill();
        let others = cluster.ids_without(&[victim]);
        cluster.wait_leader_among(&others);
        diverge(&cluster.node(victim).data);
        cluster.start_node(victim);
        poll_until("the node to be back", PATIENCE, || client.try_stats());
        if leads {
            // It may have been found out before it is asked to lead: then it has a state again, and leads.
            let body = json!({"id": victim});
            poll_until("the node to lead", PATIENCE, || {
                let bytes = serde_json::to_vec(&body).expect("a JSON value has a text");
                let headers = [("content-type", "application/json")];
                let answer = client.request("POST", "/api/leader", &headers, Some(&bytes)).ok()?;
                let rebuilt = counter(&client.try_stats()?, "states_rebuilt_total") > 0;
                (answer.status == 200 || rebuilt).then_some(())
            });
        }
        poll_until("the divergence to be found", PATIENCE, || {
            // Marks come with writes. Of one that waits at a node that gets another state nobody knows what became.
            let _ = cluster.client(others[0]).try_set("nudge", "v", None);
            let stats = client.try_stats()?;
            (counter(&stats, "state_divergences_total") > 0 && counter(&stats, "states_rebuilt_total") > 0)
                .then_some(())
        });
        check(&client);
        let output = cluster.node(victim).output();
        assert!(output.contains("CORRUPT"), "{output}");
        let told: u64 = cluster
            .ids()
            .into_iter()
            .map(|id| counter(&cluster.client(id).stats(), "state_divergences_total"))
            .sum();
        assert!(told > 0, "nobody counted it");
    }
    cluster.assert_all_alive();
}
