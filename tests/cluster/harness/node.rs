//! One `quorate serve` process: started, stopped, killed, paused, and always reaped.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::Client;
use super::poll::{PATIENCE, poll_until};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_quorate");

/// A node: its addresses and directories, and its process while it has one.
pub struct Node {
    /// Its id.
    pub id: u64,
    /// Its data directory.
    pub data: PathBuf,
    /// Where its output goes, appended over restarts.
    pub log: PathBuf,
    /// Where it serves REST.
    pub http: String,
    /// Where it listens for peers.
    pub peer: String,
    /// Where it serves gRPC.
    pub grpc: String,
    /// Its command line after the binary's name.
    pub arguments: Vec<String>,
    child: Option<Child>,
}

/// The binary with an environment that holds no setting of the caller's.
pub fn command() -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUORATE_") {
            command.env_remove(name);
        }
    }
    for name in ["RUST_LOG", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

impl Node {
    /// A node that is not running yet.
    pub fn new(id: u64, directory: &Path, addresses: (String, String, String), cluster: &str) -> Node {
        let (http, peer, grpc) = addresses;
        let data = directory.join(format!("node{id}"));
        let mut arguments = vec!["serve".to_owned()];
        let text = data.to_str().expect("test directories are UTF-8").to_owned();
        let id_text = id.to_string();
        for (flag, value) in [
            ("--id", &id_text),
            ("--data-dir", &text),
            ("--http", &http),
            ("--peer", &peer),
            ("--grpc", &grpc),
            ("--initial-cluster", &cluster.to_owned()),
        ] {
            arguments.extend([flag.to_owned(), value.clone()]);
        }
        let log = directory.join(format!("node{id}.log"));
        Node { id, data, log, http, peer, grpc, arguments, child: None }
    }

    /// Replaces or adds a flag of a node that is not running.
    pub fn set_flag(&mut self, flag: &str, value: &str) {
        match self.arguments.iter().position(|argument| argument == flag) {
            Some(at) => value.clone_into(&mut self.arguments[at + 1]),
            None => self.arguments.extend([flag.to_owned(), value.to_owned()]),
        }
    }

    /// Takes a flag and its value away.
    pub fn remove_flag(&mut self, flag: &str) {
        if let Some(at) = self.arguments.iter().position(|argument| argument == flag) {
            self.arguments.drain(at..at + 2);
        }
    }

    /// Starts the process. It may take a while until it answers.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "node {} runs already", self.id);
        let output = |path: &Path| -> File {
            OpenOptions::new().create(true).append(true).open(path).expect("the test's directory is writable")
        };
        let child = command()
            .args(&self.arguments)
            .stdout(output(&self.log))
            .stderr(output(&self.log))
            .spawn()
            .unwrap_or_else(|error| panic!("{BINARY}: {error}"));
        self.child = Some(child);
    }

    /// Whether it has a process that was not reaped.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap_or_else(|| panic!("node {} does not run", self.id)).id()
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a process id is positive"));
        kill(pid, signal).unwrap_or_else(|error| panic!("{signal} to node {}: {error}", self.id));
    }

    /// kill -9, and reaps it.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait_exit(PATIENCE);
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_exit(PATIENCE)
    }

    /// Stops its clock, so to speak: the process exists and does nothing.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets a paused one go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Waits until it has ended by itself, and reaps it.
    pub fn wait_exit(&mut self, patience: Duration) -> ExitStatus {
        let id = self.id;
        let child = self.child.as_mut().unwrap_or_else(|| panic!("node {id} does not run"));
        let status = poll_until(&format!("node {id} to end"), patience, || {
            child.try_wait().expect("a child can be waited for")
        });
        self.child = None;
        status
    }

    /// Whether the process has ended by itself. Its status is kept for `wait_exit`.
    pub fn has_ended(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().expect("a child can be waited for").is_some())
    }

    /// Fails the test if the process has ended.
    pub fn assert_alive(&mut self) {
        let id = self.id;
        let child = self.child.as_mut().unwrap_or_else(|| panic!("node {id} does not run"));
        let status = child.try_wait().expect("a child can be waited for");
        assert!(status.is_none(), "node {id} ended by itself: {status:?}");
    }

    /// A client of its REST port.
    pub fn client(&self) -> Client {
        Client::new(&self.http)
    }

    /// All it has printed.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
