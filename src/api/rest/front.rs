//! Deadlines, the share of a connection, and the wait for the node to open.

use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;

use crate::api::opening;
use crate::api::shares::Held;
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

    /// Counts the request among those under way, unless its connection has its share of them.
    pub(super) fn enter(&self, parts: &Parts) -> Result<Held, Problem> {
        self.shares.connection_of(&parts.extensions).enter().ok_or_else(too_many)
    }

    /// The router if the node is open.
    pub(super) fn router_now(&self) -> Option<Router> {
        self.router.borrow().clone()
    }

    /// The router, as soon as the node is open and within the deadline.
    pub(super) async fn router(&self, deadline: Monotonic) -> Result<Router, Problem> {
        Ok(opening::opened(&self.router, &*self.clock, deadline).await?)
    }
}

fn too_many() -> Problem {
    let detail = "This connection has its share of the requests that may be under way on this node at once: retry after \
                  the pause that Retry-After names, and send fewer at once.";
    Problem::new(Code::Overloaded, detail)
}

/// What is said where the bytes of bodies and answers are shared out.
pub(super) fn too_large_together() -> Problem {
    let detail = "This connection has its share of the bytes that may be under way on this node at once: retry after the \
                  pause that Retry-After names, read the answers, and send fewer at once.";
    Problem::new(Code::Overloaded, detail)
}
