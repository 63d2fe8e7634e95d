//! The trace: a running hash of all that happens in a run, and counters of it.
//!
//! Recorded are every stretch of bytes that a node or a client reads from a connection, every disk call with its
//! bytes, every job of a lane and its completion, every log line of a node at level info or above (role changes are
//! among them), every client request with its outcome, every fault. Each with its simulated instant and its node. Two
//! runs with the same hash did the same things at the same times; that is what the determinism test compares.
//!
//! The hash is std's SipHash with its fixed keys: the same on every machine for one toolchain, and compiled with
//! optimisation also where this crate is not. With a sink each record also becomes a text line with the hash after
//! it, so that the first line where two runs differ names the call that made them differ.

pub mod event;
pub mod message;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use self::event::{Event, What};

/// A run's trace.
#[derive(Debug)]
pub struct Trace {
    now: Now,
    inner: Mutex<Inner>,
}

/// Tells the simulated time.
pub type Now = fn() -> Duration;

/// A trace, shared by all parts of a run.
pub type SharedTrace = Arc<Trace>;

#[derive(Debug)]
struct Inner {
    hasher: DefaultHasher,
    /// Whether nothing is recorded just now.
    muted: bool,
    counters: BTreeMap<&'static str, u64>,
    sink: Option<BufWriter<std::fs::File>>,
    sink_error: Option<io::Error>,
    /// What the page will show, if there is to be one.
    events: Option<Vec<Event>>,
}

impl Trace {
    /// An empty trace of a run whose time `now` tells; with `sink`, one that writes each record as a line to that file.
    pub fn new(now: Now, sink: Option<&Path>) -> io::Result<SharedTrace> {
        let sink = sink.map(std::fs::File::create).transpose()?.map(BufWriter::new);
        let inner = Inner {
            hasher: DefaultHasher::new(),
            muted: false,
            counters: BTreeMap::new(),
            sink,
            sink_error: None,
            events: None,
        };
        Ok(Arc::new(Trace { now, inner: Mutex::new(inner) }))
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
        inner.hasher.write_u128(at.as_nanos());
        inner.hasher.write_usize(line.len());
        inner.hasher.write(line.as_bytes());
        inner.hasher.write_usize(bytes.len());
        inner.hasher.write(bytes);
        inner.write_line(at, &line, bytes);
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

    /// Shows something on the page, if there is to be one; the hash does not know of it.
    pub fn event(&self, node: u64, what: impl FnOnce() -> What) {
        let mut inner = self.lock();
        if inner.muted {
            return;
        }
        if let Some(events) = inner.events.as_mut() {
            events.push(Event { at: (self.now)(), node, what: what() });
        }
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
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counters.clone()
    }

    /// Writes the sink out; an error of it that was met on the way comes back here.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.lock();
        if let Some(error) = inner.sink_error.take() {
            return Err(error);
        }
        inner.sink.as_mut().map_or(Ok(()), Write::flush)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while recording is the run's failure already; the counters stay readable for its report.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn write_line(&mut self, at: Duration, line: &str, bytes: &[u8]) {
        let Some(sink) = self.sink.as_mut() else { return };
        let hash = self.hasher.finish();
        let len = bytes.len();
        if let Err(error) = writeln!(sink, "{:>12.6} {line} len={len} => {hash:016x}", at.as_secs_f64()) {
            self.sink_error.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(trace.counters(), BTreeMap::from([("acked", 3), ("sync", 2)]));
    }
}
