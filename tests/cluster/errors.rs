//! Every bad request, against leader and follower: the status the table names, a problem document, and a cluster
//! that neither changed nor died.

use serde_json::json;

use crate::harness::{Client, Cluster};

struct Bad {
    what: &'static str,
    method: &'static str,
    path: String,
    content_type: Option<&'static str>,
    body: Option<Vec<u8>>,
    status: u16,
}

fn post(what: &'static str, body: &str, status: u16) -> Bad {
    let body = Some(body.as_bytes().to_vec());
    Bad {
        what,
        method: "POST",
        path: "/api/set".to_owned(),
        content_type: Some("application/json"),
        body,
        status,
    }
}

fn typed(what: &'static str, content_type: Option<&'static str>, status: u16) -> Bad {
    Bad { content_type, ..post(what, r#"{"key":"k","value":"v"}"#, status) }
}

fn call(what: &'static str, method: &'static str, path: &str, status: u16) -> Bad {
    Bad { what, method, path: path.to_owned(), content_type: None, body: None, status }
}

fn bodies() -> Vec<Bad> {
    let long = "k".repeat(4097);
    vec![
        post("an empty body", "", 400),
        post("not JSON", "key=k", 400),
        post("half a document", r#"{"key":"k","value":"#, 400),
        post("two documents", r#"{"key":"k","value":"v"} {}"#, 400),
        post("an array", r#"["k","v"]"#, 422),
        post("a bare string", r#""k""#, 422),
        post("null", "null", 422),
        post("no value", r#"{"key":"k"}"#, 422),
        post("no key", r#"{"value":"v"}"#, 422),
        post("an unknown field", r#"{"key":"k","value":"v","ttl":5}"#, 422),
        post("a number for a value", r#"{"key":"k","value":5}"#, 422),
        post("null for a value", r#"{"key":"k","value":null}"#, 422),
        post("a list for a key", r#"{"key":["k"],"value":"v"}"#, 422),
        post("a text for a revision", r#"{"key":"k","value":"v","if_revision":"1"}"#, 422),
        post("a negative revision", r#"{"key":"k","value":"v","if_revision":-1}"#, 422),
        post("half a revision", r#"{"key":"k","value":"v","if_revision":1.5}"#, 422),
        post("a revision of 2^64", r#"{"key":"k","value":"v","if_revision":18446744073709551616}"#, 422),
        post("an unknown encoding", r#"{"key":"k","value":"v","encoding":"hex"}"#, 400),
        post("bad base64", r#"{"key":"k","value":"v","encoding":"base64"}"#, 400),
        post("an empty key", r#"{"key":"","value":"v"}"#, 400),
        post("a key over 4 KiB", &format!(r#"{{"key":"{long}","value":"v"}}"#), 400),
        Bad { body: Some(b"{\"key\":\"k\xff\",\"value\":\"v\"}".to_vec()), ..post("bad UTF-8", "", 400) },
        post("half a surrogate", r#"{"key":"k","value":"\ud800"}"#, 400),
        typed("no content type", None, 415),
        typed("a form", Some("application/x-www-form-urlencoded"), 415),
        typed("plain text", Some("text/plain"), 415),
        typed("garbage for a content type", Some("\"; application/json"), 415),
    ]
}

fn queries() -> Vec<Bad> {
    let long = format!("/api/get?key={}", "k".repeat(4097));
    vec![
        call("get without a key", "GET", "/api/get", 400),
        call("get of an empty key", "GET", "/api/get?key=", 400),
        call("get of a key over 4 KiB", "GET", &long, 400),
        call("get with an unknown parameter", "GET", "/api/get?key=k&foo=1", 400),
        call("get with a repeated parameter", "GET", "/api/get?key=k&key=l", 400),
        call("get with an unknown consistency", "GET", "/api/get?key=k&consistency=eventual", 400),
        call("get with an unknown encoding", "GET", "/api/get?key=k&encoding=hex", 400),
        call("get with bad base64", "GET", "/api/get?key=k&encoding=base64", 400),
        call("get with bad UTF-8", "GET", "/api/get?key=%ff", 400),
        call("list with limit 0", "GET", "/api/list?limit=0", 400),
        call("list with limit 10,001", "GET", "/api/list?limit=10001", 400),
        call("list with a negative limit", "GET", "/api/list?limit=-1", 400),
        call("list with a word for a limit", "GET", "/api/list?limit=many", 400),
        call("list with limit 2^64", "GET", "/api/list?limit=18446744073709551616", 400),
        call("list with an unknown parameter", "GET", "/api/list?start=k", 400),
        call("list with a repeated parameter", "GET", "/api/list?limit=1&limit=2", 400),
        call("list with an unknown consistency", "GET", "/api/list?consistency=", 400),
        call("list with bad UTF-8", "GET", "/api/list?prefix=%c3%28", 400),
        call("delete without a key", "DELETE", "/api/delete", 400),
        call("delete of an empty key", "DELETE", "/api/delete?key=", 400),
        call("delete with a word for a revision", "DELETE", "/api/delete?key=k&if_revision=x", 400),
        Bad { body: Some(b"{}".to_vec()), ..call("delete with a body", "DELETE", "/api/delete?key=k", 400) },
        call("delete with a negative revision", "DELETE", "/api/delete?key=k&if_revision=-1", 400),
        call("delete with an unknown parameter", "DELETE", "/api/delete?key=k&consistency=stale", 400),
        call(
            "delete with a repeated parameter",
            "DELETE",
            "/api/delete?key=k&if_revision=1&if_revision=2",
            400,
        ),
    ]
}

fn routes() -> Vec<Bad> {
    vec![
        call("an unknown path", "GET", "/api/nothing", 404),
        call("the root", "GET", "/", 404),
        call("a path below a path", "GET", "/api/get/k", 404),
        call("another version", "GET", "/v2/keys", 404),
        call("a climb", "GET", "/api/../api/nothing", 404),
        call("get by POST", "POST", "/api/get?key=k", 405),
        call("set by GET", "GET", "/api/set", 405),
        call("set by PUT", "PUT", "/api/set", 405),
        call("delete by POST", "POST", "/api/delete?key=k", 405),
        call("delete by GET", "GET", "/api/delete?key=k", 405),
        call("list by DELETE", "DELETE", "/api/list", 405),
        call("stats by POST", "POST", "/api/stats", 405),
        call("health by DELETE", "DELETE", "/health", 405),
        call("a method nobody knows", "BREW", "/api/get?key=k", 405),
    ]
}

fn check(client: &Client, bad: &Bad) {
    let mut headers = Vec::new();
    if let Some(content_type) = bad.content_type {
        headers.push(("content-type", content_type));
    }
    let answer = client
        .request(bad.method, &bad.path, &headers, bad.body.as_deref())
        .unwrap_or_else(|error| panic!("{}: {error}", bad.what));
    assert_eq!(answer.status, bad.status, "{}: {}", bad.what, answer.text());
    let allow = answer.headers.get("allow").cloned();
    let revision = answer.header("x-quorate-revision").parse::<u64>();
    assert!(revision.is_ok_and(|revision| revision > 0), "{}: no revision", bad.what);
    let problem = answer.expect_problem(bad.status);
    assert_eq!(problem["retryable"], json!(false), "{}: {problem}", bad.what);
    if bad.status == 405 {
        assert!(allow.is_some_and(|allow| !allow.is_empty()), "{}: 405 names the methods allowed", bad.what);
    }
    let is_write = bad.path.starts_with("/api/set") || bad.path.starts_with("/api/delete");
    if is_write && bad.status != 405 {
        assert_eq!(problem["outcome"], json!("not_applied"), "{}: {problem}", bad.what);
    }
}

#[test]
fn bad_requests_are_refused_alike_by_leader_and_follower() {
    let mut cluster = Cluster::start("errors", 3);
    let leader = cluster.wait_ready();
    let before = cluster.client(leader).set("k", "untouched");
    let follower = cluster.ids_without(&[leader])[0];
    for id in [leader, follower] {
        let client = cluster.client(id);
        for bad in bodies().iter().chain(&queries()).chain(&routes()) {
            check(&client, bad);
        }
    }
    cluster.assert_all_alive();
    let answer = cluster.client(leader).get("/api/get?key=k").expect(200);
    assert_eq!(
        answer.header("x-quorate-revision"),
        before.to_string(),
        "a refused request changed the store"
    );
    assert_eq!(answer.json()["value"], json!("untouched"));
}

#[test]
fn a_deadline_is_a_number_of_milliseconds_and_is_kept() {
    let mut cluster = Cluster::start("errors-deadline", 3);
    let leader = cluster.wait_ready();
    let client = cluster.client(leader);
    for bad in ["", "soon", "-1", "1.5", "0x10", "99999999999999999999"] {
        let answer = client
            .request("GET", "/api/get?key=k", &[("x-quorate-timeout-ms", bad)], None)
            .expect("an answer");
        answer.expect_problem(400);
    }
    for id in cluster.ids_without(&[leader]) {
        cluster.node_mut(id).kill();
    }
    for (method, path, body) in [
        ("GET", "/api/get?key=k", None),
        ("GET", "/api/list", None),
        ("DELETE", "/api/delete?key=k", None),
        ("POST", "/api/set", Some(br#"{"key":"k","value":"v"}"#.as_slice())),
    ] {
        let start = std::time::Instant::now();
        let headers = [("x-quorate-timeout-ms", "700"), ("content-type", "application/json")];
        let problem = client.request(method, path, &headers, body).expect("an answer").expect_problem(503);
        let took = start.elapsed().as_millis();
        assert!(took < 3_000, "{method} {path} took {took} ms of a deadline of 700 ms");
        assert_eq!(problem["retryable"], json!(true), "{problem}");
        if method != "GET" {
            let outcome = problem["outcome"].as_str();
            assert!(matches!(outcome, Some("not_applied" | "unknown")), "{problem}");
        }
    }
}
