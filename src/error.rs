//! The public error: a small kind that says what to do next, over a text that says what happened.
//!
//! Modules keep rich private errors; where one reaches a caller it becomes an [`Error`]. Every front door maps
//! [`ErrorKind`] to its protocol in one place. A write that failed has one of two outcomes, and the third, done,
//! is not an error: see [`Outcome`].

use std::fmt;

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself is wrong: change it. The text says how.
    Invalid,
    /// A key, value or request is larger than its limit.
    TooLarge,
    /// The condition of a conditional write did not hold. Nothing was written.
    ConditionFailed,
    /// No quorum could be reached, or no leader was known, within the deadline. Retry later.
    Unavailable,
    /// A bounded queue is full. Retry after a pause.
    Overloaded,
    /// The node's log reached its size limit: it refuses writes until what is in it is folded into the state file.
    LogFull,
    /// The disks of the leader, or of too many voters, have no room but their reserve: what grows is refused until there is
    /// some.
    DiskFull,
    /// The same of the limit that the operator has set, `storage-bytes-max`.
    StorageFull,
    /// The session is not held: it expired or was never opened.
    SessionGone,
    /// There is no member of that id.
    NoSuchMember,
    /// Another change of the members is under way.
    ChangeInProgress,
    /// The member is there already, or is already what it was asked to become.
    MemberExists,
    /// The id was a removed member's: it is never used again.
    IdRetired,
    /// The change would leave fewer reachable voters than their quorum needs.
    QuorumAtRisk,
    /// The node is stopping. Retry on another one.
    Stopping,
    /// The node found its own state broken. It stops.
    Internal,
}

impl ErrorKind {
    /// The stable name of this kind in answers.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::Invalid => "invalid",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::ConditionFailed => "condition_failed",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Overloaded => "overloaded",
            ErrorKind::LogFull => "log_full",
            ErrorKind::DiskFull => "disk_full",
            ErrorKind::StorageFull => "storage_full",
            ErrorKind::SessionGone => "session_gone",
            ErrorKind::NoSuchMember => "no_such_member",
            ErrorKind::ChangeInProgress => "change_in_progress",
            ErrorKind::MemberExists => "member_exists",
            ErrorKind::IdRetired => "id_retired",
            ErrorKind::QuorumAtRisk => "quorum_at_risk",
            ErrorKind::Stopping => "stopping",
            ErrorKind::Internal => "internal",
        }
    }

    /// Whether the same request may succeed later. Whether it is *safe* to repeat is [`Error::outcome`]'s to say.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            ErrorKind::Unavailable
                | ErrorKind::Overloaded
                | ErrorKind::LogFull
                | ErrorKind::DiskFull
                | ErrorKind::StorageFull
                | ErrorKind::ChangeInProgress
                | ErrorKind::Stopping
        )
    }
}

/// What became of a write that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was not executed and never will be.
    NotApplied,
    /// It may have been executed, or may still be: for example its leader was lost before it could answer.
    Unknown,
}

impl Outcome {
    /// The stable name of this outcome in answers.
    pub fn code(self) -> &'static str {
        match self {
            Outcome::NotApplied => "not_applied",
            Outcome::Unknown => "unknown",
        }
    }
}

/// An error that reaches a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    outcome: Outcome,
    message: String,
}

impl Error {
    /// An error of a request that was not executed.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, outcome: Outcome::NotApplied, message: message.into() }
    }

    /// An error of a write that may have been executed.
    pub fn unknown(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, outcome: Outcome::Unknown, message: message.into() }
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What became of the write. Of no meaning for reads.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What happened, in a sentence for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the same request may succeed later; see [`ErrorKind::is_retryable`].
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.code(), self.message)
    }
}

impl std::error::Error for Error {}
