//! The cluster version: whole nodes in this process, of which some claim to be an older binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::{CLUSTER_TOKEN_DEFAULT, Config, Limits};
use crate::server::{Exit, ExitCode, Seams, run};
use crate::transport::net::{BoxStream, Listener, Net, NetFuture, TcpNet};
use crate::types::{CLUSTER_VERSION, NodeId};

const OLD: u32 = CLUSTER_VERSION;
const NEW: u32 = CLUSTER_VERSION + 1;

/// Far longer than anything here takes; only a broken test meets it.
const DEADLINE: Duration = Duration::from_secs(60);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for: {what}"),
    }
}

/// The machine's network, with names for addresses: who listens gets any port that is free, and a node that starts again
/// need not find its old one free.
#[derive(Clone, Default)]
struct NamedNet(Arc<Mutex<BTreeMap<String, String>>>);

impl NamedNet {
    fn address(&self, name: &str) -> Option<String> {
        self.0.lock().expect("no panic under it").get(name).cloned()
    }
}

impl Net for NamedNet {
    fn connect<'a>(&'a self, name: &'a str) -> NetFuture<'a, BoxStream> {
        Box::pin(async move {
            let address = self.address(name).ok_or(std::io::ErrorKind::ConnectionRefused)?;
            TcpNet.connect(&address).await
        })
    }

    fn bind<'a>(&'a self, name: &'a str) -> NetFuture<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let listener = TcpNet.bind("127.0.0.1:0").await?;
            self.0.lock().expect("no panic under it").insert(name.to_owned(), listener.local_address()?);
            Ok(listener)
        })
    }
}

/// What ends a node, and what it ends with.
type Running = (oneshot::Sender<()>, JoinHandle<Result<(), Exit>>);

/// Three nodes, and one that may join them.
struct Cluster {
    net: NamedNet,
    directory: tempfile::TempDir,
    running: BTreeMap<u64, Running>,
}

impl Cluster {
    fn new() -> Cluster {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        Cluster { net: NamedNet::default(), directory, running: BTreeMap::new() }
    }

    fn config(&self, id: u64) -> Config {
        let peer = |id: u64| format!("peer{id}:1");
        let joins = id > 3;
        Config {
            id: NodeId(id),
            data_dir: data_dir(self.directory.path(), id),
            http: format!("http{id}:1"),
            peer: peer(id),
            grpc: format!("grpc{id}:1"),
            advertise_http: format!("http{id}:1"),
            advertise_peer: peer(id),
            advertise_grpc: format!("grpc{id}:1"),
            join: joins.then(|| peer(2)),
            learner: joins,
            initial_cluster: (1..=3).map(|id| (NodeId(id), peer(id))).collect(),
            cluster_token: CLUSTER_TOKEN_DEFAULT.to_owned(),
            heartbeat_interval: Duration::from_millis(20),
            election_timeout: Duration::from_millis(200),
            // A mark is logged in the same turn in which a version would be raised: marks are the clock of these tests.
            limits: Limits { hash_mark_interval: Duration::from_millis(20), ..Limits::default() },
        }
    }

    /// Starts a node whose binary claims to know `supports`.
    fn start(&mut self, id: u64, supports: u32) {
        let (config, net) = (self.config(id), Arc::new(self.net.clone()));
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let seams = Seams { net, supports, ..Seams::production() };
            let shutdown = async move {
                let _ = stopped.await;
            };
            run(config, seams, shutdown).await
        });
        assert!(self.running.insert(id, (stop, task)).is_none(), "node {id} runs already");
    }

    /// Lets a node end in good order.
    async fn stop(&mut self, id: u64) {
        let (stop, task) = self.running.remove(&id).expect("it runs");
        stop.send(()).expect("it has not ended by itself");
        within("a node to stop", task).await.expect("no panic").expect("nothing was wrong");
    }

    /// Waits until a node has ended by itself, and says why it did.
    async fn exit(&mut self, id: u64) -> Exit {
        let (_stop, task) = self.running.remove(&id).expect("it runs");
        within("a node to end by itself", task).await.expect("no panic").expect_err("it was not asked to end")
    }

    /// What a node answers to a request, if it answers with 200.
    async fn ask(&self, id: u64, request: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.net.address(&format!("http{id}:1"))?).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| serde_json::from_str(body).expect("an answer is JSON"))
    }

    async fn get(&self, id: u64, path: &str) -> Option<Value> {
        self.ask(id, &format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")).await
    }

    async fn set(&self, id: u64, key: &str) -> Option<Value> {
        let body = format!("{{\"key\": \"{key}\", \"value\": \"v\"}}");
        let head =
            "POST /api/set HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json";
        self.ask(id, &format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await
    }

    /// Waits until a node says that the cluster is at `version`.
    async fn wait_version(&self, id: u64, version: u32) {
        let reached = async {
            while self.get(id, "/api/settings").await.is_none_or(|settings| settings["version"] != version) {
                tokio::task::yield_now().await;
            }
        };
        within(&format!("version {version} on node {id}"), reached).await;
    }

    /// Waits until all members have said who they are.
    async fn wait_published(&self, id: u64) {
        let published = async {
            let is_known = |members: Value| {
                let members = members["members"].as_array().expect("members").clone();
                members.iter().all(|member| member["http"] != "")
            };
            while !self.get(id, "/api/members").await.is_some_and(is_known) {
                tokio::task::yield_now().await;
            }
        };
        within("all members to publish what they are", published).await;
    }

    /// Waits until a leader has come by the place where it raises the version, twice: it logs a mark there for each of
    /// these writes.
    async fn wait_leader_looked(&self, id: u64) {
        for key in ["first", "second"] {
            let marked = async {
                // Asked before the write: the mark may be there before a question that comes after it.
                let before = self.applied_beside_writes(id).await;
                while self.set(id, key).await.is_none() {}
                while self.applied_beside_writes(id).await <= before {
                    tokio::task::yield_now().await;
                }
            };
            within("a mark", marked).await;
        }
    }

    /// How many entries a node has applied that were no writes.
    async fn applied_beside_writes(&self, id: u64) -> u64 {
        let stats = self.get(id, "/api/stats").await.expect("the node runs");
        let [index, revision] =
            ["applied_index", "revision"].map(|name| stats[name].as_u64().expect("a number"));
        index.saturating_sub(revision)
    }
}

fn data_dir(directory: &Path, id: u64) -> PathBuf {
    directory.join(format!("node{id}"))
}

#[track_caller]
fn assert_outdated(exit: &Exit, code: ExitCode) {
    assert_eq!(exit.code, code, "{exit}");
    let says = [format!("at version {NEW}"), format!("knows {OLD}")];
    assert!(says.iter().all(|part| exit.message.contains(part)), "{exit}");
}

#[tokio::test]
async fn the_version_rises_once_the_last_old_binary_is_gone_and_keeps_it_out_from_then_on() {
    let mut cluster = Cluster::new();
    for (id, supports) in [(1, NEW), (2, NEW), (3, OLD)] {
        cluster.start(id, supports);
    }
    cluster.wait_published(1).await;
    cluster.wait_leader_looked(1).await;
    cluster.wait_version(1, OLD).await;

    // Node 1 is away, so that whoever of the others leads raises it.
    cluster.stop(1).await;
    cluster.stop(3).await;
    cluster.start(3, NEW);
    cluster.wait_version(2, NEW).await;
    cluster.wait_version(3, NEW).await;

    // Its own log knows of no version as new: it hears of it.
    cluster.start(1, OLD);
    assert_outdated(&cluster.exit(1).await, ExitCode::Usage);
    // A stranger is not let in.
    cluster.start(4, OLD);
    let exit = cluster.exit(4).await;
    assert_outdated(&exit, ExitCode::Identity);
    // With the newer binary all is well.
    cluster.start(1, NEW);
    cluster.start(4, NEW);
    cluster.wait_version(1, NEW).await;
    cluster.wait_version(4, NEW).await;

    // Nobody is there who could tell node 2: it knows by what it has on its disk.
    for id in 1..=4 {
        cluster.stop(id).await;
    }
    cluster.start(2, OLD);
    assert_outdated(&cluster.exit(2).await, ExitCode::Usage);
}
