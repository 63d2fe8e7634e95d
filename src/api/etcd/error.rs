//! What etcd says when something is wrong, to the letter, and which of it fits what the node says.
//!
//! Clients of etcd know these texts and branch on them, so they are never changed, nor added to. What the node said itself
//! stands beside them in the status' metadata.

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::command::TxnRefusal;
use crate::error::{Error, ErrorKind, Outcome};

/// The stable name of what went wrong here.
const CODE: &str = "quorate-code";
/// `not_applied` or `unknown`: what became of a write.
const OUTCOME: &str = "quorate-outcome";
/// What the node said.
const DETAIL: &str = "quorate-detail";

/// One constructor for each text.
macro_rules! texts {
    ($($name:ident: $code:ident, $text:literal;)*) => {
        $(pub(super) fn $name() -> Status {
            Status::new(Code::$code, $text)
        })*

        /// All of them by name, for tests.
        #[cfg(test)]
        pub(super) const TEXTS: &[(&str, Code, &str)] = &[$((stringify!($name), Code::$code, $text)),*];
    };
}

texts! {
    empty_key: InvalidArgument, "etcdserver: key is not provided";
    key_not_found: InvalidArgument, "etcdserver: key not found";
    value_provided: InvalidArgument, "etcdserver: value is provided";
    lease_provided: InvalidArgument, "etcdserver: lease is provided";
    too_many_operations: InvalidArgument, "etcdserver: too many operations in txn request";
    duplicate_key: InvalidArgument, "etcdserver: duplicate key given in txn request";
    invalid_sort_option: InvalidArgument, "etcdserver: invalid sort option";
    compacted: OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    future_revision: OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    no_space: ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    lease_not_found: NotFound, "etcdserver: requested lease not found";
    request_too_large: InvalidArgument, "etcdserver: request is too large";
    too_many_requests: ResourceExhausted, "etcdserver: too many requests";
    no_leader: Unavailable, "etcdserver: no leader";
    server_stopped: Unavailable, "etcdserver: server stopped";
    request_timed_out: Unavailable, "etcdserver: request timed out";
}

/// An error of the router. `has_leader`: whether the node knows a leader.
pub(super) fn of(error: &Error, has_leader: bool) -> Status {
    let status = match error.kind() {
        ErrorKind::TooLarge => request_too_large(),
        ErrorKind::Overloaded => too_many_requests(),
        ErrorKind::LogFull | ErrorKind::DiskFull | ErrorKind::StorageFull => no_space(),
        ErrorKind::Stopping => server_stopped(),
        ErrorKind::Unavailable if error.outcome() == Outcome::NotApplied && !has_leader => no_leader(),
        ErrorKind::Unavailable => request_timed_out(),
        // For the rest etcd has no text.
        ErrorKind::Invalid => Status::invalid_argument(error.message()),
        ErrorKind::Internal => Status::internal(error.message()),
        // What is asked of the router here has no conditions, no sessions and no changes of members.
        _ => Status::unknown(error.message()),
    };
    beside(status, error)
}

/// Adds what the node said.
fn beside(mut status: Status, error: &Error) -> Status {
    let metadata: &mut MetadataMap = status.metadata_mut();
    metadata.insert(CODE, MetadataValue::from_static(error.kind().code()));
    metadata.insert(OUTCOME, MetadataValue::from_static(error.outcome().code()));
    // Keys in it may be anything; metadata is ASCII.
    if let Ok(detail) = MetadataValue::try_from(error.message()) {
        metadata.insert(DETAIL, detail);
    }
    status
}

/// A transaction that was not executed.
pub(super) fn of_refusal(why: TxnRefusal) -> Status {
    match why {
        TxnRefusal::NoSuchKey => key_not_found(),
        TxnRefusal::AnswerTooLarge | TxnRefusal::TooManyKeys | TxnRefusal::WritesTooMuch => {
            Status::resource_exhausted(why.text())
        }
    }
}

/// A read whose answer is larger than it may be.
pub(super) fn answer_too_large(bytes_max: usize) -> Status {
    Status::resource_exhausted(format!(
        "the answer would have more than {bytes_max} bytes of keys and values: read in parts, each with a limit and from the \
         last key on, or without values"
    ))
}

/// The node's reply does not fit what it was asked: a defect, answered and not asserted, since the reply may come from
/// another node.
pub(super) fn unexpected_reply() -> Status {
    Status::internal("the node gave a reply of another kind: look at the node's log and report it")
}
