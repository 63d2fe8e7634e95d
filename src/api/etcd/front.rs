//! Deadlines, the share of a connection, and the wait for the node to open.

use http::HeaderMap;
use http::request::Parts;
use tonic::Status;

use crate::api::grpc_timeout;
use crate::api::opening::opened;
use crate::api::shares::{Connection, Held};
use crate::error::ErrorKind;
use crate::shard::Router;
use crate::types::Monotonic;

use super::Front;
use super::error;

impl Front {
    /// The instant until which the call may take: from its header, at most the longest there is; else the default from now.
    pub(super) fn deadline(&self, headers: &HeaderMap) -> Result<Monotonic, Status> {
        let timeout = match headers.get(grpc_timeout::HEADER) {
            None => self.limits.request_timeout_default,
            Some(value) => {
                let timeout = value.to_str().ok().and_then(grpc_timeout::parse);
                let timeout = timeout.ok_or_else(|| {
                    Status::invalid_argument("grpc-timeout must be 1 to 8 digits and one of H, M, S, m, u, n")
                })?;
                timeout.min(self.limits.request_timeout_max)
            }
        };
        Ok(self.clock.now().plus(timeout))
    }

    /// Counts the call among the requests under way, unless its connection has its share of them. The server puts the
    /// connection into each of its requests; one without is its own.
    pub(super) fn enter(&self, parts: &Parts) -> Result<Held, Status> {
        let connection = parts.extensions.get::<Connection>().cloned();
        connection.unwrap_or_else(|| self.shares.connection()).enter().ok_or_else(error::too_many_requests)
    }

    /// The router, as soon as the node is open and within the deadline.
    pub(super) async fn router(&self, deadline: Monotonic) -> Result<Router, Status> {
        opened(&self.router, &*self.clock, deadline).await.map_err(|error| match error.kind() {
            ErrorKind::Stopping => error::server_stopped(),
            _ => error::request_timed_out(),
        })
    }
}
