//! A network that can be cut: TCP relays between peers.
//!
//! All nodes are told the relays' addresses instead of each other's: one relay stands before each node. Who dialled
//! is read from the kernel (the socket's owner), so a cut names an ordered pair `from -> to` whatever addresses the
//! nodes learn from each other, and whoever of the two opened the connection. What is cut off is held back, as by a
//! network that loses packets and TCP that repeats them: after healing it arrives, late.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::poll::try_poll_until;

/// The relays of one cluster, and which pairs are cut.
pub struct Network {
    shared: Arc<Shared>,
    listeners: Vec<(String, JoinHandle<()>)>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    closed: AtomicBool,
}

#[derive(Default)]
struct State {
    cut: BTreeSet<(u64, u64)>,
    /// Process id of each node that runs: the owner of a socket is one of these.
    pids: BTreeMap<u64, u32>,
    /// Both ends of every connection that lasts, to end its pumps.
    connections: BTreeMap<u64, (TcpStream, TcpStream)>,
    connections_next: u64,
}

impl Network {
    /// Opens one relay for each `(node, relay address, node's own address)`.
    pub fn open(relays: Vec<(u64, String, String)>) -> Network {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            closed: AtomicBool::new(false),
        });
        let mut listeners = Vec::new();
        for (to, address, target) in relays {
            let listener =
                TcpListener::bind(&address).unwrap_or_else(|error| panic!("relay {address}: {error}"));
            let shared = Arc::clone(&shared);
            let accept = std::thread::spawn(move || shared.accept(&listener, to, &target));
            listeners.push((address, accept));
        }
        Network { shared, listeners }
    }

    /// Tells the relays which process is node `id`.
    pub fn set_pid(&self, id: u64, pid: u32) {
        self.shared.lock().pids.insert(id, pid);
    }

    /// Holds back everything that `from` sends to `to`.
    pub fn cut(&self, from: u64, to: u64) {
        self.shared.lock().cut.insert((from, to));
    }

    /// Holds back everything between `id` and each of `others`, both ways.
    pub fn isolate(&self, id: u64, others: &[u64]) {
        let mut state = self.shared.lock();
        for &other in others {
            assert_ne!(id, other, "a node is not cut off from itself");
            state.cut.insert((id, other));
            state.cut.insert((other, id));
        }
    }

    /// Holds back everything between the two sides, both ways.
    pub fn split(&self, one: &[u64], other: &[u64]) {
        for &id in one {
            self.isolate(id, other);
        }
    }

    /// Lets everything through again; what was held back arrives now.
    pub fn heal(&self) {
        self.shared.lock().cut.clear();
        self.shared.changed.notify_all();
    }

    /// Breaks every connection, as a router that restarts. What a cut holds back is lost with them.
    pub fn reset(&self) {
        for (dialer, node) in self.shared.lock().connections.values() {
            let _ = dialer.shutdown(Shutdown::Both);
            let _ = node.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.reset();
        self.shared.changed.notify_all();
        for (address, accept) in self.listeners.drain(..) {
            // One last connection wakes the accept loop, which then sees that it is over.
            let _ = TcpStream::connect(&address);
            let _ = accept.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn accept(self: Arc<Shared>, listener: &TcpListener, to: u64, target: &str) {
        for dialer in listener.incoming() {
            if self.closed.load(Ordering::SeqCst) {
                return;
            }
            let Ok(dialer) = dialer else { continue };
            let (shared, target) = (Arc::clone(&self), target.to_owned());
            // Each on its own: one whose dialer cannot be found takes a while, and behind a queue of these every dialer
            // would have given up before its turn came.
            std::thread::spawn(move || shared.admit(dialer, to, &target));
        }
    }

    fn admit(self: &Arc<Shared>, dialer: TcpStream, to: u64, target: &str) {
        let Some(from) = self.owner(&dialer) else {
            // The dialer is gone, or is no node of this cluster.
            let _ = dialer.shutdown(Shutdown::Both);
            return;
        };
        match TcpStream::connect(target) {
            Ok(node) => self.join(dialer, node, from, to),
            Err(_) => drop(dialer.shutdown(Shutdown::Both)),
        }
    }

    /// Starts the two pumps of one connection.
    fn join(self: &Arc<Shared>, dialer: TcpStream, node: TcpStream, from: u64, to: u64) {
        let _ = dialer.set_nodelay(true);
        let _ = node.set_nodelay(true);
        let clone = |stream: &TcpStream| stream.try_clone().expect("descriptors are plenty in a test");
        let mut state = self.lock();
        let number = state.connections_next;
        state.connections_next += 1;
        state.connections.insert(number, (clone(&dialer), clone(&node)));
        drop(state);
        let pairs = [(clone(&dialer), clone(&node), (from, to)), (node, dialer, (to, from))];
        for (source, sink, direction) in pairs {
            let shared = Arc::clone(self);
            std::thread::spawn(move || {
                shared.pump(source, sink, direction);
                // A pump that ends has closed both ends: nothing is left to break.
                shared.lock().connections.remove(&number);
            });
        }
    }

    fn pump(&self, mut source: TcpStream, mut sink: TcpStream, direction: (u64, u64)) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = source.read(&mut buffer) {
            self.wait_open(direction);
            if self.closed.load(Ordering::SeqCst) || sink.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // The end of a connection is news, too: it does not pass a cut either.
        self.wait_open(direction);
        let _ = sink.shutdown(Shutdown::Both);
        let _ = source.shutdown(Shutdown::Both);
    }

    fn wait_open(&self, direction: (u64, u64)) {
        let mut state = self.lock();
        while state.cut.contains(&direction) && !self.closed.load(Ordering::SeqCst) {
            let (next, _) = self
                .changed
                .wait_timeout(state, Duration::from_secs(1))
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            state = next;
        }
    }

    /// Which node holds the other end of an accepted connection. The kernel's table may pass over a line while others
    /// come and go, so one look may not be enough.
    fn owner(&self, accepted: &TcpStream) -> Option<u64> {
        try_poll_until(Duration::from_millis(300), || self.find_owner(accepted))
    }

    fn find_owner(&self, accepted: &TcpStream) -> Option<u64> {
        // Both ends name a connection: one port of the dialer's may lead to several places, most of them long closed.
        let (local, remote) = (in_table(accepted.peer_addr().ok()?)?, in_table(accepted.local_addr().ok()?)?);
        let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
        let inode = table.lines().skip(1).find_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let is_it = columns.get(1) == Some(&local.as_str()) && columns.get(2) == Some(&remote.as_str());
            is_it.then(|| columns.get(9).map(|inode| (*inode).to_owned()))?
        })?;
        let socket = format!("socket:[{inode}]");
        let pids = self.lock().pids.clone();
        pids.into_iter().find(|(_, pid)| holds(*pid, &socket)).map(|(id, _)| id)
    }
}

/// An address as /proc/net/tcp writes it.
fn in_table(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port()))
}

/// Whether process `pid` has the file `name` open.
fn holds(pid: u32, name: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .flatten()
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .any(|target| target.as_os_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::poll::{PATIENCE, poll_until};
    use crate::harness::slots::Slot;

    /// The next connection.
    fn accepted(listener: &TcpListener) -> TcpStream {
        listener.set_nonblocking(true).expect("a socket option");
        let stream = poll_until("the relay to dial on", PATIENCE, || listener.accept().ok()).0;
        stream.set_nonblocking(false).expect("a socket option");
        stream
    }

    /// Reads what is there within a moment.
    fn arrived(stream: &mut TcpStream) -> Vec<u8> {
        stream.set_read_timeout(Some(Duration::from_millis(150))).expect("a socket option");
        let mut buffer = [0; 64];
        match stream.read(&mut buffer) {
            Ok(count) => buffer[..count].to_vec(),
            Err(_) => Vec::new(),
        }
    }

    #[test]
    fn a_cut_holds_back_one_direction_and_healing_delivers() {
        let slot = Slot::claim(1);
        let node = TcpListener::bind(slot.peer(2)).expect("a free address");
        let network = Network::open(vec![(2, slot.relay(2), slot.peer(2))]);
        // This process plays node 1.
        network.set_pid(1, std::process::id());
        let mut dialer = TcpStream::connect(slot.relay(2)).expect("the relay listens");
        let mut far = accepted(&node);
        dialer.write_all(b"one").expect("open");
        assert_eq!(arrived(&mut far), b"one");

        network.cut(1, 2);
        dialer.write_all(b"two").expect("open");
        assert_eq!(arrived(&mut far), b"", "1 -> 2 is cut");
        far.write_all(b"back").expect("open");
        assert_eq!(arrived(&mut dialer), b"back", "2 -> 1 is not");
        network.heal();
        assert_eq!(arrived(&mut far), b"two", "what was held back arrives late");

        network.isolate(1, &[2]);
        far.write_all(b"three").expect("open");
        assert_eq!(arrived(&mut dialer), b"");
        network.reset();
        let mut again = TcpStream::connect(slot.relay(2)).expect("the relay listens");
        let mut far = accepted(&node);
        again.write_all(b"four").expect("open");
        assert_eq!(arrived(&mut far), b"", "a new connection is cut as well");
        network.heal();
        assert_eq!(arrived(&mut far), b"four");
    }

    #[test]
    fn a_stranger_does_not_get_through() {
        let slot = Slot::claim(1);
        let node = TcpListener::bind(slot.peer(2)).expect("a free address");
        let _network = Network::open(vec![(2, slot.relay(2), slot.peer(2))]);
        let mut stranger = TcpStream::connect(slot.relay(2)).expect("the relay listens");
        let mut buffer = [0; 1];
        assert!(matches!(stranger.read(&mut buffer), Ok(0) | Err(_)), "the connection ends");
        node.set_nonblocking(true).expect("a socket option");
        assert!(node.accept().is_err(), "nobody was passed on");
    }
}
