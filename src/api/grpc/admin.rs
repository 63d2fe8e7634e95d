//! `quorate.v1.Admin`: what operators ask. It counts in the shares as all does, and is never refused for them: whoever looks
//! after a node is not kept out by its clients.

use std::sync::Arc;

use prost::Message;
use tonic::{Request, Response, Status};

use super::counted::{Kind, Tab};
use super::error::Refusal;
use super::{Front, front};
use crate::api::{address, members};
use crate::proto::v1;
use crate::proto::v1::admin_server::Admin;
use crate::shard::{self, MemberChange};
use crate::telemetry;
use crate::types::{Monotonic, NodeId};

/// The service.
pub struct Operator(pub(super) Arc<Front>);

impl Operator {
    async fn members(&self, request: Request<v1::MembersRequest>) -> Result<v1::MembersResponse, Refusal> {
        let deadline = Tab::of(request.extensions()).deadline();
        let is_local = front::is_local(request.get_ref().consistency)?;
        let router = self.0.router(deadline).await?;
        let known = members::known(&router, is_local, deadline).await;
        known.map(members_response).map_err(|error| self.0.refusal(error, deadline))
    }

    async fn change(
        &self,
        change: MemberChange,
        force: bool,
        deadline: Monotonic,
    ) -> Result<v1::MembersResponse, Refusal> {
        let router = self.0.router(deadline).await?;
        let changed = router.change(change, force, deadline).await;
        changed.map(members_response).map_err(|error| self.0.refusal(error, deadline))
    }

    async fn add(&self, request: Request<v1::AddMemberRequest>) -> Result<v1::MembersResponse, Refusal> {
        let deadline = Tab::of(request.extensions()).deadline();
        let v1::AddMemberRequest { id, peer, learner } = request.into_inner();
        check_address(&peer, "peer")?;
        let id = (id > 0).then_some(NodeId(id));
        self.change(MemberChange::Add { id, peer, is_learner: learner }, false, deadline).await
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<v1::MembersResponse, Refusal> {
        let deadline = Tab::of(request.extensions()).deadline();
        let v1::RemoveMemberRequest { id, force } = request.into_inner();
        self.change(MemberChange::Remove(member_id(id)?), force, deadline).await
    }

    async fn update(
        &self,
        request: Request<v1::UpdateMemberRequest>,
    ) -> Result<v1::MembersResponse, Refusal> {
        let deadline = Tab::of(request.extensions()).deadline();
        let v1::UpdateMemberRequest { id, peer, http, grpc } = request.into_inner();
        let id = member_id(id)?;
        if peer.is_none() && http.is_none() && grpc.is_none() {
            return Err(Refusal::invalid("nothing would change: give at least one of peer, http and grpc"));
        }
        for (name, given) in [("peer", &peer), ("http", &http), ("grpc", &grpc)] {
            given.as_ref().map_or(Ok(()), |given| check_address(given, name))?;
        }
        self.change(MemberChange::Update { id, peer, http, grpc }, false, deadline).await
    }

    async fn promote(
        &self,
        request: Request<v1::PromoteMemberRequest>,
    ) -> Result<v1::MembersResponse, Refusal> {
        let deadline = Tab::of(request.extensions()).deadline();
        let v1::PromoteMemberRequest { id, force } = request.into_inner();
        self.change(MemberChange::Promote(member_id(id)?), force, deadline).await
    }

    async fn transfer(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<v1::MembersResponse, Refusal> {
        let deadline = Tab::of(request.extensions()).deadline();
        let to = member_id(request.get_ref().id)?;
        let router = self.0.router(deadline).await?;
        let transferred = router.transfer(to, deadline).await;
        transferred.map(members_response).map_err(|error| self.0.refusal(error, deadline))
    }

    async fn compact(&self, request: Request<v1::CompactRequest>) -> Result<v1::CompactResponse, Refusal> {
        let deadline = Tab::of(request.extensions()).deadline();
        let folded = self.0.router(deadline).await?.compact(deadline).await;
        let folded = folded.map_err(|error| self.0.refusal(error, deadline))?;
        Ok(v1::CompactResponse { folded_index: folded.0 })
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<v1::StatusResponse, Refusal> {
        let deadline = Tab::of(request.extensions()).deadline();
        Ok(status_response(&self.0.router(deadline).await?.status()))
    }
}

fn members_response(members: shard::Members) -> v1::MembersResponse {
    let member = |member: shard::Member| v1::Member {
        id: member.status.id.0,
        role: members::shown_role(member.status.role).to_owned(),
        peer: member.status.peer,
        http: member.status.http,
        grpc: member.status.grpc,
        leader: member.is_leader,
        match_index: member.match_index.map(|index| index.0),
        version: member.status.version,
    };
    v1::MembersResponse {
        members: members.members.into_iter().map(member).collect(),
        config_index: members.config_index.0,
        joint: members.is_joint,
        lease_ms: members.lease_ms,
        cluster_version: members.version,
    }
}

fn status_response(status: &shard::Status) -> v1::StatusResponse {
    let counter = |name| status.counters.get(name).copied().unwrap_or(0);
    v1::StatusResponse {
        id: status.id.0,
        cluster_id: status.cluster_id.0,
        group: status.group.0,
        state: status.state.to_owned(),
        leader: status.leader.map_or(0, |leader| leader.0),
        term: status.term.0,
        last_index: status.last_index.0,
        commit_index: status.commit_index.0,
        applied_index: status.applied_index.0,
        folded_index: status.folded_index.0,
        revision: status.revision.0,
        keys: counter(telemetry::KEYS),
        state_bytes: counter(telemetry::STATE_FILE_BYTES),
        log_bytes: counter(telemetry::WAL_BYTES),
        storage: status.storage.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn check_address(address: &str, name: &str) -> Result<(), Refusal> {
    address::check(address, name).map_err(Refusal::invalid)
}

fn member_id(id: u64) -> Result<NodeId, Refusal> {
    if id == 0 {
        return Err(Refusal::invalid("id is 0: a member's id is a whole number, 1 or more"));
    }
    Ok(NodeId(id))
}

/// Answers a request: the answer counts in its place.
async fn respond<'a, Q, A: Message>(
    operator: &'a Operator,
    request: Request<Q>,
    operation: impl AsyncFnOnce(&'a Operator, Request<Q>) -> Result<A, Refusal>,
) -> Result<Response<A>, Status> {
    let tab = Tab::of(request.extensions());
    let answer = operation(operator, request).await.map_err(Refusal::into_status)?;
    tab.answer(answer.encoded_len(), Kind::Write).map_err(Refusal::into_status)?;
    Ok(Response::new(answer))
}

#[tonic::async_trait]
impl Admin for Operator {
    async fn members(
        &self,
        request: Request<v1::MembersRequest>,
    ) -> Result<Response<v1::MembersResponse>, Status> {
        respond(self, request, Operator::members).await
    }

    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::MembersResponse>, Status> {
        respond(self, request, Operator::add).await
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::MembersResponse>, Status> {
        respond(self, request, Operator::remove).await
    }

    async fn update_member(
        &self,
        request: Request<v1::UpdateMemberRequest>,
    ) -> Result<Response<v1::MembersResponse>, Status> {
        respond(self, request, Operator::update).await
    }

    async fn promote_member(
        &self,
        request: Request<v1::PromoteMemberRequest>,
    ) -> Result<Response<v1::MembersResponse>, Status> {
        respond(self, request, Operator::promote).await
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::MembersResponse>, Status> {
        respond(self, request, Operator::transfer).await
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        respond(self, request, Operator::status).await
    }

    async fn compact(
        &self,
        request: Request<v1::CompactRequest>,
    ) -> Result<Response<v1::CompactResponse>, Status> {
        respond(self, request, Operator::compact).await
    }
}
