//! Deadlines, and the wait for the node to open.

use std::time::Duration;

use http::HeaderMap;

use crate::clock::timeout_at;
use crate::shard::Router;
use crate::types::Monotonic;

use super::Front;
use super::problem::{Code, Problem};
use super::query::digits;

/// How long the request may take, in milliseconds.
pub(super) const TIMEOUT_HEADER: &str = "x-quorate-timeout-ms";

impl Front {
    /// The instant until which the request may take: from its header, else the default from now.
    pub(super) fn deadline(&self, headers: &HeaderMap) -> Result<Monotonic, Problem> {
        Ok(self.clock.now().plus(self.timeout(headers, self.limits.request_timeout_default)?))
    }

    /// How long the request may take: from its header, else `default`.
    pub(super) fn timeout(&self, headers: &HeaderMap, default: Duration) -> Result<Duration, Problem> {
        let mut given = headers.get_all(TIMEOUT_HEADER).iter();
        match (given.next(), given.next()) {
            (None, _) => Ok(default),
            (Some(value), None) => {
                let max = self.limits.request_timeout_max;
                let millis = value.to_str().ok().and_then(digits).map(Duration::from_millis);
                millis.filter(|timeout| !timeout.is_zero() && *timeout <= max).ok_or_else(|| {
                    let range = format!("1 to {}", max.as_millis());
                    Problem::new(
                        Code::InvalidHeader,
                        format!("X-Quorate-Timeout-Ms must be a whole number of milliseconds, {range}."),
                    )
                })
            }
            (Some(_), Some(_)) => Err(Problem::new(
                Code::InvalidHeader,
                "X-Quorate-Timeout-Ms is given more than once: give it once.",
            )),
        }
    }

    /// The router if the node is open.
    pub(super) fn router_now(&self) -> Option<Router> {
        self.router.borrow().clone()
    }

    /// The router, as soon as the node is open and within the deadline.
    pub(super) async fn router(&self, deadline: Monotonic) -> Result<Router, Problem> {
        if let Some(router) = self.router_now() {
            return Ok(router);
        }
        let mut watched = self.router.clone();
        // The guard that `wait_for` returns must not live across an await: the clone leaves it at once.
        let opened = async { watched.wait_for(Option::is_some).await.ok().and_then(|router| router.clone()) };
        match timeout_at(&*self.clock, deadline, opened).await {
            Some(Some(router)) => Ok(router),
            Some(None) => Err(Problem::new(
                Code::Stopping,
                "The node stopped before it was open. Send the request to another node.",
            )),
            None => Err(Problem::new(
                Code::Unavailable,
                "The node was not open within the request's deadline. Retry, here or at another node; \
                 X-Quorate-Timeout-Ms sets how long a request may wait.",
            )),
        }
    }
}
