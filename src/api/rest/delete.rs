//! `DELETE /api/delete`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use crate::command::{self, Condition, Op, Write};
use crate::types::Keyspace;

use super::encoding::Encoding;
use super::json;
use super::problem::Problem;
use super::query::{Parameter, Query};
use super::reply::{Kind, Reply, respond};
use super::{Door, Front, idempotency};

pub(super) const QUERY: &[Parameter] = &[Parameter::Key, Parameter::IfRevision, Parameter::Encoding];

/// The key is absent now.
#[derive(Serialize, ToSchema)]
#[schema(as = DeleteAnswer)]
pub(super) struct DeleteAnswer {
    /// Always true: a write that failed is answered with a problem.
    success: bool,
    /// Whether the key was there.
    deleted: bool,
    /// The store's revision after the write; deleting an absent key takes none.
    revision: u64,
}

pub(super) async fn delete(State(shared): Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = execute(&shared.front, &parts, body).await;
    respond(&shared.front, &parts, Kind::Write, result)
}

async fn execute(front: &Front, parts: &Parts, body: Body) -> Result<Reply, Problem> {
    let deadline = front.deadline(&parts.headers)?;
    let held = front.enter(parts)?;
    let mut query = Query::parse(parts.uri.query(), QUERY)?;
    let encoding = query.encoding()?.unwrap_or(Encoding::Text);
    let key = query.key(encoding, &front.limits)?;
    let idempotency_key = idempotency::key(&parts.headers, front.clock.wall_ms())?;
    let condition = |revision| Condition::ModRevision { key: key.clone(), revision };
    let conditions = query.if_revision()?.map(condition).into_iter().collect();
    json::refuse_any(front, body, deadline).await?;
    let write = Write { keyspace: Keyspace(0), conditions, ops: vec![Op::Delete { key }] };
    let command = idempotency::command(idempotency_key, write);
    match front.router(deadline).await?.write(None, command, deadline).await? {
        command::Reply::Written { revision, deleted } => {
            let answer = DeleteAnswer { success: true, deleted: deleted > 0, revision: revision.0 };
            Ok(Reply::json(&answer, Some(revision), 64).always_kept_by(held))
        }
        command::Reply::ConditionFailed { revision } => Err(Problem::condition_failed(revision)),
        reply => Err(idempotency::problem(&reply)),
    }
}
