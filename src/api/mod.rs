//! The front doors: each turns its protocol into [`crate::command`]s and back.
//!
//! A front door calls the [`crate::shard::Router`] and knows nothing of what stands behind it: no Raft, no log, no
//! store. It judges its input (limits, encodings, deadlines) and maps [`crate::error::ErrorKind`] to its protocol's
//! status in one place. No front door imports another: what several need is beside them. What all of them may have under
//! way at once is in [`shares`], a gRPC message and its frame in [`framed`], what a message will take once it is decoded in [`elements`], the wait for the node in
//! [`opening`].

pub mod address;
pub mod elements;
pub mod etcd;
pub mod framed;
pub mod grpc;
pub mod grpc_timeout;
pub mod members;
pub mod opening;
pub mod rest;
pub mod shares;

#[cfg(test)]
mod testing;
