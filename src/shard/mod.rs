//! Key -> group -> [`Handle`]. Today one group holds every key; the router is where that will change.
//!
//! Front doors know a [`Router`] and nothing below it.

#[cfg(any(test, feature = "testing"))]
pub mod fake;

use crate::command::{Answer, Command, Query, Reply, SessionSeq};
use crate::error::Error;
use crate::node::Handle;
use crate::types::{Index, Monotonic, NodeId, Revision};

pub use crate::node::{
    Consistency, Freshness, Member, MemberChange, MemberStatus, Members, Standing, Status,
};

/// The way to every group on this node. Cheap to clone.
#[derive(Clone)]
pub struct Router(Target);

#[derive(Clone)]
enum Target {
    Node(Handle),
    #[cfg(any(test, feature = "testing"))]
    Fake(std::sync::Arc<dyn fake::Fake>),
}

impl Router {
    /// A router over the one group.
    pub fn new(group: Handle) -> Router {
        Router(Target::Node(group))
    }

    /// A router over something that only looks like a node: for the front doors' own tests.
    #[cfg(any(test, feature = "testing"))]
    pub fn fake(fake: std::sync::Arc<dyn fake::Fake>) -> Router {
        Router(Target::Fake(fake))
    }

    /// Executes a command through the log; see [`Handle::write`](crate::node::Handle::write).
    ///
    /// # Errors
    /// See there.
    pub async fn write(
        &self,
        session: Option<SessionSeq>,
        command: impl Into<Command>,
        deadline: Monotonic,
    ) -> Result<Reply, Error> {
        match &self.0 {
            Target::Node(group) => group.write(session, command.into(), deadline).await,
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(fake) => {
                let command = command.into();
                fake.submitted(&command);
                fake.busy().await;
                fake.write(session, command, deadline)
            }
        }
    }

    /// Reads; see [`Handle::read`](crate::node::Handle::read).
    ///
    /// # Errors
    /// See there.
    pub async fn read(
        &self,
        query: Query,
        freshness: Freshness,
        deadline: Monotonic,
    ) -> Result<Answer, Error> {
        match &self.0 {
            Target::Node(group) => group.read(query, freshness, deadline).await,
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(fake) => {
                fake.busy().await;
                fake.read(query, freshness, deadline)
            }
        }
    }

    /// The members; see [`Handle::members`](crate::node::Handle::members).
    ///
    /// # Errors
    /// See there.
    pub async fn members(&self, deadline: Monotonic) -> Result<Members, Error> {
        match &self.0 {
            Target::Node(group) => group.members(deadline).await,
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(fake) => fake.members(deadline),
        }
    }

    /// The members as this node knows them, without asking anyone.
    pub fn members_here(&self) -> Members {
        match &self.0 {
            Target::Node(group) => group.members_here(),
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(fake) => fake.members_here(),
        }
    }

    /// Changes the members; see [`Handle::change`](crate::node::Handle::change).
    ///
    /// # Errors
    /// See there.
    pub async fn change(
        &self,
        change: MemberChange,
        force: bool,
        deadline: Monotonic,
    ) -> Result<Members, Error> {
        match &self.0 {
            Target::Node(group) => group.change(change, force, deadline).await,
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(fake) => fake.change(change, force, deadline),
        }
    }

    /// Makes a member lead; see [`Handle::transfer`](crate::node::Handle::transfer).
    ///
    /// # Errors
    /// See there.
    pub async fn transfer(&self, to: NodeId, deadline: Monotonic) -> Result<Members, Error> {
        match &self.0 {
            Target::Node(group) => group.transfer(to, deadline).await,
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(fake) => fake.transfer(to, deadline),
        }
    }

    /// Folds what this node has applied; see [`Handle::compact`](crate::node::Handle::compact).
    ///
    /// # Errors
    /// See there.
    pub async fn compact(&self, deadline: Monotonic) -> Result<Index, Error> {
        match &self.0 {
            Target::Node(group) => group.compact(deadline).await,
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(fake) => fake.compact(deadline),
        }
    }

    /// Whether this node has a state to read from.
    ///
    /// # Errors
    /// See [`Handle::check_state`](crate::node::Handle::check_state).
    pub fn check_state(&self) -> Result<(), Error> {
        match &self.0 {
            Target::Node(group) => group.check_state(),
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(_) => Ok(()),
        }
    }

    /// Waits until a quorum has confirmed a read.
    ///
    /// # Errors
    /// See [`Handle::confirm`](crate::node::Handle::confirm).
    pub async fn confirm(&self, deadline: Monotonic) -> Result<(), Error> {
        match &self.0 {
            Target::Node(group) => group.confirm(deadline).await,
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(fake) => fake.confirm(deadline),
        }
    }

    /// The store's revision on this node, which costs next to nothing.
    pub fn revision(&self) -> Revision {
        match &self.0 {
            Target::Node(group) => group.revision(),
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(fake) => fake.revision(),
        }
    }

    /// Where this node stands: what answers are stamped with. Costs next to nothing.
    pub fn standing(&self) -> Standing {
        match &self.0 {
            Target::Node(group) => group.standing(),
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(fake) => fake.standing(),
        }
    }

    /// The leader and its advertised gRPC address, if it is known and another node. Costs next to nothing.
    pub fn leader_elsewhere(&self) -> Option<(NodeId, String)> {
        match &self.0 {
            Target::Node(group) => group.leader_elsewhere(),
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(fake) => fake.leader_elsewhere(),
        }
    }

    /// What this node says about itself.
    pub fn status(&self) -> Status {
        match &self.0 {
            Target::Node(group) => group.status(),
            #[cfg(any(test, feature = "testing"))]
            Target::Fake(fake) => fake.status(),
        }
    }
}
