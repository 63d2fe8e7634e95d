//! Files that changed on the disk: refused with exit 3 and a text that names the file and the place, never shortened,
//! never served.

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

#[test]
fn one_flipped_bit_in_the_log_is_exit_3() {
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
        let before = std::fs::read(&file).expect("readable");
        let since = cluster.node(1).output().len();
        cluster.start_node(1);
        let status = cluster.node_mut(1).wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(3), "attempt {attempt}: {}", cluster.node(1).output());
        assert_names_damage(&cluster, since, &file);
        assert!(std::fs::read(&file).expect("readable") == before, "damage is never repaired by shortening");
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

#[test]
fn a_damaged_header_of_the_state_file_is_exit_3() {
    let mut cluster = Cluster::start("damage-header", 1);
    cluster.wait_ready();
    cluster.client(1).set("k", "v");
    assert!(cluster.node_mut(1).stop().success());
    let file = cluster.node(1).data.join("state.redb");
    flip(&file, 0);
    let since = cluster.node(1).output().len();
    cluster.start_node(1);
    let status = cluster.node_mut(1).wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(3), "{}", cluster.node(1).output());
    assert_names_damage(&cluster, since, &file);
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
    // It may find out at the start or when the value is asked for: either way it ends with 3 and serves nothing bad.
    let client = cluster.client(1);
    let _ = crate::harness::try_poll_until(PATIENCE, || {
        for number in 0..VALUES {
            let path = format!("/api/get?key=state/{number:02}");
            let Ok(answer) = client.request("GET", &path, &[("x-quorate-timeout-ms", "500")], None) else {
                continue;
            };
            if answer.status == 200 {
                assert!(answer.json()["value"] == value.as_str(), "a damaged value was served for {path}");
            }
        }
        client.request("GET", "/livez", &[], None).is_err().then_some(())
    });
    let status = cluster.node_mut(1).wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(3), "{}", cluster.node(1).output());
    assert_names_damage(&cluster, since, &file);
}
