//! The nodes of a demo: child processes, and what is known of them.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::serve::SAME_SIGNAL;
use super::super::{DAMAGED, Failure, REFUSED, UNEXPECTED, USAGE};
use super::StopSignals;
use super::home::Home;
use super::plan::{NodePlan, Plan, shell_line};
use super::status::{Presence, Rates, Status};
use super::watch::{Sample, Watch};
use crate::clock::{self, SharedClock};
use crate::types::Monotonic;

/// How long the children may take to drain before they are killed: the demo promises that none is left after 5 s.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(3_500);
/// How often a stopping child is looked at.
const REAP_INTERVAL: Duration = Duration::from_millis(20);
/// An answer older than this no longer shows that a node is up.
const FRESH: Duration = Duration::from_secs(2);
/// How much of a log's end is searched for its last line.
const LOG_TAIL_BYTES: u64 = 4 << 10;

/// All nodes of the demo. Dropping it kills those of its children that still run.
pub(super) struct Cluster {
    nodes: Vec<Node>,
    rates: Rates,
}

/// One node.
pub(super) struct Node {
    /// Its place.
    pub(super) plan: NodePlan,
    /// Its first process. Kept after its end, when its id is no longer used for anything.
    child: Child,
    /// When and how that ended.
    ended: Option<(Monotonic, ExitStatus)>,
    watch: Watch,
    /// What was last told of it.
    told: Presence,
    /// The line that starts it by hand.
    line: String,
    log: PathBuf,
    /// Where in its log this run begins.
    log_start: u64,
}

/// Something that a person should be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A node's process ended.
    Down {
        /// The node.
        id: u16,
        /// How it ended.
        how: String,
        /// What to do about it.
        remedy: String,
        /// It found a fault of usage before it ever answered: its own words.
        fault: Option<String>,
    },
    /// A node that was down answers again.
    ByHand(u16),
}

impl Event {
    /// Why the demo cannot go on, if so.
    pub(super) fn fault_of_usage(&self) -> Option<String> {
        match self {
            Event::Down { id, fault: Some(fault), .. } => Some(format!("node {id} could not start: {fault}")),
            _ => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Down { id, how, remedy, .. } => write!(f, "node {id} is down ({how}); {remedy}"),
            Event::ByHand(id) => {
                write!(f, "node {id} is up again, started by hand; it will be left running at the end")
            }
        }
    }
}

impl Cluster {
    /// Starts every node. If one cannot be started, those before it are stopped.
    pub(super) fn start(plan: &Plan, home: &Home, clock: &SharedClock) -> Result<Cluster, Failure> {
        let mut cluster = Cluster { nodes: Vec::new(), rates: Rates::default() };
        for node in &plan.nodes {
            cluster.nodes.push(Node::start(plan, node, home, clock)?);
        }
        Ok(cluster)
    }

    /// The nodes, in order.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Looks at every node, and returns what changed.
    pub(super) fn observe(&mut self, now: Monotonic) -> Vec<Event> {
        self.nodes.iter_mut().filter_map(|node| node.observe(now)).collect()
    }

    /// The cluster's state.
    pub(super) fn status(&mut self, now: Monotonic) -> Status {
        let nodes = self.nodes.iter().map(|node| (node.plan.id, node.presence(now))).collect();
        let stats = self.nodes.iter().filter_map(|node| node.fresh_sample(now)).map(|sample| sample.stats);
        let stats: Vec<_> = stats.collect();
        Status::new(nodes, &stats, &mut self.rates, now)
    }

    /// Stops the children: all are asked, and those that do not go in time, or when a second signal comes, are killed.
    pub(super) async fn stop(&mut self, signals: &mut StopSignals, clock: &SharedClock) {
        let (patient_until, deadline) = (clock.now().plus(SAME_SIGNAL), clock.now().plus(DRAIN_TIMEOUT));
        for node in &mut self.nodes {
            node.terminate(clock.now());
        }
        while clock.now() < deadline && self.nodes.iter_mut().any(|node| !node.reap(clock.now())) {
            tokio::select! {
                biased;
                () = signals.recv() => if clock.now() >= patient_until { break },
                () = clock::sleep(&**clock, REAP_INTERVAL) => {}
            }
        }
        self.kill(clock.now());
    }

    /// The nodes that run though the demo's own processes ended: somebody started them by hand.
    pub(super) fn left_running(&self) -> Vec<u16> {
        let in_use = |node: &&Node| {
            [node.plan.http, node.plan.peer, node.plan.grpc]
                .iter()
                .any(|address| TcpListener::bind(address).is_err())
        };
        self.nodes.iter().filter(in_use).map(|node| node.plan.id).collect()
    }

    fn kill(&mut self, now: Monotonic) {
        for node in &mut self.nodes {
            node.kill(now);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill(Monotonic::default());
    }
}

impl Node {
    fn start(plan: &Plan, node: &NodePlan, home: &Home, clock: &SharedClock) -> Result<Node, Failure> {
        let unexpected =
            |error: std::io::Error| Failure::new(UNEXPECTED, format!("node {}: {error}", node.id));
        let log = home.open_log(node.id)?;
        let log_start = log.metadata().map_err(unexpected)?.len();
        let arguments = plan.arguments(node, &home.node_dir(node.id));
        let mut command = Command::new(&plan.program);
        command
            .args(&arguments)
            .arg("--exit-with-parent")
            .arg(std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(unexpected)?)
            .stderr(log)
            .process_group(0);
        // Production defaults, whatever this shell has set.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("QUORATE_") {
                command.env_remove(name);
            }
        }
        let watch = Watch::start(node.id, node.http, SharedClock::clone(clock))?;
        let child = command.spawn().map_err(unexpected)?;
        Ok(Node {
            plan: node.clone(),
            child,
            ended: None,
            watch,
            told: Presence::Starting,
            line: shell_line(&plan.program, &arguments, &home.log_path(node.id)),
            log: home.log_path(node.id),
            log_start,
        })
    }

    /// The id of the process that the demo started.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn observe(&mut self, now: Monotonic) -> Option<Event> {
        self.reap(now);
        let presence = self.presence(now);
        let before = std::mem::replace(&mut self.told, presence);
        match presence {
            Presence::Down if before != Presence::Down => {
                let (_, status) = self.ended.expect("a node that is down has ended");
                let never_up = self.watch.latest().is_none();
                let fault = (never_up && status.code() == Some(USAGE.into())).then(|| self.last_words());
                let how =
                    if before == Presence::ByHand { "it no longer answers".to_owned() } else { how(status) };
                Some(Event::Down { id: self.plan.id, how, remedy: self.remedy(status), fault })
            }
            Presence::ByHand if before != Presence::ByHand => Some(Event::ByHand(self.plan.id)),
            _ => None,
        }
    }

    /// What to do about a node whose process ended so.
    fn remedy(&self, status: ExitStatus) -> String {
        let log = self.log.display();
        match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(DAMAGED) => format!(
                "its data is damaged, so it does not start from it again; {log} names the file and the place"
            ),
            Some(REFUSED) => format!(
                "its directory is not the one that the cluster knows under this id, so it is refused; see {log}"
            ),
            _ => format!("this brings it back: {}", self.line),
        }
    }

    fn presence(&self, now: Monotonic) -> Presence {
        match (&self.ended, self.fresh_sample(now)) {
            (None, Some(_)) => Presence::Up,
            (None, None) if self.watch.latest().is_none() => Presence::Starting,
            (None, None) => Presence::Silent,
            (Some(_), Some(_)) => Presence::ByHand,
            (Some(_), None) => Presence::Down,
        }
    }

    /// An answer of late, and of the process that lives now: one that was asked for before the first process ended
    /// says nothing about a second.
    fn fresh_sample(&self, now: Monotonic) -> Option<Sample> {
        let sample = self.watch.latest()?;
        let of_this_process = self.ended.is_none_or(|(ended, _)| sample.asked > ended);
        (of_this_process && now.since(sample.answered) < FRESH).then_some(sample)
    }

    /// Whether the child has ended. Its process id is used for nothing after that: it may be another's by then.
    fn reap(&mut self, now: Monotonic) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten().map(|status| (now, status));
        }
        self.ended.is_some()
    }

    fn terminate(&mut self, now: Monotonic) {
        if self.reap(now) {
            return;
        }
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It has not been waited for, so the id is its own still; if it just ended, that is what was wanted.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    fn kill(&mut self, now: Monotonic) {
        if self.reap(now) {
            return;
        }
        // Both fail only if it ended by itself just now.
        let _ = self.child.kill();
        if let Ok(status) = self.child.wait() {
            self.ended = Some((now, status));
        }
    }

    /// The last line that this run wrote to its log.
    fn last_words(&self) -> String {
        let tail = self.read_tail().unwrap_or_default();
        let line = tail.lines().rev().map(str::trim).find(|line| !line.is_empty());
        let line = line.map(|line| line.strip_prefix("quorate: ").unwrap_or(line));
        line.map_or_else(|| format!("see {}", self.log.display()), ToOwned::to_owned)
    }

    fn read_tail(&self) -> std::io::Result<String> {
        let mut log = File::open(&self.log)?;
        let from = log.metadata()?.len().saturating_sub(LOG_TAIL_BYTES).max(self.log_start);
        log.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        log.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(String::from_utf8_lossy(&tail).into_owned())
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => {
            let name =
                Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.to_string());
            format!("killed by {name}")
        }
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_named() {
        assert_eq!(how(ExitStatus::from_raw(3 << 8)), "exit code 3");
        assert_eq!(how(ExitStatus::from_raw(9)), "killed by SIGKILL");
    }

    #[test]
    fn only_a_fault_of_usage_ends_the_demo() {
        let remedy = || "this brings it back: quorate serve".to_owned();
        let down = |fault| Event::Down { id: 2, how: "exit code 2".into(), remedy: remedy(), fault };
        assert_eq!(down(None).fault_of_usage(), None);
        assert_eq!(
            down(None).to_string(),
            "node 2 is down (exit code 2); this brings it back: quorate serve"
        );
        let text = down(Some("port in use".to_owned())).fault_of_usage();
        assert_eq!(text.as_deref(), Some("node 2 could not start: port in use"));
        assert_eq!(Event::ByHand(1).fault_of_usage(), None);
    }
}
