//! Transports on loopback, and the pieces on their own.

mod codec;
mod forward;
mod frame;
mod handshake;
mod harness;
mod hostile;
mod lanes;
