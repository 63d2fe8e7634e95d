//! The client against a scripted cluster, in memory.

mod admin;
mod blocking;
mod fake;
mod failover;
mod pressure;
mod reads;
mod sessions;
mod store;
mod surface;
mod wires;
