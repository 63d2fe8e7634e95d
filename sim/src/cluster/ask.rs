//! One operation as a request of the REST interface, and what came back as an outcome.
//!
//! Every status that a valid request may be answered with has its outcome here. What no right node answers (a refusal of
//! the request as malformed, an answer that contradicts itself) is a violation, whatever the store holds.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value as Json, json};

use crate::Violation;
use crate::history::operations::{Delete, Get, List, Pair, Set, Txn};
use crate::history::{Answer, Found, Freshness, Key, Operation, Outcome, Value};

/// A request that a client is to send.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What it asks.
    pub operation: Operation,
    /// The bytes to be written, by a transaction to each of its keys; none for other operations.
    pub value: Vec<u8>,
    /// Whether keys and values travel in base64 even where they are text.
    pub base64: bool,
    /// The idempotency key; a write that has one is sent until it is known what became of it.
    pub key: Option<String>,
    /// How long the node may take; the client's own limit if it is not given.
    pub deadline: Option<Duration>,
    /// After how long the client hangs up; if it is not given, somewhat after the deadline.
    pub hang_up: Option<Duration>,
}

impl Ask {
    fn of(operation: Operation, value: &[u8]) -> Ask {
        Ask { operation, value: value.to_vec(), base64: false, key: None, deadline: None, hang_up: None }
    }

    /// Write `value` under `key`; with a condition, only if that is the revision of the key's last change, 0 for absent.
    pub fn set(key: Key, value: &[u8], condition: Option<u64>) -> Ask {
        Ask::of(Operation::Set(Set { key, value: Value::of(value), condition }), value)
    }

    /// Delete `key`, under the same kind of condition.
    pub fn delete(key: Key, condition: Option<u64>) -> Ask {
        Ask::of(Operation::Delete(Delete { key, condition }), &[])
    }

    /// Read `key`.
    pub fn get(key: Key, freshness: Freshness) -> Ask {
        Ask::of(Operation::Get(Get { key, freshness }), &[])
    }

    /// Read a page of the keys that begin with `prefix` and come after `after`.
    pub fn list(prefix: Key, after: Key, limit: Option<usize>, freshness: Freshness) -> Ask {
        Ask::of(Operation::List(List { prefix, after, limit, freshness }), &[])
    }

    /// If `key` is at a revision, 0 for absent, write `value` under the first of these keys, and under the second as well
    /// or, without `both`, delete that one. If it is not, read `otherwise`.
    pub fn txn(
        (key, condition): (Key, u64),
        [first, second]: [Key; 2],
        (value, both): (&[u8], bool),
        otherwise: Option<Key>,
    ) -> Ask {
        let change = |key, is_put: bool| (key, is_put.then(|| Value::of(value)));
        let changes = vec![change(first, true), change(second, both)];
        Ask::of(Operation::Txn(Txn { key, condition, changes, otherwise }), value)
    }

    /// The HTTP method.
    pub(super) fn method(&self) -> &'static str {
        match self.operation {
            Operation::Set(_) => "POST",
            Operation::Delete(_) => "DELETE",
            Operation::Get(_) | Operation::List(_) => "GET",
            Operation::Txn(_) => unreachable!("REST has no transactions"),
        }
    }

    /// Whether keys and values must travel in base64: they are no text, or it was asked for.
    fn is_base64(&self) -> bool {
        let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        let keys_are_text = match &self.operation {
            Operation::Get(Get { key, .. })
            | Operation::Delete(Delete { key, .. })
            | Operation::Set(Set { key, .. }) => is_text(&key.0),
            Operation::List(list) => is_text(&list.prefix.0) && is_text(&list.after.0),
            Operation::Txn(_) => unreachable!("REST has no transactions"),
        };
        self.base64 || !keys_are_text || !is_text(&self.value)
    }

    fn text(&self, bytes: &[u8]) -> String {
        if self.is_base64() { STANDARD.encode(bytes) } else { String::from_utf8_lossy(bytes).into_owned() }
    }

    /// Path and query.
    pub(super) fn path(&self) -> String {
        let mut query = Vec::new();
        let mut add = |name: &str, value: &str| query.push(format!("{name}={}", escape(value)));
        let (path, freshness) = match &self.operation {
            Operation::Set(_) => return "/api/set".to_owned(),
            Operation::Delete(Delete { key, condition }) => {
                add("key", &self.text(&key.0));
                if let Some(revision) = condition {
                    add("if_revision", &revision.to_string());
                }
                ("/api/delete", Freshness::Linearizable)
            }
            Operation::Get(Get { key, freshness }) => {
                add("key", &self.text(&key.0));
                ("/api/get", *freshness)
            }
            Operation::List(List { prefix, after, limit, freshness }) => {
                add("prefix", &self.text(&prefix.0));
                add("after", &self.text(&after.0));
                if let Some(limit) = limit {
                    add("limit", &limit.to_string());
                }
                ("/api/list", *freshness)
            }
            Operation::Txn(_) => unreachable!("REST has no transactions"),
        };
        match freshness {
            Freshness::Linearizable => {}
            Freshness::Leased => add("consistency", "lease"),
            Freshness::Stale => add("consistency", "stale"),
            Freshness::StaleFrom(revision) => {
                add("consistency", "stale");
                add("min_revision", &revision.to_string());
            }
        }
        if self.is_base64() {
            add("encoding", "base64");
        }
        format!("{path}?{}", query.join("&"))
    }

    /// The body; empty where there is none.
    pub(super) fn body(&self) -> String {
        let Operation::Set(Set { key, condition, .. }) = &self.operation else { return String::new() };
        let mut body = json!({ "key": self.text(&key.0), "value": self.text(&self.value) });
        if let Some(revision) = condition {
            body["if_revision"] = json!(revision);
        }
        if self.is_base64() {
            body["encoding"] = json!("base64");
        }
        body.to_string()
    }

    /// What the answer means.
    pub(super) fn outcome(&self, status: StatusCode, store: u64, body: &Json) -> Result<Outcome, Violation> {
        let name = self.operation.name();
        let wrong = |why: &str| format!("form: {why}: {name} answered {} {body}", status.as_u16());
        let text =
            || format!("{} {}", status.as_u16(), body["code"].as_str().unwrap_or("no problem document"));
        match status.as_u16() {
            200 => self.answer(store, body).map(Outcome::Done).map_err(|why| wrong(&why)),
            412 if self.operation.is_write() && body["outcome"] == "not_applied" => {
                Ok(Outcome::Done(Answer::ConditionFailed { store: Some(store) }))
            }
            409 if self.key.is_some()
                && body["code"] == "session_expired"
                && body["outcome"] == "unknown" =>
            {
                Ok(Outcome::Unknown(text()))
            }
            400..=407 | 409..=428 => Err(wrong("a valid request was refused")),
            _ if !self.operation.is_write() => Ok(Outcome::NotApplied(text())),
            // Whatever is not said clearly is unknown.
            _ if body["outcome"] == "not_applied" => Ok(Outcome::NotApplied(text())),
            _ => Ok(Outcome::Unknown(text())),
        }
    }

    fn answer(&self, store: u64, body: &Json) -> Result<Answer, String> {
        let revision = || body["revision"].as_u64().ok_or_else(|| "no revision".to_owned());
        match &self.operation {
            Operation::Set(_) => Ok(Answer::Written { revision: revision()? }),
            Operation::Delete(_) => {
                let existed = body["deleted"].as_bool().ok_or("no word on whether the key was there")?;
                Ok(Answer::Deleted { existed, revision: revision()? })
            }
            Operation::Get(_) => {
                let is_found = body["found"].as_bool().ok_or("no word on whether the key is there")?;
                if is_found == body["value"].is_null() || is_found == body["revision"].is_null() {
                    return Err("value, revision and found contradict each other".to_owned());
                }
                let found = if is_found { Some(found(body)?) } else { None };
                Ok(Answer::Got { found, store: Some(store) })
            }
            Operation::List(_) => {
                let pairs = body["pairs"].as_array().ok_or("no pairs")?;
                let pair = |pair: &Json| Ok(Pair { key: Key(bytes(pair, "key")?), found: found(pair)? });
                let pairs: Result<Vec<Pair>, String> = pairs.iter().map(pair).collect();
                let more = body["more"].as_bool().ok_or("no word on whether more keys follow")?;
                Ok(Answer::Listed { pairs: pairs?, more, store })
            }
            Operation::Txn(_) => unreachable!("REST has no transactions"),
        }
    }
}

/// The value and revision in an object of an answer.
fn found(object: &Json) -> Result<Found, String> {
    let revision = object["revision"].as_u64().ok_or("a key without a revision")?;
    Ok(Found { value: Value::of(&bytes(object, "value")?), revision })
}

/// The bytes in a field of an object, which says itself how it is written.
fn bytes(object: &Json, field: &str) -> Result<Vec<u8>, String> {
    let text = object[field].as_str().ok_or_else(|| format!("no {field}"))?;
    if object["encoding"] == "base64" {
        return STANDARD.decode(text).map_err(|error| format!("{field}: {error}"));
    }
    Ok(text.as_bytes().to_vec())
}

/// Writes a text so that it can stand in a query.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_carry_text_where_they_can_and_base64_where_they_must() {
        let text = Ask::set("k".into(), b"v", Some(3));
        assert_eq!((text.method(), text.path().as_str()), ("POST", "/api/set"));
        assert_eq!(text.body(), r#"{"if_revision":3,"key":"k","value":"v"}"#);
        let binary = Ask::set("k".into(), &[0xff], None);
        assert_eq!(binary.body(), r#"{"encoding":"base64","key":"aw==","value":"/w=="}"#);
        let delete = Ask::delete(Key(vec![b'a', b' ', 0xfe]), Some(0));
        assert_eq!(delete.path(), "/api/delete?key=YSD%2B&if_revision=0&encoding=base64");
        let list = Ask::list("a/".into(), "".into(), Some(2), Freshness::Stale);
        assert_eq!(list.path(), "/api/list?prefix=a%2F&after=&limit=2&consistency=stale");
        let from = Ask::get("k".into(), Freshness::StaleFrom(7));
        assert_eq!(from.path(), "/api/get?key=k&consistency=stale&min_revision=7");
    }

    #[test]
    fn every_status_has_its_outcome() {
        let outcome = |ask: &Ask, status: u16, body: Json| {
            ask.outcome(StatusCode::from_u16(status).expect("a status"), 7, &body)
        };
        let (set, get) = (Ask::set("k".into(), b"v", Some(3)), Ask::get("k".into(), Freshness::Linearizable));
        let done = outcome(&set, 200, json!({ "success": true, "revision": 7 }));
        assert_eq!(done, Ok(Outcome::Done(Answer::Written { revision: 7 })));
        let refused = json!({ "code": "condition_failed", "outcome": "not_applied" });
        assert_eq!(
            outcome(&set, 412, refused),
            Ok(Outcome::Done(Answer::ConditionFailed { store: Some(7) }))
        );
        let busy = json!({ "code": "overloaded", "outcome": "not_applied" });
        assert_eq!(outcome(&set, 429, busy), Ok(Outcome::NotApplied("429 overloaded".to_owned())));
        let late = json!({ "code": "unavailable", "outcome": "unknown" });
        assert_eq!(outcome(&set, 503, late), Ok(Outcome::Unknown("503 unavailable".to_owned())));
        assert!(matches!(outcome(&set, 500, Json::Null), Ok(Outcome::Unknown(_))), "it says nothing");
        outcome(&set, 400, json!({ "outcome": "not_applied" })).expect_err("the request is right");
        outcome(&set, 200, json!({ "success": true })).expect_err("no revision");
        outcome(&get, 200, json!({ "found": true, "value": null })).expect_err("found, and nothing there");
        let expired = json!({ "code": "session_expired", "outcome": "unknown" });
        outcome(&set, 409, expired.clone()).expect_err("it has no key");
        let keyed = Ask { key: Some("key".to_owned()), ..set.clone() };
        assert_eq!(outcome(&keyed, 409, expired), Ok(Outcome::Unknown("409 session_expired".to_owned())));
        let mismatch = json!({ "code": "idempotency_mismatch", "outcome": "not_applied" });
        outcome(&keyed, 422, mismatch).expect_err("each write has a key of its own");
        let found = outcome(
            &get,
            200,
            json!({ "found": true, "value": "/w==", "encoding": "base64", "revision": 2 }),
        );
        let value = Found { value: Value::of(&[0xff]), revision: 2 };
        assert_eq!(found, Ok(Outcome::Done(Answer::Got { found: Some(value), store: Some(7) })));
        assert!(
            matches!(outcome(&get, 503, Json::Null), Ok(Outcome::NotApplied(_))),
            "a read leaves nothing"
        );
    }
}
