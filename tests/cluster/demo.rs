//! The demo's promises, on a terminal's absence: what it prints, what it leaves behind, and what it never does.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::Client;
use crate::harness::cluster::Directory;
use crate::harness::node::{BINARY, command};
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::run::run;
use crate::harness::slots::Slot;

/// How long children may outlive the demo.
const LEAVE: Duration = Duration::from_secs(5);

/// Port ranges handed out in this process.
static NEXT_BASE: Mutex<u16> = Mutex::new(20_000);

/// A range of ports on 127.0.0.1 for one demo. The claim keeps the base itself, which no node uses.
struct Ports {
    base: u16,
    _claim: TcpListener,
}

impl Ports {
    fn claim() -> Ports {
        loop {
            let mut next = NEXT_BASE.lock().expect("no claimer panics with the lock");
            let base = *next;
            *next += 300;
            drop(next);
            assert!(base < 32_000, "no free range of ports below the ephemeral ones");
            let Ok(claim) = TcpListener::bind(("127.0.0.1", base)) else { continue };
            let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
            if (1..=7).all(|id| free(base + id) && free(base + 100 + id) && free(base + 200 + id)) {
                return Ports { base, _claim: claim };
            }
        }
    }
}

/// A running demo. Dropped: it and every child it ever had are killed.
struct Demo {
    child: Child,
    ports: Ports,
    directory: Directory,
    nodes: u16,
    seen: BTreeMap<u16, i32>,
    _slot: Slot,
}

impl Demo {
    fn start(name: &str, nodes: u16) -> Demo {
        let slot = Slot::claim(usize::from(nodes));
        let ports = Ports::claim();
        let directory = Directory::new(name);
        std::fs::create_dir(directory.path().join("data")).expect("writable");
        std::fs::write(directory.path().join("data/mine.txt"), "left alone").expect("writable");
        let mut command = demo_command(&directory, &ports, nodes);
        let out = File::create(directory.path().join("out")).expect("writable");
        command.stdout(out.try_clone().expect("a descriptor")).stderr(out);
        let child = command.spawn().expect("the binary starts");
        let mut demo = Demo { child, ports, directory, nodes, seen: BTreeMap::new(), _slot: slot };
        demo.wait_children();
        demo
    }

    /// Waits until every node has a process, and remembers them.
    fn wait_children(&mut self) {
        let parent = self.child.id();
        let nodes = self.nodes;
        let children = poll_until("all children of the demo", PATIENCE, || {
            let children = children(parent);
            (children.len() == usize::from(nodes)).then_some(children)
        });
        self.seen = children;
    }

    fn client(&self, id: u16) -> Client {
        Client::new(&format!("127.0.0.1:{}", self.ports.base + id))
    }

    fn wait_ready(&self) {
        for id in 1..=self.nodes {
            let client = self.client(id);
            poll_until(&format!("node {id} of the demo to be ready"), PATIENCE, || {
                client.is_ready().then_some(())
            });
        }
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.directory.path().join("out")).unwrap_or_default())
            .into_owned()
    }

    fn wait_line(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        poll_until(what, PATIENCE, || self.output().lines().find(|line| is_it(line)).map(str::to_owned))
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")), signal).expect("the demo runs");
    }

    /// Fails unless every child is gone within the promised time after the demo was told to end.
    fn assert_all_leave(&self) {
        let pids: Vec<i32> = self.seen.values().copied().collect();
        poll_until("all children of the demo to be gone", LEAVE, || {
            pids.iter().all(|pid| is_gone(*pid)).then_some(())
        });
    }

    fn wait_end(&mut self) -> Option<i32> {
        let child = &mut self.child;
        poll_until("the demo to end", PATIENCE, || child.try_wait().expect("a child can be waited for"))
            .code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the demo's output:\n{}", self.output());
            for id in 1..=self.nodes {
                let log = self.directory.path().join(format!("data/node{id}/node.log"));
                let log = std::fs::read_to_string(log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("---- node {id}:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.seen.values().filter(|pid| !is_gone(**pid)) {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
}

fn demo_command(directory: &Directory, ports: &Ports, nodes: u16) -> Command {
    let mut command = command();
    command.args(["demo", "--nodes", &nodes.to_string(), "--port-base", &ports.base.to_string(), "--dir"]);
    command.arg(directory.path().join("data"));
    command
}

/// The living children of a process that serve, by node id.
fn children(parent: u32) -> BTreeMap<u16, i32> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("Linux").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // After the name in parentheses: state, parent.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        if fields.get(1) != Some(&parent.to_string().as_str()) || fields.first() == Some(&"Z") {
            continue;
        }
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<String> =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into()).collect();
        let id = words.iter().position(|word| word == "--id").and_then(|at| words.get(at + 1)?.parse().ok());
        if let Some(id) = id {
            found.insert(id, pid);
        }
    }
    found
}

/// Whether a process has ended, though perhaps nobody has reaped it yet.
fn is_gone(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'),
        Err(_) => true,
    }
}

#[test]
fn it_says_who_is_where_and_serves() {
    let mut demo = Demo::start("demo-serves", 3);
    demo.wait_ready();
    demo.client(1).set("user:1001", "John Doe");
    for id in 1..=3 {
        assert_eq!(demo.client(id).value("user:1001").as_deref(), Some("John Doe"));
        // It is connected when this port has answered: whom else there is to ask it learns there.
        let mut get = command();
        get.args(["get", "user:1001", "--endpoints", &format!("127.0.0.1:{}", demo.ports.base + 200 + id)]);
        get.env("XDG_CONFIG_HOME", demo.directory.path());
        assert_eq!(run(demo.directory.path(), get).expect(0, &[]).stdout, "John Doe", "node {id}");
    }
    let status = demo
        .wait_line("a status line with a leader", |line| line.contains("leader") && line.contains("term"));
    assert!(status.contains("commit"), "{status}");
    let output = demo.output();
    for (id, pid) in demo.seen.clone() {
        let line = output
            .lines()
            .find(|line| line.split(|c: char| !c.is_ascii_digit()).any(|word| word == pid.to_string()))
            .unwrap_or_else(|| panic!("the pid {pid} of node {id} is not printed:\n{output}"));
        for port in [demo.ports.base + id, demo.ports.base + 100 + id, demo.ports.base + 200 + id] {
            assert!(line.contains(&port.to_string()), "port {port} of node {id} is not on its line: {line}");
        }
    }
    assert!(output.contains("curl"), "lines to try are missing:\n{output}");
    assert!(
        !output.contains('\u{1b}') && !output.contains('\r'),
        "control codes though there is no terminal"
    );
    let data = demo.directory.path().join("data");
    for id in 1..=3 {
        for name in ["wal", "state.redb", "identity", "node.log"] {
            assert!(data.join(format!("node{id}")).join(name).exists(), "node{id}/{name} is missing");
        }
    }
    demo.signal(Signal::SIGTERM);
    demo.assert_all_leave();
    assert_eq!(demo.wait_end(), Some(0));
    assert_eq!(std::fs::read_to_string(data.join("mine.txt")).ok().as_deref(), Some("left alone"));
}

#[test]
fn no_signal_to_the_demo_leaves_a_child() {
    for (name, signal, code) in [
        ("demo-int", Signal::SIGINT, Some(0)),
        ("demo-hup", Signal::SIGHUP, Some(0)),
        ("demo-kill", Signal::SIGKILL, None),
    ] {
        let mut demo = Demo::start(name, 3);
        demo.wait_ready();
        demo.client(2).set("k", "v");
        demo.signal(signal);
        demo.assert_all_leave();
        assert_eq!(demo.wait_end(), code, "{signal}");
    }
}

#[test]
fn a_demo_that_has_just_begun_leaves_no_child_either() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let demo = Demo::start("demo-young", 3);
        demo.signal(signal);
        demo.assert_all_leave();
    }
}

#[test]
fn the_data_is_kept_in_its_directory() {
    let mut demo = Demo::start("demo-keeps", 3);
    demo.wait_ready();
    demo.client(3).set("kept", "yes");
    demo.signal(Signal::SIGINT);
    assert_eq!(demo.wait_end(), Some(0));
    demo.assert_all_leave();
    let mut again = demo_command(&demo.directory, &demo.ports, 3);
    let out = File::create(demo.directory.path().join("out")).expect("writable");
    again.stdout(out.try_clone().expect("a descriptor")).stderr(out);
    demo.child = again.spawn().expect("the binary starts");
    demo.wait_children();
    demo.wait_ready();
    assert_eq!(demo.client(1).value("kept").as_deref(), Some("yes"));
}

#[test]
fn a_killed_node_is_down_until_its_line_is_run() {
    let mut demo = Demo::start("demo-down", 3);
    demo.wait_ready();
    demo.client(1).set("before", "x");
    let victim = 2;
    kill(Pid::from_raw(demo.seen[&victim]), Signal::SIGKILL).expect("the child runs");
    let line = demo.wait_line("the line that brings node 2 back", |line| line.contains("serve --id 2"));
    demo.wait_line("node 2 shown as down", |line| line.contains("down") && line.contains('2'));
    demo.client(1).set("during", "x");
    assert!(!children(demo.child.id()).contains_key(&victim), "the demo restarted a node by itself");

    // What is printed is run as it is, by a shell.
    let start = line
        .find(BINARY)
        .or_else(|| line.find("quorate serve"))
        .unwrap_or_else(|| panic!("no command: {line}"));
    let shell = format!("exec {}", &line[start..]);
    let mut by_hand = Command::new("/bin/sh");
    by_hand.args(["-c", &shell]).current_dir("/").stdin(std::process::Stdio::null());
    if let Some(directory) = PathBuf::from(BINARY).parent() {
        by_hand.env("PATH", directory);
    }
    let log = File::create(demo.directory.path().join("by-hand.log")).expect("writable");
    by_hand.stdout(log.try_clone().expect("a descriptor")).stderr(log);
    let mut by_hand = KilledAtEnd(by_hand.spawn().expect("a shell"));
    let client = demo.client(victim);
    poll_until("the node started by hand to be ready", PATIENCE, || {
        let ended = by_hand.0.try_wait().expect("a child can be waited for");
        assert!(ended.is_none(), "the printed line ended with {ended:?}: {shell}");
        client.is_ready().then_some(())
    });
    assert_eq!(client.value("during").as_deref(), Some("x"));
    let node_log = demo.directory.path().join(format!("data/node{victim}/node.log"));
    assert!(line.contains(&format!("2>> {}", node_log.display())), "it logs elsewhere: {line}");
    let by_hand_log = std::fs::read(demo.directory.path().join("by-hand.log")).expect("readable");
    assert!(by_hand_log.is_empty(), "{}", String::from_utf8_lossy(&by_hand_log));
    demo.wait_line("node 2 shown as up again", |line| {
        (line.contains("up again") && line.contains('2')) || (line.contains("by hand") && line.contains("up"))
    });
    demo.signal(Signal::SIGTERM);
    assert_eq!(demo.wait_end(), Some(0));
    demo.assert_all_leave();
    assert!(
        by_hand.0.try_wait().expect("a child can be waited for").is_none(),
        "the demo ended a node that is not its own"
    );
    assert_eq!(client.get("/livez").status, 200);
}

/// A process that is killed and reaped when the test is done with it.
struct KilledAtEnd(Child);

impl Drop for KilledAtEnd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_port_in_use_is_one_line_exit_2_and_no_child() {
    let ports = Ports::claim();
    let directory = Directory::new("demo-port");
    for (port, node) in [(ports.base + 3, 3), (ports.base + 101, 1), (ports.base + 202, 2)] {
        let holder = TcpListener::bind(("127.0.0.1", port)).expect("free a moment ago");
        let ended =
            run(directory.path(), demo_command(&directory, &ports, 3)).expect(2, &[&port.to_string()]);
        drop(holder);
        assert_eq!(ended.stderr.trim().lines().count(), 1, "one clear line about node {node}: {ended:?}");
        let client = Client::new(&format!("127.0.0.1:{}", ports.base + 1));
        assert!(client.request("GET", "/livez", &[], None).is_err(), "a child was left behind");
    }
}

#[test]
fn an_unusable_directory_is_one_line_and_exit_2() {
    let ports = Ports::claim();
    let directory = Directory::new("demo-directory");
    std::fs::write(directory.path().join("data"), "a file").expect("writable");
    let ended = run(directory.path(), demo_command(&directory, &ports, 3)).expect(2, &["data"]);
    assert_eq!(ended.stderr.trim().lines().count(), 1, "{ended:?}");
    for nodes in ["0", "8", "many"] {
        let mut command = command();
        command.args(["demo", "--nodes", nodes]);
        run(directory.path(), command).expect(2, &["--nodes"]);
    }
}

#[test]
fn a_node_with_damaged_data_is_not_offered_to_be_started_again() {
    let mut demo = Demo::start("demo-damage", 3);
    demo.wait_ready();
    demo.signal(Signal::SIGTERM);
    assert_eq!(demo.wait_end(), Some(0));
    demo.assert_all_leave();
    let data = demo.directory.path().join("data");
    // One of the two would be made anew from the other.
    for file in ["identity", "identity.copy"] {
        std::fs::write(data.join("node2").join(file), "not an identity").expect("writable");
    }
    let out = File::create(demo.directory.path().join("out")).expect("writable");
    let mut again = demo_command(&demo.directory, &demo.ports, 3);
    again.stdout(out.try_clone().expect("a descriptor")).stderr(out);
    demo.child = again.spawn().expect("the binary starts");
    let line = demo.wait_line("node 2 shown as down", |line| line.contains("node 2 is down"));
    assert!(
        line.contains("exit code 3") && line.contains("damaged") && line.contains("node2/node.log"),
        "{line}"
    );
    assert!(!line.contains("brings it back"), "{line}");
    demo.seen = children(demo.child.id());
}

#[test]
fn a_cluster_is_not_grown_or_cut_by_another_number_of_nodes() {
    let mut demo = Demo::start("demo-number", 1);
    demo.wait_ready();
    demo.signal(Signal::SIGTERM);
    assert_eq!(demo.wait_end(), Some(0));
    demo.assert_all_leave();
    for nodes in [2, 3, 7] {
        let ended = run(demo.directory.path(), demo_command(&demo.directory, &demo.ports, nodes))
            .expect(2, &["a cluster of 1 node", "use --nodes 1"]);
        assert_eq!(ended.stderr.trim().lines().count(), 1, "{ended:?}");
        assert!(!demo.directory.path().join("data/node2").exists(), "a node was prepared");
    }
}

#[test]
fn one_node_is_a_cluster_too() {
    let mut demo = Demo::start("demo-one", 1);
    demo.wait_ready();
    let answer = demo.client(1).post("/api/set", &json!({"key": "k", "value": "v"}));
    answer.expect(200);
    demo.signal(Signal::SIGTERM);
    demo.assert_all_leave();
    assert_eq!(demo.wait_end(), Some(0));
}
