//! A REST client that knows three outcomes of a write, and retries only what the contract allows.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::poll::{PATIENCE, poll_until};

/// Speaks to one node.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    address: String,
}

/// An answer of any status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body as it came.
    pub body: Vec<u8>,
}

/// What became of a write, as its caller knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged at this revision.
    Done(u64),
    /// Certainly not executed. Says whether the answer invites a retry.
    NotApplied { retryable: bool, why: String },
    /// Nobody can tell.
    Unknown(String),
}

impl Answer {
    /// The body as JSON; fails the test if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the body of {}", self.text()))
    }

    /// Status and body, for messages.
    pub fn text(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let end = body.char_indices().nth(500).map_or(body.len(), |(at, _)| at);
        format!("{} {:?} {}", self.status, self.headers.get("content-type"), &body[..end])
    }

    /// A header, by lower-case name.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers))
    }

    /// Fails the test unless the status is `status`.
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "answer was {}", self.text());
        self
    }

    /// Fails the test unless this is a well-formed problem document of this status.
    pub fn expect_problem(self, status: u16) -> Value {
        let answer = self.expect(status);
        assert!(
            answer.header("content-type").starts_with("application/problem+json"),
            "a problem has its own media type: {}",
            answer.text()
        );
        let problem = answer.json();
        for name in ["type", "title", "detail", "code"] {
            let text = problem[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {problem}"));
            assert!(!text.is_empty(), "empty `{name}` in {problem}");
        }
        assert_eq!(problem["status"], json!(status), "{problem}");
        assert!(problem["retryable"].is_boolean(), "no `retryable` in {problem}");
        problem
    }
}

impl Client {
    /// A client of the node that serves REST at `address`. Answers are waited for a little longer than a node's own
    /// deadline, and connections are not kept: a killed node's must not fail a later request.
    pub fn new(address: &str) -> Client {
        Client::with_timeout(address, Duration::from_secs(12))
    }

    /// The same with another limit on the wait.
    pub fn with_timeout(address: &str, timeout: Duration) -> Client {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .max_redirects(0)
            .max_idle_connections(0)
            .timeout_connect(Some(Duration::from_secs(3)))
            .timeout_global(Some(timeout))
            .build()
            .new_agent();
        Client { agent, address: address.to_owned() }
    }

    /// The node's REST address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Any request.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body).map_err(ureq::Error::Http)?),
            None => self.agent.run(request.body(()).map_err(ureq::Error::Http)?),
        };
        let mut response = response?;
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        let body = response.body_mut().with_config().limit(64 << 20).read_to_vec()?;
        Ok(Answer { status: response.status().as_u16(), headers, body })
    }

    /// A GET that must be answered, whatever the status.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], None)
            .unwrap_or_else(|error| panic!("GET {path} at {}: {error}", self.address))
    }

    /// A DELETE that must be answered, whatever the status.
    pub fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, &[], None)
            .unwrap_or_else(|error| panic!("DELETE {path} at {}: {error}", self.address))
    }

    /// A JSON POST that must be answered, whatever the status.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let body = serde_json::to_vec(body).expect("a JSON value has a text");
        self.request("POST", path, &[("content-type", "application/json")], Some(&body))
            .unwrap_or_else(|error| panic!("POST {path} at {}: {error}", self.address))
    }

    /// One attempt to set `key`, within the deadline if one is given.
    pub fn try_set(&self, key: &str, value: &str, deadline: Option<Duration>) -> Outcome {
        let refused = || Outcome::NotApplied { retryable: true, why: "connection refused".to_owned() };
        self.try_set_if_there(key, value, deadline).unwrap_or_else(refused)
    }

    /// The same; `None` if nobody listens there.
    pub fn try_set_if_there(&self, key: &str, value: &str, deadline: Option<Duration>) -> Option<Outcome> {
        let body = serde_json::to_vec(&json!({"key": key, "value": value})).expect("a JSON value has a text");
        let millis = deadline.map(|deadline| deadline.as_millis().to_string());
        let mut headers = vec![("content-type", "application/json")];
        if let Some(millis) = &millis {
            headers.push(("x-quorate-timeout-ms", millis));
        }
        Some(match self.request("POST", "/api/set", &headers, Some(&body)) {
            Ok(answer) => outcome(&answer),
            Err(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                return None;
            }
            Err(ureq::Error::Timeout(ureq::Timeout::Connect)) => {
                Outcome::NotApplied { retryable: true, why: "no connection".to_owned() }
            }
            Err(error) => Outcome::Unknown(error.to_string()),
        })
    }

    /// Sets `key` and returns the revision. Repeated only after an outcome that is certainly `not_applied` and that
    /// invites it.
    pub fn set(&self, key: &str, value: &str) -> u64 {
        poll_until(&format!("set {key} at {}", self.address), PATIENCE, || {
            match self.try_set(key, value, None) {
                Outcome::Done(revision) => Some(revision),
                Outcome::NotApplied { retryable: true, .. } => None,
                other => panic!("set {key} at {}: {other:?}", self.address),
            }
        })
    }

    /// A linearizable read that must succeed, with retries while the answer is retryable: a read changes nothing.
    pub fn value(&self, key: &str) -> Option<String> {
        poll_until(&format!("get {key} at {}", self.address), PATIENCE, || self.try_value(key, None).ok())
    }

    /// One attempt at a linearizable read.
    pub fn try_value(&self, key: &str, deadline: Option<Duration>) -> Result<Option<String>, String> {
        let millis = deadline.map(|deadline| deadline.as_millis().to_string());
        let headers: Vec<(&str, &str)> =
            millis.iter().map(|millis| ("x-quorate-timeout-ms", millis.as_str())).collect();
        let path = format!("/api/get?key={}", encode(key));
        let answer = self.request("GET", &path, &headers, None).map_err(|error| error.to_string())?;
        if answer.status == 200 {
            let body = answer.json();
            assert_eq!(body["found"], json!(!body["value"].is_null()), "{body}");
            return Ok(body["value"].as_str().map(str::to_owned));
        }
        if answer.status == 429 || answer.status == 503 {
            assert_eq!(answer.json()["retryable"], json!(true), "{}", answer.text());
            return Err(answer.text());
        }
        panic!("get {key} at {}: {}", self.address, answer.text())
    }

    /// The node's account of itself, if it answers.
    pub fn try_stats(&self) -> Option<Value> {
        let answer = self.request("GET", "/api/stats", &[], None).ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// The node's account of itself.
    pub fn stats(&self) -> Value {
        poll_until(&format!("stats at {}", self.address), PATIENCE, || self.try_stats())
    }

    /// Whether a quorum read is confirmed right now.
    pub fn is_ready(&self) -> bool {
        // Asked again and again: better often than long.
        self.request("GET", "/readyz", &[("x-quorate-timeout-ms", "800")], None)
            .is_ok_and(|answer| answer.status == 200)
    }
}

/// What an answer to a write says about it.
fn outcome(answer: &Answer) -> Outcome {
    let body = answer.json();
    if answer.status == 200 {
        assert_eq!(body["success"], json!(true), "{body}");
        return Outcome::Done(body["revision"].as_u64().unwrap_or_else(|| panic!("no revision in {body}")));
    }
    match body["outcome"].as_str() {
        Some("not_applied") => Outcome::NotApplied {
            retryable: body["retryable"].as_bool().unwrap_or_else(|| panic!("no `retryable` in {body}")),
            why: answer.text(),
        },
        Some("unknown") => Outcome::Unknown(answer.text()),
        _ => panic!("a failed write says no outcome: {}", answer.text()),
    }
}

/// `text` as one component of a query.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
