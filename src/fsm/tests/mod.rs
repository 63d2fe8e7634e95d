//! Tests of the state machine as a whole.

mod basics;
mod concurrency;
mod crash;
mod damage;
mod model;
mod scripts;
mod sessions;
mod support;
