//! What each layer of the write path costs by itself: one thread, no other layer, no network. `docs/bench.md`, "Layers", says
//! how to run this and what each figure means.
//!
//! ```text
//! codec      a command to bytes and back: an entry's payload, a follower's request
//! raft       three bare cores: propose, replicate, commit
//! transport  an append to a frame and back
//! wal        append: the batch alone, and with the disk's sync
//! fsm        apply to the write set; fold the write set into redb
//! ```
//!
//! All of them are in one binary, because linking the server takes longer than measuring it. Each says what it measures
//! and what it leaves out. What happens between the measured calls (inputs made, a log purged, a state filled) is not measured.
//!
//! It does not judge: a layer that has become slower is seen by whoever compares two runs on one machine.

mod codec;
mod fsm;
mod memory;
mod raft;
mod sample;
mod transport;
mod wal;

use criterion::Criterion;

/// The nodes' own, so that what is allocated costs here what it costs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    codec::bench(&mut criterion);
    raft::bench(&mut criterion);
    transport::bench(&mut criterion);
    wal::bench(&mut criterion);
    fsm::bench(&mut criterion);
    criterion.final_summary();
}
