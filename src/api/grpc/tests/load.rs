//! What a connection may have under way, at the door.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use http_body_util::BodyExt;
use prost::Message;
use tonic::Code;
use tonic::body::Body;
use tower::ServiceExt;

use super::pipeline::{Pipe, operation, settle, write};
use super::{Desk, get, on, prefix, put, refused, said};
use crate::api::grpc::received::Method;
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

/// A message on the wire of which only a part comes, and then nothing.
fn broken(path: &str, message: &impl Message) -> http::Request<Body> {
    let mut frame = vec![0; 5];
    message.encode(&mut frame).unwrap();
    let length = u32::try_from(frame.len() - 5).unwrap();
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    frame.pop();
    let part =
        futures_util::stream::iter([Ok::<_, tonic::Status>(hyper::body::Frame::data(Bytes::from(frame)))]);
    let body = http_body_util::StreamBody::new(part.chain(futures_util::stream::pending()));
    let request =
        http::Request::post(path).header("content-type", "application/grpc").header("grpc-timeout", "2S");
    request.body(Body::new(body)).unwrap()
}

#[tokio::test]
async fn a_request_has_until_its_deadline_to_come() {
    let desk = Desk::open();
    let status = v1::UpdateMemberRequest { id: 2, ..v1::UpdateMemberRequest::default() };
    let requests = [
        broken("/quorate.v1.Kv/Put", &put("k", "v")),
        broken("/quorate.v1.Kv/List", &v1::ListRequest { keys: prefix("k"), ..v1::ListRequest::default() }),
        broken("/quorate.v1.Admin/UpdateMember", &status),
    ];
    for request in requests {
        let mut answer = Box::pin(desk.routes.clone().oneshot(request));
        assert!((&mut answer).now_or_never().is_none());
        assert!(!desk.shares.is_idle(), "what has come counts");
        desk.clock.advance(Duration::from_millis(1_999));
        assert!((&mut answer).now_or_never().is_none());
        desk.clock.advance(Duration::from_millis(1));
        let response = answer.now_or_never().expect("its time is over").unwrap();
        let status = tonic::Status::from_header_map(response.headers()).unwrap();
        refused::<()>(Err(status), Code::DeadlineExceeded, "unavailable");
        drop(response);
        assert!(desk.shares.is_idle());
    }
    assert!(desk.store.state().written.is_empty());
}

#[tokio::test]
async fn what_operators_ask_counts_until_they_have_their_answer() {
    let desk = Desk::open();
    let (mut parts, body) = raw("Status", &v1::StatusRequest {}).into_parts();
    parts.uri = "/quorate.v1.Admin/Status".parse().unwrap();
    let response = desk.routes.clone().oneshot(http::Request::from_parts(parts, body)).await.unwrap();
    let bytes = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(!desk.shares.is_idle());
    drop(bytes);
    assert!(desk.shares.is_idle());
}

/// What a message has beside its operations is given back with them.
#[tokio::test]
async fn a_stream_counts_for_nothing_between_its_messages() {
    let desk = Desk::with_limits(Limits { request_bytes_inflight_max: 20_000, ..Limits::default() });
    let mut pipe = Pipe::open(&desk).await;
    for n in 0..500 {
        pipe.send(vec![write(n)]).await;
        assert!(matches!(pipe.take(1).await[&n], Done::Put(_)), "{n}");
    }
    settle().await;
    assert!(desk.shares.connection().enter().unwrap().grow(20_000));
}

/// A small operation keeps all of the message that it came in.
#[tokio::test]
async fn a_message_counts_while_anything_of_it_is_under_way() {
    let desk = Desk::with_limits(Limits { request_bytes_inflight_max: 400_000, ..Limits::default() });
    desk.store.busy.send_replace(true);
    let mut message = v1::PipelineRequest { operations: vec![write(1)] }.encode_to_vec();
    // A field that nobody knows.
    prost::encoding::bytes::encode(99, &vec![7; 150_000], &mut message);
    let request = http::Request::post("/quorate.v1.Kv/Pipeline").header("content-type", "application/grpc");
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    let request = request.body(Body::new(http_body_util::Full::new(Bytes::from(frame)))).unwrap();
    let response = desk.routes.clone().oneshot(request).await.unwrap();
    settle().await;
    assert_eq!(desk.store.state().submitted.len(), 1);
    let mut other = desk.shares.connection().enter().unwrap();
    assert!(!other.grow(200_000), "it is still there");
    desk.store.busy.send_replace(false);
    let answer = response.into_body().collect().await.unwrap();
    drop(answer);
    assert!(other.grow(200_000));
}

/// Two bytes on the wire are an operation of some hundred.
#[test]
fn what_becomes_large_is_refused_before_it_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let desk = Desk::open();
    let cases = [
        ("Pipeline", [0x0a, 0], 1_900_000, "operations"),
        ("Txn", [0x0a, 0], 1_900_000, "compares and operations"),
        ("Txn", [0x12, 0], 1_025, "compares and operations"),
    ];
    for (method, element, count, text) in cases {
        let message = element.repeat(count);
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let frame = Bytes::from([&[0][..], &length, &message].concat());
        let (status, bytes) = crate::fuzzing::meter::measure(|| {
            runtime.block_on(async {
                let path = format!("/quorate.v1.Kv/{method}");
                let request = http::Request::post(path).header("content-type", "application/grpc");
                let request = request.body(Body::new(http_body_util::Full::new(frame))).unwrap();
                let response = desk.routes.clone().oneshot(request).await.unwrap();
                let (parts, body) = response.into_parts();
                let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
                let headers = if trailers.is_empty() { parts.headers } else { trailers };
                tonic::Status::from_header_map(&headers).expect("a status")
            })
        });
        let status = refused::<()>(Err(status), Code::InvalidArgument, "invalid");
        assert!(status.message().contains(text), "{status}");
        assert!(bytes < 1 << 20, "{method} took {bytes} bytes");
    }
}

/// What is decoded takes no more than was counted for it, whatever it is.
#[test]
fn what_is_decoded_was_counted() {
    let op = |request| v1::TxnOp { op: Some(request) };
    let inner = v1::Txn {
        compares: vec![v1::Compare::default(); 3],
        success: vec![op(v1::txn_op::Op::Put(v1::TxnPut { key: "k".into(), ..v1::TxnPut::default() })); 3],
        failure: vec![v1::TxnOp::default(); 20],
    };
    let txn = v1::TxnRequest {
        compares: vec![v1::Compare { keys: prefix("a"), ..v1::Compare::default() }; 5],
        success: vec![op(v1::txn_op::Op::Txn(inner)); 3],
        ..v1::TxnRequest::default()
    };
    let operations = vec![write(1), operation(2, Asked::Txn(txn)), v1::Operation::default()];
    let valid = v1::PipelineRequest { operations }.encode_to_vec();
    let method = Method::of("/quorate.v1.Kv/Pipeline");
    let mut random = fastrand::Rng::with_seed(7);
    let mut understood = 0;
    for _ in 0..3_000 {
        let mut message = valid.clone();
        crate::fuzzing::mutate(&mut random, &mut message, &valid);
        let message = Bytes::from(message);
        let Ok(cost) = method.cost(&message) else {
            assert!(v1::PipelineRequest::decode(message).is_err(), "the walk is no stricter than prost");
            continue;
        };
        let (decoded, bytes) =
            crate::fuzzing::meter::measure(|| v1::PipelineRequest::decode(message.clone()));
        assert!(bytes <= cost + 1_024, "{bytes} bytes where {cost} were counted, of {message:?}");
        understood += usize::from(decoded.is_ok());
    }
    assert!(understood > 300, "only {understood} were requests: they are too far from one");
}
