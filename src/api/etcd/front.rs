//! Deadlines, the share of a connection, and the wait for the node to open.

use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use tonic::Status;

use crate::api::shares::{Connection, Held};
use crate::clock::timeout_at;
use crate::shard::Router;
use crate::types::Monotonic;

use super::Front;
use super::error;

/// How long the call may take, in digits and a unit.
const TIMEOUT_HEADER: &str = "grpc-timeout";
/// More digits the protocol does not allow.
const TIMEOUT_DIGITS_MAX: usize = 8;

impl Front {
    /// The instant until which the call may take: from its header, at most the longest there is; else the default from now.
    pub(super) fn deadline(&self, headers: &HeaderMap) -> Result<Monotonic, Status> {
        let timeout = match headers.get(TIMEOUT_HEADER) {
            None => self.limits.request_timeout_default,
            Some(value) => {
                let timeout = value.to_str().ok().and_then(timeout);
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
        if let Some(router) = self.router.borrow().clone() {
            return Ok(router);
        }
        let mut watched = self.router.clone();
        // The guard that `wait_for` returns must not live across an await: the clone leaves it at once.
        let opened = async { watched.wait_for(Option::is_some).await.ok().and_then(|router| router.clone()) };
        match timeout_at(&*self.clock, deadline, opened).await {
            Some(Some(router)) => Ok(router),
            Some(None) => Err(error::server_stopped()),
            None => Err(error::request_timed_out()),
        }
    }
}

/// What a `grpc-timeout` says.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number =
        (1..=TIMEOUT_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = if is_number { digits.parse().ok()? } else { return None };
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        let cases = [
            ("2H", Some(Duration::from_secs(7_200))),
            ("1M", Some(Duration::from_secs(60))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("0m", Some(Duration::ZERO)),
            ("25m", Some(Duration::from_millis(25))),
            ("4u", Some(Duration::from_micros(4))),
            ("4n", Some(Duration::from_nanos(4))),
        ];
        for (text, expected) in cases {
            assert_eq!(timeout(text), expected, "{text}");
        }
        for text in ["", "S", "1", "123456789S", "+1S", "-1S", "1.5S", "1s", " 1S", "1\u{e9}"] {
            assert_eq!(timeout(text), None, "{text:?}");
        }
    }
}
