//! The table of endpoints, and the router that is built from it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{Method, StatusCode};
use utoipa::openapi::path::OperationBuilder;

use super::problem::{Code, Problem};
use super::query::{self, Parameter, Query};
use super::reply::{Kind, Reply, respond};
use super::{Door, Shared, delete, get, health, list, members, metrics, openapi, set, settings, stats};

/// One method of one path: all that the router and the API description need.
pub(super) struct Endpoint {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// The query parameters it takes.
    pub(super) query: &'static [Parameter],
    /// The problems it may answer, beside those of [`COMMON_CODES`].
    pub(super) codes: &'static [Code],
    /// Puts its handler under its method.
    mount: fn(MethodFilter) -> MethodRouter<Arc<Shared>>,
    /// Describes what is its own: summary, body, answers.
    pub(super) describe: fn(OperationBuilder) -> OperationBuilder,
}

/// The problems that every endpoint may answer.
pub(super) const COMMON_CODES: &[Code] =
    &[Code::UnknownParameter, Code::RepeatedParameter, Code::InvalidEncoding, Code::InvalidHeader];

/// The problems of an endpoint that waits for the node.
macro_rules! codes_behind_the_node {
    ($($code:ident),* $(,)?) => {
        &[
            Code::Invalid, Code::TooLarge, Code::Overloaded, Code::Internal, Code::Unavailable, Code::Stopping,
            $(Code::$code),*
        ]
    };
}

/// The problems of a change of the group; with a body, those of one that is wrong.
macro_rules! codes_of_a_change {
    ($($code:ident),* $(,)?) => {
        codes_behind_the_node![InvalidParameter, RequestTimeout, ChangeInProgress, LogFull, $($code),*]
    };
    (body: $($code:ident),* $(,)?) => {
        codes_of_a_change![InvalidJson, UnsupportedMediaType, InvalidBody, $($code),*]
    };
}

/// Every endpoint. The order is that of the README.
pub(super) static ENDPOINTS: [Endpoint; 18] = [
    Endpoint {
        method: Method::POST,
        path: "/api/set",
        kind: Kind::Write,
        query: set::QUERY,
        codes: codes_behind_the_node![
            InvalidJson,
            InvalidParameter,
            InvalidKey,
            RequestTimeout,
            ConditionFailed,
            UnsupportedMediaType,
            InvalidBody,
            LogFull,
            DiskFull,
            StorageFull,
            IdempotencyMismatch,
            SessionExpired,
        ],
        mount: |method| on(method, set::set),
        describe: openapi::set,
    },
    Endpoint {
        method: Method::GET,
        path: "/api/get",
        kind: Kind::Read,
        query: get::QUERY,
        codes: codes_behind_the_node![MissingParameter, InvalidParameter, InvalidKey],
        mount: |method| on(method, get::get),
        describe: openapi::get,
    },
    Endpoint {
        method: Method::GET,
        path: "/api/list",
        kind: Kind::Read,
        query: list::QUERY,
        codes: codes_behind_the_node![InvalidParameter, InvalidKey],
        mount: |method| on(method, list::list),
        describe: openapi::list,
    },
    Endpoint {
        method: Method::DELETE,
        path: "/api/delete",
        kind: Kind::Write,
        query: delete::QUERY,
        codes: codes_behind_the_node![
            MissingParameter,
            InvalidParameter,
            InvalidKey,
            RequestTimeout,
            ConditionFailed,
            LogFull,
            DiskFull,
            StorageFull,
            IdempotencyMismatch,
            SessionExpired,
        ],
        mount: |method| on(method, delete::delete),
        describe: openapi::delete,
    },
    Endpoint {
        method: Method::GET,
        path: "/api/stats",
        kind: Kind::Read,
        query: stats::QUERY,
        codes: &[Code::Unavailable, Code::Stopping],
        mount: |method| on(method, stats::stats),
        describe: openapi::stats,
    },
    Endpoint {
        method: Method::GET,
        path: "/api/members",
        kind: Kind::Read,
        query: members::QUERY,
        codes: codes_behind_the_node![InvalidParameter],
        mount: |method| on(method, members::list),
        describe: openapi::list_members,
    },
    Endpoint {
        method: Method::POST,
        path: "/api/members",
        kind: Kind::Write,
        query: &[],
        codes: codes_of_a_change![body: MemberExists, IdRetired],
        mount: |method| on(method, members::add),
        describe: openapi::add_member,
    },
    Endpoint {
        method: Method::PUT,
        path: members::MEMBER,
        kind: Kind::Write,
        query: &[],
        codes: codes_of_a_change![body: NoSuchMember],
        mount: |method| on(method, members::update),
        describe: openapi::update_member,
    },
    Endpoint {
        method: Method::DELETE,
        path: members::MEMBER,
        kind: Kind::Write,
        query: members::QUERY_FORCE,
        codes: codes_of_a_change![NoSuchMember, QuorumAtRisk],
        mount: |method| on(method, members::remove),
        describe: openapi::remove_member,
    },
    Endpoint {
        method: Method::POST,
        path: members::PROMOTE,
        kind: Kind::Write,
        query: members::QUERY_FORCE,
        codes: codes_of_a_change![NoSuchMember, MemberExists, QuorumAtRisk],
        mount: |method| on(method, members::promote),
        describe: openapi::promote_member,
    },
    Endpoint {
        method: Method::POST,
        path: "/api/leader",
        kind: Kind::Write,
        query: &[],
        codes: codes_of_a_change![body: NoSuchMember],
        mount: |method| on(method, members::lead),
        describe: openapi::lead,
    },
    Endpoint {
        method: Method::GET,
        path: "/api/settings",
        kind: Kind::Read,
        query: members::QUERY,
        codes: codes_behind_the_node![InvalidParameter],
        mount: |method| on(method, settings::get),
        describe: openapi::get_settings,
    },
    Endpoint {
        method: Method::PUT,
        path: "/api/settings",
        kind: Kind::Write,
        query: &[],
        codes: codes_of_a_change![body:],
        mount: |method| on(method, settings::put),
        describe: openapi::put_settings,
    },
    Endpoint {
        method: Method::GET,
        path: "/metrics",
        kind: Kind::Read,
        query: &[],
        codes: &[],
        mount: |method| on(method, metrics::metrics),
        describe: openapi::metrics,
    },
    Endpoint {
        method: Method::GET,
        path: "/livez",
        kind: Kind::Read,
        query: health::QUERY,
        codes: &[Code::InvalidParameter],
        mount: |method| on(method, health::live),
        describe: openapi::live,
    },
    Endpoint {
        method: Method::GET,
        path: "/readyz",
        kind: Kind::Read,
        query: health::QUERY,
        codes: &[Code::InvalidParameter],
        mount: |method| on(method, health::ready),
        describe: openapi::ready,
    },
    Endpoint {
        method: Method::GET,
        path: "/health",
        kind: Kind::Read,
        query: health::QUERY,
        codes: &[Code::InvalidParameter],
        mount: |method| on(method, health::ready),
        describe: openapi::ready,
    },
    Endpoint {
        method: Method::GET,
        path: "/openapi.json",
        kind: Kind::Read,
        query: &[],
        codes: &[],
        mount: |method| on(method, describe_api),
        describe: openapi::describe_api,
    },
];

/// The router of all [`ENDPOINTS`].
pub(super) fn router(shared: Arc<Shared>) -> axum::Router {
    let mut router = axum::Router::new();
    for endpoint in &ENDPOINTS {
        let method = MethodFilter::try_from(endpoint.method.clone());
        let method = method.expect("the table names methods that HTTP defines");
        router = router.route(endpoint.path, (endpoint.mount)(method));
    }
    // The second comes after the routes: it is put into each of them.
    router.fallback(not_found).method_not_allowed_fallback(method_not_allowed).with_state(shared)
}

async fn describe_api(State(shared): Door, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let checked = shared.front.deadline(&parts.headers).and_then(|_| Query::parse(parts.uri.query(), &[]));
    let result = checked.map(|_| Reply {
        status: StatusCode::OK,
        media_type: "application/json",
        body: shared.document.clone(),
        revision: None,
    });
    respond(&shared.front, &parts, Kind::Read, result)
}

async fn not_found(State(shared): Door, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let detail = "This node serves no such path: /openapi.json lists those that exist.";
    respond(&shared.front, &parts, Kind::Read, Err(Problem::new(Code::NotFound, detail)))
}

/// axum adds `Allow`.
async fn method_not_allowed(State(shared): Door, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let here = || ENDPOINTS.iter().filter(|endpoint| query::is_path(endpoint.path, parts.uri.path()));
    let methods: Vec<&str> = here().map(|endpoint| endpoint.method.as_str()).collect();
    let is_write = here().any(|endpoint| endpoint.kind == Kind::Write);
    let detail = format!("This path does not take {}: use {}.", parts.method, methods.join(" or "));
    let kind = if is_write { Kind::Write } else { Kind::Read };
    respond(&shared.front, &parts, kind, Err(Problem::new(Code::MethodNotAllowed, detail)))
}
