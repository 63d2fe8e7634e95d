//! `Idempotency-Key`: what passes to the store with it, and what comes back.

use bytes::Bytes;
use http::Method;

use super::{Answer, Desk, request};
use crate::command::Reply;

const SET: (Method, &str, &str) = (Method::POST, "/api/set", r#"{"key":"k","value":"v"}"#);
const DELETE: (Method, &str, &str) = (Method::DELETE, "/api/delete?key=k", "");

/// It is 1970 here, on the first of January: drawn a day later, and a millisecond after that.
const TOMORROW: &str = "00000526-5c00-7000-8000-000000000000";
const AHEAD: &str = "00000526-5c01-7000-8000-000000000000";

async fn send(desk: &Desk, (method, target, body): &(Method, &str, &str), keys: &[&str]) -> Answer {
    let keys = keys.iter().map(|key| ("Idempotency-Key", *key));
    let headers: Vec<_> = keys.chain([("content-type", "application/json")]).collect();
    desk.send(request(method.clone(), target, &headers, (*body).to_owned().into())).await
}

#[tokio::test]
async fn the_key_goes_with_the_write_with_quotes_or_without() {
    let desk = Desk::open();
    let longest = "x".repeat(255);
    for call in [SET, DELETE] {
        for (header, key) in [
            ("8e03978e-40d5-43dd", "8e03978e-40d5-43dd"),
            ("\"a key\"", ""),
            ("\"q\"", "q"),
            (&longest, &longest),
            (TOMORROW, TOMORROW),
        ] {
            let answer = send(&desk, &call, &[header]).await;
            if key.is_empty() {
                answer.problem(400, "invalid_header");
                continue;
            }
            assert_eq!(answer.status, 200, "{header}");
            assert_eq!(desk.store.state().key.take(), Some(Bytes::from(key.to_owned())), "{header}");
        }
        assert_eq!(send(&desk, &call, &[]).await.status, 200);
        assert_eq!(desk.store.state().key, None, "a write without a key is a plain one");
    }
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_before_anything_is_done() {
    let desk = Desk::open();
    let too_long = "x".repeat(256);
    for call in [SET, DELETE] {
        for keys in
            [&[""][..], &["\"\""], &["a b"], &["a\"b"], &["a\\b"], &[&too_long], &["a", "a"], &[AHEAD]]
        {
            let problem = send(&desk, &call, keys).await.problem(400, "invalid_header");
            assert_eq!(problem["outcome"], "not_applied", "{keys:?}");
            assert!(
                problem["detail"].as_str().is_some_and(|detail| detail.contains("Idempotency-Key")),
                "{problem}"
            );
        }
    }
    assert_eq!(desk.store.state().calls, 0);
}

#[tokio::test]
async fn a_key_with_another_write_and_one_that_is_spent_are_told_apart() {
    let desk = Desk::open();
    for (reply, status, code, outcome) in [
        (Reply::KeyMismatch, 422, "idempotency_mismatch", "not_applied"),
        (Reply::KeySpent, 409, "session_expired", "unknown"),
    ] {
        desk.store.state().reply = Some(reply);
        for call in [SET, DELETE] {
            let problem = send(&desk, &call, &["key"]).await.problem(status, code);
            assert_eq!((&problem["outcome"], &problem["retryable"]), (&outcome.into(), &false.into()));
        }
    }
}
