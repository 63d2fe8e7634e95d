//! Answers on their way out: JSON bodies and the headers that all answers share.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::api::shares::Held;
use crate::shard::Router;
use crate::types::Revision;

use super::Front;
use super::front::too_large_together;
use super::problem::{self, Problem, ProblemBody};

/// The store's revision, on every answer once the node is open.
pub(super) const REVISION_HEADER: &str = "x-quorate-revision";
/// A name the client gave to the request; it comes back.
pub(super) const REQUEST_ID_HEADER: &str = "x-request-id";

/// A request id that is longer is not echoed.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What a request does, as far as its problems tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It changes nothing: problems have no outcome.
    Read,
    /// It may change the store: problems say what became of it.
    Write,
}

/// An answer that is not a problem.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) media_type: &'static str,
    pub(super) body: Bytes,
    /// What the body shows of the store; the store's own now if it shows none.
    pub(super) revision: Option<Revision>,
}

impl Reply {
    /// 200 with `body` as JSON, showing the store at `revision`. `size_hint` is about how long the JSON gets.
    pub(super) fn json(body: &impl Serialize, revision: Option<Revision>, size_hint: usize) -> Reply {
        let mut bytes = Vec::with_capacity(size_hint);
        let written = serde_json::to_writer(&mut bytes, body);
        assert!(written.is_ok(), "an answer's type always has a JSON form: {written:?}");
        Reply { status: StatusCode::OK, media_type: "application/json", body: bytes.into(), revision }
    }
}

impl Reply {
    /// The answer to a read counts until the client has taken it; beyond the connection's share there is none.
    pub(super) fn kept_by(self, mut held: Held) -> Result<Reply, Problem> {
        if !held.resize(self.body.len()) {
            return Err(too_large_together());
        }
        Ok(Reply { body: held.keep(self.body), ..self })
    }

    /// The same for a write: what was done is said.
    pub(super) fn always_kept_by(self, mut held: Held) -> Reply {
        held.force(self.body.len());
        Reply { body: held.keep(self.body), ..self }
    }
}

/// The response to the request whose head is `parts`. Here alone headers are made that all answers share.
pub(super) fn respond(front: &Front, parts: &Parts, kind: Kind, result: Result<Reply, Problem>) -> Response {
    // What did not ask the store shows the revision that it is at now.
    let shown = match &result {
        Ok(reply) => reply.revision,
        Err(problem) => problem.revision,
    };
    let revision = shown.or_else(|| front.router.borrow().as_ref().map(Router::revision));
    let mut response = match result {
        Ok(reply) => {
            let mut response = Response::new(Body::from(reply.body));
            *response.status_mut() = reply.status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(reply.media_type));
            response
        }
        Err(problem) => respond_problem(parts, kind, &problem),
    };
    let headers = response.headers_mut();
    // An answer shows the store at one moment; no cache may pass it off as another's.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(revision) = revision {
        headers.insert(HeaderName::from_static(REVISION_HEADER), HeaderValue::from(revision.0));
    }
    if let Some(id) = request_id(&parts.headers) {
        headers.insert(HeaderName::from_static(REQUEST_ID_HEADER), id);
    }
    response
}

fn respond_problem(parts: &Parts, kind: Kind, problem: &Problem) -> Response {
    let code = problem.code;
    let body = ProblemBody {
        r#type: &format!("urn:quorate:problem:{}", code.name()),
        title: code.title(),
        status: code.status().as_u16(),
        detail: &problem.detail,
        instance: parts.uri.path(),
        code: code.name(),
        retryable: code.is_retryable(),
        outcome: (kind == Kind::Write).then(|| problem.outcome.code()),
    };
    let mut response = Response::new(Body::from(Reply::json(&body, None, 512).body));
    *response.status_mut() = code.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
    if let Some(seconds) = code.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
    }
    response
}

/// The client's name for the request, if it gave exactly one that is fit to be echoed into logs and headers.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut given = headers.get_all(REQUEST_ID_HEADER).iter();
    let id = given.next()?;
    let is_sane =
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    (is_sane && given.next().is_none()).then(|| id.clone())
}
