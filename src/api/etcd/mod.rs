//! The front door for clients of etcd: the core of etcd's API, version 3, on the gRPC port of every node.
//!
//! It stands first on the write path: a gRPC message comes in, a [`command`](crate::command) goes to the [`Router`], and what
//! comes back leaves as etcd would say it, errors included: clients of etcd compare their texts.
//!
//! ```text
//! request -> routes    which method; any other of etcd's         UNIMPLEMENTED, with what there is instead (missing)
//!         -> front     deadline, share of the connection          grpc-timeout, "too many requests"
//!         -> call      one message, each byte counted, and what   "request is too large", "too many operations ..."
//!                      it becomes (elements) before it is decoded
//!         -> request   judged as etcd does, and translated        "key is not provided", "duplicate key given", ...
//!         -> Router    write | read | confirm | status            "request timed out", "database space exceeded", ...
//!         -> answer    translated back
//!         -> call      one message, counted until it is taken
//! ```
//!
//! # Invariants
//!
//! - **Input is judged, never asserted**, and in etcd's order: of two mistakes etcd's first one is named.
//! - **A text that etcd has is etcd's to the letter** (`error`): its clients branch on them. What the node said itself
//!   travels beside it, in the metadata `quorate-code`, `quorate-outcome` and `quorate-detail`.
//! - **Nothing is promised that is not there.** A lease, or a revision of the past, is refused; what no method serves is
//!   answered by one fallback. Nothing is taken and left undone.
//! - **The routes are the list.** A method that is not mounted is missing, and the description that reflection serves lists
//!   those that are; a test holds the two against each other. Those of keys can be called past the routes, too ([`OfKeys`]).
//!
//! # What it deliberately does not do
//!
//! It keeps no state: no watch, no lease, no history is made up here. Its calls are unary, and are served without generated
//! code: so an answer is counted until the client has taken it, and the path of a put is a straight line. It knows no leader:
//! a node that follows forwards.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::routing::{any, post};
use hyper::body::Incoming;
use tokio::sync::watch;
use tonic::body::Body;

use crate::api::shares::Shares;
use crate::clock::SharedClock;
use crate::config::Limits;
use crate::shard::Router;

use self::call::Unary;

mod answer;
mod call;
mod cluster;
mod error;
mod front;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod kv;
mod maintenance;
mod missing;
mod request;

#[cfg(test)]
mod tests;

/// The version of etcd whose API this is, as `Maintenance.Status` tells it: what clients may count on, not what runs here.
/// Later patches of etcd 3.5 added what some clients look for by the version (progress requests of watches), and which is
/// not here.
pub const ETCD_API_VERSION: &str = "3.5.0";

/// What the front door needs of its node.
pub struct Front {
    /// The way to the store; `None` until the node is open.
    pub router: watch::Receiver<Option<Router>>,
    /// Deadlines are reckoned on this.
    pub clock: SharedClock,
    /// Sizes and times that a request may ask for.
    pub limits: Limits,
    /// What clients may have under way.
    pub shares: Shares,
}

/// The handlers' common argument.
type Door = State<Arc<Front>>;

/// All methods over `front`, ready to be served beside other gRPC services.
pub fn routes(front: Arc<Front>) -> axum::Router {
    let router = mount::<kv::Range>(axum::Router::new());
    let router = mount::<kv::Put>(router);
    let router = mount::<kv::DeleteRange>(router);
    let router = mount::<kv::Txn>(router);
    let router = mount::<cluster::MemberList>(router);
    let router = mount::<maintenance::Alarm>(router);
    let router = mount::<maintenance::Status>(router);
    let router = missing::PATHS.iter().fold(router, |router, path| router.route(path, any(missing::answer)));
    router.with_state(front)
}

/// One of the methods with which keys are read and written: whoever finds it by its path need not ask the routes.
#[derive(Clone, Copy, Debug)]
pub enum OfKeys {
    /// Reads.
    Range,
    /// Writes one key.
    Put,
    /// Deletes.
    DeleteRange,
    /// Writes and reads several keys.
    Txn,
}

impl OfKeys {
    /// The one that is called at this path.
    pub fn at(path: &str) -> Option<OfKeys> {
        match path {
            <kv::Range as Unary>::PATH => Some(OfKeys::Range),
            <kv::Put as Unary>::PATH => Some(OfKeys::Put),
            <kv::DeleteRange as Unary>::PATH => Some(OfKeys::DeleteRange),
            <kv::Txn as Unary>::PATH => Some(OfKeys::Txn),
            _ => None,
        }
    }

    /// Serves a call of it.
    pub async fn serve(self, front: &Front, request: http::Request<Incoming>) -> http::Response<Body> {
        match self {
            OfKeys::Range => call::serve::<kv::Range, _>(front, request).await,
            OfKeys::Put => call::serve::<kv::Put, _>(front, request).await,
            OfKeys::DeleteRange => call::serve::<kv::DeleteRange, _>(front, request).await,
            OfKeys::Txn => call::serve::<kv::Txn, _>(front, request).await,
        }
    }
}

fn mount<M: Unary>(router: axum::Router<Arc<Front>>) -> axum::Router<Arc<Front>> {
    router.route(M::PATH, post(serve::<M>))
}

async fn serve<M: Unary>(State(front): Door, request: Request) -> http::Response<Body> {
    call::serve::<M, _>(&front, request).await
}
