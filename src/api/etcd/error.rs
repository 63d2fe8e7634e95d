//! What etcd says when something is wrong, to the letter, and which of it fits what the node says.
//!
//! Clients of etcd know these texts and branch on them, so they are never changed, nor added to. What the node said itself, or
//! this door, stands beside them in the status' metadata: without it no status is made.

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

/// One constructor for each text, of something that was not executed.
macro_rules! texts {
    ($($name:ident: $code:ident, $kind:ident, $text:literal;)*) => {
        $(pub(super) fn $name() -> Status {
            beside(Status::new(Code::$code, $text), &Error::new(ErrorKind::$kind, $text))
        })*

        /// All of them by name, for tests.
        #[cfg(test)]
        pub(super) const TEXTS: &[(&str, Code, &str)] = &[$((stringify!($name), Code::$code, $text)),*];
    };
}

texts! {
    empty_key: InvalidArgument, Invalid, "etcdserver: key is not provided";
    key_not_found: InvalidArgument, ConditionFailed, "etcdserver: key not found";
    value_provided: InvalidArgument, Invalid, "etcdserver: value is provided";
    lease_provided: InvalidArgument, Invalid, "etcdserver: lease is provided";
    too_many_operations: InvalidArgument, Invalid, "etcdserver: too many operations in txn request";
    duplicate_key: InvalidArgument, Invalid, "etcdserver: duplicate key given in txn request";
    invalid_sort_option: InvalidArgument, Invalid, "etcdserver: invalid sort option";
    compacted: OutOfRange, Invalid, "etcdserver: mvcc: required revision has been compacted";
    future_revision: OutOfRange, Invalid, "etcdserver: mvcc: required revision is a future revision";
    no_space: ResourceExhausted, StorageFull, "etcdserver: mvcc: database space exceeded";
    lease_not_found: NotFound, Invalid, "etcdserver: requested lease not found";
    request_too_large: InvalidArgument, TooLarge, "etcdserver: request is too large";
    too_many_requests: ResourceExhausted, Overloaded, "etcdserver: too many requests";
    no_leader: Unavailable, Unavailable, "etcdserver: no leader";
    server_stopped: Unavailable, Stopping, "etcdserver: server stopped";
    request_timed_out: Unavailable, Unavailable, "etcdserver: request timed out";
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

/// A request that etcd has no text for; `text` says what to do.
pub(super) fn invalid(text: impl Into<String>) -> Status {
    let error = Error::new(ErrorKind::Invalid, text);
    beside(Status::invalid_argument(error.message()), &error)
}

/// What came is no message.
pub(super) fn not_understood(why: &str) -> Status {
    invalid(format!("the message is not understood: {why}"))
}

/// The same of what is not served here.
pub(super) fn unimplemented(text: &str) -> Status {
    beside(Status::unimplemented(text), &Error::new(ErrorKind::Invalid, text))
}

/// The connection has its share of requests, or of bytes.
pub(super) fn over_the_share(of: &str) -> Status {
    let text = format!(
        "this connection has its share of the {of} that may be under way on this node at once: retry after a pause, and \
         send fewer at once"
    );
    beside(too_many_requests(), &Error::new(ErrorKind::Overloaded, text))
}

/// The deadline came before the whole request did.
pub(super) fn not_received() -> Status {
    let text = "the request did not come within its deadline: nothing was executed";
    beside(request_timed_out(), &Error::new(ErrorKind::Unavailable, text))
}

/// A transaction that was not executed.
pub(super) fn of_refusal(why: TxnRefusal) -> Status {
    match why {
        TxnRefusal::NoSuchKey => key_not_found(),
        TxnRefusal::AnswerTooLarge | TxnRefusal::TooManyKeys | TxnRefusal::WritesTooMuch => {
            too_large(why.text())
        }
    }
}

/// A read whose answer is larger than it may be.
pub(super) fn answer_too_large(bytes_max: usize) -> Status {
    too_large(format!(
        "the answer would have more than {bytes_max} bytes of keys and values: read in parts, each with a limit and from the \
         last key on, or without values"
    ))
}

fn too_large(text: String) -> Status {
    let error = Error::new(ErrorKind::TooLarge, text);
    beside(Status::resource_exhausted(error.message()), &error)
}

/// The node's reply does not fit what it was asked: a defect, answered and not asserted, since the reply may come from
/// another node.
pub(super) fn unexpected_reply() -> Status {
    let text = "the node gave a reply of another kind: look at the node's log and report it";
    beside(Status::internal(text), &Error::unknown(ErrorKind::Internal, text))
}
