//! The REST front door: JSON over HTTP, on every node alike.
//!
//! It stands first on the write path: bytes come in, a [`crate::command::Write`] or [`crate::command::Query`] goes to
//! the [`Router`], and what comes back leaves as JSON or as a problem (RFC 9457).
//!
//! ```text
//! request -> routes   which endpoint (404, 405)          one table, which is also the API description
//!         -> front    deadline, then wait for the node   header X-Quorate-Timeout-Ms (400), 503
//!         -> shares   is there room for one more of this connection (429)   set, get, list, delete
//!         -> query    parameters: known, once, in range  (400), and the member that a path names
//!         -> json     media type, size, JSON, fields     (415, 413, 400, 422), bodies only
//!         -> encoding text or base64 -> bytes            (400)
//!         -> idempotency  Idempotency-Key                (400), set and delete only
//!         -> Router   write | read | confirm | status    (409, 412, 422, 429, 503, 507)
//!                     members | change | transfer        (404, 409)
//!         -> reply    JSON, X-Quorate-Revision, X-Request-Id
//! ```
//!
//! # Invariants
//!
//! - **Input is judged, never asserted.** No byte sequence makes a handler panic or answers 5xx by itself; what a
//!   client may get wrong has a code of its own (see `problem`) and a text that says what to do.
//! - **A refusal at the door is a definite one.** A write answers `outcome: not_applied` unless the router said that
//!   the outcome is unknown. Nothing here ever retries; a client may, with a key (see `idempotency`).
//! - **Judged before it waits.** A request that is wrong is refused at once, also while the node is still opening;
//!   one that is right waits for the node within its own deadline. Probes never wait for the node to open.
//! - **The table is the router.** [`routes`] mounts what `endpoints` lists, and `/openapi.json` describes
//!   the same table; a test holds the two against each other in both directions.
//! - **Values are bytes.** JSON carries text; bytes that are not UTF-8 leave as base64 and say so beside themselves.
//!
//! # What it deliberately does not do
//!
//! It knows no leader: a node that follows forwards, so a client need not care. It logs nothing per request at info.
//! It adds no layer to the router: each handler calls what it needs, so the hot path (set, get) is a straight line.
//! It does not set `Date`: hyper does, and the simulation turns that off.

use std::sync::Arc;

use axum::extract::State;
use bytes::Bytes;
use tokio::sync::watch;

use crate::api::shares::Shares;
use crate::clock::SharedClock;
use crate::config::Limits;
use crate::shard::Router;

mod delete;
mod encoding;
mod endpoints;
mod front;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod get;
mod health;
mod idempotency;
mod json;
mod list;
mod members;
mod metrics;
mod openapi;
mod problem;
mod query;
mod reply;
mod set;
mod settings;
mod stats;

#[cfg(test)]
mod tests;

/// What the front door needs of its node.
pub struct Front {
    /// The way to the store; `None` until the node is open. REST is bound before that.
    pub router: watch::Receiver<Option<Router>>,
    /// Deadlines are reckoned on this.
    pub clock: SharedClock,
    /// Sizes and times that a request may ask for.
    pub limits: Limits,
    /// What clients may have under way.
    pub shares: Shares,
    /// `false` once the node's disk has failed: then the node is not live.
    pub alive: watch::Receiver<bool>,
}

/// What every handler sees.
struct Shared {
    front: Front,
    /// The API description, made once.
    document: Bytes,
}

/// The handlers' common argument.
type Door = State<Arc<Shared>>;

/// All REST routes over `front`, ready to be served.
pub fn routes(front: Front) -> axum::Router {
    let document = openapi::document(&front.limits);
    endpoints::router(Arc::new(Shared { front, document }))
}
