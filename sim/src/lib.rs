//! Deterministic simulation of whole Quorate clusters.
//!
//! Three nodes, each the production assembly from REST to disk, live in one thread. Network, disks, clocks, entropy and
//! the instants at which blocking work is done come from one seed, through the product's five seams; everything else
//! is the shipped code. Faults are played on them while clients read and write on every node, and an oracle judges
//! every answer. The same seed does the same, to the byte; the hash of the trace shows it.
//!
//! ```text
//! scenarios -> cluster ---- client, oracle            what is played, and whether it was right
//!                 |
//!               world  ---- faults, invariants        hosts, links, steps
//!                 |
//!    net   disk   clock   executor   (power)          the five seams of a node, and its switch
//!                 |                                   (state_file is redb's door to the disk)
//!    trace   events   entropy                         what is recorded, and what is pinned
//! ```
//!
//! An operation of clients, a fault, an invariant, a scenario is each one file to add. README.md has the fault model
//! and the list of all sources of entropy.

pub mod scenarios;
pub mod cluster;
pub mod client;
pub mod oracle;
pub mod world;
pub mod assembly;
pub mod faults;
pub mod invariants;
pub mod net;
pub mod disk;
pub mod state_file;
pub mod clock;
pub mod executor;
pub mod power;
pub mod trace;
pub mod events;
pub mod entropy;
