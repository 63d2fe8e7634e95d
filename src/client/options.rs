//! Calls with their options: each is awaited like a future.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tracing::Instrument;

use super::attempt::{Shape, WriteAnswer};
use super::calls::unexpected;
use super::cluster::Target;
use super::edge::{self, Instant};
use super::values::{Deleted, KeyValue, Keys, Swap, Written};
use super::{Client, Error};
use crate::proto::v1;
use crate::proto::v1::operation::Request;
use crate::proto::v1::operation_result::Result as Reply;

/// A call under way.
pub(super) type Call<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// Everything that was acknowledged before the read began is seen.
    #[default]
    Linearizable,
    /// The same, and the leader asks nobody where the cluster's setting allows leases: it relies on clocks that drift apart by
    /// less than an eighth.
    Lease,
    /// What the node has that is asked, at once.
    Stale {
        /// If the node may be further behind than that, it asks the leader after all.
        max_staleness: Option<Duration>,
    },
}

/// What reads have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadOptions {
    pub consistency: Consistency,
    pub min_revision: u64,
    pub deadline: Option<Duration>,
}

impl ReadOptions {
    pub(super) fn to_wire(&self) -> v1::ReadOptions {
        let (consistency, max_staleness) = match self.consistency {
            Consistency::Linearizable => (v1::Consistency::Linearizable, None),
            Consistency::Lease => (v1::Consistency::Lease, None),
            Consistency::Stale { max_staleness } => (v1::Consistency::Stale, max_staleness),
        };
        let max_staleness_ms = max_staleness.map(|max| u64::try_from(max.as_millis()).unwrap_or(u64::MAX));
        v1::ReadOptions { consistency: consistency.into(), max_staleness_ms, min_revision: self.min_revision }
    }

    /// Stale reads are spread over the nodes; what needs the leader goes there at once.
    pub(super) fn target(&self) -> Target {
        match self.consistency {
            Consistency::Linearizable | Consistency::Lease => Target::Leader,
            Consistency::Stale { .. } => Target::Any,
        }
    }
}

/// The options that several calls have, each documented once. What follows `of` is the call in the examples.
macro_rules! option {
    (deadline of $($call:tt)+) => {
        /// How long the call may take in all, retries included, instead of the client's
        /// [default](super::ClientBuilder::deadline).
        ///
        /// ```no_run
        /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
        /// # use quorate::client::TxnOp;
        /// use std::time::Duration;
        ///
        #[doc = concat!("let call = ", stringify!($($call)+), ";")]
        /// let answer = call.deadline(Duration::from_secs(3)).await?;
        /// # Ok(())
        /// # }
        /// ```
        pub fn deadline(mut self, deadline: std::time::Duration) -> Self {
            self.deadline = Some(deadline);
            self
        }
    };
    (read of $($call:tt)+) => {
        /// How fresh it must be.
        ///
        /// ```no_run
        /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
        /// use std::time::Duration;
        /// use quorate::client::Consistency;
        ///
        #[doc = concat!("let call = ", stringify!($($call)+), ";")]
        /// let recent = Consistency::Stale { max_staleness: Some(Duration::from_secs(1)) };
        /// let answer = call.consistency(recent).await?; // any node's, a second old at most
        /// # Ok(())
        /// # }
        /// ```
        pub fn consistency(mut self, consistency: $crate::client::Consistency) -> Self {
            self.read.consistency = consistency;
            self
        }

        /// Wait until the node that is asked is at this revision at least: with [`Client::revision`](super::Client::revision) even a
        /// stale read shows all that this client has seen.
        ///
        /// ```no_run
        /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
        /// use quorate::client::Consistency;
        ///
        /// let written = client.set("user:1001", "Jane Doe").await?;
        #[doc = concat!("let call = ", stringify!($($call)+), ";")]
        /// let call = call.consistency(Consistency::Stale { max_staleness: None });
        /// let answer = call.min_revision(written.revision).await?; // shows that write
        /// # Ok(())
        /// # }
        /// ```
        pub fn min_revision(mut self, revision: u64) -> Self {
            self.read.min_revision = revision;
            self
        }

        /// How long the call may take in all, retries included, instead of the client's
        /// [default](super::ClientBuilder::deadline).
        ///
        /// ```no_run
        /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
        /// use std::time::Duration;
        ///
        #[doc = concat!("let call = ", stringify!($($call)+), ";")]
        /// let answer = call.deadline(Duration::from_millis(500)).await?;
        /// # Ok(())
        /// # }
        /// ```
        pub fn deadline(mut self, deadline: std::time::Duration) -> Self {
            self.read.deadline = Some(deadline);
            self
        }
    };
}
pub(super) use option;

impl Client {
    /// When a call that begins now has to end.
    pub(super) fn deadline(&self, own: Option<Duration>) -> Instant {
        edge::after(own.unwrap_or(self.core().deadline))
    }
}

/// Reads one key; see [`Client::get`].
#[must_use = "a call does nothing until it is awaited"]
#[derive(Clone)]
pub struct Get {
    pub(super) client: Client,
    key: Bytes,
    read: ReadOptions,
}

impl Get {
    pub(super) fn new(client: &Client, key: Bytes) -> Get {
        Get { client: client.clone(), key, read: ReadOptions::default() }
    }

    option!(read of client.get("user:1001"));
}

impl IntoFuture for Get {
    type Output = Result<Option<KeyValue>, Error>;
    type IntoFuture = Call<Option<KeyValue>>;

    fn into_future(self) -> Self::IntoFuture {
        let Get { client, key, read } = self;
        let request = Request::Get(v1::GetRequest { key, read: Some(read.to_wire()) });
        let call = async move {
            let deadline = client.deadline(read.deadline);
            let reply = client.core().read(request, read.target(), deadline).await?;
            client.saw(&reply);
            match reply {
                Reply::Get(reply) => Ok(reply.kv.map(KeyValue::from)),
                reply => Err(unexpected(&reply)),
            }
        };
        Box::pin(call.instrument(tracing::debug_span!("quorate.get")))
    }
}

/// Sets a key; see [`Client::set`].
#[must_use = "a call does nothing until it is awaited"]
#[derive(Clone)]
pub struct Set {
    pub(super) client: Client,
    request: v1::PutRequest,
    deadline: Option<Duration>,
}

impl Set {
    pub(super) fn new(client: &Client, key: Bytes, value: Bytes) -> Set {
        let request = v1::PutRequest { key, value, ..Default::default() };
        Set { client: client.clone(), request, deadline: None }
    }

    /// Only if the key's mod_revision is this; 0: only if there is no such key. Else
    /// [`ConditionFailed`](super::ErrorKind::ConditionFailed).
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::ErrorKind;
    ///
    /// match client.set("k", "first").if_revision(0).await {
    ///     Ok(written) => println!("it is there since revision {}", written.revision),
    ///     Err(error) if error.kind() == ErrorKind::ConditionFailed => println!("it was there already"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn if_revision(mut self, revision: u64) -> Self {
        self.request.if_revision = Some(revision);
        self
    }

    /// Answer with what the key was before.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// if let Some(before) = client.set("k", "v").previous().await?.previous {
    ///     println!("it was {:?}, set at revision {}", before.value, before.mod_revision);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn previous(mut self) -> Self {
        self.request.previous = true;
        self
    }

    option!(deadline of client.set("user:1001", "Jane Doe"));
}

impl IntoFuture for Set {
    type Output = Result<Written, Error>;
    type IntoFuture = Call<Written>;

    fn into_future(self) -> Self::IntoFuture {
        let Set { client, request, deadline } = self;
        let call = async move {
            let answer = client.perform(Request::Put(request), Shape::Set, deadline).await?;
            let WriteAnswer::Written(written) = answer else { unreachable!("a set is answered as a set") };
            Ok(written)
        };
        Box::pin(call.instrument(tracing::debug_span!("quorate.set")))
    }
}

/// Removes keys; see [`Client::delete`], [`Client::delete_prefix`], [`Client::delete_keys`].
#[must_use = "a call does nothing until it is awaited"]
#[derive(Clone)]
pub struct Delete {
    pub(super) client: Client,
    request: v1::DeleteRequest,
    deadline: Option<Duration>,
}

impl Delete {
    pub(super) fn new(client: &Client, keys: Keys) -> Delete {
        let request = v1::DeleteRequest { keys: Some(keys.0), ..Default::default() };
        Delete { client: client.clone(), request, deadline: None }
    }

    /// Only if the key's mod_revision is this; for a single key. Else
    /// [`ConditionFailed`](super::ErrorKind::ConditionFailed).
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// if let Some(job) = client.get("job").await? {
    ///     // Not if somebody has written it since.
    ///     client.delete("job").if_revision(job.mod_revision).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn if_revision(mut self, revision: u64) -> Self {
        self.request.if_revision = Some(revision);
        self
    }

    /// Answer with what was removed.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// let removed = client.delete_prefix("cart:1001/").previous().await?;
    /// for item in &removed.previous {
    ///     println!("{:?} was {:?}", item.key, item.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn previous(mut self) -> Self {
        self.request.previous = true;
        self
    }

    option!(deadline of client.delete_prefix("user:"));
}

impl IntoFuture for Delete {
    type Output = Result<Deleted, Error>;
    type IntoFuture = Call<Deleted>;

    fn into_future(self) -> Self::IntoFuture {
        let Delete { client, request, deadline } = self;
        let call = async move {
            let answer = client.perform(Request::Delete(request), Shape::Delete, deadline).await?;
            let WriteAnswer::Deleted(deleted) = answer else {
                unreachable!("a delete is answered as a delete")
            };
            Ok(deleted)
        };
        Box::pin(call.instrument(tracing::debug_span!("quorate.delete")))
    }
}

/// Sets a key if nobody changed it meanwhile; see [`Client::compare_and_set`].
#[must_use = "a call does nothing until it is awaited"]
#[derive(Clone)]
pub struct CompareAndSet {
    pub(super) client: Client,
    key: Bytes,
    expected: u64,
    value: Bytes,
    deadline: Option<Duration>,
}

impl CompareAndSet {
    pub(super) fn new(client: &Client, key: Bytes, expected: u64, value: Bytes) -> CompareAndSet {
        CompareAndSet { client: client.clone(), key, expected, value, deadline: None }
    }

    option!(deadline of client.compare_and_set("user:1001", 17, "Jane Doe"));

    /// A transaction, so that the answer has the key's value when it was another one: who tries again need not ask for it.
    fn request(&self) -> v1::TxnRequest {
        let keys = Keys::one(&self.key).0;
        let compare = v1::Compare {
            keys: Some(keys.clone()),
            relation: v1::compare::Relation::Equal.into(),
            target: Some(v1::compare::Target::ModRevision(self.expected)),
        };
        let put = v1::TxnPut { key: self.key.clone(), value: Some(self.value.clone()), ..Default::default() };
        let range = v1::TxnRange { keys: Some(keys), ..Default::default() };
        let op = |op| vec![v1::TxnOp { op: Some(op) }];
        v1::TxnRequest {
            compares: vec![compare],
            success: op(v1::txn_op::Op::Put(put)),
            failure: op(v1::txn_op::Op::Range(range)),
            ..Default::default()
        }
    }
}

impl IntoFuture for CompareAndSet {
    type Output = Result<Swap, Error>;
    type IntoFuture = Call<Swap>;

    fn into_future(self) -> Self::IntoFuture {
        let request = Request::Txn(self.request());
        let call = async move {
            let answer = self.client.perform(request, Shape::Swap, self.deadline).await?;
            let WriteAnswer::Swap(swap) = answer else { unreachable!("a swap is answered as a swap") };
            Ok(swap)
        };
        Box::pin(call.instrument(tracing::debug_span!("quorate.compare_and_set")))
    }
}

impl Client {
    /// A write from its begin to its answer.
    pub(super) async fn perform(
        &self,
        request: Request,
        shape: Shape,
        deadline: Option<Duration>,
    ) -> Result<WriteAnswer, Error> {
        let reply = self.write(request, shape, self.deadline(deadline)).await?;
        self.saw(&reply);
        shape.answer(reply)
    }
}

macro_rules! shown {
    ($($call:ident)*) => {$(
        impl fmt::Debug for $call {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($call)).finish_non_exhaustive()
            }
        }
    )*};
}
shown!(Get Set Delete CompareAndSet);
