//! The front door over a small store in memory, through the real router and the generated clients.

mod admin;
mod drain;
mod errors;
mod keys;
mod kv;
mod list;
mod load;
mod pipeline;
mod store;
mod txn;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::{Front, Keys, services};
use crate::api::shares::{Connection, Shares};
use crate::api::testing::HandClock;
use crate::clock::{Clock, SharedClock};
use crate::config::Limits;
use crate::proto::v1;
use crate::proto::v1::admin_client::AdminClient;
use crate::proto::v1::keys::Which;
use crate::proto::v1::kv_client::KvClient;
use crate::shard::Router;
use crate::types::Monotonic;

use store::Store;

/// A front door with a store behind it, and all that a test may turn.
struct Desk {
    routes: Routes,
    kv: Keys,
    store: Arc<Store>,
    clock: Arc<HandClock>,
    router: watch::Sender<Option<Router>>,
    draining: watch::Sender<bool>,
    shares: Shares,
}

impl Desk {
    /// Behind the door stands an open node.
    fn open() -> Desk {
        Desk::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Desk {
        let desk = Desk::closed(limits);
        desk.open_node();
        desk
    }

    /// The node is not open yet.
    fn closed(limits: Limits) -> Desk {
        let clock = Arc::new(HandClock::new());
        let (router, draining) = (watch::Sender::new(None), watch::Sender::new(false));
        let shares = Shares::new(&limits);
        let front = Front {
            router: router.subscribe(),
            clock: clock.clone() as SharedClock,
            shares: shares.clone(),
            limits,
            draining: draining.subscribe(),
        };
        let (kv, admin) = services(front);
        let routes = Routes::new(kv.clone()).add_service(admin).prepare();
        Desk { routes, kv, store: Arc::default(), clock, router, draining, shares }
    }

    fn open_node(&self) {
        self.router.send_replace(Some(Router::fake(self.store.clone())));
    }

    /// A client; each of its requests comes on a connection of its own, unless it says on which.
    fn kv(&self) -> KvClient<Routes> {
        KvClient::new(self.routes.clone()).max_decoding_message_size(usize::MAX)
    }

    fn admin(&self) -> AdminClient<Routes> {
        AdminClient::new(self.routes.clone())
    }

    fn after_millis(&self, millis: u64) -> Monotonic {
        self.clock.now().plus(std::time::Duration::from_millis(millis))
    }
}

/// A message on a connection, with a timeout as gRPC has it.
fn request<T>(message: T, timeout: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

fn on<T>(connection: &Connection, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(connection.clone());
    request
}

/// The outcome of something that must not wait: the clock stands still, so what waits would wait for ever.
#[track_caller]
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("answered at once, without waiting for the node or the clock")
}

/// What a status says, its details included.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: Code,
    reason: String,
    retryable: String,
    outcome: String,
    retry_after_ms: Option<u128>,
}

fn said(status: &Status) -> Said {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no details: {status:?}"));
    assert_eq!(info.domain, "quorate");
    assert!(!status.message().is_empty() && !status.message().contains('\n'), "{status:?}");
    let get = |name: &str| info.metadata.get(name).cloned().unwrap_or_default();
    let pause = status.get_details_retry_info().and_then(|info| info.retry_delay);
    Said {
        code: status.code(),
        retryable: get("retryable"),
        outcome: get("outcome"),
        reason: info.reason,
        retry_after_ms: pause.map(|pause| pause.as_millis()),
    }
}

/// Asserts a refusal whose outcome is definite.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, reason: &str) -> Status {
    let status = answer.expect_err("it is refused");
    let said = said(&status);
    assert_eq!((said.code, &*said.reason, &*said.outcome), (code, reason, "not_applied"), "{status:?}");
    status
}

fn one(key: &'static str) -> Option<v1::Keys> {
    Some(v1::Keys { which: Some(Which::Key(bytes(key))) })
}

fn prefix(prefix: &'static str) -> Option<v1::Keys> {
    Some(v1::Keys { which: Some(Which::Prefix(bytes(prefix))) })
}

fn range(from: &'static str, to: Option<&'static str>) -> Option<v1::Keys> {
    let range = v1::KeyRange { from: bytes(from), to: to.map(bytes) };
    Some(v1::Keys { which: Some(Which::Range(range)) })
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn put(key: &'static str, value: &'static str) -> v1::PutRequest {
    v1::PutRequest { key: bytes(key), value: bytes(value), ..v1::PutRequest::default() }
}

fn get(key: &'static str) -> v1::GetRequest {
    v1::GetRequest { key: bytes(key), read: None }
}

fn session(client: &'static [u8], seq: u64) -> Option<v1::SessionSeq> {
    Some(v1::SessionSeq { client: Bytes::from_static(client), seq, done_below: 1 })
}
