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
    /// ```no_run
    /// # fn f() -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Client, ErrorKind, blocking};
    ///
    /// match blocking::Client::connect(Client::builder().endpoints(["node1:9001"])) {
    ///     Ok(client) => println!("the leader: {:?}", client.leader()),
    ///     Err(error) if error.kind() == ErrorKind::Unavailable => println!("nobody is there: {error}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`]; [`Internal`](ErrorKind::Internal) if there can be no thread.
    pub fn connect(builder: ClientBuilder) -> Result<Client, Error> {
        Client::start(builder, false)
    }

    /// The same without waiting: the first calls connect.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Client, blocking};
    ///
    /// let client = blocking::Client::connect_lazy(Client::builder().endpoints(["node1:9001"]))?;
    /// let kv = client.get("k").call()?; // waits for a node, within its deadline
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`ClientBuilder::connect_lazy`]; [`Internal`](ErrorKind::Internal) if there can be no thread.
    pub fn connect_lazy(builder: ClientBuilder) -> Result<Client, Error> {
        Client::start(builder, true)
    }

    fn start(builder: ClientBuilder, is_lazy: bool) -> Result<Client, Error> {
        refuse_inside_runtime()?;
        let (told, connected) = mpsc::sync_channel(1);
        let (end, ended) = oneshot::channel();
        let thread = spawn(move || run(builder, is_lazy, &told, ended))
            .map_err(|error| Error::new(ErrorKind::Internal, format!("no thread: {error}")))?;
        let result = connected.recv();
        let broken = || Error::new(ErrorKind::Internal, "the client's thread ended before it was connected");
        let (client, handle) = result.map_err(|_| broken())??;
        let runtime = Runtime { handle, end: Some(end), thread: Some(thread) };
        Ok(Client { client, runtime: Arc::new(runtime) })
    }

    /// See [`get`](super::Client::get).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// if let Some(user) = client.get("user:1001").call()? {
    ///     println!("{:?} at revision {}", user.value, user.mod_revision);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, key: impl IntoBytes) -> Get {
        self.call(self.client.get(key))
    }

    /// See [`set`](super::Client::set).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// let written = client.set("user:1001", "Jane Doe").call()?;
    /// client.set("user:1001", "Jane Roe").if_revision(written.revision).call()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set(&self, key: impl IntoBytes, value: impl IntoBytes) -> Set {
        self.call(self.client.set(key, value))
    }

    /// See [`delete`](super::Client::delete).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// let was_there = client.delete("user:1001").call()?.count == 1;
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete(&self, key: impl IntoBytes) -> Delete {
        self.call(self.client.delete(key))
    }

    /// See [`delete_prefix`](super::Client::delete_prefix).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// println!("{} keys removed", client.delete_prefix("session:1001/").call()?.count);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_prefix(&self, prefix: impl IntoBytes) -> Delete {
        self.call(self.client.delete_prefix(prefix))
    }

    /// See [`delete_keys`](super::Client::delete_keys).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Keys;
    ///
    /// let until_june = Keys::range("log/2024-01", "log/2024-06");
    /// println!("{} keys removed", client.delete_keys(until_june).call()?.count);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_keys(&self, keys: Keys) -> Delete {
        self.call(self.client.delete_keys(keys))
    }

    /// See [`list`](super::Client::list).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// for user in client.list("user:").keys_only().iter() {
    ///     println!("{:?}", user?.key);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn list(&self, prefix: impl IntoBytes) -> List {
        self.call(self.client.list(prefix))
    }

    /// See [`list_keys`](super::Client::list_keys).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Keys;
    ///
    /// let page = client.list_keys(Keys::range("job/100", "job/200")).call()?;
    /// println!("{} jobs at revision {}", page.pairs.len(), page.revision);
    /// # Ok(())
    /// # }
    /// ```
    pub fn list_keys(&self, keys: Keys) -> List {
        self.call(self.client.list_keys(keys))
    }

    /// See [`compare_and_set`](super::Client::compare_and_set).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Swap;
    ///
    /// match client.compare_and_set("k", 17, "v").call()? {
    ///     Swap::Set { revision } => println!("set at revision {revision}"),
    ///     Swap::Changed { current } => println!("it is now {current:?}"),
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
        self.call(self.client.compare_and_set(key, expected, value))
    }

    /// See [`txn`](super::Client::txn).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Compare, TxnOp};
    ///
    /// let txn = client.txn().when(Compare::absent("lock")).then(TxnOp::put("lock", "me"));
    /// let is_mine = txn.call()?.succeeded;
    /// # Ok(())
    /// # }
    /// ```
    pub fn txn(&self) -> Txn {
        self.call(self.client.txn())
    }

    /// See [`Attempt::resume`].
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// use std::time::Duration;
    ///
    /// if let Err(error) = client.set("k", "v").call()
    ///     && let Some(attempt) = error.into_attempt()
    /// {
    ///     println!("done once, now or before: {:?}", client.resume(attempt, Duration::from_secs(60))?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See there.
    pub fn resume(&self, attempt: Attempt, deadline: Duration) -> Result<WriteAnswer, Error> {
        self.runtime.block_on(attempt.resume(deadline))
    }

    /// See [`revision`](super::Client::revision).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Consistency;
    ///
    /// client.set("k", "v").call()?;
    /// let nearby = client.get("k").consistency(Consistency::Stale { max_staleness: None });
    /// let kv = nearby.min_revision(client.revision()).call()?; // "v", or what came after it
    /// # Ok(())
    /// # }
    /// ```
    pub fn revision(&self) -> u64 {
        self.client.revision()
    }

    /// See [`settled_by_retries`](super::Client::settled_by_retries).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// client.set("k", "v").call()?;
    /// println!("writes that were sent again, and done once: {}", client.settled_by_retries());
    /// # Ok(())
    /// # }
    /// ```
    pub fn settled_by_retries(&self) -> u64 {
        self.client.settled_by_retries()
    }

    /// See [`addresses`](super::Client::addresses).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// for address in client.addresses() {
    ///     println!("{address}: {}", client.status(&address)?.state);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn addresses(&self) -> Vec<String> {
        self.client.addresses()
    }

    /// See [`leader`](super::Client::leader).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// if let Some(address) = client.leader() {
    ///     println!("{address} leads, as far as is known");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn leader(&self) -> Option<String> {
        self.client.leader()
    }

    fn call<C>(&self, call: C) -> Call<C> {
        Call { call, runtime: self.runtime.clone() }
    }
}

/// What operators ask, each with what its example does.
macro_rules! admin {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty => [$($example:tt)+];)*) => {
        impl Client {$(
            #[doc = concat!("See [`", stringify!($name), "`](super::Client::", stringify!($name), ").")]
            ///
            /// ```no_run
            /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
            /// # use quorate::client::{NewAddresses, NewMember};
            #[doc = stringify!($($example)+)]
            /// # Ok(())
            /// # }
            /// ```
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
    members() -> MembersResponse =>
        [for member in client.members()?.members { println!("{} at {}", member.id, member.grpc); }];
    members_stale() -> MembersResponse => [println!("{} members", client.members_stale()?.members.len());];
    add_member(member: NewMember) -> MembersResponse =>
        [client.add_member(NewMember::at("node4:7001").learner())?;];
    remove_member(id: u64, force: bool) -> MembersResponse =>
        [println!("{} are left", client.remove_member(3, false)?.members.len());];
    update_member(id: u64, addresses: NewAddresses) -> MembersResponse =>
        [client.update_member(3, NewAddresses::new().peer("new-host:7001"))?;];
    promote_member(id: u64, force: bool) -> MembersResponse => [client.promote_member(4, false)?;];
    transfer_leader(id: u64) -> MembersResponse => [client.transfer_leader(2)?;];
    status(endpoint: &str) -> StatusResponse => [println!("{} keys", client.status("node1:9001")?.keys);];
    compact(endpoint: &str) -> u64 => [println!("up to entry {}", client.compact("node1:9001")?);];
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
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Consistency;
    ///
    /// // Options first, then the call.
    /// let kv = client.get("k").consistency(Consistency::Lease).call()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See the call; [`Invalid`](ErrorKind::Invalid) inside an async runtime.
    pub fn call(self) -> Result<T, Error> {
        let Call { call, runtime } = self;
        runtime.block_on(call.into_future())
    }
}

/// Calls with their options, each with the call of its example.
macro_rules! calls {
    ($($name:ident -> $answer:ty {
        $($option:ident($($argument:ident: $type:ty),*) => [$($example:tt)+];)*
    })*) => {$(
        #[doc = concat!("See [`", stringify!($name), "`](super::", stringify!($name), ").")]
        pub type $name = Call<super::$name>;

        impl Call<super::$name> {$(
            #[doc = concat!("See [`", stringify!($option), "`](super::", stringify!($name), "::", stringify!($option), ").")]
            ///
            /// ```no_run
            /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
            /// # use std::time::Duration;
            /// # use quorate::client::{Compare, Consistency, TxnOp};
            #[doc = concat!("let answer = ", stringify!($($example)+), ".call()?;")]
            /// # Ok(())
            /// # }
            /// ```
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
        consistency(consistency: Consistency) => [client.get("k").consistency(Consistency::Lease)];
        min_revision(revision: u64) => [client.get("k").min_revision(17)];
        deadline(deadline: Duration) => [client.get("k").deadline(Duration::from_millis(500))];
    }
    Set -> Written {
        if_revision(revision: u64) => [client.set("k", "v").if_revision(0)];
        previous() => [client.set("k", "v").previous()];
        deadline(deadline: Duration) => [client.set("k", "v").deadline(Duration::from_secs(3))];
    }
    Delete -> Deleted {
        if_revision(revision: u64) => [client.delete("k").if_revision(17)];
        previous() => [client.delete_prefix("cart:1001/").previous()];
        deadline(deadline: Duration) => [client.delete_prefix("user:").deadline(Duration::from_secs(60))];
    }
    List -> Page {
        keys_only() => [client.list("user:").keys_only()];
        limit(limit: u64) => [client.list("user:").limit(100)];
        page_size(pairs: u32) => [client.list("image/").page_size(20)];
        after(key: impl IntoBytes) => [client.list("user:").after("user:1001")];
        consistency(consistency: Consistency) =>
            [client.list("user:").consistency(Consistency::Stale { max_staleness: None })];
        min_revision(revision: u64) => [client.list("user:").min_revision(17)];
        deadline(deadline: Duration) => [client.list("user:").deadline(Duration::from_secs(3))];
    }
    CompareAndSet -> Swap {
        deadline(deadline: Duration) =>
            [client.compare_and_set("k", 17, "v").deadline(Duration::from_secs(3))];
    }
    Txn -> TxnResult {
        when(compare: Compare) => [client.txn().when(Compare::absent("lock")).then(TxnOp::put("lock", "me"))];
        then(op: impl Into<TxnOp>) => [client.txn().then(TxnOp::put("a", "1")).then(TxnOp::delete("b"))];
        otherwise(op: impl Into<TxnOp>) =>
            [client.txn().when(Compare::exists("a")).otherwise(TxnOp::put("a", "1"))];
        consistency(consistency: Consistency) =>
            [client.txn().then(TxnOp::get("a")).consistency(Consistency::Lease)];
        min_revision(revision: u64) => [client.txn().then(TxnOp::get("a")).min_revision(17)];
        deadline(deadline: Duration) =>
            [client.txn().then(TxnOp::touch("a")).deadline(Duration::from_secs(3))];
    }
}

impl Call<super::List> {
    /// Pair by pair; see [`stream`](super::List::stream).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// for user in client.list("user:").iter() {
    ///     let user = user?;
    ///     println!("{:?}: {:?}", user.key, user.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(self) -> Iter<KeyValue> {
        Iter { items: self.call.stream(), runtime: self.runtime }
    }

    /// Page by page; see [`pages`](super::List::pages).
    ///
    /// ```no_run
    /// # fn f(client: quorate::client::blocking::Client) -> Result<(), quorate::client::Error> {
    /// for page in client.list("user:").page_size(50).pages() {
    ///     println!("{} users", page?.pairs.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
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
    is_lazy: bool,
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
        if !is_lazy && let Err(error) = follow::meet(&core, super::edge::after(core.deadline)).await {
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
