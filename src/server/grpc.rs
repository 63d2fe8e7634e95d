//! What the client-facing gRPC port serves: the API (`api::grpc`), health (`grpc.health.v1`) and reflection (v1 and v1alpha);
//! and beside them etcd's API (`api::etcd`).
//!
//! Health is read straight from the node's readiness, so no task has to keep a copy of it right. The server as a whole (the
//! empty service name), `quorate` and each service of the API answer with it; any other service is unknown. A `Watch` ends when the
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

use crate::api;
use crate::api::grpc::Front;
use crate::proto::etcd;
use crate::proto::v1::{self, admin_server, kv_server};

/// The services whose health is known: the whole server, the store, and the API.
const SERVICES: [&str; 4] = ["", "quorate", kv_server::SERVICE_NAME, admin_server::SERVICE_NAME];

/// The descriptors of what is served, for reflection.
const DESCRIPTORS: [&[u8]; 3] = [pb::FILE_DESCRIPTOR_SET, v1::DESCRIPTORS, etcd::DESCRIPTORS];

/// The services. `ready`: whether a quorum read was lately confirmed.
pub fn routes(ready: watch::Receiver<bool>, front: Front) -> Routes {
    let reflection = || {
        DESCRIPTORS.iter().fold(tonic_reflection::server::Builder::configure(), |builder, set| {
            builder.register_encoded_file_descriptor_set(set)
        })
    };
    let v1 = reflection().build_v1().expect("the descriptors are compiled in");
    let v1alpha = reflection().build_v1alpha().expect("the descriptors are compiled in");
    let routes = Routes::new(HealthServer::new(Readiness(ready))).add_service(v1).add_service(v1alpha);
    api::grpc::add_to(routes, front).prepare()
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
            return Err(Status::not_found(
                "unknown service: ask for \"\", \"quorate\" or a service of the API",
            ));
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
