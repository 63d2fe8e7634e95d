//! The API description against the router, both ways, and against every answer that the tests see.

use axum::body::Body;
use http::Method;
use serde_json::Value;

use super::super::endpoints::ENDPOINTS;
use super::super::json::SetBody;
use super::super::members::{AddBody, LeaderBody, UpdateBody};
use super::super::problem::{Code, Problem};
use super::super::query::is_path;
use super::super::settings::SettingsBody;
use super::{Answer, Desk, request};

const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// Panics unless `answer` is one that `description` announces.
#[track_caller]
pub(super) fn check_answer(description: &Value, method: &Method, path: &str, answer: &Answer) {
    let mut paths = description["paths"].as_object().unwrap().iter();
    let Some((_, item)) = paths.find(|(template, _)| is_path(template, path)) else {
        assert_eq!(answer.status, 404, "{method} {path}: not documented");
        return;
    };
    let method = if method == Method::HEAD && item.get("get").is_some() { &Method::GET } else { method };
    let Some(operation) = item.get(method.as_str().to_ascii_lowercase()) else {
        assert_eq!(answer.status, 405, "{method} {path}: not documented");
        return;
    };
    let response = &operation["responses"][answer.status.as_str()];
    assert!(response.is_object(), "{method} {path}: {} is not documented", answer.status);
    let media_type = answer.header("content-type").split(';').next().unwrap();
    let content = &response["content"][media_type];
    assert!(content.is_object(), "{method} {path}: {media_type} is not documented for {}", answer.status);
    if media_type == "text/plain" || media_type == "application/openmetrics-text" || answer.bytes.is_empty() {
        return;
    }
    let body = answer.json();
    check_schema(description, &content["schema"], &body, path);
    if media_type == "application/problem+json" {
        let code = format!("`{}`", body["code"].as_str().unwrap());
        let about = response["description"].as_str().unwrap();
        assert!(
            about.contains(&code),
            "{method} {path}: code {code} is not documented for {}",
            answer.status
        );
    }
    let has_revision = answer.headers.contains_key("x-quorate-revision");
    let documented = response["headers"]["X-Quorate-Revision"].is_object();
    assert!(documented || !has_revision, "{method} {path}: X-Quorate-Revision is not documented");
}

/// The part of JSON Schema that the description uses.
#[track_caller]
fn check_schema(description: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = description.pointer(reference.strip_prefix('#').unwrap());
        return check_schema(description, target.unwrap_or_else(|| panic!("{reference} dangles")), value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_kind = match &schema["type"] {
        Value::String(one) => one == kind,
        Value::Array(many) => many.iter().any(|one| one == kind),
        other => panic!("{at}: no type: {other}"),
    };
    assert!(is_kind, "{at}: {kind} is not of type {}", schema["type"]);
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value} is not one of {allowed:?}");
    }
    match value {
        Value::Array(items) => {
            items.iter().for_each(|item| check_schema(description, &schema["items"], item, at));
        }
        Value::Object(fields) if schema.get("properties").is_some() => {
            for (name, field) in fields {
                let property = &schema["properties"][name];
                assert!(property.is_object(), "{at}.{name} is not documented");
                check_schema(description, property, field, &format!("{at}.{name}"));
            }
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            for name in required {
                assert!(fields.contains_key(name.as_str().unwrap()), "{at}: {name} is missing");
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn it_is_served_as_openapi_3_1() {
    let answer = Desk::closed().get("/openapi.json").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.json()["openapi"], "3.1.0");
}

/// Every documented operation is served, and every method that is not documented is refused.
#[tokio::test]
async fn the_router_serves_what_is_described_and_nothing_else() {
    let desk = Desk::open();
    let paths = desk.description["paths"].as_object().unwrap().clone();
    let table: std::collections::BTreeSet<_> = ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
    assert_eq!(paths.keys().map(String::as_str).collect::<Vec<_>>(), table.into_iter().collect::<Vec<_>>());
    for (path, item) in &paths {
        let documented: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
        for method in METHODS {
            let name = method.as_str().to_ascii_lowercase();
            let expected =
                documented.contains(&name.as_str()) || name == "head" && documented.contains(&"get");
            let target = path.replace("{id}", "2");
            let answer = desk.send(request(method.clone(), &target, &[], Body::empty())).await;
            assert_ne!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.status != 405, expected, "{method} {path}: {}", answer.status);
            let allow = answer.header("allow").to_ascii_lowercase();
            assert_eq!(allow.is_empty(), expected, "{method} {path}: {allow}");
            let mut allowed: Vec<&str> = allow.split(',').filter(|name| !name.is_empty()).collect();
            allowed.retain(|name| *name != "head" || !documented.contains(&"get"));
            allowed.sort_unstable();
            assert!(expected || allowed == documented, "{method} {path}: {allow} against {documented:?}");
        }
    }
    for near in [
        "/",
        "/api",
        "/api/",
        "/api/get/",
        "/api/gets",
        "/API/get",
        "//api/get",
        "/health/",
        "/metric",
        "/api/members/",
        "/api/members/2/",
        "/api/members/2/demote",
        "/api/members/2/promote/",
        "/api/leader/2",
    ] {
        for method in METHODS {
            let answer = desk.send(request(method.clone(), near, &[], Body::empty())).await;
            assert_eq!(answer.status, 404, "{method} {near}");
        }
    }
}

/// Every documented query parameter is taken, every other refused; the same for the fields of the body.
#[tokio::test]
async fn parameters_and_fields_are_those_described() {
    let desk = Desk::open();
    let names = [
        "key",
        "prefix",
        "after",
        "limit",
        "if_revision",
        "consistency",
        "max_staleness_ms",
        "min_revision",
        "encoding",
        "force",
        "verbose",
        "id",
        "bogus",
    ];
    for endpoint in &ENDPOINTS {
        let operation =
            &desk.description["paths"][endpoint.path][endpoint.method.as_str().to_ascii_lowercase()];
        let parameters = operation["parameters"].as_array().unwrap();
        for name in names {
            let documented = parameters.iter().any(|one| one["in"] == "query" && one["name"] == name);
            let target = format!("{}?{name}=", endpoint.path.replace("{id}", "2"));
            let answer = desk.send(request(endpoint.method.clone(), &target, &[], Body::empty())).await;
            let unknown = answer.text().contains("\"unknown_parameter\"");
            assert_eq!(documented, !unknown, "{target}: {}", answer.text());
        }
    }
    // What parses each body, and what of it must be there.
    type Parse = fn(&[u8]) -> Result<(), Problem>;
    let bodies: [(&str, Parse, &[&str], usize); 5] = [
        ("SetRequest", |body| SetBody::parse(body).map(drop), &["key", "value"], 4),
        ("AddMemberRequest", |body| AddBody::parse(body).map(drop), &["peer"], 3),
        ("UpdateMemberRequest", |body| UpdateBody::parse(body).map(drop), &[], 3),
        ("LeaderRequest", |body| LeaderBody::parse(body).map(drop), &["id"], 1),
        ("SettingsRequest", |body| SettingsBody::parse(body).map(drop), &["lease_ms"], 1),
    ];
    for (name, parse, required, count) in bodies {
        let schema = &desk.description["components"]["schemas"][name];
        let documented = schema["required"].as_array().cloned().unwrap_or_default();
        assert_eq!(documented, required, "{name}");
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), count, "{name}");
        for field in properties.keys() {
            // A field it knows is refused for its type; one it does not know by its name.
            let refused = parse(format!("{{\"{field}\":[]}}").as_bytes()).unwrap_err();
            assert!(refused.detail.contains("invalid type"), "{name}.{field}: {}", refused.detail);
        }
        let refused = parse(b"{\"bogus\":[]}").unwrap_err();
        assert!(refused.detail.contains("unknown field `bogus`"), "{name}: {}", refused.detail);
    }
    let users = desk.description["paths"].to_string();
    for (name, ..) in bodies {
        assert!(users.contains(&format!("/schemas/{name}\"")), "{name} is nobody's body");
    }
}

/// Operation ids are unique, references lead somewhere, and every code is in the enumeration exactly once.
#[test]
fn the_description_is_sound() {
    let desk = Desk::closed();
    let mut ids: Vec<&str> = Vec::new();
    for item in desk.description["paths"].as_object().unwrap().values() {
        ids.extend(item.as_object().unwrap().values().map(|one| one["operationId"].as_str().unwrap()));
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), count), (ENDPOINTS.len(), ENDPOINTS.len()));
    let text = desk.description.to_string();
    for piece in text.split("\"$ref\":\"#").skip(1) {
        let pointer = piece.split('"').next().unwrap();
        assert!(desk.description.pointer(pointer).is_some(), "{pointer} dangles");
    }
    let codes = &desk.description["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    let mut names: Vec<&str> = codes.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Code::ALL.len());
}
