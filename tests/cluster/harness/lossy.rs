//! A way to a node on which answers get lost: all that comes back once the client has sent certain bytes. What it asked for with
//! them is done, and it never hears of that.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A relay to a node, open until it is dropped.
pub struct Lossy {
    address: String,
    shared: Arc<Shared>,
    accept: Option<JoinHandle<()>>,
}

struct Shared {
    target: String,
    mark: Vec<u8>,
    /// Whether a client has sent the mark. From then on nothing comes back, on no connection.
    has_lost: AtomicBool,
    is_closed: AtomicBool,
}

impl Lossy {
    /// From `address` to `target`, until a client sends `mark`.
    pub fn open(address: &str, target: &str, mark: &[u8]) -> Lossy {
        assert!(!mark.is_empty(), "an empty mark is everywhere");
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("relay {address}: {error}"));
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            mark: mark.to_vec(),
            has_lost: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let accept = std::thread::spawn(move || accepting.accept(&listener));
        Lossy { address: address.to_owned(), shared, accept: Some(accept) }
    }

    /// Whether the mark was sent.
    pub fn has_lost(&self) -> bool {
        self.shared.has_lost.load(Ordering::SeqCst)
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        // One last connection wakes the accept loop, which then sees that it is over.
        let _ = TcpStream::connect(&self.address);
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Shared>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.is_closed.load(Ordering::SeqCst) {
                return;
            }
            let Ok(client) = client else { continue };
            // That the node is not there is told by the end of the connection.
            let Ok(node) = TcpStream::connect(&self.target) else { continue };
            let _ = client.set_nodelay(true);
            let _ = node.set_nodelay(true);
            let clone = |stream: &TcpStream| stream.try_clone().expect("descriptors are plenty in a test");
            let there = (clone(&client), clone(&node));
            for (source, sink, is_client) in [(there.0, there.1, true), (node, client, false)] {
                let shared = Arc::clone(self);
                std::thread::spawn(move || shared.pump(source, sink, is_client));
            }
        }
    }

    fn pump(&self, mut source: TcpStream, mut sink: TcpStream, is_client: bool) {
        let mut buffer = vec![0; 64 << 10];
        let mut sent = Vec::new();
        while let Ok(count @ 1..) = source.read(&mut buffer) {
            let bytes = &buffer[..count];
            if is_client {
                // The mark may come in two parts. It is seen before the node can have all of it, and answer.
                sent.extend_from_slice(bytes);
                if sent.windows(self.mark.len()).any(|part| part == self.mark.as_slice()) {
                    self.has_lost.store(true, Ordering::SeqCst);
                }
            } else if self.has_lost.load(Ordering::SeqCst) {
                continue;
            }
            if sink.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = sink.shutdown(Shutdown::Both);
        let _ = source.shutdown(Shutdown::Both);
    }
}
