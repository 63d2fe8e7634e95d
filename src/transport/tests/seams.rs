//! A network whose connections can be cut, frozen and led astray, and a clock that can be set forward.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use crate::clock::{Clock, SharedClock, Sleep, SystemClock};
use crate::transport::net::{BoxStream, Listener, Net, NetFuture, TcpNet};
use crate::types::Monotonic;

/// The machine's network, as long as nothing else is asked of it.
#[derive(Default)]
pub struct Unruly(Mutex<State>);

#[derive(Default)]
struct State {
    /// Connections made before the last cut are closed.
    cuts: u64,
    is_frozen: bool,
    failure: Option<io::ErrorKind>,
    instead: Option<String>,
    connects: u64,
    wakers: Vec<Waker>,
}

impl Unruly {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics in here")
    }

    /// Closes all connections, from the other side.
    pub fn cut(&self) {
        self.state().cuts += 1;
        self.wake();
    }

    /// From now on nothing passes, in either direction, and no connection is made.
    pub fn freeze(&self) {
        self.state().is_frozen = true;
    }

    pub fn thaw(&self) {
        self.state().is_frozen = false;
        self.wake();
    }

    /// What comes of all attempts to connect.
    pub fn fail(&self, failure: Option<io::ErrorKind>) {
        self.state().failure = failure;
    }

    /// Where all connections lead.
    pub fn lead_to(&self, address: &str) {
        self.state().instead = Some(address.to_owned());
    }

    /// How often a connection was tried.
    pub fn connects(&self) -> u64 {
        self.state().connects
    }

    fn wake(&self) {
        let wakers = std::mem::take(&mut self.state().wakers);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The network as a node takes it.
#[derive(Clone)]
pub struct UnrulyNet(pub Arc<Unruly>);

impl Net for UnrulyNet {
    fn connect<'a>(&'a self, address: &'a str) -> NetFuture<'a, BoxStream> {
        Box::pin(async move {
            let (failure, is_frozen, cuts, address) = {
                let mut state = self.0.state();
                state.connects += 1;
                let address = state.instead.clone().unwrap_or_else(|| address.to_owned());
                (state.failure, state.is_frozen, state.cuts, address)
            };
            if is_frozen {
                std::future::pending::<()>().await;
            }
            if let Some(failure) = failure {
                return Err(failure.into());
            }
            let inner = TcpNet::shared().connect(&address).await?;
            Ok(Box::new(UnrulyStream { inner, net: Arc::clone(&self.0), cuts }) as BoxStream)
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> NetFuture<'a, Box<dyn Listener>> {
        Box::pin(async move { TcpNet::shared().bind(address).await })
    }
}

struct UnrulyStream {
    inner: BoxStream,
    net: Arc<Unruly>,
    cuts: u64,
}

impl UnrulyStream {
    /// Whether the connection is cut; pending while it is frozen.
    fn poll_cut(&self, context: &Context<'_>) -> Poll<bool> {
        let mut state = self.net.state();
        state.wakers.push(context.waker().clone());
        if state.is_frozen { Poll::Pending } else { Poll::Ready(state.cuts > self.cuts) }
    }
}

impl AsyncRead for UnrulyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match std::task::ready!(self.poll_cut(context)) {
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut self.inner).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for UnrulyStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match std::task::ready!(self.poll_cut(context)) {
            true => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            false => Pin::new(&mut self.inner).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// The machine's clock, and what it was set forward by.
pub struct Forward {
    inner: SharedClock,
    ahead: watch::Sender<Duration>,
}

impl Forward {
    pub fn start() -> Arc<Forward> {
        Arc::new(Forward { inner: SystemClock::shared(), ahead: watch::Sender::new(Duration::ZERO) })
    }

    pub fn jump(&self, by: Duration) {
        self.ahead.send_modify(|ahead| *ahead += by);
    }
}

impl Clock for Forward {
    fn now(&self) -> Monotonic {
        self.inner.now().plus(*self.ahead.borrow())
    }

    fn wall_ms(&self) -> u64 {
        self.inner.wall_ms()
    }

    fn sleep_until(&self, deadline: Monotonic) -> Sleep {
        let inner = Arc::clone(&self.inner);
        let mut ahead = self.ahead.subscribe();
        Box::pin(async move {
            loop {
                let left = deadline.since(inner.now().plus(*ahead.borrow_and_update()));
                if left.is_zero() {
                    return;
                }
                tokio::select! {
                    () = inner.sleep_until(inner.now().plus(left)) => {}
                    _ = ahead.changed() => {}
                }
            }
        })
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }
}
