//! etcd's own programs: its client against any endpoint, and a server of one node to compare with.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::cluster::Directory;
use super::poll::{PATIENCE, poll_until};
use super::run::{Ended, run};
use super::slots::Slot;

/// `etcdctl`, as a person would call it.
pub struct Ctl {
    endpoint: String,
    directory: PathBuf,
}

/// A program with an environment that holds no setting of the caller's.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("ETCD") || name.to_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

impl Ctl {
    /// Against the gRPC port `endpoint`. `directory` takes what it prints.
    pub fn new(endpoint: &str, directory: &Path) -> Ctl {
        Ctl { endpoint: endpoint.to_owned(), directory: directory.to_owned() }
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, "")
    }

    /// The same with something to read.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        let stdin = self.directory.join("stdin");
        std::fs::write(&stdin, input).expect("the test's directory is writable");
        let mut command = program("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", self.endpoint)).args(arguments);
        command.stdin(File::open(stdin).expect("it was just written"));
        run(&self.directory, command)
    }

    /// What it printed; fails the test unless it went well.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "etcdctl {arguments:?}: {ended:?}");
        ended.stdout
    }

    /// What a transaction that is read from standard input printed.
    pub fn txn(&self, input: &str) -> String {
        let ended = self.run_with(&["txn"], input);
        assert_eq!(ended.code, Some(0), "etcdctl txn of {input:?}: {ended:?}");
        ended.stdout
    }

    /// What it complained of; fails the test if it went well.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_ne!(ended.code, Some(0), "etcdctl {arguments:?}: {ended:?}");
        ended.stderr
    }
}

/// An etcd of one node. Dropped: killed and reaped.
pub struct Etcd {
    child: Child,
    endpoint: String,
    directory: Directory,
    _slot: Slot,
}

impl Etcd {
    /// Starts one on an empty directory, and waits until it serves.
    pub fn start(name: &str) -> Etcd {
        let (slot, directory) = (Slot::claim(1), Directory::new(name));
        let (client, peer) = (format!("http://{}", slot.grpc(1)), format!("http://{}", slot.peer(1)));
        let log = directory.path().join("etcd.log");
        let output = || -> File {
            OpenOptions::new().create(true).append(true).open(&log).expect("the test's directory is writable")
        };
        let child = program("etcd")
            .args(["--name", "one", "--log-level", "error"])
            .arg("--data-dir")
            .arg(directory.path().join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            // An architecture that etcd's makers do not test is good enough for this.
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"))
            .stdout(output())
            .stderr(output())
            .spawn()
            .expect("etcd starts");
        let etcd = Etcd { child, endpoint: slot.grpc(1), directory, _slot: slot };
        let ctl = etcd.ctl();
        poll_until("etcd to serve", PATIENCE, || {
            (ctl.run(&["endpoint", "health"]).code == Some(0)).then_some(())
        });
        etcd
    }

    /// Its gRPC port.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A client of it.
    pub fn ctl(&self) -> Ctl {
        Ctl::new(&self.endpoint, self.directory.path())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
