//! The trace: a running hash of all that happens in a run, and counters of it.
//!
//! Recorded are every stretch of bytes that a node or a client reads from a connection, every disk call with its
//! bytes, every job of a lane and its completion, every log line of a node at level info or above (role changes are
//! among them), every client request with its outcome, every fault. Each with its simulated instant and its node. Two
//! runs with the same hash did the same things at the same times; that is what the determinism test compares.
//!
//! The hash is std's SipHash with its fixed keys: the same on every machine for one toolchain, and compiled with
//! optimisation also where this crate is not.
//!
//! A run can be looked at in two ways, by the name of the file that is asked for. As *text*, each record and each
//! [`event`] is a line with the hash so far at its end, so that the first line where two runs differ names the call
//! that made them differ. As a page, if the name ends in `.html`, events are gathered and drawn. The hash does not
//! depend on whether anybody looks.

pub mod event;
pub mod message;
mod page;
pub mod recording;
mod text;

use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::Violation;
use crate::run::Counters;

use self::event::{Event, What};
use self::recording::Recording;

/// A run's trace.
#[derive(Debug)]
pub struct Trace {
    now: Now,
    is_shown: bool,
    inner: Mutex<Inner>,
}

/// Tells the simulated time.
pub type Now = fn() -> Duration;

/// A trace, shared by all parts of a run.
pub type SharedTrace = Arc<Trace>;

/// What was run and what became of it, for whoever looks at the trace.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `core` or `cluster`.
    pub simulator: &'static str,
    /// The seed.
    pub seed: u64,
    /// What to type to see it again.
    pub command: String,
    /// What happened, and how often, besides what the trace itself has counted.
    pub counters: Counters,
    /// How often each kind of fault fired, where the simulator counts them apart.
    pub faults: Counters,
    /// What went wrong, if anything.
    pub violation: Option<Violation>,
}

#[derive(Debug)]
struct Inner {
    hasher: DefaultHasher,
    /// Whether nothing is recorded just now.
    muted: bool,
    counters: Counters,
    about: About,
    /// The latest instant of anything.
    latest: Duration,
    is_violated: bool,
    sink: Sink,
}

/// Where what happens is shown.
#[derive(Debug)]
enum Sink {
    Nowhere,
    Text { file: BufWriter<File>, error: Option<io::Error> },
    Page { file: File, recording: Box<Recording> },
}

impl Trace {
    /// An empty trace of a run whose time `now` tells; with `path`, one that is shown in that file: as a page if its name
    /// ends in `.html`, else as text.
    pub fn new(now: Now, path: Option<&Path>) -> io::Result<SharedTrace> {
        let sink = match path {
            None => Sink::Nowhere,
            Some(path) if path.extension().is_some_and(|ending| ending == "html") => {
                Sink::Page { file: File::create(path)?, recording: Box::default() }
            }
            Some(path) => Sink::Text { file: BufWriter::new(File::create(path)?), error: None },
        };
        let inner = Inner {
            hasher: DefaultHasher::new(),
            muted: false,
            counters: Counters::new(),
            about: About::default(),
            latest: Duration::ZERO,
            is_violated: false,
            sink,
        };
        Ok(Arc::new(Trace { now, is_shown: path.is_some(), inner: Mutex::new(inner) }))
    }

    /// Whether anybody looks: if not, what is only for [`Trace::event`] need not be kept.
    pub fn is_shown(&self) -> bool {
        self.is_shown
    }

    /// Records that `node` did `kind`; `what` says it in words, `bytes` are what went through.
    pub fn record(&self, node: &str, kind: &'static str, what: fmt::Arguments<'_>, bytes: &[u8]) {
        // Hosts take turns within a step: the second's record may be of an earlier instant than the first's.
        let at = (self.now)();
        let line = format!("{node} {kind} {what}");
        let mut inner = self.lock();
        if inner.muted {
            return;
        }
        *inner.counters.entry(kind).or_default() += 1;
        inner.latest = inner.latest.max(at);
        inner.hasher.write_u128(at.as_nanos());
        inner.hasher.write_usize(line.len());
        inner.hasher.write(line.as_bytes());
        inner.hasher.write_usize(bytes.len());
        inner.hasher.write(bytes);
        inner.write_line(at, node, kind, format_args!("{what} len={}", bytes.len()));
    }

    /// Takes something into the hash without putting it in words: for what happens too often to be formatted.
    pub fn absorb(&self, what: &impl Hash) {
        let at = (self.now)();
        let mut inner = self.lock();
        if !inner.muted {
            inner.hasher.write_u128(at.as_nanos());
            what.hash(&mut inner.hasher);
        }
    }

    /// Shows something to whoever looks; the hash does not know of it.
    pub fn event(&self, node: u64, what: impl FnOnce() -> What) {
        if !self.is_shown {
            return;
        }
        let at = (self.now)();
        let mut inner = self.lock();
        if !inner.muted {
            inner.show(Event { at, node, what: what() });
        }
    }

    /// Says what the run was, once it is over. A violation that no event told is shown at its end.
    pub fn describe(&self, about: About) {
        let mut inner = self.lock();
        if let (Some(text), false) = (about.violation.clone(), inner.is_violated) {
            // Whoever asks may be outside the run, where there is no simulated time.
            let at = inner.latest;
            inner.show(Event { at, node: 0, what: What::Violation { text } });
        }
        inner.about = about;
    }

    /// Records nothing until further notice: destructors are about to run.
    pub fn mute(&self, muted: bool) {
        self.lock().muted = muted;
    }

    /// Adds to a counter that is not part of the hash by itself.
    pub fn count(&self, counter: &'static str, by: u64) {
        *self.lock().counters.entry(counter).or_default() += by;
    }

    /// The hash of all that was recorded so far.
    pub fn hash(&self) -> u64 {
        self.lock().hasher.finish()
    }

    /// The counters: how often each kind was recorded.
    pub fn counters(&self) -> Counters {
        self.lock().counters.clone()
    }

    /// Writes out what is to be shown; an error that was met on the way comes back here. After it nothing is shown.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.lock();
        match std::mem::replace(&mut inner.sink, Sink::Nowhere) {
            Sink::Nowhere => Ok(()),
            Sink::Text { error: Some(error), .. } => Err(error),
            Sink::Text { mut file, error: None } => file.flush(),
            Sink::Page { file, recording } => {
                let mut out = BufWriter::new(file);
                let mut counters = inner.counters.clone();
                counters.extend(&inner.about.counters);
                let header =
                    page::Header { about: &inner.about, hash: inner.hasher.finish(), counters: &counters };
                page::write(&mut out, &header, &recording)?;
                out.flush()
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while recording is the run's failure already; the counters stay readable for its report.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn show(&mut self, event: Event) {
        self.latest = self.latest.max(event.at);
        self.is_violated |= matches!(event.what, What::Violation { .. });
        match &mut self.sink {
            Sink::Nowhere => {}
            Sink::Page { recording, .. } => recording.push(event),
            Sink::Text { .. } => {
                // What a record of the same kind says already is not said twice.
                let kind = event.what.kind();
                if !self.counters.contains_key(kind) {
                    self.write_line(
                        event.at,
                        &text::node_name(event.node),
                        kind,
                        format_args!("{}", event.what),
                    );
                }
            }
        }
    }

    fn write_line(&mut self, at: Duration, node: &str, kind: &str, what: fmt::Arguments<'_>) {
        let hash = self.hasher.finish();
        let Sink::Text { file, error } = &mut self.sink else { return };
        let at = at.as_secs_f64();
        if let Err(failed) = writeln!(file, "{at:>12.6} {node:<8} {kind:<10} {what} => {hash:016x}") {
            error.get_or_insert(failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::event::Fate;

    fn trace(records: &[(&str, &[u8])]) -> u64 {
        let trace = Trace::new(Duration::default, None).expect("no sink to fail");
        for (what, bytes) in records {
            trace.record("node1", "write", format_args!("{what}"), bytes);
        }
        trace.hash()
    }

    #[test]
    fn the_hash_depends_on_every_byte_and_every_border() {
        assert_eq!(trace(&[("a", b"xy")]), trace(&[("a", b"xy")]));
        assert_ne!(trace(&[("a", b"xy")]), trace(&[("a", b"xz")]));
        assert_ne!(trace(&[("a", b"xy")]), trace(&[("a", b"x"), ("", b"y")]));
        assert_ne!(trace(&[("ab", b"")]), trace(&[("a", b"b")]));
    }

    #[test]
    fn kinds_are_counted() {
        let trace = Trace::new(Duration::default, None).expect("no sink to fail");
        trace.record("node1", "sync", format_args!("log"), &[]);
        trace.record("node2", "sync", format_args!("log"), &[]);
        trace.count("acked", 3);
        assert_eq!(trace.counters(), Counters::from([("acked", 3), ("sync", 2)]));
    }
    /// A file that is gone when the test ends.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            Scratch(std::env::temp_dir().join(format!("quorate-{}-{name}", std::process::id())))
        }

        fn text(&self) -> String {
            std::fs::read_to_string(&self.0).expect("the trace was written")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// One of each, in the order of a run.
    fn play(trace: &Trace) {
        trace.event(1, || What::Booted);
        trace.event(1, || What::State {
            role: "candidate",
            term: 1,
            leader: None,
            last: 0,
            persisted: 0,
            commit: 0,
            applied: 0,
            why: Some("election timeout"),
        });
        let (name, fields) = ("Vote", "last 0@0".to_owned());
        trace.event(1, || What::Sent { message: 1, to: 2, name, term: 1, fields });
        trace.event(2, || What::Delivered { message: 1 });
        trace.event(1, || What::Lost { message: 2, why: "cut" });
        trace.event(0, || What::Fault { fault: "cut", text: "1 from 3".to_owned() });
        trace.event(0, || What::Cured { fault: "cut", text: String::new() });
        trace.record("node1", "sync", format_args!("/data/wal"), &[]);
        trace.event(1, || What::Disk { call: "sync", text: "/data/wal".to_owned(), bytes: 0 });
        trace.event(1, || What::Disk { call: "write", text: "/data/wal at 0".to_owned(), bytes: 512 });
        trace.event(1, || What::Log { text: "started".to_owned() });
        let operation = "set a=1".to_owned();
        trace.event(0, || What::Begun { request: 1, client: 4, to: 2, operation });
        trace.event(0, || What::Ended { request: 1, outcome: Fate::Done, answer: "revision 2".to_owned() });
        trace.event(1, || What::Down { why: "crash".to_owned() });
        let violation = Some("two leaders in term 1".to_owned());
        trace.describe(About { simulator: "core", seed: 7, violation, ..About::default() });
        trace.flush().expect("the file was written");
    }

    #[test]
    fn text_has_a_line_for_each_thing_that_happened() {
        let file = Scratch::new("golden.txt");
        play(&Trace::new(Duration::default, Some(&file.0)).expect("a file"));
        let text = file.text();
        let lines: Vec<&str> = text.lines().map(|line| line.split(" => ").next().unwrap_or(line)).collect();
        assert_eq!(
            lines,
            [
                "    0.000000 node1    boot       ",
                "    0.000000 node1    state      candidate, term 1, leader unknown, last 0, persisted 0, commit 0, \
                 applied 0 (election timeout)",
                "    0.000000 node1    sent       #1 to node2, term 1: Vote: last 0@0",
                "    0.000000 node2    delivered  #1",
                "    0.000000 node1    lost       #2: cut",
                "    0.000000 world    fault      cut: 1 from 3",
                "    0.000000 world    cured      cut",
                "    0.000000 node1    sync       /data/wal len=0",
                "    0.000000 node1    write      /data/wal at 0 len=512",
                "    0.000000 node1    log        started",
                "    0.000000 world    begun      request 1 of client4 to node2: set a=1",
                "    0.000000 world    ended      request 1: done: revision 2",
                "    0.000000 node1    down       crash",
                "    0.000000 world    violation  two leaders in term 1",
            ]
        );
    }

    #[test]
    fn whether_anybody_looks_does_not_change_the_hash() {
        let (text, page) = (Scratch::new("same.txt"), Scratch::new("same.html"));
        let hashes = [None, Some(text.0.as_path()), Some(page.0.as_path())].map(|path| {
            let trace = Trace::new(Duration::default, path).expect("a file");
            play(&trace);
            trace.hash()
        });
        assert_eq!((hashes[0], hashes[0]), (hashes[1], hashes[2]));
        let page = page.text();
        assert!(page.starts_with("<!doctype html>") && page.contains("two leaders in term 1"));
    }

    #[test]
    fn nothing_is_put_in_words_for_nobody() {
        let trace = Trace::new(Duration::default, None).expect("no sink to fail");
        trace.event(1, || unreachable!("nobody looks"));
    }

    #[test]
    fn what_destructors_do_is_not_shown() {
        let file = Scratch::new("muted.txt");
        let trace = Trace::new(Duration::default, Some(&file.0)).expect("a file");
        trace.mute(true);
        trace.event(1, || What::Booted);
        trace.record("node1", "sync", format_args!("log"), &[]);
        trace.flush().expect("the file was written");
        assert_eq!(file.text(), "");
    }
}
