//! The native gRPC front door: `quorate.v1.Kv` and `quorate.v1.Admin`, on every node alike. The .proto files are the
//! contract.
//!
//! ```text
//! request -> counted  deadline (grpc-timeout); room for one more of this connection              RESOURCE_EXHAUSTED
//!         -> received its bytes, each with room for it; a whole message, and what that will take  RESOURCE_EXHAUSTED
//!         -> tonic    protobuf -> messages                                                        INVALID_ARGUMENT
//!         -> front    wait for the node                                                           UNAVAILABLE
//!         -> requests messages -> commands and queries, judged                                    INVALID_ARGUMENT
//!         -> Router   write | read | members | change | transfer | compact
//!         -> answers  replies -> messages                            error: kind -> status, in one place
//!         -> counted  the answer's bytes until they have left
//! ```
//!
//! Gets, puts and deletes that are requests of their own take a shorter way to `front`, by the same rules (`keys`).
//!
//! `kv` has the operations, each a function that a request by itself and one in a pipeline both go through; `list` and
//! `pipeline` are the streams, `admin` the group.
//!
//! # Invariants
//!
//! - **Input is judged, never asserted.** Nothing that a client sends makes a handler panic.
//! - **A refusal at the door is a definite one.** A write was not executed unless the status says that the outcome is
//!   unknown. Nothing here ever retries.
//! - **What a connection has here is counted, however slowly its client sends and reads** (`api::shares`): a request's bytes
//!   until nothing of them is there, what they become when they are decoded, an answer until it has left. A page of a list is
//!   read when the one before has been taken. A pipeline begins an operation when there is room for all that it may answer, and
//!   while few results wait to be taken (`pipeline_operations_inflight_max`, and their bytes); else it does not read the stream,
//!   and HTTP/2's windows stop the client. Beyond the share goes the answer to a write that is a request of its own: what was
//!   done is said, and there are few of those on a connection.
//! - **Writes of one stream are submitted in its order.** They may be executed, and answered, in another.
//! - **A node that drains ends its streams** as soon as nothing is under way on them, and says so.
//!
//! # What it deliberately does not do
//!
//! It knows no leader, but names it where a node cannot serve. It spawns one task for a pipeline and none for anything
//! else: an operation is a future among others in it. It offers no compression: values are the client's.

mod admin;
mod answers;
mod counted;
mod error;
mod front;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod keys;
mod kv;
mod list;
mod pipeline;
mod received;
mod requests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::watch;

use self::admin::Operator;
use self::counted::{Counted, Whose};
pub use self::keys::Keys;
use self::kv::Store;
use crate::api::shares::Shares;
use crate::clock::SharedClock;
use crate::config::Limits;
use crate::proto::v1::admin_server::AdminServer;
use crate::proto::v1::kv_server::KvServer;
use crate::shard::Router;

/// What a message adds to its keys and values: tags, lengths, a session, options.
const MESSAGE_OVERHEAD_BYTES_MAX: usize = 16 << 10;
/// An operator's request: a few addresses.
const ADMIN_MESSAGE_BYTES_MAX: usize = 64 << 10;

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
    /// `true` once the node drains: streams end.
    pub draining: watch::Receiver<bool>,
}

/// Both services.
pub fn services(front: Front) -> (Keys, Counted<AdminServer<Operator>>) {
    let front = Arc::new(front);
    let bytes_max = front.message_bytes_max();
    // What is answered is bounded where it is made.
    let kv = KvServer::new(Store(front.clone()))
        .max_decoding_message_size(bytes_max)
        .max_encoding_message_size(usize::MAX);
    let kv = Counted::new(kv, front.clone(), Whose::Clients, bytes_max);
    let admin = AdminServer::new(Operator(front.clone()));
    let admin = Counted::new(admin, front.clone(), Whose::Operators, ADMIN_MESSAGE_BYTES_MAX);
    (Keys::new(front, bytes_max, kv), admin)
}

impl Front {
    /// The largest message that is taken: one that holds the largest transaction, or the largest pair.
    fn message_bytes_max(&self) -> usize {
        let pair = self.limits.key_bytes_max + self.limits.value_bytes_max;
        self.limits.txn_bytes_max().max(pair) + MESSAGE_OVERHEAD_BYTES_MAX
    }
}
