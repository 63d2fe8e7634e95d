//! The serve loop and the services that are its own.

mod grpc;
mod serve;
