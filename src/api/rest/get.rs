//! `GET /api/get`.

use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use crate::command::{self, Found};
use crate::types::Keyspace;

use super::encoding::{Encoding, Text};
use super::problem::Problem;
use super::query::{Parameter, Query};
use super::reply::{Kind, Reply, respond};
use super::{Door, Front};

pub(super) const QUERY: &[Parameter] = &[
    Parameter::Key,
    Parameter::Consistency,
    Parameter::MaxStalenessMs,
    Parameter::MinRevision,
    Parameter::Encoding,
];

/// A key's value.
#[derive(Serialize, ToSchema)]
#[schema(as = GetAnswer)]
pub(super) struct GetAnswer<'a> {
    /// The value, text or base64 as `encoding` says; null if the key is absent.
    #[schema(value_type = Option<String>, required = true)]
    value: Option<Text<'a>>,
    /// Whether the key is there.
    found: bool,
    /// The revision of the key's last change. Only if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    revision: Option<u64>,
    /// `base64` if the value is written so: because that was asked, or because it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    encoding: Option<Encoding>,
}

pub(super) async fn get(State(shared): Door, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let result = execute(&shared.front, &parts).await;
    respond(&shared.front, &parts, Kind::Read, result)
}

async fn execute(front: &Front, parts: &Parts) -> Result<Reply, Problem> {
    let deadline = front.deadline(&parts.headers)?;
    let held = front.enter(parts)?;
    let mut query = Query::parse(parts.uri.query(), QUERY)?;
    let encoding = query.encoding()?.unwrap_or(Encoding::Text);
    let freshness = query.freshness()?;
    let key = query.key(encoding, &front.limits)?;
    let query = command::Query::Get { keyspace: Keyspace(0), key };
    let answer = front.router(deadline).await?.read(query, freshness, deadline).await?;
    let Found::Record(record) = &answer.found else { return Err(Problem::unexpected_reply()) };
    let (body, size_hint) = match record {
        Some(record) => {
            let ([value], encoding) = encoding.encode([&record.value]);
            let revision = Some(record.mod_revision.0);
            (GetAnswer { value: Some(value), found: true, revision, encoding }, record.value.len() + 64)
        }
        None => (GetAnswer { value: None, found: false, revision: None, encoding: None }, 64),
    };
    Reply::json(&body, Some(answer.revision), size_hint).kept_by(held)
}
