//! Connections in memory, which can be refused and cut.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::DuplexStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::client::testing::{Connector, Wire};

const BUFFER_BYTES: usize = 64 << 10;

/// All addresses at which somebody listens.
#[derive(Clone, Default)]
pub(super) struct Wires(Arc<Mutex<BTreeMap<String, Door>>>);

struct Door {
    accept: mpsc::Sender<DuplexStream>,
    runtime: Handle,
    is_up: bool,
    relays: Vec<AbortHandle>,
    connections: usize,
}

impl Wires {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Door>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens; what is accepted comes out.
    pub(super) fn listen(&self, address: &str) -> mpsc::Receiver<DuplexStream> {
        let (accept, accepted) = mpsc::channel(64);
        let door =
            Door { accept, runtime: Handle::current(), is_up: true, relays: Vec::new(), connections: 0 };
        self.lock().insert(address.to_owned(), door);
        accepted
    }

    /// How a client connects.
    pub(super) fn connector(&self) -> Connector {
        let wires = self.clone();
        Connector::new(move |address| {
            let connected = wires.connect(&address);
            Box::pin(async move { connected })
        })
    }

    fn connect(&self, address: &str) -> io::Result<Box<dyn Wire>> {
        let mut doors = self.lock();
        let door = doors.get_mut(address).filter(|door| door.is_up);
        let door = door.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (client, mut near) = tokio::io::duplex(BUFFER_BYTES);
        let (mut far, server) = tokio::io::duplex(BUFFER_BYTES);
        door.accept.try_send(server).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        let relay = door.runtime.spawn(async move {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
        door.relays.push(relay.abort_handle());
        door.connections += 1;
        Ok(Box::new(client))
    }

    /// Refuses new connections, and cuts those that there are.
    pub(super) fn take_down(&self, address: &str) {
        let mut doors = self.lock();
        let door = doors.get_mut(address).expect("somebody listens");
        door.is_up = false;
        door.relays.drain(..).for_each(|relay| relay.abort());
    }

    /// Accepts connections again.
    pub(super) fn bring_up(&self, address: &str) {
        self.lock().get_mut(address).expect("somebody listens").is_up = true;
    }

    /// How many connections there were to an address.
    pub(super) fn connections(&self, address: &str) -> usize {
        self.lock().get(address).map_or(0, |door| door.connections)
    }
}
