//! Arbitrary input: whatever comes in, the answer is documented, is no 5xx, and nothing panics.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, Request, Uri};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::{Answer, Desk};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

thread_local! {
    /// One for all cases of a test: building the API description takes longer than a case.
    static DESK: Desk = Desk::open();
}

fn send(method: Method, target: &str, headers: &[(&'static str, Vec<u8>)], body: Vec<u8>) -> Option<Answer> {
    // What is not even a URI never reaches the router: hyper refuses it.
    let uri = Uri::try_from(target).ok()?;
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(DESK.with(|desk| run(desk.send(request))))
}

fn json_header() -> Vec<(&'static str, Vec<u8>)> {
    vec![("content-type", b"application/json".to_vec())]
}

/// Text that looks like a body, or nearly.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just(":".to_owned()),
        Just(",".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("\"key\"".to_owned()),
        Just("\"value\"".to_owned()),
        Just("\"if_revision\"".to_owned()),
        Just("\"encoding\"".to_owned()),
        Just("\"base64\"".to_owned()),
        Just("\"text\"".to_owned()),
        Just("\\ud800".to_owned()),
        Just("\\u0000".to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-".to_owned()),
        Just("1e400".to_owned()),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<String>(),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

/// A well-formed object with fields that may be wrong.
fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        any::<String>().prop_map(|text| json!(text)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        Just(json!(null)),
        Just(json!("base64")),
        Just(json!("YQ==")),
        Just(json!("n4:7001")),
        Just(json!(4)),
        Just(json!([1, {"a": 2}])),
    ];
    let name = prop_oneof![
        Just("key".to_owned()),
        Just("value".to_owned()),
        Just("if_revision".to_owned()),
        Just("encoding".to_owned()),
        Just("id".to_owned()),
        Just("peer".to_owned()),
        Just("role".to_owned()),
        Just("lease_ms".to_owned()),
        any::<String>(),
    ];
    vec((name, value), 0..6).prop_map(|fields| {
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    })
}

/// Query strings of known and unknown names with values of all sorts.
fn nearly_query() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("key"),
        Just("prefix"),
        Just("after"),
        Just("limit"),
        Just("if_revision"),
        Just("consistency"),
        Just("max_staleness_ms"),
        Just("min_revision"),
        Just("force"),
        Just("encoding"),
        Just("verbose"),
        Just("%6bey"),
        Just("bogus"),
        Just(""),
    ];
    let value = prop_oneof![
        "[ -~]{0,12}",
        "(%[0-9a-fA-F]{2}){0,8}",
        "%[0-9a-zA-Z%]{0,3}",
        "[0-9]{0,22}",
        "[A-Za-z0-9+/=]{0,16}",
        Just("base64".to_owned()),
        Just("stale".to_owned()),
        any::<String>(),
    ];
    vec((name, value), 0..5).prop_map(|pairs| {
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    })
}

fn path() -> impl Strategy<Value = (Method, &'static str)> {
    let method = prop_oneof![
        Just(Method::GET),
        Just(Method::POST),
        Just(Method::DELETE),
        Just(Method::PUT),
        Just(Method::HEAD),
        Just(Method::OPTIONS),
    ];
    let path = prop_oneof![
        Just("/api/set"),
        Just("/api/get"),
        Just("/api/list"),
        Just("/api/delete"),
        Just("/api/stats"),
        Just("/api/members"),
        Just("/api/members/2"),
        Just("/api/members/0"),
        Just("/api/members/%zz"),
        Just("/api/members/2/promote"),
        Just("/api/leader"),
        Just("/api/settings"),
        Just("/metrics"),
        Just("/livez"),
        Just("/readyz"),
        Just("/health"),
        Just("/openapi.json"),
        Just("/"),
        Just("*"),
    ];
    (method, path)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_bytes_as_a_body(body in prop_oneof![vec(any::<u8>(), 0..200), nearly_json(), nearly_right()]) {
        let answer = send(Method::POST, "/api/set", &json_header(), body).unwrap();
        prop_assert!(answer.status.as_u16() < 500, "{}", answer.status);
    }

    #[test]
    fn any_body_on_any_path((method, path) in path(), body in prop_oneof![nearly_json(), nearly_right()]) {
        let answer = send(method, path, &json_header(), body);
        prop_assert!(answer.is_none_or(|answer| answer.status.as_u16() < 500));
    }

    #[test]
    fn any_query_on_any_path((method, path) in path(), query in nearly_query(), body in nearly_right()) {
        if let Some(answer) = send(method, &format!("{path}?{query}"), &json_header(), body) {
            prop_assert!(answer.status.as_u16() < 500, "{}", answer.status);
        }
    }

    #[test]
    fn any_target(target in prop_oneof!["[!-~]{0,24}", any::<String>(), "(/|%|\\?|&|=|api|get|key|\\.){0,12}"]) {
        if let Some(answer) = send(Method::GET, &target, &[], Vec::new()) {
            prop_assert!(answer.status.as_u16() < 500, "{}", answer.status);
        }
    }

    #[test]
    fn any_headers((method, path) in path(), values in vec((0usize..3, vec(any::<u8>(), 0..12)), 0..5)) {
        let names = ["x-quorate-timeout-ms", "content-type", "x-request-id"];
        let headers: Vec<_> = values.into_iter().map(|(name, value)| (names[name], value)).collect();
        let body = br#"{"key":"k","value":"v"}"#.to_vec();
        if let Some(answer) = send(method, &format!("{path}?key=k"), &headers, body) {
            prop_assert!(answer.status.as_u16() < 500, "{}", answer.status);
        }
    }
}

proptest! {
    // Fewer: each opens a store of its own, with its API description.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    /// What is set is what is got, listed and deleted: bytes through base64, text through JSON.
    #[test]
    fn round_trips(
        key in vec(any::<u8>(), 1..40),
        value in vec(any::<u8>(), 0..80),
        text in "\\PC{1,20}|[\\x00-\\x7f]{1,20}",
    ) {
        run(async {
            let desk = Desk::open();
            let percent = |bytes: &[u8]| bytes.iter().map(|byte| format!("%{byte:02x}")).collect::<String>();
            let (key64, value64) = (STANDARD.encode(&key), STANDARD.encode(&value));
            let set = desk.set(json!({"key": key64, "value": value64, "encoding": "base64"})).await;
            assert_eq!(set.status, 200);
            let query = format!("encoding=base64&key={}", percent(key64.as_bytes()));
            let got = desk.get(&format!("/api/get?{query}")).await.json();
            assert_eq!(got, json!({"value": value64, "found": true, "revision": 2, "encoding": "base64"}));
            let listed = desk.get("/api/list").await.json()["pairs"][0].clone();
            let is_text = std::str::from_utf8(&key).is_ok() && std::str::from_utf8(&value).is_ok();
            assert_eq!(listed.get("encoding").is_none(), is_text);
            let decode = |listed: &serde_json::Value| {
                let listed = listed.as_str().unwrap().as_bytes().to_vec();
                if is_text { listed } else { STANDARD.decode(listed).unwrap() }
            };
            assert_eq!((decode(&listed["key"]), decode(&listed["value"])), (key, value));
            assert_eq!(desk.delete(&format!("/api/delete?{query}")).await.json()["deleted"], true);

            assert_eq!(desk.set(json!({"key": text, "value": text})).await.status, 200);
            let got = desk.get(&format!("/api/get?key={}", percent(text.as_bytes()))).await.json();
            assert_eq!(got["value"], text);
        });
    }
}
