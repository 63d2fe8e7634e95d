//! Commands that end by themselves: run to their end under a deadline, with their output and exit code.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use super::poll::{PATIENCE, try_poll_until};

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// Runs `command` to its end. One that does not end is killed and fails the test.
pub fn run(directory: &Path, mut command: Command) -> Ended {
    let (out, err) = (directory.join("stdout"), directory.join("stderr"));
    let file = |path: &Path| File::create(path).expect("the test's directory is writable");
    let mut child = command.stdout(file(&out)).stderr(file(&err)).spawn().expect("the binary starts");
    let status = try_poll_until(PATIENCE, || child.try_wait().expect("a child can be waited for"));
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let (stdout, stderr) = (text(&out), text(&err));
    let Some(status) = status else {
        panic!("{command:?} did not end within {PATIENCE:?}; it printed:\n{stdout}\n{stderr}");
    };
    Ended { code: status.code(), stdout, stderr }
}

impl Ended {
    /// Fails the test unless it ended with `code` and a complaint that holds all of `parts`.
    pub fn expect(self, code: i32, parts: &[&str]) -> Ended {
        assert_eq!(self.code, Some(code), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "the complaint does not name `{part}`: {self:?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }
}
