//! The core simulator: bare Raft cores, a message-level network and a simulated log, without an async runtime.

pub mod command;
