//! What is no call, what is none of these calls, and what a call counts for.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use http_body_util::BodyExt;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tower::ServiceExt;

use super::{Asked, Desk, NOW, bytes, frame, post};
use crate::api::etcd::call::Unary;
use crate::api::etcd::{cluster, kv, maintenance};
use crate::api::shares::{Connection, Shares};
use crate::clock::Clock;
use crate::command::{Found, Reply};
use crate::config::Limits;
use crate::error::{Error, ErrorKind};
use crate::proto::etcd::DESCRIPTORS;
use crate::proto::etcd::etcdserverpb::compare::TargetUnion;
use crate::proto::etcd::etcdserverpb::request_op::Request as Op;
use crate::proto::etcd::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use crate::shard::Router;
use crate::types::Revision;

const GET: &str = <kv::Range as Unary>::PATH;
const PUT: &str = <kv::Put as Unary>::PATH;

fn get() -> Bytes {
    frame(&RangeRequest { key: bytes("k"), ..RangeRequest::default() }.encode_to_vec())
}

fn put(value: &'static str) -> Bytes {
    frame(&PutRequest { key: bytes("k"), value: bytes(value), ..PutRequest::default() }.encode_to_vec())
}

#[tokio::test]
async fn what_is_described_is_what_is_served() {
    let mounted = [
        GET,
        PUT,
        kv::DeleteRange::PATH,
        kv::Txn::PATH,
        cluster::MemberList::PATH,
        maintenance::Alarm::PATH,
        maintenance::Status::PATH,
    ];
    let described = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let described: Vec<String> = described
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(|service| (file.package(), service)))
        .flat_map(|(package, service)| {
            service
                .method
                .iter()
                .map(move |method| format!("/{package}.{}/{}", service.name(), method.name()))
        })
        .collect();
    assert_eq!(described, mounted);
    let desk = Desk::open();
    for path in mounted {
        let sent = desk.send(post(path, Body::empty())).await;
        assert_eq!(sent.status.message(), "the request has no message", "{path} is served");
    }
}

#[tokio::test]
async fn what_is_missing_says_so_and_what_there_is_instead() {
    let desk = Desk::closed(Limits::default());
    let cases = [
        ("/etcdserverpb.Watch/Watch", "min_mod_revision"),
        ("/etcdserverpb.Lease/LeaseGrant", "there are no leases yet"),
        ("/etcdserverpb.Lease/LeaseKeepAlive", "there are no leases yet"),
        ("/etcdserverpb.KV/Compact", "no history is kept"),
        ("/etcdserverpb.Cluster/MemberAdd", "/api/members"),
        ("/etcdserverpb.Maintenance/MoveLeader", "POST /api/leader"),
        ("/etcdserverpb.Maintenance/Defragment", "by the node itself"),
        ("/etcdserverpb.Maintenance/HashKV", "state_divergences_total"),
        ("/etcdserverpb.Maintenance/Snapshot", "backups"),
        ("/etcdserverpb.Auth/Authenticate", "no users"),
        ("/v3lockpb.Lock/Lock", "locks need leases"),
        ("/v3electionpb.Election/Campaign", "elections need leases"),
        ("/etcdserverpb.Other/Thing", "quorate does not serve etcdserverpb.Other.Thing"),
    ];
    for (path, part) in cases {
        // A stream that stays open, as a watch's does; nobody waits for its end.
        let endless = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let sent = desk.send(post(path, endless)).now_or_never().expect("answered at once");
        assert_eq!(sent.status.code(), Code::Unimplemented, "{path}");
        let text = sent.status.message();
        assert!(text.contains(part) && text.contains(&path[1..].replace('/', ".")), "{path}: {text}");
        assert!(sent.message.is_empty());
    }
}

#[tokio::test]
async fn what_is_no_grpc_is_told_so() {
    let desk = Desk::open();
    let request =
        Request::post(GET).header("content-type", "application/json").body(Body::from("{}")).unwrap();
    let response = desk.app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 415);
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert!(text.starts_with(b"gRPC is served here"));
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let desk = Desk::open();
    let whole = get();
    let mut compressed = whole.to_vec();
    compressed[0] = 1;
    let cases = [
        (Bytes::new(), Code::InvalidArgument, "no message"),
        (whole.slice(..4), Code::InvalidArgument, "no message"),
        (whole.slice(..whole.len() - 1), Code::InvalidArgument, "not one whole message"),
        ([&whole[..], &whole[..]].concat().into(), Code::InvalidArgument, "not one whole message"),
        (compressed.into(), Code::Unimplemented, "compressed"),
        (frame(b"\x0a\xff"), Code::InvalidArgument, "not understood"),
    ];
    for (body, code, part) in cases {
        let sent = desk.send(post(GET, body)).await;
        assert_eq!(sent.status.code(), code, "{}", sent.status.message());
        assert!(sent.status.message().contains(part), "{}", sent.status.message());
    }
    assert_eq!(desk.asked(), []);
}

/// A transaction with something of everything.
fn rich() -> TxnRequest {
    let compare = Compare {
        key: bytes("k"),
        range_end: bytes("z"),
        target_union: Some(TargetUnion::Version(-7)),
        ..Compare::default()
    };
    let op = |request| RequestOp { request: Some(request) };
    let ops = vec![
        op(Op::RequestRange(RangeRequest {
            key: bytes("a"),
            limit: 3,
            max_mod_revision: 9,
            ..RangeRequest::default()
        })),
        op(Op::RequestPut(PutRequest {
            key: bytes("b"),
            value: bytes("v"),
            ignore_lease: true,
            ..PutRequest::default()
        })),
        op(Op::RequestDeleteRange(DeleteRangeRequest {
            key: bytes("c"),
            range_end: bytes("\0"),
            prev_kv: true,
        })),
    ];
    let inner = TxnRequest { compare: vec![compare.clone()], success: ops.clone(), failure: vec![] };
    TxnRequest { compare: vec![compare], success: vec![op(Op::RequestTxn(inner))], failure: ops }
}

/// Any bytes are either a request, which the node then refuses here, or a mistake of the client's.
#[tokio::test]
async fn no_bytes_break_the_door() {
    let desk = Desk::open();
    let mut rng = fastrand::Rng::with_seed(7);
    let valid = rich().encode_to_vec();
    let mut understood = 0;
    for _ in 0..3_000 {
        let mut message = valid.clone();
        for _ in 0..rng.usize(0..6) {
            let at = rng.usize(..message.len());
            match rng.u8(0..4) {
                0 => message[at] = rng.u8(..),
                1 => message[at] ^= 1 << rng.u8(0..8),
                2 => message.insert(at, rng.u8(..)),
                _ => drop(message.remove(at)),
            }
        }
        for path in [GET, PUT, kv::DeleteRange::PATH, kv::Txn::PATH] {
            desk.fails(Error::new(ErrorKind::Overloaded, "that is enough"));
            let status = desk.send(post(path, frame(&message))).await.status;
            let refused =
                [Code::InvalidArgument, Code::ResourceExhausted, Code::NotFound, Code::Unimplemented];
            assert!(refused.contains(&status.code()), "{path} {message:?}: {status}");
            understood += usize::from(status.code() == Code::ResourceExhausted);
            desk.node.0.lock().unwrap().said.clear();
        }
    }
    assert!(understood > 500, "only {understood} were requests: they are too far from one");
}

#[tokio::test]
async fn a_message_may_come_in_pieces() {
    let desk = Desk::open();
    let whole = put("a value");
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        whole.chunks(3).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    desk.replies(Reply::Written { revision: Revision(8), deleted: 0 });
    let sent = desk.send(post(PUT, Body::from_stream(futures_util::stream::iter(pieces)))).await;
    assert_eq!(sent.status.code(), Code::Ok, "{}", sent.status.message());
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_while_it_comes() {
    let desk = Desk::with_limits(Limits { frame_bytes_max: 100, ..Limits::default() });
    let endless = futures_util::stream::repeat(()).map_ok();
    let sent = desk.send(post(PUT, Body::from_stream(endless))).await;
    assert_eq!(
        (sent.status.code(), sent.status.message()),
        (Code::InvalidArgument, "etcdserver: request is too large")
    );
}

/// A stream of pieces that never ends.
trait Pieces {
    fn map_ok(self) -> futures_util::stream::BoxStream<'static, Result<Bytes, std::io::Error>>;
}

impl<S: futures_util::Stream<Item = ()> + Send + 'static> Pieces for S {
    fn map_ok(self) -> futures_util::stream::BoxStream<'static, Result<Bytes, std::io::Error>> {
        use futures_util::StreamExt;
        self.map(|()| Ok(Bytes::from_static(&[7; 30]))).boxed()
    }
}

#[tokio::test]
async fn a_deadline_is_the_clients_within_bounds() {
    let limits = Limits::default();
    let cases = [
        (None, limits.request_timeout_default),
        (Some("250m"), Duration::from_millis(250)),
        (Some("99999999H"), limits.request_timeout_max),
    ];
    let desk = Desk::open();
    for (header, expected) in cases {
        let mut request = post(GET, get());
        if let Some(header) = header {
            request.headers_mut().insert("grpc-timeout", header.parse().unwrap());
        }
        desk.finds(Found::Record(None)).send(request).await;
        let asked = desk.asked();
        let [Asked::Read(.., deadline)] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!(*deadline, NOW.plus(expected), "{header:?}");
    }
    let mut request = post(GET, get());
    request.headers_mut().insert("grpc-timeout", "soon".parse().unwrap());
    assert_eq!(desk.send(request).await.status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_call_waits_for_the_node_within_its_deadline() {
    let desk = Desk::closed(Limits::default());
    let mut waiting = Box::pin(desk.send(post(GET, get())));
    assert!((&mut waiting).now_or_never().is_none());
    desk.finds(Found::Record(None)).router.send_replace(Some(Router::fake(desk.node.clone())));
    assert_eq!(waiting.await.status.code(), Code::Ok);

    let desk = Desk::closed(Limits::default());
    let mut waiting = Box::pin(desk.send(post(GET, get())));
    assert!((&mut waiting).now_or_never().is_none());
    desk.clock.0.send_replace(desk.clock.now().plus(Limits::default().request_timeout_default));
    assert_eq!(waiting.await.status.message(), "etcdserver: request timed out");
    // What is wrong is said at once.
    let wrong = frame(&RangeRequest::default().encode_to_vec());
    let sent = desk.send(post(GET, wrong)).now_or_never().expect("it waits for nobody");
    assert_eq!(sent.status.message(), "etcdserver: key is not provided");
}

#[tokio::test]
async fn who_asks_for_a_leader_is_refused_at_once_without_one() {
    let desk = Desk::open();
    desk.set_status(|status| status.leader = None);
    let mut request = post(GET, get());
    request.headers_mut().insert("hasleader", "true".parse().unwrap());
    let sent = desk.send(request).await;
    assert_eq!((sent.status.code(), sent.status.message()), (Code::Unavailable, "etcdserver: no leader"));
    assert_eq!(desk.asked(), []);
}

fn on(connection: &Connection, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(connection.clone());
    request
}

#[tokio::test]
async fn a_connection_has_its_share_of_requests_and_bytes() {
    let limits = Limits { requests_inflight_max: 2, request_bytes_inflight_max: 1_000, ..Limits::default() };
    let desk = Desk::with_limits(limits.clone());
    let connection = Shares::new(&limits).connection();
    let held = connection.enter().unwrap();
    let sent = desk.send(on(&connection, post(GET, get()))).await;
    assert_eq!(
        (sent.status.code(), sent.status.message()),
        (Code::ResourceExhausted, "etcdserver: too many requests")
    );
    drop(held);
    desk.finds(Found::Record(None));
    assert_eq!(desk.send(on(&connection, post(GET, get()))).await.status.code(), Code::Ok);

    let long: &'static str = Box::leak("v".repeat(1_200).into_boxed_str());
    let sent = desk.send(on(&connection, post(PUT, put(long)))).await;
    assert_eq!(sent.status.message(), "etcdserver: too many requests", "its body is more than there is");
}

#[tokio::test]
async fn an_answer_counts_until_it_is_taken() {
    let limits = Limits { requests_inflight_max: 2, ..Limits::default() };
    let desk = Desk::with_limits(limits.clone());
    let connection = Shares::new(&limits).connection();
    desk.finds(Found::Record(None));
    let response = desk.app.clone().oneshot(on(&connection, post(GET, get()))).await.unwrap();
    assert!(connection.enter().is_none(), "the answer is there and has not left");
    drop(response.into_body().collect().await.unwrap());
    assert!(connection.enter().is_some());
}

#[tokio::test]
async fn what_was_done_is_said_whatever_the_share() {
    let limits = Limits { request_bytes_inflight_max: 100, ..Limits::default() };
    let desk = Desk::with_limits(limits.clone());
    let shares = Shares::new(&limits);
    let (connection, other) = (shares.connection(), shares.connection());
    let mut held = other.enter().unwrap();
    assert!(held.grow(50));
    desk.replies(Reply::Written { revision: Revision(8), deleted: 0 });
    let sent = desk.send(on(&connection, post(PUT, put("a value of forty bytes, or nearly so")))).await;
    assert_eq!(sent.status.code(), Code::Ok, "{}", sent.status.message());
}
