//! How a client is made.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};

use super::Client;
use super::calls::Core;
use super::cluster::Cluster;
use super::edge::{self, Entropy};
use super::error::{Error, ErrorKind};
use super::follow;
use super::node::{Address, Dial};
use super::sessions::Sessions;

/// How long a call may take in all, unless it or the client says otherwise.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a node has for a first attempt. It is what a node that hangs costs a call; to be asked again elsewhere harms no call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Writes under way, of all clones together. Twice as many numbers are used of a session, which leaves a margin below the 1,024
/// that a server keeps by default.
const WRITES_INFLIGHT_MAX: usize = 500;

/// Makes a [`Client`]; see [`Client::builder`].
///
/// ```no_run
/// # async fn f() -> Result<(), quorate::client::Error> {
/// use std::time::Duration;
/// use quorate::client::Client;
///
/// let client = Client::builder()
///     .endpoints(["node1:9001", "node2:9001", "http://node3:9001"])
///     .deadline(Duration::from_secs(3))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    deadline: Duration,
    attempt_timeout: Duration,
    connect_timeout: Duration,
    writes_inflight_max: usize,
    seed: Option<u64>,
    #[cfg(all(feature = "server", any(test, feature = "testing")))]
    connector: Option<super::testing::Connector>,
}

impl Default for ClientBuilder {
    fn default() -> ClientBuilder {
        ClientBuilder {
            endpoints: Vec::new(),
            deadline: DEADLINE,
            attempt_timeout: ATTEMPT_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            writes_inflight_max: WRITES_INFLIGHT_MAX,
            seed: None,
            #[cfg(all(feature = "server", any(test, feature = "testing")))]
            connector: None,
        }
    }
}

impl ClientBuilder {
    /// Where nodes are, as `host:port` or `http://host:port` of their gRPC. One that can be reached is enough, the others are
    /// learnt; those that are given are always asked as well.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), quorate::client::Error> {
    /// use quorate::client::Client;
    ///
    /// let listed = "127.0.0.1:9001,http://127.0.0.1:9002";
    /// let client = Client::builder().endpoints(listed.split(',')).connect_lazy()?;
    /// assert_eq!(client.addresses(), ["127.0.0.1:9001", "127.0.0.1:9002"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn endpoints<T: Into<String>>(mut self, endpoints: impl IntoIterator<Item = T>) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// How long a call may take in all, retries included; 10 seconds by default. Each call can say otherwise.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), quorate::client::Error> {
    /// use std::time::Duration;
    /// use quorate::client::Client;
    ///
    /// let builder = Client::builder().endpoints(["node1:9001"]).deadline(Duration::from_secs(3));
    /// let client = builder.connect().await?;
    /// client.get("k").await?; // has 3 seconds
    /// client.delete_prefix("old/").deadline(Duration::from_secs(60)).await?; // has a minute
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long a node has for a first attempt before another one is asked; 1 second by default. Later attempts have twice as
    /// long each time.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), quorate::client::Error> {
    /// use std::time::Duration;
    /// use quorate::client::Client;
    ///
    /// // The nodes are far away: one that is slow there is not to be taken for one that hangs.
    /// let builder = Client::builder().endpoints(["node1:9001"]).attempt_timeout(Duration::from_secs(3));
    /// let client = builder.connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// How long a connection may take to come about; 1 second by default.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), quorate::client::Error> {
    /// use std::time::Duration;
    /// use quorate::client::Client;
    ///
    /// // All are in one rack: what does not accept at once is down.
    /// let builder = Client::builder().endpoints(["node1:9001", "node2:9001"]);
    /// let client = builder.connect_timeout(Duration::from_millis(100)).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many writes may be under way, of all clones together: further ones wait. 500 by default and at most. Twice as many must
    /// not be more than the cluster's `session_inflight_max`.
    ///
    /// ```
    /// use quorate::client::Client;
    ///
    /// let builder = Client::builder().endpoints(["127.0.0.1:9001"]);
    /// let error = builder.writes_inflight_max(501).connect_lazy().unwrap_err();
    /// assert_eq!(error.message(), "writes_inflight_max is 1 to 500");
    /// ```
    pub fn writes_inflight_max(mut self, writes: usize) -> Self {
        self.writes_inflight_max = writes;
        self
    }

    /// Draws pauses and session ids from a seed instead of the operating system's entropy, so that a test or a simulation repeats.
    /// Two clients of one cluster must not have the same seed: they would take each other's sessions.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), quorate::client::Error> {
    /// use quorate::client::Client;
    ///
    /// let builder = Client::builder().endpoints(["127.0.0.1:9001"]);
    /// let reader = builder.clone().seed(7).connect_lazy()?;
    /// let writer = builder.seed(8).connect_lazy()?; // has a seed of its own
    /// # Ok(())
    /// # }
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Connects in another way than by TCP.
    #[cfg(all(feature = "server", any(test, feature = "testing")))]
    pub fn connector(mut self, connector: super::testing::Connector) -> Self {
        self.connector = Some(connector);
        self
    }

    /// Connects: waits until one of the endpoints answers.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Client, ErrorKind};
    ///
    /// match Client::builder().endpoints(["node1:9001", "node2:9001"]).connect().await {
    ///     Ok(client) => println!("the leader: {:?}", client.leader()),
    ///     Err(error) if error.kind() == ErrorKind::Unavailable => println!("nobody is there: {error}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid): there is no endpoint, one is none, or an option is out of range.
    /// [`Unavailable`](ErrorKind::Unavailable): none of them answered within the [deadline](ClientBuilder::deadline).
    pub async fn connect(self) -> Result<Client, Error> {
        let core = self.core()?;
        follow::meet(&core, edge::after(core.deadline)).await?;
        Ok(Client::new(core).0)
    }

    /// The same without waiting: the first calls connect. It needs a tokio runtime, as all of the library but
    /// [`blocking`](super::blocking).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), quorate::client::Error> {
    /// use quorate::client::Client;
    ///
    /// let client = Client::builder().endpoints(["127.0.0.1:9001"]).connect_lazy()?;
    /// assert_eq!(client.leader(), None); // nobody was asked yet
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid), as [`ClientBuilder::connect`], or there is no runtime.
    pub fn connect_lazy(self) -> Result<Client, Error> {
        Ok(Client::new(self.core()?).0)
    }

    /// What the clones will share.
    pub(super) fn core(self) -> Result<Arc<Core>, Error> {
        let invalid = |text: &str| Error::new(ErrorKind::Invalid, text);
        let mut given = Vec::new();
        for endpoint in &self.endpoints {
            let address = Address::parse(endpoint)?;
            if !given.contains(&address) {
                given.push(address);
            }
        }
        if given.is_empty() {
            return Err(invalid("no endpoint was given: name one at least, as host:port"));
        }
        if self.writes_inflight_max == 0 || self.writes_inflight_max > WRITES_INFLIGHT_MAX {
            return Err(invalid("writes_inflight_max is 1 to 500"));
        }
        if [self.deadline, self.attempt_timeout, self.connect_timeout].iter().any(Duration::is_zero) {
            return Err(invalid("a time of zero is over before anything is done: give more"));
        }
        let no_runtime = |_| invalid("there is no tokio runtime here: see client::blocking");
        let runtime = Handle::try_current().map_err(no_runtime)?;
        let no_entropy = |error| Error::new(ErrorKind::Internal, format!("no entropy: {error}"));
        let dial = Dial {
            connect_timeout: self.connect_timeout,
            runtime: runtime.clone(),
            #[cfg(all(feature = "server", any(test, feature = "testing")))]
            connector: self.connector,
        };
        Ok(Arc::new(Core {
            cluster: Cluster::new(&given, dial),
            sessions: Sessions::new(2 * self.writes_inflight_max),
            writes: Semaphore::new(self.writes_inflight_max),
            entropy: Entropy::new(self.seed).map_err(no_entropy)?,
            runtime,
            deadline: self.deadline,
            attempt_timeout: self.attempt_timeout,
            seen: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            nudge: Notify::new(),
            is_over: watch::Sender::new(false),
        }))
    }
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}
