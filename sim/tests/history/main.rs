//! The checker of histories under test: histories made by hand, good and bad, and random ones against a checker that is
//! too simple to be wrong.

mod bad;
mod good;
mod script;
mod twin;
