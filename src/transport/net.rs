//! The network seam: how connections are made and accepted.
//!
//! Production passes [`TcpNet`]; the simulation passes turmoil's network. Host names are resolved at each connect, so
//! a name that does not resolve yet, or moves, is only a failed attempt.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

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

/// The machine's own network: TCP without delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNet;

impl TcpNet {
    /// The network, as the seam wants it.
    pub fn shared() -> SharedNet {
        Arc::new(TcpNet)
    }
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

impl Net for TcpNet {
    fn connect<'a>(&'a self, address: &'a str) -> NetFuture<'a, BoxStream> {
        Box::pin(async move {
            // Resolves the name anew each time, and tries all addresses it stands for.
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> NetFuture<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let mut last = None;
            for address in tokio::net::lookup_host(address).await? {
                match listen(address) {
                    Ok(listener) => return Ok(Box::new(listener) as Box<dyn Listener>),
                    Err(error) => last = Some(error),
                }
            }
            Err(last.unwrap_or_else(|| io::Error::other("the name stands for no address")))
        })
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted node gets its port back at once, although old connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

impl Listener for TcpListener {
    fn accept(&mut self) -> NetFuture<'_, (BoxStream, String)> {
        Box::pin(async move {
            let (stream, address) = TcpListener::accept(self).await?;
            // Fails only if the client is gone already, which the first read finds out.
            let _ = stream.set_nodelay(true);
            Ok((Box::new(stream) as BoxStream, address.to_string()))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        self.local_addr().map(|address| address.to_string())
    }
}
