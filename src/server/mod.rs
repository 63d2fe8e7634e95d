//! The composition root.

pub mod grpc;
pub mod serve;
#[cfg(test)]
mod tests;
