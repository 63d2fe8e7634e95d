//! What the client-facing gRPC port serves beside the APIs: health (`grpc.health.v1`) and reflection (v1 and v1alpha).
//!
//! Health is read straight from the node's readiness, so no task has to keep a copy of it right. Both the server as a
//! whole (the empty service name) and `quorate` answer with it; any other service is unknown. A `Watch` ends when the
//! readiness's sender is dropped, which a stopping node does before it drains its connections.

use std::pin::Pin;

use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{self, HealthCheckRequest, HealthCheckResponse};

use crate::proto;

/// The services whose health is known: the whole server, and the store.
const SERVICES: [&str; 2] = ["", "quorate"];

/// The descriptors of what is served, for reflection.
const DESCRIPTORS: [&[u8]; 2] = [pb::FILE_DESCRIPTOR_SET, proto::etcd::DESCRIPTORS];

/// The services. `ready`: whether a quorum read was lately confirmed.
pub fn routes(ready: watch::Receiver<bool>) -> Routes {
    let reflection = || {
        DESCRIPTORS.iter().fold(tonic_reflection::server::Builder::configure(), |builder, set| {
            builder.register_encoded_file_descriptor_set(set)
        })
    };
    let v1 = reflection().build_v1().expect("the descriptors are compiled in");
    let v1alpha = reflection().build_v1alpha().expect("the descriptors are compiled in");
    Routes::new(HealthServer::new(Readiness(ready))).add_service(v1).add_service(v1alpha).prepare()
}

/// Health as the node's readiness.
struct Readiness(watch::Receiver<bool>);

fn response(ready: bool) -> HealthCheckResponse {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for Readiness {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !SERVICES.contains(&&*request.get_ref().service) {
            return Err(Status::not_found("unknown service: ask for \"\" or \"quorate\""));
        }
        Ok(Response::new(response(*self.0.borrow())))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !SERVICES.contains(&&*request.get_ref().service) {
            // The protocol wants an answer, not an error: the service might come into being later. Ours cannot.
            let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() };
            return Ok(Response::new(Box::pin(tokio_stream::once(Ok(unknown)))));
        }
        let changes = WatchStream::new(self.0.clone()).map(|ready| Ok(response(ready)));
        Ok(Response::new(Box::pin(changes)))
    }
}
