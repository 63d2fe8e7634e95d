//! An append on the wire: what the leader's lane and the follower's end of it do to a message, without the connection
//! between them. Encoding copies each payload once, into the frame; decoding copies it out, and verifies its checksum.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};

use quorate::raft::{Append, Envelope, Message, Round, SessionId};
use quorate::transport::testing::{decode_frame, encode_frame};
use quorate::types::{Index, NodeId};

use crate::sample;

/// Entries of an append.
const ENTRIES: usize = 64;

const LEADER: NodeId = NodeId(1);
const FOLLOWER: NodeId = NodeId(2);

/// A frame with one append.
pub fn bench(criterion: &mut Criterion) {
    let append = append();
    let frame: Bytes = encode_frame([append.clone()]);
    let decoded = decode_frame(frame.clone(), LEADER, FOLLOWER);
    assert_eq!(decoded, std::slice::from_ref(&append), "it is not what was encoded");
    let mut group = criterion.benchmark_group("transport/append");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter_batched(|| append.clone(), |append| encode_frame([append]), BatchSize::SmallInput);
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode_frame(frame.clone(), LEADER, FOLLOWER));
    });
    group.finish();
}

fn append() -> Envelope {
    let append = Append {
        session: SessionId(1),
        inflight: 1,
        prev_index: Index(1_000_000),
        prev_term: sample::TERM,
        entries: sample::entries(Index(1_000_001), ENTRIES),
        commit: Index(1_000_000),
        round: Round(1),
    };
    Envelope { from: LEADER, to: FOLLOWER, term: sample::TERM, message: Message::Append(append) }
}
