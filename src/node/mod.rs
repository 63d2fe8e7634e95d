//! The driver: the only place where core, disk, network and state machine meet.

pub mod executor;
