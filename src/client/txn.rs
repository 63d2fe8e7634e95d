//! Transactions: compare, then do one list of operations or the other, all at one revision.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use tracing::Instrument;

use super::attempt::{Shape, WriteAnswer};
use super::calls::unexpected;
use super::cluster::Target;
use super::options::{Call, ReadOptions, option};
use super::values::{IntoBytes, Keys, TxnResult};
use super::{Client, Error};
use crate::proto::v1;
pub use crate::proto::v1::compare::Relation;
use crate::proto::v1::compare::Target as Property;
use crate::proto::v1::operation::Request;
use crate::proto::v1::operation_result::Result as Reply;
use crate::proto::v1::txn_op::Op;
pub use crate::proto::v1::txn_range::OrderBy;

/// A transaction; see [`Client::txn`].
///
/// ```no_run
/// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
/// use quorate::client::{Compare, TxnOp};
///
/// let moved = client
///     .txn()
///     .when(Compare::exists("from"))
///     .when(Compare::absent("to"))
///     .then(TxnOp::put("to", "v"))
///     .then(TxnOp::delete("from"))
///     .otherwise(TxnOp::get("to"))
///     .await?;
/// println!("{}: {:?}", moved.succeeded, moved.answers);
/// # Ok(())
/// # }
/// ```
#[must_use = "a call does nothing until it is awaited"]
#[derive(Clone)]
pub struct Txn {
    pub(super) client: Client,
    branch: Branch,
    read: ReadOptions,
    deadline: Option<Duration>,
}

impl Txn {
    pub(super) fn new(client: &Client) -> Txn {
        let (branch, read) = (Branch::default(), ReadOptions::default());
        Txn { client: client.clone(), branch, read, deadline: None }
    }

    /// One more comparison that must hold for `then`.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Compare, TxnOp};
    ///
    /// // Both must hold.
    /// let txn = client.txn().when(Compare::exists("user:1001")).when(Compare::absent("banned:1001"));
    /// let is_let_in = txn.then(TxnOp::put("session:1001", "open")).await?.succeeded;
    /// # Ok(())
    /// # }
    /// ```
    pub fn when(mut self, compare: Compare) -> Self {
        self.branch = self.branch.when(compare);
        self
    }

    /// One more operation that is done if all comparisons hold.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Keys, TxnOp};
    ///
    /// let txn = client.txn().then(TxnOp::put("cart:1001", "paid"));
    /// let txn = txn.then(TxnOp::delete(Keys::prefix("hold:1001/")));
    /// println!("both at revision {}", txn.await?.revision);
    /// # Ok(())
    /// # }
    /// ```
    pub fn then(mut self, op: impl Into<TxnOp>) -> Self {
        self.branch = self.branch.then(op);
        self
    }

    /// One more operation that is done if one comparison does not hold.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Compare, TxnAnswer, TxnOp};
    ///
    /// let txn = client.txn().when(Compare::absent("lock")).then(TxnOp::put("lock", "me"));
    /// let result = txn.otherwise(TxnOp::get("lock")).await?;
    /// if let [TxnAnswer::Selected { pairs, .. }] = &result.answers[..] {
    ///     println!("not mine: {pairs:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn otherwise(mut self, op: impl Into<TxnOp>) -> Self {
        self.branch = self.branch.otherwise(op);
        self
    }

    /// How fresh it must be, if it only reads; one that writes is linearizable.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Consistency, TxnOp};
    ///
    /// // Two keys as they were at one revision, as any node has them.
    /// let txn = client.txn().then(TxnOp::get("from")).then(TxnOp::get("to"));
    /// let result = txn.consistency(Consistency::Stale { max_staleness: None }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn consistency(mut self, consistency: super::Consistency) -> Self {
        self.read.consistency = consistency;
        self
    }

    /// Wait until the node is at this revision at least, if it only reads.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Consistency, TxnOp};
    ///
    /// let written = client.set("from", "v").await?;
    /// let txn = client.txn().then(TxnOp::get("from")).then(TxnOp::get("to"));
    /// let txn = txn.consistency(Consistency::Stale { max_staleness: None });
    /// let result = txn.min_revision(written.revision).await?; // shows that write
    /// # Ok(())
    /// # }
    /// ```
    pub fn min_revision(mut self, revision: u64) -> Self {
        self.read.min_revision = revision;
        self
    }

    option!(deadline of client.txn().then(TxnOp::put("user:1001", "Jane Doe")));
}

impl IntoFuture for Txn {
    type Output = Result<TxnResult, Error>;
    type IntoFuture = Call<TxnResult>;

    fn into_future(self) -> Self::IntoFuture {
        let Txn { client, branch, read, deadline } = self;
        let is_read_only = branch.is_read_only();
        let v1::Txn { compares, success, failure } = branch.0;
        let request =
            v1::TxnRequest { compares, success, failure, read: Some(read.to_wire()), session: None };
        let call = async move {
            if !is_read_only {
                let answer = client.perform(Request::Txn(request), Shape::Txn, deadline).await?;
                let WriteAnswer::Txn(result) = answer else { unreachable!("a txn is answered as a txn") };
                return Ok(result);
            }
            let target: Target = read.target();
            let asked = client.core().read(Request::Txn(request), target, client.deadline(deadline));
            let reply = asked.await?;
            client.saw(&reply);
            match reply {
                Reply::Txn(reply) => Ok(reply.into()),
                reply => Err(unexpected(&reply)),
            }
        };
        Box::pin(call.instrument(tracing::debug_span!("quorate.txn")))
    }
}

impl fmt::Debug for Txn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Txn").field("branch", &self.branch).finish_non_exhaustive()
    }
}

/// Comparisons and two lists of operations: what a [`Txn`] is, and what a transaction in a transaction is.
///
/// ```
/// use quorate::client::{Branch, Compare, TxnOp};
///
/// let branch = Branch::new().when(Compare::version("k").equals(1)).then(TxnOp::delete("k"));
/// let op: TxnOp = branch.into();
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Branch(v1::Txn);

impl Branch {
    /// Nothing is compared, nothing is done.
    pub fn new() -> Branch {
        Branch::default()
    }

    /// One more comparison that must hold for `then`.
    ///
    /// ```
    /// use quorate::client::{Branch, Compare, TxnOp};
    ///
    /// let always = Branch::new().then(TxnOp::delete("k"));
    /// let sometimes = Branch::new().when(Compare::value("k").equals("v")).then(TxnOp::delete("k"));
    /// assert_ne!(always, sometimes);
    /// ```
    pub fn when(mut self, compare: Compare) -> Self {
        self.0.compares.push(compare.0);
        self
    }

    /// One more operation that is done if all comparisons hold.
    ///
    /// ```
    /// use quorate::client::{Branch, TxnOp};
    ///
    /// let branch = Branch::new().then(TxnOp::put("a", "1")).then(TxnOp::put("b", "2"));
    /// let turned = Branch::new().then(TxnOp::put("b", "2")).then(TxnOp::put("a", "1"));
    /// assert_ne!(branch, turned); // they are done, and answered, in this order
    /// ```
    pub fn then(mut self, op: impl Into<TxnOp>) -> Self {
        self.0.success.push(op.into().0);
        self
    }

    /// One more operation that is done if one comparison does not hold.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Branch, Compare, TxnOp};
    ///
    /// // The first seat, or else the second.
    /// let second = Branch::new().when(Compare::absent("seat/2")).then(TxnOp::put("seat/2", "me"));
    /// let first = client.txn().when(Compare::absent("seat/1")).then(TxnOp::put("seat/1", "me"));
    /// let result = first.otherwise(second).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn otherwise(mut self, op: impl Into<TxnOp>) -> Self {
        self.0.failure.push(op.into().0);
        self
    }

    fn is_read_only(&self) -> bool {
        is_read_only(&self.0.success) && is_read_only(&self.0.failure)
    }
}

fn is_read_only(ops: &[v1::TxnOp]) -> bool {
    ops.iter().all(|op| match &op.op {
        Some(Op::Range(_)) | None => true,
        Some(Op::Put(_) | Op::Delete(_)) => false,
        Some(Op::Txn(txn)) => is_read_only(&txn.success) && is_read_only(&txn.failure),
    })
}

/// A comparison, of one key or of each of many. A key that is absent has version, revisions and lease 0, and no value.
///
/// ```
/// use quorate::client::{Compare, Keys};
///
/// let unchanged = Compare::mod_revision("k").equals(17);
/// let small = Compare::value("k").less("m");
/// let none_there = Compare::version(Keys::prefix("lock/")).equals(0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Compare(v1::Compare);

/// A number of keys that is to be compared.
#[derive(Clone, Debug)]
#[must_use = "say what it is to be compared with"]
pub struct NumberOf {
    keys: Keys,
    property: fn(u64) -> Property,
}

/// The value of keys that is to be compared.
#[derive(Clone, Debug)]
#[must_use = "say what it is to be compared with"]
pub struct ValueOf(Keys);

/// One key or many.
impl<K: IntoBytes> From<K> for Keys {
    fn from(key: K) -> Keys {
        Keys::one(key)
    }
}

impl Compare {
    /// There is no such key.
    ///
    /// ```
    /// use quorate::client::{Compare, Keys};
    ///
    /// assert_eq!(Compare::absent("lock"), Compare::version("lock").equals(0));
    /// let none_is_held = Compare::absent(Keys::prefix("lock/"));
    /// ```
    pub fn absent(keys: impl Into<Keys>) -> Compare {
        Compare::version(keys).equals(0)
    }

    /// There is such a key.
    ///
    /// ```
    /// use quorate::client::Compare;
    ///
    /// assert_eq!(Compare::exists("user:1001"), Compare::version("user:1001").greater(0));
    /// ```
    pub fn exists(keys: impl Into<Keys>) -> Compare {
        Compare::version(keys).greater(0)
    }

    /// How often it was written since it came into being.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Compare, TxnOp};
    ///
    /// // A draft is dropped only if nobody has worked on it.
    /// let txn = client.txn().when(Compare::version("draft").equals(1)).then(TxnOp::delete("draft"));
    /// let is_dropped = txn.await?.succeeded;
    /// # Ok(())
    /// # }
    /// ```
    pub fn version(keys: impl Into<Keys>) -> NumberOf {
        NumberOf { keys: keys.into(), property: Property::Version }
    }

    /// The revision of its last change.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Compare, TxnOp};
    ///
    /// if let Some(kv) = client.get("from").await? {
    ///     let txn = client.txn().when(Compare::mod_revision("from").equals(kv.mod_revision));
    ///     txn.then(TxnOp::put("to", kv.value)).then(TxnOp::delete("from")).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn mod_revision(keys: impl Into<Keys>) -> NumberOf {
        NumberOf { keys: keys.into(), property: Property::ModRevision }
    }

    /// The revision at which it came into being.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Compare, TxnOp};
    ///
    /// // The job that was seen, and not one that was made anew under its name.
    /// let txn = client.txn().when(Compare::create_revision("job/7").equals(17));
    /// let is_done = txn.then(TxnOp::put("job/7", "done")).await?.succeeded;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_revision(keys: impl Into<Keys>) -> NumberOf {
        NumberOf { keys: keys.into(), property: Property::CreateRevision }
    }

    /// The lease it is attached to.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Compare, TxnOp};
    ///
    /// // Only if it stays by itself: it is attached to none.
    /// let txn = client.txn().when(Compare::lease("user:1001").equals(0));
    /// let is_removed = txn.then(TxnOp::delete("user:1001")).await?.succeeded;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lease(keys: impl Into<Keys>) -> NumberOf {
        NumberOf { keys: keys.into(), property: Property::Lease }
    }

    /// The value.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Compare, TxnOp};
    ///
    /// // Who holds the lock may release it.
    /// let txn = client.txn().when(Compare::value("lock").equals("me")).then(TxnOp::delete("lock"));
    /// let was_mine = txn.await?.succeeded;
    /// # Ok(())
    /// # }
    /// ```
    pub fn value(keys: impl Into<Keys>) -> ValueOf {
        ValueOf(keys.into())
    }

    fn new(keys: Keys, relation: Relation, target: Property) -> Compare {
        Compare(v1::Compare { keys: Some(keys.0), relation: relation.into(), target: Some(target) })
    }
}

impl NumberOf {
    /// It is this.
    ///
    /// ```
    /// use quorate::client::{Compare, Relation};
    ///
    /// let unchanged = Compare::mod_revision("k").equals(17);
    /// assert_eq!(unchanged, Compare::mod_revision("k").is(Relation::Equal, 17));
    /// ```
    pub fn equals(self, number: u64) -> Compare {
        self.is(Relation::Equal, number)
    }

    /// It is not this.
    ///
    /// ```
    /// use quorate::client::{Compare, Relation};
    ///
    /// let changed = Compare::mod_revision("k").differs(17); // or there is none any more: that is 0
    /// assert_eq!(changed, Compare::mod_revision("k").is(Relation::NotEqual, 17));
    /// ```
    pub fn differs(self, number: u64) -> Compare {
        self.is(Relation::NotEqual, number)
    }

    /// It is greater.
    ///
    /// ```
    /// use quorate::client::{Compare, Relation};
    ///
    /// let newer = Compare::create_revision("k").greater(17);
    /// assert_eq!(newer, Compare::create_revision("k").is(Relation::Greater, 17));
    /// ```
    pub fn greater(self, number: u64) -> Compare {
        self.is(Relation::Greater, number)
    }

    /// It is less.
    ///
    /// ```
    /// use quorate::client::{Compare, Keys, Relation};
    ///
    /// let quiet = Compare::mod_revision(Keys::prefix("job/")).less(17); // none of them changed since
    /// assert_eq!(quiet, Compare::mod_revision(Keys::prefix("job/")).is(Relation::Less, 17));
    /// ```
    pub fn less(self, number: u64) -> Compare {
        self.is(Relation::Less, number)
    }

    /// It lies so to this.
    ///
    /// ```
    /// use quorate::client::{Compare, Relation};
    ///
    /// let relation = |is_new: bool| if is_new { Relation::Equal } else { Relation::Greater };
    /// let check = |is_new| Compare::version("k").is(relation(is_new), 0);
    /// assert_eq!((check(true), check(false)), (Compare::absent("k"), Compare::exists("k")));
    /// ```
    pub fn is(self, relation: Relation, number: u64) -> Compare {
        Compare::new(self.keys, relation, (self.property)(number))
    }
}

impl ValueOf {
    /// It is this.
    ///
    /// ```
    /// use quorate::client::{Compare, Relation};
    ///
    /// let mine = Compare::value("lock").equals("me");
    /// assert_eq!(mine, Compare::value("lock").is(Relation::Equal, b"me"));
    /// ```
    pub fn equals(self, value: impl IntoBytes) -> Compare {
        self.is(Relation::Equal, value)
    }

    /// It is another one. A key that is absent has none: then this does not hold.
    ///
    /// ```
    /// use quorate::client::{Compare, Relation};
    ///
    /// let of_another = Compare::value("lock").differs("me"); // there is a lock, and it is not mine
    /// assert_eq!(of_another, Compare::value("lock").is(Relation::NotEqual, "me"));
    /// ```
    pub fn differs(self, value: impl IntoBytes) -> Compare {
        self.is(Relation::NotEqual, value)
    }

    /// It is greater, byte by byte.
    ///
    /// ```
    /// use quorate::client::{Compare, Relation};
    ///
    /// let later = Compare::value("due").greater("2024-06-01"); // such dates lie byte by byte as in time
    /// assert_eq!(later, Compare::value("due").is(Relation::Greater, "2024-06-01"));
    /// ```
    pub fn greater(self, value: impl IntoBytes) -> Compare {
        self.is(Relation::Greater, value)
    }

    /// It is less, byte by byte.
    ///
    /// ```
    /// use quorate::client::{Compare, Keys, Relation};
    ///
    /// let over = Compare::value(Keys::prefix("due/")).less("2024-06-01"); // of each key
    /// assert_eq!(over, Compare::value(Keys::prefix("due/")).is(Relation::Less, "2024-06-01"));
    /// ```
    pub fn less(self, value: impl IntoBytes) -> Compare {
        self.is(Relation::Less, value)
    }

    /// It lies so to this.
    ///
    /// ```
    /// use quorate::client::{Compare, Relation};
    ///
    /// let relation = |is_held: bool| if is_held { Relation::Equal } else { Relation::NotEqual };
    /// let check = |is_held| Compare::value("lock").is(relation(is_held), "me");
    /// assert_eq!(check(true), Compare::value("lock").equals("me"));
    /// ```
    pub fn is(self, relation: Relation, value: impl IntoBytes) -> Compare {
        Compare::new(self.0, relation, Property::Value(value.into_bytes()))
    }
}

/// One operation of a transaction. A key is put at most once on any way through it, and not deleted beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct TxnOp(v1::TxnOp);

impl TxnOp {
    fn new(op: Op) -> TxnOp {
        TxnOp(v1::TxnOp { op: Some(op) })
    }

    /// Reads one key.
    ///
    /// ```
    /// use quorate::client::{Select, TxnOp};
    ///
    /// assert_eq!(TxnOp::get("k"), TxnOp::from(Select::keys("k")));
    /// ```
    pub fn get(key: impl IntoBytes) -> TxnOp {
        Select::keys(Keys::one(key)).into()
    }

    /// Sets a key.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::TxnOp;
    ///
    /// let txn = client.txn().then(TxnOp::put("user:1001", "Jane Doe"));
    /// let txn = txn.then(TxnOp::put("index:Jane", "1001"));
    /// println!("both at revision {}", txn.await?.revision);
    /// # Ok(())
    /// # }
    /// ```
    pub fn put(key: impl IntoBytes, value: impl IntoBytes) -> TxnOp {
        let (key, value) = (key.into_bytes(), Some(value.into_bytes()));
        TxnOp::new(Op::Put(v1::TxnPut { key, value, previous: false }))
    }

    /// Writes a key that must be there with the value that it has: its revision and version change.
    ///
    /// ```
    /// use quorate::client::TxnOp;
    ///
    /// let touched = TxnOp::touch("k");
    /// assert_ne!(touched, TxnOp::put("k", "")); // that would empty it
    /// ```
    pub fn touch(key: impl IntoBytes) -> TxnOp {
        TxnOp::new(Op::Put(v1::TxnPut { key: key.into_bytes(), value: None, previous: false }))
    }

    /// Removes one key, or many.
    ///
    /// ```
    /// use quorate::client::{Keys, TxnOp};
    ///
    /// let all_jobs = TxnOp::delete(Keys::prefix("job/"));
    /// assert_ne!(all_jobs, TxnOp::delete("job/")); // the key of that very name
    /// ```
    pub fn delete(keys: impl Into<Keys>) -> TxnOp {
        TxnOp::new(Op::Delete(v1::TxnDelete { keys: Some(keys.into().0), previous: false }))
    }

    /// Answer with what was there before; of no meaning for reads and transactions.
    ///
    /// ```
    /// use quorate::client::TxnOp;
    ///
    /// assert_ne!(TxnOp::delete("k").previous(), TxnOp::delete("k"));
    /// assert_eq!(TxnOp::get("k").previous(), TxnOp::get("k"));
    /// ```
    pub fn previous(mut self) -> TxnOp {
        match &mut self.0.op {
            Some(Op::Put(put)) => put.previous = true,
            Some(Op::Delete(delete)) => delete.previous = true,
            Some(Op::Range(_) | Op::Txn(_)) | None => {}
        }
        self
    }
}

impl From<Branch> for TxnOp {
    fn from(branch: Branch) -> TxnOp {
        TxnOp::new(Op::Txn(branch.0))
    }
}

/// A read in a transaction.
///
/// ```
/// use quorate::client::{Keys, OrderBy, Select, TxnOp};
///
/// let newest: TxnOp = Select::keys(Keys::prefix("job/")).order_by(OrderBy::ModRevision).descending().limit(1).into();
/// let how_many: TxnOp = Select::keys(Keys::prefix("job/")).count_only().into();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Select(v1::TxnRange);

impl Select {
    /// All of these, in key order.
    ///
    /// ```
    /// use quorate::client::{Keys, Select};
    ///
    /// let jobs = Select::keys(Keys::prefix("job/"));
    /// assert_ne!(jobs, Select::keys("job/")); // the key of that very name
    /// ```
    pub fn keys(keys: impl Into<Keys>) -> Select {
        Select(v1::TxnRange { keys: Some(keys.into().0), ..Default::default() })
    }

    /// At most so many pairs, of those that come first; 0: all.
    ///
    /// ```
    /// use quorate::client::{Keys, Select};
    ///
    /// let first_ten = Select::keys(Keys::prefix("job/")).limit(10);
    /// assert_eq!(first_ten.limit(0), Select::keys(Keys::prefix("job/")));
    /// ```
    pub fn limit(mut self, limit: u64) -> Self {
        self.0.limit = limit;
        self
    }

    /// In another order than the key's.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Keys, OrderBy, Select};
    ///
    /// // The three keys that were left alone for longest.
    /// let oldest = Select::keys(Keys::prefix("cache/")).order_by(OrderBy::ModRevision).limit(3);
    /// let result = client.txn().then(oldest).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn order_by(mut self, order: OrderBy) -> Self {
        self.0.order_by = order.into();
        self
    }

    /// From the greatest to the least.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Keys, OrderBy, Select};
    ///
    /// // The key that changed last.
    /// let newest = Select::keys(Keys::all()).order_by(OrderBy::ModRevision).descending().limit(1);
    /// let result = client.txn().then(newest).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn descending(mut self) -> Self {
        self.0.descending = true;
        self
    }

    /// Without values.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Keys, Select, TxnOp};
    ///
    /// // What was there, and away with it.
    /// let names = Select::keys(Keys::prefix("cache/")).keys_only();
    /// let result = client.txn().then(names).then(TxnOp::delete(Keys::prefix("cache/"))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn keys_only(mut self) -> Self {
        self.0.keys_only = true;
        self
    }

    /// Only how many there are.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{Keys, Select, TxnAnswer};
    ///
    /// let result = client.txn().then(Select::keys(Keys::prefix("job/")).count_only()).await?;
    /// if let [TxnAnswer::Selected { count, .. }] = &result.answers[..] {
    ///     println!("{count} jobs at revision {}", result.revision);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn count_only(mut self) -> Self {
        self.0.count_only = true;
        self
    }
}

impl From<Select> for TxnOp {
    fn from(select: Select) -> TxnOp {
        TxnOp::new(Op::Range(select.0))
    }
}
