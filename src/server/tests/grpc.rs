//! Health and reflection, through the real serve loop and the real clients.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use crate::api::grpc::Front;
use crate::api::shares::Shares;
use crate::clock::SystemClock;
use crate::config::Limits;
use crate::server::grpc::Port;
use crate::server::serve::{ServeOptions, Traffic, serve};
use crate::transport::net::TcpNet;

struct Server {
    channel: Channel,
    ready: watch::Sender<bool>,
    _stop: watch::Sender<bool>,
    _task: JoinHandle<()>,
}

async fn start() -> Server {
    let listener = TcpNet::shared().bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_address().expect("a bound address");
    let ready = watch::Sender::new(false);
    let stop = watch::Sender::new(false);
    let mut stopped = stop.subscribe();
    let shutdown = async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let options = ServeOptions {
        connections_max: 4,
        connections_all: None,
        shares: None,
        date_header: false,
        drain: Duration::from_secs(1),
        send_timeout: Duration::from_secs(30),
        traffic: Traffic::Clients,
        clock: SystemClock::shared(),
    };
    let (limits, draining) = (Limits::default(), watch::Sender::new(false));
    let front = Front {
        router: watch::Sender::new(None).subscribe(),
        clock: SystemClock::shared(),
        shares: Shares::new(&limits),
        limits,
        draining: draining.subscribe(),
    };
    let service = Port::new(ready.subscribe(), front);
    let task = tokio::spawn(serve(listener, service, options, shutdown));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let channel = endpoint.connect().await.expect("the server listens");
    Server { channel, ready, _stop: stop, _task: task }
}

fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn health_follows_the_readiness() {
    let server = start().await;
    let mut client = HealthClient::new(server.channel.clone());
    let mut watches = Vec::new();
    for service in ["", "quorate", "quorate.v1.Kv", "quorate.v1.Admin"] {
        let answer = client.check(request(service)).await.expect("a known service").into_inner();
        assert_eq!(answer.status(), ServingStatus::NotServing);
        let mut watch = client.watch(request(service)).await.expect("a known service").into_inner();
        let first = watch.message().await.expect("the server lives").expect("an answer at once");
        assert_eq!(first.status(), ServingStatus::NotServing);
        watches.push(watch);
    }
    server.ready.send_replace(true);
    for service in ["", "quorate", "quorate.v1.Kv", "quorate.v1.Admin"] {
        let answer = client.check(request(service)).await.expect("a known service").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    for watch in &mut watches {
        let next = watch.message().await.expect("the server lives").expect("a change");
        assert_eq!(next.status(), ServingStatus::Serving);
    }
    drop(server.ready);
    for watch in &mut watches {
        assert_eq!(watch.message().await.expect("the server lives"), None, "nothing can change any more");
    }
}

#[tokio::test]
async fn the_health_of_another_service_is_unknown() {
    let server = start().await;
    let mut client = HealthClient::new(server.channel.clone());
    let error = client.check(request("other")).await.expect_err("unknown");
    assert_eq!(error.code(), Code::NotFound);
    let mut watch = client.watch(request("other")).await.expect("an answer").into_inner();
    let answer = watch.message().await.expect("the server lives").expect("an answer");
    assert_eq!(answer.status(), ServingStatus::ServiceUnknown);
}

#[tokio::test]
async fn reflection_lists_what_is_served_in_both_versions() {
    let server = start().await;
    let list = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel.clone());
    let answers = client.server_reflection_info(tokio_stream::once(list)).await.expect("served");
    let answers: Vec<_> = answers.into_inner().collect().await;
    let text = format!("{answers:?}");
    for service in [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "quorate.v1.Kv",
        "quorate.v1.Admin",
        "etcdserverpb.KV",
    ] {
        assert!(text.contains(service), "{service} in {text}");
    }
    assert!(!text.contains("quorate.raft"), "the peer service is not for clients: {text}");

    let list = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel);
    let answers = client.server_reflection_info(tokio_stream::once(list)).await.expect("served");
    let answers: Vec<_> = answers.into_inner().collect().await;
    assert!(format!("{answers:?}").contains("grpc.health.v1.Health"), "{answers:?}");
}
