//! A whole node in this process, on seams that hold a job back or fail a sync when they are told to: what no request
//! from outside can time.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{CLUSTER_TOKEN_DEFAULT, Config, Limits};
use crate::fsm::file_backend;
use crate::node::executor::{Executor, Haste, Job, RunJobs, ThreadExecutor};
use crate::server::{Exit, ExitCode, Seams, run};
use crate::transport::net::{BoxStream, Listener, Net, NetFuture, TcpNet};
use crate::types::NodeId;
use crate::wal::fs::{File, Fs, StdFs};

/// Far longer than anything here takes; only a broken test meets it.
const DEADLINE: Duration = Duration::from_secs(60);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for: {what}"),
    }
}

/// The machine's network, which tells the first address it bound: that of REST.
struct TellingNet {
    first: Mutex<Option<oneshot::Sender<String>>>,
}

impl Net for TellingNet {
    fn connect<'a>(&'a self, address: &'a str) -> NetFuture<'a, BoxStream> {
        TcpNet.connect(address)
    }

    fn bind<'a>(&'a self, address: &'a str) -> NetFuture<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let listener = TcpNet.bind(address).await?;
            if let Some(first) = self.first.lock().expect("no panic under it").take() {
                let _ = first.send(listener.local_address()?);
            }
            Ok(listener)
        })
    }
}

/// Threads, but that the jobs of one lane wait for the gate.
struct GatedExecutor {
    lane: &'static str,
    gate: Arc<Gate>,
    /// Jobs of that lane so far.
    held: watch::Sender<usize>,
}

#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().expect("no panic under it") = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let open = self.open.lock().expect("no panic under it");
        drop(self.changed.wait_while(open, |open| !*open).expect("no panic under it"));
    }
}

impl Executor for GatedExecutor {
    fn lane(&self, name: &str, haste: Haste) -> Box<dyn RunJobs> {
        let inner = ThreadExecutor.lane(name, haste);
        if name == self.lane {
            return Box::new(GatedLane { inner, gate: Arc::clone(&self.gate), held: self.held.clone() });
        }
        inner
    }
}

struct GatedLane {
    inner: Box<dyn RunJobs>,
    gate: Arc<Gate>,
    held: watch::Sender<usize>,
}

impl RunJobs for GatedLane {
    fn submit(&self, job: Job) {
        let gate = Arc::clone(&self.gate);
        self.inner.submit(Box::new(move || {
            gate.wait();
            job()
        }));
        self.held.send_modify(|held| *held += 1);
    }
}

/// The machine's disk, whose syncs fail from the moment it is told.
#[derive(Clone)]
struct FailingFs {
    fails: Arc<AtomicBool>,
}

struct FailingFile {
    inner: Box<dyn File>,
    fails: Arc<AtomicBool>,
}

impl FailingFs {
    fn wrap(&self, inner: Box<dyn File>) -> Box<dyn File> {
        Box::new(FailingFile { inner, fails: Arc::clone(&self.fails) })
    }
}

impl Fs for FailingFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        StdFs.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        StdFs.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        StdFs.open(path).map(|file| self.wrap(file))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        StdFs.create(path).map(|file| self.wrap(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        StdFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        StdFs.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        StdFs.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        StdFs.free_bytes(dir)
    }

    fn allocated_bytes(&self, path: &Path) -> io::Result<u64> {
        StdFs.allocated_bytes(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        StdFs.lock(path)
    }
}

impl File for FailingFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, buf)
    }

    fn sync(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("told to fail"));
        }
        self.inner.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
}

/// The state file, whose reads fail from the moment it is told.
#[derive(Debug)]
struct FailingState {
    inner: Box<dyn redb::StorageBackend>,
    fails: Arc<AtomicBool>,
}

impl redb::StorageBackend for FailingState {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("told to fail"));
        }
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }
}

/// A number of an answer in JSON.
fn number(answer: &str, name: &str) -> u64 {
    let (_, value) = answer.split_once(&format!("\"{name}\":")).expect("the answer has it");
    let digits = value.find(|character: char| !character.is_ascii_digit()).unwrap_or(value.len());
    value[..digits].parse().expect("a number")
}

/// A cluster of one in this process.
struct Node {
    address: String,
    gate: Arc<Gate>,
    held: watch::Receiver<usize>,
    disk_fails: Arc<AtomicBool>,
    state_fails: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Exit>>,
    _directory: tempfile::TempDir,
}

pub(super) fn config(directory: &Path, limits: Limits) -> Config {
    let any = "127.0.0.1:0".to_owned();
    Config {
        id: NodeId(1),
        data_dir: directory.to_owned(),
        http: any.clone(),
        peer: any.clone(),
        grpc: any.clone(),
        advertise_http: any.clone(),
        advertise_peer: "127.0.0.1:7001".to_owned(),
        advertise_grpc: any.clone(),
        join: None,
        learner: false,
        initial_cluster: BTreeMap::from([(NodeId(1), any)]),
        cluster_token: CLUSTER_TOKEN_DEFAULT.to_owned(),
        heartbeat_interval: Duration::from_millis(10),
        election_timeout: Duration::from_millis(50),
        limits,
    }
}

impl Node {
    /// One whose lane of this name waits for the gate.
    async fn start(lane: &'static str, limits: Limits) -> Node {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        let config = config(directory.path(), limits);
        let (address_sender, address) = oneshot::channel();
        let (gate, held_sender) = (Arc::<Gate>::default(), watch::Sender::new(0));
        let held = held_sender.subscribe();
        let disk_fails = Arc::new(AtomicBool::new(false));
        let state_fails = Arc::new(AtomicBool::new(false));
        let fails = Arc::clone(&state_fails);
        let seams = Seams {
            state_file: Arc::new(move |path| {
                let (inner, fails) = (file_backend(path)?, Arc::clone(&fails));
                Ok(Box::new(FailingState { inner, fails }))
            }),
            fs: Arc::new(FailingFs { fails: Arc::clone(&disk_fails) }),
            net: Arc::new(TellingNet { first: Mutex::new(Some(address_sender)) }),
            executor: Arc::new(GatedExecutor { lane, gate: Arc::clone(&gate), held: held_sender }),
            ..Seams::production()
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async move {
                let _ = stopped.await;
            };
            run(config, seams, shutdown).await
        });
        let address = within("REST to listen", address).await.expect("the node runs");
        let stop = Some(stop);
        Node { address, gate, held, disk_fails, state_fails, stop, task, _directory: directory }
    }

    /// A connection that has sent `text`.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.expect("the node listens");
        stream.write_all(text.as_bytes()).await.expect("the connection is open");
        stream
    }

    /// The whole answer to a GET.
    async fn get(&self, path: &str) -> String {
        let stream =
            self.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")).await;
        answer(stream).await
    }

    /// The whole answer to a set.
    async fn set(&self, key: &str) -> String {
        let (head, body) = set_request(key);
        answer(self.send(&format!("{head}{body}")).await).await
    }

    /// Waits until the node has published its addresses: it then has nothing of its own to write any more.
    async fn wait_published(&self) {
        let published = async {
            loop {
                let stats = self.get("/api/stats").await;
                // It is shown once it is in the log; it is applied after that.
                let is_applied = number(&stats, "applied_index") == number(&stats, "last_index");
                if is_applied && stats.contains("\"http\":\"127.0.0.1:0\"") {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        within("the node to publish its addresses", published).await;
    }

    /// Waits until so many jobs have reached the lane.
    async fn wait_held(&mut self, count: usize) {
        let reached = self.held.wait_for(|held| *held >= count);
        within("jobs on the lane", reached).await.expect("the node runs");
    }

    fn shut_down(&mut self) {
        let stop = self.stop.take().expect("shut down once");
        stop.send(()).expect("the node runs");
    }

    /// Waits until nobody accepts connections: the drain has begun.
    async fn wait_closed(&self) {
        let closed = async {
            while TcpStream::connect(&self.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        within("the node to close its doors", closed).await;
    }
}

/// A request to set `key`, its head and its body.
fn set_request(key: &str) -> (String, String) {
    let body = format!("{{\"key\": \"{key}\", \"value\": \"v\"}}");
    let head = format!(
        "POST /api/set HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    (head, body)
}

async fn answer(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    within("an answer", stream.read_to_end(&mut bytes)).await.expect("an answer");
    String::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn lists_wait_on_a_lane_of_their_own_and_not_too_many_of_them() {
    let mut node = Node::start("list", Limits { lists_inflight_max: 2, ..Limits::default() }).await;
    assert!(node.set("k").await.starts_with("HTTP/1.1 200"));
    let request = "GET /api/list HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    let held = [node.send(request).await, node.send(request).await];
    node.wait_held(2).await;

    let refused = node.get("/api/list").await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(refused.contains("\"overloaded\"") && refused.contains("2 lists are under way"), "{refused}");
    let stale = node.get("/api/list?consistency=stale").await;
    assert!(stale.starts_with("HTTP/1.1 429"), "a stale list costs as much: {stale}");
    // The lane is held up, and nothing else is.
    assert!(node.get("/api/get?key=k").await.contains("\"value\":\"v\""));
    assert!(node.set("other").await.starts_with("HTTP/1.1 200"));
    assert!(node.get("/readyz").await.starts_with("HTTP/1.1 200"));

    node.gate.open();
    for stream in held {
        let page = answer(stream).await;
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("\"key\":\"k\""), "{page}");
    }
    let page = node.get("/api/list").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("\"key\":\"other\""), "{page}");
    node.shut_down();
    within("the node to end", node.task).await.expect("no panic").expect("nothing was wrong");
}

/// The limit of a node is that of its listeners, and its listeners see which answers wait.
#[tokio::test]
async fn a_client_that_leaves_its_answer_loses_its_connection() {
    let limits = Limits { send_timeout: Duration::from_millis(200), ..Limits::default() };
    let mut node = Node::start("nobody", limits).await;
    assert!(node.set("k").await.starts_with("HTTP/1.1 200"));
    let stream = TcpStream::connect(&node.address).await.expect("the node listens");
    // No answer fits.
    let handshake = h2::client::Builder::new().initial_window_size(1).handshake::<_, bytes::Bytes>(stream);
    let (mut client, connection) = within("a connection", handshake).await.expect("HTTP/2");
    let request = http::Request::get(format!("http://{}/api/get?key=k", node.address));
    let (answer, _) = client.send_request(request.body(()).expect("a request"), true).expect("connected");
    // However it ends: the client ends nothing by itself.
    let _ = within("the end of the connection", connection).await;
    drop(answer);
    assert!(node.set("k").await.starts_with("HTTP/1.1 200"), "others are served");
    node.shut_down();
    within("the node to end", node.task).await.expect("no panic").expect("nothing was wrong");
}

#[tokio::test]
async fn a_disk_that_fails_during_the_drain_is_no_orderly_end() {
    // The drain is not over before the requests are, however long that takes here.
    let mut node = Node::start("list", Limits { drain_timeout: DEADLINE * 10, ..Limits::default() }).await;
    assert!(node.set("k").await.starts_with("HTTP/1.1 200"));
    // Begun before the drain: one that keeps it from ending, and one whose body is still to come.
    let _list = node.send("GET /api/list HTTP/1.1\r\nhost: test\r\n\r\n").await;
    node.wait_held(1).await;
    let (head, body) = set_request("late");
    let head = head.replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let mut late = node.send(&head).await;
    let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    within("the node to ask for the body", late.read_exact(&mut go_on)).await.expect("an answer");

    node.shut_down();
    node.wait_closed().await;
    node.disk_fails.store(true, Ordering::SeqCst);
    late.write_all(body.as_bytes()).await.expect("the connection is open");
    let exit = within("the node to end", node.task).await.expect("no panic");
    let exit = exit.expect_err("a write met a failed disk");
    assert_eq!(exit.code, ExitCode::Disk, "{exit}");
    let mut said = Vec::new();
    let _ = within("the end of the connection", late.read_to_end(&mut said)).await;
    assert!(!String::from_utf8_lossy(&said).starts_with("HTTP/1.1 200"), "acknowledged without a disk");
    node.gate.open();
}

#[tokio::test]
async fn a_node_is_asked_to_end_while_it_opens_its_data() {
    let mut node = Node::start("open", Limits::default()).await;
    node.wait_held(1).await;
    // It is there, it says that it serves nobody yet, and it does not make a request wait for longer than was asked.
    assert!(node.get("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(node.get("/readyz").await.starts_with("HTTP/1.1 503"));
    let request =
        "GET /api/get?key=k HTTP/1.1\r\nhost: test\r\nconnection: close\r\nx-quorate-timeout-ms: 20\r\n\r\n";
    let refused = answer(node.send(request).await).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("\"retryable\":true"), "{refused}");
    node.shut_down();
    within("the node to end", node.task).await.expect("no panic").expect("it was asked to");
    node.gate.open();
}

#[tokio::test]
async fn a_disk_that_fails_is_the_end_of_a_node_that_serves() {
    let node = Node::start("list", Limits::default()).await;
    assert!(node.set("k").await.starts_with("HTTP/1.1 200"));
    node.wait_published().await;
    node.disk_fails.store(true, Ordering::SeqCst);
    let (head, body) = set_request("late");
    let mut late = node.send(&format!("{head}{body}")).await;
    let exit = within("the node to end", node.task).await.expect("no panic");
    assert_eq!(exit.expect_err("a write met a failed disk").code, ExitCode::Disk);
    let mut said = Vec::new();
    let _ = within("the end of the connection", late.read_to_end(&mut said)).await;
    assert!(!String::from_utf8_lossy(&said).starts_with("HTTP/1.1 200"), "acknowledged without a disk");
    node.gate.open();
}

/// Nobody writes, so nobody else would ever notice.
#[tokio::test]
async fn a_state_that_cannot_be_read_is_the_end_of_a_node_that_serves() {
    let node = Node::start("list", Limits { store_cache_bytes: 0, ..Limits::default() }).await;
    assert!(node.set("k").await.starts_with("HTTP/1.1 200"));
    node.wait_published().await;
    node.state_fails.store(true, Ordering::SeqCst);
    let answer = node.get("/api/get?key=other&consistency=stale").await;
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("told to fail"), "{answer}");
    let exit = within("the node to end", node.task).await.expect("no panic");
    assert_eq!(exit.expect_err("a read met a failed disk").code, ExitCode::Disk);
    node.gate.open();
}

/// Whoever asked may be gone before the disk says no.
#[tokio::test]
async fn a_list_that_nobody_waits_for_reports_a_failed_disk_too() {
    let mut node =
        Node::start("list", Limits { store_cache_bytes: 0, connections_max: 1, ..Limits::default() }).await;
    assert!(node.set("k").await.starts_with("HTTP/1.1 200"));
    node.wait_published().await;
    node.state_fails.store(true, Ordering::SeqCst);
    let list = node.send("GET /api/list?consistency=stale HTTP/1.1\r\nhost: test\r\n\r\n").await;
    node.wait_held(1).await;
    drop(list);
    // One connection at a time: the next is served once nothing is left of that one.
    assert!(node.get("/livez").await.starts_with("HTTP/1.1 200"));
    node.gate.open();
    let exit = within("the node to end", node.task).await.expect("no panic");
    assert_eq!(exit.expect_err("a list met a failed disk").code, ExitCode::Disk);
}
