//! `GET /livez`, `/readyz` and `/health`: probes.
//!
//! A probe is answered even while the node is opening; it never waits for that. Being live means that restarting the
//! node would not help: the process answers and its disk has not failed, whatever the quorum does. Being ready means
//! that a linearizable read could be served: a quorum confirmed one, within the request's deadline, which is a
//! shorter one than elsewhere: a prober asks again soon, and must not wait long to learn that the answer is no.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::config::Limits;
use crate::error::ErrorKind;

use super::openapi;
use super::problem::Problem;
use super::query::{Parameter, Query};
use super::reply::{Kind, Reply, respond};
use super::{Door, Front};

pub(super) const QUERY: &[Parameter] = &[Parameter::Verbose];

/// How long a probe waits for a quorum that names no deadline.
const PROBE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// The same, for a node whose requests may take less.
pub(super) fn timeout_default(limits: &Limits) -> Duration {
    limits.request_timeout_default.min(PROBE_TIMEOUT_DEFAULT)
}

/// Whether the node is well.
#[derive(Serialize, ToSchema)]
#[schema(as = HealthAnswer)]
pub(super) struct HealthAnswer<'a> {
    /// `true` or `false`, as text (as etcd answers it).
    #[schema(schema_with = health_schema)]
    health: &'a str,
    /// Why not; empty if it is.
    reason: &'a str,
}

fn health_schema() -> Object {
    openapi::one_of(["true", "false"])
}

pub(super) async fn live(State(shared): Door, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let result = check_live(&shared.front, &parts);
    respond(&shared.front, &parts, Kind::Read, result)
}

pub(super) async fn ready(State(shared): Door, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let result = check_ready(&shared.front, &parts).await;
    respond(&shared.front, &parts, Kind::Read, result)
}

/// What was checked and, if it failed, why; or what is worth saying though it did not.
struct Check {
    name: &'static str,
    failure: Option<String>,
    note: Option<&'static str>,
}

fn check_live(front: &Front, parts: &Parts) -> Result<Reply, Problem> {
    front.deadline(&parts.headers)?;
    let verbose = Query::parse(parts.uri.query(), QUERY)?.flag(Parameter::Verbose)?;
    Ok(report("livez", &[check_disk(front)], verbose))
}

async fn check_ready(front: &Front, parts: &Parts) -> Result<Reply, Problem> {
    let timeout = front.timeout(&parts.headers, timeout_default(&front.limits))?;
    let verbose = Query::parse(parts.uri.query(), QUERY)?.flag(Parameter::Verbose)?;
    let mut checks = vec![check_disk(front)];
    let router = front.router_now();
    let failure = router.is_none().then(|| "the node is still opening its data".to_owned());
    checks.push(Check { name: "open", failure, note: None });
    if let Some(router) = &router {
        let failure = router.check_state().err().map(|error| error.message().to_owned());
        checks.push(Check { name: "state", failure, note: None });
    }
    if checks.iter().all(|check| check.failure.is_none())
        && let Some(router) = router
    {
        let confirmed = router.confirm(front.clock.now().plus(timeout)).await;
        let failure = confirmed.err().map(|error| match error.kind() {
            ErrorKind::Unavailable => format!("no quorum confirmed a read within {}", spoken(timeout)),
            _ => error.message().to_owned(),
        });
        checks.push(Check { name: "quorum", failure, note: None });
        if verbose {
            checks.push(check_storage(router.status().storage));
        }
    }
    Ok(report("readyz", &checks, verbose))
}

/// In whole seconds where it is some, else in milliseconds.
fn spoken(timeout: Duration) -> String {
    let ms = timeout.as_millis();
    if ms.is_multiple_of(1_000) { format!("{} s", ms / 1_000) } else { format!("{ms} ms") }
}

fn check_disk(front: &Front) -> Check {
    let failure = (!*front.alive.borrow()).then(|| "the node's disk failed: it stops".to_owned());
    Check { name: "disk", failure, note: None }
}

/// A node without room serves on: reads and, where its group has room, writes.
fn check_storage(storage: &str) -> Check {
    let note = match storage {
        "short" => Some("only the reserve is left"),
        "full" => Some("less than the floor is left"),
        _ => None,
    };
    Check { name: "storage", failure: None, note }
}

/// 200 if every check held, else 503; as JSON, or line by line as etcd and Kubernetes do.
fn report(probe: &str, checks: &[Check], verbose: bool) -> Reply {
    let failed = checks.iter().find_map(|check| check.failure.as_deref());
    let mut reply = if verbose {
        let mut lines = String::new();
        for Check { name, failure, note } in checks {
            match failure {
                None => {
                    let note = note.map_or_else(String::new, |note| format!(", but {note}"));
                    lines.push_str(&format!("[+]{name} ok{note}\n"));
                }
                Some(failure) => lines.push_str(&format!("[-]{name} failed: {failure}\n")),
            }
        }
        lines.push_str(&format!("{probe} check {}\n", if failed.is_none() { "passed" } else { "failed" }));
        let media_type = "text/plain; charset=utf-8";
        Reply { status: StatusCode::OK, media_type, body: lines.into(), revision: None }
    } else {
        let health = if failed.is_none() { "true" } else { "false" };
        Reply::json(&HealthAnswer { health, reason: failed.unwrap_or("") }, None, 128)
    };
    if failed.is_some() {
        reply.status = StatusCode::SERVICE_UNAVAILABLE;
    }
    reply
}
