//! What can go wrong, one file each: methods of [`World`](crate::cluster::world::World). A new fault is a kind in [`kind`], a
//! file here, and a way for scenarios to ask for it in [`hand`].

pub mod kind;
pub mod ledger;
pub mod hand;

pub mod clock;
pub mod crash;
pub mod damage;
pub mod disk;
pub mod partition;
pub mod pause;
pub mod slow_link;
