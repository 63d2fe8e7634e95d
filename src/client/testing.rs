//! Another way to connect than by TCP, for tests and simulations: in memory, under a runtime whose time they own.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::Uri;
use tower::Service;

/// What a connection can do.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Makes a connection to `host:port`.
type Connect = dyn Fn(String) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> + Send + Sync;

/// Makes connections.
#[derive(Clone)]
pub struct Connector(Arc<Connect>);

impl Connector {
    /// By this function of an address.
    pub fn new(
        connect: impl Fn(String) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> + Send + Sync + 'static,
    ) -> Connector {
        Connector(Arc::new(connect))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

type Wired = TokioIo<Box<dyn Wire>>;
type Connecting = BoxFuture<'static, io::Result<Wired>>;

/// As tonic wants it.
pub(super) fn service(
    Connector(connect): Connector,
) -> impl Service<Uri, Response = Wired, Error = io::Error, Future = Connecting> + Send + 'static {
    tower::service_fn(move |uri: Uri| -> Connecting {
        let connected = connect(uri.authority().map(ToString::to_string).unwrap_or_default());
        Box::pin(async move { connected.await.map(TokioIo::new) })
    })
}
