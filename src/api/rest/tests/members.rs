//! Who is in the group, and what changes it.

use axum::body::Body;
use http::Method;
use serde_json::{Value, json};

use super::super::problem::Code;
use super::store::Asked;
use super::{Answer, Desk, assert_json, request};
use crate::error::{Error, ErrorKind, Outcome};
use crate::shard::MemberChange;
use crate::types::NodeId;

/// What the store answers. One that leaves still votes; one that joins does not yet.
fn members(is_leaders: bool) -> Value {
    let member = |id: u64, role: &str, grpc: &str| {
        let mut member = json!({
            "id": id, "role": role, "peer": format!("n{id}:7001"), "http": format!("n{id}:8081"), "grpc": grpc,
            "leader": id == 1,
        });
        if is_leaders && id < 4 {
            member["match_index"] = json!(9 - id);
        }
        member
    };
    let members = [
        member(1, "voter", "n1:9001"),
        member(2, "voter", "n2:9001"),
        member(3, "learner", "n3:9001"),
        member(4, "learner", ""),
    ];
    json!({"members": members, "config_index": 7, "joint": true})
}

fn asked(desk: &Desk) -> Vec<Asked> {
    std::mem::take(&mut desk.store.state().asked)
}

#[tokio::test]
async fn members_are_the_leaders_or_this_nodes_alone() {
    let desk = Desk::open();
    for target in ["/api/members", "/api/members?consistency=linearizable"] {
        assert_json(&desk.get(target).await, members(true));
        assert_eq!(asked(&desk), [Asked::Confirm, Asked::Members], "{target}");
    }
    let calls = desk.store.state().calls;
    assert_json(&desk.get("/api/members?consistency=stale").await, members(false));
    assert_eq!(asked(&desk), [Asked::MembersHere]);
    assert_eq!(desk.store.state().calls, calls, "it asks nobody");
    // In the order of the documents.
    let text = desk.get("/api/members").await.text().to_owned();
    let first = r#"{"members":[{"id":1,"role":"voter","peer":"n1:7001","http":"n1:8081","grpc":"n1:9001","leader":true,"match_index":8},"#;
    assert!(text.starts_with(first), "{text}");
    // Without a quorum the node's own view is left.
    desk.store.state().failure = Some(Error::new(ErrorKind::Unavailable, "no quorum"));
    desk.get("/api/members").await.problem(503, "unavailable");
    desk.get("/api/settings").await.problem(503, "unavailable");
    assert_eq!(desk.get("/api/members?consistency=stale").await.status, 200);
}

#[tokio::test]
async fn changes_reach_the_group_as_they_are_asked() {
    let desk = Desk::open();
    let add = |id: Option<u64>, peer: &str, is_learner| MemberChange::Add {
        id: id.map(NodeId),
        peer: peer.to_owned(),
        is_learner,
    };
    let update = |peer: &str, http: &str, grpc: &str| {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        MemberChange::Update { id: NodeId(2), peer: given(peer), http: given(http), grpc: given(grpc) }
    };
    let (remove, promote) = (MemberChange::Remove(NodeId(2)), MemberChange::Promote(NodeId(3)));
    let highest = MemberChange::Remove(NodeId(u64::MAX));
    for (method, target, body, change, force) in [
        (Method::POST, "/api/members", r#"{"peer":"n5:7001"}"#, add(None, "n5:7001", false), false),
        (
            Method::POST,
            "/api/members",
            r#"{"id":5,"peer":"n5:7001","role":"voter"}"#,
            add(Some(5), "n5:7001", false),
            false,
        ),
        (
            Method::POST,
            "/api/members",
            r#"{"role":"learner","peer":"[::1]:1"}"#,
            add(None, "[::1]:1", true),
            false,
        ),
        (Method::PUT, "/api/members/2", r#"{"peer":"n9:7001"}"#, update("n9:7001", "", ""), false),
        (
            Method::PUT,
            "/api/members/2",
            r#"{"peer":"a:1","http":"b:2","grpc":"c:3"}"#,
            update("a:1", "b:2", "c:3"),
            false,
        ),
        (Method::DELETE, "/api/members/2", "", remove.clone(), false),
        (Method::DELETE, "/api/members/%32?force=false", "", remove.clone(), false),
        (Method::DELETE, "/api/members/2?force=true", "", remove.clone(), true),
        (Method::DELETE, "/api/members/2?force", "", remove, true),
        (Method::DELETE, "/api/members/18446744073709551615", "", highest, false),
        (Method::POST, "/api/members/3/promote", "", promote.clone(), false),
        (Method::POST, "/api/members/3/promote?force=true", "", promote, true),
    ] {
        let headers = [("content-type", "application/json"), ("x-quorate-timeout-ms", "250")];
        let answer = desk.send(request(method.clone(), target, &headers, Body::from(body))).await;
        assert_json(&answer, members(true));
        assert_eq!(asked(&desk), [Asked::Change(change, force)], "{method} {target}");
        assert_eq!(desk.store.state().deadline.take().unwrap().0, 1_250_000_000);
    }
    let answer = desk.post("/api/leader", r#"{"id":3}"#).await;
    assert_json(&answer, members(true));
    assert_eq!(asked(&desk), [Asked::Transfer(NodeId(3))]);
}

#[tokio::test]
async fn settings_are_read_and_changed() {
    let desk = Desk::open();
    let answer = desk.get("/api/settings").await;
    assert_eq!(answer.text(), r#"{"lease_ms":0,"version":1}"#);
    assert_eq!(asked(&desk), [Asked::Confirm, Asked::Members]);
    for lease_ms in [400, 60_000, 0] {
        let expected = json!({"lease_ms": lease_ms, "version": 1});
        let answer = desk.put("/api/settings", json!({"lease_ms": lease_ms}).to_string()).await;
        assert_json(&answer, expected.clone());
        assert_eq!(asked(&desk), [Asked::Change(MemberChange::Lease(lease_ms), false)]);
        assert_json(&desk.get("/api/settings").await, expected.clone());
        asked(&desk);
        assert_json(&desk.get("/api/settings?consistency=stale").await, expected);
        assert_eq!(asked(&desk), [Asked::MembersHere]);
    }
}

/// Every change of the group.
const CHANGES: [(&str, &str, &str); 6] = [
    ("POST", "/api/members", r#"{"peer":"n5:7001"}"#),
    ("PUT", "/api/members/2", r#"{"peer":"n5:7001"}"#),
    ("DELETE", "/api/members/2", ""),
    ("POST", "/api/members/3/promote", ""),
    ("POST", "/api/leader", r#"{"id":3}"#),
    ("PUT", "/api/settings", r#"{"lease_ms":400}"#),
];

async fn fail(desk: &Desk, change: (&str, &str, &str), error: Error) -> Answer {
    desk.store.state().failure = Some(error);
    let headers = [("content-type", "application/json")];
    let method = Method::from_bytes(change.0.as_bytes()).unwrap();
    desk.send(request(method, change.1, &headers, Body::from(change.2.to_owned()))).await
}

/// Each code with its status, whether to retry, and which of the changes may meet it.
#[tokio::test]
async fn what_is_refused_says_why_and_what_to_do() {
    let (add, update, remove, promote, lead, set) = (0, 1, 2, 3, 4, 5);
    let all = [add, update, remove, promote, lead, set];
    let kinds: [(ErrorKind, u16, &str, bool, &[usize]); 10] = [
        (ErrorKind::NoSuchMember, 404, "no_such_member", false, &[update, remove, promote, lead]),
        (ErrorKind::ChangeInProgress, 409, "change_in_progress", true, &all),
        (ErrorKind::MemberExists, 409, "member_exists", false, &[add, promote]),
        (ErrorKind::IdRetired, 409, "id_retired", false, &[add]),
        (ErrorKind::QuorumAtRisk, 409, "quorum_at_risk", false, &[remove, promote]),
        (ErrorKind::Invalid, 400, "invalid", false, &all),
        (ErrorKind::Unavailable, 503, "unavailable", true, &all),
        (ErrorKind::Overloaded, 429, "overloaded", true, &all),
        (ErrorKind::Stopping, 503, "stopping", true, &all),
        (ErrorKind::LogFull, 507, "log_full", true, &all),
    ];
    let desk = Desk::open();
    for (kind, status, name, retryable, changes) in kinds {
        assert_eq!((kind.code(), kind.is_retryable()), (name, retryable));
        assert_eq!(Code::from(kind).is_retryable(), retryable, "{name}");
        for at in changes {
            let problem = fail(&desk, CHANGES[*at], Error::new(kind, "the node said this")).await;
            let problem = problem.problem(status, name);
            let expected = (&json!(retryable), &json!("not_applied"));
            assert_eq!((&problem["retryable"], &problem["outcome"]), expected, "{:?}", CHANGES[*at]);
            let advice = problem["detail"].as_str().unwrap().strip_prefix("the node said this. ").unwrap();
            let is_new = matches!(status, 404 | 409 | 507);
            assert!(!is_new || advice != "Change the request.", "{name} has no advice");
        }
    }
    // The node's own words say enough, but do not know how REST forces it.
    let at_risk = Error::new(ErrorKind::QuorumAtRisk, "1 can be reached, and 2 are needed: force it");
    let detail = fail(&desk, CHANGES[remove], at_risk).await.json()["detail"].clone();
    assert!(detail.as_str().unwrap().contains("needed: force it. With force=true in the query"), "{detail}");
}

#[tokio::test]
async fn an_unknown_outcome_sends_to_the_members() {
    let desk = Desk::open();
    for change in CHANGES {
        let error = Error::unknown(ErrorKind::Unavailable, "the leader was lost");
        assert_eq!(error.outcome(), Outcome::Unknown);
        let problem = fail(&desk, change, error).await.problem(503, "unavailable");
        assert_eq!((&problem["retryable"], &problem["outcome"]), (&json!(true), &json!("unknown")));
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("look at GET /api/members before you repeat it."), "{detail}");
    }
}
