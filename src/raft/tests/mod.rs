//! Tests of the core as a whole. Scripts (`../testscripts`) show scenarios with their full trace, `paper` keeps the
//! sentences of the paper, `quorum` the arithmetic, `membership` the layout, and `simulation` searches for what nobody
//! thought of.

mod node;
mod script;
mod simulation;
mod trace;
