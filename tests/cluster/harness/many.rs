//! Many requests at once on one connection, over HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use super::poll::PATIENCE;

/// One connection to a node's REST port. Cheap to clone.
#[derive(Clone)]
pub struct Many {
    send: SendRequest<Bytes>,
    address: String,
}

/// What carries such connections.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Waits for what must come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patience: Duration = PATIENCE;
    match tokio::time::timeout(patience, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {patience:?} in vain for: {what}"),
    }
}

impl Many {
    /// Connects.
    pub async fn connect(address: &str) -> Many {
        let stream = TcpStream::connect(address).await.expect("the node listens");
        let (send, connection) = h2::client::handshake(stream).await.expect("the node speaks HTTP/2");
        tokio::spawn(async move {
            // Its end shows in the requests.
            let _ = connection.await;
        });
        Many { send, address: address.to_owned() }
    }

    /// Begins a write, and leaves its body open: it is under way until that comes.
    pub async fn begin_set(&self) -> (ResponseFuture, SendStream<Bytes>) {
        let request = Request::post(format!("http://{}/api/set", self.address))
            .header("content-type", "application/json")
            .header("x-quorate-timeout-ms", "120000")
            .body(())
            .expect("a request");
        let mut send = within("room for a stream", self.send.clone().ready()).await.expect("connected");
        send.send_request(request, false).expect("connected")
    }

    /// The body of a write.
    pub fn set_body(key: &str, value: &str) -> Bytes {
        json!({"key": key, "value": value}).to_string().into()
    }

    /// Sets each of these, so many at a time; all must succeed.
    pub async fn set_all(&self, pairs: impl Iterator<Item = (String, String)>, at_once: usize) {
        let mut done = futures_util::stream::iter(pairs)
            .map(|(key, value)| async move {
                let (response, mut body) = self.begin_set().await;
                body.send_data(Many::set_body(&key, &value), true).expect("connected");
                let status = within("an answer", response).await.expect("an answer").status();
                assert_eq!(status, 200, "set {key}");
            })
            .buffer_unordered(at_once);
        while done.next().await.is_some() {}
    }
}
