//! `quorate bench` by every door of a cluster: each request that was asked for is made and counted, and what was written is there.
//! How fast it was is nobody's business here.

use std::path::Path;

use serde_json::Value;

use crate::harness::Cluster;
use crate::harness::etcd::Etcd;
use crate::harness::node::command;
use crate::harness::run::{Ended, run};
use crate::harness::skip::{is_installed, skipped};

fn bench(directory: &Path, arguments: &[&str]) -> Ended {
    let mut bench = command();
    bench.arg("bench").args(arguments);
    run(directory, bench)
}

/// The results of a run that went well.
fn measured(directory: &Path, arguments: &[&str]) -> Value {
    let path = directory.join("run.json");
    let json = path.to_str().expect("the test's directory is text");
    let ended = bench(directory, &[arguments, &["--json", json]].concat());
    assert_eq!(ended.code, Some(0), "bench {arguments:?}: {ended:?}");
    serde_json::from_slice(&std::fs::read(path).expect("it was written")).expect("it is JSON")
}

fn assert_all_answered(report: &Value, requests: u64) {
    assert_eq!(report["answered"], requests, "{report:#}");
    assert_eq!(report["failed"], 0, "{report:#}");
    let series = report["series"].as_array().expect("a run has seconds");
    let counted: u64 = series.iter().filter_map(|point| point["count"].as_u64()).sum();
    assert_eq!(counted, requests, "every answer is in one second of the series: {report:#}");
}

/// The endpoints of a door at all nodes.
fn endpoints(cluster: &Cluster, target: &str) -> String {
    let slot = cluster.slot();
    let of = |id| if target == "rest" { slot.http(id) } else { slot.grpc(id) };
    cluster.ids().into_iter().map(of).collect::<Vec<_>>().join(",")
}

const SMALL: [&str; 8] = ["--clients", "8", "--requests", "500", "--warmup", "0s", "--key-count", "50"];

#[test]
fn every_door_is_loaded_and_every_request_counts() {
    let mut cluster = Cluster::start("bench-doors", 3);
    cluster.wait_ready();
    let directory = cluster.directory();
    for target in ["library", "grpc", "rest", "etcd"] {
        let endpoints = endpoints(&cluster, target);
        let revision = || cluster.client(1).stats()["revision"].as_u64().expect("a number");
        let before = revision();
        let door = ["--target", target, "--endpoints", &endpoints];
        let put = measured(&directory, &[&["put"], &SMALL[..], &door].concat());
        assert_all_answered(&put, 500);
        cluster.client(1).get("/api/get?key=bench00000000000").expect(200);
        assert_eq!(revision() - before, 500, "{target}: as many writes as answers");

        let get = measured(&directory, &[&["get", "--preload"], &SMALL[..], &door].concat());
        assert_all_answered(&get, 500);
        assert_eq!(get["empty_reads"], 0, "{target}: what was loaded is found: {get:#}");

        let mixed = measured(&directory, &[&["mixed"], &SMALL[..], &door].concat());
        assert_all_answered(&mixed, 500);
        let kinds = &mixed["latency_by_kind"];
        let count = |kind: &str| kinds[kind]["count"].as_u64().expect("both kinds are asked");
        assert_eq!(count("put") + count("get"), 500, "{kinds:#}");

        let list = measured(&directory, &[&["list", "--list-limit", "7"], &SMALL[..], &door].concat());
        assert_all_answered(&list, 500);
    }
    let pairs = cluster.client(2).get("/api/list?prefix=bench").expect(200).json();
    assert_eq!(pairs["pairs"].as_array().map(Vec::len), Some(50), "the keys are those of the plan");
}

#[test]
fn an_open_loop_and_its_page() {
    let mut cluster = Cluster::start("bench-open", 3);
    cluster.wait_ready();
    let directory = cluster.directory();
    let endpoints = endpoints(&cluster, "library");
    let (page, first) = (directory.join("page.html"), directory.join("first.json"));
    let path = |path: &Path| path.to_str().expect("the test's directory is text").to_owned();
    let (page, first) = (path(&page), path(&first));
    let put = ["put", "--endpoints", &endpoints, "--distribution", "zipf"];
    bench(&directory, &[&put, &SMALL[..], &["--json", &first]].concat()).expect(0, &[]);
    let rate = ["--rate", "1000", "--label", "open", "--html", &page, "--compare-with", &first];
    let report = measured(&directory, &[&put, &SMALL[..], &rate].concat());
    assert_all_answered(&report, 500);
    assert_eq!(report["delay"]["count"], 500, "how late each was sent is known: {report:#}");
    let page = std::fs::read_to_string(page).expect("it was written");
    assert!(page.contains("library and open") && page.contains("<svg"), "both runs are on it");
}

#[test]
fn failures_are_counted_and_end_in_exit_code_1() {
    let mut cluster = Cluster::start("bench-failures", 3);
    cluster.wait_ready();
    let directory = cluster.directory();
    let endpoints = endpoints(&cluster, "grpc");
    let grpc = ["put", "--target", "grpc", "--endpoints", &endpoints, "--timeout", "300ms"];
    for id in [1, 2] {
        cluster.node_mut(id).kill();
    }
    // Where nobody listens nothing begins.
    bench(&directory, &[&grpc, &SMALL[..]].concat()).expect(1, &["quorate: "]);
    // A node without a quorum answers nothing.
    let left = cluster.slot().grpc(3);
    let lonely = ["put", "--target", "grpc", "--endpoints", &left, "--timeout", "300ms"];
    let few = ["--clients", "8", "--requests", "16", "--warmup", "0s"];
    bench(&directory, &[&lonely[..], &few].concat()).expect(1, &["16 requests failed", "--max-errors 0"]);
    let ended = bench(&directory, &[&lonely[..], &few, &["--max-errors", "16"]].concat()).expect(0, &[]);
    assert!(ended.stdout.contains("16 failed"), "{ended:?}");
}

#[test]
fn etcd_itself_is_loaded() {
    if !is_installed("etcd", "--version") {
        return skipped("etcd_itself_is_loaded", "etcd", "it is not installed");
    }
    let etcd = Etcd::start("bench-etcd");
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let door = ["--target", "etcd", "--endpoints", etcd.endpoint()];
    for work in [&["put"][..], &["get", "--preload"], &["mixed"], &["list"]] {
        let report = measured(directory.path(), &[work, &SMALL, &door].concat());
        assert_all_answered(&report, 500);
    }
    assert!(etcd.ctl().ok(&["get", "bench00000000000"]).starts_with("bench00000000000\n"));
}

#[test]
fn mistakes_are_usage() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    for (arguments, part) in [
        (&["put", "--key-size", "6", "--key-count", "100"][..], "--key-size 6"),
        (&["get", "--target", "etcd", "--consistency", "lease"], "lease"),
        (&["put", "--json", "/no/such/directory/run.json"], "cannot write"),
        (&["put", "--html", "page.html", "--compare-with", "/no/such.json"], "/no/such.json"),
        (&["put", "--compare-with", "/no/such.json"], "--html"),
        (&["compare", "--dir", "/proc/nowhere"], "--dir"),
    ] {
        bench(directory.path(), arguments).expect(2, &[part]);
    }
}
