//! What the five calls answer when all is well.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::command::Query;
use crate::shard::{Consistency, Freshness};
use crate::types::Revision;

use super::{Desk, assert_json, request};

fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Percent-encodes every byte.
fn percent(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn set_get_delete() {
    let desk = Desk::open();
    let answer = desk.set(json!({"key": "user:1001", "value": "John Doe"})).await;
    assert_json(&answer, json!({"success": true, "revision": 2}));
    assert_eq!(answer.revision(), 2);
    desk.set(json!({"key": "other", "value": ""})).await;

    let answer = desk.get("/api/get?key=user:1001").await;
    assert_eq!(answer.text(), r#"{"value":"John Doe","found":true,"revision":2}"#);
    assert_eq!(answer.revision(), 3, "the header has the store's revision, the body the key's");
    assert_json(&desk.get("/api/get?key=other").await, json!({"value": "", "found": true, "revision": 3}));

    let answer = desk.get("/api/get?key=absent").await;
    assert_eq!(answer.text(), r#"{"value":null,"found":false}"#);
    assert_eq!(answer.revision(), 3);

    let answer = desk.delete("/api/delete?key=user:1001").await;
    assert_eq!(answer.text(), r#"{"success":true,"deleted":true,"revision":4}"#);
    assert_eq!(answer.revision(), 4);
    let answer = desk.delete("/api/delete?key=user:1001").await;
    assert_json(&answer, json!({"success": true, "deleted": false, "revision": 4}));
    assert_json(&desk.get("/api/get?key=user:1001").await, json!({"value": null, "found": false}));
}

#[tokio::test]
async fn conditions() {
    let desk = Desk::open();
    let with = |revision: u64| json!({"key": "k", "value": "v", "if_revision": revision});
    desk.set(with(1)).await.problem(412, "condition_failed");
    assert_json(&desk.set(with(0)).await, json!({"success": true, "revision": 2}));
    let refused = desk.set(with(0)).await;
    let body = refused.problem(412, "condition_failed");
    assert_eq!((body["retryable"].clone(), body["outcome"].clone()), (json!(false), json!("not_applied")));
    assert_eq!(refused.revision(), 2);
    assert_json(&desk.set(with(2)).await, json!({"success": true, "revision": 3}));

    let refused = desk.delete("/api/delete?key=k&if_revision=2").await;
    assert_eq!(refused.problem(412, "condition_failed")["outcome"], "not_applied");
    assert_eq!(refused.revision(), 3);
    let answer = desk.delete("/api/delete?key=k&if_revision=3").await;
    assert_json(&answer, json!({"success": true, "deleted": true, "revision": 4}));
    let answer = desk.delete("/api/delete?key=k&if_revision=0").await;
    assert_json(&answer, json!({"success": true, "deleted": false, "revision": 4}));
    // The largest number there is, in both places.
    desk.set(with(u64::MAX)).await.problem(412, "condition_failed");
    let target = format!("/api/delete?key=k&if_revision={}", u64::MAX);
    desk.delete(&target).await.problem(412, "condition_failed");
}

#[tokio::test]
async fn text_of_every_script_comes_back_as_it_went_in() {
    let desk = Desk::open();
    let texts = [
        "plain",
        "with space + plus & = ? # / %41 percent",
        "gr\u{fc}\u{df}e",
        "\u{65e5}\u{672c}\u{8a9e}",
        "\u{1f980} crab",
        "quote \" backslash \\ slash /",
        "line\nbreak\ttab\r\u{0}nul\u{7f}\u{1}",
        "\u{feff}mark",
        "e\u{301} is not \u{e9}",
        "\u{10ffff}\u{e000}",
    ];
    for (n, text) in (2u64..).zip(texts) {
        let answer = desk.set(json!({"key": text, "value": text})).await;
        assert_json(&answer, json!({"success": true, "revision": n}));
        let target = format!("/api/get?key={}", percent(text.as_bytes()));
        assert_json(&desk.get(&target).await, json!({"value": text, "found": true, "revision": n}));
        let stored = desk.store.state().pairs[text.as_bytes()].value.clone();
        assert_eq!(stored, text.as_bytes());
    }
    // The same text with every character escaped in JSON, and as the name of a field.
    let escape = |text: &str| text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
    let crab = "\u{1f980} crab";
    let body = format!("{{\"{}\":\"{}\",\"value\":\"{}\"}}", escape("key"), escape(crab), escape("escaped"));
    desk.post("/api/set", body).await;
    assert_eq!(desk.store.state().pairs[crab.as_bytes()].value, "escaped");
    // A query may spell text raw, escaped, and a space as `+`.
    for key in ["with+space+%2B+plus+%26+%3d+%3F+%23+/+%2541+percent", "gr\u{fc}\u{df}e", "gr%c3%BC\u{df}e"] {
        let answer = desk.get(&format!("/api/get?key={key}")).await;
        assert_eq!(answer.json()["found"], true, "{key}");
    }
}

#[tokio::test]
async fn binary_goes_in_and_out_as_base64() {
    let desk = Desk::open();
    let (key, value) = (b"\x00\xff\xfe key".as_slice(), (0..=255).collect::<Vec<u8>>());
    let body = json!({"key": b64(key), "value": b64(&value), "encoding": "base64"});
    assert_json(&desk.set(body).await, json!({"success": true, "revision": 2}));
    assert_eq!(desk.store.state().pairs[key].value, value);

    let target = format!("/api/get?encoding=base64&key={}", percent(b64(key).as_bytes()));
    let expected = json!({"value": b64(&value), "found": true, "revision": 2, "encoding": "base64"});
    assert_json(&desk.get(&target).await, expected);

    // The query may say it instead of the body, or both the same.
    let body = json!({"key": b64(b"text"), "value": b64(&value)}).to_string();
    assert_json(&desk.post("/api/set?encoding=base64", body).await, json!({"success": true, "revision": 3}));
    let body = json!({"key": b64(b"text2"), "value": b64(b"plain"), "encoding": "base64"}).to_string();
    assert_json(&desk.post("/api/set?encoding=base64", body).await, json!({"success": true, "revision": 4}));
    // A text key with a value that is not text: base64, said so, without being asked.
    let expected = json!({"value": b64(&value), "found": true, "revision": 3, "encoding": "base64"});
    assert_json(&desk.get("/api/get?key=text").await, expected.clone());
    assert_json(&desk.get("/api/get?key=text&encoding=text").await, expected);
    let expected = json!({"value": b64(b"plain"), "found": true, "revision": 4, "encoding": "base64"});
    assert_json(&desk.get("/api/get?key=dGV4dDI=&encoding=base64").await, expected);
    assert_json(
        &desk.get("/api/get?key=text2").await,
        json!({"value": "plain", "found": true, "revision": 4}),
    );
    let absent = json!({"value": null, "found": false});
    assert_json(&desk.get("/api/get?encoding=base64&key=bm9uZQ%3D%3D").await, absent);

    let target = format!("/api/delete?encoding=base64&key={}", percent(b64(key).as_bytes()));
    assert_json(&desk.delete(&target).await, json!({"success": true, "deleted": true, "revision": 5}));
}

fn page(answer: &super::Answer) -> (Vec<Value>, bool) {
    let body = answer.json();
    (body["pairs"].as_array().unwrap().clone(), body["more"].as_bool().unwrap())
}

#[tokio::test]
async fn list_pages_through_the_keys_in_order() {
    let desk = Desk::open();
    for key in ["b/2", "a", "b/10", "c", "b/1"] {
        desk.set(json!({"key": key, "value": format!("value of {key}")})).await;
    }
    let answer = desk.get("/api/list?prefix=b/").await;
    let expected = r#"{"pairs":[{"key":"b/1","value":"value of b/1","revision":6},{"key":"b/10","value":"value of b/10","revision":4},{"key":"b/2","value":"value of b/2","revision":2}],"more":false}"#;
    assert_eq!(answer.text(), expected);
    assert_eq!(answer.revision(), 6);

    let keys = |answer: &super::Answer| {
        let (pairs, more) = page(answer);
        (
            pairs.iter().map(|pair| pair["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" "),
            more,
        )
    };
    let cases = [
        ("/api/list", "a b/1 b/10 b/2 c", false),
        ("/api/list?", "a b/1 b/10 b/2 c", false),
        ("/api/list?prefix=&after=", "a b/1 b/10 b/2 c", false),
        ("/api/list?limit=2", "a b/1", true),
        ("/api/list?limit=5", "a b/1 b/10 b/2 c", false),
        ("/api/list?limit=2&after=b/1", "b/10 b/2", true),
        ("/api/list?limit=2&after=b/2", "c", false),
        ("/api/list?after=b", "b/1 b/10 b/2 c", false),
        ("/api/list?prefix=b&after=b/1&limit=1", "b/10", true),
        ("/api/list?prefix=b&after=b/10&limit=1", "b/2", false),
        ("/api/list?prefix=x", "", false),
        ("/api/list?after=zzz", "", false),
        ("/api/list?limit=10000&&prefix=a&", "a", false),
    ];
    for (target, expected, more) in cases {
        assert_eq!(keys(&desk.get(target).await), (expected.to_owned(), more), "{target}");
    }
}

#[tokio::test]
async fn list_marks_each_pair_that_is_not_text() {
    let desk = Desk::open();
    for (key, value) in [(b"a\xff".as_slice(), b"v".as_slice()), (b"b", b"\xfe"), (b"c", b"text")] {
        let body = json!({"key": b64(key), "value": b64(value), "encoding": "base64"});
        assert_eq!(desk.set(body).await.status, 200);
    }
    let (first, second) = (
        json!({"key": b64(b"a\xff"), "value": b64(b"v"), "revision": 2, "encoding": "base64"}),
        json!({"key": b64(b"b"), "value": b64(b"\xfe"), "revision": 3, "encoding": "base64"}),
    );
    let expected =
        json!({"pairs": [first, second, {"key": "c", "value": "text", "revision": 4}], "more": false});
    assert_json(&desk.get("/api/list").await, expected);
    let third = json!({"key": b64(b"c"), "value": b64(b"text"), "revision": 4, "encoding": "base64"});
    let expected = json!({"pairs": [second, third], "more": false});
    // `YQ==` is `a`, which stands before a\xff; `Yf8=` is a\xff itself.
    assert_json(&desk.get("/api/list?encoding=base64&after=Yf8%3D").await, expected);
    let (pairs, _) = page(&desk.get("/api/list?encoding=base64&prefix=YQ%3D%3D").await);
    assert_eq!(pairs, [first]);
}

#[tokio::test]
async fn list_asks_the_store_for_no_more_than_its_limits() {
    let desk = Desk::open();
    desk.get("/api/list").await;
    let Some(Query::List { limit, bytes_max, after, .. }) = desk.store.state().query.clone() else {
        panic!("a list was asked")
    };
    assert_eq!((limit, bytes_max, after), (1_000, 4 << 20, None));
    // Four values of 1.25 MiB: the page ends with the one that reaches 4 MiB.
    let value = "x".repeat(5 << 18);
    for key in ["k1", "k2", "k3", "k4", "k5"] {
        assert_eq!(desk.set(json!({"key": key, "value": value})).await.status, 200);
    }
    let (pairs, more) = page(&desk.get("/api/list").await);
    assert_eq!((pairs.len(), more), (4, true));
    let (pairs, more) = page(&desk.get("/api/list?after=k4").await);
    assert_eq!((pairs.len(), more), (1, false));
}

#[tokio::test]
async fn reads_are_as_fresh_as_is_asked() {
    let desk = Desk::open();
    let stale = |max_staleness_ms| Consistency::Stale { max_staleness_ms };
    for path in ["/api/get?key=k&", "/api/list?"] {
        for (asked, consistency, min_revision) in [
            ("", Consistency::Linearizable, None),
            ("consistency=linearizable", Consistency::Linearizable, None),
            ("consistency=lease", Consistency::Lease, None),
            ("consistency=stale", stale(None), None),
            ("consistency=stale&max_staleness_ms=0", stale(Some(0)), None),
            ("max_staleness_ms=250&consistency=stale&min_revision=7", stale(Some(250)), Some(7)),
            ("min_revision=0", Consistency::Linearizable, Some(0)),
            ("consistency=lease&min_revision=18446744073709551615", Consistency::Lease, Some(u64::MAX)),
            ("consistency=stale&min_revision=9", stale(None), Some(9)),
        ] {
            assert_eq!(desk.get(&format!("{path}{asked}")).await.status, 200);
            let expected = Freshness { consistency, min_revision: min_revision.map(Revision) };
            assert_eq!(desk.store.state().freshness.take(), Some(expected), "{path}{asked}");
        }
    }
}

#[tokio::test]
async fn stats_names_everything() {
    let desk = Desk::open();
    desk.set(json!({"key": "k", "value": "v"})).await;
    let answer = desk.get("/api/stats").await;
    assert_eq!(answer.revision(), 2);
    let expected = json!({
        "id": 1, "version": env!("CARGO_PKG_VERSION"), "cluster_id": "deadbeef00000001", "group": 1,
        "state": "leader", "leader": "http://127.0.0.1:8081", "leader_id": 1, "term": 3, "commit_index": 9,
        "applied_index": 8, "last_index": 10, "persisted_index": 10, "folded_index": 5, "purged_index": 2,
        "revision": 2, "poisoned": false, "counters": super::store::counters(),
        "members": [
            {"id": 1, "incarnation": "fffffffffffffffe", "role": "voter", "peer": "127.0.0.1:7001",
             "http": "http://127.0.0.1:8081", "grpc": "127.0.0.1:9001", "labels": {"zone": "a"}, "version": "0.1.0"},
            {"id": 2, "incarnation": null, "role": "voter", "peer": "127.0.0.1:7001", "http": "", "grpc": "",
             "labels": {}, "version": ""},
        ],
    });
    assert_json(&answer, expected);
    assert_eq!(desk.store.state().calls, 1, "stats asks no quorum");
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let desk = Desk::open();
    desk.set(json!({"key": "k", "value": "v"})).await;
    let answer = desk.send(request(Method::HEAD, "/api/get?key=k", &[], Body::empty())).await;
    assert_eq!((answer.status.as_u16(), answer.bytes.len(), answer.revision()), (200, 0, 2));
    assert_eq!(answer.header("content-length"), "39");
}

#[tokio::test]
async fn a_request_id_comes_back() {
    let desk = Desk::open();
    let long = "x".repeat(129);
    let cases = [
        ("/api/get?key=k", "req-42/a", "req-42/a"),
        ("/api/get", "on-errors-too", "on-errors-too"),
        ("/nowhere", "on-404", "on-404"),
        ("/api/set", "on-405", "on-405"),
        ("/api/get?key=k", &long[1..], &long[1..]),
        ("/api/get?key=k", &long, ""),
        ("/api/get?key=k", "", ""),
        ("/api/get?key=k", "two words", ""),
    ];
    for (target, given, expected) in cases {
        let answer = desk.send(request(Method::GET, target, &[("x-request-id", given)], Body::empty())).await;
        assert_eq!(answer.header("x-request-id"), expected, "{target} {given}");
    }
    let twice = [("x-request-id", "a"), ("x-request-id", "b")];
    let answer = desk.send(request(Method::GET, "/livez", &twice, Body::empty())).await;
    assert_eq!(answer.header("x-request-id"), "");
}

#[tokio::test]
async fn text_without_escapes_is_stored_without_a_copy() {
    let desk = Desk::open();
    let body = Bytes::from_static(br#"{"key":"k","value":"borrowed"}"#);
    let range = body.as_ptr_range();
    desk.post("/api/set", body).await;
    let state = desk.store.state();
    assert!(range.contains(&state.pairs[b"k".as_slice()].value.as_ptr()));
    assert_eq!(state.revision, Revision(2));
}
