//! Model checking of the shipped consensus core.
pub mod bounds;
pub mod command;
pub mod group;
pub mod network;
pub mod node;
pub mod properties;
pub mod state;
#[cfg(test)]
mod tests;
