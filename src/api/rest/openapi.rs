//! The API description (OpenAPI 3.1), made from the same table as the router.
//!
//! Bodies describe themselves (`ToSchema` beside their serde form); parameters and problems come from the table;
//! only summaries and what a success looks like are written here. Tests hold every answer they see against it.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use serde_json::json;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter as ParameterDoc, ParameterBuilder, ParameterIn, Paths,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{ComponentsBuilder, Object, SchemaType, Type};
use utoipa::openapi::{
    ContentBuilder, Header, HeaderBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApiBuilder, Ref,
    RefOr, Required, Response, ResponseBuilder, Schema,
};

use crate::config::Limits;

use super::delete::DeleteAnswer;
use super::encoding::Encoding;
use super::endpoints::{COMMON_CODES, ENDPOINTS, Endpoint};
use super::get::GetAnswer;
use super::health::{self, HealthAnswer};
use super::json::SetBody;
use super::list::{ListAnswer, Pair};
use super::members::{AddBody, GroupMember, LeaderBody, MembersAnswer, UpdateBody};
use super::metrics;
use super::problem::{self, Code, ProblemBody};
use super::query::{ID_SEGMENT, Parameter};
use super::reply::{Kind, REQUEST_ID_HEADER};
use super::set::SetAnswer;
use super::settings::{SettingsAnswer, SettingsBody};
use super::stats::{MemberAnswer, StatsAnswer};

/// The whole description as JSON.
pub(super) fn document(limits: &Limits) -> Bytes {
    let mut paths = Paths::new();
    for endpoint in &ENDPOINTS {
        paths.add_path_operation(
            endpoint.path,
            vec![http_method(&endpoint.method)],
            operation(endpoint, limits),
        );
    }
    let info = InfoBuilder::new()
        .title("Quorate")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build();
    let components = ComponentsBuilder::new()
        .schema_from::<SetBody<'_>>()
        .schema_from::<SetAnswer>()
        .schema_from::<GetAnswer<'_>>()
        .schema_from::<ListAnswer<'_>>()
        .schema_from::<Pair<'_>>()
        .schema_from::<DeleteAnswer>()
        .schema_from::<StatsAnswer>()
        .schema_from::<MemberAnswer>()
        .schema_from::<MembersAnswer>()
        .schema_from::<GroupMember>()
        .schema_from::<AddBody<'_>>()
        .schema_from::<UpdateBody>()
        .schema_from::<LeaderBody>()
        .schema_from::<SettingsAnswer>()
        .schema_from::<SettingsBody>()
        .schema_from::<HealthAnswer<'_>>()
        .schema_from::<Encoding>()
        .schema_from::<ProblemBody<'_>>()
        .build();
    let document = OpenApiBuilder::new().info(info).paths(paths).components(Some(components)).build();
    let json = document.to_json();
    Bytes::from(json.expect("the description is plain data: it has a JSON form"))
}

const ABOUT: &str = "A linearizable, replicated key-value store. Every node answers alike: one that does not lead does \
    what is needed. Reads are linearizable unless `consistency` says otherwise. Values are text, or base64 with \
    `encoding=base64`; bytes that are not UTF-8 come as base64 with `\"encoding\":\"base64\"` beside them. Errors are \
    problems (RFC 9457): branch on `code`; `retryable` says whether the same request may succeed later; for writes \
    `outcome` says `not_applied` or `unknown`. A path that does not exist answers 404 `not_found`, a method that a \
    path does not take 405 `method_not_allowed` with `Allow`.";

fn http_method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::DELETE => HttpMethod::Delete,
        Method::GET => HttpMethod::Get,
        ref other => unreachable!("no endpoint has the method {other}"),
    }
}

fn operation(endpoint: &Endpoint, limits: &Limits) -> Operation {
    let id = format!("{}{}", endpoint.method.as_str().to_ascii_lowercase(), endpoint.path);
    let id = id.replace(['{', '}'], "").replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
    let mut operation = OperationBuilder::new().operation_id(Some(id));
    if endpoint.path.split('/').any(|segment| segment == ID_SEGMENT) {
        operation = operation.parameter(id_parameter());
    }
    for parameter in endpoint.query {
        operation = operation.parameter(query_parameter(*parameter, limits));
    }
    operation = operation.parameter(timeout_parameter(endpoint, limits)).parameter(request_id_parameter());
    operation = (endpoint.describe)(operation);
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in COMMON_CODES.iter().chain(endpoint.codes) {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    for (status, codes) in by_status {
        operation = operation.response(status.to_string(), problem_response(&codes, endpoint.kind));
    }
    operation.build()
}

fn query_parameter(parameter: Parameter, limits: &Limits) -> ParameterDoc {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let whole = |min: usize| ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(min));
    let flag = || text().enum_values(Some(["", "true", "false"]));
    let (schema, about) = match parameter {
        Parameter::Key => (
            text().min_length(Some(1)),
            "The key: not empty, at most 4 KiB once decoded, written as `encoding` says.",
        ),
        Parameter::Prefix => (text(), "Only keys that start so, written as `encoding` says."),
        Parameter::After => {
            (text(), "Only keys that come after this one, written as `encoding` says. Not that key itself.")
        }
        Parameter::Limit => {
            let schema =
                whole(1).maximum(Some(limits.list_pairs_max)).default(Some(json!(limits.list_pairs_default)));
            (schema, "At most so many pairs. A page also ends at 4 MiB.")
        }
        Parameter::IfRevision => (
            whole(0),
            "Write only if this is the revision of the key's last change; 0: only if it is absent.",
        ),
        Parameter::Consistency => {
            (choice(["linearizable", "lease", "stale"], "linearizable"), ABOUT_CONSISTENCY)
        }
        Parameter::MaxStalenessMs => (whole(0), ABOUT_MAX_STALENESS),
        Parameter::MinRevision => (whole(0), ABOUT_MIN_REVISION),
        Parameter::LeaderConsistency => {
            (choice(["linearizable", "stale"], "linearizable"), ABOUT_LEADER_CONSISTENCY)
        }
        Parameter::Encoding => {
            (choice(["text", "base64"], "text"), "How every key and value of request and answer is written.")
        }
        Parameter::Force => (flag(), ABOUT_FORCE),
        Parameter::Verbose => (flag(), "Answer line by line as text: what was checked and what came out."),
    };
    let required = if parameter == Parameter::Key { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(parameter.name())
        .parameter_in(ParameterIn::Query)
        .required(required)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

const ABOUT_CONSISTENCY: &str = "What the read promises, and what that costs. `linearizable`: it shows every write that \
    was acknowledged before it began; a quorum is asked, once for all reads that wait, so it takes a round trip between \
    nodes and fails without a quorum. `lease`: the same promise, as long as no two clocks of the group drift apart by more \
    than an eighth; a leader that holds a lease (`lease_ms` of /api/settings) asks nobody; elsewhere it is a linearizable \
    read. `stale`: whatever this node has applied, which may be old, but never less than a quorum once committed; it \
    asks nobody and answers without a quorum.";

const ABOUT_MAX_STALENESS: &str = "Only with `consistency=stale`: what is shown must have been the newest at most so many \
    milliseconds ago, as far as this node can tell by when it last heard its leader. A node that is further behind, or \
    hears none, makes it a linearizable read.";

const ABOUT_MIN_REVISION: &str = "The store must be at this revision at least, with any `consistency`: a node that is not \
    there yet waits for it, within the request's deadline. Given the revision of your last write, you read that write on \
    any node, even with `stale`.";

const ABOUT_LEADER_CONSISTENCY: &str = "`linearizable`: the leader is asked, once a quorum has confirmed it. `stale`: \
    this node alone says what it knows, without a quorum too; `match_index` is then absent.";

const ABOUT_FORCE: &str = "Do it even if fewer voters can be reached than the quorum of those that there would be: then \
    nothing can be written until they are back.";

/// A text that is one of a few, or not given.
fn choice<const N: usize>(values: [&'static str; N], default: &'static str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(values)).default(Some(json!(default)))
}

fn id_parameter() -> ParameterDoc {
    let schema = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1usize));
    ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(
            "The member. What is no whole number of 1 or more is refused with `invalid_parameter`.",
        ))
        .schema(Some(schema))
        .build()
}

fn timeout_parameter(endpoint: &Endpoint, limits: &Limits) -> ParameterDoc {
    let max = usize::try_from(limits.request_timeout_max.as_millis()).unwrap_or(usize::MAX);
    let is_probe = endpoint.query.contains(&Parameter::Verbose);
    let default = if is_probe { health::timeout_default(limits) } else { limits.request_timeout_default };
    let default = json!(u64::try_from(default.as_millis()).unwrap_or(u64::MAX));
    let schema = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1usize)).maximum(Some(max));
    ParameterBuilder::new()
        .name("X-Quorate-Timeout-Ms")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("How long the request may take, in milliseconds: then it fails, it never hangs."))
        .schema(Some(schema.default(Some(default))))
        .build()
}

/// A text that is one of a few.
pub(super) fn one_of<const N: usize>(values: [&str; N]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(values)).build()
}

fn request_id_parameter() -> ParameterDoc {
    ParameterBuilder::new()
        .name(REQUEST_ID_HEADER)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "A name for the request: it comes back, if it is 1 to 128 visible ASCII characters.",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).max_length(Some(128))))
        .build()
}

fn idempotency_parameter() -> ParameterDoc {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(ABOUT_IDEMPOTENCY))
        .schema(Some(
            ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255)),
        ))
        .build()
}

const ABOUT_IDEMPOTENCY: &str = "A key that the client draws for this write, best a UUID of version 7: 1 to 255 visible \
    ASCII characters, in quotes or not. Sent again with the same write it is not executed again but answered as at first, \
    by any node, whatever happened in between; with another write it is `idempotency_mismatch`. Answers are kept for a \
    day, those of the last 100,000 keys. Later, the next 1,000,000 keys long, and without an end if it is a UUID of \
    version 7, it is `session_expired`, and nothing is executed.";

fn problem_response(codes: &[Code], kind: Kind) -> Response {
    let lines: Vec<String> =
        codes.iter().map(|code| format!("`{}`: {}.", code.name(), code.title())).collect();
    let outcome = if kind == Kind::Write { " `outcome` says what became of it." } else { "" };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response = ResponseBuilder::new()
        .description(format!("{}{outcome}", lines.join(" ")))
        .content(problem::MEDIA_TYPE, content);
    if codes.iter().any(|code| code.retry_after().is_some()) {
        let header = HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::Integer)))
            .description(Some("Seconds after which a retry makes sense."))
            .build();
        response = response.header("Retry-After", header);
    }
    response.header("X-Quorate-Revision", revision_header()).build()
}

fn revision_header() -> Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1usize))))
        .description(Some(
            "The store's revision on this node; only absent while the node is opening its data.",
        ))
        .build()
}

/// 200 with the schema `name`, showing the store at a revision.
fn answer(description: &str, name: &str) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content("application/json", ContentBuilder::new().schema(Some(Ref::from_schema_name(name))).build())
        .header("X-Quorate-Revision", revision_header())
        .build()
}

/// A JSON body of the schema `name`, such as `example`.
fn body(name: &str, example: serde_json::Value) -> RequestBody {
    let content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name(name))).example(Some(example)).build();
    RequestBodyBuilder::new().required(Some(Required::True)).content("application/json", content).build()
}

pub(super) fn set(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("Set a key."))
        .parameter(idempotency_parameter())
        .request_body(Some(body("SetRequest", json!({"key": "user:1001", "value": "John Doe"}))))
        .response("200", answer("The write took effect, durably on a quorum.", "SetAnswer"))
}

pub(super) fn get(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("Read a key."))
        .response("200", answer("The key's value, or that it is absent.", "GetAnswer"))
}

pub(super) fn list(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("List keys with their values, in key order, page by page."))
        .description(Some("Each page is a read of its own, as fresh as `consistency` says."))
        .response("200", answer("A page.", "ListAnswer"))
}

pub(super) fn delete(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("Delete a key."))
        .parameter(idempotency_parameter())
        .description(Some("Takes no request body: one that is not empty is refused with `invalid`."))
        .response("200", answer("The key is absent now, durably on a quorum.", "DeleteAnswer"))
}

pub(super) fn stats(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("This node's view of itself and its group. Asks no quorum."))
        .response("200", answer("The node's status.", "StatsAnswer"))
}

pub(super) fn list_members(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("Who is in the group, where each is reached, and who leads."))
        .response("200", answer("The members.", "MembersAnswer"))
}

pub(super) fn add_member(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("Announce a node that does not run yet."))
        .description(Some(
            "It takes the place when it is started with `--join` and that `--id`, or without `--id` if its peer \
             address is the one given here. It begins as a learner; as a `voter` it is promoted by itself once it \
             has caught up.",
        ))
        .request_body(Some(body("AddMemberRequest", json!({"peer": "node4:7001"}))))
        .response("200", changed())
}

pub(super) fn update_member(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("Say where a member is reached."))
        .description(Some("A node that runs publishes its own addresses, and those count from then on."))
        .request_body(Some(body("UpdateMemberRequest", json!({"peer": "node4.example:7001"}))))
        .response("200", changed())
}

pub(super) fn remove_member(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("Remove a member. Its id is never used again."))
        .description(Some("Takes no request body: one that is not empty is refused with `invalid`."))
        .response("200", changed())
}

pub(super) fn promote_member(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("Give a learner a vote, however far it is."))
        .description(Some("Takes no request body: one that is not empty is refused with `invalid`."))
        .response("200", changed())
}

pub(super) fn lead(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("Make a voter lead. Nothing changes if it leads already."))
        .request_body(Some(body("LeaderRequest", json!({"id": 3}))))
        .response("200", answer("It leads.", "MembersAnswer"))
}

/// 200 after a change of the group.
fn changed() -> Response {
    answer("The change is committed; these are the members now.", "MembersAnswer")
}

pub(super) fn get_settings(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("What the whole group goes by."))
        .response("200", answer("The settings.", "SettingsAnswer"))
}

pub(super) fn put_settings(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("Change what the whole group goes by."))
        .request_body(Some(body("SettingsRequest", json!({"lease_ms": 400}))))
        .response("200", answer("The change is committed; these are the settings now.", "SettingsAnswer"))
}

pub(super) fn metrics(operation: OperationBuilder) -> OperationBuilder {
    let (media_type, _) = metrics::MEDIA_TYPE.split_once(';').unwrap_or((metrics::MEDIA_TYPE, ""));
    let text = ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String))).build();
    let response = ResponseBuilder::new()
        .description(
            "The figures as OpenMetrics text; while the node is opening, `quorate_build_info` alone.",
        )
        .content(media_type, text)
        .header("X-Quorate-Revision", revision_header());
    operation
        .summary(Some("This node's figures, for Prometheus. Asks nobody and never waits."))
        .response("200", response.build())
}

pub(super) fn live(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("Whether the process runs and its disk has not failed."))
        .response("200", probe("The node is live."))
        .response("503", probe("The node's disk failed, and the node stops."))
}

pub(super) fn ready(operation: OperationBuilder) -> OperationBuilder {
    operation
        .summary(Some("Whether a quorum confirms a linearizable read."))
        .response("200", probe("The node is ready."))
        .response("503", probe("The node is not ready: `reason` says why."))
}

/// What a probe answers: JSON, or lines if `verbose` was asked.
fn probe(about: &str) -> ResponseBuilder {
    let json = ContentBuilder::new().schema(Some(Ref::from_schema_name("HealthAnswer"))).build();
    let text = ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String))).build();
    ResponseBuilder::new()
        .description(about)
        .content("application/json", json)
        .content("text/plain", text)
        .header("X-Quorate-Revision", revision_header())
}

pub(super) fn describe_api(operation: OperationBuilder) -> OperationBuilder {
    let any: RefOr<Schema> = ObjectBuilder::new().schema_type(SchemaType::new(Type::Object)).into();
    let response = ResponseBuilder::new()
        .description("The description of this API, OpenAPI 3.1.")
        .content("application/json", ContentBuilder::new().schema(Some(any)).build())
        .header("X-Quorate-Revision", revision_header());
    operation.summary(Some("This description.")).response("200", response.build())
}
