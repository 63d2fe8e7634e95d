//! What carries out a call: attempts, one after another, until an answer or the deadline.
//!
//! A call is driven by its caller's own task: dropped, it ends. See the module's text for the rules and why they are safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tracing::Instrument;

use super::attempt::{Attempt, Shape};
use super::backoff;
use super::cluster::{Cluster, Target};
use super::edge::{self, Entropy, Instant};
use super::error::{Error, ErrorKind, Failure};
use super::sessions::{Place, Sessions};
use super::{Client, node::Node};
use crate::proto::v1::operation::Request;
use crate::proto::v1::operation_result::Result as Reply;
use crate::proto::v1::{CloseSessionRequest, OpenSessionRequest, OperationError};

/// How long the client waits beyond the time that it gave a node, before it takes the node for one that hangs.
const GRACE: Duration = Duration::from_millis(250);
/// Attempts get twice as long each time, so that a cluster that is slow is not asked more and more often; at most so often.
const ATTEMPT_DOUBLINGS_MAX: u32 = 5;
/// A call that had less time than this was in a hurry: that it was not answered in time says nothing against a node.
const HURRY: Duration = Duration::from_millis(100);
/// The longest pause that a node can ask for, of a write that may have been executed: that has to be found out.
const ASKED_PAUSE_MAX: Duration = Duration::from_secs(1);
/// For leaving: nobody waits longer for sessions that are closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What all clones of a client share.
pub(super) struct Core {
    pub cluster: Cluster,
    pub sessions: Arc<Sessions>,
    /// One permit for each write under way.
    pub writes: Semaphore,
    pub entropy: Entropy,
    pub runtime: Handle,
    /// How long a call may take in all, unless it says so itself.
    pub deadline: Duration,
    /// How long a first attempt may take.
    pub attempt_timeout: Duration,
    /// The highest revision that any answer showed.
    pub seen: AtomicU64,
    /// Writes that were settled by a later attempt after one whose outcome was not known.
    pub settled: AtomicU64,
    /// Wakes whoever follows the membership.
    pub nudge: Notify,
    /// `true` once the last clone is gone.
    pub is_over: watch::Sender<bool>,
}

/// Why attempts ended without an answer.
#[derive(Debug)]
pub(super) enum Ended {
    /// A node refused, and another attempt would do no better.
    Refused(OperationError),
    /// The deadline came. With the last thing that went wrong.
    Deadline(Option<Failure>),
}

/// The attempts of one call.
pub(super) struct Attempts<'a> {
    core: &'a Core,
    deadline: Instant,
    made: u32,
    /// Whether all of them are one write, by its number.
    is_numbered: bool,
    /// Whether any of them may have been, or may still be executed.
    pub may_be_executed: bool,
}

impl Core {
    /// Asks something that may be asked twice.
    pub(super) async fn read(
        &self,
        request: Request,
        target: Target,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let mut attempts = Attempts::new(self, deadline);
        let ended = match attempts.ask(target, || request.clone()).await {
            Ok(reply) => return Ok(reply),
            Err(ended) => ended,
        };
        Err(attempts.error(ended))
    }

    /// A revision was seen.
    pub(super) fn saw(&self, revision: u64) {
        self.seen.fetch_max(revision, Ordering::Relaxed);
    }

    /// A node answered, or did not.
    pub(super) fn note(&self, node: &Arc<Node>, failure: Option<&Failure>) {
        match failure {
            None => node.praise(),
            Some(failure) if failure.is_the_nodes() => {
                tracing::debug!(address = node.address.as_str(), %failure, "an attempt failed");
                node.blame(edge::now(), &self.entropy);
                self.cluster.on_failure(node);
                self.nudge.notify_one();
            }
            Some(_) => {}
        }
    }

    /// Claims a number in a session that is open.
    async fn place(&self, deadline: Instant) -> Result<Place, Error> {
        let claimed = edge::by(deadline, self.sessions.claim(|| self.entropy.id())).await;
        let place = claimed.ok_or_else(|| {
            let text = "all sessions wait for writes whose outcome is not known, or for attempts that the program keeps";
            Error::new(ErrorKind::Overloaded, text)
        })?;
        let place = place.map_err(|error| Error::new(ErrorKind::Internal, format!("no entropy: {error}")))?;
        if place.session.opened.initialized() {
            return Ok(place);
        }
        let open = place.session.opened.get_or_try_init(|| async {
            let request = OpenSessionRequest { client: place.session.id.clone() };
            let asked = self.read(Request::OpenSession(request), Target::Leader, deadline);
            let reply = asked.instrument(tracing::debug_span!("quorate.open_session")).await?;
            match reply {
                Reply::OpenSession(_) => Ok(()),
                reply => Err(unexpected(&reply)),
            }
        });
        // The one that opens it has its own deadline; who waits for that one has another.
        match edge::by(deadline, open).await {
            Some(Ok(())) => Ok(place),
            Some(Err(error)) => Err(error),
            None => Err(Error::new(ErrorKind::Deadline, "no session could be opened within the deadline")),
        }
    }

    /// Closes sessions, as far as that can be done in a moment.
    pub(super) async fn close_sessions(&self, sessions: Vec<bytes::Bytes>) {
        let deadline = edge::after(CLOSE_TIMEOUT);
        for client in sessions {
            let request = Request::CloseSession(CloseSessionRequest { client });
            let asked = self.read(request, Target::Leader, deadline);
            let closed = asked.instrument(tracing::debug_span!("quorate.close_session")).await;
            // One that stays open costs the cluster little, and goes when others need the room.
            if let Err(error) = closed {
                tracing::debug!(%error, "a session could not be closed");
            }
        }
    }
}

impl Client {
    /// Carries out a write, once.
    pub(super) async fn write(
        &self,
        request: Request,
        shape: Shape,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let core = self.core();
        let permit = edge::by(deadline, core.writes.acquire()).await;
        let _permit = permit.and_then(Result::ok).ok_or_else(|| {
            Error::new(
                ErrorKind::Overloaded,
                "as many writes as may be are under way, and none ended in time",
            )
        })?;
        loop {
            let place = core.place(deadline).await?;
            match self.write_at(place, &request, shape, deadline, false).await {
                Some(result) => return result,
                None => tracing::debug!("the session is gone: the write goes on under a new one"),
            }
        }
    }

    /// Carries out a write under its number. `None`: its session is gone, and it was certainly not executed.
    pub(super) async fn write_at(
        &self,
        place: Place,
        request: &Request,
        shape: Shape,
        deadline: Instant,
        may_be_executed: bool,
    ) -> Option<Result<Reply, Error>> {
        let mut attempts = Attempts::new(self.core(), deadline);
        attempts.is_numbered = true;
        attempts.may_be_executed = may_be_executed;
        let ended = match attempts.ask(Target::Leader, || under(request, &place)).await {
            Ok(reply) => {
                if attempts.may_be_executed {
                    self.core().settled.fetch_add(1, Ordering::Relaxed);
                }
                return Some(Ok(reply));
            }
            Err(ended) => ended,
        };
        let is_gone = matches!(&ended, Ended::Refused(error) if error.code == "session_gone");
        if is_gone {
            place.forget_session();
        }
        // That is the number's own answer; what a node refuses before that says nothing of the attempts that came before.
        let is_final = matches!(&ended, Ended::Refused(error) if error.r#final);
        let may_be_executed = attempts.may_be_executed && !is_final;
        if is_gone && !may_be_executed {
            return None;
        }
        let error = attempts.error(ended);
        if !may_be_executed {
            return Some(Err(error));
        }
        let attempt = (!is_gone).then(|| Attempt::new(self.clone(), request.clone(), place, shape));
        Some(Err(error.into_unknown(attempt)))
    }
}

impl<'a> Attempts<'a> {
    /// None was made.
    pub(super) fn new(core: &'a Core, deadline: Instant) -> Attempts<'a> {
        Attempts { core, deadline, made: 0, is_numbered: false, may_be_executed: false }
    }

    /// Asks until there is an answer, or there is nothing to be gained by asking.
    pub(super) async fn ask(
        &mut self,
        target: Target,
        request: impl Fn() -> Request,
    ) -> Result<Reply, Ended> {
        let mut last = None;
        loop {
            let now = edge::now();
            if now >= self.deadline {
                return Err(Ended::Deadline(last));
            }
            let node = self.core.cluster.route(target, now);
            let until = self.attempt_until(now);
            let answer = node.ask(request(), now, until, (until + GRACE).min(self.deadline)).await;
            let is_hurried = self.deadline.saturating_duration_since(now) < HURRY;
            let failure = answer.as_ref().err();
            if !failure.is_some_and(|failure| is_hurried && failure.is_of_time()) {
                self.core.note(&node, failure);
            }
            let failure = match answer {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            self.may_be_executed |= failure.may_be_executed();
            if let Failure::Refused(error) = &failure
                && (!failure.is_transient() || self.is_in_vain(&failure))
                && !self.is_another_s(error)
            {
                return Err(Ended::Refused(error.clone()));
            }
            self.pause(&failure).await;
            last = Some(failure);
        }
    }

    /// Whether a refusal is no answer to the write: an earlier attempt of the same number may have been executed. Asking on tells,
    /// however clear it is that this attempt was not. What the number itself came to is an answer; so is that its session is gone.
    fn is_another_s(&self, error: &OperationError) -> bool {
        self.is_numbered && self.may_be_executed && !error.r#final && error.code != "session_gone"
    }

    /// Whether the node asks for a pause that outlasts the call, which therefore can end now. Not if an earlier attempt may have
    /// been executed: by asking on, that may become known.
    fn is_in_vain(&self, failure: &Failure) -> bool {
        let left = self.deadline.saturating_duration_since(edge::now());
        !self.may_be_executed && failure.retry_after() >= left && !failure.is_the_nodes()
    }

    /// Until when the next attempt may take.
    pub(super) fn attempt_until(&self, now: Instant) -> Instant {
        let timeout = self.core.attempt_timeout.saturating_mul(1 << self.made.min(ATTEMPT_DOUBLINGS_MAX));
        now + timeout.min(self.deadline.saturating_duration_since(now))
    }

    /// Waits behind an attempt that failed; not at all, the first time that a node says who leads.
    pub(super) async fn pause(&mut self, failure: &Failure) {
        self.made = self.made.saturating_add(1);
        if let Failure::Refused(error) = failure
            && self.core.cluster.on_hint(error)
            && self.made == 1
        {
            return;
        }
        let asked = failure.retry_after();
        let asked = if self.may_be_executed { asked.min(ASKED_PAUSE_MAX) } else { asked };
        let pause = backoff::pause(&self.core.entropy, self.made).max(asked);
        edge::sleep_until((edge::now() + pause).min(self.deadline)).await;
    }

    /// What the caller is told.
    pub(super) fn error(&self, ended: Ended) -> Error {
        match ended {
            Ended::Refused(error) => Error::refused(error),
            Ended::Deadline(last) => {
                let last = last.map_or_else(String::new, |failure| format!("; last: {failure}"));
                let text = format!("no answer within the deadline, in {} attempts{last}", self.made);
                Error::new(ErrorKind::Deadline, text)
            }
        }
    }
}

/// The write with its number.
fn under(request: &Request, place: &Place) -> Request {
    let session = Some(place.seq());
    let mut request = request.clone();
    match &mut request {
        Request::Put(put) => put.session = session,
        Request::Delete(delete) => delete.session = session,
        Request::Txn(txn) => txn.session = session,
        other => unreachable!("{other:?} is no write"),
    }
    request
}

/// A node answered something else than was asked.
pub(super) fn unexpected(reply: &Reply) -> Error {
    let what = match reply {
        Reply::Error(_) => "an error",
        Reply::Get(_) => "a get",
        Reply::Put(_) => "a put",
        Reply::Delete(_) => "a delete",
        Reply::List(_) => "a list",
        Reply::Txn(_) => "a transaction",
        Reply::OpenSession(_) => "an opened session",
        Reply::CloseSession(_) => "a closed session",
    };
    Error::new(ErrorKind::Internal, format!("the node answered with {what}, which was not asked for"))
}
