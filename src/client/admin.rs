//! What operators ask: the members and their changes, and what single nodes say of themselves.
//!
//! These are unary calls on the connections that the streams use. Changes of the members have no session: one that may have
//! been executed is not asked for again, and its outcome is unknown until [`Client::members`] shows it.

use futures_util::future::BoxFuture;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use super::calls::{Attempts, Ended};
use super::cluster::Target;
use super::edge::{self, Instant};
use super::error::{Error, Failure};
use super::node::{Address, Node};
use super::{Client, Core};
use crate::proto::v1::admin_client::AdminClient;
use crate::proto::v1::{
    AddMemberRequest, CompactRequest, MembersRequest, PromoteMemberRequest, RemoveMemberRequest,
    StatusRequest, TransferLeaderRequest, UpdateMemberRequest,
};
pub use crate::proto::v1::{Member, MembersResponse, StatusResponse};

type Admin = AdminClient<Channel>;
type Asked<A> = BoxFuture<'static, Result<Response<A>, Status>>;

/// A node that is to become a member; it is itself started with `--join`.
///
/// ```
/// use quorate::client::NewMember;
///
/// let replica = NewMember::at("node4:7001").id(4).learner();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember(AddMemberRequest);

impl NewMember {
    /// Its peer address.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::NewMember;
    ///
    /// // The node itself is started with `--join`.
    /// client.add_member(NewMember::at("node4:7001")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn at(peer: impl Into<String>) -> NewMember {
        NewMember(AddMemberRequest { peer: peer.into(), ..Default::default() })
    }

    /// Its id. Without it the cluster chooses one that is free.
    ///
    /// ```
    /// use quorate::client::NewMember;
    ///
    /// let fourth = NewMember::at("node4:7001").id(4);
    /// assert_ne!(fourth, NewMember::at("node4:7001")); // of that one the cluster chooses the id
    /// ```
    pub fn id(mut self, id: u64) -> Self {
        self.0.id = id;
        self
    }

    /// It stays without a vote: a read replica.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::NewMember;
    ///
    /// let members = client.add_member(NewMember::at("node4:7001").id(4).learner()).await?.members;
    /// assert!(members.iter().any(|member| member.id == 4 && member.role == "learner"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn learner(mut self) -> Self {
        self.0.learner = true;
        self
    }
}

/// Where a member is reached; what is not named stays.
///
/// ```
/// use quorate::client::NewAddresses;
///
/// let moved = NewAddresses::new().peer("node4:7001").grpc("node4:9001");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewAddresses(UpdateMemberRequest);

impl NewAddresses {
    /// All stay.
    pub fn new() -> NewAddresses {
        NewAddresses::default()
    }

    /// By its peers.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::NewAddresses;
    ///
    /// client.update_member(3, NewAddresses::new().peer("new-host:7001")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn peer(mut self, address: impl Into<String>) -> Self {
        self.0.peer = Some(address.into());
        self
    }

    /// Over REST.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::NewAddresses;
    ///
    /// client.update_member(3, NewAddresses::new().http("new-host:8001")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn http(mut self, address: impl Into<String>) -> Self {
        self.0.http = Some(address.into());
        self
    }

    /// Over gRPC.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::NewAddresses;
    ///
    /// // All three at once: the node has moved.
    /// let moved = NewAddresses::new().peer("new-host:7001").http("new-host:8001").grpc("new-host:9001");
    /// client.update_member(3, moved).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn grpc(mut self, address: impl Into<String>) -> Self {
        self.0.grpc = Some(address.into());
        self
    }
}

impl Client {
    /// The members, as the leader knows them.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// for member in client.members().await?.members {
    ///     let leads = if member.leader { ", which leads" } else { "" };
    ///     println!("{}: a {} at {}{leads}", member.id, member.role, member.grpc);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// No node answered within the client's deadline.
    pub async fn members(&self) -> Result<MembersResponse, Error> {
        let ask =
            |mut admin: Admin, request| -> Asked<_> { Box::pin(async move { admin.members(request).await }) };
        let asked = self.ask(MembersRequest::default(), Repeat::Always, ask);
        let response = asked.instrument(tracing::debug_span!("quorate.members")).await?;
        self.core().cluster.on_members(&response);
        Ok(response)
    }

    /// The members as some node knows them, which asks nobody: also where there is no leader. How far they are is not known then.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// // Answers also while no leader can be elected.
    /// let members = client.members_stale().await?.members;
    /// println!("voters: {}", members.iter().filter(|member| member.role == "voter").count());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::members`].
    pub async fn members_stale(&self) -> Result<MembersResponse, Error> {
        let request = MembersRequest { consistency: crate::proto::v1::Consistency::Stale.into() };
        let ask =
            |mut admin: Admin, request| -> Asked<_> { Box::pin(async move { admin.members(request).await }) };
        let asked = self.ask(request, Repeat::Always, ask);
        asked.instrument(tracing::debug_span!("quorate.members_stale")).await
    }

    /// Adds a member; answered once that is committed.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::{ErrorKind, NewMember};
    ///
    /// match client.add_member(NewMember::at("node4:7001").id(4)).await {
    ///     Ok(now) => println!("{} members", now.members.len()),
    ///     Err(error) if error.kind() == ErrorKind::MemberExists => println!("it was added before"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`MemberExists`](super::ErrorKind::MemberExists), [`IdRetired`](super::ErrorKind::IdRetired),
    /// [`ChangeInProgress`](super::ErrorKind::ChangeInProgress), or those of every call.
    pub async fn add_member(&self, member: NewMember) -> Result<MembersResponse, Error> {
        let ask = |mut admin: Admin, request| -> Asked<_> {
            Box::pin(async move { admin.add_member(request).await })
        };
        let asked = self.ask(member.0, Repeat::IfNotExecuted, ask);
        asked.instrument(tracing::debug_span!("quorate.add_member")).await
    }

    /// Removes a member for ever: its id is never used again. With `force` also if fewer voters than their quorum could then be
    /// reached.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::ErrorKind;
    ///
    /// match client.remove_member(3, false).await {
    ///     Ok(now) => println!("{} members are left", now.members.len()),
    ///     Err(error) if error.kind() == ErrorKind::QuorumAtRisk => println!("not while others are down"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`NoSuchMember`](super::ErrorKind::NoSuchMember), [`QuorumAtRisk`](super::ErrorKind::QuorumAtRisk),
    /// [`ChangeInProgress`](super::ErrorKind::ChangeInProgress), or those of every call.
    pub async fn remove_member(&self, id: u64, force: bool) -> Result<MembersResponse, Error> {
        let ask = |mut admin: Admin, request| -> Asked<_> {
            Box::pin(async move { admin.remove_member(request).await })
        };
        let asked = self.ask(RemoveMemberRequest { id, force }, Repeat::IfNotExecuted, ask);
        asked.instrument(tracing::debug_span!("quorate.remove_member")).await
    }

    /// Changes a member's addresses.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::NewAddresses;
    ///
    /// // Peers reach it elsewhere now; its other addresses stay.
    /// client.update_member(3, NewAddresses::new().peer("new-host:7001")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::remove_member`].
    pub async fn update_member(&self, id: u64, addresses: NewAddresses) -> Result<MembersResponse, Error> {
        let ask = |mut admin: Admin, request| -> Asked<_> {
            Box::pin(async move { admin.update_member(request).await })
        };
        let asked = self.ask(UpdateMemberRequest { id, ..addresses.0 }, Repeat::IfNotExecuted, ask);
        asked.instrument(tracing::debug_span!("quorate.update_member")).await
    }

    /// Gives a learner a vote. With `force` also if the voters' quorum could then not be reached.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// let members = client.promote_member(4, false).await?.members;
    /// println!("voters: {}", members.iter().filter(|member| member.role == "voter").count());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::remove_member`].
    pub async fn promote_member(&self, id: u64, force: bool) -> Result<MembersResponse, Error> {
        let ask = |mut admin: Admin, request| -> Asked<_> {
            Box::pin(async move { admin.promote_member(request).await })
        };
        let asked = self.ask(PromoteMemberRequest { id, force }, Repeat::IfNotExecuted, ask);
        asked.instrument(tracing::debug_span!("quorate.promote_member")).await
    }

    /// Makes a voter lead; answered once it does.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// // Node 1 is to be stopped: let node 2 lead before that.
    /// client.transfer_leader(2).await?;
    /// println!("the leader: {:?}", client.leader());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`NoSuchMember`](super::ErrorKind::NoSuchMember), or those of every call.
    pub async fn transfer_leader(&self, id: u64) -> Result<MembersResponse, Error> {
        let ask = |mut admin: Admin, request| -> Asked<_> {
            Box::pin(async move { admin.transfer_leader(request).await })
        };
        let asked = self.ask(TransferLeaderRequest { id }, Repeat::IfNotExecuted, ask);
        let response = asked.instrument(tracing::debug_span!("quorate.transfer_leader")).await?;
        self.core().cluster.on_members(&response);
        Ok(response)
    }

    /// What the node at an address says of itself. Nobody else is asked.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// let status = client.status("node1:9001").await?;
    /// println!("{}: {} keys at revision {}", status.state, status.keys, status.revision);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The address is none, or the node did not answer within the client's deadline.
    pub async fn status(&self, endpoint: &str) -> Result<StatusResponse, Error> {
        let node = self.core().cluster.node_at(&Address::parse(endpoint)?);
        let ask =
            |mut admin: Admin, request| -> Asked<_> { Box::pin(async move { admin.status(request).await }) };
        let asked = one(&node, StatusRequest {}, self.deadline(None), ask);
        asked.instrument(tracing::debug_span!("quorate.status")).await.map_err(told)
    }

    /// Makes the node at an address fold what it has applied into its state file, and free what its log needs no longer. Says
    /// how far the state file is then.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// let folded_index = client.compact("node1:9001").await?;
    /// println!("the state file has all up to entry {folded_index} of the log");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn compact(&self, endpoint: &str) -> Result<u64, Error> {
        let node = self.core().cluster.node_at(&Address::parse(endpoint)?);
        let ask =
            |mut admin: Admin, request| -> Asked<_> { Box::pin(async move { admin.compact(request).await }) };
        let asked = one(&node, CompactRequest {}, self.deadline(None), ask);
        let answer = asked.instrument(tracing::debug_span!("quorate.compact")).await;
        answer.map(|compacted| compacted.folded_index).map_err(told)
    }

    /// Asks the leader, or whoever answers.
    async fn ask<Q: Clone, A>(
        &self,
        request: Q,
        repeat: Repeat,
        ask: impl Fn(Admin, Request<Q>) -> Asked<A>,
    ) -> Result<A, Error> {
        let core = self.core();
        let deadline = self.deadline(None);
        let mut attempts = Attempts::new(core, deadline);
        let mut last = None;
        loop {
            let now = edge::now();
            if now >= deadline {
                return Err(attempts.error(Ended::Deadline(last)));
            }
            let node = core.cluster.route(Target::Leader, now);
            // A change may take as long as the call: it is not made again. What is only read may come from elsewhere.
            let until = match repeat {
                Repeat::Always => attempts.attempt_until(now),
                Repeat::IfNotExecuted => deadline,
            };
            let answer = one(&node, request.clone(), until, &ask).await;
            core.note(&node, answer.as_ref().err());
            let failure = match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let may_be_executed = repeat == Repeat::IfNotExecuted && failure.may_be_executed();
            if may_be_executed {
                return Err(told(failure).into_unknown(None));
            }
            if !failure.is_transient() {
                return Err(told(failure));
            }
            attempts.pause(&failure).await;
            last = Some(failure);
        }
    }
}

/// Whether a call may be made again that may have been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    Always,
    IfNotExecuted,
}

/// What the caller is told of a call that is not made again.
fn told(failure: Failure) -> Error {
    match failure {
        Failure::Refused(error) => Error::refused(error),
        failure => Error::new(super::ErrorKind::Unavailable, failure.to_string()),
    }
}

/// Asks one node, once.
async fn one<Q, A>(
    node: &Node,
    request: Q,
    deadline: Instant,
    ask: impl Fn(Admin, Request<Q>) -> Asked<A>,
) -> Result<A, Failure> {
    let mut request = Request::new(request);
    request.set_timeout(deadline.saturating_duration_since(edge::now()));
    match edge::by(deadline, ask(node.admin(), request)).await {
        Some(Ok(response)) => Ok(response.into_inner()),
        Some(Err(status)) => Err(Failure::of_status(&status)),
        None => Err(Failure::Late { was_sent: true, is_the_nodes: true }),
    }
}

impl Core {
    /// Asks one node for what it knows of the members.
    pub(super) async fn ask_members(
        &self,
        node: &Node,
        deadline: Instant,
    ) -> Result<MembersResponse, Failure> {
        let request = MembersRequest { consistency: crate::proto::v1::Consistency::Stale.into() };
        let ask =
            |mut admin: Admin, request| -> Asked<_> { Box::pin(async move { admin.members(request).await }) };
        one(node, request, deadline, ask).await
    }

    /// Asks one node who it is.
    pub(super) async fn ask_identity(&self, node: &Node, deadline: Instant) -> Result<u64, Failure> {
        let ask =
            |mut admin: Admin, request| -> Asked<_> { Box::pin(async move { admin.status(request).await }) };
        Ok(one(node, StatusRequest {}, deadline, ask).await?.id)
    }
}
