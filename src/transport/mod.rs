//! Messages between peers.

pub mod net;
