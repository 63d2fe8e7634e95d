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
    pub fn when(mut self, compare: Compare) -> Self {
        self.branch = self.branch.when(compare);
        self
    }

    /// One more operation that is done if all comparisons hold.
    pub fn then(mut self, op: impl Into<TxnOp>) -> Self {
        self.branch = self.branch.then(op);
        self
    }

    /// One more operation that is done if one comparison does not hold.
    pub fn otherwise(mut self, op: impl Into<TxnOp>) -> Self {
        self.branch = self.branch.otherwise(op);
        self
    }

    /// How fresh it must be, if it only reads; one that writes is linearizable.
    pub fn consistency(mut self, consistency: super::Consistency) -> Self {
        self.read.consistency = consistency;
        self
    }

    /// Wait until the node is at this revision at least, if it only reads.
    pub fn min_revision(mut self, revision: u64) -> Self {
        self.read.min_revision = revision;
        self
    }

    option!(deadline);
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
    pub fn when(mut self, compare: Compare) -> Self {
        self.0.compares.push(compare.0);
        self
    }

    /// One more operation that is done if all comparisons hold.
    pub fn then(mut self, op: impl Into<TxnOp>) -> Self {
        self.0.success.push(op.into().0);
        self
    }

    /// One more operation that is done if one comparison does not hold.
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
    pub fn absent(keys: impl Into<Keys>) -> Compare {
        Compare::version(keys).equals(0)
    }

    /// There is such a key.
    pub fn exists(keys: impl Into<Keys>) -> Compare {
        Compare::version(keys).greater(0)
    }

    /// How often it was written since it came into being.
    pub fn version(keys: impl Into<Keys>) -> NumberOf {
        NumberOf { keys: keys.into(), property: Property::Version }
    }

    /// The revision of its last change.
    pub fn mod_revision(keys: impl Into<Keys>) -> NumberOf {
        NumberOf { keys: keys.into(), property: Property::ModRevision }
    }

    /// The revision at which it came into being.
    pub fn create_revision(keys: impl Into<Keys>) -> NumberOf {
        NumberOf { keys: keys.into(), property: Property::CreateRevision }
    }

    /// The lease it is attached to.
    pub fn lease(keys: impl Into<Keys>) -> NumberOf {
        NumberOf { keys: keys.into(), property: Property::Lease }
    }

    /// The value.
    pub fn value(keys: impl Into<Keys>) -> ValueOf {
        ValueOf(keys.into())
    }

    fn new(keys: Keys, relation: Relation, target: Property) -> Compare {
        Compare(v1::Compare { keys: Some(keys.0), relation: relation.into(), target: Some(target) })
    }
}

impl NumberOf {
    /// It is this.
    pub fn equals(self, number: u64) -> Compare {
        self.is(Relation::Equal, number)
    }

    /// It is not this.
    pub fn differs(self, number: u64) -> Compare {
        self.is(Relation::NotEqual, number)
    }

    /// It is greater.
    pub fn greater(self, number: u64) -> Compare {
        self.is(Relation::Greater, number)
    }

    /// It is less.
    pub fn less(self, number: u64) -> Compare {
        self.is(Relation::Less, number)
    }

    /// It lies so to this.
    pub fn is(self, relation: Relation, number: u64) -> Compare {
        Compare::new(self.keys, relation, (self.property)(number))
    }
}

impl ValueOf {
    /// It is this.
    pub fn equals(self, value: impl IntoBytes) -> Compare {
        self.is(Relation::Equal, value)
    }

    /// It is another one. A key that is absent has none: then this does not hold.
    pub fn differs(self, value: impl IntoBytes) -> Compare {
        self.is(Relation::NotEqual, value)
    }

    /// It is greater, byte by byte.
    pub fn greater(self, value: impl IntoBytes) -> Compare {
        self.is(Relation::Greater, value)
    }

    /// It is less, byte by byte.
    pub fn less(self, value: impl IntoBytes) -> Compare {
        self.is(Relation::Less, value)
    }

    /// It lies so to this.
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
    pub fn get(key: impl IntoBytes) -> TxnOp {
        Select::keys(Keys::one(key)).into()
    }

    /// Sets a key.
    pub fn put(key: impl IntoBytes, value: impl IntoBytes) -> TxnOp {
        let (key, value) = (key.into_bytes(), Some(value.into_bytes()));
        TxnOp::new(Op::Put(v1::TxnPut { key, value, previous: false }))
    }

    /// Writes a key that must be there with the value that it has: its revision and version change.
    pub fn touch(key: impl IntoBytes) -> TxnOp {
        TxnOp::new(Op::Put(v1::TxnPut { key: key.into_bytes(), value: None, previous: false }))
    }

    /// Removes one key, or many.
    pub fn delete(keys: impl Into<Keys>) -> TxnOp {
        TxnOp::new(Op::Delete(v1::TxnDelete { keys: Some(keys.into().0), previous: false }))
    }

    /// Answer with what was there before; of no meaning for reads and transactions.
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
    pub fn keys(keys: impl Into<Keys>) -> Select {
        Select(v1::TxnRange { keys: Some(keys.into().0), ..Default::default() })
    }

    /// At most so many pairs, of those that come first; 0: all.
    pub fn limit(mut self, limit: u64) -> Self {
        self.0.limit = limit;
        self
    }

    /// In another order than the key's.
    pub fn order_by(mut self, order: OrderBy) -> Self {
        self.0.order_by = order.into();
        self
    }

    /// From the greatest to the least.
    pub fn descending(mut self) -> Self {
        self.0.descending = true;
        self
    }

    /// Without values.
    pub fn keys_only(mut self) -> Self {
        self.0.keys_only = true;
        self
    }

    /// Only how many there are.
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
