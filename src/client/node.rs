//! One node as the client sees it: its address, its connection, and whether it did well lately.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint, Uri};

use super::edge::{Entropy, Instant};
use super::error::{Error, ErrorKind, Failure};
use super::pipe::Pipe;
use super::ticket::Answer;
use crate::proto::v1::admin_client::AdminClient;
use crate::proto::v1::operation::Request;

/// A node that failed is left alone for up to this, doubled with each further failure.
const REST_BASE: Duration = Duration::from_millis(100);
/// At most for this.
const REST_MAX: Duration = Duration::from_secs(5);
/// Pings on a connection, idle or not, at this distance.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// One that is not answered by then ends the connection.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a node is: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address(Arc<str>);

impl Address {
    /// Reads `host:port` or `http://host:port`.
    ///
    /// # Errors
    /// It is neither.
    pub(super) fn parse(text: &str) -> Result<Address, Error> {
        let wrong = |why: &str| {
            let text = format!("{text:?} is no endpoint: {why}; give host:port or http://host:port");
            Error::new(ErrorKind::Invalid, text)
        };
        let authority = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
                rest.strip_suffix('/').unwrap_or(rest)
            }
            Some((scheme, _)) => return Err(wrong(&format!("the scheme {scheme} is not known"))),
        };
        let uri: Uri =
            format!("http://{authority}").parse().map_err(|_| wrong("it cannot be read as an address"))?;
        let parts = uri.authority().filter(|parts| parts.as_str() == authority);
        let parts = parts.ok_or_else(|| wrong("there is more than an address"))?;
        if parts.port_u16().is_none_or(|port| port == 0) || parts.host().is_empty() {
            return Err(wrong("host and port are needed"));
        }
        if authority.contains('@') {
            return Err(wrong("there is no authentication"));
        }
        Ok(Address(authority.to_ascii_lowercase().into()))
    }

    /// `host:port`.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// How connections are made.
#[derive(Clone)]
pub(super) struct Dial {
    pub connect_timeout: Duration,
    pub runtime: Handle,
    /// Instead of TCP: how tests, and simulations, connect.
    #[cfg(all(feature = "server", any(test, feature = "testing")))]
    pub connector: Option<super::testing::Connector>,
}

impl Dial {
    /// A channel that connects when it is first used, and again whenever it is used and not connected.
    fn channel(&self, address: &Address) -> Channel {
        let uri: Uri = format!("http://{}", address.as_str()).parse().expect("addresses are checked");
        let endpoint = Endpoint::from(uri)
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        // The channel's own task is to be spawned where all others are, whoever asks first.
        let _entered = self.runtime.enter();
        #[cfg(all(feature = "server", any(test, feature = "testing")))]
        if let Some(connector) = &self.connector {
            return endpoint.connect_with_connector_lazy(super::testing::service(connector.clone()));
        }
        endpoint.connect_lazy()
    }
}

/// A node.
pub(super) struct Node {
    pub address: Address,
    runtime: Handle,
    channel: Channel,
    pipe: Mutex<Option<Pipe>>,
    /// Failures since it did well.
    failures: AtomicU32,
    rests_until: Mutex<Option<Instant>>,
}

impl Node {
    /// A node that is not connected yet.
    pub(super) fn new(address: Address, dial: &Dial) -> Arc<Node> {
        let channel = dial.channel(&address);
        Arc::new(Node {
            address,
            runtime: dial.runtime.clone(),
            channel,
            pipe: Mutex::default(),
            failures: AtomicU32::new(0),
            rests_until: Mutex::default(),
        })
    }

    /// Asks it, over the stream that all callers share. It is to answer before `until`; that is awaited until `patience`.
    ///
    /// Patience outlasts what the node was given, unless the caller's own deadline cut it short. Where it did not, the node
    /// hangs, or cannot be reached: its stream is ended, so that what else is under way there need not wait as long. Where it
    /// did, the node is to blame if it said nothing to anybody all that time.
    pub(super) async fn ask(
        &self,
        request: Request,
        now: Instant,
        until: Instant,
        patience: Instant,
    ) -> Answer {
        let pipe = self.pipe();
        let answer = pipe.ask(request, until, patience).await;
        let Err(Failure::Late { was_sent, .. }) = answer else { return answer };
        let is_over = patience > until;
        if is_over {
            pipe.end("the node did not answer in time");
        }
        let is_the_nodes = is_over || !pipe.has_heard_since(now);
        Err(Failure::Late { was_sent, is_the_nodes })
    }

    /// What operators ask of it.
    pub(super) fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone())
    }

    fn pipe(&self) -> Pipe {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        match &*pipe {
            Some(pipe) if pipe.is_open() => pipe.clone(),
            _ => pipe.insert(Pipe::open(self.channel.clone(), &self.runtime)).clone(),
        }
    }

    /// It did well.
    pub(super) fn praise(&self) {
        // Nearly always there is nothing to change.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// It failed: it is left alone for a while, if there is another one.
    pub(super) fn blame(&self, now: Instant, entropy: &Entropy) {
        let mut rests_until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        // All that were lost together are one failure.
        if rests_until.is_some_and(|until| now < until) {
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(10);
        let rest = REST_BASE.saturating_mul(1 << failures).min(REST_MAX);
        *rests_until = Some(now + rest / 2 + entropy.up_to(rest / 2));
    }

    /// Until when it is left alone, if it is.
    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.rests_until.lock().unwrap_or_else(PoisonError::into_inner).filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_scheme() {
        let good = [
            ("127.0.0.1:9001", "127.0.0.1:9001"),
            ("http://node1:9001", "node1:9001"),
            ("HTTP://Node1:9001/", "node1:9001"),
            ("[::1]:9001", "[::1]:9001"),
        ];
        for (text, address) in good {
            assert_eq!(Address::parse(text).expect(text).as_str(), address);
        }
        let bad = [
            "",
            "node1",
            "node1:",
            "node1:0",
            "node1:99999",
            ":9001",
            "https://node1:9001",
            "node1:9001/kv",
            "node1:9001?x",
            "me@node1:9001",
            "a b:1",
        ];
        for text in bad {
            let error = Address::parse(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
            assert!(error.message().contains("host:port"), "{error}");
        }
    }
}
