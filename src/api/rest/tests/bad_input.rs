//! Everything a client may get wrong, and what it is told.

use std::io;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Request};
use serde_json::json;

use super::super::json::body_bytes_max;
use super::{Desk, at_once, request};
use crate::config::Limits;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Sends to a closed desk and to an open one: what is wrong is refused before the node is open, and nothing reaches
/// the store. The desk itself sees to it that the open one shows its revision.
async fn refused(method: Method, target: &str, headers: &[(&str, &str)], body: &[u8], expected: (u16, &str)) {
    let desk = Desk::closed();
    let send = || desk.send(request(method.clone(), target, headers, Body::from(body.to_vec())));
    let answer = at_once(send());
    desk.open_node();
    let open = at_once(send());
    assert_eq!((open.status, &open.bytes, open.revision()), (answer.status, &answer.bytes, 1));
    assert_eq!(desk.store.state().calls, 0);
    let problem = answer.problem(expected.0, expected.1);
    let path = target.split('?').next().unwrap();
    assert_eq!(problem["instance"], path);
    let changes = ["/api/set", "/api/delete", "/api/members/", "/api/leader"];
    let is_write = changes.iter().any(|change| path.starts_with(change) && path != "/api/set/")
        && path != "/api/settings"
        || method != Method::GET && matches!(path, "/api/members" | "/api/settings");
    assert_eq!(
        problem["outcome"],
        if is_write { json!("not_applied") } else { json!(null) },
        "{method} {target}"
    );
    assert_eq!(problem["retryable"], false);
}

#[tokio::test]
async fn bodies_that_are_not_json() {
    let bodies: [&[u8]; 20] = [
        b"",
        b" ",
        b"{",
        b"key=k&value=v",
        b"{'key':'k','value':'v'}",
        b"{\"key\":\"k\",\"value\":\"v\"",
        b"{\"key\":\"k\",\"value\":\"v\"}}",
        b"{\"key\":\"k\",\"value\":\"v\"} x",
        b"{\"key\":\"k\",\"value\":\"v\",}",
        b"{\"key\":\"k\" \"value\":\"v\"}",
        b"{\"key\":\"k\",\"value\":\"line\nbreak\"}",
        b"{\"key\":\"k\",\"value\":\"\xff\"}",
        b"{\"key\":\"k\",\"value\":\"\\ud800\"}",
        b"{\"key\":\"k\",\"value\":\"\\x41\"}",
        b"{\"key\":\"k\",\"value\":NaN}",
        b"\xef\xbb\xbf{\"key\":\"k\",\"value\":\"v\"}",
        // The shape is wrong as well, but what is not JSON has no shape.
        b"{\"bogus\":1,",
        b"{\"key\":5,\"value\"",
        b"[\"k\",\"v\"",
        b"{\"key\":1,\"value\":\"\xff\"}",
    ];
    for body in bodies {
        refused(Method::POST, "/api/set", JSON, body, (400, "invalid_json")).await;
    }
    let deep = "[".repeat(1 << 20);
    refused(Method::POST, "/api/set", JSON, deep.as_bytes(), (400, "invalid_json")).await;
    let text =
        Desk::open().post("/api/set", deep.clone()).await.json()["detail"].as_str().unwrap().to_owned();
    assert!(text.starts_with("The body is not JSON: it must be a JSON object"), "{text}");
    let deep = format!("{{\"key\":{deep}");
    refused(Method::POST, "/api/set", JSON, deep.as_bytes(), (400, "invalid_json")).await;
}

#[tokio::test]
async fn json_of_another_shape() {
    let bodies = [
        "null",
        "5",
        "\"text\"",
        "[]",
        r#"["k","v"]"#,
        r#"["k","v",0,"text"]"#,
        "{}",
        r#"{"key":"k"}"#,
        r#"{"value":"v"}"#,
        r#"{"key":"k","value":"v","bogus":1}"#,
        r#"{"key":"k","value":"v","":1}"#,
        r#"{"Key":"k","value":"v"}"#,
        r#"{"key":"k","value":"v","key":"k"}"#,
        r#"{"key":"k","value":"v","k\u0065y":"k"}"#,
        r#"{"key":"k","value":"v","value":"v"}"#,
        r#"{"key":"k","value":"v","if_revision":1,"if_revision":1}"#,
        r#"{"key":"k","value":"v","encoding":"text","encoding":"text"}"#,
        r#"{"key":5,"value":"v"}"#,
        r#"{"key":null,"value":"v"}"#,
        r#"{"key":"k","value":null}"#,
        r#"{"key":"k","value":5}"#,
        r#"{"key":"k","value":true}"#,
        r#"{"key":"k","value":{"a":[1,{"b":2}]}}"#,
        r#"{"key":["k"],"value":"v"}"#,
        r#"{"key":"k","value":"v","if_revision":-1}"#,
        r#"{"key":"k","value":"v","if_revision":-0}"#,
        r#"{"key":"k","value":"v","if_revision":1.5}"#,
        r#"{"key":"k","value":"v","if_revision":1.0}"#,
        r#"{"key":"k","value":"v","if_revision":1e2}"#,
        r#"{"key":"k","value":"v","if_revision":"1"}"#,
        r#"{"key":"k","value":"v","if_revision":null}"#,
        r#"{"key":"k","value":"v","if_revision":true}"#,
        r#"{"key":"k","value":"v","if_revision":[]}"#,
        r#"{"key":"k","value":"v","if_revision":18446744073709551616}"#,
        r#"{"key":"k","value":"v","if_revision":1e999}"#,
        r#"{"key":"k","value":"v","encoding":5}"#,
        r#"{"key":"k","value":"v","encoding":null}"#,
    ];
    for body in bodies {
        let code = if body.contains("1e999") { (400, "invalid_json") } else { (422, "invalid_body") };
        refused(Method::POST, "/api/set", JSON, body.as_bytes(), code).await;
    }
    // Deep, but JSON: refused for its shape, without a stack that overflows.
    let deep = format!("{{\"bogus\":{}{}}}", "[".repeat(1 << 16), "]".repeat(1 << 16));
    refused(Method::POST, "/api/set", JSON, deep.as_bytes(), (422, "invalid_body")).await;
    // The text names the field.
    let desk = Desk::closed();
    let answer = at_once(desk.post("/api/set", r#"{"key":"k","value":"v","if_revision":"1"}"#));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("if_revision: invalid type: string \"1\""), "{detail}");
    // A text that quotes the request is cut, between characters.
    let body = json!({ "\u{1f980}".repeat(1000): 1 });
    let answer = desk.set(body).await;
    assert!(answer.problem(422, "invalid_body")["detail"].as_str().unwrap().len() <= 515);
}

#[tokio::test]
async fn media_types() {
    let body = br#"{"key":"k","value":"v"}"#;
    let refused_types: [&[(&str, &str)]; 9] = [
        &[],
        &[("content-type", "")],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "application/jsonp")],
        &[("content-type", "application/json, text/plain")],
        &[("content-type", "application/problem+json")],
        &[("content-type", "application/json"), ("content-type", "application/json")],
        &[("content-type", "application/json"), ("content-type", "text/plain")],
    ];
    for headers in refused_types {
        refused(Method::POST, "/api/set", headers, body, (415, "unsupported_media_type")).await;
    }
    let desk = Desk::open();
    for media_type in [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json ; charset=\"UTF-8\"",
        "application/json;",
    ] {
        let headers = [("content-type", media_type)];
        let answer = desk.send(request(Method::POST, "/api/set", &headers, body.to_vec().into())).await;
        assert_eq!(answer.status, 200, "{media_type}");
    }
}

#[tokio::test]
async fn query_strings() {
    let long = "k".repeat(4097);
    let cases = [
        ("/api/get", "missing_parameter"),
        ("/api/get?", "missing_parameter"),
        ("/api/get?consistency=stale", "missing_parameter"),
        ("/api/get?key", "invalid_key"),
        ("/api/get?key=", "invalid_key"),
        ("/api/get?key=&encoding=base64", "invalid_key"),
        (&format!("/api/get?key={long}"), "invalid_key"),
        ("/api/get?key=k&key=k", "repeated_parameter"),
        ("/api/get?key=k&k%65y=k", "repeated_parameter"),
        ("/api/get?key=k&consistency=stale&consistency=stale", "repeated_parameter"),
        ("/api/get?key=k&bogus=1", "unknown_parameter"),
        ("/api/get?key=k&bogus", "unknown_parameter"),
        ("/api/get?key=k&=1", "unknown_parameter"),
        ("/api/get?key=k&Key=k", "unknown_parameter"),
        ("/api/get?key=k&limit=1", "unknown_parameter"),
        ("/api/get?key=k&if_revision=1", "unknown_parameter"),
        ("/api/get?key=k&consistency=", "invalid_parameter"),
        ("/api/get?key=k&consistency=Stale", "invalid_parameter"),
        ("/api/get?key=k&consistency=eventual", "invalid_parameter"),
        ("/api/get?key=k&consistency=stale&max_staleness_ms=", "invalid_parameter"),
        ("/api/get?key=k&consistency=stale&max_staleness_ms=-1", "invalid_parameter"),
        ("/api/get?key=k&consistency=stale&max_staleness_ms=5s", "invalid_parameter"),
        ("/api/get?key=k&consistency=stale&max_staleness_ms=18446744073709551616", "invalid_parameter"),
        ("/api/get?key=k&max_staleness_ms=5", "invalid_parameter"),
        ("/api/get?key=k&consistency=linearizable&max_staleness_ms=5", "invalid_parameter"),
        ("/api/get?key=k&consistency=lease&max_staleness_ms=5", "invalid_parameter"),
        ("/api/list?max_staleness_ms=5", "invalid_parameter"),
        ("/api/get?key=k&consistency=stale&max_staleness_ms=5&max_staleness_ms=5", "repeated_parameter"),
        ("/api/get?key=k&min_revision=", "invalid_parameter"),
        ("/api/get?key=k&min_revision=+1", "invalid_parameter"),
        ("/api/get?key=k&min_revision=1.0", "invalid_parameter"),
        ("/api/list?min_revision=18446744073709551616", "invalid_parameter"),
        ("/api/list?min_revision=1&min_revision=1", "repeated_parameter"),
        ("/api/members?consistency=lease", "invalid_parameter"),
        ("/api/members?consistency=", "invalid_parameter"),
        ("/api/members?consistency=stale&consistency=stale", "repeated_parameter"),
        ("/api/members?max_staleness_ms=5", "unknown_parameter"),
        ("/api/members?force=true", "unknown_parameter"),
        ("/api/settings?consistency=Stale", "invalid_parameter"),
        ("/api/settings?min_revision=5", "unknown_parameter"),
        ("/metrics?name=quorate_term", "unknown_parameter"),
        ("/api/get?key=k&encoding=", "invalid_parameter"),
        ("/api/get?key=k&encoding=hex", "invalid_parameter"),
        ("/api/get?key=k&encoding=BASE64", "invalid_parameter"),
        ("/api/get?key=%", "invalid_encoding"),
        ("/api/get?key=%4", "invalid_encoding"),
        ("/api/get?key=%zz", "invalid_encoding"),
        ("/api/get?key=%+1", "invalid_encoding"),
        ("/api/get?key=%ff", "invalid_encoding"),
        ("/api/get?key=%C3", "invalid_encoding"),
        ("/api/get?key=%ED%A0%80", "invalid_encoding"),
        ("/api/get?key=%C0%80", "invalid_encoding"),
        ("/api/get?k%ff=1", "invalid_encoding"),
        ("/api/get?key=k&encoding=base64", "invalid_encoding"),
        ("/api/get?key=YQ&encoding=base64", "invalid_encoding"),
        ("/api/get?key=YR==&encoding=base64", "invalid_encoding"),
        ("/api/get?key=YQ==YQ==&encoding=base64", "invalid_encoding"),
        ("/api/get?key=+/+/&encoding=base64", "invalid_encoding"),
        ("/api/get?key=-_-_&encoding=base64", "invalid_encoding"),
        ("/api/get?key=YQ%3D%3D%0A&encoding=base64", "invalid_encoding"),
        ("/api/list?limit=", "invalid_parameter"),
        ("/api/list?limit=0", "invalid_parameter"),
        ("/api/list?limit=10001", "invalid_parameter"),
        ("/api/list?limit=-1", "invalid_parameter"),
        ("/api/list?limit=%2B1", "invalid_parameter"),
        ("/api/list?limit=1.0", "invalid_parameter"),
        ("/api/list?limit=ten", "invalid_parameter"),
        ("/api/list?limit=%D9%A3", "invalid_parameter"),
        ("/api/list?limit=99999999999999999999999", "invalid_parameter"),
        ("/api/list?limit=1&limit=2", "repeated_parameter"),
        ("/api/list?key=k", "unknown_parameter"),
        ("/api/list?prefix=a&prefix=b", "repeated_parameter"),
        ("/api/list?after=a&after=b", "repeated_parameter"),
        (&format!("/api/list?prefix={long}"), "invalid_key"),
        (&format!("/api/list?after={long}"), "invalid_key"),
        ("/api/list?prefix=x&encoding=base64", "invalid_encoding"),
        ("/api/list?after=x&encoding=base64", "invalid_encoding"),
        ("/api/stats?verbose", "unknown_parameter"),
        ("/openapi.json?pretty", "unknown_parameter"),
        ("/livez?verbose=1&verbose=1", "repeated_parameter"),
        ("/readyz?verbose=yes", "invalid_parameter"),
        ("/health?x=%", "unknown_parameter"),
    ];
    for (target, code) in cases {
        refused(Method::GET, target, &[], b"", (400, code)).await;
    }
    let cases = [
        ("/api/delete", "missing_parameter"),
        ("/api/delete?key=", "invalid_key"),
        ("/api/delete?key=k&if_revision=", "invalid_parameter"),
        ("/api/delete?key=k&if_revision=-1", "invalid_parameter"),
        ("/api/delete?key=k&if_revision=1.5", "invalid_parameter"),
        ("/api/delete?key=k&if_revision=%221%22", "invalid_parameter"),
        ("/api/delete?key=k&if_revision=18446744073709551616", "invalid_parameter"),
        ("/api/delete?key=k&if_revision=1&if_revision=1", "repeated_parameter"),
        ("/api/delete?key=k&consistency=stale", "unknown_parameter"),
        ("/api/delete?key=%ff", "invalid_encoding"),
    ];
    for (target, code) in cases {
        refused(Method::DELETE, target, &[], b"", (400, code)).await;
    }
    let set = br#"{"key":"k","value":"v"}"#;
    for (target, code) in [
        ("/api/set?key=k", "unknown_parameter"),
        ("/api/set?if_revision=1", "unknown_parameter"),
        ("/api/set?consistency=stale", "unknown_parameter"),
        ("/api/set?encoding=rot13", "invalid_parameter"),
        ("/api/set?encoding=text&encoding=text", "repeated_parameter"),
        ("/api/set?encoding=base64", "invalid_encoding"),
    ] {
        refused(Method::POST, target, JSON, set, (400, code)).await;
    }
}

/// Every change of the group that has a body, with one that is right.
const CHANGES: [(&str, &str, &str); 4] = [
    ("POST", "/api/members", r#"{"id":5,"peer":"n5:7001","role":"learner"}"#),
    ("PUT", "/api/members/2", r#"{"peer":"n2:7001","http":"n2:8081","grpc":"n2:9001"}"#),
    ("POST", "/api/leader", r#"{"id":3}"#),
    ("PUT", "/api/settings", r#"{"lease_ms":400}"#),
];

fn method(name: &str) -> Method {
    Method::from_bytes(name.as_bytes()).unwrap()
}

#[tokio::test]
async fn changes_of_the_group() {
    for (name, target, right) in CHANGES {
        for (body, code) in [
            ("", (400, "invalid_json")),
            ("{", (400, "invalid_json")),
            (&right[..right.len() - 1], (400, "invalid_json")),
            ("[]", (422, "invalid_body")),
            ("null", (422, "invalid_body")),
            ("{}", (422, "invalid_body")),
            (&right.replacen('{', r#"{"bogus":1,"#, 1), (422, "invalid_body")),
            (&right.replacen(':', r#":[],"x":"#, 1), (422, "invalid_body")),
            (&format!("{},{}", &right[..right.len() - 1], &right[1..]), (422, "invalid_body")),
        ] {
            refused(method(name), target, JSON, body.as_bytes(), code).await;
        }
        for headers in [&[][..], &[("content-type", "text/plain")], &[JSON[0], JSON[0]]] {
            let code = (415, "unsupported_media_type");
            refused(method(name), target, headers, right.as_bytes(), code).await;
        }
        for query in ["?bogus", "?force=true", "?consistency=stale"] {
            let code = (400, "unknown_parameter");
            refused(method(name), &format!("{target}{query}"), JSON, right.as_bytes(), code).await;
        }
        let headers = [JSON[0], ("x-quorate-timeout-ms", "0")];
        refused(method(name), target, &headers, right.as_bytes(), (400, "invalid_header")).await;
        let spaces = |bytes: usize| format!("{right}{}", " ".repeat(bytes - right.len()));
        let desk = Desk::open();
        let send = |body| desk.send(request(method(name), target, JSON, body));
        assert_eq!(send(spaces(16 << 10).into()).await.status, 200, "{name} {target}");
        send(spaces((16 << 10) + 1).into()).await.problem(413, "too_large");
        let chunk = Bytes::from(vec![b' '; 1 << 10]);
        let chunks = stream::iter((0..64).map(move |_| Ok::<_, io::Error>(chunk.clone())));
        send(Body::from_stream(chunks)).await.problem(413, "too_large");
    }
}

#[tokio::test]
async fn fields_of_a_change_of_the_group() {
    let (invalid, mistyped) = ((400, "invalid_parameter"), (422, "invalid_body"));
    let cases = [
        (0, r#"{"id":5}"#, mistyped),
        (0, r#"{"peer":null}"#, mistyped),
        (0, r#"{"peer":7001}"#, mistyped),
        (0, r#"{"peer":"n5:1","id":"5"}"#, mistyped),
        (0, r#"{"peer":"n5:1","id":-5}"#, mistyped),
        (0, r#"{"peer":"n5:1","id":null}"#, mistyped),
        (0, r#"{"peer":"n5:1","id":18446744073709551616}"#, mistyped),
        (0, r#"{"peer":"n5:1","role":true}"#, mistyped),
        (0, r#"{"peer":"n5:1","id":0}"#, invalid),
        (0, r#"{"peer":"n5:1","role":""}"#, invalid),
        (0, r#"{"peer":"n5:1","role":"Voter"}"#, invalid),
        (0, r#"{"peer":"n5:1","role":"joining"}"#, invalid),
        (0, r#"{"peer":""}"#, invalid),
        (0, r#"{"peer":"n5"}"#, invalid),
        (0, r#"{"peer":"n5:0"}"#, invalid),
        (0, r#"{"peer":"0.0.0.0:7001"}"#, invalid),
        (0, r#"{"peer":"[::]:7001"}"#, invalid),
        (0, r#"{"peer":"http://n5:7001"}"#, invalid),
        (1, r#"{"peer":5}"#, mistyped),
        (1, r#"{"http":null}"#, mistyped),
        (1, r#"{"id":2,"peer":"n2:1"}"#, mistyped),
        (1, r#"{"peer":"n2:1","role":"voter"}"#, mistyped),
        (1, r#"{"peer":"n2"}"#, invalid),
        (1, r#"{"peer":"n2:1","http":""}"#, invalid),
        (1, r#"{"peer":"n2:1","http":"0.0.0.0:1"}"#, invalid),
        (1, r#"{"grpc":"n2:0"}"#, invalid),
        (2, r#"{"id":0}"#, invalid),
        (2, r#"{"id":"3"}"#, mistyped),
        (2, r#"{"id":1.5}"#, mistyped),
        (2, r#"{"id":null}"#, mistyped),
        (3, r#"{"lease_ms":60001}"#, invalid),
        (3, r#"{"lease_ms":4294967296}"#, invalid),
        (3, r#"{"lease_ms":-1}"#, mistyped),
        (3, r#"{"lease_ms":"400"}"#, mistyped),
        (3, r#"{"lease_ms":400,"version":2}"#, mistyped),
    ];
    for (at, body, code) in cases {
        let (name, target, _) = CHANGES[at];
        refused(method(name), target, JSON, body.as_bytes(), code).await;
    }
}

#[tokio::test]
async fn members_that_a_path_names() {
    for id in ["0", "-1", "+1", "1.0", "two", "1%20", "%D9%A3", "18446744073709551616", "1;2", "1,2", "%00"] {
        let (member, promote) = (format!("/api/members/{id}"), format!("/api/members/{id}/promote"));
        let code = (400, "invalid_parameter");
        refused(Method::DELETE, &member, &[], b"", code).await;
        refused(Method::PUT, &member, JSON, br#"{"peer":"n2:1"}"#, code).await;
        refused(Method::POST, &promote, &[], b"", code).await;
    }
    refused(Method::POST, "/api/members//promote", &[], b"", (400, "invalid_parameter")).await;
    for id in ["%", "%zz", "%ff"] {
        refused(Method::DELETE, &format!("/api/members/{id}"), &[], b"", (400, "invalid_encoding")).await;
    }
    for (target, code) in [
        ("/api/members/2?force=yes", "invalid_parameter"),
        ("/api/members/2?force=1", "invalid_parameter"),
        ("/api/members/2?force&force", "repeated_parameter"),
        ("/api/members/2?Force", "unknown_parameter"),
    ] {
        refused(Method::DELETE, target, &[], b"", (400, code)).await;
        let target = target.replace("/2?", "/2/promote?");
        refused(Method::POST, &target, &[], b"", (400, code)).await;
    }
    for body in ["{}", " ", r#"{"force":true}"#] {
        refused(Method::DELETE, "/api/members/2", JSON, body.as_bytes(), (400, "invalid")).await;
        refused(Method::POST, "/api/members/2/promote", JSON, body.as_bytes(), (400, "invalid")).await;
    }
    let desk = Desk::closed();
    for (target, allow, says) in [
        ("/api/members", "GET,HEAD,POST", "use GET or POST"),
        ("/api/members/2", "PUT,DELETE", "use PUT or DELETE"),
        ("/api/members//promote", "POST", "use POST"),
        ("/api/settings", "GET,HEAD,PUT", "use GET or PUT"),
    ] {
        let answer = desk.send(request(Method::PATCH, target, &[], Body::empty())).await;
        let problem = answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow, "{target}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
}

#[tokio::test]
async fn values_of_a_body() {
    let long = json!({"key": "k".repeat(4097), "value": "v"}).to_string();
    let cases = [
        (r#"{"key":"","value":"v"}"#, "invalid_key"),
        (r#"{"key":"","value":"","encoding":"base64"}"#, "invalid_key"),
        (long.as_str(), "invalid_key"),
        (r#"{"key":"k","value":"v","encoding":"hex"}"#, "invalid_parameter"),
        (r#"{"key":"k","value":"v","encoding":""}"#, "invalid_parameter"),
        (r#"{"key":"k","value":"dg==","encoding":"base64"}"#, "invalid_encoding"),
        (r#"{"key":"aw==","value":"v","encoding":"base64"}"#, "invalid_encoding"),
        (r#"{"key":"aw==","value":"dh==","encoding":"base64"}"#, "invalid_encoding"),
        (r#"{"key":"aw==","value":"\ud83e\udd80","encoding":"base64"}"#, "invalid_encoding"),
    ];
    for (body, code) in cases {
        refused(Method::POST, "/api/set", JSON, body.as_bytes(), (400, code)).await;
    }
    for (query, body) in [("base64", "text"), ("text", "base64")] {
        let target = format!("/api/set?encoding={query}");
        let body = json!({"key": "aw==", "value": "dg==", "encoding": body}).to_string();
        refused(Method::POST, &target, JSON, body.as_bytes(), (400, "invalid_parameter")).await;
    }
}

#[tokio::test]
async fn sizes() {
    let desk = Desk::open();
    let max = 3 << 19;
    for (key, status) in [("k".repeat(4096), 200), ("\u{e9}".repeat(2048), 200), ("\u{e9}".repeat(2049), 400)]
    {
        assert_eq!(desk.set(json!({"key": key, "value": "v"})).await.status, status, "{}", key.len());
        let target = format!("/api/get?key={key}");
        assert_eq!(desk.get(&target).await.status, status);
        let target = format!("/api/get?encoding=base64&key={}", STANDARD.encode(key).replace('+', "%2B"));
        assert_eq!(desk.get(&target).await.status, status);
    }
    for (bytes, status) in [(max, 200), (max + 1, 413)] {
        let raw = vec![b'A'; bytes];
        let plain = json!({"key": "k", "value": "A".repeat(bytes)}).to_string();
        // Every byte escaped: the body limit leaves room for that, the value's own limit decides.
        let escaped = format!("{{\"key\":\"k\",\"value\":\"{}\"}}", "\\u0041".repeat(bytes));
        let base64 = json!({"key": "aw==", "value": STANDARD.encode(&raw), "encoding": "base64"}).to_string();
        for body in [plain, escaped, base64] {
            let answer = desk.post("/api/set", body).await;
            assert_eq!(answer.status, status);
            if status == 413 {
                assert_eq!(answer.problem(413, "too_large")["outcome"], "not_applied");
            } else {
                assert_eq!(desk.store.state().pairs[b"k".as_slice()].value, raw);
            }
        }
    }
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let max = body_bytes_max(&Limits::default());
    let fits = format!("{{\"key\":\"k\",\"value\":\"v\"}}{}", " ".repeat(max - 23));
    assert_eq!(fits.len(), max);
    let desk = Desk::open();
    assert_eq!(desk.post("/api/set", fits.clone()).await.status, 200);
    desk.post("/api/set", format!("{fits} ")).await.problem(413, "too_large");
    // Without a length up front it is refused once it has become too large, not once it has ended.
    let chunk = Bytes::from(vec![b' '; 1 << 20]);
    let chunks = stream::iter((0..64).map(move |_| Ok::<_, io::Error>(chunk.clone())));
    desk.post("/api/set", Body::from_stream(chunks)).await.problem(413, "too_large");
}

#[tokio::test]
async fn bodies_that_do_not_arrive() {
    let desk = Desk::open();
    let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(io::Error::other("reset"))]);
    desk.post("/api/set", Body::from_stream(broken)).await.problem(400, "invalid");
    let silent = Body::from_stream(stream::pending::<Result<Bytes, io::Error>>());
    let headers = [JSON[0], ("x-quorate-timeout-ms", "40")];
    let send = desk.send(request(Method::POST, "/api/set", &headers, silent));
    let move_clock = async { desk.clock.advance(std::time::Duration::from_millis(40)) };
    let (answer, ()) = tokio::join!(biased; send, move_clock);
    let problem = answer.problem(408, "request_timeout");
    assert_eq!(
        (problem["retryable"].clone(), problem["outcome"].clone()),
        (json!(true), json!("not_applied"))
    );
}

#[tokio::test]
async fn a_delete_takes_no_body() {
    for body in ["{}", " ", r#"{"key":"k","if_revision":3}"#] {
        refused(Method::DELETE, "/api/delete?key=k", JSON, body.as_bytes(), (400, "invalid")).await;
    }
    let desk = Desk::open();
    // Without a length, and empty after all.
    let empty = Body::from_stream(stream::iter([Ok::<_, io::Error>(Bytes::new())]));
    let answer = desk.send(request(Method::DELETE, "/api/delete?key=k", &[], empty)).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn the_timeout_header() {
    let targets = [
        "/api/get?key=k",
        "/api/list",
        "/api/stats",
        "/livez",
        "/readyz",
        "/health",
        "/openapi.json",
        "/metrics",
    ];
    for value in ["", "0", "-1", "+5", "1.5", "5s", "300001", "99999999999999999999", "1 2", "1,2", "0x10"] {
        for target in targets {
            refused(Method::GET, target, &[("x-quorate-timeout-ms", value)], b"", (400, "invalid_header"))
                .await;
        }
        let headers = [JSON[0], ("x-quorate-timeout-ms", value)];
        refused(Method::POST, "/api/set", &headers, b"{}", (400, "invalid_header")).await;
        refused(Method::DELETE, "/api/delete?key=k", &headers, b"", (400, "invalid_header")).await;
    }
    let twice = [("x-quorate-timeout-ms", "5"), ("X-Quorate-Timeout-Ms", "5")];
    refused(Method::GET, "/api/get?key=k", &twice, b"", (400, "invalid_header")).await;

    let desk = Desk::open();
    for (given, millis) in [(None, 5_000), (Some("1"), 1), (Some("300000"), 300_000), (Some("0250"), 250)] {
        let header = given.map(|given| ("x-quorate-timeout-ms", given));
        let headers: Vec<_> = header.into_iter().chain([JSON[0]]).collect();
        for (method, target, body) in [
            (Method::GET, "/api/get?key=k", ""),
            (Method::GET, "/api/list", ""),
            (Method::GET, "/health", ""),
            (Method::GET, "/api/members", ""),
            (Method::POST, "/api/set", r#"{"key":"k","value":"v"}"#),
            (Method::DELETE, "/api/delete?key=k", ""),
        ] {
            assert_eq!(desk.send(request(method, target, &headers, body.into())).await.status, 200);
            // A probe that names no deadline gets a shorter one.
            let millis = if target == "/health" { given.map_or(1_000, |_| millis) } else { millis };
            let deadline = desk.store.state().deadline.take().unwrap();
            assert_eq!(deadline.0, 1_000_000_000 + millis * 1_000_000, "{target}");
        }
    }
}

#[tokio::test]
async fn headers_that_are_not_text() {
    let opaque = HeaderValue::from_bytes(b"\xff\x80application/json").unwrap();
    let desk = Desk::open();
    for (name, expected) in
        [("x-quorate-timeout-ms", (400, "invalid_header")), ("content-type", (415, "unsupported_media_type"))]
    {
        let mut request = Request::post("/api/set").body(Body::from("{}")).unwrap();
        request.headers_mut().insert(name, opaque.clone());
        desk.send(request).await.problem(expected.0, expected.1);
    }
    for name in ["x-request-id", "accept", "host", "cookie"] {
        let mut request = Request::get("/api/get?key=k").body(Body::empty()).unwrap();
        request.headers_mut().append(name, opaque.clone());
        request.headers_mut().append(name, opaque.clone());
        let answer = desk.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-request-id")), (200, ""));
    }
}

#[tokio::test]
async fn methods_and_paths() {
    refused(Method::GET, "/nowhere", &[], b"", (404, "not_found")).await;
    refused(Method::POST, "/api/set/", JSON, b"{}", (404, "not_found")).await;
    refused(Method::GET, "/api/set", &[], b"", (405, "method_not_allowed")).await;
    refused(Method::OPTIONS, "/api/get", &[], b"", (405, "method_not_allowed")).await;
    let desk = Desk::closed();
    let brew = Method::from_bytes(b"BREW").unwrap();
    for (path, allow, says) in [
        ("/api/set", "POST", "use POST"),
        ("/api/get", "GET,HEAD", "use GET"),
        ("/api/delete", "DELETE", "use DELETE"),
    ] {
        let answer = desk.send(request(brew.clone(), path, &[], Body::empty())).await;
        let problem = answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow);
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
}
