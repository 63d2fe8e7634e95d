//! The simulation itself under test, with a store small enough to be judged by eye in the place of the product: one
//! node, one file, one line a write. Right, it passes; wrong in a known way, the oracle says so.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use quorate::node::executor::Lane;
use quorate::wal::fs::{File, Fs};
use quorate_sim::cluster::scenarios;
use quorate_sim::cluster::world::{self, Boot, DATA_DIR, Options, Report, Software};
use serde_json::{Value, json};

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    None,
    /// It answers before the write is durable.
    NoSync,
    /// It never makes its file's name durable.
    NoDirectorySync,
    /// It answers every tenth read from the past.
    StaleReads,
    /// It takes the time from the machine.
    RealTime,
    /// It executes a conditional write though the condition does not hold, now and then.
    IgnoredConditions,
    /// It says that it deleted a key, and did not.
    IdleDeletes,
    /// It leaves the second key of a list out.
    SkippedKeys,
    /// Its lists show the first key as it was a while ago.
    MixedLists,
    /// It gives two writes the same revision.
    ReusedRevisions,
    /// It says of a write that it was not applied, and it was.
    DeniedWrites,
    /// It acknowledges a write, and forgets it.
    DroppedWrites,
    /// It panics.
    Panics,
}

struct Store {
    bug: Bug,
    log: Box<dyn File>,
    end: u64,
    /// Every change: a key, and its value or that it was deleted.
    lines: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    reads: u64,
    writes: u64,
}

impl Store {
    fn open(boot: &Boot, bug: Bug) -> std::io::Result<Store> {
        let path = PathBuf::from(DATA_DIR).join("log");
        quorate::wal::fs::make_dirs(&boot.fs, Path::new(DATA_DIR))?;
        let mut lines = Vec::new();
        let mut end = 0;
        let log: Box<dyn File> = match boot.fs.open(&path) {
            Ok(log) => {
                let bytes = quorate::wal::fs::read_all(&boot.fs, &path)?;
                for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                    let Some(pair) = parse(line) else { break };
                    lines.push(pair);
                    end += line.len() as u64;
                }
                log.set_len(end)?;
                log.sync()?;
                // Of a process that was killed before it had done so.
                if bug != Bug::NoDirectorySync {
                    boot.fs.sync_dir(Path::new(DATA_DIR))?;
                }
                log
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let log = boot.fs.create(&path)?;
                if bug != Bug::NoDirectorySync {
                    boot.fs.sync_dir(Path::new(DATA_DIR))?;
                }
                log
            }
            Err(error) => return Err(error),
        };
        Ok(Store { bug, log, end, lines, reads: 0, writes: 0 })
    }

    fn write(&mut self, key: &[u8], value: Option<&[u8]>) -> std::io::Result<u64> {
        self.writes += 1;
        assert!(self.bug != Bug::Panics || self.writes < 20, "the twentieth write");
        if (self.bug == Bug::DroppedWrites && self.writes.is_multiple_of(20))
            || (self.bug == Bug::IdleDeletes && value.is_none())
        {
            return Ok(self.revision() + 1);
        }
        let value_text = value.map_or("-".to_owned(), |value| STANDARD.encode(value));
        let text = format!("{} {value_text}", STANDARD.encode(key));
        let line = format!("{text} {:016x}\n", checksum(&text));
        self.log.write_at(self.end, line.as_bytes())?;
        if self.bug != Bug::NoSync {
            self.log.sync()?;
        }
        self.end += line.len() as u64;
        self.lines.push((key.to_vec(), value.map(<[u8]>::to_vec)));
        let is_reused = self.bug == Bug::ReusedRevisions && self.writes.is_multiple_of(20);
        Ok(self.revision() - u64::from(is_reused))
    }

    /// What the key is and its revision, as of the first `lines` lines.
    fn find(&self, key: &[u8], lines: usize) -> Option<(&[u8], usize)> {
        let at = self.lines[..lines].iter().rposition(|(known, _)| known == key)?;
        self.lines[at].1.as_ref().map(|value| (value.as_slice(), at + 2))
    }

    fn holds(&self, key: &[u8], condition: Option<u64>) -> bool {
        let revision = self.find(key, self.lines.len()).map_or(0, |(_, revision)| revision as u64);
        let is_ignored = self.bug == Bug::IgnoredConditions && self.lines.len().is_multiple_of(2);
        condition.is_none_or(|condition| condition == revision || is_ignored)
    }

    fn get(&mut self, key: &[u8]) -> Value {
        self.reads += 1;
        let back = usize::from(self.bug == Bug::StaleReads && self.reads.is_multiple_of(10)) * 30;
        match self.find(key, self.lines.len().saturating_sub(back)) {
            Some((value, revision)) => {
                let value = STANDARD.encode(value);
                json!({ "value": value, "encoding": "base64", "found": true, "revision": revision })
            }
            None => json!({ "value": null, "found": false }),
        }
    }

    fn list(&self, prefix: &[u8], after: &[u8], limit: usize) -> Value {
        let keys: BTreeSet<&[u8]> = self.lines.iter().map(|(key, _)| key.as_slice()).collect();
        let mut pairs: Vec<Value> = keys
            .into_iter()
            .filter(|key| key.starts_with(prefix) && *key > after)
            .filter_map(|key| {
                let (mut value, mut revision) = self.find(key, self.lines.len())?;
                if self.bug == Bug::MixedLists && key.starts_with(b"hot/0") {
                    (value, revision) = self.find(key, self.lines.len() * 9 / 10)?;
                }
                let (key, value) = (STANDARD.encode(key), STANDARD.encode(value));
                Some(json!({ "key": key, "value": value, "encoding": "base64", "revision": revision }))
            })
            .collect();
        if self.bug == Bug::SkippedKeys && pairs.len() > 1 {
            pairs.remove(1);
        }
        let more = pairs.len() > limit;
        pairs.truncate(limit);
        json!({ "pairs": pairs, "more": more })
    }

    fn revision(&self) -> u64 {
        self.lines.len() as u64 + 1
    }
}

fn parse(line: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (text, sum) = text.rsplit_once(' ')?;
    let (key, value) = text.split_once(' ')?;
    if sum != format!("{:016x}", checksum(text)) {
        return None;
    }
    let value = if value == "-" { None } else { Some(STANDARD.decode(value).ok()?) };
    Some((STANDARD.decode(key).ok()?, value))
}

/// The fields of a request: from its body, or from its query.
fn fields(query: Option<&str>, body: &[u8]) -> BTreeMap<String, String> {
    if let Ok(Value::Object(fields)) = serde_json::from_slice(body) {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        return fields.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    }
    let pairs = query.unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), unescape(value))).collect()
}

fn unescape(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or("").as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).expect("two digits follow a percent sign"));
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).expect("queries are text")
}

fn checksum(text: &str) -> u64 {
    text.bytes().fold(7, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[allow(clippy::disallowed_methods, reason = "one of the bugs is to take the time from the machine")]
async fn answer(
    store: Rc<RefCell<Store>>,
    lane: Lane,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, String> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    // The way through the lane makes requests overlap, as they do in earnest.
    lane.run(|| ()).await.ok_or("no lane")?;
    let fields = fields(parts.uri.query(), &body);
    let text = |name: &str| fields.get(name).map_or("", String::as_str);
    let bytes = |name: &str| match text("encoding") {
        "base64" => STANDARD.decode(text(name)).expect("the client writes base64"),
        _ => text(name).as_bytes().to_vec(),
    };
    let condition: Option<u64> = text("if_revision").parse().ok();
    let (mut status, key) = (StatusCode::OK, bytes("key"));
    let answer = match (parts.method, parts.uri.path()) {
        (Method::POST | Method::DELETE, _) if !store.borrow().holds(&key, condition) => {
            status = StatusCode::PRECONDITION_FAILED;
            json!({ "outcome": "not_applied" })
        }
        (Method::POST, "/api/set") => {
            let revision = store.borrow_mut().write(&key, Some(&bytes("value")));
            let store = store.borrow();
            if store.bug == Bug::DeniedWrites && store.writes.is_multiple_of(20) {
                status = StatusCode::SERVICE_UNAVAILABLE;
            }
            let revision = revision.map_err(|error| error.to_string())?;
            json!({ "success": true, "revision": revision, "outcome": "not_applied" })
        }
        (Method::DELETE, "/api/delete") => {
            let mut store = store.borrow_mut();
            let existed = store.find(&key, store.lines.len()).is_some();
            let revision = if existed { store.write(&key, None) } else { Ok(store.revision()) };
            let revision = revision.map_err(|error| error.to_string())?;
            json!({ "success": true, "deleted": existed, "revision": revision })
        }
        (_, "/api/get") => store.borrow_mut().get(&key),
        (_, "/api/list") => {
            let limit = text("limit").parse().unwrap_or(usize::MAX);
            store.borrow().list(&bytes("prefix"), &bytes("after"), limit)
        }
        _ => json!({ "leader_id": 1, "term": 1, "state": "leader" }),
    };
    let mut response =
        Response::builder().status(status).header("x-quorate-revision", store.borrow().revision());
    if store.borrow().bug == Bug::RealTime {
        let thread =
            std::thread::spawn(|| std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH));
        let now = thread.join().expect("it ends").expect("after the epoch");
        response = response.header("x-time", now.as_nanos().to_string());
    }
    response.body(Full::new(Bytes::from(answer.to_string()))).map_err(|error| error.to_string())
}

async fn serve(mut boot: Boot, bug: Bug) -> Result<(), String> {
    let store = Store::open(&boot, bug).map_err(|error| error.to_string())?;
    let store = Rc::new(RefCell::new(store));
    let mut listener = boot.net.bind("0.0.0.0:8081").await.map_err(|error| error.to_string())?;
    let lane = Lane::open(&*boot.executor, "toy");
    loop {
        let (stream, _) = tokio::select! {
            biased;
            () = &mut boot.shutdown => return Ok(()),
            accepted = listener.accept() => accepted.map_err(|error| error.to_string())?,
        };
        let (store, lane) = (store.clone(), lane.clone());
        let service = service_fn(move |request| answer(store.clone(), lane.clone(), request));
        tokio::task::spawn_local(async move {
            let builder = &mut hyper::server::conn::http1::Builder::new();
            drop(builder.auto_date_header(false).serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

fn run(seed: u64, bug: Bug) -> Report {
    let software: Software = Arc::new(move |boot| Box::pin(serve(boot, bug)));
    let options = Options { seed, nodes: 1, trace: None, log: false };
    world::run(&options, &software, scenarios::find("story").expect("it exists").play)
}

/// The first violation that `seeds` seeds find.
fn found(bug: Bug, seeds: u64) -> Option<String> {
    (0..seeds).find_map(|seed| run(seed, bug).violation)
}

#[test]
fn a_right_store_passes_and_repeats_exactly() {
    for seed in 0..3 {
        let report = run(seed, Bug::None);
        assert_eq!(report.violation, None, "seed {seed}");
        assert!(report.counters["acked"] > 50, "too little happened: {:?}", report.counters);
        assert!(report.counters["crashes"] >= 2, "too little happened: {:?}", report.counters);
        assert_eq!(run(seed, Bug::None).hash, report.hash, "seed {seed} repeats exactly");
    }
    assert_ne!(run(0, Bug::None).hash, run(1, Bug::None).hash, "another seed is another run");
}

#[test]
fn an_answer_before_the_sync_is_found() {
    let violation = found(Bug::NoSync, 20).expect("un-synced writes were acknowledged");
    let judges = ["lost write:", "stale read:", "revisions:", "phantom:", "conditions:", "lists:"];
    assert!(judges.iter().any(|judge| violation.starts_with(judge)), "{violation}");
}

#[test]
fn a_name_that_is_not_synced_is_found() {
    found(Bug::NoDirectorySync, 20).expect("the file's name was lost with all in it");
}

#[test]
fn a_stale_read_is_found() {
    // A seed may also meet it as late as the final scan, as a write that seems lost: both are right, but a client that
    // reads on the way must see it for what it is.
    let violations: Vec<String> = (0..10).filter_map(|seed| run(seed, Bug::StaleReads).violation).collect();
    assert!(!violations.is_empty(), "no read went back");
    assert!(violations.iter().any(|violation| violation.contains("stale read")), "never on the way");
    let right =
        |violation: &String| violation.starts_with("stale read:") || violation.starts_with("lost write:");
    assert!(violations.iter().all(right), "another verdict");
}

/// Every lie to a client is found in the first seed, and by the judge whose matter it is.
#[test]
fn lies_to_clients_are_found() {
    for (bug, judges) in [
        (Bug::IgnoredConditions, &["conditions:"][..]),
        (Bug::IdleDeletes, &["stale read:", "revisions:"]),
        (Bug::SkippedKeys, &["lost write:", "lists:"]),
        (Bug::MixedLists, &["stale read:", "lost write:"]),
        (Bug::ReusedRevisions, &["revisions:"]),
        (Bug::DeniedWrites, &["phantom:", "revisions:"]),
        (Bug::DroppedWrites, &["stale read:", "revisions:", "lost write:"]),
    ] {
        let violation = run(1, bug).violation.unwrap_or_else(|| panic!("{bug:?} was not noticed"));
        assert!(judges.iter().any(|judge| violation.starts_with(judge)), "{bug:?}: {violation}");
    }
}

/// In its own words, with what had happened by then.
#[test]
fn a_panic_is_found() {
    let report = run(1, Bug::Panics);
    let violation = report.violation.expect("a task panicked");
    assert!(violation.starts_with("panic: ") && violation.contains("the twentieth write"), "{violation}");
    assert!(report.counters["acked"] > 0 && !report.simulated.is_zero(), "{:?}", report.counters);
}

#[test]
fn real_time_in_an_answer_changes_the_hash() {
    assert_ne!(run(0, Bug::RealTime).hash, run(0, Bug::RealTime).hash);
}
