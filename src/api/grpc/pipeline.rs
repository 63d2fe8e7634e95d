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
//!   connection's share.
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

use super::Front;
use super::counted::{Kind, Tab, refusal_of};
use super::error::Refusal;
use crate::api::shares::Held;
use crate::proto::v1;
use crate::proto::v1::operation::Request as Asked;
use crate::proto::v1::operation_result::Result as Done;
use crate::types::Monotonic;

/// The results, in messages.
pub(super) type Results = Pin<Box<dyn Stream<Item = Result<v1::PipelineResponse, Status>> + Send>>;

/// A result, and what it counts for.
type Outcome = (v1::OperationResult, Option<Held>);
type Operation = Pin<Box<dyn Future<Output = Outcome> + Send>>;
/// A message, and what it counts for.
type Batch = (v1::PipelineResponse, Option<Held>);

/// Results of one message, in bytes, beyond which the next one begins: a client need not take all that is done in one.
const RESULTS_BYTES_MAX: usize = 256 << 10;

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
        let (response, held) = batch?;
        if let (Some(tab), Some(held)) = (&tab, held) {
            tab.leave(held);
        }
        Ok(response)
    };
    Box::pin(ReceiverStream::new(receiver).map(hand_over))
}

struct Pipeline {
    front: Arc<Front>,
    tab: Option<Tab>,
    /// `None` once the client has said all, or is not listened to any more.
    messages: Option<Streaming<v1::PipelineRequest>>,
    /// What came in a message that was too long.
    queued: VecDeque<v1::Operation>,
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
    }

    fn end_for_drain(&mut self) {
        self.messages = None;
        let text = "the node stops: what has no result was not executed; send it to another node";
        self.failure = Some(Refusal::stopping(text).into_status());
    }

    fn on_message(&mut self, message: Result<Option<v1::PipelineRequest>, Status>) {
        match message {
            Ok(Some(message)) => self.queued.extend(message.operations),
            Ok(None) => self.messages = None,
            Err(status) => {
                self.messages = None;
                let refusal = refusal_of(&status, self.front.message_bytes_max());
                self.failure = Some(refusal.map_or(status, Refusal::into_status));
            }
        }
    }

    /// Begins what is queued, as far as there is room.
    fn submit(&mut self) {
        while self.has_room() {
            let Some(operation) = self.queued.pop_front() else { return };
            let bytes = operation.encoded_len();
            let held = match &self.tab {
                Some(tab) => {
                    tab.taken_up(bytes);
                    enter(tab, bytes).map(Some)
                }
                None => Ok(None),
            };
            let refused = match held {
                Ok(_) if *self.draining.borrow() => {
                    Err(Refusal::stopping("the node stops: send it to another node"))
                }
                held => held,
            };
            match refused {
                Ok(held) => self.running.push(Box::pin(execute(self.front.clone(), operation, held))),
                Err(refusal) => self.results.push((failed(operation.id, refusal), None)),
            }
        }
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
        self.results.push_back(outcome);
    }

    /// The next message.
    fn take(&mut self) -> Batch {
        let mut results = Vec::with_capacity(self.results.len());
        let (mut bytes, mut held) = (0, None::<Held>);
        while let Some((result, own)) = self.results.pop_front_if(|_| bytes < RESULTS_BYTES_MAX) {
            bytes += result.encoded_len();
            match (&mut held, own) {
                (Some(all), Some(own)) => all.absorb(own),
                (all @ None, own) => *all = own,
                (Some(_), None) => {}
            }
            results.push(result);
        }
        (v1::PipelineResponse { results }, held)
    }
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

/// Counts an operation.
fn enter(tab: &Tab, bytes: usize) -> Result<Held, Refusal> {
    let mut held = tab.connection().enter().ok_or_else(Refusal::too_many)?;
    if held.grow(bytes) { Ok(held) } else { Err(Refusal::too_large_together()) }
}

fn failed(id: u64, refusal: Refusal) -> v1::OperationResult {
    v1::OperationResult { id, result: Some(Done::Error(refusal.into_operation_error())) }
}

/// Executes an operation; its result counts until it has left.
async fn execute(front: Arc<Front>, operation: v1::Operation, held: Option<Held>) -> Outcome {
    let v1::Operation { id, timeout_ms, request } = operation;
    let deadline = front.deadline_in(timeout_ms);
    let is_list = matches!(request, Some(Asked::List(_)));
    let kind = match request {
        Some(Asked::Get(_) | Asked::List(_)) => Kind::Read,
        Some(Asked::Txn(ref txn)) => Kind::of_txn(txn),
        _ => Kind::Write,
    };
    let mut held = held;
    if let Some(held) = held.as_mut().filter(|_| is_list)
        && !held.grow(front.limits.list_bytes_max)
    {
        return (failed(id, Refusal::too_large_together()), None);
    }
    let done = match answer(&front, request, deadline).await {
        Ok(done) => v1::OperationResult { id, result: Some(done) },
        Err(refusal) => failed(id, refusal),
    };
    if let Some(held) = &mut held
        && let Err(refusal) = kind.hold(held, done.encoded_len())
    {
        return (failed(id, refusal), None);
    }
    (done, held)
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
