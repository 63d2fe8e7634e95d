//! `GET /metrics` of a real node.

use std::collections::BTreeMap;

use crate::harness::Cluster;
use crate::harness::memory;

/// The names between the marks of docs/operations.md, with their kinds; a test beside the metrics holds those against the code.
fn documented() -> Vec<(String, String)> {
    let text = include_str!("../../docs/operations.md");
    let table =
        text.split("<!-- metrics: begin").nth(1).and_then(|rest| rest.split("<!-- metrics: end").next());
    let rows = table.expect("the table of metrics").lines().filter(|line| line.starts_with("| `"));
    let names = rows.flat_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let kind = cells[2].to_owned();
        cells[1]
            .split(", ")
            .map(move |name| (name.trim_matches('`').to_owned(), kind.clone()))
            .collect::<Vec<_>>()
    });
    names.collect()
}

/// The samples of a node, by name without labels.
pub fn samples(cluster: &Cluster, id: u64) -> BTreeMap<String, f64> {
    let answer = cluster.client(id).get("/metrics").expect(200);
    let text = String::from_utf8(answer.body).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line}"));
        let name = name.split_once('{').map_or(name, |(name, _)| name);
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number in {line}")))
    };
    lines.map(sample).collect()
}

#[test]
fn a_node_fills_every_figure_that_is_documented() {
    let mut cluster = Cluster::start("metrics", 3);
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    // A write and a read on each, so that both ways are gone.
    for id in [leader, follower] {
        let key = format!("key-{id}");
        cluster.client(id).set(&key, "value");
        assert_eq!(cluster.client(id).value(&key).as_deref(), Some("value"));
    }
    let names = documented();
    assert!(names.len() > 40, "the documents name {} figures", names.len());
    for id in [leader, follower] {
        let samples = samples(&cluster, id);
        for (name, kind) in &names {
            let total = if kind == "counter" && !name.ends_with("_total") { "_total" } else { "" };
            let full = format!("quorate_{name}{total}");
            assert!(samples.contains_key(&full), "node {id} gives no {full}");
        }
        let is_leader = if id == leader { 1.0 } else { 0.0 };
        assert_eq!((samples["quorate_is_leader"], samples["quorate_has_leader"]), (is_leader, 1.0));
        for risen in [
            "proposals_total",
            "reads_total",
            "keys",
            "wal_bytes",
            "wal_syncs_total",
            "state_file_syncs_total",
            "transport_sent_total",
            "commit_index",
        ] {
            assert!(samples[&format!("quorate_{risen}")] > 0.0, "node {id}: {risen} is 0");
        }
    }
    // What is acknowledged is on the leader's disk, or on those of all others.
    let syncs = || [1, 2, 3].map(|id| samples(&cluster, id)["quorate_wal_syncs_total"]);
    let before = syncs();
    cluster.client(leader).set("key", "value");
    let risen = before.iter().zip(syncs()).filter(|(before, after)| after > before).count();
    assert!(risen >= 2, "{before:?}, and {risen} of them have risen");
    let forwards = samples(&cluster, follower)["quorate_forwards_total"];
    assert!(forwards > 0.0, "the follower passed its write on");
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_what_the_kernel_says_it_is() {
    let mut cluster = Cluster::start("process", 1);
    cluster.wait_ready();
    let pid = cluster.node(1).pid();
    let before = memory::resident(pid);
    let of = samples(&cluster, 1);
    let peak = memory::resident_peak(pid);
    let resident = of["process_resident_memory_bytes"] as u64;
    // Whatever it gave back in between: it cannot be a quarter of what it had, nor more than it ever had.
    assert!(resident > before / 4 && resident <= peak, "{resident} is not between {before} and {peak}");
    assert!(of["process_open_fds"] > 5.0 && of["process_open_fds"] <= of["process_max_fds"], "{of:?}");
    assert!(of["process_cpu_seconds_total"] > 0.0, "{of:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let age = now.as_secs_f64() - of["process_start_time_seconds"];
    assert!((-2.0..3_600.0).contains(&age), "it began {age} s ago");
}
