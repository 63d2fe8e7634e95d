//! One request over REST, and what its answer means: done, not applied, or unknown.
//!
//! Nothing is ever repeated here. A connection that was refused carried nothing; after anything else that is not an
//! answer the request may have been executed, or may still be.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::activity::Ended;
use super::history::operations::{Delete, Get, List, Pair, Set};
use super::history::{Answer, Found, Freshness, Key, Operation, Outcome, Value};
use crate::harness::client::encode;
use crate::harness::{Answer as Response, Client};

/// What one client asks of one node.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked.
    pub operation: Operation,
    /// The bytes of the value, for a set: the operation holds only what tells them apart.
    pub bytes: Vec<u8>,
    /// Whether keys and values travel in base64.
    pub base64: bool,
    /// How long the node may take.
    pub deadline: Duration,
}

impl Request {
    /// Sends it and says what became of it.
    ///
    /// # Errors
    /// An answer that the API does not have.
    pub fn send(&self, client: &Client) -> Result<Outcome, String> {
        let millis = self.deadline.as_millis().to_string();
        let mut headers = vec![("x-quorate-timeout-ms", millis.as_str())];
        let response = match &self.operation {
            Operation::Set(set) => {
                headers.push(("content-type", "application/json"));
                let body = serde_json::to_vec(&self.body(set)).expect("a JSON value has a text");
                client.request("POST", "/api/set", &headers, Some(&body))
            }
            Operation::Delete(_) => client.request("DELETE", &self.path(), &headers, None),
            Operation::Get(_) | Operation::List(_) => client.request("GET", &self.path(), &headers, None),
            Operation::Txn(_) => unreachable!("REST has no transactions"),
        };
        match response {
            Ok(response) => self.judge(&response),
            Err(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Ok(Outcome::NotApplied("connection refused".to_owned()))
            }
            Err(ureq::Error::Timeout(ureq::Timeout::Connect)) => {
                Ok(Outcome::NotApplied("no connection".to_owned()))
            }
            Err(error) => Ok(Outcome::Unknown(error.to_string())),
        }
    }

    /// How an outcome counts.
    pub fn ended(&self, outcome: &Outcome) -> Ended {
        let freshness = match &self.operation {
            Operation::Get(get) => Some(get.freshness),
            Operation::List(list) => Some(list.freshness),
            Operation::Set(_) | Operation::Delete(_) | Operation::Txn(_) => None,
        };
        match (outcome, freshness) {
            (Outcome::Done(Answer::ConditionFailed { .. }), _) => Ended::Read,
            (Outcome::Done(_), None) => Ended::Acknowledged,
            (Outcome::Done(_), Some(freshness)) if freshness.is_stale() => Ended::Stale,
            (Outcome::Done(_), Some(_)) => Ended::Read,
            // A stale read that fails says nothing about a quorum.
            (_, Some(freshness)) if freshness.is_stale() => Ended::Failed,
            _ => Ended::Refused,
        }
    }

    fn text(&self, bytes: &[u8]) -> String {
        match self.base64 {
            true => STANDARD.encode(bytes),
            false => String::from_utf8(bytes.to_vec()).expect("other bytes are sent in base64"),
        }
    }

    fn body(&self, set: &Set) -> Json {
        let mut body = json!({"key": self.text(&set.key.0), "value": self.text(&self.bytes)});
        if let Some(revision) = set.condition {
            body["if_revision"] = json!(revision);
        }
        if self.base64 {
            body["encoding"] = json!("base64");
        }
        body
    }

    fn path(&self) -> String {
        let mut query = Vec::new();
        let mut bytes =
            |name: &str, bytes: &[u8]| query.push(format!("{name}={}", encode(&self.text(bytes))));
        let path = match &self.operation {
            Operation::Get(Get { key, .. }) => {
                bytes("key", &key.0);
                "/api/get"
            }
            Operation::Delete(Delete { key, .. }) => {
                bytes("key", &key.0);
                "/api/delete"
            }
            Operation::List(List { prefix, after, .. }) => {
                bytes("prefix", &prefix.0);
                bytes("after", &after.0);
                "/api/list"
            }
            Operation::Set(_) => unreachable!("a set has a body"),
            Operation::Txn(_) => unreachable!("REST has no transactions"),
        };
        match &self.operation {
            Operation::Delete(Delete { condition: Some(revision), .. }) => {
                query.push(format!("if_revision={revision}"));
            }
            Operation::List(List { limit: Some(limit), .. }) => query.push(format!("limit={limit}")),
            _ => {}
        }
        let freshness = match &self.operation {
            Operation::Get(get) => get.freshness,
            Operation::List(list) => list.freshness,
            Operation::Set(_) | Operation::Delete(_) | Operation::Txn(_) => Freshness::Linearizable,
        };
        match freshness {
            Freshness::Linearizable => {}
            Freshness::Leased => query.push("consistency=lease".to_owned()),
            Freshness::Stale => query.push("consistency=stale".to_owned()),
            Freshness::StaleFrom(revision) => {
                query.push(format!("consistency=stale&min_revision={revision}"));
            }
        }
        if self.base64 {
            query.push("encoding=base64".to_owned());
        }
        format!("{path}?{}", query.join("&"))
    }

    fn judge(&self, response: &Response) -> Result<Outcome, String> {
        let strange = |what: &str| format!("{what}: {} was answered {}", self.operation, response.text());
        let body: Json =
            serde_json::from_slice(&response.body).map_err(|error| strange(&error.to_string()))?;
        let store = response.headers.get("x-quorate-revision").and_then(|text| text.parse::<u64>().ok());
        let write = self.operation.is_write();
        match response.status {
            200 => {
                let answer = store.and_then(|store| answer(&self.operation, &body, store));
                answer.map(Outcome::Done).ok_or_else(|| strange("an answer of the wrong form"))
            }
            412 if write && body["outcome"] == "not_applied" => {
                let store = store.ok_or_else(|| strange("no revision"))?;
                Ok(Outcome::Done(Answer::ConditionFailed { store: Some(store) }))
            }
            429 | 503 | 507 => match body["outcome"].as_str() {
                Some("unknown") if write => Ok(Outcome::Unknown(response.text())),
                Some("not_applied") if write => Ok(Outcome::NotApplied(response.text())),
                None if !write => Ok(Outcome::NotApplied(response.text())),
                _ => Err(strange("a refusal without its outcome")),
            },
            _ => Err(strange("a status that nothing asked for can have")),
        }
    }
}

/// What a body of status 200 says.
fn answer(operation: &Operation, body: &Json, store: u64) -> Option<Answer> {
    match operation {
        Operation::Get(_) => {
            let found = match body["found"].as_bool()? {
                true => Some(found(body, body["encoding"].as_str())?),
                false => None,
            };
            Some(Answer::Got { found, store: Some(store) })
        }
        Operation::Set(_) => {
            let revision = body["revision"].as_u64()?;
            (body["success"] == true && revision == store).then_some(Answer::Written { revision })
        }
        Operation::Delete(_) => {
            let (existed, revision) = (body["deleted"].as_bool()?, body["revision"].as_u64()?);
            (body["success"] == true && revision == store).then_some(Answer::Deleted { existed, revision })
        }
        Operation::List(_) => {
            let pair = |pair: &Json| {
                let encoding = pair["encoding"].as_str();
                Some(Pair { key: Key(bytes(&pair["key"], encoding)?), found: found(pair, encoding)? })
            };
            let pairs = body["pairs"].as_array()?.iter().map(pair).collect::<Option<Vec<Pair>>>()?;
            Some(Answer::Listed { pairs, more: body["more"].as_bool()?, store })
        }
        Operation::Txn(_) => unreachable!("REST has no transactions"),
    }
}

fn found(body: &Json, encoding: Option<&str>) -> Option<Found> {
    let value = Value::of(&bytes(&body["value"], encoding)?);
    Some(Found { value, revision: body["revision"].as_u64()? })
}

fn bytes(text: &Json, encoding: Option<&str>) -> Option<Vec<u8>> {
    match encoding {
        None => Some(text.as_str()?.as_bytes().to_vec()),
        Some("base64") => STANDARD.decode(text.as_str()?).ok(),
        Some(_) => None,
    }
}
