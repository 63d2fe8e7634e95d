//! Tests of the core as a whole. Scripts (`../testscripts`) show scenarios with their full trace, `paper` keeps the
//! sentences of the paper, `quorum` the arithmetic, `membership` the layout, and `simulation` searches for what nobody
//! thought of.

mod core;
mod index;
mod membership;
mod node;
mod paper;
mod quorum;
mod script;
mod simulation;
mod trace;
