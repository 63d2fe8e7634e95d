//! What strikes: one file for each kind. A new fault is a file and a line in [`ALL`].
//!
//! A fault strikes a node or some links at an instant that the [story](super::story) has drawn, and ends by itself some
//! time later. What is everywhere and all the time is the [weather](super::weather).

mod crash;
mod evidence;
mod full;
mod hang;
mod loss;
mod one_way;
mod partial;
mod partition;
mod pause;
mod replay;
mod rot;
mod tail;
mod usurp;

pub(super) use full::draw as draw_room;
pub(super) use usurp::{Cut, deafen, isolate};

use quorate::types::NodeId;

use super::story::Story;

/// A kind of fault.
pub(super) struct Fault {
    /// Its name among the counters.
    pub(super) name: &'static str,
    /// Strikes at a node, or around it. False if there was nothing to strike.
    pub(super) strike: fn(&mut Story<'_>, NodeId) -> bool,
}

/// All there are.
pub(super) const ALL: [Fault; 13] = [
    crash::FAULT,
    pause::FAULT,
    hang::FAULT,
    partition::FAULT,
    one_way::FAULT,
    partial::FAULT,
    replay::FAULT,
    evidence::FAULT,
    usurp::FAULT,
    rot::FAULT,
    loss::FAULT,
    full::FAULT,
    tail::FAULT,
];
