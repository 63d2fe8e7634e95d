//! The cluster simulator: whole nodes, each the production assembly from REST to disk, in one thread.
//!
//! ```text
//! scenarios -> handle ---- load, session, client, ask  what is played; history and finale judge it
//!                 |                         order, newcomer   what is asked of the group itself
//!                 |
//!               world  ---- faults, ends              hosts, links, steps; what may go wrong, and how it may end
//!                 |
//!    net   disk   clock   executor   (power)          the five seams of a node, and its switch
//!                 |                                   (state_file is redb's door to the disk)
//!    assembly   watch   audit   events   entropy      what runs, what is seen of it, and what is pinned
//! ```

pub mod command;
pub mod own;
pub mod scenarios;
pub mod handle;
pub mod finale;
pub mod load;
pub mod session;
pub mod client;
mod library;
pub mod ask;
pub mod order;
pub mod newcomer;
pub mod world;
pub mod assembly;
pub mod faults;
pub mod flights;
pub mod ends;
pub mod badge;
pub mod audit;
pub mod panics;
pub mod net;
pub mod disk;
pub mod state_file;
pub mod clock;
pub mod executor;
pub mod power;
pub mod watch;
pub mod events;
pub mod entropy;
