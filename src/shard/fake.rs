//! What a front door's tests put in the place of a node.

use std::future::Future;
use std::pin::Pin;

use crate::command::{Answer, Command, Query, Reply, SessionSeq};
use crate::error::Error;
use crate::types::{Index, Monotonic, NodeId, Revision};

use super::{Freshness, MemberChange, Members, Standing, Status};

/// What a stand-in waits for.
pub type Busy = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A stand-in for a node: the router's methods, answered at once.
pub trait Fake: Send + Sync {
    /// What a write or a read waits for before it is answered: nothing.
    fn busy(&self) -> Busy {
        Box::pin(std::future::ready(()))
    }

    /// A write was handed over, and waits.
    fn submitted(&self, _command: &Command) {}

    /// See [`super::Router::write`].
    fn write(
        &self,
        session: Option<SessionSeq>,
        command: Command,
        deadline: Monotonic,
    ) -> Result<Reply, Error>;

    /// See [`super::Router::read`].
    fn read(&self, query: Query, freshness: Freshness, deadline: Monotonic) -> Result<Answer, Error>;

    /// See [`super::Router::members`].
    fn members(&self, _deadline: Monotonic) -> Result<Members, Error> {
        Ok(self.members_here())
    }

    /// See [`super::Router::members_here`].
    fn members_here(&self) -> Members;

    /// See [`super::Router::change`].
    fn change(&self, change: MemberChange, force: bool, deadline: Monotonic) -> Result<Members, Error>;

    /// See [`super::Router::transfer`].
    fn transfer(&self, to: NodeId, deadline: Monotonic) -> Result<Members, Error>;

    /// See [`super::Router::compact`].
    fn compact(&self, _deadline: Monotonic) -> Result<Index, Error> {
        Ok(self.status().folded_index)
    }

    /// See [`super::Router::confirm`].
    fn confirm(&self, deadline: Monotonic) -> Result<(), Error>;

    /// See [`super::Router::revision`].
    fn revision(&self) -> Revision;

    /// See [`super::Router::standing`].
    fn standing(&self) -> Standing {
        let Status { cluster_id, id, term, leader, .. } = self.status();
        Standing { cluster_id, id, term, leader }
    }

    /// See [`super::Router::leader_elsewhere`].
    fn leader_elsewhere(&self) -> Option<(NodeId, String)> {
        let Status { id, leader, members, .. } = self.status();
        let member = members.into_iter().find(|member| Some(member.id) == leader && member.id != id)?;
        Some((member.id, member.grpc))
    }

    /// See [`super::Router::status`].
    fn status(&self) -> Status;
}
