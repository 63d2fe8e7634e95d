//! `GET /api/stats`: what this node knows of itself and its group. Local: it asks no quorum.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use super::openapi;
use super::problem::Problem;
use super::query::{Parameter, Query};
use super::reply::{Kind, Reply, respond};
use super::{Door, Front};

pub(super) const QUERY: &[Parameter] = &[];

/// This node's view of itself and of its group.
#[derive(Serialize, ToSchema)]
#[schema(as = StatsAnswer)]
pub(super) struct StatsAnswer {
    /// This node.
    id: u64,
    /// Its version.
    version: &'static str,
    /// The cluster, in hexadecimal.
    cluster_id: String,
    /// The group that the rest is about.
    group: u32,
    /// What it is in its group.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// The leader's advertised http address; empty if none is known.
    leader: String,
    /// The leader; 0 if none is known.
    leader_id: u64,
    /// The current term.
    term: u64,
    /// The last log entry known to be committed.
    commit_index: u64,
    /// The last log entry that the state machine holds.
    applied_index: u64,
    /// The last log entry.
    last_index: u64,
    /// The last log entry on this node's disk.
    persisted_index: u64,
    /// The last log entry in the state machine's file.
    folded_index: u64,
    /// The last log entry that was removed from the log.
    purged_index: u64,
    /// The store's revision on this node.
    revision: u64,
    /// Whether this node's disk failed: then it stops.
    poisoned: bool,
    /// The member records.
    members: Vec<MemberAnswer>,
    /// Counters by name.
    counters: BTreeMap<&'static str, u64>,
}

/// A member record.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
pub(super) struct MemberAnswer {
    /// The member.
    id: u64,
    /// Its data directory's identity, in hexadecimal; null until it published it.
    #[schema(required = true)]
    incarnation: Option<String>,
    /// `voter` or `learner`; `joining`: a learner that gets a vote by itself; `leaving`: a voter on its way out.
    #[schema(schema_with = role_schema)]
    role: &'static str,
    /// Its advertised peer address.
    peer: String,
    /// Its advertised http address; empty until it published it.
    http: String,
    /// Its advertised gRPC address; empty until it published it.
    grpc: String,
    /// Its labels.
    labels: BTreeMap<String, String>,
    /// Its version; empty until it published it.
    version: String,
}

fn role_schema() -> Object {
    openapi::one_of(["voter", "learner", "leaving", "joining"])
}

fn state_schema() -> Object {
    openapi::one_of(["leader", "follower", "candidate", "pre-candidate", "learner"])
}

pub(super) async fn stats(State(shared): Door, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let result = execute(&shared.front, &parts).await;
    respond(&shared.front, &parts, Kind::Read, result)
}

async fn execute(front: &Front, parts: &Parts) -> Result<Reply, Problem> {
    let deadline = front.deadline(&parts.headers)?;
    Query::parse(parts.uri.query(), QUERY)?;
    let status = front.router(deadline).await?.status();
    let members = status.members.into_iter().map(|member| MemberAnswer {
        id: member.id.0,
        // In hexadecimal: many JSON readers round numbers of 64 bits.
        incarnation: member.incarnation.map(|incarnation| format!("{:016x}", incarnation.0)),
        role: member.role,
        peer: member.peer,
        http: member.http,
        grpc: member.grpc,
        labels: member.labels,
        version: member.version,
    });
    let answer = StatsAnswer {
        id: status.id.0,
        version: env!("CARGO_PKG_VERSION"),
        cluster_id: format!("{:016x}", status.cluster_id.0),
        group: status.group.0,
        state: status.state,
        leader: status.leader_http,
        leader_id: status.leader.map_or(0, |leader| leader.0),
        term: status.term.0,
        commit_index: status.commit_index.0,
        applied_index: status.applied_index.0,
        last_index: status.last_index.0,
        persisted_index: status.persisted_index.0,
        folded_index: status.folded_index.0,
        purged_index: status.purged_index.0,
        revision: status.revision.0,
        poisoned: status.poisoned,
        members: members.collect(),
        counters: status.counters,
    };
    Ok(Reply::json(&answer, Some(status.revision), 2048))
}
