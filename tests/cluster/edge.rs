//! The edges: gRPC health and reflection, and bytes that are no protocol at all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::harness::Cluster;
use crate::harness::poll::{PATIENCE, poll_until};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), future).await.expect("an answer in time")
    })
}

async fn channel(address: &str) -> Result<tonic::transport::Channel, tonic::transport::Error> {
    tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .expect("an address")
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(10))
        .connect()
        .await
}

fn health(address: &str, service: &str) -> Result<i32, tonic::Status> {
    block_on(async {
        let channel =
            channel(address).await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let request = HealthCheckRequest { service: service.to_owned() };
        Ok(HealthClient::new(channel).check(request).await?.into_inner().status)
    })
}

#[test]
fn grpc_health_follows_the_quorum() {
    let mut cluster = Cluster::start("edge-health", 3);
    cluster.wait_ready();
    for id in cluster.ids() {
        let address = cluster.node(id).grpc.clone();
        poll_until(&format!("node {id} to say SERVING"), PATIENCE, || {
            (health(&address, "").ok() == Some(ServingStatus::Serving as i32)).then_some(())
        });
        let unknown = health(&address, "no.such.Service").expect_err("an unknown service");
        assert_eq!(unknown.code(), tonic::Code::NotFound, "{unknown}");
    }
    for id in [2, 3] {
        cluster.node_mut(id).kill();
    }
    let address = cluster.node(1).grpc.clone();
    poll_until("node 1 to say NOT_SERVING", PATIENCE, || {
        (health(&address, "").ok() == Some(ServingStatus::NotServing as i32)).then_some(())
    });
}

#[test]
fn grpc_reflection_lists_the_services() {
    let mut cluster = Cluster::start("edge-reflection", 1);
    cluster.wait_ready();
    let names = block_on(async {
        let channel = channel(&cluster.node(1).grpc).await.expect("a connection");
        let ask = |request: MessageRequest| ServerReflectionRequest {
            host: String::new(),
            message_request: Some(request),
        };
        let requests = vec![
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol("grpc.health.v1.Health".to_owned())),
        ];
        let mut client = ServerReflectionClient::new(channel);
        let answers = client.server_reflection_info(tokio_stream::iter(requests)).await.expect("a stream");
        let mut answers = answers.into_inner();
        let first = answers.message().await.expect("an answer").expect("one for each request");
        let Some(MessageResponse::ListServicesResponse(list)) = first.message_response else {
            panic!("not a list: {first:?}");
        };
        let second = answers.message().await.expect("an answer").expect("one for each request");
        assert!(
            matches!(&second.message_response, Some(MessageResponse::FileDescriptorResponse(_))),
            "no descriptor: {second:?}"
        );
        list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
    });
    assert!(names.iter().any(|name| name == "grpc.health.v1.Health"), "{names:?}");
    assert!(names.iter().any(|name| name.contains("reflection")), "{names:?}");
    assert!(
        !names.iter().any(|name| name.contains("raft") || name.contains("peer")),
        "peers' service is not public"
    );
}

/// What is thrown at a port: nothing, noise, almost HTTP, almost HTTP/2, and the right protocol at the wrong port.
fn garbage() -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let frame = |length: usize, kind: u8, stream: u32, payload: &[u8]| {
        let mut bytes = preface.clone();
        bytes.extend([(length >> 16) as u8, (length >> 8) as u8, length as u8, kind, 0]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    };
    let mut all = vec![
        Vec::new(),
        vec![0],
        vec![0; 4096],
        vec![0xff; 4096],
        b"\r\n\r\n\r\n".to_vec(),
        b"GET".to_vec(),
        b"GET /api/get?key=k HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /api/get?key=\x00\xff HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        b"POST /api/set HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n{}".to_vec(),
        b"POST /api/set HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n{}".to_vec(),
        b"POST /api/set HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nfffffffff\r\n{}".to_vec(),
        b"POST /api/set HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        preface.clone(),
        frame(0x00ff_ffff, 0, 1, b"x"),
        frame(4, 1, 0, b"head"),
        frame(8, 8, 1, &[0; 8]),
        frame(5, 0x77, 3, b"what?"),
    ];
    all.push([b"GET / HTTP/1.1\r\n".as_slice(), &b"x: y\r\n".repeat(50_000)].concat());
    for _ in 0..30 {
        let length = random.usize(1..3_000);
        all.push((0..length).map(|_| random.u8(..)).collect());
        let mut tail = preface.clone();
        tail.extend((0..length).map(|_| random.u8(..)));
        all.push(tail);
    }
    all
}

/// Throws `bytes` and reads what comes back for a moment. Nothing about the answer matters but its end.
fn throw(address: &str, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect(address) else {
        panic!("{address} does not accept connections any more")
    };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
    let _ = stream.set_write_timeout(Some(Duration::from_millis(500)));
    let _ = stream.write_all(bytes);
    let mut buffer = [0; 1024];
    let _ = stream.read(&mut buffer);
}

#[test]
fn no_bytes_on_any_port_end_a_node() {
    let mut cluster = Cluster::start("edge-garbage", 3);
    let leader = cluster.wait_ready();
    cluster.client(leader).set("k", "v");
    let follower = cluster.ids_without(&[leader])[0];
    for id in [leader, follower] {
        let node = cluster.node(id);
        for address in [node.http.clone(), node.peer.clone(), node.grpc.clone()] {
            for bytes in garbage() {
                throw(&address, &bytes);
            }
        }
        cluster.assert_all_alive();
    }
    for id in cluster.ids() {
        assert_eq!(cluster.client(id).value("k").as_deref(), Some("v"));
        let output = cluster.node(id).output();
        assert!(!output.contains("panicked"), "node {id}: {output}");
    }
    cluster.client(follower).set("after", "garbage");
}

#[test]
fn connections_that_say_nothing_do_not_block_those_that_do() {
    let mut cluster = Cluster::start("edge-silent", 1);
    cluster.wait_ready();
    let address = cluster.node(1).http.clone();
    let silent: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(&address).expect("a connection")).collect();
    cluster.client(1).set("k", "v");
    drop(silent);
}
