//! sim
pub mod disk;
pub mod entropy;
pub mod power;
pub mod state_file;
pub mod trace;
