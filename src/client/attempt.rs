//! A write whose outcome is unknown, to be asked after.

use std::fmt;
use std::time::Duration;

use tracing::Instrument;

use super::calls::unexpected;
use super::edge;
use super::sessions::Place;
use super::values::{Deleted, Swap, Written};
use super::{Client, Error, TxnResult};
use crate::proto::v1::operation::Request;
use crate::proto::v1::operation_result::Result as Reply;

/// A write that may have been executed: its call ended before the answer came. It comes with such an
/// [`Error`](Error::into_attempt).
///
/// It still has its number, under which the cluster executes it once: [resumed](Attempt::resume), it is executed if it was
/// not yet, and answered as it was at first if it was. Dropped, it stays unknown. While it is kept, its session is.
///
/// ```no_run
/// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
/// use std::time::Duration;
///
/// match client.set("k", "v").deadline(Duration::from_secs(1)).await {
///     Ok(written) => println!("revision {}", written.revision),
///     Err(error) => match error.into_attempt() {
///         Some(attempt) => println!("it is done now: {:?}", attempt.resume(Duration::from_secs(60)).await?),
///         None => println!("it was not done, or its session is gone and nobody can tell"),
///     },
/// }
/// # Ok(())
/// # }
/// ```
pub struct Attempt(Box<Parts>);

struct Parts {
    client: Client,
    request: Request,
    place: Place,
    shape: Shape,
}

/// What a resumed write answered: the same as its call would have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteAnswer {
    /// Of a set.
    Written(Written),
    /// Of a delete.
    Deleted(Deleted),
    /// Of a compare-and-set.
    Swap(Swap),
    /// Of a transaction.
    Txn(TxnResult),
}

/// Which call it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Set,
    Delete,
    Swap,
    Txn,
}

impl Attempt {
    pub(super) fn new(client: Client, request: Request, place: Place, shape: Shape) -> Attempt {
        Attempt(Box::new(Parts { client, request, place, shape }))
    }

    /// Goes on with it, for up to `deadline`.
    ///
    /// ```no_run
    /// # async fn f(attempt: quorate::client::Attempt) -> Result<(), quorate::client::Error> {
    /// use std::time::Duration;
    /// use quorate::client::WriteAnswer;
    ///
    /// if let WriteAnswer::Written(written) = attempt.resume(Duration::from_secs(60)).await? {
    ///     println!("the set is done, at revision {}", written.revision);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Deadline`](super::ErrorKind::Deadline), [`SessionGone`](super::ErrorKind::SessionGone), or what the write itself came to, such as
    /// [`ConditionFailed`](super::ErrorKind::ConditionFailed). What a node refuses for its own sake, a full disk for example, is no
    /// answer: it is asked again until the deadline. An [`Outcome::Unknown`](super::Outcome::Unknown) comes with the attempt again, unless
    /// its session is gone: then nobody can tell any more.
    pub async fn resume(self, deadline: Duration) -> Result<WriteAnswer, Error> {
        let Parts { client, request, place, shape } = *self.0;
        let resumed = client.write_at(place, &request, shape, edge::after(deadline), true);
        let result = resumed.instrument(tracing::debug_span!("quorate.resume")).await;
        let reply = result.expect("what may have been executed is not begun anew")?;
        client.saw(&reply);
        shape.answer(reply)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { place, shape, .. } = &*self.0;
        f.debug_struct("Attempt").field("call", shape).field("place", place).finish_non_exhaustive()
    }
}

impl Shape {
    /// What a reply means to the caller.
    pub(super) fn answer(self, reply: Reply) -> Result<WriteAnswer, Error> {
        match (self, reply) {
            (Shape::Set, Reply::Put(reply)) => Ok(WriteAnswer::Written(reply.into())),
            (Shape::Delete, Reply::Delete(reply)) => Ok(WriteAnswer::Deleted(reply.into())),
            (Shape::Swap, Reply::Txn(reply)) => Ok(WriteAnswer::Swap(Swap::of(reply)?)),
            (Shape::Txn, Reply::Txn(reply)) => Ok(WriteAnswer::Txn(reply.into())),
            (_, reply) => Err(unexpected(&reply)),
        }
    }
}
