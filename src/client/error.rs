//! What a caller is told when a call does not do what was asked, and what the library itself is told before that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic_types::StatusExt;

use super::attempt::Attempt;
pub use crate::error::Outcome;
use crate::proto::v1::OperationError;
use crate::proto::v1::operation_error;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong: change it. The text says how.
    Invalid,
    /// A key, a value, a request or its answer is larger than its limit.
    TooLarge,
    /// The condition of a conditional write did not hold: nothing was written.
    ConditionFailed,
    /// No node that could answer was found.
    Unavailable,
    /// The cluster has too much to do.
    Overloaded,
    /// The disks are full, or the limit that the operator has set is reached: writes that need room are refused, deletes and
    /// reads go on.
    StorageFull,
    /// The cluster has forgotten the session under which a write was sent.
    SessionGone,
    /// There is no member of that id.
    NoSuchMember,
    /// There is such a member already.
    MemberExists,
    /// The id was a removed member's.
    IdRetired,
    /// Another change of the members is under way.
    ChangeInProgress,
    /// The change would leave fewer reachable voters than their quorum needs.
    QuorumAtRisk,
    /// The call's deadline came before an answer.
    Deadline,
    /// A node, or this library, found itself broken.
    Internal,
    /// The server said something that this version does not know: see [`Error::code`].
    Other,
}

impl ErrorKind {
    fn of_code(code: &str) -> ErrorKind {
        match code {
            "invalid" => ErrorKind::Invalid,
            "too_large" => ErrorKind::TooLarge,
            "condition_failed" => ErrorKind::ConditionFailed,
            "unavailable" | "stopping" => ErrorKind::Unavailable,
            "overloaded" | "log_full" => ErrorKind::Overloaded,
            "disk_full" | "storage_full" => ErrorKind::StorageFull,
            "session_gone" => ErrorKind::SessionGone,
            "no_such_member" => ErrorKind::NoSuchMember,
            "member_exists" => ErrorKind::MemberExists,
            "id_retired" => ErrorKind::IdRetired,
            "change_in_progress" => ErrorKind::ChangeInProgress,
            "quorum_at_risk" => ErrorKind::QuorumAtRisk,
            "internal" => ErrorKind::Internal,
            _ => ErrorKind::Other,
        }
    }

    fn code(self) -> &'static str {
        match self {
            ErrorKind::Invalid => "invalid",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::ConditionFailed => "condition_failed",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Overloaded => "overloaded",
            ErrorKind::StorageFull => "storage_full",
            ErrorKind::SessionGone => "session_gone",
            ErrorKind::NoSuchMember => "no_such_member",
            ErrorKind::MemberExists => "member_exists",
            ErrorKind::IdRetired => "id_retired",
            ErrorKind::ChangeInProgress => "change_in_progress",
            ErrorKind::QuorumAtRisk => "quorum_at_risk",
            ErrorKind::Deadline => "deadline",
            ErrorKind::Internal => "internal",
            ErrorKind::Other => "other",
        }
    }
}

/// Why a call did not do what was asked.
///
/// Together with `Ok` a write has three outcomes: done (`Ok`), and the two of [`Error::outcome`]. The library retries by
/// itself until the call's deadline, so an error is the last word and not a first failure.
///
/// ```
/// use quorate::client::{Client, ErrorKind, Outcome};
///
/// let error = Client::builder().endpoints(["no-port"]).connect_lazy().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert_eq!(error.outcome(), Outcome::NotApplied);
/// assert!(!error.is_retryable());
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    code: String,
    message: String,
    is_retryable: bool,
    outcome: Outcome,
    attempt: Option<Attempt>,
}

impl Error {
    /// An error of something that was not executed.
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            code: kind.code().to_owned(),
            message: message.into(),
            is_retryable: matches!(
                kind,
                ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::Deadline
            ),
            outcome: Outcome::NotApplied,
            attempt: None,
        }))
    }

    /// What a node refused.
    pub(super) fn refused(error: OperationError) -> Error {
        let outcome = match error.outcome() {
            operation_error::Outcome::NotApplied => Outcome::NotApplied,
            operation_error::Outcome::Unknown => Outcome::Unknown,
        };
        Error(Box::new(Inner {
            kind: ErrorKind::of_code(&error.code),
            code: error.code,
            message: error.message,
            is_retryable: error.retryable,
            outcome,
            attempt: None,
        }))
    }

    /// The same, of a write that may have been executed; with `attempt` it can be asked after.
    pub(super) fn into_unknown(mut self, attempt: Option<Attempt>) -> Error {
        self.0.outcome = Outcome::Unknown;
        self.0.attempt = attempt;
        self
    }

    /// What the caller can do.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::ErrorKind;
    ///
    /// match client.set("k", "v").await {
    ///     Err(error) if error.kind() == ErrorKind::StorageFull => println!("make room: {error}"),
    ///     other => println!("revision {}", other?.revision),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The server's stable code, as `docs/client.md` lists them; `deadline` if the call's deadline ended first.
    ///
    /// ```
    /// use quorate::client::Client;
    ///
    /// let error = Client::builder().endpoints(["node1"]).connect_lazy().unwrap_err();
    /// assert_eq!(error.code(), "invalid");
    /// ```
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// What happened, in a sentence for a person.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the same call may succeed later. Whether a *write* may be repeated is another question: one whose outcome is
    /// [`Outcome::Unknown`] is best repeated by [`Error::into_attempt`], which cannot do it twice.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// if let Err(error) = client.get("k").await {
    ///     let advice = if error.is_retryable() { "try again later" } else { "do something else" };
    ///     println!("{advice}: {error}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_retryable(&self) -> bool {
        self.0.is_retryable
    }

    /// What became of a write. Of no meaning for reads.
    ///
    /// [`Outcome::Unknown`] appears only where the call's deadline ended before an answer, or the session was gone when
    /// one could have come; and of a change of the members whose answer was lost, which is not repeated.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Outcome;
    ///
    /// match client.set("k", "v").await.map_err(|error| error.outcome()) {
    ///     Ok(written) => println!("done, at revision {}", written.revision),
    ///     Err(Outcome::NotApplied) => println!("not done, and it never will be"),
    ///     Err(Outcome::Unknown) => println!("perhaps done"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The write whose outcome is unknown, if it can still be asked after.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// if let Err(error) = client.set("k", "v").await {
    ///     println!("{error}; can it be asked after? {}", error.attempt().is_some());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn attempt(&self) -> Option<&Attempt> {
        self.0.attempt.as_ref()
    }

    /// The write whose outcome is unknown, to be [resumed](Attempt::resume): under its old number, so it is executed once.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use std::time::Duration;
    ///
    /// if let Err(error) = client.delete("k").await
    ///     && let Some(attempt) = error.into_attempt()
    /// {
    ///     println!("done once, now or before: {:?}", attempt.resume(Duration::from_secs(60)).await?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_attempt(self) -> Option<Attempt> {
        self.0.attempt
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)?;
        match self.0.outcome {
            Outcome::NotApplied => Ok(()),
            Outcome::Unknown => f.write_str(" (whether it was executed is unknown)"),
        }
    }
}

impl std::error::Error for Error {}

/// What one attempt at one node came to, if not to an answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It never left: certainly not executed.
    #[error("{0}")]
    NotSent(Arc<str>),
    /// The connection ended before the answer: it may have been executed.
    #[error("{0}")]
    Lost(Arc<str>),
    /// No answer came in time.
    #[error("the node did not answer in time")]
    Late {
        /// Whether it had left by then, so that it may have been executed.
        was_sent: bool,
        /// Whether the node hangs, or the caller was in a hurry.
        is_the_nodes: bool,
    },
    /// The node answered with an error.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(OperationError),
}

impl Failure {
    /// Whether the operation may have been executed, or may still be.
    pub(super) fn may_be_executed(&self) -> bool {
        match self {
            Failure::NotSent(_) => false,
            Failure::Lost(_) => true,
            Failure::Late { was_sent, .. } => *was_sent,
            // It says "unknown" of earlier attempts, which the node cannot know of; this one was not executed.
            Failure::Refused(error) if error.code == "session_gone" => false,
            Failure::Refused(error) => error.outcome() == operation_error::Outcome::Unknown,
        }
    }

    /// Whether another attempt, a little later or at another node, may do better. Room on the disks does not come by waiting a
    /// little: the caller is told at once.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Failure::NotSent(_) | Failure::Lost(_) | Failure::Late { .. } => true,
            Failure::Refused(error) => {
                let is_settled = matches!(
                    error.code.as_str(),
                    "disk_full" | "storage_full" | "condition_failed" | "session_gone"
                );
                error.retryable && !is_settled
            }
        }
    }

    /// Whether the node is to be left alone for a while. One that has too much to do is not: it is still the right one.
    pub(super) fn is_the_nodes(&self) -> bool {
        match self {
            Failure::NotSent(_) | Failure::Lost(_) => true,
            Failure::Late { is_the_nodes, .. } => *is_the_nodes,
            Failure::Refused(error) => {
                matches!(error.code.as_str(), "unavailable" | "stopping" | "internal")
            }
        }
    }

    /// Whether all that was wrong is that its time was over.
    pub(super) fn is_of_time(&self) -> bool {
        match self {
            Failure::NotSent(_) | Failure::Lost(_) => false,
            Failure::Late { .. } => true,
            Failure::Refused(error) => error.status == tonic::Code::DeadlineExceeded as i32,
        }
    }

    /// The pause that the node asks for.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            Failure::Refused(error) => Duration::from_millis(error.retry_after_ms.into()),
            _ => Duration::ZERO,
        }
    }

    /// What a status of a unary call says.
    pub(super) fn of_status(status: &tonic::Status) -> Failure {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == "quorate");
        let Some(info) = info else {
            let why = text_of(status).into();
            return if is_connect_error(status) { Failure::NotSent(why) } else { Failure::Lost(why) };
        };
        let said = |name: &str| info.metadata.get(name).map_or("", String::as_str);
        let outcome = match said("outcome") {
            "unknown" => operation_error::Outcome::Unknown,
            _ => operation_error::Outcome::NotApplied,
        };
        let pause = details.retry_info().and_then(|retry| retry.retry_delay).unwrap_or_default();
        Failure::Refused(OperationError {
            status: status.code() as i32,
            code: info.reason.clone(),
            message: status.message().to_owned(),
            retryable: said("retryable") == "true",
            outcome: outcome.into(),
            retry_after_ms: u32::try_from(pause.as_millis()).unwrap_or(u32::MAX),
            leader_id: said("leader_id").parse().unwrap_or(0),
            leader_grpc: said("leader_grpc").to_owned(),
            r#final: said("final") == "true",
        })
    }
}

/// Whether a status says that no connection came about, so that nothing was sent.
fn is_connect_error(status: &tonic::Status) -> bool {
    causes(status).any(|cause| cause.is::<tonic::ConnectError>())
}

/// A status with what is behind it: tonic's own text of a connection that failed is "transport error".
pub(super) fn text_of(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    for cause in causes(status).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn causes(status: &tonic::Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first = std::error::Error::source(status);
    std::iter::successors(first, |error| error.source())
}
