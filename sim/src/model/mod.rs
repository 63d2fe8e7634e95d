//! Model checking: the shipped consensus core in every order of events, within bounds.
//!
//! A simulation tries many schedules and misses what is rare; this tries all of them in a small world. What runs is
//! `quorate::raft::Raft` itself, neither a specification nor a copy: it is `Clone + Eq + Hash` for this very purpose.
//! [stateright](https://docs.rs/stateright) keeps the book of the states; it is a library made for this, whose release
//! 0.31 builds in seconds, and it stands behind the feature `model`.
//!
//! ```text
//!   group       a first state, what can happen, what becomes of it        what stateright asks
//!     |
//!   node  network  state      cores with disks, messages, what a judge remembers
//!     |
//!   properties  bounds        what must hold, how much may happen
//!     |
//!   explore  command          all of it, and what was found
//! ```
//!
//! # What a state is
//!
//! All cores; their disks and the writes under way to them; the messages that may still arrive; what is used up of the
//! bounds; and what a judge needs to remember: who led which term, what was ever committed. Equal states have equal
//! futures: nothing that a core does not compare (deadlines, dice) decides anything, see [`node`].
//!
//! # What can happen
//!
//! A node begins an election; a message arrives, however late, in any order, again and again, or never; a leader takes
//! a command, a write reaches the disk, a leader makes itself heard, hears nobody and steps down; a node is asked to
//! read; a node crashes, loses what is not on its disk, and starts again.
//!
//! # What this does not do
//!
//! Liveness: a state in which nothing ever happens again breaks no property here. The bounds are small, and the disk is
//! an honest one: damage and misbehaving hardware are the cluster simulator's. No log is purged, so nobody needs a snapshot,
//! the group does not change and nobody hands over: each such step multiplies the states by the orders of two more
//! commits, and the core simulator draws them instead. They have their place in [`group::Event`].

pub mod group;
pub mod node;
pub mod network;
pub mod state;
pub mod properties;
pub mod bounds;
pub mod explore;
pub mod command;

#[cfg(test)]
mod tests;
