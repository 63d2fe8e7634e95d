//! fsync is real on the real disk. strace follows three nodes; for each of 100 sequential sets, a write to the log and
//! then an fdatasync of the same file must have completed on at least two nodes between the request and the 200.
//!
//! The tracer stops a thread at the end of each system call and notes the time before it lets it go on: a call that
//! strace shows as completed before the 200 came was completed before the node could build on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::Cluster;
use crate::harness::skip::{is_installed, skipped};
use crate::harness::tracer::Tracer;

const SETS: usize = 100;
const CALLS: &str = "trace=fdatasync,fsync,sync_file_range,write,writev,pwrite64,pwritev,pwritev2";

/// A completed system call on a file.
#[derive(Clone, Debug, PartialEq)]
struct Call {
    name: String,
    file: String,
    start: f64,
    end: f64,
}

/// The successful calls in an strace output, in order of completion.
fn calls(text: &str) -> Vec<Call> {
    let mut open: BTreeMap<&str, (String, String, f64)> = BTreeMap::new();
    let mut done = Vec::new();
    for line in text.lines() {
        // strace pads the thread's number.
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((time, rest)) = rest.trim_start().split_once(' ') else { continue };
        let Ok(time) = time.parse::<f64>() else { continue };
        let rest = rest.trim_start();
        let failed = rest.contains(") = -1") || rest.contains("= ? ");
        if rest.starts_with("<... ") {
            if let (Some((name, file, start)), false) = (open.remove(thread), failed) {
                done.push(Call { name, file, start, end: time });
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        let file =
            arguments.split_once('<').and_then(|(_, file)| file.split_once('>')).map_or("", |(file, _)| file);
        if rest.contains("<unfinished ...>") {
            open.insert(thread, (name.to_owned(), file.to_owned(), time));
            continue;
        }
        let took = rest.rsplit_once('<').and_then(|(_, took)| took.strip_suffix('>')?.parse::<f64>().ok());
        if let (Some(took), false) = (took, failed) {
            done.push(Call { name: name.to_owned(), file: file.to_owned(), start: time, end: time + took });
        }
    }
    done.sort_by(|one, other| one.end.total_cmp(&other.end));
    done
}

/// Whether a node wrote to its log and then synced the same file, all between `from` and `to`.
fn synced_between(calls: &[Call], log: &Path, from: f64, to: f64) -> bool {
    let mut written = BTreeMap::new();
    for call in calls.iter().filter(|call| call.start >= from && call.end <= to) {
        if !Path::new(&call.file).starts_with(log) {
            continue;
        }
        if call.name.contains("write") {
            written.entry(call.file.as_str()).or_insert(call.end);
        } else if call.name == "fdatasync"
            && written.get(call.file.as_str()).is_some_and(|end| call.start >= *end)
        {
            return true;
        }
    }
    false
}

fn wall_clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

#[test]
fn a_quorum_has_synced_before_every_acknowledgement() {
    const NAME: &str = "a_quorum_has_synced_before_every_acknowledgement";
    if !is_installed("strace", "--version") {
        return skipped(NAME, "strace", "it is not installed");
    }
    // Six of six places: under strace and beside other clusters, elections would only disturb.
    let mut cluster = Cluster::prepare("fsync", 3, false);
    for id in cluster.ids() {
        cluster.node_mut(id).arguments.extend(["--election-timeout".to_owned(), "3s".to_owned()]);
    }
    cluster.start_all();
    let leader = cluster.wait_ready();
    let mut tracers = BTreeMap::new();
    for id in cluster.ids() {
        let output = cluster.directory().join(format!("strace{id}"));
        match Tracer::attach(cluster.node(id).pid(), output, ["-ttt", "-T", "-e", CALLS]) {
            Ok(tracer) => drop(tracers.insert(id, tracer)),
            Err(why) => return skipped(NAME, "strace", &format!("it may not attach: {why}")),
        }
    }
    let client = cluster.client(leader);
    client.set("warm", "up");
    let spans: Vec<(f64, f64)> = (0..SETS)
        .map(|number| {
            let from = wall_clock();
            client.set(&format!("synced/{number:03}"), "x");
            (from, wall_clock())
        })
        .collect();
    assert_eq!(cluster.wait_leader(), leader, "the leader changed under strace: the test shows nothing");
    let traces: BTreeMap<u64, Vec<Call>> =
        tracers.into_iter().map(|(id, tracer)| (id, calls(&tracer.finish()))).collect();
    for (number, (from, to)) in spans.iter().enumerate() {
        let synced: BTreeSet<u64> = cluster
            .ids()
            .into_iter()
            .filter(|id| synced_between(&traces[id], &cluster.node(*id).data.join("wal"), *from, *to))
            .collect();
        assert!(
            synced.len() >= 2,
            "set {number}: between request ({from:.6}) and 200 ({to:.6}) only {synced:?} wrote and synced the log"
        );
    }
}

#[test]
fn the_trace_is_read_right() {
    let log = Path::new("/d/wal");
    let text = "\
10 100.000100 pwrite64(9</d/wal/000.seg>, \"\"..., 512, 4096) = 512 <0.000050>
10    100.000200 fdatasync(9</d/wal/000.seg>) = 0 <0.000300>
11 100.000300 fdatasync(9</d/wal/000.seg> <unfinished ...>
11 100.000900 <... fdatasync resumed>)  = 0 <0.000600>
12 100.001000 fdatasync(8</d/state.redb>) = 0 <0.000100>
13 100.002000 fdatasync(9</d/wal/000.seg>) = -1 EIO (Input/output error) <0.000100>
";
    let found = calls(text);
    let ends: Vec<(&str, &str)> = found.iter().map(|call| (call.name.as_str(), call.file.as_str())).collect();
    assert_eq!(
        ends,
        [
            ("pwrite64", "/d/wal/000.seg"),
            ("fdatasync", "/d/wal/000.seg"),
            ("fdatasync", "/d/wal/000.seg"),
            ("fdatasync", "/d/state.redb"),
        ]
    );
    assert!(synced_between(&found, log, 100.0, 100.0006));
    assert!(!synced_between(&found, log, 100.0, 100.0004), "the sync had not completed");
    assert!(!synced_between(&found, log, 100.00015, 100.01), "the write was before the request");
    assert!(!synced_between(&found, Path::new("/d/other"), 100.0, 101.0), "another file");
}
