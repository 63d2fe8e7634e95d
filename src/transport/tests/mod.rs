//! Transports on loopback, and the pieces on their own.

#![allow(clippy::disallowed_methods, reason = "a test bounds its waits by real time")]

mod codec;
mod died;
mod forward;
mod frame;
mod handshake;
mod harness;
mod hostile;
mod join;
mod lanes;
mod roster;
mod seams;
mod snapshot;
