//! The network seam: how connections are made and accepted.
//!
//! Production passes [`TcpNet`]; the simulation passes turmoil's network. Host names are resolved at each connect, so
//! a name that does not resolve yet, or moves, is only a failed attempt.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection of either kind of network.
pub type BoxStream = Box<dyn Stream>;

/// A boxed future of this seam.
pub type NetFuture<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// A network.
pub trait Net: Send + Sync + 'static {
    /// Connects to `host:port`.
    fn connect<'a>(&'a self, address: &'a str) -> NetFuture<'a, BoxStream>;

    /// Listens at `host:port`; port 0 picks a free one.
    fn bind<'a>(&'a self, address: &'a str) -> NetFuture<'a, Box<dyn Listener>>;
}

/// A bound listen socket.
pub trait Listener: Send + Sync {
    /// The next connection, and the address it comes from.
    fn accept(&mut self) -> NetFuture<'_, (BoxStream, String)>;

    /// The bound address, `ip:port`.
    fn local_address(&self) -> io::Result<String>;
}

/// A network, shared by all parts of a node.
pub type SharedNet = Arc<dyn Net>;
