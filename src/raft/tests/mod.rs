//! Tests of the core as a whole. Scripts (`../testscripts`) show scenarios with their full trace, `paper` keeps the
//! sentences of the paper, `thesis` those of the thesis on changes of the group, `change` what each of these makes of a
//! configuration, `quorum` the arithmetic, `membership` the layout. What nobody thought of is searched for outside
//! this folder, by the core simulator (`sim/src/core`).

mod change;
mod core;
mod index;
mod membership;
mod node;
mod paper;
mod quorum;
mod repair;
mod script;
mod snapshot;
mod thesis;
mod trace;
