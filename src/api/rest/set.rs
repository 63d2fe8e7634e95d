//! `POST /api/set`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use crate::command::{self, Condition, Op, Write};
use crate::types::{Keyspace, Revision};

use super::encoding::{self, Encoding};
use super::json::{self, SetBody};
use super::problem::{Code, Problem};
use super::query::{Parameter, Query};
use super::reply::{Kind, Reply, respond};
use super::{Door, Front, idempotency};

pub(super) const QUERY: &[Parameter] = &[Parameter::Encoding];

/// The write took effect.
#[derive(Serialize, ToSchema)]
#[schema(as = SetAnswer)]
pub(super) struct SetAnswer {
    /// Always true: a write that failed is answered with a problem.
    success: bool,
    /// The store's revision after the write.
    revision: u64,
}

pub(super) async fn set(State(shared): Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let result = execute(&shared.front, &parts, body).await;
    respond(&shared.front, &parts, Kind::Write, result)
}

async fn execute(front: &Front, parts: &Parts, body: Body) -> Result<Reply, Problem> {
    let deadline = front.deadline(&parts.headers)?;
    let mut held = match front.enter(parts) {
        Ok(held) => held,
        Err(problem) => {
            json::discard(front, parts, body, deadline).await;
            return Err(problem);
        }
    };
    let mut query = Query::parse(parts.uri.query(), QUERY)?;
    let encoding = query.encoding()?;
    let idempotency_key = idempotency::key(&parts.headers, front.clock.wall_ms())?;
    json::check_media_type(&parts.headers)?;
    let body = json::collect(front, &mut held, body, deadline).await?;
    let write = parse(front, &body, encoding)?;
    let command = idempotency::command(idempotency_key, write);
    match front.router(deadline).await?.write(None, command, deadline).await? {
        command::Reply::Written { revision, .. } => {
            let answer = SetAnswer { success: true, revision: revision.0 };
            Ok(Reply::json(&answer, Some(revision), 64).always_kept_by(held))
        }
        command::Reply::ConditionFailed { revision } => Err(Problem::condition_failed(revision)),
        reply => Err(idempotency::problem(&reply)),
    }
}

fn parse(front: &Front, body: &bytes::Bytes, query: Option<Encoding>) -> Result<Write, Problem> {
    let SetBody { key, value, if_revision, encoding } = SetBody::parse(body)?;
    let encoding = encoding.map(|name| Encoding::parse(&name)).transpose()?;
    let encoding = Encoding::agree(encoding, query)?;
    let key = encoding.decode_in(body, key, "key")?;
    encoding::check_key(&key, &front.limits)?;
    let value = encoding.decode_in(body, value, "value")?;
    if value.len() > front.limits.value_bytes_max {
        let (have, max) = (value.len(), front.limits.value_bytes_max);
        let detail =
            format!("The value has {have} bytes, at most {max} are taken: split it over several keys.");
        return Err(Problem::new(Code::TooLarge, detail));
    }
    let condition = |revision| Condition::ModRevision { key: key.clone(), revision: Revision(revision) };
    let conditions = if_revision.map(condition).into_iter().collect();
    Ok(Write { keyspace: Keyspace(0), conditions, ops: vec![Op::Put { key, value }] })
}
