//! Tests that need a program or a right which this machine may lack.

use std::process::{Command, Stdio};

/// Ends a test that cannot have what it needs. The line is counted by `.ci/run`, which looks whether the need is met
/// after all; it goes to the process's standard error directly, because the test runner swallows what a passing test
/// prints.
pub fn skipped(test: &str, need: &str, why: &str) {
    use std::io::Write;
    let why = why.lines().next().unwrap_or_default();
    let line = format!("SKIPPED: {test}: needs {need}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Whether `program` can be started at all.
pub fn is_installed(program: &str, argument: &str) -> bool {
    Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
