//! Three bare cores: the leader proposes a batch, the followers step it and answer, the leader commits and all apply.
//!
//! A disk here is on time always, a network carries every message in order, and the state machine does nothing, so that what is
//! left is the core: the log in memory, progress, quorum, and the `Ready`s that are handed out. Time stands still: no heartbeat
//! and no timeout is due, and followers hear of a commit with the next batch, as they do under load.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};

use quorate::config::{
    DISK_STALL_ELECTION_TIMEOUTS, ELECTION_TIMEOUT_DEFAULT, EVIDENCE_DELAY_MAX, HEARTBEAT_INTERVAL_DEFAULT,
    Limits,
};
use quorate::raft::{Config, Envelope, Raft, Restored, RoleName};
use quorate::types::{Incarnation, Monotonic, NodeId};

use crate::sample;

/// Entries of a batch.
const BATCH_ENTRIES: usize = 64;

/// The one instant that the cores are told of.
const NOW: Monotonic = Monotonic(1_000_000_000);

/// Entries that are committed by three cores.
pub fn bench(criterion: &mut Criterion) {
    let mut cores = Cores::with_leader();
    let mut group = criterion.benchmark_group("raft");
    group.throughput(Throughput::Elements(BATCH_ENTRIES as u64));
    group.bench_function("commit", |bencher| {
        let batch = || -> Vec<Bytes> { (0..BATCH_ENTRIES).map(|_| sample::payload()).collect() };
        bencher.iter_batched(batch, |batch| cores.commit(batch), BatchSize::NumIterations(16));
    });
    group.finish();
}

/// A group whose first member leads.
struct Cores([Raft; 3]);

impl Cores {
    fn with_leader() -> Cores {
        let start = |id| Raft::new(config(id), Restored::bootstrap(sample::membership()), NOW);
        let mut cores = Cores([1, 2, 3].map(start));
        cores.leader().campaign(NOW);
        cores.settle();
        assert_eq!(cores.leader().role(), RoleName::Leader, "nobody else campaigned");
        cores
    }

    fn leader(&mut self) -> &mut Raft {
        &mut self.0[0]
    }

    fn commit(&mut self, batch: Vec<Bytes>) {
        let proposed = self.leader().propose(NOW, batch).expect("the leader takes a batch");
        self.settle();
        assert_eq!(self.leader().applied_index(), proposed.last, "the batch was not committed and applied");
    }

    /// Does all that the cores ask for, until they ask for nothing more.
    fn settle(&mut self) {
        let mut mail = Vec::new();
        loop {
            for core in &mut self.0 {
                while core.has_ready() {
                    perform(core, &mut mail);
                }
            }
            if mail.is_empty() {
                return;
            }
            for envelope in mail.drain(..) {
                let to = self.0.iter_mut().find(|core| core.config().id == envelope.to);
                to.expect("all members are here").step(NOW, envelope);
            }
        }
    }
}

/// What a driver does, at once.
fn perform(core: &mut Raft, mail: &mut Vec<Envelope>) {
    let ready = core.ready();
    assert!(ready.fetches.is_empty(), "what is to be sent has left the memory: {:?}", ready.fetches);
    mail.extend(ready.messages);
    for write in ready.writes {
        core.persisted(write.seq);
        mail.extend(write.messages);
    }
    if let Some(last) = ready.apply.last() {
        core.applied(last.index);
    }
}

/// The limits of a node that was told nothing else.
fn config(id: u64) -> Config {
    let limits = Limits::default();
    Config {
        id: NodeId(id),
        heartbeat_interval: HEARTBEAT_INTERVAL_DEFAULT,
        election_timeout: ELECTION_TIMEOUT_DEFAULT,
        disk_stall_timeout: ELECTION_TIMEOUT_DEFAULT * DISK_STALL_ELECTION_TIMEOUTS,
        evidence_delay_max: EVIDENCE_DELAY_MAX,
        append_batch_bytes_max: limits.append_batch_bytes_max,
        append_inflight_max: limits.append_inflight_max,
        append_inflight_bytes_max: limits.append_inflight_bytes_max,
        uncommitted_bytes_max: limits.uncommitted_bytes_max,
        cache_bytes_max: limits.log_cache_bytes_max,
        apply_inflight_bytes_max: limits.apply_inflight_bytes_max,
        reads_waiting_max: limits.reads_waiting_max,
        seed: id,
        incarnation: Incarnation(id),
        boot: 1,
    }
}
