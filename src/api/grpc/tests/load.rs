//! What a connection may have under way, at the door.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use prost::Message;
use tonic::Code;
use tonic::body::Body;
use tower::ServiceExt;

use super::pipeline::{Pipe, operation, settle, write};
use super::{Desk, get, on, prefix, put, refused, said};
use crate::config::Limits;
use crate::proto::v1;
use crate::proto::v1::operation::Request as Asked;
use crate::proto::v1::operation_result::Result as Done;

#[tokio::test]
async fn what_is_over_the_share_is_refused_before_anything_is_done() {
    let desk = Desk::with_limits(Limits { requests_inflight_max: 0, ..Limits::default() });
    let status = refused(desk.kv().get(get("k")).await, Code::ResourceExhausted, "overloaded");
    assert_eq!((&*said(&status).retryable, said(&status).retry_after_ms), ("true", Some(100)));
    refused(desk.kv().put(put("k", "v")).await, Code::ResourceExhausted, "overloaded");
    let list = v1::ListRequest { keys: prefix("k"), ..v1::ListRequest::default() };
    refused(desk.kv().list(list).await, Code::ResourceExhausted, "overloaded");
    let nothing = tokio_stream::iter(Vec::<v1::PipelineRequest>::new());
    refused(desk.kv().pipeline(nothing).await, Code::ResourceExhausted, "overloaded");
    assert!(desk.store.state().written.is_empty() && desk.store.state().queries.is_empty());
    // Whoever looks after the node is not kept out.
    assert!(desk.admin().status(v1::StatusRequest {}).await.is_ok());
}

#[tokio::test]
async fn bodies_and_answers_count() {
    let limits = Limits { request_bytes_inflight_max: 400, list_bytes_max: 100, ..Limits::default() };
    let desk = Desk::with_limits(limits);
    let value = |bytes| Bytes::from(vec![b'v'; bytes]);
    let large = v1::PutRequest { value: value(500), ..put("k", "") };
    refused(desk.kv().put(large).await, Code::ResourceExhausted, "overloaded");
    assert!(desk.store.state().written.is_empty());
    for _ in 0..10 {
        let fitting = v1::PutRequest { value: value(300), ..put("k", "") };
        assert!(desk.kv().put(fitting).await.is_ok(), "each gives back what it had");
    }
    assert!(desk.shares.is_idle());
    desk.store.state().pairs.insert("k".into(), super::store::record(1, &value(500)));
    refused(desk.kv().get(get("k")).await, Code::ResourceExhausted, "overloaded");
    assert!(desk.shares.is_idle());
}

#[tokio::test]
async fn a_list_gives_back_what_it_had() {
    let desk = Desk::open();
    for key in ["a", "b", "c"] {
        desk.kv().put(put(key, "v")).await.unwrap();
    }
    let connection = desk.shares.connection();
    let list = v1::ListRequest { keys: prefix(""), page: 1, ..v1::ListRequest::default() };
    let mut stream = desk.kv().list(on(&connection, list)).await.unwrap().into_inner();
    assert!(!desk.shares.is_idle(), "the stream itself");
    while stream.message().await.unwrap().is_some() {}
    drop(stream);
    assert!(desk.shares.is_idle());
}

/// A request as it is on the wire.
fn raw(method: &str, message: &impl Message) -> http::Request<Body> {
    let mut frame = vec![0; 5];
    message.encode(&mut frame).unwrap();
    let length = u32::try_from(frame.len() - 5).unwrap();
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    let request =
        http::Request::post(format!("/quorate.v1.Kv/{method}")).header("content-type", "application/grpc");
    request.body(Body::new(http_body_util::Full::new(Bytes::from(frame)))).unwrap()
}

#[tokio::test]
async fn an_answer_counts_until_its_last_byte_has_left() {
    let desk = Desk::open();
    desk.kv().put(put("k", "v")).await.unwrap();
    let list = v1::ListRequest { keys: prefix(""), ..v1::ListRequest::default() };
    for request in [raw("Get", &get("k")), raw("Put", &put("k", "w")), raw("List", &list)] {
        let response = desk.routes.clone().oneshot(request).await.unwrap();
        let mut body = response.into_body();
        let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert!(!desk.shares.is_idle(), "nobody has sent it yet");
        drop(bytes);
        assert!(desk.shares.is_idle());
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_an_invalid_argument() {
    let desk = Desk::open();
    for wrong in [&b"\0\0\0\0\x02\xff\xff"[..], b"\0\0\0\0\x05ab", b"\x07\0\0\0\0", b""] {
        let (parts, _) = raw("Get", &get("k")).into_parts();
        let body = Body::new(http_body_util::Full::new(Bytes::from_static(wrong)));
        let response = desk.routes.clone().oneshot(http::Request::from_parts(parts, body)).await.unwrap();
        let status = tonic::Status::from_header_map(response.headers()).unwrap();
        refused::<()>(Err(status), Code::InvalidArgument, "invalid");
    }
}

/// Most often what a stream lacks are its own answers, which leave.
#[tokio::test]
async fn a_stream_waits_for_room_for_what_comes_in() {
    let desk = Desk::with_limits(Limits { request_bytes_inflight_max: 200_000, ..Limits::default() });
    let connection = desk.shares.connection();
    let mut pipe = Pipe::open_on(&desk, &connection).await;
    let mut taken = connection.enter().unwrap();
    assert!(taken.grow(100_000));
    let large = || {
        let value = Bytes::from(vec![b'v'; 60_000]);
        operation(1, Asked::Put(v1::PutRequest { value, ..put("k", "") }))
    };
    // A little is always taken, and judged by itself.
    pipe.send(vec![write(7)]).await;
    let Done::Error(error) = &pipe.take(1).await[&7] else { panic!("it is over the share") };
    assert_eq!(error.code, "overloaded");
    pipe.send(vec![large()]).await;
    settle().await;
    assert!(desk.store.state().submitted.is_empty());
    drop(taken);
    desk.clock.advance(Duration::from_millis(20));
    assert!(matches!(pipe.take(1).await[&1], Done::Put(_)));

    let mut taken = connection.enter().unwrap();
    assert!(taken.grow(100_000));
    pipe.send(vec![large()]).await;
    for _ in 0..51 {
        settle().await;
        desk.clock.advance(Duration::from_millis(20));
    }
    refused(pipe.results.message().await, Code::ResourceExhausted, "overloaded");
    assert_eq!(desk.store.state().written.len(), 1);
}
