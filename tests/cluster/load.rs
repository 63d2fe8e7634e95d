//! Overload: clients that send and never read, thousands that do nothing, large values at full speed, a member that stands
//! still, one connection that wants everything, lists of everything. Memory stays under what the limits add up to, whoever is
//! not to blame is served on, and nobody loses its office.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::SendStream;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::harness::many::{Many, runtime, within};
use crate::harness::memory::{huge_pages, open_files, resident, resident_peak};
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::skip::skipped;
use crate::harness::{Client, Cluster, Outcome};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The largest value: 1.5 MiB.
const VALUE_BYTES_MAX: usize = 3 << 19;
/// A page of a list.
const LIST_BYTES_MAX: u64 = 4 * MIB;
/// What a leader has sent to one member, and what waits to be sent to it, at most.
const PEER_BYTES: u64 = 16 * MIB + 32 * MIB;

/// Small ones, so that what is over them shows.
const FLAGS: [&str; 6] =
    ["--request-bytes-inflight-max", "32MiB", "--write-set-bytes-max", "8MiB", "--store-cache-bytes", "8MiB"];
const REQUEST_BYTES: u64 = 32 * MIB;

/// What docs/operations.md, *Memory*, says that such a node of three has at most, with so many connections, while no state file comes
/// in or is rewritten.
fn memory_bound(connections: u64) -> u64 {
    let (proposals, uncommitted, cache, applying) = (64 * MIB, 64 * MIB, 16 * MIB, 16 * MIB);
    let (write_sets, pages) = (2 * 8 * MIB, 8 * MIB);
    let limits =
        REQUEST_BYTES + proposals + uncommitted + cache + applying + 2 * PEER_BYTES + write_sets + pages;
    (limits + connections * 32 * KIB) / 4 * 5 + 64 * MIB
}

/// Nodes with [`FLAGS`] and these, that have a leader.
struct Loaded {
    cluster: Cluster,
    leader: u64,
    term: u64,
}

impl Loaded {
    fn start(name: &str, nodes: u64, flags: &[&str]) -> Loaded {
        let mut cluster = Cluster::prepare(name, nodes, false);
        for id in cluster.ids() {
            let given = FLAGS.iter().chain(flags).map(|flag| (*flag).to_owned());
            cluster.node_mut(id).arguments.extend(given);
        }
        cluster.start_all();
        let leader = cluster.wait_ready();
        let term = cluster.client(leader).stats()["term"].as_u64().expect("a term");
        Loaded { cluster, leader, term }
    }

    fn client(&self) -> Client {
        self.cluster.client(self.leader)
    }

    fn address(&self) -> SocketAddr {
        self.cluster.node(self.leader).http.parse().expect("an address")
    }

    fn pid(&self) -> u32 {
        self.cluster.node(self.leader).pid()
    }

    /// A client that asks for little gets it, at the first attempt.
    fn assert_serves(&self, label: &str) {
        let client = self.client();
        for n in 0..20 {
            let (key, value) = (format!("{label}-{n}"), format!("value {n}"));
            let outcome = client.try_set(&key, &value, None);
            assert!(matches!(outcome, Outcome::Done(_)), "{label}, write {n}: {outcome:?}");
            assert_eq!(client.try_value(&key, None), Ok(Some(value)), "{label}, read {n}");
        }
    }

    /// Nobody has campaigned: heartbeats came in time. And nobody has, or had, more memory than `bound`.
    fn assert_calm(&mut self, bound: u64) {
        self.cluster.assert_all_alive();
        let stats = self.client().stats();
        assert_eq!(
            (stats["term"].as_u64(), stats["state"].as_str()),
            (Some(self.term), Some("leader")),
            "{stats}"
        );
        for id in self.cluster.ids() {
            let peak = resident_peak(self.cluster.node(id).pid());
            eprintln!("node {id}: {} MiB of {} MiB", peak / MIB, bound / MIB);
            assert!(peak <= bound, "node {id} had {} MiB, more than {} MiB", peak / MIB, bound / MIB);
        }
    }
}

/// A connection whose own side takes next to nothing.
fn deaf(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    socket.connect(&address.into()).expect("the node listens");
    socket.into()
}

/// The head of the answer that has begun to come in, which stays where it is.
fn peek_head(stream: &TcpStream) -> String {
    let mut buffer = [0; 1_024];
    poll_until("the head of an answer", PATIENCE, || {
        let len = stream.peek(&mut buffer).expect("the connection is open");
        assert!(len > 0, "the node closed the connection");
        let text = String::from_utf8_lossy(&buffer[..len]).to_lowercase();
        text.split_once("\r\n\r\n").map(|(head, _)| head.to_owned())
    })
}

/// Sends until the other side takes no more, at most so many times.
fn flood(stream: &mut TcpStream, request: &[u8], times: usize) {
    stream.set_nonblocking(true).expect("a socket");
    for _ in 0..times {
        match stream.write(request) {
            Ok(len) if len == request.len() => {}
            Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("the connection broke: {error}"),
            _ => return,
        }
    }
}

const LIST: &str = "GET /api/list?prefix=page-&consistency=stale HTTP/1.1\r\nhost: test\r\n\r\n";

#[test]
fn clients_that_ask_and_never_read_get_no_more_than_their_share() {
    const CLIENTS: u64 = 200;
    const PAIR_BYTES: u64 = 1_300_000;
    let mut loaded = Loaded::start("never-read", 3, &[]);
    let value = "x".repeat(usize::try_from(PAIR_BYTES).expect("small"));
    for key in ["page-a", "page-b", "page-c"] {
        loaded.client().set(key, &value);
    }

    let (mut streams, mut served) = (Vec::new(), 0);
    for _ in 0..CLIENTS {
        let mut stream = deaf(loaded.address());
        stream.write_all(LIST.as_bytes()).expect("the node reads");
        let head = peek_head(&stream);
        if head.starts_with("http/1.1 200") {
            served += 1;
        } else {
            assert!(head.starts_with("http/1.1 429") && head.contains("\r\nretry-after: "), "{head}");
        }
        streams.push(stream);
    }
    // All of them together are 744 MiB, far more than the bound.
    assert!(served > 0 && served * 3 * PAIR_BYTES <= REQUEST_BYTES, "{served} pages are kept for nobody");
    loaded.assert_serves("beside pages");

    let body = json!({"key": "flood", "value": "x".repeat(1_000)}).to_string();
    let head = "POST /api/set HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length";
    let request = format!("{head}: {}\r\n\r\n{body}", body.len());
    for stream in &mut streams {
        flood(stream, request.as_bytes(), 50);
    }
    loaded.assert_serves("beside floods");
    loaded.assert_calm(memory_bound(CLIENTS));
    drop(streams);
}

#[test]
fn ten_thousand_idle_connections_are_held_beside_one_that_works() {
    const IDLE: usize = 10_000;
    /// Besides: other tests' sockets, and what a node keeps for itself.
    const OTHERS: u64 = 2_500;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    if hard < IDLE as u64 + OTHERS {
        let why = format!("the hard limit of open files is {hard}");
        return skipped("load::ten_thousand_idle_connections", "12500 open files (ulimit -Hn)", &why);
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a process may raise its soft limit");
    let mut loaded = Loaded::start("idle", 3, &["--connections-max", "11000"]);
    let before = resident(loaded.pid());
    let mut streams = Vec::new();
    for n in 0..IDLE {
        let mut stream = TcpStream::connect(loaded.address()).expect("the node listens");
        // Every other one has asked something, and is kept for its next question.
        if n % 2 == 0 {
            stream.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").expect("the node reads");
        }
        streams.push(stream);
    }
    poll_until("all connections to be accepted", PATIENCE, || {
        (open_files(loaded.pid()) >= IDLE).then_some(())
    });
    loaded.assert_serves("beside the idle");
    assert!(loaded.client().is_ready());
    let more = resident_peak(loaded.pid()).saturating_sub(before);
    eprintln!("{} KiB for each connection", more / KIB / IDLE as u64);
    assert!(more <= IDLE as u64 * 32 * KIB, "{} KiB for each connection", more / KIB / IDLE as u64);
    loaded.assert_calm(memory_bound(IDLE as u64));
    drop(streams);
}

/// One attempt to set the largest value; says whether it was done.
fn set_large(client: &Client, key: &str, value: &str) -> bool {
    let body = json!({"key": key, "value": value}).to_string();
    let headers = [("content-type", "application/json"), ("x-quorate-timeout-ms", "11000")];
    let answer = client.request("POST", "/api/set", &headers, Some(body.as_bytes())).expect("an answer");
    match answer.status {
        200 => true,
        429 => {
            let seconds: u64 = answer.header("retry-after").parse().expect("a number of seconds");
            assert!(seconds > 0);
            answer.expect_problem(429);
            false
        }
        _ => panic!("set {key}: {}", answer.text()),
    }
}

#[test]
fn the_largest_values_at_full_speed_are_taken_or_refused_and_kept_nowhere() {
    const CLIENTS: u64 = 24;
    const EACH: u64 = 3;
    let mut loaded = Loaded::start("large", 3, &[]);
    let value = "x".repeat(VALUE_BYTES_MAX);
    let refused = AtomicU64::new(0);
    let ids = loaded.cluster.ids();
    thread::scope(|scope| {
        for n in 0..CLIENTS {
            // On all nodes: those that follow pass it on.
            let client = loaded.cluster.client(ids[usize::try_from(n).expect("small") % ids.len()]);
            let (value, refused) = (&value, &refused);
            scope.spawn(move || {
                for round in 0..EACH {
                    let key = format!("large-{n}-{round}");
                    poll_until(&format!("{key} to be taken"), PATIENCE, || {
                        let done = set_large(&client, &key, value);
                        refused.fetch_add(u64::from(!done), Ordering::Relaxed);
                        done.then_some(())
                    });
                }
            });
        }
    });
    eprintln!("{} were refused before", refused.into_inner());
    let client = loaded.client();
    assert_eq!(
        client.value(&format!("large-{}-{}", CLIENTS - 1, EACH - 1)).map(|value| value.len()),
        Some(value.len())
    );
    loaded.assert_calm(memory_bound(CLIENTS));
}

/// A request to set the largest value, its last byte apart.
fn upload(address: SocketAddr, key: &str, value: &str) -> (TcpStream, u8) {
    let body = json!({"key": key, "value": value}).to_string();
    let head = "POST /api/set HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\nx-quorate-timeout-ms: 60000";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (last, rest) = request.as_bytes().split_last().expect("a request");
    let mut stream = TcpStream::connect(address).expect("the node listens");
    stream.write_all(rest).expect("the node reads");
    (stream, *last)
}

/// Also the bodies that are still on their way: what cannot be kept is refused, and the refusal arrives.
#[test]
fn large_bodies_that_wait_for_their_end_are_kept_up_to_the_bound() {
    const UPLOADS: u64 = 40;
    let mut loaded = Loaded::start("uploads", 3, &[]);
    let value = "x".repeat(VALUE_BYTES_MAX);
    assert!(UPLOADS * VALUE_BYTES_MAX as u64 > REQUEST_BYTES);
    let mut uploads: Vec<(TcpStream, u8)> =
        (0..UPLOADS).map(|n| upload(loaded.address(), &format!("upload-{n}"), &value)).collect();
    let client = loaded.client();
    poll_until("one more to be refused", PATIENCE, || {
        (!set_large(&client, "one-more", &value)).then_some(())
    });
    loaded.assert_serves("beside uploads");
    for (stream, last) in &mut uploads {
        stream.write_all(&[*last]).expect("the node reads to the end");
    }
    let heads: Vec<String> = uploads.iter().map(|(stream, _)| peek_head(stream)).collect();
    let with =
        |status: &str| heads.iter().filter(|head| head.starts_with(&format!("http/1.1 {status}"))).count();
    assert_eq!(with("200") + with("429"), heads.len(), "{heads:?}");
    assert!(with("200") > 0 && with("200") as u64 * VALUE_BYTES_MAX as u64 <= REQUEST_BYTES, "{heads:?}");
    // All that was held is free again.
    poll_until("one more to be taken", PATIENCE, || set_large(&client, "one-more", &value).then_some(()));
    loaded.assert_calm(memory_bound(UPLOADS));
}

/// Writes that are all acknowledged, each at the first attempt.
fn write_megabytes(loaded: &Loaded, label: &str, count: u64) {
    const THREADS: u64 = 4;
    let value = "x".repeat(usize::try_from(MIB).expect("small"));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (client, value) = (loaded.client(), &value);
            scope.spawn(move || {
                for n in (thread..count).step_by(usize::try_from(THREADS).expect("small")) {
                    let outcome = client.try_set(&format!("{label}-{}", n % 16), value, None);
                    assert!(matches!(outcome, Outcome::Done(_)), "{label}, write {n}: {outcome:?}");
                }
            });
        }
    });
}

#[test]
fn a_member_that_stands_still_costs_its_leader_a_window_and_the_others_nothing() {
    const MEGABYTES: u64 = 120;
    let mut loaded = Loaded::start("still", 3, &["--log-tail-bytes-max", "64MiB"]);
    write_megabytes(&loaded, "all", MEGABYTES);
    let usual = resident_peak(loaded.pid());
    let still = loaded.cluster.ids_without(&[loaded.leader])[0];
    loaded.cluster.node(still).pause();
    write_megabytes(&loaded, "two", MEGABYTES);
    loaded.assert_serves("beside one that stands still");
    let peak = resident_peak(loaded.pid());
    eprintln!("{} MiB, and {} MiB with a member that stands still", usual / MIB, peak / MIB);
    // What the leader has for that one, and an eighth of what it had for what is never the same twice.
    assert!(peak <= usual + usual / 8 + PEER_BYTES, "{} MiB, and {} MiB before", peak / MIB, usual / MIB);
    loaded.cluster.node(still).resume();
    let last = loaded.client().stats()["last_index"].as_u64().expect("an index");
    loaded.cluster.wait_applied(still, last);
    loaded.assert_calm(memory_bound(4));
}

#[test]
fn a_connection_that_wants_everything_leaves_room_for_one_that_wants_little() {
    const ALL: usize = 64;
    let mut loaded = Loaded::start("greedy", 1, &["--requests-inflight-max", "64"]);
    let address = loaded.cluster.node(1).http.clone();
    runtime().block_on(async {
        let greedy = Many::connect(&address).await;
        let mut bodies: BTreeMap<usize, SendStream<Bytes>> = BTreeMap::new();
        let mut answers = FuturesUnordered::new();
        // None of them is done before its body is there.
        for n in 0..ALL {
            let (response, body) = greedy.begin_set().await;
            bodies.insert(n, body);
            answers.push(async move { (n, response.await.expect("an answer")) });
        }
        for _ in 0..ALL / 2 {
            let (n, refused) =
                within("half of them to be refused", answers.next()).await.expect("there are more");
            assert_eq!(refused.status(), 429);
            assert!(refused.headers().contains_key("retry-after"), "{refused:?}");
            bodies.remove(&n);
        }
        // Its own connections; this thread's other tasks have nothing to do meanwhile.
        loaded.assert_serves("beside the greedy one");
        for (n, body) in &mut bodies {
            body.send_data(Many::set_body(&format!("greedy-{n}"), "v"), true).expect("connected");
        }
        while let Some((n, done)) = within("the other half to be done", answers.next()).await {
            assert_eq!(done.status(), 200, "request {n}");
        }
    });
    loaded.assert_calm(memory_bound(2));
}

/// A huge page counts as a whole for whoever uses a byte of it: no bound would mean anything.
#[test]
fn a_node_takes_no_huge_pages() {
    let loaded = Loaded::start("pages-small", 1, &[]);
    // Where the kernel gives them to who does not ask, the first come before a program can say no.
    let first = huge_pages(loaded.pid());
    write_megabytes(&loaded, "some", 16);
    let now = huge_pages(loaded.pid());
    assert!(now <= first, "{now} bytes, and {first} at first");
}

#[test]
fn a_list_of_everything_comes_in_pages_and_is_nowhere_as_a_whole() {
    const KEYS: usize = 20_000;
    const VALUE: usize = 2_000;
    let mut loaded = Loaded::start("pages", 1, &[]);
    let address = loaded.cluster.node(1).http.clone();
    let value = "x".repeat(VALUE);
    runtime().block_on(async {
        let many = Many::connect(&address).await;
        let pairs = (0..KEYS).map(|n| (format!("key-{n:08}"), value.clone()));
        many.set_all(pairs, 100).await;
    });
    let usual = resident_peak(loaded.pid());
    let (client, mut after, mut found) = (loaded.client(), String::new(), 0);
    loop {
        let page = client.get(&format!("/api/list?prefix=key-&limit=10000&after={after}")).expect(200);
        assert!(page.body.len() as u64 <= LIST_BYTES_MAX + MIB, "a page of {} bytes", page.body.len());
        let page = page.json();
        for pair in page["pairs"].as_array().expect("pairs") {
            assert_eq!(pair["key"], format!("key-{found:08}"), "every key once, in order");
            found += 1;
        }
        if page["more"] == false {
            break;
        }
        after = format!("key-{:08}", found - 1);
    }
    assert_eq!(found, KEYS);
    let peak = resident_peak(loaded.pid());
    eprintln!("{} MiB, and {} MiB with lists", usual / MIB, peak / MIB);
    // A page as it is read, as JSON while that grows, and on its way out.
    assert!(peak <= usual + 6 * LIST_BYTES_MAX, "{} MiB, and {} MiB before", peak / MIB, usual / MIB);
    loaded.assert_calm(memory_bound(1));
}
