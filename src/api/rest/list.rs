//! `GET /api/list`.
//!
//! A page is one read of its own: pages asked one after another show the store at rising revisions, not at one.

use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use crate::command::{self, Found, Keys};
use crate::types::Keyspace;

use super::encoding::{Encoding, Text};
use super::front::too_large_together;
use super::problem::Problem;
use super::query::{Parameter, Query};
use super::reply::{Kind, Reply, respond};
use super::{Door, Front};

pub(super) const QUERY: &[Parameter] = &[
    Parameter::Prefix,
    Parameter::After,
    Parameter::Limit,
    Parameter::Consistency,
    Parameter::MaxStalenessMs,
    Parameter::MinRevision,
    Parameter::Encoding,
];

/// The JSON around one pair, about.
const PAIR_FRAME_BYTES: usize = 64;

/// A page of keys in order.
#[derive(Serialize, ToSchema)]
#[schema(as = ListAnswer)]
pub(super) struct ListAnswer<'a> {
    /// The pairs, in the order of their keys' bytes.
    pairs: Vec<Pair<'a>>,
    /// Whether further keys follow: ask again with `after` = the last key of this page.
    more: bool,
}

/// A key with its value.
#[derive(Serialize, ToSchema)]
#[schema(as = Pair)]
pub(super) struct Pair<'a> {
    /// The key, text or base64 as `encoding` says.
    #[schema(value_type = String)]
    key: Text<'a>,
    /// The value, text or base64 as `encoding` says.
    #[schema(value_type = String)]
    value: Text<'a>,
    /// The revision of the key's last change.
    revision: u64,
    /// `base64` if key and value are written so: because that was asked, or because one of them is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    encoding: Option<Encoding>,
}

pub(super) async fn list(State(shared): Door, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let result = execute(&shared.front, &parts).await;
    respond(&shared.front, &parts, Kind::Read, result)
}

async fn execute(front: &Front, parts: &Parts) -> Result<Reply, Problem> {
    let limits = &front.limits;
    let deadline = front.deadline(&parts.headers)?;
    let mut held = front.enter(parts)?;
    let mut query = Query::parse(parts.uri.query(), QUERY)?;
    let encoding = query.encoding()?.unwrap_or(Encoding::Text);
    let freshness = query.freshness()?;
    let query = command::Query::List {
        keyspace: Keyspace(0),
        keys: Keys::prefix(query.prefix(encoding, limits)?),
        after: query.after(encoding, limits)?,
        keys_only: false,
        limit: query.limit(limits)?,
        bytes_max: limits.list_bytes_max,
    };
    // Pages are read one after another, but all that were read wait here until they have become JSON.
    if !held.grow(limits.list_bytes_max) {
        return Err(too_large_together());
    }
    let answer = front.router(deadline).await?.read(query, freshness, deadline).await?;
    let Found::Page { pairs, more } = &answer.found else { return Err(Problem::unexpected_reply()) };
    let size_hint = pairs.iter().map(|(key, record)| key.len() + record.value.len() + PAIR_FRAME_BYTES).sum();
    let revision = answer.revision;
    let pairs = pairs.iter().map(|(key, record)| {
        let ([key, value], encoding) = encoding.encode([key, &record.value]);
        Pair { key, value, revision: record.mod_revision.0, encoding }
    });
    let answer = ListAnswer { pairs: pairs.collect(), more: *more };
    Reply::json(&answer, Some(revision), size_hint).kept_by(held)
}
