//! `Pipeline`: many operations on one stream.
//!
//! One task for the stream reads messages, drives the operations, and hands over what is done:
//!
//! ```text
//! messages -> queued -> running (FuturesUnordered) -> results -> one message at a time -> client
//!         \____________ at most pipeline_operations_inflight_max ____________________/
//! ```
//!
//! - Operations are taken while there is room for them and their results; else the stream is not read, and HTTP/2's windows
//!   stop the client. So one that sends and never reads holds a bounded number of them, each of which counts in its
//!   connection's share; and its message does for as long as anything of it is there.
//! - One that may answer much begins only when there is room in the share for all of it: what was done is said, so it cannot be
//!   refused afterwards. It waits, and what comes behind it does, while others of the stream are under way, which give back
//!   what they have; alone, without room, it is refused.
//! - What is done at the same time leaves together, and while the client does not take a message the next one grows.
//! - Writes are submitted in their order: what is new in the set is polled first in the order in which it came, and a
//!   write is in the node's queue once it was polled. So the node must be open before the first is taken.
//! - Operations go on while the client does not read: what they hold of the node is not held for its sake.
//! - When the node drains, what comes then is refused, and the stream ends as soon as nothing is under way. As all that was
//!   taken is answered before, what has no result then was not executed.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::counted::{Kind, Letter, Tab, refusal_of};
use super::error::Refusal;
use super::{Front, requests};
use crate::api::shares::Held;
use crate::proto::v1;
use crate::proto::v1::operation::Request as Asked;
use crate::proto::v1::operation_result::Result as Done;
use crate::types::Monotonic;

/// The results, in messages.
pub(super) type Results = Pin<Box<dyn Stream<Item = Result<v1::PipelineResponse, Status>> + Send>>;

/// A result, and what it counts for; one that was refused at once counts for nothing.
type Outcome = (v1::OperationResult, Option<Counts>);
type Operation = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What an operation counts for: itself with its answer, and the message that it came in.
struct Counts {
    held: Held,
    letter: Arc<Letter>,
}

/// A message, and what it counts for.
struct Batch {
    response: v1::PipelineResponse,
    held: Option<Held>,
    letters: Vec<Arc<Letter>>,
}

/// Results of one message, in bytes, beyond which the next one begins: a client need not take all that is done in one.
const RESULTS_BYTES_MAX: usize = 256 << 10;
/// Results that wait for the client, in bytes, beyond which no operation is begun.
const RESULTS_WAITING_BYTES_MAX: usize = 4 << 20;

/// Begins a pipeline; it ends with its stream.
pub(super) fn results(front: Arc<Front>, request: Request<Streaming<v1::PipelineRequest>>) -> Results {
    let tab = Tab::of(request.extensions());
    let (sender, receiver) = mpsc::channel(1);
    let draining = front.draining.clone();
    let pipeline = Pipeline {
        messages: Some(request.into_inner()),
        queued: VecDeque::new(),
        running: FuturesUnordered::new(),
        results: Pending::default(),
        failure: None,
        draining,
        tab: tab.clone(),
        front,
    };
    tokio::spawn(pipeline.run(sender));
    let hand_over = move |batch: Result<Batch, Status>| {
        let Batch { response, held, letters } = batch?;
        // What it shares with the messages that it was asked in is copied into a frame at once.
        drop(letters);
        if let Some(held) = held {
            tab.leave(held);
        }
        Ok(response)
    };
    Box::pin(ReceiverStream::new(receiver).map(hand_over))
}

struct Pipeline {
    front: Arc<Front>,
    tab: Tab,
    /// `None` once the client has said all, or is not listened to any more.
    messages: Option<Streaming<v1::PipelineRequest>>,
    /// What came and is not begun.
    queued: VecDeque<(v1::Operation, Arc<Letter>)>,
    running: FuturesUnordered<Operation>,
    results: Pending,
    /// Why the stream ends, if not because all is said.
    failure: Option<Status>,
    draining: watch::Receiver<bool>,
}

/// Results that no message has taken yet.
#[derive(Default)]
struct Pending {
    results: VecDeque<Outcome>,
    bytes: usize,
}

impl Pipeline {
    async fn run(mut self, sender: mpsc::Sender<Result<Batch, Status>>) {
        let deadline = self.front.clock.now().plus(self.front.limits.request_timeout_default);
        tokio::select! {
            biased;
            () = sender.closed() => return,
            opened = self.front.router(deadline) => if let Err(refusal) = opened {
                let _ = sender.send(Err(refusal.into_status())).await;
                return;
            },
        }
        while !self.is_over() {
            self.submit();
            self.collect();
            let may_read = self.queued.is_empty() && self.has_room();
            let is_draining = *self.draining.borrow();
            tokio::select! {
                biased;
                () = sender.closed() => return,
                permit = sender.reserve(), if !self.results.is_empty() => {
                    let Ok(permit) = permit else { return };
                    permit.send(Ok(self.results.take()));
                }
                Some(outcome) = self.running.next(), if !self.running.is_empty() => self.results.push(outcome),
                message = next(&mut self.messages), if may_read => self.on_message(message),
                // Nothing that has come is left: what comes now will find no stream.
                () = std::future::ready(()), if is_draining && self.is_idle() => self.end_for_drain(),
                () = raised(&mut self.draining), if !is_draining => {}
            }
        }
        if let Some(status) = self.failure {
            let _ = sender.send(Err(status)).await;
        }
    }

    /// Whether all that was taken is answered, and nothing more will be.
    fn is_over(&self) -> bool {
        self.messages.is_none() && self.is_idle()
    }

    /// Whether nothing is under way.
    fn is_idle(&self) -> bool {
        self.queued.is_empty() && self.running.is_empty() && self.results.is_empty()
    }

    fn has_room(&self) -> bool {
        self.running.len() + self.results.len() < self.front.limits.pipeline_operations_inflight_max
            && self.results.bytes < RESULTS_WAITING_BYTES_MAX
    }

    fn end_for_drain(&mut self) {
        self.messages = None;
        let text = "the node stops: what has no result was not executed; send it to another node";
        self.failure = Some(Refusal::stopping(text).into_status());
    }

    fn on_message(&mut self, message: Result<Option<v1::PipelineRequest>, Status>) {
        match message {
            Ok(Some(message)) => {
                let letter = Arc::new(self.tab.letter());
                let operations = message.operations.into_iter();
                self.queued.extend(operations.map(|operation| (operation, letter.clone())));
            }
            Ok(None) => self.messages = None,
            Err(status) => {
                self.messages = None;
                let refusal = refusal_of(&status);
                self.failure = Some(refusal.map_or(status, Refusal::into_status));
            }
        }
    }

    /// Begins what is queued, as far as there is room.
    fn submit(&mut self) {
        while self.has_room() {
            let Some((operation, letter)) = self.queued.front() else { return };
            let admitted = match self.admit(operation, letter) {
                Ok(Some(held)) => Ok(held),
                // What is under way gives back what it has, and then this is looked at again.
                Ok(None) => return,
                Err(refusal) => Err(refusal),
            };
            let Some((operation, letter)) = self.queued.pop_front() else { return };
            match admitted {
                Ok(held) => {
                    let counts = Counts { held, letter };
                    self.running.push(Box::pin(execute(self.front.clone(), operation, counts)));
                }
                Err(refusal) => self.results.push((failed(operation.id, refusal), None)),
            }
        }
    }

    /// Counts an operation, with what it may answer; `None` if there may be room for it later.
    fn admit(&self, operation: &v1::Operation, letter: &Letter) -> Result<Option<Held>, Refusal> {
        if *self.draining.borrow() {
            return Err(Refusal::stopping("the node stops: send it to another node"));
        }
        if letter.is_over {
            return Err(Refusal::too_large_together());
        }
        let mut held = self.tab.enter()?;
        let request = operation.request.as_ref();
        let bytes_max = request.map_or(0, |request| requests::answer_bytes_max(&self.front.limits, request));
        if bytes_max == 0 || held.grow(bytes_max) {
            return Ok(Some(held));
        }
        let is_alone = self.running.is_empty() && self.results.is_empty();
        if is_alone { Err(Refusal::too_large_together()) } else { Ok(None) }
    }

    /// Takes in all that is done by now, so that it leaves together.
    fn collect(&mut self) {
        while let Some(Some(outcome)) = self.running.next().now_or_never() {
            self.results.push(outcome);
        }
    }
}

impl Pending {
    fn len(&self) -> usize {
        self.results.len()
    }

    fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    fn push(&mut self, outcome: Outcome) {
        self.bytes += bytes_of(&outcome);
        self.results.push_back(outcome);
    }

    /// The next message.
    fn take(&mut self) -> Batch {
        let (mut results, mut bytes) = (Vec::with_capacity(self.results.len()), 0);
        let (mut held, mut letters) = (None::<Held>, Vec::<Arc<Letter>>::new());
        while let Some(outcome) = self.results.pop_front_if(|_| bytes < RESULTS_BYTES_MAX) {
            bytes += bytes_of(&outcome);
            let (result, counts) = outcome;
            results.push(result);
            let Some(Counts { held: own, letter }) = counts else { continue };
            match &mut held {
                Some(all) => all.absorb(own),
                all @ None => *all = Some(own),
            }
            if letters.last().is_none_or(|last| !Arc::ptr_eq(last, &letter)) {
                letters.push(letter);
            }
        }
        self.bytes -= bytes;
        Batch { response: v1::PipelineResponse { results }, held, letters }
    }
}

/// A result's bytes; what it counts for is what it has.
fn bytes_of((result, counts): &Outcome) -> usize {
    counts.as_ref().map_or_else(|| result.encoded_len(), |counts| counts.held.bytes())
}

/// The next message, if any is still to come.
async fn next(
    messages: &mut Option<Streaming<v1::PipelineRequest>>,
) -> Result<Option<v1::PipelineRequest>, Status> {
    match messages {
        Some(messages) => messages.message().await,
        None => std::future::pending().await,
    }
}

/// Waits until the node drains.
async fn raised(draining: &mut watch::Receiver<bool>) {
    // One that cannot say so any more never does.
    if draining.wait_for(|draining| *draining).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn failed(id: u64, refusal: Refusal) -> v1::OperationResult {
    v1::OperationResult { id, result: Some(Done::Error(refusal.into_operation_error())) }
}

/// Executes an operation; its result counts until it has left.
async fn execute(front: Arc<Front>, operation: v1::Operation, mut counts: Counts) -> Outcome {
    let v1::Operation { id, timeout_ms, request } = operation;
    let deadline = front.deadline_in(timeout_ms);
    let kind = match request {
        Some(Asked::Get(_) | Asked::List(_)) => Kind::Read,
        Some(Asked::Txn(ref txn)) => Kind::of_txn(txn),
        _ => Kind::Write,
    };
    let done = match answer(&front, request, deadline).await {
        Ok(done) => v1::OperationResult { id, result: Some(done) },
        Err(refusal) => failed(id, refusal),
    };
    match kind.hold(&mut counts.held, done.encoded_len()) {
        Ok(()) => (done, Some(counts)),
        Err(refusal) => (failed(id, refusal), None),
    }
}

async fn answer(front: &Front, request: Option<Asked>, deadline: Monotonic) -> Result<Done, Refusal> {
    match request {
        Some(Asked::Get(request)) => front.get(request, deadline).await.map(Done::Get),
        Some(Asked::Put(request)) => front.put(request, deadline).await.map(Done::Put),
        // What is rarer does not make every operation's future larger.
        Some(Asked::Delete(request)) => Box::pin(front.delete(request, deadline)).await.map(Done::Delete),
        Some(Asked::List(request)) => Box::pin(front.list_page(request, deadline)).await.map(Done::List),
        Some(Asked::Txn(request)) => Box::pin(front.txn(request, deadline)).await.map(Done::Txn),
        Some(Asked::OpenSession(request)) => {
            Box::pin(front.open_session(request, deadline)).await.map(Done::OpenSession)
        }
        Some(Asked::CloseSession(request)) => {
            Box::pin(front.close_session(request, deadline)).await.map(Done::CloseSession)
        }
        None => Err(Refusal::invalid(
            "the operation is empty: give one of get, put, delete, list, txn and sessions",
        )),
    }
}
