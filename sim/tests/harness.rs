//! The simulation itself under test, with a store small enough to be judged by eye in the place of the product: one
//! node, one file, one line a write. Right, it passes; wrong in a known way, the oracle says so.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
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
#[derive(Clone, Copy, PartialEq)]
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
}

struct Store {
    bug: Bug,
    log: Box<dyn File>,
    end: u64,
    lines: Vec<(String, String)>,
    reads: u64,
}

impl Store {
    fn open(boot: &Boot, bug: Bug) -> std::io::Result<Store> {
        let path = PathBuf::from(DATA_DIR).join("log");
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
        Ok(Store { bug, log, end, lines, reads: 0 })
    }

    fn set(&mut self, key: &str, value: &str) -> std::io::Result<u64> {
        let text = format!("{key} {value}");
        let line = format!("{text} {:016x}\n", checksum(&text));
        self.log.write_at(self.end, line.as_bytes())?;
        if self.bug != Bug::NoSync {
            self.log.sync()?;
        }
        self.end += line.len() as u64;
        self.lines.push((key.to_owned(), value.to_owned()));
        Ok(self.revision())
    }

    fn get(&mut self, key: &str) -> Value {
        self.reads += 1;
        let back = usize::from(self.bug == Bug::StaleReads && self.reads.is_multiple_of(10)) * 30;
        let seen = &self.lines[..self.lines.len().saturating_sub(back)];
        match seen.iter().rposition(|(known, _)| known == key) {
            Some(at) => json!({ "value": seen[at].1, "found": true, "revision": at + 2 }),
            None => json!({ "value": null, "found": false }),
        }
    }

    fn revision(&self) -> u64 {
        self.lines.len() as u64 + 1
    }
}

fn parse(line: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (text, sum) = text.rsplit_once(' ')?;
    let (key, value) = text.split_once(' ')?;
    (sum == format!("{:016x}", checksum(text))).then(|| (key.to_owned(), value.to_owned()))
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
    let answer = match (parts.method, parts.uri.path()) {
        (Method::POST, "/api/set") => {
            let body: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            let (key, value) = (body["key"].as_str().unwrap_or(""), body["value"].as_str().unwrap_or(""));
            let revision = store.borrow_mut().set(key, value).map_err(|error| error.to_string())?;
            json!({ "success": true, "revision": revision })
        }
        (_, "/api/get") => {
            let query = parts.uri.query().unwrap_or("");
            let key = query.split('&').find_map(|pair| pair.strip_prefix("key=")).unwrap_or("");
            store.borrow_mut().get(key)
        }
        _ => json!({ "leader_id": 1, "term": 1, "state": "leader" }),
    };
    let mut response = Response::builder().header("x-quorate-revision", store.borrow().revision());
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
    assert!(violation.contains("lost write") || violation.contains("revision"), "{violation}");
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
    let right = |violation: &String| violation.contains("stale read") || violation.contains("lost write");
    assert!(violations.iter().all(right), "another verdict");
}

#[test]
fn real_time_in_an_answer_changes_the_hash() {
    assert_ne!(run(0, Bug::RealTime).hash, run(0, Bug::RealTime).hash);
}
