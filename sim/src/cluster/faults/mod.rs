//! What can go wrong, one file each: methods of [`World`](crate::cluster::world::World). A new fault is a file here, and a way
//! for scenarios to ask for it in [`crate::cluster::handle`].

pub mod crash;
pub mod partition;
pub mod pause;
