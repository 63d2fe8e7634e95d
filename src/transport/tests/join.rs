//! Nodes that are in no cluster yet, at the door.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::sync::oneshot;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use crate::transport::dial;
use crate::transport::grpc::JOIN_PATH;
use crate::transport::handshake::{Reason, Refusal};
use crate::transport::join::{JOIN_BYTES_MAX, JOINS_INFLIGHT_MAX, JoinError, join};
use crate::transport::net::TcpNet;
use crate::transport::{Inbound, proto};

use super::harness::*;

/// Asks like a node that has nothing but a network and a clock.
async fn ask(address: &str, request: Bytes, patience: Duration) -> Result<Bytes, JoinError> {
    let clock = clock();
    let deadline = clock.now().plus(patience);
    join(&TcpNet::shared(), &*clock, address, request, deadline).await
}

async fn recv_join(node: &mut Node) -> (Bytes, oneshot::Sender<Bytes>) {
    match node.recv().await {
        Inbound::Join { request, reply } => (request, reply),
        other => panic!("expected a request to join, got {other:?}"),
    }
}

#[tokio::test]
async fn a_joiner_is_answered_without_a_handshake() {
    let mut a = Node::start(1).await;
    let address = a.address.clone();
    let answer = async {
        let (request, reply) = recv_join(&mut a).await;
        assert_eq!(request, "let me in");
        reply.send(Bytes::from_static(b"you are node 4")).expect("somebody waits");
    };
    let (answered, ()) = tokio::join!(ask(&address, Bytes::from_static(b"let me in"), DEADLINE), answer);
    assert_eq!(answered, Ok(Bytes::from_static(b"you are node 4")));
    assert_eq!(a.counter("transport_accepted"), 0);
}

#[tokio::test]
async fn each_way_to_fail_has_its_name() {
    let unreachable = ask("127.0.0.1:1", Bytes::new(), DEADLINE).await;
    assert!(matches!(unreachable, Err(JoinError::Unreachable(_))), "{unreachable:?}");

    let mut a = Node::start(1).await;
    let address = a.address.clone();
    let large = ask(&address, Bytes::from(vec![0; JOIN_BYTES_MAX + 1]), DEADLINE).await;
    assert!(matches!(large, Err(JoinError::Refused(_))), "{large:?}");

    let give_up = async { drop(recv_join(&mut a).await) };
    let (given_up, ()) = tokio::join!(ask(&address, Bytes::new(), DEADLINE), give_up);
    assert!(matches!(given_up, Err(JoinError::Lost(_))), "{given_up:?}");

    // Nobody answers, and the joiner loses its patience; the node finds out.
    let impatient = ask(&address, Bytes::new(), Duration::from_millis(200)).await;
    assert!(matches!(impatient, Err(JoinError::Lost(_))), "{impatient:?}");
    let (_, reply) = recv_join(&mut a).await;
    eventually("nobody waits any more", || reply.is_closed()).await;
}

#[tokio::test]
async fn joiners_are_few_at_a_time() {
    let mut a = Node::start(1).await;
    let mut asking = tokio::task::JoinSet::new();
    let mut waiting = Vec::new();
    for _ in 0..JOINS_INFLIGHT_MAX {
        let address = a.address.clone();
        asking.spawn(async move { ask(&address, Bytes::new(), DEADLINE).await });
        waiting.push(recv_join(&mut a).await);
    }
    let busy = ask(&a.address, Bytes::new(), DEADLINE).await;
    assert!(matches!(busy, Err(JoinError::Busy(_))), "{busy:?}");
    assert_eq!(a.counter("transport_joins_refused"), 1);
    assert_eq!(a.counter("transport_joins"), JOINS_INFLIGHT_MAX as u64);
    for (_, reply) in waiting {
        reply.send(Bytes::new()).expect("somebody waits");
    }
    while let Some(answered) = asking.join_next().await {
        assert_eq!(answered.expect("no panic"), Ok(Bytes::new()));
    }
}

#[tokio::test]
async fn a_joiner_of_another_version_is_turned_away() {
    let a = Node::start(1).await;
    let channel = dial::connect(&TcpNet::shared(), &a.address).await.expect("it listens");
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.expect("connected");
    let request = tonic::Request::new(proto::JoinRequest { wire: 1, payload: Bytes::new() });
    let codec = ProstCodec::<proto::JoinRequest, proto::JoinReply>::default();
    let answered = grpc.unary(request, PathAndQuery::from_static(JOIN_PATH), codec).await;
    let refusal = Refusal::from_status(&answered.expect_err("refused"));
    assert_eq!(refusal.map(|refusal| refusal.reason), Some(Reason::Wire));
}
