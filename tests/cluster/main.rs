//! Real processes: every test starts the built `quorate` binary, talks to it over sockets and kills it as the world
//! would. Nothing here links the server's modules: what a test sees is what a user sees.
//!
//! Each test has its own `127.x.y.z` block (see [`harness::slots`]), so that tests run side by side and so that a
//! restarted node finds its addresses free. Peers may be made to talk through in-test TCP relays
//! ([`harness::relay`]), which is how a network is cut: in both directions, in one, or for good. Waiting is done by
//! polling under a deadline ([`harness::poll`]); a deadline is generous, because a test that is late on a busy
//! machine proves nothing about the product.
//!
//! A test that lacks a program it needs ends in a counted `SKIPPED: why` ([`harness::skip`]).

#![allow(
    clippy::disallowed_methods,
    reason = "a test is outside the node: time, threads and files are its own"
)]
#![allow(clippy::print_stderr, reason = "the runner shows what a failing test prints")]

mod harness;

mod bench;
mod chaos;
mod check;
mod cli;
mod conditions;
mod counter;
mod crash;
mod damage;
mod demo;
mod edge;
mod errors;
mod etcd;
mod etcdctl;
mod flags;
mod fsync;
mod full;
mod grpc;
mod identity;
mod load;
mod members;
mod metrics;
mod partition;
mod process;
mod rare;
mod recover;
mod rejoin;
mod rest;
mod snapshot;
mod state;
