//! Deterministic simulation of Quorate: two simulators, one set of judges.
//!
//! ```text
//! core       bare Raft cores, a message-level network, a simulated log      millions of steps
//! cluster    whole nodes: REST, gRPC, log, state machine, five seams        everything that ships
//!    |
//! invariants  history  trace      what must hold, what clients saw, what is shown: the same for both
//! ```
//!
//! Everything comes from one seed; the same seed does the same, to the byte. README.md has the fault model, the list of all
//! sources of entropy, and how to add an operation, a fault, an invariant or a mutant: each is one file.
//!
//! Without the feature `cluster` only the core simulator is built, and of the product only its consensus core.

pub mod core;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod invariants;
pub mod history;
#[cfg(feature = "model")]
pub mod model;
pub mod mutants;
pub mod run;
pub mod trace;
pub mod seed;

/// What went wrong, in words.
pub type Violation = String;
