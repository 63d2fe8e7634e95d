//! Probes, and the time before the node is open.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use http::Method;
use serde_json::json;

use crate::error::{Error, ErrorKind};
use crate::types::Monotonic;

use super::{Desk, at_once, request};

#[tokio::test]
async fn a_well_node_is_live_and_ready() {
    let desk = Desk::open();
    for path in ["/livez", "/readyz", "/health"] {
        let answer = desk.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, r#"{"health":"true","reason":""}"#),
            "{path}"
        );
    }
    assert_eq!(desk.store.state().calls, 2, "liveness asks no quorum");
}

#[tokio::test]
async fn before_the_node_is_open_probes_answer_at_once() {
    let desk = Desk::closed();
    assert_eq!(at_once(desk.get("/livez")).status, 200);
    for path in ["/readyz", "/health"] {
        // The clock stands still: an answer that waited would never come.
        let answer = at_once(desk.get(path));
        let expected = json!({"health": "false", "reason": "the node is still opening its data"});
        assert_eq!((answer.status.as_u16(), answer.json()), (503, expected));
    }
}

#[tokio::test]
async fn without_a_quorum_a_node_is_live_and_not_ready() {
    let desk = Desk::open();
    desk.store.state().failure = Some(Error::new(ErrorKind::Unavailable, "no quorum answered in time"));
    assert_eq!(desk.get("/livez").await.status, 200);
    for path in ["/readyz", "/health"] {
        let answer = desk.get(path).await;
        let expected = json!({"health": "false", "reason": "no quorum confirmed a read within 1 s"});
        assert_eq!((answer.status.as_u16(), answer.json()), (503, expected));
    }
    // The quorum is asked within the request's deadline.
    let headers = [("x-quorate-timeout-ms", "250")];
    let answer = desk.send(request(Method::GET, "/health", &headers, Body::empty())).await;
    assert_eq!(answer.json()["reason"], "no quorum confirmed a read within 250 ms");
    assert_eq!(desk.store.state().deadline, Some(Monotonic(1_250_000_000)));
}

#[tokio::test]
async fn a_node_whose_disk_failed_is_neither_live_nor_ready() {
    let desk = Desk::open();
    desk.alive.send_replace(false);
    for path in ["/livez", "/readyz", "/health"] {
        let answer = desk.get(path).await;
        let expected = json!({"health": "false", "reason": "the node's disk failed: it stops"});
        assert_eq!((answer.status.as_u16(), answer.json()), (503, expected), "{path}");
    }
    assert_eq!(desk.store.state().calls, 0);
}

#[tokio::test]
async fn verbose_probes_say_what_they_checked() {
    let desk = Desk::open();
    let ready = "[+]disk ok\n[+]open ok\n[+]state ok\n[+]quorum ok\n[+]storage ok\nreadyz check passed\n";
    for target in ["/readyz?verbose", "/readyz?verbose=", "/readyz?verbose=true", "/health?verbose"] {
        let answer = desk.get(target).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, ready), "{target}");
    }
    assert_eq!(desk.get("/livez?verbose").await.text(), "[+]disk ok\nlivez check passed\n");
    assert_eq!(desk.get("/readyz?verbose=false").await.header("content-type"), "application/json");
    desk.store.state().failure = Some(Error::new(ErrorKind::Overloaded, "too many reads wait"));
    let answer = desk.get("/readyz?verbose").await;
    let expected = "[+]disk ok\n[+]open ok\n[+]state ok\n[-]quorum failed: too many reads wait\n[+]storage ok\nreadyz check failed\n";
    assert_eq!((answer.status.as_u16(), answer.text()), (503, expected));
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
}

const WAITING: [(Method, &str, &str); 14] = [
    (Method::POST, "/api/set", r#"{"key":"k","value":"v"}"#),
    (Method::GET, "/api/get?key=k", ""),
    (Method::GET, "/api/list", ""),
    (Method::DELETE, "/api/delete?key=k", ""),
    (Method::GET, "/api/stats", ""),
    (Method::GET, "/api/members", ""),
    (Method::GET, "/api/members?consistency=stale", ""),
    (Method::POST, "/api/members", r#"{"peer":"n5:7001"}"#),
    (Method::PUT, "/api/members/2", r#"{"http":"n2:8081"}"#),
    (Method::DELETE, "/api/members/2", ""),
    (Method::POST, "/api/members/2/promote", ""),
    (Method::POST, "/api/leader", r#"{"id":2}"#),
    (Method::GET, "/api/settings", ""),
    (Method::PUT, "/api/settings", r#"{"lease_ms":0}"#),
];

#[tokio::test]
async fn a_request_waits_for_the_node_to_open() {
    for (method, target, body) in WAITING {
        let desk = Desk::closed();
        let headers = [("content-type", "application/json")];
        let mut answer = pin!(desk.send(request(method, target, &headers, body.into())));
        let is_waiting = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_pending())).await;
        assert!(is_waiting, "{target}");
        desk.open_node();
        assert_eq!(answer.await.status, 200, "{target}");
    }
}

#[tokio::test]
async fn a_request_waits_no_longer_than_its_deadline() {
    for (method, target, body) in WAITING {
        for (timeout, wait) in [(None, Duration::from_secs(5)), (Some("70"), Duration::from_millis(70))] {
            let desk = Desk::closed();
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(timeout.map(|millis| ("x-quorate-timeout-ms", millis)));
            let mut answer = pin!(desk.send(request(method.clone(), target, &headers, body.into())));
            let mut is_waiting = true;
            for step in [Duration::ZERO, wait - Duration::from_millis(1)] {
                desk.clock.advance(step);
                is_waiting &= poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_pending())).await;
            }
            assert!(is_waiting, "{target}");
            desk.clock.advance(Duration::from_millis(1));
            let problem = answer.await.problem(503, "unavailable");
            let is_write = method != Method::GET;
            let outcome = if is_write { json!("not_applied") } else { json!(null) };
            assert_eq!((problem["retryable"].clone(), problem["outcome"].clone()), (json!(true), outcome));
        }
    }
}

#[tokio::test]
async fn a_node_that_will_never_open_refuses() {
    let mut desk = Desk::closed();
    desk.router = tokio::sync::watch::Sender::new(None);
    at_once(desk.get("/api/get?key=k")).problem(503, "stopping");
    assert_eq!(at_once(desk.get("/health")).status, 503);
}

#[tokio::test]
async fn what_is_wrong_is_refused_before_the_node_is_open() {
    let desk = Desk::closed();
    at_once(desk.get("/api/get")).problem(400, "missing_parameter");
    at_once(desk.post("/api/set", "{")).problem(400, "invalid_json");
    at_once(desk.delete("/api/delete?key=")).problem(400, "invalid_key");
    at_once(desk.get("/api/list?limit=0")).problem(400, "invalid_parameter");
    at_once(desk.get("/api/stats?x")).problem(400, "unknown_parameter");
}
