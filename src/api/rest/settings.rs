//! `/api/settings`: what the whole group goes by. It stands in the configuration, beside the members.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use crate::shard::{self, MemberChange};

use super::json::{self, Field, Shape};
use super::members;
use super::problem::{Code, Problem};
use super::query::Query;
use super::reply::{Kind, Reply, respond};
use super::{Door, Front};

/// The longest election timeout that a node takes: a longer lease would never count.
pub(super) const LEASE_MS_MAX: u32 = 60_000;

/// The group's settings.
#[derive(Serialize, ToSchema)]
#[schema(as = SettingsAnswer)]
pub(super) struct SettingsAnswer {
    /// For how many milliseconds a voter keeps to its leader, for the sake of `consistency=lease`; 0: such reads are
    /// linearizable ones.
    lease_ms: u32,
    /// The cluster version: what all members' binaries understand. It rises by itself.
    version: u32,
}

/// Settings to come.
#[derive(Debug, ToSchema)]
#[schema(as = SettingsRequest)]
pub(super) struct SettingsBody {
    /// For how many milliseconds a voter keeps to its leader, for the sake of `consistency=lease`; 0 turns that off. At
    /// most the election timeout counts.
    #[schema(maximum = 60_000)]
    lease_ms: u64,
}

impl SettingsBody {
    const SHAPE: Shape = Shape {
        fields: &[Field::whole("lease_ms")],
        example: r#"{"lease_ms":400}"#,
        wanted: "the whole number lease_ms (0 turns lease reads off)",
    };

    pub(super) fn parse(body: &[u8]) -> Result<SettingsBody, Problem> {
        let mut fields = SettingsBody::SHAPE.parse(body)?;
        Ok(SettingsBody { lease_ms: fields.given_whole("lease_ms") })
    }

    fn change(&self) -> Result<MemberChange, Problem> {
        let lease_ms = u32::try_from(self.lease_ms).ok().filter(|lease_ms| *lease_ms <= LEASE_MS_MAX);
        lease_ms.map(MemberChange::Lease).ok_or_else(|| {
            let detail = format!(
                "lease_ms is {}: give 1 to {LEASE_MS_MAX} milliseconds, or 0 to turn lease reads off.",
                self.lease_ms
            );
            Problem::new(Code::InvalidParameter, detail)
        })
    }
}

pub(super) async fn get(State(shared): Door, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let result = members::known(&shared.front, &parts).await.map(|members| reply(&members));
    respond(&shared.front, &parts, Kind::Read, result)
}

pub(super) async fn put(State(shared): Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = execute(&shared.front, &parts, body).await;
    respond(&shared.front, &parts, Kind::Write, result)
}

async fn execute(front: &Front, parts: &Parts, body: Body) -> Result<Reply, Problem> {
    let deadline = front.deadline(&parts.headers)?;
    Query::parse(parts.uri.query(), &[])?;
    let body = json::collect_small(front, &parts.headers, body, deadline).await?;
    let change = SettingsBody::parse(&body)?.change()?;
    let members = members::change(front, change, false, deadline).await?;
    Ok(reply(&members))
}

fn reply(members: &shard::Members) -> Reply {
    let answer = SettingsAnswer { lease_ms: members.lease_ms, version: members.version };
    Reply::json(&answer, None, 64)
}
