//! Tests of the state machine as a whole.

mod basics;
mod concurrency;
mod crash;
mod damage;
mod installs;
mod model;
mod rewrites;
mod scripts;
mod sessions;
mod snapshots;
mod support;
