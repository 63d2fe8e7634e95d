//! Files that changed on the disk: refused with exit 3 and a text that names the file and the place, never shortened,
//! never served. What becomes of state files is in `state.rs`.

use std::path::{Path, PathBuf};

use crate::harness::Cluster;
use crate::harness::node::command;
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::run::run;

/// Every file below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the data directory is there").flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// Every place of `needle` in the files.
fn find(files: &[PathBuf], needle: &[u8]) -> Vec<(PathBuf, usize)> {
    let mut places = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).expect("readable");
        let mut from = 0;
        while let Some(at) = bytes[from..].windows(needle.len()).position(|window| window == needle) {
            places.push((file.clone(), from + at));
            from += at + needle.len();
        }
    }
    places
}

/// Flips one bit.
fn flip(file: &Path, offset: usize) {
    let mut bytes = std::fs::read(file).expect("readable");
    bytes[offset] ^= 0x04;
    std::fs::write(file, bytes).expect("writable");
}

/// The texts of damage name the file, an offset in digits, and say what to do; no panic is among them.
fn assert_names_damage(cluster: &Cluster, since: usize, file: &Path) {
    let output = cluster.node(1).output()[since..].to_owned();
    let name = file.file_name().expect("a file").to_string_lossy().into_owned();
    let is_place = |text: &str| text.trim_start().starts_with(|c: char| c.is_ascii_digit());
    let names_place =
        |line: &str| ["byte ", "offset "].iter().any(|word| line.split(word).skip(1).any(is_place));
    let told = output.lines().any(|line| line.contains(&name) && names_place(line));
    assert!(told, "no line names {name} and an offset:\n{output}");
    assert!(!output.contains("panicked"), "{output}");
}

/// Nobody has what a cluster of one has lost: it says so, serves nothing and forgets nothing.
#[test]
fn one_flipped_bit_in_the_only_log_is_said_and_never_served() {
    let mut cluster = Cluster::start("damage-log", 1);
    cluster.wait_ready();
    let client = cluster.client(1);
    client.set("damage", "marker-in-the-log-0123456789");
    for number in 0..5 {
        client.set(&format!("later/{number}"), "x");
    }
    cluster.node_mut(1).kill();
    let log = files(&cluster.node(1).data.join("wal"));
    let places = find(&log, b"marker-in-the-log");
    let (file, offset) = places.first().expect("an acknowledged value is in the log").clone();
    flip(&file, offset + 3);
    for attempt in 0..2 {
        let since = cluster.node(1).output().len();
        cluster.start_node(1);
        poll_until("the node to say what is lost", PATIENCE, || {
            cluster.node(1).output()[since..].contains("every other member lacks it, too").then_some(())
        });
        assert_names_damage(&cluster, since, &file);
        assert!(!client.is_ready(), "attempt {attempt}: it serves without an entry that it acknowledged");
        cluster.node_mut(1).kill();
        let held = find(std::slice::from_ref(&file), b"later/4");
        assert!(!held.is_empty(), "damage is never repaired by shortening");
    }
    // The log can still be looked into: all of it, and then the verdict.
    let inspect = |code: i32, parts: &[&str]| {
        let mut inspect = command();
        inspect.args(["wal", "inspect"]).arg(&cluster.node(1).data);
        run(&cluster.directory(), inspect).expect(code, parts)
    };
    let damaged = inspect(3, &["the log is damaged", "byte "]);
    assert!(damaged.stdout.contains("  damaged "), "{damaged:?}");
    flip(&file, offset + 3);
    let whole = inspect(0, &[]);
    assert!(whole.stdout.lines().count() > 3 && whole.stderr.is_empty(), "{whole:?}");
    cluster.start_node(1);
    cluster.wait_ready();
    assert_eq!(cluster.client(1).value("damage").as_deref(), Some("marker-in-the-log-0123456789"));
}

/// What one of three has lost the others have: the node starts, says so loudly, and takes it back from them (H17).
#[test]
fn a_flipped_bit_in_the_log_of_one_of_three_is_repaired() {
    let mut cluster = Cluster::start("damage-repair", 3);
    let leader = cluster.wait_ready();
    let client = cluster.client(leader);
    // Longer than a sector: the record's header stands in another one than what is hit.
    let value = format!("{}marker-in-the-middle{}", "x".repeat(32 << 10), "y".repeat(32 << 10));
    client.set("damage", &value);
    for number in 0..5 {
        client.set(&format!("later/{number}"), "x");
    }
    // A follower, and then the leader of that time.
    for victim in [cluster.ids_without(&[leader])[0], leader] {
        cluster.node_mut(victim).kill();
        let others = cluster.ids_without(&[victim]);
        cluster.wait_leader_among(&others);
        let log = files(&cluster.node(victim).data.join("wal"));
        let places = find(&log, b"marker-in-the-middle");
        let (file, offset) = places.first().expect("an acknowledged value is in the log").clone();
        flip(&file, offset + 3);
        cluster.start_node(victim);
        let back = cluster.client(victim);
        poll_until("the entry to be repaired", PATIENCE, || {
            let stats = back.try_stats()?;
            (stats["counters"]["entries_repaired_total"].as_u64() > Some(0)).then_some(())
        });
        assert_eq!(back.value("damage").as_deref(), Some(value.as_str()));
        let output = cluster.node(victim).output();
        assert!(output.contains("the log is damaged: what is lost is repaired"), "{output}");
        // And for good: the next start finds nothing to repair.
        cluster.node_mut(victim).kill();
        let since = cluster.node(victim).output().len();
        cluster.start_node(victim);
        poll_until("the node to be ready", PATIENCE, || back.is_ready().then_some(()));
        let output = cluster.node(victim).output()[since..].to_owned();
        assert!(!output.contains("what is lost is repaired"), "{output}");
        assert_eq!(back.stats()["counters"]["entries_damaged_total"].as_u64(), Some(0));
        assert_eq!(back.value("damage").as_deref(), Some(value.as_str()));
    }
}

/// All copies of an acknowledged entry are damaged: every node says so, once, goes no further, and serves nothing that lacks it.
/// One copy that comes back is enough for all (H17).
#[test]
fn an_entry_that_all_have_lost_is_said_loudly_and_never_served_without() {
    const ALARM: &str = "every other member lacks it, too";
    let mut cluster = Cluster::start("damage-all", 3);
    let leader = cluster.wait_ready();
    let client = cluster.client(leader);
    let value = format!("{}marker-in-the-middle{}", "x".repeat(32 << 10), "y".repeat(32 << 10));
    client.set("damage", &value);
    for number in 0..5 {
        client.set(&format!("later/{number}"), "x");
    }
    let written = client.stats()["last_index"].as_u64().expect("an index");
    for id in cluster.ids() {
        cluster.wait_applied(id, written);
    }
    let mut places = Vec::new();
    for id in cluster.ids() {
        // Not stopped: what is in the log only has to be read from there.
        cluster.node_mut(id).kill();
        let log = files(&cluster.node(id).data.join("wal"));
        let (file, offset) = find(&log, b"marker-in-the-middle").first().expect("it is in the log").clone();
        flip(&file, offset + 3);
        places.push((file, offset + 3));
    }
    cluster.start_all();
    let alarms = |cluster: &Cluster, id: u64| {
        let output = cluster.node(id).output();
        output.lines().filter(|line| line.contains("ERROR") && line.contains(ALARM)).count()
    };
    for id in cluster.ids() {
        poll_until("the node to say what is lost", PATIENCE, || (alarms(&cluster, id) > 0).then_some(()));
    }
    for id in cluster.ids() {
        let client = cluster.client(id);
        assert!(!client.is_ready(), "node {id} serves without an entry that was acknowledged");
        let later = client.request("GET", "/api/get?key=later/4&consistency=stale", &[], None);
        assert!(
            later.is_ok_and(|answer| answer.json()["value"].is_null()),
            "what follows is applied at node {id}"
        );
        let stats = client.stats();
        assert!(stats["applied_index"].as_u64() < Some(written), "{stats}");
        assert_eq!(alarms(&cluster, id), 1, "it is said once: {}", cluster.node(id).output());
    }
    cluster.assert_all_alive();

    cluster.node_mut(1).kill();
    let (file, offset) = &places[0];
    flip(file, *offset);
    cluster.start_node(1);
    cluster.wait_ready();
    for id in cluster.ids() {
        assert!(cluster.client(id).value("damage").as_deref() == Some(value.as_str()), "node {id}");
        assert_eq!(cluster.client(id).value("later/4").as_deref(), Some("x"));
    }
    for id in [2, 3] {
        poll_until("the node to say that nothing is lost", PATIENCE, || {
            cluster.node(id).output().contains("no entry is missing any more").then_some(())
        });
        assert_eq!(alarms(&cluster, id), 1);
    }
}

/// Makes another sector of one.
fn garble(file: &Path, sector: usize) {
    let mut bytes = std::fs::read(file).expect("readable");
    bytes[sector * 512..(sector + 1) * 512].iter_mut().for_each(|byte| *byte ^= 0x5a);
    std::fs::write(file, bytes).expect("writable");
}

/// One sector of the log of one of three is lost, wherever that is, and headers with it: the node starts, says so, heals
/// by itself, and nothing is lost (H17).
#[test]
fn any_one_lost_sector_of_the_log_of_one_of_three_heals() {
    let mut cluster = Cluster::start("damage-sector", 3);
    let leader = cluster.wait_ready();
    for number in 0..20 {
        cluster.client(leader).set(&format!("early/{number}"), &format!("marker-early-{number}"));
    }
    let wounds = ["first sector", "preamble", "middle", "end"];
    for (round, wound) in wounds.into_iter().enumerate() {
        // Followers, and leaders of that time.
        let leader = cluster.wait_leader_among(&[1, 2, 3]);
        let victim = if round % 2 == 0 { cluster.ids_without(&[leader])[0] } else { leader };
        let last = format!("marker-last-{round}");
        cluster.client(leader).set("last", &last);
        let written = cluster.client(leader).stats()["last_index"].as_u64();
        poll_until("the victim to have it", PATIENCE, || {
            (cluster.client(victim).try_stats()?["persisted_index"].as_u64() >= written).then_some(())
        });
        cluster.node_mut(victim).kill();
        let log = files(&cluster.node(victim).data.join("wal"));
        let is_segment = |file: &&PathBuf| file.extension().is_some_and(|kind| kind == "wal");
        let newest = log.iter().rfind(is_segment).expect("a segment").clone();
        let (file, sector) = match wound {
            "first sector" => (newest, 0),
            "preamble" => (newest, 2),
            "middle" => {
                let (file, offset) = find(&log, b"marker-early-10").first().expect("it is there").clone();
                (file, offset / 512)
            }
            _ => {
                let bytes = std::fs::read(&newest).expect("readable");
                let is_written = |sector: &[u8]| sector.iter().any(|byte| *byte != 0);
                let end = bytes.chunks(512).rposition(is_written).expect("something is written");
                (newest, end)
            }
        };
        garble(&file, sector);
        let since = cluster.node(victim).output().len();
        cluster.start_node(victim);
        let back = cluster.client(victim);
        poll_until("the node to be well again", PATIENCE, || {
            let stats = back.try_stats()?;
            let counters = &stats["counters"];
            let is_whole = counters["entries_damaged_total"] == counters["entries_repaired_total"];
            let is_sure = counters["log_in_doubt"].as_u64() == Some(0);
            (is_whole && is_sure && back.is_ready()).then_some(())
        });
        let output = cluster.node(victim).output()[since..].to_owned();
        assert!(output.contains("the log is damaged"), "{wound}: {output}");
        if wound == "end" {
            let settled = back.stats()["counters"]["log_doubts_settled_total"].as_u64();
            assert!(settled > Some(0), "{wound}: {output}");
            assert!(output.contains("it grants no vote until"), "{output}");
        }
        assert_eq!(back.value("last").as_deref(), Some(last.as_str()), "{wound}");
        for number in 0..20 {
            let value = back.value(&format!("early/{number}"));
            assert_eq!(value, Some(format!("marker-early-{number}")), "{wound}");
        }
        // And for good: it votes, also where another one is away.
        let away = cluster.ids_without(&[victim])[0];
        cluster.node_mut(away).kill();
        cluster.wait_leader_among(&cluster.ids_without(&[away]));
        cluster.start_node(away);
        cluster.wait_ready();
    }
}

/// Either copy of the identity is enough.
#[test]
fn a_damaged_identity_is_taken_from_its_copy() {
    let mut cluster = Cluster::start("damage-identity-copy", 1);
    cluster.wait_ready();
    cluster.client(1).set("k", "v");
    for name in ["identity", "identity.copy"] {
        cluster.node_mut(1).kill();
        flip(&cluster.node(1).data.join(name), 40);
        let since = cluster.node(1).output().len();
        cluster.start_node(1);
        cluster.wait_ready();
        assert!(cluster.node(1).output()[since..].contains("made anew from the other copy"), "{name}");
        assert_eq!(cluster.client(1).value("k").as_deref(), Some("v"));
    }
}

#[test]
fn a_log_file_that_is_gone_is_exit_3() {
    let mut cluster = Cluster::start("damage-gone", 1);
    cluster.wait_ready();
    cluster.client(1).set("k", "v");
    cluster.node_mut(1).kill();
    let data = cluster.node(1).data.clone();
    std::fs::rename(data.join("wal"), data.join("wal.away")).expect("a directory can be renamed");
    cluster.start_node(1);
    let status = cluster.node_mut(1).wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(3), "{}", cluster.node(1).output());
    if data.join("wal").exists() {
        std::fs::remove_dir_all(data.join("wal")).expect("removable");
    }
    std::fs::rename(data.join("wal.away"), data.join("wal")).expect("a directory can be renamed");
    cluster.start_node(1);
    cluster.wait_ready();
    assert_eq!(cluster.client(1).value("k").as_deref(), Some("v"));
}

/// The lock file alone is no log: without its segments a node has forgotten its vote (H35).
#[test]
fn a_log_without_its_segments_is_exit_3() {
    let mut cluster = Cluster::start("damage-segments", 1);
    cluster.wait_ready();
    cluster.client(1).set("k", "v");
    cluster.node_mut(1).kill();
    let wal = cluster.node(1).data.join("wal");
    for file in files(&wal).into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "wal")) {
        std::fs::remove_file(file).expect("removable");
    }
    cluster.start_node(1);
    let status = cluster.node_mut(1).wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(3), "{}", cluster.node(1).output());
    assert!(files(&wal).iter().all(|file| file.ends_with("lock")), "the evidence was changed");
}

/// Two stores that differ in nothing but their data directory: neither takes the other's files for its own.
#[test]
fn another_stores_files_are_exit_3() {
    let mut mine = Cluster::start("damage-mine", 1);
    let mut other = Cluster::start("damage-other", 1);
    for cluster in [&mut mine, &mut other] {
        cluster.wait_ready();
        cluster.client(1).set("k", "v");
        assert!(cluster.node_mut(1).stop().success());
    }
    let (mine_data, other_data) = (mine.node(1).data.clone(), other.node(1).data.clone());
    for name in ["state.redb", "wal"] {
        let (own, away, foreign) = (mine_data.join(name), mine_data.join("away"), other_data.join(name));
        std::fs::rename(&own, &away).expect("renamed");
        std::fs::rename(&foreign, &own).expect("renamed");
        mine.start_node(1);
        let status = mine.node_mut(1).wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(3), "{name}: {}", mine.node(1).output());
        std::fs::rename(&own, &foreign).expect("renamed");
        std::fs::rename(&away, &own).expect("renamed");
    }
    mine.start_node(1);
    mine.wait_ready();
    assert_eq!(mine.client(1).value("k").as_deref(), Some("v"));
}

/// A node that cannot record whom it meets blames itself: it ends, and its peers go on.
#[test]
fn a_node_that_cannot_record_its_peers_ends_alone() {
    let mut cluster = Cluster::prepare("damage-identity", 3, false);
    cluster.start_node(1);
    poll_until("the first node to have an identity", PATIENCE, || {
        let identity = std::fs::read_to_string(cluster.node(1).data.join("identity")).ok()?;
        identity.contains("state ready").then_some(())
    });
    // Where the new identity file would be written, a directory stands in the way.
    std::fs::create_dir_all(cluster.node(1).data.join("identity.new").join("full")).expect("created");
    cluster.start_node(2);
    cluster.start_node(3);
    assert_eq!(cluster.node_mut(1).wait_exit(PATIENCE).code(), Some(4), "{}", cluster.node(1).output());
    cluster.wait_leader_among(&[2, 3]);
    cluster.client(2).set("k", "v");
    assert_eq!(cluster.client(3).value("k").as_deref(), Some("v"));
    cluster.node_mut(2).assert_alive();
    cluster.node_mut(3).assert_alive();
}

/// Values of 1 MiB: enough that a small write set is folded more than once.
const VALUES: usize = 20;

#[test]
fn a_damaged_value_in_the_state_file_never_reaches_a_reader() {
    let mut cluster = Cluster::prepare("damage-value", 1, false);
    // A small write set is folded into the file soon.
    cluster.node_mut(1).arguments.extend(["--write-set-bytes-max".to_owned(), "8MiB".to_owned()]);
    cluster.start_all();
    cluster.wait_ready();
    let client = cluster.client(1);
    let value = format!("marker-in-the-state-{}", "y".repeat(1 << 20));
    for number in 0..VALUES {
        client.set(&format!("state/{number:02}"), &value);
    }
    poll_until("a fold", PATIENCE, || (client.stats()["folded_index"].as_u64() > Some(5)).then_some(()));
    assert!(cluster.node_mut(1).stop().success());
    let file = cluster.node(1).data.join("state.redb");
    let places = find(std::slice::from_ref(&file), b"marker-in-the-state");
    assert!(!places.is_empty(), "no folded value is found in the state file");
    for (_, offset) in &places {
        flip(&file, offset + 2);
    }
    let since = cluster.node(1).output().len();
    cluster.start_node(1);
    // It may find out at the start or when the value is asked for: either way it serves nothing bad, and takes what it has lost
    // from its own log.
    let client = cluster.client(1);
    poll_until("the state to be rebuilt", PATIENCE, || {
        let mut served = 0;
        for number in 0..VALUES {
            let path = format!("/api/get?key=state/{number:02}");
            let answer = client.request("GET", &path, &[("x-quorate-timeout-ms", "500")], None).ok()?;
            if answer.status == 200 {
                assert!(answer.json()["value"] == value.as_str(), "a damaged value was served for {path}");
                served += 1;
            }
        }
        let rebuilt = client.try_stats()?["counters"]["states_rebuilt_total"].as_u64();
        (served == VALUES && rebuilt > Some(0)).then_some(())
    });
    assert_names_damage(&cluster, since, &file);
}
