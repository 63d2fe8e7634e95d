//! `quorate check`: it verifies a stopped node's directory and leaves every byte of it as it was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::Cluster;
use crate::harness::node::command;
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::run::{Ended, run};

fn check(cluster: &Cluster, id: u64, flags: &[&str]) -> Ended {
    let mut check = command();
    check.arg("check").arg(&cluster.node(id).data).args(flags);
    run(&cluster.directory(), check)
}

/// Every file below a directory, with its content.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("the data directory is there").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(content(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).expect("readable"))),
        }
    }
    found
}

fn flip(file: &Path, offset: usize) {
    let mut bytes = std::fs::read(file).expect("readable");
    bytes[offset] ^= 0x04;
    std::fs::write(file, bytes).expect("writable");
}

/// A node with some keys, folds and more than one segment; stopped in good order or killed.
fn written(name: &str, killed: bool) -> Cluster {
    let mut cluster = Cluster::prepare(name, 1, false);
    let flags = ["--write-set-bytes-max", "8MiB", "--wal-segment-bytes", "16MiB"];
    cluster.node_mut(1).arguments.extend(flags.map(str::to_owned));
    cluster.start_all();
    cluster.wait_ready();
    let client = cluster.client(1);
    let value = format!("marker-in-the-data-{}", "y".repeat(1 << 20));
    for number in 0..20 {
        client.set(&format!("k/{number:02}"), &value);
    }
    poll_until("a fold", PATIENCE, || (client.stats()["folded_index"].as_u64() > Some(3)).then_some(()));
    match killed {
        true => cluster.node_mut(1).kill(),
        false => assert!(cluster.node_mut(1).stop().success()),
    }
    cluster
}

#[test]
fn a_sound_directory_passes_and_is_not_touched() {
    for killed in [false, true] {
        let mut cluster = written("check-sound", killed);
        let before = content(&cluster.node(1).data);
        let ended = check(&cluster, 1, &[]).expect(0, &[]);
        assert!(ended.stderr.is_empty(), "{ended:?}");
        for part in ["verdict", "identity ", "segment ", "log ", "state.redb", "state hash"] {
            assert!(ended.stdout.contains(part), "no {part}: {}", ended.stdout);
        }
        assert!(!ended.stdout.contains("DAMAGED"), "{}", ended.stdout);
        for flags in [&["--format", "json"][..], &["--json"]] {
            let ended = check(&cluster, 1, flags).expect(0, &[]);
            let lines: Vec<Value> =
                ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            assert!(lines.len() > 4 && lines.iter().all(|line| line["ok"] == true), "{lines:?}");
        }
        assert!(content(&cluster.node(1).data) == before, "the check changed something");
        cluster.start_node(1);
        cluster.wait_ready();
    }
}

#[test]
fn a_running_node_is_left_alone() {
    let mut cluster = Cluster::start("check-running", 1);
    cluster.wait_ready();
    check(&cluster, 1, &[]).expect(2, &["is this node running already"]);
    cluster.node_mut(1).assert_alive();
    cluster.client(1).set("k", "v");
}

#[test]
fn damage_is_named_with_file_and_byte() {
    let mut cluster = written("check-damage", false);
    let data = cluster.node(1).data.clone();
    let marker = b"marker-in-the-data";
    let files = content(&data);
    for (file, bytes) in &files {
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        // Where it stands first is never far; what follows is megabytes.
        let bytes = &bytes[..bytes.len().min(4 << 20)];
        let offset = match bytes.windows(marker.len()).position(|window| window == marker) {
            Some(offset) => offset + 3,
            None if name.starts_with("identity") => 20,
            None => continue,
        };
        flip(file, offset);
        let ended = check(&cluster, 1, &[]).expect(3, &[&name, "damaged"]);
        assert!(ended.stdout.contains("DAMAGED"), "{name}: {}", ended.stdout);
        let place = format!("{}: damaged at byte ", file.display());
        assert!(ended.stderr.contains(&place), "{name}: {}", ended.stderr);
        flip(file, offset);
    }
    // Whole files that are gone.
    let (state, away) = (data.join("state.redb"), data.join("away"));
    let last = data.join("wal").join("0000000000000001.wal");
    for (file, code, part) in [
        (data.join("identity"), 3, "DAMAGED: it is missing"),
        (last, 3, "DAMAGED"),
        // The log holds everything from the beginning: nothing is lost.
        (state, 0, "the next start makes it"),
    ] {
        std::fs::rename(&file, &away).expect("renamed");
        let ended = check(&cluster, 1, &[]).expect(code, &[]);
        assert!(ended.stdout.contains(part), "{}: {ended:?}", file.display());
        std::fs::rename(&away, &file).expect("renamed");
    }
    check(&cluster, 1, &[]).expect(0, &[]);
    assert!(content(&data) == files, "the checks changed something");
    cluster.start_node(1);
    cluster.wait_ready();
}
