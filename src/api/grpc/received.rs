//! A request's body on its way in: its bytes counted as they come, each message handed on whole, and walked before that.
//!
//! ```text
//! frames of HTTP/2 -> room for their bytes -> a whole message (5 bytes: flag, length) -> how many elements it has
//!                  -> room for what they take -> tonic
//! ```
//!
//! tonic thus never has more than one message, and makes room for none that is only announced. Most messages come in one frame,
//! and are handed on without a copy.
//!
//! A unary request has until its deadline to come, and is refused where there is no room for it. A stream waits a moment for
//! room, and is refused only then: most often what it lacks are its own answers, which leave. A little it may always send, so
//! that operations are refused one by one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Frame};
use tonic::Status;
use tonic::body::Body;

use super::counted::Tab;
use super::error::Refusal;
use super::{Front, counted};
use crate::api::elements::{self, ELEMENT_BYTES, LEAF, Shape};
use crate::clock::Sleep;
use crate::command::TXN_PARTS_MAX;
use crate::error::{Error, ErrorKind};
use crate::types::Monotonic;

/// What stands before a message: a flag, and its length.
const HEAD_BYTES: usize = 5;
/// Operations of a message of a pipeline, compares and operations of the transactions among them included.
const PIPELINE_ELEMENTS_MAX: usize = 16_384;
/// How long a stream waits for room for what comes in, and how often it looks.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
const ROOM_LOOK: Duration = Duration::from_millis(20);

static TXN: Shape = Shape { fields: &[(1, &LEAF), (2, &TXN_OP), (3, &TXN_OP)], is_element: false };
static TXN_OP: Shape = Shape { fields: &[(4, &TXN)], is_element: true };
static PIPELINE: Shape = Shape { fields: &[(1, &OPERATION)], is_element: false };
static OPERATION: Shape = Shape { fields: &[(7, &TXN)], is_element: true };

/// What a method's messages are.
#[derive(Clone, Copy)]
pub(super) struct Method {
    /// Whether many may come.
    pub(super) is_stream: bool,
    /// Where they have lists, and how many elements those may have together.
    lists: Option<(&'static Shape, usize)>,
}

impl Method {
    /// By the path of a request.
    pub(super) fn of(path: &str) -> Method {
        match path.rsplit('/').next() {
            Some("Pipeline") => Method { is_stream: true, lists: Some((&PIPELINE, PIPELINE_ELEMENTS_MAX)) },
            Some("Txn") => Method { is_stream: false, lists: Some((&TXN, TXN_PARTS_MAX)) },
            _ => Method { is_stream: false, lists: None },
        }
    }

    /// What a message of this method will take beside its bytes.
    pub(super) fn cost(self, message: &[u8]) -> Result<usize, Refusal> {
        let Some((shape, max)) = self.lists else { return Ok(0) };
        match elements::count(message, shape, max) {
            Ok(elements) => Ok(elements * ELEMENT_BYTES),
            Err(elements::Refused::TooMany) => Err(Refusal::invalid(match self.is_stream {
                true => format!(
                    "a message has at most {max} operations, those in transactions included: send several"
                ),
                false => format!("a transaction has at most {max} compares and operations: split it"),
            })),
            Err(elements::Refused::Unreadable(why)) => Err(counted::unreadable(&why)),
        }
    }
}

/// See the module.
pub(super) struct Received {
    body: Body,
    front: Arc<Front>,
    tab: Tab,
    method: Method,
    message_bytes_max: usize,
    gathered: Gathered,
    /// What there has to be room for before it goes on.
    due: Option<Due>,
    /// Ends at a unary request's deadline.
    deadline: Option<Sleep>,
}

/// What waits for room.
struct Due {
    step: Step,
    bytes: usize,
    /// Since when there was none, and when it is looked for again.
    since: Option<Monotonic>,
    look: Option<Sleep>,
}

enum Step {
    /// A frame came.
    Came(Bytes),
    /// A message is whole.
    Whole(Bytes),
}

impl Received {
    pub(super) fn new(
        body: Body,
        front: Arc<Front>,
        tab: Tab,
        method: Method,
        message_bytes_max: usize,
    ) -> Received {
        let deadline = (!method.is_stream).then(|| front.clock.sleep_until(tab.deadline()));
        let gathered = Gathered::default();
        Received { body, front, tab, method, message_bytes_max, gathered, due: None, deadline }
    }

    /// The next message, or what else is to be handed on.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Status>> {
        loop {
            if self.due.is_some() {
                ready!(self.poll_room(context)).map_err(Refusal::into_status)?;
                match self.due.take().map(|due| due.step) {
                    Some(Step::Whole(message)) => return Poll::Ready(Ok(Some(Frame::data(message)))),
                    Some(Step::Came(data)) => self.gathered.push(data),
                    None => {}
                }
            }
            let next = self.gathered.next(self.message_bytes_max).map_err(Refusal::into_status)?;
            if let Some(message) = next {
                let bytes = self.method.cost(&message[HEAD_BYTES..]).map_err(Refusal::into_status)?;
                self.due = Some(Due { step: Step::Whole(message), bytes, since: None, look: None });
                continue;
            }
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let Some(deadline) = &mut self.deadline else { return Poll::Pending };
                    ready!(deadline.as_mut().poll(context));
                    return Poll::Ready(Err(late(&self.front, self.tab.deadline()).into_status()));
                }
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let bytes = data.len();
                        self.due = Some(Due { step: Step::Came(data), bytes, since: None, look: None });
                    }
                    Err(trailers) => return Poll::Ready(Ok(Some(trailers))),
                },
                Some(Err(status)) => return Poll::Ready(Err(status)),
                // What is there of a message that breaks off is for tonic to refuse.
                None => return Poll::Ready(Ok(self.gathered.rest().map(Frame::data))),
            }
        }
    }

    /// Waits for room for what is due.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let Some(due) = &mut self.due else { return Poll::Ready(Ok(())) };
        loop {
            if let Some(look) = &mut due.look {
                ready!(look.as_mut().poll(context));
                due.look = None;
            }
            let has_room = match &due.step {
                Step::Came(_) => self.tab.came(due.bytes, self.method.is_stream),
                Step::Whole(message) => self.tab.whole(message.len(), due.bytes, self.method.is_stream),
            };
            if has_room {
                return Poll::Ready(Ok(()));
            }
            let now = self.front.clock.now();
            let since = *due.since.get_or_insert(now);
            if !self.method.is_stream || now.since(since) >= ROOM_PATIENCE {
                return Poll::Ready(Err(Refusal::too_large_together()));
            }
            due.look = Some(self.front.clock.sleep_until(now.plus(ROOM_LOOK)));
        }
    }
}

/// The request did not come in time.
pub(super) fn late(front: &Front, deadline: Monotonic) -> Refusal {
    let text = "the request did not come within its deadline: nothing was executed";
    front.refusal(Error::new(ErrorKind::Unavailable, text), deadline)
}

/// A message is longer than so many bytes.
pub(super) fn too_long(bytes_max: usize) -> Refusal {
    Refusal::too_large(format!("a message has at most {bytes_max} bytes: split the request"))
}

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.poll_next(context).map(Result::transpose)
    }
}

/// What came of messages that are not handed on yet.
#[derive(Default)]
struct Gathered {
    /// The rest of the frame that came last.
    frame: Bytes,
    /// A message that began in a frame before.
    begun: BytesMut,
}

impl Gathered {
    /// A frame, behind all that was in those before.
    fn push(&mut self, frame: Bytes) {
        assert!(self.frame.is_empty(), "{} bytes of the frame before are left", self.frame.len());
        self.frame = frame;
    }

    /// The next message that is whole, with its head. All of the frame is in `begun` where there is none.
    fn next(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Refusal> {
        if self.begun.is_empty() {
            match whole(&self.frame, bytes_max)? {
                Some(length) if length <= self.frame.len() => return Ok(Some(self.frame.split_to(length))),
                _ => {}
            }
        }
        while !self.frame.is_empty() {
            let length = whole(&self.begun, bytes_max)?.unwrap_or(HEAD_BYTES);
            let lacking = (length - self.begun.len()).min(self.frame.len());
            self.begun.extend_from_slice(&self.frame.split_to(lacking));
            if whole(&self.begun, bytes_max)? == Some(self.begun.len()) {
                return Ok(Some(std::mem::take(&mut self.begun).freeze()));
            }
        }
        Ok(None)
    }

    /// What is left at the end.
    fn rest(&mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.begun).freeze();
        (!rest.is_empty()).then_some(rest)
    }
}

/// How long the message that begins so is, with its head; `None` if not even that is there.
fn whole(begin: &[u8], bytes_max: usize) -> Result<Option<usize>, Refusal> {
    let Some([_, length @ ..]) = begin.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(too_long(bytes_max));
    }
    Ok(Some(HEAD_BYTES + length))
}
