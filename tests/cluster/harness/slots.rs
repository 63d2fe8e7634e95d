//! Addresses and room. Each test takes a block `127.x.y.0/24` of the loopback network and gives it back at its end.
//!
//! A block is claimed by listening on one port of it, so two runs of the tests on one machine never share one, and a
//! block whose owner was killed is free again at once. The number of nodes that run at a time is bounded, however
//! many threads the test runner uses: a machine that is choked would only show its own limits.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};

/// Nodes that may run at once over all tests: two clusters of three.
const NODES_MAX: usize = 6;
const CLAIM_PORT: u16 = 16_999;
const HTTP_PORT: u16 = 18_081;
const PEER_PORT: u16 = 17_001;
const GRPC_PORT: u16 = 19_001;

static NEXT: AtomicU32 = AtomicU32::new(0);
static ROOM: Mutex<usize> = Mutex::new(NODES_MAX);
static ROOM_CHANGED: Condvar = Condvar::new();

/// A test's own addresses and its share of the room.
pub struct Slot {
    block: (u8, u8),
    nodes: usize,
    _claim: TcpListener,
}

impl Slot {
    /// Waits for room for `nodes` nodes and claims a block.
    pub fn claim(nodes: usize) -> Slot {
        let nodes = nodes.min(NODES_MAX);
        let mut room = ROOM.lock().expect("no holder of the room lock panics");
        while *room < nodes {
            room = ROOM_CHANGED.wait(room).expect("no holder of the room lock panics");
        }
        *room -= nodes;
        drop(room);
        for _ in 0..60_000 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let block = (1 + (number / 250 % 240) as u8, 1 + (number % 250) as u8);
            if let Ok(claim) = TcpListener::bind((format!("127.{}.{}.254", block.0, block.1), CLAIM_PORT)) {
                return Slot { block, nodes, _claim: claim };
            }
        }
        panic!("no free block of loopback addresses: does this machine route 127.0.0.0/8?");
    }

    /// An address of the block.
    pub fn ip(&self, host: u64) -> String {
        assert!((1..=253).contains(&host), "host {host} is outside the block");
        format!("127.{}.{}.{host}", self.block.0, self.block.1)
    }

    /// Where node `id` serves REST.
    pub fn http(&self, id: u64) -> String {
        format!("{}:{HTTP_PORT}", self.ip(id))
    }

    /// Where node `id` listens for peers.
    pub fn peer(&self, id: u64) -> String {
        format!("{}:{PEER_PORT}", self.ip(id))
    }

    /// Where node `id` serves gRPC.
    pub fn grpc(&self, id: u64) -> String {
        format!("{}:{GRPC_PORT}", self.ip(id))
    }

    /// Where the relay to node `id` listens.
    pub fn relay(&self, id: u64) -> String {
        format!("{}:{PEER_PORT}", self.ip(100 + id))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Ok(mut room) = ROOM.lock() {
            *room += self.nodes;
            assert!(*room <= NODES_MAX, "{} nodes of room given back, {NODES_MAX} exist", *room);
        }
        ROOM_CHANGED.notify_all();
    }
}
