//! The same client for programs without an async runtime.
//!
//! ```no_run
//! # fn f() -> Result<(), quorate::client::Error> {
//! use quorate::client::blocking::Client;
//!
//! let client = Client::connect(quorate::client::Client::builder().endpoints(["127.0.0.1:9001"]))?;
//! client.set("k", "v").call()?;
//! for pair in client.list("").limit(10).iter() {
//!     println!("{:?}", pair?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! All clones share one thread, which runs the connections; a call is carried out on the thread that makes it. From inside an
//! async runtime a call is refused: it would hold up the runtime.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{
    Attempt, ClientBuilder, Compare, Consistency, Deleted, Error, ErrorKind, IntoBytes, KeyValue, Keys,
    MembersResponse, NewAddresses, NewMember, Page, StatusResponse, Swap, TxnOp, TxnResult, WriteAnswer,
    Written, follow,
};

/// A cluster. Cheap to clone; the clones share all that it has. See [`client::Client`](super::Client) for what the calls do.
#[derive(Clone)]
pub struct Client {
    client: super::Client,
    // Behind the client, so that this is dropped when all calls are.
    runtime: Arc<Runtime>,
}

/// The thread that runs the connections.
struct Runtime {
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Connects: waits until one of the endpoints answers.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`]; [`Internal`](ErrorKind::Internal) if there can be no thread.
    pub fn connect(builder: ClientBuilder) -> Result<Client, Error> {
        refuse_inside_runtime()?;
        let (told, connected) = mpsc::sync_channel(1);
        let (end, ended) = oneshot::channel();
        let thread = spawn(move || run(builder, &told, ended))
            .map_err(|error| Error::new(ErrorKind::Internal, format!("no thread: {error}")))?;
        let result = connected.recv();
        let broken = || Error::new(ErrorKind::Internal, "the client's thread ended before it was connected");
        let (client, handle) = result.map_err(|_| broken())??;
        let runtime = Runtime { handle, end: Some(end), thread: Some(thread) };
        Ok(Client { client, runtime: Arc::new(runtime) })
    }

    /// See [`get`](super::Client::get).
    pub fn get(&self, key: impl IntoBytes) -> Get {
        self.call(self.client.get(key))
    }

    /// See [`set`](super::Client::set).
    pub fn set(&self, key: impl IntoBytes, value: impl IntoBytes) -> Set {
        self.call(self.client.set(key, value))
    }

    /// See [`delete`](super::Client::delete).
    pub fn delete(&self, key: impl IntoBytes) -> Delete {
        self.call(self.client.delete(key))
    }

    /// See [`delete_prefix`](super::Client::delete_prefix).
    pub fn delete_prefix(&self, prefix: impl IntoBytes) -> Delete {
        self.call(self.client.delete_prefix(prefix))
    }

    /// See [`delete_keys`](super::Client::delete_keys).
    pub fn delete_keys(&self, keys: Keys) -> Delete {
        self.call(self.client.delete_keys(keys))
    }

    /// See [`list`](super::Client::list).
    pub fn list(&self, prefix: impl IntoBytes) -> List {
        self.call(self.client.list(prefix))
    }

    /// See [`list_keys`](super::Client::list_keys).
    pub fn list_keys(&self, keys: Keys) -> List {
        self.call(self.client.list_keys(keys))
    }

    /// See [`compare_and_set`](super::Client::compare_and_set).
    pub fn compare_and_set(
        &self,
        key: impl IntoBytes,
        expected: u64,
        value: impl IntoBytes,
    ) -> CompareAndSet {
        self.call(self.client.compare_and_set(key, expected, value))
    }

    /// See [`txn`](super::Client::txn).
    pub fn txn(&self) -> Txn {
        self.call(self.client.txn())
    }

    /// See [`Attempt::resume`].
    ///
    /// # Errors
    /// See there.
    pub fn resume(&self, attempt: Attempt, deadline: Duration) -> Result<WriteAnswer, Error> {
        self.runtime.block_on(attempt.resume(deadline))
    }

    /// See [`revision`](super::Client::revision).
    pub fn revision(&self) -> u64 {
        self.client.revision()
    }

    /// See [`settled_by_retries`](super::Client::settled_by_retries).
    pub fn settled_by_retries(&self) -> u64 {
        self.client.settled_by_retries()
    }

    /// See [`addresses`](super::Client::addresses).
    pub fn addresses(&self) -> Vec<String> {
        self.client.addresses()
    }

    /// See [`leader`](super::Client::leader).
    pub fn leader(&self) -> Option<String> {
        self.client.leader()
    }

    fn call<C>(&self, call: C) -> Call<C> {
        Call { call, runtime: self.runtime.clone() }
    }
}

macro_rules! admin {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl Client {$(
            #[doc = concat!("See [`", stringify!($name), "`](super::Client::", stringify!($name), ").")]
            ///
            /// # Errors
            /// See there.
            pub fn $name(&self, $($argument: $type),*) -> Result<$answer, Error> {
                self.runtime.block_on(self.client.$name($($argument),*))
            }
        )*}
    };
}

admin! {
    members() -> MembersResponse;
    members_stale() -> MembersResponse;
    add_member(member: NewMember) -> MembersResponse;
    remove_member(id: u64, force: bool) -> MembersResponse;
    update_member(id: u64, addresses: NewAddresses) -> MembersResponse;
    promote_member(id: u64, force: bool) -> MembersResponse;
    transfer_leader(id: u64) -> MembersResponse;
    status(endpoint: &str) -> StatusResponse;
    compact(endpoint: &str) -> u64;
}

/// A call with its options, carried out by [`Call::call`].
#[must_use = "a call does nothing until it is made"]
#[derive(Clone)]
pub struct Call<C> {
    call: C,
    runtime: Arc<Runtime>,
}

impl<C> Call<C> {
    fn map(self, change: impl FnOnce(C) -> C) -> Call<C> {
        Call { call: change(self.call), runtime: self.runtime }
    }
}

impl<C, T> Call<C>
where
    C: IntoFuture<Output = Result<T, Error>>,
{
    /// Makes the call, and waits for its end.
    ///
    /// # Errors
    /// See the call; [`Invalid`](ErrorKind::Invalid) inside an async runtime.
    pub fn call(self) -> Result<T, Error> {
        let Call { call, runtime } = self;
        runtime.block_on(call.into_future())
    }
}

macro_rules! calls {
    ($($name:ident -> $answer:ty { $($option:ident($($argument:ident: $type:ty),*);)* })*) => {$(
        #[doc = concat!("See [`", stringify!($name), "`](super::", stringify!($name), ").")]
        pub type $name = Call<super::$name>;

        impl Call<super::$name> {$(
            #[doc = concat!("See [`", stringify!($option), "`](super::", stringify!($name), "::", stringify!($option), ").")]
            pub fn $option(self, $($argument: $type),*) -> Self {
                self.map(|call| call.$option($($argument),*))
            }
        )*}

        // That the answers are the same is checked here, once for each.
        const _: fn(Call<super::$name>) -> Result<$answer, Error> = Call::call;
    )*};
}

calls! {
    Get -> Option<KeyValue> {
        consistency(consistency: Consistency);
        min_revision(revision: u64);
        deadline(deadline: Duration);
    }
    Set -> Written {
        if_revision(revision: u64);
        previous();
        deadline(deadline: Duration);
    }
    Delete -> Deleted {
        if_revision(revision: u64);
        previous();
        deadline(deadline: Duration);
    }
    List -> Page {
        keys_only();
        limit(limit: u64);
        page_size(pairs: u32);
        after(key: impl IntoBytes);
        consistency(consistency: Consistency);
        min_revision(revision: u64);
        deadline(deadline: Duration);
    }
    CompareAndSet -> Swap {
        deadline(deadline: Duration);
    }
    Txn -> TxnResult {
        when(compare: Compare);
        then(op: impl Into<TxnOp>);
        otherwise(op: impl Into<TxnOp>);
        consistency(consistency: Consistency);
        min_revision(revision: u64);
        deadline(deadline: Duration);
    }
}

impl Call<super::List> {
    /// Pair by pair; see [`stream`](super::List::stream).
    pub fn iter(self) -> Iter<KeyValue> {
        Iter { items: self.call.stream(), runtime: self.runtime }
    }

    /// Page by page; see [`pages`](super::List::pages).
    pub fn pages(self) -> Iter<Page> {
        Iter { items: self.call.pages(), runtime: self.runtime }
    }
}

/// What a list gives, one after another. After an error it ends.
pub struct Iter<T> {
    items: BoxStream<'static, Result<T, Error>>,
    runtime: Arc<Runtime>,
}

impl<T> Iterator for Iter<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let Iter { items, runtime } = self;
        match runtime.block_on(async { Ok(items.next().await) }) {
            Ok(item) => item,
            Err(error) => Some(Err(error)),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the client is the edge: this is the thread that it is run by")]
fn spawn(body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    Builder::new().name("quorate-client".to_owned()).spawn(body)
}

/// What the thread does.
fn run(
    builder: ClientBuilder,
    told: &mpsc::SyncSender<Result<(super::Client, Handle), Error>>,
    ended: oneshot::Receiver<()>,
) {
    // Nobody listens any more if this fails: then the client is not wanted.
    let tell = |result| drop(told.send(result));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return tell(Err(Error::new(ErrorKind::Internal, format!("no runtime: {error}"))));
        }
    };
    runtime.block_on(async {
        let core = match builder.core() {
            Ok(core) => core,
            Err(error) => return tell(Err(error)),
        };
        if let Err(error) = follow::meet(&core, super::edge::after(core.deadline)).await {
            return tell(Err(error));
        }
        let (client, task) = super::Client::new(core);
        tell(Ok((client, Handle::current())));
        // It is dropped, not used, to end this.
        _ = ended.await;
        // An attempt that the program still keeps has a clone of the client: what it asks then is refused.
        _ = super::edge::by(super::edge::after(CLOSE_TIMEOUT), task).await;
    });
}

/// How long sessions have to be closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

impl Runtime {
    fn block_on<T>(&self, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        refuse_inside_runtime()?;
        self.handle.block_on(future)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.end.take());
        // Inside a runtime nothing may wait; there the thread ends by itself, a little later.
        if let Some(thread) = self.thread.take().filter(|_| refuse_inside_runtime().is_ok()) {
            // It cannot fail but by a panic, which has been shown.
            _ = thread.join();
        }
    }
}

fn refuse_inside_runtime() -> Result<(), Error> {
    match Handle::try_current() {
        Ok(_) => {
            let text = "a blocking call inside an async runtime would hold it up: use client::Client there";
            Err(Error::new(ErrorKind::Invalid, text))
        }
        Err(_) => Ok(()),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

impl<C: fmt::Debug> fmt::Debug for Call<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}

impl<T> fmt::Debug for Iter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}
