//! A node that was away for longer than the log reaches back gets a snapshot, and so does a new one. It may be killed at any
//! step of that.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use quorate::fsm;
use serde_json::json;

use crate::harness::files::{owner, pointer, segments, state_files};
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::skip::{is_installed, skipped};
use crate::harness::tracer::{Tracer, calls, only};
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

/// Where a node is killed: as it makes a call, and before that has done anything.
struct Aim {
    /// What it is about to do then.
    step: &'static str,
    /// The call, as strace names it.
    call: &'static str,
    file: fn(&Files) -> Vec<PathBuf>,
    /// Which of these calls, counted from 1 in the thread that makes them.
    nth: fn(&Course) -> usize,
    left: Left,
}

/// What lies in the directory of a node that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    /// The file of before.
    old: bool,
    /// The file of the snapshot, and whether it says of itself that it is whole.
    new: Option<bool>,
    /// Whether the log points to the snapshot's.
    points_to_new: bool,
}

impl Left {
    /// How far the install was.
    fn progress(self) -> usize {
        usize::from(self.new.is_some())
            + usize::from(self.new == Some(true))
            + usize::from(self.points_to_new)
            + usize::from(!self.old)
    }
}

/// The files that an install is about.
struct Files {
    data: PathBuf,
    old: PathBuf,
    new: PathBuf,
    number: u64,
    log: Vec<PathBuf>,
}

/// What an install does to its files.
const CALLS: &str = "trace=pwrite64,fdatasync,fsync,?unlink,?unlinkat";

/// How many calls a whole install of such a state takes: the rows are of the same lengths each time, so they are the same.
struct Course {
    writes: usize,
    syncs: usize,
    syncs_of_directory: usize,
}

impl Course {
    /// From what strace saw; none before the last call is done.
    fn of(seen: &str, files: &Files) -> Option<Course> {
        let calls = calls(seen);
        let removes = format!("\"{}\")", files.old.display());
        let is_removal =
            |call: &str| call.starts_with("unlink") && call.contains(&removes) && call.ends_with("= 0");
        let removal = calls.iter().position(|(_, call)| is_removal(call))?;
        // Other threads fold into the file once it counts.
        let own = |call: &&(&str, String)| call.0 == calls[removal].0 && !call.1.contains("= -1");
        let count = |range: &[(&str, String)], call: &str, file: &Path| {
            let file = format!("<{}>", file.display());
            range
                .iter()
                .filter(own)
                .filter(|(_, made)| made.starts_with(call) && made.contains(&file))
                .count()
        };
        let (before, after) = calls.split_at(removal);
        (count(after, "fsync(", &files.data) > 0).then(|| Course {
            writes: count(before, "pwrite64(", &files.new),
            syncs: count(before, "fdatasync(", &files.new),
            syncs_of_directory: count(before, "fsync(", &files.data) + 1,
        })
    }
}

/// Every step of an install, in order (`node/driver/snapshots.rs`).
const AIMS: [Aim; 7] = [
    Aim {
        step: "writing the rows of some chunk",
        call: "pwrite64",
        file: |files| vec![files.new.clone()],
        nth: |course| course.writes / 2,
        left: Left { old: true, new: Some(false), points_to_new: false },
    },
    Aim {
        step: "syncing the rows, and all of them are there",
        call: "fdatasync",
        file: |files| vec![files.new.clone()],
        nth: |course| course.syncs - 1,
        left: Left { old: true, new: Some(false), points_to_new: false },
    },
    Aim {
        step: "syncing that the file is whole",
        call: "fdatasync",
        file: |files| vec![files.new.clone()],
        nth: |course| course.syncs,
        left: Left { old: true, new: Some(true), points_to_new: false },
    },
    Aim {
        step: "writing the record with the pointer",
        call: "pwrite64",
        file: |files| files.log.clone(),
        nth: |_| 1,
        left: Left { old: true, new: Some(true), points_to_new: false },
    },
    Aim {
        step: "syncing the record with the pointer",
        call: "fdatasync",
        file: |files| files.log.clone(),
        nth: |_| 1,
        left: Left { old: true, new: Some(true), points_to_new: true },
    },
    Aim {
        step: "removing the file of before",
        call: "?unlink,?unlinkat",
        file: |files| vec![files.old.clone()],
        nth: |_| 1,
        left: Left { old: true, new: Some(true), points_to_new: true },
    },
    Aim {
        step: "syncing the directory that the file was removed from",
        call: "fsync",
        file: |files| vec![files.data.clone()],
        nth: |course| course.syncs_of_directory,
        left: Left { old: false, new: Some(true), points_to_new: true },
    },
];

/// A leader, and a learner that again and again is away for longer than the log reaches back. There are no elections, so what
/// the learner does when it comes back is the same each time.
struct Away {
    cluster: Cluster,
    round: usize,
}

impl Away {
    const KEYS: usize = 20;

    fn start(name: &str) -> Away {
        let mut cluster = Cluster::start_growing(name, 1, 2, &SMALL);
        // Rows reach the file as they come, not when the cache is full.
        for id in [1, 2] {
            cluster.node_mut(id).set_flag("--store-cache-bytes", "1MiB");
        }
        cluster.wait_leader_among(&[1]);
        cluster.node_mut(2).arguments.push("--learner".to_owned());
        cluster.start_node(2);
        let second = cluster.client(2);
        poll_until("the learner to be ready", PATIENCE, || second.is_ready().then_some(()));
        let away = Away { cluster, round: 0 };
        // From the first round on there are the same keys, with values of the same length, whatever fold is sent.
        away.fill();
        for at in 0..4 {
            away.cluster.client(1).set(&format!("nudge-{at}"), &value("nudge", at));
        }
        away
    }

    fn fill(&self) {
        for key in 0..Away::KEYS {
            self.cluster.client(1).set(&format!("key-{key}"), &self.value(key));
        }
    }

    fn value(&self, key: usize) -> String {
        format!("{:04}-{key:04}-", self.round).repeat(90_000)
    }

    /// Node 2 is away until the log has forgotten what it lacks, and runs again while nobody leads. What it had when it
    /// went, some of which is deleted now, is in its state file.
    fn leave_and_return(&mut self) -> Files {
        self.round += 1;
        let (first, second) = (self.cluster.client(1), self.cluster.client(2));
        first.set("gone", "v");
        assert_eq!(second.value("gone").as_deref(), Some("v"));
        let index = second.stats()["applied_index"].as_u64().expect("an index");
        assert!(self.cluster.node_mut(2).stop().success());
        first.delete("/api/delete?key=gone").expect(200);
        self.fill();
        wait_purged(&first, index);
        self.cluster.node(1).pause();
        self.cluster.start_node(2);
        second.stats();

        let data = self.cluster.node(2).data.clone();
        let number = pointer(&data, &self.cluster.directory());
        let name = |number| match number {
            0 => "state.redb".to_owned(),
            number => format!("state.{number}.redb"),
        };
        let (old, new) = (data.join(name(number)), data.join(name(number + 1)));
        assert_eq!(state_files(&data), std::slice::from_ref(&old));
        let log = segments(&data.join("wal"));
        Files { data, old, new, number, log }
    }

    /// What lies there.
    fn look(&self, files: &Files) -> Left {
        let is_formed = |path: &Path| {
            let raw = fsm::file_backend(path).expect("nobody has it open");
            // What is not whole may be anything but a state.
            fsm::offline::look(raw, owner(&files.data)).is_ok_and(|found| found.is_formed)
        };
        for file in state_files(&files.data) {
            assert!(file == files.old || file == files.new, "{}", file.display());
        }
        let points_to = pointer(&files.data, &self.cluster.directory());
        assert!(points_to == files.number || points_to == files.number + 1, "{points_to}");
        Left {
            old: files.old.exists(),
            new: files.new.exists().then(|| is_formed(&files.new)),
            points_to_new: points_to == files.number + 1,
        }
    }

    /// Node 2 comes to all that there is, and to no more.
    fn wait_whole(&self, step: &str) {
        let second = self.cluster.client(2);
        poll_until(&format!("the node to be ready again, killed {step}"), PATIENCE, || {
            second.is_ready().then_some(())
        });
        for key in 0..Away::KEYS {
            let found = second.value(&format!("key-{key}"));
            assert!(found == Some(self.value(key)), "key-{key}, killed {step}");
        }
        assert_eq!(second.value("gone"), None, "a state was merged with another one, killed {step}");
        poll_until(&format!("one state file, killed {step}"), PATIENCE, || {
            (state_files(&self.cluster.node(2).data).len() == 1).then_some(())
        });
    }

    /// One install that nobody disturbs, up to its last call: then the node is killed.
    fn course(&mut self) -> Result<Course, String> {
        let files = self.leave_and_return();
        let output = self.cluster.directory().join("strace-course");
        let arguments = only(CALLS, &[&files.new, &files.old, &files.data]);
        let tracer = Tracer::attach(self.cluster.node(2).pid(), output, arguments)?;
        self.cluster.node(1).resume();
        let course = poll_until("the file of before to be removed for good", PATIENCE, || {
            Course::of(&tracer.seen(), &files)
        });
        self.cluster.node_mut(2).kill();
        drop(tracer);
        assert_eq!(self.look(&files), Left { old: false, new: Some(true), points_to_new: true });
        self.cluster.start_node(2);
        self.wait_whole("when all was done");
        Ok(course)
    }

    /// One install that ends where it is aimed at. Of calls that something else may have made before, the next one is tried
    /// then: the log also takes what a heartbeat tells.
    fn hit(&mut self, aim: &Aim, course: &Course) {
        const OTHERS_MAX: usize = 5;
        let first = (aim.nth)(course);
        for nth in first..first + OTHERS_MAX {
            let (left, seen) = self.kill_at(aim, nth);
            if left == aim.left {
                return;
            }
            assert!(
                left.progress() < aim.left.progress(),
                "{left:?}, killed {}; its calls:\n{seen}",
                aim.step
            );
        }
        panic!("it was never killed {}", aim.step);
    }

    /// One install that ends at one of these calls, and then one that does not. What the first one left, and its calls.
    fn kill_at(&mut self, aim: &Aim, nth: usize) -> (Left, String) {
        let files = self.leave_and_return();
        let paths = (aim.file)(&files);
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let inject = format!("inject={}:signal=SIGKILL:when={nth}", aim.call);
        let mut arguments = only(CALLS, &paths);
        arguments.extend(["-e", &inject]);
        let output = self.cluster.directory().join(format!("strace{}", self.round));
        let attached = Tracer::attach(self.cluster.node(2).pid(), output, arguments);
        let tracer = attached.expect("it was permitted before");
        self.cluster.node(1).resume();
        let status = self.cluster.node_mut(2).wait_exit(PATIENCE);
        assert_eq!(status.signal(), Some(9), "{}: {status}", aim.step);
        let (seen, left) = (tracer.finish(), self.look(&files));
        eprintln!("killed {} ({nth}): {left:?}", aim.step);
        self.cluster.start_node(2);
        self.wait_whole(aim.step);
        (left, seen)
    }
}

/// Nothing of an install counts before all of it is there, and all of it counts from then on (H27).
#[test]
fn a_node_that_is_killed_at_any_step_of_an_install_converges() {
    const NAME: &str = "a_node_that_is_killed_at_any_step_of_an_install_converges";
    if !is_installed("strace", "--version") {
        return skipped(NAME, "strace", "it is not installed");
    }
    let mut away = Away::start("snapshot-steps");
    let course = match away.course() {
        Ok(course) => course,
        Err(why) => return skipped(NAME, "strace", &format!("it may not attach: {why}")),
    };
    for aim in &AIMS {
        away.hit(aim, &course);
    }
    away.cluster.assert_all_alive();
}

/// The receiver is killed again and again while the snapshot comes in, at whatever step it is. It is a new member, and has
/// nothing yet; and it is not given the time to come to anything in between.
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

/// The receiver stands still in the middle of a snapshot, and writes go on: what they replace has to be kept for as long as the
/// snapshot is read. The fold that finds that this costs too much ends it, and the sender begins again when the receiver moves.
#[test]
fn a_snapshot_whose_receiver_stands_still_is_broken_off_before_it_costs_too_much() {
    const MIB: u64 = 1 << 20;
    const KEYS: usize = 100;
    const GROWTH: u64 = 32 * MIB;
    /// What one fold writes. The last one that begins below the limit may end as much above it; the one after it ends the
    /// snapshot before it writes, and finds the pages free that were kept. A fold has at most what a write set of 8 MiB takes
    /// in: it is full with the tenth value of 900 KB, and the log's applier waits then. (A fold is due much earlier, but while
    /// one is under way the next set fills up.) redb gives such a value 1 MiB; 1 MiB more is for all other pages of a fold.
    const FOLD: u64 = (10 + 1) * MIB;
    let flags = [&SMALL[..], &["--snapshot-pin-growth-bytes", "32MiB"]].concat();
    let mut cluster = Cluster::start_growing("snapshot-pin", 1, 2, &flags);
    cluster.wait_leader_among(&[1]);
    let first = cluster.client(1);
    let value = |round: usize, key: usize| format!("{round:04}-{key:04}-").repeat(90_000);
    for key in 0..KEYS {
        first.set(&format!("key-{key}"), &value(0, key));
    }
    wait_purged(&first, KEYS as u64 / 2);
    cluster.node_mut(2).arguments.push("--learner".to_owned());
    cluster.start_node(2);
    poll_until("a snapshot to be sent", PATIENCE, || {
        cluster.node(1).output().contains("sending a snapshot").then_some(())
    });
    cluster.node(2).pause();
    // What it takes up on the disk: redb makes a file twice as long when it grows, and does not fill it.
    let bytes = || {
        let files = state_files(&cluster.node(1).data);
        files.iter().map(|file| std::fs::metadata(file).map_or(0, |found| found.blocks() * 512)).sum::<u64>()
    };
    let before = bytes();
    assert!(!cluster.node(1).output().contains("a snapshot has arrived"), "too little to send");

    let (mut rounds, mut most) = ([0; KEYS], 0);
    poll_until("the snapshot to be broken off", PATIENCE, || {
        rounds.iter_mut().enumerate().find_map(|(key, round)| {
            *round += 1;
            first.set(&format!("key-{key}"), &value(*round, key));
            most = most.max(bytes());
            let output = cluster.node(1).output();
            output.contains("the state file has grown too much meanwhile").then_some(())
        })
    });
    eprintln!("{} MiB, and {} MiB after {} rounds", before / MIB, most / MIB, rounds[0]);
    cluster.node(2).resume();
    let second = cluster.client(2);
    poll_until("the receiver to be ready", PATIENCE, || second.is_ready().then_some(()));
    for (key, round) in rounds.into_iter().enumerate() {
        assert!(second.value(&format!("key-{key}")) == Some(value(round, key)), "key-{key}");
    }
    assert!(most <= before + GROWTH + FOLD, "the file grew from {} MiB to {} MiB", before / MIB, most / MIB);
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
