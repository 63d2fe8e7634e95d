//! What the router may answer when it cannot do what was asked, and what becomes of that.

use serde_json::{Value, json};

use super::super::problem::{Code, Problem};
use super::Desk;
use crate::command::{Found, Reply};
use crate::error::{Error, ErrorKind, Outcome};
use crate::types::Revision;

/// Every kind with its status and its code; whether to retry; whether a write and a read may meet it.
const KINDS: [(ErrorKind, u16, &str, bool, bool, bool); 11] = [
    (ErrorKind::Invalid, 400, "invalid", false, true, true),
    (ErrorKind::TooLarge, 413, "too_large", false, true, true),
    (ErrorKind::ConditionFailed, 412, "condition_failed", false, true, false),
    (ErrorKind::Unavailable, 503, "unavailable", true, true, true),
    (ErrorKind::Overloaded, 429, "overloaded", true, true, true),
    (ErrorKind::LogFull, 507, "log_full", true, true, false),
    (ErrorKind::DiskFull, 507, "disk_full", true, true, false),
    (ErrorKind::StorageFull, 507, "storage_full", true, true, false),
    (ErrorKind::SessionGone, 410, "session_gone", false, false, false),
    (ErrorKind::Stopping, 503, "stopping", true, true, true),
    (ErrorKind::Internal, 500, "internal", false, true, true),
];

#[tokio::test]
async fn every_kind_has_its_status() {
    let desk = Desk::open();
    for (kind, status, name, retryable, by_write, by_read) in KINDS {
        assert_eq!((Code::from(kind).status().as_u16(), Code::from(kind).name()), (status, name));
        assert_eq!(Code::from(kind).is_retryable(), kind.is_retryable(), "{name}");
        assert_eq!((kind.code(), kind.is_retryable()), (name, retryable));
        for outcome in [Outcome::NotApplied, Outcome::Unknown] {
            let error = match outcome {
                Outcome::NotApplied => Error::new(kind, "the node said this"),
                Outcome::Unknown => Error::unknown(kind, "the node said this"),
            };
            desk.store.state().failure = Some(error);
            if by_write {
                let problems = [
                    desk.set(json!({"key": "k", "value": "v"})).await,
                    desk.delete("/api/delete?key=k").await,
                ];
                for answer in problems {
                    let problem = answer.problem(status, name);
                    assert_eq!(
                        (&problem["retryable"], &problem["outcome"]),
                        (&json!(retryable), &json!(outcome.code()))
                    );
                    check_text(&problem, outcome);
                }
            }
            if by_read {
                for target in ["/api/get?key=k", "/api/list"] {
                    let problem = desk.get(target).await.problem(status, name);
                    assert_eq!(
                        (&problem["retryable"], &problem["outcome"]),
                        (&json!(retryable), &Value::Null)
                    );
                }
            }
        }
    }
}

/// The node's words come first, then what to do.
fn check_text(problem: &Value, outcome: Outcome) {
    let detail = problem["detail"].as_str().unwrap();
    let advice = detail.strip_prefix("the node said this. ").unwrap_or_else(|| panic!("{detail}"));
    assert!(advice.len() > 8, "{detail}");
    assert_eq!(advice.contains("read before you repeat it"), outcome == Outcome::Unknown, "{detail}");
}

#[tokio::test]
async fn a_reply_of_another_kind_is_an_answer_and_no_panic() {
    let desk = Desk::open();
    for reply in [Reply::SessionOpened, Reply::Void, Reply::Hash(7), Reply::SessionGone] {
        desk.store.state().reply = Some(reply);
        let problem = desk.set(json!({"key": "k", "value": "v"})).await.problem(500, "internal");
        assert_eq!(problem["outcome"], "unknown");
        let problem = desk.delete("/api/delete?key=k").await.problem(500, "internal");
        assert_eq!(problem["outcome"], "unknown");
    }
    desk.store.state().found = Some(Found::Page { pairs: Vec::new(), more: false });
    desk.get("/api/get?key=k").await.problem(500, "internal");
    desk.store.state().found = Some(Found::Record(None));
    desk.get("/api/list").await.problem(500, "internal");
}

#[test]
fn advice_is_given_once() {
    let detail = |kind, text: &str| Problem::from(Error::new(kind, text)).detail.into_owned();
    assert_eq!(
        detail(ErrorKind::Unavailable, "no leader was known: retry it"),
        "no leader was known: retry it."
    );
    assert!(
        detail(ErrorKind::Unavailable, "no leader was known").contains("known. Retry, here or at another")
    );
    assert!(detail(ErrorKind::LogFull, "the log is full").contains("raise wal-bytes-max."));
    // The colon is another error's.
    assert_eq!(detail(ErrorKind::Internal, "open: denied"), "open: denied. Look at the node's log.");
}

#[test]
fn a_session_that_is_gone_has_a_code_too() {
    let problem = Problem::from(Error::new(ErrorKind::SessionGone, "it expired."));
    assert_eq!(
        (problem.code, problem.detail.as_ref()),
        (Code::SessionGone, "it expired. Open a new session.")
    );
    assert_eq!(Problem::condition_failed(Revision(7)).revision, Some(Revision(7)));
}

#[test]
fn codes_have_distinct_names() {
    let names: std::collections::BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), Code::ALL.len());
}
