//! Full disks, real ones: file systems of some megabytes of their own. What needs room is refused, what frees it is taken,
//! nothing is lost and nobody ends; and all of it is over once there is room.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::skip::skipped;
use crate::harness::{Cluster, Outcome};

const MIB: u64 = 1 << 20;

/// The smallest log segments, and the least that can be kept free for them: 64 MiB, and a floor of 16 MiB.
const FLAGS: [&str; 8] = [
    "--wal-segment-bytes",
    "16MiB",
    "--storage-reserve-bytes",
    "64MiB",
    "--write-set-bytes-max",
    "8MiB",
    "--log-tail-bytes-max",
    "1MiB",
];
const VALUE_BYTES: usize = 256 << 10;
/// More writes of [`VALUE_BYTES`] than fit.
const WRITES_MAX: usize = 1_200;

/// A file system in memory, mounted for one test, as a node's data directory.
struct Volume {
    at: PathBuf,
}

impl Volume {
    /// Mounts one; an error says why that is not permitted.
    fn mount(at: &Path) -> Result<Volume, String> {
        std::fs::create_dir_all(at).expect("the test's directory is writable");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256m", "tmpfs"]).arg(at);
        let output = mount.output().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(Volume { at: at.to_owned() }),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    fn free_bytes(&self) -> u64 {
        let stats = nix::sys::statvfs::statvfs(&self.at).expect("a mounted file system");
        stats.blocks_available() * stats.fragment_size()
    }

    /// Somebody else's file takes all but this.
    fn fill(&self, left_bytes: u64) {
        let zeroes = vec![0; 1 << 20];
        let mut file = File::create(self.at.join("ballast")).expect("the volume is writable");
        while let Some(more) = self.free_bytes().checked_sub(left_bytes).filter(|more| *more > 0) {
            let bytes = usize::try_from(more.min(MIB)).expect("a megabyte");
            if file.write_all(&zeroes[..bytes]).is_err() {
                return; // the node took the rest meanwhile
            }
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.at.join("ballast")).expect("the ballast is there");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: the node may still have files open when a test fails.
        let _ = Command::new("umount").arg("-l").arg(&self.at).stderr(Stdio::null()).status();
    }
}

/// A cluster whose nodes each have a volume of their own; dropped after its volumes.
struct Small {
    volumes: Vec<Volume>,
    cluster: Cluster,
}

impl Small {
    /// Starts one; `None` where nothing may be mounted here.
    fn start(test: &str, name: &str, count: u64) -> Option<Small> {
        let mut cluster = Cluster::prepare(name, count, false);
        let mut volumes = Vec::new();
        for id in cluster.ids() {
            cluster.node_mut(id).arguments.extend(FLAGS.map(str::to_owned));
            match Volume::mount(&cluster.node(id).data) {
                Ok(volume) => volumes.push(volume),
                Err(why) => {
                    skipped(test, "tmpfs", &why);
                    return None;
                }
            }
        }
        cluster.start_all();
        cluster.wait_ready();
        Some(Small { volumes, cluster })
    }

    fn volume(&self, id: u64) -> &Volume {
        &self.volumes[usize::try_from(id - 1).expect("ids are small")]
    }

    /// Waits until a node says that it stands so.
    fn wait_level(&self, id: u64, level: u64) {
        let client = self.cluster.client(id);
        poll_until(&format!("node {id} at level {level}"), PATIENCE, || {
            let level_now = client.try_stats()?["counters"]["storage_level"].as_u64();
            (level_now == Some(level)).then_some(())
        });
    }

    /// Fails the test if a node has ended, or panicked.
    fn assert_alive(&mut self) {
        self.cluster.assert_all_alive();
        for id in self.cluster.ids() {
            let output = self.cluster.node(id).output();
            assert!(!output.contains("panicked"), "{output}");
        }
    }
}

fn key(number: usize) -> String {
    format!("full/{number:04}")
}

fn value(number: usize) -> String {
    format!("{number:06}-{}", "x".repeat(VALUE_BYTES))
}

/// Sets a key at every node until each has refused it with this code; the refusals are as the contract says.
fn wait_refused(cluster: &Cluster, code: &str) {
    for id in cluster.ids() {
        let client = cluster.client(id);
        poll_until(&format!("{code} at node {id}"), PATIENCE, || {
            let answer = client.post("/api/set", &serde_json::json!({"key": "refused", "value": "x"}));
            if answer.status == 200 || answer.status == 503 {
                return None; // not yet, or another leader comes
            }
            assert_eq!(answer.header("retry-after"), "30");
            let problem = answer.expect_problem(507);
            assert_eq!(
                (problem["code"].as_str(), problem["retryable"].as_bool()),
                (Some(code), Some(true)),
                "{problem}"
            );
            assert_eq!(problem["outcome"], "not_applied", "{problem}");
            Some(())
        });
    }
}

/// Deletes a key at a node. While leaders come and go that may take more than one try.
fn delete(cluster: &Cluster, id: u64, key: &str) -> Value {
    let client = cluster.client(id);
    poll_until(&format!("delete {key} at node {id}"), PATIENCE, || {
        let answer = client.delete(&format!("/api/delete?key={}", key.replace('/', "%2F")));
        (answer.status != 503).then(|| answer.expect(200).json())
    })
}

#[test]
fn one_full_disk_of_three_is_served_on() {
    let test = "one_full_disk_of_three_is_served_on";
    let Some(mut small) = Small::start(test, "full-one", 3) else { return };
    let leader = small.cluster.wait_leader();
    small.cluster.client(leader).set("before", "1");
    // Below its floor: it makes way, and takes nothing more.
    small.volume(leader).fill(8 * MIB);
    small.wait_level(leader, 2);
    let others = small.cluster.ids_without(&[leader]);
    let next = small.cluster.wait_leader_among(&others);
    assert_ne!(next, leader);
    for id in small.cluster.ids() {
        small.cluster.client(id).set(&format!("through/{id}"), "2");
    }
    let behind = small.cluster.client(leader).stats()["last_index"].as_u64();
    let ahead = small.cluster.client(next).stats()["last_index"].as_u64();
    assert!(behind < ahead, "the full one took entries: it is at {behind:?}, the leader at {ahead:?}");
    let verbose = small.cluster.client(leader).get("/readyz?verbose");
    assert!(verbose.text().contains("storage ok, but less than the floor is left"), "{}", verbose.text());
    small.volume(leader).make_room();
    small.wait_level(leader, 0);
    small.cluster.wait_applied(leader, ahead.expect("a number"));
    for id in small.cluster.ids() {
        assert_eq!(small.cluster.client(leader).value(&format!("through/{id}")).as_deref(), Some("2"));
    }
    small.assert_alive();
    let output = small.cluster.node(leader).output();
    assert!(
        output.contains("less than the floor is left") && output.contains("there is room again"),
        "{output}"
    );
}

#[test]
fn two_full_disks_of_three_refuse_what_grows_and_take_deletes() {
    let test = "two_full_disks_of_three_refuse_what_grows_and_take_deletes";
    let Some(mut small) = Small::start(test, "full-two", 3) else { return };
    let leader = small.cluster.wait_leader();
    for number in 0..20 {
        small.cluster.client(leader).set(&key(number), &value(number));
    }
    for id in small.cluster.ids_without(&[leader]) {
        small.volume(id).fill(40 * MIB);
        small.wait_level(id, 1);
    }
    wait_refused(&small.cluster, "disk_full");
    for id in small.cluster.ids() {
        let number = usize::try_from(id).expect("a small id");
        assert_eq!(small.cluster.client(id).value(&key(number)), Some(value(number)), "reads go on");
        assert_eq!(delete(&small.cluster, id, &key(number))["deleted"], true);
        assert_eq!(small.cluster.client(id).value(&key(number)), None);
    }
    for id in small.cluster.ids_without(&[leader]) {
        small.volume(id).make_room();
    }
    for id in small.cluster.ids() {
        small.cluster.client(id).set(&format!("after/{id}"), "3");
    }
    for number in 4..20 {
        assert_eq!(small.cluster.client(leader).value(&key(number)), Some(value(number)));
    }
    small.assert_alive();
}

#[test]
fn all_disks_below_the_floor_take_nothing_and_serve_reads() {
    let test = "all_disks_below_the_floor_take_nothing_and_serve_reads";
    let Some(mut small) = Small::start(test, "full-all", 3) else { return };
    let leader = small.cluster.wait_leader();
    small.cluster.client(leader).set("before", "1");
    for id in small.cluster.ids() {
        small.volume(id).fill(4 * MIB);
    }
    for id in small.cluster.ids() {
        small.wait_level(id, 2);
    }
    wait_refused(&small.cluster, "disk_full");
    for id in small.cluster.ids() {
        assert_eq!(small.cluster.client(id).value("before").as_deref(), Some("1"));
        // Puts are refused as soon as the leader is short. Until it has heard that the others are full it takes a delete, which
        // then waits for one of them.
        let client = small.cluster.client(id);
        let refused = poll_until("a delete to be refused", PATIENCE, || {
            let answer = client.delete("/api/delete?key=absent");
            (answer.status != 503).then(|| answer.expect_problem(507))
        });
        assert_eq!(
            (refused["code"].as_str(), refused["outcome"].as_str()),
            (Some("disk_full"), Some("not_applied"))
        );
    }
    // One of them starts on its full disk.
    let other = small.cluster.ids_without(&[leader])[0];
    small.cluster.node_mut(other).kill();
    small.volume(other).fill(0);
    small.cluster.start_node(other);
    small.wait_level(other, 2);
    let client = small.cluster.client(other);
    poll_until("the node on the full disk to serve", PATIENCE, || client.is_ready().then_some(()));
    assert_eq!(client.value("before").as_deref(), Some("1"));
    for id in small.cluster.ids() {
        small.volume(id).make_room();
    }
    for id in small.cluster.ids() {
        small.cluster.client(id).set(&format!("after/{id}"), "2");
    }
    assert_eq!(small.cluster.client(leader).value("before").as_deref(), Some("1"));
    small.assert_alive();
}

/// Nobody makes room but who deletes: what the state file has free counts as well.
#[test]
fn a_disk_that_was_written_full_is_freed_by_deletes() {
    let test = "a_disk_that_was_written_full_is_freed_by_deletes";
    let Some(mut small) = Small::start(test, "full-written", 1) else { return };
    written_full_and_freed(&mut small.cluster, "disk_full");
    small.assert_alive();
}

#[test]
fn the_limit_that_is_set_is_one_like_the_disks() {
    let mut cluster = Cluster::prepare("full-quota", 3, false);
    for id in cluster.ids() {
        cluster.node_mut(id).arguments.extend(FLAGS.map(str::to_owned));
        cluster.node_mut(id).arguments.extend(["--storage-bytes-max", "192MiB"].map(str::to_owned));
    }
    cluster.start_all();
    cluster.wait_ready();
    written_full_and_freed(&mut cluster, "storage_full");
    cluster.assert_all_alive();
}

/// Writes until that is refused with `code`, deletes most of it, and writes again.
fn written_full_and_freed(cluster: &mut Cluster, code: &str) {
    let leader = cluster.wait_leader();
    let client = cluster.client(leader);
    let mut acknowledged = Vec::new();
    for number in 0..WRITES_MAX {
        match client.try_set(&key(number), &value(number), Some(Duration::from_secs(10))) {
            Outcome::Done(_) => acknowledged.push(number),
            Outcome::NotApplied { retryable: true, why } if why.contains(code) => break,
            Outcome::NotApplied { retryable: true, .. } => {}
            other => panic!("write {number}: {other:?}"),
        }
        cluster.node_mut(leader).assert_alive();
    }
    let count = acknowledged.len();
    assert!((40..WRITES_MAX).contains(&count), "{count} writes were acknowledged");
    for number in &acknowledged {
        assert_eq!(client.value(&key(*number)), Some(value(*number)), "write {number} of {count}");
    }
    let kept = acknowledged.split_off(count - 8);
    for number in &acknowledged {
        assert_eq!(delete(cluster, leader, &key(*number))["deleted"], true, "key {number}");
    }
    for number in count..count + 8 {
        poll_until(&format!("room for write {number}"), PATIENCE, || {
            match client.try_set(&key(number), &value(number), None) {
                Outcome::Done(_) => Some(()),
                Outcome::NotApplied { retryable: true, .. } => None,
                other => panic!("write {number}: {other:?}"),
            }
        });
    }
    for number in kept.into_iter().chain(count..count + 8) {
        assert_eq!(client.value(&key(number)), Some(value(number)), "write {number}");
    }
}
