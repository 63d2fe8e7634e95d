//! Where settings come from: default, file, environment, flag, in rising precedence; and what is wrong in a file.

use std::path::PathBuf;
use std::process::{Child, Command};

use crate::harness::client::Client;
use crate::harness::cluster::Directory;
use crate::harness::node::command;
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::run::run;
use crate::harness::slots::Slot;

/// A process that is killed and reaped when the test is done with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Setup {
    slot: Slot,
    directory: Directory,
}

impl Setup {
    fn new(name: &str) -> Setup {
        Setup { slot: Slot::claim(1), directory: Directory::new(name) }
    }

    /// A configuration file for a node whose REST port is at host 1 of the block, with `more` lines.
    fn file(&self, more: &str) -> PathBuf {
        let path = self.directory.path().join("quorate.toml");
        let text = format!(
            "id = 1\ndata-dir = \"{}\"\nhttp = \"{}\"\npeer = \"{}\"\ngrpc = \"{}\"\ninitial-cluster = \"1={}\"\n{more}",
            self.directory.path().join("data").display(),
            self.slot.http(1),
            self.slot.peer(1),
            self.slot.grpc(1),
            self.slot.peer(1),
        );
        std::fs::write(&path, text).expect("writable");
        path
    }

    fn command(&self, file: &std::path::Path) -> Command {
        let mut command = command();
        command.arg("serve").arg("--config").arg(file);
        command
    }

    /// Starts `command` and waits until it serves REST at host `host`, and that nobody does at the others.
    fn serves_at(&self, mut command: Command, host: u64) {
        let log = std::fs::File::create(self.directory.path().join("log")).expect("writable");
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let mut running = Running(command.spawn().expect("the binary starts"));
        let client = Client::new(&self.slot.http(host));
        poll_until(&format!("an answer at {}", client.address()), PATIENCE, || {
            if let Some(status) = running.0.try_wait().expect("a child can be waited for") {
                let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                panic!("the node ended with {status}: {log}");
            }
            client.is_ready().then_some(())
        });
        for other in (1..=3).filter(|other| *other != host) {
            let client = Client::new(&self.slot.http(other));
            assert!(client.request("GET", "/livez", &[], None).is_err(), "host {other} answers, too");
        }
    }
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let setup = Setup::new("flags-precedence");
    let file = setup.file("");
    setup.serves_at(setup.command(&file), 1);
    let mut by_variable = setup.command(&file);
    by_variable.env("QUORATE_HTTP", setup.slot.http(2));
    setup.serves_at(by_variable, 2);
    let mut by_flag = setup.command(&file);
    by_flag.env("QUORATE_HTTP", setup.slot.http(2)).args(["--http", &setup.slot.http(3)]);
    setup.serves_at(by_flag, 3);
    // The file itself can be named by a variable.
    let mut named = command();
    named.arg("serve").env("QUORATE_CONFIG", &file);
    setup.serves_at(named, 1);
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_exit_2() {
    let setup = Setup::new("flags-file");
    for (line, part) in [
        ("no-such-key = 1", "no-such-key"),
        ("fsync = false", "fsync"),
        ("election-timeout = 500", "election-timeout"),
        ("election-timeout = \"soon\"", "election-timeout"),
        ("id = 2", "id"),
        ("heartbeat-interval = \"1s\"", "heartbeat-interval"),
        ("[section]\nkey = 1", "section"),
        ("this is not TOML", "line 7"),
    ] {
        let file = setup.file(&format!("{line}\n"));
        let ended = run(setup.directory.path(), setup.command(&file));
        assert_eq!(ended.code, Some(2), "{line}: {ended:?}");
        let named = ended.stderr.contains(part)
            || (ended.stderr.contains("line 7") && ended.stderr.contains(".toml"));
        assert!(named, "{line}: the complaint does not say where: {ended:?}");
    }
}

#[test]
fn what_is_wrong_in_a_variable_is_exit_2() {
    let setup = Setup::new("flags-variable");
    let file = setup.file("");
    for (name, value, part) in [
        ("QUORATE_ID", "zero", "id"),
        ("QUORATE_ELECTION_TIMEOUT", "500", "election-timeout"),
        ("QUORATE_INITIAL_CLUSTER", "nonsense", "initial-cluster"),
        ("QUORATE_LOG_FORMAT", "xml", "log-format"),
        ("QUORATE_HEARTBEAT_INTERVAL", "0s", "heartbeat-interval"),
        ("QUORATE_LOG_LEVEL", "zork", "log-level"),
        ("QUORATE_LOG_LEVEL", "info,quorate::raft=loud", "log-level"),
    ] {
        let mut command = setup.command(&file);
        command.env(name, value);
        run(setup.directory.path(), command).expect(2, &[part, name]);
    }
}
