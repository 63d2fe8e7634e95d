//! The state machine: applying to the write set, and folding the write set into redb.
//!
//! *Apply* takes encoded entries, as the log hands them out: it decodes them, looks up what they change, and makes rows and
//! replies. All keys are there before, and after the first few batches in the write set, where most of what a busy node changes is. *Fold* is
//! one durable transaction over a file of four times as many keys: in memory it is what redb and the blocks' checksums cost, on
//! the disk also what is written and synced, 64 KiB at a time. A node folds on a background thread.

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, SamplingMode, Throughput};
use redb::backends::InMemoryBackend;

use quorate::codec::encode_envelope;
use quorate::command::{Command, Reply, SessionSeq};
use quorate::config::Limits;
use quorate::fsm::{Body, Input, Options, RawFile, Store, file_backend};
use quorate::types::{ClientId, Index, Seq};

use crate::sample;

/// Entries of a batch.
const BATCH_ENTRIES: u64 = 64;
/// Keys that are written to when batches are applied.
const APPLIED_KEYS: u64 = 10_000;

/// Rows of a write set that is folded, and keys of the file that it goes into.
const FOLDED_ROWS: usize = 50_000;
const FOLDED_KEYS: u64 = 200_000;

const SESSION: ClientId = ClientId(1);

/// Apply without and with a session; fold in memory and on the disk.
pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fsm/apply");
    group.throughput(Throughput::Elements(BATCH_ENTRIES));
    bench_apply(&mut group, "plain", |_| None);
    bench_apply(&mut group, "session", |number| {
        // A client that has a batch under way, and says which replies it has.
        let done_below = Seq(number.saturating_sub(BATCH_ENTRIES).max(1));
        Some(SessionSeq { client: SESSION, seq: Seq(number), done_below })
    });
    group.finish();

    let mut group = criterion.benchmark_group("fsm/fold");
    group.throughput(Throughput::Elements(FOLDED_ROWS as u64));
    // One takes as long as a hundred of the others' samples.
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    bench_fold(&mut group, "memory", &in_memory);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    bench_fold(&mut group, "disk", &|| file_backend(&dir.path().join("state.redb")).expect("a new file"));
    group.finish();
}

fn in_memory() -> RawFile {
    Box::new(InMemoryBackend::new())
}

fn bench_apply(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    session: impl Fn(u64) -> Option<SessionSeq>,
) {
    let (mut machine, mut rng, mut number) = (None, fastrand::Rng::with_seed(1), 0);
    group.bench_function(name, |bencher| {
        // Not made if this bench was not asked for.
        let machine = machine.get_or_insert_with(|| {
            let keys: Vec<u64> = (0..APPLIED_KEYS).collect();
            Machine::with_keys(in_memory(), &keys)
        });
        let store = machine.store.clone();
        let next = || {
            let puts = (0..BATCH_ENTRIES).map(|_| {
                number += 1;
                (session(number), sample::put(rng.u64(0..APPLIED_KEYS)))
            });
            machine.next(puts)
        };
        bencher.iter_batched_ref(next, |batch| apply(&store, batch), BatchSize::NumIterations(16));
    });
}

fn bench_fold(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, raw: &dyn Fn() -> RawFile) {
    let mut keys: Vec<u64> = (0..FOLDED_KEYS).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut keys);
    let (mut machine, mut sets) = (None, keys.chunks(FOLDED_ROWS).cycle());
    group.bench_function(name, |bencher| {
        let machine = machine.get_or_insert_with(|| Machine::with_keys(raw(), &keys));
        let store = machine.store.clone();
        let fill = || machine.put(sets.next().expect("a cycle has no end"));
        bencher.iter_batched(fill, |()| store.fold().expect("a fold"), BatchSize::PerIteration);
    });
}

/// A state machine, and how far its log goes.
struct Machine {
    store: Store,
    last: Index,
}

impl Machine {
    /// These keys are in its file, and its session is open.
    fn with_keys(raw: RawFile, keys: &[u64]) -> Machine {
        let limits = Limits::default();
        let options = Options {
            owner: sample::OWNER,
            write_set_bytes_max: limits.write_set_bytes_max,
            cache_bytes: limits.store_cache_bytes,
            session_inflight_max: limits.session_inflight_max,
            sessions_max: limits.sessions_max,
            session_replies_bytes_max: limits.session_replies_bytes_max,
            idempotency_answers_max: limits.idempotency_answers_max,
            idempotency_spent_max: limits.idempotency_spent_max,
        };
        let store = Store::open(raw, options).expect("an empty state");
        let mut machine = Machine { store, last: Index(0) };
        let open = machine.next([(None, Command::OpenSession { client: SESSION })].into_iter());
        machine.store.apply(&open).expect("a session is opened");
        for keys in keys.chunks(FOLDED_ROWS) {
            machine.put(keys);
            machine.store.fold().expect("a fold");
        }
        machine
    }

    /// The next entries of its log.
    fn next(&mut self, commands: impl Iterator<Item = (Option<SessionSeq>, Command)>) -> Vec<Input> {
        let inputs = commands.map(|(session, command)| {
            self.last = self.last.next();
            let body = Body::Command(encode_envelope(&sample::envelope(session, command)));
            Input { index: self.last, term: sample::TERM, body }
        });
        inputs.collect()
    }

    /// Puts each of these keys once, into the write set.
    fn put(&mut self, keys: &[u64]) {
        for keys in keys.chunks(BATCH_ENTRIES as usize) {
            let batch = self.next(keys.iter().map(|key| (None, sample::put(*key))));
            apply(&self.store, &batch);
        }
        assert!(!self.store.is_full(), "a node would have folded before: {:?}", self.store.sizes());
    }
}

/// Applies a batch of puts.
fn apply(store: &Store, batch: &[Input]) -> Vec<Reply> {
    let replies = store.apply(batch).expect("a batch is applied");
    assert!(replies.iter().all(|reply| matches!(reply, Reply::Written { .. })), "refused: {:?}", replies[0]);
    replies
}
