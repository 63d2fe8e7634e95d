//! Parsers of bytes that others control, with what must hold of each for any input.
//!
//! A [`Target`] is one parser: a disk's files, a peer's frames, a client's requests, an operator's settings. Its
//! `check` feeds it an input and asserts its properties, which are more than that it does not panic: what was decoded
//! encodes back to an equal value, no more comes out than went in, what was recovered can be built upon. The checks
//! stand beside the parsers (`fuzzing.rs` in their modules) and have two users:
//!
//! - the property tests below (`cargo test --lib fuzzing`): some thousand mutants of saved inputs for each target,
//!   the same ones in every run, within a bound on the memory that an input may cost;
//! - `tests/fuzz`: a libFuzzer binary for each target, for hours (see README, Development).
//!
//! Mutants begin with valid bytes, `tests/fuzz/corpus/TARGET/valid-*`, written by `UPDATE_GOLDEN=1`; what a fuzzer
//! found stands beside them as `found-*`. A mutant that only fails its checksum says little about the parser behind it,
//! so `mend` makes the checksums of every other mutant right again. Nobody but a fuzzer or a liar makes such bytes, and
//! what they mean is not judged; but they must not stop the process.
//!
//! Only for tests: the `testing` feature opens it.

mod mutate;

#[cfg(test)]
pub(crate) mod meter;
#[cfg(test)]
mod tests;

pub use mutate::mutate;

/// One parser.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its corpus and of its binary.
    pub name: &'static str,
    /// Parses an input, asserts the properties, and says whether the input was accepted.
    pub check: fn(&[u8]) -> bool,
    /// Makes the checksums and lengths of an input right again, where it has any.
    pub mend: fn(&mut Vec<u8>),
    /// Valid inputs, with names.
    pub samples: fn() -> Vec<(&'static str, Vec<u8>)>,
    /// The memory that an input may cost at once: so much, and so many times its own length.
    pub heap_bytes_max: (usize, usize),
}

/// Inputs are not made longer than this.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "wal",
        check: crate::wal::fuzzing::check,
        mend: |input| crate::wal::fuzzing::mend(input),
        samples: crate::wal::fuzzing::samples,
        // The simulated disk holds each file twice, and one more segment is made after a cut.
        heap_bytes_max: (256 << 10, 16),
    },
    Target {
        name: "codec",
        check: crate::codec::fuzzing::check,
        mend: nothing,
        samples: crate::codec::fuzzing::samples,
        // An operation takes at least two bytes and becomes a slice of each its key and its value.
        heap_bytes_max: (4 << 10, 256),
    },
    Target {
        name: "membership",
        check: crate::node::fuzzing::membership::check,
        mend: nothing,
        samples: crate::node::fuzzing::membership::samples,
        heap_bytes_max: (4 << 10, 64),
    },
    Target {
        name: "identity",
        check: crate::node::fuzzing::identity::check,
        mend: crate::node::fuzzing::identity::mend,
        samples: crate::node::fuzzing::identity::samples,
        heap_bytes_max: (16 << 10, 64),
    },
    Target {
        name: "frame",
        check: crate::transport::fuzzing::check_frame,
        mend: crate::transport::fuzzing::mend_frame,
        samples: crate::transport::fuzzing::frames,
        heap_bytes_max: (16 << 10, 128),
    },
    Target {
        name: "handshake",
        check: crate::transport::fuzzing::check_handshake,
        mend: nothing,
        samples: crate::transport::fuzzing::handshakes,
        heap_bytes_max: (64 << 10, 64),
    },
    Target {
        name: "snapshot",
        check: crate::transport::fuzzing::check_snapshot,
        mend: nothing,
        samples: crate::transport::fuzzing::snapshots,
        heap_bytes_max: (16 << 10, 128),
    },
    Target {
        name: "peers",
        check: crate::node::fuzzing::peers::check,
        mend: crate::node::fuzzing::peers::mend,
        samples: crate::node::fuzzing::peers::samples,
        heap_bytes_max: (2 << 20, 256),
    },
    Target {
        name: "forward",
        check: crate::node::fuzzing::forward::check,
        mend: nothing,
        samples: crate::node::fuzzing::forward::samples,
        // As the codec's, and each write once more.
        heap_bytes_max: (16 << 10, 512),
    },
    Target {
        name: "rows",
        check: crate::fsm::fuzzing::check_rows,
        mend: nothing,
        samples: crate::fsm::fuzzing::rows,
        heap_bytes_max: (4 << 10, 64),
    },
    Target {
        name: "state",
        check: crate::fsm::fuzzing::check_state,
        mend: crate::fsm::fuzzing::mend_state,
        samples: crate::fsm::fuzzing::wounds,
        // The file that the wounds are inflicted on.
        heap_bytes_max: (64 << 20, 16),
    },
    Target {
        name: "snapshot_state",
        check: crate::fsm::fuzzing::check_snapshot_state,
        mend: crate::fsm::fuzzing::mend_snapshot_state,
        samples: crate::fsm::fuzzing::snapshot_states,
        // Two files in memory, with what was not synced; and LZ4 makes 255 bytes of one.
        heap_bytes_max: (64 << 20, 2_048),
    },
    Target {
        name: "rest",
        check: crate::api::rest::fuzzing::check,
        mend: crate::api::rest::fuzzing::mend,
        samples: crate::api::rest::fuzzing::samples,
        // The first input pays for the API description.
        heap_bytes_max: (4 << 20, 64),
    },
    Target {
        name: "grpc",
        check: crate::api::grpc::fuzzing::check,
        mend: nothing,
        samples: crate::api::grpc::fuzzing::samples,
        // An element of a list takes at least two bytes, and is there as a message and as a part of a command.
        heap_bytes_max: (64 << 10, 1 << 10),
    },
    Target {
        name: "etcd",
        check: crate::api::etcd::fuzzing::check,
        mend: nothing,
        samples: crate::api::etcd::fuzzing::samples,
        heap_bytes_max: (64 << 10, 1 << 10),
    },
    Target {
        name: "settings",
        check: crate::cli::fuzzing::check,
        mend: nothing,
        samples: crate::cli::fuzzing::samples,
        heap_bytes_max: (256 << 10, 512),
    },
    Target {
        name: "script",
        check: crate::cli::fuzzing::check_script,
        mend: nothing,
        samples: crate::cli::fuzzing::scripts,
        // A word takes at least two bytes with the space behind it.
        heap_bytes_max: (16 << 10, 512),
    },
];

/// The target with this name.
///
/// # Panics
/// If there is none.
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target {name}"))
}

/// For inputs without checksums.
fn nothing(_: &mut Vec<u8>) {}
