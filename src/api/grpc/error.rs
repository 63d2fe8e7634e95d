//! Refusals: what a request is answered that did not succeed, and the one map from [`ErrorKind`] to a gRPC code.
//!
//! The same is said twice, by a status with details (google.rpc.ErrorInfo, RetryInfo) and, in a pipeline, by an
//! OperationError.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::Front;
use crate::command::{SessionRefusal, SessionSeq, TxnRefusal};
use crate::error::{Error, ErrorKind, Outcome};
use crate::proto::v1;
use crate::proto::v1::operation_error;
use crate::types::{Monotonic, Revision};

/// The domain of every ErrorInfo.
const DOMAIN: &str = "quorate";
/// A message is cut after so many bytes: it may quote the request, and leaves as a header.
const MESSAGE_BYTES_MAX: usize = 512;

/// Why a request did not succeed.
#[derive(Debug)]
pub(super) struct Refusal {
    error: Error,
    code: Code,
    leader: Option<Leader>,
    /// It is the reply of the write's number in its session, and no other will ever come.
    is_final: bool,
}

/// Where the leader is: another node.
#[derive(Debug)]
struct Leader {
    id: u64,
    grpc: String,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let code = code_of(error.kind());
        Refusal { error, code, leader: None, is_final: false }
    }
}

impl Refusal {
    /// The request itself is wrong; `text` says what to do. Nothing was done.
    pub(super) fn invalid(text: impl Into<String>) -> Refusal {
        Error::new(ErrorKind::Invalid, text).into()
    }

    /// A key or a message is too large.
    pub(super) fn too_large(text: impl Into<String>) -> Refusal {
        Error::new(ErrorKind::TooLarge, text).into()
    }

    /// The connection has its share of requests.
    pub(super) fn too_many() -> Refusal {
        let text = "this connection has its share of the requests that may be under way on this node at once: retry after \
                    a pause, and send fewer at once";
        Error::new(ErrorKind::Overloaded, text).into()
    }

    /// The connection has its share of bytes.
    pub(super) fn too_large_together() -> Refusal {
        let text = "this connection has its share of the bytes that may be under way on this node at once: retry after a \
                    pause, read the answers, and send fewer at once";
        Error::new(ErrorKind::Overloaded, text).into()
    }

    /// A condition did not hold at `revision`.
    pub(super) fn condition_failed(revision: Revision) -> Refusal {
        let text = format!(
            "the key is not at the revision that if_revision names (0: absent); nothing was written, and the store is at \
             revision {revision}: read the key again and decide anew"
        );
        Error::new(ErrorKind::ConditionFailed, text).into()
    }

    /// The session is not held. This time nothing was executed; whether an earlier attempt was nobody knows any more.
    pub(super) fn session_gone() -> Refusal {
        let text = "the session is not held: it was closed, or evicted, or never opened. If this write was sent before, \
                    that may have been executed: read, and open a new session";
        Error::unknown(ErrorKind::SessionGone, text).into()
    }

    /// The session does not take the write.
    pub(super) fn session_refused(why: SessionRefusal) -> Refusal {
        match why {
            SessionRefusal::Malformed | SessionRefusal::AnotherCommand => Refusal::invalid(why.text()),
            // Another attempt at it was executed, or nobody knows.
            SessionRefusal::BelowWindow => Error::unknown(ErrorKind::Invalid, why.text()).into(),
            SessionRefusal::BeyondWindow | SessionRefusal::RepliesFull => {
                Error::new(ErrorKind::Overloaded, why.text()).into()
            }
        }
    }

    /// A transaction that could not be executed.
    pub(super) fn of_txn(why: TxnRefusal) -> Refusal {
        let kind = match why {
            TxnRefusal::NoSuchKey => ErrorKind::ConditionFailed,
            TxnRefusal::AnswerTooLarge | TxnRefusal::TooManyKeys | TxnRefusal::WritesTooMuch => {
                ErrorKind::TooLarge
            }
        };
        Error::new(kind, why.text()).into()
    }

    /// The same, as the reply of a write: one that has a number in a session will never be answered otherwise.
    pub(super) fn into_reply_of(self, session: Option<&SessionSeq>) -> Refusal {
        Refusal { is_final: session.is_some(), ..self }
    }

    /// The node stops: a stream ends.
    pub(super) fn stopping(text: &str) -> Refusal {
        Error::new(ErrorKind::Stopping, text).into()
    }

    /// The node's reply does not fit what it was asked: a defect, answered and not asserted, since the reply may come from
    /// another node.
    pub(super) fn unexpected_reply() -> Refusal {
        let text = "the node gave a reply of another kind: look at its log and report it";
        Error::unknown(ErrorKind::Internal, text).into()
    }

    pub(super) fn into_status(self) -> Status {
        let mut details = ErrorDetails::with_error_info(self.error.kind().code(), DOMAIN, self.metadata());
        if let Some(pause) = pause_of(self.error.kind()) {
            details.set_retry_info(Some(pause));
        }
        Status::with_error_details(self.code, self.message(), details)
    }

    pub(super) fn into_operation_error(self) -> v1::OperationError {
        let outcome = match self.error.outcome() {
            Outcome::NotApplied => operation_error::Outcome::NotApplied,
            Outcome::Unknown => operation_error::Outcome::Unknown,
        };
        let retry_after = pause_of(self.error.kind()).unwrap_or_default();
        let message = self.message();
        let (leader_id, leader_grpc) =
            self.leader.map_or_else(Default::default, |leader| (leader.id, leader.grpc));
        v1::OperationError {
            status: self.code.into(),
            code: self.error.kind().code().to_owned(),
            message,
            retryable: self.error.is_retryable(),
            outcome: outcome.into(),
            retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
            leader_id,
            leader_grpc,
            r#final: self.is_final,
        }
    }

    fn metadata(&self) -> HashMap<String, String> {
        let mut metadata = HashMap::from([
            ("retryable".to_owned(), self.error.is_retryable().to_string()),
            ("outcome".to_owned(), self.error.outcome().code().to_owned()),
        ]);
        if self.is_final {
            metadata.insert("final".to_owned(), true.to_string());
        }
        if let Some(Leader { id, grpc }) = &self.leader {
            metadata.insert("leader_id".to_owned(), id.to_string());
            metadata.insert("leader_grpc".to_owned(), grpc.clone());
        }
        metadata
    }

    fn message(&self) -> String {
        let message = self.error.message();
        if message.len() <= MESSAGE_BYTES_MAX {
            return message.to_owned();
        }
        let cut = (0..=MESSAGE_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        format!("{}...", &message[..cut])
    }
}

impl Front {
    /// What the node said, as the caller is told: if it had until `deadline` and that is over, this is why; and where
    /// another node could do better, where that is.
    pub(super) fn refusal(&self, error: Error, deadline: Monotonic) -> Refusal {
        let mut refusal = Refusal::from(error);
        match refusal.error.kind() {
            ErrorKind::Unavailable if self.clock.now() >= deadline => refusal.code = Code::DeadlineExceeded,
            ErrorKind::Unavailable | ErrorKind::Stopping => {}
            _ => return refusal,
        }
        refusal.leader = self.other_leader();
        refusal
    }

    /// The leader, if this node knows it and it is another one.
    fn other_leader(&self) -> Option<Leader> {
        // Not out of the whole status: a stream whose leader is gone fails a thousand times at once.
        let (id, grpc) = self.router.borrow().as_ref()?.leader_elsewhere()?;
        Some(Leader { id: id.0, grpc })
    }
}

/// The one map of kinds to gRPC's codes.
fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid | ErrorKind::TooLarge => Code::InvalidArgument,
        ErrorKind::ConditionFailed
        | ErrorKind::SessionGone
        | ErrorKind::ChangeInProgress
        | ErrorKind::IdRetired
        | ErrorKind::QuorumAtRisk => Code::FailedPrecondition,
        ErrorKind::NoSuchMember => Code::NotFound,
        ErrorKind::MemberExists => Code::AlreadyExists,
        ErrorKind::Overloaded | ErrorKind::LogFull | ErrorKind::DiskFull | ErrorKind::StorageFull => {
            Code::ResourceExhausted
        }
        ErrorKind::Unavailable | ErrorKind::Stopping => Code::Unavailable,
        ErrorKind::Internal => Code::Internal,
    }
}

/// The pause that is asked for. None where another node may be asked at once.
fn pause_of(kind: ErrorKind) -> Option<Duration> {
    match kind {
        ErrorKind::Overloaded => Some(Duration::from_millis(100)),
        ErrorKind::ChangeInProgress => Some(Duration::from_secs(1)),
        ErrorKind::LogFull | ErrorKind::DiskFull | ErrorKind::StorageFull => Some(Duration::from_secs(30)),
        _ => None,
    }
}
