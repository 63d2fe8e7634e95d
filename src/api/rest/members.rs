//! `/api/members`: who is in the group, and who shall come, go, move or vote. `POST /api/leader`: who shall lead.
//!
//! A change is answered once it is committed and no joint configuration is left, with the members that there are then.
//! Where nobody can tell whether it was made, the outcome is unknown, as with writes, and the members tell.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::api::{address, members};
use crate::shard::{self, MemberChange};
use crate::types::{Monotonic, NodeId};

use super::json::{self, Field, Fields, Shape};
use super::openapi;
use super::problem::{Code, Problem};
use super::query::{self, Parameter, Query};
use super::reply::{Kind, Reply, respond};
use super::{Door, Front};

pub(super) const QUERY: &[Parameter] = &[Parameter::LeaderConsistency];
/// Of what may leave the group without a quorum.
pub(super) const QUERY_FORCE: &[Parameter] = &[Parameter::Force];

/// One member's path.
pub(super) const MEMBER: &str = "/api/members/{id}";
/// The path that gives it a vote.
pub(super) const PROMOTE: &str = "/api/members/{id}/promote";

/// The members in id order.
#[derive(Serialize, ToSchema)]
#[schema(as = MembersAnswer)]
pub(super) struct MembersAnswer {
    /// Each member.
    members: Vec<GroupMember>,
    /// The log index of the configuration in force.
    config_index: u64,
    /// Whether a change of the voters is under way.
    joint: bool,
}

/// A member of the group.
#[derive(Serialize, ToSchema)]
#[schema(as = GroupMember)]
pub(super) struct GroupMember {
    /// The member.
    id: u64,
    /// `voter`, or `learner`: it receives the log and has no vote, or none yet.
    #[schema(schema_with = role_schema)]
    role: &'static str,
    /// Where its peers reach it.
    peer: String,
    /// Its advertised http address; empty until it published it.
    http: String,
    /// Its advertised gRPC address; empty until it published it.
    grpc: String,
    /// Whether it leads.
    leader: bool,
    /// The last log entry that its leader knows to be on its disk; absent from what the leader was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    match_index: Option<u64>,
}

const ROLES: [&str; 2] = ["voter", "learner"];

fn role_schema() -> Object {
    openapi::one_of(ROLES)
}

impl From<shard::Members> for MembersAnswer {
    fn from(members: shard::Members) -> MembersAnswer {
        let member = |member: shard::Member| GroupMember {
            id: member.status.id.0,
            role: members::shown_role(member.status.role),
            peer: member.status.peer,
            http: member.status.http,
            grpc: member.status.grpc,
            leader: member.is_leader,
            match_index: member.match_index.map(|index| index.0),
        };
        MembersAnswer {
            members: members.members.into_iter().map(member).collect(),
            config_index: members.config_index.0,
            joint: members.is_joint,
        }
    }
}

/// A member to come.
#[derive(Debug, ToSchema)]
#[schema(as = AddMemberRequest)]
pub(super) struct AddBody<'a> {
    /// Its id; if absent, the first that is higher than any that was ever used.
    #[schema(nullable = false, minimum = 1)]
    id: Option<u64>,
    /// Its peer address, HOST:PORT.
    #[schema(value_type = String)]
    peer: Cow<'a, str>,
    /// `voter` (the default): it gets a vote by itself once it has caught up. `learner`: it never does, unless promoted.
    #[schema(schema_with = role_schema, required = false)]
    role: Option<Cow<'a, str>>,
}

impl<'a> AddBody<'a> {
    const SHAPE: Shape = Shape {
        fields: &[Field::whole("id").optional(), Field::text("peer"), Field::text("role").optional()],
        example: r#"{"peer":"node4:7001"}"#,
        wanted: "the text peer and, if wanted, the whole number id and the text role",
    };

    pub(super) fn parse(body: &'a [u8]) -> Result<AddBody<'a>, Problem> {
        let mut fields = AddBody::SHAPE.parse(body)?;
        Ok(AddBody { id: fields.whole("id"), peer: fields.given_text("peer"), role: fields.text("role") })
    }

    fn change(self) -> Result<MemberChange, Problem> {
        let is_learner = match self.role.as_deref() {
            None | Some("voter") => false,
            Some("learner") => true,
            Some(other) => {
                let detail = format!("role is {other:?}: give voter (the default) or learner.");
                return Err(Problem::new(Code::InvalidParameter, detail));
            }
        };
        check_address(&self.peer, "peer")?;
        let id = self.id.map(member_id).transpose()?;
        Ok(MemberChange::Add { id, peer: self.peer.into_owned(), is_learner })
    }
}

/// Where a member is reached. What is absent stays as it is; one of them must be given.
#[derive(Debug, ToSchema)]
#[schema(as = UpdateMemberRequest)]
pub(super) struct UpdateBody {
    /// Its peer address, HOST:PORT.
    #[schema(nullable = false)]
    peer: Option<String>,
    /// Its REST address, HOST:PORT.
    #[schema(nullable = false)]
    http: Option<String>,
    /// Its gRPC address, HOST:PORT.
    #[schema(nullable = false)]
    grpc: Option<String>,
}

impl UpdateBody {
    const SHAPE: Shape = Shape {
        fields: &[
            Field::text("peer").optional(),
            Field::text("http").optional(),
            Field::text("grpc").optional(),
        ],
        example: r#"{"peer":"node4:7001"}"#,
        wanted: "at least one of the texts peer, http and grpc",
    };

    pub(super) fn parse(body: &[u8]) -> Result<UpdateBody, Problem> {
        let mut fields = UpdateBody::SHAPE.parse(body)?;
        let mut address = |name| fields.text(name).map(Cow::into_owned);
        let update = UpdateBody { peer: address("peer"), http: address("http"), grpc: address("grpc") };
        if update.peer.is_none() && update.http.is_none() && update.grpc.is_none() {
            let detail = "The body changes nothing: give at least one of the texts peer, http and grpc.";
            return Err(Problem::new(Code::InvalidBody, detail));
        }
        Ok(update)
    }

    fn change(self, id: NodeId) -> Result<MemberChange, Problem> {
        let UpdateBody { peer, http, grpc } = self;
        for (name, given) in [("peer", &peer), ("http", &http), ("grpc", &grpc)] {
            if let Some(given) = given {
                check_address(given, name)?;
            }
        }
        Ok(MemberChange::Update { id, peer, http, grpc })
    }
}

/// Who shall lead.
#[derive(Debug, ToSchema)]
#[schema(as = LeaderRequest)]
pub(super) struct LeaderBody {
    /// A voter.
    #[schema(minimum = 1)]
    id: u64,
}

impl LeaderBody {
    const SHAPE: Shape = Shape {
        fields: &[Field::whole("id")],
        example: r#"{"id":3}"#,
        wanted: "the whole number id, a voter's",
    };

    pub(super) fn parse(body: &[u8]) -> Result<LeaderBody, Problem> {
        let mut fields: Fields<'_> = LeaderBody::SHAPE.parse(body)?;
        Ok(LeaderBody { id: fields.given_whole("id") })
    }
}

fn check_address(address: &str, name: &str) -> Result<(), Problem> {
    address::check(address, name).map_err(|detail| Problem::new(Code::InvalidParameter, detail))
}

fn member_id(id: u64) -> Result<NodeId, Problem> {
    if id == 0 {
        let detail = "id is 0: a member's id is a whole number, 1 or more.";
        return Err(Problem::new(Code::InvalidParameter, detail));
    }
    Ok(NodeId(id))
}

pub(super) async fn list(State(shared): Door, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let result = known(&shared.front, &parts).await.map(reply);
    respond(&shared.front, &parts, Kind::Read, result)
}

/// The members: as the leader knows them, once a quorum has confirmed that it leads, or as this node does.
pub(super) async fn known(front: &Front, parts: &Parts) -> Result<shard::Members, Problem> {
    let deadline = front.deadline(&parts.headers)?;
    let is_local = Query::parse(parts.uri.query(), QUERY)?.is_local()?;
    let router = front.router(deadline).await?;
    Ok(members::known(&router, is_local, deadline).await?)
}

pub(super) async fn add(State(shared): Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = execute_add(&shared.front, &parts, body).await;
    respond(&shared.front, &parts, Kind::Write, result)
}

async fn execute_add(front: &Front, parts: &Parts, body: Body) -> Result<Reply, Problem> {
    let deadline = front.deadline(&parts.headers)?;
    Query::parse(parts.uri.query(), &[])?;
    let body = json::collect_small(front, &parts.headers, body, deadline).await?;
    change(front, AddBody::parse(&body)?.change()?, false, deadline).await.map(reply)
}

pub(super) async fn update(State(shared): Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = execute_update(&shared.front, &parts, body).await;
    respond(&shared.front, &parts, Kind::Write, result)
}

async fn execute_update(front: &Front, parts: &Parts, body: Body) -> Result<Reply, Problem> {
    let deadline = front.deadline(&parts.headers)?;
    Query::parse(parts.uri.query(), &[])?;
    let id = query::path_id(MEMBER, parts.uri.path())?;
    let body = json::collect_small(front, &parts.headers, body, deadline).await?;
    change(front, UpdateBody::parse(&body)?.change(id)?, false, deadline).await.map(reply)
}

pub(super) async fn remove(State(shared): Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = execute_by_id(&shared.front, &parts, body, MEMBER, MemberChange::Remove).await;
    respond(&shared.front, &parts, Kind::Write, result)
}

pub(super) async fn promote(State(shared): Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = execute_by_id(&shared.front, &parts, body, PROMOTE, MemberChange::Promote).await;
    respond(&shared.front, &parts, Kind::Write, result)
}

/// What is said by the path alone.
async fn execute_by_id(
    front: &Front,
    parts: &Parts,
    body: Body,
    template: &str,
    make: fn(NodeId) -> MemberChange,
) -> Result<Reply, Problem> {
    let deadline = front.deadline(&parts.headers)?;
    let force = Query::parse(parts.uri.query(), QUERY_FORCE)?.flag(Parameter::Force)?;
    let id = query::path_id(template, parts.uri.path())?;
    json::refuse_any(front, body, deadline).await?;
    change(front, make(id), force, deadline).await.map(reply)
}

/// Makes a change, and says how the group is then.
pub(super) async fn change(
    front: &Front,
    change: MemberChange,
    force: bool,
    deadline: Monotonic,
) -> Result<shard::Members, Problem> {
    let router = front.router(deadline).await?;
    router.change(change, force, deadline).await.map_err(Problem::of_change)
}

pub(super) async fn lead(State(shared): Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = execute_lead(&shared.front, &parts, body).await;
    respond(&shared.front, &parts, Kind::Write, result)
}

async fn execute_lead(front: &Front, parts: &Parts, body: Body) -> Result<Reply, Problem> {
    let deadline = front.deadline(&parts.headers)?;
    Query::parse(parts.uri.query(), &[])?;
    let body = json::collect_small(front, &parts.headers, body, deadline).await?;
    let to = member_id(LeaderBody::parse(&body)?.id)?;
    let router = front.router(deadline).await?;
    router.transfer(to, deadline).await.map(reply).map_err(Problem::of_change)
}

fn reply(members: shard::Members) -> Reply {
    let size_hint = 64 + members.members.len() * 160;
    Reply::json(&MembersAnswer::from(members), None, size_hint)
}
