//! What the client-facing gRPC port serves: the API (`api::grpc`), health (`grpc.health.v1`) and reflection (v1 and v1alpha);
//! and beside them etcd's API (`api::etcd`).
//!
//! The two services with which keys are read and written are asked first, by the path alone; all others are found by a router,
//! whose layers would cost a read or a write about a tenth of what it costs without.
//!
//! Health is read straight from the node's readiness, so no task has to keep a copy of it right. The server as a whole (the
//! empty service name), `quorate` and each service of the API answer with it; any other service is unknown. A `Watch` ends when the
//! readiness's sender is dropped, which a stopping node does before it drains its connections.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{self, HealthCheckRequest, HealthCheckResponse};
use tower::Service;

use crate::api::{etcd as etcd_api, grpc as native};
use crate::proto::etcd;
use crate::proto::v1::{self, admin_server, kv_server};

/// The services whose health is known: the whole server, the store, and the API.
const SERVICES: [&str; 4] = ["", "quorate", kv_server::SERVICE_NAME, admin_server::SERVICE_NAME];

/// The descriptors of what is served, for reflection.
const DESCRIPTORS: [&[u8]; 3] = [pb::FILE_DESCRIPTOR_SET, v1::DESCRIPTORS, etcd::DESCRIPTORS];

/// The port. Each connection has a clone.
#[derive(Clone)]
pub struct Port {
    kv: native::Keys,
    etcd: Arc<etcd_api::Front>,
    others: axum::Router,
}

impl Port {
    /// Over both doors. `ready`: whether a quorum read was lately confirmed.
    pub fn new(ready: watch::Receiver<bool>, front: native::Front) -> Port {
        let etcd = Arc::new(etcd_api::Front {
            router: front.router.clone(),
            clock: front.clock.clone(),
            limits: front.limits.clone(),
            shares: front.shares.clone(),
        });
        let reflection = || {
            DESCRIPTORS.iter().fold(tonic_reflection::server::Builder::configure(), |builder, set| {
                builder.register_encoded_file_descriptor_set(set)
            })
        };
        let v1 = reflection().build_v1().expect("the descriptors are compiled in");
        let v1alpha = reflection().build_v1alpha().expect("the descriptors are compiled in");
        let (kv, admin) = native::services(front);
        let routes = Routes::new(HealthServer::new(Readiness(ready)));
        let routes = routes.add_service(v1).add_service(v1alpha).add_service(kv.clone()).add_service(admin);
        let others = routes.prepare().into_axum_router().merge(etcd_api::routes(etcd.clone()));
        Port { kv, etcd, others }
    }
}

impl Service<http::Request<Incoming>> for Port {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // So are all that are behind it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        if request.method() == http::Method::POST {
            if native::Keys::are_at(path) {
                return self.kv.call(request);
            }
            if let Some(method) = etcd_api::OfKeys::at(path) {
                let etcd = self.etcd.clone();
                return Box::pin(async move { Ok(method.serve(&etcd, request).await) });
            }
        }
        let answered = self.others.call(request);
        Box::pin(async move { Ok(answered.await?.map(Body::new)) })
    }
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
