//! sim
pub mod client;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod entropy;
pub mod events;
pub mod executor;
pub mod faults;
pub mod invariants;
pub mod net;
pub mod oracle;
pub mod power;
pub mod scenarios;
pub mod state_file;
pub mod trace;
pub mod world;
