//! Problems: what a request is answered that did not succeed (RFC 9457), and the one map from
//! [`ErrorKind`] to a status.

use std::borrow::Cow;

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::error::{Error, ErrorKind, Outcome};
use crate::types::Revision;

use super::openapi;

/// The media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// A detail is cut after so many bytes: it may quote the request, which may be large.
const DETAIL_BYTES_MAX: usize = 512;

/// What can be wrong. The names are stable: clients branch on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Code {
    InvalidJson,
    UnknownParameter,
    RepeatedParameter,
    MissingParameter,
    InvalidParameter,
    InvalidKey,
    InvalidEncoding,
    InvalidHeader,
    Invalid,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    SessionGone,
    ConditionFailed,
    TooLarge,
    UnsupportedMediaType,
    InvalidBody,
    Overloaded,
    Internal,
    Unavailable,
    Stopping,
    LogFull,
    DiskFull,
    StorageFull,
    NoSuchMember,
    ChangeInProgress,
    MemberExists,
    IdRetired,
    QuorumAtRisk,
    IdempotencyMismatch,
    SessionExpired,
}

impl Code {
    /// Every code, for the API description.
    pub(super) const ALL: [Code; 31] = [
        Code::InvalidJson,
        Code::UnknownParameter,
        Code::RepeatedParameter,
        Code::MissingParameter,
        Code::InvalidParameter,
        Code::InvalidKey,
        Code::InvalidEncoding,
        Code::InvalidHeader,
        Code::Invalid,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::RequestTimeout,
        Code::SessionGone,
        Code::ConditionFailed,
        Code::TooLarge,
        Code::UnsupportedMediaType,
        Code::InvalidBody,
        Code::Overloaded,
        Code::Internal,
        Code::Unavailable,
        Code::Stopping,
        Code::LogFull,
        Code::DiskFull,
        Code::StorageFull,
        Code::NoSuchMember,
        Code::ChangeInProgress,
        Code::MemberExists,
        Code::IdRetired,
        Code::QuorumAtRisk,
        Code::IdempotencyMismatch,
        Code::SessionExpired,
    ];

    /// The stable name; the kind's own where there is one.
    pub(super) fn name(self) -> &'static str {
        match self {
            Code::InvalidJson => "invalid_json",
            Code::UnknownParameter => "unknown_parameter",
            Code::RepeatedParameter => "repeated_parameter",
            Code::MissingParameter => "missing_parameter",
            Code::InvalidParameter => "invalid_parameter",
            Code::InvalidKey => "invalid_key",
            Code::InvalidEncoding => "invalid_encoding",
            Code::InvalidHeader => "invalid_header",
            Code::NotFound => "not_found",
            Code::MethodNotAllowed => "method_not_allowed",
            Code::RequestTimeout => "request_timeout",
            Code::UnsupportedMediaType => "unsupported_media_type",
            Code::InvalidBody => "invalid_body",
            Code::IdempotencyMismatch => "idempotency_mismatch",
            Code::SessionExpired => "session_expired",
            Code::Invalid => ErrorKind::Invalid.code(),
            Code::SessionGone => ErrorKind::SessionGone.code(),
            Code::ConditionFailed => ErrorKind::ConditionFailed.code(),
            Code::TooLarge => ErrorKind::TooLarge.code(),
            Code::Overloaded => ErrorKind::Overloaded.code(),
            Code::Internal => ErrorKind::Internal.code(),
            Code::Unavailable => ErrorKind::Unavailable.code(),
            Code::Stopping => ErrorKind::Stopping.code(),
            Code::LogFull => ErrorKind::LogFull.code(),
            Code::DiskFull => ErrorKind::DiskFull.code(),
            Code::StorageFull => ErrorKind::StorageFull.code(),
            Code::NoSuchMember => ErrorKind::NoSuchMember.code(),
            Code::ChangeInProgress => ErrorKind::ChangeInProgress.code(),
            Code::MemberExists => ErrorKind::MemberExists.code(),
            Code::IdRetired => ErrorKind::IdRetired.code(),
            Code::QuorumAtRisk => ErrorKind::QuorumAtRisk.code(),
        }
    }

    /// The status it is answered with.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Code::InvalidJson
            | Code::UnknownParameter
            | Code::RepeatedParameter
            | Code::MissingParameter
            | Code::InvalidParameter
            | Code::InvalidKey
            | Code::InvalidEncoding
            | Code::InvalidHeader
            | Code::Invalid => StatusCode::BAD_REQUEST,
            Code::NotFound | Code::NoSuchMember => StatusCode::NOT_FOUND,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Code::ChangeInProgress
            | Code::MemberExists
            | Code::IdRetired
            | Code::QuorumAtRisk
            | Code::SessionExpired => StatusCode::CONFLICT,
            Code::SessionGone => StatusCode::GONE,
            Code::ConditionFailed => StatusCode::PRECONDITION_FAILED,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::InvalidBody | Code::IdempotencyMismatch => StatusCode::UNPROCESSABLE_ENTITY,
            Code::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unavailable | Code::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Code::LogFull | Code::DiskFull | Code::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// The same few words for every occurrence.
    pub(super) fn title(self) -> &'static str {
        match self {
            Code::InvalidJson => "The body is not JSON",
            Code::UnknownParameter => "Unknown query parameter",
            Code::RepeatedParameter => "Query parameter given more than once",
            Code::MissingParameter => "Query parameter missing",
            Code::InvalidParameter => "Parameter or field not valid",
            Code::InvalidKey => "Key empty or too long",
            Code::InvalidEncoding => "Text that cannot be decoded",
            Code::InvalidHeader => "Header not valid",
            Code::Invalid => "Request not valid",
            Code::NotFound => "No such path",
            Code::MethodNotAllowed => "The path has no such method",
            Code::RequestTimeout => "The body did not arrive in time",
            Code::SessionGone => "Session not held",
            Code::ConditionFailed => "The condition does not hold",
            Code::TooLarge => "Value or body too large",
            Code::UnsupportedMediaType => "Content-Type is not application/json",
            Code::InvalidBody => "Field missing, unknown or mistyped",
            Code::Overloaded => "Too much under way",
            Code::Internal => "The node failed",
            Code::Unavailable => "No quorum in time",
            Code::Stopping => "The node is stopping",
            Code::LogFull => "The node's log is full",
            Code::DiskFull => "The disks have no room",
            Code::StorageFull => "The store has reached its size",
            Code::NoSuchMember => "No such member",
            Code::ChangeInProgress => "Another change of the members is under way",
            Code::MemberExists => "It is a member already",
            Code::IdRetired => "The id was a removed member's",
            Code::QuorumAtRisk => "Too few voters could be reached",
            Code::IdempotencyMismatch => "The idempotency key came with another write",
            Code::SessionExpired => "The answer to the idempotency key is no longer kept",
        }
    }

    /// Whether the same request may succeed later.
    pub(super) fn is_retryable(self) -> bool {
        matches!(
            self,
            Code::RequestTimeout
                | Code::Overloaded
                | Code::Unavailable
                | Code::Stopping
                | Code::LogFull
                | Code::DiskFull
                | Code::StorageFull
                | Code::ChangeInProgress
        )
    }

    /// Seconds after which a retry makes sense.
    pub(super) fn retry_after(self) -> Option<&'static str> {
        match self {
            Code::Overloaded | Code::Unavailable | Code::Stopping | Code::ChangeInProgress => Some("1"),
            Code::LogFull | Code::DiskFull | Code::StorageFull => Some("30"),
            _ => None,
        }
    }

    /// What to do, said after what the node said.
    fn advice(self) -> &'static str {
        match self {
            Code::TooLarge => "Send less.",
            Code::SessionGone => "Open a new session.",
            Code::ConditionFailed => "Read the key again and decide anew.",
            Code::Overloaded => "Retry after the pause that Retry-After names.",
            Code::Unavailable => {
                "Retry, here or at another node; X-Quorate-Timeout-Ms sets how long a request may wait."
            }
            Code::Stopping => "Send the request to another node.",
            Code::LogFull => "Retry after the pause that Retry-After names, or raise wal-bytes-max.",
            Code::DiskFull => "Make room on the disks of the nodes, or delete keys: reads and deletes go on.",
            Code::StorageFull => {
                "Delete keys, or raise storage-bytes-max on all nodes: reads and deletes go on."
            }
            Code::NoSuchMember => "GET /api/members lists those that there are.",
            Code::ChangeInProgress => "Retry after the pause that Retry-After names.",
            Code::MemberExists => "Look at GET /api/members: there may be nothing left to do.",
            Code::IdRetired => "Give another id, or none.",
            Code::QuorumAtRisk => {
                "With force=true in the query it is done nonetheless; then nothing can be written while they stay away."
            }
            Code::Internal => "Look at the node's log.",
            // What the client itself got wrong.
            _ => "Change the request.",
        }
    }
}

impl From<ErrorKind> for Code {
    fn from(kind: ErrorKind) -> Code {
        match kind {
            ErrorKind::Invalid => Code::Invalid,
            ErrorKind::TooLarge => Code::TooLarge,
            ErrorKind::ConditionFailed => Code::ConditionFailed,
            ErrorKind::Unavailable => Code::Unavailable,
            ErrorKind::Overloaded => Code::Overloaded,
            ErrorKind::LogFull => Code::LogFull,
            ErrorKind::DiskFull => Code::DiskFull,
            ErrorKind::StorageFull => Code::StorageFull,
            ErrorKind::NoSuchMember => Code::NoSuchMember,
            ErrorKind::ChangeInProgress => Code::ChangeInProgress,
            ErrorKind::MemberExists => Code::MemberExists,
            ErrorKind::IdRetired => Code::IdRetired,
            ErrorKind::QuorumAtRisk => Code::QuorumAtRisk,
            ErrorKind::SessionGone => Code::SessionGone,
            ErrorKind::Stopping => Code::Stopping,
            ErrorKind::Internal => Code::Internal,
        }
    }
}

/// One occurrence.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) code: Code,
    pub(super) detail: Cow<'static, str>,
    /// What became of the write, where the request is one.
    pub(super) outcome: Outcome,
    /// What the answer shows of the store, where it does.
    pub(super) revision: Option<Revision>,
}

impl Problem {
    /// A refusal: nothing was executed. `detail` says what is wrong and what to do.
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Problem {
        let mut detail = detail.into();
        if detail.len() > DETAIL_BYTES_MAX {
            let cut = (0..=DETAIL_BYTES_MAX).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or(0);
            detail = format!("{}...", &detail[..cut]).into();
        }
        Problem { code, detail, outcome: Outcome::NotApplied, revision: None }
    }

    /// The condition of a write did not hold at `revision`.
    pub(super) fn condition_failed(revision: Revision) -> Problem {
        let detail = format!(
            "The key is not at the revision that if_revision names (0: absent). Nothing was written. {}",
            Code::ConditionFailed.advice()
        );
        Problem { revision: Some(revision), ..Problem::new(Code::ConditionFailed, detail) }
    }

    /// The node's reply does not fit what it was asked: a defect, answered and not asserted, since the reply may
    /// come from another node.
    pub(super) fn unexpected_reply() -> Problem {
        Problem {
            outcome: Outcome::Unknown,
            ..Problem::new(
                Code::Internal,
                "The node gave a reply of another kind. Look at the node's log and report it.",
            )
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::of(
            &error,
            "If this was a write, it may have taken effect or still do: read before you repeat it, or repeat it with \
             if_revision, or with the Idempotency-Key that it had.",
        )
    }
}

impl Problem {
    /// What became of a change of the group.
    pub(super) fn of_change(error: Error) -> Problem {
        Problem::of(
            &error,
            "It may have been done or may still be: look at GET /api/members before you repeat it.",
        )
    }

    /// An error with what to do about it; that is `unknown` if nobody knows the outcome.
    fn of(error: &Error, unknown: &str) -> Problem {
        let code = Code::from(error.kind());
        let message = error.message().trim_end_matches('.');
        let detail = match error.outcome() {
            Outcome::NotApplied if says_what_to_do(code, message) => format!("{message}."),
            Outcome::NotApplied => format!("{message}. {}", code.advice()),
            Outcome::Unknown => format!("{message}. {unknown}"),
        };
        Problem { outcome: error.outcome(), ..Problem::new(code, detail) }
    }
}

/// Texts of the node are written "what is wrong: what to do"; advice is not given twice. What broke inside a node
/// quotes other errors, whose colons mean nothing; and the node does not know how REST forces a change.
fn says_what_to_do(code: Code, message: &str) -> bool {
    !matches!(code, Code::Internal | Code::QuorumAtRisk) && message.contains(": ")
}

/// What is answered to a request that did not succeed (RFC 9457), as `application/problem+json`.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// `urn:quorate:problem:` and the code.
    pub(super) r#type: &'a str,
    /// A few words, the same for every occurrence of the code.
    pub(super) title: &'a str,
    /// The HTTP status.
    pub(super) status: u16,
    /// What is wrong this time and what to do.
    pub(super) detail: &'a str,
    /// The path that was asked.
    pub(super) instance: &'a str,
    /// The stable name of what is wrong: branch on this.
    #[schema(schema_with = code_schema)]
    pub(super) code: &'a str,
    /// Whether the same request may succeed later.
    pub(super) retryable: bool,
    /// Writes only: `not_applied` (it was not executed and never will be) or `unknown` (it may have been or may
    /// still be).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = outcome_schema, required = false)]
    pub(super) outcome: Option<&'a str>,
}

fn code_schema() -> Object {
    openapi::one_of(Code::ALL.map(Code::name))
}

fn outcome_schema() -> Object {
    openapi::one_of([Outcome::NotApplied, Outcome::Unknown].map(Outcome::code))
}
