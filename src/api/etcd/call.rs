//! A unary call from its first byte to its last: one message each way ([`framed`]), and what it counts for meanwhile.
//!
//! An answer to a read that does not fit the connection's share is refused; one to a write is given whatever the share: what
//! was done is said.

use std::future::Future;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use prost::Message;
use tonic::Status;
use tonic::body::Body;

use crate::api::elements::{self, ELEMENT_BYTES, Shape};
use crate::api::framed::{self, Fault, MEDIA_TYPE};
use crate::api::shares::Held;
use crate::clock::timeout_at;
use crate::command::{Answer, Command, Found, Query, Reply, TXN_PARTS_MAX};
use crate::proto::etcd::etcdserverpb::ResponseHeader;
use crate::shard::{Freshness, Router};
use crate::types::{Monotonic, Revision};

use super::Front;
use super::answer::signed;
use super::error;

/// With `true` a client asks to be refused at once where no leader is known.
const REQUIRE_LEADER: &str = "hasleader";

/// What a read is allowed at first. Most ranges are small; those that are not are read again with [`READ_GROWTH`] times as
/// much, so that none holds much more of the connection's share than it needs.
const READ_BYTES_FIRST: usize = 64 << 10;
const READ_GROWTH: usize = 16;

/// A method of etcd's that takes one message and answers with one.
pub(super) trait Unary: 'static {
    /// Where it is called.
    const PATH: &'static str;
    /// What it is asked.
    type Request: Message + Default;
    /// What it answers.
    type Answer: Message;
    /// Where its request has lists.
    const LISTS: Option<&'static Shape> = None;

    /// Does it.
    fn execute(
        call: &mut Call<'_>,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Answer, Status>> + Send;
}

/// A call under way.
pub(super) struct Call<'a> {
    front: &'a Front,
    deadline: Monotonic,
    requires_leader: bool,
    held: Held,
    /// Whether it may have changed something.
    is_write: bool,
}

/// Serves one call.
pub(super) async fn serve<M, B>(front: &Front, request: Request<B>) -> Response<Body>
where
    M: Unary,
    B: hyper::body::Body<Data = Bytes> + Send + Unpin,
{
    let (parts, body) = request.into_parts();
    let media_type = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !media_type.starts_with(MEDIA_TYPE.as_bytes()) {
        let text = Bytes::from_static(b"gRPC is served here: Content-Type must be application/grpc.\n");
        let mut response = Response::new(Body::new(Full::new(text)));
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let answered = async {
        let deadline = front.deadline(&parts.headers)?;
        let requires_leader = parts.headers.get(REQUIRE_LEADER).is_some_and(|value| value == "true");
        let held = front.enter(&parts)?;
        let mut call = Call { front, deadline, requires_leader, held, is_write: false };
        let request = call.receive::<M, B>(body).await?;
        let answer = M::execute(&mut call, request).await?;
        call.finish(&answer)
    };
    answered.await.map_or_else(Status::into_http, framed::respond)
}

impl Call<'_> {
    /// The one message that was sent.
    async fn receive<M, B>(&mut self, body: B) -> Result<M::Request, Status>
    where
        M: Unary,
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
    {
        let received = framed::receive(body, &mut self.held, self.front.limits.frame_bytes_max);
        let received = timeout_at(&*self.front.clock, self.deadline, received).await;
        let message = received.ok_or_else(error::not_received)?.map_err(refuse)?;
        if let Some(shape) = M::LISTS {
            let elements =
                elements::count(&message, shape, TXN_PARTS_MAX).map_err(|refused| match refused {
                    elements::Refused::TooMany => error::too_many_operations(),
                    elements::Refused::Unreadable(why) => error::not_understood(&why),
                })?;
            if !self.held.grow(elements * ELEMENT_BYTES) {
                return Err(error::over_the_share("bytes"));
            }
        }
        M::Request::decode(message).map_err(|error| error::not_understood(&error.to_string()))
    }

    /// The router, once the node is open.
    pub(super) async fn router(&self) -> Result<Router, Status> {
        let router = self.front.router(self.deadline).await?;
        if self.requires_leader && router.standing().leader.is_none() {
            return Err(error::no_leader());
        }
        Ok(router)
    }

    /// Executes a command.
    pub(super) async fn write(
        &mut self,
        router: &Router,
        command: impl Into<Command>,
    ) -> Result<Reply, Status> {
        self.is_write = true;
        let written = router.write(None, command, self.deadline).await;
        written.map_err(|error| error::of(&error, router.standing().leader.is_some()))
    }

    /// Reads, once.
    pub(super) async fn get(
        &mut self,
        router: &Router,
        query: Query,
        freshness: Freshness,
    ) -> Result<Answer, Status> {
        let read = router.read(query, freshness, self.deadline).await;
        read.map_err(|error| error::of(&error, router.standing().leader.is_some()))
    }

    /// Reads what may be large: `query` is asked with the bytes that its answer may have, and again with more if it needs
    /// them.
    pub(super) async fn read(
        &mut self,
        router: &Router,
        query: impl Fn(usize) -> Query,
        freshness: Freshness,
    ) -> Result<Answer, Status> {
        let max = self.front.limits.range_answer_bytes_max();
        let mut held = 0;
        loop {
            let bytes_max = max.min(if held == 0 { READ_BYTES_FIRST } else { held * READ_GROWTH });
            if !self.held.grow(bytes_max - held) {
                return Err(error::over_the_share("bytes"));
            }
            held = bytes_max;
            let answer = self.get(router, query(bytes_max), freshness).await?;
            match answer.found {
                Found::TooLarge if bytes_max == max => return Err(error::answer_too_large(max)),
                Found::TooLarge => {}
                _ => return Ok(answer),
            }
        }
    }

    /// Waits until a quorum has confirmed that all that was acknowledged before is here.
    pub(super) async fn confirm(&self, router: &Router) -> Result<(), Status> {
        let confirmed = router.confirm(self.deadline).await;
        confirmed.map_err(|error| error::of(&error, router.standing().leader.is_some()))
    }

    /// The answer as it leaves, counted until it has left.
    fn finish(mut self, answer: &impl Message) -> Result<Bytes, Status> {
        let bytes = framed::HEAD_BYTES + answer.encoded_len();
        if self.is_write {
            self.held.force(bytes);
        } else if !self.held.resize(bytes) {
            return Err(error::over_the_share("bytes"));
        }
        let too_large = || error::answer_too_large(self.front.limits.range_answer_bytes_max());
        let message = framed::frame(answer).ok_or_else(too_large)?;
        Ok(self.held.keep(message))
    }
}

/// There is no message.
fn refuse(fault: Fault) -> Status {
    match fault {
        Fault::BrokeOff => error::invalid("the request broke off"),
        Fault::TooLong => error::request_too_large(),
        Fault::OverTheShare => error::over_the_share("bytes"),
        Fault::NoMessage => error::invalid("the request has no message"),
        Fault::Compressed => {
            error::unimplemented("compressed messages are not understood here: send them as they are")
        }
        Fault::NotOne => error::invalid("the request is not one whole message"),
    }
}

/// What every answer carries. `revision`: the one that it shows.
pub(super) fn header(router: &Router, revision: Revision) -> ResponseHeader {
    let standing = router.standing();
    ResponseHeader {
        cluster_id: standing.cluster_id.0,
        member_id: standing.id.0,
        revision: signed(revision.0),
        raft_term: standing.term.0,
    }
}
