//! A batch on its way into the log: laid out in sectors, summed, written, synced; and the next segment, which each append
//! prepares a step of.
//!
//! `memory` is all of it but the disk (see [`memory`](crate::memory)); `disk` is the same on the disk that the target folder is
//! on, and mostly its sync. The log is purged between appends, as a node's is after folds, so that it stays as long as a node's.

use std::cell::{LazyCell, RefCell};
use std::path::Path;
use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};

use quorate::config::Limits;
use quorate::raft::HardState;
use quorate::types::{GroupId, Index, NodeId};
use quorate::wal::fs::{SharedFs, StdFs};
use quorate::wal::{Freed, GroupWrite, Options, Wal};

use crate::memory::MemoryFs;
use crate::sample;

/// Entries of a batch: of one client, of a busy node, of a very busy one.
const BATCHES: [usize; 3] = [1, 16, 256];

/// What the log keeps: as much as a node does for members that lag.
const LOG_BYTES_MAX: u64 = 256 << 20;

/// Appends in memory and on the disk.
pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal/append");
    let segment_bytes = Limits::default().wal_segment_bytes as usize;
    bench_appends(&mut group, "memory", &|| {
        Log::open(Arc::new(MemoryFs::new(segment_bytes)), Path::new("/wal"))
    });
    // A temporary directory of the machine may be in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    // The disk varies more than what a linear fit would show.
    group.sampling_mode(SamplingMode::Flat);
    bench_appends(&mut group, "disk", &|| Log::open(Arc::new(StdFs), dir.path()));
    group.finish();
}

fn bench_appends(group: &mut BenchmarkGroup<'_, WallTime>, disk: &str, open: &dyn Fn() -> Log) {
    // Not made if none of its benches was asked for.
    let log = LazyCell::new(|| RefCell::new(open()));
    for entries in BATCHES {
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(BenchmarkId::new(disk, entries), |bencher| {
            let next = || log.borrow_mut().next(entries);
            let append = |write: &mut GroupWrite| log.borrow_mut().append(write);
            bencher.iter_batched_ref(next, append, BatchSize::NumIterations(16));
        });
    }
}

/// A log, and how far it is.
struct Log {
    wal: Wal,
    /// The last entry that is in it.
    last: Index,
    /// The last entry that was made for it.
    made: Index,
}

impl Log {
    fn open(fs: SharedFs, dir: &Path) -> Log {
        let limits = Limits::default();
        let options = Options {
            owner: sample::OWNER,
            segment_bytes: limits.wal_segment_bytes,
            bytes_max: limits.wal_bytes_max,
            tail_bytes_max: limits.log_cache_bytes_max,
        };
        let bootstrap = [(GroupId::FIRST, sample::membership())].into();
        let (mut wal, _, _) = Wal::open(fs, dir, options, &bootstrap).expect("a new log");
        let vote = HardState { term: sample::TERM, vote: Some(NodeId(1)), ..HardState::default() };
        wal.append(&[GroupWrite { hard_state: Some(vote), ..write() }]).expect("a vote is written");
        Log { wal, last: Index(0), made: Index(0) }
    }

    /// The next batch. A log that has grown too long is purged first.
    fn next(&mut self, count: usize) -> GroupWrite {
        if self.wal.bytes() > LOG_BYTES_MAX {
            self.purge();
        }
        let entries = sample::entries(self.made.next(), count);
        self.made = Index(self.made.0 + count as u64);
        GroupWrite { entries, ..write() }
    }

    fn append(&mut self, write: &GroupWrite) {
        self.wal.append(std::slice::from_ref(write)).expect("a batch is written");
        self.last = write.entries.last().expect("a batch has entries").index;
    }

    fn purge(&mut self) {
        let purged = self.wal.purge(GroupId::FIRST, (self.last, sample::TERM), &sample::membership());
        purged.expect("a purge is written");
        let removed = self.wal.take_freed().map(Freed::remove).transpose();
        drop(removed.expect("segments are removed"));
    }
}

fn write() -> GroupWrite {
    GroupWrite {
        group: GroupId::FIRST,
        hard_state: None,
        install: None,
        repairs: Vec::new(),
        entries: Vec::new(),
    }
}
