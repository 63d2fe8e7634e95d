//! What a connection may have under way, at the door.

use serde_json::json;

use super::Desk;
use crate::config::Limits;

/// The desk's requests come on no connection that the server knows: each is one of its own.
#[tokio::test]
async fn what_is_over_the_share_is_refused_before_anything_is_done() {
    let desk = Desk::with_limits(Limits {
        request_bytes_inflight_max: 400,
        list_bytes_max: 100,
        ..Limits::default()
    });
    desk.open_node();
    let refused = desk.set(json!({"key": "k", "value": "x".repeat(500)})).await.problem(429, "overloaded");
    assert_eq!((&refused["retryable"], &refused["outcome"]), (&json!(true), &json!("not_applied")));
    assert_eq!(desk.store.state().calls, 0, "nobody was asked");
    for n in 0..10 {
        // Each gives back what it had, also the one that was refused.
        assert_eq!(desk.set(json!({"key": format!("k{n}"), "value": "x".repeat(300)})).await.status, 200);
    }
    assert_eq!(desk.get("/api/get?key=k1").await.status, 200);

    let desk =
        Desk::with_limits(Limits { requests_inflight_max: 0, list_bytes_max: 401, ..Limits::default() });
    desk.open_node();
    for target in ["/api/get?key=k", "/api/list"] {
        desk.get(target).await.problem(429, "overloaded");
    }
    desk.delete("/api/delete?key=k").await.problem(429, "overloaded");
    desk.set(json!({"key": "k", "value": "v"})).await.problem(429, "overloaded");
    assert_eq!(desk.store.state().calls, 0);
    // Whoever looks after the node is not kept out.
    for target in ["/livez", "/readyz", "/metrics", "/api/stats", "/api/members"] {
        assert_eq!(desk.get(target).await.status, 200, "{target}");
    }
}

/// The store of these tests has one value under every key that was set.
#[tokio::test]
async fn an_answer_that_nobody_may_keep_is_not_made() {
    let desk = Desk::with_limits(Limits { request_bytes_inflight_max: 400, ..Limits::default() });
    desk.open_node();
    desk.get("/api/list").await.problem(429, "overloaded");
    assert_eq!(desk.store.state().calls, 0, "a page is not even read");
}
