//! The process itself: how it starts, stops and ends, with which exit code, and what it says.

use std::net::TcpListener;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::cluster::Directory;
use crate::harness::node::command;
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::run::run;
use crate::harness::slots::Slot;
use crate::harness::{Cluster, Outcome};

/// `quorate` with these arguments.
fn quorate(arguments: &[&str]) -> Command {
    let mut command = command();
    command.args(arguments);
    command
}

/// A command line that would serve, with addresses of `slot` and data below `directory`.
fn serve(slot: &Slot, directory: &Directory, id: u64) -> Vec<String> {
    let data = directory.path().join("data");
    let mut arguments = vec!["serve".to_owned()];
    for (flag, value) in [
        ("--id", id.to_string()),
        ("--data-dir", data.to_str().expect("UTF-8").to_owned()),
        ("--http", slot.http(id)),
        ("--peer", slot.peer(id)),
        ("--grpc", slot.grpc(id)),
        ("--initial-cluster", format!("{id}={}", slot.peer(id))),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    arguments
}

/// The same with the value of one flag replaced.
fn with(mut arguments: Vec<String>, flag: &str, value: &str) -> Command {
    match arguments.iter().position(|argument| argument == flag) {
        Some(at) => arguments[at + 1] = value.to_owned(),
        None => arguments.extend([flag.to_owned(), value.to_owned()]),
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    quorate(&arguments)
}

#[test]
fn sigterm_and_sigint_drain_and_end_with_0() {
    let mut cluster = Cluster::start("process-stop", 3);
    let leader = cluster.wait_ready();
    cluster.client(leader).set("k", "v");
    for (id, signal) in [(1, Signal::SIGTERM), (2, Signal::SIGINT), (3, Signal::SIGTERM)] {
        cluster.node(id).signal(signal);
        let status = cluster.node_mut(id).wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(0), "{signal} to node {id}: {status}");
    }
    cluster.start_all();
    cluster.wait_ready();
    for id in cluster.ids() {
        assert_eq!(cluster.client(id).value("k").as_deref(), Some("v"));
    }
}

#[test]
fn a_node_stopped_under_load_gives_every_write_an_outcome() {
    let mut cluster = Cluster::start("process-drain", 3);
    let leader = cluster.wait_ready();
    let client = cluster.client(leader);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let client = client.clone();
            std::thread::spawn(move || {
                let mut done = Vec::new();
                for number in 0.. {
                    let key = format!("drain/{writer}/{number}");
                    match client.try_set(&key, "x", None) {
                        Outcome::Done(_) => done.push(key),
                        Outcome::NotApplied { .. } | Outcome::Unknown(_) => return done,
                    }
                }
                done
            })
        })
        .collect();
    poll_until("some writes", PATIENCE, || (client.stats()["revision"].as_u64() > Some(50)).then_some(()));
    let status = cluster.node_mut(leader).stop();
    assert_eq!(status.code(), Some(0), "{status}");
    let done: Vec<String> = writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect();
    let others = cluster.ids_without(&[leader]);
    let new = cluster.wait_leader_among(&others);
    let held = crate::harness::history::all(&cluster.client(new), "drain/");
    for key in &done {
        assert!(held.contains_key(key), "acknowledged {key} is gone");
    }
}

#[test]
fn rest_answers_before_there_is_a_quorum() {
    let mut cluster = Cluster::prepare("process-early", 3, false);
    cluster.start_node(1);
    let client = cluster.client(1);
    let answer = poll_until("the REST port", PATIENCE, || client.request("GET", "/health", &[], None).ok());
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json()["health"], "false");
    // Another request waits for readiness within its deadline: here the quorum comes in time.
    let waiting =
        std::thread::spawn(move || client.try_set("early", "x", Some(std::time::Duration::from_secs(11))));
    cluster.start_all();
    let outcome = waiting.join().expect("an answer");
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
}

#[test]
fn a_peer_whose_name_does_not_resolve_yet_is_tried_again() {
    let mut cluster = Cluster::prepare("process-name", 3, false);
    let (one, two) = (cluster.slot().peer(1), cluster.slot().peer(2));
    for id in [1, 2] {
        let arguments = &mut cluster.node_mut(id).arguments;
        let at = arguments.iter().position(|argument| argument == "--initial-cluster").expect("given");
        arguments[at + 1] = format!("1={one},2={two},3=node3.invalid:7001");
        cluster.start_node(id);
    }
    let leader = cluster.wait_leader_among(&[1, 2]);
    cluster.client(leader).set("k", "v");
    cluster.assert_all_alive();
}

#[test]
fn a_port_in_use_is_one_line_and_exit_2() {
    let slot = Slot::claim(1);
    let directory = Directory::new("process-port");
    for (flag, address) in [("--http", slot.http(1)), ("--peer", slot.peer(1)), ("--grpc", slot.grpc(1))] {
        let holder = TcpListener::bind(&address).expect("a free address of the block");
        let ended =
            run(directory.path(), with(serve(&slot, &directory, 1), flag, &address)).expect(2, &[&address]);
        drop(holder);
        assert!(!ended.stderr.trim().is_empty());
    }
}

#[test]
fn an_unusable_directory_is_exit_2() {
    let slot = Slot::claim(1);
    let directory = Directory::new("process-directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "not a directory").expect("writable");
    let file = file.to_str().expect("UTF-8");
    run(directory.path(), with(serve(&slot, &directory, 1), "--data-dir", file)).expect(2, &[file]);
    let below = format!("{file}/data");
    run(directory.path(), with(serve(&slot, &directory, 1), "--data-dir", &below)).expect(2, &[&below]);
    run(directory.path(), with(serve(&slot, &directory, 1), "--data-dir", "/proc/quorate"))
        .expect(2, &["/proc/quorate"]);
}

#[test]
fn a_directory_in_use_is_exit_2() {
    let mut cluster = Cluster::start("process-lock", 1);
    cluster.wait_ready();
    let data = cluster.node(1).data.to_str().expect("UTF-8").to_owned();
    let second = Directory::new("process-lock-second");
    // Other addresses, the same directory.
    let mut arguments = serve(cluster.slot(), &second, 2);
    arguments[2] = "1".to_owned();
    let at = arguments.iter().position(|argument| argument == "--initial-cluster").expect("given");
    arguments[at + 1] = format!("1={}", cluster.slot().peer(2));
    run(second.path(), with(arguments, "--data-dir", &data)).expect(2, &[]);
    cluster.assert_all_alive();
    cluster.client(1).set("still", "here");
}

#[test]
fn bad_command_lines_are_exit_2_and_name_the_flag() {
    let slot = Slot::claim(1);
    let directory = Directory::new("process-flags");
    let good = || serve(&slot, &directory, 1);
    for (flag, value) in [
        ("--id", "0"),
        ("--id", "one"),
        ("--id", "1.5"),
        ("--http", "nonsense"),
        ("--peer", "127.0.0.1"),
        ("--grpc", "127.0.0.1:99999"),
        ("--initial-cluster", "1"),
        ("--initial-cluster", "1="),
        ("--initial-cluster", "0=a:1"),
        ("--initial-cluster", "1=a:1,1=b:1"),
        ("--initial-cluster", "2=a:1,3=b:1"),
        ("--initial-cluster", "1=a:1,2=a:2,3=a:3,4=a:4,5=a:5,6=a:6,7=a:7,8=a:8"),
        ("--heartbeat-interval", "100"),
        ("--heartbeat-interval", "0ms"),
        ("--election-timeout", "fast"),
        ("--election-timeout", "100ms"),
        ("--heartbeat-interval", "600ms"),
        ("--log-format", "xml"),
        ("--config", "/nonexistent/quorate.toml"),
        ("--no-such-flag", "1"),
        ("--no-fsync", "true"),
    ] {
        let ended = run(directory.path(), with(good(), flag, value));
        assert_eq!(ended.code, Some(2), "{flag} {value}: {ended:?}");
        let named = flag.trim_start_matches('-');
        assert!(
            ended.stderr.contains(named),
            "{flag} {value}: the complaint does not name the flag: {ended:?}"
        );
    }
    for missing in ["--id", "--data-dir"] {
        let mut arguments = good();
        let at = arguments.iter().position(|argument| argument == missing).expect("given");
        arguments.drain(at..=at + 1);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(directory.path(), quorate(&arguments)).expect(2, &[missing]);
    }
    assert!(!directory.path().join("data").exists(), "a refused command line left a data directory behind");
}

#[test]
fn a_wildcard_bind_needs_an_address_to_advertise() {
    let slot = Slot::claim(1);
    let directory = Directory::new("process-wildcard");
    let port = |address: String| address.rsplit(':').next().expect("a port").to_owned();
    for (flag, address, advertise) in
        [("--http", slot.http(1), "--advertise-http"), ("--grpc", slot.grpc(1), "--advertise-grpc")]
    {
        for wildcard in ["0.0.0.0", "[::]"] {
            let bind = format!("{wildcard}:{}", port(address.clone()));
            run(directory.path(), with(serve(&slot, &directory, 1), flag, &bind)).expect(2, &[advertise]);
        }
    }
}

#[test]
fn help_is_good_enough_to_work_from() {
    let directory = Directory::new("process-help");
    let top = run(directory.path(), quorate(&["--help"]));
    assert_eq!(top.code, Some(0));
    for part in ["serve", "demo", "health", "wal"] {
        assert!(top.stdout.contains(part), "`{part}` is missing in {}", top.stdout);
    }
    let serve = run(directory.path(), quorate(&["serve", "--help"]));
    assert_eq!(serve.code, Some(0));
    for part in [
        "--id",
        "--data-dir",
        "--http",
        "--peer",
        "--grpc",
        "--initial-cluster",
        "--cluster-token",
        "--config",
        "--advertise-http",
        "--advertise-peer",
        "--advertise-grpc",
        "--heartbeat-interval",
        "--election-timeout",
        "--log-format",
        "QUORATE_DATA_DIR",
        "127.0.0.1:8081",
        "127.0.0.1:7001",
        "127.0.0.1:9001",
        "100ms",
        "500ms",
    ] {
        assert!(serve.stdout.contains(part), "`{part}` is missing in {}", serve.stdout);
    }
    assert!(!serve.stdout.to_lowercase().contains("fsync"), "nothing turns fsync off");
    let demo = run(directory.path(), quorate(&["demo", "--help"]));
    assert_eq!(demo.code, Some(0));
    for part in ["--nodes", "--dir", "--port-base"] {
        assert!(demo.stdout.contains(part), "`{part}` is missing in {}", demo.stdout);
    }
    assert_eq!(run(directory.path(), quorate(&["--version"])).code, Some(0));
    assert_eq!(run(directory.path(), quorate(&[])).code, Some(2));
    assert_eq!(run(directory.path(), quorate(&["frobnicate"])).code, Some(2));
}

#[test]
fn the_health_command_ends_with_0_or_1() {
    let mut cluster = Cluster::start("process-health", 3);
    cluster.wait_ready();
    let directory = cluster.directory();
    let endpoint = format!("http://{}", cluster.node(1).http);
    let health = |more: &[&str]| {
        let mut arguments = vec!["health", "--endpoint", &endpoint];
        arguments.extend(more);
        run(&directory, quorate(&arguments)).code
    };
    assert_eq!((health(&[]), health(&["--live"])), (Some(0), Some(0)));
    for id in [2, 3] {
        cluster.node_mut(id).kill();
    }
    assert_eq!((health(&[]), health(&["--live"])), (Some(1), Some(0)), "no quorum: alive, not healthy");
    cluster.node_mut(1).kill();
    assert_eq!((health(&[]), health(&["--live"])), (Some(1), Some(1)), "no process");
}

#[test]
fn the_log_can_be_inspected() {
    let mut cluster = Cluster::start("process-inspect", 1);
    cluster.wait_ready();
    for number in 0..5 {
        cluster.client(1).set(&format!("k{number}"), "v");
    }
    assert!(cluster.node_mut(1).stop().success());
    let data = cluster.node(1).data.to_str().expect("UTF-8").to_owned();
    let text = run(&cluster.directory(), quorate(&["wal", "inspect", &data]));
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.stdout.lines().count() >= 5, "{text:?}");
    let json = run(&cluster.directory(), quorate(&["wal", "inspect", &data, "--json"]));
    assert_eq!(json.code, Some(0), "{json:?}");
    let mut last = 0;
    for line in json.stdout.lines() {
        let record: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for name in ["segment", "offset", "length", "group", "index", "term", "kind"] {
            assert!(record.get(name).is_some(), "no {name} in {line}");
        }
        last = last.max(record["index"].as_u64().unwrap_or(0));
    }
    assert!(last >= 5, "five sets, last index {last}");
    run(&cluster.directory(), quorate(&["wal", "inspect", "/nonexistent"])).expect(2, &["/nonexistent"]);
}

#[test]
fn log_lines_are_structured_and_silent_about_requests() {
    let mut cluster = Cluster::prepare("process-log", 1, false);
    cluster.node_mut(1).arguments.extend(["--log-format".to_owned(), "json".to_owned()]);
    cluster.start_all();
    cluster.wait_ready();
    let before = cluster.node(1).output().lines().count();
    for number in 0..50 {
        cluster.client(1).set(&format!("k{number}"), "v");
    }
    let output = cluster.node(1).output();
    assert!(
        output.lines().count() < before + 25,
        "fifty sets made {} lines",
        output.lines().count() - before
    );
    for line in output.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    assert!(output.contains("leader"), "the change of role is a line of its own: {output}");
}
