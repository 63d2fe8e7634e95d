//! Tests of the state machine as a whole.

mod basics;
mod support;
