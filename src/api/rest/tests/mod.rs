//! The front door over a small store in memory, through the real router.
//!
//! Every answer that passes through [`Desk::send`] is held against the API description: its status, its problem code
//! and the shape of its body must be documented for the path that was asked.

mod api;
mod bad_input;
mod description;
mod failures;
mod fuzz;
mod idempotency;
mod members;
mod metrics;
mod probes;
mod raw;
mod shares;
mod store;

use std::sync::Arc;

use axum::body::Body;
use futures_util::FutureExt;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::api::shares::Shares;
use crate::api::testing::HandClock;
use crate::clock::SharedClock;
use crate::config::Limits;
use crate::shard::Router;

use super::{Front, routes};

use store::Store;

/// A front door with a store behind it, and all that a test may turn.
struct Desk {
    app: axum::Router,
    store: Arc<Store>,
    clock: Arc<HandClock>,
    router: watch::Sender<Option<Router>>,
    alive: watch::Sender<bool>,
    description: Value,
}

impl Desk {
    /// Behind the door stands an open node.
    fn open() -> Desk {
        let desk = Desk::closed();
        desk.open_node();
        desk
    }

    /// The node is not open yet.
    fn closed() -> Desk {
        Desk::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Desk {
        let clock = Arc::new(HandClock::new());
        let (router, alive) = (watch::Sender::new(None), watch::Sender::new(true));
        let front = Front {
            router: router.subscribe(),
            clock: clock.clone() as SharedClock,
            shares: Shares::new(&limits),
            limits: limits.clone(),
            alive: alive.subscribe(),
        };
        let description = serde_json::from_slice(&super::openapi::document(&limits)).unwrap();
        Desk { app: routes(front), store: Arc::default(), clock, router, alive, description }
    }

    fn open_node(&self) {
        self.router.send_replace(Some(Router::fake(self.store.clone())));
    }

    /// Sends a request and holds its answer against the description.
    async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let answer = Answer { status: parts.status, headers: parts.headers, bytes: bytes.to_vec() };
        answer.check_headers(&method);
        // Every answer has the store's revision once the node is open.
        let is_open = self.router.borrow().is_some();
        assert_eq!(answer.headers.contains_key("x-quorate-revision"), is_open, "{method} {path}");
        description::check_answer(&self.description, &method, &path, &answer);
        answer
    }

    async fn get(&self, target: &str) -> Answer {
        self.send(request(Method::GET, target, &[], Body::empty())).await
    }

    async fn delete(&self, target: &str) -> Answer {
        self.send(request(Method::DELETE, target, &[], Body::empty())).await
    }

    async fn post(&self, target: &str, body: impl Into<Body>) -> Answer {
        self.send(request(Method::POST, target, &[("content-type", "application/json")], body.into())).await
    }

    async fn put(&self, target: &str, body: impl Into<Body>) -> Answer {
        self.send(request(Method::PUT, target, &[("content-type", "application/json")], body.into())).await
    }

    async fn set(&self, body: Value) -> Answer {
        self.post("/api/set", body.to_string()).await
    }
}

/// The outcome of something that must not wait: the clock stands still, so what waits would wait for ever.
#[track_caller]
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("answered at once, without waiting for the node or the clock")
}

fn request(method: Method, target: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.bytes)))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn revision(&self) -> u64 {
        self.header("x-quorate-revision").parse().unwrap()
    }

    /// Asserts a problem and returns its body.
    #[track_caller]
    fn problem(&self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!((self.status.as_u16(), body["code"].as_str()), (status, Some(code)), "{body:#}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        body
    }

    /// What holds for every answer.
    #[track_caller]
    fn check_headers(&self, method: &Method) {
        assert_eq!(self.header("cache-control"), "no-store");
        if self.header("content-type") != "application/problem+json" || method == Method::HEAD {
            return;
        }
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["type"], format!("urn:quorate:problem:{}", body["code"].as_str().unwrap()));
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.ends_with('.') || detail.ends_with("..."), "a sentence: {detail}");
        let retries = matches!(self.status.as_u16(), 429 | 503 | 507) || body["code"] == "change_in_progress";
        assert_eq!(self.headers.contains_key("retry-after"), retries, "{body}");
        assert_eq!(self.headers.contains_key("allow"), self.status == 405);
    }
}

#[track_caller]
fn assert_json(answer: &Answer, expected: Value) {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.bytes));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json(), expected);
}
