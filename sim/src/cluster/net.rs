//! The network seam over turmoil's network.
//!
//! turmoil delays, drops and holds segments; this module adds what belongs to a node rather than to a link. A
//! connection obeys its node's power: while it is paused nothing is read or written, once it is cut nothing ever is.
//! Every stretch of bytes that a node reads enters the trace.
//!
//! turmoil does not send a lost segment again, so a connection that lost one stays mute for ever, where real TCP
//! would go on after a partition of seconds. Two models of a partition make up for it: one *holds* segments until
//! it heals (TCP that retransmitted), one *drops* them and resets, at the end, the connections that crossed it (TCP
//! that gave up): [`Wires::reset_between`] does that.
//!
//! When a host goes down its tasks are dropped in an order that depends on tokio's task numbers, and those on what the
//! process ran before. So the sockets of a node without power are not closed where they are dropped but laid aside,
//! and closed in the order in which they were opened ([`Graves`]): the order in which peers hear of it is the seed's.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use quorate::transport::net::{BoxStream, Listener, Net, NetFuture, SharedNet};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::cluster::power::SharedPower;
use crate::trace::SharedTrace;

/// How long a connection attempt to a machine that runs, but not the process, takes to be refused.
const REFUSAL: Duration = Duration::from_millis(1);

/// All connections of a run, so that faults can find them.
#[derive(Debug, Default)]
pub struct Wires {
    state: Mutex<WiresState>,
}

#[derive(Debug, Default)]
struct WiresState {
    next: u64,
    ends: BTreeMap<u64, Weak<End>>,
    /// Machines whose process died while they run on: they refuse.
    refusing: BTreeSet<String>,
    /// Sockets of nodes without power, by host and in the order of their opening.
    dead: BTreeMap<String, BTreeMap<u64, Socket>>,
}

/// A socket that is to be closed.
enum Socket {
    Stream { _inner: TcpStream },
    Listener { _inner: TcpListener },
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Socket")
    }
}

/// Closes what a host's dead boot had open, when it is dropped: after all tasks of that boot, but while the host is
/// still the one whose turn it is.
#[derive(Debug)]
pub struct Graves {
    wires: Arc<Wires>,
    host: String,
}

impl Graves {
    /// The graves of `host`.
    pub fn of(host: &str, wires: &Arc<Wires>) -> Graves {
        Graves { wires: wires.clone(), host: host.to_owned() }
    }
}

impl Drop for Graves {
    fn drop(&mut self) {
        let dead = self.wires.lock().dead.remove(&self.host).unwrap_or_default();
        dead.into_values().for_each(drop);
    }
}

/// One end of a connection.
#[derive(Debug)]
struct End {
    number: u64,
    local: String,
    remote: String,
    state: Mutex<EndState>,
}

#[derive(Debug, Default)]
struct EndState {
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Wires {
    /// Resets every connection between two hosts. False if there is none.
    pub fn reset_between(&self, a: &str, b: &str) -> bool {
        let ends = self.ends_between(a, b);
        let is_any = !ends.is_empty();
        reset(ends);
        is_any
    }

    /// Resets one end of one connection between two hosts; the other end hears of it as TCP lets it hear. Which one,
    /// `drawn` decides.
    pub fn reset_one_between(&self, a: &str, b: &str, drawn: usize) -> bool {
        let ends = self.ends_between(a, b);
        if ends.is_empty() {
            return false;
        }
        reset(vec![ends[drawn % ends.len()].clone()]);
        true
    }

    fn ends_between(&self, a: &str, b: &str) -> Vec<Arc<End>> {
        let state = self.lock();
        let ends = state.ends.values().filter_map(Weak::upgrade);
        ends.filter(|end| (end.local == a && end.remote == b) || (end.local == b && end.remote == a))
            .collect()
    }

    /// Whether attempts to connect to `host` are refused at once.
    pub fn set_refusing(&self, host: &str, refusing: bool) {
        let mut state = self.lock();
        if refusing {
            state.refusing.insert(host.to_owned());
        } else {
            state.refusing.remove(host);
        }
    }

    fn is_refusing(&self, host: &str) -> bool {
        self.lock().refusing.contains(host)
    }

    fn register(&self, local: &str, remote: &str) -> Arc<End> {
        let number = self.number();
        let (local, remote) = (local.to_owned(), remote.to_owned());
        let end = Arc::new(End { number, local, remote, state: Mutex::default() });
        let mut state = self.lock();
        state.ends.retain(|_, end| end.strong_count() > 0);
        state.ends.insert(number, Arc::downgrade(&end));
        end
    }

    fn number(&self) -> u64 {
        let mut state = self.lock();
        state.next += 1;
        state.next
    }

    fn bury(&self, host: &str, number: u64, socket: Socket) {
        self.lock().dead.entry(host.to_owned()).or_default().insert(number, socket);
    }

    fn lock(&self) -> MutexGuard<'_, WiresState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn reset(ends: Vec<Arc<End>>) {
    let mut wakers = Vec::new();
    for end in ends {
        let mut state = end.lock();
        state.reset = true;
        wakers.extend(state.reader.take());
        wakers.extend(state.writer.take());
    }
    wakers.into_iter().for_each(Waker::wake);
}

impl End {
    fn lock(&self) -> MutexGuard<'_, EndState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The network as one boot of one host sees it.
#[derive(Clone, Debug)]
pub struct HostNet {
    host: String,
    power: SharedPower,
    wires: Arc<Wires>,
    trace: SharedTrace,
}

impl HostNet {
    /// The network of `host`, as long as `power` lasts.
    pub fn new(host: &str, power: SharedPower, wires: Arc<Wires>, trace: SharedTrace) -> HostNet {
        HostNet { host: host.to_owned(), power, wires, trace }
    }

    /// The network as the seam takes it.
    pub fn shared(self) -> SharedNet {
        Arc::new(self)
    }

    fn stream(&self, inner: TcpStream, remote: &str) -> BoxStream {
        Box::new(SimStream {
            inner: Some(inner),
            power: self.power.clone(),
            end: self.wires.register(&self.host, remote),
            wires: self.wires.clone(),
            trace: self.trace.clone(),
        })
    }
}

impl Net for HostNet {
    fn connect<'a>(&'a self, address: &'a str) -> NetFuture<'a, BoxStream> {
        Box::pin(async move {
            self.power.running().await;
            let remote = address.rsplit_once(':').map_or(address, |(host, _)| host);
            if self.wires.is_refusing(remote) {
                tokio::time::sleep(REFUSAL).await;
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let connected = TcpStream::connect(address).await;
            self.power.running().await;
            let outcome = connected.as_ref().map_or_else(|error| error.kind().to_string(), |_| "done".into());
            self.trace.record(&self.host, "connect", format_args!("{address} {outcome}"), &[]);
            Ok(self.stream(connected?, remote))
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> NetFuture<'a, Box<dyn Listener>> {
        Box::pin(async move {
            self.power.running().await;
            let inner = TcpListener::bind(address).await?;
            let number = self.wires.number();
            Ok(Box::new(SimListener { inner: Some(inner), number, net: self.clone() }) as Box<dyn Listener>)
        })
    }
}

struct SimListener {
    /// There until the drop.
    inner: Option<TcpListener>,
    number: u64,
    net: HostNet,
}

impl SimListener {
    fn inner(&self) -> &TcpListener {
        self.inner.as_ref().expect("it is not dropped")
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take().filter(|_| self.net.power.is_cut()) {
            self.net.wires.bury(&self.net.host, self.number, Socket::Listener { _inner: inner });
        }
    }
}

impl Listener for SimListener {
    fn accept(&mut self) -> NetFuture<'_, (BoxStream, String)> {
        Box::pin(async move {
            self.net.power.running().await;
            let (stream, from) = self.inner().accept().await?;
            self.net.power.running().await;
            let remote = host_name(from);
            let port = self.inner().local_addr()?.port();
            self.net.trace.record(&self.net.host, "accept", format_args!("{port} from {remote}"), &[]);
            Ok((self.net.stream(stream, &remote), from.to_string()))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.inner().local_addr()?.to_string())
    }
}

fn host_name(address: SocketAddr) -> String {
    turmoil::reverse_lookup(address.ip()).unwrap_or_else(|| address.ip().to_string())
}

struct SimStream {
    /// There until the drop.
    inner: Option<TcpStream>,
    power: SharedPower,
    end: Arc<End>,
    wires: Arc<Wires>,
    trace: SharedTrace,
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take().filter(|_| self.power.is_cut()) {
            self.wires.bury(&self.end.local, self.end.number, Socket::Stream { _inner: inner });
        }
    }
}

impl SimStream {
    fn inner(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.inner.as_mut().expect("it is not dropped"))
    }

    /// Passes while the node runs and the connection is not reset.
    fn poll_usable(
        &self,
        context: &mut Context<'_>,
        waker: impl FnOnce(&mut EndState) -> &mut Option<Waker>,
    ) -> Poll<io::Result<()>> {
        ready!(self.power.poll_running(context));
        let mut state = self.end.lock();
        if state.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        *waker(&mut state) = Some(context.waker().clone());
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_usable(context, |state| &mut state.reader))?;
        let before = buf.filled().len();
        let result = ready!(self.inner().poll_read(context, buf));
        let from = &self.end.remote;
        match &result {
            Ok(()) => {
                let bytes = &buf.filled()[before..];
                self.trace.record(&self.end.local, "receive", format_args!("from {from}"), bytes);
            }
            Err(error) => {
                let error = error.kind();
                self.trace.record(&self.end.local, "broken", format_args!("from {from}: {error}"), &[]);
            }
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_usable(context, |state| &mut state.writer))?;
        self.inner().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_usable(context, |state| &mut state.writer))?;
        self.inner().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_usable(context, |state| &mut state.writer))?;
        self.inner().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::cluster::power::Power;
    use crate::trace::Trace;

    /// An echo server, and what a client of it needs.
    struct Fixture {
        sim: turmoil::Sim<'static>,
        wires: Arc<Wires>,
        power: SharedPower,
        client: SharedNet,
        said: Rc<RefCell<Vec<String>>>,
    }

    fn fixture() -> Fixture {
        let mut sim = turmoil::Builder::new().rng_seed(1).build();
        let trace = Trace::new(crate::cluster::entropy::now, None).expect("no sink to fail");
        let (wires, power) = (Arc::new(Wires::default()), Power::on());
        let server = HostNet::new("node1", power.clone(), wires.clone(), trace.clone()).shared();
        sim.host("node1", move || {
            let server = server.clone();
            async move {
                let mut listener = server.bind("0.0.0.0:7").await?;
                loop {
                    let (mut stream, _) = listener.accept().await?;
                    tokio::spawn(async move {
                        let (mut read, mut write) = tokio::io::split(&mut stream);
                        drop(tokio::io::copy(&mut read, &mut write).await);
                    });
                }
            }
        });
        let client = HostNet::new("clients", Power::on(), wires.clone(), trace).shared();
        Fixture { sim, wires, power, client, said: Rc::default() }
    }

    impl Fixture {
        /// A client that connects, then says one thing after another and notes what comes back.
        fn talk(&mut self) {
            let (client, said) = (self.client.clone(), self.said.clone());
            let note = move |text: String| said.borrow_mut().push(text);
            self.sim.client("clients", async move {
                let mut stream = match client.connect("node1:7").await {
                    Ok(stream) => stream,
                    Err(error) => {
                        note(error.kind().to_string());
                        return Ok(());
                    }
                };
                loop {
                    let mut bytes = [0; 4];
                    if let Err(error) = stream.write_all(b"ping").await {
                        note(error.kind().to_string());
                        return Ok(());
                    }
                    match stream.read_exact(&mut bytes).await {
                        Ok(_) => note(String::from_utf8_lossy(&bytes).into_owned()),
                        Err(error) => {
                            note(error.kind().to_string());
                            return Ok(());
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }

        fn step(&mut self, ms: u64) {
            for _ in 0..ms {
                self.sim.step().expect("no host fails");
            }
        }

        fn said(&self) -> usize {
            self.said.borrow().len()
        }
    }

    #[test]
    fn a_paused_node_answers_late_and_a_cut_one_never() {
        let mut fixture = fixture();
        fixture.talk();
        fixture.step(1_000);
        let before = fixture.said();
        assert!(before > 1, "the echo works");
        fixture.power.pause();
        fixture.step(1_000);
        assert!(fixture.said() <= before + 1, "what was under way");
        let before = fixture.said();
        fixture.power.resume();
        fixture.step(1_000);
        assert!(fixture.said() > before);
        fixture.power.cut();
        fixture.step(1_000);
        let before = fixture.said();
        fixture.step(5_000);
        assert_eq!(fixture.said(), before);
    }

    #[test]
    fn a_reset_reaches_both_ends_and_no_others() {
        let mut fixture = fixture();
        fixture.talk();
        fixture.step(1_000);
        fixture.wires.reset_between("node1", "node2");
        fixture.step(1_000);
        assert_eq!(fixture.said.borrow().last().map(String::as_str), Some("ping"));
        fixture.wires.reset_between("clients", "node1");
        fixture.step(1_000);
        assert_eq!(fixture.said.borrow().last().map(String::as_str), Some("connection reset"));
    }

    #[test]
    fn a_dead_process_refuses() {
        let mut fixture = fixture();
        fixture.wires.set_refusing("node1", true);
        fixture.talk();
        fixture.step(1_000);
        assert_eq!(*fixture.said.borrow(), ["connection refused"]);
    }
}
