//! Deadlines, the share of a connection, and the wait for the node to open.

use http::HeaderMap;
use http::request::Parts;
use tonic::Status;

use crate::api::grpc_timeout;
use crate::api::opening::opened;
use crate::api::shares::Held;
use crate::shard::Router;
use crate::types::Monotonic;

use super::Front;
use super::error;

impl Front {
    /// The instant until which the call may take.
    pub(super) fn deadline(&self, headers: &HeaderMap) -> Result<Monotonic, Status> {
        let timeout = grpc_timeout::of(headers, &self.limits);
        let timeout = timeout.ok_or_else(|| {
            error::invalid("grpc-timeout must be 1 to 8 digits and one of H, M, S, m, u, n")
        })?;
        Ok(self.clock.now().plus(timeout))
    }

    /// Counts the call among the requests under way, unless its connection has its share of them.
    pub(super) fn enter(&self, parts: &Parts) -> Result<Held, Status> {
        let connection = self.shares.connection_of(&parts.extensions);
        connection.enter().ok_or_else(|| error::over_the_share("requests"))
    }

    /// The router, as soon as the node is open and within the deadline.
    pub(super) async fn router(&self, deadline: Monotonic) -> Result<Router, Status> {
        // Whether there is a leader nobody knows yet: it is the time that was too short.
        opened(&self.router, &*self.clock, deadline).await.map_err(|error| error::of(&error, true))
    }
}
