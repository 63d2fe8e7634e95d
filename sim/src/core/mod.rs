//! The core simulator: bare Raft cores, a message-level network and a simulated log, without an async runtime.
//!
//! ```text
//! swarm      what a seed draws: the group, its limits, which faults and how often
//! story      storms and calms: strikes faults, lets callers operate, demands that the group recovers
//! script     the same by hand: a test that says line by line what happens
//!    |
//! world      nodes, links, disks and the queue of what happens between them; asks the judges after every step
//! driver     what a node's driver does: inputs to the core, and what it hands out
//! node  disk  net  transfer  clock  queue  weather
//! group      who is in it by the committed configurations, and how a new node begins
//! ```
//!
//! Judges are the [invariants](crate::invariants), the [oracle](Oracle) for proposals and reads, and the demands of
//! `liveness`. An operation, a fault, an invariant is a file each: `operations/`, `faults/`, `../invariants/`.
//!
//! What is not here: sectors and files, connections, the state machine's contents (it is a hash), clients and their retries. All that
//! is in the [cluster simulator](crate); this one is for the algorithm, and for millions of steps.

pub mod command;

mod clock;
mod disk;
mod driver;
mod faults;
pub(crate) mod group;
mod liveness;
mod net;
mod node;
mod operations;
mod oracle;
mod play;
mod queue;
mod script;
mod story;
pub(crate) mod swarm;
mod transfer;
mod weather;
mod world;

pub use disk::Disk;
pub use net::CutId;
pub use node::Node;
pub use oracle::Oracle;
pub use play::{Options, STEPS, play};
pub use transfer::State;
pub use weather::Weather;
pub use world::{Setup, Verdict, World};
