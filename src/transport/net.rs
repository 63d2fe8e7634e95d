//! The network seam: how connections are made and accepted.
//!
//! Production passes [`TcpNet`]; the simulation passes turmoil's network. Host names are resolved at each connect, so
//! a name that does not resolve yet, or moves, is only a failed attempt. Two kinds of failure mean more than that to
//! `evidence`, so every network must report them as what they are: see [`Net::connect`].

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
    ///
    /// # Errors
    /// `ConnectionRefused` exactly if a machine with this name answered, and nobody listens there; `NotFound` exactly if
    /// the name stands for no address. Both tell that no process serves at this address now. Anything else tells
    /// nothing.
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

    /// Listens no more, and hands out the connections that were made and wait to be accepted: to whoever made them they look
    /// like any other. A network that cannot tell breaks them.
    fn close(self: Box<Self>) -> Vec<BoxStream> {
        Vec::new()
    }
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
            let mut failure = None;
            for address in resolve(address).await? {
                match TcpStream::connect(address).await {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        return Ok(Box::new(stream) as BoxStream);
                    }
                    // Of several addresses all must refuse for the name to refuse.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        failure.get_or_insert(error);
                    }
                    Err(error) => failure = Some(error),
                }
            }
            Err(failure.unwrap_or_else(|| no_address(address)))
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

/// The addresses that a name stands for, looked up anew each time.
async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    match tokio::net::lookup_host(address).await {
        Ok(found) => Ok(found.collect()),
        // What has a number is the machine's own failure. All else is the resolver's answer; of a container that was
        // killed it may as well say that it could not find out as that there is none.
        Err(error) if error.raw_os_error().is_none() && error.kind() != io::ErrorKind::InvalidInput => {
            Err(io::Error::new(io::ErrorKind::NotFound, error))
        }
        Err(error) => Err(error),
    }
}

fn no_address(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} stands for no address"))
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
            Ok((accepted(stream), address.to_string()))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        self.local_addr().map(|address| address.to_string())
    }

    fn close(self: Box<Self>) -> Vec<BoxStream> {
        // The system is asked itself: what this program was told of the listener may be older than what waits there.
        let Ok(listener) = self.into_std() else { return Vec::new() };
        // No more than may wait there: somebody who connects again and again does not keep it from closing.
        let waiting = std::iter::from_fn(|| listener.accept().ok()).take(BACKLOG as usize);
        waiting.filter_map(|(stream, _)| Some(accepted(taken(stream).ok()?))).collect()
    }
}

fn taken(stream: std::net::TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

fn accepted(stream: TcpStream) -> BoxStream {
    // Fails only if the client is gone already, which the first read finds out.
    let _ = stream.set_nodelay(true);
    Box::new(stream)
}
