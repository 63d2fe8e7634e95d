//! Commands to bytes and back: what a leader and each node that applies pay for every entry, and what a follower and its
//! leader pay for the writes that the follower forwards.
//!
//! Decoded keys and values share the memory of their input, so decoding copies no value.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};

use quorate::codec::{decode_envelope, encode_envelope};
use quorate::command::{Forward, SessionSeq};
use quorate::node::testing::{decode_forwards, encode_forwards};
use quorate::types::{ClientId, Seq};

use crate::sample;

/// The writes of one request: what 64 clients of a follower send within one turn of its driver.
const FORWARDS: u64 = 64;

/// An envelope with a put; a request of forwarded puts.
pub fn bench(criterion: &mut Criterion) {
    envelope(criterion);
    forwards(criterion);
}

fn envelope(criterion: &mut Criterion) {
    let envelope = sample::envelope(None, sample::put(1));
    let encoded = encode_envelope(&envelope);
    assert_eq!(decode_envelope(&encoded).as_ref(), Ok(&envelope), "it is not what was encoded");
    let mut group = criterion.benchmark_group("codec/envelope");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |bencher| bencher.iter(|| encode_envelope(black_box(&envelope))));
    group.bench_function("decode", |bencher| bencher.iter(|| decode_envelope(black_box(&encoded))));
    group.finish();
}

fn forwards(criterion: &mut Criterion) {
    let forwards: Vec<Forward> = (1..=FORWARDS).map(forward).collect();
    let encoded: Bytes = encode_forwards(&forwards);
    assert_eq!(decode_forwards(&encoded).as_ref(), Ok(&forwards), "they are not what was encoded");
    let mut group = criterion.benchmark_group("codec/forwards");
    group.throughput(Throughput::Elements(FORWARDS));
    group.bench_function("encode", |bencher| bencher.iter(|| encode_forwards(black_box(&forwards))));
    group.bench_function("decode", |bencher| bencher.iter(|| decode_forwards(black_box(&encoded))));
    group.finish();
}

fn forward(number: u64) -> Forward {
    let session = SessionSeq { client: ClientId(1), seq: Seq(number), done_below: Seq(1) };
    Forward { session: Some(session), command: sample::put(number) }
}
