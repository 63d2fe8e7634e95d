//! What a front door's tests put in the place of a node.

use crate::command::{Answer, Query, Reply, SessionSeq, Write};
use crate::error::Error;
use crate::types::{Monotonic, Revision};

use super::{Consistency, Status};

/// A stand-in for a node: the router's five methods, answered at once.
pub trait Fake: Send + Sync {
    /// See [`super::Router::write`].
    fn write(&self, session: Option<SessionSeq>, write: Write, deadline: Monotonic) -> Result<Reply, Error>;

    /// See [`super::Router::read`].
    fn read(&self, query: Query, consistency: Consistency, deadline: Monotonic) -> Result<Answer, Error>;

    /// See [`super::Router::confirm`].
    fn confirm(&self, deadline: Monotonic) -> Result<(), Error>;

    /// See [`super::Router::revision`].
    fn revision(&self) -> Revision;

    /// See [`super::Router::status`].
    fn status(&self) -> Status;
}
