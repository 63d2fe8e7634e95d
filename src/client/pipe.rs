//! One connection's stream of operations: what queues up is sent together, and answers find who waits for them.
//!
//! ```text
//! callers --> queue (bounded: they wait) --> Outgoing: PipelineRequest of many operations --> node
//!         <-- tickets <-- table of what is under way (bounded: the queue is not read) <-- driver <-- PipelineResponse
//! ```
//!
//! tonic asks [`Outgoing`] for a message when HTTP/2 has room for one, so what has come up meanwhile goes with it: the
//! slower the network, the larger the messages. No call has a task of its own; the driver is one task for each stream.
//!
//! # Invariants
//!
//! - Queue and table are bounded; a caller that finds the queue full waits for room.
//! - An operation is in the queue or in the table, and when the stream ends, it is told which: *not sent* or *lost*. Where the
//!   node itself ended it, with its reason, it had answered all that it took: the rest counts as not sent.
//! - An answer's id names one operation only: places in the table are used again, their generation is not.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::Stream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tonic::transport::Channel;

use super::edge::{self, Instant};
use super::error::{Failure, text_of};
use super::ticket::{Answer, Debtor, ticket};
use crate::proto::v1::kv_client::KvClient;
use crate::proto::v1::operation::Request;
use crate::proto::v1::{Operation, OperationResult, PipelineRequest, operation_result};

/// What may wait to be sent. Behind it callers wait.
const QUEUED_MAX: usize = 1_024;
/// What may be under way on one stream: as much as a node takes up (`pipeline_operations_inflight_max`).
const INFLIGHT_MAX: usize = 1_024;
/// Operations in a message.
const BATCH_OPERATIONS_MAX: usize = 256;
/// Bytes of a message of more than one operation. One that is larger goes alone: so no message exceeds what a node takes.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// What an operation may cost beside its keys and values.
const OPERATION_OVERHEAD_BYTES: usize = 64;
/// The largest message that is taken from a node: many results may come together, each of a page of 4 MiB at most.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A stream to one node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pipe {
    queue: mpsc::Sender<Queued>,
    shared: Arc<Shared>,
}

struct Queued {
    request: Request,
    /// By then the node is to have answered.
    until: Instant,
    debtor: Debtor,
}

struct Shared {
    table: Mutex<Table>,
    /// Tells the driver that the stream is to end.
    ended: Notify,
}

struct Table {
    queue: mpsc::Receiver<Queued>,
    /// Taken from the queue, and too large for the message that was made then.
    held: Option<Queued>,
    places: Vec<Place>,
    free: Vec<u32>,
    /// Why the stream has ended.
    ended: Option<Arc<str>>,
    /// When the node last said anything.
    heard: Option<Instant>,
    /// Whoever makes messages, if there was nothing to make one of.
    sender: Option<Waker>,
}

struct Place {
    generation: u32,
    debtor: Option<Debtor>,
}

impl Pipe {
    /// Opens a stream. It is there at once; what is asked waits until it is connected.
    pub(super) fn open(channel: Channel, runtime: &Handle) -> Pipe {
        let (sender, queue) = mpsc::channel(QUEUED_MAX);
        let table = Table {
            queue,
            held: None,
            places: Vec::new(),
            free: Vec::new(),
            ended: None,
            heard: None,
            sender: None,
        };
        let shared = Arc::new(Shared { table: Mutex::new(table), ended: Notify::new() });
        runtime.spawn(drive(channel, shared.clone()));
        Pipe { queue: sender, shared }
    }

    /// Whether it can be asked.
    pub(super) fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Asks the node, which is to answer before `until`. The answer is awaited until `patience`.
    pub(super) async fn ask(&self, request: Request, until: Instant, patience: Instant) -> Answer {
        let (mut waiter, debtor) = ticket();
        let queued = Queued { request, until, debtor };
        if let Err(error) = self.queue.try_send(queued) {
            let queued = error.into_inner();
            match edge::by(patience, self.queue.send(queued)).await {
                Some(Ok(())) => {}
                Some(Err(_)) => return Err(Failure::NotSent(self.shared.why())),
                None => return Err(Failure::Late { was_sent: false, is_the_nodes: false }),
            }
        }
        // The stream may have ended between the two, and its end not have seen what came into the queue behind it.
        if self.queue.is_closed() {
            self.shared.fail_queued();
        }
        match edge::by(patience, &mut waiter).await {
            Some(answer) => answer,
            None => waiter.give_up(),
        }
    }

    /// Whether the node has said anything since.
    pub(super) fn has_heard_since(&self, instant: Instant) -> bool {
        self.shared.lock().heard.is_some_and(|heard| heard > instant)
    }

    /// Ends the stream: all that is under way on it is lost.
    pub(super) fn end(&self, why: &str) {
        self.shared.end(End::lost(why));
        self.shared.ended.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why(&self) -> Arc<str> {
        self.lock().ended.clone().unwrap_or_else(|| "the connection was closed".into())
    }

    /// Gives results to those who wait for them.
    fn resolve(&self, results: Vec<OperationResult>) {
        let mut answers = Vec::with_capacity(results.len());
        let mut table = self.lock();
        table.heard = Some(edge::now());
        for OperationResult { id, result } in results {
            // One that nothing waits for was answered before, or comes from a node that is confused.
            let Some(debtor) = table.take(id) else { continue };
            answers.push((debtor, result));
        }
        let sender = table.sender.take();
        drop(table);
        for (debtor, result) in answers {
            debtor.answer(match result {
                Some(operation_result::Result::Error(error)) => Err(Failure::Refused(error)),
                Some(result) => Ok(result),
                None => Err(Failure::Lost("the node gave an empty answer".into())),
            });
        }
        if let Some(sender) = sender {
            sender.wake();
        }
    }

    fn end(&self, End { why, is_refused }: End) {
        let mut table = self.lock();
        if table.ended.is_some() {
            return;
        }
        table.ended = Some(why.clone());
        table.queue.close();
        let mut owing = table.take_queued();
        owing.extend(table.places.iter_mut().filter_map(|place| place.debtor.take()));
        let sender = table.sender.take();
        drop(table);
        for debtor in owing {
            debtor.fail(&why, is_refused);
        }
        if let Some(sender) = sender {
            sender.wake();
        }
    }

    /// What is queued though the stream has ended was not sent.
    fn fail_queued(&self) {
        let owing = self.lock().take_queued();
        let why = self.why();
        for debtor in owing {
            debtor.fail(&why, true);
        }
    }
}

/// How a stream ended.
struct End {
    why: Arc<str>,
    /// The node ended it in good order: it had answered all that it took, so that the rest was not executed.
    is_refused: bool,
}

impl End {
    fn lost(why: &str) -> End {
        End { why: why.into(), is_refused: false }
    }

    /// A status with a node's own details is the node's word, any other one is the connection's.
    fn of_status(status: &tonic::Status) -> End {
        let is_refused = match Failure::of_status(status) {
            Failure::NotSent(_) => true,
            failure @ Failure::Refused(_) => !failure.may_be_executed(),
            Failure::Lost(_) | Failure::Late { .. } => false,
        };
        End { why: text_of(status).into(), is_refused }
    }
}

impl Table {
    fn take_queued(&mut self) -> Vec<Debtor> {
        let mut queued: Vec<Debtor> = self.held.take().map(|queued| queued.debtor).into_iter().collect();
        while let Ok(one) = self.queue.try_recv() {
            queued.push(one.debtor);
        }
        queued
    }

    fn under_way(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Enters an operation; its id.
    fn put(&mut self, debtor: Debtor) -> u64 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, debtor: None });
            u32::try_from(self.places.len() - 1).expect("what is under way is bounded")
        });
        let place = &mut self.places[at as usize];
        assert!(place.debtor.is_none(), "place {at} is in use");
        place.debtor = Some(debtor);
        u64::from(place.generation) << 32 | u64::from(at)
    }

    /// Takes out the operation of an id.
    fn take(&mut self, id: u64) -> Option<Debtor> {
        let (generation, at) = ((id >> 32) as u32, id as u32);
        let place = self.places.get_mut(at as usize).filter(|place| place.generation == generation)?;
        let debtor = place.debtor.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(at);
        Some(debtor)
    }

    /// Makes a message of what is queued.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<PipelineRequest>> {
        if self.ended.is_some() {
            return Poll::Ready(None);
        }
        let (mut operations, mut bytes) = (Vec::new(), 0);
        let now = edge::now();
        while operations.len() < BATCH_OPERATIONS_MAX && self.under_way() < INFLIGHT_MAX {
            let queued = match self.held.take() {
                Some(queued) => queued,
                None => match self.queue.poll_recv(cx) {
                    Poll::Ready(Some(queued)) => queued,
                    // Nobody is left who could ask.
                    Poll::Ready(None) if operations.is_empty() && self.under_way() == 0 => {
                        return Poll::Ready(None);
                    }
                    Poll::Ready(None) | Poll::Pending => break,
                },
            };
            let size = size_of(&queued.request);
            if !operations.is_empty() && bytes + size > BATCH_BYTES_MAX {
                self.held = Some(queued);
                break;
            }
            if !queued.debtor.start() {
                continue;
            }
            bytes += size;
            let timeout_ms = milliseconds(queued.until.saturating_duration_since(now));
            let id = self.put(queued.debtor);
            operations.push(Operation { id, timeout_ms, request: Some(queued.request) });
        }
        if operations.is_empty() {
            self.sender = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Some(PipelineRequest { operations }))
    }
}

/// At least one: none would be the server's default.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// About the bytes of a request. What transactions hold is not worth walking through: they go alone.
fn size_of(request: &Request) -> usize {
    let content = match request {
        Request::Get(get) => get.key.len(),
        Request::Put(put) => put.key.len() + put.value.len(),
        Request::Txn(_) => BATCH_BYTES_MAX,
        Request::Delete(_) | Request::List(_) | Request::OpenSession(_) | Request::CloseSession(_) => 0,
    };
    content + OPERATION_OVERHEAD_BYTES
}

/// The half that leaves.
struct Outgoing(Arc<Shared>);

impl Stream for Outgoing {
    type Item = PipelineRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PipelineRequest>> {
        self.0.lock().poll_message(cx)
    }
}

/// Reads answers until the stream ends.
async fn drive(channel: Channel, shared: Arc<Shared>) {
    let end = tokio::select! {
        biased;
        () = shared.ended.notified() => return,
        end = receive(channel, &shared) => end,
    };
    tracing::debug!(why = &*end.why, "a connection's stream has ended");
    shared.end(end);
}

async fn receive(channel: Channel, shared: &Arc<Shared>) -> End {
    let mut client = KvClient::new(channel)
        .max_decoding_message_size(ANSWER_BYTES_MAX)
        .max_encoding_message_size(usize::MAX);
    let mut answers = match client.pipeline(Outgoing(shared.clone())).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return End::of_status(&status),
    };
    loop {
        match answers.message().await {
            Ok(Some(message)) => shared.resolve(message.results),
            Ok(None) => return End::lost("the node ended the stream"),
            Err(status) => return End::of_status(&status),
        }
    }
}
