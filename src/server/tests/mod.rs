//! The serve loop and the services that are its own.

#![allow(clippy::disallowed_methods, reason = "a test bounds its waits by real time")]

mod grpc;
mod limits;
mod run;
mod serve;
mod settle;
mod version;
