//! A full disk, a real one: a file system of some megabytes of its own. The node ends with exit 4 and loses nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::skip::skipped;
use crate::harness::{Cluster, Outcome};

/// Two of the smallest log segments, a state file, and little more.
const SMALL: &str = "size=48m";
const ROOMY: &str = "size=256m";
/// More writes of [`VALUE_BYTES`] than fit.
const WRITES_MAX: usize = 400;
const VALUE_BYTES: usize = 256 << 10;

/// A file system in memory, mounted for one test.
struct Tmpfs {
    at: PathBuf,
}

impl Tmpfs {
    /// Mounts one; an error says why that is not permitted.
    fn mount(at: &Path) -> Result<Tmpfs, String> {
        std::fs::create_dir_all(at).expect("the test's directory is writable");
        mount(&["-t", "tmpfs", "-o", SMALL, "tmpfs"], at)?;
        Ok(Tmpfs { at: at.to_owned() })
    }

    fn make_room(&self) {
        mount(&["-o", &format!("remount,{ROOMY}")], &self.at).expect("what was mounted can grow");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: the node may still have files open when a test fails.
        let _ = Command::new("umount").arg("-l").arg(&self.at).stderr(Stdio::null()).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> Result<(), String> {
    let output = Command::new("mount").args(arguments).arg(at).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

fn value(number: usize) -> String {
    format!("{number:06}-{}", "x".repeat(VALUE_BYTES))
}

/// Writes through node 1 until it has ended; which numbers were acknowledged.
fn fill(cluster: &mut Cluster) -> Vec<usize> {
    let client = cluster.client(1);
    let mut acknowledged = Vec::new();
    for number in 0..WRITES_MAX {
        let outcome =
            client.try_set(&format!("full/{number:03}"), &value(number), Some(Duration::from_secs(3)));
        if let Outcome::Done(_) = outcome {
            acknowledged.push(number);
        } else if cluster.node_mut(1).has_ended() {
            return acknowledged;
        }
    }
    panic!("{WRITES_MAX} writes of {VALUE_BYTES} bytes went into a file system of {SMALL}");
}

#[test]
fn a_state_file_without_room_is_exit_4_and_loses_nothing() {
    // Folded early: the state file grows with the log.
    let name = "a_state_file_without_room_is_exit_4_and_loses_nothing";
    run_full(name, "full-state", "8MiB", "the state file cannot be used");
}

#[test]
fn a_log_without_room_is_exit_4_and_loses_nothing() {
    // Folded late: the log needs its next segment before.
    let name = "a_log_without_room_is_exit_4_and_loses_nothing";
    run_full(name, "full-log", "64MiB", "/wal/");
}

/// Fills the disk of a cluster of one, whose end must name `what`; makes room and looks for everything acknowledged.
fn run_full(test: &str, name: &str, write_set_bytes_max: &str, what: &str) {
    let mut cluster = Cluster::prepare(name, 1, false);
    let tmpfs = match Tmpfs::mount(&cluster.node(1).data) {
        Ok(tmpfs) => tmpfs,
        Err(why) => return skipped(test, "tmpfs", &why),
    };
    let limits = ["--wal-segment-bytes", "16MiB", "--write-set-bytes-max", write_set_bytes_max];
    cluster.node_mut(1).arguments.extend(limits.map(str::to_owned));
    cluster.start_all();
    cluster.wait_ready();
    let acknowledged = fill(&mut cluster);
    let (code, output) = (cluster.node_mut(1).wait_exit(PATIENCE).code(), cluster.node(1).output());
    assert_eq!(code, Some(4), "{output}");
    let told = |line: &str| line.contains(what) && line.contains("No space left on device");
    assert!(output.lines().any(told), "no line says that {what} has no room: {output}");
    assert!(!output.contains("panicked"), "{output}");
    assert!(
        acknowledged.len() > 8,
        "only {} writes were acknowledged: no test of anything",
        acknowledged.len()
    );

    // Started again without room it may serve what it has or end again; it must not shorten anything.
    cluster.start_node(1);
    let client = cluster.client(1);
    let ended =
        poll_until("the node to serve or to end", PATIENCE, || match cluster.node_mut(1).has_ended() {
            true => Some(true),
            false => client.is_ready().then_some(false),
        });
    match ended {
        true => assert_eq!(cluster.node_mut(1).wait_exit(PATIENCE).code(), Some(4)),
        false => cluster.node_mut(1).kill(),
    }

    tmpfs.make_room();
    cluster.start_node(1);
    cluster.wait_ready();
    for number in acknowledged {
        let held = client.value(&format!("full/{number:03}"));
        assert!(held == Some(value(number)), "write {number} was acknowledged and is gone");
    }
    client.set("after", "room");
}
