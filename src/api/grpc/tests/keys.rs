//! The straight path of gets, puts and deletes, held against the generated service.

use http_body_util::BodyExt;
use prost::Message;
use tonic::body::Body;
use tower::ServiceExt;

use super::*;

/// What a client hears: the status, wherever it stands, the code of its details, and the messages.
async fn heard(response: http::Response<Body>) -> (Code, Option<String>, Bytes) {
    let (head, body) = response.into_parts();
    let collected = body.collect().await.expect("the whole answer");
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let status = Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers));
    let status = status.expect("every call ends with a status");
    let reason = status.get_details_error_info().map(|info| info.reason);
    (status.code(), reason, collected.to_bytes())
}

fn framed(message: &impl Message) -> Bytes {
    crate::api::framed::frame(message).expect("it is short")
}

fn request(method: &str, encoding: Option<&str>, body: &Bytes) -> http::Request<Body> {
    let request =
        http::Request::post(format!("/quorate.v1.Kv/{method}")).header("content-type", "application/grpc");
    let request = match encoding {
        Some(encoding) => request.header("grpc-encoding", encoding),
        None => request,
    };
    request.body(Body::new(http_body_util::Full::new(body.clone()))).expect("a request")
}

#[tokio::test]
async fn both_ways_say_the_same() {
    let limits = Limits { value_bytes_max: 1_000, ..Limits::default() };
    let put = |value: usize| {
        let value = Bytes::from(vec![b'v'; value]);
        framed(&v1::PutRequest { key: Bytes::from_static(b"k"), value, ..Default::default() })
    };
    let get = framed(&v1::GetRequest { key: Bytes::from_static(b"k"), read: None });
    let nothing = framed(&v1::GetRequest::default());
    let compressed = Bytes::from_static(b"\x01\0\0\0\x01a");
    let endless = Bytes::from_static(b"\0\xff\xff\xff\xffab");
    let cases = [
        ("Put", None, put(3)),
        ("Put", None, put(2_000)),
        ("Get", None, get.clone()),
        ("Get", Some("identity"), get.clone()),
        ("Get", Some("gzip"), get.clone()),
        ("Get", Some("nonsense"), get.clone()),
        ("Get", None, nothing),
        ("Get", None, compressed),
        ("Get", None, endless),
        ("Get", None, Bytes::new()),
        ("Get", None, Bytes::from_static(b"\0\0\0")),
        ("Get", None, get.slice(..get.len() - 1)),
        ("Delete", None, framed(&v1::DeleteRequest::default())),
        ("Nothing", None, get.clone()),
    ];
    for (method, encoding, body) in cases {
        let (straight, generated) = (Desk::with_limits(limits.clone()), Desk::with_limits(limits.clone()));
        let asked = request(method, encoding, &body);
        let one = heard(straight.kv.clone().oneshot(asked).await.expect("an answer")).await;
        let asked = request(method, encoding, &body);
        let other = heard(generated.kv.others.clone().oneshot(asked).await.expect("an answer")).await;
        assert_eq!(one, other, "{method} {encoding:?} {body:?}");
    }
}

/// What says that it will be too long is refused when it says so, though there is no room for it in the share either.
#[tokio::test]
async fn a_message_that_is_too_long_is_refused_at_its_head() {
    let desk = Desk::with_limits(Limits { request_bytes_inflight_max: 100, ..Limits::default() });
    let begin = Bytes::from([&b"\0\x7f\0\0\0"[..], &[b'x'; 200]].concat());
    let (code, reason, _) =
        heard(desk.kv.clone().oneshot(request("Put", None, &begin)).await.expect("an answer")).await;
    assert_eq!((code, reason.as_deref()), (Code::InvalidArgument, Some("too_large")));
}
