//! Tests of the core as a whole. Scripts (`../testscripts`) show scenarios with their full trace, `paper` keeps the
//! sentences of the paper, `quorum` the arithmetic, `membership` the layout. What nobody thought of is searched for outside
//! this folder, by the core simulator (`sim/src/core`).

mod core;
mod index;
mod membership;
mod node;
mod paper;
mod quorum;
mod script;
mod trace;
