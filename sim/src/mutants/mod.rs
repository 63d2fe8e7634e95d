//! Bugs on purpose: whether the simulators find every bug that we can name.
//!
//! ```text
//! sim/mutants/hNN-name.patch     one hazard each: what is broken, what that means, and the few lines that break it
//!    |  patch      parsed; applied by the text around it, wherever that has moved to
//!    v  tree       a copy of the tree, with its own target folder: the tree itself is never touched
//!    |  build      the simulators with the bug in them
//!    v  hunt       1,000 operations without faults, which must pass; then seeds until one finds it, or the time is up;
//!    |             then the same seeds without the bug, which must find nothing
//!    v  table      a row in sim/README.md
//! ```
//!
//! A bug that a fault-free run shows proves nothing, so it has to pass one. Nothing here knows one bug from another:
//! what is hunted with is the ordinary swarm, from the same first seed for all. A bug in the consensus core is built
//! without the rest of the product and hunted with the core simulator first, then with whole nodes; all others with
//! whole nodes alone. A unit test, a build that fails and one that takes too long find nothing.
//!
//! To add one is to add a file to `sim/mutants`.

pub mod build;
pub mod command;
pub mod hunt;
pub mod patch;
pub mod table;
pub mod tree;

mod run;
mod show;
