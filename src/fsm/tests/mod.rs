//! Tests of the state machine as a whole.

mod basics;
mod concurrency;
mod crash;
mod damage;
mod installs;
mod keyed;
mod loss;
mod model;
mod nested;
mod offline;
mod pins;
mod rewrites;
mod scripts;
mod sessions;
mod snapshots;
mod support;
mod txn;
mod undo;
