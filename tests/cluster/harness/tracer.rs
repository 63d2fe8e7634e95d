//! strace on a process that runs: to see its system calls, or to kill it in the middle of one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::poll::{PATIENCE, poll_until};

/// strace on one process. Dropped: interrupted, so that it detaches, and reaped.
pub struct Tracer {
    child: Child,
    output: PathBuf,
}

impl Tracer {
    /// Attaches to all threads of `pid`, with these arguments besides; an error says why that is not permitted.
    pub fn attach<'a>(
        pid: u32,
        output: PathBuf,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Tracer, String> {
        let complaints = output.with_extension("err");
        let errors = std::fs::File::create(&complaints).expect("the test's directory is writable");
        let child = Command::new("strace")
            .args(["-f", "-y", "-s", "0", "-e", "signal=none"])
            .args(arguments)
            .arg("-o")
            .arg(&output)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut tracer = Tracer { child, output };
        let said = || std::fs::read_to_string(&complaints).unwrap_or_default();
        let attached = poll_until("strace to attach or to refuse", PATIENCE, || {
            if tracer.child.try_wait().expect("a child can be waited for").is_some() {
                return Some(false);
            }
            said().contains("attached").then_some(true)
        });
        if attached { Ok(tracer) } else { Err(said().trim().to_owned()) }
    }

    /// All that it has written so far.
    pub fn seen(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Detaches, and returns all that it saw.
    pub fn finish(self) -> String {
        let output = self.output.clone();
        drop(self);
        std::fs::read_to_string(output).expect("strace wrote its output")
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        let _ = self.child.wait();
    }
}

/// The calls that are over, each on a line of its own behind the number of its thread: where another thread's came in between,
/// strace breaks one into two.
pub fn calls(seen: &str) -> Vec<(&str, String)> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut over = Vec::new();
    for line in seen.lines() {
        // The number is padded.
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(beginning) = call.strip_suffix("<unfinished ...>") {
            begun.insert(thread, beginning);
        } else if let Some((_, end)) = call.split_once(" resumed>") {
            over.extend(
                begun.remove(thread).map(|beginning| (thread, format!("{}{end}", beginning.trim_end()))),
            );
        } else {
            over.push((thread, call.to_owned()));
        }
    }
    over
}

/// Arguments that show these calls on these files alone.
pub fn only<'a>(calls: &'a str, files: &[&'a Path]) -> Vec<&'a str> {
    let mut arguments = vec!["-e", calls];
    for file in files {
        arguments.extend(["-P", file.to_str().expect("test directories are UTF-8")]);
    }
    arguments
}
