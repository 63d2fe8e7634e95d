//! What a process does that is seldom asked of it: a second signal, a parent that is gone, a variable that means
//! nothing, a command that is missing.

use std::io::{Read, Write};
use std::net::TcpStream;

use nix::sys::signal::Signal;

use crate::harness::Cluster;
use crate::harness::cluster::Directory;
use crate::harness::node::command;
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::run::run;

/// A write whose body does not come: it holds up a drain.
fn unfinished_write(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the node listens");
    let head = "POST /api/set HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\
                x-quorate-timeout-ms: 50000\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("the connection is open");
    // The node asks for the body: the request is under way.
    let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut go_on).expect("an answer");
    stream
}

#[test]
fn a_second_signal_does_not_wait_for_the_drain() {
    let mut cluster = Cluster::prepare("rare-signal", 1, false);
    cluster.node_mut(1).arguments.extend(["--drain-timeout", "10m"].map(str::to_owned));
    cluster.start_all();
    cluster.wait_ready();
    cluster.client(1).set("k", "v");
    let _write = unfinished_write(&cluster.node(1).http);
    cluster.node(1).signal(Signal::SIGTERM);
    poll_until("the drain to begin", PATIENCE, || {
        cluster.node(1).output().contains("draining").then_some(())
    });
    assert!(!cluster.node_mut(1).has_ended(), "it did not wait for a request that was under way");
    // What comes at once counts as the first signal again, so that is repeated for a while.
    poll_until("the node to end", PATIENCE, || {
        if cluster.node_mut(1).has_ended() {
            return Some(());
        }
        cluster.node(1).signal(Signal::SIGTERM);
        None
    });
    assert_eq!(cluster.node_mut(1).wait_exit(PATIENCE).code(), Some(1));
    assert!(cluster.node(1).output().contains("stopping at once"), "{}", cluster.node(1).output());
    cluster.start_all();
    cluster.wait_ready();
    assert_eq!(cluster.client(1).value("k").as_deref(), Some("v"));
}

#[test]
fn a_variable_that_means_nothing_is_warned_of_and_stops_nobody() {
    let directory = Directory::new("rare-variable");
    let data = directory.path().join("data");
    let mut serve = command();
    // It gets as far as its ports, of which one cannot be had.
    let cluster = ["--id", "1", "--initial-cluster", "1=127.0.0.1:1", "--http", "192.0.2.1:1"];
    serve.arg("serve").args(cluster).arg("--data-dir").arg(&data);
    serve.env("QUORATE_DATA_DRI", "/elsewhere").env("QUORATE_SERVICE_HOST", "10.0.0.1");
    let ended = run(directory.path(), serve).expect(2, &["192.0.2.1:1"]);
    for name in ["QUORATE_DATA_DRI", "QUORATE_SERVICE_HOST"] {
        let said = format!("{}{}", ended.stdout, ended.stderr);
        let warned = said.lines().any(|line| line.contains("WARN") && line.contains(name));
        assert!(warned, "nothing is said of {name}: {said}");
    }
}

#[test]
fn a_node_whose_parent_is_gone_does_not_start() {
    let directory = Directory::new("rare-parent");
    let serve = |parent: &str| {
        let mut serve = command();
        serve.args([
            "serve",
            "--id",
            "1",
            "--initial-cluster",
            "1=127.0.0.1:1",
            "--exit-with-parent",
            parent,
        ]);
        serve.arg("--data-dir").arg(directory.path().join("data"));
        serve
    };
    // Process 1 is not the parent of what a test starts.
    run(directory.path(), serve("1")).expect(1, &["parent process is gone"]);
    run(directory.path(), serve("4294967295")).expect(2, &["--exit-with-parent"]);
    assert!(!directory.path().join("data").exists(), "it left a data directory behind");
}

#[test]
fn a_command_without_its_parts_says_what_is_missing() {
    let directory = Directory::new("rare-command");
    let with = |arguments: &[&str]| {
        let mut command = command();
        command.args(arguments);
        run(directory.path(), command)
    };
    for arguments in [&[][..], &["wal"]] {
        let ended = with(arguments).expect(2, &["a command is missing", "Usage"]);
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
    let empty = directory.path().to_str().expect("UTF-8");
    with(&["wal", "inspect", empty]).expect(2, &[empty, "there is no log here"]);
    let help = with(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{help:?}");
    // Nothing serves at this address.
    with(&["health", "--endpoint", "127.9.9.9:1"]).expect(1, &["http://127.9.9.9:1/health"]);
}
