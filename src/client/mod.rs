//! The client library: a cluster as one store that does not fail.
//!
//! ```no_run
//! # async fn f() -> Result<(), quorate::client::Error> {
//! use quorate::client::Client;
//!
//! let client = Client::builder().endpoints(["127.0.0.1:9001"]).connect().await?;
//! let written = client.set("user:1001", "John Doe").await?;
//! client.set("user:1001", "Jane Doe").if_revision(written.revision).await?;
//! let user = client.get("user:1001").await?.expect("it was just set");
//! println!("{} at revision {}", user.text().unwrap_or("bytes"), user.mod_revision);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] is cheap to clone, and its clones share all: connections, sessions, what is known of the cluster. Every
//! call is a future with options ([`Get`], [`Set`], [`Delete`], [`List`], [`CompareAndSet`], [`Txn`]); [`blocking`] is the same
//! without an async runtime. `docs/client.md` goes through it by task.
//!
//! ```text
//! call -> options   what is asked, as a request of the wire
//!      -> calls     attempts until an answer or the deadline       backoff: pauses between them
//!      -> sessions  a write's number, which it keeps through all   cluster: whom to ask    follow: keeps that right
//!      -> node      its connection, and whether it did well        pipe: one stream, many operations in a message
//! ```
//!
//! # Failover, and why it is safe
//!
//! | what happened | was it executed? | a read | a write |
//! |---|---|---|---|
//! | no connection, or no room on it in time | no | another node | another node, the same number |
//! | the node ended the stream, and said why | no: it had answered all that it took | another node | another node, the same number |
//! | connection lost, or no answer in time | perhaps | another node | another node, **the same number**: executed once |
//! | refused, `retryable`, `not_applied` | no | again after a pause | again after a pause, the same number |
//! | refused, `outcome: unknown` | perhaps | again | again, **the same number** |
//! | refused, `final` | no, and this is the number's answer | - | the caller is told |
//! | `session_gone`, and no earlier attempt was lost | no | - | a new session, at once |
//! | `session_gone` after an attempt that was lost | perhaps | - | *unknown*: nobody remembers the number |
//! | refused for good, after an attempt that was lost | perhaps | the caller is told | again after a pause, **the same number** |
//! | the deadline, and an attempt was lost | perhaps | `deadline` | *unknown*, with an [`Attempt`] |
//! | the deadline, and none was | no | `deadline` | `deadline`, not applied |
//!
//! - **Once.** A write has a number in a session, and the cluster answers a number that comes again with its first reply
//!   (`src/fsm/sessions.rs`). `done_below` tells it which replies it may forget; it never passes a number that is under way
//!   or that an [`Attempt`] holds.
//! - **A refusal is the refusing node's word about the attempt that it got.** It says nothing of earlier ones, which may be
//!   under way still. Only what the number itself came to, its reply or a refusal that is `final`, does.
//! - **Any node answers anything**, so that who leads is a guess that costs a hop when it is wrong. Hints, members and
//!   failures correct it. Endpoints that the user gave are never given up.
//! - **Pauses** grow exponentially with full jitter; a node that failed is left alone for a while, unless all did.
//! - **A hung node** is one that does not answer within the time that it was given and a quarter of a second: its stream is ended, so
//!   that all that wait on it go elsewhere at once.
//!
//! # Backpressure
//!
//! Nothing queues without a bound: a caller waits for room, within its deadline. At most 500 writes of one client are under way
//! ([`ClientBuilder::writes_inflight_max`]), each stream has a bounded queue and a bounded number of operations under way.
//! One write that takes long does not hold up the others: see `sessions`.
//!
//! # What it deliberately does not do
//!
//! It caches no values. It does not retry what waiting a little cannot help (`disk_full`, or a node that asks for a longer pause
//! than the call has), unless an earlier attempt of the write was lost: what became of that is asked until the deadline. It has no
//! pool: one HTTP/2 connection for each node carries all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

mod admin;
mod attempt;
mod backoff;
pub mod blocking;
mod builder;
mod calls;
mod cluster;
mod edge;
mod error;
mod follow;
mod list;
mod node;
mod options;
mod pipe;
mod sessions;
#[cfg(all(feature = "server", any(test, feature = "testing")))]
pub mod testing;
mod ticket;
mod txn;
mod values;

#[cfg(all(test, feature = "server"))]
mod tests;

pub use admin::{Member, MembersResponse, NewAddresses, NewMember, StatusResponse};
pub use attempt::{Attempt, WriteAnswer};
pub use builder::ClientBuilder;
pub use error::{Error, ErrorKind, Outcome};
pub use list::List;
pub use options::{CompareAndSet, Consistency, Delete, Get, Set};
pub use txn::{Branch, Compare, NumberOf, OrderBy, Relation, Select, Txn, TxnOp, ValueOf};
pub use values::{Deleted, IntoBytes, KeyValue, Keys, Page, Swap, TxnAnswer, TxnResult, Written};

use calls::Core;

/// A cluster. Cheap to clone; the clones share all that it has.
///
/// When the last clone is gone, with it the sessions are closed, as far as its runtime still lives.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    core: Arc<Core>,
}

impl Client {
    /// Where a client begins.
    ///
    /// ```
    /// use quorate::client::{Client, ErrorKind};
    ///
    /// let nowhere = Client::builder().connect_lazy().unwrap_err();
    /// assert_eq!(nowhere.kind(), ErrorKind::Invalid);
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client, and the task that works for it.
    fn new(core: Arc<Core>) -> (Client, tokio::task::JoinHandle<()>) {
        let task = core.runtime.spawn(follow::follow(core.clone()));
        (Client(Arc::new(Shared { core })), task)
    }

    fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    fn saw(&self, reply: &crate::proto::v1::operation_result::Result) {
        self.core().saw(values::revision(reply));
    }

    /// Reads one key: `None` if there is none.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Consistency;
    ///
    /// let newest = client.get("k").await?;
    /// let nearby = client.get("k").consistency(Consistency::Stale { max_staleness: None }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, key: impl IntoBytes) -> Get {
        Get::new(self, key.into_bytes())
    }

    /// Sets a key.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// let written = client.set("k", "v").await?;
    /// let replaced = client.set("k", [0xff, 0x00]).if_revision(written.revision).previous().await?;
    /// assert_eq!(replaced.previous.expect("it was asked for").value, "v");
    /// # Ok(())
    /// # }
    /// ```
    pub fn set(&self, key: impl IntoBytes, value: impl IntoBytes) -> Set {
        Set::new(self, key.into_bytes(), value.into_bytes())
    }

    /// Removes a key.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// let was_there = client.delete("k").await?.count == 1;
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete(&self, key: impl IntoBytes) -> Delete {
        Delete::new(self, Keys::one(key))
    }

    /// Removes all keys that start so, at one revision.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// let removed = client.delete_prefix("session:1001/").await?;
    /// println!("{} keys, all at revision {}", removed.count, removed.revision);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_prefix(&self, prefix: impl IntoBytes) -> Delete {
        Delete::new(self, Keys::prefix(prefix))
    }

    /// Removes all of these keys, at one revision.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Keys;
    ///
    /// let until_june = Keys::range("log/2024-01", "log/2024-06"); // June itself stays
    /// println!("{} keys removed", client.delete_keys(until_june).await?.count);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_keys(&self, keys: Keys) -> Delete {
        Delete::new(self, keys)
    }

    /// Reads all keys that start so, in order; an empty prefix is all keys there are. See [`List`].
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// let page = client.list("user:").limit(100).await?;
    /// for user in &page.pairs {
    ///     println!("{:?}, there since revision {}", user.key, user.create_revision);
    /// }
    /// println!("is that all? {}", !page.more);
    /// # Ok(())
    /// # }
    /// ```
    pub fn list(&self, prefix: impl IntoBytes) -> List {
        List::new(self, Keys::prefix(prefix))
    }

    /// Reads all of these keys, in order. See [`List`].
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Keys;
    ///
    /// let page = client.list_keys(Keys::range("job/100", "job/200")).await?;
    /// println!("{} jobs at revision {}", page.pairs.len(), page.revision);
    /// # Ok(())
    /// # }
    /// ```
    pub fn list_keys(&self, keys: Keys) -> List {
        List::new(self, keys)
    }

    /// Sets a key if its mod_revision is `expected`; 0: if there is no such key. Else it says what the key is.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Swap;
    ///
    /// let (mut revision, mut count) = (0, 0);
    /// while let Swap::Changed { current } =
    ///     client.compare_and_set("counter", revision, (count + 1).to_string()).await?
    /// {
    ///     revision = current.as_ref().map_or(0, |kv| kv.mod_revision);
    ///     count = current.and_then(|kv| kv.text().ok()?.parse().ok()).unwrap_or(0);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn compare_and_set(
        &self,
        key: impl IntoBytes,
        expected: u64,
        value: impl IntoBytes,
    ) -> CompareAndSet {
        CompareAndSet::new(self, key.into_bytes(), expected, value.into_bytes())
    }

    /// Begins a transaction. See [`Txn`].
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Compare, TxnOp};
    ///
    /// let txn = client.txn().when(Compare::absent("lock")).then(TxnOp::put("lock", "me"));
    /// let is_mine = txn.await?.succeeded;
    /// # Ok(())
    /// # }
    /// ```
    pub fn txn(&self) -> Txn {
        Txn::new(self)
    }

    /// The highest revision that any answer to this client showed: with [`Get::min_revision`] a stale read shows all that this
    /// client has written and read.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Consistency;
    ///
    /// client.set("k", "v").await?;
    /// let nearby = client.get("k").consistency(Consistency::Stale { max_staleness: None });
    /// let kv = nearby.min_revision(client.revision()).await?; // "v", or what came after it
    /// # Ok(())
    /// # }
    /// ```
    pub fn revision(&self) -> u64 {
        self.core().seen.load(Ordering::Relaxed)
    }

    /// How many writes were settled by sending them again, after an attempt of which nobody knows whether it was executed.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// client.set("k", "v").await?;
    /// if client.settled_by_retries() > 0 {
    ///     println!("a node was lost at a bad time: the write was sent again, and done once");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn settled_by_retries(&self) -> u64 {
        self.core().settled.load(Ordering::Relaxed)
    }

    /// The addresses of all nodes that are known now: those that were given, and those that were learnt.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), quorate::client::Error> {
    /// use quorate::client::Client;
    ///
    /// let client = Client::builder().endpoints(["127.0.0.1:9001", "http://127.0.0.1:9002"]).connect_lazy()?;
    /// assert_eq!(client.addresses(), ["127.0.0.1:9001", "127.0.0.1:9002"]); // nothing was learnt yet
    /// # Ok(())
    /// # }
    /// ```
    pub fn addresses(&self) -> Vec<String> {
        self.core().cluster.addresses()
    }

    /// The leader's address, if it is known.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// match client.leader() {
    ///     Some(address) => println!("{address} leads, as far as is known"),
    ///     None => println!("no leader is known now"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn leader(&self) -> Option<String> {
        self.core().cluster.leader()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The task closes the sessions, and lets go of the rest.
        self.core.is_over.send_replace(true);
    }
}
