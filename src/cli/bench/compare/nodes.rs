//! The processes of a comparison: started on free ports of the loopback, measured by what the kernel knows of them, and killed at the end.
//! Only those that were started here are ever signalled.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::super::super::http;
use super::super::super::{Failure, UNEXPECTED};
use super::super::plan::TargetKind;
use crate::clock::SystemClock;

/// Nodes of a cluster.
const NODES: usize = 3;
/// How long a cluster may take until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is asked.
const READY_INTERVAL: Duration = Duration::from_millis(50);
/// etcd's own limit is 2 GiB of history, which a long comparison fills.
const ETCD_QUOTA_BYTES: u64 = 8 << 30;

/// Where the data is. It goes when this does.
pub(super) struct Place(PathBuf);

impl Place {
    /// A new directory.
    pub(super) fn new(below: Option<&Path>) -> Result<Place, Failure> {
        let below = below.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = below.join(format!("quorate-bench-{:016x}", SystemClock::shared().random()));
        let unusable = |error: &dyn std::fmt::Display| {
            Failure::usage(format!("cannot use {}: {error}; choose another with --dir", below.display()))
        };
        fs::create_dir_all(&path).map_err(|error| unusable(&error))?;
        let place = Place(path);
        if is_in_memory(&place.0) {
            return Err(unusable(&"it is in memory, where fsync costs nothing"));
        }
        Ok(place)
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Best effort: what cannot be removed lies among temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(target_os = "linux")]
fn is_in_memory(path: &Path) -> bool {
    use nix::sys::statfs::{TMPFS_MAGIC, statfs};
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == TMPFS_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_: &Path) -> bool {
    false
}

/// Processes that are one contender. Dropping them kills them.
pub(super) struct Nodes {
    name: &'static str,
    children: Vec<Child>,
    logs: Vec<PathBuf>,
    /// `host:port` of gRPC.
    grpc: Vec<String>,
    /// `host:port` of HTTP, where health is asked; none: a connection is enough.
    http: Vec<String>,
}

impl Nodes {
    /// Three members of etcd with its own defaults, but for the quota.
    pub(super) fn etcd(place: &Place, program: &Path) -> Result<Nodes, Failure> {
        let [clients, peers] = ports()?;
        let members: Vec<String> = (0..NODES).map(|at| format!("n{at}=http://{}", peers[at])).collect();
        let members = members.join(",");
        // Its health is asked where its clients are.
        let mut nodes = Nodes::none("etcd", clients.clone(), clients.clone());
        for at in 0..NODES {
            let (client, peer) = (format!("http://{}", clients[at]), format!("http://{}", peers[at]));
            let mut command = Command::new(program);
            command
                .args(["--name", &format!("n{at}"), "--log-level", "error"])
                .arg("--data-dir")
                .arg(place.path().join(format!("etcd{at}")))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &members, "--quota-backend-bytes", &ETCD_QUOTA_BYTES.to_string()])
                // An architecture that etcd's makers do not test is compared all the same.
                .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"));
            nodes.start(place, command, at)?;
        }
        Ok(nodes)
    }

    /// Three nodes of this program with its defaults.
    pub(super) fn quorate(place: &Place) -> Result<Nodes, Failure> {
        let [https, peers, grpcs] = ports()?;
        let members: Vec<String> = (0..NODES).map(|at| format!("{}={}", at + 1, peers[at])).collect();
        let members = members.join(",");
        let mut nodes = Nodes::none("quorate", grpcs.clone(), https.clone());
        for at in 0..NODES {
            let mut command = Command::new(own_program()?);
            command
                .args(["serve", "--id", &(at + 1).to_string(), "--log-level", "warn"])
                .arg("--data-dir")
                .arg(place.path().join(format!("quorate{at}")))
                .args(["--http", &https[at], "--peer", &peers[at], "--grpc", &grpcs[at]])
                .args(["--initial-cluster", &members])
                .args(["--exit-with-parent", &std::process::id().to_string()]);
            nodes.start(place, command, at)?;
        }
        Ok(nodes)
    }

    /// The server that is no store.
    pub(super) fn ceiling(place: &Place) -> Result<Nodes, Failure> {
        let [mut addresses] = ports()?;
        addresses.truncate(1);
        let mut command = Command::new(own_program()?);
        command.args(["bench", "ceiling", "--listen", &addresses[0]]);
        let mut nodes = Nodes::none("ceiling", addresses, Vec::new());
        nodes.start(place, command, 0)?;
        Ok(nodes)
    }

    fn none(name: &'static str, grpc: Vec<String>, http: Vec<String>) -> Nodes {
        Nodes { name, children: Vec::new(), logs: Vec::new(), grpc, http }
    }

    /// Starts one, in a process group of its own: a Ctrl-C is for the comparison, which then kills it.
    fn start(&mut self, place: &Place, mut command: Command, at: usize) -> Result<(), Failure> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |error: std::io::Error| {
            let hint = if self.name == "etcd" {
                "; install it (Debian: apt-get install etcd-server), name it with --etcd, or leave it out of --contenders"
            } else {
                ""
            };
            Failure::usage(format!("cannot start {program}: {error}{hint}"))
        };
        let path = place.path().join(format!("{}{at}.log", self.name));
        let log = File::create(&path).map_err(failed)?;
        // The defaults of its makers, whatever this shell has set.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if (text.starts_with("QUORATE_") || text.starts_with("ETCD_")) && text != "ETCD_UNSUPPORTED_ARCH"
            {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log).process_group(0);
        self.children.push(command.spawn().map_err(failed)?);
        self.logs.push(path);
        Ok(())
    }

    /// Waits until all serve.
    pub(super) async fn wait_ready(&mut self) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + READY_TIMEOUT;
        while !self.is_ready() {
            for (child, log) in self.children.iter_mut().zip(&self.logs) {
                if let Ok(Some(status)) = child.try_wait() {
                    let said = fs::read_to_string(log).unwrap_or_default();
                    let said = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
                    return Err(Failure::new(UNEXPECTED, format!("{} ended ({status}): {said}", self.name)));
                }
            }
            if tokio::time::Instant::now() >= deadline {
                let text = format!("{} does not serve after {READY_TIMEOUT:?}", self.name);
                return Err(Failure::new(UNEXPECTED, text));
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        let is_healthy = |address: &String| {
            let answer = http::get(&format!("http://{address}/health"), Duration::from_secs(2));
            answer.is_ok_and(|(status, body)| status == 200 && body.contains("true"))
        };
        self.http.iter().all(is_healthy)
            && self.grpc.iter().all(|address| std::net::TcpStream::connect(address).is_ok())
    }

    /// Where a door of them is.
    pub(super) fn endpoints(&self, target: TargetKind) -> Vec<String> {
        match target {
            TargetKind::Rest => self.http.clone(),
            _ => self.grpc.clone(),
        }
    }

    /// What they used up to now.
    pub(super) fn usage(&self) -> Usage {
        let each = self.children.iter().map(|child| usage_of(child.id()).unwrap_or_default());
        each.fold(Usage::default(), |sum, one| Usage {
            cpu_s: sum.cpu_s + one.cpu_s,
            written_bytes: sum.written_bytes + one.written_bytes,
            memory_bytes_max: sum.memory_bytes_max.max(one.memory_bytes_max),
        })
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Both fail only if it ended by itself; then that is what was wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What processes used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// Seconds of CPU, of all together.
    pub(super) cpu_s: f64,
    /// Bytes that they had the disk write, of all together.
    pub(super) written_bytes: u64,
    /// Resident memory of the largest one.
    pub(super) memory_bytes_max: u64,
}

impl Usage {
    /// What was used since then; memory is that of now.
    pub(super) fn since(&self, before: &Usage) -> Usage {
        Usage {
            cpu_s: self.cpu_s - before.cpu_s,
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            memory_bytes_max: self.memory_bytes_max,
        }
    }
}

#[cfg(target_os = "linux")]
fn usage_of(pid: u32) -> Option<Usage> {
    use procfs::WithCurrentSystemInfo;
    let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
    let stat = process.stat().ok()?;
    Some(Usage {
        cpu_s: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        written_bytes: process.io().map_or(0, |io| io.write_bytes),
        memory_bytes_max: stat.rss_bytes().get(),
    })
}

/// Elsewhere the kernel is not asked.
#[cfg(not(target_os = "linux"))]
fn usage_of(_: u32) -> Option<Usage> {
    None
}

fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::new(UNEXPECTED, format!("cannot find this program's own file: {error}")))
}

/// Addresses on the loopback that nobody listens on: for each use one for each node. All are held until all are found.
fn ports<const USES: usize>() -> Result<[Vec<String>; USES], Failure> {
    let failed = |error: std::io::Error| Failure::new(UNEXPECTED, format!("no free port: {error}"));
    let mut held = Vec::new();
    let mut addresses = [const { Vec::new() }; USES];
    for addresses in &mut addresses {
        for _ in 0..NODES {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
            addresses.push(listener.local_addr().map_err(failed)?.to_string());
            held.push(listener);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_different() {
        let addresses: [Vec<String>; 3] = ports().expect("there are free ports");
        let all: std::collections::BTreeSet<&String> = addresses.iter().flatten().collect();
        assert_eq!(all.len(), 9);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_measured() {
        let usage = usage_of(std::process::id()).expect("this one can be read");
        assert!(usage.memory_bytes_max > 0);
        let later = Usage { cpu_s: 3.0, written_bytes: 7, memory_bytes_max: 9 };
        let before = Usage { cpu_s: 1.0, written_bytes: 2, memory_bytes_max: 100 };
        assert_eq!(later.since(&before), Usage { cpu_s: 2.0, written_bytes: 5, memory_bytes_max: 9 });
        assert_eq!(usage_of(u32::MAX), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_the_remedy() {
        let below = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
        let place = Place::new(Some(below.path())).expect("it is usable");
        let failure = Nodes::etcd(&place, Path::new("/no/such/etcd")).err().expect("it is not there");
        assert!(failure.text.contains("etcd-server"), "{}", failure.text);
        let path = place.path().to_path_buf();
        drop(place);
        assert!(!path.exists(), "the data goes with the comparison");
    }
}
