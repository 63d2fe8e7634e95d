//! What the tests stand on: processes, addresses, relays, an HTTP client, and waiting.

pub mod client;
pub mod cluster;
pub mod etcd;
pub mod files;
pub mod history;
pub mod lossy;
pub mod many;
pub mod memory;
pub mod node;
pub mod poll;
pub mod relay;
pub mod run;
pub mod skip;
pub mod slots;
pub mod tracer;

pub use client::{Answer, Client, Outcome};
pub use cluster::Cluster;
pub use history::Writers;
